"""What was received is opened and checked here, after the device was told that it is safe.

Whatever waits can be found again in the store: a process that ends half-way has lost nothing, and
the next one goes on. Judging happens outside of transactions; a verdict counts only if its
submission still waits when it is written.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from itertools import groupby, islice
from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, func, literal_column, select, tuple_, update

from schemas.problems import Problem
from sync_server import notices
from sync_server.checking import Judged, Waiting
from sync_server.store.intake_tables import submissions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sync_server.desk import Desk
    from sync_server.enrol import Device
    from sync_server.store.engine import Tx

STRETCH = 2048
"""Submissions that are looked up at once."""
TOGETHER = 128
"""Verdicts that are written in one transaction."""
_START = (0, "", 0, "")
_RETRY_S = 5.0
_ROUNDS_S = 60.0
"""How often the watch looks by itself: another program may have taken something in."""

# Written into the statement, not bound: only so does SQLite know that the small index holds them.
_RECEIVED = submissions.c.state == literal_column("'received'")
_PARKED = submissions.c.state == literal_column("'parked'")


@dataclass(frozen=True, slots=True)
class Count:
    """How many submissions of a device wait: to be checked, and for a form or a key."""

    checking: int
    parked: int


@dataclass(frozen=True, slots=True)
class _Found:
    at: Waiting
    state: str
    problem: str
    sequence: int
    claimed: bool
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
    for wanted in (_RECEIVED, _PARKED) if parked else (_RECEIVED,):
        # One stretch of each area in turn: a long queue in one does not hold the others up.
        turns = dict.fromkeys(desk.store.read(lambda tx, w=wanted: _areas(tx, device, w)), _START)  # type: ignore[misc]
        while turns and go_on():
            area, after = next(iter(turns.items()))
            del turns[area]
            found = desk.store.read(
                lambda tx, w=wanted, t=(area, after): _look(tx, device, w, *t)  # type: ignore[misc]
            )
            judged = desk.checker.judge([one.at for one in found])
            places = iter(found)
            while some := list(islice(zip(places, judged, strict=False), TOGETHER)):
                for state in _write(desk, some):
                    counted[state] = counted.get(state, 0) + 1
            if len(found) == STRETCH:
                last = found[-1]
                turns[area] = last.sequence, last.at.device, last.at.counter, last.at.hash
    return counted


def _areas(tx: Tx, device: Device | None, wanted: Any) -> list[str]:
    if device is not None:
        return [device.area]
    return list(tx.execute(select(submissions.c.area).where(wanted).distinct()).scalars())


def waiting(tx: Tx, device: Device) -> Count:
    """How many of the device's submissions wait, by the small index of what does."""
    here = {"area": device.area, "device": device.device}
    return Count(*(int(tx.execute(one, here).scalar_one()) for one in _HOW_MANY))


_HOW_MANY = [
    select(func.count()).where(
        state,
        submissions.c.area == bindparam("area"),
        submissions.c.device == bindparam("device"),
    )
    for state in (_RECEIVED, _PARKED)
]


def soon(desk: Desk, device: Device) -> None:
    """See to it that what was just taken in is inspected: here, or by the server's own watch."""
    if desk.wake is not None:
        desk.wake()
    else:
        inspect(desk, device)


def states_of(tx: Tx, device: Device, batch: str) -> dict[str, int]:
    """How many of a batch's submissions are in which state now."""
    found = tx.execute(
        select(submissions.c.state, func.count())
        .where(
            submissions.c.area == device.area,
            submissions.c.device == device.device,
            submissions.c.batch == batch,
        )
        .group_by(submissions.c.state)
    )
    return {state: int(count) for state, count in found}


def _look(
    tx: Tx, device: Device | None, wanted: Any, area: str, after: tuple[int, str, int, str]
) -> list[_Found]:
    """The next stretch of what waits in the area, in the order in which it came."""
    order = (
        submissions.c.sequence,
        submissions.c.device,
        submissions.c.counter,
        submissions.c.hash,
    )
    found = (
        select(
            submissions.c.area,
            *order,
            submissions.c.state,
            submissions.c.problem,
            submissions.c.instance_id,
        )
        .where(submissions.c.area == area, wanted, tuple_(*order) > tuple_(*after))
        .order_by(*order)
        .limit(STRETCH)
    )
    if device is not None:
        found = found.where(submissions.c.device == device.device)
    return [
        _Found(
            Waiting(row.area, row.device, row.counter, row.hash),
            row.state,
            row.problem,
            row.sequence,
            bool(row.instance_id),
        )
        for row in tx.execute(found)
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
    now = {
        (row.counter, row.hash): row.state
        for row in tx.execute(
            select(submissions.c.counter, submissions.c.hash, submissions.c.state).where(
                submissions.c.area == area,
                submissions.c.device == device,
                submissions.c.counter.in_([found.at.counter for found, _ in some]),
            )
        )
    }
    taken = _instances(tx, area, [judged.instance_id for _, judged in some])
    rows: list[dict[str, Any]] = []
    told: list[tuple[_Found, Judged, str]] = []
    for found, judged in some:
        if now.get((found.at.counter, found.at.hash)) != found.state:
            continue  # Another process was first: its verdict stands.
        state, problem = judged.state, judged.problem
        if found.problem in _FORKS:
            state, problem = "held", found.problem
        elif state in _ENTERS:
            if judged.instance_id in taken and not found.claimed:
                state, problem = "held", "instance-known"
            elif judged.instance_id:
                taken.add(judged.instance_id)
        rows.append(
            {
                "b_area": area,
                "b_device": device,
                "b_counter": found.at.counter,
                "b_hash": found.at.hash,
                "b_state": state,
                "b_problem": problem,
                "b_instance": judged.instance_id,
                "b_parent": judged.parent,
                "b_opened": judged.opened,
                "b_faults": judged.faults,
            }
        )
        if state == "refused" or problem == "instance-known":
            told.append((found, judged, problem))
    if rows:
        tx.execute(_SETTLE, rows)
    for found, judged, problem in told:
        _tell(tx, desk, found.at, judged, problem)
    return [row["b_state"] for row in rows]


_FORKS = ("counter-forked", "chain-broken")
_ENTERS = ("checked", "parked")
_SETTLE = (
    update(submissions)
    .where(
        submissions.c.area == bindparam("b_area"),
        submissions.c.device == bindparam("b_device"),
        submissions.c.counter == bindparam("b_counter"),
        submissions.c.hash == bindparam("b_hash"),
    )
    .values(
        state=bindparam("b_state"),
        problem=bindparam("b_problem"),
        instance_id=bindparam("b_instance"),
        parent=bindparam("b_parent"),
        opened_at_rest=bindparam("b_opened"),
        faults_at_rest=bindparam("b_faults"),
    )
)


def _instances(tx: Tx, area: str, wanted: Sequence[str]) -> set[str]:
    """Which of these instance ids have entered the area already."""
    return set(
        tx.execute(
            select(submissions.c.instance_id).where(
                submissions.c.area == area,
                submissions.c.instance_id.in_([one for one in wanted if one]),
                submissions.c.state.in_(_ENTERS),
            )
        ).scalars()
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
    """The server's inspector: a thread that inspects what waits, at once, whenever it is woken."""

    def __init__(self, desk: Desk, *, report: Callable[[BaseException], None]) -> None:
        self._desk = desk
        self._report = report
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
