"""How a sealed submission, a session's opening, a sealed file and a backup lie in bytes.

Layout, no cryptography. A sealed submission (`kind` envelope):

    b"ORSE" | u8 version=2 | u32 header length | header | 32 bytes prev | 32 bytes session
           | body | 64 bytes Ed25519 signature

The `prefix` is everything before the body. The signature is over prefix and body. The body is
AES-256-GCM of the packed payload by the message key that the session has at the header's index,
with the first twelve bytes of the prefix's SHA-256 as nonce and the prefix as aad. Each key seals
one body; the nonce is for a machine whose memory was copied and went on twice (`docs/security.md`).

A session is opened once, by the device, for at most SESSION_MAX submissions:

    b"ORSS" | u8 version=2 | u32 header length | header | wrapped chain key
           | 64 bytes Ed25519 signature over everything before it

The wrapped chain key is one HPKE message (RFC 9180, base mode, single shot: `enc | ciphertext`) of
32 random bytes to the programme's key, with `info = session_info(prefix)` and an empty aad: RFC 9180
(section 5.1) mixes `info` into the key schedule, so a changed header opens nothing. A session's name
is the SHA-256 of its opening's bytes. Chain key 0 is the sealed one; from chain key i follow, by
HKDF-Expand (RFC 5869) with SHA-256 and 32 bytes, message key i (info MESSAGE_INFO) and chain key
i + 1 (info CHAIN_INFO).

A sealed file is STREAM (Hoang, Reyhanitabar, Rogaway, Vizar 2015) over AES-256-GCM with its own
random key: chunks of 64 KiB, nonce = chunk number in 11 bytes big endian, then 1 for the last chunk
and else 0. Only the last chunk may be shorter; only an empty file has an empty chunk.

A backup (`kind` backup):

    b"ORSB" | u8 version=2 | u32 header length | header
           | u16 length | wrapped key | chunks | 64 bytes Ed25519 signature

The wrapped key is one HPKE message holding the 32 random bytes of the file's key, with
`info = backup_info(prefix)`. The chunks are STREAM as above; inside lie items, each
`u32 length | canonical JSON | u64 length | bytes`, the last of them of kind "end".
The signature is over `backup_signed(sha256 of everything before it)`.
"""

from __future__ import annotations

import hashlib
import re
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from schemas.frames import MAX_ENVELOPE, MAX_PAYLOAD, canonical, load_json, squeeze, unsqueeze
from schemas.packing import PACKINGS, PLAIN
from schemas.problems import Refused
from schemas.signing import BACKUP_INFO

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MAGIC = b"ORSE"
OPENING_MAGIC = b"ORSS"
BACKUP_MAGIC = b"ORSB"
SESSION_INFO = b"offline-registration session v2"
MESSAGE_INFO = b"offline-registration submission v2 message"
CHAIN_INFO = b"offline-registration submission v2 chain"
CHAIN_KEY_BYTES = 32
SESSION_MAX = 1024
"""Submissions that one session seals at most."""
VERSION = 2
SIGNATURE_BYTES = 64
FILE_KEY_BYTES = 32
CHUNK = 64 * 1024
TAG = 16
MAX_HEADER = 64 * 1024
MAX_OPENING = 8 * 1024
MAX_ATTACHMENTS = 200
MAX_ATTACHMENT = 2**40
MAX_ITEM_HEAD = 16 * 1024 * 1024

_BEGINNING = MAGIC + bytes([VERSION])
_LEAST = 9
_LENGTHS = struct.Struct(">BI")
_U16 = struct.Struct(">H")
_U32 = struct.Struct(">I")
_U64 = struct.Struct(">Q")
_DEVICE = re.compile(r"[a-z0-9][a-z0-9-]{0,62}", re.ASCII)
_HASH = re.compile(r"[0-9a-f]{64}", re.ASCII)
_SHORT = re.compile(r"[^\x00-\x1f]{0,512}")
_KEY = re.compile(r"[0-9a-f]{16}", re.ASCII)
_NONCE = re.compile(r"[0-9a-f]{32}", re.ASCII)
_HASHES = 64
_NONE_BEFORE = "00" * 32


