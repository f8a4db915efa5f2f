"""A device's backup taken in: the unsent work of a laptop that broke, exactly once."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO

from sqlalchemy import func, select

from schemas.envelope import (
    MAX_OPENING,
    SIGNATURE_BYTES,
    backup_info,
    backup_signed,
    envelope_hash,
    items,
    parse_backup_start,
)
from schemas.frames import MAX_BATCH, MAX_ENVELOPE, canonical, load_json
from schemas.problems import Refused
from sync_server import blobs, enrol, inspection
from sync_server.intake import take_batch
from sync_server.signatures import opened_pieces, verify
from sync_server.store.intake_tables import envelopes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sync_server.desk import Desk
    from sync_server.enrol import Device

BEGINNING = 128 * 1024
DRAFT_MAX = 64 * 1024 * 1024


@dataclass(slots=True)
class Recovered:
    """What a backup held, and what came of it. `drafts`: file name -> bytes, for a person."""

    device: str
    received: int = 0
    """Entries that the server has now and had not before."""
    known: int = 0
    """Entries that it had already, by a sync, a bundle or the same backup."""
    refused: int = 0
    parked: int = 0
    files: int = 0
    drafts: dict[str, bytes] = field(default_factory=dict)

    def listed(self) -> dict[str, Any]:
        return {
            "device": self.device,
            "received": self.received,
            "known": self.known,
            "refused": self.refused,
            "parked": self.parked,
            "files": self.files,
            "drafts": sum(1 for name in self.drafts if name.endswith(".json")),
        }


def recover(desk: Desk, source: BinaryIO) -> Recovered:
    """Takes a backup's envelopes and sealed files in, as if the device had sent them.

    What the server has already changes nothing. `source` can seek. The backup of a revoked device
    is taken too: an officer at the server's own command line asks for it. Raises `Refused`, with
    `backup-unfit` or `backup-foreign` where it is no whole backup of a device of this server.
    """
    source.seek(0, os.SEEK_END)
    size = source.tell()
    source.seek(0)
    try:
        begun = parse_backup_start(source.read(BEGINNING))
    except Refused as error:
        if error.problem.code != "envelope-malformed":
            raise
        raise Refused("backup-unfit", error.problem.detail) from error
    header = begun.header
    if header.server != desk.keys.fingerprint:
        raise Refused("backup-foreign", f"server {header.server[:16]}")
    device = desk.store.read(lambda tx: enrol.find(tx, header.device))
    if size < begun.chunks_at + SIGNATURE_BYTES:
        raise Refused("backup-unfit", f"it ends at byte {size}")
    _check_signature(source, size, device)
    key = desk.keys.open(header.key, begun.wrapped, backup_info(begun.prefix))
    # Twice: the first time nothing is kept, so that a backup that breaks off leaves nothing behind.
    for _, read in _items(source, begun.chunks_at, size, key):
        while read(BEGINNING):
            pass
    found = Recovered(device.device)
    _take_envelopes(desk, device, found, lambda: _items(source, begun.chunks_at, size, key))
    for head, read in _items(source, begun.chunks_at, size, key):
        if head["kind"] == "attachment":
            found.files += _take_file(desk, device, str(head.get("hash")), read)
        elif head["kind"] == "draft":
            found.drafts[f"{_name(head, 'draft')}.json"] = _draft(head, read)
        elif head["kind"] == "draft-file":
            found.drafts[f"{_name(head, 'draft')}-{_name(head, 'name')}"] = _all(read)
    return found


def _check_signature(source: BinaryIO, size: int, device: Device) -> None:
    source.seek(0)
    digest = hashlib.sha256()
    left = size - SIGNATURE_BYTES
    while left:
        data = source.read(min(left, 1 << 20))
        digest.update(data)
        left -= len(data)
    if not verify(device.key, source.read(SIGNATURE_BYTES), backup_signed(digest.digest())):
        raise Refused("backup-unfit", f"the signature of {device.device} does not fit it")


def _items(
    source: BinaryIO, start: int, size: int, key: bytes
) -> Iterator[tuple[dict[str, Any], Callable[[int], bytes]]]:
    source.seek(start)
    pieces = opened_pieces(key, size - start - SIGNATURE_BYTES, source.read)
    rest = b""

    def read(most: int) -> bytes:
        nonlocal rest
        while not rest:
            found = next(pieces, None)
            if found is None:
                return b""
            rest = found
        data, rest = rest[:most], rest[most:]
        return data

    return items(read)


def _take_envelopes(
    desk: Desk,
    device: Device,
    found: Recovered,
    again: Callable[[], Iterator[tuple[dict[str, Any], Callable[[int], bytes]]]],
) -> None:
    def flush(sealed: list[bytes]) -> None:
        # The batch's name is worked out from what is in it: the same backup, the same batch.
        name = hashlib.sha256(b"".join(sealed)).hexdigest()[:40]
        batch = f"backup-{name}"
        known = _held(desk, device, sealed)
        said = take_batch(desk, device, batch, [*opening, *sealed], by="backup")
        inspection.soon(desk, device)
        states = desk.store.read(lambda tx: inspection.states_of(tx, device, batch))
        found.received += said.count - known
        found.known += known
        found.refused += len(said.refused) + states.get("refused", 0)
        found.parked += states.get("parked", 0)

    opening = [_all(read, MAX_OPENING) for head, read in again() if head["kind"] == "opening"]
    held: list[bytes] = []
    for head, read in again():
        if head["kind"] == "envelope":
            held.append(_all(read, MAX_ENVELOPE))
            if len(held) == MAX_BATCH:
                flush(held)
                held = []
    if held:
        flush(held)


def _held(desk: Desk, device: Device, sealed: list[bytes]) -> int:
    """How many of these the server holds already."""
    asked = select(func.count()).where(
        envelopes.c.area == device.area,
        envelopes.c.device == device.device,
        envelopes.c.hash.in_({envelope_hash(one) for one in sealed}),
    )
    return desk.store.read(lambda tx: tx.execute(asked).scalar_one())


def _take_file(desk: Desk, device: Device, blob_hash: str, read: Callable[[int], bytes]) -> int:
    try:
        now = desk.store.read(lambda tx: blobs.held(tx, device.area, blob_hash))
    except Refused:
        return 0  # No envelope that was taken names it.
    at, before = 0, now.whole
    while not now.whole and (data := read(blobs.MAX_READ)):
        # What the server has of it already is passed over, so that an upload cut short goes on.
        now = blobs.append_rest(desk, device.area, blob_hash, at, data)
        at += len(data)
    return int(now.whole and not before)


def _draft(head: dict[str, Any], read: Callable[[int], bytes]) -> bytes:
    # The answers are a JSON list; `load_json` takes objects, and checks it on the way.
    answers = load_json(b'{"answers":' + _all(read) + b"}")
    return canonical({**head, **answers})


def _all(read: Callable[[int], bytes], most: int = DRAFT_MAX) -> bytes:
    out = bytearray()
    while data := read(BEGINNING):
        out += data
        if len(out) > most:
            raise Refused("too-large", f"an item of the backup; the limit is {most} bytes")
    return bytes(out)


def _name(head: dict[str, Any], key: str) -> str:
    """A file name that stays in its folder, whatever the backup says."""
    letters = "".join(one if one.isalnum() or one in "._-" else "_" for one in str(head.get(key)))
    return letters.lstrip(".")[:100] or "unnamed"
