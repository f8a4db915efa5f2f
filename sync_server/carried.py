"""Bundles that a relay brings over the network, in pieces; each is taken in when it is whole."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from sqlalchemy import delete, insert, select

from schemas.bundle import passed
from schemas.problems import Refused
from schemas.signing import pass_bytes
from sync_server import blobs, bundles, enrol
from sync_server.signatures import verify
from sync_server.store.intake_tables import blob_parts, carried
from sync_server.store.intake_tables import blobs as blob_rows

if TYPE_CHECKING:
    from sync_server.blobs import Held
    from sync_server.desk import Desk
    from sync_server.enrol import Device
    from sync_server.store.engine import Tx

MAX_BUNDLE = 512 * 1024 * 1024


def held(desk: Desk, device: str, name: str) -> Held:
    """How much of the bundle is here. Raises `Refused("blob-unknown")` if nothing."""

    def look(tx: Tx) -> Held:
        area = enrol.find(tx, device).area
        _brought(tx, area, device, name)
        return blobs.held(tx, area, name)

    return desk.store.read(look)


def append(desk: Desk, device: str, name: str, size: int, offset: int, piece: bytes) -> Held:
    """Keeps a piece of a bundle. `name` is the SHA-256 in hex of the whole file of `size` bytes.

    Whoever carries it has no key, so nothing is kept whose beginning the device did not sign; and of
    each device only one bundle at a time. Raises `Refused`, as `blobs.append` does too.
    """
    who = desk.store.read(lambda tx: enrol.find(tx, device))
    if who.revoked_ms:
        raise Refused("device-revoked", f"{device}: {who.revoked_why}")
    if offset == 0:
        if size > MAX_BUNDLE:
            raise Refused("too-large", f"{size} bytes; the limit is {MAX_BUNDLE}")
        _check_pass(desk, who, piece)
        at_ms = desk.now_ms()
        desk.store.transaction(lambda tx: _begin(tx, who, name, size, at_ms), lock=who.area)
    else:
        desk.store.read(lambda tx: _brought(tx, who.area, device, name))
    return blobs.append(desk, who.area, name, offset, piece)


def take(desk: Desk, device: str, name: str) -> bytes:
    """Takes the whole bundle in and gives the device's reply, sealed to it. Again: the same receipts.

    Raises `Refused`.
    """

    def look(tx: Tx) -> bytes:
        area = enrol.find(tx, device).area
        _brought(tx, area, device, name)
        return blobs.content(tx, area, name)

    out = io.BytesIO()
    bundles.take(desk, io.BytesIO(desk.store.read(look)), out)
    return out.getvalue()


def _check_pass(desk: Desk, who: Device, piece: bytes) -> None:
    opening, signature = passed(piece)
    if opening.header.get("server") != desk.keys.fingerprint:
        raise Refused("bundle-foreign", bundles.foreign(desk, opening.header))
    mine = opening.header.get("device") == who.device
    if not mine or not verify(who.key, signature, pass_bytes(opening.raw)):
        raise Refused("signature-wrong", f"the bundle of {who.device}")


def _brought(tx: Tx, area: str, device: str, name: str) -> None:
    found = tx.execute(
        select(carried.c.hash).where(carried.c.area == area, carried.c.device == device)
    ).scalar()
    if found != name:
        raise Refused("blob-unknown", name)


def _begin(tx: Tx, who: Device, name: str, size: int, at_ms: int) -> None:
    """The device's bundle before this one makes room: what it brought is taken in, or comes again."""
    here = (carried.c.area == who.area) & (carried.c.device == who.device)
    former = tx.execute(select(carried.c.hash).where(here)).scalar()
    if former == name:
        return
    tx.execute(delete(carried).where(here))
    if former:
        for table in (blob_parts, blob_rows):
            tx.execute(delete(table).where(table.c.area == who.area, table.c.hash == former))
    row = {"area": who.area, "device": who.device, "hash": name, "size": size, "begun_ms": at_ms}
    tx.execute(insert(carried).values(row))
    blobs.expect(tx, who.area, [(name, size)])
