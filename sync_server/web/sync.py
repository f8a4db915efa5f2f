"""The devices' door: enrolment, rounds and blobs over HTTP; requests and replies are signed."""

from __future__ import annotations

import re
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from flask import Blueprint, Response, current_app, request

from schemas.frames import MAX_BODY, pack
from schemas.messages import pack_enrol_reply, pack_reply, unpack_enrol, unpack_round
from schemas.problems import Problem, Refused
from schemas.signing import REPLY_HEADER, Authorization, raw, reply_bytes, request_bytes, text
from schemas.ticket import PREFIX_DIGITS
from sync_server import blobs, enrol, rounds
from sync_server.signatures import verify
from sync_server.store.engine import StorageFull, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from sync_server.desk import Desk
    from sync_server.enrol import Device
    from sync_server.store.engine import Tx

_RANGE = re.compile(r"bytes=(\d{1,15})-(\d{1,15})?", re.ASCII)
_HASH = re.compile(r"[0-9a-f]{64}", re.ASCII)
_OFFSET = re.compile(r"\d{1,15}", re.ASCII)
MESSAGE = "application/zstd"


def blueprint(desk: Desk) -> Blueprint:
    """The routes under /sync/v1."""
    door = Blueprint("sync", __name__, url_prefix="/sync/v1")

    def answer(act: Callable[[Authorization, bytes], Response]) -> Response:
        """Acts, and signs whatever comes of it."""
        given = ""
        body = b""
        try:
            told = Authorization.parse(request.headers.get("Authorization", ""))
            given = told.signature
            body = _body()
            reply = act(told, body)
        except Refused as error:
            reply = _refusal(error.problem)
        except StorageFull:
            reply = _refusal(Problem("storage-full"))
        except Unavailable:
            reply = _refusal(Problem("busy"))
        except Exception as error:  # noqa: BLE001  whoever asked is told, and the log has the place
            current_app.logger.error(  # noqa: TRY400  a traceback may quote what people answered
                "%s failed: %s", request.path, place_of(error)
            )
            reply = _refusal(Problem("busy"))
        sent = b"" if request.method == "HEAD" else reply.get_data()
        signed = desk.sign(reply_bytes(given, reply.status_code, sent))
        reply.headers[REPLY_HEADER] = text(signed)
        return reply

    def known(told: Authorization, body: bytes) -> Device:
        """Who is at the door. Raises `Refused`."""
        device = desk.store.read(lambda tx: enrol.find(tx, told.device))
        _check(told, body, device.key, desk.keys.fingerprint)
        if device.revoked_ms:
            raise Refused("device-revoked", device.revoked_why)
        return device

    @door.post("/enrol")
    def _enrol() -> Response:
        def act(told: Authorization, body: bytes) -> Response:
            asked = unpack_enrol(body)
            _check(told, body, asked.key, desk.keys.fingerprint[:PREFIX_DIGITS])
            return _message(pack_enrol_reply(enrol.enrol(desk, asked)))

        return answer(act)

    @door.post("/round")
    def _round() -> Response:
        def act(told: Authorization, body: bytes) -> Response:
            device = known(told, body)
            asked, sealed = unpack_round(body)
            reply = rounds.meet(desk, device, asked, sealed, clock_ms=told.time_ms)
            return _message(pack_reply(reply))

        return answer(act)

    @door.route("/blobs/<blob_hash>", methods=["GET", "HEAD"])
    def _get(blob_hash: str) -> Response:
        def act(told: Authorization, body: bytes) -> Response:
            device = known(told, body)
            _named(blob_hash)
            if request.method == "HEAD":
                found = desk.store.read(lambda tx: blobs.held(tx, device.area, blob_hash))
                return _offset(200, found)
            return _piece(desk, blob_hash)

        return answer(act)

    @door.patch("/blobs/<blob_hash>")
    def _patch(blob_hash: str) -> Response:
        def act(told: Authorization, body: bytes) -> Response:
            device = known(told, body)
            _named(blob_hash)
            offset = request.headers.get("Upload-Offset", "")
            if not _OFFSET.fullmatch(offset):
                raise Refused("malformed", "Upload-Offset is not a number of bytes")
            found = blobs.append(desk, device.area, blob_hash, int(offset), body)
            return _offset(204, found)

        return answer(act)

    return door


def place_of(error: BaseException) -> str:
    """What kind of exception, and where in the code: never its words, which may quote answers."""
    frames = traceback.extract_tb(error.__traceback__)[-6:]
    where = " < ".join(f"{Path(one.filename).name}:{one.lineno}" for one in reversed(frames))
    return f"{type(error).__name__} at {where}"


def _body() -> bytes:
    length = request.content_length
    if length is not None and length > MAX_BODY:
        raise Refused("too-large", f"{length} bytes; the limit is {MAX_BODY}")
    body = request.get_data(cache=False)
    if len(body) > MAX_BODY:
        raise Refused("too-large", f"{len(body)} bytes; the limit is {MAX_BODY}")
    return body


def _check(told: Authorization, body: bytes, key: bytes, server: str) -> None:
    path = request.full_path if request.query_string else request.path
    signed = request_bytes(request.method, path, body, told.time_ms, server)
    if not verify(key, raw(told.signature), signed):
        raise Refused("signature-wrong")


def _named(blob_hash: str) -> None:
    if not _HASH.fullmatch(blob_hash):
        raise Refused("blob-unknown", "a hash has 64 hex digits")


def _message(body: bytes) -> Response:
    return Response(body, mimetype=MESSAGE)


def _refusal(problem: Problem) -> Response:
    reply = Response(pack(problem.as_json()), status=problem.status, mimetype=MESSAGE)
    if problem.code == "blob-offset":
        reply.headers["Upload-Offset"] = problem.detail
    if problem.kind.again:
        reply.headers["Retry-After"] = "5"
    return reply


def _offset(status: int, found: blobs.Held) -> Response:
    reply = Response(status=status)
    reply.headers["Upload-Offset"] = str(found.have)
    reply.headers["Upload-Length"] = str(found.size)
    return reply


def _piece(desk: Desk, blob_hash: str) -> Response:
    asked = _RANGE.fullmatch(request.headers.get("Range", "bytes=0-"))
    if not asked:
        raise Refused("malformed", "Range is not bytes=N- or bytes=N-M")
    start = int(asked[1])

    def read(tx: Tx) -> tuple[bytes, int]:
        # Area "": forms and their media. What people sent never leaves by this door.
        found = blobs.held(tx, "", blob_hash)
        end = min(found.size, start + blobs.MAX_READ, int(asked[2]) + 1 if asked[2] else found.size)
        return blobs.piece(tx, "", blob_hash, start, end), found.size

    data, size = desk.store.read(read)
    if start > size or (start == size and size):
        raise Refused("malformed", f"the file has {size} bytes")
    reply = Response(data, status=206, mimetype="application/octet-stream")
    last = start + len(data) - 1
    reply.headers["Content-Range"] = f"bytes {start}-{last}/{size}" if data else f"bytes */{size}"
    return reply
