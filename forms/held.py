"""What a node holds: a text, and of which kind, where that is not the kind of its question.

JavaRosa stores what a calculation came to as what it is (a number, a truth, a moment, words),
whatever the type of the bind, and compares and writes it as such until it is read back from XML.
So does the dialect "collect": such a text is one of the classes here. A plain `str` is of the kind
that its question's type says.
"""

from __future__ import annotations

from typing import Self

INT = "int"
DECIMAL = "decimal"
TRUTH = "truth"
MOMENT = "moment"
WORDS = ""

KINDS = {
    "int": INT,
    "decimal": DECIMAL,
    "boolean": TRUTH,
    "date": MOMENT,
    "dateTime": MOMENT,
    "time": MOMENT,
}
"""The kind of what a question of the type holds; every other type holds words."""


class Held(str):
    """A text that knows its kind."""

    __slots__ = ()
    kind = WORDS


class Words(Held):
    """Text in a question of another type."""

    __slots__ = ()


class Whole(Held):
    """A whole number, as Java writes an int or a long."""

    __slots__ = ()
    kind = INT


class Decimal(Held):
    """Any other number, as Java writes a double."""

    __slots__ = ()
    kind = DECIMAL


class Truth(Held):
    """A truth, as Java writes it: 1 or 0."""

    __slots__ = ()
    kind = TRUTH


class Moment(Held):
    """A date, a time (of today) or both, in ISO. Also the value of an expression that is one."""

    __slots__ = ()
    kind = MOMENT


class Clock(Held):
    """The time of day of a moment that was worked out, which is all that is written of it. Its day
    is known still, until the time is read back from XML.
    """

    __slots__ = ("moment",)
    kind = MOMENT
    moment: str
    """In ISO, the time with it."""

    def __new__(cls, text: str, moment: str) -> Self:
        made = super().__new__(cls, text)
        made.moment = moment
        return made


def whole(text: str) -> str:
    """All that is held, where only the time of day is written."""
    return text.moment if isinstance(text, Clock) else text
