"""The area's households and people as this device pulled them, for lookups, lists and updates.

A pull stores the server's pages of changes as they came, and notes which record is in which. What a
record looks like is folded from its changes by `conflict` when somebody looks: one record from its
pages at once, a list by folding once whatever was pulled since the last list.
"""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from conflict import EXISTS, YES, Forked, Mixed, Unsound, Write, fold, from_json, live_dots
from field_agent.trouble import Missing
from forms.claims import BadClaim, claims
from schemas.pages import Line, Page, unpack_page

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from conflict import Record as Folded
    from conflict import Value
    from field_agent.store import Store
    from forms import Form

LABEL_PATHS = ("label", "head_name", "name")
_IS_HERE = Write(YES)
_STRETCH = 4
"""Pages that are folded in one transaction."""


class Unreadable(Missing):
    """A record's changes are here and this program cannot fold them; no other record is concerned."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A record in a list, with its own fields and not its members'.

    `wrong` says why what was pulled last of it could not be read; then the rest is from before.
    """

    record: str
    kind: str
    label: str
    fields: Mapping[str, str] = field(default_factory=dict)
    wrong: str = ""


@dataclass(frozen=True, slots=True)
class Record:
    """A record with its members: what is shown at each path, and the live writes there."""

    record: str
    kind: str
    label: str
    fields: Mapping[str, str | None]
    dots: Mapping[str, Sequence[str]]


# Pulled pages come in.


def take(store: Store, pages: Iterable[Page]) -> list[str]:
    """Store pages as they came; of each change in those that were not here yet, its record.

    Call it in the transaction that stores the cursor behind them. Raises `Refused` where one is not
    what it should be: then nothing of that transaction may stay.
    """
    number = _last_page(store)
    found: list[str] = []
    places: set[tuple[str, int]] = set()
    for page in pages:
        lines = unpack_page(page)
        at = (page.after, page.last)
        if store.rows("SELECT 1 FROM pages WHERE after = ? AND last = ?", at):
            continue
        number += 1
        found += [line.record for line in lines]
        store.write_all("INSERT INTO pages VALUES (?, ?, ?, ?)", [(number, *at, page.data)])
        places.update((line.record, number) for line in lines)
    store.write_all("INSERT INTO places VALUES (?, ?)", sorted(places))
    return found


def pulled(store: Store) -> str:
    """A text that is another when more was pulled."""
    who = store.identity
    return f"{who.epoch if who else ''} {_last_page(store)}"


def _last_page(store: Store) -> int:
    return int(store.rows("SELECT coalesce(max(page), 0) FROM pages")[0][0])


# What is asked of them.


def record(store: Store, name: str) -> Record:
    """Raises `Missing` where it is not here or was deleted, `Unreadable`, `LeaseEnded`."""
    found = whole(store, [name]).get(name)
    if isinstance(found, Record):
        return found
    if found is not None:
        raise Unreadable(
            f"record {name} cannot be read ({found}); a newer program may: update field-agent"
        )
    raise Missing(f"no record {name} on this device; sync to fetch it")


def whole(store: Store, names: Sequence[str]) -> dict[str, Record | str]:
    """Those of these records that are here, each whole; a text instead says why one is unreadable."""
    store.ready()
    found: dict[str, Record | str] = {}
    changes = _changes(store, names)
    for name in names:
        if name in changes:
            made = _folded(changes[name].values())
            if isinstance(made, str) or made.exists:
                found[name] = made if isinstance(made, str) else _record(made)
        else:
            # Pulled by an earlier program, and not again since.
            for kind, label, old in store.rows(
                "SELECT kind, label, old FROM records WHERE record = ? AND old <> ''", (name,)
            ):
                body = json.loads(old)
                found[name] = Record(
                    name, kind, label, body.get("fields", {}), body.get("dots", {})
                )
    return found


def listed(
    store: Store, kind: str = "", *, find: str = "", limit: int = 100, offset: int = 0
) -> list[Listed]:
    """Records by kind and label. `find` is a part of a label, or a whole id."""
    store.ready()
    _catch_up(store)
    where, values = ["gone = 0"], list[object]()
    if kind:
        where.append("kind = ?")
        values.append(kind)
    if find:
        where.append("(instr(lower(label), lower(?)) > 0 OR record = ?)")
        values += (find, find.lower())
    rows = store.rows(
        f"SELECT record, kind, label, fields, wrong FROM records WHERE {' AND '.join(where)} "  # noqa: S608  the words are ours
        "ORDER BY kind, label, record LIMIT ? OFFSET ?",
        (*values, limit, offset),
    )
    return [
        Listed(name, sort, label, json.loads(fields), wrong)
        for name, sort, label, fields, wrong in rows
    ]


def with_members(store: Store, found: Sequence[Listed]) -> list[Listed]:
    """The same with every field that is shown, `members/<id>/<field>` too: for a short list."""
    known = whole(store, [one.record for one in found])
    made = []
    for one in found:
        held = known.get(one.record)
        fields = held.fields if isinstance(held, Record) else one.fields
        said = {path: value for path, value in fields.items() if value is not None}
        made.append(replace(one, fields=said))
    return made


