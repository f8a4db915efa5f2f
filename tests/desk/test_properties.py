"""What holds whatever officers, devices and payers do, sought by generated histories."""

from __future__ import annotations

import tempfile
from collections import Counter
from contextlib import suppress
from functools import partial
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from sync_server import cycle, docket, ledger, payout, programme, registry, review
from sync_server.officers import Declined
from sync_server.store import desk_tables as d
from tests.campaigns import workflow
from tests.desk.conftest import copied
from tests.desk.office import STAFF, household

SOME = settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
MANY = settings(max_examples=200, deadline=None)

minor = st.integers(1, 10**12)


def test_officers_who_try_everything_and_two_tablets_of_one_copy_break_no_promise():
    found = workflow.run(1, 3)  # raises a violation
    assert found["releases"]
    assert found["decisions"] > 5


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("wxyz"), minor), max_size=20))
@MANY
def test_the_books_balance_whatever_is_moved(moves):
    entries = [
        ledger.Entry(
            str(number),
            "p",
            "BIF",
            "about",
            "memo",
            ledger.move(source=source, target=target, amount_minor=amount),
        )
        for number, (source, target, amount) in enumerate(moves)
    ]
    undone = [ledger.reversal(one, id=f"-{one.id}", memo="wrong") for one in entries]
    assert sum(ledger.balances(entries).values()) == 0
    assert set(ledger.balances([*entries, *undone]).values()) <= {0}


@given(st.integers(-(10**15), 10**15), st.integers(0, 4))
@MANY
def test_an_amount_that_is_written_is_read_again(amount, digits):
    assert payout.minor(payout.money(amount, digits), digits) == amount


@given(st.text(max_size=30))
@MANY
def test_no_cell_of_the_payment_list_is_run_by_a_spreadsheet(cell):
    safe = payout.harmless(cell)
    skipped = safe.lstrip(" \t\r\n\x0b\x0c\x00\xa0\ufeff")
    assert payout.PHONE.fullmatch(safe) or not skipped.startswith(("=", "+", "-", "@", "|", "%"))
    assert safe.removeprefix("'") == cell.replace("\x00", "") or safe == cell.replace("\x00", "")


@given(
    st.lists(
        st.builds(
            programme.Household,
            st.sampled_from([f"h{number}" for number in range(6)]),
            st.fixed_dictionaries(
                {"size": st.sampled_from(["", "1", "3", "9"]), "payment_channel": st.just("cash")}
            ),
        ),
        max_size=12,
    )
)
@MANY
def test_each_household_is_either_due_something_or_set_aside_with_a_reason(people):
    drafted, aside = programme.due(RULES, "2026-11", people, Plain())
    told = Counter([one.household for one in (*drafted, *aside)])
    assert told == Counter({one.id for one in people})
    assert all(one.reasons and all(one.reasons) for one in aside)
    assert len({one.id for one in drafted}) == len(drafted)
    assert programme.due(RULES, "2026-11", [*people, *people], Plain()) == (drafted, aside)


RULES = programme.Programme(
    name="p",
    title="P",
    version="1",
    record="households",
    currency="BIF",
    minor_digits=2,
    amount_minor="${size}",
    eligibility=(programme.Rule("${size} >= 3", "${size} members"),),
    channels={"cash": ()},
    channel_field="payment_channel",
    account_field="payment_account",
    name_field="head_name",
)


class Plain:
    """A judge of the two expressions above, small enough to see through."""

    def problem(self, _expression):
        return None

    def true(self, _expression, record):
        return int(record.fields["size"]) >= 3

    def number(self, _expression, record):
        return float(record.fields["size"])


acts = st.lists(
    st.tuples(st.sampled_from(sorted(STAFF)), st.sampled_from(["approve", "return"])), max_size=8
)


@given(acts)
@SOME
def test_nobody_decides_twice_whoever_tries_in_whatever_order(made, tries):
    with tempfile.TemporaryDirectory() as folder, copied(made, Path(folder)) as office:
        subject = office.bring(household("Diallo", "Amina", "Ousmane"))
        for name, verdict in tries:
            with suppress(Declined):
                docket.decide(office.desk, name, subject, verdict, comment="so")
        rows = office.desk.store.read(lambda tx: tx.execute(select(d.decisions)).all())
        names = [row.officer for row in rows]
        assert len(set(names)) == len(names)
        assert [row.stage for row in rows] == list(range(1, len(rows) + 1))
        assert all(row.role in STAFF[row.officer] for row in rows)
        in_registry = bool(registry.find(office.desk, ""))
        assert in_registry == ([row.verdict for row in rows] == ["approve", "approve"])
        state = docket.show(office.desk, subject).state
        assert in_registry == (state is review.State.CARRIED_OUT)
        assert review.broken_links(office.desk, "north") == ()


visits = st.lists(
    st.tuples(
        st.sampled_from(["tab-1", "tab-2", "tab-3"]),
        st.sampled_from(["Diallo", "Said"]),
        st.sampled_from(["+25770001", "+25770002"]),
        st.sampled_from(["3", "4"]),
    ),
    min_size=1,
    max_size=5,
)


@given(visits, st.randoms(use_true_random=False))
@SOME
def test_the_order_in_which_batches_are_approved_changes_no_record(made, visits, luck):
    """The same batches, approved in two orders and folded again, give the same registry."""
    order = list(range(len(visits)))
    first = folded(made, visits, order)
    luck.shuffle(order)
    assert folded(made, visits, order) == first


def folded(made, visits, order):
    """The records and clashes after these visits, approved in this order and folded twice."""
    with tempfile.TemporaryDirectory() as folder, copied(made, Path(folder)) as office:
        subjects = []
        for device, name, account, size in visits:
            office.wait(minutes=1)
            one = household(name, "Amina", channel="mobile_money", account=account, size=size)
            subjects.append(office.bring(one, device=device, label=f"{device} agent"))
        for at in order:
            office.approve(subjects[at], "sara", "anna")
        for subject in subjects:
            again = partial(registry.fold_batch, office.desk, area="north", subject=subject)
            office.desk.store.transaction(lambda tx, again=again: again(tx=tx))
        records = office.desk.store.read(lambda tx: registry.records(office.desk, tx, "north", ""))
        clashes = sorted(
            (one.record, one.path, one.sides, one.suggested)
            for one in registry.clashes(office.desk)
        )
        return records, clashes


def test_the_states_that_a_table_names_are_the_states_there_are():
    for moves, states in (
        (review.MOVES, review.State),
        (cycle.CYCLE_MOVES, cycle.State),
        (cycle.PAYMENT_MOVES, cycle.Paid),
    ):
        assert set(moves) == set(states)
        assert set().union(*moves.values()) <= set(states)


def test_the_docs_draw_the_lives_that_the_tables_hold():
    told = (Path(__file__).parents[2] / "docs" / "workflow.md").read_text(encoding="utf-8")
    for moves in (review.MOVES, cycle.CYCLE_MOVES, cycle.PAYMENT_MOVES):
        drawn = "\n".join(
            f"| {state} | {', '.join(sorted(set(others) - {state})) or '-'} |"
            for state, others in moves.items()
        )
        assert drawn in told
