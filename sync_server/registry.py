"""The registry:

approved batches become changes, changes become records, and what disagrees becomes clashes.
"""

from __future__ import annotations

import functools
import json
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from conflict import (
    EXISTS,
    YES,
    BadPolicy,
    Change,
    Dot,
    Policies,
    Write,
    fold,
    from_json,
    to_json,
)
from conflict import Record as Folded
from forms.claims import claims as claims_of
from sync_server import blobs, intake, notices, officers, pages, programme
from sync_server.officers import Declined
from sync_server.store import desk_tables as t
from sync_server.store import intake_tables, published
from sync_server.store.engine import add_if_new, as_bytes, next_sequence

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from forms.claims import Claim
    from sync_server.desk import Desk
    from sync_server.store.engine import Tx

OPEN, SETTLED = "open", "settled"
FORK_DIGITS = 16
MADE = re.compile(r"([0-9]{13})-[0-9a-f]{4}")


# What a submission says, as acts on records.


@dataclass(frozen=True, slots=True)
class Origin:
    """Whose a submission is, and what its author had in sight: dots by record (or person) and path.

    `homes` says of which record a person known before is a member.
    """

    dot: Dot
    author: str
    made: str
    effective_ms: int
    source: str
    version: str
    seen: Mapping[str, Mapping[str, Iterable[str]]]
    homes: Mapping[str, str]


def changes_of(claims: Iterable[Claim], origin: Origin) -> tuple[Change, ...]:
    """One change for each record that the claims touch. Pure.

    An entity declared inside another is a member of the outermost one around it.
    """
    claims = tuple(claims)
    around = {claim.id: claim.parent[1] for claim in claims if claim.parent is not None}
    writes: dict[str, dict[str, Write]] = {}
    datasets: dict[str, str] = {}
    created: set[str] = set()
    for claim in claims:
        record = claim.id
        for _ in claims:
            record = around.get(record, record)
        if record == claim.id:
            record = origin.homes.get(record, record)
        inside = record != claim.id
        if not inside:
            datasets[record] = claim.dataset
            created |= {record} if claim.action == "create" else set()
        before = f"members/{claim.id}/" if inside else ""
        said = {name: value for name, value in claim.fields.items() if _says(claim, value)}
        if claim.label is not None:
            said["label"] = claim.label
        if claim.action == "create":
            said[EXISTS] = YES
        known = origin.seen.get(record, {})
        own = origin.seen.get(claim.id, {}) if inside else {}
        for name, value in said.items():
            dots = {Dot.parse(dot) for dot in (*known.get(before + name, ()), *own.get(name, ()))}
            # What a device says it saw of its own future is no sight, and is not believed.
            believed = {
                dot
                for dot in dots
                if dot.device != origin.dot.device or dot.counter < origin.dot.counter
            }
            writes.setdefault(record, {})[before + name] = Write(value or None, frozenset(believed))
    return tuple(
        Change(
            record=record,
            dataset=datasets.get(record, ""),
            dot=origin.dot,
            author=origin.author,
            at=origin.made,
            effective=origin.effective_ms,
            source=origin.source,
            writes=written,
            kind="create" if record in created else "update",
            form_version=origin.version,
        )
        for record, written in sorted(writes.items())
    )


def _says(claim: Claim, value: str) -> bool:
    """A question left blank in a new registration claims nothing;

    in an update it clears the field.
    """
    return bool(value) or claim.action == "update"


def effective_ms(made: str, received_ms: int) -> int:
    """When an act took place, as the server counts it:

    the device's mark, but never after the arrival.
    """
    mark = MADE.fullmatch(made)
    return min(int(mark[1]), received_ms) if mark else received_ms


# Writing.


def fold_batch(desk: Desk, tx: Tx, area: str, subject: str) -> tuple[str, ...]:
    """Turns a batch's checked submissions into changes and folds the records they touch. Exactly
    once:
    a change that is here already (same device, counter and record) adds nothing. Returns those
    records.
    """
    device, _, batch = subject.partition(":")
    s = intake_tables.submissions
    rows = tx.execute(
        select(s)
        .where(s.c.area == area, s.c.device == device, s.c.batch == batch, s.c.state == "checked")
        .order_by(s.c.counter, s.c.hash)
    ).all()
    beside = _beside(tx, area, device, [row.counter for row in rows])
    changes: list[Change] = []
    for row in rows:
        payload = intake.opened(desk, row)
        xform = _xform(tx, payload.form, payload.version, payload.form_hash)
        claims = claims_of(xform, payload.xml.encode())
        origin = Origin(
            _dot(row, forked=row.hash in beside),
            _author(tx, area, row.device),
            row.made,
            effective_ms(row.made, row.received_ms),
            row.hash,
            f"{payload.form} {payload.version}",
            payload.seen,
            _homes(tx, area, [claim.id for claim in claims]),
        )
        changes += changes_of(claims, origin)
    return record_changes(desk, tx, area, changes, batch=subject)


