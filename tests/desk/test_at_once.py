"""A household that is paid, and officers who press the button at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import select

from sync_server import cycle, docket, registry, review
from sync_server.officers import Declined
from sync_server.store import desk_tables as d
from tests.desk.office import household
from tests.desk.test_desk import PEOPLE, everything, pays, release


def test_a_household_is_paid_from_either_database(office):
    wallet = {"channel": "mobile_money"}
    cycle_id = pays(
        office,
        household("Diallo", *PEOPLE),
        household("Toure", *PEOPLE, **wallet, account="+25770001"),
    )
    later = household("Toure", *PEOPLE, **wallet, account="+25779999")
    office.fold(later, device="tab-2", label="omar")
    assert len(release(office, cycle_id)[1]) == 1
    (clash,) = registry.clashes(office.desk)
    registry.settle(office.desk, "sara", clash.record, clash.path, "+25770001", seen=clash.seen)
    assert len(cycle.pay_list(office.desk, cycle_id)[1]) == 2
    before = everything(office)
    cycle.run(office.desk, "ada", cycle_id)
    assert everything(office) == before
    assert sum(cycle.books(office.desk, "support").values()) == 0
    assert review.broken_links(office.desk, "north") == ()


def test_of_many_approvals_at_once_by_one_officer_one_counts(office):
    subjects = [office.bring(household(name, *PEOPLE)) for name in ("Diallo", "Said", "Toure")]

    def press(subject):
        try:
            docket.decide(office.desk, "sara", subject, "approve")
        except Declined:
            return 0
        return 1

    with ThreadPoolExecutor(6) as hands:
        counted = sum(hands.map(press, subjects * 4))
    rows = office.desk.store.read(lambda tx: tx.execute(select(d.decisions)).all())
    assert (counted, len(rows)) == (3, 3)
    assert review.broken_links(office.desk, "north") == ()
