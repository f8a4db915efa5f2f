"""Functions about nodes: counting, places, lists, names."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from forms.language.core import NAN, Code
from forms.language.functions.table import function
from forms.language.functions.texts import _here
from forms.language.syntax import Call, Literal, Path
from forms.tree import ATTRIBUTE, ELEMENT, INSTRUCTION, NAMESPACE, Node

if TYPE_CHECKING:
    from collections.abc import Callable

    from forms.language.compiler import Compiler
    from forms.language.core import Frame, Value
    from forms.language.syntax import Expr, Step

    Where = tuple[str, ...] | None


@function("count", least=1, most=1, core=True)
def _count(compiler: Compiler, arguments: tuple[Expr, ...], where: Where) -> Code:
    code = _nodes(compiler, arguments[0], where, "count")
    run = compiler.conversions.nodes(code)
    return Code("n", lambda node, frame: float(len(run(node, frame))))


@function("count-non-empty", least=1, most=1)
def _count_non_empty(compiler: Compiler, arguments: tuple[Expr, ...], where: Where) -> Code:
    """To Collect a group is never empty."""
    code = _nodes(compiler, arguments[0], where, "count-non-empty")
    run, java = compiler.conversions.nodes(code), compiler.conversions.java

    def counted(node: Node, frame: Frame) -> float:
        found = run(node, frame)
        return float(sum(bool((java and one.kids) or one.string_value()) for one in found))

    return Code("n", counted)


def _nodes(compiler: Compiler, argument: Expr, where: Where, name: str) -> Code:
    code = compiler.compile(argument, where)
    if code.kind not in {"d", "v"}:
        raise compiler.fail(f"{name}() takes nodes")
    return code


@function("position", least=0, most=1, core=True)
def _position(compiler: Compiler, arguments: tuple[Expr, ...], where: Where) -> Code:
    """Without an argument: the place in the predicate; with a node: among those of its name."""
    compiler.crosses = True
    if not arguments:
        if compiler.in_predicate or compiler.conversions.plain:
            return Code("n", lambda _node, frame: float(frame.place))

        def own_place(node: Node, _frame: Frame) -> float:
            return float(place_of(node))

        return Code("n", own_place)
    code = _nodes(compiler, arguments[0], where, "position")
    run = compiler.conversions.nodes(code)
    # In Collect an instance that is not relevant stands nowhere, and nowhere is 0.
    nowhere = 0.0 if compiler.conversions.java else NAN

    def place(node: Node, frame: Frame) -> float:
        found = run(node, frame)
        return float(place_of(found[0])) if found else nowhere

    return Code("n", place)


def place_of(node: Node) -> int:
    """From 1, among the siblings of its name."""
    if node.parent is None:
        return 1
    siblings = node.parent.kids.get(node.name, [])
    for number, one in enumerate(siblings, 1):
        if one is node:
            return number
    return 1


@function("last", least=0, most=0, core=True)
def _last(compiler: Compiler, _arguments: tuple[Expr, ...], _where: Where) -> Code:
    compiler.crosses = True
    return Code("n", lambda _node, frame: float(frame.size))


@function("current", least=0, most=0, core=True)
def _current(compiler: Compiler, _arguments: tuple[Expr, ...], _where: Where) -> Code:
    return Code("d", lambda _node, frame: [frame.current], where=compiler.at)


@function("instance", least=1, most=1)
def _instance(compiler: Compiler, arguments: tuple[Expr, ...], where: Where) -> Code:
    code = compiler.compile(arguments[0], where)
    name = compiler.conversions.string(code)
    if code.constant:
        compiler.instances.add(name(None, None))  # type: ignore[arg-type] # a constant asks neither

    def root(node: Node, frame: Frame) -> list[Node]:
        found = frame.env.instance(name(node, frame))
        return [] if found is None else [found]

    return Code("d", root, where=None)


@function("pulldata", least=4, most=4)
def _pulldata(compiler: Compiler, arguments: tuple[Expr, ...], where: Where) -> Code:
    """pulldata(file, column, key column, key): the first row's cell; "" where there is none."""
    codes = [compiler.compile(one, where) for one in arguments]
    texts = [compiler.conversions.string(one) for one in codes]
    if codes[0].constant:
        compiler.instances.add(texts[0](None, None).removesuffix(".csv"))  # type: ignore[arg-type] # a constant asks neither

    def pulled(node: Node, frame: Frame) -> str:
        name, column, key_column, key = (one(node, frame) for one in texts)
        top = frame.env.instance(name.removesuffix(".csv"))
        if top is None:
            return ""
        root = top.kids.get("root", [top])[0]
        if root.index is None:
            root.index = {}
        index = root.index.get((key_column,))
        if index is None:
            index = {}
            items = root.kids.get("item", [])
            frame.spend(len(items))
            for item in items:
                for cell in _cells(item, key_column)[:1]:
                    index.setdefault(cell.string_value(), item)
            root.index[key_column,] = index
        row: Node | None = index.get(key)
        cells = _cells(row, column) if row is not None else None
        return cells[0].string_value() if cells else ""

    return Code("s", pulled)


