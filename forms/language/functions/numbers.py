"""Functions about numbers."""

from __future__ import annotations

import math
from decimal import ROUND_DOWN, ROUND_FLOOR, Decimal
from typing import TYPE_CHECKING

from forms.language.core import NAN, Code
from forms.language.functions.table import function, simple
from forms.language.functions.texts import _here

if TYPE_CHECKING:
    from collections.abc import Callable

    from forms.language.compiler import Compiler
    from forms.language.core import Conversions, Frame
    from forms.language.syntax import Expr
    from forms.tree import Node

_PLACES_MAX = 30
"""More places than that are no number for JavaRosa."""


@function("number", least=0, most=1, core=True)
def _number(compiler: Compiler, arguments: tuple[Expr, ...], where: tuple[str, ...] | None) -> Code:
    if not arguments and compiler.conversions.java:
        raise compiler.fail("number() takes 1 argument, not 0")
    code = compiler.compile(arguments[0], where) if arguments else _here(compiler, where)
    run = compiler.conversions.number(code)
    if compiler.scope.dialect == "webforms" and code.kind in {"s", "d"}:
        return Code("n", run, shown=_whole_days(compiler, code, run))
    return Code("n", run, constant=code.constant and code.kind != "s")


def _whole_days(
    compiler: Compiler, code: Code, run: Callable[[Node, Frame], float]
) -> Callable[[Node, Frame], str]:
    """The browser's engine writes the number that a date comes to without the part of the day."""
    text = compiler.conversions.string(code)
    conversions = compiler.conversions

    def shown(node: Node, frame: Frame) -> str:
        number = run(node, frame)
        told = text(node, frame)
        if math.isnan(number) or not math.isnan(conversions.parse_number(told)):
            return conversions.number_text(number)
        return conversions.number_text(float(math.floor(number)))

    return shown


@simple("int", takes="n", gives="n")
def int_(number: float) -> float:
    """Towards zero."""
    return float(math.trunc(number)) if math.isfinite(number) else number


@simple("floor", takes="n", gives="n", core=True)
def floor(number: float) -> float:
    return float(math.floor(number)) if math.isfinite(number) else number


@simple("ceiling", takes="n", gives="n", core=True)
def ceiling(number: float) -> float:
    if not math.isfinite(number):
        return number
    return math.copysign(float(math.ceil(number)), number)


@function("round", least=1, most=2, core=True)
def _round(compiler: Compiler, arguments: tuple[Expr, ...], where: tuple[str, ...] | None) -> Code:
    """Halves go up (XPath 1.0, 4.4); in the browser away from zero."""
    conversions = compiler.conversions
    if conversions.plain and len(arguments) > 1:
        raise compiler.fail(f"round() takes 1 argument, not {len(arguments)}")
    code = compiler.compile(arguments[0], where)
    number = conversions.number(code)
    places = (
        conversions.number(compiler.compile(arguments[1], where)) if len(arguments) > 1 else None
    )
    away = conversions.dialect == "webforms"
    java = conversions.java

    def rounded(node: Node, frame: Frame) -> float:
        value = number(node, frame)
        shift = 0.0 if places is None else places(node, frame)
        if java:
            shift = as_int(shift)
            if abs(shift) > _PLACES_MAX:
                return NAN
        return browser_round(value, shift) if away else round_(value, shift, cut=java)

    return Code("n", rounded)


def as_int(number: float) -> int:
    """As Java makes an int of a number: cut, what is none is 0, what is too large the largest."""
    return 0 if math.isnan(number) else int(max(-(2.0**31), min(2.0**31 - 1, number)))


def round_(number: float, places: float = 0.0, *, cut: bool = False) -> float:
    """Halves go up; `places` after the point, or before it where negative.

    `cut` is JavaRosa's way before the point: it adds half a unit and cuts, so that -7 goes to 0.
    """
    if not math.isfinite(number) or math.isnan(places):
        return number if not math.isnan(places) else NAN
    shift = max(-_PLACES_MAX, min(_PLACES_MAX, as_int(places)))
    if not shift:
        # `number + 0.5` would round the largest number below a half up.
        whole = math.floor(number)
        rounded = float(whole + 1 if number - whole >= 0.5 else whole)
        return math.copysign(rounded, number) if rounded == 0 else rounded
    unit = Decimal(1).scaleb(-shift)
    exact = Decimal(repr(number))
    way = ROUND_DOWN if cut and shift < 0 else ROUND_FLOOR
    steps = ((exact / unit) + Decimal("0.5")).to_integral_value(way)
    return float(steps * unit)


def browser_round(number: float, places: float = 0.0) -> float:
    """As a browser multiplies, rounds and divides again: halves away from zero, 1.005 to 1."""
    if not math.isfinite(number) or not math.isfinite(places):
        return number if not math.isnan(places) else NAN
    shift = max(-30, min(30, int(places)))
    factor = 10.0 ** abs(shift)
    scaled = abs(number) * factor if shift > 0 else abs(number) / factor
    whole = math.floor(scaled)
    rounded = float(whole + 1 if scaled - whole >= 0.5 else whole)
    return math.copysign(rounded / factor if shift > 0 else rounded * factor, number)


