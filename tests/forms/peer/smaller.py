"""What of a case that differs is beside the point: every case that is one thing smaller."""

from __future__ import annotations

from dataclasses import replace

from tests.forms.peer.written import LANGUAGES, Sample


def _top_ends(rows: tuple[dict[str, str], ...]) -> list[int]:
    """Where each question or group that is in no group ends."""
    depth, ends = 0, []
    for at, row in enumerate(rows, 1):
        depth += row["type"].startswith("begin_")
        depth -= row["type"].startswith("end_")
        if depth == 0:
            ends.append(at)
    return ends


def smaller(one: Sample) -> list[Sample]:
    """Every case that is one thing smaller: a step, a row (a group with its end), a cell."""
    found = [
        replace(one, steps=one.steps[:at] + one.steps[at + 1 :]) for at in range(len(one.steps))
    ]
    rows = one.form.rows
    if one.form.entity:
        unsaved = tuple({key: row[key] for key in row if key != "save_to"} for row in rows)
        found.append(replace(one, form=replace(one.form, rows=unsaved, entity={})))
    ends = _top_ends(rows)
    for size in (4, 2):
        # Runs of steps and of whole questions and groups first: most of a case is beside the point.
        found += [
            replace(one, steps=one.steps[:at] + one.steps[at + size :])
            for at in range(0, len(one.steps), size)
        ]
        starts = [0, *ends]
        found += [
            replace(
                one, form=replace(one.form, rows=rows[: starts[at]] + rows[starts[at + size] :])
            )
            for at in range(len(starts) - size)
        ]
    for at, row in enumerate(rows):
        if row["type"].startswith("end_"):
            continue
        if row["type"].startswith("begin_"):
            depth, end = 0, at
            for end in range(at, len(rows)):
                depth += rows[end]["type"].startswith("begin_")
                depth -= rows[end]["type"].startswith("end_")
                if depth == 0:
                    break
            whole = rows[:at] + rows[end + 1 :]
            shell = rows[:at] + rows[at + 1 : end] + rows[end + 1 :]
            found += [replace(one, form=replace(one.form, rows=kept)) for kept in (whole, shell)]
        else:
            found.append(replace(one, form=replace(one.form, rows=rows[:at] + rows[at + 1 :])))
        for heading in row:
            if heading in {"type", "name", f"label::{LANGUAGES[0]}"}:
                continue
            cut = {each: text for each, text in row.items() if each != heading}
            found.append(
                replace(one, form=replace(one.form, rows=(*rows[:at], cut, *rows[at + 1 :])))
            )
    return found
