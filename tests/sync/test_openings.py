"""A session's opening that the server lacks: nothing is lost, and nobody has to do anything."""

from __future__ import annotations

from sqlalchemy import delete

from sync_server.store.intake_tables import openings
from tests.sync.world import Office, Tablet


def test_an_opening_that_the_server_lost_is_sent_again(tmp_path):
    office = Office(tmp_path)
    tablet = Tablet(office, tmp_path / "tablet")
    tablet.finish()
    assert tablet.sync().synced
    assert tablet.store.openings([1]) == []
    office.desk.store.transaction(lambda tx: tx.execute(delete(openings)), lock="north")
    # All that were sealed in that session go again, not the first alone.
    for _ in range(3):
        tablet.finish()
    assert tablet.sync().fed_again == 3
    assert tablet.store.openings([2, 3, 4]) == []
    tablet.check_done()
    assert [state for _, state in office.taken_in(tablet.name)] == ["checked"] * 4
    tablet.store.close()
    office.desk.close()
