"""The messages of the protocol: enrolment and the round, as values, checked when they come in."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any

from marshmallow import EXCLUDE, Schema, ValidationError, fields, validate

from schemas.columns import LAYOUT
from schemas.frames import MAX_BATCH, MAX_BODY, MAX_PARTS, pack, unpack
from schemas.pages import LINES, Page
from schemas.problems import Refused
from schemas.runs import RUNS_MAX, SHORT, Run
from schemas.signing import raw, text

PROTOCOL = 3

_HEX64 = validate.Regexp(r"\A[0-9a-f]{64}\Z")
_SHORT = validate.Length(max=200)
_COUNT = validate.Range(min=0, max=2**53)


@dataclass(frozen=True, slots=True)
class EnrolRequest:
    """A device introduces itself, by raw public keys: `key` Ed25519, `box` X25519."""

    code: str
    proof: bytes
    key: bytes
    box: bytes
    software: str = ""
    label: str = ""
    device: str = ""
    """Who it was at this server, if it was one of its devices before."""


@dataclass(frozen=True, slots=True)
class EnrolReply:
    """What the device is told once: who it is, where it works, whom to believe, what to seal to."""

    device: str
    area: str
    server: str
    server_key: bytes
    programme: str
    epoch: str
    lease_s: int
    time_ms: int
    keys: dict[str, Any]


@dataclass(frozen=True, slots=True)
class RoundRequest:
    """Hello, and what the device brings. Openings and envelopes are the message's parts."""

    cursor: str = ""
    """As the last reply gave it; the device does not look inside."""
    acknowledged: int = 0
    """The highest counter up to which the device holds every receipt."""
    unsent: int = 0
    """Finished submissions that have no receipt yet, those of this batch included."""
    forms: str = ""
    """The digest of the form list it has."""
    keys: str = ""
    """The digest of the programme's keys it has."""
    batch: str = ""
    """The batch's id, made and stored before the first try; "" when it brings nothing."""
    page: int = 262_144
    """About how many bytes of news it wants at most, as they travel; 0: none in this reply."""
    software: str = ""
    layout: int = LAYOUT
    """The newest layout of pages that the device reads."""
    runs: tuple[Run, ...] = ()
    """What it has receipts of, by hash."""


@dataclass(frozen=True, slots=True)
class RoundReply:
    """What the server says to a round. Lists that are empty are left out of the bytes."""

    time_ms: int
    epoch: str
    cursor: str
    lease_s: int = 0
    batch: str = ""
    held: tuple[tuple[int, int], ...] = ()
    """Ranges of counters of the batch, ends included, that the server holds durably."""
    receipt: str = ""
    """Base64 signature over `receipt_bytes` of all that `held` names."""
    refused: tuple[dict[str, Any], ...] = ()
    """`{counter, held: bool, problem, faults: [{path, reason}]}`; `held`: with a receipt."""
    checking: int = 0
    """How many of this device's submissions wait to be opened and checked."""
    parked: int = 0
    """How many wait for a form version or a key that the server does not have yet."""
    blobs: dict[str, int] = field(default_factory=dict)
    """Attachments of this device that are not whole yet: hash of the sealed bytes -> bytes held."""
    again: tuple[tuple[int, int], ...] = ()
    """Ranges of counters, ends included, that have receipts and that the server does not hold."""
    keys: dict[str, Any] = field(default_factory=dict)
    """`{digest, list: [{id, suite, public, current}]}`, if the device's digest is another."""
    forms: dict[str, Any] = field(default_factory=dict)
    """`{digest, list: [{form, version, hash, size, title, media: [{name, hash, size}]}]}`."""
    items: tuple[dict[str, Any], ...] = ()
    """What the device is told besides changes, in order: `{sequence, kind, body}`."""
    area: str = ""
    """Whose changes the pages hold; "" where there are none."""
    pages: tuple[Page, ...] = ()
    """The changes of the area's registry, in order."""
    more: bool = False
    """Whether another round would bring more news at once."""


