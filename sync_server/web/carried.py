"""The relays' door: bundles over the network from whoever carries them, who has no key.

What a device signed is in the bundle, and what the server signs is in the reply: nothing here is
believed or shown to the carrier.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from flask import Blueprint, Response, request

from schemas.frames import MAX_BODY, pack
from schemas.problems import Problem, Refused
from sync_server import carried
from sync_server.store.engine import StorageFull, Unavailable

if TYPE_CHECKING:
    from sync_server.blobs import Held
    from sync_server.desk import Desk

_NAME = re.compile(r"[0-9a-f]{64}", re.ASCII)
_NUMBER = re.compile(r"\d{1,15}", re.ASCII)


def blueprint(desk: Desk) -> Blueprint:
    """The routes under /sync/v1/bundles."""
    door = Blueprint("carried", __name__, url_prefix="/sync/v1/bundles")

    @door.errorhandler(Refused)
    def _refused(error: Refused) -> Response:
        return _told(error.problem)

    @door.errorhandler(StorageFull)
    def _full(_: StorageFull) -> Response:
        return _told(Problem("storage-full"))

    @door.errorhandler(Unavailable)
    def _busy(_: Unavailable) -> Response:
        return _told(Problem("busy"))

    @door.patch("/<device>/<name>")
    def _patch(device: str, name: str) -> Response:
        _named(name)
        if (request.content_length or 0) > MAX_BODY:
            raise Refused("too-large", f"{request.content_length} bytes")
        size, offset = _number("Upload-Length"), _number("Upload-Offset")
        piece = request.get_data(cache=False)
        return _offset(carried.append(desk, device, name, size, offset, piece))

    @door.route("/<device>/<name>", methods=["GET", "HEAD"])
    def _get(device: str, name: str) -> Response:
        _named(name)
        if request.method == "HEAD":
            return _offset(carried.held(desk, device, name))
        return Response(carried.take(desk, device, name), mimetype="application/octet-stream")

    return door


def _named(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise Refused("blob-unknown", "a hash has 64 hex digits")


def _number(header: str) -> int:
    told = request.headers.get(header, "")
    if not _NUMBER.fullmatch(told):
        raise Refused("malformed", f"{header} is not a number of bytes")
    return int(told)


def _offset(found: Held) -> Response:
    reply = Response(status=204)
    reply.headers["Upload-Offset"] = str(found.have)
    return reply


def _told(problem: Problem) -> Response:
    reply = Response(pack(problem.as_json()), status=problem.status, mimetype="application/zstd")
    if problem.code == "blob-offset":
        reply.headers["Upload-Offset"] = problem.detail
    return reply
