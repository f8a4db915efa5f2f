"""Review:

a subject passes the stages of a policy, each by another officer, and each decision is signed and
chained.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, insert, select, update
from sqlalchemy.exc import IntegrityError

from sync_server import officers
from sync_server.officers import Declined
from sync_server.store.desk_tables import decisions, policy_stages, subjects
from sync_server.store.engine import add_if_new, as_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sync_server.desk import Desk
    from sync_server.store.engine import Tx


class State(StrEnum):
    """Where a subject is in its life."""

    WAITING = "waiting"
    PARTLY = "partly approved"
    APPROVED = "approved"
    CARRIED_OUT = "carried out"
    RETURNED = "returned"


# PARTLY may fall back to WAITING: decisions hold for the content they were taken on, and content
# can change.
MOVES: Mapping[State, frozenset[State]] = {
    State.WAITING: frozenset({State.WAITING, State.PARTLY, State.APPROVED, State.RETURNED}),
    State.PARTLY: frozenset({State.PARTLY, State.WAITING, State.APPROVED, State.RETURNED}),
    State.APPROVED: frozenset({State.CARRIED_OUT}),
    State.CARRIED_OUT: frozenset(),
    State.RETURNED: frozenset(),
}


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of a policy: what it is called, and whose it is. Numbered from 1."""

    number: int
    name: str
    role: str


# What holds until `set_policy` says otherwise; the numbers of later versions go up from these.
POLICY: Mapping[str, tuple[Stage, ...]] = {
    "batch": (Stage(1, "check", "supervisor"), Stage(2, "confirm", "approver")),
    "fork": (Stage(1, "release", "supervisor"),),
    "enrolment": (Stage(1, "confirm", "approver"),),
    "cycle": (Stage(1, "confirm", "approver"),),
    "payment": (Stage(1, "release", "finance"),),
}


@dataclass(frozen=True, slots=True)
class Subject:
    """Something to be decided on, as it is now.

    `content` is the hash of what an approval would approve.
    """

    area: str
    kind: str
    id: str
    author: str
    title: str
    content: str


@dataclass(frozen=True, slots=True)
class Decision:
    """One officer's word on one stage of one content. Never altered."""

    stage: int
    verdict: str
    officer: str
    role: str
    content: str
    comment: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class Standing:
    """A subject with what was decided on its present content, and which stage is next (None when
    none is).
    """

    subject: Subject
    state: State
    stages: tuple[Stage, ...]
    decided: tuple[Decision, ...]
    earlier: tuple[Decision, ...]

    @property
    def next(self) -> Stage | None:
        if self.state not in {State.WAITING, State.PARTLY}:
            return None
        return self.stages[len(self.decided)] if len(self.decided) < len(self.stages) else None


def content_hash(content: Any) -> str:
    """The hash that an approval is chained to: SHA-256 of canonical JSON."""
    told = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(told.encode()).hexdigest()


def refusal(standing: Standing, officer: str, seen_content: str) -> str | None:
    """Why this officer cannot decide on the next stage now, or None.

    Pure; roles are checked beside it.
    """
    subject = standing.subject
    if standing.next is None:
        return f"{subject.kind} {subject.id} is {standing.state}: there is nothing left to decide"
    if seen_content != subject.content:
        return f"{subject.kind} {subject.id} has changed since it was shown: look at it again"
    if officer == subject.author:
        return f"{officer} made this {subject.kind}; another officer has to decide on it"
    if any(one.officer == officer for one in standing.decided):
        return f"{officer} has decided on this {subject.kind} already; it takes another officer"
    return None


def state_of(stored: State, decided: Sequence[Decision], stages: Sequence[Stage]) -> State:
    """The state that follows from the decisions on the present content. Pure."""
    if stored in {State.APPROVED, State.CARRIED_OUT, State.RETURNED}:
        return stored
    if any(one.verdict == "return" for one in decided):
        return State.RETURNED
    if len(decided) >= len(stages):
        return State.APPROVED
    return State.PARTLY if decided else State.WAITING


