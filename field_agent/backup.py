"""A copy of what is not yet safe elsewhere, that only the programme can open."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from field_agent.files import private_file, sync_folder
from field_agent.seal import FileSealer, choose, seal_to
from field_agent.trouble import NotEnrolled
from schemas.envelope import (
    BackupHeader,
    backup_info,
    backup_signed,
    backup_start,
    item_head,
)
from schemas.frames import canonical

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from field_agent.store import Store

_READ = 256 * 1024
_NOT_YET_SAFE = ("pending", "sent", "refused", "held")


@dataclass(frozen=True, slots=True)
class Backup:
    """What a backup took: entries sealed and still being filled in, files, and its bytes."""

    entries: int
    drafts: int
    files: int
    size: int


def write(store: Store, file: Path, *, made: str) -> Backup:
    """Write a backup of drafts, entries without a receipt and their files to `file`.

    A power cut leaves either no file of that name or a whole one; an older file there is replaced
    only by a whole one. Raises `NotEnrolled` (there is no key to seal to yet), `CannotSeal`.
    """
    identity = store.identity
    if identity is None:
        raise NotEnrolled("a backup is sealed to the programme's key: enrol this device first")
    key = choose(store.sealing_keys)
    sealer = FileSealer()
    header = BackupHeader(
        key.suite,
        key.id,
        identity.device,
        store.counter,
        made,
        identity.fingerprint,
    )
    prefix = header.prefix()
    start = backup_start(header, seal_to(key, sealer.key, backup_info(prefix)))
    counts = dict.fromkeys(("opening", "envelope", "draft", "attachment", "draft-file"), 0)
    fresh = file.with_name(file.name + ".part")
    digest = hashlib.sha256()
    with store.snapshot(), private_file(fresh) as out:
        digest.update(start)
        out.write(start)
        for chunk in sealer.seal(_items(store, counts)):
            digest.update(chunk)
            out.write(chunk)
        out.write(store.vault.sign(backup_signed(digest.digest())))
        size = out.tell()
    fresh.replace(file)
    sync_folder(file.resolve().parent)
    return Backup(
        counts["envelope"], counts["draft"], counts["attachment"] + counts["draft-file"], size
    )


def _items(store: Store, counts: dict[str, int]) -> Iterator[bytes]:
    """The plain bytes inside a backup, piece by piece; nothing of them touches the disk."""
    total = 0
    for head, length, body in _each(store):
        counts[head["kind"]] += 1
        total += 1
        yield item_head(head, length)
        yield from body
    yield item_head({"kind": "end", "items": total}, 0)


def _each(store: Store) -> Iterator[tuple[dict[str, Any], int, Iterator[bytes]]]:
    after = 0
    for opening in store.openings_to_back_up():
        yield {"kind": "opening"}, len(opening), iter((opening,))
    while page := store.outbox(states=_NOT_YET_SAFE, after=after, limit=100):
        for one in page:
            head = {
                "kind": "envelope",
                "counter": one.counter,
                "hash": one.hash,
                "state": one.state,
            }
            yield head, one.size, iter((store.envelope(one.counter),))
        after = page[-1].counter
    for file in store.attachments():
        head = {"kind": "attachment", "hash": file.hash, "size": file.size}
        yield head, file.size, _sealed(store, file.hash)
    for draft, files in store.to_back_up():
        head = {
            "kind": "draft",
            "draft": draft.draft,
            "form": draft.form,
            "version": draft.version,
            "form_hash": draft.form_hash,
            "label": draft.label,
            "started": draft.started,
            "started_ms": draft.started_ms,
            "parent": draft.parent,
            "seen": draft.seen,
        }
        answers = canonical([[path, value] for path, value in draft.answers.items()])
        yield head, len(answers), iter((answers,))
        for name, read in files.items():
            head = {
                "kind": "draft-file",
                "draft": draft.draft,
                "name": name,
                "media_type": draft.files[name],
            }
            yield head, sum(len(piece) for piece in read()), read()


def _sealed(store: Store, digest: str) -> Iterator[bytes]:
    offset = 0
    while piece := store.attachment_bytes(digest, offset, _READ):
        yield piece
        offset += len(piece)
