"""Opening and checking: what a sealed submission says, and whether its form's own rules hold.

The slow part, so it comes after the answer to the device, outside of every transaction and, where
the server has several cores, in worker processes.
"""

from __future__ import annotations

import json
import os
import signal
import threading
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from multiprocessing import get_context
from typing import TYPE_CHECKING, Protocol

from sqlalchemy import select

from schemas import packing
from schemas.envelope import Payload, parse
from schemas.packing import Outline
from schemas.problems import Refused
from sync_server import blobs
from sync_server.signatures import Keys, Sessions, verify
from sync_server.store import published
from sync_server.store.engine import Store, as_bytes, open_store
from sync_server.store.intake_tables import devices, envelopes, openings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from forms.form import Form
    from schemas.envelope import Envelope
    from sync_server.signatures import AtRest
    from sync_server.store.engine import Tx

SHELF = 32
"""Compiled forms that one process keeps."""
PIECE_MIN, PIECE_MAX = 8, 64
"""Submissions that one worker process is given at once: to hand one over costs as much as to check a
few, and a short queue keeps every worker busy."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Where one submission lies that waits to be inspected."""

    area: str
    device: str
    counter: int
    hash: str


@dataclass(frozen=True, slots=True)
class Judged:
    """What came of one submission.

    `state` is checked, refused or parked (no key opens it yet, or its form is not here). `opened`
    and `faults` are as they are kept at rest, None where there is nothing to keep; `rules` are
    (place, rule) of each fault, without the words that may name what a person answered. `form` to
    `made` are what its header says.
    """

    state: str
    problem: str = ""
    instance_id: str = ""
    parent: str = ""
    opened: bytes | None = None
    faults: bytes | None = None
    rules: tuple[tuple[str, str], ...] = ()
    form: str = ""
    version: str = ""
    form_hash: str = ""
    made: str = ""


class Checker(Protocol):
    """Opens and judges what lies at these places, in the order given."""

    def judge(self, waiting: Sequence[Waiting]) -> Iterator[Judged]: ...

    def close(self) -> None: ...


class Shelf:
    """The forms as the engine reads them, and their outlines, the last used kept."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._held: dict[tuple[str, str, str], tuple[Form, Outline]] = {}
        self._lock = threading.Lock()

    def form(self, form: str, version: str, form_hash: str) -> Form | None:
        """The form of exactly that hash, None where it is not published."""
        found = self.both(form, version, form_hash)
        return found[0] if found else None

    def both(self, form: str, version: str, form_hash: str) -> tuple[Form, Outline] | None:
        """The form and its outline."""
        wanted = (form, version, form_hash)
        with self._lock:
            found = self._held.pop(wanted, None)
            if found is None:
                row = self._store.read(lambda tx: published.find(tx, form, version, form_hash))
                if row is None:
                    return None
                from forms.form import Form  # noqa: PLC0415  read when it is first needed

                files = self._store.read(
                    lambda tx: {one: blobs.content(tx, "", held) for one, held in row.files()}
                )
                xml = files.pop("")
                found = (Form.load(xml, files), Outline(xml))
            self._held[wanted] = found
            while len(self._held) > SHELF:
                del self._held[next(iter(self._held))]
            return found


@dataclass(frozen=True, slots=True)
class Sealed:
    """One submission as it came: the device's key, the envelope, the opening of its session."""

    key: bytes
    envelope: Envelope
    opening: bytes


def place(area: str, device: str, counter: int, envelope_hash: str) -> str:
    """Where an opened submission is kept: what its encryption at rest is bound to."""
    return f"submissions/{area}/{device}/{counter}/{envelope_hash}"


def judge(sessions: Sessions, at_rest: AtRest, shelf: Shelf, at: Waiting, came: Sealed) -> Judged:
    """Checks who signed one submission, opens it, and checks it by its own form."""
    header = came.envelope.header
    return replace(
        _verdict(sessions, at_rest, shelf, at, came),
        form=header.form,
        version=header.version,
        form_hash=header.form_hash,
        made=header.made,
    )


def _verdict(
    sessions: Sessions, at_rest: AtRest, shelf: Shelf, at: Waiting, came: Sealed
) -> Judged:
    envelope, header = came.envelope, came.envelope.header
    try:
        if not verify(came.key, envelope.signature, envelope.signed):
            raise Refused("envelope-signature")
        opened = sessions.open(envelope, came.opening)
        held = shelf.both(header.form, header.version, header.form_hash)
        form, outline = held or (None, None)
        text = packing.unpack(header.packing, opened, outline)
        payload = Payload.read(text, header)
        if not 0 < len(payload.instance_id) <= 255 or len(payload.parent) > 255:
            raise Refused("payload-differs", "an instance id has 1 to 255 characters")
    except Refused as error:
        code = error.problem.code
        # A missing key or form may yet come; a broken seal stays broken.
        state = "parked" if code in {"key-unknown", "form-unknown"} else "refused"
        if code in {"malformed", "too-large"}:
            code = "payload-differs"
        return Judged(state, code)
    where = place(at.area, at.device, at.counter, at.hash)
    known = (payload.instance_id, payload.parent, at_rest.seal(where, payload.pack()))
    if form is None:
        return Judged("parked", "form-unknown", *known)
    faults = check_answers(form, payload)
    if faults:
        kept = at_rest.seal(where + "/faults", faults_json(faults))
        rules = tuple((path, rule) for path, rule, _ in faults)
        return Judged("refused", "answers-refused", *known, kept, rules)
    return Judged("checked", "", *known)


