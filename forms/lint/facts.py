"""What a condition asks of each question, and whether that can be met at all."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date
from itertools import product
from typing import TYPE_CHECKING

from forms.lint.desk import few
from forms.values import parse_date

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from forms.lint.desk import Asked, Desk
    from forms.terms import Term

_WAYS_MAX = 128
_EPOCH = date(1970, 1, 1).toordinal()
_TAKES_DATE = frozenset({"date", "date-time"})
_OPPOSITE = {"=": "!=", "!=": "=", "<": ">=", "<=": ">", ">": "<=", ">=": "<"}
_TURNED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}


@dataclass(frozen=True, slots=True)
class Ask:
    """One thing asked of one question: "." is the answer itself.

    `how` is a comparison with a number, "is" or "is not" with a text, or "has" or "has not" with a
    choice; `question` is "" for what is true or false of itself.
    """

    question: str
    how: str
    what: str | float | bool

    @property
    def needs_answer(self) -> bool:
        """Whether it is false while the question is blank."""
        if self.how in {"is", "has"}:
            return self.what != ""
        if self.how == "is not":
            return self.what == ""
        return self.how not in {"has not", "!="}


Way = tuple[Ask, ...]
"""Things that are asked at once; what is not understood is left out of it."""


def ways(term: Term, *, hold: bool = True) -> tuple[Way, ...] | None:
    """The ways in which a condition can hold (or fail, with `hold` False); None: too many.

    A condition that is not understood asks nothing. Of numbers, failing is the opposite comparison:
    that is so of numbers alone, and the caller has to know that blanks do not come here.
    """
    if term.kind == "call" and term.name == "not" and len(term.parts) == 1:
        return ways(term.parts[0], hold=not hold)
    if term.kind == "op" and term.name in {"and", "or"}:
        sides = [ways(part, hold=hold) for part in term.parts]
        left, right = sides
        if left is None or right is None:
            return None
        if (term.name == "and") is hold:
            if len(left) * len(right) > _WAYS_MAX:
                return None
            return tuple((*one, *other) for one, other in product(left, right))
        return (*left, *right)
    asked = _ask(term)
    if asked is None:
        return ((),)
    return ((asked if hold else _denied(asked),),)


def _denied(asked: Ask) -> Ask:
    if asked.question == "":
        return Ask("", "is", not asked.what)
    if asked.how in _OPPOSITE:
        return Ask(asked.question, _OPPOSITE[asked.how], asked.what)
    how = {"is": "is not", "is not": "is", "has": "has not", "has not": "has"}[asked.how]
    return Ask(asked.question, how, asked.what)


def constant(term: Term) -> bool | None:
    """The truth of what holds no reference, where it can be seen at once."""
    if term.kind == "call" and not term.parts and term.name in {"true", "false"}:
        return term.name == "true"
    if term.kind == "op" and term.name in {"=", "!="}:
        left, right = term.parts
        if left.kind == right.kind and left.kind in {"text", "number"}:
            same = left.name == right.name
            if left.kind == "number":
                same = float(left.name) == float(right.name)
            return same is (term.name == "=")
    return None


def _ask(term: Term) -> Ask | None:
    known = constant(term)
    if known is not None:
        return Ask("", "is", known)
    if term.kind == "call" and term.name == "selected" and len(term.parts) == 2:
        name, what = _subject(term.parts[0]), term.parts[1]
        return Ask(name, "has", what.name) if name and what.kind == "text" and what.name else None
    if term.kind != "op" or len(term.parts) != 2 or term.name not in _OPPOSITE:
        return None
    left, right, how = *term.parts, term.name
    if not _subject(left):
        left, right, how = right, left, _TURNED.get(how, how)
    name, number = _subject(left), _number(right)
    if not name:
        return None
    if number is not None:
        return Ask(name, how, number)
    if right.kind != "text":
        return None
    if how in {"=", "!="}:
        return Ask(name, "is" if how == "=" else "is not", right.name)
    number = figure(right.name)
    return None if number is None else Ask(name, how, number)


def _subject(term: Term) -> str:
    if term.kind == "ref" and not term.parts:
        return term.name
    return "." if term.kind == "step" and term.name == "." and not term.parts else ""


def _number(term: Term) -> float | None:
    """A number that is written out, or the day of a date that is."""
    if term.kind == "number":
        return float(term.name)
    if term.kind == "op" and term.name == "negative":
        inner = _number(term.parts[0])
        return None if inner is None else -inner
    if term.kind == "call" and term.name in _TAKES_DATE and len(term.parts) == 1:
        return figure(term.parts[0].name) if term.parts[0].kind == "text" else None
    return None


def figure(text: str) -> float | None:
    """The number that a text is, or the day that it is since 1970; None where it is neither."""
    day = parse_date(text)
    if day is not None:
        return float(day.toordinal() - _EPOCH)
    try:
        return float(text)
    except ValueError:
        return None


@dataclass(slots=True)
class Facts:
    """All that is asked of one question at once."""

    asked: Asked | None
    values: set[str] | None
    low: float = -math.inf
    high: float = math.inf
    opens: tuple[bool, bool] = (False, False)
    """Whether the ends themselves are left out."""

    @property
    def several(self) -> bool:
        select = self.asked.select if self.asked is not None else None
        return select is not None and select.kind != "one"

    def clash(self, asks: Iterable[Ask], *, blank: bool) -> str:
        """Why no answer meets all of it, "" where one may; `blank`: whether no answer is one."""
        one: str | None = None
        others: set[str] = set() if blank else {""}
        chosen: dict[str, str] = {}
        for ask in asks:
            text, how = str(ask.what), ask.how
            if how in {"has", "has not"} and self.several:
                if chosen.setdefault(text, how) != how:
                    return f"cannot have '{text}' and not have it"
            elif how in {"is", "has"}:
                if one is not None and one != text and not _same(one, text):
                    return f"cannot be '{one}' and '{text}' at once"
                one = text
            elif how in {"is not", "has not"}:
                others.add(text)
            else:
                self.narrow(how, float(ask.what))
            if how in {"is", "has"} and self.strange(text):
                return f"is never '{text}'"
        if self.low > self.high or (self.low == self.high and any(self.opens)):
            return "cannot be within all of these limits at once"
        if one is not None and one in others:
            return f"cannot be {one or 'blank'!r} and something else at once"
        if one is not None and not self.fits(one):
            return f"cannot be {one or 'blank'!r} and within these limits at once"
        if one is None and self.values and self.values | {""} <= others:
            return f"is nothing but {few(self.values)}"
        return ""

    def strange(self, text: str) -> bool:
        """Whether its list has no such choice."""
        if self.values is None or not text or text in self.values:
            return False
        return not (self.several and set(text.split()) <= self.values)

    def narrow(self, how: str, number: float) -> None:
        whole = self.asked is not None and self.asked.kind in {"integer", "int"}
        if how in {">", ">=", "="}:
            low, left_out = number, how == ">"
            if whole:
                low, left_out = math.floor(number) + 1 if left_out else math.ceil(number), False
            if low > self.low or (low == self.low and left_out):
                self.low, self.opens = low, (left_out, self.opens[1])
        if how in {"<", "<=", "="}:
            high, left_out = number, how == "<"
            if whole:
                high, left_out = math.ceil(number) - 1 if left_out else math.floor(number), False
            if high < self.high or (high == self.high and left_out):
                self.high, self.opens = high, (self.opens[0], left_out)

    def fits(self, text: str) -> bool:
        """Whether a text is a number within the limits, where there are any."""
        if (self.low, self.high) == (-math.inf, math.inf):
            return True
        number = figure(text)
        if number is None:
            return False
        above = number > self.low or (number == self.low and not self.opens[0])
        return above and (number < self.high or (number == self.high and not self.opens[1]))


def _same(one: str, other: str) -> bool:
    try:
        return float(one) == float(other)
    except ValueError:
        return False


def clash(
    desk: Desk, way: Sequence[Ask], subjects: Mapping[str, Asked], *, blank: bool = True
) -> str:
    """Why nobody comes to what asks all of this at once, "" where somebody may."""
    by_question: dict[str, list[Ask]] = {}
    for ask in way:
        if ask.question:
            by_question.setdefault(ask.question, []).append(ask)
        elif not ask.what:
            return "it is never true"
    for name, asks in by_question.items():
        asked = subjects.get(name)
        values = desk.values(asked) if asked is not None else None
        told = Facts(asked, values).clash(asks, blank=blank)
        if told:
            return f"it {told}" if name == "." else f"${{{name}}} {told}"
    return ""