def dataset_csv(store: Store, dataset: str) -> bytes:
    """A form's list of records, as `households.csv` would have it: name, label, and each field."""
    rows: list[dict[str, str]] = []
    columns = dict.fromkeys(("name", "label"))
    for one in listed(store, dataset, limit=-1):
        own = {path: value for path, value in one.fields.items() if "/" not in path}
        row = {**own, "name": one.record, "label": one.label}
        columns.update(dict.fromkeys(row))
        rows.append(row)
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, list(columns), restval="")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode()


def dots_seen(store: Store, form: Form, xml: bytes) -> dict[str, dict[str, list[str]]]:
    """For each record that a submission changes: the writes of each path that this device has seen."""
    seen: dict[str, dict[str, list[str]]] = {}
    try:
        found = claims(form, xml)
    except BadClaim:
        return seen
    for claim in found:
        try:
            held = record(store, claim.id)
        except Missing:
            continue
        seen[claim.id] = {path: list(dots) for path, dots in held.dots.items()}
    return seen


def changes(store: Store) -> list[bytes]:
    """The JSON of every change that was pulled, once each, in the server's order."""
    store.ready()
    found: dict[int, bytes] = {}
    for row in store.rows("SELECT after, last, data FROM pages"):
        found.update((line.sequence, line.change) for line in unpack_page(Page(*row)))
    return [found[sequence] for sequence in sorted(found)]


# Folding.


def _catch_up(store: Store) -> None:
    """Fold what was pulled since the last list: the records that it touches, from all their changes."""
    while True:
        with store.transaction():
            done = store.kept("folded", 0)
            fresh = store.rows(
                "SELECT page, after, last, data FROM pages WHERE page > ? ORDER BY page LIMIT ?",
                (done, _STRETCH),
            )
            if not fresh:
                return
            touched: dict[str, dict[int, Line]] = {}
            for _, *page in fresh:
                for line in unpack_page(Page(*page)):
                    touched.setdefault(line.record, {})[line.sequence] = line
            for name, before in _changes(store, touched, up_to=done).items():
                touched[name].update(before)
            _put(store, {name: _in_a_list(known.values()) for name, known in touched.items()})
            store.keep("folded", fresh[-1][0])


def _put(store: Store, folded: Mapping[str, Folded | str]) -> None:
    store.write_all(
        "INSERT OR REPLACE INTO records VALUES (?, ?, ?, ?, ?, '', '')",
        [_row(found) for found in folded.values() if not isinstance(found, str)],
    )
    # What cannot be read stays as it was, and says so.
    store.write_all(
        "INSERT INTO records VALUES (?, '', ?, 0, '{}', ?, '') "
        "ON CONFLICT (record) DO UPDATE SET wrong = excluded.wrong",
        [(name, name[:8], why) for name, why in folded.items() if isinstance(why, str)],
    )


def _row(found: Folded) -> tuple[str, str, str, bool, str]:
    if not found.exists:
        return found.id, found.dataset, "", True, "{}"
    values = found.values
    own = {
        path: _text(value)
        for path, value in values.items()
        if value is not None and "/" not in path and path != EXISTS
    }
    text = json.dumps(own, ensure_ascii=False)
    return found.id, found.dataset, _label(found.id, values), False, text


def _record(found: Folded) -> Record:
    values = found.values
    shown = {
        path: _text(value) for path, value in values.items() if "/" not in path and path != EXISTS
    }
    for person, said in found.members.items():
        shown |= {
            f"members/{person}/{name}": _text(value)
            for name, value in said.items()
            if name != EXISTS
        }
    dots = {path: [str(dot) for dot in seen] for path, seen in live_dots(found).items()}
    return Record(found.id, found.dataset, _label(found.id, values), shown, dots)


def _label(name: str, values: Mapping[str, Value]) -> str:
    named = (_text(values.get(path)) for path in LABEL_PATHS)
    return next((one for one in named if one), name[:8])


def _text(value: Value) -> str | None:
    return " ".join(value) if isinstance(value, tuple) else value


def _in_a_list(known: Collection[Line]) -> Folded | str:
    """As `_folded`, and perhaps without members.

    Most records have one change, which made them: nothing that it says of members can touch what is
    shown of the record itself.
    """
    if len(known) == 1:
        try:
            change = from_json(next(iter(known)).said(own=True), own=True)
        except Unsound as error:
            return str(error)
        if change.writes and change.writes.get(EXISTS, _IS_HERE).value == YES:
            return fold([change])
    return _folded(known)


def _folded(known: Iterable[Line]) -> Folded | str:
    """The record of these changes, or why there is none."""
    try:
        return fold([from_json(one.said()) for one in known])
    except (Unsound, Forked, Mixed) as error:
        return str(error)


def _changes(
    store: Store, names: Collection[str], *, up_to: int = 2**62
) -> dict[str, dict[int, Line]]:
    """The changes of these records by sequence, as far as they are in pages up to that number.

    A sequence that comes twice, in pages that overlap, is the same change.
    """
    wanted: dict[int, set[str]] = {}
    for name, number in store.rows(
        "SELECT record, page FROM places WHERE record IN (SELECT value FROM json_each(?)) "
        "AND page <= ?",
        (json.dumps(list(names)), up_to),
    ):
        wanted.setdefault(number, set()).add(name)
    found: dict[str, dict[int, Line]] = {}
    for number in sorted(wanted):
        (row,) = store.rows("SELECT after, last, data FROM pages WHERE page = ?", (number,))
        for line in unpack_page(Page(*row)):
            if line.record in wanted[number]:
                found.setdefault(line.record, {})[line.sequence] = line
    return found
