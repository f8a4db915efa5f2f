"""Lists of choices: what nobody is ever offered, what is there twice, what nobody uses."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from forms.lint.desk import Finding, at, few
from forms.terms import conjuncts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from forms.lint.desk import Asked, Desk, Use
    from forms.sheets import Row, Select


def dead_choices(desk: Desk) -> Iterator[Finding]:
    """Choices that the filter never offers."""
    for use in desk.uses:
        select = use.asked.select
        if use.heading != "choice_filter" or select is None or select.source.startswith("${"):
            continue
        lines = desk.lines(select)
        if not lines:
            continue
        columns = {column for line in lines for column in line}
        for part in conjuncts(use.term):
            if part.kind != "op" or part.name != "=":
                continue
            left, right = part.parts
            if right.kind == "step":
                left, right = right, left
            if left.kind != "step" or left.name in {".", ".."}:
                continue
            column = left.name
            if column not in columns:
                continue  # publish warns of that as well
            possible = {right.name} if right.kind == "text" else None
            asked = desk.question(right)
            if asked is not None and asked.select is not None and asked.select.kind == "one":
                possible = desk.values(asked)
            if possible is None:
                continue
            dead = [line for line in lines if line.get(column, "") not in possible]
            if len(dead) == len(lines):
                yield at(
                    use,
                    "dead-choices",
                    "error",
                    f"choice_filter: no choice of {select.source} has a {column} that "
                    f"{'is ' + repr(right.name) if asked is None else f'${{{asked.name}}} can be'}, "
                    "so that nothing is ever offered",
                )
            elif asked is not None:
                yield from _each_dead(desk, select, column, asked, dead)
                yield from _none_left(use, select, column, asked, possible, lines)


def _none_left(
    use: Use,
    select: Select,
    column: str,
    asked: Asked,
    possible: set[str],
    lines: Sequence[Mapping[str, str]],
) -> Iterator[Finding]:
    """Answers to the one question that leave nothing to choose in the other."""
    empty = possible - {line.get(column, "") for line in lines}
    conditions = [each.row["relevant"] for each in (*use.asked.groups, use.asked)]
    if empty and not any(f"${{{asked.name}}}" in each for each in conditions):
        stuck = use.asked.required
        yield at(
            use,
            "empty-choices",
            "error" if stuck else "warning",
            f"choice_filter: nothing is offered after ${{{asked.name}}} = {few(empty)}"
            + (", and yet an answer is required" if stuck else "")
            + f": add choices with that {column} to {select.source}, or ask under a condition",
        )


def _each_dead(
    desk: Desk, select: Select, column: str, asked: Asked, dead: Sequence[Mapping[str, str]]
) -> Iterator[Finding]:
    if select.from_file:
        if dead:
            names = {line.get("name", "") for line in dead}
            yield Finding(
                select.source,
                _line(desk, select.source, dead[0]),
                "",
                "dead-choices",
                f"{len(dead):,} rows are never offered, because their {column} is no choice of "
                f"${{{asked.name}}}: {few(names)}",
                "warning",
            )
        return
    gone = {id(line) for line in dead}
    for row in desk.form.sheets.get(select.sheet, ()):
        if id(row.cells) in gone:
            yield Finding(
                select.sheet,
                row.number,
                row["name"],
                "dead-choices",
                f"is never offered: its {column} is {row[column]!r}, which is no choice of "
                f"${{{asked.name}}}",
                "warning",
            )


def _line(desk: Desk, file: str, line: Mapping[str, str]) -> int:
    """The line of a list's file, whose heading is line 1."""
    return next((number for number, each in enumerate(desk.file(file) or (), 2) if each is line), 1)


def twice_in_a_file(desk: Desk) -> Iterator[Finding]:
    """Choices of one name, of which only one can be told from the answer."""
    told: set[str] = set()
    for asked in desk.asked.values():
        select = asked.select
        lines = desk.lines(select) if select is not None and select.from_file else None
        if select is None or not lines or asked.row["choice_filter"] or select.source in told:
            continue
        told.add(select.source)
        column = desk.value_column(asked)
        seen: dict[str, int] = {}
        again: dict[str, tuple[int, int]] = {}
        for number, line in enumerate(lines, 2):
            name = line.get(column, "")
            first = seen.setdefault(name, number)
            if first != number:
                again.setdefault(name, (first, number))
        for name, (first, number) in list(again.items())[:_TOLD_MAX]:
            more = len(again) - _TOLD_MAX
            yield Finding(
                select.source,
                number,
                name,
                "choice-twice",
                f"line {first} has the {column} {name!r} already, so that an answer does not say "
                "which of the two was chosen"
                + (f" ({more:,} more are there twice)" if more > 0 else ""),
                "warning",
            )


_TOLD_MAX = 5


def unused_list(desk: Desk) -> Iterator[Finding]:
    """A list of choices that no question draws from; a tool that writes XForms writes all it has."""
    if desk.unit == "line":
        return
    used = {each.select.source for each in desk.asked.values() if each.select}
    everything = " ".join(
        cell
        for sheet, rows_ in desk.form.sheets.items()
        if sheet != "choices"
        for row in rows_
        for cell in row.cells.values()
    )
    seen: set[str] = set()
    for row in desk.form.sheets.get("choices", ()):
        name = row["list_name"]
        if not name or name in used or name in seen:
            continue
        seen.add(name)
        if re.search(rf"\b{re.escape(name)}\b", everything) is None:
            yield Finding(
                "choices",
                row.number,
                "",
                "unused-list",
                f"no question uses the list {name}",
                "note",
            )


def choice_with_space(desk: Desk) -> Iterator[Finding]:
    """A name with a space reads as two choices wherever several can be chosen."""
    for sheet in ("choices", "external_choices"):
        by_list: dict[str, list[Row]] = {}
        for row in desk.form.sheets.get(sheet, ()):
            if re.search(r"\s", row["name"]):
                by_list.setdefault(row["list_name"], []).append(row)
        for name, spaced in by_list.items():
            row = spaced[0]
            more = f" (and {len(spaced) - 1:,} more of {name})" if len(spaced) > 1 else ""
            yield Finding(
                sheet,
                row.number,
                row["name"],
                "choice-with-space",
                "selected() and exports take a name with a space for two choices: name it "
                + "_".join(row["name"].split())
                + more,
                "warning",
            )
