"""A cycle:

who is due what this time, approved, turned into payments, released, and reconciled with the payer.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import and_, delete, func, insert, select, update

from sync_server import enrolment, ledger, officers, payout, programme, registry, review
from sync_server.expressions import JUDGE
from sync_server.officers import Declined
from sync_server.programme import id_for
from sync_server.store import desk_tables as t
from sync_server.store.engine import add_if_new, as_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from sqlalchemy import ColumnElement, Table

    from sync_server.desk import Desk
    from sync_server.store.engine import Tx


T = TypeVar("T")


class State(StrEnum):
    """Where a cycle is in its life."""

    DRAFT = "draft"
    APPROVED = "approved"
    RELEASED = "released"


CYCLE_MOVES: Mapping[State, frozenset[State]] = {
    State.DRAFT: frozenset({State.APPROVED}),
    State.APPROVED: frozenset({State.RELEASED}),
    State.RELEASED: frozenset(),
}


class Paid(StrEnum):
    """Where a payment is in its life."""

    WAITING = "waiting"
    HELD = "held"
    RELEASED = "released"
    PAID = "paid"
    FAILED = "failed"


PAYMENT_MOVES: Mapping[Paid, frozenset[Paid]] = {
    Paid.WAITING: frozenset({Paid.HELD, Paid.RELEASED}),
    Paid.HELD: frozenset({Paid.RELEASED}),
    Paid.RELEASED: frozenset({Paid.PAID, Paid.FAILED}),
    Paid.PAID: frozenset(),
    Paid.FAILED: frozenset(),
}


@dataclass(frozen=True, slots=True)
class Cycle:
    """One round of payments of a programme, for a period."""

    id: str
    programme: str
    version: str
    period: str
    state: State
    author: str


@dataclass(frozen=True, slots=True)
class Figures:
    """What a cycle comes to. Amounts in minor units of `currency`."""

    cycle: Cycle
    title: str
    currency: str
    minor_digits: int
    entitlements: int
    total_minor: int
    set_aside: tuple[programme.SetAside, ...]
    payments: Mapping[str, int]
    released_minor: int

    @property
    def total(self) -> str:
        return payout.money(self.total_minor, self.minor_digits)

    @property
    def released(self) -> str:
        return payout.money(self.released_minor, self.minor_digits)


def open_cycle(desk: Desk, officer: str, name: str, period: str) -> Figures:
    """Opens the cycle and works out who is due what. The same programme and period is the same
    cycle.

    Raises Declined for a programme that is not there, or for who may not.
    """
    if not re.fullmatch(r"[0-9A-Za-z][0-9A-Za-z._-]{0,31}", period):
        raise Declined(f"{period!r} is no period: give letters, digits and dashes, like 2026-11")
    cycle_id = id_for("cycle", name, period)

    def work(tx: Tx) -> None:
        officers.acting(tx, officer, "admin", "supervisor")
        chosen = enrolment.get(tx, name)
        if tx.execute(select(t.cycles.c.cycle).where(t.cycles.c.cycle == cycle_id)).first():
            return
        row = {"cycle": cycle_id, "programme": name, "version": chosen.version, "period": period}
        tx.execute(
            insert(t.cycles).values(**row, state=State.DRAFT, author=officer, made_ms=desk.now_ms())
        )

    desk.store.transaction(work)
    return run(desk, officer, cycle_id)


def run(desk: Desk, officer: str, cycle_id: str) -> Figures:
    """Works the entitlements out (again, while it is a draft).

    Once approved, running it adds nothing.
    """
    cycle_id = desk.store.read(lambda tx: get(tx, cycle_id).id)
    areas = desk.store.read(registry.areas)
    _in_each(desk, areas, partial(_run, desk, officer, cycle_id))

    def last(tx: Tx) -> None:
        if get(tx, cycle_id).state is State.DRAFT:
            review.announce(tx, subject_of(desk, tx, cycle_id), desk.now_ms())

    desk.store.transaction(last)
    return figures(desk, cycle_id)


def _in_each(desk: Desk, areas: Iterable[str], work: Callable[[str, Tx], T]) -> list[T]:
    """The work in a transaction of each area: none spans two."""
    return [desk.store.transaction(partial(work, area), lock=area) for area in areas]


def _run(desk: Desk, officer: str, cycle_id: str, area: str, tx: Tx) -> None:
    officers.acting(tx, officer, "admin", "supervisor")
    cycle = get(tx, cycle_id)
    subject = review.known(tx, "", "cycle", cycle_id)
    if cycle.state is not State.DRAFT or subject in {"approved", "carried out"}:
        return
    chosen = enrolment.get(tx, cycle.programme, cycle.version)
    members = enrolment.enrolled(tx, area, cycle.programme)
    people = registry.households(desk, tx, area, chosen.record)
    drafted, aside = programme.due(
        chosen, cycle.period, (one for one in people if one.id in members), JUDGE
    )
    tx.execute(delete(t.entitlements).where(_of(t.entitlements, area, cycle_id)))
    tx.execute(
        delete(t.set_aside).where(_of(t.set_aside, area, cycle_id), t.set_aside.c.step == "entitle")
    )
    if drafted:
        tx.execute(
            insert(t.entitlements),
            [
                {
                    "area": area,
                    "entitlement": one.id,
                    "cycle": cycle_id,
                    "household": one.household,
                    "channel": one.channel,
                    "amount_minor": one.amount_minor,
                    "currency": chosen.currency,
                    "sealed": desk.at_rest.seal(
                        f"entitlement/{one.id}",
                        json.dumps([one.name, one.account], ensure_ascii=False).encode(),
                    ),
                }
                for one in drafted
            ],
        )
    _aside(tx, area, cycle_id, "entitle", aside)


def _of(table: Table, area: str, cycle_id: str) -> ColumnElement[bool]:
    return and_(table.c.area == area, table.c.cycle == cycle_id)


def _aside(
    tx: Tx, area: str, cycle_id: str, step: str, aside: Iterable[programme.SetAside]
) -> None:
    add_if_new(
        tx,
        t.set_aside,
        [
            {
                "area": area,
                "cycle": cycle_id,
                "household": one.household,
                "step": step,
                "reasons": json.dumps(one.reasons, ensure_ascii=False),
            }
            for one in aside
        ],
    )


def get(tx: Tx, cycle_id: str) -> Cycle:
    """The cycle by its id, or by `PROGRAMME/PERIOD`. Raises Declined if there is none."""
    if "/" in cycle_id:
        cycle_id = id_for("cycle", *cycle_id.split("/", 1))
    row = tx.execute(select(t.cycles).where(t.cycles.c.cycle == cycle_id)).first()
    if row is None:
        raise Declined(f"there is no cycle {cycle_id}: `cycle list` shows them")
    return Cycle(row.cycle, row.programme, row.version, row.period, State(row.state), row.author)


def listed(desk: Desk) -> tuple[Figures, ...]:
    """Every cycle, oldest first."""
    ids = desk.store.read(
        lambda tx: tuple(
            tx.execute(
                select(t.cycles.c.cycle).order_by(t.cycles.c.made_ms, t.cycles.c.cycle)
            ).scalars()
        )
    )
    return tuple(figures(desk, one) for one in ids)


def figures(desk: Desk, cycle_id: str) -> Figures:
    def work(tx: Tx) -> Figures:
        cycle = get(tx, cycle_id)
        chosen = enrolment.get(tx, cycle.programme, cycle.version)
        count, total = tx.execute(
            select(func.count(), func.coalesce(func.sum(t.entitlements.c.amount_minor), 0)).where(
                t.entitlements.c.cycle == cycle.id
            )
        ).one()
        states = {
            row.state: (row.lines, int(row.total))
            for row in tx.execute(
                select(
                    t.payments.c.state,
                    func.count().label("lines"),
                    func.sum(t.payments.c.amount_minor).label("total"),
                )
                .where(t.payments.c.cycle == cycle.id)
                .group_by(t.payments.c.state)
            )
        }
        aside = tx.execute(
            select(t.set_aside)
            .where(t.set_aside.c.cycle == cycle.id)
            .order_by(t.set_aside.c.household, t.set_aside.c.step)
        )
        sent = (Paid.RELEASED, Paid.PAID, Paid.FAILED)
        return Figures(
            cycle=cycle,
            title=chosen.title,
            currency=chosen.currency,
            minor_digits=chosen.minor_digits,
            entitlements=int(count),
            total_minor=int(total),
            set_aside=tuple(
                programme.SetAside(row.household, tuple(json.loads(row.reasons))) for row in aside
            ),
            payments={state: number for state, (number, _) in sorted(states.items())},
            released_minor=sum(states[state][1] for state in sent if state in states),
        )

    return desk.store.read(work)


@dataclass(frozen=True, slots=True)
class Due:
    """An entitlement as it was kept."""

    area: str
    id: str
    household: str
    name: str
    channel: str
    account: str
    amount_minor: int
    currency: str


def entitlements(desk: Desk, tx: Tx, cycle_id: str) -> tuple[Due, ...]:
    rows = tx.execute(
        select(t.entitlements)
        .where(t.entitlements.c.cycle == cycle_id)
        .order_by(t.entitlements.c.area, t.entitlements.c.household)
    )
    found: list[Due] = []
    for row in rows:
        opened = desk.at_rest.open(f"entitlement/{row.entitlement}", as_bytes(row.sealed))
        name, account = json.loads(opened)
        money = {"amount_minor": row.amount_minor, "currency": row.currency}
        found.append(
            Due(row.area, row.entitlement, row.household, name, row.channel, account, **money)
        )
    return tuple(found)


def subject_of(desk: Desk, tx: Tx, cycle_id: str) -> review.Subject:
    """The cycle as something to decide on. Its content is every entitlement, account included."""
    cycle = get(tx, cycle_id)
    dues = entitlements(desk, tx, cycle.id)
    aside = tx.execute(
        select(t.set_aside.c.household)
        .where(t.set_aside.c.cycle == cycle.id, t.set_aside.c.step == "entitle")
        .order_by(t.set_aside.c.household)
    )
    content = {
        "cycle": [cycle.programme, cycle.version, cycle.period],
        "due": [
            [one.id, one.household, one.channel, one.account, one.amount_minor] for one in dues
        ],
        "set_aside": list(aside.scalars()),
    }
    title = f"{cycle.programme} {cycle.period}: {len(dues)} entitlements"
    return review.Subject("", "cycle", cycle.id, cycle.author, title, review.content_hash(content))


def next_subject(tx: Tx, cycle_id: str) -> str:
    """What of the cycle is decided on next: the cycle itself, and after it its payment batch."""
    cycle = get(tx, cycle_id)
    return cycle.id if cycle.state is State.DRAFT else payment_batch(cycle.id)


def payment_batch(cycle_id: str) -> str:
    """The id of the cycle's payment batch."""
    return id_for("payment batch", cycle_id)


