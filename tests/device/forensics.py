"""What a thief reads who has the disk and the passphrase: every page and every frame, in the clear.

SQLCipher 4: pages of 4096 bytes; the last 80 hold the IV (16) and the HMAC (64); AES-256-CBC by
the raw key; the first page begins with 16 bytes of salt.
"""

from __future__ import annotations

import base64
import gzip
import zlib
from contextlib import suppress
from typing import TYPE_CHECKING

import zstandard
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

if TYPE_CHECKING:
    from pathlib import Path

ZSTD = b"\x28\xb5\x2f\xfd"
PAGE, RESERVE, SALT = 4096, 80, 16


def _page(key: bytes, page: bytes, *, first: bool) -> bytes:
    start = SALT if first else 0
    iv = page[PAGE - RESERVE : PAGE - RESERVE + 16]
    opener = Cipher(algorithms.AES(key), modes.CBC(iv)).decryptor()
    return opener.update(page[start : PAGE - RESERVE]) + opener.finalize()


def pages(home: Path, key: bytes) -> bytes:
    """The clear bytes of all pages of the store, free ones too, and of every frame of its log."""
    whole = (home / "store.db").read_bytes()
    clear = [_page(key, whole[at : at + PAGE], first=at == 0) for at in range(0, len(whole), PAGE)]
    log = home / "store.db-wal"
    if log.exists():
        frames = log.read_bytes()
        for at in range(32, len(frames) - PAGE - 23, PAGE + 24):
            number = int.from_bytes(frames[at : at + 4], "big")
            frame = frames[at + 24 : at + 24 + PAGE]
            clear.append(_page(key, frame, first=number == 1))
    return b"".join(clear)


def encodings(word: str) -> dict[str, bytes]:
    """A word in eight encodings, as it might lie about in a file."""
    raw = word.encode()
    return {
        "utf-8": raw,
        "utf-16le": word.encode("utf-16-le"),
        "utf-16be": word.encode("utf-16-be"),
        "hex": raw.hex().encode(),
        "HEX": raw.hex().upper().encode(),
        "base64": base64.b64encode(raw)[: len(raw) * 4 // 3],
        "url": "".join(f"%{byte:02X}" for byte in raw).encode(),
        "json": "".join(f"\\u{ord(letter):04x}" for letter in word).encode(),
    }


def _base64_anywhere(raw: bytes) -> list[bytes]:
    """Base64 of `raw` at each of the three places it can have within a longer text."""
    found = []
    for before in range(3):
        text = base64.b64encode(bytes(before) + raw)
        start = -(-before * 8 // 6)
        found.append(text[start : (before + len(raw)) * 8 // 6])
    return found


def planted_in(data: bytes, words: list[str]) -> list[tuple[str, str]]:
    """(word, encoding) for each planted word that `data` holds, in zlib and gzip streams too."""
    found = []
    for where, clear in [("", data), *_unpacked(data)]:
        lower = clear.lower()
        for word in words:
            for name, code in encodings(word).items():
                if name == "base64":
                    hit = any(part in clear for part in _base64_anywhere(word.encode()))
                else:
                    hit = code.lower() in lower
                if hit:
                    found.append((word, where + name))
    return found


def _unpacked(data: bytes) -> list[tuple[str, bytes]]:
    out = []
    if data[:2] == b"\x1f\x8b":
        out.append(("gzip ", gzip.decompress(data)))
    if data[:1] == b"\x78":
        with suppress(zlib.error):
            out.append(("zlib ", zlib.decompress(data)))
    # The protocol's messages are zstd frames, wherever in a file they lie.
    at = data.find(ZSTD)
    while at >= 0:
        with suppress(zstandard.ZstdError):  # four bytes of chance
            clear = zstandard.ZstdDecompressor().decompressobj().decompress(data[at:])
            out.append((f"zstd at {at} ", clear))
        at = data.find(ZSTD, at + 1)
    return out
