"""A programme's rules: the forms' own language, asked about a household and its members."""

from __future__ import annotations

import re
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from forms.language import BadExpression, Compiled, Scope, compile_expression, written
from forms.language.syntax import Binary, Call, Filter, Negative, Path
from forms.tree import Node

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime, tzinfo

    from forms.language.syntax import Expr

MEMBERS: Final = ("member", "members", "person", "persons")
"""The names by which a rule speaks of the members: all mean the same nodes."""

# A verdict that is asked twice must be the same twice, so that luck has no place in a rule; what
# only an interview has (repeats by index, choices, texts, the device) has none either.
_REFUSED: Final = MappingProxyType(
    dict.fromkeys(("random", "randomize", "uuid", "once"), "comes out another way each time")
    | dict.fromkeys(
        ("instance", "pulldata", "jr:choice-name", "jr:itext", "property", "indexed-repeat"),
        "needs an interview, and a rule has only the record",
    )
)
_REFERENCE = re.compile(r"\$\{\s*([^}]*?)\s*\}")
_NAME = re.compile(r"[^\W\d][\w.-]*")
_SCOPE = Scope(root="record", repeats=frozenset({("record", "member")}))


class NoLuck(ValueError):
    """A rule asked for a random number or a fresh id, which it never gets."""


@dataclass(slots=True)
class _World:
    """All that a rule can ask: the record, and the moment for which it is asked."""

    root: Node
    moment: datetime

    @property
    def zone(self) -> tzinfo:
        assert self.moment.tzinfo is not None
        return self.moment.tzinfo

    def now(self) -> datetime:
        return self.moment

    def instance(self, name: str, /) -> None:
        del name

    def random(self) -> float:
        raise NoLuck("a rule has no luck")

    def spend(self, steps: int) -> None:
        """One expression alone has its own budget."""

    def new_uuid(self) -> str:
        raise NoLuck("a rule makes no ids")

    def property(self, name: str, /) -> str:
        del name
        return ""

    def itext(self, name: str, /) -> str:
        del name
        return ""

    def choice_label(self, node: Node, value: str, path: str, /) -> str:
        del node, path
        return value


@dataclass(frozen=True, slots=True)
class Used:
    """Something that a rule looked at, as its author wrote it, and what it came to."""

    what: str
    value: str

    def __str__(self) -> str:
        return f"{self.what} = {self.value or 'blank'}"


@dataclass(frozen=True, slots=True)
class Rule:
    """An expression over one record, compiled once. Shared freely: it holds nothing of a record.

    `fields` are the record's fields that it reads, `member_fields` those of its members. A field
    that the record does not have is blank.
    """

    text: str
    fields: frozenset[str]
    member_fields: frozenset[str]
    _compiled: Compiled
    _parts: tuple[tuple[str, Compiled], ...]

    def boolean(
        self,
        record: Mapping[str, str],
        members: Sequence[Mapping[str, str]] = (),
        *,
        now: datetime,
    ) -> bool:
        """Whether it holds. `now` is an aware moment: today() is the day there and then.

        Raises TooCostly where members and predicates multiply beyond the budget of steps.
        """
        world = _world(record, members, now)
        return self._compiled.boolean(world.root, world)

    def number(
        self,
        record: Mapping[str, str],
        members: Sequence[Mapping[str, str]] = (),
        *,
        now: datetime,
    ) -> float:
        """What it comes to; NaN where that is no number, as when a field is blank."""
        world = _world(record, members, now)
        return self._compiled.number(world.root, world)

    def string(
        self,
        record: Mapping[str, str],
        members: Sequence[Mapping[str, str]] = (),
        *,
        now: datetime,
    ) -> str:
        """What it comes to, as text: "12", "true", "2026-11-23"."""
        world = _world(record, members, now)
        return self._compiled.string(world.root, world)

    def explain(
        self,
        record: Mapping[str, str],
        members: Sequence[Mapping[str, str]] = (),
        *,
        now: datetime,
    ) -> tuple[Used, ...]:
        """What it looked at and found, in the order of its text: "size = 4", "pmt_score = 2.1"."""
        world = _world(record, members, now)
        return tuple(
            Used(what, compiled.string(world.root, world)) for what, compiled in self._parts
        )


def rule(text: str) -> Rule:
    """Compile a rule. `${size}` and `size` both mean the record's field; `member` its members.

    Raises BadExpression with the place in `text` where it cannot be read.
    """
    plain, places = _plain(text)
    try:
        compiled = compile_expression(plain, at=("record",), scope=_SCOPE)
    except BadExpression as fault:
        raise BadExpression(text, _placed(fault.position, places), fault.reason) from None
    for name in sorted(compiled.functions):
        if name in _REFUSED:
            place = max(0, text.find(name))
            raise BadExpression(text, place, f"{name}() {_REFUSED[name]}")
    fields: set[str] = set()
    inside: set[str] = set()
    _names(compiled.ast, fields, inside, among_members=False)
    parts = {}
    for part in _looked_at(compiled.ast):
        shown = _shown(part)
        if shown not in parts:
            parts[shown] = compile_expression(written(part), at=("record",), scope=_SCOPE)
    return Rule(text, frozenset(fields), frozenset(inside), compiled, tuple(parts.items()))


