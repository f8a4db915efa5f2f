"""What can never happen, or never fail to: conditions that no answer meets, and that all do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forms.lint.desk import Finding, at, few
from forms.lint.facts import clash, ways
from forms.sheets import YES
from forms.terms import read

if TYPE_CHECKING:
    from collections.abc import Iterator

    from forms.lint.desk import Asked, Desk, Use
    from forms.lint.facts import Ask, Way
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
                yield at(
                    use,
                    "unknown-choice",
                    "error",
                    f"{use.heading}: ${{{asked.name}}} is never '{name}': its choices are {few(values)}",
                )


def never_relevant(desk: Desk) -> Iterator[Finding]:
    """A condition that no answer makes true: alone, or with those around it."""
    for use in desk.uses:
        if use.heading != "relevant":
            continue
        around = _conditions(use.asked)[:-1]
        own = _met(desk, [use.term], use.asked)
        both = (
            ""
            if own or _met(desk, around, use.asked)
            else _met(desk, [*around, use.term], use.asked)
        )
        if _off(use.source):
            yield at(
                use, "never-relevant", "note", f"is never asked: its condition is {use.source}"
            )
        elif own:
            yield at(use, "never-relevant", "error", f"is never asked: {own}")
        elif both:
            yield at(
                use,
                "never-relevant",
                "error",
                f"is never asked, because its group has a condition as well: {both}",
            )


def _conditions(asked: Asked) -> list[Term]:
    """What the groups around a question and then it itself ask, the last being its own."""
    sources = [each.row["relevant"] for each in (*asked.groups, asked)]
    return [term for source in sources if source and (term := read(source)) is not None]


def _off(source: str) -> bool:
    """Whether a question was turned off on purpose."""
    return source.lower() in {"false()", "no", "false"}


_HOPS_MAX = 4
_TOGETHER_MAX = 256


def _met(desk: Desk, terms: list[Term], asker: Asked) -> str:
    """Why these conditions cannot hold at once, "" where they may."""
    together: tuple[Way, ...] = ((),)
    for term in terms:
        found = ways(term)
        if found is None or len(found) * len(together) > _TOGETHER_MAX:
            return ""
        together = tuple((*one, *other) for one in together for other in found)
    told = [_way_met(desk, way, asker) for way in together]
    return told[0] if all(told) else ""


def _way_met(desk: Desk, way: Way, asker: Asked) -> str:
    """Likewise of one way, and of what asks for the questions that it needs an answer of."""
    subjects: dict[str, Asked] = {}
    whole: list[Ask] = []
    waiting: list[Ask] = list(way)
    for _ in range(_HOPS_MAX):
        further: list[Ask] = []
        for ask in waiting:
            asked = desk.by_name.get(ask.question)
            # Of a question of another repeat nothing is known: each instance has its own answer.
            if asked is not None and asked.repeats == asker.repeats[: len(asked.repeats)]:
                if ask.needs_answer and ask.question not in subjects:
                    for term in _conditions(asked):
                        found = ways(term) or ()
                        further.extend(found[0] if len(found) == 1 else ())
                subjects[ask.question] = asked
                whole.append(ask)
            elif not ask.question:
                whole.append(ask)
        waiting = further
    return clash(desk, whole, subjects)


def constraints(desk: Desk) -> Iterator[Finding]:
    """A constraint that no answer meets, or that every answer does."""
    for use in desk.uses:
        if use.heading != "constraint" or use.source.lower() in {*YES, "no", "false", "false()"}:
            continue
        if not use.asked.numeric and use.asked.kind not in {"date", "datetime"} and _counts(use):
            continue
        subjects = {".": use.asked}
        refused, allowed = ways(use.term, hold=False), ways(use.term)
        never = _all_clash(desk, allowed, subjects)
        if never:
            yield at(
                use, "constraint-never-met", "error", f"constraint: no answer is taken: {never}"
            )
            continue
        if _all_clash(desk, refused, subjects):
            way_out = ": is and meant where it says or?" if " or " in use.source else ""
            yield at(
                use,
                "constraint-always-met",
                "warning",
                f"constraint: every answer is taken, so that it checks nothing{way_out}",
            )


def _counts(use: Use) -> bool:
    """Whether it compares the answer with a number, which says something of numbers alone."""
    return any(
        isinstance(ask.what, float) and ask.question == "."
        for way in ways(use.term) or ()
        for ask in way
    )


def _all_clash(desk: Desk, found: tuple[Way, ...] | None, subjects: dict[str, Asked]) -> str:
    # What other questions say is not the answer's own, and may change.
    told = [
        clash(desk, [ask for ask in way if ask.question in {"", "."}], subjects, blank=False)
        for way in found or ()
    ]
    return told[0] if told and all(told) else ""


def cannot_be_answered(desk: Desk) -> Iterator[Finding]:
    """Required, but nobody can answer it."""
    for asked in desk.asked.values():
        row = asked.row
        closed = asked.kind == "note" or row["read_only"].lower() in YES
        if not asked.required or not closed or row["calculation"] or row["default"]:
            continue
        # Shown under a condition it is a wall that authors build on purpose.
        wall = asked.kind == "note" and asked.conditional
        yield Finding(
            "survey",
            row.number,
            asked.name,
            "cannot-be-answered",
            "is required, but nobody can answer it and it has no value of its own: "
            + (
                "while it is shown, no entry can be finished"
                if wall
                else "no entry can be finished"
            ),
            "note" if wall else "error",
        )