def payment_subject(desk: Desk, tx: Tx, batch: str) -> review.Subject:
    """The payment batch as something to decide on.

    Its content is every payment's target and amount.
    """
    cycle = get(tx, cycle_of(tx, batch))
    found = _payments(desk, tx, cycle.id)
    content = [
        [one.payment, one.household, one.channel, one.account, one.amount_minor] for _, one in found
    ]
    total = sum(one.amount_minor for _, one in found)
    title = f"{cycle.programme} {cycle.period}: {len(found)} payments"
    if found:
        title += f", {found[0][1].currency} {payout.money(total, found[0][1].minor_digits)}"
    return review.Subject("", "payment", batch, cycle.author, title, review.content_hash(content))


def _payments(
    desk: Desk, tx: Tx, cycle_id: str, *states: Paid, area: str | None = None
) -> list[tuple[str, payout.Instruction]]:
    """(area, instruction) of the cycle's payments in these states, or in all."""
    cycle = get(tx, cycle_id)
    digits = enrolment.get(tx, cycle.programme, cycle.version).minor_digits
    chosen = select(t.payments).where(t.payments.c.cycle == cycle_id)
    if states:
        chosen = chosen.where(t.payments.c.state.in_(states))
    if area is not None:
        chosen = chosen.where(t.payments.c.area == area)
    found: list[tuple[str, payout.Instruction]] = []
    for row in tx.execute(chosen.order_by(t.payments.c.area, t.payments.c.payment)):
        name, account = json.loads(
            desk.at_rest.open(f"payment/{row.payment}", as_bytes(row.sealed))
        )
        one = payout.Instruction(
            payment=row.payment,
            household=row.household,
            name=name,
            channel=row.channel,
            account=account,
            currency=row.currency,
            amount_minor=row.amount_minor,
            minor_digits=digits,
        )
        found.append((row.area, one))
    return found


