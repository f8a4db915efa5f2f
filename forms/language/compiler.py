"""From an expression's tree to closures over the instance tree, and to what it depends on."""

from __future__ import annotations

import math
import operator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, cast

from forms.held import DECIMAL, INT, TRUTH
from forms.language import axes
from forms.language.core import Code, Conversions, Frame, held
from forms.language.dates import EPOCH, Dated
from forms.language.functions import FUNCTIONS
from forms.language.movable import ARGUMENTS_ONLY
from forms.language.syntax import (
    HERE,
    UP,
    BadExpression,
    Binary,
    Call,
    Filter,
    Literal,
    Negative,
    Number,
    Path,
    Step,
    Variable,
    is_name,
    parse,
    written,
)
from forms.values import parse_date

if TYPE_CHECKING:
    from collections.abc import Callable

    from forms.language.core import Env, Scope, Value
    from forms.language.syntax import Expr
    from forms.tree import Node

    Where = tuple[str, ...]

COLLECTS = frozenset({"child", "parent", "self", "attribute"})
"""The axes that JavaRosa follows; there is no // either, which is short for descendant-or-self."""

VOLATILE = frozenset({"now", "today", "random", "uuid", "once", "randomize", "property"})


_COMPARED: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}

_NONE: frozenset[Any] = frozenset()

PROGRAMS_MAX = 4096
"""As many are kept for one form, so that no stream of new texts fills the memory."""


class Program:
    """The closures for an expression, and what it reads, told from where it stands.

    far: generic absolute paths. near: so many levels up, then down by names.
    `string`, `number` and the like are made when they are first asked for: of most expressions
    only one is ever used, and a form has thousands.
    """

    __slots__ = (
        "ast",
        "boolean",
        "code",
        "compiled",
        "conversions",
        "crosses",
        "far",
        "functions",
        "instances",
        "near",
        "nodes",
        "number",
        "passed",
        "pins",
        "string",
        "ups_most",
        "value",
        "volatile",
    )

    def __init__(self, ast: Expr, code: Code, compiler: Compiler) -> None:
        self.ast = ast
        self.code = code
        self.conversions = compiler.conversions
        self.crosses = compiler.crosses
        reads, passed = compiler.reads, compiler.passed
        # Most of these are empty: one will do for all.
        self.far = frozenset(reads | passed) if passed else frozenset(reads) if reads else _NONE
        self.passed = frozenset(passed - reads) if passed else _NONE
        near = compiler.near
        self.near = tuple(near)
        self.ups_most = max(near)[0] if near else 0
        self.functions = frozenset(compiler.functions) if compiler.functions else _NONE
        self.instances = frozenset(compiler.instances) if compiler.instances else _NONE
        self.volatile = not VOLATILE.isdisjoint(self.functions)
        self.pins = compiler.pins
        self.compiled: Compiled | None = None
        """Where it reads the same from everywhere: one will do for all who ask."""

    def __getattr__(self, name: str) -> Any:
        make = _MAKERS.get(name)
        if make is None:
            raise AttributeError(name)
        made = make(self.code, self.conversions)
        setattr(self, name, made)
        return made


def _value(code: Code, conversions: Conversions) -> Callable[[Node, Env], Value]:
    run = code.run
    if code.shown is not None:
        shown = code.shown

        def told(node: Node, env: Env) -> Value:
            value = run(node, Frame(env, node))
            return value if value != value else shown(node, Frame(env, node))  # noqa: PLR0124 - NaN

        return told
    if code.kind == "d":
        # A node-set that is stored or shown is what its first node holds.
        unpacked, nodes = conversions.unpacked, conversions.nodes(code)
        return lambda node, env: unpacked(nodes(node, Frame(env, node)))
    return lambda node, env: run(node, Frame(env, node))


def _string(code: Code, conversions: Conversions) -> Callable[[Node, Env], str]:
    string = conversions.string(code)
    return lambda node, env: string(node, Frame(env, node))


def _number(code: Code, conversions: Conversions) -> Callable[[Node, Env], float]:
    number = conversions.number(code)
    return lambda node, env: number(node, Frame(env, node))


def _boolean(code: Code, conversions: Conversions) -> Callable[[Node, Env], bool]:
    truth = conversions.truth(code)
    if code.constant:
        always = truth(None, None)  # type: ignore[arg-type] # a constant asks neither
        return lambda _node, _env: always
    return lambda node, env: truth(node, Frame(env, node))


def _nodes(code: Code, conversions: Conversions) -> Callable[[Node, Env], list[Node]]:
    nodes = conversions.nodes(code)
    return lambda node, env: nodes(node, Frame(env, node))


_MAKERS: dict[str, Callable[[Code, Conversions], object]] = {
    "value": _value,
    "string": _string,
    "number": _number,
    "boolean": _boolean,
    "nodes": _nodes,
}


