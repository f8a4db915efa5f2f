"""The desk's tables: officers, registry, decisions, programmes, payments, books. What may never
be, they refuse.

`area` comes first in every key of what grows, so that the same tables distribute over Citus. Tables
without an
area (officers, policies, programmes, cycles) are few rows that every area reads. Personal data is
in columns named
`sealed`, encrypted by the application before it comes here. Times are milliseconds since 1970, UTC.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
)

from sync_server.store.engine import metadata


def _key(name: str) -> Column[str]:
    return Column(name, Text, primary_key=True)


def _text(name: str, default: str | None = None) -> Column[str]:
    return Column(name, Text, nullable=False, server_default=default)


def _whole(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False)


officers = Table(
    "officers",
    metadata,
    _key("officer"),
    _text("password"),
    Column("active", Boolean, nullable=False),
    Column("wrong_tries", Integer, nullable=False),
    _whole("locked_until_ms"),
    _whole("made_ms"),
)

# A role that is taken away is ended, not erased: old decisions still say under which role they
# were taken.
officer_roles = Table(
    "officer_roles",
    metadata,
    _key("officer"),
    _key("role"),
    Column("active", Boolean, nullable=False),
    ForeignKeyConstraint(["officer"], ["officers.officer"]),
    CheckConstraint("role IN ('agent', 'supervisor', 'approver', 'finance', 'admin')"),
)

sessions = Table(
    "sessions",
    metadata,
    _key("token_hash"),
    _text("officer"),
    _text("csrf"),
    _whole("seen_ms"),
    _whole("expires_ms"),
    ForeignKeyConstraint(["officer"], ["officers.officer"]),
)

policy_stages = Table(
    "policy_stages",
    metadata,
    _key("kind"),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("stage", Integer, primary_key=True, autoincrement=False),
    _text("name"),
    _text("role"),
    UniqueConstraint("kind", "version", "stage", "role"),
)

subjects = Table(
    "subjects",
    metadata,
    _key("area"),
    _key("kind"),
    _key("subject"),
    _text("author"),
    Column("policy", Integer, nullable=False),
    _text("state"),
    _text("title", ""),
    _whole("made_ms"),
    Index("subjects_by_state", "area", "kind", "state"),
)

# Nobody approves twice, no author approves, no stage is skipped, no role is borrowed: each is a
# constraint here,
# so that a mistake in any caller, now or later, ends in a refusal of the store.
decisions = Table(
    "decisions",
    metadata,
    _key("area"),
    _key("kind"),
    _key("subject"),
    _key("content"),
    Column("stage", Integer, primary_key=True, autoincrement=False),
    _text("verdict"),
    _text("officer"),
    _text("role"),
    _text("author"),
    Column("policy", Integer, nullable=False),
    _text("comment"),
    _whole("at_ms"),
    Column("number", BigInteger, nullable=False),
    _text("previous"),
    _text("hash"),
    _text("statement"),
    Column("signature", LargeBinary, nullable=False),
    Column("after", Integer),
    Column("after_verdict", Text),
    UniqueConstraint("area", "kind", "subject", "content", "stage", "verdict"),
    UniqueConstraint("area", "kind", "subject", "content", "officer", name="nobody_decides_twice"),
    UniqueConstraint("area", "number"),
    UniqueConstraint("area", "previous", name="one_chain"),
    CheckConstraint("officer <> author", name="no_author_decides"),
    CheckConstraint("verdict IN ('approve', 'return')"),
    CheckConstraint(
        "(stage = 1 AND after IS NULL AND after_verdict IS NULL)"
        " OR (stage > 1 AND after IS NOT NULL AND after = stage - 1"
        " AND after_verdict IS NOT NULL AND after_verdict = 'approve')",
        name="no_stage_is_skipped",
    ),
    ForeignKeyConstraint(
        ["area", "kind", "subject", "content", "after", "after_verdict"],
        [
            "decisions.area",
            "decisions.kind",
            "decisions.subject",
            "decisions.content",
            "decisions.stage",
            "decisions.verdict",
        ],
        name="stage_before",
    ),
    ForeignKeyConstraint(
        ["officer", "role"],
        ["officer_roles.officer", "officer_roles.role"],
        name="role_of_officer",
    ),
    ForeignKeyConstraint(
        ["kind", "policy", "stage", "role"],
        [
            "policy_stages.kind",
            "policy_stages.version",
            "policy_stages.stage",
            "policy_stages.role",
        ],
        name="role_of_stage",
    ),
)

changes = Table(
    "changes",
    metadata,
    _key("area"),
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    _text("record"),
    _text("kind"),
    _text("device"),
    _whole("counter"),
    _text("batch"),
    _whole("at_ms"),
    Column("sealed", LargeBinary, nullable=False),
    # What makes folding a batch again add nothing.
    UniqueConstraint("area", "record", "device", "counter", name="one_act_once"),
)

records = Table(
    "records",
    metadata,
    _key("area"),
    _key("record"),
    _text("kind"),
    _whole("sequence"),
    Column("members", Integer, nullable=False),
    Column("gone", Boolean, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Index("records_by_kind", "area", "kind"),
)

# Changes in order, packed as devices pull them. What is here can be thrown away: it is made again.
pages = Table(
    "pages",
    metadata,
    _key("area"),
    Column("after", BigInteger, primary_key=True, autoincrement=False),
    _whole("last"),
    Column("sealed", LargeBinary, nullable=False),
)

persons = Table(
    "persons",
    metadata,
    _key("area"),
    _key("person"),
    _key("record"),
)

clashes = Table(
    "clashes",
    metadata,
    _key("area"),
    _key("record"),
    _key("path"),
    _text("state"),
    Column("freezes", Boolean, nullable=False),
    _whole("found_ms"),
    _text("settled_by"),
    Column("sealed", LargeBinary, nullable=False),
    Index("clashes_by_state", "area", "state"),
)

programmes = Table(
    "programmes",
    metadata,
    _key("programme"),
    _key("version"),
    _whole("number"),
    _text("text"),
    _text("author"),
    _whole("made_ms"),
    UniqueConstraint("programme", "number"),
)

enrolments = Table(
    "enrolments",
    metadata,
    _key("area"),
    _key("programme"),
    _key("household"),
    _text("list"),
    _text("state"),
    _whole("made_ms"),
    Index("enrolments_by_list", "area", "list"),
)

not_enrolled = Table(
    "not_enrolled",
    metadata,
    _key("area"),
    _key("list"),
    _key("household"),
    _text("reasons"),
)

cycles = Table(
    "cycles",
    metadata,
    _key("cycle"),
    _text("programme"),
    _text("version"),
    _text("period"),
    _text("state"),
    _text("author"),
    _whole("made_ms"),
    UniqueConstraint("programme", "period"),
)

entitlements = Table(
    "entitlements",
    metadata,
    _key("area"),
    _key("entitlement"),
    _text("cycle"),
    _text("household"),
    _text("channel"),
    _whole("amount_minor"),
    _text("currency"),
    Column("sealed", LargeBinary, nullable=False),
    UniqueConstraint("area", "cycle", "household", name="one_entitlement_a_cycle"),
    CheckConstraint("amount_minor > 0"),
)

set_aside = Table(
    "set_aside",
    metadata,
    _key("area"),
    _key("cycle"),
    _key("household"),
    _key("step"),
    _text("reasons"),
)

payments = Table(
    "payments",
    metadata,
    _key("area"),
    _key("payment"),
    _text("cycle"),
    _text("entitlement"),
    _text("household"),
    _text("channel"),
    _whole("amount_minor"),
    _text("currency"),
    _text("state"),
    _text("reference"),
    Column("sealed", LargeBinary, nullable=False),
    UniqueConstraint("area", "entitlement", name="one_payment_an_entitlement"),
    Index("payments_by_cycle", "area", "cycle"),
    CheckConstraint("amount_minor > 0"),
)

ledger = Table(
    "ledger",
    metadata,
    _key("area"),
    _key("entry"),
    Column("line", Integer, primary_key=True, autoincrement=False),
    _text("programme"),
    _text("account"),
    _whole("amount_minor"),
    _text("currency"),
    _text("about"),
    _text("memo"),
    _whole("at_ms"),
    Index("ledger_by_programme", "area", "programme"),
    CheckConstraint("amount_minor <> 0"),
)
