"""What goes back to a device: keys, forms, and what happened in its area, by cursor."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from schemas.frames import digest
from sync_server import notices, pages
from sync_server.store import published

if TYPE_CHECKING:
    from schemas.pages import Page
    from sync_server.desk import Desk
    from sync_server.enrol import Device
    from sync_server.store.engine import Tx

PAGE_ITEMS = 1000


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


def news(tx: Tx, desk: Desk, device: Device, after: int, last: int, page_bytes: int) -> News:
    """What happened in the area since `after`, up to `last`, its last committed sequence; in order:
    about `page_bytes` of it, and something at least.

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
    told = pages.between(tx, desk, device.area, after, until, page_bytes)
    items = tuple(one for one in found if int(one["sequence"]) <= told.reached)
    return News(items, told.pages, told.reached, more=told.reached < last, fresh=told.fresh)
