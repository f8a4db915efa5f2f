"""Opening and checking: what a sealed submission says, and whether its form's own rules hold.

The slow part of the intake, so it happens outside of every transaction and, where the server has
several cores, in worker processes.
"""

from __future__ import annotations

import json
import threading
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import TYPE_CHECKING, Protocol

from schemas import packing
from schemas.envelope import Payload, parse
from schemas.packing import Outline
from schemas.problems import Refused
from sync_server import blobs
from sync_server.signatures import Keys, Sessions
from sync_server.store import published
from sync_server.store.engine import Store, open_store

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from forms.form import Form
    from schemas.envelope import Envelope

SHELF = 32
"""Compiled forms that one process keeps."""
PIECE = 16
"""Submissions that one worker process is given at once."""


@dataclass(frozen=True, slots=True)
class Judged:
    """What came of one submission.

    `state` is received (no key opens it yet), checked, refused or parked. `opened` is the payload
    as `Payload.pack` gives it, b"" where it does not open; `faults` are (place, rule, reason).
    """

    state: str
    problem: str = ""
    detail: str = ""
    opened: bytes = b""
    instance_id: str = ""
    parent: str = ""
    faults: tuple[tuple[str, str, str], ...] = ()


class Checker(Protocol):
    """Judges sealed submissions, in the order given. Their signatures were checked before.

    `openings` has those of their sessions, by hash.
    """

    def judge(self, envelopes: Sequence[bytes], openings: Mapping[str, bytes]) -> list[Judged]: ...

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


def judge(sessions: Sessions, shelf: Shelf, envelope: Envelope, opening: bytes) -> Judged:
    """Opens one submission and checks it by its own form."""
    header = envelope.header
    try:
        opened = sessions.open(envelope, opening)
        held = shelf.both(header.form, header.version, header.form_hash)
        form, outline = held or (None, None)
        text = packing.unpack(header.packing, opened, outline)
        payload = Payload.read(text, header)
        if not 0 < len(payload.instance_id) <= 255 or len(payload.parent) > 255:
            raise Refused("payload-differs", "an instance id has 1 to 255 characters")
    except Refused as error:
        code = error.problem.code
        # A missing key or form may yet come; a broken seal stays broken.
        state = {"key-unknown": "received", "form-unknown": "parked"}.get(code, "refused")
        if code in {"malformed", "too-large"}:
            code = "payload-differs"
        return Judged(state, code, error.problem.detail)
    known = (payload.pack(), payload.instance_id, payload.parent)
    if form is None:
        return Judged("parked", "form-unknown", "", *known)
    faults = check_answers(form, payload)
    if faults:
        return Judged("refused", "answers-refused", f"{len(faults)} faults", *known, faults)
    return Judged("checked", "", "", *known)


def check_answers(form: Form, payload: Payload) -> tuple[tuple[str, str, str], ...]:
    """(place, rule, reason) of each fault, by the same engine that asked the questions."""
    from forms.check import check  # noqa: PLC0415  the engine is read when it is first needed

    xml = payload.xml.encode()
    found = [
        (fault.ref, fault.kind, fault.reason)
        for fault in check(form, xml, attachments=payload.files.keys())
    ]
    told = named_instance(xml)
    if told and told != payload.instance_id:
        found.append(("meta/instanceID", "form", "the XML names another instance"))
    return tuple(found)


def named_instance(xml: bytes) -> str:
    """The instanceID in the XML, "" where there is none or more than one."""
    # The engine is read when it is first needed.
    from forms.markup import BadMarkup, local, text  # noqa: PLC0415
    from forms.markup import parse as parse_xml  # noqa: PLC0415

    try:
        found = [one for one in parse_xml(xml).iter() if local(one) == "instanceID"]
    except BadMarkup:
        return ""
    return text(found[0]).strip() if len(found) == 1 else ""


class Inline:
    """Judges in the calling thread: for the command line, and for small servers."""

    def __init__(self, store: Store, keys: Keys) -> None:
        self._sessions = Sessions(keys)
        self._shelf = Shelf(store)

    def judge(self, envelopes: Sequence[bytes], openings: Mapping[str, bytes]) -> list[Judged]:
        return [
            judge(self._sessions, self._shelf, one, openings[one.header.session])
            for one in map(parse, envelopes)
        ]

    def close(self) -> None:
        """Nothing is held."""


_HERE: list[Inline] = []


def _begin(database: str, ring: bytes) -> None:
    _HERE[:] = [Inline(open_store(database), Keys.parse(ring, "the server"))]


def _piece(given: tuple[Sequence[bytes], Mapping[str, bytes]]) -> list[Judged]:
    return _HERE[0].judge(*given)


class Workers:
    """Judges in worker processes, each with its own forms and its own connection."""

    def __init__(self, database: str, keys: Keys, count: int) -> None:
        self._pool = ProcessPoolExecutor(
            count,
            mp_context=get_context("spawn"),
            initializer=_begin,
            initargs=(database, keys.dump()),
        )

    def judge(self, envelopes: Sequence[bytes], openings: Mapping[str, bytes]) -> list[Judged]:
        pieces = [(envelopes[at : at + PIECE], openings) for at in range(0, len(envelopes), PIECE)]
        return [one for piece in self._pool.map(_piece, pieces) for one in piece]

    def close(self) -> None:
        self._pool.shutdown()


def faults_json(faults: Sequence[tuple[str, str, str]]) -> bytes:
    """As they are kept at rest: what is said there may name what a person answered."""
    return json.dumps([list(one) for one in faults], ensure_ascii=False).encode()
