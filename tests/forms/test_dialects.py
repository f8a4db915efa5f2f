"""Where ODK's engines disagree, each dialect does what its engine does."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forms import Entry, Form
from forms.dialect import COLLECT, WEBFORMS
from forms.entry import Restless
from forms.problems import BrokenForm
from forms.replay import line, replay
from forms.values import browser_number, java_double
from tests.forms.test_entry import context

DIALECTS = (COLLECT.name, WEBFORMS.name)


def xform(data: str, binds: str, body: str, more: str = "") -> str:
    """An XForm around what the test is about; `more` are further instances and texts."""
    return f"""<h:html xmlns="http://www.w3.org/2002/xforms" xmlns:h="http://www.w3.org/1999/xhtml"
      xmlns:jr="http://openrosa.org/javarosa" xmlns:odk="http://www.opendatakit.org/xforms">
      <h:head><h:title>t</h:title><model><instance><data id="t">{data}</data></instance>{more}
      {binds}</model></h:head><h:body>{body}</h:body></h:html>"""


def entry(text: str, dialect: str, media: dict[str, bytes] | None = None) -> Entry:
    return Entry.start(Form.load(text, media, dialect), context())


def value(of: Entry, ref: str) -> str:
    return of.find(ref).text


NUMBERS = st.floats(allow_nan=False, allow_infinity=False)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("answer", ["9" * 100_000, "-" + "9" * 5_000, "0x" + "f" * 5_000])
def test_a_whole_number_of_thousands_of_digits_is_none(answer: str, dialect: str):
    form = xform("<a/>", '<bind nodeset="/data/a" type="int"/>', '<input ref="/data/a"/>')
    asked = entry(form, dialect)
    asked.answer("/data/a", answer)
    assert value(asked, "/data/a") == ""
    asked.answer("/data/a", "0" * 5_000 + "7")
    assert value(asked, "/data/a") == "7"


@pytest.mark.parametrize(
    ("said", "taken"), [(5, "5"), (0, "0"), (2.5, "2.5"), (True, "true"), (None, ""), ([1], "")]
)
def test_a_replayed_value_may_be_a_number_or_a_truth_as_the_java_peer_reads_it(
    said: object, taken: str
):
    form = xform("<a/>", "", '<input ref="/data/a"/>')
    steps = [{"op": "init"}, {"op": "set", "ref": "/data/a", "value": said}]
    told = replay({"id": "x", "form": form, "steps": steps}, COLLECT.name)["steps"][-1]
    assert [one["value"] for one in told["state"]["nodes"] if one["ref"] == "/data/a"] == [taken]


@given(NUMBERS)
def test_a_number_written_in_either_way_is_still_that_number(number: float):
    assert float(java_double(number)) == number
    assert float(browser_number(number)) == pytest.approx(number, rel=1e-15)


def test_numbers_are_written_as_java_and_as_a_browser_write_them():
    assert [java_double(one) for one in (1e-6, 1e7, 0.001)] == ["1.0E-6", "1.0E7", "0.001"]
    told = [browser_number(one) for one in (1.5e-12, 1e21, 1e-6, 250.0)]
    assert told == ["1.5e-12", "1e+21", "0.000001", "250"]


HIDDEN = xform(
    "<a/><b>no</b><c/><r><f>1</f><n/></r><r><f>2</f><n/></r><many/>",
    """<bind nodeset="/data/b" relevant="/data/a = 'yes'"/>
       <bind nodeset="/data/c" relevant="/data/b != 'yes'"/>
       <bind nodeset="/data/r/n" relevant="../f > 1"/>
       <bind nodeset="/data/many" calculate="count(/data/r/n)"/>""",
    '<input ref="/data/a"/><input ref="/data/b"/><input ref="/data/c"/>'
    '<repeat nodeset="/data/r"><input ref="/data/r/n"/></repeat>',
)


def test_what_is_not_relevant_reads_as_blank_and_web_forms_alone_still_counts_it():
    for dialect in DIALECTS:
        one = entry(HIDDEN, dialect)
        assert one.find("/data/c").relevant
        one.answer("/data/a", "yes")
        one.answer("/data/b", "yes")
        assert not one.find("/data/c").relevant
    assert value(entry(HIDDEN, "collect"), "/data/many") == "1"
    assert value(entry(HIDDEN, "webforms"), "/data/many") == "2"


COUNTED = xform(
    "<k/><r><n/></r><have/>",
    '<bind nodeset="/data/k" type="int"/><bind nodeset="/data/have" calculate="count(/data/r)"/>',
    '<input ref="/data/k"/>'
    '<repeat nodeset="/data/r" jr:count="/data/k"><input ref="/data/r/n"/></repeat>',
)


def test_a_lower_count_takes_instances_away_in_web_forms_only():
    collect, browser = (entry(COUNTED, dialect) for dialect in DIALECTS)
    assert [value(one, "/data/have") for one in (collect, browser)] == ["1", "0"]
    for one in (collect, browser):
        one.answer("/data/k", "3")
        assert value(one, "/data/have") == "3"
    browser.answer("/data/r[1]/n", "kept")
    assert browser.answer("/data/k", "1").removed == ("/data/r[3]", "/data/r[2]")
    assert value(browser, "/data/r[1]/n") == "kept"
    assert collect.answer("/data/k", "1").removed == ()
    assert [value(one, "/data/have") for one in (collect, browser)] == ["3", "1"]
    browser.answer("/data/k", "")
    assert value(browser, "/data/have") == "1"


def test_a_count_without_a_slash_is_read_around_the_repeat_by_collect_and_inside_by_web_forms():
    text = COUNTED.replace('jr:count="/data/k"', 'jr:count="k"')
    for dialect, many in (("collect", "2"), ("webforms", "0")):
        one = entry(text, dialect)
        one.answer("/data/k", "2")
        assert value(one, "/data/have") == many


LISTED = xform(
    "<a/>",
    '<bind nodeset="/data/a" type="string"/>',
    """<select1 ref="/data/a"><itemset nodeset="instance('l')/root/item">
       <value ref="name"/><label ref="label"/></itemset></select1>""",
    '<instance id="l" src="jr://file-csv/l.csv"/>',
)


@pytest.mark.parametrize("ending", ["\n", "\r", "\r\n", "\n\r"])
def test_lines_of_a_list_may_end_in_any_way(ending: str):
    lines = ["no,label,name", "1,A,a", '2,"B, or\rmore",b', "3,C,c"]
    for dialect in DIALECTS:
        one = entry(LISTED, dialect, {"l.csv": ending.join(lines).encode()})
        choices = [each for each in one.state("/data/a").choices if each.value]
        assert [each.value for each in choices] == ["a", "b", "c"]
        assert choices[1].label == "B, or\rmore"
        # There lines end with the line feed alone, and the rest belongs to the next cell.
        rest = "\r" if (dialect, ending) == ("webforms", "\n\r") else ""
        item = one.form.instance("l").children[0].children[2]
        assert item.kids["no"][0].text == rest + "3"


def test_a_distance_of_one_place_is_none_in_web_forms_and_nothing_in_collect():
    text = xform(
        "<t>0 1 0 0;</t><d/>",
        '<bind nodeset="/data/t" type="geotrace"/>'
        '<bind nodeset="/data/d" type="decimal" calculate="distance(/data/t)"/>',
        '<input ref="/data/t"/>',
    )
    assert float(value(entry(text, "collect"), "/data/d")) == 0
    with pytest.raises(ValueError, match="no places"):
        entry(text, "webforms")


SAID = xform(
    "<a/>",
    '<bind nodeset="/data/a" type="string"/>',
    """<input ref="/data/a"><label ref="jr:itext('x')"/></input>""",
    """<itext><translation lang="en" default=""><text id="x"><value form="long">Long</value>
       <value form="short">L</value><value form="image">jr://images/x.png</value></text></translation>
       <translation lang="fr"/></itext>""",
)


def test_a_text_is_its_long_form_and_in_web_forms_all_of_its_forms():
    collect, browser = (entry(SAID, dialect) for dialect in DIALECTS)
    assert [one.state("/data/a").label for one in (collect, browser)] == ["Long", "LongL"]
    for one in (collect, browser):
        one.set_language("fr")
    assert [one.state("/data/a").label for one in (collect, browser)] == ["Long", ""]


FILTERED = xform(
    "<a/><b/><seen/>",
    """<bind nodeset="/data/seen" calculate="string-length(/data/b)"/>""",
    """<input ref="/data/a"/><select1 ref="/data/b">
       <itemset nodeset="instance('l')/root/item[of = /data/a]"><value ref="name"/>
       <label ref="name"/></itemset></select1>""",
    """<instance id="l"><root><item><of>1</of><name>one</name></item>
       <item><of>2</of><name>two</name></item></root></instance>""",
)


def replayed(text: str, *steps: tuple[str, str]) -> list[dict[str, Any]]:
    told = replay(
        {
            "id": "x",
            "form": text,
            "steps": [
                {"op": "init"},
                *({"op": "set", "ref": ref, "value": said} for ref, said in steps),
            ],
        }
    )
    return told["steps"]


def test_a_replayed_step_shows_values_first_and_its_xml_after_the_choices_were_looked_at():
    steps = replayed(
        FILTERED, ("/data/a", "1"), ("/data/b", "one"), ("/data/a", "2"), ("/data/a", "2")
    )
    held = [
        {node["ref"]: node.get("value") for node in step["state"]["nodes"]}["/data/b"]
        for step in steps
    ]
    assert held == ["", "", "one", "one", ""]
    assert ["<b>one</b>" in step["state"]["xml"] for step in steps] == [False] * 2 + [True] + [
        False
    ] * 2


def test_a_default_that_is_not_offered_is_seen_once_and_then_taken_back():
    text = FILTERED.replace("<b/>", "<b>gone</b>")
    (step,) = replayed(text)
    shown = {node["ref"]: node.get("value") for node in step["state"]["nodes"]}
    assert shown["/data/b"] == "gone"
    assert "gone" not in step["state"]["xml"]


def test_every_line_has_its_answer_whatever_it_says():
    said = b'{"id": "a", "form": "<x/>", "steps": [{"op": "init"}]}', b"{", b'{"id": 3}', b"[]"
    told = [json.loads(line(each)) for each in said]
    assert [one["id"] for one in told] == ["a", None, 3, None]
    assert all(one["steps"][0].keys() == {"op", "error"} for one in told)


def test_a_step_is_told_in_the_fields_that_others_compare():
    steps = replayed(FILTERED, ("/data/a", "1"), ("/data/no", "1"))
    assert steps[1].keys() == {"op", "state", "xml", "validate"}
    assert steps[1]["xml"] == steps[1]["state"]["xml"]
    assert steps[2].keys() == {"op", "error"}
    node = steps[1]["state"]["nodes"][2]
    assert node.pop("choices") == [["one", "one"]]
    assert node == {
        "ref": "/data/b",
        "type": "string",
        "value": "",
        "rel": True,
        "ro": False,
        "req": False,
        "violation": None,
        "label": "",
    }


STORED = [
    ("int", "89.0", "", "89"),
    ("int", "0x10", "", "16"),
    ("decimal", "89", "89.0", "89.0"),
    ("decimal", "1e7", "1.0E7", "10000000.0"),
    ("decimal", "1E-8", "1.0E-8", "0.00000001"),
    ("date", "2020-1-2", "2020-01-02", ""),
    ("date", "2020-01-02T10:00", "", "2020-01-02"),
    ("date", "2020-01-02T10:00:00Z", "", ""),
    ("time", "10:00", "10:00:00.000Z", ""),
    ("dateTime", "2020-01-02T10:00", "2020-01-02T10:00:00.000Z", ""),
    ("dateTime", "2020-01-02T10:00:00+02", "2020-01-02T08:00:00.000Z", ""),
    ("boolean", "true", "0", "true"),
    ("geotrace", "1 2;3 4", "1.0 2.0 0.0 0.0; 3.0 4.0 0.0 0.0", "1.0 2.0;3.0 4.0"),
    ("geotrace", "1 2;3 4;1 2", None, ""),
    ("geoshape", "1 2;3 4;5 6", None, ""),
]


@pytest.mark.parametrize(("kind", "said", "collect", "browser"), STORED)
def test_an_answer_is_stored_as_each_engine_stores_it(
    kind: str, said: str, collect: str | None, browser: str
):
    text = xform("<a/>", f'<bind nodeset="/data/a" type="{kind}"/>', '<input ref="/data/a"/>')
    for dialect, stored in (("collect", collect), ("webforms", browser)):
        one = entry(text, dialect)
        one.answer("/data/a", said)
        if stored is not None:
            assert value(one, "/data/a") == stored


def worked_out(expression: str, dialect: str, kind: str = "string") -> str:
    """What the expression comes to in a form with a group, a repeat and a list."""
    quoted = expression.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    text = xform(
        "<g><x>gx</x></g><r><v>3</v></r><r><v>1</v></r><one>1</one><q/>",
        f'<bind nodeset="/data/q" type="{kind}" calculate="{quoted}"/>',
        '<repeat nodeset="/data/r"><input ref="/data/r/v"/></repeat>',
    )
    return value(entry(text, dialect), "/data/q")


COMES_TO = [
    # A number in brackets is a place in a list to a browser; to JavaRosa it is no truth.
    ("count(/data/r[2])", "0", "1"),
    ("/data/r[position() = 2]/v", "1", "1"),
    ("concat('[', /data/g, ']')", "[]", "[gx]"),
    ("/data/g = ''", "1", "false"),
    ("count-non-empty(/data/r)", "2", "2"),
    ("indexed-repeat(/data/r/v, /data/r, 0)", "3", ""),
    ("round(1.005, 2)", "1.01", "1"),
    ("number('x')", "", ""),
    ("'a' or 'b'", "1", "a"),
    ("pow(1, number('x'))", "", ""),
    ("format-date('2021-01-03', '%W')", "2", "%W"),
    ("format-date(18000, '%d')", "14", ""),
    ("decimal-time('2020-01-02')", "0", ""),
    ("base64-decode('YWJj ')", "abc", "abc"),
]


@pytest.mark.parametrize(("expression", "collect", "browser"), COMES_TO)
def test_an_expression_comes_to_what_each_engine_makes_of_it(
    expression: str, collect: str, browser: str
):
    assert worked_out(expression, "collect") == collect
    assert worked_out(expression, "webforms") == browser


def test_a_truth_where_a_number_is_stored_is_one_in_collect_and_nothing_in_web_forms():
    assert [worked_out("1 = 1", dialect, "int") for dialect in DIALECTS] == ["1", ""]
    assert [worked_out("5000000000", dialect, "int") for dialect in DIALECTS] == ["2147483647", ""]


def test_a_circle_comes_to_rest_in_web_forms_or_is_an_error_and_is_refused_by_collect():
    def circle(expression: str) -> str:
        bind = f'<bind nodeset="/data/a" type="int" calculate="{expression}"/>'
        return xform("<a>1</a>", bind, '<input ref="/data/a"/>')

    for expression in ("if(/data/a > 3, 3, /data/a + 1)", "/data/a + 1"):
        with pytest.raises(BrokenForm, match="cycle"):
            entry(circle(expression), "collect")
    assert value(entry(circle("if(/data/a > 2, 3, /data/a + 1)"), "webforms"), "/data/a") == "3"
    with pytest.raises(Restless, match="/data/a"):
        entry(circle("/data/a + 1"), "webforms")


MARKED = xform(
    "<a/><b/>",
    '<bind nodeset="/data/b" relevant="false()"/>',
    """<input ref="/data/a"><label> A <h:b class="x">bold <output value="1 + 1"/></h:b> <i>i</i>
    </label></input><input ref="/data/b"><label>B</label></input>""",
)


def test_markup_in_a_label_is_kept_as_collect_keeps_it_and_left_out_by_web_forms():
    bold = '<n0:b class="x" xmlns:n0="http://www.w3.org/1999/xhtml">bold 2</n0:b>'
    assert entry(MARKED, "collect").state("/data/a").label == f"A {bold}"
    assert entry(MARKED, "webforms").state("/data/a").label == " A  \n    "


def test_what_is_not_relevant_has_its_texts_in_web_forms_alone():
    for dialect, label in (("collect", None), ("webforms", "B")):
        (step,) = replay({"id": "x", "form": MARKED, "steps": [{"op": "init"}]}, dialect)["steps"]
        told = {node["ref"]: node.get("label") for node in step["state"]["nodes"]}
        assert told["/data/b"] == label


def test_a_case_of_javarosas_own_tests_hands_its_values_over_as_they_are():
    text = xform(
        "<a>1</a><b/>",
        '<bind nodeset="/data/a" type="int" constraint=". != 5"/>'
        '<bind nodeset="/data/b" type="int"/>',
        '<input ref="/data/a"/><input ref="/data/b"/>',
    )
    steps = [
        {"op": "init"},
        {"op": "set", "ref": "/data/b", "value": "2.5"},
        {"op": "set", "ref": "/data/a", "value": "5"},
    ]
    case = {"id": "x", "form": text, "steps": steps}
    for oracle, a, b in (("jr", "1", "2.5"), ("both", "5", "")):
        nodes = replay({**case, "oracle": oracle})["steps"][-1]["state"]["nodes"]
        assert {node["ref"]: node.get("value") for node in nodes} == {
            "/data": None,
            "/data/a": a,
            "/data/b": b,
        }


def test_an_entry_read_back_has_no_blanks_around_its_values_in_collect():
    text = xform(
        "<a/><b/>",
        '<bind nodeset="/data/b" type="string" calculate="once(/data/a)"/>',
        '<input ref="/data/a"/>',
    )
    steps = [
        {"op": "init"},
        {"op": "set", "ref": "/data/a", "value": "  "},
        {"op": "save_restore"},
        {"op": "set", "ref": "/data/a", "value": " z "},
        {"op": "save_restore"},
    ]
    for dialect, a, b in (("collect", "z", "z"), ("webforms", " z ", "  ")):
        nodes = replay({"id": "x", "form": text, "steps": steps}, dialect)["steps"][-1]["state"]
        told = {node["ref"]: node.get("value") for node in nodes["nodes"]}
        assert (told["/data/a"], told["/data/b"]) == (a, b)


def test_taking_away_choices_of_which_none_is_offered_is_an_act_that_others_follow():
    text = xform(
        "<a/><many/><c/>",
        """<bind nodeset="/data/a" type="string" required="true()"/>
           <bind nodeset="/data/c" type="string" calculate="concat('of ', /data/many)"/>""",
        """<input ref="/data/a"/><select ref="/data/many">
           <itemset nodeset="instance('l')/root/item[of = /data/a]"><value ref="name"/>
           <label ref="name"/></itemset></select>""",
        """<instance id="l"><root><item><name>x</name><of>1</of></item></root></instance>""",
    )
    steps = [
        {"op": "init"},
        {"op": "set", "ref": "/data/many", "value": "x"},
        {"op": "set", "ref": "/data/many", "value": ""},
    ]
    told = replay({"id": "x", "form": text, "steps": steps})["steps"]
    values = [{node["ref"]: node.get("value") for node in step["state"]["nodes"]} for step in told]
    assert [(each["/data/many"], each["/data/c"]) for each in values] == [
        ("", "of "),
        ("x", "of x"),  # told before the question is looked at, which takes the choice back
        ("", "of "),
    ]


def test_what_a_saved_entry_leaves_out_is_not_relevant_before_its_rule_is_worked_out():
    text = xform(
        "<a>old</a>",
        """<bind nodeset="/data/a" type="string" relevant="1 = 2" calculate="once('new')"/>""",
        '<input ref="/data/a"/>',
    )
    steps = [{"op": "init"}, {"op": "save_restore"}]
    told = replay({"id": "x", "form": text, "steps": steps})["steps"]
    values = [
        next(node["value"] for node in step["state"]["nodes"] if node["ref"] == "/data/a")
        for step in told
    ]
    # As it begins, JavaRosa comes to either, by the order of the day; read back, to "new" alone.
    assert values == ["old", "new"]
