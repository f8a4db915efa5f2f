"""What can never happen: conditions, choices and answers that no one comes to."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from forms.lint.desk import Finding, at, few
from forms.terms import conjuncts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from forms.lint.desk import Asked, Desk
    from forms.sheets import Select
    from forms.terms import Term


def tests(term: Term) -> Iterator[tuple[Term, str, bool]]:
    """Each comparison of a reference with a choice's name: the reference, the name, selected()."""
    if term.kind == "call" and term.name == "selected" and len(term.parts) == 2:
        if term.parts[0].kind == "ref" and term.parts[1].kind == "text":
            yield term.parts[0], term.parts[1].name, True
    elif term.kind == "op" and term.name in {"=", "!="}:
        left, right = term.parts
        if left.kind == "text":
            left, right = right, left
        if left.kind == "ref" and right.kind == "text":
            yield left, right.name, False


def unknown_choice(desk: Desk) -> Iterator[Finding]:
    """A comparison with a choice that the list does not have."""
    for use in desk.uses:
        for term in use.term.walk():
            for reference, name, _ in tests(term):
                asked = desk.question(reference)
                values = desk.values(asked) if asked is not None else None
                if asked is None or values is None or not name or name in values:
                    continue
                if asked.select and asked.select.kind == "multiple" and set(name.split()) <= values:
                    continue
                source = asked.select.source if asked.select else ""
                yield at(
                    use,
                    "unknown-choice",
                    "error",
                    f"{use.heading}: ${{{asked.name}}} is never '{name}': the list {source} has "
                    f"{few(values)}",
                )


def never_relevant(desk: Desk) -> Iterator[Finding]:
    """A condition that no answer makes true."""
    for use in desk.uses:
        if use.heading != "relevant":
            continue
        chosen: dict[str, str] = {}
        for part in conjuncts(use.term):
            constant = _constant(part)
            if constant is False:
                yield at(
                    use, "never-relevant", "error", f"is never asked: {use.source} is never true"
                )
                break
            clash = ""
            for reference, name, is_selected in tests(part):
                asked = desk.question(reference)
                if asked is None or part.name == "!=" or asked.select is None:
                    continue
                values = desk.values(asked)
                if values is not None and name and name not in values:
                    clash = f"${{{asked.name}}} is never '{name}'"
                if asked.select.kind == "one" or not is_selected:
                    before = chosen.setdefault(asked.name, name)
                    if before != name:
                        clash = f"${{{asked.name}}} cannot be '{before}' and '{name}' at once"
            if clash:
                yield at(use, "never-relevant", "error", f"is never asked: {clash}")
                break


def _constant(term: Term) -> bool | None:
    """The truth of what holds no reference, where it can be seen at once."""
    if term.kind == "call" and not term.parts and term.name in {"true", "false"}:
        return term.name == "true"
    if term.kind == "call" and term.name == "not" and len(term.parts) == 1:
        inner = _constant(term.parts[0])
        return None if inner is None else not inner
    if term.kind == "op" and term.name in {"=", "!="}:
        left, right = term.parts
        if left.kind == right.kind and left.kind in {"text", "number"}:
            same = left.name == right.name
            if left.kind == "number":
                same = float(left.name) == float(right.name)
            return same is (term.name == "=")
    if term.kind == "op" and term.name in {"and", "or"}:
        sides = [_constant(part) for part in term.parts]
        if term.name == "and" and False in sides:
            return False
        if term.name == "or" and sides == [False, False]:
            return False
    return None


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
                yield at(
                    use,
                    "dead-choices",
                    "error",
                    f"choice_filter: no choice of {select.source} has a column {column}, so that "
                    "nothing is ever offered",
                )
                continue
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
                    f"{'is ' + repr(right.name) if asked is None else f'${{{asked.name}}} can be'}",
                )
            elif asked is not None:
                yield from _each_dead(desk, select, column, asked, dead)


def _each_dead(
    desk: Desk, select: Select, column: str, asked: Asked, dead: Sequence[Mapping[str, str]]
) -> Iterator[Finding]:
    if select.from_file:
        if dead:
            names = {line.get("name", "") for line in dead}
            yield Finding(
                select.source,
                None,
                "",
                "dead-choices",
                f"{len(dead):,} rows are never offered, because their {column} is no choice of "
                f"${{{asked.name}}}: {few(names)}",
                "warning",
            )
        return
    gone = {id(line) for line in dead}
    for row in desk.form.sheets.get("choices", ()):
        if id(row.cells) in gone:
            yield Finding(
                "choices",
                row.number,
                row["name"],
                "dead-choices",
                f"is never offered: its {column} is {row[column]!r}, which is no choice of "
                f"${{{asked.name}}}",
                "warning",
            )


def unused_list(desk: Desk) -> Iterator[Finding]:
    """A list of choices that no question draws from."""
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
    for row in desk.form.sheets.get("choices", ()):
        if re.search(r"\s", row["name"]):
            yield Finding(
                "choices",
                row.number,
                row["name"],
                "choice-with-space",
                "selected() and exports take a name with a space for two choices: name it "
                + "_".join(row["name"].split()),
                "warning",
            )


def cannot_be_answered(desk: Desk) -> Iterator[Finding]:
    """Required, but nobody can answer it."""
    for asked in desk.asked.values():
        row = asked.row
        required = row["required"].lower() in {"yes", "true", "true()"}
        closed = asked.kind == "note" or row["read_only"].lower() in {"yes", "true", "true()"}
        if required and closed and not row["calculation"] and not row["default"]:
            yield Finding(
                "survey",
                row.number,
                asked.name,
                "cannot-be-answered",
                "is required, but nobody can answer it and it has no value of its own: no entry can be "
                "finished",
                "error",
            )
