"""The docket: everything that waits for a decision, found by its id and decided on in one way."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select

from sync_server import batches, cycle, enrolment, officers, review
from sync_server.officers import Declined
from sync_server.store.desk_tables import subjects

if TYPE_CHECKING:
    from sync_server.desk import Desk
    from sync_server.review import Standing, Subject
    from sync_server.store.engine import Tx

REVIEWERS = ("supervisor", "approver", "finance", "admin")


def subject_of(desk: Desk, tx: Tx, area: str, kind: str, subject: str) -> Subject:
    """The subject as it is now, with the hash of its present content.

    Raises Declined if it is not there.
    """
    if kind == "batch":
        return batches.subject_of(tx, area, subject)
    if kind == "enrolment":
        return enrolment.subject_of(tx, area, subject)
    if kind == "cycle":
        return cycle.subject_of(desk, tx, subject)
    if kind == "payment":
        return cycle.payment_subject(desk, tx, subject)
    if kind == "fork":
        return batches.fork(tx, area, subject)
    raise Declined(f"{kind} is no kind of subject: they are {', '.join(review.POLICY)}")


def _every(tx: Tx) -> list[tuple[str, str, str]]:
    """(area, kind, id) of all subjects, batches that nobody has looked at included."""
    found = [(area, "batch", one) for area, one in batches.every(tx)]
    rows = tx.execute(
        select(subjects).where(subjects.c.kind != "batch").order_by(subjects.c.made_ms)
    )
    return found + [(row.area, row.kind, row.subject) for row in rows]


def _over(tx: Tx) -> set[tuple[str, str, str]]:
    over = (review.State.CARRIED_OUT, review.State.RETURNED)
    rows = tx.execute(select(subjects).where(subjects.c.state.in_(over)))
    return {(row.area, row.kind, row.subject) for row in rows}


def listed(desk: Desk, *, kind: str = "", settled: bool = False) -> tuple[Standing, ...]:
    """Every subject of the kind (or of all) that waits, or (with `settled`) all of them, oldest
    first.
    """

    def work(tx: Tx) -> tuple[Standing, ...]:
        # What is over needs no look at its content: a list of what waits stays quick for years.
        over = set() if settled else _over(tx)
        found = [
            review.standing(tx, subject_of(desk, tx, *one))
            for one in _every(tx)
            if kind in {"", one[1]} and one not in over
        ]
        return tuple(one for one in found if settled or one.next is not None)

    return desk.store.read(work)


def find(desk: Desk, tx: Tx, reference: str) -> Subject:
    """The subject with this id, or whose id begins or ends so.

    Raises Declined if it is none or several.
    """
    every = _every(tx)
    same = [one for one in every if reference in {one[2], one[2].rpartition(":")[2]}]
    if not same and len(reference) >= 4:
        same = [
            one
            for one in every
            if one[2].startswith(reference) or one[2].rpartition(":")[2].startswith(reference)
        ]
    if not same:
        raise Declined(
            f"nothing here is called {reference}: `review list --all` shows what there is"
        )
    if len(same) > 1:
        raise Declined(f"{reference} means {len(same)} subjects: write more of the id")
    return subject_of(desk, tx, *same[0])


def show(desk: Desk, reference: str) -> Standing:
    """How one subject stands."""
    return desk.store.read(lambda tx: review.standing(tx, find(desk, tx, reference)))


def decide(
    desk: Desk,
    officer: str,
    reference: str,
    verdict: str,
    *,
    comment: str = "",
    seen_content: str = "",
) -> Standing:
    """Approves the next stage of a subject ("approve") or gives it back ("return"), and carries
    out what follows.

    `seen_content` is the hash of what the officer looked at; without it, of what is there now.
    Raises Declined with the reason.
    """

    def work(tx: Tx) -> Standing:
        officers.acting(tx, officer, *REVIEWERS)
        subject = find(desk, tx, reference)
        if subject.kind == "fork":
            batch = batches.batch_of(tx, subject)
            raise Declined(
                f"a release is decided on in its batch: `review release {batch} "
                f"{subject.id.rpartition(':')[2][:12]}`"
            )
        if subject.kind == "batch" and verdict == "approve":
            batches.ready(tx, subject.area, subject.id)
        after = review.decide(
            desk,
            tx,
            subject,
            officer=officer,
            verdict=verdict,
            comment=comment,
            seen_content=seen_content or subject.content,
        )
        # What lies in one area is carried out in the decision's own transaction.
        if subject.kind == "batch":
            batches.settle(desk, tx, after, comment)
        if subject.kind == "enrolment":
            enrolment.settle(tx, after)
        return after

    area = desk.store.read(lambda tx: find(desk, tx, reference)).area
    # Decisions of one area queue: each is chained to the one before.
    after = desk.store.transaction(work, lock=f"decisions/{area}")
    if after.subject.kind in {"cycle", "payment"}:
        cycle.settle(desk, after)
    return show(desk, after.subject.id)


def carry_on(desk: Desk) -> None:
    """Finishes what was approved and not carried out to the end, as after a power cut."""
    for one in listed(desk, settled=True):
        if one.subject.kind in {"cycle", "payment"}:
            cycle.settle(desk, one)
