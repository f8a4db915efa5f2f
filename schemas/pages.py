"""A page: some changes of one area's registry, in order, as the server keeps and the device stores them.

In columns (`schemas/columns.py`), or, to devices of an earlier program and in their stores, in lines:

    page = zstd(line*)     one frame (RFC 8878)
    line = sequence in decimal | space | change | newline

A change in a line is the compact JSON of `conflict.to_json`: it begins with `{"r":"` and the
record's id, and holds no newline. Sequences grow from change to change.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from schemas.columns import LAYOUT, Columns
from schemas.frames import MAX_MESSAGE, squeeze, unsqueeze
from schemas.problems import Refused

LINES = 1
"""The layout of earlier programs."""
_IN_COLUMNS = bytes([LAYOUT])
_LINE = re.compile(rb'^([1-9][0-9]{0,15}) (\{"r":"([!#-\[\]-~]{1,200})".*\})$', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Page:
    """Every change of the area with a sequence over `after` and up to `last`, packed."""

    after: int
    last: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Line:
    """One change, and the record that it is about. What it says is looked at when it is asked for."""

    sequence: int
    record: str
    _held: bytes | Columns
    _place: int = 0

    @property
    def change(self) -> bytes:
        """Its compact JSON."""
        held = self._held
        return held if isinstance(held, bytes) else held.change(self._place)

    def said(self, *, own: bool = False) -> bytes | dict[str, Any]:
        """For `conflict.from_json`; with `own` perhaps without what it says of members."""
        held = self._held
        return held if isinstance(held, bytes) else held.body(self._place, own=own)


def in_lines(page: Page) -> Page:
    """The same page for a device of an earlier program."""
    lines = [b"%d %b\n" % (line.sequence, line.change) for line in unpack_page(page)]
    return Page(page.after, page.last, squeeze(b"".join(lines)))


def unpack_page(page: Page) -> list[Line]:
    """The page's changes.

    Raises `Refused` with `too-large`, before much more than is allowed is held, or `malformed`,
    naming the place.
    """
    lines = _unpack_columns(page) if page.data[:1] == _IN_COLUMNS else _unpack_lines(page)
    before = page.after
    for line in lines:
        if not before < line.sequence <= page.last:
            raise Refused(
                "malformed",
                f"a page of changes after {page.after}, up to {page.last}: record {line.record} "
                f"has sequence {line.sequence} behind {before}",
            )
        before = line.sequence
    return lines


def _unpack_columns(page: Page) -> list[Line]:
    try:
        held = Columns(page.data)
    except Refused as error:
        why = f"a page of changes after {page.after}: {error.problem.detail}"
        raise Refused(error.problem.code, why) from error
    return [
        Line(sequence, record, held, place)
        for place, (sequence, record) in enumerate(zip(held.sequences, held.records, strict=True))
    ]


def _unpack_lines(page: Page) -> list[Line]:
    data = unsqueeze(page.data, MAX_MESSAGE)
    lines = [
        Line(int(sequence), record.decode(), change)
        for sequence, change, record in _LINE.findall(data)
    ]
    if len(lines) != data.count(b"\n") or not data.endswith(b"\n"):
        raise Refused("malformed", f"a page of changes after {page.after}: {_odd_line(data)}")
    return lines


def _odd_line(data: bytes) -> str:
    for number, line in enumerate(data.split(b"\n"), 1):
        if line and not _LINE.fullmatch(line):
            return f"line {number} is no change: {json.dumps(line[:60].decode(errors='replace'))}"
    return "it does not end with a line"
