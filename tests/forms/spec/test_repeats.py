"""Repeats: how instances begin, are counted, numbered, read from elsewhere and taken away.

Source: https://getodk.github.io/xforms-spec/#repeats and https://docs.getodk.org/form-logic/#repeating-questions
"""

from __future__ import annotations

import pytest

from forms import Entry, Form
from tests.forms.spec.told import Case, ours, xform
from tests.forms.test_entry import context

ASKED = '<input ref="/data/r/a"/>'
WHOLE = '<bind nodeset="/data/n" type="int"/>'


def _repeat(inside: str = ASKED, more: str = "", name: str = "/data/r") -> str:
    return f'<group ref="{name}"><repeat nodeset="{name}"{more}>{inside}</repeat></group>'


NUMBERED = xform(
    '<r jr:template=""><p/><s jr:template=""><q/></s></r><c/>',
    '<bind nodeset="/data/r/p" calculate="position(..)"/>'
    '<bind nodeset="/data/r/s/q" calculate="concat(position(../..), \'-\', position(..))"/>'
    '<bind nodeset="/data/c" calculate="count(/data/r/s)"/>',
    _repeat(
        '<input ref="/data/r/p"/>' + _repeat('<input ref="/data/r/s/q"/>', name="/data/r/s"),
    ),
)
COUNTED = xform(
    '<n>2</n><r jr:template=""><a/></r><c/>',
    WHOLE + '<bind nodeset="/data/c" calculate="count(/data/r)"/>',
    '<input ref="/data/n"/>' + _repeat(more=' jr:count="/data/n"'),
)
OWN = xform(
    "<n>1</n><r><a>1</a></r><r><a>2</a></r>",
    WHOLE,
    '<input ref="/data/n"/>' + _repeat(more=' jr:count="/data/n"'),
)
INNER = "".join(
    f"<r><k>{key}</k><s><v>{first}</v></s><s><v>{second}</v></s></r>"
    for key, first, second in (("a", 1, 2), ("b", 3, 4))
)
NESTED = xform(
    "<r><a>1</a><s><b>2</b></s><s><b>3</b></s></r>",
    "",
    _repeat(ASKED + _repeat('<input ref="/data/r/s/b"/>', name="/data/r/s")),
)

