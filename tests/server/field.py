"""A small honest device, made of the protocol's bytes alone, and a server to meet it."""

from __future__ import annotations

import hmac
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from schemas.envelope import (
    CHAIN_INFO,
    CLASSIC,
    MESSAGE_INFO,
    Attachment,
    Header,
    Payload,
    SealedFile,
    SessionHeader,
    body_nonce,
    envelope_hash,
    session_info,
)
from schemas.frames import squeeze
from schemas.messages import (
    EnrolReply,
    EnrolRequest,
    RoundReply,
    RoundRequest,
    pack_enrol,
    pack_round,
    unpack_enrol_reply,
    unpack_reply,
)
from schemas.signing import (
    REPLY_HEADER,
    Authorization,
    enrol_bytes,
    fingerprint,
    held_digest,
    raw,
    receipt_bytes,
    reply_bytes,
    request_bytes,
    text,
)
from sync_server import signatures
from sync_server.checking import Inline
from sync_server.desk import Config, Desk, prepare
from sync_server.signatures import verify
from sync_server.store.engine import open_store
from sync_server.web.app import create_app

if TYPE_CHECKING:
    from flask.testing import FlaskClient
    from werkzeug.test import TestResponse

    from schemas.ticket import Ticket

FORM = """
| survey   |         |           |          |            |
|          | type    | name      | label    | constraint |
|          | text    | head      | Head     |            |
|          | integer | size      | Size     | . < 30     |
| settings |         |           |          |            |
|          | form_id | version   |          |            |
|          | visit   | {version} |          |            |
"""


def form(version: str = "1") -> bytes:
    return FORM.format(version=version).encode()


SUITE = hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)