def set_policy(desk: Desk, officer: str, kind: str, stages: Sequence[tuple[str, str]]) -> int:
    """A new version of the policy of a kind:

    (name, role) of each stage. Subjects already seen keep theirs.
    """
    if kind not in POLICY:
        raise Declined(f"{kind} is no kind of subject: they are {', '.join(POLICY)}")
    if not stages:
        raise Declined("a policy without a stage would approve everything: give at least one")
    for _, role in stages:
        if role not in officers.ROLES:
            raise Declined(f"{role} is no role: they are {', '.join(officers.ROLES)}")

    def work(tx: Tx) -> int:
        officers.acting(tx, officer, "admin")
        version = _policy_version(tx, kind) + 1
        for number, (name, role) in enumerate(stages, 1):
            row = {"kind": kind, "version": version, "stage": number, "name": name, "role": role}
            tx.execute(insert(policy_stages).values(**row))
        return version

    return desk.store.transaction(work)


def _policy_version(tx: Tx, kind: str) -> int:
    """The version in force; the first one is written down when it is first asked for."""
    version = tx.execute(
        select(func.max(policy_stages.c.version)).where(policy_stages.c.kind == kind)
    ).scalar()
    if version is None:
        rows = [
            {"kind": kind, "version": 1, "stage": one.number, "name": one.name, "role": one.role}
            for one in POLICY[kind]
        ]
        # Two who are first at the same moment write the same rows.
        add_if_new(tx, policy_stages, rows)
        return 1
    return int(version)


def _stages(tx: Tx, kind: str, version: int | None) -> tuple[Stage, ...]:
    if version is None:
        version = tx.execute(
            select(func.max(policy_stages.c.version)).where(policy_stages.c.kind == kind)
        ).scalar()
        if version is None:
            return POLICY[kind]
    rows = tx.execute(
        select(policy_stages)
        .where(policy_stages.c.kind == kind, policy_stages.c.version == version)
        .order_by(policy_stages.c.stage)
    )
    return tuple(Stage(row.stage, row.name, row.role) for row in rows)


def standing(tx: Tx, subject: Subject) -> Standing:
    """How the subject stands. Reads only, so that a page can ask for it."""
    row = tx.execute(_where(select(subjects), subjects, subject)).first()
    stages = _stages(tx, subject.kind, None if row is None else row.policy)
    rows = tx.execute(
        _where(select(decisions), decisions, subject).order_by(decisions.c.number)
    ).all()
    said = [
        Decision(one.stage, one.verdict, one.officer, one.role, one.content, one.comment, one.at_ms)
        for one in rows
    ]
    on_this = tuple(one for one in said if one.content == subject.content)
    earlier = tuple(one for one in said if one.content != subject.content)
    stored = State.WAITING if row is None else State(row.state)
    return Standing(subject, state_of(stored, on_this, stages), stages, on_this, earlier)


def _where(statement: Any, table: Any, subject: Subject) -> Any:
    return statement.where(
        table.c.area == subject.area, table.c.kind == subject.kind, table.c.subject == subject.id
    )


