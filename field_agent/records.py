"""The area's households and people as this device last pulled them, for lookups and updates."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any

from conflict.change import EXISTS, YES, from_json
from field_agent.store import Record
from field_agent.trouble import Missing
from forms.claims import BadClaim, claims

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from field_agent.store import Store
    from forms import Form

LABEL_PATHS = ("label", "head_name", "name")


def fold(
    store: Store, area: str, epoch: str, changes: Sequence[tuple[int, Mapping[str, Any]]]
) -> None:
    """Store pulled changes by their sequence and fold the records that they touch anew.

    What is live of a path is what was written and never replaced; of several live writes the one
    with the latest mark is shown, and all are kept.
    """
    last = max(sequence for sequence, _ in changes)
    _, before = store.cursor(area)
    with store.transaction():
        store.take_page(
            area,
            epoch,
            max(before, last),
            changes=[
                (sequence, _record_of(body), json.dumps(body, ensure_ascii=False))
                for sequence, body in changes
            ],
        )
        touched = dict.fromkeys(_record_of(body) for _, body in changes)
        folded = [folded_record(name, store.changes(name)) for name in touched if name]
        store.take_page(
            area,
            epoch,
            max(before, last),
            records=[one for one in folded if one is not None],
            gone=[name for name, one in zip(touched, folded, strict=False) if one is None],
        )
        store.keep("records_at", f"{epoch} {max(before, last)}")


def folded_record(name: str, changes: Iterable[Mapping[str, Any]]) -> Record | None:
    """One record from all its changes, in any order; None where it no longer exists.

    Its body has `fields` (what is shown, by path) and `dots` (the live writes, by path).
    """
    writes: dict[str, dict[str, tuple[str, Any]]] = {}
    replaced: dict[str, set[str]] = {}
    kind = parent = label = ""
    for change in map(_spelled, changes):
        dot = str(change.get("dot", ""))
        kind = str(change.get("kind", "")) or kind
        parent = str(change.get("parent", "") or "") or parent
        label = str(change.get("label", "") or "") or label
        for path, write in dict(change.get("writes", {})).items():
            writes.setdefault(path, {})[dot] = (str(change.get("at", "")), write.get("value"))
            replaced.setdefault(path, set()).update(map(str, write.get("replaces", ())))
    live = {
        path: {dot: held for dot, held in by_dot.items() if dot not in replaced.get(path, ())}
        for path, by_dot in writes.items()
    }
    shown = {
        path: max(by_dot.items(), key=lambda one: (one[1][0], one[0]))[1][1]
        for path, by_dot in live.items()
        if by_dot
    }
    if EXISTS in shown and shown[EXISTS] != YES:
        return None
    named = next((str(shown[path]) for path in LABEL_PATHS if shown.get(path)), label)
    dots = {path: sorted(by_dot) for path, by_dot in live.items() if by_dot}
    return Record(name, kind, named or name[:8], parent, {"fields": shown, "dots": dots})


def _record_of(body: Mapping[str, Any]) -> str:
    return str(body.get("record") or body.get("r", ""))


def _spelled(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """A change in words, also where it came in the short form that `conflict` writes."""
    if "w" not in body:
        return body
    change = from_json(json.dumps(body))
    return {
        "record": change.record,
        "kind": change.dataset,
        "dot": str(change.dot),
        "at": f"{change.effective:013d}",
        "writes": {
            path: {"value": _text(write.value), "replaces": [str(dot) for dot in write.replaces]}
            for path, write in change.writes.items()
        },
    }


def _text(value: str | tuple[str, ...] | None) -> str | None:
    return " ".join(value) if isinstance(value, tuple) else value


def dataset_csv(store: Store, dataset: str) -> bytes:
    """A form's list of records, as `households.csv` would have it: name, label, and each field."""
    rows: list[dict[str, str]] = []
    columns = dict.fromkeys(("name", "label"))
    offset = 0
    while page := store.records(dataset, limit=5000, offset=offset):
        offset += len(page)
        for one in page:
            fields = one.body.get("fields", {})
            row = {
                path: "" if value is None else str(value)
                for path, value in fields.items()
                if "/" not in path
            }
            row |= {"name": one.record, "label": one.label}
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
            held = store.record(claim.id)
        except Missing:
            continue
        dots = held.body.get("dots", {})
        seen[claim.id] = {path: list(dots[path]) for path in dots}
    return seen
