"""What came back from the office: counted once, by its kind, and shown until the agent has dealt with it."""

from __future__ import annotations

import pytest

from field_agent.bundle import take_file
from sync_server import docket, officers
from sync_server.publish import publish
from tests.server.field import form
from tests.sync.world import Office, Tablet


@pytest.fixture
def office(office):
    officers.add(office.desk, "sara", ("supervisor",), "a long enough password")
    return office


@pytest.fixture
def tablet(office, tmp_path):
    made = Tablet(office, tmp_path / "tablet")
    yield made
    made.store.close()


def give_back(office: Office, comment: str) -> None:
    (batch,) = docket.listed(office.desk, kind="batch")
    docket.decide(office.desk, "sara", batch.subject.id, "return", comment=comment)


def test_what_was_sent_back_is_told_once_and_stays_returned(office, tablet):
    for _ in range(2):
        tablet.finish()
    assert tablet.sync().receipts == 2
    give_back(office, "Again please")
    assert tablet.sync().news == {"returned": 2}
    assert tablet.store.returned() == {1: "Again please", 2: "Again please"}
    assert tablet.sync().news == {}
    states = tablet.store.status(now_ms=tablet.now_ms()).states
    assert (states["returned"], states["receipted"], states["held"]) == (2, 0, 0)
    last, first = tablet.store.notices()
    assert first.body["counter"] == 1
    tablet.store.read_notice(last.number)
    assert tablet.store.returned() == {1: "Again please"}


def test_what_a_restored_server_has_lost_waits_again_and_is_not_called_returned(office, tablet):
    tablet.finish()
    tablet.sync()
    give_back(office, "Again please")
    tablet.sync()
    tablet.store.feed_again(1, 1)
    assert tablet.store.returned() == {}


def test_the_areas_households_are_counted_and_not_their_changes(office, tablet):
    office.learn(200, luck=3)
    outcome = tablet.sync()
    assert len(outcome.records) == 60
    assert outcome.items == 200
    assert tablet.sync().records == set()


def test_a_stick_that_is_taken_again_brings_nothing_new(office, tablet):
    tablet.finish()
    tablet.sync()
    give_back(office, "Again please")
    publish(office.desk, "visit.md", form("2"), {})
    tablet.finish()
    tablet.pack()
    tablet.bring(-1)
    back = tablet.folder / "back"
    back.write_bytes(tablet.backs[-1])
    first = take_file(tablet.store, back, now_ms=tablet.now_ms())
    assert (first.outcome.receipts, first.outcome.news) == (1, {"returned": 1})
    assert first.forms == ("visit 2",)
    again = take_file(tablet.store, back, now_ms=tablet.now_ms())
    assert (again.outcome.receipts, again.outcome.news, again.forms) == (0, {}, ())
    assert tablet.sync().receipts == 0
