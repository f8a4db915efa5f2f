"""The device's keys: wrapped by the passphrase, and used to seal, to sign and to open the store.

The store's 256-bit key is random; `key.json` holds it wrapped (AES-256-GCM) under Argon2id of the
passphrase. There is no way to open a store without it.
"""

from __future__ import annotations

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
from typing import TYPE_CHECKING, Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from field_agent import room
from field_agent.files import write_whole
from field_agent.seal import Session, open_for
from field_agent.trouble import (
    AlreadySetUp,
    Damaged,
    Locked,
    NotSetUp,
    Revoked,
    WeakPassphrase,
    WrongPassphrase,
)
from schemas.frames import canonical

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from field_agent.seal import Seal
    from schemas.envelope import Header, SealingKey

KEY_FILE = "key.json"
PASSPHRASE_LETTERS_MIN = 8
FREE_TRIES = 3
DELAY_S_MAX = 3600
_VERSION = 1


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
                raise Revoked(
                    f"this device was revoked: {body['revoked']}. Its key is erased and nothing on it "
                    "can be opened; ask the office for a new code and enrol anew, in another --home"
                )
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
    """The key file's path, held against every other process, and room to replace the file."""
    # The old file's blocks are free only when it is let go of.
    with room.lent(home), _locked(home) as place:
        yield place


@contextmanager
def _locked(home: Path) -> Iterator[Path]:
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


def good(passphrase: str) -> None:
    """Raises `WeakPassphrase`."""
    if len(passphrase) < PASSPHRASE_LETTERS_MIN:
        raise WeakPassphrase(
            f"a passphrase has at least {PASSPHRASE_LETTERS_MIN} letters: take several words"
        )


def delay_s(tries: int) -> float:
    """Seconds to wait after so many wrong tries in a row: three are free, then 2, 4, 8 ... 3600."""
    return 0 if tries < FREE_TRIES else min(2 ** (tries - FREE_TRIES + 1), DELAY_S_MAX)


def exists(home: Path) -> bool:
    return (home / KEY_FILE).exists()


def create(home: Path, passphrase: str, *, argon: Argon = STANDARD) -> Vault:
    """A new device's vault at `home` (made 0700). Raises `AlreadySetUp` and `WeakPassphrase`."""
    good(passphrase)
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
    The try is counted on the disk before it is made, so that pulling the plug gains none; where the
    disk is too full to count it (OSError), none is made.
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
                left_s = min(wait, wait - since / 1000)
                raise WrongPassphrase(left_s, tried=False, tries=file.tries)
        file.tries += 1
        file.tried_ms = now
        write_whole(place, file.whole())
        kek = file.kek(passphrase)
        try:
            key = file.unwrap(kek, file.wrapped)
            following = file.unwrap(kek, file.following) if file.following else b""
        except InvalidTag:
            raise WrongPassphrase(delay_s(file.tries), tried=True, tries=file.tries) from None
        file.tries, file.tried_ms = 0, 0
        if file.argon.weaker_than(argon):
            file = _wrapped_anew(file, passphrase, argon, key, following)
        write_whole(place, file.whole())
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
        self._session: Session | None = None

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
        good(new)
        unlock(self.home, old, argon=argon, now_ms=now_ms)
        with _held(self.home) as place:
            file = _KeyFile.parse(place.read_bytes(), place)
            file = _wrapped_anew(file, new, argon, self._key, self._following)
            write_whole(place, file.whole())

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
                write_whole(place, file.whole())
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
            return open_for(self._open_box(), sealed, info)
        except (InvalidTag, ValueError) as error:
            raise Damaged("the reply is not for this device, or is damaged") from error

    def _open_box(self) -> X25519PrivateKey:
        if self._box is None:
            raise Locked("the device's key is in its store: open that first")
        return self._box

    # Sealing submissions.

    def next_seal(self, key: SealingKey, device: str, *, now_ms: int) -> Seal:
        """The next message key of the running session, good for one submission.

        A process, a programme's key and a device each begin their own session, and so do every
        SESSION_MAX-th submission and every hour. The chain has moved on when this returns: a seal
        that is never used leaves a gap in the indexes, and nothing else. Raises `CannotSeal`.
        """
        session = self._session
        if session is None or not session.serves(key, device, now_ms):
            session = self._session = Session.begin(key, device, self.sign, now_ms=now_ms)
        return session.step()

    def seal(self, packed: bytes, header: Header, by: Seal) -> bytes:
        """A whole envelope: `packed` sealed by the message key, headed and signed.

        The key is used up: raises ValueError where `by` sealed before, or `header` is not of it.
        """
        prefix = header.prefix()
        if (header.session, header.index) != (by.session, by.index):
            raise ValueError("the header names another place in the session")
        signed = prefix + by.use(packed, prefix)
        return signed + self.sign(signed)


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
