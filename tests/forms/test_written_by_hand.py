"""XForms as people write them by hand, or as older tools wrote them: what Collect makes of each."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from forms import BrokenForm, Entry, Form
from forms.dialect import COLLECT, WEBFORMS
from forms.instance import Cell
from forms.replay import replay
from tests.forms.test_dialects import entry, value, xform
from tests.forms.test_entry import context

ASKED = '<input ref="/data/{}"><label>{}</label></input>'


def asked(*names: str) -> str:
    return "".join(ASKED.format(name, name) for name in names)


def chosen(kind: str, name: str, *values: str) -> str:
    items = "".join(f"<item><label>{one}</label><value>{one}</value></item>" for one in values)
    return f'<{kind} ref="/data/{name}"><label>{name}</label>{items}</{kind}>'


def played(form: str, *steps: dict[str, str]) -> dict[str, Any]:
    """The values after the steps, by their references."""
    moment = datetime(2026, 11, 23, tzinfo=UTC).isoformat()
    case = {"id": "x", "form": form, "at": moment, "steps": [{"op": "init"}, *steps]}
    last = replay(case, COLLECT.name)["steps"][-1]
    assert "error" not in last, last
    return {one["ref"]: one.get("value") for one in last["state"]["nodes"]}


def test_choices_may_lie_deep_in_a_list_that_conditions_lead_into():
    states = """<instance id="states"><root><state><value>north</value><county><value>n1</value>
        <name>First</name></county></state><state><value>south</value><county><value>s1</value>
        <name>Second</name></county></state></root></instance>"""
    body = """<input ref="/data/state"/><select1 ref="/data/county"><label>c</label>
        <itemset nodeset="instance('states')/root/state[value=/data/state]/county">
        <value ref="value"/><label ref="{label}"/></itemset></select1>"""
    form = xform("<state/><county/>", "", body.format(label="name"), states)
    answers = entry(form, COLLECT.name)
    answers.answer("/data/state", "south")
    assert [one.label for one in answers.state("/data/county").choices] == ["Second"]
    with pytest.raises(BrokenForm, match="which has no 'title' for the label"):
        Form.load(xform("<state/><county/>", "", body.format(label="title"), states), {})


def test_collect_does_what_stands_in_the_model_a_question_or_a_repeat_and_nothing_else():
    first = '<setvalue event="odk-instance-first-load" ref="/data/{0}">set</setvalue>'
    form = xform(
        "<a/><b/><c/><g><d/></g><r><e/></r>",
        first.format("a"),
        first.format("b")
        + f'<input ref="/data/c"><label>c</label>{first.format("c")}</input>'
        + f'<group ref="/data/g"><label>g</label>{first.format("g/d")}{asked("g/d")}</group>'
        + f'<repeat nodeset="/data/r">{first.format("r/e")}{asked("r/e")}</repeat>',
    )
    told = dict.fromkeys(("a", "c", "r[1]/e"), "set")
    for dialect, more in ((COLLECT, {}), (WEBFORMS, {"b": "set", "g/d": "set"})):
        opened = entry(form, dialect.name)
        for name in ("a", "b", "c", "g/d", "r[1]/e"):
            assert value(opened, f"/data/{name}") == {**told, **more}.get(name, ""), name


def test_an_action_of_the_model_may_wait_for_new_instances_beside_another_event():
    events = "odk-instance-first-load odk-new-repeat"
    made = '<setvalue event="{}" ref="/data/r/a">set</setvalue>'
    body = f'<repeat nodeset="/data/r">{asked("r/a")}</repeat>'
    form = xform("<r><a/></r>", made.format(events), body)
    more = {"op": "add_repeat", "ref": "/data/r"}
    values = played(form, more)
    assert (values["/data/r[1]/a"], values["/data/r[2]/a"]) == ("set", "set")
    with pytest.raises(BrokenForm, match="must stand inside its repeat"):
        Form.load(xform("<r><a/></r>", made.format("odk-new-repeat"), body), {})


def test_a_value_that_is_set_to_an_empty_expression_is_blank_whatever_stands_inside():
    inside = '<setvalue event="xforms-value-changed" ref="/data/b" value="">text</setvalue>'
    form = xform("<a/><b>first</b>", "", f'<input ref="/data/a"><label>a</label>{inside}</input>')
    assert played(form, {"op": "set", "ref": "/data/a", "value": "1"})["/data/b"] == ""


def test_the_first_step_of_a_path_is_the_root_whatever_it_is_called():
    form = xform(
        "<a/><b/>",
        '<bind nodeset="/copied/a" calculate="2 + 2"/>'
        '<bind nodeset="/data/b" calculate="/copied/a + 1"/>',
        asked("b"),
    )
    assert played(form) == {"/data": None, "/data/a": "4", "/data/b": "5"}
    assert value(entry(form, WEBFORMS.name), "/data/b") != "5"
    with pytest.raises(BrokenForm, match="/copied/a shows a node that the form's data does not"):
        Form.load(xform("<a/>", "", '<input ref="/copied/a"/>'), {})


def test_a_first_value_that_the_list_does_not_have_is_none():
    form = xform(
        "<a>zz</a><b>y zz x</b><c>x, y</c><r><d>zz</d></r>",
        "",
        chosen("select1", "a", "x", "y")
        + chosen("select", "b", "x", "y")
        + chosen("odk:rank", "c", "x", "y")
        + f'<repeat nodeset="/data/r">{chosen("select1", "r/d", "x", "y")}</repeat>',
    )
    opened = entry(form, COLLECT.name)
    found = [value(opened, f"/data/{name}") for name in ("a", "b", "c", "r[1]/d")]
    assert found == ["", "y x", "y", ""]
    # What a person chose, or a calculation came to, is looked at by the check of the choice.
    assert played(form, {"op": "set", "ref": "/data/a", "value": "zz"})["/data/a"] == "zz"


def test_a_number_among_first_values_is_kept_though_the_list_lacks_it():
    form = xform("<a>7</a>", '<bind nodeset="/data/a" type="int"/>', chosen("select1", "a", "1"))
    assert value(entry(form, COLLECT.name), "/data/a") == "7"


@pytest.mark.parametrize(
    ("expression", "metres"),
    [
        ("distance(/data/a, /data/b)", 248906),
        ("distance('1 2', '0 0')", 248906),
        ("distance('7', '7 0')", 0),
        ("distance('100 200', '1 2')", 8849356),
        ("distance(/data/b)", 0),
        ("distance('1 2;;1 2;')", 497812),
    ],
)
def test_a_place_that_lacks_figures_has_zeros_for_them(expression: str, metres: int):
    form = xform(
        "<a>1 2 0 0</a><b/><c/>",
        f'<bind nodeset="/data/a" type="geopoint"/><bind nodeset="/data/c" '
        f'calculate="{expression}"/>',
        asked("a", "b"),
    )
    assert int(float(value(entry(form, COLLECT.name), "/data/c"))) == metres


@pytest.mark.parametrize("place", ["1 2 3 4 5", "somewhere", "1,2 3", "1 2;3 4"])
def test_what_is_no_place_is_said_to_be_none(place: str):
    calculated = f"<bind nodeset=\"/data/c\" calculate=\"distance('{place}', '1 2')\"/>"
    with pytest.raises(ValueError, match="no places on earth"):
        entry(xform("<c/>", calculated, ""), COLLECT.name)


def test_a_text_that_was_encoded_from_no_text_shows_so():
    form = xform("<a/>", '<bind nodeset="/data/a" calculate="base64-decode(\'2002\')"/>', "")
    assert value(entry(form, COLLECT.name), "/data/a") == "\ufffdM6"


# What Web Forms itself comes to, asked side by side (`python -m tests.campaigns webforms`).


def browsed(form: str, *answers: tuple[str, str]) -> dict[str, str]:
    """The values after the answers in the dialect `webforms`."""
    opened = entry(form, WEBFORMS.name)
    for ref, said in answers:
        opened.answer(f"/data/{ref}", said)
    kids = [kid for kid in opened.root.children if isinstance(kid, Cell) and kid.name != "meta"]
    return {kid.name: kid.text for kid in kids}


def test_to_a_browser_no_number_is_written_as_nothing():
    expressions = ("string(number('y'))", "concat('x', number('y'))", "'NaN'", "date(number('y'))")
    binds = "".join(
        f'<bind nodeset="/data/{name}" calculate="{one}"/>'
        for name, one in zip("abcd", expressions, strict=True)
    )
    found = browsed(xform("<a/><b/><c/><d/>", binds, ""))
    assert found == {"a": "", "b": "x", "c": "NaN", "d": "Invalid Date"}


@pytest.mark.parametrize(
    ("place", "kept"),
    [("0 0 0 0", ""), ("0 0 5 5", ""), ("0 0.05", "0.0 0.05"), ("0 1", "0.0 1.0")],
)
def test_to_a_browser_a_place_at_nought_degrees_both_ways_was_never_recorded(place: str, kept: str):
    form = xform("<a/>", '<bind nodeset="/data/a" type="geopoint"/>', asked("a"))
    assert browsed(form, ("a", place)) == {"a": kept}


def test_a_browser_takes_only_what_is_offered():
    form = xform("<a/><b/>", "", chosen("select1", "a", "x", "y") + chosen("select", "b", "x", "y"))
    assert browsed(form, ("a", "zz"), ("b", "y zz x")) == {"a": "", "b": "x y"}


def test_to_a_browser_an_action_goes_over_a_calculation_that_reads_nothing():
    first = '<setvalue event="odk-instance-first-load" ref="/data/a" value="0"/>'
    for work, kept in (("2", "0"), ("/data/b + 1", "4")):
        calculated = f'<bind nodeset="/data/a" calculate="{work}"/>'
        form = xform("<a/><b>3</b>", calculated + first, asked("a", "b"))
        assert browsed(form)["a"] == kept


def test_to_a_browser_the_answer_to_a_hidden_question_changes_nothing():
    changed = '<setvalue event="xforms-value-changed" ref="/data/b">set</setvalue>'
    form = xform(
        "<a/><b/>",
        '<bind nodeset="/data/a" relevant="false()"/>',
        f'<input ref="/data/a"><label>a</label>{changed}</input>',
    )
    assert browsed(form, ("a", "1"))["b"] == ""


def test_to_a_browser_a_hidden_group_that_is_read_back_has_no_instances():
    form = xform(
        "<a>no</a><g><r><b/></r></g>",
        '<bind nodeset="/data/g" relevant="/data/a = \'yes\'"/>',
        f'{asked("a")}<group ref="/data/g"><repeat nodeset="/data/g/r">{asked("g/r/b")}</repeat></group>',
    )
    for dialect, there in ((COLLECT, True), (WEBFORMS, False)):
        loaded = Form.load(form, {}, dialect.name)
        first = Entry.start(loaded, context())
        again = Entry.resume(loaded, first.xml(), context())
        assert ("r" in again.find("/data/g").kids) is there


def test_to_a_browser_a_count_asks_for_instances_that_are_hidden_too():
    form = xform(
        "<n>2</n><r><a/></r>",
        '<bind nodeset="/data/r" relevant="false()"/>',
        f'<repeat nodeset="/data/r" jr:count="/data/n">{asked("r/a")}</repeat>',
    )
    for dialect, number in ((COLLECT, 1), (WEBFORMS, 2)):
        assert len(entry(form, dialect.name).root.kids["r"]) == number


def test_to_a_browser_what_is_hidden_when_an_entry_begins_is_not_set():
    first = '<setvalue event="odk-instance-first-load" ref="/data/b">set</setvalue>'
    hidden = '<bind nodeset="/data/b" relevant="/data/a = \'yes\'"/>'
    form = xform("<a/><b/>", hidden + first, asked("a", "b"))
    assert browsed(form, ("a", "yes"))["b"] == ""
    kept = entry(form, COLLECT.name)
    kept.answer("/data/a", "yes")
    assert value(kept, "/data/b") == "set"


def test_to_a_browser_a_calculation_of_what_begins_with_it_stays_over_an_action():
    made = '<setvalue event="odk-new-repeat" ref="/data/r/c" value="0"/>'
    for work, kept in (("../a + 1", "6"), ("/data/q + 1", "0"), ("2", "0")):
        form = xform(
            '<q>3</q><r jr:template=""><a>5</a><c/></r>',
            f'<bind nodeset="/data/r/c" calculate="{work}"/>',
            f'{asked("q")}<repeat nodeset="/data/r">{made}{asked("r/a")}</repeat>',
        )
        opened = entry(form, WEBFORMS.name)
        opened.add_repeat("/data/r")
        assert value(opened, "/data/r[1]/c") == kept


@pytest.mark.parametrize(
    "rule",
    [
        "instance('q')/root/item/name",
        "count(instance('l')/root/item[name = instance('q')/root/item/name]) + 1",
        "-(if(true(), 1, instance('q')/root/item))",
    ],
)
def test_a_list_that_is_not_there_is_refused_wherever_a_rule_asks_for_it(rule: str):
    listed = '<instance id="l"><root><item><name>a</name></item></root></instance>'
    form = xform("<a/>", f'{listed}<bind nodeset="/data/a" calculate="{rule}"/>', "")
    with pytest.raises(BrokenForm, match=r"\(a\): calculate: there is no list 'q'.*lists are: l"):
        Form.load(form)
    # What is pulled from a file, or saved last, or named by an answer, may come to be there.
    for other in (
        rule.replace("'q'", "'l'"),
        "pulldata('q', 'a', 'b', 'c')",
        "instance(/data/a)/root/item",
    ):
        Form.load(xform("<a/><b/>", f'{listed}<bind nodeset="/data/b" calculate="{other}"/>', ""))