def decide(
    desk: Desk,
    tx: Tx,
    subject: Subject,
    *,
    officer: str,
    verdict: str,
    comment: str,
    seen_content: str,
) -> Standing:
    """Writes one decision down, signed and chained, and returns how the subject stands after it.

    Raises Declined with the reason. What is refused here is refused by the store's constraints too.
    """
    at_ms = desk.now_ms()
    if verdict == "return" and not comment.strip():
        raise Declined("a return needs a comment: it is what the agent in the field will read")
    _open(tx, subject, at_ms)
    now = standing(tx, subject)
    why_not = refusal(now, officer, seen_content)
    stage = now.next
    if why_not or stage is None:
        raise Declined(why_not or "nothing to decide")
    officers.acting(tx, officer, stage.role)
    row = tx.execute(_where(select(subjects), subjects, subject)).one()
    last = tx.execute(
        select(decisions.c.number, decisions.c.hash)
        .where(decisions.c.area == subject.area)
        .order_by(decisions.c.number.desc())
        .limit(1)
    ).first()
    said = {
        "area": subject.area,
        "kind": subject.kind,
        "subject": subject.id,
        "content": subject.content,
        "stage": stage.number,
        "verdict": verdict,
        "officer": officer,
        "role": stage.role,
        "author": row.author,
        "policy": row.policy,
        "comment": comment.strip(),
        "at_ms": at_ms,
        "number": 1 if last is None else last.number + 1,
        "previous": "" if last is None else last.hash,
    }
    statement = json.dumps(said, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    values = {
        **said,
        "statement": statement,
        "hash": hashlib.sha256(statement.encode()).hexdigest(),
        "signature": desk.sign(statement.encode()),
        "after": None if stage.number == 1 else stage.number - 1,
        "after_verdict": None if stage.number == 1 else "approve",
    }
    try:
        tx.execute(insert(decisions).values(**values))
    except IntegrityError as broken:
        raise Declined(f"the registry does not allow this decision: {broken.orig}") from broken
    after = standing(tx, subject)
    move(tx, subject, after.state)
    return after


def _open(tx: Tx, subject: Subject, at_ms: int) -> None:
    """Writes the subject down when it is first decided on;

    its author and policy are fixed from then on.
    """
    if tx.execute(_where(select(subjects.c.subject), subjects, subject)).first() is None:
        row = {
            "area": subject.area,
            "kind": subject.kind,
            "subject": subject.id,
            "author": subject.author,
            "policy": _policy_version(tx, subject.kind),
            "state": State.WAITING,
            "title": subject.title,
            "made_ms": at_ms,
        }
        add_if_new(tx, subjects, [row])


def move(tx: Tx, subject: Subject, to: State) -> None:
    """Moves the subject along MOVES. Raises Declined for a move that is not in the table."""
    now = State(tx.execute(_where(select(subjects.c.state), subjects, subject)).scalar_one())
    if to != now and to not in MOVES[now]:
        raise Declined(f"{subject.kind} {subject.id} is {now} and cannot become {to}")
    tx.execute(_where(update(subjects), subjects, subject).values(state=to))


def broken_links(desk: Desk, area: str) -> tuple[str, ...]:
    """What is wrong with the area's chain of decisions: nothing, if nobody altered it."""

    def work(tx: Tx) -> tuple[str, ...]:
        faults: list[str] = []
        previous = ""
        rows = tx.execute(
            select(decisions).where(decisions.c.area == area).order_by(decisions.c.number)
        )
        for number, row in enumerate(rows, 1):
            place = f"decision {row.number} of area {area or '(all)'}"
            said = json.loads(row.statement)
            if row.number != number or row.previous != previous:
                faults.append(f"{place}: it does not follow the one before it")
            if any(said[name] != getattr(row, name) for name in said):
                faults.append(f"{place}: its row differs from its signed statement")
            if hashlib.sha256(row.statement.encode()).hexdigest() != row.hash:
                faults.append(f"{place}: its hash is not that of its statement")
            if not desk.signed(row.statement.encode(), as_bytes(row.signature)):
                faults.append(f"{place}: its signature is not this server's")
            previous = row.hash
        return tuple(faults)

    return desk.store.read(work)


def announce(tx: Tx, subject: Subject, at_ms: int) -> None:
    """Writes a subject down as waiting, so that lists show it. Doing it again changes nothing."""
    _open(tx, subject, at_ms)


def author_of(tx: Tx, area: str, kind: str, subject: str) -> str:
    """Who made the subject, or "" if it was never announced."""
    return _fact(tx, subjects.c.author, area, kind, subject)


def known(tx: Tx, area: str, kind: str, subject: str) -> str:
    """The stored state of the subject, or "" if it was never announced."""
    return _fact(tx, subjects.c.state, area, kind, subject)


def _fact(tx: Tx, column: Any, area: str, kind: str, subject: str) -> str:
    found = tx.execute(
        select(column).where(
            subjects.c.area == area, subjects.c.kind == kind, subjects.c.subject == subject
        )
    ).scalar()
    return "" if found is None else str(found)
