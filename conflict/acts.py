"""Acts that are more than an edit: a member deleted, a record deleted, a person moved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from conflict.change import EXISTS, MOVED, NO, YES, Change, Dot, Write
from conflict.settling import Unanswerable, live_dots

if TYPE_CHECKING:
    from collections.abc import Iterable

    from conflict.record import Record


def delete(
    record: Record,
    *,
    member: str | None = None,
    dot: Dot,
    author: str,
    at: str,
    effective: int,
    source: str,
) -> Change:
    """The record, or one member of it, is no more; it has seen what this record holds.

    An answer that the deleter had not seen brings it back, and a person judges. Raises
    Unanswerable for a member whom the record does not have.
    """
    path = EXISTS if member is None else f"members/{member}/{EXISTS}"
    if member is not None and member not in record.members:
        raise Unanswerable(f"household {record.id} has no member {member}")
    return Change(
        record=record.id,
        dataset=record.dataset,
        dot=dot,
        author=author,
        at=at,
        effective=effective,
        source=source,
        writes={path: Write(NO, frozenset(live_dots(record, [path])[path]) - {dot})},
        kind="delete",
    )


def move(
    member: str,
    home: Record,
    to: Record,
    *,
    dot: Dot,
    author: str,
    at: str,
    effective: int,
    source: str,
) -> tuple[Change, Change]:
    """A member leaves one household for another: two changes under one dot, kept in one batch.

    The old household says where to, so that two moves made apart meet in it and go to a person;
    all that is shown of the member goes along. Raises Unanswerable for a member who is not there.
    """
    if member not in home.members:
        raise Unanswerable(f"household {home.id} has no member {member}")
    if home.id == to.id:
        raise Unanswerable(f"{member} is in household {to.id} already; name another to move to")
    prefix = f"members/{member}/"
    left = f"{prefix}{EXISTS}"
    away = Write(f"{MOVED}{to.id}", frozenset(live_dots(home, [left])[left]) - {dot})
    along = {
        f"{prefix}{name}": value
        for name, value in home.members[member].items()
        if name != EXISTS and value is not None
    }
    along[left] = YES
    seen = live_dots(to, [path for path in along if path in to.fields])
    arrived = {
        path: Write(value, frozenset(seen.get(path, ())) - {dot}) for path, value in along.items()
    }
    first, second = (
        Change(
            record=record.id,
            dataset=record.dataset,
            dot=dot,
            author=author,
            at=at,
            effective=effective,
            source=source,
            writes=writes,
            kind="move",
        )
        for record, writes in ((home, {left: away}), (to, arrived))
    )
    return first, second


@dataclass(frozen=True, slots=True)
class Shared:
    """A person who is shown as a member of several households at once."""

    member: str
    households: tuple[str, ...]


def shared_members(records: Iterable[Record]) -> tuple[Shared, ...]:
    """Who would be counted, or paid, in more than one household; a person must choose."""
    at: dict[str, list[str]] = {}
    for record in records:
        if record.exists:
            for member in record.members:
                at.setdefault(member, []).append(record.id)
    return tuple(
        Shared(member, tuple(sorted(households)))
        for member, households in sorted(at.items())
        if len(households) > 1
    )
