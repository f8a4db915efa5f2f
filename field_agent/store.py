"""The device's store: one SQLCipher file, for every entry from its first answer to its receipt.

Each answer is on the disk when `save` returns. `finish` seals an entry, puts it into the outbox and
erases the readable draft in one transaction; what is sealed, this device cannot read back.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from field_agent import room
from field_agent.belonging import Identity
from field_agent.database import FULL, STORE_FILE, connect, look_at_log
from field_agent.drafts import Draft, Drafts
from field_agent.files import sync_folder
from field_agent.lease import Lease
from field_agent.outbox import STATES, Batch, Finished, Outbox, SealedAttachment
from field_agent.seal import FileSealer, choose
from field_agent.shelf import Form, Shelf
from field_agent.trouble import Damaged, DiskFull, LeaseEnded, NotEnrolled
from field_agent.vault import DeviceKeys, new_device_keys
from schemas.envelope import Attachment, Header, Payload, SealedFile, envelope_hash
from schemas.packing import Outline, pack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from field_agent.vault import Vault

__all__ = [
    "STATES",
    "STORE_FILE",
    "Batch",
    "Draft",
    "Finished",
    "Form",
    "Identity",
    "Notice",
    "SealedAttachment",
    "Status",
    "Store",
]

_LAYOUT = 2


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
    """What a device is asked first. `states` counts each sealed entry once: `returned` are those that
    a supervisor sent back, `held` those that the server holds and refused, beside the receipted ones.
    No `lease_left_s`: there is no lease.
    """

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
    "pages": ({"page": int, "after": int, "last": int, "data": bytes}, "page"),
    "records": (
        {
            "record": str,
            "kind": str,
            "label": str,
            "gone": int,
            "fields": str,
            "wrong": str,
            "old": str,
        },
        "record",
    ),
    "notices": (
        {"number": int, "ref": str, "kind": str, "body": str, "made_ms": int, "read": int},
        "number",
    ),
    "kept": ({"name": str, "value": str}, "name"),
}
# What is pulled and not yet folded counts too.
_RECORDS_HERE = """SELECT (SELECT count(*) FROM (SELECT record FROM places UNION SELECT record FROM records))
                   - (SELECT count(*) FROM records WHERE gone)"""
_INDEXES = {
    "outbox": (("state",), ("draft",)),
    "records": (("gone", "kind", "label"),),
    "attachments": (("counter",),),
}
_PLACES = """CREATE TABLE places (record TEXT, page INTEGER, PRIMARY KEY (record, page))
             WITHOUT ROWID"""
# The one table that is written at each answer is its own index, so that an answer costs one page.
_ANSWERS = """CREATE TABLE answers (draft TEXT, path TEXT, number INTEGER, value TEXT,
              PRIMARY KEY (draft, path)) WITHOUT ROWID"""
# How a store comes from one layout to the next. What was pulled comes again; until then the records
# are shown as they were.
_STEPS = {
    1: (
        """CREATE TABLE fresh (record TEXT PRIMARY KEY, kind TEXT, label TEXT, gone INTEGER,
                                fields TEXT, wrong TEXT, old TEXT)""",
        """INSERT INTO fresh SELECT record, kind, label, 0,
               json_remove(coalesce(json_extract(body, '$.fields'), '{}'), '$.exists'), '', body
           FROM records""",
        "DROP TABLE records",
        "ALTER TABLE fresh RENAME TO records",
        "CREATE INDEX records_by_label ON records (gone, kind, label)",
        "DROP TABLE changes",
        "DROP TABLE cursors",
        "DELETE FROM kept WHERE name IN ('cursor', 'records_at')",
        "CREATE TABLE pages (page INTEGER PRIMARY KEY, after INTEGER, last INTEGER, data BLOB)",
        "CREATE UNIQUE INDEX pages_by_place ON pages (after, last)",
        _PLACES,
    ),
}


class Store(Drafts, Shelf, Outbox):
    """The open store. One per process is enough: its methods may be called from any thread."""

    def __init__(self, vault: Vault, connection: Any, presence: int) -> None:
        super().__init__(vault, connection, presence)
        self.left_aside = 0
        """Bytes of the log that could not be read back: see `open`."""
        self._outlines: dict[str, Outline] = {}

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

        Raises `LeaseEnded`, `Damaged`, `Busy`, `DiskFull`. With `for_contact` a store whose lease
        has ended opens too, for a round, a backup and the counts; entries and records stay closed.
        `steady_ms` is a clock that no one can set, for long sessions. Where a power cut or a
        kill left an unfinished write in the log, `left_aside` says how many bytes: the write had not
        been acknowledged, or else the disk is failing; a notice is kept for the agent. On a full
        disk the kept room is used to read and to send, and nothing is added.
        """
        place = vault.home / STORE_FILE
        presence = os.open(vault.home, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        connection = None
        short = room.short(vault.home)
        if short:
            room.give_up(vault.home)
        try:
            left_aside = look_at_log(presence, place)
            fresh = not place.exists()
            connection = connect(place, vault)
            store = cls(vault, connection, presence)
            store._short = short or not room.keep(vault.home)
            store._begin(fresh=fresh, left_aside=left_aside, now_ms=now_ms)
            store._steady_ms = steady_ms
            store._steady_last_ms = steady_ms() if steady_ms else 0
            ended = store._ended = store._lease.ended(now_ms)
            if ended and not for_contact:
                raise LeaseEnded(ended)
            store.tick(now_ms)
        except BaseException as error:
            if connection is not None:
                connection.close()
            os.close(presence)
            if isinstance(error, Damaged) and room.short(vault.home):
                # SQLite calls it an I/O error where it has no room for its index of the log.
                raise DiskFull(FULL) from error
            if short:
                room.keep(vault.home)
            raise
        return store

    def _begin(self, *, fresh: bool, left_aside: int, now_ms: int) -> None:
        if fresh:
            with self.transaction():
                self._lay_out(now_ms)
            sync_folder(self.vault.home)
        self._upgrade()
        found = self._one("SELECT signing, box, lease_s, contact_ms, seen_ms FROM identity")
        if found is None:
            raise Damaged(f"{self.vault.home / STORE_FILE} was never laid out to its end")
        self.vault.adopt(DeviceKeys(found[0], found[1]))
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
        self.db.table("pages").create_index(["after", "last"], unique=True)
        self._connection.execute(_ANSWERS)
        self._connection.execute(_PLACES)
        self._connection.execute(f"PRAGMA user_version = {_LAYOUT}")
        made = new_device_keys()
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

    def _upgrade(self) -> None:
        """Bring a store that an earlier program made into this layout, each step whole or not at all.

        Raises `Damaged` where a later program made it.
        """
        (layout,) = self._one("PRAGMA user_version")
        if layout > _LAYOUT:
            raise Damaged(
                f"a newer program made this store (layout {layout}; this one knows {_LAYOUT}): use that"
            )
        while layout < _LAYOUT:
            with self.transaction():
                # Another command may have done it in the meantime.
                (layout,) = self._one("PRAGMA user_version")
                for sql in _STEPS.get(layout, ()):
                    self._connection.execute(sql)
                layout = min(layout + 1, _LAYOUT)
                self._connection.execute(f"PRAGMA user_version = {layout}")

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
        self._roomy()
        with self._lock:
            with self.transaction():
                already = self._find("draft = ?", draft)
                if already is not None:
                    return already
                entry = self.draft(draft)
                names = [name for name in entry.files if files is None or name in set(files)]
                counter, prev, device = self._next_place()
                seal = self.vault.next_seal(choose(self.sealing_keys), device, now_ms=now_ms)
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
        sealer = FileSealer()
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

    # Notices.

    def put_notice(self, ref: str, kind: str, body: Mapping[str, Any], *, now_ms: int) -> bool:
        """A notice by the server's reference; the same one again changes nothing. Whether it is new."""
        return bool(
            self._write(
                "INSERT OR IGNORE INTO notices (ref, kind, body, made_ms, read) "
                "VALUES (?, ?, ?, ?, 0)",
                (ref, kind, json.dumps(body, ensure_ascii=False), now_ms),
            )
        )

    def notices(self, *, unread: bool = True, limit: int = 200) -> list[Notice]:
        rows = self._all(
            "SELECT number, kind, body, made_ms, read FROM notices WHERE read = 0 OR ? "
            "ORDER BY number DESC LIMIT ?",
            (not unread, limit),
        )
        return [Notice(row[0], row[1], json.loads(row[2]), row[3], bool(row[4])) for row in rows]

    def was_noticed(self, ref: str) -> bool:
        return self._one("SELECT 1 FROM notices WHERE ref = ?", (ref,)) is not None

    def read_notice(self, number: int) -> bool:
        """The agent has seen it, or puts it aside; False where there is no such notice."""
        return bool(self._write("UPDATE notices SET read = 1 WHERE number = ?", (number,)))

    def returned(self) -> dict[int, str]:
        """The counters of entries that a supervisor sent back, with the comment.

        Until the agent puts the notice aside, or the entry has to be sent again.
        """
        return dict(
            self._all(
                "SELECT counter, coalesce(json_extract(body, '$.comment'), '') FROM notices "
                "JOIN outbox ON counter = json_extract(body, '$.counter') "
                "AND hash = json_extract(body, '$.hash') "
                "WHERE kind = 'returned' AND read = 0 AND state = 'receipted'"
            )
        )

    # At a glance.

    def status(self, *, now_ms: int) -> Status:
        """Counts by covering indexes: no sealed byte and no record is read for them."""
        with self.snapshot():
            device, area, url, contact, counter = self._one(
                "SELECT device, area, server_url, contact_ms, counter FROM identity"
            )
            states = dict.fromkeys(STATES, 0)
            states.update(self._all("SELECT state, count(*) FROM outbox GROUP BY state"))
            back = self.returned()
            (held,) = self._one(
                "SELECT count(*) FROM outbox WHERE state = 'receipted' AND why != '' "
                "AND counter NOT IN (SELECT value FROM json_each(?))",
                (json.dumps(list(back)),),
            )
            states["receipted"] -= held + len(back)
            states |= {"held": held, "returned": len(back)}
            (drafts,) = self._one("SELECT count(*) FROM drafts")
            (left,) = self._one("SELECT count(*) FROM attachments WHERE sent < size")
            (records,) = self._one(_RECORDS_HERE)
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
