"""A form that asks for an audit gets one: how it was filled in, sealed with it and erased with it."""

from __future__ import annotations

import base64
import csv
import io
import random
import uuid
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest

from field_agent import vault
from field_agent.auditing import Book
from field_agent.interview import Terminal, hold
from field_agent.register import Desk, Interview, register
from field_agent.store import Form, Identity, Store
from field_agent.web import door
from forms.check import check
from forms.xlsform import compile_xlsform
from schemas import envelope as layout
from tests.device.forensics import pages, planted_in
from tests.device.opening import ProgrammeKey, open_file
from tests.device.small import NOW, opened

VISIT = """
| survey |              |        |        |                                            |            |
|        | type         | name   | label  | parameters                                 | constraint |
|        | text         | head   | Head   |                                            |            |
|        | begin_repeat | child  | Child  |                                            |            |
|        | text         | called | Called |                                            |            |
|        | integer      | age    | Age    |                                            | . < 18     |
|        | end_repeat   |        |        |                                            |            |
|        | audit        | audit  |        | {}                                         |            |
"""
PLAIN = VISIT.format("")
TRACKED = VISIT.format("track-changes=true identify-user=true")
PLACED = VISIT.format("location-priority=balanced location-min-interval=60 location-max-age=120")
SECRET = "Zulfiqarova"


@pytest.fixture
def programme():
    return ProgrammeKey.fresh(layout.CLASSIC.name)


@pytest.fixture
def made(tmp_path, programme):
    """A maker of desks whose form "visit" is the given one."""
    opened_stores = []

    def desk(form: str, **properties: str) -> Desk:
        store = Store.open(vault.Vault(tmp_path, bytes(range(32))), now_ms=NOW)
        opened_stores.append(store)
        who = Identity("d1", "north", "https://server.example", "cd" * 32, b"s" * 32, "e1")
        store.enrol(who, [programme.public], lease_s=0, now_ms=NOW)
        store.put_form(
            Form(
                "visit",
                "1",
                "cd" * 32,
                "Visit",
                compile_xlsform("v.md", form.encode()).decode(),
                {},
            )
        )
        seconds, steps, luck = count(), count(), random.Random(7)
        return Desk(
            store,
            lambda: datetime(2026, 11, 23, 9, tzinfo=UTC) + timedelta(seconds=next(seconds)),
            lambda: str(uuid.UUID(int=luck.getrandbits(128), version=4)),
            luck.random,
            properties={"deviceid": "d1", "username": "amina", **properties},
            steady_ms=lambda: 100 * next(steps),
        )

    yield desk
    for store in opened_stores:
        store.close()


def talk(interview: Interview, *said: str):
    lines = iter(said)

    def ask(_: str) -> str:
        try:
            return next(lines)
        except StopIteration:
            raise EOFError from None

    return hold(interview, Terminal(ask, lambda _: None))


def log_of(desk: Desk, programme: ProgrammeKey, counter: int = 1) -> list[dict[str, str]]:
    """The audit as the programme reads it: the file that the sealed submission names."""
    told = opened(desk.store, programme, counter)
    assert "<audit>audit.csv</audit>" in told.xml
    file = told.files["audit.csv"]
    assert file.media_type == "text/csv"
    sealed = b"".join(
        bytes(row[0])
        for row in desk.store._all(
            "SELECT data FROM attachment_pieces WHERE hash = ? ORDER BY number", (file.hash,)
        )
    )
    plain = open_file(base64.b64decode(file.key), sealed)
    assert len(plain) == file.size
    return list(csv.DictReader(io.StringIO(plain.decode(), newline="")))


def brief(lines: list[dict[str, str]]) -> list[str]:
    return [f"{line['event']} {line['node']}".strip() for line in lines]


