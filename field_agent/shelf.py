"""The forms that the device holds, each version with its media."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from field_agent.database import Database
from field_agent.trouble import Missing

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True)
class Form:
    """One version of one form as the server gave it. `media` has file names and their SHA-256."""

    form: str
    version: str
    hash: str
    title: str
    xml: str
    media: dict[str, str] = field(default_factory=dict)


class Shelf(Database):
    """Forms by name and version; files by their SHA-256."""

    def put_form(self, form: Form) -> None:
        """Add or replace one version; it becomes the current one of its form."""
        with self.transaction():
            self._write("UPDATE forms SET current = 0 WHERE form = ?", (form.form,))
            self.db.table("forms").upsert(
                {
                    "form": form.form,
                    "version": form.version,
                    "hash": form.hash,
                    "title": form.title,
                    "xml": form.xml,
                    "current": 1,
                },
                pk=("form", "version"),
            )
            self._write(
                "DELETE FROM form_files WHERE form = ? AND version = ?", (form.form, form.version)
            )
            for name, digest in form.media.items():
                self._write(
                    "INSERT INTO form_files VALUES (?, ?, ?, ?)",
                    (form.form, form.version, name, digest),
                )

    def retire_forms(self, current: Iterable[tuple[str, str]]) -> None:
        """Only these (form, version) can be begun from now on; entries begun before can be finished.

        The version is the office's word, not the one that came last: a server that was restored and
        published again names one that was here before the other.
        """
        with self.transaction():
            self._write("UPDATE forms SET current = 0")
            for form, version in current:
                self._write(
                    "UPDATE forms SET current = 1 WHERE form = ? AND version = ?", (form, version)
                )

    def forms(self) -> list[Form]:
        """The current version of each form, by title."""
        rows = self._all(f"{_FORMS} WHERE current = 1 ORDER BY title, form")
        return [Form(*(*row, self._media_of(row[0], row[1]))) for row in rows]

    def form(self, form: str, version: str | None = None) -> Form:
        """One version, by default the current one. Raises `Missing`."""
        row = self._one(
            f"{_FORMS} WHERE form = ? AND " + ("current = 1" if version is None else "version = ?"),
            (form,) if version is None else (form, version),
        )
        if row is None:
            raise Missing(f"no form {form} {version or ''} on this device; sync to fetch it")
        return Form(*(*row, self._media_of(row[0], row[1])))

    def _media_of(self, form: str, version: str) -> dict[str, str]:
        return dict(
            self._all(
                "SELECT name, hash FROM form_files WHERE form = ? AND version = ?", (form, version)
            )
        )

    def put_media(self, digest: str, data: bytes) -> None:
        self._write("INSERT OR REPLACE INTO media VALUES (?, ?)", (digest, data))

    def media(self, digest: str) -> bytes:
        """A form's file by its SHA-256. Raises `Missing`."""
        row = self._one("SELECT data FROM media WHERE hash = ?", (digest,))
        if row is None:
            raise Missing(f"the form's file {digest} is not here yet; sync to fetch it")
        return bytes(row[0])

    def missing_media(self) -> list[str]:
        return [
            row[0]
            for row in self._all(
                "SELECT DISTINCT hash FROM form_files WHERE hash NOT IN (SELECT hash FROM media)"
            )
        ]


_FORMS = "SELECT form, version, hash, title, xml FROM forms"