class Compiled:
    """An expression ready to run on any node that stands at a path it was compiled for.

    reads: the generic absolute paths of the form's own nodes that it depends on.
    crosses: it looks at other repeat instances than the one it stands in, or at its position.
    volatile: it may come to another value though nothing that it reads changed.
    """

    __slots__ = (
        "boolean",
        "crosses",
        "functions",
        "instances",
        "kind",
        "nodes",
        "number",
        "program",
        "reads",
        "string",
        "text",
        "value",
        "volatile",
    )
    value: Callable[[Node, Env], Value]
    string: Callable[[Node, Env], str]
    number: Callable[[Node, Env], float]
    boolean: Callable[[Node, Env], bool]
    nodes: Callable[[Node, Env], list[Node]]

    def __init__(self, text: str, at: Where, program: Program, scope: Scope) -> None:
        self.text = text
        self.program = program
        self.kind = program.code.kind
        self.functions = program.functions
        self.instances = program.instances
        self.volatile = program.volatile
        self.crosses = program.crosses
        if program.near:
            self.reads = self._placed(at, program, scope)
        else:
            self.reads = program.far

    def _placed(self, at: Where, program: Program, scope: Scope) -> frozenset[Where]:
        """What it reads when it stands at `at`."""
        repeats = scope.repeats
        found = []
        for ups, names in program.near:
            path = at[: len(at) - ups] if ups else at
            for name in names:
                path = (*path, name)
                if path in repeats:
                    self.crosses = True
            found.append(path)
        return program.far.union(found) if program.far else frozenset(found)

    @property
    def ast(self) -> Expr:
        return self.program.ast

    @property
    def always(self) -> bool | None:
        """What it comes to as a truth wherever it stands and whatever is answered; else None."""
        code = self.program.code
        return self.boolean(None, None) if code.constant else None  # type: ignore[arg-type]

    def __getattr__(self, name: str) -> Any:
        if name not in _MAKERS:
            raise AttributeError(name)
        made = getattr(self.program, name)
        setattr(self, name, made)
        return made

    def __repr__(self) -> str:
        return f"<{self.text}>"


_CONVERSIONS = {dialect: Conversions(dialect) for dialect in ("collect", "webforms", "xpath")}


