"""What will be felt on a phone: searches without an index, work that grows with the square."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forms.lint.desk import BIG_LIST, Finding, at
from forms.terms import conjuncts

_MEMBERS = 10
"""As many instances as a repeat mostly has."""

if TYPE_CHECKING:
    from collections.abc import Iterator

    from forms.lint.desk import Desk, Use
    from forms.terms import Term


def slow(desk: Desk) -> Iterator[Finding]:
    """Searches that no index helps, and work that grows with the square of a repeat."""
    for use in desk.uses:
        yield from _slow_predicates(desk, use)
        yield from _slow_aggregates(desk, use)


def _slow_predicates(desk: Desk, use: Use) -> Iterator[Finding]:
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
            yield at(
                use,
                "slow-nested-search",
                "warning",
                f"{use.heading}: searches a list again for each row of another: calculate the "
                "inner search once, in a question of its own",
            )
        big = term.kind == "path" and term.name.startswith("instance")
        if big and tests and not any(map(_indexable, tests)):
            size = _size(desk, term)
            most = BIG_LIST // _MEMBERS if use.repeats else BIG_LIST
            if size is None or size >= most:
                many = "the list" if size is None else f"{size:,} rows"
                each = f" for every {use.repeats[-1]}" if use.repeats else " each time"
                yield at(
                    use,
                    "slow-search",
                    "note" if size is None else "warning",
                    f"{use.heading}: looks at every row of {many}{each}: only a test like "
                    "name = ... can be looked up at once, so put one first",
                )
    select = use.asked.select
    if use.heading == "choice_filter" and select is not None:
        lines = desk.lines(select)
        if lines and len(lines) >= BIG_LIST and not any(map(_equality, conjuncts(use.term))):
            yield at(
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


def _size(desk: Desk, term: Term) -> int | None:
    name = next((part.name for part in term.parts if part.kind == "text"), "")
    lines = desk.file(f"{name}.csv")
    if lines is not None:
        return len(lines)
    inside = [row for row in desk.form.sheets.get("choices", ()) if row["list_name"] == name]
    return len(inside) or None


def _slow_aggregates(desk: Desk, use: Use) -> Iterator[Finding]:
    """Inside a repeat, what looks at all instances of it, or of another that is not around it."""
    if not use.repeats or use.heading not in {"calculation", "relevant", "constraint", "read_only"}:
        return
    for term in use.term.walk():
        crossed = _crossed(desk, use, term)
        if crossed:
            own = use.repeats[-1]
            whose = "every other one" if crossed == own else f"every {crossed}"
            yield at(
                use,
                "slow-crossing",
                "note",
                f"{use.heading}: every {own} looks at {whose}, so that twice as many take four "
                "times as long: calculate it once, outside the repeat",
            )
            return


def _crossed(desk: Desk, use: Use, term: Term) -> str:
    """The repeat all of whose instances a term looks at, "" where it is none."""
    if term.kind == "ref":
        asked = desk.by_name.get(term.name)
        if asked is None or not asked.repeats:
            return ""
        beside = use.repeats[-1] not in asked.repeats and asked.repeats[-1] not in use.repeats
        return asked.repeats[-1] if beside else ""
    if term.kind != "path" or not term.name.startswith(("../", "current()/../", "current/../")):
        return ""
    here = use.asked.path.split("/")
    steps = [one for one in term.name.split("/") if one not in {"current()", "current", "."}]
    up = next((number for number, one in enumerate(steps) if one != ".."), len(steps))
    around = desk.asked.get("/".join(here[: max(0, len(here) - up)]))
    met = desk.asked.get("/".join([*here[: max(0, len(here) - up)], *steps[up:]]))
    if met is None or not met.repeats:
        return ""
    left = set(use.repeats) - set(around.repeats if around is not None else ())
    return next((one for one in reversed(met.repeats) if one in left), "")
