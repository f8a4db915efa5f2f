"""PostgreSQL for those who ask for it."""

from tests.server import conftest as server

postgres = server.postgres
