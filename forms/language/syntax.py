"""What an expression is once it is read: a small frozen tree. The grammar is XPath 1.0's."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache
from typing import TypeVar, dataclass_transform

T = TypeVar("T")

LENGTH_MAX = 100_000
DEPTH_MAX = 120


class BadExpression(ValueError):
    """The text is no expression, at the character `position` (from 0), for `reason`."""

    def __init__(self, text: str, position: int, reason: str) -> None:
        self.text = text
        self.position = position
        self.reason = reason
        near = text[max(0, position - 20) : position + 20]
        super().__init__(f"{reason}, at character {position + 1} near {near!r}")


@dataclass_transform(frozen_default=True)
def _piece(made: type[T]) -> type[T]:
    """A frozen value to who writes code, as mypy sees to it; when it runs nobody stands guard, since
    a guarded piece takes half again as long to be made, and a form has thousands of them.
    """
    return dataclass(slots=True, unsafe_hash=True)(made)


@_piece
class Literal:
    value: str


@_piece
class Number:
    value: float


@_piece
class Variable:
    name: str


@_piece
class Step:
    """axis::test[predicate]...; `test` is a name, "*", "p:*" or "text()", "node()" ..."""

    axis: str
    test: str
    predicates: tuple[Expr, ...] = ()
    name: str = field(init=False, compare=False, repr=False)
    """That of the children which it goes down to, where it does no more than that; else ""."""

    def __post_init__(self) -> None:
        plain = self.axis == "child" and not self.predicates and is_name(self.test)
        self.name = self.test.rpartition(":")[2] if plain else ""  # type: ignore[misc] # being made


@_piece
class Path:
    """`start` is "/" (the root), "" (here) or the expression that gives the first nodes."""

    start: Expr | str
    steps: tuple[Step, ...]


@_piece
class Filter:
    """The nodes of an expression for which every predicate holds."""

    source: Expr
    predicates: tuple[Expr, ...]


@_piece
class Call:
    name: str
    arguments: tuple[Expr, ...]


@_piece
class Binary:
    operator: str
    left: Expr
    right: Expr


@_piece
class Negative:
    operand: Expr


Expr = Literal | Number | Variable | Path | Filter | Call | Binary | Negative

_NAME = r"[^\W\d][\w.\-·]*+"
_TOKEN = re.compile(
    # A whole path of plain names, which nearly every path of a form is, is read at one go.
    rf"(?:\.\.(?:/\.\.)*+)?+(?:/{_NAME})++(?!\s*[/\[(:·])"
    r"|\d++(?:\.\d*+)?+|\.\d++"
    r"|\"[^\"]*+\"|'[^']*+'"
    r"|//|::|\.\.|!=|<=|>=|[()\[\].@,/|+\-=<>*$]"
    rf"|{_NAME}(?::(?:{_NAME}|\*)(?!:))?"
    # What has no place in any expression, and is refused where it stands.
    r"|\S"
)
_SPACE = re.compile(r"\s*")
_SYMBOLS = frozenset("()[].@,/|+-=<>*$")
_GLUED = re.compile(r"(and|or|div|mod)(?![^\W\d])")
_QUOTES = frozenset("\"'")
_LETTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz")
_ENDS = frozenset({"", ")", "]", ","})
AXES = frozenset(
    {
        "ancestor",
        "ancestor-or-self",
        "attribute",
        "child",
        "descendant",
        "descendant-or-self",
        "following",
        "following-sibling",
        "namespace",
        "parent",
        "preceding",
        "preceding-sibling",
        "self",
    }
)
NODE_TESTS = frozenset({"comment", "text", "processing-instruction", "node"})
_POWER = {
    "or": 1,
    "and": 2,
    "=": 3,
    "!=": 3,
    "<": 4,
    "<=": 4,
    ">": 4,
    ">=": 4,
    "+": 5,
    "-": 5,
    "*": 6,
    "div": 6,
    "mod": 6,
}
_FROM_ROOT = frozenset({"/", "//"})
_GOES_ON = frozenset("[/")
_NOT_PLAIN = frozenset({"(", "::", "["})
_STEPS = frozenset({".", "..", "@", "*"})
HERE = Step("self", "node()")
"""There is but this one of it, as of UP, so that both are known at sight."""
UP = Step("parent", "node()")
_ITSELF = Path("", (HERE,))
_BELOW = Step("descendant-or-self", "node()")


_NAMELESS = {("self", "node()"): HERE, ("parent", "node()"): UP}


@lru_cache(4096)
def _child(name: str) -> Step:
    return Step("child", name)


def is_name(test: str) -> bool:
    """Whether it is the name of one thing, and neither "*" nor text() and the like."""
    return test != "*" and not test.endswith((")", ":*"))


def _begins_name(head: str) -> bool:
    return head.isalpha() or head == "_" or (head.isalnum() and not head.isdecimal())


class _Reader:
    """Reads from left to right. A token is its text alone: what it is, is told from how it begins
    and from whether an operand or an operator is due (XPath 1.0, 3.7); its place is worked out
    only where it is complained of.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens: list[str] = _TOKEN.findall(text)
        # Two are looked at together.
        self.tokens += ("", "")
        self.at = 0
        self.depth = 0

    def fail(self, reason: str) -> BadExpression:
        """What is no token at all is complained of first, wherever it stands."""
        for number, said in enumerate(self.tokens):
            if said in _QUOTES:
                return BadExpression(self.text, self.place(number), "the text is not closed")
            if said and not (
                len(said) > 1 or said in _SYMBOLS or said.isdecimal() or _begins_name(said)
            ):
                return BadExpression(self.text, self.place(number), f"{said!r} has no place here")
        return BadExpression(self.text, self.place(self.at), reason)

    def place(self, number: int) -> int:
        """Where the token stands in the text, from 0."""
        found = 0
        for said in self.tokens[:number]:
            found = _SPACE.match(self.text, found).end() + len(said)  # type: ignore[union-attr] # matches always
        return _SPACE.match(self.text, found).end()  # type: ignore[union-attr]

    def here(self) -> str:
        """The token that comes, as it is complained of: of a path its first sign."""
        said = self.tokens[self.at]
        if not said:
            return "the end"
        if said[0] == "/" and said != "//":
            return repr("/")
        return repr(".." if said.startswith("..") else said)

    def take(self, symbol: str) -> None:
        if self.tokens[self.at] != symbol:
            raise self.fail(f"expected {symbol!r}, found {self.here()}")
        self.at += 1

    def expression(self, power: int = 0) -> Expr:
        self.depth += 1
        if self.depth > DEPTH_MAX:
            raise self.fail(f"nested deeper than {DEPTH_MAX}")
        left = self.unary()
        while True:
            sign = self.tokens[self.at]
            strength = _POWER.get(sign, 0)
            if strength <= power:
                if strength or sign in _ENDS or not self.parted(sign):
                    break
                continue
            self.at += 1
            left = Binary(sign, left, self.expression(strength))
        self.depth -= 1
        return left

    def parted(self, said: str) -> bool:
        """Whether an operator was hidden in a name, as in "10 mod3": they are two tokens now."""
        glued = _GLUED.match(said)
        if glued is None:
            return False
        rest = _TOKEN.findall(said, glued.end())
        self.tokens[self.at : self.at + 1] = [glued[0], *rest]
        return True

    def unary(self) -> Expr:
        said = self.tokens[self.at]
        if said == "-":
            self.at += 1
            self.depth += 1
            if self.depth > DEPTH_MAX:
                raise self.fail(f"nested deeper than {DEPTH_MAX}")
            operand = self.unary()
            self.depth -= 1
            return Negative(operand)
        left = self.path()
        joined = 0
        while self.tokens[self.at] == "|":
            self.at += 1
            joined += 1
            if joined > DEPTH_MAX:
                raise self.fail(f"more than {DEPTH_MAX} paths are put together by |")
            left = Binary("|", left, self.path())
        return left

    def path(self) -> Expr:
        said = self.tokens[self.at]
        head = said[:1]
        following = self.tokens[self.at + 1]
        if head in _LETTERS or _begins_name(head):
            if following != "(" or said in NODE_TESTS:
                return Path("", tuple(self.steps()))
            source: Expr = self.call(said)
        elif head == "/":
            self.at += 1
            if said not in _FROM_ROOT:
                return _plain(said)
            steps: list[Step] = []
            if said == "//":
                steps.append(_BELOW)
                steps.extend(self.steps())
            elif self.starts_step():
                steps.extend(self.steps())
            return Path("/", tuple(steps))
        elif said[:3] == "../":
            self.at += 1
            return _plain(said)
        elif said in _STEPS:
            if said == "." and following[:1] not in _GOES_ON:
                self.at += 1
                return _ITSELF
            return Path("", tuple(self.steps()))
        else:
            source = self.primary(said, head)
        if self.tokens[self.at][:1] not in _GOES_ON:
            return source
        predicates = self.predicates()
        if predicates:
            source = Filter(source, predicates)
        if self.tokens[self.at][:1] == "/":
            return Path(source, tuple(self.onward()))
        return source

    def starts_step(self) -> bool:
        said = self.tokens[self.at]
        return said in _STEPS or said[:3] == "../" or _begins_name(said[:1])

    def steps(self) -> list[Step]:
        said = self.tokens[self.at]
        if said[:3] == "../":
            self.at += 1
            return [*_plain(said).steps, *self.onward()]
        first = self.step()
        if self.tokens[self.at][:1] != "/":
            return [first]
        return [first, *self.onward()]

    def onward(self) -> list[Step]:
        """The steps that follow what has been read."""
        found: list[Step] = []
        while True:
            said = self.tokens[self.at]
            if said[:1] != "/":
                return found
            self.at += 1
            if said not in _FROM_ROOT:
                found.extend(_plain(said).steps)
                continue
            if said == "//":
                found.append(_BELOW)
            said = self.tokens[self.at]
            if said[:3] == "../":
                self.at += 1
                found.extend(_plain(said).steps)
            else:
                found.append(self.step())

    def step(self) -> Step:
        said = self.tokens[self.at]
        following = self.tokens[self.at + 1]
        axis = "child"
        if _begins_name(said[:1]):
            if following not in _NOT_PLAIN:
                self.at += 1
                return _child(said)
            if following == "::":
                if said not in AXES:
                    raise self.fail(f"there is no axis {said!r}")
                axis = said
                self.at += 2
        elif said in {".", ".."}:
            self.at += 1
            if following != "[":
                return HERE if said == "." else UP
            return Step("self" if said == "." else "parent", "node()", self.predicates())
        elif said == "@":
            axis = "attribute"
            self.at += 1
        said = self.tokens[self.at]
        if said == "*":
            self.at += 1
            return Step(axis, "*", self.predicates())
        if not _begins_name(said[:1]):
            raise self.fail("a name is missing")
        self.at += 1
        test = said
        if self.tokens[self.at] == "(":
            if said not in NODE_TESTS:
                raise self.fail(f"{said}() cannot stand as a step of a path")
            self.at += 1
            target = self.tokens[self.at]
            if said == "processing-instruction" and target[:1] in _QUOTES and len(target) > 1:
                self.at += 1
            else:
                target = ""
            self.take(")")
            test = f"{said}({target})"
        predicates = self.predicates()
        found = None if predicates else _NAMELESS.get((axis, test))
        return found or Step(axis, test, predicates)

    def predicates(self) -> tuple[Expr, ...]:
        found = []
        while self.tokens[self.at] == "[":
            self.at += 1
            found.append(self.expression())
            self.take("]")
        return tuple(found)

    def primary(self, said: str, head: str) -> Expr:
        if head.isdecimal() or (head == "." and len(said) > 1):
            self.at += 1
            return Number(float(said))
        if head in _QUOTES and len(said) > 1:
            self.at += 1
            return Literal(said[1:-1])
        if said == "(":
            self.at += 1
            inside = self.expression()
            self.take(")")
            return inside
        if said == "$":
            self.at += 1
            said = self.tokens[self.at]
            if not _begins_name(said[:1]):
                raise self.fail("a variable's name is missing")
            self.at += 1
            return Variable(said)
        raise self.fail(f"{self.here()} has no place here" if said else "an operand is missing")

    def call(self, name: str) -> Call:
        # Its bracket has been seen.
        self.at += 2
        arguments: list[Expr] = []
        if self.tokens[self.at] != ")":
            arguments.append(self.expression())
            while self.tokens[self.at] == ",":
                self.at += 1
                arguments.append(self.expression())
        self.take(")")
        return Call(name, tuple(arguments))


