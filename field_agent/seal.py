"""Sealing: HPKE to the programme's key, the chain of message keys, files in chunks.

What each byte means is in `schemas/envelope.py`; why it is safe, in `docs/security.md`.
"""

from __future__ import annotations

import base64
import hashlib
import secrets  # noqa: TID251  message and file keys are made here
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Self

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, hpke
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from field_agent.trouble import CannotSeal
from schemas.envelope import (
    CHAIN_INFO,
    CHAIN_KEY_BYTES,
    CHUNK,
    CLASSIC,
    FILE_KEY_BYTES,
    HYBRID,
    MESSAGE_INFO,
    SESSION_MAX,
    SealingKey,
    SessionHeader,
    body_nonce,
    chunk_nonce,
    envelope_hash,
    session_info,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

SESSION_MS = 3_600_000
"""For so long a copy of this process's memory opens what is sealed after it was taken."""
_MLKEM_PUBLIC = 1184


# The chain.


class Seal:
    """One message key, for one submission; `session` and `index` are for its header."""

    def __init__(self, session: str, opening: bytes, index: int, key: bytearray) -> None:
        self.session = session
        self.opening = opening
        """The session's opening: to be kept and sent with the envelopes that need it."""
        self.index = index
        self._key: bytearray | None = key

    def __repr__(self) -> str:
        return f"Seal({self.session[:8]}, {self.index})"

    def use(self, packed: bytes, prefix: bytes) -> bytes:
        key, self._key = self._key, None
        if key is None:
            raise ValueError("a message key seals once")
        body = AESGCM(key).encrypt(body_nonce(prefix), packed, prefix)
        key[:] = bytes(len(key))
        return body


class Session:
    """A chain key that only moves forward, in memory alone; its opening has the first of them.

    After each step the old chain key is overwritten: what this object holds opens what will be
    sealed in this session, and nothing that was.
    """

    def __init__(
        self, of: tuple[SealingKey, str], opening: bytes, chain: bytearray, begun_ms: int
    ) -> None:
        self.of = of
        self.begun_ms = begun_ms
        self.opening = opening
        self.hash = envelope_hash(opening)
        self.index = 0
        self._chain = chain

    @classmethod
    def begin(
        cls, key: SealingKey, device: str, sign: Callable[[bytes], bytes], *, now_ms: int
    ) -> Self:
        """A new session, its opening signed by the device. Raises `CannotSeal`."""
        chain = bytearray(CHAIN_KEY_BYTES)
        # Into its own place: `bytes` of it would stay in freed memory, and open the whole session.
        with Path("/dev/urandom").open("rb", buffering=0) as luck:
            if luck.readinto(chain) != CHAIN_KEY_BYTES:
                raise OSError("the kernel gave too little luck")
        prefix = SessionHeader(key.suite, key.id, device, secrets.token_hex(16)).prefix()
        signed = prefix + seal_to(key, chain, session_info(prefix))
        return cls((key, device), signed + sign(signed), chain, now_ms)

    def serves(self, key: SealingKey, device: str, now_ms: int) -> bool:
        """Whether the next submission may still be sealed in it."""
        young = 0 <= now_ms - self.begun_ms < SESSION_MS
        return young and self.of == (key, device) and self.index < SESSION_MAX

    def __repr__(self) -> str:
        return f"Session({self.hash[:8]}, {self.index})"

    def step(self) -> Seal:
        message, following = bytearray(CHAIN_KEY_BYTES), bytearray(CHAIN_KEY_BYTES)
        _expand(MESSAGE_INFO).derive_into(self._chain, message)
        _expand(CHAIN_INFO).derive_into(self._chain, following)
        self._chain[:] = following
        following[:] = bytes(len(following))
        self.index += 1
        return Seal(self.hash, self.opening, self.index - 1, message)


def _expand(info: bytes) -> HKDFExpand:
    return HKDFExpand(hashes.SHA256(), CHAIN_KEY_BYTES, info)


def verify(public: bytes, signature: bytes, data: bytes) -> bool:
    """Whether `signature` is that of the raw Ed25519 key over `data`."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, data)
    except (InvalidSignature, ValueError):
        return False
    return True


# HPKE.


@lru_cache(maxsize=1)
def offers_hybrid() -> bool:
    """Whether this machine's OpenSSL has ML-KEM-768."""
    try:
        MLKEM768PrivateKey.generate()
    except UnsupportedAlgorithm:
        return False
    return True


@lru_cache(maxsize=8)
def _suite(name: str) -> hpke.Suite:
    kem = {HYBRID.name: hpke.KEM.MLKEM768_X25519, CLASSIC.name: hpke.KEM.X25519}[name]
    return hpke.Suite(kem, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)


@lru_cache(maxsize=32)
def _public(key: SealingKey) -> hpke.MLKEM768X25519PublicKey | X25519PublicKey:
    if key.suite == CLASSIC.name:
        return X25519PublicKey.from_public_bytes(key.public)
    return hpke.MLKEM768X25519PublicKey(
        MLKEM768PublicKey.from_public_bytes(key.public[:_MLKEM_PUBLIC]),
        X25519PublicKey.from_public_bytes(key.public[_MLKEM_PUBLIC:]),
    )


def seal_to(key: SealingKey, data: bytes | bytearray, info: bytes) -> bytes:
    """One HPKE message. Raises `CannotSeal` where this machine has not the key's algorithm."""
    try:
        return _suite(key.suite).encrypt(data, _public(key), info=info)
    except (UnsupportedAlgorithm, ValueError) as error:
        raise CannotSeal(
            f"this machine cannot seal by {key.suite}: install a newer cryptography, "
            f"or let the programme publish a key for {CLASSIC.name}"
        ) from error


def open_for(box: X25519PrivateKey, sealed: bytes, info: bytes) -> bytes:
    """What was sealed to the device's box by the suite `CLASSIC`."""
    return _suite(CLASSIC.name).decrypt(sealed, box, info=info)


def choose(keys: Iterable[SealingKey]) -> SealingKey:
    """The first of the programme's keys that this machine can seal to. Raises `CannotSeal`."""
    for key in keys:
        if key.suite == CLASSIC.name or offers_hybrid():
            return key
    raise CannotSeal("the programme has given this device no key that it can seal to; sync first")


class FileSealer:
    """Seals one file under its own random key, chunk by chunk; the marks are known at the end."""

    def __init__(self) -> None:
        self.key = secrets.token_bytes(FILE_KEY_BYTES)
        self.size = 0
        """Plain bytes so far."""
        self.sealed_size = 0
        self._sha = hashlib.sha256()

    def __repr__(self) -> str:
        return f"FileSealer(size={self.size})"

    @property
    def hash(self) -> str:
        """SHA-256 in hex of the sealed bytes so far."""
        return self._sha.hexdigest()

    @property
    def key_text(self) -> str:
        return base64.b64encode(self.key).decode()

    def seal(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """The sealed chunks of a file that comes in pieces of any size. Holds two at most."""
        aead = AESGCM(self.key)
        waiting = bytearray()
        number = 0
        for piece in pieces:
            waiting += piece
            # One chunk is held back: only the end tells whether it is the last.
            while len(waiting) > CHUNK:
                yield self._chunk(aead, number, bytes(waiting[:CHUNK]), last=False)
                del waiting[:CHUNK]
                number += 1
        yield self._chunk(aead, number, bytes(waiting), last=True)

    def _chunk(self, aead: AESGCM, number: int, plain: bytes, *, last: bool) -> bytes:
        sealed = aead.encrypt(chunk_nonce(number, last=last), plain, None)
        self.size += len(plain)
        self.sealed_size += len(sealed)
        self._sha.update(sealed)
        return sealed
