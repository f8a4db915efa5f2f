"""A person's word on a clash: one more write, in sight of all answers. Singly, or by a rule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from conflict.change import EXISTS, MOVED, NO, YES, Change, Dot, Value, Write
from conflict.clash import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from conflict.clash import Clash
    from conflict.record import Record


@dataclass(frozen=True, slots=True)
class Answer:
    """What a rule answers to a clash; a rule that leaves the clash to a person answers None."""

    value: Value


class Unanswerable(ValueError):
    """A settlement that would answer nothing: the record has no such field, or no such answer."""


def live_dots(record: Record, paths: Iterable[str] | None = None) -> dict[str, list[Dot]]:
    """What someone who has this record before them has seen at each path; to travel with an edit.

    Without `paths`, of all. An existence (`exists`, `members/<uuid>/exists`) speaks of everything
    below it, so a deletion carries the dots of all that the deleter had seen.
    """
    if paths is None:
        paths = record.fields
    return {path: _seen(record, record.policies.path(path)) for path in paths}


def _seen(record: Record, path: str) -> list[Dot]:
    dots = {entry[0].dot for entry in record.live(path)}
    if path.rpartition("/")[2] == EXISTS:
        dots.update(entry[0].dot for _, entry in record.below(path))
    return sorted(dots)


def settle(
    record: Record,
    path: str,
    value: Value,
    *,
    dot: Dot,
    author: str,
    at: str,
    effective: int,
    source: str,
) -> Change:
    """The change that says so. It has seen every write to the field; a later one can revise it.

    Raises Unanswerable for a path where nobody wrote anything, and for an existence that is
    neither yes, nor no, nor moved to a household.
    """
    return _settlement(
        record, {path: value}, dot=dot, author=author, at=at, effective=effective, source=source
    )


def _settlement(
    record: Record,
    answers: Mapping[str, Value],
    *,
    dot: Dot,
    author: str,
    at: str,
    effective: int,
    source: str,
) -> Change:
    writes = {}
    for asked, value in answers.items():
        path = record.policies.path(asked)
        entries = record.entries(path)
        if not entries:
            raise Unanswerable(
                f"record {record.id} has no {path}: nobody wrote it, so there is nothing to settle"
            )
        existence = path.rpartition("/")[2] == EXISTS
        if existence and value not in {YES, NO} and not str(value).startswith(MOVED):
            raise Unanswerable(
                f"record {record.id}, {path}: it is {YES}, {NO} or {MOVED}<household>, "
                f"not {shown(value)}"
            )
        # All of them and not only the live: a sum starts anew from what it was settled on.
        seen = {entry[0].dot for entry in entries}
        seen.update(_seen(record, path) if existence else ())
        seen.discard(dot)
        writes[path] = Write(value, frozenset(seen))
    return Change(
        record=record.id,
        dataset=record.dataset,
        dot=dot,
        author=author,
        at=at,
        effective=effective,
        source=source,
        writes=writes,
        kind="settle",
    )


def settle_many(
    records: Iterable[Record],
    rule: Callable[[Clash], Answer | None],
    *,
    dot: Dot,
    author: str,
    at: str,
    effective: int,
    source: str,
) -> tuple[Change, ...]:
    """One change for each record in which the rule answered a clash, all under one dot."""
    made = []
    for record in records:
        answers = {
            clash.path: answer.value
            for clash in record.clashes
            if (answer := rule(clash)) is not None
        }
        if answers:
            made.append(
                _settlement(
                    record,
                    answers,
                    dot=dot,
                    author=author,
                    at=at,
                    effective=effective,
                    source=source,
                )
            )
    return tuple(made)


def as_suggested(clash: Clash) -> Answer:
    """Whatever is suggested."""
    return Answer(clash.suggestion.value)


def latest(clash: Clash) -> Answer | None:
    """The answer written last; a question of being there at all is left to a person."""
    return None if _of_being(clash) else Answer(clash.candidates[-1].value)


def earliest(clash: Clash) -> Answer | None:
    """The answer written first; a question of being there at all is left to a person."""
    return None if _of_being(clash) else Answer(clash.candidates[0].value)


def said_by(*authors: str) -> Callable[[Clash], Answer | None]:
    """The one answer that these authors gave, in clashes where they gave exactly one."""

    def rule(clash: Clash) -> Answer | None:
        said = {each.value for each in clash.candidates if each.author in authors}
        return Answer(said.pop()) if len(said) == 1 and not _of_being(clash) else None

    return rule


def only(rule: Callable[[Clash], Answer | None], *fields: str) -> Callable[[Clash], Answer | None]:
    """The rule for clashes of these fields; all others are left to a person."""

    def narrowed(clash: Clash) -> Answer | None:
        return rule(clash) if clash.path.rpartition("/")[2] in fields else None

    return narrowed


def _of_being(clash: Clash) -> bool:
    return clash.path.rpartition("/")[2] == EXISTS


RULES: Mapping[str, Callable[[Clash], Answer | None]] = {
    "as suggested": as_suggested,
    "latest": latest,
    "earliest": earliest,
}
"""The rules that need no more to be said, by the name that a page shows."""


def frozen_paths(record: Record) -> tuple[str, ...]:
    """The payment accounts that nothing may be paid to until a person has settled their clash."""
    return tuple(
        clash.path
        for clash in record.clashes
        if record.policies.sort(clash.path) == "payment account"
    )


def freezes_payment(record: Record) -> bool:
    """Whether a payment account of the record, or of a member of it, is in a clash."""
    return bool(frozen_paths(record))
