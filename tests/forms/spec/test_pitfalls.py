"""Where form engines have gone wrong or gone apart: the 22 known pitfalls, one test each.

Each names the reports that tell of it, at ODK's repositories unless said otherwise. What another file shows
already is shown from there.
"""

from __future__ import annotations

import pytest

from forms import BrokenForm, Entry, Form, Unfinished
from forms.check import check
from forms.claims import claims
from forms.entry import STEPS_MAX
from forms.xlsform import compile_xlsform
from tests.forms.spec import test_entities, test_events, test_lists, test_questions, test_repeats
from tests.forms.spec.told import Case, ours, xform
from tests.forms.test_entry import context


def asked(*names: str) -> str:
    return "".join(f'<input ref="/data/{name}"/>' for name in names)


def entry(form: str, dialect: str = "collect", media: dict[str, bytes] | None = None) -> Entry:
    return Entry.start(Form.load(form, media or {}, dialect), context())


def shown(case: Case) -> bool:
    return ours("pitfall", case) == []


def comes_to(expression: str, dialect: str, kind: str = "string", value: str = "") -> str:
    """What a node with that calculation holds, beside the node /data/a of that kind and value."""
    expression = expression.replace("<", "&lt;").replace('"', "&quot;")
    form = xform(
        f"<a>{value}</a><b/>",
        f'<bind nodeset="/data/a" type="{kind}"/><bind nodeset="/data/b" calculate="{expression}"/>',
    )
    return entry(form, dialect).find("/data/b").text


def test_pitfall_01_what_is_not_relevant_is_blank_to_all_and_back_when_it_is_relevant_again():
    """xforms-spec 153, javarosa 704; enketo 82, enketo-core 849 and 870."""
    one = entry(
        xform(
            "<a>y</a><b>7</b><r><n>1</n></r><r><n>2</n></r><c/><s/>",
            '<bind nodeset="/data/b" relevant="/data/a = \'y\'"/>'
            '<bind nodeset="/data/r/n" relevant="/data/a = \'y\' or position(..) = 2"/>'
            '<bind nodeset="/data/c" calculate="concat(/data/b, \'.\')"/>'
            '<bind nodeset="/data/s" calculate="sum(/data/r/n) + count(/data/r/n) * 10"/>',
            asked("a", "b")
            + '<group ref="/data/r"><repeat nodeset="/data/r"><input ref="/data/r/n"/></repeat></group>',
        )
    )
    assert [one.find(f"/data/{name}").text for name in "cs"] == ["7.", "23"]
    one.answer("/data/a", "n")
    assert [one.find(f"/data/{name}").text for name in "cs"] == [".", "12"]
    assert b"<b>" not in one.xml()
    assert b"<n>1</n>" not in one.xml()
    one.answer("/data/a", "y")
    assert [one.find(f"/data/{name}").text for name in "bcs"] == ["7", "7.", "23"]


def test_pitfall_02_calculations_of_a_group_that_becomes_relevant_come_in_their_order():
    """getodk 889."""
    one = entry(
        xform(
            "<a/><g><last/><mid/><first/></g><out/>",
            '<bind nodeset="/data/g" relevant="/data/a = \'y\'"/>'
            '<bind nodeset="/data/out" calculate="concat(/data/g/last, \'!\')"/>'
            '<bind nodeset="/data/g/last" calculate="concat(/data/g/mid, 3)"/>'
            '<bind nodeset="/data/g/mid" calculate="concat(/data/g/first, 2)"/>'
            '<bind nodeset="/data/g/first" calculate="1"/>',
            asked("a"),
        )
    )
    assert one.find("/data/out").text == "!"
    one.answer("/data/a", "y")
    assert one.find("/data/out").text == "123!"


def test_pitfall_03_what_the_end_of_the_entry_clears_is_missed_at_the_end():
    """javarosa 633."""
    one = entry(
        xform(
            "<end/><a/>",
            '<bind nodeset="/data/end" jr:preload="timestamp" jr:preloadParams="end"/>'
            "<bind nodeset=\"/data/a\" required=\"true()\" calculate=\"if(/data/end = '', 'x', '')\"/>",
            asked("a"),
        )
    )
    assert one.faults() == ()
    with pytest.raises(Unfinished) as unfinished:
        one.finish()
    assert [(fault.ref, fault.kind) for fault in unfinished.value.faults] == [
        ("/data/a", "required")
    ]