class Compiler:
    """Compiles one expression; gathers on the way what it reads."""

    def __init__(self, text: str, at: Where, scope: Scope, pinned: int) -> None:
        self.text = text
        self.at = at
        self.scope = scope
        self.pinned = pinned
        """How many steps of an absolute path are those that the expression stands in, at most."""
        self.pins = 0
        """How many of them there are in the longest path."""
        self.conversions = _CONVERSIONS[scope.dialect]
        self.reads: set[Where] = set()
        self.passed: set[Where] = set()
        """Where a predicate picks among the nodes on the way to what is read."""
        self.near: set[tuple[int, Where]] = set()
        """What is read relative to where the expression stands: levels up, then down by names."""
        self.functions: set[str] = set()
        self.instances: set[str] = set()
        self.crosses = False
        self.fixed = False
        """Something in it is so only where it stands: elsewhere it is compiled once more."""
        self.in_predicate = 0
        self.everywhere = scope.dialect == "webforms"
        """Web Forms keeps nodes that are not relevant where they stand, and reads them as blank;
        elsewhere no path leads to them."""

    def fail(self, reason: str) -> BadExpression:
        return BadExpression(self.text, 0, reason)

    # -- expressions

    def compile(self, expr: Expr, where: Where | None) -> Code:
        """`where` is the generic path of the node that the piece runs on; None in a list."""
        return self._pieces[expr.__class__](self, expr, where)

    def _literal(self, expr: Literal | Number, _where: Where | None) -> Code:
        value = expr.value
        kind = "s" if expr.__class__ is Literal else "n"
        return Code(kind, lambda _node, _frame: value, constant=True)

    def _variable(self, expr: Variable, _where: Where | None) -> Code:
        name = expr.name
        raise self.fail(f"there is no variable ${name}; a question is named ${{{name}}}")

    def _negative(self, expr: Negative, where: Where | None) -> Code:
        code = self.compile(expr.operand, where)
        number = self.conversions.number(code)
        return self._folded(
            Code("n", lambda node, frame: -number(node, frame), constant=code.constant)
        )

    @staticmethod
    def _folded(code: Code) -> Code:
        """A constant piece is worked out once, where it needs no node, clock or luck to do so."""
        if not code.constant or code.kind not in {"s", "n", "b"}:
            return code
        try:
            value = code.run(None, None)  # type: ignore[arg-type] # it asks neither
        except (AttributeError, TypeError):
            return Code(code.kind, code.run)
        return Code(code.kind, lambda _node, _frame: value, constant=True)

    def _call(self, expr: Call, where: Where | None) -> Code:
        try:
            return self._called(expr, where)
        except BadExpression as fault:
            if not self.scope.late:
                raise
            reason = fault

        def refuse(_node: Node, _frame: Frame) -> Value:
            raise reason

        return Code("v", refuse)

    def _called(self, expr: Call, where: Where | None) -> Code:
        name = expr.name
        found = FUNCTIONS.get(name)
        if found is not None and self.scope.dialect == "xpath" and not found.core:
            found = None
        if found is None:
            raise self.fail(f"there is no function {name}()")
        count = len(expr.arguments)
        if count < found.least or (found.most is not None and count > found.most):
            most = found.most
            wanted = (
                str(found.least)
                if most == found.least
                else f"at least {found.least}"
                if most is None
                else f"{found.least} to {most}"
            )
            plural = "" if wanted == "1" else "s"
            raise self.fail(f"{name}() takes {wanted} argument{plural}, not {count}")
        self.functions.add(name)
        if name not in ARGUMENTS_ONLY:
            self.fixed = True
        return found.build(self, expr.arguments, where)

    def _filter(self, expr: Filter, where: Where | None) -> Code:
        self.fixed = True
        self._collects(expr.source)
        code = self.compile(expr.source, where)
        if code.kind not in {"d", "v"}:
            raise self.fail("only nodes can be filtered by [...]")
        nodes = self.conversions.nodes(code)
        keep = [self._predicate(one, code.where) for one in expr.predicates]

        def filtered(node: Node, frame: Frame) -> list[Node]:
            found = nodes(node, frame)
            for one in keep:
                found = one(found, frame)
            return found

        return Code("d", filtered, where=code.where)

    def _collects(self, start: Expr) -> None:
        """JavaRosa goes on from a function's nodes only: (a/b)[1] and (a/b)/c it has not."""
        if self.conversions.java and not isinstance(start, Call):
            if isinstance(start, Filter):
                self._collects(start.source)
                return
            raise self.fail(f"Collect cannot go on from ({written(start)})")

    # -- operators

    def _binary(self, expr: Binary, where: Where | None) -> Code:
        sign = expr.operator
        left = self.compile(expr.left, where)
        right = self.compile(expr.right, where)
        constant = left.constant and right.constant
        if sign == "|":
            return self._union(left, right)
        if sign in {"and", "or"}:
            if self.everywhere:
                return self._browser_logic(sign, left, right)
            one, other = self.conversions.truth(left), self.conversions.truth(right)
            if sign == "and":
                return self._folded(
                    Code("b", lambda n, f: one(n, f) and other(n, f), constant=constant)
                )
            return self._folded(Code("b", lambda n, f: one(n, f) or other(n, f), constant=constant))
        if sign in {"=", "!="}:
            return self._folded(self._equal(left, right, negated=sign == "!=", constant=constant))
        if sign in _COMPARED:
            if self.conversions.java:
                left = self._limit(expr.left, left, expr.right)
                right = self._limit(expr.right, right, expr.left)
            return self._folded(self._ordered(sign, left, right, constant=constant))
        return self._folded(self._arithmetic(sign, left, right, constant=constant))

    def _browser_logic(self, sign: str, left: Code, right: Code) -> Code:
        """A truth; as text it is that of the operand that decided, as in JavaScript."""
        one, other = self.conversions.truth(left), self.conversions.truth(right)
        first, second = self.conversions.string(left), self.conversions.string(right)
        stops = sign == "or"

        def holds(node: Node, frame: Frame) -> bool:
            return stops if one(node, frame) is stops else other(node, frame)

        def shown(node: Node, frame: Frame) -> str:
            return (first if one(node, frame) is stops else second)(node, frame)

        return Code("b", holds, shown=shown)

    def _arithmetic(self, sign: str, left: Code, right: Code, *, constant: bool) -> Code:
        one, other = self.conversions.number(left), self.conversions.number(right)
        if sign == "+":
            return Code("n", lambda n, f: one(n, f) + other(n, f), constant=constant)
        if sign == "-":
            return Code("n", lambda n, f: one(n, f) - other(n, f), constant=constant)
        if sign == "*":
            return Code("n", lambda n, f: one(n, f) * other(n, f), constant=constant)
        work = divided if sign == "div" else remainder
        return Code("n", lambda n, f: work(one(n, f), other(n, f)), constant=constant)

    def _union(self, left: Code, right: Code) -> Code:
        if self.conversions.java:
            raise self.fail("Collect has no union of nodes by |")
        if left.kind not in {"d", "v"} or right.kind not in {"d", "v"}:
            raise self.fail("only nodes can be joined by |")
        one, other = self.conversions.nodes(left), self.conversions.nodes(right)

        def joined(node: Node, frame: Frame) -> list[Node]:
            return axes.in_order([*one(node, frame), *other(node, frame)])

        return Code("d", joined, where=left.where)

    @staticmethod
    def _limit(expr: Expr, code: Code, beside: Expr) -> Code:
        """A date that is written out as a limit of the answer itself is that day in either dialect.

        JavaRosa knows no date in a text, so that `. > '1900-01-01'` holds for no answer at all.
        Forms in the field say so, and a household whose every birth is refused is not registered.
        """
        if not (isinstance(expr, Literal) and isinstance(beside, Path) and beside.steps == (HERE,)):
            return code
        day = parse_date(expr.value)
        if day is None:
            return code
        number = float((day - EPOCH).days)
        return Code("n", lambda _node, _frame: number, constant=True)

    def _ordered(self, sign: str, left: Code, right: Code, *, constant: bool) -> Code:
        compare = _COMPARED[sign]
        conversions = self.conversions
        if left.kind in {"s", "n", "b"} and right.kind in {"s", "n", "b"}:
            one, other = conversions.number(left), conversions.number(right)
            return Code("b", lambda n, f: compare(one(n, f), other(n, f)), constant=constant)
        one_value, other_value = left.run, right.run
        if left.kind == "d" and right.kind in {"n", "s", "v"}:
            nodes, to_number = conversions.nodes(left), conversions.to_number
            number_of = conversions.number_of
            if right.kind == "n" and right.constant:
                return self._beside_number(compare, nodes, number_of, right)

            def left_nodes(node: Node, frame: Frame) -> bool:
                found = nodes(node, frame)
                if not found:
                    return False
                value = other_value(node, frame)
                if isinstance(value, list):
                    if len(found) > 1 and len(value) > 1:
                        frame.spend(len(found) * len(value))
                    limits = _numbers(conversions, value, frame)
                    return any(compare(number_of(one, frame), to) for one in found for to in limits)
                limit = value if value.__class__ is float else to_number(value, frame)
                if len(found) == 1:
                    return compare(number_of(found[0], frame), limit)
                return any(compare(number_of(one, frame), limit) for one in found)

            return Code("b", left_nodes)

        def any_values(node: Node, frame: Frame) -> bool:
            first, second = one_value(node, frame), other_value(node, frame)
            ones, others = _numbers(conversions, first, frame), _numbers(conversions, second, frame)
            if len(ones) > 1 and len(others) > 1:
                frame.spend(len(ones) * len(others))
            return any(compare(a, b) for a in ones for b in others)

        return Code("b", any_values)

    @staticmethod
    def _beside_number(
        compare: Callable[[float, float], bool],
        nodes: Callable[[Node, Frame], list[Node]],
        number_of: Callable[[Node, Frame], float],
        limit: Code,
    ) -> Code:
        """A path beside a number that stands in the expression: most of all constraints."""
        fixed = cast("float", limit.run(None, None))  # type: ignore[arg-type] # a constant asks neither

        def within(node: Node, frame: Frame) -> bool:
            found = nodes(node, frame)
            if len(found) == 1:
                return compare(number_of(found[0], frame), fixed)
            return any(compare(number_of(one, frame), fixed) for one in found)

        return Code("b", within)

    def _equal(self, left: Code, right: Code, *, negated: bool, constant: bool) -> Code:
        conversions = self.conversions
        # What a choice is called may take the answer back: there the order is the form's own.
        if left.kind in "snb" and right.kind == "d" and "jr:choice-name" not in self.functions:
            left, right = right, left
        kinds = left.kind + right.kind
        if kinds == "ss":
            a, b = left.run, right.run
            if negated:
                return Code("b", lambda n, f: a(n, f) != b(n, f), constant=constant)
            return Code("b", lambda n, f: a(n, f) == b(n, f), constant=constant)
        if "v" not in kinds and "d" not in kinds:
            if "b" in kinds:
                one, other = conversions.truth(left), conversions.truth(right)
                return Code(
                    "b", lambda n, f: (one(n, f) == other(n, f)) is not negated, constant=constant
                )
            first, second = conversions.number(left), conversions.number(right)
            near = conversions.near
            return Code(
                "b",
                lambda n, f: near(first(n, f), second(n, f)) is not negated,
                constant=constant,
            )
        if conversions.java:
            return self._equal_single(left, right, negated=negated)
        a, b = left.run, right.run
        return Code(
            "b", lambda n, f: conversions_equal(conversions, a(n, f), b(n, f), f, negated=negated)
        )

    def _equal_single(self, left: Code, right: Code, *, negated: bool) -> Code:
        """Collect: a node-set in a comparison is its one value, blank where there is none, and
        compares as what it is. Several nodes compare as XPath has it: any of them.
        """
        conversions = self.conversions
        a, b = left.run, right.run
        if left.kind == "d" and right.kind == "s":
            # By far the most: an answer beside a text.

            def equal(node: Node, frame: Frame) -> bool:
                found = cast("list[Node]", a(node, frame))
                if len(found) == 1 and not held(found[0]) and not found[0].kids:
                    return (found[0].string_value() == b(node, frame)) is not negated
                return conversions_equal(conversions, found, b(node, frame), frame, negated=negated)

            return Code("b", equal)
        if left.kind == "d" and right.kind == "n":
            number_of, near = conversions.number_of, conversions.near

            def same(node: Node, frame: Frame) -> bool:
                found = cast("list[Node]", a(node, frame))
                if len(found) == 1 and held(found[0]) != TRUTH:
                    number = number_of(found[0], frame)
                    return near(number, cast("float", b(node, frame))) is not negated
                return conversions_equal(conversions, found, b(node, frame), frame, negated=negated)

            return Code("b", same)
        return Code(
            "b", lambda n, f: conversions_equal(conversions, a(n, f), b(n, f), f, negated=negated)
        )

    # -- paths

    def _path(self, expr: Path, where: Where | None) -> Code:
        if expr.start == "/":
            expr = self._rooted(expr)
        plain = _plain(expr.steps)
        if expr.start == "/":
            if plain is not None and self.at and not self.everywhere:
                ups, names = plain
                if not ups and self.scope.single(names):
                    return self._from_root(names)
            self.fixed = True
            steps = _without_here(expr.steps)
            if steps and self.at and self.scope.root and self.scope.dialect != "xpath":
                if self.in_predicate and self.conversions.java:
                    return self._candidates_path(steps, where)
                return self._own_path(steps)
            return self._walk(self._root(), (), steps)
        if expr.start == "":
            return self._relative(expr.steps, plain, where)
        start = cast("Expr", expr.start)
        steps = _without_here(expr.steps)
        if not (_is_list(start) and all(map(_by_name, steps))):
            self.fixed = True
        self._collects(start)
        code = self.compile(start, where)
        if code.kind not in {"d", "v"}:
            raise self.fail(f"{written(start)} gives no nodes that a path could go on from")
        return self._walk(code, code.where, steps)

    def _relative(
        self, steps: tuple[Step, ...], plain: tuple[int, Where] | None, where: Where | None
    ) -> Code:
        if where is not None and not self.in_predicate:
            if plain is not None and not self.everywhere:
                return self._near(*plain, where)
            self.fixed = True
        elif plain is None:
            self.fixed = True
        return self._walk(Code("d", _here, where=where), where, _without_here(steps))

    def _root(self) -> Code:
        if self.scope.dialect == "xpath":
            return Code("d", lambda node, _frame: [node.top()], where=())

        def document(_node: Node, frame: Frame) -> list[Node]:
            return [axes.document_of(frame.env.root)]

        return Code("d", document, where=())

    def _read(self, path: Where) -> None:
        self.reads.add(path)

    def _own_path(self, steps: tuple[Step, ...]) -> Code:
        """An absolute path into the form's own data: pinned to the repeat instances that the
        expression stands in, up to its last step or first predicate.
        """
        shared = 0
        names: list[str] = []
        for number, step in enumerate(steps):
            if step.axis not in {"child", "attribute"} or not is_name(step.test) or step.predicates:
                break
            name = _bare(step.test)
            names.append("@" + name if step.axis == "attribute" else name)
            # Collect means the own instance by the path of a repeat too; elsewhere that is all.
            may = self.conversions.java or number < len(steps) - 1
            if may and shared == number and number < self.pinned and self.at[number] == name:
                shared += 1
        self.pins = max(self.pins, shared)
        if shared == 0:
            return self._walk(self._root(), (), steps)
        ups = len(self.at) - shared
        top_name = self.at[shared - 1]
        base = self.at[:shared]

        def pinned(_node: Node, frame: Frame) -> list[Node]:
            node: Node | None = frame.current
            for _ in range(ups):
                if node is None:
                    break
                node = node.parent
            if node is None or node.name != top_name:
                # The expression runs on a node elsewhere (a choice of a list): the first instances.
                node = frame.env.root
                for name in base[1:]:
                    found = node.kids.get(name)
                    if not found:
                        return []
                    node = found[0]
            return [node]

        rest = steps[shared:]
        if self.everywhere or not all(step.name for step in rest):
            return self._walk(Code("d", pinned, where=base), base, rest)
        where = base
        for step in rest:
            where = (*where, step.name)
            if where in self.scope.repeats:
                self.crosses = True
        self._read(where)
        return self._down(pinned, base, where[shared:])

    def _candidates_path(self, steps: tuple[Step, ...], where: Where | None) -> Code:
        """An absolute path in a predicate, as Collect reads it: of the instances that the candidate
        stands in, wherever the expression itself stands. An item of a list stands in none.
        """
        around = where or ()
        shared = 0
        for step, name in zip(steps, around, strict=False):
            if step.axis != "child" or step.predicates or _bare(step.test) != name:
                break
            shared += 1
        if not shared:
            return self._walk(self._root(), (), steps)
        ups = len(around) - shared

        def climb(node: Node, _frame: Frame) -> list[Node]:
            here: Node | None = node
            for _ in range(ups):
                here = here and here.parent
            return [here] if here is not None else []

        base = around[:shared]
        return self._walk(Code("d", climb, where=base), base, steps[shared:])

    def _rooted(self, expr: Path) -> Path:
        """Collect takes the first step of a path for the root of the data, whatever its name."""
        root, first = self.scope.root, expr.steps[0] if expr.steps else None
        if first is None or not self.conversions.java or not self.scope.paths:
            return expr
        if first.axis != "child" or not is_name(first.test) or _bare(first.test) == root:
            return expr
        return Path("/", (replace(first, test=root), *expr.steps[1:]))

    def _from_root(self, names: Where) -> Code:
        """Down from the root of the entry, where that leads to the same nodes from everywhere."""
        self._read(names)
        if names in self.scope.repeats:
            self.crosses = True
        last = names[-1]
        groups = names[1:-1]

        def down(_node: Node, frame: Frame) -> list[Node]:
            here = frame.env.root
            for name in groups:
                among = here.kids.get(name)
                if not among:
                    return []
                here = among[0]
            found = here.kids.get(last)
            if not found:
                return []
            if len(found) == 1:
                return found if found[0].relevant else []
            frame.spend(len(found))
            return [one for one in found if one.relevant]

        return Code("d", down, where=names)

    def _near(self, ups: int, names: Where, where: Where) -> Code:
        """Up some levels and then down by names."""
        if ups > len(where):
            self.fixed = True
            return Code("d", lambda _node, _frame: [])
        base = where[: len(where) - ups]
        self.near.add((ups, names))
        if not names and not ups:
            return Code("d", _itself, where=base)
        if ups == 1 and len(names) == 1:
            return self._beside(names[0], base)

        def climb(node: Node, _frame: Frame) -> list[Node]:
            here: Node | None = node
            for _ in range(ups):
                if here is None:
                    return []
                here = here.parent
            return [] if here is None else [here]

        if not names:

            def there(node: Node, frame: Frame) -> list[Node]:
                return [one for one in climb(node, frame) if one.relevant]

            return Code("d", there, where=base)
        return self._down(climb, base, names)

    def _beside(self, name: str, base: Where) -> Code:
        """../name, the nodes beside the one it stands at: most paths within a repeat."""

        def beside(node: Node, frame: Frame) -> list[Node]:
            parent = node.parent
            found = parent.kids.get(name) if parent is not None else None
            if not found:
                return []
            if len(found) == 1:
                return found if found[0].relevant else []
            frame.spend(len(found))
            return [one for one in found if one.relevant]

        return Code("d", beside, where=(*base, name))

    def _down(
        self,
        start: Callable[[Node, Frame], list[Node]],
        base: Where,
        names: Where,
    ) -> Code:
        """From the starting node down by names: the shape of nearly every path."""
        where = (*base, *names)
        if len(names) == 1:
            name = names[0]

            def one_down(node: Node, frame: Frame) -> list[Node]:
                begun = start(node, frame)
                if not begun:
                    return begun
                found = begun[0].kids.get(name)
                if not found:
                    return []
                if len(found) == 1:
                    return found if found[0].relevant else []
                frame.spend(len(found))
                return [one for one in found if one.relevant]

            return Code("d", one_down, where=where)

        def down(node: Node, frame: Frame) -> list[Node]:
            found = start(node, frame)
            for name in names:
                if len(found) == 1:
                    found = found[0].kids.get(name, [])
                else:
                    frame.spend(len(found))
                    found = [kid for one in found for kid in one.kids.get(name, ())]
            if len(found) == 1:
                return found if found[0].relevant else []
            return [one for one in found if one.relevant]

        return Code("d", down, where=where)

    def _walk(self, start: Code, base: Where | None, steps: tuple[Step, ...]) -> Code:
        """Any path at all, step by step."""
        where = base
        moves: list[Callable[[list[Node], Frame], list[Node]]] = []
        names: list[str] = []
        for step in steps:
            before = where
            where = self._onward(where, step)
            if where is not None and where in self.scope.repeats:
                self.crosses = True
            if step.name and self.scope.bare_names:
                # Names in a row are one move.
                names.append(step.name)
                if len(names) == 1:
                    moves.append(_down_by(names))
                continue
            names = []
            if step.predicates and where is not None:
                self.passed.add(where)
            lookup = self._lookup(step, before, where) if step.predicates else None
            moves.append(lookup or self._move(step, where))
        if where is not None and where:
            self._read(where)
        begin = self.conversions.nodes(start)
        everywhere = self.everywhere

        def walked(node: Node, frame: Frame) -> list[Node]:
            found = begin(node, frame)
            for move in moves:
                if not found:
                    return found
                found = move(found, frame)
            if not everywhere:
                for one in found:
                    if not one.relevant:
                        return [each for each in found if each.relevant]
            return found

        return Code("d", walked, where=where)

    def _onward(self, where: Where | None, step: Step) -> Where | None:
        """The generic path after the step; None where it is not one of the form's own."""
        if where is None:
            return None
        if step.axis == "parent" and step.test == "node()":
            return where[:-1] if where else None
        if step.axis == "self":
            return where
        if step.axis in {"child", "attribute"} and is_name(step.test):
            name = _bare(step.test)
            return (*where, "@" + name if step.axis == "attribute" else name)
        for path in self.scope.paths:
            # Which ones it will be is known only when it runs: it may be any below.
            if path[: len(where)] == where or step.axis not in {"child", "descendant"}:
                self.reads.add(path)
        self.crosses = True
        return None

    def _move(self, step: Step, where: Where | None) -> Callable[[list[Node], Frame], list[Node]]:
        if self.conversions.java and (step.axis not in COLLECTS or step.test.endswith(":*")):
            follows = ", ".join(sorted(COLLECTS))
            raise self.fail(f"Collect follows {follows}, not {step.axis}::{step.test}")
        take = axes.taker(step.axis, step.test, self.scope)
        keep = [self._predicate(one, where) for one in step.predicates]
        tidy = step.axis not in {"child", "attribute", "self"}
        if not keep and not tidy:

            def plainly(nodes: list[Node], frame: Frame) -> list[Node]:
                found = (
                    take(nodes[0])
                    if len(nodes) == 1
                    else [one for node in nodes for one in take(node)]
                )
                frame.spend(len(found) + len(nodes))
                return found

            return plainly
        backward = step.axis in {"ancestor", "ancestor-or-self", "preceding", "preceding-sibling"}

        def move(nodes: list[Node], frame: Frame) -> list[Node]:
            gathered: list[Node] = []
            for node in nodes:
                found = take(node)
                frame.spend(len(found) + 1)
                for one in keep:
                    found = one(found, frame)
                gathered.extend(found)
            if tidy and (backward or len(nodes) > 1):
                return axes.in_order(gathered)
            return gathered

        return move

    # -- predicates

    def _predicate(
        self, expr: Expr, where: Where | None
    ) -> Callable[[list[Node], Frame], list[Node]]:
        """From candidates to those for which it holds; a number asks for that place, but in Collect
        only what is true or false can hold.
        """
        if self.conversions.java:
            return self._true_of(expr, where)
        if isinstance(expr, Number):
            place = expr.value
            self.crosses = True

            def pick(nodes: list[Node], _frame: Frame) -> list[Node]:
                if place != int(place) or not 1 <= place <= len(nodes):
                    return []
                return [nodes[int(place) - 1]]

            return pick
        code = self._inside(expr, where)
        holds: Callable[[Node, Frame], bool]
        if code.kind == "n":
            number = cast("Callable[[Node, Frame], float]", code.run)

            def at_place(node: Node, frame: Frame) -> bool:
                return number(node, frame) == frame.place

            holds = at_place
        elif code.kind == "v":
            run, to_truth = code.run, self.conversions.to_truth

            def either(node: Node, frame: Frame) -> bool:
                value = run(node, frame)
                if isinstance(value, float):
                    return value == frame.place
                return to_truth(value)

            holds = either
        else:
            holds = self.conversions.truth(code)
        return self._kept(holds)

    def _true_of(
        self, expr: Expr, where: Where | None
    ) -> Callable[[list[Node], Frame], list[Node]]:
        code = self._inside(expr, where)
        if code.kind == "b":
            return self._kept(cast("Callable[[Node, Frame], bool]", code.run))
        run, unpacked = code.run, self.conversions.unpacked

        def holds(node: Node, frame: Frame) -> bool:
            value = run(node, frame)
            return (unpacked(value) if isinstance(value, list) else value) is True

        return self._kept(holds)

    @staticmethod
    def _kept(
        holds: Callable[[Node, Frame], bool],
    ) -> Callable[[list[Node], Frame], list[Node]]:
        def keep(nodes: list[Node], frame: Frame) -> list[Node]:
            outer = frame.place, frame.size
            frame.size = len(nodes)
            frame.spend(len(nodes))
            found = []
            for place, node in enumerate(nodes, 1):
                frame.place = place
                if holds(node, frame):
                    found.append(node)
            frame.place, frame.size = outer
            return found

        return keep

    def _inside(self, expr: Expr, where: Where | None) -> Code:
        self.in_predicate += 1
        code = self.compile(expr, where)
        self.in_predicate -= 1
        return code

    def _lookup(
        self, step: Step, before: Where | None, where: Where | None
    ) -> Callable[[list[Node], Frame], list[Node]] | None:
        """`item[name = X]` in a list that never changes: one look into an index by name.

        Only where X does not depend on the item, and nothing in the predicates asks for places.
        """
        if before is not None or step.axis != "child" or not is_name(step.test):
            return None
        first, *others = step.predicates
        parts = list(_conjuncts(first))
        for number, part in enumerate(parts):
            found = _key(part)
            if found is None:
                continue
            key, wanted = found
            if not _free(wanted):
                continue
            code = self._inside(wanted, None)
            if code.kind not in {"s", "n", "d"}:
                continue
            rest = [*parts[:number], *parts[number + 1 :], *others]
            kept = [self._inside(one, where) for one in rest]
            if any(one.kind not in {"b", "s", "d"} for one in kept):
                return None
            if {"position", "last"} & self.functions and rest:
                return None
            truths = [self.conversions.truth(one) for one in kept]
            return self._indexed(_bare(step.test), key, code, truths, self._move(step, where))
        return None

    def _indexed(
        self,
        name: str,
        key: str,
        code: Code,
        truths: list[Callable[[Node, Frame], bool]],
        scan: Callable[[list[Node], Frame], list[Node]],
    ) -> Callable[[list[Node], Frame], list[Node]]:
        counts = code.kind == "n"
        number = self.conversions.number(code)
        nodes = self.conversions.nodes(code) if code.kind == "d" else None
        text = self.conversions.string(code)
        to_number = self.conversions.number_of_text
        java = self.conversions.java

        def look(parents: list[Node], frame: Frame) -> list[Node]:
            if len(parents) != 1 or axes.changes(parents[0]):
                return scan(parents, frame)
            parent = parents[0]
            numeric = counts
            if nodes is not None:
                several = nodes(frame.current, frame)
                if len(several) > 1 or (not several and not java):
                    return scan(parents, frame)
                if java and several:
                    kind = held(several[0])
                    if kind == TRUTH:
                        return scan(parents, frame)
                    numeric = kind in {INT, DECIMAL}
            if parent.index is None:
                parent.index = {}
            index = parent.index.get((name, key, numeric))
            if index is None:
                index = {}
                for one in parent.kids.get(name, ()):
                    texts = one.texts(key)
                    if not texts and java and not numeric:
                        index.setdefault("", []).append(one)
                    for told in texts:
                        value = to_number(told, frame) if numeric else told
                        if value != value:  # noqa: PLR0124 - NaN is like no number, not even itself
                            continue
                        places = index.setdefault(value, [])
                        if not places or places[-1] is not one:
                            places.append(one)
                parent.index[name, key, numeric] = index
            wanted = number(frame.current, frame) if numeric else text(frame.current, frame)
            found: list[Node] = index.get(wanted, [])
            frame.spend(len(found))
            for holds in truths:
                found = [one for one in found if holds(one, frame)]
            return found

        return look

    _pieces: ClassVar[dict[type, Callable[[Compiler, Any, Where | None], Code]]] = {
        Path: _path,
        Literal: _literal,
        Call: _call,
        Binary: _binary,
        Number: _literal,
        Negative: _negative,
        Filter: _filter,
        Variable: _variable,
    }