class _Base64(fields.Field[bytes]):
    def __init__(self, *sizes: int) -> None:
        super().__init__(required=True)
        self.sizes = sizes

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> bytes:
        try:
            found = raw(value) if isinstance(value, str) else b""
        except Refused:
            found = b""
        if len(found) not in self.sizes:
            raise ValidationError(f"must be {self.sizes} bytes in base64")
        return found


class _Enrol(Schema):
    class Meta:
        unknown = EXCLUDE

    protocol = fields.Integer(required=True, strict=True)
    code = fields.String(required=True, validate=validate.Regexp(r"\A[0-9a-f]{32}\Z"))
    proof = _Base64(32)
    key = _Base64(32)
    box = _Base64(32)
    software = fields.String(validate=_SHORT)
    label = fields.String(validate=_SHORT)
    device = fields.String(validate=_SHORT)


class _EnrolReply(Schema):
    class Meta:
        unknown = EXCLUDE

    device = fields.String(required=True, validate=_SHORT)
    area = fields.String(required=True, validate=_SHORT)
    server = fields.String(required=True, validate=_SHORT)
    server_key = _Base64(32)
    programme = fields.String(required=True, validate=_SHORT)
    epoch = fields.String(required=True, validate=_SHORT)
    lease_s = fields.Integer(required=True, strict=True, validate=_COUNT)
    time_ms = fields.Integer(required=True, strict=True, validate=_COUNT)
    keys = fields.Dict(required=True)


_PLACE = fields.Integer(strict=True, validate=_COUNT)
_HASHES = fields.List(
    fields.String(validate=validate.Regexp(rf"\A[0-9a-f]{{{SHORT}}}\Z")),
    validate=validate.Length(min=1, max=30),
)


def _page(value: int) -> None:
    if value != 0 and not 1024 <= value <= 4_194_304:
        raise ValidationError("must be 0, or from 1024 to 4194304")


class _Round(Schema):
    class Meta:
        unknown = EXCLUDE

    protocol = fields.Integer(required=True, strict=True)
    cursor = fields.String(validate=_SHORT)
    acknowledged = fields.Integer(strict=True, validate=_COUNT)
    unsent = fields.Integer(strict=True, validate=_COUNT)
    forms = fields.String(validate=_SHORT)
    keys = fields.String(validate=_SHORT)
    batch = fields.String(validate=validate.Regexp(r"\A[A-Za-z0-9_-]{0,64}\Z"))
    page = fields.Integer(strict=True, validate=_page)
    software = fields.String(validate=_SHORT)
    # Devices of an earlier program do not say it.
    layout = fields.Integer(strict=True, validate=_COUNT, load_default=LINES)
    runs = fields.List(
        fields.Tuple((_PLACE, _PLACE, _HASHES)), validate=validate.Length(max=RUNS_MAX)
    )


class _Fault(Schema):
    class Meta:
        unknown = EXCLUDE

    path = fields.String(load_default="")
    reason = fields.String(load_default="")


class _RefusedOne(Schema):
    class Meta:
        unknown = EXCLUDE

    counter = fields.Integer(required=True, strict=True, validate=_COUNT)
    held = fields.Boolean(required=True)
    problem = fields.Dict(required=True)
    faults = fields.List(fields.Nested(_Fault), load_default=list)


class _Item(Schema):
    class Meta:
        unknown = EXCLUDE

    sequence = fields.Integer(required=True, strict=True, validate=_COUNT)
    kind = fields.String(required=True)
    body = fields.Dict(required=True)


_RANGE = fields.Tuple(
    (
        fields.Integer(strict=True, validate=_COUNT),
        fields.Integer(strict=True, validate=_COUNT),
    )
)


class _RoundReply(Schema):
    class Meta:
        unknown = EXCLUDE

    time_ms = fields.Integer(required=True, strict=True, validate=_COUNT)
    epoch = fields.String(required=True, validate=_SHORT)
    cursor = fields.String(required=True, validate=_SHORT)
    lease_s = fields.Integer(strict=True, validate=_COUNT)
    batch = fields.String(validate=_SHORT)
    held = fields.List(_RANGE)
    receipt = fields.String(validate=_SHORT)
    refused = fields.List(fields.Nested(_RefusedOne))
    checking = fields.Integer(strict=True, validate=_COUNT)
    parked = fields.Integer(strict=True, validate=_COUNT)
    blobs = fields.Dict(
        keys=fields.String(validate=_HEX64), values=fields.Integer(strict=True, validate=_COUNT)
    )
    again = fields.List(_RANGE)
    keys = fields.Dict()
    forms = fields.Dict()
    items = fields.List(fields.Nested(_Item))
    area = fields.String(validate=_SHORT)
    pages = fields.List(_RANGE)
    more = fields.Boolean()


