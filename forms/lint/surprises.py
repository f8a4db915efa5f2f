"""What is valid, but means different things in Collect, in a browser and here."""

from __future__ import annotations

import re
from math import isfinite
from typing import TYPE_CHECKING

from forms.lint.desk import Finding, at
from forms.lint.facts import figure
from forms.terms import conjuncts, read
from forms.values import parse_date, parse_time

if TYPE_CHECKING:
    from collections.abc import Iterator

    from forms.lint.desk import Asked, Desk, Use
    from forms.terms import Term


_ORDER = frozenset({"<", "<=", ">", ">="})
_EQUALITY = frozenset({"=", "!="})


def _patterns(desk: Desk) -> Iterator[tuple[Use, str]]:
    """The pattern of each regex(), where it is written out."""
    for use, term in desk.terms("call", ("regex",)):
        if len(term.parts) == 2 and term.parts[1].kind == "text":
            yield use, term.parts[1].name


def regex_anchoring(desk: Desk) -> Iterator[Finding]:
    """Collect and this engine match the whole answer; browsers search for a part of it."""
    for use, pattern in _patterns(desk):
        if not (pattern.startswith("^") and pattern.endswith("$")):
            yield at(
                use,
                "regex-anchoring",
                "warning",
                f"{use.heading}: '{pattern}' must match the whole answer in Collect "
                "and here, but only a part of it in a browser: write ^ before it and $ "
                "after it",
            )


_DAYS = {"date", "today", "datetime", "start", "end", "time"}


def date_as_number(desk: Desk) -> Iterator[Finding]:
    """A date in arithmetic is days in Collect, and depends on the zone in some browsers."""

    def is_date(term: Term) -> bool:
        asked = desk.question(term)
        if asked is not None:
            return asked.kind in _DAYS
        return term.kind == "call" and term.name in {"today", "now", "date", "date-time"}

    for use in desk.uses:
        for term in use.term.walk():
            counted = term.kind == "op" and term.name in {"+", "-", "*", "div", "mod", "negative"}
            compared = term.kind == "op" and term.name in _ORDER | _EQUALITY
            if (counted and any(map(is_date, term.parts))) or (
                compared
                and any(map(is_date, term.parts))
                and any(part.kind == "number" for part in term.parts)
            ):
                yield at(
                    use,
                    "date-as-number",
                    "warning",
                    f"{use.heading}: counts with a date as it is, which is a number of days in "
                    "Collect and may be off by the time zone in a browser: write "
                    "decimal-date-time(...) around it, or date(...) around the other side",
                )
                break


def date_as_text(desk: Desk) -> Iterator[Finding]:
    """A date in quotes is a day here and in a browser, and to Collect no date at all."""
    for use, term in desk.terms("op", _ORDER):
        day = next((p.name for p in term.parts if p.kind == "text" and parse_date(p.name)), "")
        if day:
            yield at(
                use,
                "date-as-text",
                "warning",
                f"{use.heading}: '{day}' is a day here and in a browser, but no date in "
                f"Collect, where nothing is before or after it: write date('{day}')",
            )


def hidden_answers(desk: Desk) -> Iterator[Finding]:
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
                yield at(
                    use,
                    "hidden-answer",
                    "note",
                    f"{use.heading}: is also true while ${{{asked.name}}} is hidden and so blank "
                    f"({desk.unit} {asked.row.number} has a condition): add ${{{asked.name}}} != '' if it "
                    "has to be answered",
                )


def _conditions(asked: Asked) -> set[str]:
    """The conditions, as written, that a question and the groups around it have."""
    told = {each.row["relevant"] for each in asked.groups} | {asked.row["relevant"]}
    return told - {""}


def _same_conditions(asked: Asked, user: Asked) -> bool:
    """Whether whatever hides the one hides the other too."""
    return _conditions(asked) <= _conditions(user)


def blank_in_arithmetic(desk: Desk) -> Iterator[Finding]:
    """One blank makes a sum blank, unless it is caught by coalesce()."""
    for use in desk.uses:
        if use.heading != "calculation":
            continue
        blank: dict[str, Asked] = {}
        for leaves in _sums(desk, use.term):
            for part in leaves:
                asked = desk.question(part)
                if (
                    asked is not None
                    and asked.numeric
                    and asked.optional
                    and not _same_conditions_and_required(asked, use.asked)
                    and asked.name not in use.asked.row["relevant"]
                ):
                    blank[asked.name] = asked
        if blank:
            names = ", ".join(f"${{{name}}}" for name in blank)
            yield at(
                use,
                "blank-in-arithmetic",
                "warning",
                f"calculation: stays blank while {names} is not answered: write "
                f"coalesce({names.split(',')[0]}, 0) if blank means none",
            )


_ADDS = frozenset({"+", "-"})


