"""One act on one record: who, on which device, when, which fields, and what its author had seen."""

from __future__ import annotations

import json
from dataclasses import dataclass
from operator import attrgetter
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Value = str | tuple[str, ...] | None
"""Text, a set of texts in the order of the answer (select-multiple), or None: cleared."""

Kind = Literal["create", "update", "settle", "move", "delete"]
KINDS = frozenset(get_args(Kind))

EXISTS = "exists"
"""The path that says whether a record is there; a member's is `members/<uuid>/exists`."""
YES = "yes"
NO = "no"
MOVED = "moved:"
"""An existence of `moved:<household>`: gone from here, and now a member there."""


class Dot(NamedTuple):
    """The name of one submission: its device, and that device's count of submissions.

    A tuple and no dataclass, since folding hashes dots more than it does anything else.
    """

    device: str
    counter: int

    def __str__(self) -> str:
        return f"{self.device}:{self.counter}"

    @classmethod
    def parse(cls, text: str) -> Dot:
        """`device:counter`; the device's name may hold colons. Raises Unsound."""
        device, colon, counter = text.rpartition(":")
        if not (colon and device and counter.isascii() and counter.isdecimal()):
            raise Unsound(f"{text!r} is no dot; a dot is written device:counter")
        return cls(device, int(counter))


class Unsound(ValueError):
    """What was given cannot be a change; nothing was kept of it."""


class Forked(ValueError):
    """Two different changes bear one dot: a device's counter was used twice. Both are in `both`."""

    def __init__(self, one: Change, other: Change) -> None:
        self.both = (one, other)
        super().__init__(
            f"two different changes of record {one.record} are both named {one.dot}; a device's "
            "counter was used twice (a copied or restored device?): enrol it again under a new name"
        )


@dataclass(frozen=True, slots=True)
class Write:
    """One field's new value, and the dots of the writes that its author had seen there."""

    value: Value
    replaces: frozenset[Dot] = frozenset()


@dataclass(frozen=True, slots=True)
class Change:
    """One act on one record. (dot, record, path) names each of its writes; never altered.

    `at` is the author's own time (HLC or ISO text); `effective` the server's stamp in
    milliseconds, which together with the dot is a total order. Raises Unsound where a write claims
    to have seen itself or its own device's future.
    """

    record: str
    dataset: str
    dot: Dot
    author: str
    at: str
    effective: int
    source: str
    writes: Mapping[str, Write]
    kind: Kind = "update"
    form_version: str = ""

    def __post_init__(self) -> None:
        dot = self.dot
        if self.kind not in KINDS:
            raise Unsound(f"change {dot}: kind {self.kind!r} is none of {', '.join(sorted(KINDS))}")
        for path, write in self.writes.items():
            for seen in write.replaces:
                if seen.device == dot.device and seen.counter >= dot.counter:
                    raise Unsound(
                        f"change {dot} of record {self.record}: its write to {path} says that it "
                        f"replaces {seen}, which its own device had not made yet"
                    )
        if not isinstance(self.writes, MappingProxyType):
            object.__setattr__(self, "writes", MappingProxyType(dict(self.writes)))

    def __hash__(self) -> int:
        return hash((self.record, self.dot))

    @property
    def order(self) -> tuple[int, Dot]:
        """Where it stands among all changes: by the server's effective time, then by dot."""
        return self.effective, self.dot


BY_DOT = attrgetter("dot")


def merge(one: Iterable[Change], other: Iterable[Change]) -> tuple[Change, ...]:
    """The union of two histories, each change once, in an order that is always the same.

    Commutative, associative and idempotent. Raises Forked where one dot names two changes.
    """
    both: dict[tuple[str, Dot], Change] = {}
    for history in (one, other):
        for change in history:
            known = both.setdefault((change.record, change.dot), change)
            if known is not change and known != change:
                raise Forked(known, change)
    return tuple(both[key] for key in sorted(both))


def written(
    fields: Mapping[str, Value], seen: Mapping[str, Iterable[Dot | str]]
) -> dict[str, Write]:
    """The writes of these values by an author who had seen these dots (`live_dots`) at each path.

    A path without dots was written by someone who had seen nothing there.
    """
    return {
        path: Write(
            value,
            frozenset(
                dot if isinstance(dot, Dot) else Dot.parse(dot) for dot in seen.get(path, ())
            ),
        )
        for path, value in fields.items()
    }


def to_json(change: Change) -> str:
    """The change as compact JSON: short keys, and each dot that it names written once.

    `{"r": record, "d": dataset, "o": dot, "a": author, "t": at, "e": effective, "s": source,
    "k": kind, "v": form version, "n": [dots named], "w": {path: value or [value, index, ...]}}`;
    a set is a list inside that list; empty `v` and `n` are left out.
    """
    named = sorted({dot for write in change.writes.values() for dot in write.replaces})
    place = {dot: index for index, dot in enumerate(named)}
    writes: dict[str, Any] = {}
    for path, write in sorted(change.writes.items()):
        if write.replaces or isinstance(write.value, tuple):
            value = list(write.value) if isinstance(write.value, tuple) else write.value
            writes[path] = [value, *sorted(place[dot] for dot in write.replaces)]
        else:
            writes[path] = write.value
    body: dict[str, Any] = {
        "r": change.record,
        "d": change.dataset,
        "o": str(change.dot),
        "a": change.author,
        "t": change.at,
        "e": change.effective,
        "s": change.source,
        "k": change.kind,
    }
    if change.form_version:
        body["v"] = change.form_version
    if named:
        body["n"] = [str(dot) for dot in named]
    body["w"] = writes
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"))


def from_json(text: str | bytes | dict[str, Any], *, own: bool = False) -> Change:
    """The change that `to_json` wrote; from its JSON, or from what that was read to already.

    Raises Unsound where it is none.
    With `own` only its writes to the record's own fields, for a list that shows no members.
    """
    try:
        return _read(text if isinstance(text, dict) else json.loads(text), own=own)
    except Unsound:
        raise
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as fault:
        raise Unsound(f"this is no change as JSON: {type(fault).__name__}: {fault}") from None


def _read(body: Any, *, own: bool) -> Change:
    named = [Dot.parse(dot) for dot in body.get("n", ())]
    writes: dict[str, Write] = {}
    for path, cell in body["w"].items():
        if own and "/" in path:
            continue
        if type(cell) is str:  # nearly all
            writes[path] = Write(cell)
            continue
        if not isinstance(cell, list):
            writes[path] = Write(_value(path, cell))
            continue
        places = cell[1:]
        if not all(type(place) is int and 0 <= place < len(named) for place in places):
            raise Unsound(f"the write to {path} names a dot that is not in the change's list")
        writes[path] = Write(_value(path, cell[0]), frozenset(named[place] for place in places))
    for key in "rdoatsk":
        if not isinstance(body[key], str):
            raise Unsound(f"a change's {key!r} is text, not {body[key]!r}")
    if type(body["e"]) is not int:
        raise Unsound(f"a change's effective time is a whole number, not {body['e']!r}")
    return Change(
        record=body["r"],
        dataset=body["d"],
        dot=Dot.parse(body["o"]),
        author=body["a"],
        at=body["t"],
        effective=body["e"],
        source=body["s"],
        writes=MappingProxyType(writes),
        kind=body["k"],
        form_version=str(body.get("v", "")),
    )


def _value(path: str, raw: Any) -> Value:
    if raw is None or isinstance(raw, str):
        return raw
    if isinstance(raw, list) and all(isinstance(one, str) for one in raw):
        return tuple(raw)
    raise Unsound(f"the write to {path} holds {raw!r}; a value is text, a list of texts, or null")
