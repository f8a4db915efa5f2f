"""What was received is opened and checked here, after the device was told that it is safe.

Whatever waits can be found again in the store: a process that ends half-way has lost nothing, and
the next one goes on. Judging happens outside of transactions; a verdict counts only if its
submission still waits when it is written.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass
from itertools import groupby, islice
from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, func, literal_column, select, tuple_, update

from schemas.problems import Problem
from sync_server import chain, notices
from sync_server.checking import Judged, Waiting
from sync_server.store.engine import add_all
from sync_server.store.intake_tables import batches, envelopes, submissions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sync_server.desk import Desk
    from sync_server.enrol import Device
    from sync_server.store.engine import Tx

STRETCH = 2048
"""Submissions that are looked up at once, or a few more."""
TOGETHER = 512
"""Verdicts that are written in one transaction."""
_RETRY_S = 5.0
_PASS_S, _PASSES = 0.05, 10
"""So long nobody came: a good moment. So many times it is waited for."""
_ROUNDS_S = 60.0
"""How often the watch looks by itself: another program may have taken something in."""

# Written into the statements, not bound: only so does SQLite know that the small indexes hold them.
_UNCHECKED = batches.c.unchecked > literal_column("0")
_PARKED = submissions.c.state == literal_column("'parked'")


@dataclass(frozen=True, slots=True)
class Count:
    """How many submissions of a device wait: to be checked, and for a form or a key."""

    checking: int
    parked: int


@dataclass(frozen=True, slots=True)
class _Found:
    """One that waits. `order`: where the next stretch goes on behind it."""

    at: Waiting
    state: str
    problem: str
    sequence: int
    batch: str
    received_ms: int
    order: tuple[Any, ...]
    claimed: bool = False
    """Its instance id is entered as its own already."""


def inspect(
    desk: Desk,
    device: Device | None = None,
    *,
    parked: bool = False,
    go_on: Callable[[], bool] = lambda: True,
) -> dict[str, int]:
    """Opens and judges all that was received (of one device, if given), and counts the states
    that came of it. With `parked` also what waits for a form or a key.

    What another process judges at the same time is judged twice and counts once.
    """
    counted: dict[str, int] = {}
    for look, start in ((_received, (0, "", "")), (_parked, (0, "", 0, "")))[: 1 + parked]:
        # One stretch of each area in turn: a long queue in one does not hold the others up.
        turns = dict.fromkeys(desk.store.read(lambda tx, k=look: _areas(tx, device, k)), start)  # type: ignore[misc]
        while turns and go_on():
            area, after = next(iter(turns.items()))
            del turns[area]
            found = desk.store.read(
                lambda tx, k=look, t=(area, after): k(tx, device, *t)  # type: ignore[misc]
            )
            judged = desk.checker.judge([one.at for one in found])
            places = iter(found)
            while some := list(islice(zip(places, judged, strict=False), TOGETHER)):
                for state in _write(desk, some):
                    counted[state] = counted.get(state, 0) + 1
            if len(found) >= STRETCH:
                turns[area] = found[-1].order
    return counted


def _areas(tx: Tx, device: Device | None, look: Any) -> list[str]:
    if device is not None:
        return [device.area]
    of, waits = (batches, _UNCHECKED) if look is _received else (submissions, _PARKED)
    return list(tx.execute(select(of.c.area).where(waits).distinct()).scalars())


def waiting(tx: Tx, device: Device) -> Count:
    """How many of the device's submissions wait, by the small index of what does."""
    here = {"area": device.area, "device": device.device}
    return Count(*(int(tx.execute(one, here).scalar_one()) for one in _HOW_MANY))


_HOW_MANY = [
    select(func.coalesce(func.sum(batches.c.unchecked), 0)).where(
        _UNCHECKED,
        batches.c.area == bindparam("area"),
        batches.c.device == bindparam("device"),
    ),
    select(func.count()).where(
        _PARKED,
        submissions.c.area == bindparam("area"),
        submissions.c.device == bindparam("device"),
    ),
]


def soon(desk: Desk, device: Device) -> None:
    """See to it that what was just taken in is inspected: here, or by the server's own watch."""
    if desk.wake is not None:
        desk.wake()
    else:
        inspect(desk, device)


def states_of(tx: Tx, device: Device, batch: str) -> dict[str, int]:
    """How many of a batch's submissions are in which state now."""
    found = {
        state: int(count)
        for state, count in tx.execute(
            select(submissions.c.state, func.count())
            .where(
                submissions.c.area == device.area,
                submissions.c.device == device.device,
                submissions.c.batch == batch,
            )
            .group_by(submissions.c.state)
        )
    }
    unchecked = tx.execute(
        select(batches.c.unchecked).where(
            batches.c.area == device.area,
            batches.c.device == device.device,
            batches.c.batch == batch,
        )
    ).scalar()
    return {**found, "received": unchecked} if unchecked else found


def unchecked(tx: Tx, area: str, device: str, batch: str) -> list[Any]:
    """What a batch brought and nobody has opened yet: rows of `envelopes`."""
    return list(tx.execute(_UNOPENED, {"area": area, "device": device, "batch": batch}))


