"""The server's keys: what it signs with, what it opens seals with, what it keeps secrets under."""

from __future__ import annotations

import base64
import hashlib
import hmac
import io
import json
import os
import secrets  # noqa: TID251  the server's keys and salts are made here and nowhere else
import shlex
import stat
import subprocess
import threading
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from schemas.envelope import (
    CHAIN_INFO,
    CLASSIC,
    HYBRID,
    MESSAGE_INFO,
    SUITES,
    SealingKey,
    body_nonce,
    chunk_nonce,
    chunk_sizes,
    parse_opening,
)
from schemas.frames import canonical
from schemas.problems import Refused
from schemas.signing import fingerprint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from schemas.envelope import Envelope

RING = "ring.json"
_SEED = 64


class NoKeys(Exception):
    """The keys cannot be had: the server must not start without them. Nothing was changed."""


@dataclass(frozen=True, slots=True)
class PrivateKey:
    """One of the programme's sealing keys. `private`: seed of ML-KEM | X25519, or X25519."""

    sealing: SealingKey
    private: bytes = field(repr=False)
    made_ms: int = 0
    current: bool = False


@dataclass(frozen=True, slots=True)
class AtRest:
    """AES-256-GCM for single values in the database, each bound to its place.

    A value is `nonce (12 bytes) | ciphertext | tag`, its place (table, area, name of the row) is
    authenticated: a value moved to another row does not open. Nonces are random, so one data key is
    good for 2**32 values; `keys rotate` does not touch it.
    """

    key: bytes = field(repr=False)

    def seal(self, place: str, data: bytes) -> bytes:
        nonce = secrets.token_bytes(12)
        return nonce + AESGCM(self.key).encrypt(nonce, data, place.encode())

    def open(self, place: str, sealed: bytes) -> bytes:
        """Raises `Refused("seal-broken")`: the database was altered, or the key is another."""
        try:
            return AESGCM(self.key).decrypt(sealed[:12], sealed[12:], place.encode())
        except (InvalidTag, ValueError) as error:
            raise Refused("seal-broken", f"what is kept at {place}") from error


@dataclass(frozen=True, slots=True)
class Keys:
    """The whole ring, in memory. `wrapping` wraps the data key that lies in the database."""

    signing: bytes = field(repr=False)
    wrapping: bytes = field(repr=False)
    sealing: tuple[PrivateKey, ...] = ()

    @property
    def public(self) -> bytes:
        """The server's raw 32-byte Ed25519 public key."""
        return _signer(self.signing).public_key().public_bytes_raw()

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.public)

    def signer(self) -> Ed25519PrivateKey:
        return _signer(self.signing)

    def mac(self, data: bytes) -> str:
        """12 URL-safe characters that only this server can make."""
        key = hmac.digest(self.signing, b"offline-registration cursor v1", "sha256")
        return base64.urlsafe_b64encode(hmac.digest(key, data, "sha256")[:9]).decode()

    def open(self, key_id: str, body: bytes, info: bytes) -> bytes:
        """What was sealed to one of the programme's keys.

        Raises `Refused` with `key-unknown` or `seal-broken`.
        """
        for one in self.sealing:
            if one.sealing.id == key_id:
                try:
                    return _suite(one.sealing.suite).decrypt(body, _private(one), info=info)
                except (InvalidTag, ValueError) as error:
                    raise Refused(
                        "seal-broken", "it does not open with the key it names"
                    ) from error
        raise Refused("key-unknown", f"key {key_id}")

    def published(self) -> list[dict[str, Any]]:
        """The public keys for devices, newest first: `{id, suite, public, current}`."""
        return [
            {
                "id": one.sealing.id,
                "suite": one.sealing.suite,
                "public": base64.b64encode(one.sealing.public).decode(),
                "current": one.current,
            }
            for one in sorted(self.sealing, key=lambda one: -one.made_ms)
        ]

    def rotated(self, *, at_ms: int) -> Keys:
        """The ring with fresh keys to seal to. The old ones keep opening what they opened."""
        old = tuple(replace(one, current=False) for one in self.sealing)
        return replace(self, sealing=(*old, *_fresh(at_ms)))

    def data_key(self, wrapped: str) -> AtRest:
        """The data key that lies wrapped in the database. Raises `NoKeys` for another ring."""
        try:
            held = base64.b64decode(wrapped)
            return AtRest(AESGCM(self.wrapping).decrypt(held[:12], held[12:], b"data key v1"))
        except (InvalidTag, ValueError) as error:
            raise NoKeys(
                "these keys do not fit this database: bring the keys that were made with it"
            ) from error

    def new_data_key(self) -> str:
        """A fresh data key, wrapped, for the database to hold."""
        nonce = secrets.token_bytes(12)
        key = secrets.token_bytes(32)
        held = nonce + AESGCM(self.wrapping).encrypt(nonce, key, b"data key v1")
        return base64.b64encode(held).decode()

    def dump(self) -> bytes:
        """The ring as it lies in its file, and as a key command prints it."""
        return canonical(
            {
                "signing": base64.b64encode(self.signing).decode(),
                "wrapping": base64.b64encode(self.wrapping).decode(),
                "sealing": [
                    {
                        "suite": one.sealing.suite,
                        "public": base64.b64encode(one.sealing.public).decode(),
                        "private": base64.b64encode(one.private).decode(),
                        "made_ms": one.made_ms,
                        "current": one.current,
                    }
                    for one in self.sealing
                ],
            }
        )

    @staticmethod
    def parse(data: bytes, where: str) -> Keys:
        """Raises `NoKeys`."""
        try:
            held = json.loads(data)
            return Keys(
                base64.b64decode(held["signing"]),
                base64.b64decode(held["wrapping"]),
                tuple(
                    PrivateKey(
                        SealingKey(one["suite"], base64.b64decode(one["public"])),
                        base64.b64decode(one["private"]),
                        int(one["made_ms"]),
                        bool(one["current"]),
                    )
                    for one in held["sealing"]
                ),
            )
        except (ValueError, KeyError, TypeError, Refused) as error:
            raise NoKeys(f"{where} gives no key ring: restore it from its copy") from error