def settle(desk: Desk, standing: review.Standing) -> None:
    """Carries out what was decided on a cycle or a payment batch, area by area;

    doing it again adds nothing.
    """
    if standing.state is not review.State.APPROVED:
        return
    subject = standing.subject
    if subject.kind == "cycle":
        cycle_id = subject.id
        areas = desk.store.read(lambda tx: _areas(tx, cycle_id))
        _in_each(desk, areas, partial(_make_payments, desk, cycle_id))
        target, batch = State.APPROVED, payment_batch(cycle_id)
    else:
        cycle_id = desk.store.read(lambda tx: cycle_of(tx, subject.id))
        release(desk, cycle_id)
        target, batch = State.RELEASED, ""

    def done(tx: Tx) -> None:
        cycle = get(tx, cycle_id)
        if cycle.state is target:
            return
        if target not in CYCLE_MOVES[cycle.state]:
            raise Declined(f"the cycle is {cycle.state} and cannot become {target}")
        tx.execute(update(t.cycles).where(t.cycles.c.cycle == cycle_id).values(state=target))
        review.move(tx, subject, review.State.CARRIED_OUT)
        if batch:
            review.announce(tx, payment_subject(desk, tx, batch), desk.now_ms())

    desk.store.transaction(done)


def _areas(tx: Tx, cycle_id: str) -> tuple[str, ...]:
    rows = tx.execute(
        select(t.entitlements.c.area).where(t.entitlements.c.cycle == cycle_id).distinct()
    )
    return tuple(sorted(rows.scalars()))