@dataclass(frozen=True, slots=True)
class Suite:
    """One way to seal, named in each header so that it can change. Sizes in bytes."""

    name: str
    public_bytes: int
    overhead: int
    """Sealed minus plain: the encapsulated key and the AEAD's tag."""


HYBRID = Suite("mlkem768x25519-hkdfsha256-aes256gcm", 1184 + 32, 1088 + 32 + TAG)
"""MLKEM768-X25519 (draft-ietf-hpke-pq, KEM 0x647a). Public = ML-KEM key | X25519 key, both raw."""
CLASSIC = Suite("x25519-hkdfsha256-aes256gcm", 32, 32 + TAG)
"""DHKEM(X25519, HKDF-SHA256) (RFC 9180, KEM 0x0020): where a device's OpenSSL has no ML-KEM."""
SUITES = {suite.name: suite for suite in (HYBRID, CLASSIC)}


def key_id(suite: str, public: bytes) -> str:
    """The name of a programme's public key: 16 hex digits of SHA-256 over suite, newline, key."""
    return hashlib.sha256(suite.encode() + b"\n" + public).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class SealingKey:
    """A programme's public key, as a device holds it. If one exists, its sizes and its id fit."""

    suite: str
    public: bytes
    id: str = field(default="")

    def __post_init__(self) -> None:
        suite = SUITES.get(self.suite)
        if suite is None:
            raise Refused("key-unknown", f"suite {self.suite!r} is not one of {', '.join(SUITES)}")
        if len(self.public) != suite.public_bytes:
            raise Refused(
                "key-unknown",
                f"a key of {len(self.public)} bytes; {self.suite} has {suite.public_bytes}",
            )
        fits = key_id(self.suite, self.public)
        if self.id not in {"", fits}:
            raise Refused("key-unknown", f"the key named {self.id} is {fits}")
        object.__setattr__(self, "id", fits)


@dataclass(frozen=True, slots=True)
class Attachment:
    """One sealed file of a submission: the SHA-256 in hex and the size of its sealed bytes."""

    hash: str
    size: int


@dataclass(frozen=True, slots=True)
class Header:
    """What anyone may read of a sealed submission. Nothing here is about a person.

    `prev` is the hash of the device's envelope before it ("" for the first), `session` that of the
    opening; both lie behind the JSON, as 32 bytes each. `index` is its place in the session.
    """

    device: str
    counter: int
    prev: str
    session: str
    index: int
    form: str
    version: str
    form_hash: str
    made: str
    packing: str = PLAIN
    attachments: tuple[Attachment, ...] = ()

    def json(self) -> dict[str, Any]:
        return {
            "device": self.device,
            "counter": self.counter,
            "index": self.index,
            "form": self.form,
            "version": self.version,
            "form_hash": self.form_hash,
            "made": self.made,
            "packing": self.packing,
            "attachments": [{"hash": part.hash, "size": part.size} for part in self.attachments],
        }

    def prefix(self) -> bytes:
        """Everything of the envelope that comes before its body."""
        hashes = bytes.fromhex(self.prev or "00" * 32) + bytes.fromhex(self.session)
        return _prefix(MAGIC, canonical(self.json())) + hashes


@dataclass(frozen=True, slots=True)
class Envelope:
    """A sealed submission, taken apart. Its signature and its seal are not checked here."""

    header: Header
    prefix: bytes
    """What the body is bound to."""
    body: bytes
    signature: bytes
    hash: str
    """SHA-256 in hex of all its bytes: its identity."""

    @property
    def signed(self) -> bytes:
        return self.prefix + self.body


class Outside(NamedTuple):
    """What taking in asks of a sealed submission. Taking each apart would cost it more than all else."""

    counter: int
    hash: str
    prev: str
    session: str
    device: str
    attachments: tuple[Attachment, ...] = ()


@dataclass(frozen=True, slots=True)
class SessionHeader:
    """What anyone may read of a session's opening. `nonce` is 16 random bytes in hex."""

    suite: str
    key: str
    device: str
    nonce: str

    def prefix(self) -> bytes:
        return _prefix(OPENING_MAGIC, canonical(_fields(self)))