def test_pitfall_04_a_sum_passes_over_what_is_blank_or_no_number():
    """web-forms 383 and 878, xforms-spec 371, javarosa 822."""
    form = xform(
        "<r><n>1</n></r><r><n/></r><r><n>x</n></r><r><n>2.5</n></r><s/>",
        '<bind nodeset="/data/s" calculate="sum(/data/r/n)"/>',
        '<repeat nodeset="/data/r"><input ref="/data/r/n"/></repeat>',
    )
    assert entry(form).find("/data/s").text == "3.5"
    # And what is no number is nothing where it is stored.
    assert comes_to("number('x') + 1", "collect") == ""


def test_pitfall_05_a_circle_is_refused_by_the_names_of_its_questions_and_only_a_circle():
    """web-forms 891 and 913, javarosa 440, 449, 458 and 796."""
    circle = """
        | survey |
        | | type | name | label | calculation |
        | | calculate | one | | ${two} + 1 |
        | | calculate | two | | ${one} + 1 |
        """
    with pytest.raises(BrokenForm) as refused:
        compile_xlsform("f.md", circle.encode())
    told = str(refused.value)
    assert "one" in told
    assert "two" in told
    # The same path in a list is another node.
    listed = xform(
        "<a/>",
        '<bind nodeset="/data/a" calculate="instance(\'data\')/data/a"/>'
        '<instance id="data"><data><a>5</a></data></instance>',
        asked("a"),
    )
    assert entry(listed).find("/data/a").text == "5"
    # Its own value to begin with is what once() is for; the instance before is in a circle.
    with pytest.raises(BrokenForm):
        entry(
            xform(
                "<r><a/></r>",
                '<bind nodeset="/data/r/a" '
                'calculate="indexed-repeat(/data/r/a, /data/r, position(..) - 1)"/>',
                '<repeat nodeset="/data/r"><input ref="/data/r/a"/></repeat>',
            )
        )


def test_pitfall_06_a_lower_count_takes_away_nothing_that_was_answered():
    """web-forms 849, docs 726, collect 868, enketo-core 48, javarosa 45."""
    assert shown(test_repeats.CASES["a lower count takes nobody away, a higher one adds"])
    assert shown(
        test_repeats.CASES["in a browser a lower count takes the last away, but a blank one nobody"]
    )


def test_pitfall_07_all_that_follows_an_instance_is_numbered_anew_when_it_goes():
    """javarosa 213 and 587, collect 3016."""
    assert shown(test_repeats.CASES["instances are numbered anew as others go"])


def test_pitfall_08_an_absolute_path_in_a_repeat_is_that_of_the_own_instance():
    """pyxform 187, 490, 524 and 525, enketo-core 343 and 678."""
    one = entry(
        xform(
            "<r><a>1</a><b/><c/></r><r><a>2</a><b/><c/></r>",
            '<bind nodeset="/data/r/b" calculate="/data/r/a"/>'
            '<bind nodeset="/data/r/c" calculate="count(/data/r[a > 0])"/>',
            '<repeat nodeset="/data/r"><input ref="/data/r/a"/></repeat>',
        )
    )
    found = [one.find(f"/data/r[{place}]/{name}").text for place in (1, 2) for name in "bc"]
    assert found == ["1", "2", "2", "2"]


def test_pitfall_09_an_answer_that_a_filter_takes_away_is_taken_back_when_it_is_looked_at():
    """javarosa 437, 661 and 848, web-forms 57."""
    case = test_questions.CASES["a choice that is not offered any more is taken back"]
    assert shown(case)
    browser = entry(case.form, "webforms")
    browser.answer("/data/a", "b c")
    browser.answer("/data/b", "b")
    assert browser.find("/data/a").text == "c"
    browser.answer("/data/b", "a")
    assert browser.find("/data/a").text == "b c"


