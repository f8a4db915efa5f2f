"""What a form asks the device to fill in by itself: ids, times, and who and what it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forms.values import stamped

if TYPE_CHECKING:
    from datetime import tzinfo

    from forms.context import Context
    from forms.dialect import Dialect
    from forms.model import Definition


def preloaded(
    definition: Definition, context: Context, zone: tzinfo, dialect: Dialect
) -> str | None:
    """What stands in the node when the entry begins; None where it is left as it is."""
    kind, which = definition.preload, definition.preload_parameters
    if kind == "uid":
        return "uuid:" + context.new_uuid()
    if kind == "timestamp" and which == "start":
        return stamped(context.now().astimezone(zone), dialect)
    if kind == "date" and which == "today":
        return context.now().astimezone(zone).date().isoformat()
    if kind == "property":
        return property_named(context, which) or None
    return None


def property_named(context: Context, name: str) -> str:
    """The device's property, whatever the letters' case: deviceid, username, email, ..."""
    wanted = name.lower()
    for key, value in context.properties.items():
        if key.lower() == wanted:
            return value
    return ""