@dataclass(frozen=True, slots=True)
class Opening:
    """A session's opening, taken apart. Its signature and its seal are not checked here."""

    header: SessionHeader
    prefix: bytes
    wrapped: bytes
    signature: bytes
    hash: str
    """SHA-256 in hex of all its bytes: the session's name."""

    @property
    def signed(self) -> bytes:
        return self.prefix + self.wrapped

    @property
    def info(self) -> bytes:
        return session_info(self.prefix)


def session_info(prefix: bytes) -> bytes:
    """HPKE's `info` for the wrapped chain key that follows `prefix`."""
    return SESSION_INFO + b"\n" + prefix


def body_nonce(prefix: bytes) -> bytes:
    """The nonce of the body that follows `prefix`."""
    return hashlib.sha256(prefix).digest()[:12]


def backup_info(prefix: bytes) -> bytes:
    """HPKE's `info` for the wrapped key that follows `prefix` and the two bytes of its length."""
    return BACKUP_INFO + b"\n" + prefix


def backup_signed(sha256: bytes) -> bytes:
    """What the device signs at the end of a backup."""
    return BACKUP_INFO + b"\n" + sha256.hex().encode()


def envelope_hash(data: bytes) -> str:
    """SHA-256 in hex of a whole envelope."""
    return hashlib.sha256(data).hexdigest()


def parse(data: bytes) -> Envelope:
    """A sealed submission, taken apart and checked for its layout.

    Raises `Refused("envelope-malformed")` with the place, and `Refused("too-large")`.
    """
    if len(data) > MAX_ENVELOPE:
        raise Refused("too-large", f"{len(data)} bytes; the limit is {MAX_ENVELOPE}")
    text, at = _header(MAGIC, data, "a sealed submission")
    if at + _HASHES + TAG + SIGNATURE_BYTES > len(data):
        raise _bad("cut short before the signature")
    prev, session = data[at : at + 32], data[at + 32 : at + _HASHES]
    name = session.hex()
    header = _at_one_go(text, prev, name) or _submission_header(_object(text), prev, name)
    at += _HASHES
    return Envelope(
        header,
        data[:at],
        data[at:-SIGNATURE_BYTES],
        data[-SIGNATURE_BYTES:],
        envelope_hash(data),
    )


def outside(data: bytes) -> Outside:
    """Where a sealed submission belongs. Checks all that `parse` checks, and raises as it does."""
    if _LEAST <= len(data) <= MAX_ENVELOPE and data[:5] == _BEGINNING:
        at = 9 + int.from_bytes(data[5:9], "big")
        found = _USUAL.fullmatch(data, 9, at)
        if found is not None and at + _HASHES + TAG + SIGNATURE_BYTES <= len(data):
            counter, prev = int(found[1]), data[at : at + 32].hex()
            if (counter == 1) == (prev == _NONE_BEFORE):
                return Outside(
                    counter,
                    hashlib.sha256(data).hexdigest(),
                    "" if counter == 1 else prev,
                    data[at + 32 : at + _HASHES].hex(),
                    found[2].decode(),
                )
    whole = parse(data)
    header = whole.header
    return Outside(
        header.counter, whole.hash, header.prev, header.session, header.device, header.attachments
    )


def is_opening(data: bytes) -> bool:
    """Whether a part of a batch is a session's opening, by its first bytes."""
    return data[:4] == OPENING_MAGIC


def parse_opening(data: bytes) -> Opening:
    """A session's opening, taken apart and checked for its layout. Raises as `parse` does.

    And `Refused("key-unknown")` for a suite that this version does not know.
    """
    if len(data) > MAX_OPENING:
        raise Refused("too-large", f"an opening of {len(data)} bytes; the limit is {MAX_OPENING}")
    text, at = _header(OPENING_MAGIC, data, "a session's opening")
    found = _object(text)
    _exactly_named(found, SessionHeader)
    for name in ("suite", "key", "device", "nonce"):
        _short(found[name], name)
    if found["suite"] not in SUITES:
        raise Refused("key-unknown", f"suite {found['suite']!r} is not one of {', '.join(SUITES)}")
    _match(_KEY, found["key"], "key")
    _match(_DEVICE, found["device"], "device")
    _match(_NONCE, found["nonce"], "nonce")
    wrapped = data[at:-SIGNATURE_BYTES]
    if len(data) - at - SIGNATURE_BYTES != SUITES[found["suite"]].overhead + CHAIN_KEY_BYTES:
        raise _bad("the wrapped chain key has another length")
    return Opening(
        SessionHeader(**found), data[:at], wrapped, data[-SIGNATURE_BYTES:], envelope_hash(data)
    )


