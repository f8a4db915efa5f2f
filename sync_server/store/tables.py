"""All tables of the server in one list, whichever side of it owns them."""

from __future__ import annotations

from sync_server.store import desk_tables, intake_tables
from sync_server.store.engine import metadata

assert intake_tables.devices is not None

ALL = list(metadata.sorted_tables)

SHARED = (
    desk_tables.officers,
    desk_tables.officer_roles,
    desk_tables.sessions,
    desk_tables.policy_stages,
    desk_tables.programmes,
    desk_tables.cycles,
)
"""Small tables of the whole office, which belong to no area. Of every other table `area` leads each
key, so that it can be spread over machines by it; these would be whole on each (Citus calls them
reference tables), which is why they refer to one another only."""
