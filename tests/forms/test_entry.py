"""An interview, act by act: what follows from an answer follows at once, and nothing is lost."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from forms import (
    BrokenForm,
    Context,
    Entry,
    Form,
    NoSuchDialect,
    NoSuchLanguage,
    NoSuchNode,
    Unfinished,
    WrongForm,
)
from forms.check import check
from forms.instance import everything, ref_of
from forms.xlsform import compile_xlsform

HOUSEHOLD = """
| survey |
| | type | name | label | relevant | required | constraint | calculation | choice_filter |
| | select_one yn | consent | Do you agree? | | yes | | | | | |
| | begin group | hh | Household | ${consent} = 'yes' | | | | | | |
| | select_one region | region | Region | | yes | | | | | |
| | select_one district | district | District | | | | | region = ${region} | | |
| | integer | rooms | Rooms | | | . > 0 | | | | |
| | begin repeat | member | Member ${name} | | | | | |
| | text | name | Name | | yes | | | | | |
| | integer | age | Age of ${name} | | | . >= 0 and . < 130 | | | | |
| | select_one yn | school | In school? | ${age} < 18 | | | | | | |
| | calculate | place | | | | | position(..) | | | |
| | calculate | share | | | | | ${age} div ${total} | | | |
| | end repeat | | | | | | | |
| | calculate | members | | | | | count(${member}) | | | |
| | calculate | total | | | | | sum(${age}) | | | |
| | calculate | pupils | | | | | count(${member}[school = 'yes']) | | | |
| | note | told | ${members} members, ${total} years | | | | | |
| | end group | | | | | | | |
| choices |
| | list_name | name | label | region |
| | yn | yes | Yes | |
| | yn | no | No | |
| | region | n | North | |
| | region | s | South | |
| | district | n1 | North one | n |
| | district | n2 | North two | n |
| | district | s1 | South one | s |
"""


def form(text: str = HOUSEHOLD) -> Form:
    return Form.load(compile_xlsform("form.md", text.encode()))


def context(**about: Any) -> Context:
    numbers = iter(range(1, 10_000))
    return Context(
        now=lambda: datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC),
        new_uuid=lambda: f"00000000-0000-4000-8000-{next(numbers):012d}",
        random=lambda: 0.25,
        **about,
    )


@pytest.fixture(scope="module")
def household() -> Form:
    return form()


def begun(household: Form) -> Entry:
    entry = Entry.start(household, context())
    entry.answer("/data/consent", "yes")
    return entry


def test_a_group_is_asked_only_once_people_agree(household: Form):
    entry = Entry.start(household, context())
    assert [one.ref for one in entry.walk()] == ["/data/consent"]
    changed = entry.answer("/data/consent", "yes")
    assert "/data/hh/region" in changed.refs
    assert "/data/hh/rooms" in [one.ref for one in entry.walk()]


def test_a_district_of_another_region_is_taken_back(household: Form):
    entry = begun(household)
    entry.answer("/data/hh/region", "n")
    assert [one.value for one in entry.state("/data/hh/district").choices] == ["n1", "n2"]
    entry.answer("/data/hh/district", "n2")
    changed = entry.answer("/data/hh/region", "s")
    assert entry.state("/data/hh/district").value == ""
    assert "/data/hh/district" in changed.refs


def test_members_are_counted_and_numbered_as_they_come_and_go(household: Form):
    entry = begun(household)
    first = "/data/hh/member[1]"
    for number, name in enumerate(("Ada", "Ben", "Cy"), 1):
        if number > 1:
            assert entry.add_repeat("/data/hh/member").added == (f"/data/hh/member[{number}]",)
        entry.answer(f"/data/hh/member[{number}]/name", name)
        entry.answer(f"/data/hh/member[{number}]/age", str(number * 10))
    assert entry.state("/data/hh/members").value == "3"
    assert entry.state("/data/hh/total").value == "60"
    changed = entry.remove_repeat(first)
    assert changed.removed == (first,)
    assert entry.state("/data/hh/member[1]/name").value == "Ben"
    assert entry.state("/data/hh/member[1]/place").value == "1"
    assert entry.state("/data/hh/total").value == "50"
    assert "/data/hh/member[1]/place" in changed.refs
    assert entry.state("/data/hh/told").label == "2 members, 50 years"


def test_a_faulty_answer_is_kept_and_told_or_refused_as_the_caller_wishes(household: Form):
    entry = begun(household)
    told = entry.answer("/data/hh/rooms", "-1")
    assert told.fault is not None
    assert told.fault.kind == "constraint"
    assert entry.state("/data/hh/rooms").value == "-1"
    entry.answer("/data/hh/rooms", "3")
    assert entry.answer("/data/hh/rooms", "-2", keep_faulty=False).fault is not None
    assert entry.state("/data/hh/rooms").value == "3"


def test_an_entry_is_finished_only_when_all_is_answered(household: Form):
    entry = begun(household)
    with pytest.raises(Unfinished) as refused:
        entry.finish()
    assert {(one.ref, one.kind) for one in refused.value.faults} == {
        ("/data/hh/region", "required"),
        ("/data/hh/member[1]/name", "required"),
    }
    entry.answer("/data/hh/region", "n")
    entry.answer("/data/hh/member[1]/name", "Ada")
    done = entry.finish()
    assert done.instance_id.startswith("uuid:")
    assert done.instance_id.encode() in done.xml
    assert check(household, done.xml) == ()


def test_a_correction_names_what_it_replaces(household: Form):
    entry = begun(household)
    entry.answer("/data/hh/region", "n")
    entry.answer("/data/hh/member[1]/name", "Ada")
    done = entry.finish()
    again = Entry.edit(household, done.xml, context(), None)
    again.answer("/data/hh/member[1]/name", "Adah")
    corrected = again.finish()
    assert f"<deprecatedID>{done.instance_id}</deprecatedID>".encode() in corrected.xml.replace(
        b"orx:", b""
    )
    assert check(household, corrected.xml) == ()


@pytest.mark.parametrize("dialect", ["collect", "webforms"])
def test_a_rule_about_an_attribute_that_the_data_lacks_leaves_the_ids_of_submissions_alone(
    dialect: str,
):
    """Such attributes had the numbers of the nodes in meta, and their rules were applied there."""
    binds = "".join(f'<bind nodeset="/data/a/@n{n}" calculate="\'{n}\'"/>' for n in range(6))
    xml = (
        '<h:html xmlns="http://www.w3.org/2002/xforms" xmlns:h="http://www.w3.org/1999/xhtml">'
        '<h:head><h:title>T</h:title><model><instance><data id="t"><a/></data></instance>'
        f'{binds}</model></h:head><h:body><input ref="/data/a"><label>A</label></input></h:body>'
        "</h:html>"
    )
    one = Form.load(xml, dialect=dialect)
    assert len({question.number for question in one.questions}) == len(one.questions)
    sent = Entry.start(one, context()).finish().xml.decode()
    assert 'n0="0"' in sent
    assert "instanceID>uuid:" in sent


def test_what_is_nowhere_cannot_be_answered(household: Form):
    entry = begun(household)
    for ref in ("/data/nobody", "/other/consent", "/data/hh/member[9]/name", "/data/hh/member/age"):
        with pytest.raises(NoSuchNode):
            entry.answer(ref, "1")


def test_questions_that_wait_for_each_other_are_named():
    with pytest.raises(BrokenForm) as refused:
        form(
            "| survey |\n| | type | name | label | calculation |\n"
            "| | calculate | first | | ${third} + 1 |\n"
            "| | calculate | second | | ${first} + 1 |\n"
            "| | calculate | third | | ${second} + 1 |\n"
            "| | note | n | Note | |\n"
        )
    assert "${first} (row 2)" in str(refused.value)
    assert "${third} (row 4)" in str(refused.value)
    assert "cycle" in str(refused.value)


def submission(household: Form) -> str:
    entry = begun(household)
    entry.answer("/data/hh/region", "n")
    entry.answer("/data/hh/district", "n1")
    entry.answer("/data/hh/rooms", "2")
    entry.answer("/data/hh/member[1]/name", "Ada")
    entry.answer("/data/hh/member[1]/age", "40")
    return entry.finish().xml.decode()


@pytest.mark.parametrize(
    ("sound", "forged", "ref", "kind"),
    [
        ("<rooms>2</rooms>", "<rooms>-2</rooms>", "/data/hh/rooms", "constraint"),
        ("<rooms>2</rooms>", "<rooms>many</rooms>", "/data/hh/rooms", "type"),
        ("<region>n</region>", "<region>s</region>", "/data/hh/district", "choice"),
        ("<region>n</region>", "<region/>", "/data/hh/region", "required"),
        ("<total>40</total>", "<total>41</total>", "/data/hh/total", "calculate"),
        ("<name>Ada</name>", "<name>Ada</name><pet>cat</pet>", "/data/hh/member[1]/pet", "unknown"),
        (
            "<age>40</age>",
            "<age>40</age><school>no</school>",
            "/data/hh/member[1]/school",
            "irrelevant",
        ),
        ("<consent>yes</consent>", "<consent>no</consent>", "/data/hh/rooms", "irrelevant"),
    ],
)
def test_a_forged_submission_is_seen_through(
    household: Form, sound: str, forged: str, ref: str, kind: str
):
    xml = submission(household)
    assert check(household, xml.encode()) == ()
    assert sound in xml
    found = check(household, xml.replace(sound, forged).encode())
    assert (ref, kind) in {(one.ref, one.kind) for one in found}


def test_a_submission_of_another_form_or_no_xml_at_all_is_one_fault(household: Form):
    for xml in (b"<other/>", b"<data", b"", b"<!DOCTYPE x [<!ENTITY a 'b'>]><data>&a;</data>"):
        assert [one.kind for one in check(household, xml)] == ["form"]


def test_a_submission_that_names_another_instance_than_its_envelope_is_refused(household: Form):
    xml = submission(household)
    own = xml.partition("instanceID>")[2].partition("<")[0]
    assert check(household, xml.encode(), instance_id=own) == ()
    (fault,) = check(household, xml.encode(), instance_id="uuid:another")
    assert (fault.ref, fault.kind) == ("meta/instanceID", "form")


def test_today_is_the_submissions_own_day_and_offset():
    asked = form(
        "| survey |\n| | type | name | label | constraint | calculation |\n"
        "| | end | end | | | |\n| | date | born | Born | . <= today() | |\n"
        "| | calculate | day | | | string(today()) |\n"
    )
    entry = Entry.start(asked, context())
    entry.answer("/data/born", "2026-03-04")
    xml = entry.finish().xml
    assert check(asked, xml) == ()
    late = xml.replace(b"<born>2026-03-04", b"<born>2026-03-05")
    assert [one.kind for one in check(asked, late)] == ["constraint"]


# -- properties

ACTS = st.lists(
    st.one_of(
        st.tuples(st.just("consent"), st.sampled_from(["yes", "no", ""])),
        st.tuples(st.just("region"), st.sampled_from(["n", "s", ""])),
        st.tuples(st.just("district"), st.sampled_from(["n1", "n2", "s1", ""])),
        st.tuples(st.just("rooms"), st.sampled_from(["1", "-1", "x", ""])),
        st.tuples(st.just("age"), st.integers(-2, 140).map(str)),
        st.tuples(st.just("name"), st.text("abé <&'\"", max_size=4)),
        st.tuples(st.just("school"), st.sampled_from(["yes", "no", ""])),
        st.tuples(st.just("add"), st.just("")),
        st.tuples(st.just("remove"), st.just("")),
    ),
    max_size=14,
)


def done(household: Form, acts: list[tuple[str, str]], pick: Any) -> Entry:
    entry = begun(household)
    for what, value in acts:
        count = len(entry.root.kids["hh"][0].kids.get("member", ()))
        member = f"/data/hh/member[{pick(count)}]"
        if what == "add":
            entry.add_repeat("/data/hh/member")
        elif what == "remove":
            if count:
                entry.remove_repeat(member)
        elif what in {"age", "name", "school"}:
            if count:
                entry.answer(f"{member}/{what}", value)
        elif what == "consent":
            entry.answer("/data/consent", value)
        else:
            entry.answer(f"/data/hh/{what}", value)
    return entry


def told(entry: Entry) -> list[tuple[str, str, bool, bool, bool]]:
    return [
        (ref_of(node), node.text, node.relevant, node.readonly, node.required)  # type: ignore[arg-type, attr-defined]
        for node in everything(entry.root)
    ]


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(acts=ACTS, luck=st.randoms(use_true_random=False))
def test_working_out_what_changed_comes_to_the_same_as_working_out_everything(
    household: Form, acts: list[tuple[str, str]], luck: Any
):
    entry = done(household, acts, lambda count: luck.randint(1, max(1, count)))
    before = told(entry)
    entry._settle_all()
    assert told(entry) == before


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(acts=ACTS, luck=st.randoms(use_true_random=False))
def test_a_saved_entry_comes_back_as_it_was(
    household: Form, acts: list[tuple[str, str]], luck: Any
):
    entry = done(household, acts, lambda count: luck.randint(1, max(1, count)))
    again = Entry.resume(household, entry.save(), context())
    assert told(again) == told(entry)
    assert again.save() == entry.save()


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(acts=ACTS, luck=st.randoms(use_true_random=False))
def test_whatever_can_be_finished_is_found_sound_by_the_check(
    household: Form, acts: list[tuple[str, str]], luck: Any
):
    entry = done(household, acts, lambda count: luck.randint(1, max(1, count)))
    if entry.faults():
        with pytest.raises(Unfinished):
            entry.finish()
        return
    assert check(household, entry.finish().xml) == ()


TOTAL = """
| survey |
| | type | name | label::English (en) | label::French (fr) | calculation |
| | integer | b | B | B | |
| | calculate | tot | | | sum(${b}) |
| settings |
| | form_id | version |
| | sums | 1 |
"""


def test_what_is_worked_out_is_not_for_a_person_to_say():
    """A total of 77 was taken, sent, and found to be wrong by our own check of it."""
    entry = Entry.start(form(TOTAL), context())
    entry.answer("/data/b", "3")
    for ref in ("/data/tot", "/data", "/data/meta/instanceID"):
        with pytest.raises(NoSuchNode, match="nobody is asked there"):
            entry.answer(ref, "77")
    done = entry.finish()
    assert b"<tot>3</tot>" in done.xml
    assert check(entry.form, done.xml) == ()


def test_a_form_goes_on_in_its_language_where_it_is_asked_for_one_that_it_lacks():
    entry = Entry.start(form(TOTAL), context())
    entry.set_language("French (fr)")
    with pytest.raises(NoSuchLanguage, match=r"'xx' is none of English \(en\), French \(fr\)"):
        entry.set_language("xx")
    assert entry.language == "French (fr)"
    # Where there is but one language, nobody has to know what it is called.
    Entry.start(form(), context()).set_language("xx")


def test_what_is_no_text_is_refused_in_words():
    entry = Entry.start(form(TOTAL), context())
    for value in (5, None):
        with pytest.raises(TypeError, match="/data/b: an answer is a text"):
            entry.answer("/data/b", value)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="a form is its XML"):
        Form.load(None)  # type: ignore[arg-type]
    with pytest.raises(NoSuchDialect, match="no dialect 'kobo'; there are collect, webforms"):
        Form.load(entry.form.xml, None, "kobo")


def test_forms_of_the_same_bytes_are_the_same_form():
    xml = form().xml
    one, same = Form.load(xml, {"a.csv": b"name\n"}), Form.load(xml, {"a.csv": b"name\n"})
    assert one == same
    assert len({one, same}) == 1
    others = (
        Form.load(xml),
        Form.load(xml, {"a.csv": b"name\nx\n"}),
        one.in_dialect("webforms"),
        form(TOTAL),
        xml,
    )
    assert [one == other for other in others] == [False] * len(others)


def test_an_entry_of_another_form_is_not_opened_and_what_a_version_lacks_is_named():
    sums = form(TOTAL)
    entry = Entry.start(sums, context())
    entry.answer("/data/b", "3")
    saved = entry.save()
    assert Entry.resume(sums, saved, context()).left_out == ()
    other = saved.replace(b'id="sums"', b'id="other"')
    older = saved.replace(b'version="1"', b'version="0"')
    older = older.replace(b"<b>", b"<gone>x</gone><b><in/>", 1)
    for begin in (Entry.resume, Entry.edit):
        with pytest.raises(WrongForm, match="of the form 'other'; this is 'sums'"):
            begin(sums, other, context())
        opened = begin(sums, older, context())
        assert opened.left_out == ("/data/gone", "/data/b/in")
