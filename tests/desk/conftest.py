"""An office with its staff on each database, made anew for each test from one that was made once."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from sync_server.checking import Inline
from sync_server.store.engine import open_store
from tests.databases import KINDS, Postgres, Sqlite
from tests.desk.office import Office, open_office, staff
from tests.server import conftest as server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

postgres, database, url = server.postgres, server.database, server.url
"""A database of each kind; what needs an empty one asks for `url`."""


@pytest.fixture(scope="session", params=KINDS)
def made(request, tmp_path_factory) -> Office:
    folder = tmp_path_factory.mktemp("office")
    postgres = request.param == "postgres"
    database = Postgres(request.getfixturevalue("postgres")) if postgres else Sqlite(folder)
    office = staff(open_office(folder, database.url))
    office.desk.store.close()
    office.database = database
    return office


@pytest.fixture
def office(made: Office, tmp_path):
    """A fresh copy of the office: the same keys and staff, and nothing brought yet."""
    with copied(made, tmp_path) as fresh:
        yield fresh


@contextmanager
def copied(made: Office, folder: Path) -> Iterator[Office]:
    database = made.database.copy(folder)
    store = open_store(database.url)
    clock = [made.clock[0]]
    desk = replace(
        made.desk,
        store=store,
        now=lambda: clock[0],
        checker=Inline(store, made.desk.keys, made.desk.at_rest),
        home=folder,
    )
    try:
        yield Office(desk, clock, database=database)
    finally:
        store.close()
        database.drop()
