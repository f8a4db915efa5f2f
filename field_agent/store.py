"""The device's store: one SQLCipher file, for every entry from its first answer to its receipt.

Each answer is on the disk when `save` returns. `finish` seals an entry, puts it into the outbox and
erases the readable draft in one transaction; what is sealed, this device cannot read back.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import json
import os
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Self

import sqlcipher3

from field_agent import vault as keys
from field_agent.lease import Lease
from field_agent.waldamage import WIPED, unread_log
from schemas.envelope import (
    Attachment,
    Header,
    Payload,
    SealedFile,
    SealingKey,
    envelope_hash,
)
from schemas.packing import Outline, pack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    import sqlite_utils

    from field_agent.vault import Vault

STORE_FILE = "store.db"
STATES = ("pending", "sent", "receipted", "refused", "held")
PIECE = 64 * 1024
LOG_PAGES_MAX = 4000
BUSY_MS = 10_000
_LAYOUT = 1


class DiskFull(Exception):
    """The disk is full: this one act was not stored, everything before it was."""


class Busy(Exception):
    """Another command of this device holds the store; nothing was changed."""


class Missing(Exception):
    """There is no such entry, form or file in this store."""


class NotEnrolled(Exception):
    """The device belongs to no server yet: nothing can be sealed, as there is no key to seal to."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom the device belongs to. `about` is what enrolment told besides (programme, officer)."""

    device: str
    area: str
    server_url: str
    fingerprint: str
    server_key: bytes
    epoch: str
    about: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Form:
    """One version of one form as the server gave it. `media` has file names and their SHA-256."""

    form: str
    version: str
    hash: str
    title: str
    xml: str
    media: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Draft:
    """An entry being filled in. `answers` are in the order in which they were first given."""

    draft: str
    form: str
    version: str
    form_hash: str
    label: str
    started: str
    started_ms: int
    parent: str
    seen: dict[str, dict[str, list[str]]]
    answers: dict[str, Any]
    files: dict[str, str]
    """Names of attached files, with their media types."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A sealed entry as the outbox lists it: what its agent may know of it, and no more."""

    counter: int
    hash: str
    state: str
    label: str
    form: str
    version: str
    made_ms: int
    size: int
    draft: str
    why: str = ""


@dataclass(frozen=True, slots=True)
class SealedAttachment:
    """A sealed file on its way. `sent` is how many of its bytes the server is known to hold."""

    hash: str
    counter: int
    size: int
    sent: int


@dataclass(frozen=True, slots=True)
class Batch:
    """What one round brings: made and stored before the first try, so that it can be sent again."""

    batch: str
    counters: tuple[int, ...]
    made_ms: int
    reply: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Record:
    """A household or person of the area as the device last folded it."""

    record: str
    kind: str
    label: str
    parent: str
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Notice:
    """Something the server wants the agent to know. `read` once the agent has seen it."""

    number: int
    kind: str
    body: dict[str, Any]
    made_ms: int
    read: bool


@dataclass(frozen=True, slots=True)
class Status:
    """What a device is asked first. `states` counts sealed entries; None: there is no lease."""

    device: str
    area: str
    server_url: str
    drafts: int
    states: dict[str, int]
    attachments_left: int
    records: int
    notices: int
    contact_ms: int
    lease_left_s: int | None
    counter: int

    @property
    def unsent(self) -> int:
        """Sealed entries that the server has not yet acknowledged."""
        return self.states["pending"] + self.states["sent"]


_TABLES: dict[str, tuple[dict[str, type], str | tuple[str, ...]]] = {
    "identity": (
        {
            "one": int,
            "device": str,
            "area": str,
            "server_url": str,
            "fingerprint": str,
            "server_key": bytes,
            "epoch": str,
            "about": str,
            "signing": bytes,
            "box": bytes,
            "counter": int,
            "last_hash": str,
            "lease_s": int,
            "contact_ms": int,
            "seen_ms": int,
        },
        "one",
    ),
    "programme_keys": ({"id": str, "suite": str, "public": bytes, "place": int}, "id"),
    "forms": (
        {"form": str, "version": str, "hash": str, "title": str, "xml": str, "current": int},
        ("form", "version"),
    ),
    "form_files": (
        {"form": str, "version": str, "name": str, "hash": str},
        ("form", "version", "name"),
    ),
    "media": ({"hash": str, "data": bytes}, "hash"),
    "drafts": (
        {
            "draft": str,
            "form": str,
            "version": str,
            "form_hash": str,
            "label": str,
            "started": str,
            "started_ms": int,
            "parent": str,
            "seen": str,
        },
        "draft",
    ),
    "draft_files": ({"draft": str, "name": str, "media_type": str, "size": int}, ("draft", "name")),
    "draft_pieces": (
        {"draft": str, "name": str, "number": int, "data": bytes},
        ("draft", "name", "number"),
    ),
    "outbox": (
        {
            "counter": int,
            "hash": str,
            "state": str,
            "label": str,
            "form": str,
            "version": str,
            "made_ms": int,
            "size": int,
            "draft": str,
            "why": str,
            "receipt": int,
            "session": str,
        },
        "counter",
    ),
    # Apart, so that an entry's way from state to state does not write its sealed bytes again.
    "envelopes": ({"counter": int, "data": bytes}, "counter"),
    "openings": ({"hash": str, "data": bytes, "held": int}, "hash"),
    "attachments": ({"hash": str, "counter": int, "size": int, "sent": int}, "hash"),
    "attachment_pieces": ({"hash": str, "number": int, "data": bytes}, ("hash", "number")),
    "batches": ({"batch": str, "counters": str, "made_ms": int, "reply": str}, "batch"),
    "receipts": ({"number": int, "receipt": str}, "number"),
    "records": (
        {"record": str, "kind": str, "label": str, "parent": str, "body": str},
        "record",
    ),
    "changes": ({"area": str, "sequence": int, "record": str, "body": str}, ("area", "sequence")),
    "cursors": ({"area": str, "epoch": str, "sequence": int}, "area"),
    "notices": (
        {"number": int, "ref": str, "kind": str, "body": str, "made_ms": int, "read": int},
        "number",
    ),
    "kept": ({"name": str, "value": str}, "name"),
}
_INDEXES = {
    "outbox": (("state",), ("draft",)),
    "records": (("kind", "label"), ("parent",)),
    "changes": (("record",),),
    "attachments": (("counter",),),
}
# The one table that is written at each answer is its own index, so that an answer costs one page.
_ANSWERS = """CREATE TABLE answers (draft TEXT, path TEXT, number INTEGER, value TEXT,
              PRIMARY KEY (draft, path)) WITHOUT ROWID"""


