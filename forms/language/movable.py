"""Which expressions mean the same wherever in a form they stand: these are compiled only once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forms.language.syntax import Binary, Call, Literal, Negative, Number, Path

if TYPE_CHECKING:
    from forms.language.core import Scope
    from forms.language.syntax import Expr, Step

ARGUMENTS_ONLY = frozenset(
    {
        "abs",
        "boolean",
        "boolean-from-string",
        "ceiling",
        "coalesce",
        "contains",
        "count",
        "count-non-empty",
        "count-selected",
        "date",
        "decimal-date-time",
        "ends-with",
        "false",
        "floor",
        "format-date",
        "format-date-time",
        "if",
        "int",
        "max",
        "min",
        "not",
        "now",
        "number",
        "once",
        "pow",
        "regex",
        "round",
        "selected",
        "selected-at",
        "starts-with",
        "string",
        "string-length",
        "substr",
        "sum",
        "today",
        "translate",
        "true",
    }
)
"""Functions that look at their arguments (and the clock) only, and never at where they stand."""
UP = ("parent", "node()")
HERE = ("self", "node()")


def movable(expr: Expr, scope: Scope, *, listed: bool = False) -> bool:
    """Whether the closures for the expression hold at every place of the form. `listed`: it stands
    in a predicate over a list, and is relative to the list's items.
    """
    if isinstance(expr, Path):
        return _path(expr, scope, listed=listed)
    if isinstance(expr, Call):
        if expr.name not in ARGUMENTS_ONLY or (not expr.arguments and expr.name in _OWN_NODE):
            return False
        return all(movable(one, scope, listed=listed) for one in expr.arguments)
    if isinstance(expr, Binary):
        return movable(expr.left, scope, listed=listed) and movable(
            expr.right, scope, listed=listed
        )
    if isinstance(expr, Negative):
        return movable(expr.operand, scope, listed=listed)
    return isinstance(expr, (Literal, Number))


_OWN_NODE = frozenset({"number", "string", "string-length"})
"""Without an argument they take the node that they stand at."""


def _path(path: Path, scope: Scope, *, listed: bool) -> bool:
    if path.start == "/":
        names = plain_names(path.steps)
        return names is not None and scope.single(names)
    if path.start == "":
        return all(
            not one.predicates
            and (one.axis == "child" or (one.axis, one.test) in {UP, HERE})
            and (one.axis != "child" or _is_name(one.test))
            for one in path.steps
        ) and (listed or _up_then_down(path.steps))
    start = path.start
    if not isinstance(start, Call) or start.name != "instance":
        return False
    return all(isinstance(one, Literal) for one in start.arguments) and all(
        one.axis == "child"
        and _is_name(one.test)
        and all(movable(each, scope, listed=True) for each in one.predicates)
        for one in path.steps
    )


def _up_then_down(steps: tuple[Step, ...]) -> bool:
    down = False
    for step in steps:
        if step.axis == "child":
            down = True
        elif step.axis == "parent" and down:
            return False
    return True


def plain_names(steps: tuple[Step, ...]) -> tuple[str, ...] | None:
    """The names that the steps go down by, where they do no more than that."""
    names = []
    for step in steps:
        if step.axis != "child" or step.predicates or not _is_name(step.test):
            return None
        names.append(step.test.rpartition(":")[2])
    return tuple(names)


def _is_name(test: str) -> bool:
    return test != "*" and not test.endswith((")", ":*"))