def test_pitfall_10_several_choices_stand_as_they_were_given_or_as_the_list_has_them():
    form = xform(
        "<a/>",
        test_questions.FEW,
        '<select ref="/data/a"><itemset nodeset="instance(\'l\')/root/item">'
        '<value ref="n"/><label ref="n"/></itemset></select>',
    )
    for dialect, order in (("collect", "c a"), ("webforms", "a c")):
        one = entry(form, dialect)
        one.answer("/data/a", "c a")
        assert one.find("/data/a").text == order


def test_pitfall_11_a_date_has_whole_days_wherever_one_is():
    """javarosa 225, enketo 901, 906 and 916, getodk 631, medic/cht-core 1878."""
    form = xform(
        "<a>1970-01-02</a><b/><c/>",
        '<bind nodeset="/data/a" type="date"/><bind nodeset="/data/b" calculate="number(/data/a)"/>'
        '<bind nodeset="/data/c" calculate="round(decimal-date-time(/data/a), 4)"/>',
    )
    for zone, browser, midnight in (
        ("UTC", "1", "1"),
        ("America/Phoenix", "1", "1.2917"),
        # A browser takes the whole days of the moment in Greenwich: east of it, the day before.
        ("Asia/Tokyo", "0", "0.625"),
    ):
        for dialect, days in (("collect", "1"), ("webforms", browser)):
            acts = (("init", {"/data/b": days, "/data/c": midnight}),)
            assert shown(Case(form, acts, zone=zone, dialect=dialect))


def test_pitfall_12_a_time_has_an_offset_in_collect_and_none_in_a_browser():
    form = xform("<a/>", '<bind nodeset="/data/a" type="time"/>')
    for dialect, stored in (("collect", "22:02:55.124-07:00"), ("webforms", "22:02:55.124")):
        acts = (("init", {}), ("/data/a = 22:02:55.124", {"/data/a": stored}))
        assert shown(Case(form, acts, zone="America/Phoenix", dialect=dialect))


def test_pitfall_13_what_is_of_another_type_is_cut_in_a_browser_and_blank_in_collect():
    """getodk 505."""
    for kind, given, collect, browser in (
        ("int", "2.5", "", "2"),
        ("date", "2024-05-06T07:08:09.000", "", "2024-05-06"),
        ("boolean", "true", "0", "true"),
    ):
        form = xform("<a/>", f'<bind nodeset="/data/a" type="{kind}"/>')
        for dialect, stored in (("collect", collect), ("webforms", browser)):
            one = entry(form, dialect)
            one.answer("/data/a", given)
            assert one.find("/data/a").text == stored, (kind, dialect)


def test_pitfall_14_a_decimal_is_written_as_its_engine_writes_it():
    for value, collect, browser in (
        ("2000", "2000.0", "2000.0"),
        ("10018696.05193053", "1.001869605193053E7", "10018696.05193053"),
        ("0.0001", "1.0E-4", "0.0001"),
    ):
        form = xform("<a/>", '<bind nodeset="/data/a" type="decimal"/>')
        for dialect, stored in (("collect", collect), ("webforms", browser)):
            one = entry(form, dialect)
            one.answer("/data/a", value)
            assert one.find("/data/a").text == stored


def test_pitfall_15_a_pattern_is_of_the_whole_text_in_collect_and_of_a_part_in_a_browser():
    """javarosa 531."""
    assert comes_to("regex('x12y', '[0-9]+')", "collect") == "0"
    assert comes_to("regex('x12y', '[0-9]+')", "webforms") == "true"
    for dialect, no in (("collect", "0"), ("webforms", "false")):
        # Whoever writes both anchors is understood alike.
        assert comes_to("regex('x12y', '^[0-9]+$')", dialect) == no


def test_pitfall_16_what_a_form_begins_with_is_set_once_and_before_all_calculations():
    """xforms-spec 250, web-forms 303 and 615, docs 664, javarosa 199."""
    for name in (
        "first load comes once, and every load again and again",
        "before the first calculation",
        "once() keeps what it came to first",
        "a calculation writes over an answer as soon as what it reads changes",
    ):
        assert shown(test_events.CASES[name])