def _cells(row: Node, column: str) -> list[Node]:
    """The row's elements of that name, or its attribute where the name is "@..."."""
    if column.startswith("@"):
        found = row.attrs.get(column[1:])
        return [] if found is None else [found]
    return row.kids.get(column, [])


@function("indexed-repeat", least=3, most=7)
def _indexed_repeat(compiler: Compiler, arguments: tuple[Expr, ...], where: Where) -> Code:
    """indexed-repeat(node, repeat, place, ...): up to three repeats, the outermost first.

    The same as the path to the node with [place] after each of the repeats.
    """
    if len(arguments) % 2 == 0:
        raise compiler.fail("indexed-repeat() takes a node and 1 to 3 pairs of repeat and place")
    compiler.crosses = True
    target = _absolute(compiler, arguments[0], where)
    pairs = [
        (_absolute(compiler, arguments[number], where), arguments[number + 1])
        for number in range(1, len(arguments), 2)
    ]
    places: dict[tuple[str, ...], Callable[[Node, Frame], float]] = {}
    for path, place in pairs:
        if target[: len(path)] != path:
            if not compiler.conversions.java:
                continue  # The browser leaves out what the node is not in.
            raise compiler.fail(
                f"indexed-repeat(): /{'/'.join(target)} is not inside /{'/'.join(path)}"
            )
        places[path] = compiler.conversions.number(compiler.compile(place, where))
    compiler.reads.add(target)
    compiler.reads.update(places)
    steps = []
    for number in range(1, len(target)):
        path = target[: number + 1]
        steps.append((target[number], places.get(path)))
    at, java = compiler.at, compiler.conversions.java

    def found(node: Node, frame: Frame) -> list[Node]:
        here = frame.env.root
        nodes = [here]
        along = _line(frame.current, here)
        for depth, (name, place) in enumerate(steps, 1):
            kids = [kid for one in nodes for kid in one.kids.get(name, ())]
            if place is not None:
                number = place(node, frame)
                whole = int(number) if math.isfinite(number) else 0
                if java:
                    # What is no place yet is the first, so that a new instance has one.
                    whole = max(whole, 1)
                if whole < 1 or whole > len(kids):
                    return []
                kids = [kids[whole - 1]]
            elif len(kids) > 1 and depth < len(steps) and depth < len(along) and depth < len(at):
                own = along[depth]
                kids = [kid for kid in kids if kid is own] or kids
            nodes = kids
        return [one for one in nodes if one.relevant]

    return Code("d", found, where=target)


def _line(node: Node, root: Node) -> list[Node]:
    """From the root down to the node."""
    line = []
    here: Node | None = node
    while here is not None:
        line.append(here)
        if here is root:
            return line[::-1]
        here = here.parent
    return []


def _absolute(compiler: Compiler, expr: Expr, where: Where) -> tuple[str, ...]:
    """The generic path that a path without predicates leads to."""
    base: tuple[str, ...] | None = None
    steps: tuple[Step, ...] = ()
    if isinstance(expr, Path):
        steps = expr.steps
        if expr.start == "/":
            base = ()
        elif expr.start == "":
            base = where
        elif isinstance(expr.start, Call) and expr.start.name == "current":
            base = compiler.at
    if base is None:
        raise compiler.fail("indexed-repeat() takes paths")
    for step in steps:
        if step.axis == "parent":
            base = base[:-1]
        elif step.axis == "self":
            continue
        elif step.axis == "child" and not step.predicates:
            base = (*base, step.test.rpartition(":")[2])
        else:
            raise compiler.fail("indexed-repeat() takes paths of names only")
    return base


