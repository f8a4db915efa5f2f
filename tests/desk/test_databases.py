"""The same journey on SQLite and on a real PostgreSQL, and officers who press the button at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select

from sync_server import cycle, docket, registry, review
from sync_server.officers import Declined
from sync_server.store import desk_tables as d
from tests.desk.office import household, open_office, staff
from tests.desk.test_desk import PEOPLE, everything, pays, release


@pytest.fixture
def anywhere(url, tmp_path):
    office = staff(open_office(tmp_path, url), ("sara", "anna", "finn", "ada"))
    yield office
    office.desk.store.close()


def test_a_household_is_paid_from_either_database(anywhere):
    wallet = {"channel": "mobile_money"}
    cycle_id = pays(
        anywhere,
        household("Diallo", *PEOPLE),
        household("Toure", *PEOPLE, **wallet, account="+25770001"),
    )
    later = household("Toure", *PEOPLE, **wallet, account="+25779999")
    anywhere.fold(later, device="tab-2", label="omar")
    assert len(release(anywhere, cycle_id)[1]) == 1
    (clash,) = registry.clashes(anywhere.desk)
    registry.settle(anywhere.desk, "sara", clash.record, clash.path, "+25770001", seen=clash.seen)
    assert len(cycle.pay_list(anywhere.desk, cycle_id)[1]) == 2
    before = everything(anywhere)
    cycle.run(anywhere.desk, "ada", cycle_id)
    assert everything(anywhere) == before
    assert sum(cycle.books(anywhere.desk, "support").values()) == 0
    assert review.broken_links(anywhere.desk, "north") == ()


def test_of_many_approvals_at_once_by_one_officer_one_counts(anywhere):
    subjects = [anywhere.bring(household(name, *PEOPLE)) for name in ("Diallo", "Said", "Toure")]

    def press(subject):
        try:
            docket.decide(anywhere.desk, "sara", subject, "approve")
        except Declined:
            return 0
        return 1

    with ThreadPoolExecutor(6) as hands:
        counted = sum(hands.map(press, subjects * 4))
    rows = anywhere.desk.store.read(lambda tx: tx.execute(select(d.decisions)).all())
    assert (counted, len(rows)) == (3, 3)
    assert review.broken_links(anywhere.desk, "north") == ()
