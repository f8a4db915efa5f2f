"""The device's keys: wrapped by the passphrase, and used to seal, to sign and to open the store.

The only file here that knows cryptography. The store's 256-bit key is random; `key.json` holds it
wrapped (AES-256-GCM) under Argon2id of the passphrase. There is no way to open a store without it.
"""

from __future__ import annotations

import base64
import ctypes
import fcntl
import hashlib
import json
import os
import resource
import secrets  # noqa: TID251  keys are made here and nowhere else on a device
import time
import unicodedata
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, BinaryIO

from cryptography.exceptions import InvalidSignature, InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, hpke
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from schemas.envelope import (
    BODY_NONCE,
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
    chunk_nonce,
    envelope_hash,
    session_info,
)
from schemas.frames import canonical

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from schemas.envelope import Header

KEY_FILE = "key.json"
PASSPHRASE_LETTERS_MIN = 8
FREE_TRIES = 3
DELAY_S_MAX = 3600
_VERSION = 1
_MLKEM_PUBLIC = 1184


class Locked(Exception):
    """The store stays closed; nothing in it was changed or lost."""


class NotSetUp(Locked):
    """There is no device at this place yet."""


class AlreadySetUp(Locked):
    """A device lives at this place: it is never overwritten."""


class WeakPassphrase(Locked):
    """The passphrase is too short to be worth its Argon2id."""


class WrongPassphrase(Locked):
    """The passphrase does not fit; the next try counts after `wait_s` seconds."""

    def __init__(self, wait_s: float, *, tried: bool) -> None:
        self.wait_s = wait_s
        self.tried = tried
        self.text = "the passphrase does not fit" if tried else "too many wrong passphrases"
        pause = f"; try again in {wait_s:.0f} s" if wait_s else "; try again"
        super().__init__(self.text + pause)


class Revoked(Locked):
    """The server withdrew this device: its key was erased, and no passphrase opens it again."""


class LeaseEnded(Locked):
    """Out of contact for too long, or the clock went back: a round opens the store again."""


class Damaged(Locked):
    """The disk gave back other bytes than were written; it is said where."""


class CannotSeal(Locked):
    """None of the programme's keys can be used by this machine's OpenSSL."""


@dataclass(frozen=True, slots=True)
class Argon:
    """Argon2id's cost (RFC 9106; the default is its second recommended choice). At least 64 MiB."""

    memory_kib: int = 64 * 1024
    iterations: int = 3
    lanes: int = 4

    def __post_init__(self) -> None:
        # The upper bounds keep a tampered key.json from taking the machine's memory.
        if not 64 * 1024 <= self.memory_kib <= 4 * 1024 * 1024:
            raise ValueError(f"Argon2id memory is 64 MiB to 4 GiB, not {self.memory_kib} KiB")
        if not 1 <= self.iterations <= 1000 or not 1 <= self.lanes <= 64:
            raise ValueError(f"Argon2id with {self.iterations} iterations and {self.lanes} lanes")

    def derive(self, passphrase: str, salt: bytes) -> bytes:
        """32 bytes. The passphrase is taken in Unicode form NFKC, as keyboards differ."""
        kdf = Argon2id(
            salt=salt,
            length=32,
            iterations=self.iterations,
            lanes=self.lanes,
            memory_cost=self.memory_kib,
        )
        return kdf.derive(unicodedata.normalize("NFKC", passphrase).encode())

    def weaker_than(self, other: Argon) -> bool:
        return self.memory_kib < other.memory_kib or self.iterations < other.iterations

    def json(self) -> dict[str, int]:
        return {
            "memory_kib": self.memory_kib,
            "iterations": self.iterations,
            "lanes": self.lanes,
        }


STANDARD = Argon()


def harden_process() -> None:
    """No core dumps, no debugger of another process of this user, new files for the owner only."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.umask(0o077)
    # PR_SET_DUMPABLE (4) exists on Linux only; elsewhere the limit above has to do.
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(4, 0, 0, 0, 0)


def clock_ms() -> int:
    """Milliseconds since 1970, by this machine's clock."""
    return int(time.time() * 1000)  # noqa: TID251  the delay after wrong tries is the vault's own


# The key file.


