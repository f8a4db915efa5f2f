"""A batch:

what one device brought in one round, as supervisors see it, approve it, or give it back.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from sqlalchemy import select, update

from schemas.envelope import parse
from schemas.problems import Problem
from sync_server import chain, enrol, inspection, intake, notices, officers, registry, review
from sync_server.officers import Declined
from sync_server.store import intake_tables as t
from sync_server.store.engine import as_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from schemas.envelope import Payload
    from sync_server.desk import Desk
    from sync_server.store.engine import Tx

UNOPENED = frozenset({"received", "parked"})
"""Nobody can judge what nobody could read: a batch with one of these cannot be approved yet."""
ANSWERS_MOST = 4000


@dataclass(frozen=True, slots=True)
class Answer:
    """One line of a submission:

    a question's label with its answer's label, or the heading of a group.
    """

    label: str
    value: str
    depth: int
    heading: bool


@dataclass(frozen=True, slots=True)
class Submission:
    """One submission of a batch as an officer sees it."""

    counter: int
    hash: str
    state: str
    problem: str
    form: str
    version: str
    label: str
    parent: str
    faults: tuple[str, ...]
    answers: tuple[Answer, ...]


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch with what is in it."""

    area: str
    device: str
    batch: str
    label: str
    submissions: tuple[Submission, ...]


def every(tx: Tx) -> tuple[tuple[str, str], ...]:
    """(area, subject) of each batch, in the order of arrival within its area."""
    rows = tx.execute(
        select(t.batches.c.area, t.batches.c.device, t.batches.c.batch)
        .where(t.batches.c.count > 0)
        .order_by(t.batches.c.received_ms, t.batches.c.area, t.batches.c.sequence)
    )
    return tuple((row.area, f"{row.device}:{row.batch}") for row in rows)


def _rows(tx: Tx, area: str, subject: str) -> list[Any]:
    """Rows of `submissions`, or such as say of what is not opened yet all that is known of it."""
    device, _, batch = subject.partition(":")
    opened = tx.execute(
        select(t.submissions).where(
            t.submissions.c.area == area,
            t.submissions.c.device == device,
            t.submissions.c.batch == batch,
        )
    ).all()
    waiting = [_unopened(row) for row in inspection.unchecked(tx, area, device, batch)]
    return sorted([*opened, *waiting], key=lambda row: (row.counter, row.hash))


def _unopened(row: Any) -> SimpleNamespace:
    header = parse(as_bytes(row.sealed)).header
    return SimpleNamespace(
        area=row.area,
        device=row.device,
        counter=row.counter,
        hash=row.hash,
        state="received",
        problem=row.problem,
        instance_id="",
        parent="",
        form=header.form,
        version=header.version,
        opened_at_rest=None,
        faults_at_rest=None,
    )


def _label(tx: Tx, area: str, device: str) -> str:
    found = tx.execute(
        select(t.devices.c.label).where(t.devices.c.area == area, t.devices.c.device == device)
    ).scalar()
    return str(found or device)


def subject_of(tx: Tx, area: str, subject: str) -> review.Subject:
    """The batch as something to decide on. Its content is each submission's identity and state."""
    rows = _rows(tx, area, subject)
    if not rows:
        raise Declined(f"there is no batch {subject}: `review list` shows them")
    device = subject.partition(":")[0]
    label = _label(tx, area, device)
    content = [[row.counter, row.hash, row.state] for row in rows]
    good = sum(row.state == "checked" for row in rows)
    title = f"{label}: {len(rows)} submissions, {good} sound"
    checking = sum(row.state == "received" for row in rows)
    if checking:
        title += f", {checking} being checked"
    return review.Subject(area, "batch", subject, label, title, review.content_hash(content))


def ready(tx: Tx, area: str, subject: str) -> None:
    """Raises Declined while any of the batch was not looked at, or is held and nobody judged it:
    an approval would leave it out without a word.
    """
    rows = _rows(tx, area, subject)
    checking = sum(row.state == "received" for row in rows)
    if checking:
        raise Declined(
            f"the batch is being checked: {checking} of its submissions are not opened yet; "
            "look again in a moment"
        )
    held = [row for row in rows if row.state == "held"]
    if held:
        named = "; ".join(f"{row.counter} ({Problem(row.problem).sentence()})" for row in held)
        mine = _name(rows, held[0])
        ways = [f"`review return {subject} --submission {mine} --comment ...`"]
        forked = next((row for row in held if row.problem in chain.FORKS), None)
        if forked is not None:
            ways.insert(0, f"`review release {subject} {_name(rows, forked)}`")
        raise Declined(
            f"held and not judged yet: submission {named}. Approved, the batch would go on without "
            f"it: first {' or '.join(ways)}"
        )


def view(desk: Desk, area: str, subject: str) -> Batch:
    """The batch with its answers by their labels and what the checks found."""
    device, _, batch = subject.partition(":")
    rows = desk.store.read(lambda tx: _rows(tx, area, subject))
    label = desk.store.read(lambda tx: _label(tx, area, device))
    return Batch(area, device, batch, label, tuple(_submission(desk, row) for row in rows))


