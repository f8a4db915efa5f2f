"""A form laid out for the lint: each question with its groups, each expression read once."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from forms.media import BadMedia, rows
from forms.sheets import YES, named, select_of
from forms.terms import Term, read
from forms.vocabulary import EXPRESSIONS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

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
        # An XForm has no sheets, but lines, and so has a list in a file of its own.
        rows = not self.sheet or "." in self.sheet
        at = self.sheet or "the form"
        if self.row is not None:
            at = f"{self.sheet} {'line' if rows else 'row'} {self.row}".strip()
        who = f" ({self.question})" if self.question else ""
        return f"{at}{who}: {self.severity}: {self.message} [{self.rule}]"


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
    def numeric(self) -> bool:
        return self.kind in {"integer", "int", "decimal", "range"}

    @property
    def worked_out(self) -> bool:
        """Whether it has a value that nobody gives."""
        return self.kind == "calculate" or bool(self.row["calculation"])

    @property
    def required(self) -> bool:
        return self.row["required"].lower() in YES

    @property
    def conditional(self) -> bool:
        return bool(self.row["relevant"]) or any(each.row["relevant"] for each in self.groups)

    @property
    def optional(self) -> bool:
        return not self.worked_out and (self.conditional or not self.required)


@dataclass(slots=True)
class Use:
    """An expression in a cell."""

    asked: Asked
    heading: str
    source: str
    term: Term
    sheet: str = "survey"

    @property
    def repeats(self) -> tuple[str, ...]:
        """The repeats around the place where it is worked out: a count is worked out outside."""
        around = self.asked.repeats
        return around[:-1] if self.heading == "repeat_count" else around


@dataclass
class Desk:
    """The form laid out: each question with its groups, each expression read once."""

    form: XlsForm
    media: Mapping[str, bytes]
    unit: str = "row"
    """What the numbers count: the rows of sheets, or the lines of an XForm made elsewhere."""
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
        for row in self.form.sheets.get("settings", ())[:1]:
            term = read(row["instance_name"]) if row["instance_name"] else None
            if term is not None:
                whole = Asked("", row, None, (), ())
                found.append(Use(whole, "instance_name", row["instance_name"], term, "settings"))
        return found

    def terms(self, kind: str, names: Collection[str]) -> Iterator[tuple[Use, Term]]:
        """Every operation ("op") or call ("call") of one of these names, and where it is used."""
        for use in self.uses:
            for term in use.term.walk():
                if term.kind == kind and term.name in names:
                    yield use, term

    def question(self, term: Term) -> Asked | None:
        return self.by_name.get(term.name) if term.kind == "ref" and not term.parts else None

    def lines(self, select: Select) -> Sequence[Mapping[str, str]] | None:
        """The choices that a select draws from; None where they are not known here."""
        if select.source.startswith("${"):
            return None
        if not select.from_file:
            return [
                row.cells
                for row in self.form.sheets.get(select.sheet, ())
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

    def value_column(self, asked: Asked) -> str:
        """The column of a list that its answers are kept in."""
        said = re.search(r"\bvalue\s*=\s*([\w.-]+)", asked.row["parameters"])
        return said[1] if said and asked.select and asked.select.from_file else "name"

    def values(self, asked: Asked) -> set[str] | None:
        """The names that a select's answer can have; None where that is not known."""
        select = asked.select
        if select is None:
            return None
        lines = self.lines(select)
        if lines is None:
            return None
        column = self.value_column(asked)
        known = {line.get(column, "") for line in lines} - {""}
        return known | {"other"} if select.or_other else known


def at(use: Use, rule: str, severity: Severity, message: str) -> Finding:
    asked = use.asked
    return Finding(
        use.sheet, asked.row.number, asked.name if asked.path else "", rule, message, severity
    )


def few(values: set[str]) -> str:
    some = sorted(values)
    return ", ".join(some[:6]) + (f" and {len(some) - 6:,} more" if len(some) > 6 else "")
