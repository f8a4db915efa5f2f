"""The registry: approved batches become changes, changes become records, and what disagrees becomes clashes."""

from __future__ import annotations

import functools
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from forms.claims import claims as claims_of
from sync_server import blobs, folding, intake, notices, officers, programme
from sync_server.folding import EXISTS, Act, Folded, Rule
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
MADE = re.compile(r"([0-9]{13})-[0-9a-f]{4}")


# What a submission says, as acts on records.


def acts_of(
    claims: Iterable[Claim],
    *,
    device: str,
    counter: int,
    author: str,
    at_ms: int,
    seen: Mapping[str, Mapping[str, Iterable[str]]],
    homes: Mapping[str, str],
) -> tuple[Act, ...]:
    """One act for each record that the claims touch. Pure.

    An entity declared inside another is a member of the outermost one around it. `homes` says of which
    record a person known before is a member. `seen` names, by record (or person) and path, the dots that
    the author had in sight.
    """
    claims = tuple(claims)
    around = {claim.id: claim.parent[1] for claim in claims if claim.parent is not None}
    writes: dict[tuple[str, str], dict[str, tuple[str, tuple[str, ...]]]] = {}
    kinds: dict[str, str] = {}
    for claim in claims:
        record = claim.id
        for _ in claims:
            record = around.get(record, record)
        record = homes.get(record, record) if record == claim.id else record
        inside = record != claim.id
        if not inside:
            kinds[record] = claim.dataset
        before = f"members/{claim.id}/" if inside else ""
        said = {name: value for name, value in claim.fields.items() if _says(claim, value)}
        if claim.label is not None:
            said["label"] = claim.label
        if claim.action == "create":
            said[EXISTS] = "yes"
        known = seen.get(record, {})
        own = seen.get(claim.id, {}) if inside else {}
        for name, value in said.items():
            path = before + name
            replaces = tuple(sorted({*known.get(path, ()), *own.get(name, ())}))
            writes.setdefault((record, path), {})[path] = (value, replaces)
    by_record: dict[str, dict[str, tuple[str, tuple[str, ...]]]] = {}
    for (record, _), said_there in writes.items():
        by_record.setdefault(record, {}).update(said_there)
    return tuple(
        Act(record, kinds.get(record, ""), device, counter, author, at_ms, written)
        for record, written in sorted(by_record.items())
    )


def _says(claim: Claim, value: str) -> bool:
    """A question left blank in a new registration claims nothing; in an update it clears the field."""
    return bool(value) or claim.action == "update"


def effective_ms(made: str, received_ms: int) -> int:
    """When an act took place, as the server counts it: the device's mark, but never after the arrival."""
    mark = MADE.fullmatch(made)
    return min(int(mark[1]), received_ms) if mark else received_ms


# Writing.


def fold_batch(desk: Desk, tx: Tx, area: str, subject: str) -> tuple[str, ...]:
    """Turns a batch's checked submissions into changes and folds the records they touch. Exactly once:
    a change that is here already (same device, counter and record) adds nothing. Returns those records.
    """
    device, _, batch = subject.partition(":")
    s = intake_tables.submissions
    rows = tx.execute(
        select(s)
        .where(s.c.area == area, s.c.device == device, s.c.batch == batch, s.c.state == "checked")
        .order_by(s.c.counter)
    ).all()
    acts: list[Act] = []
    for row in rows:
        payload = intake.opened(desk, row)
        xform = _xform(tx, payload.form, payload.version, payload.form_hash)
        claims = claims_of(xform, payload.xml.encode())
        acts += acts_of(
            claims,
            device=row.device,
            counter=row.counter,
            author=_author(tx, area, row.device),
            at_ms=effective_ms(row.made, row.received_ms),
            seen=payload.seen,
            homes=_homes(tx, area, [claim.id for claim in claims]),
        )
    return record_acts(desk, tx, area, acts, batch=subject)


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


def record_acts(
    desk: Desk, tx: Tx, area: str, acts: Iterable[Act], *, batch: str
) -> tuple[str, ...]:
    """Appends the acts that are not here yet to the area's changes and folds the records they touch."""
    at_ms = desk.now_ms()
    touched: dict[str, None] = {}
    for act in acts:
        here = tx.execute(
            select(t.changes.c.sequence).where(
                t.changes.c.area == area,
                t.changes.c.record == act.record,
                t.changes.c.device == act.device,
                t.changes.c.counter == act.counter,
            )
        ).first()
        if here is not None:
            continue
        sequence = next_sequence(tx, area)
        said = json.dumps(act.as_json(), ensure_ascii=False, separators=(",", ":"))
        tx.execute(
            insert(t.changes).values(
                area=area,
                sequence=sequence,
                record=act.record,
                kind=act.kind,
                device=act.device,
                counter=act.counter,
                batch=batch,
                at_ms=at_ms,
                sealed=desk.at_rest.seal(f"changes/{area}/{sequence}", said.encode()),
            )
        )
        touched[act.record] = None
    for record in touched:
        refold(desk, tx, area, record)
    return tuple(touched)


