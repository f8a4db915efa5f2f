"""Double-entry bookkeeping in integer minor units:

entries balance, and corrections are new entries.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class Unbalanced(Exception):
    """The lines of an entry do not sum to nothing; nothing was written."""


@dataclass(frozen=True, slots=True)
class Line:
    """One side of an entry: a debit is positive, a credit negative. In minor units."""

    account: str
    amount_minor: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One event in the books. If one exists, its lines balance and it moves money.

    `id` is worked out from what the entry is for, so that writing it twice adds nothing.
    """

    id: str
    programme: str
    currency: str
    about: str
    memo: str
    lines: tuple[Line, ...]

    def __post_init__(self) -> None:
        total = sum(line.amount_minor for line in self.lines)
        if total != 0:
            raise Unbalanced(f"entry {self.id} is out of balance by {total} {self.currency}")
        if len(self.lines) < 2 or any(line.amount_minor == 0 for line in self.lines):
            raise Unbalanced(f"entry {self.id} needs at least two lines, none of nothing")


def move(*, source: str, target: str, amount_minor: int) -> tuple[Line, ...]:
    """`amount_minor` out of `source` (credit) into `target` (debit)."""
    return (Line(target, amount_minor), Line(source, -amount_minor))


def reversal(entry: Entry, *, id: str, memo: str) -> Entry:  # noqa: A002 - the field's own name
    """The entry that undoes `entry` and names it; the first one stays in the books."""
    return Entry(
        id,
        entry.programme,
        entry.currency,
        entry.about,
        f"{memo} (undoes {entry.id})",
        tuple(Line(line.account, -line.amount_minor) for line in entry.lines),
    )


def balances(entries: Iterable[Entry]) -> Mapping[tuple[str, str], int]:
    """Balance in minor units of each (account, currency). They sum to nothing per currency."""
    found: Counter[tuple[str, str]] = Counter()
    for entry in entries:
        for line in entry.lines:
            found[line.account, entry.currency] += line.amount_minor
    return found


def expense(programme: str) -> str:
    return f"expense/{programme}"


def due(household: str) -> str:
    return f"due/{household}"


def in_transit(channel: str) -> str:
    return f"in-transit/{channel}"


def bank(programme: str) -> str:
    return f"bank/{programme}"
