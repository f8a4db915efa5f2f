"""The published forms: every version that ever was, found by its name and its hash."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import or_, select

from sync_server.store.intake_tables import forms

if TYPE_CHECKING:
    from sync_server.store.engine import Tx


@dataclass(frozen=True, slots=True)
class Published:
    """One version of a form. `media`: (name, hash, size). `hash` is of the XForm's bytes."""

    form: str
    version: str
    hash: str
    whole_hash: str
    title: str
    size: int
    media: tuple[tuple[str, str, int], ...]
    published_ms: int
    current: bool

    def files(self) -> tuple[tuple[str, str], ...]:
        """(name, hash) of each file, the XForm itself under the name ""."""
        return (("", self.hash), *((name, held) for name, held, _ in self.media))

    def listed(self) -> dict[str, Any]:
        """As a device is told of it."""
        return {
            "form": self.form,
            "version": self.version,
            "hash": self.hash,
            "size": self.size,
            "title": self.title,
            "media": [{"name": n, "hash": h, "size": s} for n, h, s in self.media],
        }


def _published(row: Any) -> Published:
    return Published(
        row.form,
        row.version,
        row.hash,
        row.whole_hash,
        row.title,
        row.size,
        tuple((one["name"], one["hash"], one["size"]) for one in json.loads(row.media)),
        row.published_ms,
        row.current,
    )


def find(tx: Tx, form: str, version: str, form_hash: str) -> Published | None:
    """The version with that hash, of the XForm alone or of the XForm with its media."""
    row = tx.execute(
        select(forms).where(
            forms.c.area == "",
            forms.c.form == form,
            forms.c.version == version,
            or_(forms.c.hash == form_hash, forms.c.whole_hash == form_hash),
        )
    ).first()
    return _published(row) if row else None


def version_of(tx: Tx, form: str, version: str) -> Published | None:
    """That version of the form, whatever its hash."""
    row = tx.execute(
        select(forms).where(forms.c.area == "", forms.c.form == form, forms.c.version == version)
    ).first()
    return _published(row) if row else None


def all_of(tx: Tx, *, current: bool = False) -> list[Published]:
    """Every version, by form and time; only what devices should use now, if `current`."""
    return [_published(row) for row in tx.execute(_CURRENT if current else _ALL)]


_ALL = select(forms).where(forms.c.area == "").order_by(forms.c.form, forms.c.published_ms)
_CURRENT = _ALL.where(forms.c.current)
