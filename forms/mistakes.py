"""An author's mistakes for which a form is refused: all at once, each with its row and the way out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from forms.language import BadExpression, Scope, compile_expression
from forms.language.functions.table import FUNCTIONS
from forms.media import BadMedia, heading_of, read_instance, rows
from forms.sheets import BEGIN, END, REFERENCE, YES, at_row, files_of, named, select_of
from forms.vocabulary import EXPRESSIONS, meant, near
from forms.wording import plain

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from forms.problems import Problem
    from forms.sheets import Row, Sheets

    Media = Collection[str] | None
    """The names of the files that go with a form, or the files by name; None: not known yet."""

_ENTITY_EXPRESSIONS = ("label", "create_if", "update_if", "entity_id", "repeat")


def refusals(sheets: Sheets, media: Media) -> Iterator[Problem]:
    """What makes the form unusable. Nothing that ODK's own tools take is among it, save choices
    that would be lost, and files that are known not to be there.
    """
    for mistake in REFUSED:
        yield from mistake(sheets, media)


# What is refused ---------------------------------------------------------------------------


def unknown_references(sheets: Sheets, _: Media) -> Iterator[Problem]:
    known = {row["name"] for _, row in named(sheets)}
    if "osm" in sheets or any(row["type"].startswith("osm") for row in sheets.get("survey", ())):
        known |= {row["name"] for row in sheets.get("osm", ())}
    if not any(row["omit_instanceid"].lower() in YES for row in sheets.get("settings", ())):
        known.add("instanceID")
    for sheet, lines in sheets.items():
        for row in lines:
            for heading, text in row.cells.items():
                if "${" not in text:
                    continue
                for _, name in REFERENCE.findall(text):
                    if name and name not in known:
                        yield at_row(
                            row,
                            f"{heading.partition('::')[0]} uses ${{{name}}}, which no question "
                            f"asks{meant(name, known, '${{{}}}')}",
                            sheet,
                        )


def malformed_references(sheets: Sheets, _: Media) -> Iterator[Problem]:
    """${name} is written without spaces, and closed."""
    for sheet, lines in sheets.items():
        for row in lines:
            for heading, text in row.cells.items():
                at = text.find("${")
                while at >= 0:
                    end, again = text.find("}", at), text.find("${", at + 2)
                    if end < 0 or 0 <= again < end:
                        yield at_row(
                            row,
                            f"{heading}: {text[at : at + 20]!r} is a reference that is not closed: "
                            "write ${name}, with a } behind the name",
                            sheet,
                        )
                        break
                    inside = text[at + 2 : end]
                    if inside != inside.strip():
                        yield at_row(
                            row,
                            f"{heading}: write ${{{inside.strip()}}}, without spaces inside",
                            sheet,
                        )
                    at = again


_NAME_ENDS_AT = re.compile(r"[\s!-,/;-@\[-^`{-~]")


def unsound_names(sheets: Sheets, _: Media) -> Iterator[Problem]:
    for _, row in named(sheets):
        name = row["name"]
        found = _NAME_ENDS_AT.search(name)
        if found is not None:
            what = "a space" if found[0].isspace() else repr(found[0])
            better = re.sub(r"\W+", "_", name).strip("_") or "q"
            better = f"_{better}" if better[0].isdigit() else better
            yield at_row(row, f"the name {name!r} has {what} in it: write {better}")
        elif name[0] in "0123456789.-":
            yield at_row(
                row,
                f"the name {name!r} begins with {name[0]!r}: begin with a letter, such as q{name}",
            )


def names_taken(sheets: Sheets, _: Media) -> Iterator[Problem]:
    taken: dict[str, int] = {}
    for path, row in named(sheets):
        if path in taken:
            around = path.rpartition("/")[0].rpartition("/")[2]
            within = f" of {around}" if around else ""
            yield at_row(
                row,
                f"the name {row['name']} is already that of row {taken[path]}{within}: names are "
                f"unique, so give this question another, such as {row['name']}_2",
            )
        taken.setdefault(path, row.number)


def unbalanced_groups(sheets: Sheets, _: Media) -> Iterator[Problem]:
    """Every group and repeat is closed, by a row of its own kind."""
    above: list[tuple[str, Row]] = []
    for row in sheets.get("survey", ()):
        kind = row["type"].strip()
        begins, ends = BEGIN.match(kind), END.match(kind)
        if begins:
            above.append((begins["kind"].lower(), row))
        elif ends and not above:
            yield at_row(
                row, f"this end_{ends['kind'].lower()} closes nothing that is open: delete the row"
            )
            return
        elif ends:
            what, opened = above.pop()
            if what != ends["kind"].lower():
                yield at_row(
                    row,
                    f"closes a {ends['kind'].lower()}, but what is open here is the {what} "
                    f"{opened['name']} of row {opened.number}: write end_{what}, or close what is "
                    "inside it first",
                )
                return
    for what, opened in above:
        yield at_row(
            opened,
            f"the {what} is never closed: write a row of type end_{what} behind its last question",
        )


def choice_problems(sheets: Sheets, _: Media) -> Iterator[Problem]:
    lists: dict[str, dict[str, int]] = {}
    several = {
        select.source
        for _, row in named(sheets)
        if (select := select_of(row)) and select.kind != "one" and not select.from_file
    }
    settings = next(iter(sheets.get("settings", ())), None)
    twice_allowed = settings is not None and settings["allow_choice_duplicates"].lower() in YES
    for row in sheets.get("choices", ()):
        of, name = row["list_name"], row["name"]
        if not of or not name:
            continue
        seen = lists.setdefault(of, {})
        if name in seen and not twice_allowed:
            yield at_row(
                row,
                f"the list {of} already has the choice {name}, in row {seen[name]}: give one of "
                "them another name",
                "choices",
            )
        seen.setdefault(name, row.number)
        if of in several and re.search(r"\s", name):
            yield at_row(
                row,
                "a select_multiple keeps its answers apart by spaces, so that this choice would "
                f"be lost: name it {'_'.join(name.split())}",
                "choices",
            )
    for _, row in named(sheets):
        select = select_of(row)
        if (
            select is None
            or select.from_file
            or select.source in lists
            or select.source.startswith("${")
            or row["type"].lower().startswith("select_one_external")
        ):
            continue
        yield at_row(
            row,
            f"selects from the list {select.source}, which the choices sheet does not have"
            + (meant(select.source, lists) or _no_list(sheets)),
        )


def _no_list(sheets: Sheets) -> str:
    lines = sheets.get("choices", ())
    if not lines:
        return ": write it there, in the columns list_name, name and label"
    if not any(row["list_name"] for row in lines):
        found = ", ".join(dict.fromkeys(key for row in lines for key in row.cells))
        return f": its heading has no column list_name (it has {found})"
    return ": write its choices there"


def _filled_elsewhere(sheets: Sheets) -> set[str]:
    """A list that the form itself writes to is the server's to attach, not the author's."""
    return {f"{row['list_name']}.csv" for row in sheets.get("entities", ())}


def missing_files(sheets: Sheets, media: Media) -> Iterator[Problem]:
    if media is None:
        return
    given = {*media, *_filled_elsewhere(sheets)}
    for row, file in files_of(sheets):
        if file not in given:
            yield at_row(
                row,
                f"needs the file {file}, which is not among the form's media"
                f"{meant(file, media) or ': put it beside the form'}",
            )


def _columns(file: str, data: bytes) -> tuple[str, ...] | None:
    """The heading of a CSV that can be read; None for what can be read and has no heading."""
    if not file.endswith(".csv"):
        read_instance(file, data)
        return None
    columns = heading_of(file, data)
    if not any(columns):
        raise BadMedia(f"{file} has no heading: write the names of its columns into line 1")
    next(iter(rows(file, data)), None)
    return columns


def unreadable_files(sheets: Sheets, media: Media) -> Iterator[Problem]:
    """A list whose file is no text, no table, or lacks the column that answers are kept in."""
    if not isinstance(media, Mapping):
        return
    for row, file in files_of(sheets):
        data = media.get(file)
        if data is None:
            continue
        try:
            columns = _columns(file, data)
        except BadMedia as fault:
            yield at_row(row, f"its list cannot be read: {fault}")
            continue
        if columns is None:
            continue
        select = select_of(row)
        if select is None or not select.from_file or select.source != file:
            continue
        for part, column in (("value", "name"), ("label", "label")):
            said = re.search(rf"\b{part}\s*=\s*([\w.-]+)", row["parameters"])
            wanted = said[1] if said else column
            if wanted not in columns:
                yield at_row(
                    row,
                    f"takes the {part} of its choices from the column {wanted}, which {file} does "
                    f"not have (it has {', '.join(columns)}): rename a column, or write "
                    f"{part}=COLUMN under parameters",
                )


REFUSED: tuple[Callable[[Sheets, Media], Iterator[Problem]], ...] = (
    malformed_references,
    unknown_references,
    unsound_names,
    names_taken,
    unbalanced_groups,
    choice_problems,
    missing_files,
    unreadable_files,
)


# What pyxform tells of one at a time, or without its row --------------------------------------

_SHOWN = frozenset(
    ("label", "hint", "guidance_hint", "image", "audio", "video", "big-image", "media")
)
"""Of a question that is asked, one of these says what is read out or shown."""
_ASKED = frozenset(
    (
        *("text", "integer", "int", "decimal", "range", "note", "date", "time", "datetime"),
        *("acknowledge", "barcode", "image", "audio", "video", "file"),
        *("geopoint", "geotrace", "geoshape"),
    )
)
_PARAMETER = re.compile(r"([\w-]+)\s*=\s*([^\s;,]+)")
_REFERENCE_ALONE = re.compile(r"\$\{[^{}]+\}")


def stops(sheets: Sheets) -> Iterator[Problem]:
    """Whatever stops pyxform, where it would tell of the first alone: only to be asked once it has
    stopped.
    """
    for stop in STOPS:
        yield from stop(sheets)


def _says(row: Row) -> frozenset[str]:
    return frozenset(heading.partition("::")[0] for heading, text in row.cells.items() if text)


def nameless(sheets: Sheets) -> Iterator[Problem]:
    for row in sheets.get("survey", ()):
        kind = row["type"].strip()
        if row["name"] or row["disabled"].lower() in YES:
            continue
        if select_of(row) or BEGIN.match(kind) or row.kind in _ASKED - {"note"}:
            yield at_row(row, "it has no name: write one in the column name")


def typeless(sheets: Sheets) -> Iterator[Problem]:
    if not any(row["type"] for row in sheets.get("survey", ())):
        return
    for row in sheets.get("survey", ()):
        told = row["name"] or "label" in _says(row)
        if told and not row["type"] and row["disabled"].lower() not in YES:
            yield at_row(row, "it has no type: write one in the column type, such as text")


def unlabelled(sheets: Sheets) -> Iterator[Problem]:
    for row in sheets.get("survey", ()):
        asked = row["name"] and (select_of(row) or row.kind in _ASKED)
        worked_out = row["calculation"] or row["trigger"]
        if asked and not worked_out and _SHOWN.isdisjoint(_says(row)):
            yield at_row(row, plain("has no label or hint", row))


def unsound_shuffles(sheets: Sheets) -> Iterator[Problem]:
    for row in sheets.get("survey", ()):
        if select_of(row) is None:
            continue
        said = dict(_PARAMETER.findall(row["parameters"]))
        shuffled, seed = said.get("randomize"), said.get("seed")
        if shuffled not in {None, "true", "false"}:
            yield at_row(row, f"parameters: randomize is true or false, not {shuffled}")
        elif seed is not None and shuffled is None:
            yield at_row(
                row,
                "parameters: a seed is of a shuffled list alone: write randomize=true beside it",
            )
        elif seed is not None and not _is_seed(seed):
            yield at_row(
                row, f"parameters: the seed is a number or a question, as in ${{name}}, not {seed}"
            )


def _is_seed(text: str) -> bool:
    if _REFERENCE_ALONE.fullmatch(text):
        return True
    try:
        float(text)
    except ValueError:
        return False
    return True


def triggers_nobody_sees(sheets: Sheets) -> Iterator[Problem]:
    unseen = {
        row["name"]
        for _, row in named(sheets)
        if row.kind == "calculate"
        or ((row["calculation"] or row["trigger"]) and _says(row).isdisjoint({"label", "hint"}))
    }
    for _, row in named(sheets):
        for _, name in REFERENCE.findall(row["trigger"]):
            if name in unseen:
                yield at_row(
                    row,
                    f"trigger: ${{{name}}} is worked out and never asked, so that it sets nothing "
                    "off: name a question that is asked",
                )


STOPS: tuple[Callable[[Sheets], Iterator[Problem]], ...] = (
    nameless,
    typeless,
    unlabelled,
    unsound_shuffles,
    triggers_nobody_sees,
)


# Expressions that are none -----------------------------------------------------------------

_ADVICE = (
    (
        re.compile("[\u2018\u2019\u201a\u201c\u201d\u201e]"),
        "write straight quotation marks, ' or \", where a word processor has made curly ones",
    ),
    (re.compile(r"=="), "write = once"),
    (re.compile(r"&&"), "write and"),
    (re.compile(r"\|\|"), "write or"),
    (re.compile(r"<>"), "write !="),
    (re.compile(r"=<|=>"), "write <= or >="),
    (re.compile(r"\b(?:AND|OR|And|Or|DIV|MOD)\b"), "write and, or, div and mod in small letters"),
    (re.compile(r"[\w)]\s*/\s+\d|\}\s*/\s*\d"), "write div to divide"),
    (re.compile(r"%"), "write mod for the remainder"),
    (
        re.compile(r"\bselect(?:ed)?\s*\(\s*\$\{[^}]*\}\s*\)"),
        "write selected(${question}, 'choice')",
    ),
)
_PATTERNS = (
    (re.compile(r"\(\?="), "write a regex() for each of the things, with and between them"),
    (re.compile(r"\(\?!"), "write and not(regex(...)) for what must not be there"),
    (re.compile(r"\(\?<[=!]"), "write the whole pattern without looking behind"),
    (re.compile(r"\\[1-9]"), "what was found before cannot be asked for again"),
    (re.compile(r"[+*?}]\+"), "take out the + behind the other sign"),
    (re.compile(r"\\Z"), "write $ for the end"),
    (re.compile(r"\\[hR]"), "write [ \\t] or \\s"),
    (re.compile(r"\{\d{4,}"), "write at most {1000}, and limit the length by string-length()"),
)
"""What Java's patterns have and ours do not, whose time no answer can stretch; and the way out."""
_TEXTS = re.compile(r"'[^']*'|\"[^\"]*\"")
_NO_FUNCTION = re.compile(r"there is no function ([\w:.-]+)\(\)")


