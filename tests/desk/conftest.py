"""An office with its staff, made anew for each test from one that was made once."""

from __future__ import annotations

import shutil

import pytest

from tests.desk.office import Office, open_office, staff
from tests.server import conftest as server

postgres, url = server.postgres, server.url
"""A database of each kind; what needs both asks for `url`."""


@pytest.fixture(scope="session")
def made(tmp_path_factory) -> Office:
    return staff(open_office(tmp_path_factory.mktemp("office")))


@pytest.fixture
def office(made: Office, tmp_path):
    """A fresh copy of the office: the same keys and staff, and nothing brought yet."""
    yield from copied(made, tmp_path)


def copied(made: Office, folder):
    from dataclasses import replace

    from sync_server.checking import Inline
    from sync_server.store.engine import open_store

    for name in ("registry.db", "registry.db-wal"):
        if (made.desk.home / name).exists():
            shutil.copy(made.desk.home / name, folder / name)
    store = open_store(f"sqlite:///{folder / 'registry.db'}")
    clock = [made.clock[0]]
    desk = replace(
        made.desk,
        store=store,
        now=lambda: clock[0],
        checker=Inline(store, made.desk.keys, made.desk.at_rest),
        home=folder,
    )
    yield Office(desk, clock)
    store.close()