def _beside(tx: Tx, area: str, device: str, counters: list[int]) -> frozenset[str]:
    """The hashes of those at these counters that lie beside the device's chain: of a copy of it."""
    e = intake_tables.envelopes
    found = tx.execute(
        select(e.c.hash).where(
            e.c.area == area, e.c.device == device, e.c.problem != "", e.c.counter.in_(counters)
        )
    )
    return frozenset(found.scalars())


def _dot(row: Any, *, forked: bool) -> Dot:
    """The name of a submission's changes. Beside the chain the counter is, or may yet be, another's:
    there the envelope's own hash tells them apart. No device's name holds a tilde.
    """
    return Dot(f"{row.device}~{row.hash[:FORK_DIGITS]}" if forked else row.device, row.counter)


def _xform(tx: Tx, form: str, version: str, form_hash: str) -> bytes:
    found = published.find(tx, form, version, form_hash)
    if found is None:
        raise Declined(
            f"form {form} {version} is not published here: publish it, then approve again"
        )
    return blobs.content(tx, "", found.hash)


def _author(tx: Tx, area: str, device: str) -> str:
    d = intake_tables.devices
    found = tx.execute(select(d.c.label).where(d.c.area == area, d.c.device == device)).scalar()
    return str(found or device)


def _homes(tx: Tx, area: str, ids: list[str]) -> dict[str, str]:
    rows = tx.execute(
        select(t.persons).where(t.persons.c.area == area, t.persons.c.person.in_(ids))
    )
    return {row.person: row.record for row in rows}


def record_changes(
    desk: Desk, tx: Tx, area: str, changes: Iterable[Change], *, batch: str
) -> tuple[str, ...]:
    """Appends what is not here yet to the area's changes and folds the records that it touches."""
    at_ms = desk.now_ms()
    touched: dict[str, None] = {}
    first = sequence = 0
    for change in changes:
        here = tx.execute(
            select(t.changes.c.sequence).where(
                t.changes.c.area == area,
                t.changes.c.record == change.record,
                t.changes.c.device == change.dot.device,
                t.changes.c.counter == change.dot.counter,
            )
        ).first()
        if here is not None:
            continue
        sequence = next_sequence(tx, area)
        first = first or sequence
        tx.execute(
            insert(t.changes).values(
                area=area,
                sequence=sequence,
                record=change.record,
                kind=change.dataset,
                device=change.dot.device,
                counter=change.dot.counter,
                batch=batch,
                at_ms=at_ms,
                sealed=desk.at_rest.seal(f"changes/{area}/{sequence}", to_json(change).encode()),
            )
        )
        touched[change.record] = None
    if first:
        pages.ready(tx, desk, area, first - 1, sequence)
    for record_id in touched:
        refold(desk, tx, area, record_id)
    return tuple(touched)


def history(desk: Desk, tx: Tx, area: str, record_id: str) -> tuple[Change, ...]:
    """Every change of a record, in the order in which the server took them."""
    rows = tx.execute(
        select(t.changes)
        .where(t.changes.c.area == area, t.changes.c.record == record_id)
        .order_by(t.changes.c.sequence)
    )
    return tuple(_change(desk, row) for row in rows)


def _change(desk: Desk, row: Any) -> Change:
    return from_json(desk.at_rest.open(f"changes/{row.area}/{row.sequence}", as_bytes(row.sealed)))


def policies(desk: Desk) -> Policies:
    """How fields are shown and which a person looks at: by kind of field, and as config.json says.

    `review.fields` there holds what `conflict.Policies` reads. A label is worked out from other
    fields, so it is never a matter for a person. Raises Declined for what cannot be followed.
    """
    said = desk.config.review.get("fields", {})
    try:
        told = Policies.from_json(json.dumps(said))
        return replace(told, sorts={"label": "other", **told.sorts})
    except BadPolicy as wrong:
        raise Declined(f"review.fields in config.json: {wrong}") from wrong


