"""The database: SQLite with one writer and group commit, or PostgreSQL, by the same statements."""

from __future__ import annotations

import os
import queue
import sqlite3
import threading
import time
from concurrent.futures import Future
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeVar, cast

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    MetaData,
    String,
    Table,
    bindparam,
    create_engine,
    event,
    insert,
    inspect,
    text,
    update,
)
from sqlalchemy import exc as errors
from sqlalchemy.dialects import postgresql, sqlite

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import Dialect, Engine, Executable

Tx = Connection
"""One open transaction. It is given to the work and is of no use afterwards."""

T = TypeVar("T")

metadata = MetaData()
"""Every table of the server. `area` is the first column of keys ("" for what all share)."""

sequences = Table(
    "sequences",
    metadata,
    Column("area", String(64), primary_key=True),
    Column("value", BigInteger, nullable=False),
)

GROUP = 64
"""Works that share one commit at most."""
TRIES = 12
_QUIET_S = 0.2
"""After so long without a work, SQLite's log is folded into the file."""
_LOG_PAGES = 16_384
"""A log that is longer is folded at a commit, whoever waits for it: 64 MiB."""
_AGAIN = {"40001", "40P01", "55P03"}  # serialization failure, deadlock, lock not available


class StorageFull(Exception):
    """The disk or the database is full. Nothing of the work was kept; it can be done again."""


class Unavailable(Exception):
    """The database does not answer, or stayed busy. Nothing of the work was kept, unless it died in
    the very commit: whoever does it again finds that out, as every work here can be done again.
    """


@dataclass(slots=True)
class _Work:
    do: Callable[[Tx], Any]
    done: Future[Any]