@function("once", least=1, most=1)
def _once(compiler: Compiler, arguments: tuple[Expr, ...], where: Where) -> Code:
    """The value that the node has already; where it is blank, that of the argument. In a predicate
    Collect means the candidate, and an item of a list has none.
    """
    code = compiler.compile(arguments[0], where)
    run, conversions = code.run, compiler.conversions
    candidates = bool(compiler.in_predicate) and conversions.java

    def kept(node: Node, frame: Frame) -> Value:
        here = node if candidates else frame.current
        listed = candidates and node.defn is None
        own = "" if listed else conversions.unpacked([here])
        if own != "":
            return own
        value = run(node, frame)
        return "" if isinstance(value, float) and math.isnan(value) else value

    return Code("v", kept)


_PARK_MILLER = 2_147_483_647


def shuffled(nodes: list[Node], seed: int) -> list[Node]:
    """ODK XForms, randomize(): Park-Miller numbers drive an inside-out Fisher-Yates shuffle."""
    # The remainder has the sign of the seed, as in Java and JavaScript.
    state = abs(seed) % _PARK_MILLER * (1 if seed > 0 else -1)
    if state <= 0:
        state += _PARK_MILLER - 1
    made: list[Node] = []
    for number, node in enumerate(nodes):
        state = state * 16807 % _PARK_MILLER
        place = int((state - 1) / (_PARK_MILLER - 1) * (number + 1))
        if place == number:
            made.append(node)
        else:
            made.append(made[place])
            made[place] = node
    return made


@function("randomize", least=1, most=2)
def _randomize(compiler: Compiler, arguments: tuple[Expr, ...], where: Where) -> Code:
    code = _nodes(compiler, arguments[0], where, "randomize")
    run = compiler.conversions.nodes(code)
    if len(arguments) == 1:
        return Code(
            "d",
            lambda node, frame: shuffled(run(node, frame), int(frame.env.random() * _PARK_MILLER)),
            where=code.where,
        )
    seed_code = compiler.compile(arguments[1], where)
    number = compiler.conversions.number(seed_code)
    text = compiler.conversions.string(seed_code)

    def by_seed(node: Node, frame: Frame) -> list[Node]:
        seed = number(node, frame)
        whole = text_seed(text(node, frame)) if math.isnan(seed) else _long(seed)
        return shuffled(run(node, frame), whole)

    return Code("d", by_seed, where=code.where)


def _long(number: float) -> int:
    """As Java cuts a number to a whole one of 64 bits."""
    return int(max(-(2.0**63), number)) if number < 2.0**63 else 2**63 - 1


def text_seed(text: str) -> int:
    """A seed from what is no number: the first 8 bytes of its SHA-256, as both engines take them,
    to the last bit; 0 from a blank.
    """
    if not text:
        return 0
    import hashlib  # noqa: PLC0415 - needed by few forms

    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big", signed=True)


def _name_of(names: tuple[str, ...], tell: Callable[[Node], str]) -> None:
    @function(*names, least=0, most=1, core=True)
    def _build(compiler: Compiler, arguments: tuple[Expr, ...], where: Where) -> Code:
        code = (
            _nodes(compiler, arguments[0], where, names[0]) if arguments else _here(compiler, where)
        )
        run = compiler.conversions.nodes(code)

        def told(node: Node, frame: Frame) -> str:
            found = run(node, frame)
            return tell(found[0]) if found else ""

        return Code("s", told)


def _qualified(node: Node) -> str:
    if node.kind not in {ELEMENT, ATTRIBUTE, INSTRUCTION, NAMESPACE}:
        return ""
    return f"{node.prefix}:{node.name}" if node.prefix else node.name


_name_of(("name",), _qualified)
_name_of(
    ("local-name",),
    lambda node: node.name if node.kind in {ELEMENT, ATTRIBUTE, INSTRUCTION, NAMESPACE} else "",
)
_name_of(("namespace-uri",), lambda node: node.ns)


@function("id", least=1, most=1, core=True)
def _id(compiler: Compiler, arguments: tuple[Expr, ...], where: Where) -> Code:
    code = compiler.compile(arguments[0], where)
    run, conversions = code.run, compiler.conversions

    def found(node: Node, frame: Frame) -> list[Node]:
        value = run(node, frame)
        if isinstance(value, list):
            wanted = {name for one in value for name in one.string_value().split()}
        else:
            wanted = set(conversions.to_text(value, frame).split())
        below = list(node.top().below())
        frame.spend(len(below))
        seen: set[str] = set()
        nodes = []
        for one in [node.top(), *below]:
            own = one.attrs.get("id")
            if own is not None and own.text in wanted and own.text not in seen:
                seen.add(own.text)
                nodes.append(one)
        return nodes

    return Code("d", found)