class Store:
    """The open store. One per process is enough: its methods may be called from any thread."""

    def __init__(self, vault: Vault, connection: Any, presence: int) -> None:
        self.vault = vault
        self.left_aside = 0
        """Bytes of the log that could not be read back: see `open`."""
        self._connection = connection
        self._presence = presence
        self._lock = threading.RLock()
        self._wipe_due = False
        self._outlines: dict[str, Outline] = {}
        self._lease = Lease(0, 0, 0)
        self._ended = ""
        self._steady_ms: Callable[[], int] | None = None
        self._steady_last_ms = 0

    # Opening and closing.

    @classmethod
    def open(
        cls,
        vault: Vault,
        *,
        now_ms: int,
        for_contact: bool = False,
        steady_ms: Callable[[], int] | None = None,
    ) -> Self:
        """The store of an unlocked vault, made if there is none.

        Raises `LeaseEnded`, `Damaged`, `Busy`. With `for_contact` a store whose lease has ended
        opens too, for a round, a backup and the counts; entries and records stay closed.
        `steady_ms` is a clock that no one can set, for long sessions. Where a power cut left an
        unfinished write in the log, `left_aside` says how many bytes: the write had not been
        acknowledged, or else the disk is failing; a notice is kept for the agent.
        """
        place = vault.home / STORE_FILE
        presence = os.open(vault.home, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        connection = None
        try:
            left_aside = _look_at_log(presence, place)
            fresh = not place.exists()
            connection = _connect(place, vault)
            store = cls(vault, connection, presence)
            store._begin(fresh=fresh, left_aside=left_aside, now_ms=now_ms)
            store._steady_ms = steady_ms
            store._steady_last_ms = steady_ms() if steady_ms else 0
            ended = store._ended = store._lease.ended(now_ms)
            if ended and not for_contact:
                raise keys.LeaseEnded(ended)
            store.tick(now_ms)
        except BaseException:
            if connection is not None:
                connection.close()
            os.close(presence)
            raise
        return store

    def _begin(self, *, fresh: bool, left_aside: int, now_ms: int) -> None:
        if fresh:
            with self.transaction():
                self._lay_out(now_ms)
            keys.sync_folder(self.vault.home)
        found = self._one("SELECT signing, box, lease_s, contact_ms, seen_ms FROM identity")
        if found is None:
            raise keys.Damaged(f"{self.vault.home / STORE_FILE} was never laid out to its end")
        self.vault.adopt(keys.DeviceKeys(found[0], found[1]))
        self._lease = Lease(found[2], found[3], found[4])
        # A process that was killed could not wipe what it had written.
        self._wipe_log()
        self.left_aside = left_aside
        if left_aside:
            body = {"bytes": left_aside}
            self.put_notice(f"log-{now_ms}", "log-left-aside", body, now_ms=now_ms)

    def _lay_out(self, now_ms: int) -> None:
        for name, (columns, pk) in _TABLES.items():
            self.db.table(name).create(columns, pk=pk)
        for name, indexes in _INDEXES.items():
            for columns_of in indexes:
                self.db.table(name).create_index(columns_of)
        self.db.table("notices").create_index(["ref"], unique=True)
        self._connection.execute(_ANSWERS)
        self._connection.execute(f"PRAGMA user_version = {_LAYOUT}")
        made = keys.new_device_keys()
        self.db.table("identity").insert(
            {
                "one": 1,
                "device": "",
                "area": "",
                "server_url": "",
                "fingerprint": "",
                "server_key": b"",
                "epoch": "",
                "about": "{}",
                "signing": made.signing,
                "box": made.box,
                "counter": 0,
                "last_hash": "",
                "lease_s": 0,
                "contact_ms": now_ms,
                "seen_ms": now_ms,
            }
        )

    @cached_property
    def db(self) -> sqlite_utils.Database:
        """sqlite-utils over the encrypted connection; without its plug-ins, which are not ours."""
        # Imported late: `field-agent status` needs none of it.
        import sqlite_utils  # noqa: PLC0415

        return sqlite_utils.Database(self._connection, execute_plugins=False)

    def close(self) -> None:
        """Close the file. The keys stay in this process's memory: end it to lock the device."""
        with self._lock:
            if self._presence < 0:
                return
            self._wipe_log()
            self._connection.close()
            os.close(self._presence)
            self._presence = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All of what is written within is stored when it ends, or none. Raises `DiskFull`, `Busy`.

        Within another one it is part of that one.
        """
        with self._lock, _told():
            if self._connection.in_transaction:
                yield
                return
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
            self._tend_log()

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """What is read within is of one moment, whatever other commands write meanwhile."""
        with self._lock, _told():
            if self._connection.in_transaction:
                yield
                return
            self._connection.execute("BEGIN")
            try:
                yield
            finally:
                self._connection.execute("ROLLBACK")

    def _one(self, sql: str, values: Sequence[object] = ()) -> Any:
        with self._lock, _told():
            return self._connection.execute(sql, values).fetchone()

    def _all(self, sql: str, values: Sequence[object] = ()) -> list[Any]:
        with self._lock, _told():
            return list(self._connection.execute(sql, values))

    def _write(self, sql: str, values: Sequence[object] | Mapping[str, object] = ()) -> int:
        """The number of rows that it touched."""
        with self.transaction():
            return int(self._connection.execute(sql, values).rowcount)

    # The lease and the clock.

    def tick(self, now_ms: int) -> str:
        """Look at the clock; why the device must lock itself now, or "". Called now and then."""
        steady = self._steady_ms() if self._steady_ms else 0
        spent, self._steady_last_ms = steady - self._steady_last_ms, steady
        ended = self._lease.ended(now_ms)
        seen = self._lease.seen(now_ms, spent)
        # One write a minute at most: the mark is for days.
        if seen.seen_ms - self._lease.seen_ms >= 60_000:
            self._write("UPDATE identity SET seen_ms = ?", (seen.seen_ms,))
            self._lease = seen
        else:
            self._steady_last_ms -= spent
        self._ended = ended or seen.ended(now_ms)
        return self._ended

    def _ready(self) -> None:
        """Raises `LeaseEnded` where the lease has ended, at opening or by the steady clock."""
        if self._steady_ms is not None and not self._ended:
            now = self._lease.seen(0, self._steady_ms() - self._steady_last_ms)
            self._ended = now.ended(now.seen_ms)
        if self._ended:
            raise keys.LeaseEnded(self._ended)

    def renew_lease(self, lease_s: int, *, now_ms: int) -> None:
        """After a round in which the server's signed reply granted it."""
        with self.transaction():
            self._lease = self._lease.renewed(now_ms, lease_s)
            self._ended = ""
            self._steady_last_ms = self._steady_ms() if self._steady_ms else 0
            self._write(
                "UPDATE identity SET lease_s = ?, contact_ms = ?, seen_ms = ?",
                (lease_s, now_ms, now_ms),
            )

    def revoke(self, reason: str) -> None:
        """The server withdrew this device: erase the wrapped key. No passphrase opens it again."""
        with self._lock:
            self.vault.erase(reason)

    def rotate_key(self, passphrase: str) -> None:
        """Encrypt the whole store under a new key. Cut short anywhere, one of the two opens it.

        Raises `WrongPassphrase`, and `Busy` while another command has the store open.
        """
        with self._lock, _told():
            following = self.vault.begin_rotation(passphrase)
            self._wipe_log()
            # With a rollback journal the old pages are kept, under the old key, until the end.
            (mode,) = self._connection.execute("PRAGMA journal_mode = DELETE").fetchone()
            if mode != "delete":
                raise Busy("another command has the store open: end it, then rotate the key")
            self._connection.execute("PRAGMA synchronous = EXTRA")
            self._connection.execute(f"PRAGMA rekey = \"x'{following.hex()}'\"")
            self.vault.end_rotation(following)
            _durable(self._connection)

    def check(self) -> tuple[str, ...]:
        """Each page's authentication, and SQLite's own check; what was found, () if all is well."""
        with self._lock:
            try:
                # SQLCipher checks the file alone, and a torn page there may live whole in the log.
                self._wipe_log()
                found = [
                    row[0] for row in self._connection.execute("PRAGMA cipher_integrity_check")
                ]
                if not found:
                    found = [
                        row[0]
                        for row in self._connection.execute("PRAGMA integrity_check")
                        if row[0] != "ok"
                    ]
            except sqlcipher3.DatabaseError as error:
                found = [str(error)]
        return tuple(found)

    # Whom the device belongs to.

    @property
    def identity(self) -> Identity | None:
        """None before enrolment."""
        row = self._one(
            "SELECT device, area, server_url, fingerprint, server_key, epoch, about FROM identity"
        )
        return None if not row[0] else Identity(*(*row[:6], json.loads(row[6])))

    def enrol(
        self, identity: Identity, sealing: Sequence[SealingKey], *, lease_s: int, now_ms: int
    ) -> None:
        """The device is now `identity`'s. Its own keys were made when the store was."""
        with self.transaction():
            old = self.identity
            if old is not None and old.device != identity.device:
                if self._one("SELECT 1 FROM outbox WHERE state IN ('pending', 'sent') LIMIT 1"):
                    raise Busy("unsent entries are sealed as another device: sync them first")
                self._write("UPDATE identity SET counter = 0, last_hash = ''")
                for table in ("outbox", "envelopes", "openings"):
                    self._write(f"DELETE FROM {table}")  # noqa: S608  the names are ours
            self._write(
                "UPDATE identity SET device = ?, area = ?, server_url = ?, fingerprint = ?, "
                "server_key = ?, epoch = ?, about = ?",
                (
                    identity.device,
                    identity.area,
                    identity.server_url,
                    identity.fingerprint,
                    identity.server_key,
                    identity.epoch,
                    json.dumps(identity.about),
                ),
            )
            self.put_keys(sealing)
            self.renew_lease(lease_s, now_ms=now_ms)

    @property
    def counter(self) -> int:
        """The counter of the last entry that was sealed; 0 at first."""
        return int(self._one("SELECT counter FROM identity")[0])

    def set_epoch(self, epoch: str) -> None:
        self._write("UPDATE identity SET epoch = ?", (epoch,))

    def put_keys(self, sealing: Sequence[SealingKey]) -> None:
        """The programme's public keys from now on, in the programme's order of preference."""
        with self.transaction():
            self._write("DELETE FROM programme_keys")
            for place, key in enumerate(sealing):
                self.db.table("programme_keys").insert(
                    {"id": key.id, "suite": key.suite, "public": key.public, "place": place}
                )

    @property
    def sealing_keys(self) -> list[SealingKey]:
        rows = self._all("SELECT suite, public, id FROM programme_keys ORDER BY place")
        return [SealingKey(*row) for row in rows]

    def keep(self, name: str, value: Any) -> None:
        """Keep a small JSON value under a name of the caller's (a setting, a clock's last mark)."""
        self._write("INSERT OR REPLACE INTO kept VALUES (?, ?)", (name, json.dumps(value)))

    def kept(self, name: str, default: Any = None) -> Any:
        row = self._one("SELECT value FROM kept WHERE name = ?", (name,))
        return default if row is None else json.loads(row[0])

    # Forms and their media.

    def put_form(self, form: Form) -> None:
        """Add or replace one version; it becomes the current one of its form."""
        with self.transaction():
            self._write("UPDATE forms SET current = 0 WHERE form = ?", (form.form,))
            self.db.table("forms").upsert(
                {
                    "form": form.form,
                    "version": form.version,
                    "hash": form.hash,
                    "title": form.title,
                    "xml": form.xml,
                    "current": 1,
                },
                pk=("form", "version"),
            )
            self._write(
                "DELETE FROM form_files WHERE form = ? AND version = ?", (form.form, form.version)
            )
            for name, digest in form.media.items():
                self._write(
                    "INSERT INTO form_files VALUES (?, ?, ?, ?)",
                    (form.form, form.version, name, digest),
                )

    def retire_forms(self, current: Iterable[str]) -> None:
        """Only these forms can be begun from now on; entries begun before can be finished."""
        with self.transaction():
            self._write("UPDATE forms SET current = 0")
            for name in current:
                self._write(
                    "UPDATE forms SET current = 1 WHERE rowid = "
                    "(SELECT max(rowid) FROM forms WHERE form = ?)",
                    (name,),
                )

    def forms(self) -> list[Form]:
        """The current version of each form, by title."""
        rows = self._all(f"{_FORMS} WHERE current = 1 ORDER BY title, form")
        return [Form(*(*row, self._media_of(row[0], row[1]))) for row in rows]

    def form(self, form: str, version: str | None = None) -> Form:
        """One version, by default the current one. Raises `Missing`."""
        row = self._one(
            f"{_FORMS} WHERE form = ? AND " + ("current = 1" if version is None else "version = ?"),
            (form,) if version is None else (form, version),
        )
        if row is None:
            raise Missing(f"no form {form} {version or ''} on this device; sync to fetch it")
        return Form(*(*row, self._media_of(row[0], row[1])))

    def _media_of(self, form: str, version: str) -> dict[str, str]:
        return dict(
            self._all(
                "SELECT name, hash FROM form_files WHERE form = ? AND version = ?", (form, version)
            )
        )

    def put_media(self, digest: str, data: bytes) -> None:
        self._write("INSERT OR REPLACE INTO media VALUES (?, ?)", (digest, data))

    def media(self, digest: str) -> bytes:
        """A form's file by its SHA-256. Raises `Missing`."""
        row = self._one("SELECT data FROM media WHERE hash = ?", (digest,))
        if row is None:
            raise Missing(f"the form's file {digest} is not here yet; sync to fetch it")
        return bytes(row[0])

    def missing_media(self) -> list[str]:
        return [
            row[0]
            for row in self._all(
                "SELECT DISTINCT hash FROM form_files WHERE hash NOT IN (SELECT hash FROM media)"
            )
        ]

    # Entries being filled in.

    def begin(
        self,
        draft: str,
        form: Form,
        *,
        started: str,
        now_ms: int,
        parent: str = "",
        seen: Mapping[str, Mapping[str, Sequence[str]]] | None = None,
        label: str = "",
    ) -> None:
        """A new, empty entry by an id of the caller's. Beginning it again changes nothing."""
        self._ready()
        self._write(
            "INSERT OR IGNORE INTO drafts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                draft,
                form.form,
                form.version,
                form.hash,
                label,
                started,
                now_ms,
                parent,
                json.dumps(seen or {}),
            ),
        )

    def save(self, draft: str, path: str, value: Any) -> None:
        """Store one answer (any JSON value): when this returns, a power cut cannot take it back.

        Raises `Missing` where the entry was finished or thrown away, and `DiskFull`.
        """
        self.save_all(draft, {path: value})

    def save_all(self, draft: str, answers: Mapping[str, Any]) -> None:
        """Several answers, all or none, as durable as one."""
        self._ready()
        with self.transaction():
            run = self._connection.execute
            for path, value in answers.items():
                # A new path goes behind the others; a known one keeps its place.
                done = run(
                    "INSERT INTO answers SELECT draft, ?2, "
                    "(SELECT coalesce(max(number), 0) + 1 FROM answers WHERE draft = ?1), ?3 "
                    "FROM drafts WHERE draft = ?1 "
                    "ON CONFLICT (draft, path) DO UPDATE SET value = excluded.value",
                    (draft, path, json.dumps(value, ensure_ascii=False)),
                )
                if not done.rowcount:
                    raise Missing(
                        f"entry {draft} is not being filled in: it was finished or erased"
                    )

    def forget(self, draft: str, paths: Iterable[str]) -> None:
        """Take back answers."""
        with self.transaction():
            for path in paths:
                self._write("DELETE FROM answers WHERE draft = ? AND path = ?", (draft, path))

    def relabel(self, draft: str, label: str) -> None:
        """How the entry is listed while it is being filled in."""
        self._write("UPDATE drafts SET label = ? WHERE draft = ?", (label, draft))

    def attach(self, draft: str, name: str, media_type: str, pieces: Iterable[bytes]) -> int:
        """Store a file of an entry under its name in the XML; its size in bytes."""
        self._ready()
        size = 0
        with self.transaction():
            if self._one("SELECT 1 FROM drafts WHERE draft = ?", (draft,)) is None:
                raise Missing(f"entry {draft} is not being filled in: it was finished or erased")
            self.detach(draft, name)
            for number, piece in enumerate(_cut(pieces)):
                size += len(piece)
                self._connection.execute(
                    "INSERT INTO draft_pieces VALUES (?, ?, ?, ?)", (draft, name, number, piece)
                )
            self._connection.execute(
                "INSERT INTO draft_files VALUES (?, ?, ?, ?)", (draft, name, media_type, size)
            )
        return size

    def detach(self, draft: str, name: str) -> None:
        with self.transaction():
            for table in ("draft_files", "draft_pieces"):
                self._write(f"DELETE FROM {table} WHERE draft = ? AND name = ?", (draft, name))  # noqa: S608  the names are ours

    def attached(self, draft: str, name: str) -> Iterator[bytes]:
        """The plain bytes of an entry's file, piece by piece."""
        self._ready()
        return self._pieces(draft, name)

    def _pieces(self, draft: str, name: str) -> Iterator[bytes]:
        number = 0
        while True:
            row = self._one(
                "SELECT data FROM draft_pieces WHERE draft = ? AND name = ? AND number = ?",
                (draft, name, number),
            )
            if row is None:
                return
            yield bytes(row[0])
            number += 1

    def drafts(self) -> list[Draft]:
        """The entries being filled in, the latest begun first."""
        self._ready()
        return self._drafts()

    def _drafts(self) -> list[Draft]:
        # Of one moment: another command may finish one of them meanwhile.
        with self.snapshot():
            ids = self._all("SELECT draft FROM drafts ORDER BY started_ms DESC, draft")
            return [self._draft(row[0]) for row in ids]

    def draft(self, draft: str) -> Draft:
        """Raises `Missing`."""
        self._ready()
        return self._draft(draft)

    def to_back_up(self) -> Iterator[tuple[Draft, dict[str, Callable[[], Iterator[bytes]]]]]:
        """Each draft with a reader of each of its files, whatever the lease: to be sealed."""
        for draft in self._drafts():
            yield draft, {name: partial(self._pieces, draft.draft, name) for name in draft.files}

    def _draft(self, draft: str) -> Draft:
        with self.snapshot():
            row = self._one(
                "SELECT draft, form, version, form_hash, label, started, started_ms, parent, seen "
                "FROM drafts WHERE draft = ?",
                (draft,),
            )
            if row is None:
                raise Missing(f"entry {draft} is not being filled in: it was finished or erased")
            answers = self._all(
                "SELECT path, value FROM answers WHERE draft = ? ORDER BY number", (draft,)
            )
            files = self._all(
                "SELECT name, media_type FROM draft_files WHERE draft = ? ORDER BY name", (draft,)
            )
        known = {path: json.loads(value) for path, value in answers}
        return Draft(*(*row[:8], json.loads(row[8]), known, dict(files)))

    def discard(self, draft: str) -> None:
        """Erase an entry that nobody wants; nothing of it stays."""
        with self.transaction():
            self._erase_draft(draft)
        self._wipe_log()

    def _erase_draft(self, draft: str) -> None:
        for table in ("answers", "draft_files", "draft_pieces", "drafts"):
            self._connection.execute(f"DELETE FROM {table} WHERE draft = ?", (draft,))  # noqa: S608  the names are ours

    # Finishing.

    def finish(
        self,
        draft: str,
        *,
        xml: str,
        instance_id: str,
        label: str,
        finished: str,
        made: str,
        now_ms: int,
        files: Iterable[str] | None = None,
        seen: Mapping[str, Mapping[str, Sequence[str]]] | None = None,
    ) -> Finished:
        """Seal an entry, put it into the outbox, erase the draft: one transaction.

        `files` are the names that the XML still mentions (by default all attached ones); `seen`
        replaces what `begin` was told; `made` is the hybrid logical clock's text. Finishing again
        gives the same sealed entry. Raises `NotEnrolled`, `CannotSeal`, `Missing`, `DiskFull`:
        then the draft is as it was.
        """
        self._ready()
        with self._lock:
            with self.transaction():
                already = self._find("draft = ?", draft)
                if already is not None:
                    return already
                entry = self.draft(draft)
                names = [name for name in entry.files if files is None or name in set(files)]
                counter, prev, device = self._next_place()
                seal = self.vault.next_seal(keys.choose(self.sealing_keys), device)
                outline = self._outline(entry.form, entry.version, entry.form_hash)
                sealed = {name: self._seal_file(entry, name, counter) for name in names}
                attachments = tuple(Attachment(one.hash, size) for one, size in sealed.values())
                payload = Payload(
                    instance_id,
                    entry.form,
                    entry.version,
                    entry.form_hash,
                    entry.started,
                    finished,
                    label,
                    xml,
                    entry.seen
                    if seen is None
                    else {
                        record: {path: list(dots) for path, dots in paths.items()}
                        for record, paths in seen.items()
                    },
                    entry.parent,
                    {name: one for name, (one, _) in sealed.items()},
                )
                packing, packed = pack(payload.text(attachments), outline)
                header = Header(
                    device,
                    counter,
                    prev,
                    seal.session,
                    seal.index,
                    entry.form,
                    entry.version,
                    entry.form_hash,
                    made,
                    packing,
                    attachments,
                )
                envelope = self.vault.seal(packed, header, seal)
                self._connection.execute(
                    "INSERT OR IGNORE INTO openings VALUES (?, ?, 0)", (seal.session, seal.opening)
                )
                done = self._put_sealed(envelope, header, label, draft, now_ms)
                self._erase_draft(draft)
            # The log still holds the draft's last pages, under the store's key.
            self._wipe_log()
        return done

    def _outline(self, form: str, version: str, form_hash: str) -> Outline | None:
        """The outline of a form whose bytes are those of the hash; None where they are not here."""
        found = self._outlines.get(form_hash)
        if found is None:
            row = self._one(
                "SELECT xml FROM forms WHERE form = ? AND version = ? AND hash = ?",
                (form, version, form_hash),
            )
            if row is None or hashlib.sha256(row[0].encode()).hexdigest() != form_hash:
                return None
            found = self._outlines[form_hash] = Outline(row[0].encode())
        return found

    def _next_place(self) -> tuple[int, str, str]:
        device, counter, last = self._one("SELECT device, counter, last_hash FROM identity")
        if not device:
            raise NotEnrolled("enrol this device first (field-agent enrol): the draft is kept")
        return counter + 1, last, device

    def _seal_file(self, entry: Draft, name: str, counter: int) -> tuple[SealedFile, int]:
        sealer = keys.FileSealer()
        # The hash is known at the end only; until then the pieces lie under the file's name.
        waiting = f"sealing {counter} {name}"
        for number, chunk in enumerate(sealer.seal(self.attached(entry.draft, name))):
            self._connection.execute(
                "INSERT INTO attachment_pieces VALUES (?, ?, ?)", (waiting, number, chunk)
            )
        self._connection.execute(
            "UPDATE attachment_pieces SET hash = ? WHERE hash = ?", (sealer.hash, waiting)
        )
        self._connection.execute(
            "INSERT INTO attachments VALUES (?, ?, ?, 0)",
            (sealer.hash, counter, sealer.sealed_size),
        )
        one = SealedFile(sealer.hash, sealer.key_text, sealer.size, entry.files[name])
        return one, sealer.sealed_size

    def _put_sealed(
        self, envelope: bytes, header: Header, label: str, draft: str, now_ms: int
    ) -> Finished:
        digest = envelope_hash(envelope)
        done = Finished(
            header.counter,
            digest,
            "pending",
            label,
            header.form,
            header.version,
            now_ms,
            len(envelope),
            draft,
        )
        self._connection.execute(
            "INSERT INTO outbox VALUES (?, ?, 'pending', ?, ?, ?, ?, ?, ?, '', 0, ?)",
            (
                done.counter,
                digest,
                label,
                done.form,
                done.version,
                now_ms,
                done.size,
                draft,
                header.session,
            ),
        )
        self._connection.execute("INSERT INTO envelopes VALUES (?, ?)", (done.counter, envelope))
        self._connection.execute(
            "UPDATE identity SET counter = ?, last_hash = ?", (header.counter, digest)
        )
        return done

    # The outbox.

    def _find(self, where: str, *values: object) -> Finished | None:
        row = self._one(f"{_OUTBOX} WHERE {where}", values)
        return None if row is None else Finished(*row)

    def finished(self, counter: int) -> Finished:
        """Raises `Missing`."""
        found = self._find("counter = ?", counter)
        if found is None:
            raise Missing(f"this device has sealed no entry {counter}")
        return found

    def outbox(
        self, *, states: Sequence[str] = STATES, after: int = 0, limit: int = 1000
    ) -> list[Finished]:
        """Sealed entries in the order in which they were finished."""
        marks = ", ".join("?" * len(states))
        rows = self._all(
            f"{_OUTBOX} WHERE counter > ? AND state IN ({marks}) ORDER BY counter LIMIT ?",
            (after, *states, limit),
        )
        return [Finished(*row) for row in rows]

    def envelope(self, counter: int) -> bytes:
        """The sealed bytes. Raises `Missing` where they were dropped after their receipt."""
        row = self._one("SELECT data FROM envelopes WHERE counter = ?", (counter,))
        if row is None:
            raise Missing(f"the sealed bytes of entry {counter} are not on this device any more")
        return bytes(row[0])

    # Openings of the sessions that envelopes were sealed in: no secret, and needed to open them.

    def openings(self, counters: Sequence[int]) -> list[bytes]:
        """Those that these entries need and that the server is not known to hold."""
        found = {
            row[0]: bytes(row[1])
            for first, last in _ranges(counters)
            for row in self._all(
                "SELECT hash, data FROM openings WHERE held = 0 AND hash IN "
                "(SELECT session FROM outbox WHERE counter BETWEEN ? AND ?) ORDER BY rowid",
                (first, last),
            )
        }
        return list(found.values())

    def openings_to_back_up(self) -> Iterator[bytes]:
        """All that an entry without a receipt needs, whether the server has them or not."""
        rows = self._all(
            "SELECT DISTINCT openings.hash FROM openings JOIN outbox ON session = openings.hash "
            "WHERE state != 'receipted' AND counter IN (SELECT counter FROM envelopes)"
        )
        for (name,) in rows:
            yield bytes(self._one("SELECT data FROM openings WHERE hash = ?", (name,))[0])

    def openings_held(self, counters: Sequence[int], *, held: bool = True) -> None:
        """The server holds, or has lost, what opens these entries."""
        with self.transaction():
            for first, last in _ranges(counters):
                self._write(
                    "UPDATE openings SET held = ?1 WHERE held != ?1 AND hash IN "
                    "(SELECT session FROM outbox WHERE counter BETWEEN ?2 AND ?3)",
                    (held, first, last),
                )

    def pending(self, *, most: int, limit: int) -> list[tuple[int, bytes]]:
        """(counter, sealed bytes) of entries to be sent next: about `most` bytes, at least one."""
        found: list[tuple[int, bytes]] = []
        weight = 0
        with self._lock, _told():
            for counter, envelope in self._connection.execute(
                "SELECT counter, data FROM outbox JOIN envelopes USING (counter) "
                "WHERE state = 'pending' ORDER BY counter LIMIT ?",
                (limit,),
            ):
                weight += len(envelope)
                if found and weight > most:
                    break
                found.append((counter, bytes(envelope)))
        return found

    def any_pending(self) -> bool:
        return self._one("SELECT 1 FROM outbox WHERE state = 'pending' LIMIT 1") is not None

    def envelopes(self, counters: Sequence[int]) -> list[bytes]:
        """The sealed bytes of several. Raises `Missing` where one of them was dropped."""
        found: list[bytes] = []
        for first, last in _ranges(counters):
            rows = self._all(
                "SELECT data FROM envelopes WHERE counter BETWEEN ? AND ? ORDER BY counter",
                (first, last),
            )
            found += [bytes(row[0]) for row in rows]
        if len(found) != len(set(counters)):
            raise Missing("sealed bytes of a batch are not on this device any more")
        return found

    def unsent(self) -> int:
        """How many sealed entries the server has not yet acknowledged."""
        return sum(self._count(state) for state in ("pending", "sent"))

    def _count(self, state: str) -> int:
        return int(self._one("SELECT count(*) FROM outbox WHERE state = ?", (state,))[0])

    def waiting(self) -> tuple[int, int]:
        """How many sealed entries have no receipt and are to be sent, and their bytes."""
        row = self._one(
            "SELECT count(*), coalesce(sum(size), 0) FROM outbox WHERE state IN ('pending', 'sent')"
        )
        return row[0], row[1]

    def acknowledged(self) -> int:
        """The highest counter up to which every receipt is in hand."""
        first = [
            self._one("SELECT min(counter) FROM outbox WHERE state = ?", (state,))[0]
            for state in STATES
            if state != "receipted"
        ]
        return min((one - 1 for one in first if one is not None), default=self.counter)

    def mark(self, counters: Iterable[int], state: str, *, why: str = "", only: str = "") -> None:
        """Sealed entries are now in `state`, or those of them that are in `only`.

        A receipted one stays so, whatever arrives late.
        """
        if state not in STATES:
            raise ValueError(f"{state} is none of {', '.join(STATES)}")
        with self.transaction():
            for first, last in _ranges(counters):
                self._connection.execute(
                    "UPDATE outbox SET state = ?1, why = ?2 WHERE counter BETWEEN ?3 AND ?4 "
                    "AND state != 'receipted' AND (?5 = '' OR state = ?5)",
                    (state, why, first, last, only),
                )

    def hashes(self, ranges: Iterable[tuple[int, int]]) -> list[tuple[int, str]]:
        """(counter, hash) of the sealed entries in these ranges, ends included."""
        return [
            (row[0], row[1])
            for first, last in ranges
            for row in self._all(
                "SELECT counter, hash FROM outbox WHERE counter BETWEEN ? AND ?", (first, last)
            )
        ]

    def receipt_all(self, ranges: Iterable[tuple[int, int]], receipt: Mapping[str, Any]) -> int:
        """Keep one receipt for the entries in these ranges; how many there are.

        The caller has checked its signature over their `hashes`.
        """
        done = 0
        with self.transaction():
            number = self._keep_receipt(receipt)
            for first, last in ranges:
                done += self._write(
                    "UPDATE outbox SET state = 'receipted', why = '', receipt = ? "
                    "WHERE counter BETWEEN ? AND ?",
                    (number, first, last),
                )
        return done

    def _keep_receipt(self, receipt: Mapping[str, Any]) -> int:
        return int(
            self._connection.execute(
                "INSERT INTO receipts (receipt) VALUES (?)", (json.dumps(receipt),)
            ).lastrowid
        )

    def receipt(self, counter: int, envelope_hash: str, receipt: Mapping[str, Any]) -> bool:
        """Keep a receipt whose signature the caller has checked; False where it fits no entry."""
        with self.transaction():
            if self._find("counter = ? AND hash = ?", counter, envelope_hash) is None:
                return False
            return bool(self.receipt_all([(counter, counter)], receipt))

    def receipt_of(self, counter: int) -> dict[str, Any] | None:
        """The receipt that an entry has, with others of its batch or alone."""
        row = self._one(
            "SELECT receipts.receipt FROM outbox JOIN receipts ON number = outbox.receipt "
            "WHERE counter = ?",
            (counter,),
        )
        return json.loads(row[0]) if row else None

    def feed_again(self, first: int, last: int) -> int:
        """A server restored from an old copy has lost these: pending again, if still here."""
        with self.transaction():
            # Which openings it has lost with them, it cannot say.
            self._write("UPDATE openings SET held = 0")
            return self._write(
                "UPDATE outbox SET state = 'pending', receipt = 0 "
                "WHERE counter BETWEEN ? AND ? AND counter IN (SELECT counter FROM envelopes)",
                (first, last),
            )

    def drop_sealed(self, *, made_before_ms: int) -> int:
        """Let go of sealed bytes that have had their receipt for long; the counts stay.

        Nothing without a receipt is ever dropped, nor an entry with attachments still to send.
        """
        with self.transaction():
            old = (
                "SELECT counter FROM outbox WHERE state = 'receipted' AND made_ms < ? AND "
                "counter NOT IN (SELECT counter FROM attachments WHERE sent < size)"
            )
            self._write(
                "DELETE FROM attachment_pieces WHERE hash IN "  # noqa: S608  `old` is written above
                f"(SELECT hash FROM attachments WHERE counter IN ({old}))",
                (made_before_ms,),
            )
            dropped = self._write(
                f"DELETE FROM envelopes WHERE counter IN ({old})",  # noqa: S608  `old` is written above
                (made_before_ms,),
            )
            if dropped:
                self._write(
                    "DELETE FROM openings WHERE hash NOT IN (SELECT session FROM outbox "
                    "WHERE counter IN (SELECT counter FROM envelopes))"
                )
            return dropped

    # Sealed attachments on their way.

    def attachments(self, *, unsent: bool = True) -> list[SealedAttachment]:
        """Sealed files, by default those of which the server has not all bytes."""
        rows = self._all(
            "SELECT hash, counter, size, sent FROM attachments WHERE sent < size OR ? "
            "ORDER BY counter, hash",
            (not unsent,),
        )
        return [SealedAttachment(*row) for row in rows]

    def attachment_bytes(self, digest: str, offset: int, most: int) -> bytes:
        """At most `most` sealed bytes from `offset`; b"" at the end. Raises `Missing`."""
        whole = PIECE + 16
        out = bytearray()
        first = self._one("SELECT 1 FROM attachment_pieces WHERE hash = ? LIMIT 1", (digest,))
        if first is None:
            raise Missing(f"no sealed file {digest} on this device")
        while len(out) < most:
            at = offset + len(out)
            row = self._one(
                "SELECT data FROM attachment_pieces WHERE hash = ? AND number = ?",
                (digest, at // whole),
            )
            piece = bytes(row[0])[at % whole :] if row else b""
            if not piece:
                break
            out += piece[: most - len(out)]
        return bytes(out)

    def attachment_sent(self, digest: str, offset: int) -> None:
        """The server says that it holds so many bytes of the file."""
        self._write("UPDATE attachments SET sent = min(size, ?) WHERE hash = ?", (offset, digest))

    # Batches.

    def put_batch(self, batch: str, counters: Sequence[int], *, now_ms: int) -> None:
        """Store a batch before its first try; its entries are marked sent."""
        with self.transaction():
            self._write(
                "INSERT INTO batches VALUES (?, ?, ?, '')",
                (batch, json.dumps(_ranges(counters)), now_ms),
            )
            self.mark(counters, "sent")

    def open_batch(self) -> Batch | None:
        """The oldest batch without a reply: it goes first, unchanged, in the next round."""
        row = self._one(
            "SELECT batch, counters, made_ms FROM batches WHERE reply = '' "
            "ORDER BY made_ms, rowid LIMIT 1"
        )
        return None if row is None else Batch(row[0], _counters(row[1]), row[2], None)

    def open_batches(self) -> list[Batch]:
        """All batches without a reply, the oldest first: a bundle carries every one of them."""
        rows = self._all(
            "SELECT batch, counters, made_ms FROM batches WHERE reply = '' ORDER BY made_ms, rowid"
        )
        return [Batch(row[0], _counters(row[1]), row[2], None) for row in rows]

    def answer_batch(self, batch: str, reply: Mapping[str, Any]) -> None:
        self._write("UPDATE batches SET reply = ? WHERE batch = ?", (json.dumps(reply), batch))

    # The area's records.

    def take_page(
        self,
        area: str,
        epoch: str,
        cursor: int,
        *,
        changes: Iterable[tuple[int, str, str]] = (),
        records: Iterable[Record] = (),
        gone: Iterable[str] = (),
    ) -> None:
        """One pulled page and the cursor behind it, all or nothing.

        `changes` are (sequence, record, JSON text); a sequence that is here already is the same
        change. `records` are their folded rows, `gone` those that the device needs no more.
        """
        with self.transaction():
            run = self._connection.executemany
            run(
                "INSERT OR IGNORE INTO changes VALUES (?, ?, ?, ?)",
                [(area, sequence, record, body) for sequence, record, body in changes],
            )
            run(
                "INSERT OR REPLACE INTO records VALUES (?, ?, ?, ?, ?)",
                [
                    (
                        one.record,
                        one.kind,
                        one.label,
                        one.parent,
                        json.dumps(one.body, ensure_ascii=False),
                    )
                    for one in records
                ],
            )
            run("DELETE FROM records WHERE record = ?", [(one,) for one in gone])
            self._connection.execute(
                "INSERT OR REPLACE INTO cursors VALUES (?, ?, ?)", (area, epoch, cursor)
            )

    def cursor(self, area: str) -> tuple[str, int]:
        """(epoch, sequence) up to which the area was pulled; ("", 0) at first."""
        row = self._one("SELECT epoch, sequence FROM cursors WHERE area = ?", (area,))
        return ("", 0) if row is None else (row[0], row[1])

    def empty_area(self, area: str) -> None:
        """Forget an area's pulled records, to pull them anew (a restored server, a new area)."""
        with self.transaction():
            self._write(
                "DELETE FROM records WHERE record IN (SELECT record FROM changes WHERE area = ?)",
                (area,),
            )
            self._write("DELETE FROM changes WHERE area = ?", (area,))
            self._write("DELETE FROM cursors WHERE area = ?", (area,))

    def changes(self, record: str) -> list[dict[str, Any]]:
        """The changes of one record in the server's order."""
        self._ready()
        rows = self._all(
            "SELECT body FROM changes WHERE record = ? ORDER BY area, sequence", (record,)
        )
        return [json.loads(row[0]) for row in rows]

    def record(self, record: str) -> Record:
        """Raises `Missing`."""
        self._ready()
        row = self._one(f"{_RECORDS} WHERE record = ?", (record,))
        if row is None:
            raise Missing(f"no record {record} on this device; sync to fetch it")
        return Record(*(*row[:4], json.loads(row[4])))

    def records(
        self,
        kind: str = "",
        *,
        parent: str | None = None,
        find: str = "",
        limit: int = 100,
        offset: int = 0,
    ) -> list[Record]:
        """Records by label. `find` is looked for in labels; `parent` asks for its members."""
        self._ready()
        where, values = ["1"], list[object]()
        if kind:
            where.append("kind = ?")
            values.append(kind)
        if parent is not None:
            where.append("parent = ?")
            values.append(parent)
        if find:
            where.append("instr(lower(label), lower(?)) > 0")
            values.append(find)
        rows = self._all(
            f"{_RECORDS} WHERE {' AND '.join(where)} ORDER BY kind, label, record LIMIT ? OFFSET ?",
            (*values, limit, offset),
        )
        return [Record(*(*row[:4], json.loads(row[4]))) for row in rows]

    # Notices.

    def put_notice(self, ref: str, kind: str, body: Mapping[str, Any], *, now_ms: int) -> None:
        """A notice by the server's reference; the same one again changes nothing."""
        self._write(
            "INSERT OR IGNORE INTO notices (ref, kind, body, made_ms, read) VALUES (?, ?, ?, ?, 0)",
            (ref, kind, json.dumps(body, ensure_ascii=False), now_ms),
        )

    def notices(self, *, unread: bool = True, limit: int = 200) -> list[Notice]:
        rows = self._all(
            "SELECT number, kind, body, made_ms, read FROM notices WHERE read = 0 OR ? "
            "ORDER BY number DESC LIMIT ?",
            (not unread, limit),
        )
        return [Notice(row[0], row[1], json.loads(row[2]), row[3], bool(row[4])) for row in rows]

    def read_notice(self, number: int) -> None:
        self._write("UPDATE notices SET read = 1 WHERE number = ?", (number,))

    # At a glance.

    def status(self, *, now_ms: int) -> Status:
        """Counts by covering indexes: no sealed byte and no record is read for them."""
        with self.snapshot():
            device, area, url, contact, counter = self._one(
                "SELECT device, area, server_url, contact_ms, counter FROM identity"
            )
            states = dict.fromkeys(STATES, 0)
            states.update(self._all("SELECT state, count(*) FROM outbox GROUP BY state"))
            (drafts,) = self._one("SELECT count(*) FROM drafts")
            (left,) = self._one("SELECT count(*) FROM attachments WHERE sent < size")
            (records,) = self._one("SELECT count(*) FROM records")
            (notices,) = self._one("SELECT count(*) FROM notices WHERE read = 0")
        return Status(
            device,
            area,
            url,
            drafts,
            states,
            left,
            records,
            notices,
            contact,
            self._lease.left_s(now_ms),
            counter,
        )

    # The log.

    def _tend_log(self) -> None:
        """After a commit: wipe the log where that is due, or where it has grown long."""
        log = self.vault.home / (STORE_FILE + "-wal")
        if self._wipe_due or (log.exists() and log.stat().st_size > LOG_PAGES_MAX * 4120):
            self._wipe_log()

    def _wipe_log(self) -> None:
        """Fold the log into the file, then overwrite and cut it.

        It holds readable drafts under a key that the passphrase opens, and a log that is only cut
        or removed leaves them in the free blocks of the disk. What was committed stays committed
        whatever happens here: where it cannot be done now, it stays due.
        """
        self._wipe_due = True
        if self._connection.in_transaction:
            return
        run = self._connection.execute
        try:
            run("PRAGMA busy_timeout = 200")
            self._wipe_due = not self._wiped(self.vault.home / (STORE_FILE + "-wal"))
        except (sqlcipher3.OperationalError, OSError):
            return
        finally:
            run(f"PRAGMA busy_timeout = {BUSY_MS}")

    def _wiped(self, log: Path) -> bool:
        """Whether nothing of the log is left.

        A mark goes over its head first and is synced, so that a power cut in between leaves a log
        that SQLite ignores and that `open` knows as wiped.
        """
        run = self._connection.execute
        if not log.exists() or not log.stat().st_size:
            return True
        with log.open("r+b", buffering=0) as file:
            head = file.read(32)
            busy, _, _ = run("PRAGMA wal_checkpoint(RESTART)").fetchone()
            if busy:
                return False
            run("BEGIN IMMEDIATE")
            try:
                # All frames under this head are in the file, synced. Whoever wrote since began the
                # log anew, under another head.
                file.seek(0)
                if file.read(32) != head:
                    return False
                size = os.fstat(file.fileno()).st_size
                os.pwrite(file.fileno(), WIPED, 0)
                os.fsync(file.fileno())
                for at in range(len(WIPED), size, 1 << 20):
                    os.pwrite(file.fileno(), bytes(min(1 << 20, size - at)), at)
                os.fsync(file.fileno())
            finally:
                run("ROLLBACK")
        busy, _, _ = run("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        return not busy


def _ranges(counters: Iterable[int]) -> list[tuple[int, int]]:
    """The same counters as ranges, ends included."""
    found: list[tuple[int, int]] = []
    for counter in sorted(set(counters)):
        if found and found[-1][1] == counter - 1:
            found[-1] = (found[-1][0], counter)
        else:
            found.append((counter, counter))
    return found


def _counters(ranges: str) -> tuple[int, ...]:
    return tuple(one for first, last in json.loads(ranges) for one in range(first, last + 1))


_FORMS = "SELECT form, version, hash, title, xml FROM forms"
_OUTBOX = "SELECT counter, hash, state, label, form, version, made_ms, size, draft, why FROM outbox"
_RECORDS = "SELECT record, kind, label, parent, body FROM records"


@contextmanager
def _told() -> Iterator[None]:
    """SQLite's bad news in our own words."""
    try:
        yield
    except sqlcipher3.OperationalError as error:
        text = str(error)
        if "full" in text:
            raise DiskFull(
                "the disk is full: the last answer was not stored, all before it were; "
                "free some space and give it again"
            ) from error
        if "locked" in text or "busy" in text:
            raise Busy("another command of this device holds the store; try again") from error
        if "I/O error" in text:
            raise keys.Damaged(
                f"the disk fails under the store ({text}): back it up now"
            ) from error
        raise
    except sqlcipher3.DatabaseError as error:
        if isinstance(error, (sqlcipher3.IntegrityError, sqlcipher3.ProgrammingError)):
            raise
        raise keys.Damaged(
            f"the store is damaged ({error}): stop working on it; field-agent check tells where, "
            "field-agent backup saves what can be read"
        ) from error


def _connect(place: Path, vault: Vault) -> Any:
    """The encrypted connection, by whichever of the vault's keys opens it."""
    if not place.exists():
        os.close(os.open(place, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    place.chmod(0o600)
    choices = vault.database_keys
    for number, key in enumerate(choices):
        connection = sqlcipher3.connect(
            str(place), isolation_level=None, check_same_thread=False, timeout=BUSY_MS / 1000
        )
        try:
            connection.execute("PRAGMA cipher_log_level = NONE")
            connection.execute(f"PRAGMA key = \"x'{key.hex()}'\"")
            if connection.execute("PRAGMA cipher_version").fetchone() is None:
                raise keys.Damaged("this SQLite cannot encrypt: install sqlcipher3")
            with _told():
                connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
                if len(choices) > 1:
                    vault.end_rotation(key)
                _durable(connection)
        except keys.Damaged:
            connection.close()
            if number + 1 == len(choices):
                raise
        except BaseException:
            connection.close()
            raise
        else:
            return connection
    raise AssertionError("a vault has at least one key")


def _durable(connection: Any) -> None:
    """The order matters: EXTRA syncs the folder when the log is made, FULL syncs each commit."""
    for pragma in (
        "temp_store = MEMORY",
        "secure_delete = ON",
        "synchronous = EXTRA",
        "journal_mode = WAL",
        "synchronous = FULL",
        "wal_autocheckpoint = 0",
        "foreign_keys = ON",
        "trusted_schema = OFF",
    ):
        connection.execute(f"PRAGMA {pragma}").fetchone()


def _look_at_log(presence: int, place: Path) -> int:
    """Bytes of a log that SQLite will not read back. Only the first opener looks."""
    try:
        fcntl.flock(presence, fcntl.LOCK_EX | fcntl.LOCK_NB)
        alone = True
    except BlockingIOError:
        alone = False
    left = 0
    log = place.with_name(place.name + "-wal")
    if alone and log.exists():
        left = unread_log(log.read_bytes())
    fcntl.flock(presence, fcntl.LOCK_SH)
    return left


def _cut(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in pieces of 64 KiB."""
    waiting = bytearray()
    for piece in pieces:
        waiting += piece
        while len(waiting) >= PIECE:
            yield bytes(waiting[:PIECE])
            del waiting[:PIECE]
    if waiting:
        yield bytes(waiting)


def text_of(data: bytes) -> str:
    """Base64, as JSON carries bytes."""
    return base64.b64encode(data).decode()
