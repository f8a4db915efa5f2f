"""Reads a form for its author: what will surprise, what can never happen, what will be slow."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from forms.media import BadMedia, rows
from forms.sheets import named, select_of
from forms.terms import Term, conjuncts, read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from forms.sheets import Row, Select
    from forms.xlsform import XlsForm

Severity = Literal["error", "warning", "note"]

BIG_LIST = 2_000
"""Rows from which searching a list without an index is felt on a phone."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One remark. "error": it cannot do what is meant; "warning": it may not; "note": know it."""

    sheet: str
    row: int | None
    question: str
    rule: str
    message: str
    severity: Severity

    def __str__(self) -> str:
        at = f"{self.sheet} row {self.row}" if self.row is not None else self.sheet
        who = f" ({self.question})" if self.question else ""
        return f"{at}{who}: {self.severity}: {self.message} [{self.rule}]"


def lint(form: XlsForm, media: Mapping[str, bytes] | None = None) -> tuple[Finding, ...]:
    """What is to be said about a form that pyxform accepts, in the order of its rows.

    `media` are the files that go with it; lists in files that are not given are not judged.
    A form that was made elsewhere has no rows, and nothing is said about it.
    """
    desk = _Desk(form, media or {})
    found = [
        Finding(each.sheet, each.row, each.question, "pyxform", each.reason, "note")
        for each in form.warnings
    ]
    for rule in RULES:
        found.extend(rule(desk))
    order = {"survey": 0, "choices": 1}
    return tuple(
        sorted(dict.fromkeys(found), key=lambda each: (order.get(each.sheet, 2), each.row or 0))
    )


# What the rules look at --------------------------------------------------------------------

EXPRESSIONS = (
    "relevant",
    "constraint",
    "required",
    "read_only",
    "calculation",
    "choice_filter",
    "repeat_count",
)


@dataclass(frozen=True, slots=True)
class Asked:
    """A question with what is around it."""

    path: str
    row: Row
    select: Select | None
    groups: tuple[Asked, ...]
    repeats: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.row["name"]

    @property
    def kind(self) -> str:
        return self.row["type"].split()[0].lower() if self.row["type"] else ""

    @property
    def conditional(self) -> bool:
        return bool(self.row["relevant"]) or any(each.row["relevant"] for each in self.groups)

    @property
    def optional(self) -> bool:
        return self.conditional or self.row["required"].lower() not in {"yes", "true", "true()"}


@dataclass(slots=True)
class Use:
    """An expression in a cell."""

    asked: Asked
    heading: str
    source: str
    term: Term


@dataclass
class _Desk:
    """The form laid out: each question with its groups, each expression read once."""

    form: XlsForm
    media: Mapping[str, bytes]
    _files: dict[str, list[dict[str, str]] | None] = field(default_factory=dict)

    @cached_property
    def asked(self) -> Mapping[str, Asked]:
        by_path: dict[str, Asked] = {}
        for path, row in named(self.form.sheets):
            above = path.rpartition("/")[0]
            around = by_path.get(above)
            groups = (*around.groups, around) if around else ()
            repeats = around.repeats if around else ()
            if row["type"].lower().startswith(("begin_repeat", "begin repeat")):
                repeats = (*repeats, row["name"])
            by_path[path] = Asked(path, row, select_of(row), groups, repeats)
        return by_path

    @cached_property
    def by_name(self) -> Mapping[str, Asked]:
        return {each.name: each for each in self.asked.values()}

    @cached_property
    def uses(self) -> Sequence[Use]:
        found = []
        for asked in self.asked.values():
            for heading in EXPRESSIONS:
                source = asked.row[heading]
                term = read(source) if source else None
                if term is not None:
                    found.append(Use(asked, heading, source, term))
        return found

    def question(self, term: Term) -> Asked | None:
        return self.by_name.get(term.name) if term.kind == "ref" and not term.parts else None

    def lines(self, select: Select) -> Sequence[Mapping[str, str]] | None:
        """The choices that a select draws from; None where they are not known here."""
        if select.source.startswith("${"):
            return None
        if not select.from_file:
            return [
                row.cells
                for row in self.form.sheets.get("choices", ())
                if row["list_name"] == select.source
            ]
        return self.file(select.source)

    def file(self, name: str) -> list[dict[str, str]] | None:
        if name not in self._files:
            data = self.media.get(name)
            self._files[name] = None
            if data is not None and name.endswith(".csv"):
                try:
                    self._files[name] = list(rows(name, data))
                except BadMedia:
                    self._files[name] = None
        return self._files[name]

    def values(self, asked: Asked) -> set[str] | None:
        """The names that a select's answer can have; None where that is not known."""
        select = asked.select
        if select is None:
            return None
        lines = self.lines(select)
        if lines is None:
            return None
        column = "name"
        said = re.search(r"\bvalue\s*=\s*([\w.-]+)", asked.row["parameters"])
        if said and select.from_file:
            column = said[1]
        known = {line.get(column, "") for line in lines} - {""}
        return known | {"other"} if select.or_other else known


