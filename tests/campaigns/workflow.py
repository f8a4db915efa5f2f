"""Officers who try everything in any order:

nobody decides twice, nobody is paid twice, the books balance, and of two devices that were restored
from one copy nothing enters that no supervisor let go on.
"""

from __future__ import annotations

import json
import random
import tempfile
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import select

from sync_server import batches, cycle, docket, enrolment, registry, review
from sync_server.officers import Declined
from sync_server.publish import publish
from sync_server.store import desk_tables as d
from sync_server.store import intake_tables as t
from tests.campaigns import Figures, Violation
from tests.databases import Sqlite
from tests.desk.conftest import copied
from tests.desk.office import PROGRAMME, STAFF, household, open_office, staff
from tests.server import test_forks
from tests.server.conftest import enrolled
from tests.server.field import app_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.desk.office import Office
    from tests.server.field import Tablet

STEPS = 120
NAMES = ("Diallo", "Said", "Toure", "Keita")
PEOPLE = ("Amina", "Ousmane", "Fatou")


def run(n: int, seed: int) -> Figures:
    """`n` offices of 120 acts each, every act by anyone, followed by a look at what may never be."""
    counted: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as home:
        database = Sqlite(Path(home))
        made = staff(open_office(Path(home), database.url))
        made.desk.store.close()
        made.database = database
        for number in range(n):
            luck = random.Random(f"{seed} {number}")
            with (
                tempfile.TemporaryDirectory() as folder,
                copied(made, Path(folder)) as office,
            ):
                _live(office, luck, f"office {number} of seed {seed}", counted)
    return {"offices": n, **dict(sorted(counted.items())), "violations": 0}


def _live(office: Office, luck: random.Random, which: str, counted: Counter[str]) -> None:
    done: list[str] = []
    enrolment.add(office.desk, "ada", json.dumps(PROGRAMME))
    tablets = _two_of_one(office)
    for _ in range(STEPS):
        act = luck.choice((*ACTS, *(partial(_visit, luck.choice(tablets)),) * 3))
        name = luck.choice(sorted(STAFF))
        done.append(f"{getattr(act, '__name__', '_visit')} by {name}")
        office.wait(minutes=1)
        with suppress(Declined, StopIteration):
            act(office, luck, name)
            counted["acts done"] += 1
        wrong = _wrong(office)
        if wrong:
            raise Violation(f"{which}: {wrong}; after " + ", ".join(done))
    states = Counter(row.state for row in _rows(office, d.payments))
    counted["payments sent"] += sum(states[one] for one in ("released", "paid", "failed"))
    counted["decisions"] += len(_rows(office, d.decisions))
    counted["releases"] += sum(row.kind == "fork" for row in _rows(office, d.decisions))


def _bring(office: Office, luck: random.Random, name: str) -> None:
    del name
    account = luck.choice(["+25770001", "+25770002", "12"])
    one = household(luck.choice(NAMES), *PEOPLE, channel="mobile_money", account=account)
    office.bring(one, device=luck.choice(["tab-1", "tab-2"]))


def _waiting(office: Office, luck: random.Random) -> str:
    found = docket.listed(office.desk)
    if not found:
        raise StopIteration
    return luck.choice(found).subject.id


def _approve(office: Office, luck: random.Random, name: str) -> None:
    subject = _waiting(office, luck)
    stage = docket.show(office.desk, subject).next
    if stage is not None and luck.random() < 0.8:
        name = luck.choice([one for one, roles in sorted(STAFF.items()) if stage.role in roles])
    docket.decide(office.desk, name, subject, "approve")


def _give_back(office: Office, luck: random.Random, name: str) -> None:
    if luck.random() < 0.3:
        docket.decide(office.desk, name, _waiting(office, luck), "return", comment="look again")


def _give_one_back(office: Office, luck: random.Random, name: str) -> None:
    shown = docket.show(office.desk, _waiting(office, luck)).subject
    if shown.kind == "batch" and luck.random() < 0.3:
        batches.return_one(office.desk, name, shown, str(luck.randint(1, 9)), "look again")


def _two_of_one(office: Office) -> list[Tablet]:
    """A tablet that sends what it made, and one that was restored from its first copy."""
    visits = publish(office.desk, "visit.md", test_forks.FORM.encode(), {})
    one = enrolled(office.desk, app_of(office.desk), visits.hash)
    return [one, replace(one, openings={}, receipts={})]


def _visit(one: Tablet, office: Office, luck: random.Random, name: str) -> None:
    """One of the two comes, with a visit or two, and now and then with what it brought before."""
    del name
    number = len(_rows(office, t.envelopes))
    visit = f"uuid:visit-{luck.randrange(6)}" if luck.random() < 0.2 else ""
    brought = [test_forks.sealed(one, number, visit=visit)]
    if luck.random() < 0.3:
        brought.append(test_forks.sealed(one, number + 1))
    one.round(brought, f"v{number}")
    if luck.random() < 0.3:
        one.round(brought, f"again{number}")


