"""An office of its own for whoever asks for one, and PostgreSQL."""

import pytest

from tests.server import conftest as server
from tests.sync.world import Office

postgres = server.postgres


@pytest.fixture
def office(tmp_path):
    made = Office(tmp_path)
    yield made
    made.desk.close()