def _at(use: Use, rule: str, severity: Severity, message: str) -> Finding:
    asked = use.asked
    return Finding("survey", asked.row.number, asked.name, rule, message, severity)


# The rules ---------------------------------------------------------------------------------


def regex_anchoring(desk: _Desk) -> Iterator[Finding]:
    """Collect and this engine match the whole answer; browsers search for a part of it."""
    for use in desk.uses:
        for term in use.term.walk():
            if term.kind == "call" and term.name == "regex" and len(term.parts) == 2:
                pattern = term.parts[1]
                if pattern.kind == "text" and not (
                    pattern.name.startswith("^") and pattern.name.endswith("$")
                ):
                    yield _at(
                        use,
                        "regex-anchoring",
                        "warning",
                        f"{use.heading}: '{pattern.name}' must match the whole answer in Collect "
                        "and here, but only a part of it in a browser: write ^ before it and $ "
                        "after it",
                    )


_DAYS = {"date", "today", "datetime", "start", "end", "time"}


def date_as_number(desk: _Desk) -> Iterator[Finding]:
    """A date in arithmetic is days in Collect, and depends on the zone in some browsers."""

    def is_date(term: Term) -> bool:
        asked = desk.question(term)
        if asked is not None:
            return asked.kind in _DAYS
        return term.kind == "call" and term.name in {"today", "now", "date", "date-time"}

    for use in desk.uses:
        for term in use.term.walk():
            counted = term.kind == "op" and term.name in {"+", "-", "*", "div", "mod", "negative"}
            compared = term.kind == "op" and term.name in {"<", "<=", ">", ">=", "=", "!="}
            if (counted and any(map(is_date, term.parts))) or (
                compared
                and any(map(is_date, term.parts))
                and any(part.kind == "number" for part in term.parts)
            ):
                yield _at(
                    use,
                    "date-as-number",
                    "warning",
                    f"{use.heading}: counts with a date as it is, which is a number of days in "
                    "Collect and may be off by the time zone in a browser: write "
                    "decimal-date-time(...) around it, or date(...) around the other side",
                )
                break


def hidden_answers(desk: _Desk) -> Iterator[Finding]:
    """A question that is not relevant is blank here and in Collect; older browsers kept it."""
    for use in desk.uses:
        told: set[str] = set()
        for term in use.term.walk():
            negative = (term.kind == "op" and term.name == "!=") or (
                term.kind == "call" and term.name == "not"
            )
            if not negative:
                continue
            for inner in term.walk():
                asked = desk.question(inner)
                if (
                    asked is None
                    or asked.name in told
                    or not asked.conditional
                    or asked.path == use.asked.path
                    or _same_conditions(asked, use.asked)
                    or any(part.name == "" for part in term.parts if part.kind == "text")
                ):
                    continue
                told.add(asked.name)
                yield _at(
                    use,
                    "hidden-answer",
                    "note",
                    f"{use.heading}: is also true while ${{{asked.name}}} is hidden and so blank "
                    f"(row {asked.row.number} has a condition): add ${{{asked.name}}} != '' if it "
                    "has to be answered",
                )


def _conditions(asked: Asked) -> set[str]:
    """The conditions, as written, that a question and the groups around it have."""
    told = {each.row["relevant"] for each in asked.groups} | {asked.row["relevant"]}
    return told - {""}


