"""What an author's sheets hold: rows with their numbers, and which question stands where."""

from __future__ import annotations

import re
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from forms.problems import Problem
from forms.vocabulary import COLUMNS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    Sheets = Mapping[str, Sequence["Row"]]

SHEETS = ("survey", "choices", "settings", "external_choices", "entities", "osm")

YES = frozenset({"yes", "true", "true()"})

_SAME_HEADER = {
    "caption": "label",
    "relevance": "relevant",
    "bind::relevant": "relevant",
    "calculate": "calculation",
    "bind::calculate": "calculation",
    "bind::constraint": "constraint",
    "bind::required": "required",
    "bind::readonly": "read_only",
    "readonly": "read_only",
    "requiredmsg": "required_message",
    "command": "type",
    "tag": "name",
    "value": "name",
    "count": "repeat_count",
    "jr:count": "repeat_count",
    "constraining_message": "constraint_message",
    "list name": "list_name",
    "list": "list_name",
    "dataset": "list_name",
    "form_id": "id_string",
    "set_form_id": "id_string",
    "form_title": "title",
    "set_form_title": "title",
    "media::image": "image",
    "media::audio": "audio",
    "media::video": "video",
    "media::big-image": "big-image",
}

SELECT = re.compile(
    r"(?P<kind>add select one prompt using|add select multiple prompt using|select1|rank"
    r"|select[ _]one_external|select all that apply|select[ _]one|select[ _]multiple)"
    r"(?:(?P<file>[ _]from[ _]file)|[ _]from)?\s+(?P<list>\S.*?)"
    r"(?P<other>\s+or(?:[ _]| specify )other)?$",
    re.IGNORECASE,
)
BEGIN = re.compile(r"begin[ _](?P<kind>group|repeat|loop)\b", re.IGNORECASE)
END = re.compile(r"end[ _](?P<kind>group|repeat|loop)\b", re.IGNORECASE)
REFERENCE = re.compile(r"\$\{(last-saved#)?\s*([^${}]*?)\s*\}")


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the spreadsheet something stands; the heading is row 1."""

    sheet: str
    row: int


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a sheet: its number and its cells by heading (in their standard spelling)."""

    number: int
    cells: Mapping[str, str]

    def __getitem__(self, heading: str) -> str:
        """The cell's text, "" where it is empty."""
        return self.cells.get(heading, "")

    @property
    def kind(self) -> str:
        """The first word of its type, in lower case: "integer", "select_one", "begin_group"."""
        words = self["type"].lower().split()
        if words[:1] in (["begin"], ["end"], ["select"]) and len(words) > 1:
            return "_".join(words[:2])
        return words[0] if words else ""


@dataclass(frozen=True, slots=True)
class Select:
    """What a select's type says: from which list, or file, or repeat."""

    kind: str
    """"one", "multiple" or "rank"."""
    source: str
    """The list's name, the file's name, or ${repeat}."""
    from_file: bool
    or_other: bool
    sheet: str = "choices"
    """Where its list stands, if it is in no file."""


def at_row(row: Row, reason: str, sheet: str = "survey") -> Problem:
    return Problem(sheet, row.number, row["name"], reason)


def select_of(row: Row) -> Select | None:
    """What a row of the survey selects from, None if it is no select."""
    match = SELECT.match(row["type"].strip())
    if match is None:
        return None
    kind = match["kind"].lower()
    return Select(
        "rank" if kind == "rank" else "multiple" if "multiple" in kind or "all" in kind else "one",
        match["list"],
        bool(match["file"]),
        bool(match["other"]),
        "external_choices" if "external" in kind else "choices",
    )


def named(sheets: Sheets) -> Iterator[tuple[str, Row]]:
    """Each row of the survey that has a name, with its path below the form ("hh/size")."""
    above: list[str] = []
    for row in sheets.get("survey", ()):
        kind = row["type"].strip()
        if END.match(kind):
            if above:
                above.pop()
            continue
        if not row["name"]:
            continue
        yield "/".join([*above, row["name"]]), row
        if BEGIN.match(kind):
            above.append(row["name"])


_PULLDATA = re.compile(r"""pulldata\(\s*(?:'([^']*)'|"([^"]*)")""")


def files_of(sheets: Sheets) -> Iterator[tuple[Row, str]]:
    """Each file that a row of the survey reads a list from."""
    for row in sheets.get("survey", ()):
        needed: dict[str, None] = {}
        select = select_of(row)
        if select is not None and select.from_file:
            needed[select.source] = None
        if row.kind in {"csv-external", "xml-external"}:
            needed[f"{row['name']}.{row.kind[:3]}"] = None
        for text in row.cells.values():
            if "pulldata(" in text:
                for single, double in _PULLDATA.findall(text):
                    file = single or double
                    needed[file if file.endswith(".csv") else f"{file}.csv"] = None
        yield from ((row, file) for file in needed)


_LISTS = frozenset({"choices", "external_choices"})
"""Sheets whose further columns are the author's own, by the very letters that filters name."""


def rows_of(lines: Sequence[Mapping[str, Any]], sheet: str = "survey") -> tuple[Row, ...]:
    """The sheet's lines; pyxform keeps the empty ones, so that the numbers are the author's."""
    spelled: dict[str, str] = {}
    found = []
    for number, line in enumerate(lines, 2):
        cells = {}
        for raw, value in line.items():
            if raw is None or value is None:
                continue
            if raw not in spelled:
                spelled[raw] = heading(str(raw), own=sheet in _LISTS)
            cells[spelled[raw]] = str(value).strip()
        if cells:
            found.append(Row(number, MappingProxyType(cells)))
    return tuple(found)


def heading(raw: str, *, own: bool = False) -> str:
    """A column's heading in its standard spelling, with its language: "label::French (fr)".

    With `own`, what is no column of ODK's stays as it is written.
    """
    base, mark, rest = raw.strip().partition("::")
    base = base.strip().lower()
    if mark and base in {"bind", "control", "instance", "body", "media"}:
        kind, more, language = rest.strip().partition("::")
        whole = f"{base}::{kind.strip().lower()}"
        same = _SAME_HEADER.get(whole, whole)
        return f"{same}::{language.strip()}" if more else same
    base = _SAME_HEADER.get(base, _SAME_HEADER.get(base.replace(" ", "_"), base.replace(" ", "_")))
    if own and not mark and base not in COLUMNS["choices"]:
        return raw.strip()
    return f"{base}::{rest.strip()}" if mark else base