def _sums(desk: Desk, whole: Term) -> Iterator[list[Term]]:
    """What is added up, of each sum of several questions: one alone is meant to be blank while it is
    blank.
    """
    adds = [term for term in whole.walk() if term.kind == "op" and term.name in _ADDS]
    inner = {id(part) for term in adds for part in term.parts}
    for term in adds:
        if id(term) in inner:
            continue
        leaves, waiting = [], [term]
        while waiting:
            part = waiting.pop()
            if part.kind == "op" and part.name in _ADDS:
                waiting.extend(reversed(part.parts))
            else:
                leaves.append(part)
        asked = (desk.question(part) for leaf in leaves for part in leaf.walk())
        if len({each.name for each in asked if each is not None and not each.worked_out}) > 1:
            yield leaves


def _same_conditions_and_required(asked: Asked, user: Asked) -> bool:
    return _same_conditions(asked, user) and asked.required


def sum_of_blanks(desk: Desk) -> Iterator[Finding]:
    """sum(), min() and max() pass over blanks in Collect and here; browsers gave blank."""
    for use, term in desk.terms("call", ("sum", "min", "max")):
        if len(term.parts) == 1:
            asked = desk.question(term.parts[0])
            outside = asked is not None and set(asked.repeats) - set(use.repeats)
            if asked is not None and outside and asked.optional:
                yield at(
                    use,
                    "sum-of-blanks",
                    "note",
                    f"{use.heading}: {term.name}() passes over members whose "
                    f"${{{asked.name}}} is blank in Collect and here; browsers before August "
                    "2026 give no result: make the question required, or calculate "
                    f"coalesce(${{{asked.name}}}, 0) beside it",
                )


def order_of_choices(desk: Desk) -> Iterator[Finding]:
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
            elif term.kind == "op" and term.name in _EQUALITY:
                asked = next(filter(None, map(several, term.parts)), None)
                if not any(part.kind == "text" and " " in part.name for part in term.parts):
                    asked = None
                said = "compares several choices with one text"
            if asked is not None:
                yield at(
                    use,
                    "order-of-choices",
                    "warning",
                    f"{use.heading}: {said}, but ${{{asked.name}}} is in the order of ticking in "
                    "Collect and in the order of the list in a browser: use selected()",
                )


def repeat_count_lowered(desk: Desk) -> Iterator[Finding]:
    """No instance is deleted when a count is lowered; some browsers delete them."""
    for use in desk.uses:
        if use.heading != "repeat_count":
            continue
        asked = desk.question(use.term)
        if asked is not None and asked.kind not in {"calculate", "hidden"}:
            yield at(
                use,
                "repeat-count-lowered",
                "note",
                f"repeat_count: when ${{{asked.name}}} is lowered, Collect and this engine keep "
                "the answers already given, and some browsers delete them: let what is counted "
                f"look at position(..) <= ${{{asked.name}}}",
            )


_SAYS_NO = frozenset({"no", "false", "0", "n", "f", "none", "non", "nao", "não"})
_TRUTHS = _ORDER | _EQUALITY | {"and", "or"}


def bare_reference(desk: Desk) -> Iterator[Finding]:
    """Any text that is not blank is true, also 'false' and 'no'."""
    for use in desk.uses:
        if use.heading not in {"relevant", "constraint", "required", "read_only"}:
            continue
        for term in conjuncts(use.term):
            asked = desk.question(term)
            no = _says_no(desk, asked) if asked is not None else ""
            if asked is not None and no:
                yield at(
                    use,
                    "bare-reference",
                    "warning",
                    f"{use.heading}: ${{{asked.name}}} alone is true for every answer, {no} too: "
                    "compare it with something",
                )


def _says_no(desk: Desk, asked: Asked) -> str:
    """The value that means no and is true, "" where any value means yes, as that of a picture."""
    if asked.worked_out:
        inner = read(asked.row["calculation"])
        # A truth is one in Collect, and the text 'false' in a browser.
        says = inner is not None and inner.kind == "op" and inner.name in _TRUTHS
        return "the 'false' of its calculation in a browser" if says else ""
    values = sorted(each for each in desk.values(asked) or () if each.lower() in _SAYS_NO)
    return f"'{values[0]}'" if values else ""


def overwritten_answer(desk: Desk) -> Iterator[Finding]:
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
            yield at(
                use,
                "overwritten-answer",
                "warning",
                "calculation: overwrites what a person answers whenever anything in it changes: "
                "use default for a first value, trigger to set it at a moment, or read_only",
            )


def moving_today(desk: Desk) -> Iterator[Finding]:
    """today() in a calculation is worked out again on every later edit."""
    for use in desk.uses:
        if use.heading != "calculation" or use.asked.row["trigger"]:
            continue
        for term in use.term.walk():
            if term.kind == "call" and term.name == "once":
                break
            if term.kind == "call" and term.name in {"today", "now"}:
                yield at(
                    use,
                    "moving-today",
                    "note",
                    f"calculation: {term.name}() is worked out again when the entry is edited "
                    "later: use a question of type today or start to keep the day of the visit",
                )
                break


