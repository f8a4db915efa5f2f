"""Where a value comes from, in one sentence; and the record as it stood at any past time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conflict.clash import shown
from conflict.policies import DEFAULTS, Policies
from conflict.record import fold

if TYPE_CHECKING:
    from collections.abc import Iterable

    from conflict.change import Change
    from conflict.clash import LiveWrite
    from conflict.record import Record

_ACTS = {"settle": "settled", "delete": "deleted", "move": "moved"}


def explain(record: Record, path: str) -> str:
    """One sentence on one field: what is shown, who wrote it, what it replaced, what is open."""
    path = record.policies.path(path)
    if path not in record.fields:
        return f"{path} is empty: nobody has written it."
    field = record.fields[path]
    said = f"{path} is {shown(field.shown)}: "
    said += " and ".join(
        _by(write, many=len(field.provenance.by) > 1) for write in field.provenance.by
    )
    by = {write.dot for write in field.provenance.by}
    replaced = [write for write in field.provenance.replaced if write.dot not in by]
    if replaced:
        said += ", replacing " + " and ".join(
            f"{shown(write.value)} by {write.author}" for write in replaced
        )
    others = [write for write in field.live if write.dot not in by]
    if others:
        said += f"; the field is {field.policy}, so that it goes before " + " and ".join(
            f"{shown(write.value)} by {write.author} on {write.device}" for write in others
        )
    if field.clash:
        said += f"; a person must look: {field.clash.reason}"
    return said + "."


def _by(write: LiveWrite, *, many: bool) -> str:
    act = _ACTS.get(write.kind, "written")
    value = f"{shown(write.value)} " if many else ""
    return f"{value}{act} by {write.author} on {write.device} at {write.at}"


def as_of(
    changes: Iterable[Change], effective: int, policies: Policies = DEFAULTS
) -> Record | None:
    """The record as the server knew it at that time (ms); None before its first change."""
    known = [change for change in changes if change.effective <= effective]
    return fold(known, policies) if known else None
