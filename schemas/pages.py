"""A page: some changes of one area's registry, in order, as the server keeps and the device stores them.

    page = zstd(line*)     one frame (RFC 8878)
    line = sequence in decimal | space | change | newline

A change is the compact JSON of `conflict.to_json`, byte for byte as the registry holds it: it begins
with `{"r":"` and the record's id, and holds no newline. Sequences grow from line to line.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from schemas.frames import MAX_MESSAGE, squeeze, unsqueeze
from schemas.problems import Refused

if TYPE_CHECKING:
    from collections.abc import Iterable

_LINE = re.compile(rb'^([1-9][0-9]{0,15}) (\{"r":"([!#-\[\]-~]{1,200})".*\})$', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Page:
    """Every change of the area with a sequence over `after` and up to `last`, packed."""

    after: int
    last: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Line:
    """One change, not parsed, and the record that it is about."""

    sequence: int
    record: str
    change: bytes


def pack_page(changes: Iterable[tuple[int, bytes]]) -> bytes:
    """Changes by their sequence, in order."""
    return squeeze(b"".join([b"%d %b\n" % one for one in changes]))


def unpack_page(page: Page) -> list[Line]:
    """The page's lines. What is inside a change is not looked at.

    Raises `Refused` with `too-large`, before much more than is allowed is held, or `malformed`,
    naming the place.
    """
    data = unsqueeze(page.data, MAX_MESSAGE)
    lines = [
        Line(int(sequence), record.decode(), change)
        for sequence, change, record in _LINE.findall(data)
    ]
    if len(lines) != data.count(b"\n") or not data.endswith(b"\n"):
        raise Refused("malformed", f"a page of changes after {page.after}: {_odd_line(data)}")
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


def _odd_line(data: bytes) -> str:
    for number, line in enumerate(data.split(b"\n"), 1):
        if line and not _LINE.fullmatch(line):
            return f"line {number} is no change: {json.dumps(line[:60].decode(errors='replace'))}"
    return "it does not end with a line"