def test_an_interview_in_the_terminal_is_logged_event_by_event(made, programme):
    desk = made(PLAIN)
    talk(Interview.begin(desk, "visit"), "Amina", "Ada", "<", "Ada", "7", "y", "Bo", "3", "n", "y")
    lines = log_of(desk, programme)
    assert list(lines[0]) == ["event", "node", "start", "end"]
    assert brief(lines) == [
        "form start",
        "question /data/head",
        "question /data/child[1]/called",
        "question /data/child[1]/age",
        "question /data/child[1]/called",
        "question /data/child[1]/age",
        "add repeat /data/child[2]",
        "question /data/child[2]/called",
        "question /data/child[2]/age",
        "end screen",
        "form save",
        "form exit",
        "form finalize",
    ]
    for line in lines:
        lasting = line["event"] in {"question", "add repeat", "end screen"}
        assert bool(line["end"]) is lasting
        assert not line["end"] or int(line["start"]) <= int(line["end"])
    starts = [int(line["start"]) for line in lines]
    assert starts == sorted(starts)
    first = int(lines[1]["start"])
    assert int(lines[1]["end"]) > first > int(lines[0]["start"])


def test_a_sitting_that_was_left_is_gone_on_with_in_the_same_log(made, programme):
    desk = made(TRACKED)
    begun = Interview.begin(desk, "visit")
    assert talk(begun, "Amina", "=") is None
    assert talk(Interview.resume(desk, begun.draft), "<", "Amina bis", "", "", "n", "y")
    lines = log_of(desk, programme)
    assert brief(lines) == [
        "form start",
        "question /data/head",
        "question /data/child[1]/called",
        "form save",
        "form exit",
        "form resume",
        "question /data/child[1]/called",
        "question /data/head",
        "question /data/child[1]/called",
        "question /data/child[1]/age",
        "end screen",
        "form save",
        "form exit",
        "form finalize",
    ]
    assert {line["user"] for line in lines} == {"amina"}
    changes = [(line["old-value"], line["new-value"]) for line in lines if "head" in line["node"]]
    assert changes == [("", "Amina"), ("Amina", "Amina bis")]


def test_the_old_and_new_answers_are_logged_only_where_the_form_asks(made, programme):
    desk = made(PLAIN)
    register(desk, "visit", {"head": SECRET}, {})
    assert SECRET not in str(log_of(desk, programme))


def test_answers_from_a_file_are_logged_as_they_are_given(made, programme):
    desk = made(TRACKED)
    register(desk, "visit", {"head": SECRET, "child": [{"called": "Ada"}, {"age": 3}]}, {})
    lines = log_of(desk, programme)
    assert brief(lines) == [
        "form start",
        "question /data/head",
        "add repeat /data/child[2]",
        "question /data/child[1]/called",
        "question /data/child[2]/age",
        "form save",
        "form exit",
        "form finalize",
    ]
    assert [line["new-value"] for line in lines if line["node"]] == [SECRET, "", "Ada", "3"]


def test_a_broken_rule_and_a_finish_that_is_refused_are_logged(made, programme):
    desk = made(PLAIN)
    interview = Interview.begin(desk, "visit")
    interview.add_repeat("/data/child")
    interview.answer("/data/child[2]/age", "40")
    with pytest.raises(Exception, match="not allowed"):
        interview.finish()
    interview.remove_repeat("/data/child[2]")
    interview.finish()
    assert brief(log_of(desk, programme))[1:-3] == [
        "add repeat /data/child[2]",
        "question /data/child[2]/age",
        "constraint error",
        "finalize error",
        "delete repeat /data/child[2]",
    ]


