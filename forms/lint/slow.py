"""What will be felt on a phone: searches without an index, work that grows with the square."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forms.lint.desk import BIG_LIST, Finding, at
from forms.terms import conjuncts

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
            if size is None or size >= BIG_LIST:
                many = "the list" if size is None else f"{size:,} rows"
                yield at(
                    use,
                    "slow-search",
                    "note" if size is None else "warning",
                    f"{use.heading}: looks at every row of {many} each time: only a test like "
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


_AGGREGATES = {"sum", "count", "min", "max", "count-non-empty", "join", "indexed-repeat"}


def _slow_aggregates(desk: Desk, use: Use) -> Iterator[Finding]:
    if not use.asked.repeats or use.heading not in {"calculation", "relevant", "constraint"}:
        return
    for term in use.term.walk():
        if term.kind != "call" or term.name not in _AGGREGATES or not term.parts:
            continue
        about = next((part for part in term.parts[0].walk() if part.kind == "ref"), None)
        asked = desk.by_name.get(about.name) if about is not None else None
        if asked is None or not set(asked.repeats) & set(use.asked.repeats):
            continue
        if term.name == "indexed-repeat" or asked.repeats == use.asked.repeats:
            yield at(
                use,
                "slow-crossing",
                "note",
                f"{use.heading}: every {use.asked.repeats[-1]} looks at every other one, so that "
                "twice as many take four times as long: calculate it once, outside the repeat",
            )
            return