def choice_of_several(desk: Desk) -> Iterator[Finding]:
    """One choice compared with = is all that may be chosen."""
    for use, term in desk.terms("op", _EQUALITY):
        left, right = term.parts
        asked, text = (
            (desk.question(left), right) if right.kind == "text" else (desk.question(right), left)
        )
        if asked is None or text.kind != "text" or not text.name or " " in text.name:
            continue
        if asked.select is None or asked.select.kind == "one":
            continue
        only = "true only" if term.name == "=" else "false only"
        call = f"selected(${{{asked.name}}}, '{text.name}')"
        yield at(
            use,
            "choice-of-several",
            "warning",
            f"{use.heading}: is {only} where '{text.name}' is all that is chosen in "
            f"${{{asked.name}}}: write {call if term.name == '=' else f'not({call})'}",
        )


def literal_condition(desk: Desk) -> Iterator[Finding]:
    """${a} = 'x' or 'y' is always true: a text alone is."""
    for use, term in desk.terms("op", ("and", "or")):
        for part in term.parts:
            if part.kind not in {"text", "number"}:
                continue
            true = bool(part.name) if part.kind == "text" else float(part.name) != 0
            written = repr(part.name) if part.kind == "text" else part.name
            yield at(
                use,
                "literal-condition",
                "error",
                f"{use.heading}: {written} behind {term.name} is compared with nothing and so "
                f"always {'true' if true else 'false'}: write the whole comparison again, as in "
                f"${{question}} = {written}",
            )


def text_in_order(desk: Desk) -> Iterator[Finding]:
    """< and > are of numbers and dates: of any other text they are never true."""
    for use, term in desk.terms("op", _ORDER):
        for part in term.parts:
            if part.kind == "text" and not _ordered(part.name):
                yield at(
                    use,
                    "text-in-order",
                    "error",
                    f"{use.heading}: {term.name} compares numbers and dates, and '{part.name}' is "
                    "neither, so that this is never true",
                )


def _ordered(text: str) -> bool:
    day = parse_date(text.partition("T")[0])
    return day is not None or parse_time(text) is not None or figure(text) is not None


def number_as_text(desk: Desk) -> Iterator[Finding]:
    """= with '05' is of numbers in Collect and of letters in a browser."""
    for use, term in desk.terms("op", _EQUALITY):
        left, right = term.parts
        if left.kind == "text":
            left, right = right, left
        asked = desk.question(left) or (
            use.asked if left.kind == "step" and left.name == "." else None
        )
        if asked is None or right.kind != "text" or not asked.numeric:
            continue
        number = figure(right.name)
        if number is not None and isfinite(number) and right.name != f"{number:g}":
            yield at(
                use,
                "number-as-text",
                "warning",
                f"{use.heading}: '{right.name}' is the number {number:g} in Collect and here, but "
                f"other letters than {number:g} in a browser: write {number:g}, without quotation "
                "marks",
            )


def max_below_zero(desk: Desk) -> Iterator[Finding]:
    """max() of numbers that are all below 0 is 0 in Collect."""
    for use, term in desk.terms("call", ("max",)):
        if any(_below(part, desk) for part in term.parts):
            yield at(
                use,
                "max-below-zero",
                "warning",
                f"{use.heading}: where all numbers are below 0, max() is 0 in Collect and here, "
                "and the largest of them in a browser: write -1 * min() of their opposites",
            )


def _below(term: Term, desk: Desk) -> bool:
    """Whether it is written so that it can come to less than 0."""
    for part in term.walk():
        if part.kind == "op" and part.name in {"-", "negative"}:
            return True
        asked = desk.question(part)
        if (
            asked is not None
            and asked.numeric
            and re.search(r"(?<![\w)}\s])\s*-\s*\d", asked.row["constraint"])
        ):
            return True
    return False


_NOT_IN_COLLECT = {
    "ceiling": "int(x) + 1 where x is no whole number",
    "floor": "int(x) where x is not below 0",
    "id": "a test in brackets",
    "lang": "jr:itext() or a label for each language",
    "last": "position() = count(...)",
    "local-name": "the name itself",
    "name": "the name itself",
    "namespace-uri": "the name itself",
    "substring": "substr(text, from, to), which counts from 0",
}
"""Functions of XPath that JavaRosa does not have, and what to write instead."""


def not_in_collect(desk: Desk) -> Iterator[Finding]:
    """Functions that Collect does not know, so that it stops where they are met."""
    for use in desk.uses:
        for name in dict.fromkeys(
            part.name for part in use.term.walk() if part.kind in {"call", "path"}
        ):
            if name in _NOT_IN_COLLECT:
                yield at(
                    use,
                    "not-in-collect",
                    "error",
                    f"{use.heading}: Collect has no function {name}() and stops with an error: write "
                    f"{_NOT_IN_COLLECT[name]}",
                )


def regex_dialect(desk: Desk) -> Iterator[Finding]:
    """Patterns that mean one thing in Java and another here and in a browser."""
    for use, pattern in _patterns(desk):
        for sign, what in _DIALECT:
            if sign.search(pattern):
                yield at(
                    use,
                    "regex-dialect",
                    "warning",
                    f"{use.heading}: {what}, in Collect alone: write '{pattern}' without it",
                )


_DIALECT = (
    (re.compile(r"\[[^\]]*&&"), "&& inside brackets is what both sets have"),
    (re.compile(r"\[[^\]\\]*\[(?!:)"), "[ inside brackets begins a set within the set"),
)
