"""A fault-injecting SQLite VFS: a disk that forgets what was not synced, and fails when told to.

The store's own code runs over it: its tables, pragmas, transactions and the folding of its log, on
plain SQLite, since the VFS that Python can program (apsw) has no SQLCipher; `PRAGMA key` and its
like are not used. Every write, sync, truncation, creation and removal that SQLite asks for is noted
in its order, and the moment of each acknowledgement among them.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import apsw

from field_agent.database import _durable
from field_agent.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(slots=True)
class Tape:
    """What SQLite asked of the disk, in order: (what, file, offset, bytes)."""

    steps: list[tuple[str, str, int, bytes]] = field(default_factory=list)
    on: bool = True
    fails: Callable[[int], bool] = lambda _: False

    def note(self, what: str, place: str, at: int = 0, data: bytes = b"") -> None:
        if not self.on:
            return
        if what in {"write", "sync"} and self.fails(len(self.steps)):
            self.fails = lambda _: False
            raise apsw.FullError if what == "write" else apsw.IOError
        self.steps.append((what, Path(place).name, at, data))


class _Disk(apsw.VFS):
    def __init__(self, name: str, tape: Tape) -> None:
        self.tape = tape
        super().__init__(name, base="")

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:  # noqa: N802  SQLite's word
        return _File(name, flags, self.tape)

    def xDelete(self, name: str, sync_folder: bool) -> None:  # noqa: N802
        super().xDelete(name, sync_folder)
        self.tape.note("delete-synced" if sync_folder else "delete", name)


class _File(apsw.VFSFile):
    def __init__(self, name: Any, flags: list[int], tape: Tape) -> None:
        self.tape = tape
        self.place = name.filename() if isinstance(name, apsw.URIFilename) else str(name)
        fresh = not Path(self.place).exists()
        super().__init__("", name, flags)
        if fresh:
            tape.note("create", self.place)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        self.tape.note("write", self.place, offset, bytes(data))
        super().xWrite(data, offset)

    def xTruncate(self, size: int) -> None:  # noqa: N802
        self.tape.note("truncate", self.place, size)
        super().xTruncate(size)

    def xSync(self, _flags: int) -> None:  # noqa: N802
        # What it does to the disk is played from the tape; this machine's own may go on.
        self.tape.note("sync", self.place)


class Cursor:
    """What one statement gave, as sqlite3 hands it out."""

    def __init__(self, connection: apsw.Connection, sql: str, values: Any) -> None:
        found = connection.cursor()
        before = connection.total_changes()
        found.execute(sql, dict(values) if isinstance(values, dict) else tuple(values))
        self.description = None
        with suppress(apsw.ExecutionCompleteError):
            self.description = [(name, *[None] * 6) for name, _ in found.get_description()]
        self._rows = iter(found.fetchall())
        self.rowcount = connection.total_changes() - before
        self.lastrowid = connection.last_insert_rowid()

    def __iter__(self) -> Any:
        return self._rows

    def fetchone(self) -> Any:
        return next(self._rows, None)

    def fetchall(self) -> list[Any]:
        return list(self._rows)


class Connection:
    """An apsw connection with the few methods of sqlite3's that the store uses."""

    def __init__(self, place: Path, vfs: str | None = None) -> None:
        self._inner = apsw.Connection(str(place), vfs=vfs)
        self._inner.set_busy_timeout(10_000)

    def execute(self, sql: str, values: Any = ()) -> Cursor:
        return Cursor(self._inner, sql, values)

    def executemany(self, sql: str, rows: Any) -> None:
        for row in rows:
            Cursor(self._inner, sql, row)

    @property
    def in_transaction(self) -> bool:
        return bool(self._inner.in_transaction)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def close(self) -> None:
        self._inner.close()


def store_over(vault: Any, connection: Connection, *, fresh: bool, now_ms: int) -> Store:
    """The store's own code over a connection that is given to it."""
    _durable(connection)
    presence = os.open(vault.home, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    store = Store(vault, connection, presence)
    store._begin(fresh=fresh, left_aside=0, now_ms=now_ms)
    return store


def recorded(name: str, vault: Any, *, now_ms: int) -> tuple[Store, Tape, apsw.VFS]:
    """A new store on a disk whose every step is on the tape. Keep the VFS as long as the store."""
    tape = Tape()
    disk = _Disk(name, tape)
    connection = Connection(vault.home / "store.db", vfs=name)
    return store_over(vault, connection, fresh=True, now_ms=now_ms), tape, disk
