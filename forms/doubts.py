"""What ODK's tools take but no author means: a form is published with it, and told of by the row."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from forms.dialect import COLLECT
from forms.media import BadMedia, heading_of, rows
from forms.model import type_named
from forms.problems import Problem
from forms.sheets import REFERENCE, YES, at_row, files_of, named, select_of
from forms.terms import read
from forms.values import answered
from forms.vocabulary import APPEARANCES, COLUMNS, EXPRESSIONS, OWN_HEADINGS, meant, near

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from forms.mistakes import Media
    from forms.sheets import Row, Select, Sheets
    from forms.terms import Term

PULLDATA_TAKES = 4
INSTANCES_MAX = 10_000
"""As `forms.entry` has it: a repeat has no more instances."""


def doubts(sheets: Sheets, media: Media) -> Iterator[Problem]:
    """Everything in the form that is most likely not what is meant."""
    for doubt in DOUBTS:
        yield from doubt(sheets, media)


def misspelt_headings(sheets: Sheets, _: Media) -> Iterator[Problem]:
    """A column that nobody reads, and whose heading is nearly that of one which is read."""
    for sheet, known in COLUMNS.items():
        there = {key.partition("::")[0] for row in sheets.get(sheet, ()) for key in row.cells}
        strange = {column for column in there if column not in known and ":" not in column}
        for column in sorted(strange - OWN_HEADINGS):
            close = near(column, known - there)
            if close and not (sheet == "choices" and _filters_by(sheets, column)):
                yield Problem(
                    sheet,
                    1,
                    "",
                    f"the column {column} means nothing, so that what it says is passed over; is "
                    f"{close} meant?",
                )


def _filters_by(sheets: Sheets, column: str) -> bool:
    return any(
        re.search(rf"\b{re.escape(column)}\b", row["choice_filter"] + row["parameters"])
        for row in sheets.get("survey", ())
    )


def choices_of_no_list(sheets: Sheets, _: Media) -> Iterator[Problem]:
    for row in sheets.get("choices", ()):
        if row["name"] and not row["list_name"]:
            yield at_row(
                row, "belongs to no list and is never offered: write its list_name", "choices"
            )


def bare_words(sheets: Sheets, _: Media) -> Iterator[Problem]:
    """A word without quotation marks is read as the name of a node, which most often is not there."""
    paths = {path for path, _ in named(sheets)}
    names = {path.rpartition("/")[2] for path in paths}
    for path, row in named(sheets):
        for heading in EXPRESSIONS:
            text = row[heading]
            if heading == "choice_filter" or not text or text.lower() in {*YES, "no", "false"}:
                continue
            term = read(text)
            for word in dict.fromkeys(_words(term)) if term is not None else ():
                if f"{path}/{word}" in paths:
                    continue
                meant = f"${{{word}}}" if word in names else f"'{word}'"
                yield at_row(
                    row,
                    f"{heading}: {word} is read as the name of something inside this question, "
                    f"which is not there, so that it is always blank; is {meant} meant?",
                )


def _words(term: Term) -> Iterator[str]:
    if term.kind == "step" and not term.parts and re.fullmatch(r"[^\W\d][\w.-]*", term.name):
        yield term.name
    if term.kind in {"op", "call"} and term.name != "predicate":
        for part in term.parts:
            yield from _words(part)


def missing_pictures(sheets: Sheets, media: Media) -> Iterator[Problem]:
    if media is None:
        return
    for sheet in ("survey", "choices"):
        for row in sheets.get(sheet, ()):
            for heading, file in row.cells.items():
                kind = heading.partition("::")[0]
                shown = kind in {"image", "audio", "video", "big-image"}
                if shown and file and "${" not in file and file not in media:
                    yield at_row(
                        row,
                        f"{kind}: the file {file} is not among the form's media, so that nothing "
                        f"is shown{meant(file, media) or ': put it beside the form'}",
                        sheet,
                    )


def _columns(sheets: Sheets, select: Select, media: Media) -> frozenset[str] | None:
    """The columns that a select's filter can look at; None where they are not known."""
    if select.source.startswith("${"):
        return None
    if not select.from_file:
        sheet = sheets.get(select.sheet, ())
        if not any(one["list_name"] == select.source for one in sheet):
            return None
        return frozenset(key for row in sheet for key in row.cells)
    if not isinstance(media, Mapping) or not select.source.endswith(".csv"):
        return None
    return _heading(select.source, media) or None


