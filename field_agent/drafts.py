"""Entries being filled in: each answer is on the disk when `save` returns."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from field_agent.belonging import Belonging
from field_agent.trouble import Missing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from field_agent.shelf import Form

PIECE = 64 * 1024


@dataclass(frozen=True, slots=True)
class Draft:
    """An entry being filled in. `answers` are in the order in which they were first given."""

    draft: str
    form: str
    version: str
    form_hash: str
    label: str
    started: str
    started_ms: int
    parent: str
    seen: dict[str, dict[str, list[str]]]
    answers: dict[str, Any]
    files: dict[str, str]
    """Names of attached files, with their media types."""


class Drafts(Belonging):
    """The entries that this device can still read, as long as its lease has not ended."""

    def begin(
        self,
        draft: str,
        form: Form,
        *,
        started: str,
        now_ms: int,
        parent: str = "",
        seen: Mapping[str, Mapping[str, Sequence[str]]] | None = None,
        label: str = "",
    ) -> None:
        """A new, empty entry by an id of the caller's. Beginning it again changes nothing."""
        self._ready()
        self._roomy()
        self._write(
            "INSERT OR IGNORE INTO drafts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                draft,
                form.form,
                form.version,
                form.hash,
                label,
                started,
                now_ms,
                parent,
                json.dumps(seen or {}),
            ),
        )

    def save(self, draft: str, path: str, value: Any) -> None:
        """Store one answer (any JSON value): when this returns, a power cut cannot take it back.

        Raises `Missing` where the entry was finished or thrown away, and `DiskFull`.
        """
        self.save_all(draft, {path: value})

    def save_all(self, draft: str, answers: Mapping[str, Any]) -> None:
        """Several answers, all or none, as durable as one."""
        self._ready()
        self._roomy()
        with self.transaction():
            run = self._connection.execute
            for path, value in answers.items():
                # A new path goes behind the others; a known one keeps its place.
                done = run(
                    "INSERT INTO answers SELECT draft, ?2, "
                    "(SELECT coalesce(max(number), 0) + 1 FROM answers WHERE draft = ?1), ?3 "
                    "FROM drafts WHERE draft = ?1 "
                    "ON CONFLICT (draft, path) DO UPDATE SET value = excluded.value",
                    (draft, path, json.dumps(value, ensure_ascii=False)),
                )
                if not done.rowcount:
                    raise Missing(
                        f"entry {draft} is not being filled in: it was finished or erased"
                    )

    def forget(self, draft: str, paths: Iterable[str]) -> None:
        """Take back answers."""
        with self.transaction():
            for path in paths:
                self._write("DELETE FROM answers WHERE draft = ? AND path = ?", (draft, path))

    def relabel(self, draft: str, label: str) -> None:
        """How the entry is listed while it is being filled in."""
        self._write("UPDATE drafts SET label = ? WHERE draft = ?", (label, draft))

    def attach(self, draft: str, name: str, media_type: str, pieces: Iterable[bytes]) -> int:
        """Store a file of an entry under its name in the XML; its size in bytes."""
        self._ready()
        self._roomy()
        size = 0
        with self.transaction():
            if self._one("SELECT 1 FROM drafts WHERE draft = ?", (draft,)) is None:
                raise Missing(f"entry {draft} is not being filled in: it was finished or erased")
            self.detach(draft, name)
            for number, piece in enumerate(_cut(pieces)):
                size += len(piece)
                self._connection.execute(
                    "INSERT INTO draft_pieces VALUES (?, ?, ?, ?)", (draft, name, number, piece)
                )
            self._connection.execute(
                "INSERT INTO draft_files VALUES (?, ?, ?, ?)", (draft, name, media_type, size)
            )
        return size

    def detach(self, draft: str, name: str) -> None:
        with self.transaction():
            for table in ("draft_files", "draft_pieces"):
                self._write(f"DELETE FROM {table} WHERE draft = ? AND name = ?", (draft, name))  # noqa: S608  the names are ours

    def attached(self, draft: str, name: str) -> Iterator[bytes]:
        """The plain bytes of an entry's file, piece by piece."""
        self._ready()
        return self._pieces(draft, name)

    def _pieces(self, draft: str, name: str) -> Iterator[bytes]:
        number = 0
        while True:
            row = self._one(
                "SELECT data FROM draft_pieces WHERE draft = ? AND name = ? AND number = ?",
                (draft, name, number),
            )
            if row is None:
                return
            yield bytes(row[0])
            number += 1

    def drafts(self) -> list[Draft]:
        """The entries being filled in, the latest begun first."""
        self._ready()
        return self._drafts()

    def _drafts(self) -> list[Draft]:
        # Of one moment: another command may finish one of them meanwhile.
        with self.snapshot():
            ids = self._all("SELECT draft FROM drafts ORDER BY started_ms DESC, draft")
            return [self._draft(row[0]) for row in ids]

    def draft(self, draft: str) -> Draft:
        """Raises `Missing`."""
        self._ready()
        return self._draft(draft)

    def to_back_up(self) -> Iterator[tuple[Draft, dict[str, Callable[[], Iterator[bytes]]]]]:
        """Each draft with a reader of each of its files, whatever the lease: to be sealed."""
        for draft in self._drafts():
            yield draft, {name: partial(self._pieces, draft.draft, name) for name in draft.files}

    def _draft(self, draft: str) -> Draft:
        with self.snapshot():
            row = self._one(
                "SELECT draft, form, version, form_hash, label, started, started_ms, parent, seen "
                "FROM drafts WHERE draft = ?",
                (draft,),
            )
            if row is None:
                raise Missing(f"entry {draft} is not being filled in: it was finished or erased")
            answers = self._all(
                "SELECT path, value FROM answers WHERE draft = ? ORDER BY number", (draft,)
            )
            files = self._all(
                "SELECT name, media_type FROM draft_files WHERE draft = ? ORDER BY name", (draft,)
            )
        known = {path: json.loads(value) for path, value in answers}
        return Draft(*(*row[:8], json.loads(row[8]), known, dict(files)))

    def discard(self, draft: str) -> None:
        """Erase an entry that nobody wants; nothing of it stays."""
        with self.transaction():
            self._erase_draft(draft)
        self._wipe_log()

    def _erase_draft(self, draft: str) -> None:
        for table in ("answers", "draft_files", "draft_pieces", "drafts"):
            self._connection.execute(f"DELETE FROM {table} WHERE draft = ?", (draft,))  # noqa: S608  the names are ours


def _cut(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in pieces of 64 KiB."""
    waiting = bytearray()
    for piece in pieces:
        waiting += piece
        while len(waiting) >= PIECE:
            yield bytes(waiting[:PIECE])
            del waiting[:PIECE]
    if waiting:
        yield bytes(waiting)