@function("lang", least=1, most=1, core=True)
def _lang(compiler: Compiler, arguments: tuple[Expr, ...], where: Where) -> Code:
    text = compiler.conversions.string(compiler.compile(arguments[0], where))

    def spoken(node: Node, frame: Frame) -> bool:
        wanted = text(node, frame).lower()
        here: Node | None = node
        while here is not None:
            for key, own in here.attrs.items():
                if key == "{http://www.w3.org/XML/1998/namespace}lang":
                    told = own.text.lower()
                    return told == wanted or told.startswith(wanted + "-")
            here = here.parent
        return False

    return Code("b", spoken)


@function("jr:choice-name", least=2, most=2)
def _choice_name(compiler: Compiler, arguments: tuple[Expr, ...], where: Where) -> Code:
    """What the choice of this name is called; the second argument is the question's path."""
    value = compiler.conversions.string(compiler.compile(arguments[0], where))
    path_code = compiler.compile(arguments[1], where)
    if isinstance(arguments[1], Literal):
        from forms.language.syntax import parse  # noqa: PLC0415 - beside its one use

        inner = parse(arguments[1].value.strip())
        if isinstance(inner, Path):
            compiler.reads.add(_absolute(compiler, inner, compiler.at))
    path = compiler.conversions.string(path_code)
    return Code(
        "s",
        lambda node, frame: frame.env.choice_label(
            frame.current, value(node, frame), path(node, frame)
        ),
    )


@function("jr:itext", least=1, most=1)
def _itext(compiler: Compiler, arguments: tuple[Expr, ...], where: Where) -> Code:
    name = compiler.conversions.string(compiler.compile(arguments[0], where))
    if compiler.conversions.java:
        return Code("s", lambda node, frame: frame.env.itext(name(node, frame)))

    def told(node: Node, frame: Frame) -> Value:
        """In the browser the texts are nodes, where the world has them as such."""
        nodes: Callable[[str], list[Node]] | None = getattr(frame.env, "itext_nodes", None)
        said = name(node, frame)
        return frame.env.itext(said) if nodes is None else nodes(said)

    return Code("v", told)


@function("property", least=1, most=1)
def _property(compiler: Compiler, arguments: tuple[Expr, ...], where: Where) -> Code:
    name = compiler.conversions.string(compiler.compile(arguments[0], where))
    return Code("s", lambda node, frame: frame.env.property(name(node, frame)))


@function("version", least=0, most=0)
def _version(_compiler: Compiler, _arguments: tuple[Expr, ...], _where: Where) -> Code:
    def told(_node: Node, frame: Frame) -> str:
        own = frame.env.root.attrs.get("version")
        return own.text if own is not None else ""

    return Code("s", told)


@function("depend", least=1, most=None)
def _depend(compiler: Compiler, arguments: tuple[Expr, ...], where: Where) -> Code:
    """JavaRosa: the first argument; the others are only depended on."""
    codes = [compiler.compile(one, where) for one in arguments]
    return Code("v", codes[0].run)


@function("uuid", least=0, most=1)
def _uuid(compiler: Compiler, arguments: tuple[Expr, ...], where: Where) -> Code:
    """A new random UUID, or so many random characters: in Collect digits and capitals, in a
    browser what UUIDs begin with.
    """
    if not arguments:
        return Code("s", lambda _node, frame: frame.env.new_uuid())
    number = compiler.conversions.number(compiler.compile(arguments[0], where))
    letters = _lettered if compiler.conversions.java else str

    def cut(node: Node, frame: Frame) -> str:
        wanted = number(node, frame)
        length = int(wanted) if math.isfinite(wanted) else 0
        made = ""
        while len(made) < min(length, 1000):
            made += letters(frame.env.new_uuid())
        return made[: max(0, min(length, 1000))]

    return Code("s", cut)


_LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_DRAWN = 20
"""So many letters hold fewer bits than are drawn for a UUID: none is more likely than another."""


def _lettered(uuid: str) -> str:
    """The UUID's luck as letters, without the places that say of which kind it is."""
    plain = uuid.replace("-", "")
    left = int(plain[:12] + plain[13:16] + plain[17:], 16)
    made = ""
    for _ in range(_DRAWN):
        left, letter = divmod(left, len(_LETTERS))
        made += _LETTERS[letter]
    return made
