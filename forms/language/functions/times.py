"""Functions about dates and times. Dates travel as ISO texts."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, time
from typing import TYPE_CHECKING

from forms.dialect import COLLECT, WEBFORMS
from forms.held import Moment
from forms.language import dates
from forms.language.core import NAN, Code
from forms.language.functions.table import function
from forms.language.syntax import written
from forms.values import iso_datetime, moment_at, moment_of, parse_date, stamped

if TYPE_CHECKING:
    from collections.abc import Callable

    from forms.language.compiler import Compiler
    from forms.language.core import Conversions, Frame, Value
    from forms.language.syntax import Expr
    from forms.tree import Node

    Where = tuple[str, ...] | None


MIDNIGHT = time()
_UNKNOWN = re.compile(r"%([^YymnbdeHhMS3a])")
"""What a browser's engine does not know in a pattern, and leaves as it stands."""


@function("today", least=0, most=0)
def _today(compiler: Compiler, _arguments: tuple[Expr, ...], _where: Where) -> Code:
    return _dated(compiler, lambda _node, frame: frame.env.now().date().isoformat())


@function("now", least=0, most=0)
def _now(compiler: Compiler, _arguments: tuple[Expr, ...], _where: Where) -> Code:
    dialect = WEBFORMS if compiler.scope.dialect == "webforms" else COLLECT
    return _dated(compiler, lambda _node, frame: stamped(frame.env.now(), dialect))


def _dated(compiler: Compiler, run: Callable[[Node, Frame], str]) -> Code:
    """A date is a value of its own kind, of which each engine has its own notion."""
    kind = Moment if compiler.conversions.java else dates.Dated
    return Code("v", lambda node, frame: kind(run(node, frame)))


def _from_moment(
    compiler: Compiler, expr: Expr, where: Where, tell: Callable[[datetime, Value], Value]
) -> Code:
    """In Collect: what is told of the moment that the argument is; of what is no number NaN, of
    what is no date blank.
    """
    given, conversions = _given(compiler, expr, where), compiler.conversions

    def told(node: Node, frame: Frame) -> Value:
        value = given(node, frame)
        found = _as_moment(value, conversions, frame)
        if found is None:
            return NAN if isinstance(value, float) else ""
        return tell(found, value)

    return Code("v", told)


def _moment(
    compiler: Compiler, expr: Expr, where: Where
) -> Callable[[Node, Frame], datetime | None]:
    """From a date, a dateTime or a number of days to a moment; None where it is none of them."""
    given, conversions = _given(compiler, expr, where), compiler.conversions
    return lambda node, frame: _as_moment(given(node, frame), conversions, frame)


def _given(compiler: Compiler, expr: Expr, where: Where) -> Callable[[Node, Frame], Value]:
    """The value that is to be a moment; what can never be one is refused."""
    code = compiler.compile(expr, where)
    run, conversions = code.run, compiler.conversions
    if conversions.java and code.kind == "b":
        raise compiler.fail(f"{written(expr)} is no date")
    if conversions.java and code.kind == "s" and code.constant:
        fixed = str(code.run(None, None)).strip()  # type: ignore[arg-type] # a constant asks neither
        if fixed and dates.moment(fixed, UTC) is None:
            raise compiler.fail(f"{fixed!r} is no date")

    def given(node: Node, frame: Frame) -> Value:
        value = run(node, frame)
        return conversions.unpacked(value) if isinstance(value, list) else value

    return given


def _as_moment(value: Value, conversions: Conversions, frame: Frame) -> datetime | None:
    zone = frame.env.zone
    if isinstance(value, float):
        return dates.of_days(value, zone)
    if not isinstance(value, str):
        return None
    if value.__class__ is Moment:
        day = parse_date(value)
        if day is not None:
            return moment_at(day, MIDNIGHT, zone)
        found = moment_of(value, zone, frame.env.now().date())
        return None if found is None else found.astimezone(zone)
    found = dates.moment(value.strip(), zone)
    if found is not None:
        return found
    number = conversions.parse_number(value)
    return None if math.isnan(number) else dates.of_days(number, zone)


class _NoDate(dates.Dated):
    """What JavaScript makes of what is no date: a text that is not true."""

    __slots__ = ()

    def __bool__(self) -> bool:
        return False


NO_DATE = _NoDate("Invalid Date")