def _down_by(names: list[str]) -> Callable[[list[Node], Frame], list[Node]]:
    """Down from all nodes by the names: more may be added to them until it first runs."""

    def down(nodes: list[Node], frame: Frame) -> list[Node]:
        for name in names:
            if len(nodes) == 1:
                nodes = nodes[0].kids.get(name, [])
            else:
                nodes = [kid for node in nodes for kid in node.kids.get(name, ())]
            frame.spend(len(nodes) + 1)
        return nodes

    return down


def _here(node: Node, _frame: Frame) -> list[Node]:
    return [node]


def _itself(node: Node, _frame: Frame) -> list[Node]:
    return [node] if node.relevant else []


def _plain(steps: tuple[Step, ...]) -> tuple[int, Where] | None:
    """So many levels up, then down by names, where the steps do no more than that."""
    ups = 0
    names: list[str] = []
    for step in steps:
        if step.name:
            names.append(step.name)
        elif step is UP and not names:
            ups += 1
        elif step is not HERE:
            return None
    return ups, tuple(names)


def _without_here(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    for step in steps:
        if step is HERE:
            return tuple(one for one in steps if one is not HERE)
    return steps


def _by_name(step: Step) -> bool:
    return step.axis == "child" and is_name(step.test)


def _is_list(expr: Expr) -> bool:
    return (
        isinstance(expr, Call)
        and expr.name == "instance"
        and all(isinstance(one, Literal) for one in expr.arguments)
    )


def _conjuncts(expr: Expr) -> list[Expr]:
    if isinstance(expr, Binary) and expr.operator == "and":
        return [*_conjuncts(expr.left), *_conjuncts(expr.right)]
    return [expr]


def _key(expr: Expr) -> tuple[str, Expr] | None:
    """(child's name, other side) of `name = other`, whichever side the name is on."""
    if not isinstance(expr, Binary) or expr.operator != "=":
        return None
    for mine, other in ((expr.left, expr.right), (expr.right, expr.left)):
        if isinstance(mine, Path) and mine.start == "":
            plain = _plain(mine.steps)
            if plain is not None and not plain[0] and len(plain[1]) == 1:
                return plain[1][0], other
    return None


def _free(expr: Expr) -> bool:
    """Whether it comes to the same for every candidate: nothing in it is relative to one."""
    match expr:
        case Literal() | Number():
            return True
        case Path(start, steps):
            if any(step.predicates for step in steps):
                return False
            if start == "/":
                return True
            return isinstance(start, Call) and start.name == "current"
        case Call(name, arguments):
            return name in _STEADY and all(map(_free, arguments))
        case Negative(operand):
            return _free(operand)
        case Binary(_, left, right):
            return _free(left) and _free(right)
    return False


_STEADY = frozenset(
    {"concat", "string", "number", "int", "round", "substr", "translate", "coalesce"}
)


def _bare(test: str) -> str:
    return test.rpartition(":")[2]


def divided(one: float, other: float) -> float:
    """IEEE 754 division."""
    if other:
        return one / other
    if one != one or not one:  # noqa: PLR0124 - NaN
        return math.nan
    return math.copysign(math.inf, one) * math.copysign(1, other)


def remainder(one: float, other: float) -> float:
    """The remainder with the sign of the dividend (XPath 1.0, 3.5)."""
    try:
        return math.fmod(one, other)
    except ValueError:
        return math.nan


def _numbers(conversions: Conversions, value: Value, frame: Frame) -> list[float]:
    if isinstance(value, list):
        return [conversions.number_of(one, frame) for one in value]
    return [conversions.to_number(value, frame)]


def conversions_equal(
    conversions: Conversions, one: Value, other: Value, frame: Frame, *, negated: bool
) -> bool:
    """XPath 1.0, 3.4, for values whose kinds are known only now; in Collect what is one node, or
    none, compares as the one value that it holds.
    """
    if conversions.java:
        if isinstance(one, list) and len(one) < 2:
            one = conversions.unpacked(one)
        if isinstance(other, list) and len(other) < 2:
            other = conversions.unpacked(other)
    elif isinstance(one, Dated) or isinstance(other, Dated):
        one = conversions.to_number(one, frame) if isinstance(one, Dated) else one
        other = conversions.to_number(other, frame) if isinstance(other, Dated) else other
    if isinstance(one, bool) or isinstance(other, bool):
        return (conversions.to_truth(one) == conversions.to_truth(other)) is not negated
    if isinstance(one, list) and isinstance(other, list):
        texts = {each.string_value() for each in other}
        if negated:
            mine = {each.string_value() for each in one}
            return bool(mine and texts) and (len(mine) > 1 or len(texts) > 1 or mine != texts)
        return any(each.string_value() in texts for each in one)
    if isinstance(one, list):
        one, other = other, one
    if isinstance(other, list):
        if isinstance(one, float):
            return any(
                conversions.near(conversions.number_of(each, frame), one) is not negated
                for each in other
            )
        return any((conversions.text_of(each, frame) == one) is not negated for each in other)
    if isinstance(one, float) or isinstance(other, float):
        near = conversions.near(
            conversions.to_number(one, frame), conversions.to_number(other, frame)
        )
        return near is not negated
    return (conversions.to_text(one, frame) == conversions.to_text(other, frame)) is not negated


def compile_expression(
    text: str, *, at: tuple[str, ...], scope: Scope, pinned: int | None = None
) -> Compiled:
    """The expression, ready to run on nodes that stand at the generic path `at`. Its absolute
    paths mean the own instance of each repeat around it, but not deeper than `pinned` names.

    Raises BadExpression where the text is no expression of the language.
    """
    if pinned is None:
        program = scope.programs.get(text)
        if program is not None and program.ups_most <= len(at):
            if program.compiled is not None:
                return program.compiled
            return Compiled(text, at, program, scope)
    program = _program(text, at, scope, len(at) if pinned is None else pinned)
    made = Compiled(text, at, program, scope)
    if not program.near:
        program.compiled = made
    return made


def _program(text: str, at: Where, scope: Scope, pinned: int) -> Program:
    ast = parse(text)
    compiler = Compiler(text, at, scope, pinned)
    try:
        code = compiler.compile(ast, at if scope.dialect != "xpath" else None)
    except RecursionError:
        raise BadExpression(
            text, 0, "too many operators follow one another: cut it into several calculations"
        ) from None
    program = Program(ast, code, compiler)
    if scope.dialect != "xpath" and not compiler.fixed and len(scope.programs) < PROGRAMS_MAX:
        scope.programs[text] = program
    return program