def _same_conditions(asked: Asked, user: Asked) -> bool:
    """Whether whatever hides the one hides the other too."""
    return _conditions(asked) <= _conditions(user)


def blank_in_arithmetic(desk: _Desk) -> Iterator[Finding]:
    """One blank makes a sum blank, unless it is caught by coalesce()."""
    for use in desk.uses:
        if use.heading != "calculation":
            continue
        blank: dict[str, Asked] = {}
        for term in use.term.walk():
            if term.kind == "op" and term.name in {"+", "-", "*", "div", "mod"}:
                for part in term.parts:
                    asked = desk.question(part)
                    if (
                        asked is not None
                        and asked.kind in {"integer", "int", "decimal", "range"}
                        and asked.optional
                        and not _same_conditions_and_required(asked, use.asked)
                        and asked.name not in use.asked.row["relevant"]
                    ):
                        blank[asked.name] = asked
        if blank:
            names = ", ".join(f"${{{name}}}" for name in blank)
            yield _at(
                use,
                "blank-in-arithmetic",
                "warning",
                f"calculation: stays blank while {names} is not answered: write "
                f"coalesce({names.split(',')[0]}, 0) if blank means none",
            )


def _same_conditions_and_required(asked: Asked, user: Asked) -> bool:
    return _same_conditions(asked, user) and asked.row["required"].lower() in {
        "yes",
        "true",
        "true()",
    }


def sum_of_blanks(desk: _Desk) -> Iterator[Finding]:
    """sum(), min() and max() pass over blanks in Collect and here; browsers gave blank."""
    for use in desk.uses:
        for term in use.term.walk():
            if term.kind == "call" and term.name in {"sum", "min", "max"} and len(term.parts) == 1:
                asked = desk.question(term.parts[0])
                if asked is not None and asked.repeats and asked.optional:
                    yield _at(
                        use,
                        "sum-of-blanks",
                        "note",
                        f"{use.heading}: {term.name}() passes over members whose "
                        f"${{{asked.name}}} is blank in Collect and here; browsers before August "
                        "2026 give no result: make the question required, or calculate "
                        f"coalesce(${{{asked.name}}}, 0) beside it",
                    )


def order_of_choices(desk: _Desk) -> Iterator[Finding]:
    """Collect keeps the order in which choices were ticked; browsers keep the list's."""

    def several(term: Term) -> Asked | None:
        asked = desk.question(term)
        many = asked is not None and asked.select is not None and asked.select.kind == "multiple"
        return asked if many else None

    for use in desk.uses:
        for term in use.term.walk():
            asked = None
            if term.kind == "call" and term.name == "selected-at" and term.parts:
                asked = several(term.parts[0])
                said = "takes a choice by its place"
            elif term.kind == "op" and term.name in {"=", "!="}:
                asked = next(filter(None, map(several, term.parts)), None)
                if not any(part.kind == "text" and " " in part.name for part in term.parts):
                    asked = None
                said = "compares several choices with one text"
            if asked is not None:
                yield _at(
                    use,
                    "order-of-choices",
                    "warning",
                    f"{use.heading}: {said}, but ${{{asked.name}}} is in the order of ticking in "
                    "Collect and in the order of the list in a browser: use selected()",
                )


def repeat_count_lowered(desk: _Desk) -> Iterator[Finding]:
    """No instance is deleted when a count is lowered; some browsers delete them."""
    for use in desk.uses:
        if use.heading != "repeat_count":
            continue
        asked = desk.question(use.term)
        if asked is not None and asked.kind not in {"calculate", "hidden"}:
            yield _at(
                use,
                "repeat-count-lowered",
                "note",
                f"repeat_count: when ${{{asked.name}}} is lowered, Collect and this engine keep "
                "the answers already given, and some browsers delete them: let what is counted "
                f"look at position(..) <= ${{{asked.name}}}",
            )


def bare_reference(desk: _Desk) -> Iterator[Finding]:
    """Any text that is not blank is true, also 'false' and 'no'."""
    for use in desk.uses:
        if use.heading not in {"relevant", "constraint", "required", "read_only"}:
            continue
        for term in conjuncts(use.term):
            asked = desk.question(term)
            if asked is not None and asked.kind not in {"integer", "int", "decimal", "range"}:
                yield _at(
                    use,
                    "bare-reference",
                    "warning",
                    f"{use.heading}: ${{{asked.name}}} alone is true for every answer, 'no' and "
                    "'false' too: compare it with something",
                )