def refold(desk: Desk, tx: Tx, area: str, record_id: str) -> Folded:
    """Folds one record anew from its whole history, and brings its clashes up to date."""
    changes = history(desk, tx, area, record_id)
    ruled = policies(desk)
    found = fold(changes, ruled)
    members = found.members
    shown = {
        "fields": {
            path: _plain(value)
            for path, value in found.values.items()
            if not path.startswith("members/") and path != EXISTS and value
        },
        "members": {
            person: {
                name: _plain(value) for name, value in said.items() if name != EXISTS and value
            }
            for person, said in members.items()
        },
    }
    _put(
        tx,
        t.records,
        {
            "area": area,
            "record": record_id,
            "kind": next((change.dataset for change in changes if change.dataset), ""),
            "sequence": len(changes),
            "members": len(members),
            "gone": not found.exists,
            "sealed": desk.at_rest.seal(
                f"records/{area}/{record_id}", json.dumps(shown, ensure_ascii=False).encode()
            ),
        },
    )
    add_if_new(
        tx,
        t.persons,
        [{"area": area, "person": person, "record": record_id} for person in members],
    )
    _bring_clashes(desk, tx, area, found, ruled)
    return found


def _plain(value: str | tuple[str, ...] | None) -> str:
    """A value as expressions and pages read it: a set is its members with spaces between."""
    return " ".join(value) if isinstance(value, tuple) else (value or "")


def _bring_clashes(desk: Desk, tx: Tx, area: str, found: Folded, ruled: Policies) -> None:
    now = {clash.path: clash for clash in found.clashes}
    of_record = (t.clashes.c.area == area) & (t.clashes.c.record == found.id)
    before = {row.path: row for row in tx.execute(select(t.clashes).where(of_record))}
    for path, row in before.items():
        if row.state == OPEN and path not in now:
            gone = of_record & (t.clashes.c.path == path)
            tx.execute(update(t.clashes).where(gone).values(state=SETTLED))
    for path, clash in now.items():
        body = {
            "sides": [
                {
                    "value": _plain(one.value),
                    "author": one.author,
                    "device": one.device,
                    "dot": str(one.dot),
                    "at_ms": one.effective,
                }
                for one in clash.candidates
            ],
            "suggested": _plain(clash.suggestion.value),
            "why": f"{clash.reason}; suggested because {clash.suggestion.reason}",
        }
        known = before.get(path)
        _put(
            tx,
            t.clashes,
            {
                "area": area,
                "record": found.id,
                "path": path,
                "state": OPEN,
                "freezes": ruled.sort(path) == "payment account",
                "found_ms": known.found_ms if known and known.state == OPEN else desk.now_ms(),
                "settled_by": "",
                "sealed": desk.at_rest.seal(
                    f"clashes/{area}/{found.id}/{path}",
                    json.dumps(body, ensure_ascii=False).encode(),
                ),
            },
        )


def _put(tx: Tx, table: Any, row: dict[str, Any]) -> None:
    """Inserts the row, or puts it in the place of the one with its key."""
    dialect = sqlite if tx.dialect.name == "sqlite" else postgresql
    keys = [column.name for column in table.primary_key]
    rest = {name: value for name, value in row.items() if name not in keys}
    tx.execute(
        dialect.insert(table).values(**row).on_conflict_do_update(index_elements=keys, set_=rest)
    )


# Reading.


def areas(tx: Tx) -> tuple[str, ...]:
    """The areas that hold records."""
    return tuple(
        tx.execute(select(t.records.c.area).distinct().order_by(t.records.c.area)).scalars()
    )


@dataclass(frozen=True, slots=True)
class Record:
    """A record as it is shown. `frozen` says why nothing may be paid to it, "" if it may."""

    area: str
    id: str
    kind: str
    label: str
    fields: Mapping[str, str]
    members: Mapping[str, Mapping[str, str]]
    frozen: str


