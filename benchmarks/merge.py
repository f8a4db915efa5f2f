"""Folding and merging, beside Automerge and Yjs on the same histories, outcomes compared.

Times are of the processor and not of the wall, so that a busy machine measures the same.
"""

from __future__ import annotations

import gc
import json
import random
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from time import process_time
from typing import Any

from benchmarks.table import Row
from conflict import Change, Dot, Policies, fold, live_dots, merge, to_json, written

PEER = Path(__file__).parent / "peers" / "merge"
POLICIES = Policies(fields={"field_1": "review", "field_2": "max", "field_3": "immutable"})
CHANGES = 50


@dataclass(frozen=True, slots=True)
class Step:
    """One submission: who, whether they were in touch before it, and what they wrote."""

    device: int
    pull: bool
    sets: dict[str, str]


def history(luck: random.Random) -> list[Step]:
    """A household of 60 fields and 8 members, and 49 edits of it from four devices."""
    born = {"exists": "yes", **{f"field_{number}": f"value {number}" for number in range(60)}}
    for member in range(8):
        prefix = f"members/{member}/"
        born |= {f"{prefix}{name}": f"{name} {member}" for name in ("name", "dob", "sex", "role")}
        born[f"{prefix}exists"] = "yes"
    editable = [path for path in born if not path.endswith("exists")]
    steps = [Step(0, True, born)]
    for number in range(1, CHANGES):
        paths = luck.sample(editable, luck.randrange(1, 4))
        # Whoever edits has met the record at some time: it was not there to edit before.
        device = luck.randrange(4)
        first = all(step.device != device for step in steps)
        sets = {path: f"edit {number} of {path}" for path in paths}
        steps.append(Step(device, first or luck.random() < 0.5, sets))
    return steps


def ours(steps: list[Step], record: str) -> list[Change]:
    """The same history as changes."""
    made: list[Change] = []
    known: dict[int, list[Change]] = {}
    for number, step in enumerate(steps, 1):
        if step.pull:
            known[step.device] = list(made)
        view = known.setdefault(step.device, [])
        seen = (
            live_dots(fold(view), [p for p in step.sets if p in fold(view).fields]) if view else {}
        )
        change = Change(
            record=record,
            dataset="households",
            dot=Dot(f"tablet-{step.device}", number),
            author=f"enumerator-{step.device}",
            at=f"2026-03-01T{number:02}:00:00Z",
            effective=1_770_000_000_000 + number,
            source=f"{record[:8]}-{number:04}-4000-8000-000000000000",
            writes=written(step.sets, seen),
            kind="create" if number == 1 else "update",
            form_version="3",
        )
        made.append(change)
        view.append(change)
    return made


def live(changes: list[Change]) -> dict[str, list[str]]:
    record = fold(changes, POLICIES)
    return {
        path: sorted({str(write.value) for write in field.live})
        for path, field in record.fields.items()
    }


def plain(change: Change) -> str:
    """The change as anyone would write it in JSON, without what its author had seen."""
    return json.dumps(
        {
            "record": change.record,
            "dataset": change.dataset,
            "device": change.dot.device,
            "counter": change.dot.counter,
            "author": change.author,
            "at": change.at,
            "effective": change.effective,
            "source": change.source,
            "kind": change.kind,
            "form_version": change.form_version,
            "fields": {path: write.value for path, write in change.writes.items()},
        },
        ensure_ascii=False,
        separators=(",", ":"),
    )


def percentile(times: list[float], part: float) -> float:
    return sorted(times)[min(len(times) - 1, int(len(times) * part))]


@dataclass(frozen=True, slots=True)
class Figures:
    """What one implementation was measured to do."""

    folds_ms: list[float]
    merges_s: float
    creates_s: float
    edit_bytes: float
    agree: float | None = None
    """Share of fields on which it ends with what we end with."""