class Sessions:
    """Opens bodies by their sessions, and keeps the last used sessions' chain keys in memory."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._chains: OrderedDict[str, list[bytes]] = OrderedDict()
        self._lock = threading.Lock()

    def open(self, envelope: Envelope, opening: bytes) -> bytes:
        """What lies under the seal, packed. `opening` is that of the envelope's session.

        Raises `Refused` with `key-unknown`, `session-unknown`, `payload-differs` or `seal-broken`.
        """
        header = envelope.header
        with self._lock:
            chain = self._chain(header.session, header.device, opening)
            at = header.index // _STRIDE
            while len(chain) <= at:
                chain.append(_along(chain[-1], _STRIDE))
            key = chain[at]
        message = _expanded(_along(key, header.index % _STRIDE), MESSAGE_INFO)
        try:
            return AESGCM(message).decrypt(
                body_nonce(envelope.prefix), envelope.body, envelope.prefix
            )
        except InvalidTag as error:
            raise Refused("seal-broken", "it does not open by the session it names") from error

    def _chain(self, session: str, device: str, opening: bytes) -> list[bytes]:
        """Every so many chain keys of a session, as far as they are known."""
        found = self._chains.get(session)
        if found is None:
            parsed = parse_opening(opening)
            if parsed.hash != session:
                raise Refused("session-unknown", "the opening is of another session")
            if parsed.header.device != device:
                raise Refused("payload-differs", "the session is of another device")
            found = [self._keys.open(parsed.header.key, parsed.wrapped, parsed.info)]
            self._chains[session] = found
            while len(self._chains) > _SESSIONS:
                self._chains.popitem(last=False)
        self._chains.move_to_end(session)
        return found


_STRIDE = 32
_SESSIONS = 1024


def _expanded(key: bytes, info: bytes) -> bytes:
    """HKDF-Expand (RFC 5869) of one block of SHA-256."""
    return hmac.digest(key, info + b"\1", "sha256")


def _along(chain: bytes, steps: int) -> bytes:
    for _ in range(steps):
        chain = _expanded(chain, CHAIN_INFO)
    return chain


def new_keys(*, at_ms: int) -> Keys:
    """A fresh ring: to sign with, to wrap with, and to seal to by every suite this machine has."""
    signing = Ed25519PrivateKey.generate().private_bytes_raw()
    return Keys(signing, secrets.token_bytes(32), _fresh(at_ms))


def _fresh(at_ms: int) -> tuple[PrivateKey, ...]:
    curve = X25519PrivateKey.generate()
    classic = PrivateKey(
        SealingKey(CLASSIC.name, curve.public_key().public_bytes_raw()),
        curve.private_bytes_raw(),
        at_ms,
        current=True,
    )
    lattice, beside = MLKEM768PrivateKey.generate(), X25519PrivateKey.generate()
    hybrid = PrivateKey(
        SealingKey(
            HYBRID.name,
            lattice.public_key().public_bytes_raw() + beside.public_key().public_bytes_raw(),
        ),
        lattice.private_bytes_raw() + beside.private_bytes_raw(),
        at_ms,
        current=True,
    )
    return (hybrid, classic)


_SIGNERS: dict[bytes, Ed25519PrivateKey] = {}
_PRIVATE: dict[bytes, Any] = {}


def _signer(private: bytes) -> Ed25519PrivateKey:
    if private not in _SIGNERS:
        _SIGNERS[private] = Ed25519PrivateKey.from_private_bytes(private)
    return _SIGNERS[private]


def _private(one: PrivateKey) -> Any:
    if one.private not in _PRIVATE:
        _PRIVATE[one.private] = (
            X25519PrivateKey.from_private_bytes(one.private)
            if one.sealing.suite == CLASSIC.name
            else hpke.MLKEM768X25519PrivateKey(
                MLKEM768PrivateKey.from_seed_bytes(one.private[:_SEED]),
                X25519PrivateKey.from_private_bytes(one.private[_SEED:]),
            )
        )
    return _PRIVATE[one.private]


def _suite(name: str) -> hpke.Suite:
    assert name in SUITES
    kem = hpke.KEM.X25519 if name == CLASSIC.name else hpke.KEM.MLKEM768_X25519
    return hpke.Suite(kem, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)


def seal_to_box(box: bytes, data: bytes, info: bytes) -> bytes:
    """One HPKE message to a device's box key (raw X25519)."""
    return _suite(CLASSIC.name).encrypt(data, X25519PublicKey.from_public_bytes(box), info=info)


