"""Actions happen at their event and in their order: https://getodk.github.io/xforms-spec/#events"""

from __future__ import annotations

import pytest

from tests.forms.spec.told import Case, ours, xform

LOAD = "odk-instance-first-load"


def _set(ref: str, value: str, event: str = LOAD) -> str:
    return f"""<setvalue event="{event}" ref="{ref}" value="{value}"/>"""


def _input(ref: str, inside: str = "") -> str:
    return f'<input ref="{ref}">{inside}</input>'


def _repeat(inside: str, more: str = "") -> str:
    return f'<group ref="/data/r"><repeat nodeset="/data/r"{more}>{inside}</repeat></group>'


CASES = {
    "first load comes once, and every load again and again": Case(
        xform(
            "<a/><b/><c/>",
            '<bind nodeset="/data/a" type="int"/><bind nodeset="/data/b" type="int"/>'
            '<bind nodeset="/data/c" type="int" calculate="/data/a + 1"/>'
            + _set("/data/a", "5")
            + _set("/data/b", "coalesce(/data/b, 0) + 1", "odk-instance-load"),
            _input("/data/a") + _input("/data/b"),
        ),
        (
            ("init", {"/data/a": "5", "/data/b": "1", "/data/c": "6"}),
            ("/data/a = 7", {"/data/a": "7", "/data/b": "1", "/data/c": "8"}),
            ("save_restore", {"/data/a": "7", "/data/b": "2", "/data/c": "8"}),
            ("edit", {"/data/a": "7", "/data/b": "3"}),
        ),
        says="first-load: the first time an instance is loaded; load: every time",
    ),
    "the old name of first load": Case(
        xform("<a/>", _set("/data/a", "1 + 1", "xforms-ready")),
        (("init", {"/data/a": "2"}), ("/data/a = 9", {}), ("save_restore", {"/data/a": "9"})),
        says="xforms-ready is the deprecated alias of odk-instance-first-load",
    ),
    "actions go in the order of the form, each seeing what those before it did": Case(
        xform(
            "<a/><b/><c>1</c>",
            _set("/data/a", "concat(/data/c, 'x')")
            + _set("/data/b", "/data/a")
            # Without this it would be seen by none of them.
            + _set("/data/c", "'2'"),
        ),
        (("init", {"/data/a": "1x", "/data/b": "1x", "/data/c": "2"}),),
    ),
    "before the first calculation": Case(
        xform(
            "<a/><b/><c/>",
            '<bind nodeset="/data/b" calculate="concat(/data/a, \'!\')"/>'
            + _set("/data/c", "concat('b was ', /data/b)")
            + _set("/data/a", "'x'"),
        ),
        (("init", {"/data/a": "x", "/data/b": "x!", "/data/c": "b was "}),),
        says="first-load happens before any calculation",
    ),
    "a text as the value, and nothing as the value": Case(
        xform(
            "<a/><b>z</b>",
            f'<setvalue event="{LOAD}" ref="/data/a">some text</setvalue>'
            f'<setvalue event="{LOAD}" ref="/data/b"/>',
        ),
        (("init", {"/data/a": "some text", "/data/b": ""}),),
        says="value, or the element's text; neither: blank",
    ),
    "one action for two events": Case(
        xform(
            "<a/><b/>",
            "",
            _input("/data/a")
            + _input(
                "/data/b",
                _set("/data/a", "coalesce(/data/a, 0) + 10", f"{LOAD} xforms-value-changed"),
            ),
        ),
        (
            ("init", {"/data/a": "10"}),
            ("/data/b = x", {"/data/a": "20"}),
            ("save_restore", {"/data/a": "20"}),
        ),
        says="event: one or more, parted by spaces",
    ),
    "what changed is worked out before value-changed comes": Case(
        xform(
            "<a/><b/><c/><d/>",
            '<bind nodeset="/data/a" type="int"/>'
            '<bind nodeset="/data/b" type="int" calculate="/data/a * 2"/>'
            '<bind nodeset="/data/d" calculate="concat(\'c\', /data/c)"/>',
            _input("/data/a", _set("/data/c", "/data/b", "xforms-value-changed"))
            + _input("/data/c"),
        ),
        (
            ("init", {"/data/c": "", "/data/d": "c"}),
            ("/data/a = 2", {"/data/b": "4", "/data/c": "4", "/data/d": "c4"}),
            ("/data/c = q", {"/data/d": "cq"}),
            ("/data/a = 3", {"/data/c": "6", "/data/d": "c6"}),
        ),
    ),
    "what an action sets is a change that other actions follow": Case(
        xform(
            "<a/><b/><c/>",
            "",
            _input("/data/a", _set("/data/b", "/data/a", "xforms-value-changed"))
            + _input("/data/b", _set("/data/c", "/data/b", "xforms-value-changed"))
            + _input("/data/c"),
        ),
        (
            ("init", {"/data/b": "", "/data/c": ""}),
            ("/data/a = 1", {"/data/b": "1", "/data/c": "1"}),
            ("/data/b = 2", {"/data/a": "1", "/data/c": "2"}),
        ),
    ),
    "what is not relevant is set all the same": Case(
        xform(
            "<a/><b/><c/>",
            '<bind nodeset="/data/b" relevant="/data/c = \'y\'"/>',
            _input("/data/a", _set("/data/b", "/data/a", "xforms-value-changed"))
            + _input("/data/b")
            + _input("/data/c"),
        ),
        (
            ("init", {}),
            ("/data/a = 1", {"/data/b rel": False}),
            ("/data/c = y", {"/data/b rel": True, "/data/b": "1"}),
        ),
    ),
    "what is read only for a person is not for an action": Case(
        xform(
            "<a/><b/>",
            '<bind nodeset="/data/b" readonly="true()"/>',
            _input("/data/a", _set("/data/b", "/data/a", "xforms-value-changed"))
            + _input("/data/b"),
        ),
        (("init", {}), ("/data/a = 1", {"/data/b": "1", "/data/b ro": True})),
    ),
    "a value is stored as the type of its node": Case(
        xform(
            "<a/><b/><c/><d/>",
            '<bind nodeset="/data/b" type="int"/><bind nodeset="/data/c" type="date"/>'
            '<bind nodeset="/data/d" type="decimal"/>',
            _input(
                "/data/a",
                _set("/data/b", "2.7", "xforms-value-changed")
                + _set("/data/c", "'2024-02-03'", "xforms-value-changed")
                + _set("/data/d", "3", "xforms-value-changed"),
            )
            + "".join(map(_input, ("/data/b", "/data/c", "/data/d"))),
        ),
        (
            ("init", {}),
            ("/data/a = 1", {"/data/b": "2", "/data/c": "2024-02-03", "/data/d": "3.0"}),
        ),
    ),
    "a new instance is set before anything in it is worked out": Case(
        xform(
            '<r jr:template=""><a/><b/><c/></r><s/>',
            '<bind nodeset="/data/r/a" type="int"/>'
            '<bind nodeset="/data/r/b" type="int" calculate="../a + 1"/>'
            '<bind nodeset="/data/s" calculate="sum(/data/r/b)"/>',
            _repeat(
                _input("/data/r/a")
                + _input("/data/r/c")
                + _set("/data/r/c", "concat('b was ', ../b)", "odk-new-repeat")
                + _set("/data/r/a", "position(..) * 10", "odk-new-repeat")
            ),
        ),
        (
            ("init", {"/data/r[1]/a": None}),
            ("add /data/r", {"/data/r[1]/a": "10", "/data/r[1]/b": "11", "/data/s": "11"}),
            ("add /data/r", {"/data/r[2]/a": "20", "/data/r[2]/c": "b was ", "/data/s": "32"}),
            ("remove /data/r[1]", {"/data/r[1]/a": "20", "/data/s": "21"}),
            ("add /data/r", {"/data/r[2]/a": "20", "/data/s": "42"}),
            ("save_restore", {"/data/r[1]/a": "20", "/data/r[2]/b": "21"}),
        ),
        says="odk-new-repeat: before recalculation",
    ),
    "an instance begins with what the one before it has": Case(
        xform(
            "<r><a>1</a></r>",
            '<bind nodeset="/data/r/a" type="int"/>',
            _repeat(
                _input("/data/r/a")
                + _set(
                    "/data/r/a",
                    "/data/r[position() = position(current()/..) - 1]/a + 1",
                    "odk-new-repeat",
                )
            ),
        ),
        (
            ("init", {"/data/r[1]/a": "1"}),
            ("/data/r[1]/a = 5", {}),
            ("add /data/r", {"/data/r[2]/a": "6"}),
            ("add /data/r", {"/data/r[3]/a": "7"}),
        ),
        says="the dynamic default from the last repeat instance of ODK's documentation",
    ),
    "instances that a count makes are new instances": Case(
        xform(
            '<n>2</n><r jr:template=""><a/></r>',
            '<bind nodeset="/data/n" type="int"/><bind nodeset="/data/r/a" type="int"/>',
            _input("/data/n")
            + _repeat(
                _input("/data/r/a") + _set("/data/r/a", "position(..)", "odk-new-repeat"),
                ' jr:count="/data/n"',
            ),
        ),
        (
            ("init", {"/data/r[2]/a": "2", "/data/r[3]/a": None}),
            ("/data/r[1]/a = 7", {}),
            ("/data/n = 3", {"/data/r[1]/a": "7", "/data/r[3]/a": "3"}),
        ),
    ),
    "an answer in an instance is followed in that instance": Case(
        xform(
            '<r jr:template=""><a/><b/></r><t/>',
            "",
            _repeat(
                _input(
                    "/data/r/a",
                    _set("/data/r/b", "concat(../a, '!')", "xforms-value-changed")
                    + _set("/data/t", "count(/data/r)", "xforms-value-changed"),
                )
                + _input("/data/r/b")
            ),
        ),
        (
            ("init", {}),
            ("add /data/r", {}),
            ("add /data/r", {}),
            ("/data/r[2]/a = 1", {"/data/r[2]/b": "1!", "/data/r[1]/b": "", "/data/t": "2"}),
            ("/data/r[1]/a = 2", {"/data/r[1]/b": "2!", "/data/r[2]/b": "1!"}),
        ),
        says="a ref in a repeat is that of the same instance",
    ),
    "an action outside must say which instance it sets where there are several": Case(
        xform(
            '<o/><r jr:template=""><b/></r>',
            "",
            _input("/data/o", _set("/data/r/b", "/data/o", "xforms-value-changed"))
            + _repeat(_input("/data/r/b")),
        ),
        (
            ("init", {}),
            ("add /data/r", {}),
            ("/data/o = 1", {"/data/r[1]/b": "1"}),
            ("add /data/r", {"/data/r[2]/b": ""}),
            ("/data/o = 2", {"error": "which?"}),
        ),
        says="the specification: such a ref is an error",
    ),
    "a first load in a repeat sets each instance that the form begins with": Case(
        xform(
            "<r><a/></r><r><a/></r>",
            "",
            _repeat(_input("/data/r/a") + _set("/data/r/a", "concat('n', position(..))")),
        ),
        (
            ("init", {"/data/r[1]/a": "n1", "/data/r[2]/a": "n2"}),
            ("add /data/r", {"/data/r[3]/a": ""}),
        ),
    ),
    "a calculation writes over an answer as soon as what it reads changes": Case(
        xform(
            "<a/><b/>",
            '<bind nodeset="/data/b" calculate="/data/a"/>',
            _input("/data/a") + _input("/data/b"),
        ),
        (
            ("init", {}),
            ("/data/a = 1", {"/data/b": "1"}),
            ("/data/b = mine", {"/data/b": "mine"}),
            ("/data/a = 2", {"/data/b": "2"}),
        ),
    ),
    "once() keeps what it came to first": Case(
        xform(
            "<a/><b/>",
            '<bind nodeset="/data/b" calculate="once(/data/a)"/>',
            _input("/data/a") + _input("/data/b"),
        ),
        (
            ("init", {"/data/b": ""}),
            ("/data/a = 1", {"/data/b": "1"}),
            ("/data/a = 2", {"/data/b": "1"}),
            ("save_restore", {"/data/b": "1"}),
        ),
        says="once(): the value where it is not blank, else that of the argument",
    ),
    "the trigger column of a spreadsheet": Case(
        """
        | survey |
        | | type | name | label | calculation | trigger |
        | | text | a | A | | |
        | | text | b | B | | |
        | | calculate | sum | | concat(${a}, ${b}) | ${b} |
        | | dateTime | at | At | '2024-01-01T10:00:00.000Z' | ${a} |
        """,
        (
            ("init", {"/data/sum": "", "/data/at": ""}),
            ("/data/a = 1", {"/data/sum": "", "/data/at": "2024-01-01T10:00:00.000Z"}),
            ("/data/b = 2", {"/data/sum": "12"}),
            ("/data/a = 3", {"/data/sum": "12"}),
            ("/data/b =", {"/data/sum": "3"}),
        ),
        says="https://docs.getodk.org/form-logic/#triggering-calculations-on-value-change",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_an_action_comes_at_its_event(name: str):
    assert ours(name, CASES[name]) == []


APART = {
    # What a count makes while the form opens is not new to a browser.
    "instances that a count makes are new instances": "after 'init': /data/r[2]/a: '2' expected",
    # And there each action sees what has been worked out from those before it.
    "before the first calculation": "after 'init': /data/c: 'b was ' expected, 'b was x!' found",
    "a new instance is set before anything in it is worked out": (
        "after 'add /data/r': /data/r[2]/c: 'b was ' expected, 'b was 21' found"
    ),
}
"""Where ODK Web Forms goes its own way, and how."""


def test_a_browser_does_the_same_at_each_event_but_for_what_is_said_of_it():
    apart = {}
    for name, case in CASES.items():
        faults = ours(name, Case(case.form, case.acts, dialect="webforms", zone=case.zone))
        if faults:
            apart[name] = faults[0]
    assert apart.keys() == APART.keys()
    assert all(apart[name].startswith(said) for name, said in APART.items())