def measure_ours(histories: list[list[Change]], rounds: int) -> Figures:
    folds: list[float] = []
    for _ in range(rounds):
        for changes in histories:
            started = process_time()
            record = fold(changes, POLICIES)
            read = len(record.values) + len(record.clashes)
            folds.append((process_time() - started) * 1000)
            assert read
    # Half of what the server has, and all of it: as when a device comes home.
    halves = [(changes[: CHANGES // 2 + 1], changes) for changes in histories]
    started = process_time()
    for one, other in halves:
        record = fold(merge(one, other), POLICIES)
        assert record.values
        assert record.clashes is not None
    merging = process_time() - started
    first = [changes[:1] for changes in histories] * 20
    started = process_time()
    for changes in first:
        assert fold(changes, POLICIES).values
    creating = process_time() - started
    sizes = [len(to_json(change).encode()) for changes in histories for change in changes[1:]]
    return Figures(
        folds,
        len(halves) / merging,
        len(first) / creating,
        sum(sizes) / len(sizes),
    )


def measure_yjs(
    programmes: list[list[Step]], ends: list[dict[str, list[str]]], rounds: int
) -> Figures | str:
    try:
        from pycrdt import Doc, Map
    except ImportError:
        return "pycrdt is not installed: `make test` installs it with the developers' tools"
    sent: list[list[bytes]] = []
    same = fields = 0
    for steps, end in zip(programmes, ends, strict=True):
        docs: dict[int, Any] = {}
        server = Doc()
        updates = []
        for step in steps:
            doc = docs.setdefault(step.device, Doc(client_id=step.device + 1))
            if step.pull:
                doc.apply_update(server.get_update(doc.get_state()))
            before = doc.get_state()
            record = doc.get("record", type=Map)
            with doc.transaction():
                for path, value in step.sets.items():
                    record[path] = value
            updates.append(doc.get_update(before))
            server.apply_update(updates[-1])
        sent.append(updates)
        shown = server.get("record", type=Map).to_py()
        # It shows one live write and forgets the others: the most that it can agree on.
        same += sum(shown.get(path) in values for path, values in end.items())
        fields += len(end)
    folds = []
    for _ in range(rounds):
        for updates in sent:
            started = process_time()
            doc = Doc()
            for update in updates:
                doc.apply_update(update)
            assert doc.get("record", type=Map).to_py()
            folds.append((process_time() - started) * 1000)
    merging = 0.0
    for updates in sent:
        one, other = Doc(), Doc()
        for update in updates[: CHANGES // 2 + 1]:
            one.apply_update(update)
        for update in updates:
            other.apply_update(update)
        started = process_time()
        one.apply_update(other.get_update(one.get_state()))
        assert one.get("record", type=Map).to_py()
        merging += process_time() - started
    started = process_time()
    for updates in sent:
        doc = Doc()
        doc.apply_update(updates[0])
        assert doc.get("record", type=Map).to_py()
    creating = process_time() - started
    sizes = [len(update) for updates in sent for update in updates[1:]]
    return Figures(
        folds,
        len(sent) / merging,
        len(sent) / creating,
        sum(sizes) / len(sizes),
        same / fields,
    )


def measure_automerge(
    programmes: list[list[Step]], ends: list[dict[str, list[str]]], rounds: int
) -> Figures | str:
    node, npm = shutil.which("node"), shutil.which("npm")
    if not (node and npm):
        return "Automerge needs node and npm, which are not on this machine"
    if not (PEER / "node_modules" / "@automerge").exists():
        installed = subprocess.run(
            [npm, "install", "--no-audit", "--no-fund", "--no-package-lock", "--silent"],
            cwd=PEER,
            capture_output=True,
            text=True,
            check=False,
        )
        if installed.returncode:
            return f"npm could not install Automerge: {installed.stderr.strip()[-200:]}"
    asked = {
        "histories": [
            [{"device": s.device, "pull": s.pull, "sets": s.sets} for s in steps]
            for steps in programmes
        ],
        "rounds": rounds,
    }
    ran = subprocess.run(
        [node, "automerge.mjs"],
        cwd=PEER,
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        check=False,
    )
    if ran.returncode:
        return f"Automerge did not run: {ran.stderr.strip()[-300:]}"
    told = json.loads(ran.stdout)
    fields = sum(len(end) for end in ends)
    same = sum(
        values == theirs.get(path)
        for end, theirs in zip(ends, told["live"], strict=True)
        for path, values in end.items()
    )
    return Figures(
        told["folds_ms"],
        told["merges_s"],
        told["creates_s"],
        sum(told["edit_bytes"]) / len(told["edit_bytes"]),
        same / fields,
    )


def run(*, quick: bool) -> list[Row]:
    """Rows for us beside each peer; for times and rates `ratio` is how many times better we are."""
    luck = random.Random(6)
    programmes = [history(luck) for _ in range(20 if quick else 100)]
    rounds = 5 if quick else 20
    histories = [
        ours(steps, f"{number:08x}-0000-4000-8000-000000000000")
        for number, steps in enumerate(programmes)
    ]
    ends = [live(changes) for changes in histories]
    gc.collect()
    gc.freeze()
    mine = measure_ours(histories, rounds)
    peers = {
        "Automerge": measure_automerge(programmes, ends, rounds),
        "Yjs (pycrdt)": measure_yjs(programmes, ends, rounds),
    }
    middle = percentile(mine.folds_ms, 0.5)
    edits_s = (CHANGES - 1) * len(mine.folds_ms) / (sum(mine.folds_ms) / 1000)
    size = sum(len(plain(c).encode()) for cs in histories for c in cs[1:]) / sum(
        len(cs) - 1 for cs in histories
    )
    rows = [
        Row(
            "fold of 50 changes, 60 fields, 8 members: p50",
            middle,
            "ms",
            goal="< 1 ms",
            met=middle < 1,
        ),
        Row(
            "fold of 50 changes, 60 fields, 8 members: p99",
            percentile(mine.folds_ms, 0.99),
            "ms",
            goal="< 1 ms",
            met=percentile(mine.folds_ms, 0.99) < 1,
        ),
        Row(
            "creates folded and read, 101 fields each",
            mine.creates_s,
            "1/s",
            goal=">= 20,000",
            met=mine.creates_s >= 20_000,
        ),
        Row("field edits folded", edits_s, "1/s", goal=">= 10,000", met=edits_s >= 10_000),
        Row(
            "bytes kept per edit, beside its plain JSON",
            mine.edit_bytes,
            "B",
            size,
            "plain JSON",
            mine.edit_bytes / size,
            "<= 1.5x",
            mine.edit_bytes <= 1.5 * size,
        ),
    ]
    for name, theirs in peers.items():
        if isinstance(theirs, str):
            rows.append(Row(f"beside {name}: {theirs}", None, goal="measured", met=False))
            continue
        half, worst = percentile(theirs.folds_ms, 0.5), percentile(theirs.folds_ms, 0.99)
        mine_worst = percentile(mine.folds_ms, 0.99)
        agree = theirs.agree
        assert agree is not None
        rows += [
            Row("fold, p50", middle, "ms", half, name, half / middle),
            Row("fold, p99", mine_worst, "ms", worst, name, worst / mine_worst),
            Row(
                "merges and folds",
                mine.merges_s,
                "1/s",
                theirs.merges_s,
                name,
                mine.merges_s / theirs.merges_s,
            ),
            Row(
                "creates",
                mine.creates_s,
                "1/s",
                theirs.creates_s,
                name,
                mine.creates_s / theirs.creates_s,
            ),
            Row(
                "bytes per edit (ours with author, times and source)",
                mine.edit_bytes,
                "B",
                theirs.edit_bytes,
                name,
                mine.edit_bytes / theirs.edit_bytes,
            ),
            Row(
                "fields that end with "
                + ("the same live values" if name == "Automerge" else "one of our live values"),
                agree * 100,
                "%",
                100.0,
                name,
                agree,
                "all",
                agree == 1,
            ),
        ]
    return rows
