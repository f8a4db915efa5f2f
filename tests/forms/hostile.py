"""Forms, lists and submissions written to do harm; `python -m tests.forms.hostile NAME` meets one.

It lays a limit on its own memory first, and prints what the input ended in, the processor's time
and the memory that it took.
"""

from __future__ import annotations

import io
import json
import resource
import sys
import time
import zipfile
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from forms.check import check
from forms.context import Context
from forms.entry import Entry
from forms.form import Form
from forms.lint import lint
from forms.xlsform import compile_xlsform, read_xlsform

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MEMORY_MAX = 1_000 * 2**20
"""What a process may ask for in all, the interpreter and its libraries included."""

HEAD = "| survey |\n| | type | name | label |\n"
REPEATED = (
    '<group ref="/data/r"><repeat nodeset="/data/r"{}><input ref="/data/r/v"/></repeat></group>'
)
CHOSEN = (
    '<select1 ref="/data/a"><itemset nodeset="instance(\'l\')/root/item"><value ref="name"/>'
    '<label ref="label"/></itemset></select1>'
)


def context() -> Context:
    return Context(
        now=lambda: datetime(2026, 11, 23, tzinfo=UTC), new_uuid=lambda: "u", random=lambda: 0.5
    )


def xform(nodes: str, *, binds: str = "", body: str = "", lists: str = "") -> str:
    return (
        '<h:html xmlns="http://www.w3.org/2002/xforms" xmlns:h="http://www.w3.org/1999/xhtml" '
        'xmlns:jr="http://openrosa.org/javarosa"><h:head><h:title>x</h:title><model><instance>'
        f'<data id="x">{nodes}</data></instance>{lists}{binds}</model></h:head>'
        f"<h:body>{body}</h:body></h:html>"
    )


def opened(nodes: str, media: Mapping[str, bytes] | None = None, **parts: str) -> Entry:
    return Entry.start(Form.load(xform(nodes, **parts), media or {}), context())


def calculated(expression: str, choices: int = 0, long: str = "") -> Entry:
    """A form with this one calculation, over a list of so many choices."""
    items = "<item><name>a</name><label>A</label></item>" * choices
    return opened(
        f"<a/><n>5</n><long>{long}</long>",
        binds=f'<bind nodeset="/data/a" calculate="{expression}"/>',
        lists=f'<instance id="l"><root>{items}</root></instance>',
    )


def in_file(name: str, data: bytes) -> object:
    lists = f'<instance id="l" src="jr://file/{name}"/>'
    return Form.load(xform("<a/>", body=CHOSEN, lists=lists), {name: data}).instance("l")


def chained(many: int, rule: str, first: str = "") -> Entry:
    """So many calculations, each of the one before: `{}` in the rule is its number."""
    return opened(
        f"<a0>{first}</a0>" + "".join(f"<a{one}/>" for one in range(1, many)),
        binds="".join(
            f'<bind nodeset="/data/a{one}" calculate="{rule.replace("{}", str(one - 1))}"/>'
            for one in range(1, many)
        ),
    )


def counted_by_an_answer(many: str) -> object:
    entry = opened(
        "<n/><r><v/></r>",
        binds='<bind nodeset="/data/n" type="int"/>',
        body='<input ref="/data/n"/>' + REPEATED.format(' jr:count="/data/n"'),
    )
    return entry.answer("/data/n", many)


def summed_in_each() -> object:
    """Every instance sums all of them, which is what grows with their square."""
    entry = opened(
        "<n/><r><v>1</v><w/></r>",
        binds='<bind nodeset="/data/n" type="int"/>'
        '<bind nodeset="/data/r/w" calculate="sum(../../r/v)"/>',
        body='<input ref="/data/n"/>' + REPEATED.format(' jr:count="/data/n"'),
    )
    return entry.answer("/data/n", "9999")


def nested_counts() -> Entry:
    deep = '<input ref="/data/r/s/t/v"/>'
    for path in ("/data/r/s/t", "/data/r/s", "/data/r"):
        deep = f'<repeat nodeset="{path}" jr:count="9000">{deep}</repeat>'
    return opened("<r><s><t><v/></t></s></r>", body=deep)