# A batch brings nearly always a range of counters; its own are known by their sequence.
_UNOPENED = (
    select(envelopes)
    .join(
        batches,
        (batches.c.area == envelopes.c.area)
        & (batches.c.device == envelopes.c.device)
        & (batches.c.sequence == envelopes.c.sequence)
        & envelopes.c.counter.between(batches.c.first, batches.c.last),
    )
    .outerjoin(
        submissions,
        (submissions.c.area == envelopes.c.area)
        & (submissions.c.device == envelopes.c.device)
        & (submissions.c.counter == envelopes.c.counter)
        & (submissions.c.hash == envelopes.c.hash),
    )
    .where(
        batches.c.area == bindparam("area"),
        batches.c.device == bindparam("device"),
        batches.c.batch == bindparam("batch"),
        submissions.c.hash.is_(None),
    )
    .order_by(envelopes.c.counter, envelopes.c.hash)
)
_UNOPENED_PLACES = _UNOPENED.with_only_columns(
    envelopes.c.counter, envelopes.c.hash, envelopes.c.problem
)


def _received(
    tx: Tx, device: Device | None, area: str, after: tuple[int, str, str]
) -> list[_Found]:
    """The next batches that came into the area, up to about a stretch, in their order."""
    order = (batches.c.sequence, batches.c.device, batches.c.batch)
    wanted = (
        select(*order, batches.c.received_ms)
        .where(batches.c.area == area, _UNCHECKED, tuple_(*order) > tuple_(*after))
        .order_by(*order)
        .limit(STRETCH)
    )
    if device is not None:
        wanted = wanted.where(batches.c.device == device.device)
    found: list[_Found] = []
    for sequence, name, batch, received_ms in tx.execute(wanted).all():
        here = {"area": area, "device": name, "batch": batch}
        found += [
            _Found(
                Waiting(area, name, counter, digest),
                "received",
                problem,
                sequence,
                batch,
                received_ms,
                (sequence, name, batch),
            )
            for counter, digest, problem in tx.execute(_UNOPENED_PLACES, here).all()
        ]
        if len(found) >= STRETCH:
            break
    return found


def _parked(
    tx: Tx, device: Device | None, area: str, after: tuple[int, str, int, str]
) -> list[_Found]:
    """The next stretch of what waits in the area for a form or a key, in the order it came."""
    order = (
        submissions.c.sequence,
        submissions.c.device,
        submissions.c.counter,
        submissions.c.hash,
    )
    wanted = (
        select(
            *order,
            submissions.c.state,
            submissions.c.problem,
            submissions.c.instance_id,
            submissions.c.batch,
            submissions.c.received_ms,
        )
        .where(submissions.c.area == area, _PARKED, tuple_(*order) > tuple_(*after))
        .order_by(*order)
        .limit(STRETCH)
    )
    if device is not None:
        wanted = wanted.where(submissions.c.device == device.device)
    return [
        _Found(
            Waiting(area, row.device, row.counter, row.hash),
            row.state,
            row.problem,
            row.sequence,
            row.batch,
            row.received_ms,
            (row.sequence, row.device, row.counter, row.hash),
            bool(row.instance_id),
        )
        for row in tx.execute(wanted).all()
    ]


def _write(desk: Desk, some: Sequence[tuple[_Found, Judged]]) -> list[str]:
    """Writes verdicts, those of each device in one transaction; the states that came of it."""
    states: list[str] = []
    for (area, device), group in groupby(some, key=lambda one: (one[0].at.area, one[0].at.device)):
        these = [
            (found, judged)
            for found, judged in group
            # What waits for the same thing as before is left as it is.
            if (judged.state, judged.problem) != (found.state, found.problem)
        ]
        if these:
            states += desk.store.transaction(
                lambda tx, a=area, d=device, t=these: _settle(tx, desk, a, d, t),  # type: ignore[misc]
                lock=area,
            )
    return states


def _settle(
    tx: Tx, desk: Desk, area: str, device: str, some: Sequence[tuple[_Found, Judged]]
) -> list[str]:
    here = {
        (counter, digest): state
        for counter, digest, state in tx.execute(
            _STATES,
            {
                "area": area,
                "device": device,
                "counters": [found.at.counter for found, _ in some],
            },
        ).all()
    }
    taken = _instances(tx, area, [judged.instance_id for _, judged in some])
    fresh: list[tuple[Any, ...]] = []
    changed: list[dict[str, Any]] = []
    states: list[str] = []
    of_batch: Counter[str] = Counter()
    told: list[tuple[_Found, Judged, str]] = []
    for found, judged in some:
        at = found.at
        if here.get((at.counter, at.hash), "received") != found.state:
            continue  # Another process was first: its verdict stands.
        state, problem = judged.state, judged.problem
        if found.problem in chain.FORKS:
            state, problem = "held", found.problem
        elif state in _ENTERS:
            if judged.instance_id in taken and not found.claimed:
                state, problem = "held", "instance-known"
            elif judged.instance_id:
                taken.add(judged.instance_id)
        values = {
            "state": state,
            "problem": problem,
            "instance_id": judged.instance_id,
            "parent": judged.parent,
            "opened_at_rest": judged.opened,
            "faults_at_rest": judged.faults,
        }
        if found.state == "received":
            of_batch[found.batch] += 1
            fresh.append(
                (
                    area,
                    device,
                    at.counter,
                    at.hash,
                    found.sequence,
                    found.batch,
                    found.received_ms,
                    judged.form[:255],
                    judged.version[:255],
                    judged.form_hash,
                    judged.made[:128],
                    *values.values(),
                )
            )
        else:
            row = {"area": area, "device": device, "counter": at.counter, "hash": at.hash}
            changed.append({f"b_{name}": value for name, value in (row | values).items()})
        states.append(state)
        if state == "refused" or problem == "instance-known":
            told.append((found, judged, problem))
    add_all(tx, submissions, (*_OPENED, *_VERDICT), fresh)
    if changed:
        tx.execute(_SETTLE, changed)
    for batch, many in of_batch.items():
        tx.execute(
            _CHECKED, {"of_area": area, "of_device": device, "of_batch": batch, "many": many}
        )
    for found, judged, problem in told:
        _tell(tx, desk, found.at, judged, problem)
    return states


