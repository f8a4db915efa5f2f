"""Files by the hash of their bytes, taken in piece by piece: sealed attachments, form files."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, delete, insert, select, update

from schemas.problems import Refused
from sync_server.store.engine import add_if_new, as_bytes
from sync_server.store.intake_tables import attachments, blob_parts, blobs

if TYPE_CHECKING:
    from sync_server.desk import Desk
    from sync_server.store.engine import Tx

MAX_CHUNK = 4 * 1024 * 1024
"""Bytes of one PATCH."""
MAX_READ = 1024 * 1024
"""Bytes of one GET."""


@dataclass(frozen=True, slots=True)
class Held:
    """How much of a file is here."""

    size: int
    have: int
    whole: bool


def expect(tx: Tx, area: str, named: list[tuple[str, int]]) -> None:
    """Makes room for (hash, size) that an envelope names; what is here already stays."""
    once = {
        one: {"area": area, "hash": one, "size": size, "have": 0, "whole": False}
        for one, size in named
    }
    add_if_new(tx, blobs, list(once.values()))


def name(tx: Tx, named: list[dict[str, Any]]) -> None:
    """Notes which envelopes name which files: rows of `attachments`."""
    add_if_new(tx, attachments, named)


def held(tx: Tx, area: str, blob_hash: str) -> Held:
    """Raises `Refused("blob-unknown")`."""
    row = tx.execute(select(blobs).where(blobs.c.area == area, blobs.c.hash == blob_hash)).first()
    if row is None:
        raise Refused("blob-unknown", blob_hash)
    return Held(row.size, row.have, row.whole)


def append(desk: Desk, area: str, blob_hash: str, offset: int, data: bytes) -> Held:
    """Takes the bytes at `offset` in, durably, and says how much is here then.

    Bytes that are here already change nothing. Raises `Refused` with `blob-unknown`,
    `blob-offset` (its detail is the right offset), `blob-differs` (it starts at 0 again).
    """
    if len(data) > MAX_CHUNK:
        raise Refused("too-large", f"a piece of {len(data)} bytes; the limit is {MAX_CHUNK}")

    def work(tx: Tx) -> Held | None:
        now = held(tx, area, blob_hash)
        if now.whole or (offset < now.have and offset + len(data) <= now.have):
            return now
        if offset != now.have or not data:
            raise Refused("blob-offset", str(now.have))
        if offset + len(data) > now.size:
            raise Refused("too-large", f"the file has {now.size} bytes")
        here = (blobs.c.area == area) & (blobs.c.hash == blob_hash)
        tx.execute(insert(blob_parts).values(area=area, hash=blob_hash, at=offset, data=data))
        have = offset + len(data)
        whole = have == now.size
        if whole and _hash(tx, area, blob_hash) != blob_hash:
            tx.execute(
                delete(blob_parts).where(blob_parts.c.area == area, blob_parts.c.hash == blob_hash)
            )
            tx.execute(update(blobs).where(here).values(have=0))
            return None
        tx.execute(update(blobs).where(here).values(have=have, whole=whole))
        return Held(now.size, have, whole)

    found = desk.store.transaction(work, lock=f"blob {blob_hash}")
    if found is None:
        raise Refused("blob-differs", blob_hash)
    return found


def append_rest(desk: Desk, area: str, blob_hash: str, at: int, data: bytes) -> Held:
    """As `append`, what of `data` (bytes of the file from `at` on) is not here yet, whoever brings the
    same file meanwhile by another way.
    """
    while True:
        now = desk.store.read(lambda tx: held(tx, area, blob_hash))
        if now.whole or not at <= now.have < at + len(data):
            return now
        try:
            return append(desk, area, blob_hash, now.have, data[now.have - at :])
        except Refused as error:
            if error.problem.code != "blob-offset":
                raise


def _hash(tx: Tx, area: str, blob_hash: str) -> str:
    digest = hashlib.sha256()
    for (at,) in tx.execute(
        select(blob_parts.c.at)
        .where(blob_parts.c.area == area, blob_parts.c.hash == blob_hash)
        .order_by(blob_parts.c.at)
    ).all():
        digest.update(_part(tx, area, blob_hash, at))
    return digest.hexdigest()


def _part(tx: Tx, area: str, blob_hash: str, at: int) -> bytes:
    return as_bytes(
        tx.execute(
            select(blob_parts.c.data).where(
                blob_parts.c.area == area, blob_parts.c.hash == blob_hash, blob_parts.c.at == at
            )
        ).scalar_one()
    )


def keep(tx: Tx, area: str, data: bytes) -> str:
    """Keeps a whole file and returns its hash."""
    blob_hash = hashlib.sha256(data).hexdigest()
    row = {"area": area, "hash": blob_hash, "size": len(data), "have": len(data), "whole": True}
    add_if_new(tx, blobs, [row])
    parts = [
        {"area": area, "hash": blob_hash, "at": at, "data": data[at : at + MAX_READ]}
        for at in range(0, len(data), MAX_READ)
    ]
    add_if_new(tx, blob_parts, parts)
    return blob_hash


def content(tx: Tx, area: str, blob_hash: str) -> bytes:
    """All bytes of a whole file. Raises `Refused("blob-unknown")`."""
    found = held(tx, area, blob_hash)
    if not found.whole:
        raise Refused("blob-unknown", f"{blob_hash} is not whole yet")
    return piece(tx, area, blob_hash, 0, found.size)


def piece(tx: Tx, area: str, blob_hash: str, start: int, end: int) -> bytes:
    """The bytes from `start` up to `end` that are here."""
    out = bytearray()
    places = tx.execute(
        select(blob_parts.c.at)
        .where(blob_parts.c.area == area, blob_parts.c.hash == blob_hash, blob_parts.c.at < end)
        .order_by(blob_parts.c.at)
    ).scalars()
    ats = list(places)
    first = max((at for at in ats if at <= start), default=0)
    for at in ats:
        if at >= first:
            data = _part(tx, area, blob_hash, at)
            out += data[max(0, start - at) : max(0, end - at)]
    return bytes(out)


def missing(tx: Tx, area: str, device: str, limit: int = 500) -> dict[str, int]:
    """The device's attachments that are not whole yet: hash -> bytes here, smallest first."""
    found = tx.execute(_MISSING, {"area": area, "device": device, "most": limit})
    return {row.hash: row.have for row in found}


_MISSING = (
    select(blobs.c.hash, blobs.c.have)
    .join(
        attachments,
        (attachments.c.area == blobs.c.area) & (attachments.c.hash == blobs.c.hash),
    )
    .where(
        blobs.c.area == bindparam("area"),
        attachments.c.device == bindparam("device"),
        blobs.c.whole.is_(False),
    )
    .order_by(blobs.c.size, blobs.c.hash)
    .limit(bindparam("most"))
)


def hash_of(data: bytes) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(data).hexdigest()
