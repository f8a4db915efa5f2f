"""What goes back to a device: keys, forms, and what happened in its area, by cursor."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from schemas.frames import digest
from sync_server import notices, registry
from sync_server.store import published

if TYPE_CHECKING:
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


def items(
    tx: Tx, desk: Desk, device: Device, after: int, page_bytes: int
) -> tuple[list[dict[str, Any]], int, bool]:
    """What the device has not seen: the items in order, the last sequence they reach, and whether
    there is more. A page has at least one item and stops at about `page_bytes`.
    """
    found = notices.since(tx, desk.at_rest, device.area, device.device, after, PAGE_ITEMS + 1)
    found += _changes(tx, desk, device.area, after, PAGE_ITEMS + 1)
    found.sort(key=lambda one: int(one["sequence"]))
    page: list[dict[str, Any]] = []
    size = 0
    for one in found:
        size += len(json.dumps(one, ensure_ascii=False))
        # Items of one sequence stay together: the cursor cannot point between them.
        apart = bool(page) and one["sequence"] != page[-1]["sequence"]
        if apart and (size > page_bytes or len(page) >= PAGE_ITEMS):
            return page, int(page[-1]["sequence"]), True
        page.append(one)
    return page, int(page[-1]["sequence"]) if page else after, False


def _changes(tx: Tx, desk: Desk, area: str, after: int, limit: int) -> list[dict[str, Any]]:
    return [
        {"sequence": sequence, "kind": "change", "body": body}
        for sequence, body in registry.changes_since(tx, desk, area, after, limit)
    ]
