"""What compiled expressions are made of: values, their conversions, and the frame they run in."""

from __future__ import annotations

import math
import operator
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, cast

from forms.held import DECIMAL, INT, MOMENT, TRUTH, WORDS, Moment, whole
from forms.language import dates
from forms.values import (
    INT_MAX,
    INT_MIN,
    browser_number,
    java_double,
    moment_of,
    parse_date,
    plain_number,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import date, datetime, tzinfo

    from forms.language.compiler import Program
    from forms.tree import Node

    Value = str | float | bool | list[Node]

STEPS_MAX = 1_000_000
LONG = 4_096
"""Characters from which a text costs steps whenever a function goes through it."""
LETTERS_OF_A_STEP = 64
DIGITS_MAX = 4_096
"""A text of more characters is read as no number: the longest double has a quarter of them."""
NAN = math.nan


class TooCostly(ValueError):
    """The expression looked at more nodes, or made longer text, than any honest form needs."""


class Env(Protocol):
    """What an expression may ask of the entry that it runs in."""

    @property
    def root(self) -> Node: ...
    @property
    def zone(self) -> tzinfo: ...
    def instance(self, name: str, /) -> Node | None: ...
    def now(self) -> datetime: ...
    def random(self) -> float: ...
    def new_uuid(self) -> str: ...
    def spend(self, steps: int, /) -> None:
        """Out of what all expressions of one act may spend together. Raises TooCostly."""

    def property(self, name: str, /) -> str: ...
    def itext(self, name: str, /) -> str: ...
    def choice_label(self, node: Node, value: str, path: str, /) -> str: ...


class Frame:
    """One run of an expression: where it began, where a predicate stands, what may be spent."""

    __slots__ = ("current", "env", "left", "place", "size")

    def __init__(self, env: Env, current: Node) -> None:
        self.env = env
        self.current = current
        self.place = 1
        self.size = 1
        self.left = STEPS_MAX

    def spend(self, steps: int) -> None:
        self.left -= steps
        if self.left < 0:
            raise TooCostly(f"the expression takes more than {STEPS_MAX:,} steps")
        self.env.spend(steps)

    def read(self, text: str, times: int = 1) -> str:
        """The text, paid for by its length where it is long."""
        if len(text) > LONG:
            self.spend(times * len(text) // LETTERS_OF_A_STEP)
        return text


@dataclass(frozen=True, slots=True)
class Scope:
    """What is known of the form when an expression is compiled.

    `root` names the root of its data, `paths` and `repeats` are generic paths from it, `instances`
    the ids of its lists. The dialect "xpath" is plain XPath 1.0, without ODK's functions.
    """

    root: str = ""
    paths: frozenset[tuple[str, ...]] = frozenset()
    repeats: frozenset[tuple[str, ...]] = frozenset()
    instances: frozenset[str] = frozenset()
    namespaces: object = None
    dialect: str = "collect"
    late: bool = False
    """A wrong call is refused only when it is reached, as a browser does."""
    bare_names: bool = True
    """Names in paths match whatever their namespace, as ODK's forms are written."""
    several: frozenset[tuple[str, ...]] | None = None
    """The paths of nodes of which there may be several in one place; None: it is not known."""
    programs: dict[str, Program] = field(default_factory=dict, compare=False, repr=False)
    """What has been compiled already and means the same wherever it stands, by its text."""

    def single(self, names: tuple[str, ...]) -> bool:
        """Whether the path leads from the root to the same nodes wherever one stands: there is
        only one of each of the nodes above its last, and in Collect of its last.
        """
        several = self.several
        end = len(names) + (self.dialect == "collect")
        return (
            several is not None
            and len(names) > 1
            and names[0] == self.root
            and (not several or not any(names[:length] in several for length in range(2, end)))
        )


class Code:
    """A compiled piece: `kind` is "s"tring, "n"umber, "b"oolean, no"d"es or "v"alue (any of them),
    `run(node, frame)` gives it. `constant` holds for what no node, clock or luck decides; `shown`
    gives its text where that is not the text of the value.
    """

    __slots__ = ("constant", "kind", "run", "shown", "where")

    def __init__(
        self,
        kind: str,
        run: Callable[[Node, Frame], Value],
        *,
        constant: bool = False,
        where: tuple[str, ...] | None = None,
        shown: Callable[[Node, Frame], str] | None = None,
    ) -> None:
        self.kind = kind
        self.run = run
        self.constant = constant
        self.shown = shown
        self.where = where


_PLAIN = re.compile(r"\s*-?(?:\d+(?:\.\d*)?|\.\d+)\s*")
_LOOSE = re.compile(r"\s*[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?\s*")
TINY = 1e-12
"""Collect takes two numbers that are nearer than this for the same."""


def _digits(text: str) -> bool:
    """Whether ASCII text is a number without a sign, as most are: sooner told than by a pattern."""
    return text.replace(".", "", 1).isdigit()


def held(node: Node) -> str:
    """The kind of what the node holds (forms.held): that of its text, else of its question."""
    text = node.text
    if text.__class__ is not str:
        return text.kind  # type: ignore[attr-defined, no-any-return] # a Held
    return node.defn.held if node.defn is not None else WORDS


def _near(one: float, other: float) -> bool:
    return abs(one - other) < TINY


class Conversions:
    """How one dialect turns values into each other."""

    def __init__(self, dialect: str) -> None:
        self.plain = dialect == "xpath"
        self.java = dialect == "collect"
        self.dialect = dialect
        self.near: Callable[[float, float], bool] = _near if self.java else operator.eq
        """Whether two numbers are the same."""

    # -- single values

    def unpacked(self, nodes: Sequence[Node]) -> str | float | bool:
        """The one value of a path: collect's numbers, truths and moments are no texts."""
        if not nodes:
            return ""
        node = nodes[0]
        if self.java and node.kids:
            # What is no leaf holds nothing there.
            return ""
        text = node.string_value()
        if not self.java or not text or node.children:
            return text
        kind = held(node)
        if not kind:
            return text
        if kind == TRUTH:
            return text in {"1", "true"}
        if kind == MOMENT:
            return Moment(whole(text))
        number = self.parse_stored(text)
        return "" if number != number else number  # noqa: PLR0124 - what is none was never stored

    def text_of(self, node: Node, frame: Frame) -> str:
        """The string value of a node; collect's typed values read as such."""
        if node.children or not node.relevant:
            return "" if self.java and node.kids else node.string_value()
        text = node.text
        if self.java and text:
            kind = held(node)
            if kind and kind != INT:
                if kind == TRUTH:
                    return "true" if text in {"1", "true"} else "false"
                if kind == DECIMAL:
                    return self.number_text(self.parse_stored(text))
                return self.day_text(text, frame)
        return text

    def number_of(self, node: Node, frame: Frame) -> float:
        """The number that a node comes to; NaN where it is not relevant."""
        if node.children:
            # To Collect, what is no leaf holds nothing.
            leaf = not (self.java and node.kids)
            return self.number_of_text(node.string_value(), frame) if leaf else NAN
        text = node.text if node.relevant else ""
        if self.java and text:
            kind = held(node)
            if kind:
                if kind == TRUTH:
                    return 1.0 if text in {"1", "true"} else 0.0
                if kind == MOMENT:
                    return self.days(text, frame)
                return self.parse_stored(text)
        return self.number_of_text(text, frame)

    def parse_number(self, text: str) -> float:
        """XPath's number(); the browser's engine also reads 1e5, Collect a comma as a point."""
        # Python reads what is none to XPath: "1_0", "inf", "nan", "1e5" (Java reads that one).
        if len(text) <= DIGITS_MAX and text.isascii():
            if _digits(text) or (_LOOSE if self.dialect == "webforms" else _PLAIN).fullmatch(text):
                return float(text)
            if self.java and "," in text:
                text = text.replace(",", ".")
                if _PLAIN.fullmatch(text):
                    return float(text)
        return NAN

    @staticmethod
    def parse_stored(text: str) -> float:
        """The number that a typed node holds, also as Java writes the large and the small."""
        if len(text) <= DIGITS_MAX and text.isascii() and (_digits(text) or _LOOSE.fullmatch(text)):
            return float(text)
        return {"Infinity": math.inf, "-Infinity": -math.inf}.get(text, NAN)

    def number_of_text(self, text: str, frame: Frame) -> float:
        """A text's number. ODK's specification and the browser's engine also read an ISO date
        (days since 1970); Collect does not: there only what is a date already has days.
        """
        if not text:
            return NAN
        number = self.parse_number(text)
        if number == number or self.plain or self.java:  # noqa: PLR0124 - not NaN
            return number
        return dates.days(text.strip(), frame.env.zone, whole=False, utc=True)

    def days(self, text: str, frame: Frame) -> float:
        """Whole days since 1970 of what is held as a date, a time (of today) or both."""
        day = parse_date(text) or self._day(text, frame)
        return NAN if day is None else float((day - dates.EPOCH).days)

    def day_text(self, text: str, frame: Frame) -> str:
        """Java writes no more of a moment than its day."""
        # A plain text: a Moment that went on as one would be a day again, and no text.
        if len(text) == 10:
            return str(text)
        day = self._day(text, frame)
        return str(text) if day is None else day.isoformat()

    @staticmethod
    def _day(text: str, frame: Frame) -> date | None:
        zone = frame.env.zone
        found = moment_of(whole(text), zone, frame.env.now().date())
        return None if found is None else found.astimezone(zone).date()

    def number_text(self, number: float) -> str:
        if number != number:  # noqa: PLR0124 - NaN
            return "NaN" if self.plain or self.java else ""
        if math.isinf(number):
            return "Infinity" if number > 0 else "-Infinity"
        if self.java:
            # Java asks whether the number is the int that it is cut to.
            whole = int(number)
            if abs(number - whole) < TINY and INT_MIN <= whole <= INT_MAX:
                return str(whole)
            return java_double(number)
        if number == 0:
            return "0"
        return plain_number(number) if self.plain else browser_number(number)

    def truth_of_number(self, number: float) -> bool:
        if self.java:
            return number == number and abs(number) > TINY  # noqa: PLR0124 - not NaN
        return number == number and number != 0  # noqa: PLR0124 - not NaN

    def truth_of_nodes(self, nodes: Sequence[Node]) -> bool:
        """XPath: whether there are any. Collect: what the first one holds."""
        return self.to_truth(self.unpacked(nodes)) if self.java else bool(nodes)

    # -- any value

    def to_text(self, value: Value, frame: Frame) -> str:
        if isinstance(value, str):
            if value.__class__ is Moment:
                return self.day_text(value, frame)
            return value
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, float):
            return self.number_text(value)
        return self.text_of(value[0], frame) if value else ""

    def to_number(self, value: Value, frame: Frame) -> float:
        if isinstance(value, float):
            return value
        if isinstance(value, bool):
            return 1.0 if value else 0.0
        if isinstance(value, str):
            if value.__class__ is Moment:
                return self.days(value, frame)
            return self.number_of_text(value, frame)
        return self.number_of(value[0], frame) if value else NAN

    def to_truth(self, value: Value) -> bool:
        if isinstance(value, bool):
            return value
        if isinstance(value, str):
            return bool(value)
        if isinstance(value, float):
            return self.truth_of_number(value)
        return self.truth_of_nodes(value)

    # -- compiled values

    def string(self, code: Code) -> Callable[[Node, Frame], str]:
        run = code.run
        if code.shown is not None:
            return code.shown
        if code.kind == "s":
            return cast("Callable[[Node, Frame], str]", run)
        if code.kind == "d":
            text_of, nodes = self.text_of, self.nodes(code)

            def first(node: Node, frame: Frame) -> str:
                found = nodes(node, frame)
                return text_of(found[0], frame) if found else ""

            return first
        to_text = self.to_text
        return lambda node, frame: to_text(run(node, frame), frame)

    def number(self, code: Code) -> Callable[[Node, Frame], float]:
        run = code.run
        if code.kind == "n":
            return cast("Callable[[Node, Frame], float]", run)
        to_number = self.to_number
        return lambda node, frame: to_number(run(node, frame), frame)

    def truth(self, code: Code) -> Callable[[Node, Frame], bool]:
        run = code.run
        if code.kind == "b":
            return cast("Callable[[Node, Frame], bool]", run)
        to_truth = self.to_truth
        return lambda node, frame: to_truth(run(node, frame))

    def nodes(self, code: Code) -> Callable[[Node, Frame], list[Node]]:
        """The nodes; any other value has none."""
        run = code.run
        if code.kind == "d":
            return cast("Callable[[Node, Frame], list[Node]]", run)

        def none_but_nodes(node: Node, frame: Frame) -> list[Node]:
            value = run(node, frame)
            return value if isinstance(value, list) else []

        return none_but_nodes
