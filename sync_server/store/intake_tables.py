"""The tables of the intake: devices, what they sent, what was answered, what goes back."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
)

from sync_server.store.engine import metadata


def _area() -> Column[str]:
    return Column("area", String(64), primary_key=True)


def _key(name: str, size: int = 64) -> Column[str]:
    return Column(name, String(size), primary_key=True)


# Times are milliseconds since 1970, UTC. `*_at_rest` columns hold bytes of `signatures.AtRest`.

facts = Table(
    "facts",
    metadata,
    _area(),
    _key("name"),
    Column("value", Text, nullable=False),
)
"""Single values: the schema's version, the wrapped data key, the server's name."""

epochs = Table(
    "epochs",
    metadata,
    _area(),
    _key("epoch"),
    Column("begun_ms", BigInteger, nullable=False),
    Column("why", Text, nullable=False),
)
"""Which history this is; a server restored from an old backup begins a new one. Area ""."""

codes = Table(
    "codes",
    metadata,
    _area(),
    _key("name"),
    Column("device", String(64), nullable=False),
    Column("for_area", String(64), nullable=False),
    Column("label", Text, nullable=False),
    Column("secret_at_rest", LargeBinary, nullable=False),
    Column("made_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger, nullable=False),
    Column("used_ms", BigInteger, nullable=False, default=0),
    Column("used_key", String(64), nullable=False, default=""),
)
"""Enrolment codes, each for one device. Area ""."""

places = Table(
    "places",
    metadata,
    _area(),
    _key("device"),
    Column("place", String(64), nullable=False),
)
"""In which area a device works: where its row in `devices` is. Area ""."""

devices = Table(
    "devices",
    metadata,
    _area(),
    _key("device"),
    Column("label", Text, nullable=False),
    Column("key", LargeBinary, nullable=False),
    Column("box", LargeBinary, nullable=False),
    Column("software", Text, nullable=False, default=""),
    Column("enrolled_ms", BigInteger, nullable=False),
    Column("revoked_ms", BigInteger, nullable=False, default=0),
    Column("revoked_why", Text, nullable=False, default=""),
    Column("seen_ms", BigInteger, nullable=False, default=0),
    Column("skew_ms", BigInteger, nullable=False, default=0),
    Column("unsent", Integer, nullable=False, default=0),
    Column("held_to", BigInteger, nullable=False, default=0),
    Column("told_revoked_ms", BigInteger, nullable=False, default=0),
)
"""`held_to`: every counter up to it is held. `seen_ms`: the last round. `unsent`: as reported."""

envelopes = Table(
    "envelopes",
    metadata,
    _area(),
    _key("device"),
    Column("counter", BigInteger, primary_key=True),
    _key("hash"),
    Column("prev", String(64), nullable=False),
    Column("problem", String(32), nullable=False, default=""),
    Column("sequence", BigInteger, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
)
"""What came, byte for byte. `problem`: why it does not fit into the device's chain, as of a fork;
at most one row of a (device, counter) has none. `sequence` is that of the batch that brought it."""

_BESIDE = envelopes.c.problem != ""
# Nearly always empty: which devices work twice is seen at a glance.
Index(
    "envelopes_beside",
    envelopes.c.area,
    envelopes.c.device,
    sqlite_where=_BESIDE,
    postgresql_where=_BESIDE,
)

openings = Table(
    "openings",
    metadata,
    _area(),
    _key("device"),
    _key("hash"),
    Column("data", LargeBinary, nullable=False),
)
"""The openings of the sessions that the envelopes were sealed in, as they came."""

submissions = Table(
    "submissions",
    metadata,
    _area(),
    _key("device"),
    Column("counter", BigInteger, primary_key=True),
    _key("hash"),
    Column("sequence", BigInteger, nullable=False),
    Column("batch", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    Column("problem", String(32), nullable=False, default=""),
    Column("instance_id", String(255), nullable=False, default=""),
    Column("parent", String(255), nullable=False, default=""),
    Column("form", String(255), nullable=False),
    Column("version", String(255), nullable=False),
    Column("form_hash", String(64), nullable=False),
    Column("made", String(128), nullable=False),
    Column("received_ms", BigInteger, nullable=False),
    Column("opened_at_rest", LargeBinary, nullable=True),
    Column("faults_at_rest", LargeBinary, nullable=True),
    Index("submissions_by_batch", "area", "device", "batch"),
    Index("submissions_by_instance", "area", "instance_id"),
)
"""What the envelopes say, one row each from when it was opened and checked. States: checked, refused,
parked (waits for a form or a key), held (waits for a person), returned."""

_PARKED = submissions.c.state == "parked"
# Only what waits is in it: it stays small however many there are.
Index(
    "submissions_parked",
    submissions.c.area,
    submissions.c.sequence,
    submissions.c.device,
    submissions.c.counter,
    submissions.c.hash,
    sqlite_where=_PARKED,
    postgresql_where=_PARKED,
)

attachments = Table(
    "attachments",
    metadata,
    _area(),
    _key("hash"),
    _key("device"),
    Column("counter", BigInteger, primary_key=True),
    Column("size", BigInteger, nullable=False),
    Index("attachments_by_device", "area", "device", "counter"),
)
"""Which envelopes name which sealed files."""

batches = Table(
    "batches",
    metadata,
    _area(),
    _key("device"),
    _key("batch"),
    Column("sequence", BigInteger, nullable=False),
    Column("received_ms", BigInteger, nullable=False),
    Column("digest", String(64), nullable=False),
    Column("count", Integer, nullable=False),
    Column("first", BigInteger, nullable=False, default=0),
    Column("last", BigInteger, nullable=False, default=0),
    Column("unchecked", Integer, nullable=False, default=0),
    Column("by", String(16), nullable=False),
    Column("reply", Text, nullable=False, default=""),
)
"""What one device brought in one round. `count`: envelopes that were new, with counters from `first`
to `last`; `unchecked`: those of them that have no submission yet. `by`: network, bundle, backup or
door. `reply`: the answer, given again word for word when the batch comes again."""

_UNCHECKED = batches.c.unchecked > 0
# As above: only what waits.
Index(
    "batches_unchecked",
    batches.c.area,
    batches.c.sequence,
    batches.c.device,
    batches.c.batch,
    sqlite_where=_UNCHECKED,
    postgresql_where=_UNCHECKED,
)

blobs = Table(
    "blobs",
    metadata,
    _area(),
    _key("hash"),
    Column("size", BigInteger, nullable=False),
    Column("have", BigInteger, nullable=False, default=0),
    Column("whole", Boolean, nullable=False, default=False),
)
"""Sealed attachments (in their area) and form files (area ""), by the SHA-256 of their bytes."""

blob_parts = Table(
    "blob_parts",
    metadata,
    _area(),
    _key("hash"),
    Column("at", BigInteger, primary_key=True),
    Column("data", LargeBinary, nullable=False),
)

carried = Table(
    "carried",
    metadata,
    _area(),
    _key("device"),
    Column("hash", String(64), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("begun_ms", BigInteger, nullable=False),
)
"""The one bundle of each device that a relay is bringing, or brought last; its bytes are a blob."""

forms = Table(
    "forms",
    metadata,
    _area(),
    _key("form", 255),
    _key("version", 255),
    Column("hash", String(64), nullable=False),
    Column("whole_hash", String(64), nullable=False),
    Column("title", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("source", String(64), nullable=False),
    Column("source_name", Text, nullable=False),
    Column("media", Text, nullable=False),
    Column("published_ms", BigInteger, nullable=False),
    Column("current", Boolean, nullable=False),
)
"""Every version that was ever published. `media`: JSON [{name, hash, size}]. Area ""."""

notices = Table(
    "notices",
    metadata,
    _area(),
    Column("sequence", BigInteger, primary_key=True),
    Column("device", String(64), nullable=False),
    Column("kind", String(32), nullable=False),
    Column("body_at_rest", LargeBinary, nullable=False),
)
"""Words for one device, or for every device of the area ("")."""
