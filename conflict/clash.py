"""A field on which honest statements disagree, told so that a person can judge."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from conflict.change import YES, Dot, Kind, Value

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class LiveWrite:
    """One write with all that is known about it."""

    value: Value
    author: str
    at: str
    device: str
    dot: Dot
    effective: int
    source: str
    kind: Kind
    form_version: str
    replaces: frozenset[Dot]

    @property
    def order(self) -> tuple[int, Dot]:
        return self.effective, self.dot


@dataclass(frozen=True, slots=True)
class Candidate:
    """One of the answers: who says so, since when, on which device, and what they had seen.

    `saw` names the writes to this field that the author had before them.
    """

    value: Value
    author: str
    at: str
    device: str
    dot: Dot
    saw: frozenset[Dot]
    effective: int
    kind: Kind
    path: str
    """Where it was written; another path than the clash's for answers given to what was deleted."""


@dataclass(frozen=True, slots=True)
class Suggestion:
    """An answer worth proposing, and why."""

    value: Value
    reason: str


@dataclass(frozen=True, slots=True)
class Clash:
    """A field that a person must look at; `candidates` are in the server's order of time."""

    record: str
    path: str
    candidates: tuple[Candidate, ...]
    suggestion: Suggestion
    reason: str

    @property
    def values(self) -> tuple[Value, ...]:
        """Each different answer once."""
        return tuple(dict.fromkeys(candidate.value for candidate in self.candidates))


def shown(value: Value) -> str:
    """A value as a reader sees it."""
    if value is None or value == ():
        return "nothing"
    return ", ".join(value) if isinstance(value, tuple) else value


def _deleted(path: str, candidates: tuple[Candidate, ...]) -> Suggestion | None:
    answers = [each for each in candidates if each.path != path]
    if not answers:
        return None
    who = ", ".join(dict.fromkeys(each.author for each in answers))
    gone = [each for each in candidates if each.path == path and each.value != YES]
    if gone and gone[-1].kind == "move":
        return Suggestion(
            gone[-1].value, f"the move stands; give {who}'s answers to the new household"
        )
    return Suggestion(YES, f"{who} gave answers without knowing of the deletion")


def _settled(path: str, candidates: tuple[Candidate, ...]) -> Suggestion | None:
    del path
    settlements = [each for each in candidates if each.kind == "settle"]
    if len({each.value for each in settlements}) != 1:
        return None
    return Suggestion(
        settlements[-1].value,
        f"{settlements[-1].author} had settled on it, and the other answer was given without "
        "knowing of that",
    )


def _only_answer(path: str, candidates: tuple[Candidate, ...]) -> Suggestion | None:
    del path
    given = {each.value for each in candidates if each.value not in {None, "", ()}}
    if len(given) != 1:
        return None
    return Suggestion(given.pop(), "it is the only answer; the others left the field empty")


def _more_devices(path: str, candidates: tuple[Candidate, ...]) -> Suggestion | None:
    del path
    by_value: dict[Value, set[str]] = {}
    for each in candidates:
        by_value.setdefault(each.value, set()).add(each.device)
    ranked = sorted(by_value, key=lambda value: -len(by_value[value]))
    if len(ranked) < 2 or len(by_value[ranked[0]]) == len(by_value[ranked[1]]):
        return None
    return Suggestion(
        ranked[0], f"{len(by_value[ranked[0]])} devices say so, and fewer say anything else"
    )


def _latest(path: str, candidates: tuple[Candidate, ...]) -> Suggestion:
    del path
    last = candidates[-1]
    return Suggestion(last.value, f"{last.author} wrote it last, at {last.at}")


SUGGESTIONS: tuple[Callable[[str, tuple[Candidate, ...]], Suggestion | None], ...] = (
    _deleted,
    _settled,
    _only_answer,
    _more_devices,
)
"""The first that has something to say is asked; after them the latest answer is proposed."""


def suggest(path: str, candidates: tuple[Candidate, ...]) -> Suggestion:
    """What to propose for these answers (in order of time, at least one), and why."""
    for propose in SUGGESTIONS:
        found = propose(path, candidates)
        if found is not None:
            return found
    return _latest(path, candidates)