_ENTERS = ("checked", "parked")
_OPENED = (
    "area",
    "device",
    "counter",
    "hash",
    "sequence",
    "batch",
    "received_ms",
    "form",
    "version",
    "form_hash",
    "made",
)
_VERDICT = ("state", "problem", "instance_id", "parent", "opened_at_rest", "faults_at_rest")
_STATES = select(submissions.c.counter, submissions.c.hash, submissions.c.state).where(
    submissions.c.area == bindparam("area"),
    submissions.c.device == bindparam("device"),
    submissions.c.counter.in_(bindparam("counters", expanding=True)),
)
_SETTLE = (
    update(submissions)
    .where(*(submissions.c[name] == bindparam(f"b_{name}") for name in _OPENED[:4]))
    .values({name: bindparam(f"b_{name}") for name in _VERDICT})
)
_CHECKED = (
    update(batches)
    .where(
        batches.c.area == bindparam("of_area"),
        batches.c.device == bindparam("of_device"),
        batches.c.batch == bindparam("of_batch"),
    )
    .values(unchecked=batches.c.unchecked - bindparam("many"))
)


def _instances(tx: Tx, area: str, wanted: Sequence[str]) -> set[str]:
    """Which of these instance ids have entered the area already."""
    given = {"area": area, "wanted": [one for one in wanted if one]}
    return set(tx.execute(_ENTERED, given).scalars().all())


_ENTERED = select(submissions.c.instance_id).where(
    submissions.c.area == bindparam("area"),
    submissions.c.instance_id.in_(bindparam("wanted", expanding=True)),
    submissions.c.state.in_(_ENTERS),
)


def _tell(tx: Tx, desk: Desk, at: Waiting, judged: Judged, problem: str) -> None:
    """Leaves the refusal for the device, by places and rules: never by what a person answered."""
    body = {
        "counter": at.counter,
        "hash": at.hash,
        "held": True,
        "problem": Problem(problem).as_json(),
        "faults": [
            {"path": path, "reason": RULES.get(rule, rule)}
            for path, rule in (judged.rules if problem == "answers-refused" else ())
        ],
    }
    notices.post(tx, desk, at.area, at.device, "refused", body)


RULES = {
    "constraint": "the answer is outside of what the form allows",
    "required": "an answer is required here",
    "type": "the answer is of another kind than the question asks for",
    "choice": "the answer is none of the choices",
    "irrelevant": "the form does not ask this after the answers before it",
    "calculate": "the value does not follow from the answers",
    "unknown": "the form has no such question",
    "attachment": "a file that the answers name is missing",
    "form": "the answers are of another form",
    "size": "the submission is too large",
}


class Watch:
    """The server's inspector: a thread that inspects what waits, soon after it was woken."""

    def __init__(
        self,
        desk: Desk,
        *,
        report: Callable[[BaseException], None],
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._desk = desk
        self._report = report
        self._sleep = sleep
        self._woken = threading.Event()
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="inspector", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        self._woken.set()

    def close(self) -> None:
        """Ends after the piece in hand; what is left waits in the store for the next start."""
        self._ended = True
        self._woken.set()
        self._thread.join(10)

    def _run(self) -> None:
        # A key or a form may have come while no server ran.
        parked = True
        while not self._ended:
            self._woken.clear()
            try:
                inspect(self._desk, parked=parked, go_on=lambda: not self._ended)
                parked = False
                wait_s = _ROUNDS_S
            except Exception as error:  # noqa: BLE001  it must not end; what waits is found again
                if not self._ended:
                    self._report(error)
                wait_s = _RETRY_S
            self._woken.wait(wait_s)
            self._let_pass()

    def _let_pass(self) -> None:
        """Whoever brings something is answered first: wait for a moment in which nobody does, but
        not for ever.
        """
        for _ in range(_PASSES):
            self._woken.clear()
            self._sleep(_PASS_S)
            if self._ended or not self._woken.is_set():
                return