def _fields(value: SessionHeader | BackupHeader) -> dict[str, Any]:
    return {name: getattr(value, name) for name in type(value).__dataclass_fields__}


def _exactly_named(found: dict[str, Any], kind: type[SessionHeader | BackupHeader]) -> None:
    wanted = set(kind.__dataclass_fields__)
    if set(found) != wanted:
        raise _bad(f"the header has {sorted(set(found) ^ wanted)} too much or too little")


def _prefix(magic: bytes, header: bytes) -> bytes:
    return magic + _LENGTHS.pack(VERSION, len(header)) + header


def _header(magic: bytes, data: bytes, what: str) -> tuple[bytes, int]:
    """The header's bytes and where they end."""
    if data[:4] != magic:
        raise _bad(f"does not begin as {what}")
    if len(data) < 9:
        raise _bad("cut short in its first 9 bytes")
    version, length = _LENGTHS.unpack_from(data, 4)
    if version != VERSION:
        raise _bad(f"version {version}; this program knows {VERSION}")
    if length > MAX_HEADER:
        raise _bad(f"a header of {length} bytes; the limit is {MAX_HEADER}")
    if 9 + length > len(data):
        raise _bad("cut short in its header")
    return data[9 : 9 + length], 9 + length


def _object(text: bytes) -> dict[str, Any]:
    try:
        found = load_json(text)
        again = canonical(found)
    except (Refused, UnicodeError) as error:
        raise _bad("the header is not JSON") from error
    if again != text:
        # One header, one row of bytes: else two hashes could name one submission.
        raise _bad("the header is not canonical JSON")
    return found


def _bad(where: str) -> Refused:
    return Refused("envelope-malformed", where)


# The header as nearly all are: canonical by its very pattern, without files and without an escape.
_USUAL = re.compile(
    rb'\{"attachments":\[\],"counter":([1-9][0-9]{0,14}),"device":"([a-z0-9][a-z0-9-]{0,62})",'
    rb'"form":"([ !#-[\]-~]{0,512})","form_hash":"([0-9a-f]{64})","index":(0|[1-9][0-9]{0,2}),'
    rb'"made":"([ !#-[\]-~]{0,512})","packing":"('
    + "|".join(map(re.escape, PACKINGS)).encode()
    + rb')","version":"([ !#-[\]-~]{0,512})"\}'
)


def _at_one_go(text: bytes, prev: bytes, session: str) -> Header | None:
    """The header if it is a usual one; None says nothing against it but that it takes longer."""
    found = _USUAL.fullmatch(text)
    if found is None:
        return None
    counter, device, form, form_hash, index, made, packing, version = found.groups()
    place = int(counter)
    if (place == 1) == any(prev):
        return None
    return Header(
        device.decode(),
        place,
        prev.hex() if place > 1 else "",
        session,
        int(index),
        form.decode(),
        version.decode(),
        form_hash.decode(),
        made.decode(),
        packing.decode(),
    )


_OUTSIDE_JSON = {"prev", "session"}