def _heading(file: str, media: Mapping[str, bytes]) -> frozenset[str]:
    """The columns of a CSV; none where it is not at hand or cannot be read."""
    try:
        return frozenset(heading_of(file, media[file]) if file in media else ())
    except BadMedia:
        return frozenset()


def filters_by_nothing(sheets: Sheets, media: Media) -> Iterator[Problem]:
    for _, row in named(sheets):
        select = select_of(row)
        term = read(row["choice_filter"]) if row["choice_filter"] else None
        columns = _columns(sheets, select, media) if select and term else None
        if select is None or term is None or columns is None:
            continue
        for word in dict.fromkeys(_words(term)):
            if word not in columns | {"name", "label"}:
                where = select.source if select.from_file else f"the list {select.source}"
                yield at_row(
                    row,
                    f"choice_filter: {where} has no column {word}, so that it is always blank"
                    f"{meant(word, columns) or ' and nothing may ever be offered'}",
                )


def counts_of_repeats(sheets: Sheets, _: Media) -> Iterator[Problem]:
    paths = {row["name"]: path for path, row in named(sheets)}
    for path, row in named(sheets):
        count = row["repeat_count"]
        if not count:
            continue
        if row.kind != "begin_repeat":
            yield at_row(
                row, f"repeat_count: {row['type']} is no repeat, so that it counts nothing"
            )
            continue
        try:
            number = float(count)
        except ValueError:
            for _, name in REFERENCE.findall(count):
                if paths.get(name, "").startswith(f"{path}/"):
                    yield at_row(
                        row,
                        f"repeat_count: ${{{name}}} is asked inside the repeat that it counts: ask "
                        "it before the repeat",
                    )
            continue
        if number < 0 or number != int(number):
            yield at_row(row, f"repeat_count: {count} is no number of instances: write 1, 2, 3 ...")
        elif number > INSTANCES_MAX:
            yield at_row(
                row, f"repeat_count: {count} is more than {INSTANCES_MAX:,}, the most that are made"
            )


def untranslated(sheets: Sheets, _: Media) -> Iterator[Problem]:
    """Texts that one language has and another lacks."""
    for sheet in ("survey", "choices"):
        lines = sheets.get(sheet, ())
        headings = dict.fromkeys(key for row in lines for key in row.cells if "::" in key)
        by_text: dict[str, list[str]] = {}
        for heading in headings:
            by_text.setdefault(heading.partition("::")[0], []).append(heading)
        for text, spoken in by_text.items():
            if text not in {"label", "hint", "constraint_message", "required_message"}:
                continue
            for heading in spoken:
                lacking = [
                    row.number
                    for row in lines
                    if not row[heading] and any(row[other] for other in (*spoken, text))
                ]
                if lacking:
                    yield Problem(
                        sheet,
                        lacking[0],
                        "",
                        f"{heading} is empty in {_rows(lacking)}, where another language has a "
                        f"{text}: translate it",
                    )


def _rows(numbers: Sequence[int]) -> str:
    if len(numbers) == 1:
        return "this row"
    some = ", ".join(map(str, numbers[:8]))
    return f"the rows {some}" + (f" and {len(numbers) - 8} more" if len(numbers) > 8 else "")


def strange_settings(sheets: Sheets, _: Media) -> Iterator[Problem]:
    for row in sheets.get("settings", ())[:1]:
        if re.search(r"\s", row["id_string"]):
            better = "_".join(row["id_string"].split())
            yield Problem("settings", row.number, "", f"form_id has a space in it: write {better}")
        spoken = {
            key.partition("::")[2]
            for sheet in ("survey", "choices")
            for one in sheets.get(sheet, ())
            for key in one.cells
            if "::" in key and key.partition("::")[0] in {"label", "hint"}
        }
        first = row["default_language"]
        if first and spoken and first not in spoken and first != "default":
            yield Problem(
                "settings",
                row.number,
                "",
                f"default_language: no label is in {first!r} (they are in "
                f"{', '.join(sorted(spoken))}){meant(first, spoken)}",
            )