def _plain(path: str) -> Path:
    """/a/b or ../../a/b, of names only."""
    names = path.split("/")
    if names[0] == "":
        return Path("/", tuple(map(_child, names[1:])))
    return Path("", tuple(UP if name == ".." else _child(name) for name in names))


def parse(text: str) -> Expr:
    """The expression that the text is. Raises BadExpression."""
    if len(text) > LENGTH_MAX:
        raise BadExpression(text, LENGTH_MAX, f"longer than {LENGTH_MAX:,} characters")
    reader = _Reader(text)
    found = reader.expression()
    if reader.tokens[reader.at]:
        raise reader.fail(f"{reader.here()} has no place here")
    return found


def written(expr: Expr | str) -> str:
    """The expression as text that reads as the same expression."""
    match expr:
        case str():
            return expr
        case Literal(value):
            return f'"{value}"' if "'" in value else f"'{value}'"
        case Number(value):
            return format(Decimal(repr(value)), "f").removesuffix(".0")
        case Variable(name):
            return "$" + name
        case Call(name, arguments):
            return f"{name}({', '.join(map(written, arguments))})"
        case Negative(operand):
            return f"-({written(operand)})"
        case Binary(operator, left, right):
            return f"({written(left)} {operator} {written(right)})"
        case Filter(source, predicates):
            return f"({written(source)})" + "".join(f"[{written(one)}]" for one in predicates)
        case Path(start, steps):
            told = "/".join(
                f"{one.axis}::{one.test}" + "".join(f"[{written(each)}]" for each in one.predicates)
                for one in steps
            )
            if start == "/":
                return "/" + told
            if start == "":
                return told
            return f"({written(start)})/{told}"