def _browser_date(compiler: Compiler, expr: Expr, where: Where) -> Code:
    """The browser's engine keeps the time of day, and leaves midnight out."""
    given, conversions = _given(compiler, expr, where), compiler.conversions

    def told(node: Node, frame: Frame) -> str:
        value = given(node, frame)
        found = _as_moment(value, conversions, frame)
        if found is None:
            return NO_DATE if isinstance(value, float) or value else ""
        whole = found.time() == MIDNIGHT
        return dates.Dated(found.date().isoformat() if whole else stamped(found, WEBFORMS))

    return Code("v", told)


@function("date", least=1, most=1)
def _date(compiler: Compiler, arguments: tuple[Expr, ...], where: Where) -> Code:
    """In Collect a moment or a number is cut to its day; a text that has a time keeps it."""
    if not compiler.conversions.java:
        return _browser_date(compiler, arguments[0], where)

    def day(found: datetime, value: Value) -> Value:
        if isinstance(value, float):
            counted = dates.day_of(value)
            return "" if counted is None else Moment(counted.isoformat())
        timed = isinstance(value, str) and value.__class__ is not Moment and "T" in value
        return Moment(iso_datetime(found) if timed else found.date().isoformat())

    return _from_moment(compiler, arguments[0], where, day)


@function("date-time", least=1, most=1)
def _date_time(compiler: Compiler, arguments: tuple[Expr, ...], where: Where) -> Code:
    if not compiler.conversions.java:
        return _browser_date(compiler, arguments[0], where)
    return _from_moment(
        compiler, arguments[0], where, lambda found, _value: Moment(iso_datetime(found))
    )


@function("decimal-date-time", least=1, most=1)
def _decimal_date_time(compiler: Compiler, arguments: tuple[Expr, ...], where: Where) -> Code:
    """Days since 1970 with the part of the day."""
    if compiler.conversions.java:
        return _from_moment(
            compiler,
            arguments[0],
            where,
            lambda found, value: (
                value if isinstance(value, float) else dates.days_of(found, whole=False, utc=True)
            ),
        )
    moment = _moment(compiler, arguments[0], where)

    def days(node: Node, frame: Frame) -> float:
        found = moment(node, frame)
        return NAN if found is None else dates.days_of(found, whole=False, utc=True)

    return Code("n", days)


@function("decimal-time", least=1, most=1)
def _decimal_time(compiler: Compiler, arguments: tuple[Expr, ...], where: Where) -> Code:
    code = compiler.compile(arguments[0], where)
    text = compiler.conversions.string(code)
    java = compiler.conversions.java

    def fraction(found: datetime, value: Value) -> float:
        if isinstance(value, float):
            return value - math.floor(value)
        # As Java comes to it, to the last digit: the days since 1970 without the whole ones.
        days = dates.days_of(found, whole=False, utc=False)
        return days - math.floor(days)

    if not java or code.kind == "s":

        def clock(node: Node, frame: Frame) -> float:
            said = text(node, frame).strip()
            found = dates.moment(said, frame.env.zone) if java else None
            if found is not None:
                return fraction(found, said)
            # The browser's engine reads the time of a day, and only offsets in figures.
            apart = not java and ("T" in said or said.endswith("Z"))
            return NAN if apart else dates.day_fraction(said, frame.env.zone)

        return Code("n", clock)

    return _from_moment(compiler, arguments[0], where, fraction)


@function("format-date", "format-date-time", least=2, most=2)
def _format(compiler: Compiler, arguments: tuple[Expr, ...], where: Where) -> Code:
    given, conversions = _given(compiler, arguments[0], where), compiler.conversions
    browser = compiler.scope.dialect == "webforms"
    # A browser's engine has no name for Sundays.
    days = (*dates.WEEKDAYS[:-1], "") if browser else dates.WEEKDAYS
    pattern = conversions.string(compiler.compile(arguments[1], where))

    def told(node: Node, frame: Frame) -> str:
        value = given(node, frame)
        found = _as_moment(value, conversions, frame)
        if found is None or (browser and isinstance(value, float)):
            return ""
        wanted = frame.read(pattern(node, frame), times=8)
        if browser:
            wanted = _UNKNOWN.sub(lambda one: one[0].replace("%", "%%"), wanted)
        made = dates.formatted(found, wanted, weekdays=days)
        if made is None:
            raise compiler.fail(f"{wanted!r} is no pattern for a date")
        return made

    return Code("s", told)
