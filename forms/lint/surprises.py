"""What is valid, but means different things in Collect, in a browser and here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forms.lint.desk import Finding, at
from forms.terms import conjuncts
from forms.values import parse_date

if TYPE_CHECKING:
    from collections.abc import Iterator

    from forms.lint.desk import Asked, Desk
    from forms.terms import Term


def regex_anchoring(desk: Desk) -> Iterator[Finding]:
    """Collect and this engine match the whole answer; browsers search for a part of it."""
    for use in desk.uses:
        for term in use.term.walk():
            if term.kind == "call" and term.name == "regex" and len(term.parts) == 2:
                pattern = term.parts[1]
                if pattern.kind == "text" and not (
                    pattern.name.startswith("^") and pattern.name.endswith("$")
                ):
                    yield at(
                        use,
                        "regex-anchoring",
                        "warning",
                        f"{use.heading}: '{pattern.name}' must match the whole answer in Collect "
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
            compared = term.kind == "op" and term.name in {"<", "<=", ">", ">=", "=", "!="}
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
    for use in desk.uses:
        for term in use.term.walk():
            if term.kind != "op" or term.name not in {"<", "<=", ">", ">="}:
                continue
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


def blank_in_arithmetic(desk: Desk) -> Iterator[Finding]:
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
            yield at(
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


def sum_of_blanks(desk: Desk) -> Iterator[Finding]:
    """sum(), min() and max() pass over blanks in Collect and here; browsers gave blank."""
    for use in desk.uses:
        for term in use.term.walk():
            if term.kind == "call" and term.name in {"sum", "min", "max"} and len(term.parts) == 1:
                asked = desk.question(term.parts[0])
                if asked is not None and asked.repeats and asked.optional:
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
            elif term.kind == "op" and term.name in {"=", "!="}:
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


def bare_reference(desk: Desk) -> Iterator[Finding]:
    """Any text that is not blank is true, also 'false' and 'no'."""
    for use in desk.uses:
        if use.heading not in {"relevant", "constraint", "required", "read_only"}:
            continue
        for term in conjuncts(use.term):
            asked = desk.question(term)
            if asked is not None and asked.kind not in {"integer", "int", "decimal", "range"}:
                yield at(
                    use,
                    "bare-reference",
                    "warning",
                    f"{use.heading}: ${{{asked.name}}} alone is true for every answer, 'no' and "
                    "'false' too: compare it with something",
                )


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