def test_a_page_of_many_questions_logs_each_for_as_long_as_it_was_turned_to(made, programme):
    desk = made(TRACKED)

    def no_run(tell):
        raise AssertionError(f"nothing syncs here ({tell})")

    session = door.Session(desk.store, desk, no_run, lambda: None)
    client = door.build(session).test_client()
    client.environ_base["HTTP_HOST"] = "127.0.0.1:5000"
    client.get(f"/enter?token={session.token}")
    head = {"X-CSRF": session.csrf}
    place = client.post("/forms/visit/begin", headers=head).headers["Location"]
    client.get(place)

    def give(value: str, held: object) -> None:
        told = {"ref": "/data/head", "value": value, "held": held}
        assert client.post(f"{place}/answer", json=told, headers=head).status_code == 200

    give("Ami", 90)
    give("Amina", "no number")
    client.get(place)
    give("Amina B", 0)
    assert client.post(f"{place}/finish", json={}, headers=head).get_json()["done"]
    lines = log_of(desk, programme)
    assert brief(lines) == [
        "form start",
        "question /data/head",
        "form resume",
        "question /data/head",
        "form save",
        "form exit",
        "form finalize",
    ]
    typed = lines[1]
    assert (typed["old-value"], typed["new-value"]) == ("", "Amina")
    assert int(typed["end"]) - int(typed["start"]) == 90 + 100
    assert (lines[3]["old-value"], lines[3]["new-value"]) == ("Amina", "Amina B")


def test_a_page_that_is_left_by_a_crash_keeps_every_line_that_was_told(made, programme):
    desk = made(TRACKED)
    begun = Interview.begin(desk, "visit")
    begun.answer("/data/head", "Amina")
    # Nothing says goodbye: the process is gone, and the draft is found again.
    Interview.resume(desk, begun.draft).finish()
    assert brief(log_of(desk, programme))[:3] == [
        "form start",
        "question /data/head",
        "form resume",
    ]


@pytest.mark.parametrize(
    ("place", "says", "columns"),
    [
        ("41.3 69.2 400 8.5", "location providers enabled", ("41.3", "69.2", "8.5")),
        ("", "location providers disabled", ("", "", "")),
        ("somewhere", "location providers disabled", ("", "", "")),
    ],
)
def test_places_are_logged_where_the_device_knows_them(made, programme, place, says, columns):
    desk = made(PLACED, location=place)
    register(desk, "visit", {"head": "Amina"}, {})
    lines = log_of(desk, programme)
    assert brief(lines)[1:3] == ["location tracking enabled", says]
    asked = lines[3]
    assert (asked["latitude"], asked["longitude"], asked["accuracy"]) == columns


def test_what_the_log_tells_of_answers_lies_under_the_lock_and_goes_with_the_finish(
    made, programme, tmp_path
):
    desk = made(TRACKED)
    (key,) = desk.store.vault.database_keys
    interview = Interview.begin(desk, "visit")
    interview.answer("/data/head", SECRET)
    interview.answer("/data/head", "Amina")
    assert planted_in(pages(tmp_path, key), [SECRET])
    for file in tmp_path.iterdir():
        assert planted_in(file.read_bytes(), [SECRET]) == [], file.name
    interview.finish()
    # The old answer is in the sealed log alone.
    assert log_of(desk, programme)[-4]["old-value"] == ""
    assert planted_in(pages(tmp_path, key), [SECRET, "Amina"]) == []


def test_a_draft_that_is_discarded_takes_its_log_with_it(made, tmp_path):
    desk = made(TRACKED)
    (key,) = desk.store.vault.database_keys
    interview = Interview.begin(desk, "visit")
    interview.answer("/data/head", SECRET)
    desk.store.discard(interview.draft)
    assert planted_in(pages(tmp_path, key), [SECRET]) == []


def test_the_server_finds_nothing_wrong_with_an_audited_submission(made, programme):
    desk = made(TRACKED)
    interview = Interview.begin(desk, "visit")
    interview.answer("/data/head", "Amina")
    form = interview.form
    interview.finish()
    told = opened(desk.store, programme, 1)
    assert check(form, told.xml.encode(), attachments=set(told.files)) == ()


def test_a_form_that_asks_for_no_audit_gets_none(made, programme):
    desk = made("\n".join(line for line in PLAIN.splitlines() if "audit" not in line))
    interview = Interview.begin(desk, "visit")
    assert interview.book is None
    interview.answer("/data/head", "Amina")
    interview.finish()
    assert opened(desk.store, programme, 1).files == {}
    assert (
        Book.of(interview.form, started_ms=0, elapsed_ms=lambda: 0, properties={}, kept={}) is None
    )
