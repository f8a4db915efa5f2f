"""The whole server suite runs on SQLite and on a real PostgreSQL."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from sync_server import enrol
from sync_server.publish import publish
from tests.databases import KINDS, Absent, Postgres, Sqlite, postgres_server
from tests.server.field import Clock, Tablet, a_desk, app_of, form


@pytest.fixture(scope="session")
def postgres():
    """A PostgreSQL of its own; skipped where none can start."""
    with ExitStack() as stack:
        try:
            running = stack.enter_context(postgres_server())
        except Absent as error:
            pytest.skip(str(error))
        yield running


@pytest.fixture(params=KINDS)
def database(request, tmp_path):
    """A fresh one, of each kind."""
    if request.param == "sqlite":
        yield Sqlite(tmp_path)
        return
    made = Postgres(request.getfixturevalue("postgres"))
    yield made
    made.drop()


@pytest.fixture
def url(database):
    return database.url


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def desk(url, clock):
    found = a_desk(url, clock)
    yield found
    found.close()


@pytest.fixture
def client(desk):
    return app_of(desk)


@pytest.fixture
def visits(desk):
    """The form `visit`, version 1, published."""
    return publish(desk, "visit.md", form(), {})


@pytest.fixture
def tablet(desk, client, visits):
    return enrolled(desk, client, visits.hash)


def enrolled(desk, client, form_hash, *, area="north", name=""):
    _, ticket = enrol.make_code(desk, area=area, device=name)
    made = Tablet(client)
    assert made.enrol(ticket).status_code == 200
    made.form_hash = form_hash
    return made
