"""How a message lies in bytes: JSON, then binary parts, compressed, and all of it bounded."""

from __future__ import annotations

import hashlib
import json
import struct
import threading
from typing import Any

import zstandard

from schemas.problems import Refused

MAX_BODY = 8 * 1024 * 1024
"""Bytes of one compressed message."""
MAX_MESSAGE = 32 * 1024 * 1024
"""Bytes of one message after decompression."""
MAX_ENVELOPE = 2 * 1024 * 1024
"""Bytes of one sealed submission (its attachments travel apart)."""
MAX_PAYLOAD = 16 * 1024 * 1024
"""Bytes of one opened submission after decompression."""
MAX_BATCH = 500
"""Envelopes in one batch."""
MAX_PARTS = 2 * MAX_BATCH
"""Parts of one message: envelopes, and the openings of the sessions they were sealed in."""
MAX_DEPTH = 32
"""Levels of lists and objects in a message's JSON."""

_LENGTH = struct.Struct(">I")
_LEVEL = 3
_LEVEL_PARTS = 1
"""Parts are sealed or compressed already: trying harder takes twice the time and brings nothing."""
_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)
_COMPRESSORS = threading.local()


def canonical(value: object) -> bytes:
    """JSON with sorted keys, no spaces, UTF-8: the same value gives the same bytes."""
    return _CANONICAL.encode(value).encode()


def digest(value: object) -> str:
    """The first 16 hex digits of the SHA-256 of the canonical JSON: tells two lists apart."""
    return hashlib.sha256(canonical(value)).hexdigest()[:16]


def squeeze(data: bytes, level: int = _LEVEL) -> bytes:
    """One zstd frame (RFC 8878) with its content's size."""
    # Making one costs four times what a small message does; each thread keeps its own.
    kept: dict[Any, Any] = _COMPRESSORS.__dict__
    if level not in kept:
        kept[level] = zstandard.ZstdCompressor(level=level)
    return bytes(kept[level].compress(data))


def unsqueeze(
    data: bytes, limit: int, decompressor: zstandard.ZstdDecompressor | None = None
) -> bytes:
    """The content of one zstd frame of at most `limit` bytes; `decompressor` knows its dictionary.

    Raises `Refused("too-large")` before many more than `limit` bytes are held, and
    `Refused("malformed")` where it is no such frame.
    """
    made = decompressor or _decompressor()
    try:
        known = zstandard.get_frame_parameters(data).content_size
        if known in (0, zstandard.CONTENTSIZE_UNKNOWN, zstandard.CONTENTSIZE_ERROR):
            return _by_pieces(made.decompressobj(), data, limit)
        if known > limit:
            raise Refused("too-large", f"{known} bytes when unpacked; the limit is {limit}")
        # zstd holds a frame to the size that it names, and gives no more.
        return bytes(made.decompress(data, allow_extra_data=False))
    except zstandard.ZstdError as error:
        raise Refused("malformed", "not one whole zstd frame") from error


def _decompressor() -> zstandard.ZstdDecompressor:
    kept: dict[Any, Any] = _COMPRESSORS.__dict__
    if "opens" not in kept:
        kept["opens"] = zstandard.ZstdDecompressor(max_window_size=2**27)
    found: zstandard.ZstdDecompressor = kept["opens"]
    return found


def _by_pieces(reader: zstandard.ZstdDecompressionObj, data: bytes, limit: int) -> bytes:
    """A frame that does not say how much it holds."""
    out = bytearray()
    # Small pieces in, so that what comes out of one piece stays bounded too: a zstd block is at
    # most 128 KiB, and one block takes at least 4 bytes of input.
    for start in range(0, len(data), 256):
        out += reader.decompress(data[start : start + 256])
        if len(out) > limit:
            raise Refused("too-large", f"more than {limit} bytes when unpacked")
    if not reader.eof or reader.unused_data:
        raise Refused("malformed", "the zstd frame is cut short or followed by something")
    return bytes(out)


def load_json(data: bytes) -> dict[str, Any]:
    """A JSON object of bounded depth with no key twice. Raises `Refused("malformed")`."""
    _bounded(data)
    try:
        # Decoded here: json would guess at UTF-16, and let halves of characters pass.
        value = json.loads(data.decode(), object_pairs_hook=_once, parse_constant=_no_constant)
        if b"\\u" in data:
            canonical(value)
    except (ValueError, RecursionError) as error:
        raise Refused("malformed", "not JSON in UTF-8") from error
    if not isinstance(value, dict):
        raise Refused("malformed", "not a JSON object")
    return value


def _bounded(data: bytes) -> None:
    """Refuses deep nesting before the parser recurses. Counts brackets outside of strings."""
    depth = 0
    bare = data.replace(b"\\\\", b"").replace(b'\\"', b"").translate(None, _NEITHER)
    # Two quotes with nothing between are a string without brackets, or the room between two.
    bare = b"".join(bare.replace(b'""', b"").split(b'"')[::2])
    for byte in bare:
        depth += 1 if byte in b"[{" else -1
        if depth > MAX_DEPTH:
            raise Refused("malformed", f"nested deeper than {MAX_DEPTH} levels")


_NEITHER = bytes(byte for byte in range(256) if byte not in b'[]{}"')


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key appears twice")
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def pack(head: dict[str, Any], parts: list[bytes] | tuple[bytes, ...] = ()) -> bytes:
    """A whole message for the wire: zstd of `u32 length | JSON | (u32 length | bytes)*`."""
    text = canonical(head)
    pieces = [_LENGTH.pack(len(text)), text]
    for part in parts:
        pieces += [_LENGTH.pack(len(part)), part]
    return squeeze(b"".join(pieces), _LEVEL_PARTS if parts else _LEVEL)


def unpack(body: bytes, *, part_most: int = MAX_ENVELOPE) -> tuple[dict[str, Any], list[bytes]]:
    """The JSON of a message, and its parts of at most `part_most` bytes each.

    Raises `Refused` with `malformed` or `too-large`.
    """
    if len(body) > MAX_BODY:
        raise Refused("too-large", f"{len(body)} bytes; the limit is {MAX_BODY}")
    data = unsqueeze(body, MAX_MESSAGE)
    text, at = _part(data, 0, MAX_MESSAGE)
    parts: list[bytes] = []
    while at < len(data):
        if len(parts) == MAX_PARTS:
            raise Refused("too-large", f"more than {MAX_PARTS} parts")
        part, at = _part(data, at, part_most)
        parts.append(part)
    return load_json(text), parts


def _part(data: bytes, at: int, limit: int) -> tuple[bytes, int]:
    if at + 4 > len(data):
        raise Refused("malformed", f"cut short at byte {at}")
    (length,) = _LENGTH.unpack_from(data, at)
    end = at + 4 + length
    if length > limit:
        raise Refused("too-large", f"a part of {length} bytes; the limit is {limit}")
    if end > len(data):
        raise Refused("malformed", f"cut short at byte {len(data)}")
    return data[at + 4 : end], end
