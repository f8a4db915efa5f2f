"""The exact bytes that are signed, for both sides to agree on. No cryptography here."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from schemas.problems import Refused

if TYPE_CHECKING:
    from collections.abc import Iterable

SCHEME = "Device"
REPLY_HEADER = "Server-Signature"
REPLY_INFO = b"offline-registration reply v1"
"""HPKE info of a round's reply inside a bundle, sealed to the device's box key."""
BACKUP_INFO = b"offline-registration backup v1"
"""HPKE info of the drafts inside a backup, sealed to the programme's key."""


def text(data: bytes) -> str:
    """Base64 (RFC 4648 section 4, with padding)."""
    return base64.b64encode(data).decode()


def raw(value: str) -> bytes:
    """The bytes of strict base64. Raises `Refused("malformed")`."""
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refused("malformed", "not base64") from error


def fingerprint(server_key: bytes) -> str:
    """SHA-256 in hex of the server's raw 32-byte Ed25519 public key."""
    return hashlib.sha256(server_key).hexdigest()


def request_bytes(method: str, path: str, body: bytes, time_ms: int, server: str) -> bytes:
    """What a device signs. `path` (with its query) and `body` are as sent.

    `server` is the fingerprint.
    """
    return "\n".join(
        (
            "offline-registration request v1",
            method.upper(),
            path,
            hashlib.sha256(body).hexdigest(),
            str(time_ms),
            server,
        )
    ).encode()


def reply_bytes(request_signature: str, status: int, body: bytes) -> bytes:
    """What the server signs: its reply, bound to the one request it answers.

    `request_signature` is the base64 text from the request's Authorization header.
    """
    return "\n".join(
        (
            "offline-registration reply v1",
            request_signature,
            str(status),
            hashlib.sha256(body).hexdigest(),
        )
    ).encode()


def held_digest(held: Iterable[tuple[int, str]]) -> str:
    """SHA-256 in hex over one line `counter hash` for each envelope, by counter, then by hash."""
    listed = "".join(f"{counter} {one}\n" for counter, one in sorted(held))
    return hashlib.sha256(listed.encode()).hexdigest()


def ranges_of(counters: Iterable[int]) -> list[tuple[int, int]]:
    """The same counters as the ranges of a receipt: in order, ends included."""
    found: list[tuple[int, int]] = []
    for counter in sorted(set(counters)):
        if found and found[-1][1] == counter - 1:
            found[-1] = (found[-1][0], counter)
        else:
            found.append((counter, counter))
    return found


def receipt_bytes(
    *, server: str, epoch: str, area: str, device: str, batch: str, count: int, held: str
) -> bytes:
    """What the server signs over the envelopes of one batch that it holds.

    `server` is the fingerprint; `held` the `held_digest` of those `count` envelopes.
    """
    return "\n".join(
        (
            "offline-registration receipt v2",
            server,
            epoch,
            area,
            device,
            batch,
            str(count),
            held,
        )
    ).encode()


def bundle_bytes(sha256: bytes) -> bytes:
    """What closes a bundle: over the SHA-256 of every byte before the signature."""
    return b"offline-registration bundle v1\n" + sha256.hex().encode()


def pass_bytes(opening: bytes) -> bytes:
    """What a bundle's PASS signs: its opening, so that a server knows the device by it."""
    return b"offline-registration carried v1\n" + hashlib.sha256(opening).hexdigest().encode()


def enrol_bytes(server_prefix: str, key: bytes, box: bytes) -> bytes:
    """What HMAC-SHA256 with the code's secret covers, so that nobody between swaps the key."""
    return b"\n".join(
        (
            b"offline-registration enrol v1",
            server_prefix.encode(),
            key.hex().encode(),
            box.hex().encode(),
        )
    )


@dataclass(frozen=True, slots=True)
class Authorization:
    """`Authorization: Device <device> <time in ms since 1970> <base64 signature>`."""

    device: str
    time_ms: int
    signature: str

    def header(self) -> str:
        return f"{SCHEME} {self.device} {self.time_ms} {self.signature}"

    @staticmethod
    def parse(header: str) -> Authorization:
        """Raises `Refused("signature-wrong")`."""
        found = _AUTHORIZATION.fullmatch(header)
        if not found:
            raise Refused("signature-wrong", "no Authorization: Device ID TIME SIGNATURE")
        return Authorization(found[1], int(found[2]), found[3])


_AUTHORIZATION = re.compile(
    rf"{SCHEME} ([a-z0-9][a-z0-9-]{{0,62}}) (\d{{1,16}}) ([A-Za-z0-9+/]{{86}}==)", re.ASCII
)