def _record(desk: Desk, row: Any, frozen: Mapping[str, str]) -> Record:
    body = json.loads(desk.at_rest.open(f"records/{row.area}/{row.record}", as_bytes(row.sealed)))
    fields = {name: value for name, value in body["fields"].items() if name != EXISTS}
    label = fields.get("label") or fields.get("head_name") or ""
    return Record(
        row.area, row.record, row.kind, label, fields, body["members"], frozen.get(row.record, "")
    )


def _frozen(tx: Tx, area: str) -> dict[str, str]:
    """Record -> why payments to it wait."""
    rows = tx.execute(
        select(t.clashes.c.record, t.clashes.c.path).where(
            t.clashes.c.area == area, t.clashes.c.state == OPEN, t.clashes.c.freezes.is_(True)
        )
    )
    return {
        row.record: f"payments are frozen: {row.path} was stated differently, and is not settled"
        for row in rows
    }


def records(
    desk: Desk, tx: Tx, area: str, kind: str, only: Collection[str] | None = None
) -> tuple[Record, ...]:
    """The area's records of a kind (all kinds, if ""), in order of id;

    with `only`, those of them.
    """
    chosen = select(t.records).where(t.records.c.area == area, t.records.c.gone.is_(False))
    if kind:
        chosen = chosen.where(t.records.c.kind == kind)
    frozen = _frozen(tx, area)
    return tuple(
        _record(desk, row, frozen)
        for row in tx.execute(chosen.order_by(t.records.c.record))
        if only is None or row.record in only
    )


def households(
    desk: Desk, tx: Tx, area: str, kind: str, only: Collection[str] | None = None
) -> tuple[programme.Household, ...]:
    """The records as a programme's rules see them."""
    return tuple(
        programme.Household(one.id, one.fields, tuple(one.members.values()), one.frozen)
        for one in records(desk, tx, area, kind, only)
    )


def record(desk: Desk, reference: str) -> Record:
    """The record with this id, or the one that the person with this id is a member of."""

    def work(tx: Tx) -> Record:
        home = tx.execute(
            select(t.persons.c.record).where(t.persons.c.person == reference)
        ).scalar()
        row = tx.execute(select(t.records).where(t.records.c.record == (home or reference))).first()
        if row is None:
            raise Declined(f"there is no record {reference}")
        return _record(desk, row, _frozen(tx, row.area))

    return desk.store.read(work)


def label(desk: Desk, tx: Tx, area: str, record_id: str) -> str:
    """What the record is called, "" if it is not there."""
    row = tx.execute(
        select(t.records).where(t.records.c.area == area, t.records.c.record == record_id)
    ).first()
    return "" if row is None else _record(desk, row, {}).label


@dataclass(frozen=True, slots=True)
class Found:
    """A record in a list."""

    area: str
    id: str
    label: str
    members: int
    frozen: str


def find(desk: Desk, sought: str, *, limit: int = 200) -> tuple[Found, ...]:
    """Records one of whose values, or of whose members' values, holds `sought` (all, if "");

    or by id.
    """
    wanted = sought.casefold()

    def work(tx: Tx) -> tuple[Found, ...]:
        found: list[Found] = []
        for area in areas(tx):
            for one in records(desk, tx, area, ""):
                said = [one.id, *one.fields.values()]
                said += [value for person in one.members.values() for value in person.values()]
                said += one.members
                if any(wanted in value.casefold() for value in said):
                    found.append(Found(area, one.id, one.label, len(one.members), one.frozen))
                if len(found) >= limit:
                    return tuple(found)
        return tuple(found)

    return desk.store.read(work)


def counts(desk: Desk) -> dict[str, int]:
    """Households (records with members or of no parent), members, and open clashes."""

    def work(tx: Tx) -> dict[str, int]:
        rows = tx.execute(select(t.records.c.members).where(t.records.c.gone.is_(False))).scalars()
        members = list(rows)
        clashes = tx.execute(select(t.clashes.c.path).where(t.clashes.c.state == OPEN)).all()
        return {"records": len(members), "members": sum(members), "clashes": len(clashes)}

    return desk.store.read(work)


# Clashes.


@dataclass(frozen=True, slots=True)
class Side:
    """One of the values that disagree, and whose it is."""

    value: str
    author: str
    device: str
    when: str
    dot: str


@dataclass(frozen=True, slots=True)
class Clash:
    """A field that was stated differently.

    `seen` names the writes that a settlement would replace.
    """

    area: str
    record: str
    label: str
    path: str
    sides: tuple[Side, ...]
    suggested: str
    why: str
    freezes: bool
    seen: str


