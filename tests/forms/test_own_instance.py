"""Which instances of a repeat an absolute path means, as JavaRosa has it.

The values were recorded from JavaRosa 5.1 on these forms and answers.
"""

from __future__ import annotations

import pytest

from tests.forms.test_dialects import entry, xform

LIST = """<instance id="yn"><root><item><name>yes</name></item><item><name>no</name></item></root>
</instance>"""


def household(inside: str, outside: str) -> str:
    """Members with an age each, what is worked out of them inside and outside the repeat."""
    return xform(
        "<limit/><member><of><age/></of><found/></member><found/>",
        f"""<bind nodeset="/data/limit" type="int"/>
            <bind nodeset="/data/member/of/age" type="int"/>
            <bind nodeset="/data/member/found" calculate="{inside}"/>
            <bind nodeset="/data/found" calculate="{outside}"/>""",
        """<input ref="/data/limit"/><group><repeat nodeset="/data/member">
            <input ref="/data/member/of/age"/></repeat></group>""",
        LIST,
    )


def answered(inside: str, outside: str) -> tuple[list[str], str]:
    """What three members of 1, 1 and 3 years come to, with a limit of 1."""
    asked = entry(household(inside, outside), "collect")
    asked.add_repeat("/data/member")
    asked.add_repeat("/data/member")
    for number, age in enumerate(("1", "1", "3"), 1):
        asked.answer(f"/data/member[{number}]/of/age", age)
    asked.answer("/data/limit", "1")
    found = [asked.find(f"/data/member[{number}]/found").text for number in (1, 2, 3)]
    return found, asked.find("/data/found").text


@pytest.mark.parametrize(
    ("expression", "found"),
    [
        ("count(/data/member[/data/member/of/age = 1])", "2"),
        ("count(/data/member[/data/member/of/age &lt; /data/limit])", "0"),
        ("count(/data/member/of[/data/member/of/age = 1])", "2"),
        ("join(',', /data/member[/data/member/of/age = 1]/of/age)", "1,1"),
        ("count(/data/member[of/age = /data/member/of/age])", "3"),
        ("count(/data/member[count(/data/member) = 1])", "3"),
        ("sum(/data/member/of/age[/data/member/of/age = 3])", "3"),
        ("join(',', /data/member/of/age[once(7) = 1])", "1,1"),
        ("count(/data/member[once(7) = 7])", "3"),
        ("count(instance('yn')/root/item[once(7) = 7])", "2"),
        ("count(instance('yn')/root/item[count(/data/member) = 3])", "2"),
        ("count(instance('yn')/root/item[sum(/data/member/of/age) = 5])", "2"),
    ],
)
def test_an_absolute_path_in_a_predicate_is_of_the_candidates_own_instance(
    expression: str, found: str
):
    assert answered("''", expression)[1] == found


@pytest.mark.parametrize(
    ("expression", "found"),
    [
        ("count(/data/member)", ["1", "1", "1"]),
        ("count(/data/member[/data/member/of/age = 1])", ["2", "2", "2"]),
        ("count(/data/member[/data/member/of/age = current()/../of/age])", ["2", "2", "1"]),
        ("count(/data/member/of[/data/member/of/age = /data/limit])", ["1", "1", "0"]),
        ("count(instance('yn')/root/item[count(/data/member) = 3])", ["2", "2", "2"]),
        ("count(instance('yn')/root/item[sum(/data/member/of/age) = 5])", ["2", "2", "2"]),
    ],
)
def test_inside_an_instance_an_item_of_a_list_still_stands_in_none(
    expression: str, found: list[str]
):
    assert answered(expression, "''")[0] == found


@pytest.mark.parametrize("outside", ["count(/data/r)", "count( /data/r )", "count(/data/r )"])
def test_what_is_counted_inside_and_outside_a_repeat_is_all_of_it_however_it_is_spaced(
    outside: str,
):
    binds = f"""<bind nodeset="/data/r/c" calculate="count(/data/r)"/>
        <bind nodeset="/data/c" calculate="{outside}"/>"""
    body = '<group><repeat nodeset="/data/r"><input ref="/data/r/a"/></repeat></group>'
    asked = entry(xform("<r><a/><c/></r><c/>", binds, body), "collect")
    asked.add_repeat("/data/r")
    assert asked.find("/data/c").text == "2"
    assert [asked.find(f"/data/r[{number}]/c").text for number in (1, 2)] == ["2", "2"]


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("sum(/data/r/a)", "7"),
        ("count(/data/r)", "2"),
        ("count(/data/r/inner)", "1"),
        ("sum(/data/r/inner/b)", "5"),
        ("position(../..)", "1"),
    ],
)
def test_an_action_outside_a_repeat_means_all_instances_by_an_absolute_path(value: str, found: str):
    act = f'<setvalue ref="/data/r/inner/c" event="xforms-value-changed" value="{value}"/>'
    form = xform(
        "<q/><r jr:template=''><a/><inner jr:template=''><b/><c/></inner></r>"
        "<r><a/><inner><b/><c/></inner></r>",
        '<bind nodeset="/data/r/a" type="int"/><bind nodeset="/data/r/inner/b" type="int"/>',
        f"""<input ref="/data/q">{act}</input><group><repeat nodeset="/data/r">
            <input ref="/data/r/a"/><group><repeat nodeset="/data/r/inner">
            <input ref="/data/r/inner/b"/></repeat></group></repeat></group>""",
    )
    asked = entry(form, "collect")
    asked.add_repeat("/data/r")
    asked.answer("/data/r[1]/a", "3")
    asked.answer("/data/r[2]/a", "4")
    asked.answer("/data/r[1]/inner[1]/b", "5")
    asked.answer("/data/q", "go")
    assert asked.find("/data/r[1]/inner[1]/c").text == found
