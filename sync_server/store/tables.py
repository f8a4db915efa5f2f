"""All tables of the server in one list, whichever side of it owns them."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

from sync_server.store import intake_tables
from sync_server.store.engine import metadata

assert intake_tables.devices is not None
if find_spec("sync_server.store.desk_tables"):
    import_module("sync_server.store.desk_tables")

ALL = list(metadata.sorted_tables)
