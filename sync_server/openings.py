"""The openings of sessions: what the server needs, besides its keys, to open what was sealed in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import bindparam, select

from schemas.envelope import is_opening, parse_opening
from schemas.problems import Refused
from sync_server.signatures import verify
from sync_server.store.engine import add_if_new, as_bytes
from sync_server.store.intake_tables import openings

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sync_server.enrol import Device
    from sync_server.store.engine import Tx


def set_apart(device: Device, parts: Iterable[bytes]) -> tuple[dict[str, bytes], list[bytes]]:
    """The openings among what a device brought, by hash, and the rest in its order.

    An opening that cannot be read, or that the device did not sign, is as one that did not come.
    """
    found: dict[str, bytes] = {}
    rest: list[bytes] = []
    for part in parts:
        if not is_opening(part):
            rest.append(part)
            continue
        try:
            opening = parse_opening(part)
        except Refused:
            continue
        mine = opening.header.device == device.device
        if mine and verify(device.key, opening.signature, opening.signed):
            found[opening.hash] = part
    return found, rest


def held(tx: Tx, device: Device, sessions: Iterable[str]) -> dict[str, bytes]:
    """Those of these sessions that are kept, by hash."""
    given = {"area": device.area, "device": device.device, "sessions": list(sessions)}
    return {name: as_bytes(data) for name, data in tx.execute(_HELD, given)}


_HELD = select(openings.c.hash, openings.c.data).where(
    openings.c.area == bindparam("area"),
    openings.c.device == bindparam("device"),
    openings.c.hash.in_(bindparam("sessions", expanding=True)),
)


def keep(tx: Tx, device: Device, brought: Mapping[str, bytes]) -> None:
    """In the same transaction as the envelopes that need them; what is here already stays."""
    add_if_new(
        tx,
        openings,
        [
            {"area": device.area, "device": device.device, "hash": name, "data": data}
            for name, data in sorted(brought.items())
        ],
    )
