"""Rounds on a memory stick: bundles taken in, receipts to carry back, relays of many."""

from __future__ import annotations

import hashlib
import io
from dataclasses import replace
from typing import TYPE_CHECKING, Any, BinaryIO

from schemas.bundle import (
    BLOB,
    BUNDLE,
    RELAY,
    REPLY,
    ROUND,
    SEALED_REPLY,
    WHOLE,
    Reader,
    Writer,
    split_blob,
)
from schemas.messages import pack_reply, unpack_round
from schemas.problems import Refused
from schemas.signing import REPLY_INFO, bundle_bytes
from sync_server import blobs, enrol, inspection, rounds
from sync_server.chain import current_epoch
from sync_server.signatures import seal_to_box, verify

if TYPE_CHECKING:
    from collections.abc import Mapping

    from schemas.messages import RoundReply
    from sync_server.desk import Desk
    from sync_server.enrol import Device


def take(desk: Desk, source: BinaryIO, out: BinaryIO) -> list[dict[str, Any]]:
    """Takes a bundle, or a relay of many, in, and writes what goes back to `out`.

    Returns for each bundle `{device, received, refused, parked, files, problem}`. Taking it again
    changes nothing and gives the same receipts. `source` can seek. Raises `Refused` where the file
    itself is damaged; one damaged bundle of a relay does not keep the others out.
    """
    reader = Reader(source)
    if reader.opening.kind == BUNDLE:
        return [_take_one(desk, reader, out)]
    if reader.opening.kind != RELAY:
        raise Refused("bundle-astray", "it holds receipts, to be carried back to a device")
    if reader.signature != bytes(64):
        raise Refused("bundle-cut", "a relay ends otherwise")
    writer = Writer(out, RELAY, {"made": desk.now_ms()})
    rows = []
    for kind, data in reader.frames():
        if kind == WHOLE:
            reply = io.BytesIO()
            try:
                rows.append(_take_one(desk, Reader(io.BytesIO(data)), reply))
                writer.add(WHOLE, reply.getvalue())
            except Refused as error:
                rows.append(_row("", problem=error.problem.sentence()))
    writer.end(lambda _: bytes(64))
    return rows


def _row(device: str, **more: Any) -> dict[str, Any]:
    empty = {"received": 0, "refused": 0, "parked": 0, "files": 0, "problem": ""}
    return {"device": device, **empty, **more}


def _take_one(desk: Desk, reader: Reader, out: BinaryIO) -> dict[str, Any]:
    header = reader.opening.header
    if reader.opening.kind != BUNDLE:
        raise Refused("bundle-astray", "not a device's bundle")
    if header.get("server") != desk.keys.fingerprint:
        raise Refused("bundle-foreign", foreign(desk, header))
    device = desk.store.read(lambda tx: enrol.find(tx, str(header.get("device"))))
    if not verify(device.key, reader.signature, bundle_bytes(reader.sha256)):
        raise Refused("bundle-cut", f"it is not as {device.device} signed it")
    opening = _reply_header(desk, device, reader.sha256)
    writer = Writer(out, REPLY, opening)
    if device.revoked_ms:
        # Its work until then is evidence, but comes only with an officer who asks for it.
        raise Refused("device-revoked", f"{device.device}: {device.revoked_why}")
    counted = _row(device.device)
    replies: list[RoundReply] = []
    whole: dict[str, int] = {}
    for kind, data in reader.frames():
        if kind == ROUND:
            asked, sealed = unpack_round(data)
            reply = rounds.meet(desk, device, asked, sealed, by="bundle")
            counted["received"] += sum(last - first + 1 for first, last in reply.held)
            states = desk.store.read(
                lambda tx, batch=asked.batch: inspection.states_of(tx, device, batch)  # type: ignore[misc]
            )
            counted["refused"] += len(reply.refused) + states.get("refused", 0)
            counted["parked"] += states.get("parked", 0)
            replies.append(reply)
        elif kind == BLOB:
            whole |= _take_blob(desk, device, data)
    counted["files"] = len(whole)
    if replies:
        # The files came after the rounds that name them, and a stick cannot be asked again.
        missing = desk.store.read(lambda tx: blobs.missing(tx, device.area, device.device))
        replies[-1] = replace(replies[-1], blobs={**missing, **whole})
    info = REPLY_INFO + b"\n" + writer.opening
    for reply in replies:
        writer.add(SEALED_REPLY, seal_to_box(device.box, pack_reply(reply), info))
    for blob_hash in sorted({one for reply in replies for one in _form_files(reply)}):
        content = desk.store.read(lambda tx, wanted=blob_hash: blobs.content(tx, "", wanted))  # type: ignore[misc]
        writer.add_blob(blob_hash, content)
    writer.end(lambda sha256: desk.sign(bundle_bytes(sha256)))
    return counted


def foreign(desk: Desk, header: Mapping[str, Any]) -> str:
    """Whose the bundle is, and who this is: fingerprints as `init` shows them, and our own name."""
    theirs, ours = str(header.get("server"))[:16], desk.keys.fingerprint[:16]
    return f"it is for server {theirs}, this is {desk.config.server} with {ours}"


def _reply_header(desk: Desk, device: Device, bundle: bytes) -> dict[str, Any]:
    return {
        "device": device.device,
        "server": desk.keys.fingerprint,
        "epoch": desk.store.read(current_epoch),
        "made": desk.now_ms(),
        "for": bundle.hex(),
    }


def _form_files(reply: RoundReply) -> set[str]:
    """The files of the forms that the reply names: the device may lack them and cannot ask."""
    return {
        one
        for form in reply.forms.get("list", ())
        for one in (form["hash"], *(file["hash"] for file in form["media"]))
    }


def _take_blob(desk: Desk, device: Device, data: bytes) -> dict[str, int]:
    """Takes an attachment in, in pieces; what is here already stays. Its hash and size, if whole now."""
    blob_hash, content = split_blob(data)
    try:
        found = desk.store.read(lambda tx: blobs.held(tx, device.area, blob_hash))
        if hashlib.sha256(content).hexdigest() != blob_hash or found.size != len(content):
            return {}
        while not found.whole:
            piece = content[found.have : found.have + blobs.MAX_READ]
            try:
                found = blobs.append_rest(desk, device.area, blob_hash, found.have, piece)
            except Refused as error:
                if error.problem.code != "blob-differs":
                    raise
                # What lay here before was wrong and is gone now; these bytes have their hash.
                found = desk.store.read(lambda tx: blobs.held(tx, device.area, blob_hash))
    except Refused as error:
        if error.problem.code != "blob-unknown":
            raise
        return {}  # No envelope that was taken names it.
    return {blob_hash: found.size}