def cycle_of(tx: Tx, subject: str) -> str:
    """The cycle's id, given its own or that of its payment batch.

    Raises Declined if there is none.
    """
    for one in tx.execute(select(t.cycles.c.cycle)).scalars():
        if subject in {one, payment_batch(one)}:
            return str(one)
    raise Declined(f"there is no cycle and no payment batch {subject}")


def _make_payments(desk: Desk, cycle_id: str, area: str, tx: Tx) -> None:
    """A payment and a ledger entry for each entitlement of the area."""
    cycle = get(tx, cycle_id)
    dues = [one for one in entitlements(desk, tx, cycle_id) if one.area == area]
    rows = []
    entries = []
    for one in dues:
        payment = id_for("payment", one.id)
        rows.append(
            {
                "area": area,
                "payment": payment,
                "cycle": cycle_id,
                "entitlement": one.id,
                "household": one.household,
                "channel": one.channel,
                "amount_minor": one.amount_minor,
                "currency": one.currency,
                "state": Paid.WAITING,
                "reference": "",
                "sealed": desk.at_rest.seal(
                    f"payment/{payment}",
                    json.dumps([one.name, one.account], ensure_ascii=False).encode(),
                ),
            }
        )
        entries.append(
            ledger.Entry(
                id_for("entry", "entitled", one.id),
                cycle.programme,
                one.currency,
                one.id,
                f"entitled, {cycle.period}",
                ledger.move(
                    source=ledger.due(one.household),
                    target=ledger.expense(cycle.programme),
                    amount_minor=one.amount_minor,
                ),
            )
        )
    add_if_new(tx, t.payments, rows)
    post(tx, area, entries, desk.now_ms())