def test_pitfall_17_a_large_list_is_looked_up_and_not_looked_through():
    """javarosa 170, 492 and 689, collect 4490, 5694 and 6454."""
    rows, questions = 100_000, 60
    assert rows * questions > STEPS_MAX, "whoever looks through all rows is stopped"
    names = [f"x{number}" for number in range(questions)]
    form = xform(
        "<a>n77777</a>" + "".join(f"<{name}/>" for name in names),
        "".join(
            f'<bind nodeset="/data/{name}" calculate="'
            "instance('l')/root/item[name = /data/a]/label\"/>"
            for name in names
        )
        + '<instance id="l" src="jr://file-csv/l.csv"/>',
        asked("a"),
    )
    lines = "".join(f"n{number},label {number}\n" for number in range(rows))
    one = entry(form, media={"l.csv": f"name,label\n{lines}".encode()})
    assert {one.find(f"/data/{name}").text for name in names} == {"label 77777"}
    one.answer("/data/a", "n1")
    assert {one.find(f"/data/{name}").text for name in names} == {"label 1"}


def test_pitfall_18_a_choice_with_a_space_is_refused_before_it_is_lost():
    """docs 678, getodk 352."""
    form = """
        | survey |
        | | type | name | label |
        | | select_multiple c | a | A |
        | choices |
        | | list_name | name | label |
        | | c | dark red | Dark red |
        """
    with pytest.raises(BrokenForm, match="dark_red"):
        compile_xlsform("f.md", form.encode())


def test_pitfall_19_each_change_of_an_entity_says_what_it_was_made_upon():
    """central 669, 698 and 805, collect 6245, xforms-spec 320.

    What the registry makes of them in whatever order they come is in tests/conflict.
    """
    media = {"people.csv": test_entities.PEOPLE["jr://file-csv/people.csv"].encode()}
    form = Form.load(compile_xlsform("f.md", test_entities.UPDATES.encode(), media), media)
    said = []
    for who in (test_entities.ANN, test_entities.BOB):
        one = Entry.start(form, context())
        one.answer("/data/who", who)
        one.answer("/data/n", "New")
        (claim,) = claims(form, one.finish().xml)
        said.append((claim.base_version, claim.trunk_version, claim.branch_id))
    assert said == [(3, 2, test_entities.BRANCH), (1, None, "")]


def test_pitfall_20_only_what_is_asked_is_required_and_whatever_is_asked_is_judged():
    """enketo-core 388."""
    hidden = xform(
        "<a/><b/>",
        '<bind nodeset="/data/a" required="true()" constraint="false()"/>'
        '<bind nodeset="/data/b" constraint=". != \'bad\'" required="true()"/>',
        asked("b"),
    )
    one = entry(hidden)
    assert [(fault.ref, fault.kind) for fault in one.faults()] == [("/data/b", "required")]
    one.answer("/data/b", "bad")
    assert [(fault.ref, fault.kind) for fault in one.faults()] == [("/data/b", "constraint")]
    one.answer("/data/b", "good")
    submission = one.finish()
    assert check(one.form, submission.xml) == ()


def test_pitfall_21_the_text_false_is_true_unless_it_is_read_as_a_truth():
    """The specification's own words at boolean-from-string()."""
    for dialect, yes, no in (("collect", "1", "0"), ("webforms", "true", "false")):
        assert comes_to("boolean('false')", dialect) == yes
        assert comes_to("boolean-from-string('false')", dialect) == no
        assert comes_to("if('false', 'yes', 'no')", dialect) == "yes"


def test_pitfall_22_lists_are_read_whatever_wrote_them_and_blank_where_they_are_not():
    for name in (
        "a CSV with a byte order mark",
        "a CSV with semicolons",
        "a CSV with tabs",
        "a CSV with a heading alone",
        "a CSV that is not there",
        "a feature with two ids",
    ):
        assert shown(test_lists.CASES[name])


def test_there_are_22():
    named = sorted(name for name in globals() if name.startswith("test_pitfall_"))
    assert [int(name.split("_")[2]) for name in named] == list(range(1, 23))
