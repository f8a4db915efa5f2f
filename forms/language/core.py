"""What compiled expressions are made of: values, their conversions, and the frame they run in."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, cast

from forms.language import dates
from forms.values import browser_number, java_double, plain_number

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime, tzinfo

    from forms.language.compiler import Program
    from forms.tree import Node

    Value = str | float | bool | list[Node]

STEPS_MAX = 1_000_000
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
        only one of each of the nodes above its last.
        """
        several = self.several
        return (
            several is not None
            and len(names) > 1
            and names[0] == self.root
            and (not several or not any(names[:end] in several for end in range(2, len(names))))
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
_TYPED = frozenset({"decimal", "int", "boolean"})


_TRUTHS = frozenset({"0", "1", "true", "false"})


def held(node: Node) -> str:
    """The type of what the node holds. JavaRosa keeps a calculated truth as one, whatever the type."""
    kind: str = node.defn.type
    if kind not in _TYPED and node.text in _TRUTHS:
        calculate = getattr(node.defn, "calculate", None)
        if calculate is not None and calculate.kind == "b":
            return "boolean"
    return kind


class Conversions:
    """How one dialect turns values into each other."""

    def __init__(self, dialect: str) -> None:
        self.plain = dialect == "xpath"
        self.java = dialect == "collect"
        self.dialect = dialect

    # -- single values

    def text_of(self, node: Node) -> str:
        """The string value of a node; collect's typed numbers and booleans read as such."""
        if node.children or not node.relevant:
            return node.string_value()
        text = node.text
        if self.java and text and node.defn is not None:
            kind = held(node)
            if kind in _TYPED:
                if kind == "boolean":
                    return "true" if text in {"1", "true"} else "false"
                if kind == "decimal":
                    return self.number_text(self.parse_stored(text))
        return text

    def parse_number(self, text: str) -> float:
        """XPath's number(); ODK's also takes an ISO date (days since 1970) or time of day."""
        try:
            # Python reads what is none to XPath: "1_0", "inf", "nan", "1e5" (Java reads that one).
            if text.isascii():
                match = (_LOOSE if self.dialect == "webforms" else _PLAIN).fullmatch(text)
                if match:
                    return float(text)
        except ValueError:
            return NAN
        return NAN

    @staticmethod
    def parse_stored(text: str) -> float:
        """The number that a typed node holds, also as Java writes the large and the small."""
        return float(text) if text.isascii() and _LOOSE.fullmatch(text) else NAN

    def number_of_text(self, text: str, frame: Frame) -> float:
        if not text:
            return NAN
        number = self.parse_number(text)
        if number == number or self.plain:  # noqa: PLR0124 - not NaN
            return number
        return dates.days(text.strip(), frame.env.zone, whole=self.java, utc=not self.java)

    def number_text(self, number: float) -> str:
        if number != number:  # noqa: PLR0124 - NaN
            return "NaN"
        if math.isinf(number):
            return "Infinity" if number > 0 else "-Infinity"
        if self.java:
            whole = int(number)
            if abs(number - whole) < 1e-12:
                return str(whole)
            return java_double(number)
        if number == 0:
            return "0"
        return plain_number(number) if self.plain else browser_number(number)

    def truth_of_number(self, number: float) -> bool:
        if self.java:
            return number == number and abs(number) > 1e-12  # noqa: PLR0124 - not NaN
        return number == number and number != 0  # noqa: PLR0124 - not NaN

    def truth_of_nodes(self, nodes: Sequence[Node]) -> bool:
        """XPath: whether there are any. Collect: what the first one holds."""
        if not self.java:
            return bool(nodes)
        if not nodes:
            return False
        node = nodes[0]
        text = self.text_of(node)
        kind = held(node) if node.defn is not None else ""
        if kind in _TYPED and text:
            if kind == "boolean":
                return text == "true"
            return self.truth_of_number(self.parse_stored(text))
        return bool(text)

    # -- any value

    def to_text(self, value: Value) -> str:
        if isinstance(value, str):
            return value
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, float):
            return self.number_text(value)
        return self.text_of(value[0]) if value else ""

    def to_number(self, value: Value, frame: Frame) -> float:
        if isinstance(value, float):
            return value
        if isinstance(value, bool):
            return 1.0 if value else 0.0
        if isinstance(value, str):
            return self.number_of_text(value, frame)
        if not value:
            return NAN
        node = value[0]
        if self.java and node.text and node.defn is not None:
            kind = held(node)
            if kind == "boolean":
                return 1.0 if node.text in {"1", "true"} else 0.0
            if kind == "decimal":
                return self.parse_stored(node.text)
        return self.number_of_text(node.string_value(), frame)

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
                return text_of(found[0]) if found else ""

            return first
        to_text = self.to_text
        return lambda node, frame: to_text(run(node, frame))

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