def _submission(desk: Desk, row: Any) -> Submission:
    payload = intake.opened(desk, row) if row.opened_at_rest is not None else None
    faults = tuple(
        f"{place}: {reason}" if place else reason
        for place, _, reason in intake.faults_of(desk, row)
    )
    if row.problem and not faults:
        faults = (f"{row.problem}: {Problem(row.problem).sentence()}",)
    return Submission(
        row.counter,
        row.hash,
        row.state,
        row.problem,
        row.form,
        row.version,
        payload.label if payload else "",
        row.parent,
        faults,
        tuple(_answers(desk, payload)) if payload else (),
    )


def _answers(desk: Desk, payload: Payload) -> Iterator[Answer]:
    from forms.context import Context  # noqa: PLC0415  the engine is read when it is first needed
    from forms.entry import Entry  # noqa: PLC0415  as above
    from forms.markup import BadMarkup  # noqa: PLC0415  as above
    from forms.plant import WrongForm  # noqa: PLC0415  as above

    form = _shelf(desk).form(payload.form, payload.version, payload.form_hash)
    if form is None:
        return
    try:
        entry = Entry.resume(
            form,
            payload.xml.encode(),
            Context(now=functools.partial(_moment, desk), new_uuid=desk.new_id, random=lambda: 0.5),
        )
    except (WrongForm, BadMarkup):
        return
    for number, state in enumerate(entry.walk()):
        if number >= ANSWERS_MOST:
            return
        if not state.relevant:
            continue
        if state.kind in {"group", "instance"}:
            yield Answer(state.label or state.ref.rpartition("/")[2], "", state.depth, heading=True)
        elif state.value and state.kind not in {"repeat", "node"}:
            labels = {choice.value: choice.label for choice in state.choices}
            chosen = state.chosen if labels else ()
            value = ", ".join(labels.get(one, one) or one for one in chosen) or state.value
            yield Answer(state.label or state.ref, value, state.depth, heading=False)


def _moment(desk: Desk) -> datetime:
    return desk.now()


_SHELVES: dict[int, Any] = {}


def _shelf(desk: Desk) -> Any:
    """The store's compiled forms; one shelf a store, kept while the store lives."""
    from sync_server.checking import Shelf  # noqa: PLC0415  the engine, when first needed

    found = _SHELVES.get(id(desk.store))
    if found is None or found[0] is not desk.store:
        _SHELVES.clear()
        found = _SHELVES[id(desk.store)] = (desk.store, Shelf(desk.store))
    return found[1]


def settle(desk: Desk, tx: Tx, standing: review.Standing, comment: str) -> None:
    """Carries out what was decided about a batch:

    folds it into the registry, or tells its device why not.
    """
    area, subject = standing.subject.area, standing.subject.id
    device = subject.partition(":")[0]
    if standing.state is review.State.RETURNED:
        for row in _rows(tx, area, subject):
            if row.state != "returned":
                _tell(tx, desk, row, "returned", comment, standing.decided[-1].officer)
    if standing.state is review.State.APPROVED:
        unopened = [row.counter for row in _rows(tx, area, subject) if row.state in UNOPENED]
        if unopened:
            raise Declined(
                f"submission {unopened[0]} of {device} is not opened yet, for want of its form or "
                "its key: publish the form (or bring the key back), and look again"
            )
        registry.fold_batch(desk, tx, area, subject)
        review.move(tx, standing.subject, review.State.CARRIED_OUT)


def _tell(tx: Tx, desk: Desk, row: Any, kind: str, comment: str, officer: str) -> None:
    """To its device. Of two devices restored from one copy, `hash` tells whose it is."""
    body = {
        "counter": row.counter,
        "hash": row.hash,
        "instance_id": row.instance_id,
        "form": row.form,
        "label": intake.opened(desk, row).label if row.opened_at_rest is not None else "",
        "comment": comment.strip(),
        "officer": officer,
    }
    notices.post(tx, desk, row.area, row.device, kind, body)


def _only(row: Any) -> tuple[Any, ...]:
    at = t.submissions.c
    return (
        at.area == row.area,
        at.device == row.device,
        at.counter == row.counter,
        at.hash == row.hash,
    )


def return_one(
    desk: Desk, officer: str, shown: review.Subject, reference: str, comment: str
) -> None:
    """Gives one submission back to its device with a comment; the rest of the batch can go on.
    Named by its counter, instance id or hash (or eight digits of it).

    The batch's content changes with it, so that approvals given before no longer hold.
    """
    if not comment.strip():
        raise Declined("a return needs a comment: it is what the agent in the field will read")
    area, subject = shown.area, shown.id

    def work(tx: Tx) -> None:
        officers.acting(tx, officer, "supervisor", "approver")
        state = review.standing(tx, subject_of(tx, area, subject)).state
        if state not in {review.State.WAITING, review.State.PARTLY}:
            raise Declined(f"the batch is {state}: nothing of it can be returned any more")
        rows = _rows(tx, area, subject)
        row = _the_one(rows, _called(rows, reference), reference)
        if row.state == "received":
            raise Declined(f"submission {reference} is being checked: look again in a moment")
        if row.state != "returned":
            tx.execute(update(t.submissions).where(*_only(row)).values(state="returned"))
            _tell(tx, desk, row, "returned", comment, officer)

    desk.store.transaction(work, lock=area)


