"""The audit log of an interview: each line is on the disk, under the lock, with what it tells of."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from forms.audit import Event, Location, Log, Tracking, asked_by

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from forms import Form

LINE = "audit/"
"""How the log's lines are called among a draft's answers: audit/000001, ..."""


class Book:
    """One sitting's part of the log. What earlier sittings wrote lies in the draft.

    Lines are kept with the draft, not in a file, so that they are erased with it; the old and new
    answers that a form may want logged are as secret as the answers themselves.
    """

    def __init__(
        self, ref: str, log: Log, elapsed_ms: Callable[[], int], kept: Mapping[str, Any]
    ) -> None:
        self.ref = ref
        self.log = log
        self._elapsed_ms = elapsed_ms
        self._before = [str(line) for path, line in kept.items() if path.startswith(LINE)]
        self._kept = 0

    @classmethod
    def of(
        cls,
        form: Form,
        *,
        started_ms: int,
        elapsed_ms: Callable[[], int],
        properties: Mapping[str, str],
        kept: Mapping[str, Any],
    ) -> Book | None:
        """The book of a form that asks for an audit, else None. `kept` are the draft's answers."""
        asked = asked_by(form)
        if asked is None:
            return None
        log = Log(
            Tracking.of(asked.extra),
            started_ms,
            user=properties.get("username") or properties.get("deviceid", ""),
            location=_location(properties.get("location", "")),
        )
        return cls(asked.ref, log, elapsed_ms, kept)

    def opened(self, event: str) -> None:
        """The form was begun or gone on with; whether places can be told is logged too."""
        self.happened(event)
        if self.log.tracking.location:
            self.happened("location tracking enabled")
            there = "enabled" if self.log.location else "disabled"
            self.happened(f"location providers {there}")

    def happened(self, event: str) -> None:
        self.log.happened(event, self._elapsed_ms())

    def shown(self, event: str, answers: Mapping[str, str] | None = None) -> None:
        self.log.shown(event, self._elapsed_ms(), answers)

    @property
    def showing(self) -> tuple[str, ...]:
        """The questions on the screen now; () where none is."""
        return self.log.showing

    def left(self, answers: Mapping[str, str]) -> None:
        """The screen went away, with these answers on it."""
        self.log.left(self._elapsed_ms(), answers)

    def answered(self, ref: str, before: str, after: str, held_ms: int = 0) -> None:
        """An answer where there is no screen for it alone, as on a page of many questions.

        `held_ms` says for how long the question had been turned to. Answers to one question that
        follow upon each other are one line, from the first to the last.
        """
        now = self._elapsed_ms()
        last = self.log.events[-1] if self.log.events else None
        again = last is not None and (last.event, last.node) == ("question", ref)
        self.log.shown("question", max(0, now - held_ms), {ref: before})
        self.log.left(now, {ref: after})
        if again and last is not None:
            line = self.log.events.pop()
            self.log.events[-1] = _joined(last, line)
            self._kept = min(self._kept, len(self.log.events) - 1)

    def repeated(self, event: str, ref: str) -> None:
        """An instance was added or deleted."""
        now = self._elapsed_ms()
        self.log.repeat(event, ref, now, now)

    def fresh(self) -> dict[str, str]:
        """The lines that are not yet kept, by the path that each is to be kept under."""
        behind = len(self._before) + 1
        return {
            f"{LINE}{number + behind:06d}": self.log.line(event)
            for number, event in enumerate(self.log.events)
            if number >= self._kept
        }

    def kept(self) -> None:
        """What was fresh is on the disk."""
        self._kept = len(self.log.events)

    def file(self) -> bytes:
        """The whole log, as it is attached to the submission."""
        lines = [*self._before, *(self.log.line(event) for event in self.log.events)]
        return (self.log.heading() + "".join(lines)).encode()


def _joined(first: Event, then: Event) -> Event:
    changed = bool(then.old_value or then.new_value)
    old = first.old_value if first.old_value or first.new_value else then.old_value
    return replace(
        first,
        end=then.end,
        old_value=old if changed else first.old_value,
        new_value=then.new_value if changed else first.new_value,
    )


def _location(text: str) -> Location | None:
    """A place as a device tells it: "latitude longitude altitude accuracy"."""
    parts = text.split()
    try:
        numbers = [float(part) for part in parts]
    except ValueError:
        return None
    if len(numbers) < 2:
        return None
    return Location(numbers[0], numbers[1], numbers[3] if len(numbers) > 3 else 0.0)
