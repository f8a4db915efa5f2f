"""The device's one encrypted file: opened, written in whole transactions, its log wiped.

SQLCipher under the vault's key. What was committed is on the disk when `transaction` ends.
"""

from __future__ import annotations

import fcntl
import os
import threading
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import sqlcipher3

from field_agent import room
from field_agent.trouble import Busy, Damaged, DiskFull
from field_agent.waldamage import WIPED, unread_log

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    import sqlite_utils

    from field_agent.vault import Vault

STORE_FILE = "store.db"
LOG_PAGES_MAX = 4000
BUSY_MS = 10_000
FULL = (
    "the disk is full: what was being written was not stored, all before it was; "
    "free some space and do it again"
)


class Database:
    """An open encrypted file. Its methods may be called from any thread."""

    def __init__(self, vault: Vault, connection: Any, presence: int) -> None:
        self.vault = vault
        self._connection = connection
        self._presence = presence
        self._lock = threading.RLock()
        self._wipe_due = False
        self._short = False
        """Whether the kept room is given up: then nothing is added, and the log is kept short."""

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
            if self._short:
                room.keep(self.vault.home)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All of what is written within is stored when it ends, or none. Raises `DiskFull`, `Busy`.

        Within another one it is part of that one.
        """
        with self._lock, told():
            if self._connection.in_transaction:
                yield
                return
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException as error:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                if _is_full(error):
                    self._give_back()
                raise
            self._tend_log()

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """What is read within is of one moment, whatever other commands write meanwhile."""
        with self._lock, told():
            if self._connection.in_transaction:
                yield
                return
            self._connection.execute("BEGIN")
            try:
                yield
            finally:
                self._connection.execute("ROLLBACK")

    def _one(self, sql: str, values: Sequence[object] = ()) -> Any:
        with self._lock, told():
            return self._connection.execute(sql, values).fetchone()

    def _all(self, sql: str, values: Sequence[object] = ()) -> list[Any]:
        with self._lock, told():
            return list(self._connection.execute(sql, values))

    def _write(self, sql: str, values: Sequence[object] | Mapping[str, object] = ()) -> int:
        """The number of rows that it touched."""
        with self.transaction():
            return int(self._connection.execute(sql, values).rowcount)

    # For a file that keeps tables of its own in this store.

    def rows(self, sql: str, values: Sequence[object] = ()) -> list[Any]:
        return self._all(sql, values)

    def write_all(self, sql: str, rows: Iterable[Sequence[object]]) -> None:
        with self.transaction():
            self._connection.executemany(sql, rows)

    # The whole file.

    def rotate_key(self, passphrase: str) -> None:
        """Encrypt the whole store under a new key. Cut short anywhere, one of the two opens it.

        Raises `WrongPassphrase`, and `Busy` while another command has the store open.
        """
        with self._lock, told():
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

    # A full disk.

    def _roomy(self) -> None:
        """Raises `DiskFull` where only the kept room is left: that is for reading and for sending."""
        if self._short and not room.keep(self.vault.home):
            raise DiskFull(FULL)
        self._short = False

    def _give_back(self) -> None:
        """After a write that the disk had no room for: what it took is free again.

        A large one spills into the log before it is committed, and would keep the disk full.
        """
        room.give_up(self.vault.home)
        self._short = True
        with suppress(sqlcipher3.OperationalError, OSError):
            # Nobody writes meanwhile, and nobody reads what was never committed.
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                _cut_unfinished(self.vault.home / (STORE_FILE + "-wal"))
            finally:
                self._connection.execute("ROLLBACK")
        self._wipe_log()

    # The log.

    def _tend_log(self) -> None:
        """After a commit: wipe the log where that is due, or it has grown long, or the disk is full."""
        log = self.vault.home / (STORE_FILE + "-wal")
        due = self._wipe_due or self._short
        if due or (log.exists() and log.stat().st_size > LOG_PAGES_MAX * 4120):
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
                _overwrite(file.fileno(), len(WIPED), size)
            finally:
                run("ROLLBACK")
        busy, _, _ = run("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        return not busy


def _overwrite(handle: int, start: int, end: int) -> None:
    for at in range(start, end, 1 << 20):
        os.pwrite(handle, bytes(min(1 << 20, end - at)), at)
    os.fsync(handle)


def _cut_unfinished(log: Path) -> None:
    """Overwrite and cut what follows a log's last committed transaction."""
    with log.open("r+b", buffering=0) as file:
        data = file.read()
        end = len(data) - unread_log(data)
        _overwrite(file.fileno(), end, len(data))
        os.ftruncate(file.fileno(), end)
        os.fsync(file.fileno())


def _is_full(error: BaseException) -> bool:
    if isinstance(error, sqlcipher3.OperationalError):
        return "full" in str(error)
    return isinstance(error, DiskFull)


@contextmanager
def told() -> Iterator[None]:
    """SQLite's bad news in our own words."""
    try:
        yield
    except sqlcipher3.OperationalError as error:
        text = str(error)
        if _is_full(error):
            raise DiskFull(FULL) from error
        if "locked" in text or "busy" in text:
            raise Busy(
                "another command of this device holds the store (field-agent lock ends its pages): "
                "try again when it has ended"
            ) from error
        if "I/O error" in text:
            raise Damaged(f"the disk fails under the store ({text}): back it up now") from error
        raise
    except sqlcipher3.DatabaseError as error:
        if isinstance(error, (sqlcipher3.IntegrityError, sqlcipher3.ProgrammingError)):
            raise
        raise Damaged(
            f"the store is damaged ({error}): stop working on it; field-agent check tells where, "
            "field-agent backup saves what can be read"
        ) from error


def connect(place: Path, vault: Vault) -> Any:
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
                raise Damaged("this SQLite cannot encrypt: install sqlcipher3")
            with told():
                connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
                if len(choices) > 1:
                    vault.end_rotation(key)
                _durable(connection)
        except Damaged:
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


def look_at_log(presence: int, place: Path) -> int:
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
