"""What an expression is once it is read: a small frozen tree. The grammar is XPath 1.0's."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache

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


@dataclass(frozen=True, slots=True)
class Literal:
    value: str


@dataclass(frozen=True, slots=True)
class Number:
    value: float


@dataclass(frozen=True, slots=True)
class Variable:
    name: str


@dataclass(frozen=True, slots=True)
class Step:
    """axis::test[predicate]...; `test` is a name, "*", "p:*" or "text()", "node()" ..."""

    axis: str
    test: str
    predicates: tuple[Expr, ...] = ()


@dataclass(frozen=True, slots=True)
class Path:
    """`start` is "/" (the root), "" (here) or the expression that gives the first nodes."""

    start: Expr | str
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Filter:
    """The nodes of an expression for which every predicate holds."""

    source: Expr
    predicates: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Call:
    name: str
    arguments: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Binary:
    operator: str
    left: Expr
    right: Expr


@dataclass(frozen=True, slots=True)
class Negative:
    operand: Expr


Expr = Literal | Number | Variable | Path | Filter | Call | Binary | Negative

_NAME = r"[^\W\d][\w.\-·]*+"
_PLAIN = rf"(?:/{_NAME})++"
_TOKEN = re.compile(
    r"(?:"
    # A whole path of plain names, which nearly every path of a form is, is read at one go.
    rf"(?P<path>(?:\.\.(?:/\.\.)*+)?+{_PLAIN}(?!\s*[/\[(:·]))"
    r"|(?P<number>\d++(?:\.\d*+)?+|\.\d++)"
    r"|(?P<literal>\"[^\"]*+\"|'[^']*+')"
    r"|(?P<symbol>//|::|\.\.|!=|<=|>=|[()\[\].@,/|+\-=<>*$])"
    rf"|(?P<name>{_NAME}(?::(?:{_NAME}|\*)(?!:))?)"
    r")\s*+"
)
_SPACE = re.compile(r"\s*")
_WORDS = frozenset({"and", "or", "div", "mod"})
_BEFORE_OPERAND = frozenset(
    {"", "@", "::", "(", "[", ",", "and", "or", "mod", "div", "*op", "/", "//", "|", "+", "-"}
    | {"=", "!=", "<", "<=", ">", ">="}
)
_ONWARD = frozenset({"/", "//", "@", "::"})
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
    "*op": 6,
    "div": 6,
    "mod": 6,
}
_UNION = 8


def tokens(text: str) -> list[tuple[str, str, int]]:
    """(kind, text, place) of each token; an operator name is told from a name by what precedes it
    (XPath 1.0, 3.7).
    """
    found: list[tuple[str, str, int]] = []
    place = _SPACE.match(text).end()  # type: ignore[union-attr] # matches always
    end = len(text)
    before = ""
    read = _TOKEN.match
    while place < end:
        match = read(text, place)
        if match is None:
            what = (
                "the text is not closed"
                if text[place] in "'\""
                else f"{text[place]!r} has no place here"
            )
            raise BadExpression(text, place, what)
        kind: str = match.lastgroup  # type: ignore[assignment] # one of them matched
        said = match[kind]
        operand = before in _BEFORE_OPERAND
        if kind == "path" and (not operand or before in _ONWARD):
            # It goes on from what stands before it.
            _apart(said, place, found)
            before = "name"
            place = match.end()
            continue
        if said == "*" and not operand:
            said = "*op"
        elif kind == "name" and not operand:
            head = re.match(r"(and|or|div|mod)(?![^\W\d])", said)
            if said in _WORDS:
                kind = "symbol"
            elif head:
                kind, said = "symbol", head[1]
                found.append((kind, said, place))
                before = said
                place += len(said)
                continue
        found.append((kind, said, place))
        before = said if kind == "symbol" else kind
        place = match.end()
    found.append(("end", "", end))
    return found


def _apart(path: str, place: int, found: list[tuple[str, str, int]]) -> None:
    """The tokens of which a path of plain names is made."""
    for step in path.split("/"):
        if step:
            found.append(("symbol" if step == ".." else "name", step, place))
            place += len(step)
        found.append(("symbol", "/", place))
        place += 1
    found.pop()


_FROM_ROOT = frozenset({"/", "//"})
_GOES_ON = frozenset({"[", "/", "//"})
_IN_STEP = frozenset({"[", "(", "::"})
HERE = Step("self", "node()")
_UP = Step("parent", "node()")


@lru_cache(4096)
def _child(name: str) -> Step:
    return Step("child", name)


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = tokens(text)
        self.symbols = [said if kind == "symbol" else "" for kind, said, _ in self.tokens]
        self.symbols.append("")
        self.at = 0
        self.depth = 0

    def fail(self, reason: str) -> BadExpression:
        return BadExpression(self.text, self.tokens[self.at][2], reason)

    def peek(self, ahead: int = 0) -> str:
        """The symbol that comes, "" where it is none."""
        return self.symbols[self.at + ahead]

    def take(self, symbol: str) -> None:
        if self.peek() != symbol:
            kind, said, _ = self.tokens[self.at]
            found = "the end" if kind == "end" else repr(said)
            raise self.fail(f"expected {symbol!r}, found {found}")
        self.at += 1

    def expression(self, power: int = 0) -> Expr:
        self.depth += 1
        if self.depth > DEPTH_MAX:
            raise self.fail(f"nested deeper than {DEPTH_MAX}")
        left = self.unary()
        while True:
            operator = self.symbols[self.at]
            strength = _POWER.get(operator, 0)
            if strength <= power:
                break
            self.at += 1
            left = Binary(operator.removesuffix("op"), left, self.expression(strength))
        self.depth -= 1
        return left

    def unary(self) -> Expr:
        kind, said, _ = self.tokens[self.at]
        if kind == "path":
            # Nearly every operand is a plain path or a literal: these go no further down.
            self.at += 1
            left: Expr = _plain(said)
        elif kind == "literal" and self.symbols[self.at + 1] not in _GOES_ON:
            self.at += 1
            left = Literal(said[1:-1])
        elif kind == "symbol" and said == "-":
            self.at += 1
            self.depth += 1
            if self.depth > DEPTH_MAX:
                raise self.fail(f"nested deeper than {DEPTH_MAX}")
            operand = self.unary()
            self.depth -= 1
            return Negative(operand)
        else:
            left = self.path()
        while self.symbols[self.at] == "|":
            self.at += 1
            left = Binary("|", left, self.path())
        return left

    def path(self) -> Expr:
        kind, said, _ = self.tokens[self.at]
        if kind == "path":
            self.at += 1
            return _plain(said)
        if said in _FROM_ROOT and kind == "symbol":
            self.at += 1
            steps: list[Step] = []
            if said == "//":
                steps.append(Step("descendant-or-self", "node()"))
                steps.extend(self.steps())
            elif self.starts_step():
                steps.extend(self.steps())
            return Path("/", tuple(steps))
        if self.starts_primary():
            source = self.primary()
            if self.symbols[self.at] not in _GOES_ON:
                return source
            predicates = self.predicates()
            if predicates:
                source = Filter(source, predicates)
            if self.peek() in _FROM_ROOT:
                steps = []
                if self.peek() == "//":
                    steps.append(Step("descendant-or-self", "node()"))
                self.at += 1
                steps.extend(self.steps())
                return Path(source, tuple(steps))
            return source
        if self.starts_step():
            return Path("", tuple(self.steps()))
        raise self.fail("an operand is missing" if kind == "end" else f"{said!r} has no place here")

    def starts_primary(self) -> bool:
        kind, said, _ = self.tokens[self.at]
        if kind == "name":
            return self.symbols[self.at + 1] == "(" and said not in NODE_TESTS
        return kind in {"number", "literal"} or (kind == "symbol" and said in {"(", "$"})

    def starts_step(self) -> bool:
        kind, said, _ = self.tokens[self.at]
        return kind == "name" or (kind == "symbol" and said in {".", "..", "@", "*"})

    def steps(self) -> list[Step]:
        found = [self.step()]
        while self.symbols[self.at] in _FROM_ROOT:
            if self.peek() == "//":
                found.append(Step("descendant-or-self", "node()"))
            self.at += 1
            found.append(self.step())
        return found

    def step(self) -> Step:
        kind, said, _ = self.tokens[self.at]
        if kind == "symbol" and said in {".", ".."}:
            self.at += 1
            if self.symbols[self.at] != "[":
                return HERE if said == "." else _UP
            axis = "self" if said == "." else "parent"
            return Step(axis, "node()", self.predicates())
        axis = "child"
        if kind == "name" and self.symbols[self.at + 1] not in _IN_STEP:
            self.at += 1
            return _child(said)
        if kind == "symbol" and said == "@":
            axis = "attribute"
            self.at += 1
        elif kind == "name" and self.peek(1) == "::":
            if said not in AXES:
                raise self.fail(f"there is no axis {said!r}")
            axis = said
            self.at += 2
        kind, said, _ = self.tokens[self.at]
        if kind == "symbol" and said == "*":
            self.at += 1
            return Step(axis, "*", self.predicates())
        if kind != "name":
            raise self.fail("a name is missing")
        self.at += 1
        test = said
        if self.peek() == "(":
            if said not in NODE_TESTS:
                raise self.fail(f"{said}() cannot stand as a step of a path")
            self.at += 1
            target = ""
            if self.tokens[self.at][0] == "literal" and said == "processing-instruction":
                target = self.tokens[self.at][1]
                self.at += 1
            self.take(")")
            test = f"{said}({target})"
        return Step(axis, test, self.predicates())

    def predicates(self) -> tuple[Expr, ...]:
        found = []
        while self.peek() == "[":
            self.at += 1
            found.append(self.expression())
            self.take("]")
        return tuple(found)

    def primary(self) -> Expr:
        kind, said, _ = self.tokens[self.at]
        self.at += 1
        if kind == "number":
            return Number(float(said))
        if kind == "literal":
            return Literal(said[1:-1])
        if said == "(":
            inside = self.expression()
            self.take(")")
            return inside
        if said == "$":
            kind, said, _ = self.tokens[self.at]
            if kind != "name":
                raise self.fail("a variable's name is missing")
            self.at += 1
            return Variable(said)
        self.take("(")
        arguments: list[Expr] = []
        if self.peek() != ")":
            arguments.append(self.expression())
            while self.peek() == ",":
                self.at += 1
                arguments.append(self.expression())
        self.take(")")
        return Call(said, tuple(arguments))


def _plain(path: str) -> Path:
    """/a/b or ../../a/b, of names only."""
    names = path.split("/")
    if names[0] == "":
        return Path("/", tuple(map(_child, names[1:])))
    return Path("", tuple(_UP if name == ".." else _child(name) for name in names))


def parse(text: str) -> Expr:
    """The expression that the text is. Raises BadExpression."""
    if len(text) > LENGTH_MAX:
        raise BadExpression(text, LENGTH_MAX, f"longer than {LENGTH_MAX:,} characters")
    reader = _Reader(text)
    found = reader.expression()
    if reader.tokens[reader.at][0] != "end":
        raise reader.fail(f"{reader.tokens[reader.at][1]!r} has no place here")
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
