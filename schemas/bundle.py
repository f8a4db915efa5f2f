"""A round on a memory stick: how a bundle, its reply and a relay lie in a file."""

from __future__ import annotations

import hashlib
import io
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

from schemas.frames import canonical, load_json
from schemas.problems import Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MAGIC = b"ORSR"
VERSION = 1

BUNDLE, REPLY, RELAY = 1, 2, 3
"""What the file is: of a device, for a device, many of either."""

END, ROUND, BLOB, SEALED_REPLY, WHOLE, PASS = 0, 1, 2, 3, 4, 5
"""What a frame is: the end; a round's request; a blob (32-byte hash, bytes); a round's reply sealed
to the device's box; a whole bundle or reply; the device's signature over the file's opening, which lets
a server know the beginning of a bundle that comes in pieces."""

MAX_HEADER = 65_536
MAX_FRAME = 256 * 1024 * 1024

_START = struct.Struct(">4sBBI")
_FRAME = struct.Struct(">BQ")
_SIGNATURE = 64


@dataclass(frozen=True, slots=True)
class Opening:
    """The first bytes of the file: its kind, its header, and their bytes (for HPKE's info)."""

    kind: int
    header: dict[str, Any]
    raw: bytes


def start(kind: int, header: dict[str, Any]) -> bytes:
    """The bytes before the first frame."""
    text = canonical(header)
    return _START.pack(MAGIC, VERSION, kind, len(text)) + text


def frame(kind: int, data: bytes) -> bytes:
    return _FRAME.pack(kind, len(data)) + data


def blob(blob_hash: str, data: bytes) -> bytes:
    """A BLOB frame. `blob_hash` is the SHA-256 in hex of `data`."""
    return frame(BLOB, bytes.fromhex(blob_hash) + data)


def split_blob(data: bytes) -> tuple[str, bytes]:
    """The hash in hex and the bytes of a BLOB frame's content."""
    return data[:32].hex(), data[32:]


class Writer:
    """Writes a file of frames and signs its end. `sign` takes the SHA-256 of everything before."""

    def __init__(self, out: BinaryIO, kind: int, header: dict[str, Any]) -> None:
        self._out = out
        self._hash = hashlib.sha256()
        self.opening = start(kind, header)
        self._write(self.opening)

    def _write(self, data: bytes) -> None:
        self._hash.update(data)
        self._out.write(data)

    def add(self, kind: int, data: bytes) -> None:
        if len(data) > MAX_FRAME:
            raise ValueError(f"a frame has at most {MAX_FRAME} bytes")
        self._write(frame(kind, data))

    def add_blob(self, blob_hash: str, data: bytes) -> None:
        self._write(blob(blob_hash, data))

    def end(self, sign: Callable[[bytes], bytes]) -> None:
        """`sign` gives 64 bytes: Ed25519 over `bundle_bytes(sha256)`; zeros for a relay."""
        self._write(frame(END, b""))
        self._out.write(sign(self._hash.digest()))


class Reader:
    """Reads a file of frames twice over: once to check it whole, then frame by frame.

    `file` can seek. Raises `Refused("bundle-cut")` or `Refused("malformed")`; nothing is yielded
    from a file whose end is missing.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.opening, self.sha256, self.signature = self._check()

    def _exactly(self, length: int, digest: Any) -> bytes:
        data = self._file.read(length)
        if len(data) != length:
            raise Refused("bundle-cut", f"it ends at byte {self._file.tell()}")
        digest.update(data)
        return data

    def _open(self, digest: Any) -> Opening:
        self._file.seek(0)
        begun = self._exactly(_START.size, digest)
        magic, version, kind, length = _START.unpack(begun)
        if magic != MAGIC:
            raise Refused("malformed", "not a bundle, a reply or a relay")
        if version != VERSION or kind not in (BUNDLE, REPLY, RELAY):
            raise Refused("protocol-unknown", f"a bundle of version {version}, kind {kind}")
        if length > MAX_HEADER:
            raise Refused("too-large", "the bundle's header")
        text = self._exactly(length, digest)
        return Opening(kind, load_json(text), begun + text)

    def _next(self, digest: Any) -> tuple[int, int]:
        kind, length = _FRAME.unpack(self._exactly(_FRAME.size, digest))
        if length > MAX_FRAME:
            raise Refused("too-large", f"a frame of {length} bytes; the limit is {MAX_FRAME}")
        return int(kind), int(length)

    def _check(self) -> tuple[Opening, bytes, bytes]:
        digest = hashlib.sha256()
        opening = self._open(digest)
        while True:
            kind, length = self._next(digest)
            if kind == END:
                break
            while length:
                length -= len(self._exactly(min(length, 1 << 20), digest))
        signature = self._exactly(_SIGNATURE, hashlib.sha256())
        if self._file.read(1):
            raise Refused("bundle-cut", "something follows its end")
        return opening, digest.digest(), signature

    def frames(self) -> Iterator[tuple[int, bytes]]:
        """(kind, content) of each frame but the end; unknown kinds are for the caller to skip."""
        digest = hashlib.sha256()
        self._open(digest)
        while True:
            kind, length = self._next(digest)
            if kind == END:
                return
            yield kind, self._exactly(length, digest)


def passed(beginning: bytes) -> tuple[Opening, bytes]:
    """The opening of a bundle and the PASS that follows it, of the file's first bytes.

    Raises `Refused` where they are not there.
    """
    source = io.BytesIO(beginning)
    magic, version, kind, length = _START.unpack(source.read(_START.size).ljust(_START.size))
    if (magic, version, kind) != (MAGIC, VERSION, BUNDLE) or length > MAX_HEADER:
        raise Refused("malformed", "not the beginning of a bundle")
    text = source.read(length)
    frame_kind, size = _FRAME.unpack(source.read(_FRAME.size).ljust(_FRAME.size))
    signature = source.read(_SIGNATURE)
    if (frame_kind, size, len(signature)) != (PASS, _SIGNATURE, _SIGNATURE):
        raise Refused("malformed", "the bundle does not begin with its pass")
    return Opening(kind, load_json(text), beginning[: _START.size + length]), signature