def _submission_header(found: dict[str, Any], prev: bytes, session: str) -> Header:
    wanted = set(Header.__dataclass_fields__) - _OUTSIDE_JSON
    if set(found) != wanted:
        raise _bad(f"the header has {sorted(set(found) ^ wanted)} too much or too little")
    for name in wanted - {"counter", "index", "attachments"}:
        _short(found[name], name)
    _match(_DEVICE, found["device"], "device")
    _match(_HASH, found["form_hash"], "form_hash")
    counter, index = found["counter"], found["index"]
    if type(counter) is not int or not 1 <= counter < 2**53:
        raise _bad("header, counter: not a whole number from 1")
    if type(index) is not int or not 0 <= index < SESSION_MAX:
        raise _bad(f"header, index: not a whole number below {SESSION_MAX}")
    if (counter == 1) == any(prev):
        raise _bad("header, prev: zeros for a device's first submission, and for no other")
    if found["packing"] not in PACKINGS:
        raise _bad(f"header, packing: not one of {', '.join(PACKINGS)}")
    given = found["attachments"]
    if not isinstance(given, list) or len(given) > MAX_ATTACHMENTS:
        raise _bad(f"header, attachments: not a list of at most {MAX_ATTACHMENTS}")
    return Header(
        device=found["device"],
        counter=counter,
        prev=prev.hex() if counter > 1 else "",
        session=session,
        index=index,
        form=found["form"],
        version=found["version"],
        form_hash=found["form_hash"],
        made=found["made"],
        packing=found["packing"],
        attachments=tuple(_attachment(one) for one in given),
    )


def _attachment(one: object) -> Attachment:
    if not isinstance(one, dict) or set(one) != {"hash", "size"}:
        raise _bad("header, attachments: each has a hash and a size")
    if not isinstance(one["hash"], str):
        raise _bad("header, attachments: a hash is text")
    _match(_HASH, one["hash"], "attachments")
    if type(one["size"]) is not int or not TAG <= one["size"] <= MAX_ATTACHMENT:
        raise _bad("header, attachments: a size is a whole number of bytes, with the tag")
    return Attachment(one["hash"], one["size"])


def _short(value: object, name: str) -> None:
    if not isinstance(value, str) or not _SHORT.fullmatch(value):
        raise _bad(f"header, {name}: not a short text")


def _match(pattern: re.Pattern[str], value: str, name: str) -> None:
    if not pattern.fullmatch(value):
        raise _bad(f"header, {name}: not of the form {pattern.pattern}")


# What a submission says.


@dataclass(frozen=True, slots=True)
class SealedFile:
    """How to open one attachment. `key` is base64 of 32 bytes; `size` counts the plain bytes."""

    hash: str
    key: str
    size: int
    media_type: str