@dataclass(slots=True)
class _KeyFile:
    argon: Argon
    salt: bytes
    wrapped: bytes
    following: bytes
    """The next key while a rotation is under way, else empty."""
    tries: int = 0
    tried_ms: int = 0

    def aad(self) -> bytes:
        return canonical({"v": _VERSION, "argon": self.argon.json(), "salt": self.salt.hex()})

    def whole(self) -> bytes:
        body = {
            "v": _VERSION,
            "argon": self.argon.json(),
            "salt": self.salt.hex(),
            "wrapped": self.wrapped.hex(),
            "following": self.following.hex(),
            "tries": self.tries,
            "tried_ms": self.tried_ms,
        }
        # The check tells a failing disk from a wrong passphrase. It is no secret and no proof.
        body["check"] = hashlib.sha256(canonical(body)).hexdigest()
        return canonical(body)

    @staticmethod
    def parse(data: bytes, place: Path) -> _KeyFile:
        try:
            body: dict[str, Any] = json.loads(data)
            if body.get("revoked"):
                raise Revoked(f"this device was revoked: {body['revoked']}")
            again = canonical(body)
            check = body.pop("check")
            if again != data or check != hashlib.sha256(canonical(body)).hexdigest():
                raise Damaged(f"{place} is damaged: its check does not fit; restore it from a copy")
            return _KeyFile(
                Argon(**body["argon"]),
                bytes.fromhex(body["salt"]),
                bytes.fromhex(body["wrapped"]),
                bytes.fromhex(body["following"]),
                int(body["tries"]),
                int(body["tried_ms"]),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Damaged(f"{place} is damaged; restore it from a copy of the device") from error

    def kek(self, passphrase: str) -> AESGCM:
        return AESGCM(self.argon.derive(passphrase, self.salt))

    def wrap(self, kek: AESGCM, key: bytes) -> bytes:
        nonce = secrets.token_bytes(12)
        return nonce + kek.encrypt(nonce, key, self.aad())

    def unwrap(self, kek: AESGCM, wrapped: bytes) -> bytes:
        return kek.decrypt(wrapped[:12], wrapped[12:], self.aad())


@contextmanager
def _held(home: Path) -> Iterator[Path]:
    """The key file's path, held against every other process that tries a passphrase."""
    place = home / KEY_FILE
    while True:
        try:
            handle = os.open(place, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            raise NotSetUp(f"no device at {home}: set it up with field-agent enrol") from None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            # Whoever held it may have replaced the file: then this is the old one.
            if os.path.samestat(os.fstat(handle), place.stat()):
                yield place
                return
        finally:
            os.close(handle)


def write_whole(place: Path, data: bytes, *, shred: bool = False) -> None:
    """Replace a file so that a power cut leaves the old or the new one, whole, for its owner only.

    With `shred` the old file's bytes are overwritten after the new ones are safe.
    """
    fresh = place.with_name(place.name + ".new")
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.fchmod(handle, 0o600)
        view = memoryview(data)
        while view:
            view = view[os.write(handle, view) :]
        os.fsync(handle)
    finally:
        os.close(handle)
    old = os.open(place, os.O_WRONLY | os.O_CLOEXEC) if shred and place.exists() else None
    try:
        fresh.replace(place)
        sync_folder(place.parent)
        if old is not None:
            os.pwrite(old, bytes(os.fstat(old).st_size), 0)
            os.fsync(old)
    finally:
        if old is not None:
            os.close(old)


@contextmanager
def private_file(place: Path) -> Iterator[BinaryIO]:
    """A new file for its owner only, on the disk when the block ends; gone if the block fails."""
    handle = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(handle, 0o600)
            yield file
            file.flush()
            os.fsync(handle)
    except BaseException:
        place.unlink(missing_ok=True)
        raise


def sync_folder(folder: Path) -> None:
    """Make the names in a folder as durable as its files."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _good(passphrase: str) -> None:
    if len(passphrase) < PASSPHRASE_LETTERS_MIN:
        raise WeakPassphrase(f"a passphrase has at least {PASSPHRASE_LETTERS_MIN} letters")


def delay_s(tries: int) -> float:
    """Seconds to wait after so many wrong tries in a row: three are free, then 2, 4, 8 ... 3600."""
    return 0 if tries < FREE_TRIES else min(2 ** (tries - FREE_TRIES + 1), DELAY_S_MAX)


def exists(home: Path) -> bool:
    return (home / KEY_FILE).exists()


def create(home: Path, passphrase: str, *, argon: Argon = STANDARD) -> Vault:
    """A new device's vault at `home` (made 0700). Raises `AlreadySetUp` and `WeakPassphrase`."""
    _good(passphrase)
    harden_process()
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    home.chmod(0o700)
    if exists(home):
        raise AlreadySetUp(f"a device lives at {home} already; it is never overwritten")
    if (home / "store.db").exists():
        raise AlreadySetUp(f"{home} has a store without its key: move it away first")
    file = _KeyFile(argon, secrets.token_bytes(16), b"", b"")
    key = secrets.token_bytes(32)
    file.wrapped = file.wrap(file.kek(passphrase), key)
    write_whole(home / KEY_FILE, file.whole())
    return Vault(home, key)


def unlock(
    home: Path,
    passphrase: str,
    *,
    argon: Argon = STANDARD,
    now_ms: Callable[[], int] = clock_ms,
) -> Vault:
    """The vault at `home`. A stored Argon2id cost below `argon` is raised to it on the way.

    Raises `NotSetUp`, `WrongPassphrase` (with the seconds to wait), `Revoked`, `Damaged`.
    The try is counted on the disk before it is made, so that pulling the plug gains none.
    """
    harden_process()
    with _held(home) as place:
        file = _KeyFile.parse(place.read_bytes(), place)
        now = now_ms()
        wait = delay_s(file.tries)
        if wait:
            # A clock set back starts the wait anew; one set forward shortens no more than it did.
            since = now - file.tried_ms
            if since < wait * 1000:
                if since < 0:
                    file.tried_ms = now
                    write_whole(place, file.whole())
                raise WrongPassphrase(min(wait, wait - since / 1000), tried=False)
        file.tries += 1
        file.tried_ms = now
        write_whole(place, file.whole())
        kek = file.kek(passphrase)
        try:
            key = file.unwrap(kek, file.wrapped)
            following = file.unwrap(kek, file.following) if file.following else b""
        except InvalidTag:
            raise WrongPassphrase(delay_s(file.tries), tried=True) from None
        file.tries, file.tried_ms = 0, 0
        if file.argon.weaker_than(argon):
            file = _wrapped_anew(file, passphrase, argon, key, following)
        write_whole(place, file.whole(), shred=True)
        return Vault(home, key, following)


def _wrapped_anew(
    file: _KeyFile, passphrase: str, argon: Argon, key: bytes, following: bytes
) -> _KeyFile:
    fresh = _KeyFile(argon, secrets.token_bytes(16), b"", b"", file.tries, file.tried_ms)
    kek = fresh.kek(passphrase)
    fresh.wrapped = fresh.wrap(kek, key)
    fresh.following = fresh.wrap(kek, following) if following else b""
    return fresh


class Vault:
    """An unlocked vault: the store's key, and, once the store is open, the device's own keys."""

    def __init__(self, home: Path, key: bytes, following: bytes = b"") -> None:
        self.home = home
        self._key = key
        self._following = following
        self._signer: Ed25519PrivateKey | None = None
        self._box: X25519PrivateKey | None = None
        self._session: _Session | None = None

    def __repr__(self) -> str:
        return f"Vault({str(self.home)!r})"

    @property
    def database_keys(self) -> tuple[bytes, ...]:
        """The store's raw 256-bit key; two, the newer first, where a rotation was cut short."""
        return (self._following, self._key) if self._following else (self._key,)

    # The passphrase and the wrapped key.

    def change_passphrase(
        self,
        old: str,
        new: str,
        *,
        argon: Argon = STANDARD,
        now_ms: Callable[[], int] = clock_ms,
    ) -> None:
        """Wrap the key under a new passphrase. Raises `WrongPassphrase` and `WeakPassphrase`."""
        _good(new)
        unlock(self.home, old, argon=argon, now_ms=now_ms)
        with _held(self.home) as place:
            file = _KeyFile.parse(place.read_bytes(), place)
            file = _wrapped_anew(file, new, argon, self._key, self._following)
            write_whole(place, file.whole(), shred=True)

    def begin_rotation(self, passphrase: str, *, now_ms: Callable[[], int] = clock_ms) -> bytes:
        """A new store key, wrapped beside the old one until the store has taken it over."""
        unlock(self.home, passphrase, now_ms=now_ms)
        with _held(self.home) as place:
            file = _KeyFile.parse(place.read_bytes(), place)
            self._following = secrets.token_bytes(32)
            file.following = file.wrap(file.kek(passphrase), self._following)
            write_whole(place, file.whole())
        return self._following

    def end_rotation(self, opens: bytes) -> None:
        """Keep only the key that opens the store; the other one's wrapped bytes are overwritten."""
        with _held(self.home) as place:
            file = _KeyFile.parse(place.read_bytes(), place)
            if file.following:
                if opens == self._following:
                    file.wrapped = file.following
                file.following = b""
                write_whole(place, file.whole(), shred=True)
        self._key, self._following = opens, b""

    def erase(self, reason: str) -> None:
        """Destroy the wrapped key for good: what a revoked device does. The store stays closed."""
        with _held(self.home) as place:
            handle = os.open(place, os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.pwrite(handle, bytes(os.fstat(handle).st_size), 0)
                os.fsync(handle)
            finally:
                os.close(handle)
            write_whole(place, canonical({"v": _VERSION, "revoked": reason or "by the server"}))
        self._key = self._following = b""
        self._signer = self._box = self._session = None

    # The device's own keys: made here, kept in the store, in memory while it is open.

    def adopt(self, keys: DeviceKeys) -> None:
        """Use the keys that the store holds. The store calls this when it opens."""
        self._signer = Ed25519PrivateKey.from_private_bytes(keys.signing)
        self._box = X25519PrivateKey.from_private_bytes(keys.box)

    def sign(self, data: bytes) -> bytes:
        """64 bytes of Ed25519 by the device. Raises `Locked` where no store is open."""
        if self._signer is None:
            raise Locked("the device's key is in its store: open that first")
        return self._signer.sign(data)

    @property
    def public(self) -> bytes:
        """The device's raw 32-byte Ed25519 public key."""
        if self._signer is None:
            raise Locked("the device's key is in its store: open that first")
        return self._signer.public_key().public_bytes_raw()

    @property
    def box_public(self) -> bytes:
        """The raw 32-byte X25519 public key that replies inside bundles are sealed to."""
        return self._open_box().public_key().public_bytes_raw()

    def open_box(self, sealed: bytes, info: bytes) -> bytes:
        """What was sealed to `box_public` by the suite `CLASSIC`. Raises `Damaged`."""
        try:
            return _suite(CLASSIC.name).decrypt(sealed, self._open_box(), info=info)
        except (InvalidTag, ValueError) as error:
            raise Damaged("the reply is not for this device, or is damaged") from error

    def _open_box(self) -> X25519PrivateKey:
        if self._box is None:
            raise Locked("the device's key is in its store: open that first")
        return self._box

    # Sealing submissions.

    def next_seal(self, key: SealingKey, device: str) -> Seal:
        """The next message key of the running session, good for one submission.

        A process, a programme's key and a device each begin their own session, and so does every
        SESSION_MAX-th submission. The chain has moved on when this returns: a seal that is never
        used leaves a gap in the indexes, and nothing else. Raises `CannotSeal`.
        """
        session = self._session
        if session is None or session.of != (key, device) or session.index == SESSION_MAX:
            session = self._session = self._begin_session(key, device)
        return session.step()

    def _begin_session(self, key: SealingKey, device: str) -> _Session:
        chain = bytearray(secrets.token_bytes(CHAIN_KEY_BYTES))
        prefix = SessionHeader(key.suite, key.id, device, secrets.token_hex(16)).prefix()
        signed = prefix + seal_to(key, bytes(chain), session_info(prefix))
        return _Session((key, device), signed + self.sign(signed), chain)

    def seal(self, packed: bytes, header: Header, by: Seal) -> bytes:
        """A whole envelope: `packed` sealed by the message key, headed and signed.

        The key is used up: raises ValueError where `by` sealed before, or `header` is not of it.
        """
        prefix = header.prefix()
        if (header.session, header.index) != (by.session, by.index):
            raise ValueError("the header names another place in the session")
        signed = prefix + by.use(packed, prefix)
        return signed + self.sign(signed)


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
        body = AESGCM(key).encrypt(BODY_NONCE, packed, prefix)
        key[:] = bytes(len(key))
        return body


class _Session:
    """A chain key that only moves forward, in memory alone; its opening has the first of them.

    After each step the old chain key is overwritten: what this object holds opens what will be
    sealed in this session, and nothing that was.
    """

    def __init__(self, of: tuple[SealingKey, str], opening: bytes, chain: bytearray) -> None:
        self.of = of
        self.opening = opening
        self.hash = envelope_hash(opening)
        self.index = 0
        self._chain = chain

    def __repr__(self) -> str:
        return f"_Session({self.hash[:8]}, {self.index})"

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


@dataclass(frozen=True, slots=True)
class DeviceKeys:
    """The device's private keys, raw, 32 bytes each: Ed25519 to sign, X25519 for its box."""

    signing: bytes
    box: bytes

    def __repr__(self) -> str:
        return "DeviceKeys(...)"


def new_device_keys() -> DeviceKeys:
    """Fresh keys, made on the device itself."""
    signing = Ed25519PrivateKey.generate().private_bytes_raw()
    box = X25519PrivateKey.generate().private_bytes_raw()
    return DeviceKeys(signing, box)


def verify(public: bytes, signature: bytes, data: bytes) -> bool:
    """Whether `signature` is that of the raw Ed25519 key over `data`."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, data)
    except (InvalidSignature, ValueError):
        return False
    return True


# Sealing.


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


def seal_to(key: SealingKey, data: bytes, info: bytes) -> bytes:
    """One HPKE message. Raises `CannotSeal` where this machine has not the key's algorithm."""
    try:
        return _suite(key.suite).encrypt(data, _public(key), info=info)
    except (UnsupportedAlgorithm, ValueError) as error:
        raise CannotSeal(
            f"this machine cannot seal by {key.suite}: install a newer cryptography, "
            f"or let the programme publish a key for {CLASSIC.name}"
        ) from error


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