_ENROL, _ENROL_REPLY, _ROUND, _ROUND_REPLY = _Enrol(), _EnrolReply(), _Round(), _RoundReply()


def _load(schema: Schema, head: dict[str, Any]) -> dict[str, Any]:
    if "protocol" in schema.fields and head.get("protocol") != PROTOCOL:
        raise Refused(
            "protocol-unknown", f"asked for {str(head.get('protocol'))[:20]}, speaks {PROTOCOL}"
        )
    try:
        found = dict(schema.load(head))
    except ValidationError as error:
        # Only the names of the fields: what was in them may be anyone's.
        named = ", ".join(sorted(str(name) for name in error.messages_dict))
        raise Refused("malformed", f"wrong or missing: {named}") from error
    found.pop("protocol", None)
    return {
        name: tuple(value) if isinstance(value, list) else value for name, value in found.items()
    }


def _lean(value: Any) -> dict[str, Any]:
    """The dataclass as JSON without what is empty, so that a round with nothing to say is small."""
    plain = {
        name: text(held) if isinstance(held, bytes) else held
        for name, held in asdict(value).items()
    }
    return {name: held for name, held in plain.items() if held not in ("", 0, False, (), {}, [])}


def pack_enrol(message: EnrolRequest) -> bytes:
    return pack({"protocol": PROTOCOL, **_lean(message)})


def unpack_enrol(body: bytes) -> EnrolRequest:
    """Raises `Refused`."""
    return EnrolRequest(**_load(_ENROL, unpack(body)[0]))


def pack_enrol_reply(message: EnrolReply) -> bytes:
    return pack({**_lean(message), "lease_s": message.lease_s})


def unpack_enrol_reply(body: bytes) -> EnrolReply:
    """Raises `Refused`."""
    return EnrolReply(**_load(_ENROL_REPLY, unpack(body)[0]))


def pack_round(message: RoundRequest, envelopes: list[bytes] | tuple[bytes, ...] = ()) -> bytes:
    """At most `MAX_BATCH` envelopes, and the openings that they need, in any order."""
    if len(envelopes) > MAX_PARTS:
        raise ValueError(f"a batch has at most {MAX_BATCH} envelopes")
    head = {**_lean(message), "page": message.page}
    if message.page == RoundRequest().page:
        del head["page"]
    return pack({"protocol": PROTOCOL, **head}, envelopes)


def unpack_round(body: bytes) -> tuple[RoundRequest, list[bytes]]:
    """The hello and the envelopes. Raises `Refused`."""
    head, parts = unpack(body)
    message = RoundRequest(**_load(_ROUND, head))
    if parts and not message.batch:
        raise Refused("malformed", "envelopes without a batch id")
    return message, parts


def pack_reply(message: RoundReply) -> bytes:
    """The pages are the message's parts: they are packed already, and lie as they were kept."""
    head = _lean(replace(message, pages=()))
    if message.pages:
        head["pages"] = [(one.after, one.last) for one in message.pages]
    return pack(head, [one.data for one in message.pages])


def unpack_reply(body: bytes) -> RoundReply:
    """Raises `Refused`."""
    head, parts = unpack(body, part_most=MAX_BODY)
    told = _load(_ROUND_REPLY, head)
    ranges = told.get("pages", ())
    if len(ranges) != len(parts):
        raise Refused("malformed", f"{len(ranges)} pages are named and {len(parts)} are there")
    pages = tuple(
        Page(after, last, data) for (after, last), data in zip(ranges, parts, strict=True)
    )
    return RoundReply(**{**told, "pages": pages})
