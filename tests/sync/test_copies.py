"""Two devices restored from one copy, and a server put back: what shows as synced is at the server."""

from __future__ import annotations

import pytest

from schemas.problems import Refused
from sync_server import enrol
from tests.sync.world import Tablet


@pytest.fixture
def pair(office, tmp_path):
    """A device that has sealed one entry, and a copy of it that has sealed another second one; the
    server's copy holds nothing of them.
    """
    one = Tablet(office, tmp_path / "one")
    one.finish()
    other = one.copied(tmp_path / "other")
    (tmp_path / "copy").mkdir()
    saved = office.copy(tmp_path / "copy")
    yield one, other, saved
    saved.drop()
    for each in (one, other):
        each.store.close()


def by_network(tablet: Tablet) -> None:
    assert tablet.sync().synced


@pytest.mark.parametrize("bring", [by_network, Tablet.carry])
def test_what_a_restored_server_has_of_its_copy_is_not_taken_for_a_devices_own(office, pair, bring):
    one, other, saved = pair
    for each in (other, one):
        each.finish()
        by_network(each)
    office.put_back(saved)
    by_network(one)
    assert other.unheld() == {2}
    bring(other)
    # By stick the answer must come home first: then it goes along with the next.
    bring(other)
    assert (one.unheld(), other.unheld()) == (set(), set())
    assert other.receipts() == {1, 2}
    assert sorted(office.held(one.name)[2]) == sorted([one.made[2], other.made[2]])


def test_it_is_found_out_though_no_new_history_was_begun(office, pair):
    """The other never heard of what was lost, so nobody told the server that it was restored."""
    one, other, saved = pair
    other.finish()
    by_network(other)
    office.put_back(saved)
    office.learn(300, luck=1)
    one.finish()
    by_network(one)
    by_network(other)
    assert (one.unheld(), other.unheld()) == (set(), set())


def test_what_lies_behind_an_entry_that_was_never_taken_is_looked_for_too(office, tmp_path):
    tablet = Tablet(office, tmp_path / "one")
    (tmp_path / "copy").mkdir()
    saved = office.copy(tmp_path / "copy")
    for _ in range(3):
        tablet.finish()
    tablet.store.mark([1], "refused", why="too large for this server")
    by_network(tablet)
    office.put_back(saved)
    tablet.sync()
    assert (tablet.receipts(), tablet.unheld()) == ({2, 3}, set())
    tablet.store.close()
    saved.drop()


def test_only_what_was_lost_is_sent_again_and_near_to_it(office, tmp_path):
    tablet = Tablet(office, tmp_path / "one")
    for _ in range(100):
        tablet.finish()
    by_network(tablet)
    (tmp_path / "copy").mkdir()
    saved = office.copy(tmp_path / "copy")
    tablet.finish()
    by_network(tablet)
    office.put_back(saved)
    assert tablet.sync().fed_again <= 4
    assert tablet.unheld() == set()
    assert tablet.sync().fed_again == 0
    tablet.store.close()
    saved.drop()


def test_a_server_put_back_to_before_a_device_was_enrolled_has_all_of_it_again(office, tmp_path):
    (tmp_path / "copy").mkdir()
    saved = office.copy(tmp_path / "copy")
    tablet = Tablet(office, tmp_path / "one")
    tablet.finish()
    by_network(tablet)
    office.put_back(saved)
    # Also what has its receipt would be dropped with the name that it was sealed by.
    with pytest.raises(Refused) as told:
        tablet.enrol()
    assert told.value.problem.code == "code-astray"
    assert office.desk.store.read(enrol.all_devices) == []
    tablet.finish(file=9_000)
    with pytest.raises(Refused, match=f"{tablet.name}.*--name NAME"):
        tablet.sync()
    tablet.enrol(tablet.name)
    by_network(tablet)
    tablet.check_done()
    # A device that the server knows may become another, once all is sent.
    tablet.enrol("tablet-9")
    assert (tablet.store.owner().device, tablet.store.outbox()) == ("tablet-9", [])
    tablet.store.close()
    saved.drop()