@dataclass(frozen=True, slots=True)
class Payload:
    """A finished submission: what it says under its seal, and what its header says of it.

    `xml` is the OpenRosa instance; `seen` names for each record and path the dots
    ("device:counter") that its author had in sight; `parent` is the deprecatedID of a correction,
    else ""; `files` has the attachments by their names in the XML.
    """

    instance_id: str
    form: str
    version: str
    form_hash: str
    started: str
    finished: str
    label: str
    xml: str
    seen: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    parent: str = ""
    files: dict[str, SealedFile] = field(default_factory=dict)

    def text(self, attachments: tuple[Attachment, ...] = ()) -> bytes:
        """What is packed and sealed: a line of canonical JSON, then the XML.

        Without what the header says, and without what is empty. `attachments` are the header's: a
        file is known by its place among them. Raises `Refused("too-large")`.
        """
        places = {one.hash: place for place, one in enumerate(attachments)}
        head = {
            "instance_id": self.instance_id,
            "started": self.started,
            "finished": self.finished,
            "label": self.label,
            "seen": self.seen,
            "parent": self.parent,
            "files": {
                name: [places[one.hash], one.key, one.size, one.media_type]
                for name, one in self.files.items()
            },
        }
        line = canonical({name: value for name, value in head.items() if value})
        xml = self.xml.encode()
        if len(line) + len(xml) >= MAX_PAYLOAD:
            size = len(line) + len(xml)
            raise Refused("too-large", f"an entry of {size} bytes; the limit is {MAX_PAYLOAD}")
        return line + b"\n" + xml

    @staticmethod
    def read(text: bytes, header: Header) -> Payload:
        """The payload of `text`, completed by its header. Raises `Refused("payload-differs")`."""
        line, newline, xml = text.partition(b"\n")
        try:
            found = load_json(line)
            places = [one[0] for one in found.get("files", {}).values()]
            if not newline or sorted(places) != list(range(len(header.attachments))):
                raise ValueError("other attachments than its header says")
            files = {
                name: {
                    "hash": header.attachments[place].hash,
                    "key": key,
                    "size": size,
                    "media_type": media_type,
                }
                for name, (place, key, size, media_type) in found.pop("files", {}).items()
            }
            own = ("instance_id", "started", "finished", "label", "parent")
            whole = {**dict.fromkeys(own, ""), "seen": {}, **found}
            outside = {name: getattr(header, name) for name in ("form", "version", "form_hash")}
            if outside.keys() & found.keys():
                raise ValueError("it says again what its header says")
            return _payload({**whole, **outside, "xml": xml.decode(), "files": files})
        except (Refused, KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            # The words of an error may hold what a person answered: only its kind goes on.
            raise Refused(
                "payload-differs", f"what was sealed is no submission ({type(error).__name__})"
            ) from error

    def pack(self) -> bytes:
        """Canonical JSON of the whole, compressed: how the server keeps it once it was opened.

        Raises `Refused("too-large")`.
        """
        data = canonical(
            {
                "instance_id": self.instance_id,
                "form": self.form,
                "version": self.version,
                "form_hash": self.form_hash,
                "started": self.started,
                "finished": self.finished,
                "label": self.label,
                "xml": self.xml,
                "seen": self.seen,
                "parent": self.parent,
                "files": {
                    name: {
                        "hash": one.hash,
                        "key": one.key,
                        "size": one.size,
                        "media_type": one.media_type,
                    }
                    for name, one in self.files.items()
                },
            }
        )
        if len(data) > MAX_PAYLOAD:
            raise Refused("too-large", f"an entry of {len(data)} bytes; the limit is {MAX_PAYLOAD}")
        return squeeze(data)

    @staticmethod
    def unpack(data: bytes) -> Payload:
        """What `pack` gave. Raises `Refused` with `payload-differs` or `too-large`."""
        try:
            found = load_json(unsqueeze(data, MAX_PAYLOAD))
        except Refused as error:
            if error.problem.code == "too-large":
                raise
            raise Refused("payload-differs", "what was sealed is not JSON under zstd") from error
        try:
            return _payload(found)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise Refused(
                "payload-differs", f"what was sealed is no submission: {error}"
            ) from error


def _payload(found: dict[str, Any]) -> Payload:
    names = (
        "instance_id",
        "form",
        "version",
        "form_hash",
        "started",
        "finished",
        "label",
        "xml",
        "parent",
    )
    if set(found) != {*names, "seen", "files"}:
        raise ValueError(f"it has {sorted(found)}")
    for name in names:
        if not isinstance(found[name], str):
            raise TypeError(f"{name} is not text")
    seen = {
        str(record): {str(path): [_text(dot) for dot in dots] for path, dots in paths.items()}
        for record, paths in found["seen"].items()
    }
    files = {
        name: SealedFile(
            _text(one["hash"]), _text(one["key"]), _whole(one["size"]), _text(one["media_type"])
        )
        for name, one in found["files"].items()
    }
    return Payload(**{name: found[name] for name in names}, seen=seen, files=files)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not text")
    return value


def _whole(value: object) -> int:
    if type(value) is not int or value < 0:
        raise TypeError(f"{value!r} is not a whole number")
    return value


# Files in chunks.


def chunk_nonce(number: int, *, last: bool) -> bytes:
    """The 12 bytes of the nonce of chunk `number`, from 0."""
    return number.to_bytes(11, "big") + (b"\x01" if last else b"\x00")


def sealed_size(size: int) -> int:
    """Bytes of a file of `size` bytes when it is sealed."""
    return size + TAG * max(1, -(-size // CHUNK))


def chunk_sizes(size: int) -> Iterator[tuple[int, bool]]:
    """The sizes of the sealed chunks in `size` sealed bytes, each with whether it is the last.

    Raises `Refused("seal-broken")` where no file has that sealed size.
    """
    whole = CHUNK + TAG
    rest = size % whole
    # A short last chunk holds at least one byte, unless the whole file is empty.
    if size < TAG or 0 < rest < TAG + (size > whole):
        raise Refused("seal-broken", f"{size} bytes are no whole number of chunks")
    for _ in range((size - 1) // whole):
        yield whole, False
    yield rest or whole, True


# Backups.


@dataclass(frozen=True, slots=True)
class BackupHeader:
    """What anyone may read of a backup. `counter` is the last that the device had made."""

    suite: str
    key: str
    device: str
    counter: int
    made: str
    server: str
    """The server's fingerprint: where the backup can be taken in."""

    def prefix(self) -> bytes:
        return _prefix(
            BACKUP_MAGIC,
            canonical(_fields(self)),
        )


@dataclass(frozen=True, slots=True)
class BackupStart:
    """The beginning of a backup, taken apart. The chunks begin at `chunks_at`."""

    header: BackupHeader
    prefix: bytes
    wrapped: bytes
    chunks_at: int


def parse_backup_start(data: bytes) -> BackupStart:
    """A backup's beginning; `data` is its first 128 KiB or all of it. Raises as `parse` does."""
    text, at = _header(BACKUP_MAGIC, data, "a backup")
    found = _object(text)
    _exactly_named(found, BackupHeader)
    for name in set(found) - {"counter"}:
        _short(found[name], name)
    if type(found["counter"]) is not int or found["counter"] < 0:
        raise _bad("header, counter: not a whole number")
    if found["suite"] not in SUITES:
        raise Refused("key-unknown", f"suite {found['suite']!r} is not one of {', '.join(SUITES)}")
    if at + 2 > len(data):
        raise _bad("cut short before the wrapped key")
    (length,) = _U16.unpack_from(data, at)
    if length != SUITES[found["suite"]].overhead + FILE_KEY_BYTES or at + 2 + length > len(data):
        raise _bad("the wrapped key has another length, or is cut short")
    return BackupStart(
        BackupHeader(**found), data[:at], data[at + 2 : at + 2 + length], at + 2 + length
    )


def backup_start(header: BackupHeader, wrapped: bytes) -> bytes:
    """The bytes of a backup that come before its chunks."""
    return header.prefix() + _U16.pack(len(wrapped)) + wrapped


def item_head(head: dict[str, Any], length: int) -> bytes:
    """What comes before the `length` bytes of one item of a backup. `head` has its "kind"."""
    text = canonical(head)
    return _U32.pack(len(text)) + text + _U64.pack(length)


def items(read: Callable[[int], bytes]) -> Iterator[tuple[dict[str, Any], Callable[[int], bytes]]]:
    """The items of an opened backup, each with a `read(most)` of its own bytes (b"" at their end).

    `read(most)` gives at most so many of the opened bytes, b"" at their end. What the caller leaves
    unread of an item is skipped. Ends with the item of kind "end" (which counts the others);
    raises `Refused("envelope-malformed")` where it is missing, or where anything follows it.
    """
    count = 0
    while True:
        (length,) = _U32.unpack(_exactly(read, 4))
        if length > MAX_ITEM_HEAD:
            raise _bad(f"item {count}: a head of {length} bytes; the limit is {MAX_ITEM_HEAD}")
        try:
            head = load_json(_exactly(read, length))
        except Refused as error:
            raise _bad(f"item {count}: its head is not JSON") from error
        (size,) = _U64.unpack(_exactly(read, 8))
        if head.get("kind") == "end":
            if head.get("items") != count or size or read(1):
                raise _bad(f"the backup's end does not fit its {count} items")
            return
        part = _Part(read, size)
        yield head, part.read
        part.skip()
        count += 1


class _Part:
    def __init__(self, read: Callable[[int], bytes], left: int) -> None:
        self._read = read
        self._left = left

    def read(self, most: int) -> bytes:
        if not self._left or most <= 0:
            return b""
        data = self._read(min(most, self._left))
        if not data:
            raise _bad("the backup is cut short within an item")
        self._left -= len(data)
        return data

    def skip(self) -> None:
        while self.read(CHUNK):
            pass


def _exactly(read: Callable[[int], bytes], length: int) -> bytes:
    data = b""
    while len(data) < length:
        more = read(length - len(data))
        if not more:
            raise _bad("the backup is cut short")
        data += more
    return data