def check_answers(form: Form, payload: Payload) -> tuple[tuple[str, str, str], ...]:
    """(place, rule, reason) of each fault, by the same engine that asked the questions."""
    from forms.check import check  # noqa: PLC0415  the engine is read when it is first needed

    found = check(
        form,
        payload.xml.encode(),
        attachments=payload.files.keys(),
        instance_id=payload.instance_id,
    )
    return tuple((fault.ref, fault.kind, fault.reason) for fault in found)


class Inline:
    """Judges in the calling thread: for the command line, and inside each worker process."""

    def __init__(self, store: Store, keys: Keys, at_rest: AtRest) -> None:
        self._store = store
        self._sessions = Sessions(keys)
        self._at_rest = at_rest
        self._shelf = Shelf(store)

    def judge(self, waiting: Sequence[Waiting]) -> Iterator[Judged]:
        for at in range(0, len(waiting), PIECE_MAX):
            yield from self.piece(waiting[at : at + PIECE_MAX])

    def piece(self, waiting: Sequence[Waiting]) -> list[Judged]:
        """All of them, read at one moment."""
        held = self._store.read(lambda tx: _came(tx, waiting))
        return [judge(self._sessions, self._at_rest, self._shelf, at, held[at]) for at in waiting]

    def close(self) -> None:
        """Nothing is held."""


def _came(tx: Tx, waiting: Sequence[Waiting]) -> dict[Waiting, Sealed]:
    """What lies at these places, each device's by one look."""
    found: dict[Waiting, Sealed] = {}
    for area, device in {(one.area, one.device) for one in waiting}:
        mine = {one for one in waiting if (one.area, one.device) == (area, device)}
        key = tx.execute(
            select(devices.c.key).where(devices.c.area == area, devices.c.device == device)
        ).scalar_one()
        rows = tx.execute(
            select(envelopes.c.counter, envelopes.c.hash, envelopes.c.sealed).where(
                envelopes.c.area == area,
                envelopes.c.device == device,
                envelopes.c.counter.in_({one.counter for one in mine}),
            )
        )
        parsed = {
            at: parse(as_bytes(row.sealed))
            for row in rows
            if (at := Waiting(area, device, row.counter, row.hash)) in mine
        }
        sessions = {envelope.header.session for envelope in parsed.values()}
        kept = tx.execute(
            select(openings.c.hash, openings.c.data).where(
                openings.c.area == area,
                openings.c.device == device,
                openings.c.hash.in_(sessions),
            )
        )
        opening = {row.hash: as_bytes(row.data) for row in kept}
        for at, envelope in parsed.items():
            found[at] = Sealed(as_bytes(key), envelope, opening[envelope.header.session])
    return found


_HERE: list[Inline] = []
_MANNERS = 19


def _begin(database: str, ring: bytes, at_rest: AtRest) -> None:
    # Whoever waits for an answer goes first; what was answered can be checked a moment later.
    os.nice(_MANNERS)
    # Ctrl-C at a terminal reaches the whole group: the server ends its workers itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _HERE[:] = [Inline(open_store(database), Keys.parse(ring, "the server"), at_rest)]


def _piece(waiting: Sequence[Waiting]) -> list[Judged]:
    return _HERE[0].piece(waiting)


class Workers:
    """Judges in worker processes, each with its own forms and its own connection.

    A worker that dies takes the others' work with it (`BrokenProcessPool`); what was to be judged
    still waits in the store, and the next call begins with new workers.
    """

    def __init__(self, database: str, keys: Keys, at_rest: AtRest, count: int) -> None:
        self._count = count
        self._told = database, keys.dump(), at_rest
        self._pool = self._begun()

    def _begun(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            self._count,
            mp_context=get_context("spawn"),
            initializer=_begin,
            initargs=self._told,
        )

    def judge(self, waiting: Sequence[Waiting]) -> Iterator[Judged]:
        each = min(PIECE_MAX, max(PIECE_MIN, -(-len(waiting) // (2 * self._count))))
        pieces = [waiting[at : at + each] for at in range(0, len(waiting), each)]
        try:
            for piece in self._pool.map(_piece, pieces):
                yield from piece
        except BrokenProcessPool:
            self._pool.shutdown(wait=False)
            self._pool = self._begun()
            raise

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)


def faults_json(faults: Sequence[tuple[str, str, str]]) -> bytes:
    """As they are kept at rest: what is said there may name what a person answered."""
    return json.dumps([list(one) for one in faults], ensure_ascii=False).encode()