def overwritten_answer(desk: _Desk) -> Iterator[Finding]:
    """A calculation on a question that is asked overwrites what a person answered."""
    for use in desk.uses:
        row = use.asked.row
        if (
            use.heading == "calculation"
            and use.asked.kind not in {"calculate", "hidden", "note"}
            and not row["trigger"]
            and not row["read_only"]
            and any(key.partition("::")[0] in {"label", "hint"} for key in row.cells)
            and not (use.term.kind == "call" and use.term.name == "once")
        ):
            yield _at(
                use,
                "overwritten-answer",
                "warning",
                "calculation: overwrites what a person answers whenever anything in it changes: "
                "use default for a first value, trigger to set it at a moment, or read_only",
            )


def cannot_be_answered(desk: _Desk) -> Iterator[Finding]:
    """Required, but nobody can answer it."""
    for asked in desk.asked.values():
        row = asked.row
        required = row["required"].lower() in {"yes", "true", "true()"}
        closed = row["read_only"].lower() in {"yes", "true", "true()"}
        if required and closed and not row["calculation"] and not row["default"]:
            yield Finding(
                "survey",
                row.number,
                asked.name,
                "cannot-be-answered",
                "is required and read-only and has no value of its own: no entry can be finished",
                "error",
            )


def moving_today(desk: _Desk) -> Iterator[Finding]:
    """today() in a calculation is worked out again on every later edit."""
    for use in desk.uses:
        if use.heading != "calculation" or use.asked.row["trigger"]:
            continue
        for term in use.term.walk():
            if term.kind == "call" and term.name == "once":
                break
            if term.kind == "call" and term.name in {"today", "now"}:
                yield _at(
                    use,
                    "moving-today",
                    "note",
                    f"calculation: {term.name}() is worked out again when the entry is edited "
                    "later: use a question of type today or start to keep the day of the visit",
                )
                break


# What can never happen -----------------------------------------------------------------------


def _tests(term: Term) -> Iterator[tuple[Term, str, bool]]:
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


def unknown_choice(desk: _Desk) -> Iterator[Finding]:
    """A comparison with a choice that the list does not have."""
    for use in desk.uses:
        for term in use.term.walk():
            for reference, name, _ in _tests(term):
                asked = desk.question(reference)
                values = desk.values(asked) if asked is not None else None
                if asked is None or values is None or not name or name in values:
                    continue
                if asked.select and asked.select.kind == "multiple" and set(name.split()) <= values:
                    continue
                source = asked.select.source if asked.select else ""
                yield _at(
                    use,
                    "unknown-choice",
                    "error",
                    f"{use.heading}: ${{{asked.name}}} is never '{name}': the list {source} has "
                    f"{_few(values)}",
                )


def _few(values: set[str]) -> str:
    some = sorted(values)
    return ", ".join(some[:6]) + (f" and {len(some) - 6:,} more" if len(some) > 6 else "")


def never_relevant(desk: _Desk) -> Iterator[Finding]:
    """A condition that no answer makes true."""
    for use in desk.uses:
        if use.heading != "relevant":
            continue
        chosen: dict[str, str] = {}
        for part in conjuncts(use.term):
            constant = _constant(part)
            if constant is False:
                yield _at(
                    use, "never-relevant", "error", f"is never asked: {use.source} is never true"
                )
                break
            clash = ""
            for reference, name, is_selected in _tests(part):
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
                yield _at(use, "never-relevant", "error", f"is never asked: {clash}")
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


