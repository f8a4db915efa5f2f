"""Functions that choose: conditions, checklists, and the answers to selections."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from forms.language.core import Code
from forms.language.functions.numbers import as_int, several
from forms.language.functions.table import function, simple
from forms.markup import BLANKS

if TYPE_CHECKING:
    from collections.abc import Callable

    from forms.language.compiler import Compiler
    from forms.language.core import Frame, Value
    from forms.language.syntax import Expr
    from forms.tree import Node

    Where = tuple[str, ...] | None


@function("if", least=3, most=3)
def _if(compiler: Compiler, arguments: tuple[Expr, ...], where: Where) -> Code:
    truth = compiler.conversions.truth(compiler.compile(arguments[0], where))
    yes, no = compiler.compile(arguments[1], where), compiler.compile(arguments[2], where)
    one, other = yes.run, no.run
    kind = yes.kind if yes.kind == no.kind else "v"
    return Code(
        kind,
        lambda node, frame: one(node, frame) if truth(node, frame) else other(node, frame),
        where=yes.where if yes.where == no.where else None,
    )


@function("coalesce", least=2, most=2)
def _coalesce(compiler: Compiler, arguments: tuple[Expr, ...], where: Where) -> Code:
    """The first that is not blank; the last one where all are."""
    codes = [compiler.compile(one, where) for one in arguments]
    runs = [one.run for one in codes]
    conversions = compiler.conversions

    def first(node: Node, frame: Frame) -> Value:
        value: Value = ""
        for run in runs:
            value = run(node, frame)
            if isinstance(value, float):
                if not math.isnan(value):
                    return value
            elif isinstance(value, bool) or conversions.to_text(value, frame):
                return value
        return value

    return Code("v", first)


@function("true", least=0, most=0, core=True)
def _true(_compiler: Compiler, _arguments: tuple[Expr, ...], _where: Where) -> Code:
    return Code("b", lambda _node, _frame: True, constant=True)


@function("false", least=0, most=0, core=True)
def _false(_compiler: Compiler, _arguments: tuple[Expr, ...], _where: Where) -> Code:
    return Code("b", lambda _node, _frame: False, constant=True)


@simple("not", takes="b", gives="b", core=True)
def not_(holds: bool) -> bool:
    return not holds


@simple("boolean", takes="b", gives="b", core=True)
def boolean(holds: bool) -> bool:
    return holds


@function("boolean-from-string", least=1, most=1)
def _boolean_from_string(compiler: Compiler, arguments: tuple[Expr, ...], where: Where) -> Code:
    """True for "1" and for "true": however it is written on the phone, small in the browser."""
    text = compiler.conversions.string(compiler.compile(arguments[0], where))
    if compiler.conversions.java:
        return Code("b", lambda node, frame: text(node, frame).strip().lower() in _TRUE)
    return Code("b", lambda node, frame: text(node, frame).strip() in _TRUE)


_TRUE = frozenset({"1", "true"})


def _between(count: float, least: float, most: float) -> bool:
    """A limit of -1 is none."""
    return (least < 0 or count >= least) and (most < 0 or count <= most)


def _within(total: float, least: float, most: float) -> bool:
    return least <= total <= most


@function("checklist", least=2, most=None)
def _checklist(compiler: Compiler, arguments: tuple[Expr, ...], where: Where) -> Code:
    least, most = (
        compiler.conversions.number(compiler.compile(one, where)) for one in arguments[:2]
    )
    truths = [_truths(compiler, one, where) for one in arguments[2:]]
    limit = as_int if compiler.conversions.java else float

    def enough(node: Node, frame: Frame) -> bool:
        count = sum(holds for run in truths for holds in run(node, frame))
        return _between(count, limit(least(node, frame)), limit(most(node, frame)))

    return Code("b", enough)


def _truths(compiler: Compiler, expr: Expr, where: Where) -> Callable[[Node, Frame], list[bool]]:
    code = compiler.compile(expr, where)
    conversions = compiler.conversions
    if code.kind != "d":
        truth = conversions.truth(code)
        return lambda node, frame: [truth(node, frame)]
    run = conversions.nodes(code)
    if conversions.java:
        # A typed answer counts by its value; a text whenever there is one, "0" and "false" too.
        return lambda node, frame: [conversions.truth_of_nodes([one]) for one in run(node, frame)]
    return lambda node, frame: [bool(one.string_value()) for one in run(node, frame)]


@function("weighted-checklist", least=2, most=None)
def _weighted(compiler: Compiler, arguments: tuple[Expr, ...], where: Where) -> Code:
    if len(arguments) % 2:
        raise compiler.fail("weighted-checklist() takes two limits, then pairs of truth and weight")
    least, most = (
        compiler.conversions.number(compiler.compile(one, where)) for one in arguments[:2]
    )
    # In Collect a limit of -1 is one like any other here, unlike in checklist().
    within = _within if compiler.conversions.java else _between
    truths = [_truths(compiler, one, where) for one in arguments[2::2]]
    weights = several(compiler, arguments[3::2], where)

    def enough(node: Node, frame: Frame) -> bool:
        total = 0.0
        for run, weigh in zip(truths, weights, strict=True):
            heavy = weigh(node, frame)
            for number, holds in enumerate(run(node, frame)):
                if holds and heavy:
                    total += heavy[min(number, len(heavy) - 1)]
        return within(total, least(node, frame), most(node, frame))

    return Code("b", enough)


def _chosen(answers: str) -> list[str]:
    """What was chosen, as Collect parts it: at blanks alone, so that a line's end is a letter."""
    return [one for one in answers.split(" ") if one]


def _stands_in(answers: str, wanted: str) -> bool:
    """As Collect looks for a choice: as a piece of the text, from blank to blank."""
    return f" {wanted.strip(BLANKS)} " in f" {answers} "


@simple("selected", "is-selected", takes="ss", gives="b", collect=_stands_in)
def selected(answers: str, wanted: str) -> bool:
    found, sought = answers.split(), wanted.strip()
    return sought in found if sought else not found


@function("selected-at", least=2, most=2)
def _selected_at(compiler: Compiler, arguments: tuple[Expr, ...], where: Where) -> Code:
    """From 0; "" beyond the last. Of what is no number: the first in Collect, else ""."""
    conversions = compiler.conversions
    part = _chosen if conversions.java else str.split
    answers = conversions.string(compiler.compile(arguments[0], where))
    place = conversions.number(compiler.compile(arguments[1], where))

    def chosen(node: Node, frame: Frame) -> str:
        number = place(node, frame)
        if math.isnan(number) and not conversions.java:
            return ""
        found, at = part(frame.read(answers(node, frame))), as_int(number)
        return found[at] if 0 <= at < len(found) else ""

    return Code("s", chosen)


@simple(
    "count-selected", takes="s", gives="n", collect=lambda answers: float(len(_chosen(answers)))
)
def count_selected(answers: str) -> float:
    return float(len(answers.split()))