def clashes(desk: Desk) -> tuple[Clash, ...]:
    """The open clashes, oldest first."""

    def work(tx: Tx) -> tuple[Clash, ...]:
        rows = tx.execute(
            select(t.clashes)
            .where(t.clashes.c.state == OPEN)
            .order_by(t.clashes.c.found_ms, t.clashes.c.area, t.clashes.c.record, t.clashes.c.path)
        ).all()
        return tuple(_clash(desk, tx, row) for row in rows)

    return desk.store.read(work)


def _clash(desk: Desk, tx: Tx, row: Any) -> Clash:
    place = f"clashes/{row.area}/{row.record}/{row.path}"
    body = json.loads(desk.at_rest.open(place, as_bytes(row.sealed)))
    sides = tuple(
        Side(
            one["value"],
            one["author"],
            one["device"],
            datetime.fromtimestamp(one["at_ms"] / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC"),
            one["dot"],
        )
        for one in body["sides"]
    )
    return Clash(
        row.area,
        row.record,
        label(desk, tx, row.area, row.record),
        row.path,
        sides,
        body["suggested"],
        body["why"],
        bool(row.freezes),
        ",".join(side.dot for side in sides),
    )


def settle(
    desk: Desk, officer: str, record_id: str, path: str, value: str, *, seen: str = ""
) -> Clash:
    """Settles a clash: one more write, in sight of all answers, that devices pull like any other.

    `seen` is what the officer looked at; a value that came after it makes this be Declined.
    """

    def find_area(tx: Tx) -> str:
        found = tx.execute(
            select(t.clashes.c.area).where(
                t.clashes.c.record == record_id, t.clashes.c.path == path, t.clashes.c.state == OPEN
            )
        ).scalar()
        if found is None:
            raise Declined(
                f"there is no open clash in {path} of {record_id}: `review clashes` shows them"
            )
        return str(found)

    area = desk.store.read(find_area)
    return desk.store.transaction(
        functools.partial(
            _settle, desk, officer=officer, place=(area, record_id, path), value=value, seen=seen
        ),
        lock=area,
    )


def _settle(
    desk: Desk, tx: Tx, *, officer: str, place: tuple[str, str, str], value: str, seen: str
) -> Clash:
    officers.acting(tx, officer, "supervisor")
    area, record_id, path = place
    of_clash = (
        (t.clashes.c.area == area) & (t.clashes.c.record == record_id) & (t.clashes.c.path == path)
    )
    row = tx.execute(select(t.clashes).where(of_clash, t.clashes.c.state == OPEN)).first()
    if row is None:
        raise Declined(f"{path} of {record_id} was settled in the meantime")
    clash = _clash(desk, tx, row)
    if seen and seen != clash.seen:
        raise Declined(
            f"{path} of {record_id} has another value since it was shown: look at it again"
        )
    kind = tx.execute(
        select(t.records.c.kind).where(t.records.c.area == area, t.records.c.record == record_id)
    ).scalar_one()
    at_ms = desk.now_ms()
    change = Change(
        record=record_id,
        dataset=str(kind),
        dot=Dot(f"desk-{desk.config.server}", next_sequence(tx, f"{area}/settlements")),
        author=officer,
        at=f"{at_ms:013d}",
        effective=at_ms,
        source="settlement",
        writes={path: Write(value or None, frozenset(Dot.parse(side.dot) for side in clash.sides))},
        kind="settle",
    )
    record_changes(desk, tx, area, [change], batch="settlement")
    tx.execute(update(t.clashes).where(of_clash).values(settled_by=officer))
    body = {
        "record": record_id,
        "path": path,
        "value": value,
        "officer": officer,
        "label": label(desk, tx, area, record_id),
        "comment": f"{path}: {value or '(none)'}",
    }
    notices.post(tx, desk, area, "", "settled", body)
    return clash


def refold_all(desk: Desk) -> int:
    """Folds every record anew, as after a policy was changed, and returns how many there are."""
    found = desk.store.read(
        lambda tx: tx.execute(select(t.changes.c.area, t.changes.c.record).distinct()).all()
    )
    for row in found:
        desk.store.transaction(
            lambda tx, row=row: refold(desk, tx, row.area, row.record),  # type: ignore[misc]
            lock=row.area,
        )
    return len(found)
