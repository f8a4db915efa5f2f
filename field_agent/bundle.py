"""A round on a memory stick: what the device would send goes into a file, the replies come back in one."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from field_agent.course import Outcome
from field_agent.files import private_file, sync_folder
from field_agent.incoming import take
from field_agent.outgoing import Outgoing, prepare
from field_agent.rounds import BATCH_MAX
from field_agent.seal import verify
from field_agent.store import Form
from field_agent.trouble import Missing
from schemas import bundle as layout
from schemas.messages import unpack_reply
from schemas.problems import Refused, at
from schemas.signing import REPLY_INFO, bundle_bytes, pass_bytes

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from field_agent.store import Store

MADE = "bundles"
_REMEMBERED = 50
_PAGE = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Packed:
    """What a bundle holds: entries, files, and its bytes."""

    entries: int
    files: int
    size: int


def pack(store: Store, file: Path, *, new_id: Callable[[], str], now_ms: int) -> Packed:
    """Write everything that has no receipt into `file`, with its attachments. Nothing is marked as sent
    for good: the next round by network, or this file, brings it, whichever comes first.

    Raises `NotEnrolled`, `DiskFull`, OSError.
    """
    who = store.owner()
    fresh = file.with_name(file.name + ".part")
    with private_file(fresh) as out:
        header = {"device": who.device, "area": who.area, "server": who.fingerprint, "made": now_ms}
        writer = layout.Writer(out, layout.BUNDLE, header)
        writer.add(layout.PASS, store.vault.sign(pass_bytes(writer.opening)))
        entries = 0
        rounds: list[dict[str, Any]] = []
        for outgoing in _rounds(store, new_id, now_ms):
            writer.add(layout.ROUND, outgoing.body)
            entries += len(outgoing.counters)
            rounds.append({"batch": outgoing.batch, "counters": list(outgoing.counters)})
        files = 0
        for one in sorted(store.attachments(), key=lambda one: one.size):
            if one.size > layout.MAX_FRAME - 64:
                continue
            writer.add_blob(one.hash, store.attachment_bytes(one.hash, 0, one.size))
            files += 1

        def sign(sha256: bytes) -> bytes:
            made = {"for": sha256.hex(), "cursor": store.kept("cursor", ""), "rounds": rounds}
            store.keep(MADE, [*store.kept(MADE, []), made][-_REMEMBERED:])
            return store.vault.sign(bundle_bytes(sha256))

        writer.end(sign)
        size = out.tell()
    fresh.replace(file)
    sync_folder(file.absolute().parent)
    return Packed(entries, files, size)


def _rounds(store: Store, new_id: Callable[[], str], now_ms: int) -> list[Outgoing]:
    """All unsent entries as rounds, each batch made and stored; last a round that asks for news."""
    made: list[Outgoing] = []
    with store.transaction():
        while not made or made[-1].batch:
            made.append(
                prepare(
                    store,
                    new_id=new_id,
                    now_ms=now_ms,
                    most=BATCH_MAX,
                    page=_PAGE,
                    but=frozenset(one.batch for one in made),
                )
            )
    return made


@dataclass(frozen=True, slots=True)
class Taken:
    """What came back on the stick."""

    outcome: Outcome
    forms: tuple[str, ...]
    replies: int


def take_file(store: Store, file: Path, *, now_ms: int) -> Taken:
    """Store the receipts and news of a reply, or of this device's reply inside a relay's file.

    Taking it again changes nothing. Raises `Refused` where the file is cut, or is not for this device.
    """
    with file.open("rb") as opened, at(str(file)):
        reader = layout.Reader(opened)
        if reader.opening.kind == layout.RELAY:
            return _from_relay(store, reader, now_ms=now_ms)
        return _reply(store, reader, now_ms=now_ms)


def _from_relay(store: Store, reader: layout.Reader, *, now_ms: int) -> Taken:
    who = store.owner()
    for kind, content in reader.frames():
        if kind == layout.WHOLE:
            inner = layout.Reader(io.BytesIO(content))
            if (
                inner.opening.kind == layout.REPLY
                and inner.opening.header.get("device") == who.device
            ):
                return _reply(store, inner, now_ms=now_ms)
    raise Refused("reply-foreign", f"the file holds none for {who.device}")


def _reply(store: Store, reader: layout.Reader, *, now_ms: int) -> Taken:
    who, head = store.owner(), reader.opening.header
    if reader.opening.kind != layout.REPLY:
        raise Refused("bundle-astray", "a device wrote it")
    if head.get("server") != who.fingerprint or head.get("device") != who.device:
        raise Refused("reply-foreign", f"they are for {head.get('device')}, this is {who.device}")
    if not verify(who.server_key, reader.signature, bundle_bytes(reader.sha256)):
        raise Refused("bundle-cut", "it is not as this device's server signed it")
    made = {one["for"]: one for one in store.kept(MADE, [])}.get(str(head.get("for", "")), {})
    rounds: list[dict[str, Any]] = made.get("rounds", [])
    # The cursor is the server's own text: it is believed only if ours has not moved since.
    follows = bool(made) and store.kept("cursor", "") == made["cursor"]
    outcome = Outcome()
    blobs: dict[str, bytes] = {}
    form_list: dict[str, Any] = {}
    number = 0
    info = REPLY_INFO + b"\n" + reader.opening.raw
    for kind, content in reader.frames():
        if kind == layout.BLOB:
            name, data = layout.split_blob(content)
            if hashlib.sha256(data).hexdigest() == name:
                blobs[name] = data
        elif kind == layout.SEALED_REPLY:
            reply = unpack_reply(store.vault.open_box(content, info))
            told = rounds[number] if number < len(rounds) else {}
            number += 1
            take(
                store,
                reply,
                Outgoing(b"", told.get("batch", ""), tuple(told.get("counters", ())), 0),
                outcome,
                now_ms=now_ms,
                live=False,
                move=follows and number == len(rounds),
            )
            form_list = reply.forms or form_list
    forms = _forms(store, form_list, blobs)
    outcome.left, outcome.attachments_left = store.unsent(), len(store.attachments())
    return Taken(outcome, forms, number)


def _known(store: Store, told: dict[str, Any]) -> bool:
    """Whether this version of a form is here."""
    try:
        return store.form(told["form"], told["version"]).hash == str(told["hash"])
    except Missing:
        return False


def _forms(store: Store, told: dict[str, Any], blobs: dict[str, bytes]) -> tuple[str, ...]:
    """The forms that came whole and were not here; the others wait for a network."""
    taken: list[str] = []
    whole = bool(told)
    for one in told.get("list", ()):
        media = {part["name"]: part["hash"] for part in one.get("media", ())}
        for name in {*media.values()} & set(blobs):
            store.put_media(name, blobs[name])
        try:
            for name in media.values():
                store.media(name)
            if one["hash"] in blobs:
                known = _known(store, one)
                xml = blobs[one["hash"]].decode()
                store.put_form(
                    Form(one["form"], one["version"], one["hash"], one.get("title", ""), xml, media)
                )
                if not known:
                    taken.append(f"{one['form']} {one['version']}")
            elif store.form(one["form"], one["version"]).hash != one["hash"]:
                whole = False
        except Missing:
            whole = False
    if whole:
        store.retire_forms((str(one["form"]), str(one["version"])) for one in told.get("list", ()))
        store.keep("forms_digest", str(told.get("digest", "")))
    return tuple(taken)