def release(desk: Desk, cycle_id: str) -> None:
    """Releases the payments whose batch is approved, and holds those to households that are frozen.

    Safe to run again: after a clash is settled, a held payment goes out if its account still
    stands.
    """
    areas = desk.store.read(lambda tx: _areas(tx, cycle_id))
    _in_each(desk, areas, partial(_release, desk, cycle_id))


def _release(desk: Desk, cycle_id: str, area: str, tx: Tx) -> None:
    cycle = get(tx, cycle_id)
    if review.known(tx, "", "payment", payment_batch(cycle_id)) not in {"approved", "carried out"}:
        return
    chosen = enrolment.get(tx, cycle.programme, cycle.version)
    waiting = _payments(desk, tx, cycle_id, Paid.WAITING, Paid.HELD, area=area)
    wanted = {one.household for _, one in waiting}
    people = {
        one.id: one for one in registry.households(desk, tx, area, chosen.record, only=wanted)
    }
    entries: list[ledger.Entry] = []
    for _, one in waiting:
        why_not = _held(chosen, people.get(one.household), one)
        to = Paid.HELD if why_not else Paid.RELEASED
        tx.execute(
            update(t.payments)
            .where(t.payments.c.area == area, t.payments.c.payment == one.payment)
            .values(state=to)
        )
        tx.execute(
            delete(t.set_aside).where(
                t.set_aside.c.area == area,
                t.set_aside.c.cycle == cycle_id,
                t.set_aside.c.household == one.household,
                t.set_aside.c.step == "release",
            )
        )
        if why_not:
            _aside(tx, area, cycle_id, "release", [programme.SetAside(one.household, (why_not,))])
            continue
        entries.append(
            ledger.Entry(
                id_for("entry", "released", one.payment),
                cycle.programme,
                one.currency,
                one.payment,
                f"sent to be paid, {cycle.period}",
                ledger.move(
                    source=ledger.in_transit(one.channel),
                    target=ledger.due(one.household),
                    amount_minor=one.amount_minor,
                ),
            )
        )
    post(tx, area, entries, desk.now_ms())


def _held(
    chosen: programme.Programme, record: programme.Household | None, one: payout.Instruction
) -> str:
    """Why this payment may not go out now, or nothing. Pure."""
    if record is None:
        return "the household is no longer in the registry"
    if record.frozen:
        return record.frozen
    if one.account and record.fields.get(chosen.account_field, "") != one.account:
        return "the account has changed since the approval; the next cycle pays to the new one"
    return ""


def pay_list(desk: Desk, cycle_id: str) -> tuple[str, tuple[payout.Instruction, ...]]:
    """The payment list as CSV, and its instructions.

    Raises Declined before the payment batch is approved.
    """
    cycle_id = desk.store.read(lambda tx: get(tx, cycle_id).id)
    state = desk.store.read(lambda tx: review.known(tx, "", "payment", payment_batch(cycle_id)))
    if state not in {"approved", "carried out"}:
        raise Declined(
            f"the payments of cycle {cycle_id} are {state or 'not made yet'}: "
            "`cycle approve` by an approver, then by finance, releases them"
        )
    release(desk, cycle_id)
    sent = (Paid.RELEASED, Paid.PAID, Paid.FAILED)
    found = desk.store.read(lambda tx: _payments(desk, tx, cycle_id, *sent))
    instructions = tuple(one for _, one in found)
    return payout.written(instructions), instructions


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What the payer's file came to."""

    paid: int
    failed: int
    already: int
    faults: tuple[str, ...]