_SHAPES = {
    "integer": (re.compile(r"[-+]?\d+"), "a whole number, such as 3"),
    "int": (re.compile(r"[-+]?\d+"), "a whole number, such as 3"),
    "decimal": (re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"), "a number, such as 1.5"),
    "date": (re.compile(r"\d{4}-\d\d?-\d\d?(?:T.*)?"), "a date, as in 2026-11-23"),
    "time": (re.compile(r"(?:\d{4}-\d\d?-\d\d?T)?\d\d?:\d\d.*"), "a time, as in 14:30"),
    "datetime": (re.compile(r"\d{4}-\d\d?-\d\d?.*"), "a moment, as in 2026-11-23T14:30"),
    "geopoint": (re.compile(r".*"), "a place, as in 4.85 31.58"),
}
_TYPES = {"integer": "int", "datetime": "dateTime"}
_WORKED_OUT = re.compile(r"\$\{|\w\(|[^-\w.\s:+/]|\s(?:div|mod|and|or)\s")


def unfit_defaults(sheets: Sheets, _: Media) -> Iterator[Problem]:
    for _, row in named(sheets):
        given, select = row["default"], select_of(row)
        if not given or _WORKED_OUT.search(given):
            continue
        if row.kind in _SHAPES and not (
            _SHAPES[row.kind][0].fullmatch(given) and _stays(given, row.kind)
        ):
            yield at_row(row, f"default: {given!r} is not {_SHAPES[row.kind][1]}: it stays blank")
        elif select is not None and not select.from_file and not select.source.startswith("${"):
            offered = {
                one["name"]
                for one in sheets.get("choices", ())
                if one["list_name"] == select.source
            }
            chosen = [given] if select.kind == "one" else given.split()
            for one in chosen:
                if offered and one not in offered and not (select.or_other and one == "other"):
                    yield at_row(
                        row,
                        f"default: {one!r} is no choice of the list {select.source}"
                        f"{meant(one, offered)}",
                    )


def _stays(given: str, kind: str) -> bool:
    """Whether the engine makes anything of the first value: of the 30th of February nothing."""
    bind = type_named(_TYPES.get(kind, kind))
    return bool(answered(given, bind, "", COLLECT, UTC, lambda: datetime(2000, 1, 1, tzinfo=UTC)))


def misspelt_appearances(sheets: Sheets, _: Media) -> Iterator[Problem]:
    for _, row in named(sheets):
        for word in row["appearance"].split():
            plain = re.sub(r"-?\d+$", "", word)
            if plain in APPEARANCES or plain == "w" or "(" in word or ":" in word:
                continue
            close = near(plain, APPEARANCES, at_least=0.85)
            if close:
                yield at_row(row, f"appearance: {word!r} means nothing; is {close} meant?")


def nothing_asked(sheets: Sheets, _: Media) -> Iterator[Problem]:
    if not any(True for _ in named(sheets)):
        yield Problem("survey", None, "", "the form asks nothing: write a question in row 2")


def strange_lists(sheets: Sheets, media: Media) -> Iterator[Problem]:
    """A list's file with no rows, with a column twice, or with a cell that nothing closes."""
    if not isinstance(media, Mapping):
        return
    told: set[str] = set()
    for row, file in files_of(sheets):
        data = media.get(file)
        if data is None or not file.endswith(".csv") or file in told:
            continue
        told.add(file)
        try:
            columns = heading_of(file, data)
            first = next(iter(rows(file, data)), None)
        except BadMedia:
            continue
        if first is None:
            yield at_row(row, f"{file} has a heading but no rows, so that nothing is offered")
        for column in sorted({one for one in columns if columns.count(one) > 1}):
            yield at_row(
                row, f"{file} has the column {column or '(blank)'} twice: rename one of the two"
            )
        if data.count(b'"') % 2:
            yield at_row(
                row,
                f"{file} has a quotation mark without its other: the cell that it opens may hold "
                "all the rows behind it; take it out, or write it twice inside a cell in quotes",
            )


def _terms(sheets: Sheets, sign: str) -> Iterator[tuple[Row, str, Term]]:
    """Every piece of the expressions in which that sign stands, with their rows and headings."""
    for _, row in named(sheets):
        for heading in EXPRESSIONS:
            term = read(row[heading]) if sign in row[heading] else None
            for one in term.walk() if term is not None else ():
                yield row, heading, one


def pulled_from_nothing(sheets: Sheets, media: Media) -> Iterator[Problem]:
    """A column that pulldata() asks for, or searches by, and that its file does not have."""
    if not isinstance(media, Mapping):
        return
    for row, heading, call in _terms(sheets, "pulldata"):
        if call.name != "pulldata" or len(call.parts) != PULLDATA_TAKES:
            continue
        source, *asked = (one.name if one.kind == "text" else "" for one in call.parts[:3])
        file = source if source.endswith(".csv") else f"{source}.csv"
        columns = _heading(file, media)
        for column in dict.fromkeys(asked) if columns else ():
            if column and column not in columns:
                yield at_row(
                    row,
                    f"{heading}: {file} has no column {column}, so that it is always "
                    f"blank{meant(column, columns)}",
                )


_LISTED = "instance/root/item"


def asked_of_lists(sheets: Sheets, media: Media) -> Iterator[Problem]:
    """A column that instance('places')/root/item[...]/... asks for, and that its list does not have."""
    choices = sheets.get("choices", ())
    written = {row["list_name"] for row in choices}
    # Once for all: a form may have thousands of rules and of choices.
    of_choices = {key for one in choices for key in one.cells} | _MADE
    held = media if isinstance(media, Mapping) else {}
    for row, heading, path in _terms(sheets, "instance("):
        source = path.parts[0].name if path.parts and path.parts[0].kind == "text" else ""
        if not source or not path.name.startswith(_LISTED):
            continue
        columns = of_choices if source in written else _heading(f"{source}.csv", held)
        asked = [
            word
            for part in path.parts[1:]
            if part.name == "predicate"
            for inner in part.parts
            for word in _words(inner)
        ]
        asked += path.name.removeprefix(_LISTED).split("/")[1:2]
        for column in dict.fromkeys(asked) if columns else ():
            if column not in columns:
                yield at_row(
                    row,
                    f"{heading}: the list {source} has no column {column}, so that it is "
                    f"always blank{meant(column, columns)}",
                )


_MADE = {"name", "label", "itextId"}
"""What pyxform writes of every choice."""


def paths_to_nothing(sheets: Sheets, _: Media) -> Iterator[Problem]:
    """An absolute path written by hand that leads to no question."""
    paths = {path for path, _ in named(sheets)}
    names = {path.rpartition("/")[2] for path in paths}
    made = ("_count", "_other")
    for row, heading, one in _terms(sheets, "/"):
        if not _ABSOLUTE.fullmatch(one.name) or one.kind not in {"path", "step"}:
            continue
        below = one.name.split("/", 2)[2]
        if below in paths or below.partition("/")[0] == "meta" or below.endswith(made):
            continue
        last = below.rpartition("/")[2]
        yield at_row(
            row,
            f"{heading}: {one.name} leads to no question, so that it is always blank"
            f"{meant(last, names, '${{{}}}')}",
        )


_ABSOLUTE = re.compile(r"/[\w.-]+(?:/[\w.-]+)+")


DOUBTS: tuple[Callable[[Sheets, Media], Iterator[Problem]], ...] = (
    misspelt_headings,
    choices_of_no_list,
    bare_words,
    missing_pictures,
    filters_by_nothing,
    counts_of_repeats,
    untranslated,
    strange_settings,
    unfit_defaults,
    misspelt_appearances,
    nothing_asked,
    strange_lists,
    pulled_from_nothing,
    asked_of_lists,
    paths_to_nothing,
)
"""Each mistake alone can be read, tested and argued with."""