def expressions(sheets: Sheets) -> Iterator[Problem]:
    """Every cell that should hold an expression and does not, in the author's own words."""
    for sheet, headings in (
        ("survey", EXPRESSIONS),
        ("settings", ("instance_name",)),
        ("entities", _ENTITY_EXPRESSIONS),
    ):
        for row in sheets.get(sheet, ()):
            for heading in headings:
                text = row[heading]
                fault = _faulty(text) if text else None
                if fault is not None:
                    yield at_row(row, f"{heading}: {_told(text, fault)}", sheet)


_CURLY = str.maketrans("\u2018\u2019\u201c\u201d", "''\"\"")
"""The quotation marks that pyxform makes straight."""


def _faulty(text: str) -> BadExpression | None:
    # A path of the same length stands for each reference, so that a place found is the author's.
    plain = REFERENCE.sub(lambda found: "/d/" + "x" * (len(found[0]) - 3), text)
    plain = plain.translate(_CURLY)
    try:
        compile_expression(plain, at=("d", "x"), scope=Scope(root="d"))
    except BadExpression as fault:
        return fault
    return None


def _told(text: str, fault: BadExpression) -> str:
    reason = fault.reason
    quoted = _TEXTS.sub("''", text)
    function = _NO_FUNCTION.match(reason)
    advice = next((what for sign, what in _ADVICE if sign.search(quoted)), "")
    if function is not None:
        close = near(function[1], FUNCTIONS)
        advice = f"is {close}() meant?" if close else ""
    elif reason.startswith("the pattern"):
        advice = next((what for sign, what in _PATTERNS if sign.search(text)), "")
    elif quoted.count("'") % 2 or quoted.count('"') % 2:
        advice = "a text is closed by the same quotation mark that opens it"
    elif not advice and quoted.count("(") > quoted.count(")"):
        advice = "a ) is missing"
    elif not advice and quoted.count(")") > quoted.count("("):
        advice = "there is a ) too many"
    told = f"{text!r}: {reason}"
    if len(fault.text) == len(text) and 0 < fault.position < len(text):
        told += f", at {text[fault.position : fault.position + 20]!r}"
    return f"{told}; {advice}" if advice else told