def dead_choices(desk: _Desk) -> Iterator[Finding]:
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
                yield _at(
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
                yield _at(
                    use,
                    "dead-choices",
                    "error",
                    f"choice_filter: no choice of {select.source} has a {column} that "
                    f"{'is ' + repr(right.name) if asked is None else f'${{{asked.name}}} can be'}",
                )
            elif asked is not None:
                yield from _each_dead(desk, select, column, asked, dead)


def _each_dead(
    desk: _Desk, select: Select, column: str, asked: Asked, dead: Sequence[Mapping[str, str]]
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
                f"${{{asked.name}}}: {_few(names)}",
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


def unused_list(desk: _Desk) -> Iterator[Finding]:
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


def choice_with_space(desk: _Desk) -> Iterator[Finding]:
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


# What is slow ------------------------------------------------------------------------------


def _list_searched(term: Term) -> str:
    match = re.match(r"instance", term.name)
    return term.name if match else ""


def slow(desk: _Desk) -> Iterator[Finding]:
    """Searches that no index helps, and work that grows with the square of a repeat."""
    for use in desk.uses:
        yield from _slow_predicates(desk, use)
        yield from _slow_aggregates(desk, use)


def _slow_predicates(desk: _Desk, use: Use) -> Iterator[Finding]:
    for term in use.term.walk():
        if term.kind not in {"path", "ref"}:
            continue
        tests = [part for part in term.parts if part.name == "predicate"]
        inside = [
            inner
            for test in tests
            for inner in test.walk()
            if inner is not test and any(part.name == "predicate" for part in inner.parts)
        ]
        if inside:
            yield _at(
                use,
                "slow-nested-search",
                "warning",
                f"{use.heading}: searches a list again for each row of another: calculate the "
                "inner search once, in a question of its own",
            )
        big = term.kind == "path" and term.name.startswith("instance")
        if big and tests and not any(map(_indexable, tests)):
            size = _size(desk, term)
            if size is None or size >= BIG_LIST:
                many = "the list" if size is None else f"{size:,} rows"
                yield _at(
                    use,
                    "slow-search",
                    "note" if size is None else "warning",
                    f"{use.heading}: looks at every row of {many} each time: only a test like "
                    "name = ... can be looked up at once, so put one first",
                )
    select = use.asked.select
    if use.heading == "choice_filter" and select is not None:
        lines = desk.lines(select)
        if lines and len(lines) >= BIG_LIST and not any(map(_equality, conjuncts(use.term))):
            yield _at(
                use,
                "slow-search",
                "warning",
                f"choice_filter: looks at all {len(lines):,} choices of {select.source} each time: "
                "only a test like column = ${...} can be looked up at once",
            )


def _equality(term: Term) -> bool:
    return (
        term.kind == "op" and term.name == "=" and any(part.kind == "step" for part in term.parts)
    )


def _indexable(test: Term) -> bool:
    return any(map(_equality, conjuncts(test.parts[0])))


def _size(desk: _Desk, term: Term) -> int | None:
    name = next((part.name for part in term.parts if part.kind == "text"), "")
    lines = desk.file(f"{name}.csv")
    if lines is not None:
        return len(lines)
    inside = [row for row in desk.form.sheets.get("choices", ()) if row["list_name"] == name]
    return len(inside) or None


_AGGREGATES = {"sum", "count", "min", "max", "count-non-empty", "join", "indexed-repeat"}


def _slow_aggregates(desk: _Desk, use: Use) -> Iterator[Finding]:
    if not use.asked.repeats or use.heading not in {"calculation", "relevant", "constraint"}:
        return
    for term in use.term.walk():
        if term.kind != "call" or term.name not in _AGGREGATES or not term.parts:
            continue
        about = next((part for part in term.parts[0].walk() if part.kind == "ref"), None)
        asked = desk.by_name.get(about.name) if about is not None else None
        if asked is None or not set(asked.repeats) & set(use.asked.repeats):
            continue
        if term.name == "indexed-repeat" or asked.repeats == use.asked.repeats:
            yield _at(
                use,
                "slow-crossing",
                "note",
                f"{use.heading}: every {use.asked.repeats[-1]} looks at every other one, so that "
                "twice as many take four times as long: calculate it once, outside the repeat",
            )
            return


RULES: tuple[Callable[[_Desk], Iterator[Finding]], ...] = (
    regex_anchoring,
    date_as_number,
    hidden_answers,
    blank_in_arithmetic,
    sum_of_blanks,
    order_of_choices,
    repeat_count_lowered,
    bare_reference,
    overwritten_answer,
    cannot_be_answered,
    moving_today,
    unknown_choice,
    never_relevant,
    dead_choices,
    unused_list,
    choice_with_space,
    slow,
)
"""Each rule alone can be read, tested and argued with."""