def reconcile(desk: Desk, officer: str, cycle_id: str, text: str) -> Reconciled:
    """Books the payer's answers.

    What does not fit a released payment is set aside as a fault, not booked.
    """
    cycle = desk.store.read(lambda tx: get(tx, cycle_id))
    chosen = desk.store.read(lambda tx: enrolment.get(tx, cycle.programme, cycle.version))
    answers, faults = payout.answered(text, minor_digits=chosen.minor_digits)
    by_payment = {one.payment: one for one in answers}
    areas = desk.store.read(lambda tx: _areas(tx, cycle.id))
    told = _in_each(desk, areas, partial(_book, desk, officer, cycle, by_payment))
    seen = {payment for one in told for payment in one.seen}
    unknown = [f"{one}: no such payment in this cycle" for one in by_payment if one not in seen]
    return Reconciled(
        sum(one.paid for one in told),
        sum(one.failed for one in told),
        sum(one.already for one in told),
        (*faults, *(fault for one in told for fault in one.faults), *unknown),
    )


@dataclass(slots=True)
class _Booked:
    """What one area's part of the payer's file came to, while it is booked."""

    paid: int
    failed: int
    already: int
    faults: list[str]
    seen: list[str]


def _book(
    desk: Desk,
    officer: str,
    cycle: Cycle,
    answers: Mapping[str, payout.Answer],
    *where: Any,
) -> _Booked:
    area, tx = where
    officers.acting(tx, officer, "finance")
    told = _Booked(0, 0, 0, [], [])
    entries: list[ledger.Entry] = []
    rows = tx.execute(select(t.payments).where(_of(t.payments, area, cycle.id))).all()
    for row in rows:
        answer = answers.get(row.payment)
        if answer is None:
            continue
        told.seen.append(row.payment)
        to = Paid.PAID if answer.paid else Paid.FAILED
        if row.state == to:
            told.already += 1
            continue
        if to not in PAYMENT_MOVES[Paid(row.state)]:
            told.faults.append(f"{row.payment}: is {row.state}, and the payer says {to}")
            continue
        if answer.amount_minor != row.amount_minor:
            told.faults.append(
                f"{row.payment}: {row.amount_minor} minor units were sent, "
                f"and the payer says {answer.amount_minor}"
            )
            continue
        told.paid += answer.paid
        told.failed += not answer.paid
        tx.execute(
            update(t.payments)
            .where(t.payments.c.area == area, t.payments.c.payment == row.payment)
            .values(state=to, reference=answer.reference)
        )
        # Money that came back is due to the household again.
        source = ledger.bank(cycle.programme) if answer.paid else ledger.due(row.household)
        entries.append(
            ledger.Entry(
                id_for("entry", str(to), row.payment),
                cycle.programme,
                row.currency,
                row.payment,
                f"{to}: {answer.reference or 'no reference'}",
                ledger.move(
                    source=source,
                    target=ledger.in_transit(row.channel),
                    amount_minor=row.amount_minor,
                ),
            )
        )
    post(tx, area, entries, desk.now_ms())
    return told


def post(tx: Tx, area: str, entries: Iterable[ledger.Entry], at_ms: int) -> None:
    """Writes entries into the books; those that are there already change nothing."""
    add_if_new(
        tx,
        t.ledger,
        [
            {
                "area": area,
                "entry": entry.id,
                "line": number,
                "programme": entry.programme,
                "account": line.account,
                "amount_minor": line.amount_minor,
                "currency": entry.currency,
                "about": entry.about,
                "memo": entry.memo,
                "at_ms": at_ms,
            }
            for entry in entries
            for number, line in enumerate(entry.lines, 1)
        ],
    )


def books(desk: Desk, name: str) -> Mapping[tuple[str, str], int]:
    """The balance of each account of a programme that is not nothing, by (account, currency), in
    minor units.
    """

    def work(tx: Tx) -> Mapping[tuple[str, str], int]:
        total = func.sum(t.ledger.c.amount_minor)
        rows = tx.execute(
            select(t.ledger.c.account, t.ledger.c.currency, total.label("total"))
            .where(t.ledger.c.programme == name)
            .group_by(t.ledger.c.account, t.ledger.c.currency)
            .order_by(t.ledger.c.account)
        )
        return {(row.account, row.currency): int(row.total) for row in rows if row.total}

    return desk.store.read(work)
