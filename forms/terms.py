"""Expressions as authors write them, read with their ${references} kept whole."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class Term:
    """A piece of an expression: an operator, a call, a reference, a literal or a path.

    `kind` is "op", "call", "ref", "text", "number", "path" or "step"; `name` is the operator, the
    function, the question, the literal or the path as written; `parts` are what it works on,
    and for a reference or path, its predicates.
    """

    kind: str
    name: str
    parts: tuple[Term, ...] = ()

    def walk(self) -> Iterator[Term]:
        waiting = [self]
        while waiting:
            term = waiting.pop()
            yield term
            waiting.extend(reversed(term.parts))


class _Unreadable(Exception):
    """Not an expression that is understood here; the engine itself will judge it."""


_TOKEN = re.compile(
    r"\s*(?:(?P<text>'[^']*'|\"[^\"]*\")|(?P<ref>\$\{[^}]*\})|(?P<number>\d+\.?\d*|\.\d+)"
    r"|(?P<op><=|>=|!=|//|\.\.|::|[-+*/=<>|()\[\],.@])"
    r"|(?P<name>[^\W\d][\w.-]*(?::[^\W\d][\w.-]*)?))"
)
_BINDING = {"or": 1, "and": 2, "=": 3, "!=": 3, "<": 4, "<=": 4, ">": 4, ">=": 4}
_BINDING |= {"+": 5, "-": 5, "*": 6, "div": 6, "mod": 6, "|": 8}
_DEPTH_MAX = 60
_CHAIN_MAX = 300
"""As many operators follow one another in an expression that is read."""


class _Reader:
    """A small operator-precedence reader that keeps ${references} whole."""

    def __init__(self, source: str) -> None:
        self.tokens: list[tuple[str, str]] = []
        at = 0
        source = source.rstrip()
        while at < len(source):
            match = _TOKEN.match(source, at)
            if match is None:
                raise _Unreadable(source)
            kind = match.lastgroup or ""
            self.tokens.append((kind, match[kind]))
            at = match.end()
        self.at = 0

    def peek(self) -> tuple[str, str]:
        return self.tokens[self.at] if self.at < len(self.tokens) else ("end", "")

    def take(self, text: str = "") -> tuple[str, str]:
        token = self.peek()
        if token[0] == "end" or (text and token[1] != text):
            raise _Unreadable(token[1])
        self.at += 1
        return token

    def whole(self) -> Term:
        term = self.expression(0, 0)
        if self.peek()[0] != "end":
            raise _Unreadable(self.peek()[1])
        return term

    def expression(self, binding: int, depth: int) -> Term:
        if depth > _DEPTH_MAX:
            raise _Unreadable("too deep")
        if self.peek()[1] == "-":
            self.take()
            left = Term("op", "negative", (self.expression(7, depth + 1),))
        else:
            left = self.operand(depth)
        for _ in range(_CHAIN_MAX):
            kind, text = self.peek()
            strength = _BINDING.get(text, 0) if kind in {"op", "name"} else 0
            if strength <= binding:
                return left
            self.take()
            left = Term("op", text, (left, self.expression(strength, depth + 1)))
        raise _Unreadable("too long a chain")

    def operand(self, depth: int) -> Term:
        kind, text = self.take()
        if kind == "text":
            return Term("text", text[1:-1])
        if kind == "number":
            return Term("number", text)
        if kind == "ref":
            name = text[2:-1].strip()
            return self.path(Term("ref", name), depth)
        if text == "(":
            inner = self.expression(0, depth + 1)
            self.take(")")
            return self.path(inner, depth)
        if kind == "name" and self.peek()[1] == "(":
            return self.path(Term("call", text, self.arguments(depth)), depth)
        if kind == "name" or text in {".", "..", "/", "//", "@", "*"}:
            return self.path(Term("step", text), depth)
        raise _Unreadable(text)

    def arguments(self, depth: int) -> tuple[Term, ...]:
        self.take("(")
        found: list[Term] = []
        while self.peek()[1] != ")":
            found.append(self.expression(0, depth + 1))
            if self.peek()[1] != ")":
                self.take(",")
        self.take(")")
        return tuple(found)

    def path(self, start: Term, depth: int) -> Term:
        """What follows a first step: predicates and further steps, kept as written."""
        written, predicates = start.name, list(start.parts)
        plain = True
        while True:
            kind, text = self.peek()
            if text == "[":
                self.take()
                predicates.append(Term("op", "predicate", (self.expression(0, depth + 1),)))
                self.take("]")
                plain = False
            elif (
                text in {"/", "//", "::", "@", "."}
                or (not plain and kind == "name" and written.endswith(("/", "::", "@")))
                or (written.endswith(("/", "::", "@")) and (kind == "name" or text in {"..", "*"}))
            ):
                self.take()
                written += text
                plain = False
            else:
                break
        if plain:
            return start
        return Term("ref" if start.kind == "ref" else "path", written, tuple(predicates))


def read(source: str) -> Term | None:
    """The expression as terms; None where it is not understood (the engine judges it then)."""
    try:
        return _Reader(source).whole()
    except (_Unreadable, RecursionError):
        return None


def conjuncts(term: Term) -> Iterator[Term]:
    """The parts that must all be true."""
    if term.kind == "op" and term.name == "and":
        for part in term.parts:
            yield from conjuncts(part)
    else:
        yield term
