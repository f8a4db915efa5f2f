"""What pyxform and the engine say of a form, in an author's words and at the author's row."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from forms.problems import Problem
from forms.sheets import at_row
from forms.vocabulary import TYPES, near

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from forms.sheets import Place, Row, Sheets


def from_pyxform(message: str, sheets: Sheets) -> Problem:
    """What pyxform says, with the place that it names or that can be found from what it quotes."""
    reason = " ".join(message.split())
    at = re.match(r"\[row : (\d+)\]\s*", reason)
    in_sheet = re.search(r"On the '(\w+)' sheet, ", reason)
    sheet = in_sheet[1] if in_sheet else ""
    row: Row | None = None
    number = None
    if at:
        number = int(at[1])
        sheet = sheet or "survey"
        reason = reason[at.end() :]
        if sheet == "settings":
            # pyxform says 1, whichever row it is.
            number = next((each.number for each in sheets.get(sheet, ())), number)
        row = next((each for each in sheets.get(sheet, ()) if each.number == number), None)
    else:
        row = _quoted(reason, sheets.get("survey", ()))
        if row is not None:
            sheet, number = "survey", row.number
    if in_sheet:
        reason = reason.replace(in_sheet[0], "", 1)
        reason = reason[:1].lower() + reason[1:]
    headings = re.match(r"Invalid headers provided for sheet: '(\w+)'", reason)
    if headings:
        sheet, number = headings[1], 1
    told = plain(reason, row)
    if headings and sheets.get(sheet):
        there = dict.fromkeys(key for each in sheets[sheet] for key in each.cells)
        told += f" (here: {', '.join(there)})"
    question = row["name"] if row is not None and sheet != "settings" else ""
    return Problem(sheet, number, question, told)


def warned(message: str, sheets: Sheets) -> tuple[Problem, ...]:
    """What pyxform warns of: a warning of languages is one for each of its headings."""
    for pattern, placed in _PLACED:
        found = pattern.search(" ".join(message.split()))
        if found is not None:
            return tuple(placed(found, sheets))
    return (from_pyxform(message, sheets),)


def _without_codes(found: re.Match[str], sheets: Sheets) -> Iterator[Problem]:
    headings = [
        (sheet, key)
        for sheet in ("survey", "choices")
        for row in sheets.get(sheet, ())
        for key in row.cells
    ]
    for language in found[1].split(", "):
        sheet, heading = next(
            (each for each in headings if re.search(rf":\s*{re.escape(language)}$", each[1])),
            ("settings", "default_language"),
        )
        yield Problem(
            sheet,
            1,
            "",
            f"{heading}: the language {language} has no code, by which a phone finds its own: write "
            f"it behind, as in {language} (xx), the same in every heading",
        )


def _columns_lacking(found: re.Match[str], _: Sheets) -> Iterator[Problem]:
    for language, sheet, columns in re.findall(
        r"Language '(.*?)' is missing the (survey|choices) (?:columns )?(.*?)(?: column)?\.",
        found[0],
    ):
        if language == "default":
            told = (
                f"{columns} is written by languages, and other columns without one: write every "
                "column that is read out once for each language"
            )
        else:
            lacking = ", ".join(f"{column}::{language}" for column in columns.split(", "))
            told = f"another language has what {language} lacks: add {lacking}"
        yield Problem(sheet, 1, "", told)


def _other_untranslated(_: re.Match[str], sheets: Sheets) -> Iterator[Problem]:
    for row in sheets.get("survey", ()):
        if re.search(r"or[_ ]other$", row["type"].strip()):
            yield at_row(
                row,
                "or_other asks in English alone, though the form has languages: write a choice "
                "named other into the list, and a question of type text behind this one",
            )


def _said_already(_: re.Match[str], __: Sheets) -> Iterator[Problem]:
    """The sheet itself is told of, by its name."""
    yield from ()


def _two_ids(_: re.Match[str], __: Sheets) -> Iterator[Problem]:
    yield Problem("settings", 1, "", "has both form_id and id_string: take id_string out")


_PLACED: tuple[
    tuple[re.Pattern[str], Callable[[re.Match[str], Sheets], Iterator[Problem]]], ...
] = (
    (re.compile(r"valid machine-readable codes: (.*?)\. "), _without_codes),
    (re.compile(r"^Language '.*"), _columns_lacking),
    (re.compile(r"^This form uses or_other and translations"), _other_untranslated),
    (re.compile(r"^When looking for a sheet named '"), _said_already),
    (re.compile(r"^The form_id and id_string column headers"), _two_ids),
)


def _quoted(reason: str, survey: Sequence[Row]) -> Row | None:
    """The row that the message quotes from, most often by its name."""
    for one, other in re.findall(r"'([^']+)'|\[([^\]]+)\]", reason):
        token = one or other
        for row in survey:
            if token in {row["type"], row["name"]} or f" {token}" in f" {row['type']}":
                return row
    # Parameters are quoted by what is in them; those of audits and shuffled lists have no name.
    for word in re.findall(r"[\w-]{5,}", reason):
        for row in survey:
            if row.kind == word or word in row["parameters"]:
                return row
    return None


def plain(reason: str, row: Row | None = None) -> str:
    """The same in plain words, where these are known; else as it is, without its web address."""
    for pattern, word in _WORDS:
        found = pattern.search(reason)
        if found is not None:
            return word(found, row)
    return re.sub(r"\s*Learn more: \S+$", "", reason)


def _type(found: re.Match[str], _: Row | None) -> str:
    kind = found[1]
    if kind in {"select_one", "select_multiple", "rank", "select one", "select multiple"}:
        return f"{kind} names no list: write it behind, as in {kind.replace(' ', '_')} yes_no"
    close = near(kind.split()[0] if kind.split() else kind, TYPES)
    meant = f"is {close} meant?" if close else f"among those known are {', '.join(TYPES[:8])}"
    return f"the type {kind!r} is unknown; {meant}"


def _label(_: re.Match[str], row: Row | None) -> str:
    wrong = next((key for key in (row.cells if row else ()) if near(key, ("label",))), "")
    there = f"; is the column {wrong} meant for label?" if wrong and wrong != "label" else ""
    return f"it has no label: write what is to be read out, in the column label{there}"


def _said(text: str) -> Callable[[re.Match[str], Row | None], str]:
    return lambda found, _: text.format(*found.groups())


_NAMING = "names begin with a letter and go on with letters, digits, _ - and ."

_WORDS: tuple[tuple[re.Pattern[str], Callable[[re.Match[str], Row | None], str]], ...] = tuple(
    (re.compile(pattern), word if callable(word) else _said(word))
    for pattern, word in (
        (r"^Question or group with no name", "it has no name: write one in the column name"),
        (r"^Question with no type", "it has no type: write one in the column type, such as text"),
        (r"^Unknown question type '(.*)'", _type),
        (r"has no label or hint", _label),
        (
            r"^Missing calculation",
            "it is worked out, but nothing says how: write an expression in the column calculation",
        ),
        (
            r"required column headers were not found: (.*?)\.",
            "the headings lack the column {0}: every sheet begins with a row of headings",
        ),
        (
            r"may be due a missing header row",
            "its first row holds no headings: write them there, such as type, name and label",
        ),
        (
            r"different names for the same column were found: (.*?)\. Rename",
            "two columns mean the same: {0}: rename or remove one of them",
        ),
        (
            r"^the 'name' value '(.*)' is invalid\. Questions, groups",
            "the name {0} is already taken in the same group: give this question another",
        ),
        (
            r"^the 'name' value '(.*)' is invalid\. Repeat names must not be the same",
            "the repeat is called {0}, as the whole form is: give it another name",
        ),
        (
            r"^the 'name' value '(.*)' is invalid\. Repeat names must unique",
            "another repeat is called {0} too: repeats need names of their own in the whole form",
        ),
        (
            r"^the 'name' value '(.*)' is problematic",
            (
                "another name differs from {0} by small and capital letters alone, which tables of "
                "the answers may take for one: give it another name"
            ),
        ),
        (r"^the '(.*)' value is invalid\. Names must begin", "{0}: " + _NAMING),
        (r"^The '(.*)' value is invalid\. Names must begin", "the name {0} cannot be: " + _NAMING),
        (
            r"^the 'name' value is invalid\. Choices must have a name",
            "this choice has no name: write what is stored when it is chosen, in the column name",
        ),
        (
            r"^the 'label' value is invalid\. Choices should have a label",
            "this choice has no label: write what is to be read out, in the column label",
        ),
        (
            r"^the '(.*)' value is invalid\. Reference variables must start",
            "{0}: a reference is written ${{name}}, with the name of a question and no spaces",
        ),
        (
            r"^the '(.*)' value is invalid\. .*The name '(.*)' appears more than once",
            "{0}: ${{{1}}} can be any of several questions with this name: give one of them another",
        ),
        (
            r"^the 'save_to' value is invalid\. To save entity properties",
            (
                "save_to saves into a record, but the form says of no record: add a sheet entities "
                "with list_name and label"
            ),
        ),
        (
            r"^the 'list_name' value is invalid\. Entity lists must have a name",
            "the entity belongs to no list: write its list_name",
        ),
        (
            r"^Choice filter not supported with or_other",
            (
                "or_other cannot be offered beside a choice_filter: leave out or_other, and write a "
                "choice named other into the list"
            ),
        ),
        (
            r"'location-priority', 'location-min-interval', and 'location-max-age' are required",
            (
                "an audit that logs places says how: write location-priority, location-min-interval "
                "and location-max-age under parameters, such as location-priority=balanced "
                "location-min-interval=60 location-max-age=120"
            ),
        ),
        (
            r"^(?:Repeat|Group|Loop) has no label",
            "it has no label: write what is to be read out when it is opened, in the column label",
        ),
        (
            r"^Row without name, text, or label is being skipped",
            "is passed over, because it has neither type nor name: fill them in, or take the row out",
        ),
        (
            r"^The 'disabled' column header",
            "disabled is no column of ODK's today: write a condition in the column relevant",
        ),
        (
            r"^Use the max-pixels parameter",
            (
                "a picture is kept and sent as large as the camera makes it: write max-pixels=1024 "
                "under parameters"
            ),
        ),
        (
            r"^select one external is only meant for filtered selects",
            "select_one_external needs a choice_filter: write one, or make it a select_one",
        ),
        (
            r"^Audits must always be named",
            "an audit is called audit: leave its name empty, or write audit",
        ),
        (
            r"^Invalid value for quality\.",
            "parameters: the quality is voice-only, low or normal",
        ),
        (
            r"^Parameter (.*) must have an integer value",
            "parameters: {0} is a whole number, such as {0}=60",
        ),
        (
            r"^randomize must be set to true or false: '(.*)'",
            "parameters: randomize is true or false, not {0}",
        ),
    )
)


# The engine's ------------------------------------------------------------------------------


def with_rows(reason: str, places: Mapping[str, Place]) -> str:
    """Each path that the reason names as its question, followed by its row."""

    def told(match: re.Match[str]) -> str:
        path = re.sub(r"\[\d+\]", "", match[0])
        place = places.get(path)
        if place is None or place.sheet != "survey":
            return match[0]
        return f"${{{path.rpartition('/')[2]}}} (row {place.row})"

    return re.sub(r"/[\w.-]+(?:\[\d+\])?(?:/[\w.@-]+(?:\[\d+\])?)+", told, reason)