class Store:
    """Runs works, each whole or not at all.

    A work is a function of an open transaction. It may be run more than once (after a serialization
    failure), so it has no effect but through its transaction.
    """

    def __init__(self, engine: Engine, *, luck: Callable[[], float]) -> None:
        self.engine = engine
        self._luck = luck
        self.sqlite = engine.dialect.name == "sqlite"
        # One snapshot, and never a reason for a writer (or the reader itself) to try again.
        self._reader = (
            engine if self.sqlite else engine.execution_options(isolation_level="REPEATABLE READ")
        )
        self._queue: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        self._writer: threading.Thread | None = None
        self._starting = threading.Lock()
        self._closed = False
        # Of the writer's thread alone.
        self._own: Connection | None = None
        self._log_grew = False

    def create(self) -> None:
        """Makes the tables that are not there yet. Raises `Unavailable`."""
        # The tables announce themselves to `metadata` when their modules are read.
        from sync_server.store import tables  # noqa: PLC0415  tables read the engine first

        def missing(tx: Tx) -> list[Table]:
            here = set(inspect(tx).get_table_names())
            return [one for one in tables.ALL if one.name not in here]

        def make(tx: Tx) -> None:
            metadata.create_all(tx, tables=missing(tx))

        # Two processes may find them missing at the same time; whoever looks at a server does not write.
        if self.read(missing):
            self.transaction(make, lock="tables")

    def transaction(self, work: Callable[[Tx], T], *, lock: str = "") -> T:
        """Runs `work` in a write transaction and returns what it returned, once it is durable.

        Isolation is serializable. On SQLite, works that wait at the same time share one commit, each
        in its own savepoint: one that raises undoes itself only. On PostgreSQL `lock` names what to
        queue for beforehand (an area), which spares retries; it is never needed for correctness.
        Raises what `work` raised, `StorageFull`, or `Unavailable`.
        """
        return self._grouped(work) if self.sqlite else self._retried(work, lock)

    def read(self, work: Callable[[Tx], T]) -> T:
        """Runs `work` in a transaction that sees one moment, and undoes whatever it wrote."""
        try:
            with self._reader.connect() as tx:
                try:
                    return work(tx)
                finally:
                    tx.rollback()
        except errors.OperationalError as error:
            raise _bad_news(error) from error

    def close(self) -> None:
        """Ends the writer and every connection. Works already handed in are finished first."""
        with self._starting:
            self._closed = True
            writer, self._writer = self._writer, None
        if writer is not None:
            self._queue.put(None)
            writer.join()
        self.engine.dispose()

    # SQLite: one writer.

    def _grouped(self, work: Callable[[Tx], T]) -> T:
        if threading.current_thread() is self._writer:
            raise RuntimeError("a work must not start another transaction: it has one already")
        with self._starting:
            if self._closed:
                raise Unavailable("the store is closed")
            if self._writer is None:
                self._writer = threading.Thread(target=self._write, name="writer", daemon=True)
                self._writer.start()
        waiting: Future[T] = Future()
        self._queue.put(_Work(work, waiting))
        return waiting.result()

    def _write(self) -> None:
        ended = False
        while not ended:
            group, ended = self._gathered()
            if group:
                self._commit(group)
        self._let_go()

    def _gathered(self) -> tuple[list[_Work], bool]:
        """The works that wait now, and whether they are the last."""
        group: list[_Work] = []
        found = self._first()
        while found is not None:
            group.append(found)
            if len(group) == GROUP or self._queue.empty():
                return group, False
            found = self._queue.get()
        return group, True

    def _first(self) -> _Work | None:
        """The next work. Where none comes for a while, the log is folded into the file meanwhile."""
        if self._log_grew:
            try:
                return self._queue.get(timeout=_QUIET_S)
            except queue.Empty:
                self._fold_log()
        return self._queue.get()

    def _fold_log(self) -> None:
        self._log_grew = False
        # Where it cannot be done nothing is lost, and whoever writes next hears of a disk that fails.
        with suppress(errors.DBAPIError, sqlite3.Error):
            _pragma(self._kept(), "wal_checkpoint(passive)")

    def _kept(self) -> Connection:
        """The writer's own connection: what it read of the file stays known from work to work."""
        if self._own is None:
            self._own = self.engine.connect()
            _pragma(self._own, f"wal_autocheckpoint={_LOG_PAGES}")
        return self._own

    def _let_go(self) -> None:
        own, self._own = self._own, None
        if own is not None:
            own.close()

    def _commit(self, group: list[_Work]) -> None:
        said: list[tuple[_Work, Any, BaseException | None]] = []
        alone = len(group) == 1
        try:
            tx = self._kept()
            self._log_grew = True
            with tx.begin():
                for one in group:
                    try:
                        # One alone needs no savepoint: what it raises undoes the whole.
                        with nullcontext() if alone else tx.begin_nested():
                            said.append((one, one.do(tx), None))
                    except Exception as error:  # the caller that waits is told
                        full = isinstance(error, errors.OperationalError) and _is_full(error)
                        if alone or full:
                            raise
                        said.append((one, None, error))
        except BaseException as error:  # noqa: BLE001  every caller that waits is told
            told = _bad_news(error) if isinstance(error, errors.OperationalError) else error
            for one in group:
                one.done.set_exception(told)
            # A commit that failed leaves SQLite's transaction open; the pool undoes it.
            self._let_go()
            return
        # Only now, after the commit, does anyone hear that it is done.
        for one, value, wrong in said:
            if wrong is None:
                one.done.set_result(value)
            else:
                one.done.set_exception(wrong)

    # PostgreSQL: many writers, retried.

    def _retried(self, work: Callable[[Tx], T], lock: str) -> T:
        for tried in range(TRIES):
            try:
                with self.engine.connect() as tx:
                    return self._locked(tx, work, lock)
            except errors.DBAPIError as error:
                state = getattr(error.orig, "sqlstate", None)
                if state == "53100":  # disk full
                    raise StorageFull("the database's disk is full") from error
                if state not in _AGAIN:
                    if isinstance(error, errors.OperationalError):
                        raise Unavailable(f"the database does not answer ({state})") from error
                    raise
                time.sleep(pause_s(tried, self._luck()))
        raise Unavailable(f"other writers were first {TRIES} times in a row")

    def _locked(self, tx: Tx, work: Callable[[Tx], T], lock: str) -> T:
        if not lock:
            with tx.begin():
                return work(tx)
        # Taken before the transaction begins, so that its snapshot is younger than the wait.
        tx.execute(text("select pg_advisory_lock(hashtextextended(:name, 0))"), {"name": lock})
        tx.commit()
        try:
            with tx.begin():
                return work(tx)
        finally:
            tx.execute(
                text("select pg_advisory_unlock(hashtextextended(:name, 0))"), {"name": lock}
            )
            tx.commit()


def pause_s(tried: int, luck: float) -> float:
    """Seconds before the next try: doubling, at most 0.256, spread by `luck` (0 to 1), so that those
    who met do not meet again.
    """
    return 0.002 * 2.0 ** min(tried, 7) * (0.5 + luck)


def _is_full(error: errors.OperationalError) -> bool:
    return "disk is full" in str(error.orig) or "disk I/O error" in str(error.orig)


def _bad_news(error: errors.OperationalError) -> Exception:
    if _is_full(error):
        return StorageFull(f"the database's disk is full ({error.orig})")
    return Unavailable(f"the database does not answer ({error.orig})")


