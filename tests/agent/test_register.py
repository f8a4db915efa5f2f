"""Answers from a file are given as a person would give them, and refused by name."""

from __future__ import annotations

import hashlib
import json
import random
import uuid
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import pytest

from field_agent import vault
from field_agent.interview import Terminal, hold
from field_agent.register import (
    Desk,
    Interview,
    NoSuchQuestion,
    RefusedAnswer,
    register,
    tick,
)
from field_agent.store import Form, Identity, Store
from field_agent.trouble import Missing
from forms.xlsform import compile_xlsform
from schemas import envelope as layout
from tests.device.opening import ProgrammeKey
from tests.device.small import NOW, opened

SAMPLES = Path(__file__).parent.parent.parent / "samples"
FORM = "household_registration"
VISIT = """
| survey |              |        |                |           |          |            |
|        | type         | name   | label          | required  | relevant | constraint |
|        | text         | head   | Head           | yes       |          |            |
|        | begin_repeat | child  | Child          |           |          |            |
|        | text         | called | Called         | yes       |          |            |
|        | integer      | age    | Age            |           |          | . < 18     |
|        | end_repeat   |        |                |           |          |            |
|        | note         | thanks | Thank you      |           |          |            |
|        | image        | photo  | Photo          |           |          |            |
"""


def sample(number: int) -> dict:
    return json.loads((SAMPLES / "answers" / f"household-{number}.json").read_text("utf-8"))


def clock():
    ticks = count()
    return lambda: datetime(2026, 11, 23, 9, tzinfo=UTC) + timedelta(seconds=next(ticks))


@pytest.fixture(scope="module")
def compiled():
    data = (SAMPLES / f"{FORM}.xlsx").read_bytes()
    return compile_xlsform(f"{FORM}.xlsx", data).decode()


@pytest.fixture
def programme():
    return ProgrammeKey.fresh(layout.CLASSIC.name)


@pytest.fixture
def desk(tmp_path, compiled, programme):
    store = Store.open(vault.Vault(tmp_path, bytes(range(32))), now_ms=NOW)
    who = Identity("d1", "north", "https://server.example", "cd" * 32, b"s" * 32, "e1")
    store.enrol(who, [programme.public], lease_s=0, now_ms=NOW)
    media = {}
    for name in ("regions.csv", "districts.csv", "villages.csv"):
        data = (SAMPLES / name).read_bytes()
        media[name] = hashlib.sha256(data).hexdigest()
        store.put_media(media[name], data)
    store.put_form(Form(FORM, "2026112301", "ab" * 32, "Household registration", compiled, media))
    visit = compile_xlsform("visit.md", VISIT.encode()).decode()
    store.put_form(Form("visit", "1", "cd" * 32, "Visit", visit, {}))
    luck = random.Random(7)
    yield Desk(
        store,
        clock(),
        lambda: str(uuid.UUID(int=luck.getrandbits(128), version=4)),
        luck.random,
        properties={"deviceid": "d1", "username": "amina"},
    )
    store.close()


@pytest.mark.parametrize("number", range(1, 7))
def test_each_sample_household_is_registered_from_its_answers(desk, programme, number):
    done = register(desk, FORM, sample(number), {})
    told = opened(desk.store, programme, done.counter)
    assert told.form == FORM
    assert sample(number)["village"] in done.label
    for member in sample(number)["member"]:
        assert f"<given_name>{member['given_name']}</given_name>" in told.xml
    assert desk.store.drafts() == []


@pytest.mark.parametrize(
    ("change", "question", "reason"),
    [
        ({"size": 40}, "size", "Between 1 and 30"),
        ({"consent": None}, "consent", "needs an answer"),
        ({"region": "R99"}, "region", "'R99' is no choice here"),
        ({"displaced_on": "2024-01-01"}, "displaced_on", "is not asked"),
        ({"phone": "12"}, "phone", "8 to 15 digits"),
        ({"size": 6}, "given_name (member 6)", "needs an answer"),
        ({"size": 4}, "member[5]", "asks for 4"),
    ],
)
def test_the_first_refused_or_missing_answer_is_named_and_nothing_is_registered(
    desk, change, question, reason
):
    with pytest.raises(RefusedAnswer) as told:
        register(desk, FORM, sample(1) | change, {})
    assert told.value.question == question
    assert reason in told.value.reason
    assert desk.store.drafts() == []
    assert desk.store.outbox() == []


