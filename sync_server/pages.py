"""The changes of an area as devices pull them: in pages that are made once and kept ready.

What was committed of an area never changes and never gets another place, so a page that ends before
the area's last sequence is good for ever: it is packed once, when the registry learns the last of it,
sealed at rest once, and sent as it lies to whichever device asks. A device that stands inside a page
gets the rest of it made for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, func, select

from schemas.columns import LAYOUT, pack_columns
from schemas.pages import Page
from sync_server.store import desk_tables as t
from sync_server.store.engine import add_if_new, as_bytes

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from sync_server.desk import Desk
    from sync_server.store.engine import Tx

STEP = 256
"""Sequences that a kept page spans: from one multiple of this to the next."""
RAW_MOST = 4 * 1024 * 1024
"""Bytes of changes in one page before they are packed, unless a single change is longer."""
_LEAST = 16
"""Bytes that nearly every change takes in a page: an id."""
PAGES_MOST = 500
"""Pages in one reply."""
_AT_ONCE = 16
"""Kept pages that are read at once."""


@dataclass(frozen=True, slots=True)
class Pages:
    """Pages from one sequence to another, in order. `fresh` are those worth keeping."""

    pages: tuple[Page, ...]
    reached: int
    fresh: tuple[Page, ...]


def between(tx: Tx, desk: Desk, area: str, after: int, until: int, most: int) -> Pages:
    """The area's changes over `after` and up to `until`, which is committed.

    Stops before there are `most` bytes of pages; one change at least is in it if there is any.
    """
    pages: list[Page] = []
    fresh: list[Page] = []
    kept = _Kept(tx, desk, area, until)
    size, at = 0, after
    while at < until:
        page = kept.after(at)
        if page is None or len(page.data) > most:
            page, whole = _made(tx, desk, area, at, min(_next_border(at), until), most)
            if page is None:
                at = _before_next(tx, area, at, until)
                continue
            if whole and at % STEP == 0 and page.last % STEP == 0:
                fresh.append(page)
        if pages and (size + len(page.data) > most or len(pages) == PAGES_MOST):
            break
        pages.append(page)
        size += len(page.data)
        at = page.last
    return Pages(tuple(pages), at, tuple(fresh))


def keep(desk: Desk, area: str, fresh: Collection[Page]) -> None:
    """Keeps pages for whoever pulls next. Two servers that make the same page do no harm."""
    if fresh:
        desk.store.transaction(lambda tx: _keep(tx, desk, area, fresh))


def ready(tx: Tx, desk: Desk, area: str, before: int, last: int) -> None:
    """Makes and keeps the pages that became whole between two sequences, `last` not committed yet."""
    for border in range(_next_border(before), last + 1, STEP):
        page, whole = _made(tx, desk, area, border - STEP, border, RAW_MOST)
        if page is not None and whole:
            _keep(tx, desk, area, [page])


def _keep(tx: Tx, desk: Desk, area: str, fresh: Iterable[Page]) -> None:
    for one in fresh:
        theirs = (t.pages.c.after >= one.after) & (t.pages.c.after < one.last)
        tx.execute(delete(t.pages).where(t.pages.c.area == area, theirs))
        sealed = desk.at_rest.seal(_place(area, one.after, one.last), one.data)
        row = {"area": area, "after": one.after, "last": one.last, "sealed": sealed}
        add_if_new(tx, t.pages, [row])


def _next_border(sequence: int) -> int:
    return (sequence // STEP + 1) * STEP


class _Kept:
    """The kept pages of an area, read some at a time as they are asked for, in order."""

    def __init__(self, tx: Tx, desk: Desk, area: str, until: int) -> None:
        self._tx, self._desk, self._area, self._until = tx, desk, area, until
        self._rows: Iterator[Any] = iter(())
        self._next: Any = None
        self._over = False

    def after(self, sequence: int) -> Page | None:
        if sequence % STEP:
            return None
        while not self._over and (self._next is None or self._next.after < sequence):
            self._next = next(self._rows, None)
            if self._next is None:
                self._read(sequence)
        if self._next is None or self._next.after != sequence:
            return None
        row = self._next
        place = _place(self._area, row.after, row.last)
        data = self._desk.at_rest.open(place, as_bytes(row.sealed))
        # One that an earlier program kept is made anew, and takes its place.
        return Page(row.after, row.last, data) if data[0] == LAYOUT else None

    def _read(self, sequence: int) -> None:
        found = self._tx.execute(
            select(t.pages)
            .where(
                t.pages.c.area == self._area,
                t.pages.c.after >= sequence,
                t.pages.c.last <= self._until,
            )
            .order_by(t.pages.c.after)
            .limit(_AT_ONCE)
        ).all()
        self._rows = iter(found)
        self._over = not found


def _made(
    tx: Tx, desk: Desk, area: str, after: int, end: int, most: int
) -> tuple[Page | None, bool]:
    """A page from the changes themselves, None where there are none; whether it reaches `end`."""
    limit = most // _LEAST + 1
    rows = tx.execute(
        select(t.changes.c.sequence, t.changes.c.sealed)
        .where(t.changes.c.area == area, t.changes.c.sequence > after, t.changes.c.sequence <= end)
        .order_by(t.changes.c.sequence)
        .limit(limit)
    ).all()
    lines: list[tuple[int, bytes]] = []
    size, whole = 0, len(rows) < limit
    for sequence, sealed in rows:
        change = desk.at_rest.open(f"changes/{area}/{sequence}", as_bytes(sealed))
        size += len(change)
        if lines and size > RAW_MOST:
            whole = False
            break
        lines.append((sequence, change))
    if not lines:
        return None, whole
    data = pack_columns(lines)
    while len(data) > most and len(lines) > 1:
        whole = False
        del lines[max(1, min(len(lines) // 2, len(lines) * most // len(data))) :]
        data = pack_columns(lines)
    return Page(after, end if whole else lines[-1][0], data), whole


def _before_next(tx: Tx, area: str, after: int, until: int) -> int:
    """The last border before the next change, or `until`: what is between holds no change."""
    found = tx.execute(
        select(func.min(t.changes.c.sequence)).where(
            t.changes.c.area == area, t.changes.c.sequence > after
        )
    ).scalar()
    if found is None or int(found) > until:
        return until
    return (int(found) - 1) // STEP * STEP


def _place(area: str, after: int, last: int) -> str:
    return f"pages/{area}/{after}/{last}"