@simple("pow", takes="nn", gives="n")
def pow_(base: float, exponent: float) -> float:
    if math.isnan(exponent) or (abs(base) == 1 and math.isinf(exponent)):
        return NAN  # C, and so Python, has 1 here; Java and browsers have not.
    try:
        made = math.pow(base, exponent)
    except OverflowError:
        return math.inf
    except ValueError:
        return math.inf if base == 0 else NAN
    return made


def _guarded(work: Callable[[float], float]) -> Callable[[float], float]:
    def guarded(number: float) -> float:
        try:
            return work(number)
        except OverflowError:
            return math.inf
        except ValueError:
            return NAN

    return guarded


def _logarithm(work: Callable[[float], float]) -> Callable[[float], float]:
    guarded = _guarded(work)
    return lambda number: -math.inf if number == 0 else guarded(number)


_WORKS: dict[str, Callable[[float], float]] = {
    "abs": abs,
    "sin": _guarded(math.sin),
    "cos": _guarded(math.cos),
    "tan": _guarded(math.tan),
    "asin": _guarded(math.asin),
    "acos": _guarded(math.acos),
    "atan": _guarded(math.atan),
    "sqrt": _guarded(math.sqrt),
    "exp": _guarded(math.exp),
    "exp10": _guarded(lambda number: math.pow(10, number)),
    "log": _logarithm(math.log),
    "log10": _logarithm(math.log10),
}
for _name, _work in _WORKS.items():
    simple(_name, takes="n", gives="n")(_work)


@simple("atan2", takes="nn", gives="n")
def atan2(y: float, x: float) -> float:
    return math.atan2(y, x)


@function("pi", least=0, most=0)
def _pi(_compiler: Compiler, _arguments: tuple[Expr, ...], _where: tuple[str, ...] | None) -> Code:
    return Code("n", lambda _node, _frame: math.pi, constant=True)


@function("random", least=0, most=0)
def _random(
    _compiler: Compiler, _arguments: tuple[Expr, ...], _where: tuple[str, ...] | None
) -> Code:
    return Code("n", lambda _node, frame: frame.env.random())


def several(
    compiler: Compiler, arguments: tuple[Expr, ...], where: tuple[str, ...] | None
) -> list[Callable[[Node, Frame], list[float]]]:
    """From each argument the numbers of all its nodes, or its one number. Blanks are NaN."""
    return [_numbers_of(compiler.conversions, compiler.compile(one, where)) for one in arguments]


def _numbers_of(conversions: Conversions, code: Code) -> Callable[[Node, Frame], list[float]]:
    if code.kind not in {"d", "v"}:
        number = conversions.number(code)
        return lambda node, frame: [number(node, frame)]
    run, to_number, number_of = code.run, conversions.to_number, conversions.number_of

    def every(node: Node, frame: Frame) -> list[float]:
        value = run(node, frame)
        if not isinstance(value, list):
            return [to_number(value, frame)]
        return [number_of(each, frame) for each in value]

    return every


@function("sum", least=1, most=1, core=True)
def _sum(compiler: Compiler, arguments: tuple[Expr, ...], where: tuple[str, ...] | None) -> Code:
    """Collect leaves blanks and what is no number out; for all others the sum is NaN
    then, and in the browser where there is nothing to add up.
    """
    code = compiler.compile(arguments[0], where)
    if code.kind not in {"d", "v"}:
        raise compiler.fail("sum() takes nodes")
    plain = not compiler.conversions.java
    browser = compiler.scope.dialect == "webforms"
    run, to_number = code.run, compiler.conversions.to_number
    number_of = compiler.conversions.number_of

    def total(node: Node, frame: Frame) -> float:
        value = run(node, frame)
        if not isinstance(value, list):
            return to_number(value, frame)
        if browser and not value:
            return NAN
        numbers = [number_of(one, frame) for one in value]
        return float(sum(numbers) if plain else sum(one for one in numbers if one == one))  # noqa: PLR0124 - not NaN

    return Code("n", total)


def _extreme(
    names: tuple[str, ...], choose: Callable[[list[float]], float], *, least: float | None = None
) -> None:
    """In Collect the largest is never less than the `least` number above 0, from which it starts:
    max(-5, -3) is 0.
    """

    @function(*names, least=1, most=None)
    def _build(
        compiler: Compiler, arguments: tuple[Expr, ...], where: tuple[str, ...] | None
    ) -> Code:
        runs = several(compiler, arguments, where)
        java = compiler.conversions.java

        def chosen(node: Node, frame: Frame) -> float:
            numbers = [number for run in runs for number in run(node, frame)]
            if java:
                numbers = [one for one in numbers if one == one]  # noqa: PLR0124 - not NaN
                if numbers and least is not None:
                    numbers.append(least)
            if not numbers or any(one != one for one in numbers):  # noqa: PLR0124 - NaN
                return NAN
            return choose(numbers)

        return Code("n", chosen)


_extreme(("max",), max, least=5e-324)
_extreme(("min",), min)