def judged(xml: bytes) -> object:
    form = Form.load(
        xform(
            "<a/><r><v/><w/></r>",
            binds='<bind nodeset="/data/r/w" calculate="sum(../../r/v)"/>',
            body='<input ref="/data/a"/>' + REPEATED.format(""),
        )
    )
    return check(form, xml)


def archived(files: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


def zipped(name: str, data: bytes) -> bytes:
    return archived({name: data})


def sheet(rows: str) -> bytes:
    return compile_xlsform("x.md", (HEAD + rows).encode())


LAUGHS = '<!DOCTYPE a [<!ENTITY b "ha"><!ENTITY c "&b;&b;&b;&b;">]>'
NEST = "count(instance('l')/root/item[count(../item[count(../item[name = 'a']) > 0]) > 0])"
PLACES = "count(instance('l')/root/item[position() = count(../item[position() &lt; 5000])])"
FEATURE = b'{"type":"Feature","geometry":null,"properties":{"a":[1,2,3]}}'

# What is sent, what it ends in ("error: words of it", "fault: words of it" or "taken").
HOSTILE: dict[str, tuple[Callable[[], object], str]] = {
    "a form with entities": (
        lambda: Form.load(LAUGHS + xform("<a/>")),
        "BrokenForm: document type",
    ),
    "a form a hundred thousand deep": (
        lambda: opened("<a>" * 100_000 + "</a>" * 100_000),
        "BrokenForm: not well-formed",
    ),
    "groups two hundred and forty deep": (
        lambda: opened("<a/>", body="<group>" * 240 + '<input ref="/data/a"/>' + "</group>" * 240),
        "taken",
    ),
    "a form of a million nodes": (
        lambda: opened("".join(f"<a{one}/>" for one in range(1_000_000))),
        "BrokenForm: elements",
    ),
    "a form of a hundred thousand questions": (
        lambda: opened("".join(f"<a{one}/>" for one in range(100_000))),
        "BrokenForm: 50,000 nodes",
    ),
    "an element of four hundred thousand attributes": (
        lambda: Form.load(
            xform(f"<a {' '.join(f'b{one}={chr(34)}{chr(34)}' for one in range(400_000))}/>")
        ),
        "BrokenForm: attributes",
    ),
    "two thousand calculations that read each other": (
        lambda: chained(2_000, "count(/data/*)"),
        "BrokenForm: ways",
    ),
    "a chain of twenty thousand calculations": (lambda: chained(20_000, "/data/a{} + 1"), "taken"),
    "a circle of twenty thousand calculations": (
        lambda: opened(
            "".join(f"<a{one}/>" for one in range(20_000)),
            binds="".join(
                f'<bind nodeset="/data/a{one}" calculate="/data/a{(one + 1) % 20_000} + 1"/>'
                for one in range(20_000)
            ),
        ),
        "BrokenForm: cycle",
    ),
    "a text that shows itself": (
        lambda: opened(
            "<a/>",
            lists='<itext><translation lang="en"><text id="x"><value><output '
            "value=\"jr:itext('x')\"/></value></text></translation></itext>",
            binds='<bind nodeset="/data/a" calculate="jr:itext(\'x\')"/>',
        ),
        "TooCostly: shows itself",
    ),
    "a text doubled sixty times": (
        lambda: chained(60, "concat(/data/a{}, /data/a{})", "x" * 16),
        "TooCostly: 1,000,000 characters",
    ),
    "three thousand texts of a million letters": (
        lambda: chained(3_000, "concat(/data/a0, '{}')", "x" * 900_000),
        "TooCostly: 20,000,000 characters",
    ),
    "a list joined into one text": (
        lambda: calculated(f"join('{'x' * 100}', instance('l')/root/item/name)", 50_000),
        "TooCostly: characters",
    ),
    "searches within searches": (lambda: calculated(NEST, 3_000), "TooCostly: 1,000,000 steps"),
    "positions within positions": (lambda: calculated(PLACES, 5_000), "TooCostly: 1,000,000 steps"),
    "five thousand brackets": (
        lambda: calculated("(" * 5_000 + "1" + ")" * 5_000),
        "BrokenForm: nest",
    ),
    "fifty thousand minus signs": (lambda: calculated("-" * 50_000 + "1"), "BrokenForm: nest"),
    "an expression of a million letters": (
        lambda: calculated("1" + " + 1" * 250_000),
        "BrokenForm: 100,000 characters",
    ),
    "a pattern that backtracks for ever": (
        lambda: calculated(f"regex('{'a' * 50_000}!', '(a+)+$')"),
        "taken",
    ),
    "a pattern that grows beyond bounds": (
        lambda: calculated("regex('a', '((((a{1000}){1000}){1000}){1000})')"),
        "BrokenForm: pattern",
    ),
    "a power of a power": (lambda: calculated("pow(9, pow(9, 9))"), "taken"),
    "four hundred million decimal places": (
        lambda: calculated("round(1 div 3, 400000000)"),
        "taken",
    ),
    "a fixed count of ten million": (
        lambda: opened("<r><v/></r>", body=REPEATED.format(' jr:count="10000000"')),
        "TooCostly: 10,000 are the most",
    ),
    "an answer that counts ten million": (
        lambda: counted_by_an_answer("10000000"),
        "TooCostly: 10,000 are the most",
    ),
    "ten thousand instances that each sum all": (summed_in_each, "TooCostly: 5,000,000 steps"),
    "counts within counts within counts": (nested_counts, "TooCostly: 5,000,000 steps"),
    "answers that set each other": (
        lambda: opened(
            "<a/><b/>",
            body="".join(
                f'<input ref="/data/{one}"><setvalue event="xforms-value-changed" '
                f'ref="/data/{other}" value="/data/{one} + 1"/></input>'
                for one, other in ("ab", "ba")
            ),
        ).answer("/data/a", "1"),
        "taken",
    ),
    "ten million choices": (
        lambda: in_file("l.csv", b"name,label\n" + b"a,b\n" * 10_000_000),
        "BrokenForm: rows",
    ),
    "a hundred thousand columns": (
        lambda: in_file(
            "l.csv",
            b"name,label,"
            + b",".join(b"c%d" % one for one in range(100_000))
            + b"\n"
            + (b"1," * 99_999 + b"\n") * 100,
        ),
        "BrokenForm: 3,000,000 cells",
    ),
    "a cell of sixty million letters": (
        lambda: in_file("l.csv", b'name,label\n"' + b"x" * 60_000_000 + b'",b\n'),
        "BrokenForm: field",
    ),
    "a list in XML a hundred thousand deep": (
        lambda: in_file("l.xml", b"<a>" * 100_000 + b"</a>" * 100_000),
        "BrokenForm: not well-formed",
    ),
    "a list in XML of three million nodes": (
        lambda: in_file("l.xml", b"<root>" + b"<i/>" * 3_000_000 + b"</root>"),
        "BrokenForm: elements",
    ),
    "a list in GeoJSON a million deep": (
        lambda: in_file("l.geojson", b"[" * 1_000_000),
        "BrokenForm: no JSON",
    ),
    "a list in GeoJSON of a million features": (
        lambda: in_file(
            "l.geojson",
            b'{"type":"FeatureCollection","features":[' + b",".join([FEATURE] * 1_000_000) + b"]}",
        ),
        "BrokenForm: features",
    ),
    "a workbook that unpacks without end": (
        lambda: compile_xlsform("x.xlsx", zipped("xl/worksheets/sheet1.xml", b" " * 60_000_000)),
        "BrokenForm: packed",
    ),
    "a workbook with entities": (
        lambda: compile_xlsform(
            "x.xlsx", zipped("xl/workbook.xml", f"{LAUGHS}<a>&c;</a>".encode())
        ),
        "BrokenForm: document type",
    ),
    "a hundred thousand rows": (
        lambda: sheet("".join(f"| | text | q{one} | L |\n" for one in range(100_000))),
        "BrokenForm: 10,000 is the most",
    ),
    "nine thousand mistakes": (
        lambda: sheet("".join(f"| | note | q{one} | ${{z{one}}} |\n" for one in range(9_000))),
        "BrokenForm: no question asks",
    ),
    "a cell of a million letters": (
        lambda: sheet("| | text | a | " + "${" * 500_000 + " |\n"),
        "BrokenForm: 32,767 is the most",
    ),
    "a cell of references that never end": (
        lambda: sheet("| | text | a | " + "${" * 16_000 + " |\n"),
        "BrokenForm: not closed",
    ),
    "three thousand groups within each other": (
        lambda: sheet(
            "".join(f"| | begin_group | g{one} | L |\n" for one in range(3_000))
            + "| | text | a | A |\n"
            + "| | end_group | | |\n" * 3_000
        ),
        "BrokenForm: deep",
    ),
    "two nodesets of five thousand in order": (
        lambda: calculated(
            "instance('l')/root/item/name &lt; instance('l')/root/item/label", 5_000
        ),
        "TooCostly: 1,000,000 steps",
    ),
    **{
        f"a long text {name} for every choice": (
            lambda rule=rule, long=long: calculated(
                f"count(instance('l')/root/item[{rule}])", 5_000, long
            ),
            "TooCostly: 1,000,000 steps",
        )
        for name, rule, long in (
            ("that is chosen from", "selected(/data/long, name)", "b " * 450_000),
            ("of which one is taken", "selected-at(/data/long, position()) = 'q'", "b " * 450_000),
            ("that is searched", "contains(/data/long, concat(name, 'c'))", "a" * 900_000),
            ("that is hashed", "digest(/data/long, concat('SHA-', 512)) = name", "a" * 900_000),
            ("that is tidied", "normalize-space(concat(/data/long, name)) = 1", "a " * 400_000),
            ("that is joined", "concat(/data/long, name) = 1", "a" * 900_000),
            ("of places", "area(/data/long) > position()", "1 2 0 0;" * 110_000),
            ("as a fence", "geofence('1 2 0 0', /data/long)", "1 2 0 0;2 3 0 0;5 4 0 0;" * 36_000),
            ("as a pattern of dates", "format-date('2020-01-01', /data/long) = 1", "%Y" * 450_000),
        )
    },
    "a number of a million digits for every choice": (
        lambda: calculated(
            "count(instance('l')/root/item[/data/long = position()])", 50_000, "9" * 900_000
        ),
        "taken",
    ),
    "ten thousand paths put together": (
        lambda: calculated("count(" + "|".join(["/data/n"] * 10_000) + ")"),
        "BrokenForm: put together by |",
    ),
    "four thousand additions in one expression": (
        lambda: calculated("/data/n" + " + /data/n" * 4_000),
        "BrokenForm: too many operators",
    ),
    "a condition of six thousand comparisons": (
        lambda: calculated(" or ".join(["/data/n=1"] * 6_000)),
        "BrokenForm: too many operators",
    ),
    "two hundred thousand attributes of many nodes": (
        lambda: Form.load(
            xform("<x/>" + "".join(f'<e{i} a="1" b="2" c="3" d="4"/>' for i in range(45_000)))
        ),
        "BrokenForm: attributes included",
    ),
    "a label that shows a long answer a thousand times": (
        lambda: opened(
            f"<a/><long>{'x' * 900_000}</long>",
            body='<input ref="/data/a"><label>'
            + '<output value="/data/long"/>' * 1_000
            + "</label></input>",
        ).state("/data/a"),
        "TooCostly: a text shows more",
    ),
    "choices that hang on each other's names": (
        lambda: opened(
            "<a/><b/>",
            body="".join(
                f'<select1 ref="/data/{one}"><itemset nodeset="instance(\'l\')/root/item['
                f'jr:choice-name(/data/{other}, \'/data/{other}\') = name]"><value ref="name"/>'
                '<label ref="label"/></itemset></select1>'
                for one, other in ("ab", "ba")
            ),
            lists='<instance id="l"><root><item><name>a</name><label>A</label></item></root>'
            "</instance>",
        ).state("/data/a"),
        "TooCostly: without an end",
    ),
    "an answer that counts two thousand million": (
        lambda: counted_by_an_answer("2000000000"),
        "TooCostly: 10,000 are the most",
    ),
    "a count without an end": (
        lambda: opened(
            "<n/><r><v/></r>",
            binds='<bind nodeset="/data/n" calculate="1 div 0"/>',
            body=REPEATED.format(' jr:count="/data/n"'),
        ),
        "TooCostly: 10,000 are the most",
    ),
    "sixty thousand files in a workbook": (
        lambda: compile_xlsform(
            "x.xlsx", archived({f"a{one}.xml": b"<a/>" for one in range(60_000)})
        ),
        "BrokenForm: parts in the workbook",
    ),
    "a workbook that asks for another file": (
        lambda: compile_xlsform(
            "x.xlsx",
            zipped(
                "xl/sharedStrings.xml",
                b'<?xml version="1.0"?><!--' + b"x" * 70_000 + b"--><!DOCTYPE sst "
                b'[<!ENTITY x SYSTEM "file:///etc/passwd">]><sst><si><t>&x;</t></si></sst>',
            ),
        ),
        "BrokenForm: document type",
    ),
    "a line of sixty million letters": (
        lambda: in_file("l.csv", b"name,label\n" + b"x" * 60_000_000),
        "BrokenForm: field",
    ),
    "a file of a hundred million letters": (
        lambda: in_file("l.csv", b'name,label\n"' + b"x" * 100_000_000 + b'",b\n'),
        "BrokenForm: bytes",
    ),
    "an author's two thousand sums of three hundred": (
        lambda: (
            lint(
                read_xlsform(
                    "x.md",
                    (
                        "| survey |\n| | type | name | label | calculation |\n| | integer | b | B | |\n"
                        + "".join(
                            f"| | calculate | a{one} | | {' + '.join(['${b}'] * 290)} |\n"
                            for one in range(400)
                        )
                    ).encode(),
                )
            )
            or None
        ),
        "taken",
    ),
    "a submission with entities": (
        lambda: judged(f"{LAUGHS}<data><a>&c;</a></data>".encode()),
        "fault: document type",
    ),
    "a submission a hundred thousand deep": (
        lambda: judged(b"<data>" + b"<a>" * 100_000 + b"</a>" * 100_000 + b"</data>"),
        "fault: not well-formed",
    ),
    "a submission of a million nodes": (
        lambda: judged(b"<data>" + b"<r/>" * 1_000_000 + b"</data>"),
        "fault: 200,000 elements",
    ),
    "a submission of a hundred thousand unknown nodes": (
        lambda: judged(b"<data>" + b"<u/>" * 100_000 + b"</data>"),
        "fault: no such node",
    ),
    "a submission of four hundred thousand attributes": (
        lambda: judged(b"<data " + b" ".join(b'a%d="1"' % one for one in range(400_000)) + b"/>"),
        "fault: attributes",
    ),
    "a submission whose every member sums all": (
        lambda: judged(b"<data>" + b"<r><v>1</v><w>1</w></r>" * 50_000 + b"</data>"),
        "fault: 5,000,000 steps",
    ),
    "a submission of nine million letters": (
        lambda: judged(b"<data><a>" + b"x" * 9_000_000 + b"</a></data>"),
        "fault: bytes",
    ),
}


def met(name: str) -> str:
    """What the input ended in, as its expectation is written."""
    send, _ = HOSTILE[name]
    try:
        outcome = send()
    except Exception as refused:  # noqa: BLE001 - whatever comes out is what is told
        return f"{type(refused).__name__}: {str(refused)[:2000]} {str(refused)[-300:]}"
    if isinstance(outcome, tuple):
        return "fault: " + "; ".join(fault.reason for fault in outcome[:50])
    return "taken"


def main(name: str) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_MAX, MEMORY_MAX))
    began = time.process_time()
    told = met(name)
    print(
        json.dumps(
            {
                "told": told,
                "ms": round(1000 * (time.process_time() - began)),
                "MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1])