def _plain(text: str) -> tuple[str, list[tuple[int, int, int]]]:
    """The text without ${}, and where each came to stand: (in plain, length there, in text)."""
    made: list[str] = []
    places: list[tuple[int, int, int]] = []
    at = length = 0
    quote = ""
    while at < len(text):
        letter = text[at]
        if quote or letter in "'\"":
            quote = "" if letter == quote else quote or letter
        elif letter == "$":
            match = _REFERENCE.match(text, at)
            if match is None or not _NAME.fullmatch(match[1]):
                raise BadExpression(text, at, "${name} is meant, with the name of a field")
            path = f"/record/{match[1]}"
            places.append((length, len(path), at))
            made.append(path)
            length += len(path)
            at = match.end()
            continue
        made.append(letter)
        length += 1
        at += 1
    return "".join(made), places


def _placed(position: int, places: list[tuple[int, int, int]]) -> int:
    """The place in the author's text of a place in the plain one."""
    shift = 0
    for start, length, original in places:
        if position < start:
            break
        if position < start + length:
            return original
        # ${x} is as long as its path less "/record/" and plus "${}".
        shift += length - (length - len("/record/") + len("${}"))
    return position - shift


def _world(
    record: Mapping[str, str], members: Sequence[Mapping[str, str]], now: datetime
) -> _World:
    if now.tzinfo is None:
        raise ValueError("now must say its time zone")
    root = Node("element", "record")
    for name, value in record.items():
        root.append(Node("element", name, text=value))
    people: list[Node] = []
    for one in members:
        person = Node("element", "member", parent=root)
        for name, value in one.items():
            person.append(Node("element", name, text=value))
        root.children.append(person)
        people.append(person)
    if people:
        for name in MEMBERS:
            root.kids[name] = people
    return _World(root, now)


# What a rule looks at -------------------------------------------------------------------------


def _steps(expr: Path) -> tuple[str, ...] | None:
    """The names that a path leads down by from the record; None where it does not begin there."""
    names = [step.test for step in expr.steps if step.axis == "child"]
    if expr.start == "/":
        return tuple(names[1:]) if names[:1] == ["record"] else None
    return tuple(names) if expr.start == "" else None


def _names(expr: Expr, fields: set[str], inside: set[str], *, among_members: bool) -> None:
    """Gather the fields of the record and of its members that an expression reads."""
    match expr:
        case Path(start, steps):
            if not isinstance(start, str):
                _names(start, fields, inside, among_members=among_members)
            names = _steps(expr) or ()
            relative = start == "" and among_members
            if names and relative:
                inside.add(names[0])
            elif names and names[0] in MEMBERS:
                inside.update(names[1:2])
            elif names:
                fields.add(names[0])
            of_members = relative or (bool(names) and names[0] in MEMBERS)
            for step in steps:
                for predicate in step.predicates:
                    _names(predicate, fields, inside, among_members=of_members)
        case Filter(source, predicates):
            _names(source, fields, inside, among_members=among_members)
            for predicate in predicates:
                _names(predicate, fields, inside, among_members=True)
        case Call(_, arguments):
            for argument in arguments:
                _names(argument, fields, inside, among_members=among_members)
        case Binary(_, left, right):
            _names(left, fields, inside, among_members=among_members)
            _names(right, fields, inside, among_members=among_members)
        case Negative(operand):
            _names(operand, fields, inside, among_members=among_members)
        case _:
            pass


def _of_members(expr: Expr) -> bool:
    match expr:
        case Path():
            return (_steps(expr) or ("",))[0] in MEMBERS
        case Filter(source, _):
            return _of_members(source)
        case _:
            return False


def _looked_at(expr: Expr) -> Iterator[Expr]:
    """The pieces worth telling: fields, and calls over the members as a whole."""
    match expr:
        case Path():
            yield expr
        case Call(_, arguments):
            if any(map(_of_members, arguments)) or (
                not arguments and expr.name in {"today", "now"}
            ):
                yield expr
            else:
                for argument in arguments:
                    yield from _looked_at(argument)
        case Binary(_, left, right):
            yield from _looked_at(left)
            yield from _looked_at(right)
        case Negative(operand):
            yield from _looked_at(operand)
        case Filter(source, _):
            yield from _looked_at(source)
        case _:
            pass


_LONG = re.compile(r"/child::record/?|child::|/record/")
_OUTER = re.compile(r"\[\((.*)\)\]")


def _shown(expr: Expr) -> str:
    """The piece as an author would write it."""
    said = _LONG.sub("", written(expr)).replace("self::node()", ".").replace("parent::node()", "..")
    return _OUTER.sub(r"[\1]", said) if said.count("[") == 1 else said