def test_a_fault_within_a_repeat_names_the_member(desk):
    answers = sample(1)
    answers["member"][1]["id_number"] = "7"
    with pytest.raises(RefusedAnswer, match=r"id_number \(member 2\).*10 digits"):
        register(desk, FORM, answers, {})


@pytest.mark.parametrize(
    "change",
    [
        {"surname": "Diallo"},
        {"member": [{"nickname": "A"}]},
        {"member": "two"},
        {"position": 1},
        {"size": {"a": 1}},
    ],
)
def test_answers_to_questions_that_do_not_exist_are_refused_before_anything_begins(desk, change):
    with pytest.raises(NoSuchQuestion, match=next(iter(change))):
        register(desk, FORM, sample(1) | change, {})
    assert desk.store.outbox() == []
    assert desk.store.drafts() == []


def test_a_file_answers_a_question_and_its_name_is_ours(desk, programme, tmp_path):
    photo = tmp_path / "Amina's house.jpg"
    photo.write_bytes(b"\xff\xd8" + bytes(100_000))
    done = register(desk, FORM, sample(1), {"dwelling_photo": str(photo)})
    told = opened(desk.store, programme, done.counter)
    (name,) = set(told.files) - {"audit.csv"}
    assert "Amina" not in name
    assert name.endswith(".jpg")
    assert f"<dwelling_photo>{name}</dwelling_photo>" in told.xml
    assert told.files[name].size == 100_002


def test_a_repeat_that_people_add_to_takes_as_many_as_the_answers_have(desk, programme):
    answers = {"head": "Zainab", "child": [{"called": "A", "age": 3}, {"called": "B", "age": 4}]}
    done = register(desk, "visit", answers, {})
    told = opened(desk.store, programme, done.counter)
    assert told.xml.count("<child>") == 2


def test_every_answer_is_kept_at_once_and_an_entry_goes_on_where_it_was_left(desk):
    interview = Interview.begin(desk, FORM)
    interview.answer("/data/consent", "yes")
    again = Interview.resume(desk, interview.draft)
    assert again.entry.state("/data/consent").value == "yes"
    assert any(one.ref == "/data/hh/region" for one in again.questions())


def test_a_finished_entry_cannot_be_answered_any_more(desk):
    interview = Interview.begin(desk, "visit")
    interview.answer("/data/head", "Zainab")
    interview.answer("/data/child[1]/called", "A")
    interview.finish()
    with pytest.raises(Missing):
        interview.answer("/data/head", "Other")


def test_marks_of_time_grow_also_when_the_clock_goes_back(desk):
    marks = [tick(desk.store, at) for at in (NOW, NOW, NOW - 5_000, NOW + 1)]
    assert marks == sorted(set(marks))


# In the terminal.


def talk(desk, form, said, **more):
    heard = []
    lines = iter(said)

    def ask(prompt):
        heard.append(prompt)
        try:
            return next(lines)
        except StopIteration:
            raise EOFError from None

    interview = more.get("interview") or Interview.begin(desk, form)
    return hold(interview, Terminal(ask, heard.append)), "\n".join(heard), interview


def test_an_interview_in_the_terminal_asks_answers_repeats_and_seals(desk, programme):
    said = ["", "Zainab", "A", "99", "9", "y", "B", ">", "n", ">", "y"]
    done, heard, _ = talk(desk, "visit", said)
    assert done is not None
    told = opened(desk.store, programme, done.counter)
    assert "<called>A</called><age>9</age>" in told.xml
    assert told.xml.count("<child>") == 2
    assert "needs an answer" in heard.lower() or "required" in heard.lower()


def test_who_leaves_the_terminal_goes_on_later(desk):
    done, heard, interview = talk(desk, "visit", ["Zainab", "="])
    assert done is None
    assert interview.draft[:8] in heard
    again = Interview.resume(desk, interview.draft)
    done, _, _ = talk(desk, "visit", ["A", ">", "n", ">", "y"], interview=again)
    assert done is not None


def test_choices_are_numbered_and_the_language_can_be_changed(desk):
    done, heard, interview = talk(desk, FORM, [":fr", "Oui", "<", "1", "R01", "="])
    assert done is None
    assert "Le répondant consent-il" in heard
    assert "1. Oui" in heard
    assert interview.entry.state("/data/consent").value == "yes"
    assert desk.store.draft(interview.draft).answers["language"] == "Français (fr)"
