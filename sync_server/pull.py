"""What goes back to a device: keys, forms, and what happened in its area, by cursor."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from schemas.columns import LAYOUT
from schemas.frames import digest
from schemas.pages import in_lines
from sync_server import notices, pages
from sync_server.store import published

if TYPE_CHECKING:
    from schemas.pages import Page
    from sync_server.desk import Desk
    from sync_server.enrol import Device
    from sync_server.store.engine import Tx

PAGE_ITEMS = 1000
_LINES_TO_COLUMNS = 4
"""About how many times the bytes of columns the same changes take in lines."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far a device has come, in the server's own authenticated words.

    `held_to` is what the server held of the device's chain when it gave the cursor: together with
    `sequence` it proves, after a restore, that there once was more.
    """

    epoch: str
    sequence: int = 0
    held_to: int = 0

    def token(self, desk: Desk, device: str) -> str:
        said = f"{self.epoch}.{self.sequence}.{self.held_to}"
        return f"{said}.{desk.keys.mac(f'{device}.{said}'.encode())}"

    @staticmethod
    def parse(desk: Desk, device: str, token: str) -> Cursor | None:
        """None where this server did not give the token to this device."""
        said, _, mac = token.rpartition(".")
        if not said or desk.keys.mac(f"{device}.{said}".encode()) != mac:
            return None
        epoch, sequence, held_to = said.split(".")
        return Cursor(epoch, int(sequence), int(held_to))


def keys(desk: Desk, known: str) -> dict[str, Any]:
    """The programme's public keys, {} if the device has them."""
    found = desk.keys.published()
    mark = digest(found)
    return {} if mark == known else {"digest": mark, "list": found}


def forms(tx: Tx, known: str) -> dict[str, Any]:
    """The forms in use, {} if the device has the list."""
    found = [one.listed() for one in published.all_of(tx, current=True)]
    mark = digest(found)
    return {} if mark == known else {"digest": mark, "list": found}


@dataclass(frozen=True, slots=True)
class News:
    """What the device has not seen: changes in pages, and items besides, up to `reached`."""

    items: tuple[dict[str, Any], ...]
    pages: tuple[Page, ...]
    reached: int
    more: bool
    fresh: tuple[Page, ...]
    """Pages that were made for it and should be kept."""


def news(
    tx: Tx, desk: Desk, device: Device, after: int, last: int, page_bytes: int, layout: int = LAYOUT
) -> News:
    """What happened in the area since `after`, up to `last`, its last committed sequence; in order:
    about `page_bytes` of it, and something at least. `layout` is what the device can read.

    The cursor cannot point between what has one sequence.
    """
    if after >= last:
        return News((), (), after, more=False, fresh=())
    found = notices.since(tx, desk.at_rest, device.area, device.device, after, PAGE_ITEMS + 1)
    until, size = last, 0
    for number, one in enumerate(found):
        size += len(json.dumps(one, ensure_ascii=False))
        if number and (size > page_bytes or number == PAGE_ITEMS):
            until = int(found[number - 1]["sequence"])
            break
    old = layout < LAYOUT
    most = page_bytes // _LINES_TO_COLUMNS if old else page_bytes
    told = pages.between(tx, desk, device.area, after, until, most)
    items = tuple(one for one in found if int(one["sequence"]) <= told.reached)
    sent = tuple(map(in_lines, told.pages)) if old else told.pages
    return News(items, sent, told.reached, more=told.reached < last, fresh=told.fresh)
