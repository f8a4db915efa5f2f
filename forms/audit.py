"""The log of how a form was filled in, as ODK Collect writes it into audit.csv."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from forms.form import Form
    from forms.model import Definition

FILE = "audit.csv"
"""What the log is called among a submission's files."""

EVENTS: Mapping[str, tuple[bool, bool]] = {
    # event: (names a node, has an end)
    "form start": (False, False),
    "form resume": (False, False),
    "question": (True, True),
    "group questions": (True, True),
    "add repeat": (True, True),
    "delete repeat": (True, True),
    "end screen": (False, True),
    "jump": (False, False),
    "form save": (False, False),
    "form exit": (False, False),
    "form finalize": (False, False),
    "save error": (False, False),
    "finalize error": (False, False),
    "constraint error": (False, False),
    "change reason": (False, False),
    "location tracking enabled": (False, False),
    "location tracking disabled": (False, False),
    "location providers enabled": (False, False),
    "location providers disabled": (False, False),
    "location permissions granted": (False, False),
    "location permissions not granted": (False, False),
}
"""The events of https://docs.getodk.org/form-audit-log/#event-types, and what each carries."""


@dataclass(frozen=True, slots=True)
class Tracking:
    """What a form's audit question asks to be logged besides the events themselves."""

    location: bool = False
    changes: bool = False
    reasons: bool = False
    user: bool = False

    @classmethod
    def of(cls, attributes: Mapping[str, str]) -> Tracking:
        """Read the attributes of the audit's bind, without their prefix: track-changes, ..."""
        return cls(
            location="location-priority" in attributes,
            changes=attributes.get("track-changes") == "true",
            reasons=attributes.get("track-changes-reasons") == "on-form-edit",
            user=attributes.get("identify-user") == "true",
        )


def asked_by(form: Form) -> Definition | None:
    """The node that a form keeps its audit log under, with what is to be logged; None: it asks
    for none.
    """
    found = form.by_path.get((*form.meta.path, "audit"))
    return found if found is not None and found.type == "binary" else None


@dataclass(frozen=True, slots=True)
class Location:
    """Degrees, degrees and metres."""

    latitude: float
    longitude: float
    accuracy: float


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the log; times are milliseconds since 1970 (UTC), end None while it lasts."""

    event: str
    node: str
    start: int
    end: int | None = None
    location: Location | None = None
    old_value: str = ""
    new_value: str = ""
    user: str = ""
    reason: str = ""


@dataclass(slots=True)
class Log:
    """A recorder: it is told what happened and when, and knows no clock of its own.

    `started` is the wall clock (ms since 1970) when the form was opened. Every other time is
    given as milliseconds elapsed since then, by a clock that nobody can set: so has Collect it,
    and so a person who changes the device's clock cannot bend the log.
    """

    tracking: Tracking
    started: int
    user: str = ""
    location: Location | None = None
    events: list[Event] = field(default_factory=list)
    _open: list[tuple[Event, str]] = field(default_factory=list)

    def happened(self, event: str, elapsed: int, *, reason: str = "") -> None:
        """An event of a moment. It ends what was on the screen if it takes the screen away."""
        named, lasting = EVENTS[event]
        if named or lasting:
            raise ValueError(f"{event} lasts or names a node: use shown() or repeat()")
        self.events.append(self._event(event, "", elapsed, reason=reason))

    def shown(self, event: str, elapsed: int, answers: Mapping[str, str] | None = None) -> None:
        """A screen came up: "question", "group questions" or "end screen".

        `answers` maps each node on it to its answer now, the group's own path first for a group.
        What was on the screen before must have left().
        """
        if self._open:
            raise ValueError(f"{self._open[0][0].event} is still on the screen: call left() first")
        nodes = dict(answers or {})
        if event == "group questions" and self.tracking.changes:
            # As Collect has it: one line for each question of the screen, so that each can
            # carry its own old and new answer.
            group, *inside = nodes
            lines = [("question", node) for node in inside] or [(event, group)]
        else:
            lines = [(event, next(iter(nodes), ""))]
        for name, node in lines:
            if EVENTS[name][0] != bool(node):
                raise ValueError(f"{name} {'names a node' if not node else 'names no node'}")
            self._open.append((self._event(name, node, elapsed), nodes.get(node, "")))

    def left(self, elapsed: int, answers: Mapping[str, str] | None = None) -> None:
        """The screen went away; `answers` are those that its nodes have now."""
        now = answers or {}
        for event, before in self._open:
            after = now.get(event.node, before)
            tell = self.tracking.changes and event.event == "question" and before != after
            self.events.append(
                Event(
                    event.event,
                    event.node,
                    event.start,
                    self.started + elapsed,
                    event.location or self._where(),
                    before if tell else "",
                    after if tell else "",
                    event.user,
                )
            )
        self._open.clear()

    def repeat(self, event: str, node: str, asked: int, elapsed: int) -> None:
        """An instance of a repeat was added or deleted; `asked` is when the question came up."""
        if not event.endswith("repeat"):
            raise ValueError(f"{event} is about no repeat")
        line = self._event(event, node, asked)
        self.events.append(
            Event(
                line.event, node, line.start, self.started + elapsed, line.location, user=line.user
            )
        )

    @property
    def showing(self) -> tuple[str, ...]:
        """The nodes on the screen now, the last that shown() told of and left() did not end."""
        return tuple(event.node for event, _ in self._open)

    def csv(self, *, heading: bool = True) -> str:
        """The file's text; without the heading it can be added to that of an earlier sitting."""
        return (self.heading() if heading else "") + "".join(map(self.line, self.events))

    def heading(self) -> str:
        """The file's first line."""
        return ",".join(self._columns()) + "\n"

    def line(self, event: Event) -> str:
        """The event's line; it can hold line ends of an answer, inside quotation marks."""
        return ",".join(map(_cell, self._cells(event))) + "\n"

    def _where(self) -> Location | None:
        return self.location if self.tracking.location else None

    def _event(self, event: str, node: str, elapsed: int, *, reason: str = "") -> Event:
        user = self.user if self.tracking.user else ""
        return Event(
            event,
            node,
            self.started + elapsed,
            location=self._where(),
            user=user,
            reason=reason if self.tracking.reasons else "",
        )

    def _columns(self) -> list[str]:
        columns = ["event", "node", "start", "end"]
        if self.tracking.location:
            columns += ["latitude", "longitude", "accuracy"]
        if self.tracking.changes:
            columns += ["old-value", "new-value"]
        if self.tracking.user:
            columns += ["user"]
        if self.tracking.reasons:
            columns += ["change-reason"]
        return columns

    def _cells(self, event: Event) -> list[str]:
        end = "" if event.end is None else str(event.end)
        cells = [event.event, event.node, str(event.start), end]
        if self.tracking.location:
            at = event.location
            cells += [str(at.latitude), str(at.longitude), str(at.accuracy)] if at else [""] * 3
        if self.tracking.changes:
            cells += [event.old_value, event.new_value]
        if self.tracking.user:
            cells += [event.user]
        if self.tracking.reasons:
            cells += [event.reason]
        return cells


def _cell(text: str) -> str:
    """Quoted only where there is a comma or a line's end (the specification's CSV format)."""
    if "," in text or "\n" in text or "\r" in text:
        return '"' + text.replace('"', '""') + '"'
    return text