_KNOWN: dict[bytes, Ed25519PublicKey] = {}


def verify(public: bytes, signature: bytes, data: bytes) -> bool:
    """Whether `signature` is that of the raw Ed25519 key over `data`."""
    try:
        if public not in _KNOWN:
            if len(_KNOWN) > 50_000:
                _KNOWN.clear()
            _KNOWN[public] = Ed25519PublicKey.from_public_bytes(public)
        _KNOWN[public].verify(signature, data)
    except (InvalidSignature, ValueError):
        return False
    return True


def proof_fits(secret: bytes, proof: bytes, data: bytes) -> bool:
    """Whether `proof` is HMAC-SHA256 of `data` by the secret."""
    return hmac.compare_digest(hmac.digest(secret, data, "sha256"), proof)


def new_secret(length: int) -> bytes:
    """So many random bytes."""
    return secrets.token_bytes(length)


def opened_pieces(key: bytes, size: int, read: Callable[[int], bytes]) -> Iterator[bytes]:
    """The plain bytes of a sealed file of `size` bytes, chunk by chunk (STREAM, see
    `schemas/envelope.py`). Raises `Refused("seal-broken")` at the first chunk that is not right.
    """
    cipher = AESGCM(key)
    for number, (length, last) in enumerate(chunk_sizes(size)):
        try:
            yield cipher.decrypt(chunk_nonce(number, last=last), read(length), None)
        except (InvalidTag, ValueError) as error:
            raise Refused("seal-broken", f"chunk {number + 1}") from error


def opened_file(key: bytes, sealed: bytes) -> bytes:
    """The plain bytes of a sealed file in memory. Raises `Refused("seal-broken")`."""
    return b"".join(opened_pieces(key, len(sealed), io.BytesIO(sealed).read))


# Where the ring is kept.


def keep(folder: Path, keys: Keys) -> None:
    """Writes the ring into a folder of its owner's only, so that a power cut leaves old or new."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    fresh = folder / (RING + ".new")
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(keys.dump())
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(folder / RING)
    parent = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(parent)
    finally:
        os.close(parent)


def load(folder: Path | None, command: str = "") -> Keys:
    """The ring from its folder, or from the standard output of an external command.

    Raises `NoKeys` with the way out; also when others could read the folder.
    """
    if command:
        try:
            ran = subprocess.run(shlex.split(command), capture_output=True, check=True, timeout=60)  # noqa: S603  the operator's own command, from the server's configuration
        except (OSError, subprocess.SubprocessError, ValueError) as error:
            raise NoKeys(
                f"the key command {command!r} failed; run it by hand to see why"
            ) from error
        return Keys.parse(ran.stdout, f"the key command {command!r}")
    assert folder is not None
    place = folder / RING
    try:
        if stat.S_IMODE(place.stat().st_mode) & 0o077:
            raise NoKeys(f"others can read {place}: chmod 600 it, and think who has read it")
        return Keys.parse(place.read_bytes(), str(place))
    except OSError as error:
        raise NoKeys(
            f"no keys at {folder}: bring the stick or the folder that holds them, or their copy "
            "(new ones would open nothing of this server)"
        ) from error


# Officers' passwords.

_SCRYPT = {"n": 2**15, "r": 8, "p": 1, "maxmem": 64 * 1024 * 1024}


def password_hash(password: str) -> str:
    """Scrypt (RFC 7914), with its salt, as text."""
    salt = secrets.token_bytes(16)
    made = hashlib.scrypt(password.encode(), salt=salt, dklen=32, **_SCRYPT)
    return f"scrypt:{salt.hex()}:{made.hex()}"


def password_fits(password: str, hashed: str) -> bool:
    """Whether the password is the one that was hashed; in constant time once the text is read."""
    try:
        _, salt, made = hashed.split(":")
        again = hashlib.scrypt(password.encode(), salt=bytes.fromhex(salt), dklen=32, **_SCRYPT)
        return hmac.compare_digest(again, bytes.fromhex(made))
    except ValueError:
        return False