def _release(office: Office, luck: random.Random, name: str) -> None:
    held = [row for row in _rows(office, t.submissions) if row.state == "held"]
    if not held:
        raise StopIteration
    one = luck.choice(held)
    shown = docket.show(office.desk, f"{one.device}:{one.batch}").subject
    reference = luck.choice([one.hash, str(one.counter), one.instance_id])
    if luck.random() < 0.8:
        batches.release_one(office.desk, name, shown, reference)
    else:
        batches.return_one(office.desk, name, shown, reference, "enrol this tablet anew")


def _settle(office: Office, luck: random.Random, name: str) -> None:
    for clash in registry.clashes(office.desk)[:1]:
        value = luck.choice(clash.sides).value
        registry.settle(office.desk, name, clash.record, clash.path, value, seen=clash.seen)


def _propose(office: Office, luck: random.Random, name: str) -> None:
    del luck
    enrolment.propose(office.desk, name, "support")


def _open(office: Office, luck: random.Random, name: str) -> None:
    cycle.open_cycle(office.desk, name, "support", luck.choice(["2026-11", "2026-12"]))


def _pay(office: Office, luck: random.Random, name: str) -> None:
    del name
    found = cycle.listed(office.desk)
    if found:
        cycle.pay_list(office.desk, luck.choice(found).cycle.id)


def _answer(office: Office, luck: random.Random, name: str) -> None:
    rows = "".join(
        f"{row.payment},{luck.choice(['paid', 'failed'])},R,{row.amount_minor / 100:.2f}\n"
        for row in _rows(office, d.payments)
        if luck.random() < 0.5
    )
    for one in cycle.listed(office.desk):
        text = "payment,status,reference,amount\n" + rows
        cycle.reconcile(office.desk, name, one.cycle.id, text)


# An approval is what moves an office on, so it is tried most.
ACTS: tuple[Callable[[Office, random.Random, str], None], ...] = (
    *(_approve,) * 12,
    *(_bring,) * 3,
    *(_propose, _open) * 2,
    *(_release,) * 3,
    *(_give_back, _give_one_back, _settle, _pay, _answer),
)


def _rows(office: Office, table: object) -> list[object]:
    return office.desk.store.read(lambda tx: tx.execute(select(table)).all())


def _wrong(office: Office) -> str:
    """What may never be and is, or nothing."""
    decided = Counter(
        (row.area, row.kind, row.subject, row.content, row.officer)
        for row in _rows(office, d.decisions)
    )
    if any(count > 1 for count in decided.values()):
        return f"an officer decided twice: {decided.most_common(1)}"
    paid = Counter((row.cycle, row.household) for row in _rows(office, d.payments))
    if any(count > 1 for count in paid.values()):
        return f"a household is paid twice in a cycle: {paid.most_common(1)}"
    balance = sum(row.amount_minor for row in _rows(office, d.ledger))
    if balance:
        return f"the books are out of balance by {balance}"
    released = {"released", "paid", "failed"}
    approved = {
        row.subject
        for row in _rows(office, d.decisions)
        if row.kind == "payment" and row.verdict == "approve"
    }
    for row in _rows(office, d.payments):
        if row.state in released and cycle.payment_batch(row.cycle) not in approved:
            return f"payment {row.payment} went out without finance"
    beside = {
        f"{row.device}:{row.counter}:{row.hash}": row
        for row in _rows(office, t.envelopes)
        if row.problem
    }
    let_go = {row.subject for row in _rows(office, d.decisions) if row.kind == "fork"}
    entered = Counter(
        (row.device, row.counter) for row in _rows(office, d.changes) if "~" in row.device
    )
    for subject, row in beside.items():
        dot = (f"{row.device}~{row.hash[: registry.FORK_DIGITS]}", row.counter)
        if entered[dot] > 1 or (entered.pop(dot, 0) and subject not in let_go):
            return f"{subject} entered, and nobody let it go on, or twice"
    if +entered:
        return f"what nobody holds entered: {entered}"
    carried_out = {
        row.subject
        for row in _rows(office, d.subjects)
        if row.kind == "batch" and row.state == "carried out"
    }
    for row in _rows(office, t.submissions):
        if row.state == "held" and f"{row.device}:{row.batch}" in carried_out:
            return f"a batch went on over {row.device} {row.counter}, which is held"
    for area in ("", "north"):
        broken = review.broken_links(office.desk, area)
        if broken:
            return broken[0]
    return ""
