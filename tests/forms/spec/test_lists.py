"""Lists that a form brings or finds beside it, and what was answered the time before.

Source: https://getodk.github.io/xforms-spec/#secondary-instances
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from forms import Context, Entry, Form
from forms.xlsform import compile_xlsform
from tests.forms.spec.told import Case, ours, xform
from tests.forms.test_entry import context

if TYPE_CHECKING:
    from collections.abc import Mapping

LAST = '<instance id="__last-saved" src="jr://instance/last-saved"/>'
AGAIN = xform(
    "<a/><b/>",
    '<setvalue event="odk-instance-first-load" ref="/data/a" '
    "value=\"instance('__last-saved')/data/a\"/>"
    '<bind nodeset="/data/b" '
    "calculate=\"concat('was ', instance('__last-saved')/data/b)\"/>" + LAST,
)
LAST_COLUMN = """
    | survey |
    | | type | name | label | default |
    | | text | a | A | ${last-saved#a} |
    | | integer | n | N | ${last-saved#n} + 1 |
    """


def _listed(src: str, value: str = "name", label: str = "label", more: str = "") -> str:
    return xform(
        "<a/><b/><c/>",
        f'<bind nodeset="/data/b" calculate="instance(\'l\')/root/item[{value} = /data/a]/{label}"/>'
        '<bind nodeset="/data/c" calculate="count(instance(\'l\')/root/item)"/>'
        f'{more}<instance id="l" src="{src}"/>',
        '<select1 ref="/data/a"><itemset nodeset="instance(\'l\')/root/item">'
        f'<value ref="{value}"/><label ref="{label}"/></itemset></select1>',
    )


def _csv(text: str, label: str, *, count: str = "2", stops: str = "") -> Case:
    return Case(
        _listed("jr://file-csv/l.csv"),
        (("init", {"/data/c": count}), ("/data/a = a", {"/data/b": label})),
        stops=stops,
        files={"jr://file-csv/l.csv": text},
    )


def _xml(text: str, *, stops: str = "") -> Case:
    return Case(
        _listed("jr://file/l.xml"),
        (("init", {"/data/a choices": "a b"}), ("/data/a = a", {"/data/b": "A"})),
        stops=stops,
        files={"jr://file/l.xml": text},
    )


def _map(
    geometry: Any, expected: str, *, at: str = "geometry", stops: str = "", **more: Any
) -> Case:
    feature = {"type": "Feature", "geometry": geometry, "properties": {"title": "T"}} | more
    collection = {"type": "FeatureCollection", "features": [feature]}
    found = f'<bind nodeset="/data/d" calculate="instance(\'l\')/root/item[id = /data/a]/{at}"/>'
    form = _listed("jr://file/l.geojson", "id", "title", found).replace("<c/>", "<c/><d/>")
    return Case(
        form,
        (("init", {"/data/c": "1"}), ("/data/a = p1", {"/data/b": "T", "/data/d": expected})),
        stops=stops,
        files={"jr://file/l.geojson": json.dumps(collection)},
    )


BLANK = xform(
    "<m/><o/><plain/><with/><label/>",
    """<bind nodeset="/data/plain" calculate="count(instance('l')/root/item[name = 'b'])"/>
       <bind nodeset="/data/with" calculate="count(instance('l')/root/item[name = 'b '])"/>
       <bind nodeset="/data/label" calculate="concat('[', instance('l')/root/item[position() = 1]/label, ']')"/>
       {}""",
    "".join(
        f'<{kind} ref="/data/{name}"><itemset nodeset="instance(\'l\')/root/item">'
        f'<value ref="name"/><label ref="label"/></itemset></{kind}>'
        for kind, name in (("select", "m"), ("select1", "o"))
    ),
)
PRETTY = """<root>
  <item><name>
    b
  </name><label> B </label></item>
  <item><name> c </name><label>C</label></item>
</root>"""


def _blank(list_: str, kept: str, label: str, files: Mapping[str, str] | None = None) -> Case:
    """A list whose first value has blanks around it; of `kept`, how many are 'b' and how many
    'b ' to a predicate.
    """
    plain, with_ = kept.split()
    return Case(
        BLANK.format(list_),
        (
            (
                "init",
                {
                    "/data/m choices": "b c",
                    "/data/plain": plain,
                    "/data/with": with_,
                    "/data/label": label,
                },
            ),
            ("/data/m = b  c", {"/data/m": "b c"}),
            ("/data/o = b", {"/data/o": "b"}),
            ("save_restore", {"/data/m": "b c", "/data/o": "b", "xml": "<o>b</o>"}),
        ),
        files=files,
    )


ITEMS = "<root>{}</root>".format(
    "".join(f"<item><name>{n}</name><label>{n.upper()}</label></item>" for n in "ab")
)
POINT = {"type": "Point", "coordinates": [102.0, 0.5]}
CASES = {
    "nothing was saved before": Case(AGAIN, (("init", {"/data/a": "", "/data/b": "was "}),)),
    "last-saved as authors write it, the first time": Case(
        LAST_COLUMN, (("init", {"/data/a": "", "/data/n": ""}),)
    ),
    "a CSV with commas": _csv("name,label\na,A\nb,B\n", "A"),
    "a CSV with a byte order mark": _csv("\ufeffname,label\na,A\nb,B\n", "A"),
    "a CSV with semicolons": _csv("name;label\na;A, or so\nb;B\n", "A, or so"),
    "a CSV with tabs": _csv(
        "name\tlabel\na\tA, or so\nb\tB\n",
        "A, or so",
        stops="JavaRosa knows commas and semicolons; Collect's users save such files too",
    ),
    "a CSV with a heading alone": _csv("name,label\n", "", count="0"),
    "a CSV with a heading that ends nowhere": _csv("name,label", "", count="0"),
    "a CSV with quoted cells": _csv('"name","label"\n"a","say ""x"""\nb,B\n', 'say "x"'),
    "a CSV with a cell of two lines": _csv('name,label\na,"two\nlines"\nb,B\n', "two\nlines"),
    "a CSV with a blank line": _csv("name,label\na,A\n\nb,B\n", "A"),
    "a CSV whose first line is short": _csv("name,label,more\na\nb,B,x\n", ""),
    "a CSV whose line is long": _csv("name,label\na,A,more\nb,B\n", "A"),
    "a CSV of another system": _csv("name,label\r\na,A\r\nb,B\r\n", "A"),
    "a CSV with all letters": _csv("name,label\na,Ünï中\nb,B\n", "Ünï中"),
    "a CSV that is not there": Case(
        _listed("jr://file-csv/l.csv"),
        (("init", {"/data/c": "0", "/data/a choices": ""}),),
        says="ODK Validate goes on with a blank list",
    ),
    "a list in XML": _xml(ITEMS),
    "a list in XML with a declaration": _xml(f"<?xml version='1.0'?>{ITEMS}"),
    "a list in XML with a byte order mark": _xml(
        f"\ufeff<?xml version='1.0'?>{ITEMS}", stops="JavaRosa cannot read the mark"
    ),
    "a list in XML without items": Case(
        _listed("jr://file/l.xml"),
        (("init", {"/data/c": "0"}),),
        files={"jr://file/l.xml": "<root/>"},
    ),
    "a list in XML that is broken": Case(
        _listed("jr://file/l.xml"),
        (("init", {"error": "it ends in the middle"}),),
        files={"jr://file/l.xml": "<root>"},
    ),
    "blanks around a choice of a CSV are not in the answer, but in the list": _blank(
        '<instance id="l" src="jr://file-csv/l.csv"/>',
        "0 1",
        "[ B ]",
        {"jr://file-csv/l.csv": "name,label\nb , B \nc,C\n"},
    ),
    "a no-break space in a choice parts no answer": Case(
        BLANK.format('<instance id="l" src="jr://file-csv/l.csv"/>'),
        (
            ("init", {}),
            ("/data/m = b\xa0 c\xa0d", {"/data/m": "b\xa0 c\xa0d"}),
            ("save_restore", {"/data/m": "b\xa0 c\xa0d", "xml": "<m>b\xa0 c\xa0d</m>"}),
        ),
        files={"jr://file-csv/l.csv": "name,label\nb\xa0,B\nc\xa0d,C\n"},
    ),
    "blanks around a value of a list in XML are none of it": _blank(
        '<instance id="l" src="jr://file/l.xml"/>', "1 0", "[B]", {"jr://file/l.xml": PRETTY}
    ),
    "blanks around a value of a list within the form are none of it": _blank(
        f'<instance id="l">{PRETTY}</instance>', "1 0", "[B]"
    ),
    # https://getodk.github.io/xforms-spec/#secondary-instances---external: latitude comes first
    "a point of a map": _map(POINT, "0.5 102.0 0 0", id="p1"),
    "a line of a map": _map(
        {"type": "LineString", "coordinates": [[1, 2], [3, 4]]}, "2 1 0 0; 4 3 0 0", id="p1"
    ),
    "a shape of a map": _map(
        {"type": "Polygon", "coordinates": [[[1, 2], [3, 4], [5, 6], [1, 2]]]},
        "2 1 0 0; 4 3 0 0; 6 5 0 0; 2 1 0 0",
        id="p1",
    ),
    "a feature whose id is a property": _map(
        POINT, "5", at="people", properties={"title": "T", "id": "p1", "people": 5}
    ),
    "a feature with two ids": _map(
        POINT, "p1", at="id", properties={"title": "T", "id": "other"}, id="p1"
    ),
    "a feature without a geometry": _map(
        None, "", id="p1", stops="JavaRosa stops at a feature that is nowhere"
    ),
    "a map without features": Case(
        _listed("jr://file/l.geojson", "id", "title"),
        (("init", {"/data/c": "0"}),),
        files={"jr://file/l.geojson": '{"type": "FeatureCollection", "features": []}'},
    ),
    "what is no map": Case(
        _listed("jr://file/l.geojson", "id", "title"),
        (("init", {"error": "a single Feature"}),),
        files={"jr://file/l.geojson": '{"type": "Feature"}'},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_list_is_read_as_the_specification_has_it(name: str):
    assert ours(name, CASES[name]) == []


@pytest.mark.parametrize(
    ("properties", "at", "expected"),
    [
        ({"id": "p1", "title": "T"}, "geometry", "0.5 102 0 0"),
        ({"id": "p1", "title": "T", "x": None}, "x", "null"),
        ({"id": "p1", "title": "T", "x": 2.0}, "x", "2"),
        ({"id": "p1", "title": "T", "x": {"y": 1}}, "x", "[object Object]"),
        ({"id": "p1", "title": "T", "x": [1, None, "a"]}, "x", "1,,a"),
    ],
)
def test_in_a_browser_the_values_of_a_map_are_those_of_javascript(
    properties: Mapping[str, Any], at: str, expected: str
):
    case = _map(POINT, expected, at=at, properties=properties)
    assert ours("map", Case(case.form, case.acts, dialect="webforms", files=case.files)) == []


PULLED = """
    | survey |
    | | type | name | label | calculation |
    | | text | k | Key | |
    | | calculate | found | | pulldata('places', 'label', 'name', ${k}) |
    | | calculate | none | | pulldata('places', 'nothing', 'name', ${k}) |
    """


@pytest.mark.parametrize(
    "text",
    [
        "name,label\na,A\nb,B\na,second\n",
        "\ufeffname;label\na;A\nb;B\n",
        "label\tname\nA\ta\nB\tb\n",
    ],
    ids=["commas", "semicolons and a mark", "tabs"],
)
def test_pulldata_finds_the_first_row_of_the_key_and_else_nothing(text: str):
    media = {"places.csv": text.encode()}
    form = Form.load(compile_xlsform("f.md", PULLED.encode(), media), media)
    entry = Entry.start(form, context())
    for key, found in (("a", "A"), ("b", "B"), ("c", ""), ("", "")):
        entry.answer("/data/k", key)
        assert entry.find("/data/found").text == found
        assert entry.find("/data/none").text == ""


def test_pulldata_in_a_file_with_a_heading_alone_finds_nothing():
    media = {"places.csv": b"name,label"}
    form = Form.load(compile_xlsform("f.md", PULLED.encode(), media), media)
    entry = Entry.start(form, context())
    entry.answer("/data/k", "a")
    assert entry.find("/data/found").text == ""


def test_what_was_saved_is_read_at_the_first_load_and_whenever_it_is_calculated():
    form = Form.load(AGAIN)
    saved = b"<data id='t'><a>before</a><b>bb</b></data>"
    entry = Entry.start(form, context(last_saved=saved))
    assert [entry.find(f"/data/{name}").text for name in "ab"] == ["before", "was bb"]
    entry.answer("/data/a", "mine")
    again = Entry.resume(form, entry.save(), context(last_saved=saved))
    assert [again.find(f"/data/{name}").text for name in "ab"] == ["mine", "was bb"]


def test_what_is_saved_is_what_the_next_entry_finds():
    """https://docs.getodk.org/form-logic/#values-from-the-last-saved-record"""
    form = Form.load(compile_xlsform("f.md", LAST_COLUMN.encode()))
    first = Entry.start(form, context())
    first.answer("/data/a", "Amina")
    first.answer("/data/n", "4")
    following = Entry.start(form, context(last_saved=first.finish().xml))
    assert [following.find(f"/data/{name}").text for name in "an"] == ["Amina", "5"]
    # It is the device's memory, not the form's: another device has none.
    assert isinstance(context(), Context)
    assert Entry.start(form, context()).find("/data/a").text == ""