def history(desk: Desk, tx: Tx, area: str, record: str) -> tuple[Act, ...]:
    """Every act on a record, in the order in which the server took them."""
    rows = tx.execute(
        select(t.changes)
        .where(t.changes.c.area == area, t.changes.c.record == record)
        .order_by(t.changes.c.sequence)
    )
    return tuple(Act.of_json(_change(desk, row)) for row in rows)


def _change(desk: Desk, row: Any) -> dict[str, Any]:
    place = f"changes/{row.area}/{row.sequence}"
    said: dict[str, Any] = json.loads(desk.at_rest.open(place, as_bytes(row.sealed)))
    return said


def rules(desk: Desk) -> tuple[Rule, ...]:
    """How fields are shown, and which a person looks at: the operator's `fields` before the defaults."""
    return folding.rules_of(desk.config.review.get("fields", ()))


def refold(desk: Desk, tx: Tx, area: str, record: str) -> Folded:
    """Folds one record anew from its whole history, and brings its clashes up to date."""
    acts = history(desk, tx, area, record)
    found = folding.fold(acts, rules(desk))
    body = json.dumps(
        {"fields": dict(found.fields), "members": {k: dict(v) for k, v in found.members.items()}},
        ensure_ascii=False,
    )
    row = {
        "area": area,
        "record": record,
        "kind": next((act.kind for act in reversed(acts) if act.kind), ""),
        "sequence": len(acts),
        "members": len(found.members),
        "gone": found.fields.get(EXISTS, "yes") != "yes",
        "sealed": desk.at_rest.seal(f"records/{area}/{record}", body.encode()),
    }
    _put(tx, t.records, row)
    add_if_new(
        tx,
        t.persons,
        [{"area": area, "person": person, "record": record} for person in found.members],
    )
    _bring_clashes(desk, tx, area, record, found)
    return found


def _put(tx: Tx, table: Any, row: dict[str, Any]) -> None:
    """Inserts the row, or puts it in the place of the one with its key."""
    dialect = sqlite if tx.dialect.name == "sqlite" else postgresql
    keys = [column.name for column in table.primary_key]
    rest = {name: value for name, value in row.items() if name not in keys}
    tx.execute(
        dialect.insert(table).values(**row).on_conflict_do_update(index_elements=keys, set_=rest)
    )


def _bring_clashes(desk: Desk, tx: Tx, area: str, record: str, found: Folded) -> None:
    now = {clash.path: clash for clash in found.clashes}
    of_record = (t.clashes.c.area == area) & (t.clashes.c.record == record)
    for row in tx.execute(select(t.clashes).where(of_record, t.clashes.c.state == OPEN)).all():
        if row.path not in now:
            tx.execute(
                update(t.clashes)
                .where(of_record, t.clashes.c.path == row.path)
                .values(state=SETTLED)
            )
    for path, clash in now.items():
        body = {
            "sides": [
                {
                    "value": one.value,
                    "author": one.author,
                    "device": one.device,
                    "counter": one.counter,
                    "at_ms": one.at_ms,
                }
                for one in clash.sides
            ],
            "suggested": clash.suggested,
            "why": clash.why,
        }
        _put(
            tx,
            t.clashes,
            {
                "area": area,
                "record": record,
                "path": path,
                "state": OPEN,
                "freezes": clash.freezes,
                "found_ms": desk.now_ms(),
                "settled_by": "",
                "sealed": desk.at_rest.seal(
                    f"clashes/{area}/{record}/{path}", json.dumps(body, ensure_ascii=False).encode()
                ),
            },
        )


# Reading.


def areas(tx: Tx) -> tuple[str, ...]:
    """The areas that hold records."""
    return tuple(
        tx.execute(select(t.records.c.area).distinct().order_by(t.records.c.area)).scalars()
    )


def changes_since(
    tx: Tx, desk: Desk, area: str, sequence: int, limit: int
) -> list[tuple[int, dict[str, Any]]]:
    """(sequence, change as JSON) of the area's changes after `sequence`, in order, at most `limit`."""
    rows = tx.execute(
        select(t.changes)
        .where(t.changes.c.area == area, t.changes.c.sequence > sequence)
        .order_by(t.changes.c.sequence)
        .limit(limit)
    )
    return [(row.sequence, _change(desk, row)) for row in rows]


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
        row.record: f"payments are frozen: {row.path} was stated differently, and nobody has settled it"
        for row in rows
    }


def records(
    desk: Desk, tx: Tx, area: str, kind: str, only: Collection[str] | None = None
) -> tuple[Record, ...]:
    """The area's records of a kind (all kinds, if ""), in order of id; with `only`, those of them."""
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
    """Records one of whose values, or of whose members' values, holds `sought` (all, if ""); or by id."""
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
    """A field that was stated differently. `seen` names the writes that a settlement would replace."""

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
            f"{one['device']}:{one['counter']}",
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
    desk_device = f"desk-{desk.config.server or 'server'}"
    act = Act(
        record_id,
        str(kind),
        desk_device,
        next_sequence(tx, f"{area}/settlements"),
        officer,
        desk.now_ms(),
        {path: (value, tuple(side.dot for side in clash.sides))},
    )
    record_acts(desk, tx, area, [act], batch="settlement")
    tx.execute(update(t.clashes).where(of_clash).values(settled_by=officer))
    body = {"record": record_id, "path": path, "value": value, "officer": officer}
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