def next_sequence(tx: Tx, area: str, count: int = 1) -> int:
    """The first of `count` new places in the area's order of commits.

    The row is locked until the transaction ends, so places appear in the order they are given.
    """
    raised = tx.execute(_RAISE, {"of_area": area, "more": count}).scalar()
    if raised is None:
        tx.execute(insert(sequences).values(area=area, value=count))
        raised = count
    return int(raised) - count + 1


# These run at every round: built once, as building one costs more than to run it.
_RAISE = (
    update(sequences)
    .where(sequences.c.area == bindparam("of_area"))
    .values(value=sequences.c.value + bindparam("more"))
    .returning(sequences.c.value)
)


def add_all(tx: Tx, table: Table, names: tuple[str, ...], rows: Sequence[tuple[Any, ...]]) -> None:
    """Inserts many rows, each with the values of the columns `names`, as the driver takes them.

    A few long statements instead of a row at a time: a thread that runs Python beside this one
    would make it wait for the interpreter after every row.
    """
    together = max(1, _VALUES_MAX // len(names))
    for at in range(0, len(rows), together):
        some = rows[at : at + together]
        statement = _insertion(tx.dialect, table, names, len(some))
        tx.exec_driver_sql(statement, tuple(chain.from_iterable(some)))


_VALUES_MAX = 16_000
"""Values in one statement: SQLite takes 32,766, PostgreSQL 65,535."""


@lru_cache(256)
def _insertion(dialect: Dialect, table: Table, names: tuple[str, ...], many: int) -> str:
    quote = dialect.identifier_preparer
    mark = "?" if dialect.paramstyle == "qmark" else "%s"
    row = f"({', '.join([mark] * len(names))})"
    return (
        f"insert into {quote.format_table(table)} "  # noqa: S608  the names are our own columns
        f"({', '.join(quote.quote(table.c[name].name) for name in names)}) "
        f"values {', '.join([row] * many)}"
    )


def add_if_new(tx: Tx, table: Table, rows: list[dict[str, Any]]) -> None:
    """Inserts the rows whose primary keys are not there yet; the others change nothing."""
    if rows:
        tx.execute(_unless_there(tx.dialect.name, table), rows)


@lru_cache(256)
def _unless_there(dialect: str, table: Table) -> Executable:
    made = sqlite.insert(table) if dialect == "sqlite" else postgresql.insert(table)
    return made.on_conflict_do_nothing()


def _by_chance() -> float:
    return int.from_bytes(os.urandom(4), "big") / 2**32


def open_store(url: str, *, luck: Callable[[], float] = _by_chance) -> Store:
    """A store on `sqlite:///FILE` or `postgresql+psycopg://...`. Tables are made by `create`."""
    if url.startswith("postgresql://"):
        url = "postgresql+psycopg://" + url.removeprefix("postgresql://")
    if url.startswith("sqlite"):
        # The writer and the readers are threads; each has its own connection from the pool.
        engine = create_engine(url, connect_args={"timeout": 30}, hide_parameters=True)
        event.listen(engine, "connect", _prepare)
        event.listen(engine, "begin", _begin)
    else:
        engine = create_engine(
            url,
            isolation_level="SERIALIZABLE",
            pool_pre_ping=True,
            pool_size=8,
            max_overflow=24,
            hide_parameters=True,
        )
        event.listen(engine, "connect", _durable)
    return Store(engine, luck=luck)


def _prepare(connection: Any, _record: object) -> None:
    # The server's driver would open transactions by itself, and too late; `_begin` does it instead.
    connection.isolation_level = None
    for pragma in (
        "journal_mode=wal",
        "synchronous=full",
        "foreign_keys=on",
        "secure_delete=on",
        "temp_store=memory",
        "busy_timeout=30000",
    ):
        connection.execute(f"pragma {pragma}")


def _durable(connection: Any, _record: object) -> None:
    # A commit that PostgreSQL answers before it has written it dies with one of its processes. Whoever
    # chose that for other databases did not choose it for receipts; what is stricter than `on` stays.
    with connection.cursor() as cursor:
        if cursor.execute("show synchronous_commit").fetchone()[0] == "off":
            cursor.execute("set synchronous_commit to on")
    connection.commit()


def _pragma(connection: Connection, pragma: str) -> None:
    """Outside of any transaction, which SQLAlchemy would begin."""
    driver: Any = connection.connection.driver_connection
    driver.execute(f"pragma {pragma}").fetchall()


def _begin(connection: Connection) -> None:
    # Only the writer writes; a reader's "begin" takes its snapshot at the first select.
    writing = threading.current_thread().name == "writer"
    connection.exec_driver_sql("begin immediate" if writing else "begin")


def as_bytes(value: object) -> bytes:
    """A binary column's value, whichever of bytes and memoryview the driver gives."""
    return bytes(cast("bytes", value))
