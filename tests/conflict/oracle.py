"""The rules once more, as slow and plain as they can be said; `fold` must agree with them."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from conflict import EXISTS, YES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from conflict import Change, Policies, Value, Write

Told = tuple["Change", "Write"]


def writes_at(changes: Iterable[Change], policies: Policies, path: str) -> list[Told]:
    unique = {change.dot: change for change in changes}
    return [
        (change, write)
        for _, change in sorted(unique.items())
        for name, write in change.writes.items()
        if policies.path(name) == path
    ]


def knew(later: Told, earlier: Told) -> bool:
    """Whether who wrote the later write had the earlier one before them (or had made it)."""
    mine, his = later[0].dot, earlier[0].dot
    return his in later[1].replaces or (mine.device == his.device and mine.counter > his.counter)


def alive(writes: list[Told]) -> list[Told]:
    left = [one for one in writes if not any(knew(other, one) for other in writes)]
    return sorted(left, key=lambda one: (one[0].effective, one[0].dot))


def unsettled(writes: list[Told]) -> tuple[Told | None, list[Told]]:
    settled = [one for one in writes if one[0].kind == "settle"]
    standing = [one for one in settled if not any(knew(other, one) for other in settled)]
    last = max(standing, key=lambda one: (one[0].effective, one[0].dot), default=None)
    rest = [
        one
        for one in writes
        if one not in settled and not any(one[0].dot in each[1].replaces for each in settled)
    ]
    return last, sorted(rest, key=lambda one: (one[0].effective, one[0].dot))


def shown(changes: Iterable[Change], policies: Policies, path: str) -> Value:
    """What the declared policy shows, for values of the types that the worlds give them."""
    policy = policies.policy(path)
    writes = writes_at(changes, policies, path)
    live = alive(writes)
    values = [write.value for _, write in live]
    if policy == "sum":
        last, rest = unsettled(writes)
        counted = ([last] if last else []) + rest
        return str(sum(Decimal(write.value or 0) for _, write in counted))
    if policy == "immutable":
        last, rest = unsettled(writes)
        return (last or rest[0])[1].value
    if policy == "max":
        numbers = [int(value) for value in values if value is not None]
        return str(max(numbers)) if numbers else None
    if policy == "min":
        dates = [value for value in values if value is not None]
        return min(dates) if dates else None
    if policy == "union":
        if len(set(values)) == 1:
            return values[0]
        return tuple(sorted({each for value in values for each in value or ()}))
    return values[-1]


def there(changes: list[Change], policies: Policies, path: str) -> Value:
    """Whether a member is there: deletion loses to any answer that its author had not seen."""
    live = alive(writes_at(changes, policies, path))
    gone = [one for one in live if one[1].value != YES]
    prefix = path[: -len(EXISTS)]
    below = {
        policies.path(name)
        for change in changes
        for name in change.writes
        if name.startswith(prefix)
    }
    unseen = [
        one
        for name in below - {path}
        for one in alive(writes_at(changes, policies, name))
        if one[1].value is not None
        and not any(knew(each, one) or each[0].dot.device == one[0].dot.device for each in gone)
    ]
    if not gone or unseen or len(gone) < len(live):
        return YES
    return gone[-1][1].value