def release_one(
    desk: Desk, officer: str, shown: review.Subject, reference: str, comment: str = ""
) -> review.Standing:
    """Lets one submission that is held as a fork of its device's chain go on: it is checked like
    any other, and its batch is decided on as it is then. Named as in `return_one`. Its device is told.

    The decision is signed and chained as all are. Raises Declined with the reason.
    """
    area, subject = shown.area, shown.id
    device = subject.partition(":")[0]

    def work(tx: Tx) -> review.Standing:
        officers.acting(tx, officer, "supervisor", "approver")
        batch = review.standing(tx, subject_of(tx, area, subject))
        if batch.state not in {review.State.WAITING, review.State.PARTLY}:
            raise Declined(f"the batch is {batch.state}: nothing of it can be released any more")
        row = _held(_rows(tx, area, subject), reference)
        fork = _fork_of(row, batch.subject.author)
        after = review.decide(
            desk,
            tx,
            fork,
            officer=officer,
            verdict="approve",
            comment=comment,
            seen_content=fork.content,
        )
        if after.state is not review.State.APPROVED:
            return after
        # It waits to be checked again; whether its instance is known is asked anew.
        tx.execute(
            update(t.submissions)
            .where(*_only(row))
            .values(state="parked", problem="", instance_id="")
        )
        _tell(tx, desk, row, "released", comment, officer)
        review.move(tx, fork, review.State.CARRIED_OUT)
        return review.standing(tx, fork)

    after = desk.store.transaction(work, lock=f"decisions/{area}")
    known = desk.store.read(lambda tx: enrol.find(tx, device))
    inspection.inspect(desk, known, parked=True)
    return after


def _held(rows: list[Any], reference: str) -> Any:
    """The held submission that `reference` names. Raises Declined if it cannot be released."""
    found = _called(rows, reference)
    held = [row for row in found if row.state == "held"]
    if found and not held:
        raise Declined(f"submission {reference} is {found[0].state}: only what is held is released")
    row = _the_one(rows, held, reference)
    if row.problem not in chain.FORKS:
        raise Declined(
            f"submission {reference}: {Problem(row.problem).sentence()}; it cannot be released, "
            "only returned"
        )
    return row


HASH_LEAST = 8
"""Digits of a hash that name a submission."""


def _called(rows: list[Any], reference: str) -> list[Any]:
    """Those of a batch that a person may mean by `reference`."""
    return [
        row
        for row in rows
        if reference in {str(row.counter), row.instance_id, row.hash}
        or (len(reference) >= HASH_LEAST and row.hash.startswith(reference.lower()))
    ]


def _the_one(rows: list[Any], found: list[Any], reference: str) -> Any:
    """Raises Declined if it is none or several: both sides of a fork have the same number."""
    if not found:
        raise Declined(f"the batch has no submission {reference}: `review show` lists them")
    if len(found) > 1:
        named = ", ".join(f"{_name(rows, row)} ({row.state})" for row in found)
        raise Declined(
            f"{len(found)} submissions are called {reference}: name the one meant, {named}"
        )
    return found[0]


def _name(rows: list[Any], row: Any) -> str:
    """By what a person names it: its number, or where two have the same, its hash's beginning."""
    alone = sum(one.counter == row.counter for one in rows) == 1
    return str(row.counter) if alone else str(row.hash[: HASH_LEAST + 4])


def _fork_of(row: Any, label: str) -> review.Subject:
    """The release of `row` as something to decide on: a row of `submissions` or `envelopes`."""
    return review.Subject(
        row.area,
        "fork",
        f"{row.device}:{row.counter}:{row.hash}",
        label,
        f"{label}: submission {row.counter}, held beside the chain of its device",
        review.content_hash([row.counter, row.hash, row.problem]),
    )


def fork(tx: Tx, area: str, subject: str) -> review.Subject:
    """The release with this id, as it was decided on. Raises Declined."""
    device, counter, digest = [*subject.split(":"), "", ""][:3]
    at = t.envelopes.c
    row = tx.execute(
        select(t.envelopes).where(
            at.area == area,
            at.device == device,
            at.counter == (int(counter) if counter.isdecimal() else 0),
            at.hash == digest,
        )
    ).first()
    if row is None:
        raise Declined(f"there is no submission {subject}: `review list --all` shows what there is")
    return _fork_of(row, _label(tx, area, device))


def batch_of(tx: Tx, release: review.Subject) -> str:
    """The batch in which a release is decided on."""
    device, counter, digest = release.id.split(":")
    at = t.submissions.c
    found = tx.execute(
        select(at.batch).where(
            at.area == release.area,
            at.device == device,
            at.counter == int(counter),
            at.hash == digest,
        )
    ).scalar_one()
    return f"{device}:{found}"