class Clock:
    def __init__(self) -> None:
        self.at = datetime(2026, 3, 1, 8, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.at

    def pass_(self, **more: float) -> None:
        self.at += timedelta(**more)


def ids():
    numbers = count(1)
    return lambda: f"{next(numbers):08x}-0000-4000-8000-000000000000"


def a_desk(url: str, clock: Clock, keys: signatures.Keys | None = None, **config) -> Desk:
    keys = keys or signatures.new_keys(at_ms=1)
    store = open_store(url)
    at_rest = prepare(store, keys, epoch="first", at_ms=1)
    return Desk(
        store,
        clock,
        ids(),
        keys,
        at_rest,
        Config("the office", "sample", url, **config),
        Inline(store, keys, at_rest),
    )


@dataclass
class Tablet:
    """Speaks the protocol over Flask's test client. Never imports the real device."""

    client: FlaskClient
    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    box: X25519PrivateKey = field(default_factory=X25519PrivateKey.generate)
    device: str = ""
    area: str = ""
    server: str = ""
    server_key: bytes = b""
    sealing: list = field(default_factory=list)
    form_hash: str = ""
    counter: int = 0
    prev: str = ""
    cursor: str = ""
    acknowledged: int = 0
    forms: str = ""
    keys: str = ""
    epoch: str = ""
    receipts: dict = field(default_factory=dict)
    openings: dict = field(default_factory=dict)
    """By programme key: [opening, chain key, index]."""
    time_ms: int = 1_772_352_000_000

    @property
    def public(self) -> bytes:
        return self.key.public_key().public_bytes_raw()

    # The wire.

    def send(
        self, method: str, path: str, body: bytes = b"", headers=None, *, as_=None, server=None
    ):
        signed = request_bytes(method, path, body, self.time_ms, server or self.server)
        told = Authorization(as_ or self.device, self.time_ms, text(self.key.sign(signed)))
        reply = self.client.open(
            path,
            method=method,
            data=body,
            headers={"Authorization": told.header(), **(headers or {})},
        )
        if self.server_key:
            assert trusted(reply, told.signature, self.server_key, method), "an unsigned reply"
        return reply

    def enrol(self, ticket: Ticket, label: str = "Amina's") -> TestResponse:
        box = self.box.public_key().public_bytes_raw()
        proof = hmac.digest(ticket.secret, enrol_bytes(ticket.prefix, self.public, box), "sha256")
        asked = EnrolRequest(ticket.name(), proof, self.public, box, "test", label)
        reply = self.send(
            "POST", "/sync/v1/enrol", pack_enrol(asked), as_="new", server=ticket.prefix
        )
        if reply.status_code == 200:
            self.adopt(unpack_enrol_reply(reply.data), ticket)
        return reply

    def adopt(self, told: EnrolReply, ticket: Ticket) -> None:
        assert fingerprint(told.server_key).startswith(ticket.prefix)
        self.device, self.area, self.epoch = told.device, told.area, told.epoch
        self.server_key, self.server = told.server_key, fingerprint(told.server_key)
        self.keys, self.sealing = told.keys["digest"], told.keys["list"]

    # Sealing.

    def seal(
        self, xml: str = "", *, version: str = "1", instance: str = "", attachments=(), **other
    ) -> bytes:
        """One finished visit, sealed and chained to the one before."""
        at = other.pop("counter", self.counter + 1)
        prev = other.pop("prev", self.prev)
        instance = instance or f"uuid:{self.device}-{at}"
        public = next(one for one in self.sealing if one["suite"] == CLASSIC.name)
        session = self.session(public, other.pop("key_id", public["id"]))
        opening, chain, index = session
        session[1:] = hmac.digest(chain, CHAIN_INFO + b"\1", "sha256"), index + 1
        header = Header(
            self.device,
            at,
            prev,
            envelope_hash(opening),
            index,
            "visit",
            version,
            self.form_hash,
            "2026-03-01T08:00:00Z-0000-" + self.device,
            "zstd",
            tuple(Attachment(one, size) for one, size in attachments),
        )
        payload = Payload(
            instance_id=instance,
            form="visit",
            version=version,
            form_hash=self.form_hash,
            started="2026-03-01T08:00:00.000Z",
            finished="2026-03-01T08:10:00.000Z",
            label="",
            xml=xml or visit(instance, version=version),
            files={
                f"{number}.jpg": SealedFile(one, text(bytes(32)), size, "image/jpeg")
                for number, (one, size) in enumerate(attachments)
            },
        )
        prefix = header.prefix()
        text_of = payload.text(header.attachments)
        key = hmac.digest(chain, MESSAGE_INFO + b"\1", "sha256")
        whole = prefix + AESGCM(key).encrypt(body_nonce(prefix), squeeze(text_of), prefix)
        whole += self.key.sign(whole)
        self.counter, self.prev = at, envelope_hash(whole)
        return whole

    def session(self, public, key_id: str) -> list:
        """The running session to a programme's key, begun where there is none."""
        if key_id not in self.openings:
            chain = envelope_hash(f"{self.device} {len(self.openings)}".encode())[:32].encode()
            prefix = SessionHeader(CLASSIC.name, key_id, self.device, "ab" * 16).prefix()
            to = X25519PublicKey.from_public_bytes(raw(public["public"]))
            signed = prefix + SUITE.encrypt(chain, to, info=session_info(prefix))
            self.openings[key_id] = [signed + self.key.sign(signed), chain, 0]
        return self.openings[key_id]

    # Rounds.

    def parts(self, envelopes) -> list[bytes]:
        """The envelopes, with the openings of all sessions before them."""
        return [*(one[0] for one in self.openings.values()), *envelopes] if envelopes else []

    def asked(self, batch: str = "", **other) -> RoundRequest:
        known = {
            "cursor": self.cursor,
            "acknowledged": self.acknowledged,
            "forms": self.forms,
            "keys": self.keys,
        }
        return RoundRequest(batch=batch, **{**known, **other})

    def round(self, envelopes=(), batch: str = "", **other) -> RoundReply:
        body = pack_round(self.asked(batch, **other), self.parts(envelopes))
        reply = self.send("POST", "/sync/v1/round", body)
        assert reply.status_code == 200, reply.data
        return self.believe(unpack_reply(reply.data), envelopes)

    def believe(self, told: RoundReply, envelopes=()) -> RoundReply:
        if told.receipt:
            counters = receipted(told)
            held = [
                (_counter(one), envelope_hash(one))
                for one in envelopes
                if len(one) > 100 and _counter(one) in counters
            ]
            said = receipt_bytes(
                server=self.server,
                epoch=told.epoch,
                area=self.area,
                device=self.device,
                batch=told.batch,
                count=len(held),
                held=held_digest(held),
            )
            assert verify(self.server_key, raw(told.receipt), said), "a receipt for other bytes"
            self.receipts |= dict(held)
        while self.acknowledged + 1 in self.receipts:
            self.acknowledged += 1
        self.cursor, self.epoch = told.cursor, told.epoch
        self.forms = told.forms.get("digest", self.forms)
        if told.keys:
            self.keys, self.sealing = told.keys["digest"], told.keys["list"]
        for one in told.forms.get("list", ()):
            self.form_hash = one["hash"]
        return told


def receipted(told: RoundReply) -> list[int]:
    """The counters that the reply's receipt is for."""
    return [one for first, last in told.held for one in range(first, last + 1)]


def refused(told: RoundReply) -> list[dict]:
    """Everything that the reply refuses: at once, and after it was looked at."""
    return [
        *told.refused,
        *(one["body"] for one in told.items if one["kind"] == "refused"),
    ]


def visit(instance: str, *, size: int | str = 5, version: str = "1", head: str = "Zainab") -> str:
    return (
        f'<data id="visit" version="{version}"><head>{head}</head><size>{size}</size>'
        f"<meta><instanceID>{instance}</instanceID></meta></data>"
    )


def _counter(sealed: bytes) -> int:
    length = int.from_bytes(sealed[5:9], "big")
    return json.loads(sealed[9 : 9 + length])["counter"]


def trusted(reply, signature: str, server_key: bytes, method: str) -> bool:
    body = b"" if method == "HEAD" else reply.data
    given = raw(reply.headers[REPLY_HEADER])
    return verify(server_key, given, reply_bytes(signature, reply.status_code, body))


def state_of(desk: Desk) -> list[tuple[str, int, str, str]]:
    """(device, counter, state, problem) of every submission, in order."""
    from sqlalchemy import func, select

    from sync_server.store.intake_tables import envelopes, submissions

    rows = desk.store.read(
        lambda tx: tx.execute(
            select(
                envelopes.c.device,
                envelopes.c.counter,
                func.coalesce(submissions.c.state, "received"),
                func.coalesce(submissions.c.problem, envelopes.c.problem),
            )
            .outerjoin(
                submissions,
                (submissions.c.area == envelopes.c.area)
                & (submissions.c.device == envelopes.c.device)
                & (submissions.c.counter == envelopes.c.counter)
                & (submissions.c.hash == envelopes.c.hash),
            )
            .order_by(envelopes.c.device, envelopes.c.counter, envelopes.c.sequence)
        ).all()
    )
    return [tuple(row) for row in rows]


def app_of(desk: Desk) -> FlaskClient:
    return create_app(desk).test_client()
