"""Reading in and out of repeats: which of its instances is meant, and who has to look at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forms.lint.desk import Finding, at
from forms.sheets import REFERENCE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from forms.lint.desk import Asked, Desk
    from forms.terms import Term

_TAKES_ALL = frozenset(
    {
        *("sum", "min", "max", "count", "count-non-empty", "join", "concat", "position", "area"),
        *("distance", "randomize", "indexed-repeat", "enclosed-area"),
    }
)
"""Functions to which several nodes are given on purpose."""
_WHOLE = frozenset({"sum", "min", "max", "count-non-empty", "join"})
_SPOKEN = frozenset({"label", "hint", "guidance_hint", "constraint_message", "required_message"})


def single(term: Term) -> Iterator[Term]:
    """Each reference that is read as one value: not by a function of all, nor in brackets."""
    if term.kind == "ref":
        if not term.parts:
            yield term
        return
    if term.name == "predicate" or (term.kind == "call" and term.name in _TAKES_ALL):
        return
    for part in term.parts:
        yield from single(part)


def _beyond(asked: Asked, repeats: tuple[str, ...]) -> str:
    """The repeat that a question is asked in and that is not around the place of reading."""
    return next((one for one in asked.repeats if one not in repeats), "")


def outside_repeat(desk: Desk) -> Iterator[Finding]:
    """One value is read of a question that every instance of a repeat has."""
    for use in desk.uses:
        select = use.asked.select
        if use.heading == "choice_filter" and select is not None and select.source.startswith("${"):
            continue  # what is offered are the instances, each judged by its own
        for name in dict.fromkeys(term.name for term in single(use.term)):
            asked = desk.by_name.get(name)
            repeat = _beyond(asked, use.repeats) if asked is not None else ""
            if repeat and asked is not None and asked.name != repeat:
                yield at(
                    use, "outside-repeat", "warning", f"{use.heading}: {_several(name, repeat)}"
                )
    for asked in desk.asked.values():
        for heading, text in asked.row.cells.items():
            if heading.partition("::")[0] not in _SPOKEN:
                continue
            for last, name in dict.fromkeys(REFERENCE.findall(text)):
                about = None if last else desk.by_name.get(name)
                repeat = _beyond(about, asked.repeats) if about is not None else ""
                if repeat:
                    yield Finding(
                        "survey",
                        asked.row.number,
                        asked.name,
                        "outside-repeat",
                        f"{heading}: {_several(name, repeat)}",
                        "warning",
                    )


def _several(name: str, repeat: str) -> str:
    return (
        f"every {repeat} has its own ${{{name}}}: once there are two, Collect stops with an error, and "
        f"here and in a browser it is that of the first: write sum(), join() or count() around it, or "
        f"indexed-repeat(${{{name}}}, ${{{repeat}}}, 1)"
    )


def own_instance(desk: Desk) -> Iterator[Finding]:
    """A sum over a repeat, written inside it, sees the own instance alone."""
    for use in desk.uses:
        for term in use.term.walk():
            if term.kind != "call" or not term.parts:
                continue
            asked = desk.question(term.parts[-1] if term.name == "join" else term.parts[0])
            if asked is None or not asked.repeats or asked.repeats[-1] not in use.repeats:
                continue
            if term.name in _WHOLE and len(term.parts) == 1 + (term.name == "join"):
                what = f"{term.name}(${{{asked.name}}}) is of the own {asked.repeats[-1]} alone"
            elif term.name == "count" and asked.name in use.repeats:
                what = f"count(${{{asked.name}}}) is 1 in Collect and here, and all of them in a browser"
            else:
                continue
            yield at(
                use,
                "own-instance",
                "warning",
                f"{use.heading}: inside the repeat {what}: work it out behind its end_repeat, in a "
                "calculate, and read that here",
            )


def place_as_number(desk: Desk) -> Iterator[Finding]:
    """r[2] is the second in a browser, and none at all in Collect."""
    for use in desk.uses:
        for term in use.term.walk():
            for part in term.parts if term.kind in {"path", "ref"} else ():
                if part.name != "predicate" or not _place(part.parts[0], desk):
                    continue
                yield at(
                    use,
                    "place-as-number",
                    "error",
                    f"{use.heading}: a number in brackets asks for that place in a browser, and in "
                    "Collect and here it finds nothing: write [position() = ...], or indexed-repeat()",
                )


def _place(inside: Term, desk: Desk) -> bool:
    """Whether what stands in brackets is a number, and no test."""
    if inside.kind == "number":
        return True
    if inside.kind == "op" and inside.name in {"+", "-", "*", "div", "mod", "negative"}:
        return True
    if inside.kind == "call" and inside.name in {
        "position",
        "last",
        "count",
        "sum",
        "number",
        "int",
    }:
        return True
    asked = desk.question(inside)
    return asked is not None and asked.numeric