CASES = {
    "without a template a new instance is blank, its attributes apart": Case(
        xform('<r x="1"><a>1</a></r><r x="2"><a>2</a></r>', "", _repeat()),
        (
            ("init", {"/data/r[2]/a": "2"}),
            ("add /data/r", {"/data/r[3]/a": "", "xml": '<r x="1"><a />'}),
        ),
    ),
    "without a template nothing is repeated inside a new instance": Case(
        NESTED,
        (
            ("init", {"/data/r[1]/s[2]/b": "3"}),
            ("add /data/r", {"/data/r[2]/a": "", "/data/r[2]/s[1]": None}),
            ("add /data/r[1]/s", {"/data/r[1]/s[3]/b": ""}),
            ("add /data/r[2]/s", {"/data/r[2]/s[1]/b": ""}),
        ),
    ),
    "in a browser as much is repeated inside it as inside the first": Case(
        NESTED,
        (
            ("init", {}),
            ("add /data/r", {"/data/r[2]/a": "", "/data/r[2]/s[2]/b": ""}),
            ("add /data/r[2]/s", {"/data/r[2]/s[3]/b": ""}),
        ),
        dialect="webforms",
    ),
    "a template gives its values to each new instance and is none itself": Case(
        xform('<r jr:template=""><a>t</a></r><r><a>1</a></r>', "", _repeat()),
        (
            ("init", {"/data/r[1]/a": "1", "/data/r[2]/a": None}),
            ("add /data/r", {"/data/r[2]/a": "t"}),
        ),
    ),
    "instances are numbered anew as others go": Case(
        NUMBERED,
        (
            ("init", {"/data/c": "0"}),
            ("add /data/r", {}),
            ("add /data/r[1]/s", {"/data/r[1]/s[1]/q": "1-1"}),
            ("add /data/r[1]/s", {"/data/r[1]/s[2]/q": "1-2"}),
            ("add /data/r", {"/data/r[2]/p": "2"}),
            ("add /data/r[2]/s", {"/data/r[2]/s[1]/q": "2-1", "/data/c": "3"}),
            ("remove /data/r[1]/s[1]", {"/data/r[1]/s[1]/q": "1-1", "/data/c": "2"}),
            (
                "remove /data/r[1]",
                {"/data/r[1]/p": "1", "/data/r[1]/s[1]/q": "1-1", "/data/c": "1"},
            ),
        ),
    ),
    "a lower count takes nobody away, a higher one adds": Case(
        COUNTED,
        (
            ("init", {"/data/c": "2"}),
            ("/data/r[2]/a = kept", {}),
            ("/data/n = 1", {"/data/c": "2", "/data/r[2]/a": "kept"}),
            ("/data/n = 3", {"/data/c": "3", "/data/r[2]/a": "kept"}),
            ("/data/n = 0", {"/data/c": "3"}),
            ("/data/n = -1", {"/data/c": "3"}),
            ("/data/n =", {"/data/c": "3"}),
        ),
        says="Collect never takes away what was filled in",
    ),
    "in a browser a lower count takes the last away, but a blank one nobody": Case(
        COUNTED,
        (
            ("init", {"/data/c": "2"}),
            ("/data/n = 3", {"/data/c": "3"}),
            ("/data/n =", {"/data/c": "3"}),
            ("/data/n = 1", {"/data/c": "1", "/data/r[2]": None}),
            ("/data/n = -1", {"/data/r[1]": None}),
            ("/data/n = 2", {"/data/c": "2"}),
        ),
        dialect="webforms",
    ),
    "in a browser the form's own instances come back with their values": Case(
        OWN,
        (
            ("init", {"/data/r[1]/a": "1", "/data/r[2]": None}),
            ("/data/n = 3", {"/data/r[2]/a": "2", "/data/r[3]/a": ""}),
            ("/data/n = 0", {"/data/r[1]": None}),
            ("/data/n = 1", {"/data/r[1]/a": "1"}),
        ),
        dialect="webforms",
    ),
    "a count that is calculated": Case(
        xform(
            '<k>red green</k><n/><r jr:template=""><a/></r>',
            WHOLE.replace("/>", ' calculate="count-selected(/data/k)"/>')
            + '<bind nodeset="/data/r/a" calculate="selected-at(/data/k, position(..) - 1)"/>',
            '<input ref="/data/k"/>' + _repeat(more=' jr:count="/data/n"'),
        ),
        (
            ("init", {"/data/r[1]/a": "red", "/data/r[2]/a": "green"}),
            ("/data/k = a b c", {"/data/r[1]/a": "a", "/data/r[3]/a": "c"}),
            ("/data/k = z", {"/data/r[1]/a": "z", "/data/r[2]/a": ""}),
        ),
    ),
    "a count inside each instance of another repeat": Case(
        xform(
            '<r jr:template=""><m/><s jr:template=""><b/></s></r><t/>',
            '<bind nodeset="/data/r/m" type="int"/>'
            '<bind nodeset="/data/t" calculate="count(/data/r/s)"/>',
            _repeat(
                '<input ref="/data/r/m"/>'
                + _repeat('<input ref="/data/r/s/b"/>', ' jr:count="../m"', "/data/r/s")
            ),
        ),
        (
            ("init", {"/data/t": "0"}),
            ("add /data/r", {}),
            ("/data/r[1]/m = 2", {"/data/t": "2"}),
            ("add /data/r", {}),
            ("/data/r[2]/m = 1", {"/data/t": "3", "/data/r[2]/s[1]/b": ""}),
            ("remove /data/r[1]", {"/data/t": "1"}),
        ),
    ),
    "indexed-repeat() through two repeats": Case(
        xform(
            f"{INNER}<x/><y/>",
            '<bind nodeset="/data/x" calculate="indexed-repeat(/data/r/s/v, /data/r, 2, '
            '/data/r/s, 1)"/>'
            '<bind nodeset="/data/y" calculate="indexed-repeat(/data/r/k, /data/r, 3)"/>',
            _repeat(
                '<input ref="/data/r/k"/>' + _repeat('<input ref="/data/r/s/v"/>', "", "/data/r/s")
            ),
        ),
        (
            ("init", {"/data/x": "3", "/data/y": ""}),
            ("/data/r[2]/s[1]/v = 9", {"/data/x": "9"}),
            ("add /data/r", {}),
            ("/data/r[3]/k = c", {"/data/y": "c"}),
            ("remove /data/r[1]", {"/data/y": ""}),
        ),
    ),
    "the answer of the instance before": Case(
        xform(
            "<r><a>1</a><p/></r>",
            '<bind nodeset="/data/r/p" '
            'calculate="indexed-repeat(/data/r/a, /data/r, position(..) - 1)"/>',
            _repeat(ASKED + '<input ref="/data/r/p"/>'),
        ),
        (
            # A place below 1 is the first in Collect.
            ("init", {"/data/r[1]/p": "1"}),
            ("add /data/r", {"/data/r[2]/p": "1"}),
            ("/data/r[1]/a = 5", {"/data/r[2]/p": "1"}),
            ("/data/r[2]/a = 6", {}),
            ("add /data/r", {"/data/r[3]/p": "6"}),
            ("remove /data/r[2]", {"/data/r[2]/p": "5"}),
        ),
    ),
    "a sum of all instances up to the own one": Case(
        xform(
            "<r><a>1</a><c/></r>",
            '<bind nodeset="/data/r/a" type="int"/><bind nodeset="/data/r/c" '
            'calculate="sum(/data/r[position() &lt;= position(current()/..)]/a)"/>',
            _repeat(),
        ),
        (
            ("init", {"/data/r[1]/c": "1"}),
            ("add /data/r", {}),
            ("/data/r[2]/a = 6", {"/data/r[2]/c": "7"}),
            ("/data/r[1]/a = 5", {"/data/r[1]/c": "5", "/data/r[2]/c": "7"}),
            ("remove /data/r[1]", {"/data/r[1]/c": "6"}),
        ),
    ),
    "current() is the node of the expression, also in a predicate": Case(
        xform(
            "<r><a>1</a><b/></r><r><a>2</a><b/></r>",
            '<bind nodeset="/data/r/b" calculate="count(/data/r[a &lt;= current()/../a])"/>',
            _repeat(),
        ),
        (
            ("init", {"/data/r[1]/b": "1", "/data/r[2]/b": "2"}),
            ("/data/r[1]/a = 5", {"/data/r[1]/b": "2", "/data/r[2]/b": "2"}),
        ),
    ),
    "what is relevant may hang on the place": Case(
        xform(
            "<r><a>1</a><b>x</b></r><c/>",
            '<bind nodeset="/data/r/b" relevant="position(..) mod 2 = 1"/>'
            '<bind nodeset="/data/c" calculate="join(\',\', /data/r/b)"/>',
            _repeat('<input ref="/data/r/b"/>'),
        ),
        (
            ("init", {"/data/c": "x"}),
            ("add /data/r", {"/data/r[2]/b rel": False}),
            ("add /data/r", {"/data/r[3]/b rel": True}),
            ("/data/r[3]/b = z", {"/data/c": "x,z"}),
            ("remove /data/r[1]", {"/data/r[2]/b rel": False, "/data/r[1]/b rel": True}),
        ),
    ),
    "choices that are the names in a repeat": Case(
        """
        | survey |
        | | type | name | label |
        | | begin repeat | r | Person |
        | | text | n | Name |
        | | end repeat | | |
        | | select_one ${n} | head | Who is the head? |
        """,
        (
            ("init", {}),
            ("/data/r[1]/n = Ann", {}),
            ("add /data/r", {}),
            ("/data/r[2]/n = Bob", {"/data/head choices": "Ann Bob"}),
            ("/data/head = Bob", {"/data/head": "Bob"}),
            ("remove /data/r[2]", {"/data/head choices": "Ann", "xml": "<head />"}),
        ),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_repeat_is_as_its_engine_has_it(name: str):
    assert ours(name, CASES[name]) == []


def test_what_reads_other_instances_waits_in_collect_and_not_on_our_devices():
    """JavaRosa works out the own instance only, until an instance comes or goes."""
    form = Form.load(CASES["a sum of all instances up to the own one"].form)
    entry = Entry.start(form, context())
    entry.add_repeat("/data/r")
    entry.answer("/data/r[2]/a", "6")
    assert "/data/r[2]/c" in entry.answer("/data/r[1]/a", "5").refs
    assert entry.find("/data/r[2]/c").text == "11"
