"""A small world for expressions: an instance, a list or two, a clock that stands still."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from typing import Any

from forms.held import KINDS, WORDS
from forms.language import Scope, compile_expression
from forms.tree import ELEMENT, Node, read_xml


class Design:
    """What a node is by its form's design; only its type matters to expressions."""

    def __init__(self, type_: str = "string") -> None:
        self.type = type_
        self.held = KINDS.get(type_, WORDS)


class World:
    def __init__(
        self,
        xml: str = "<data/>",
        *,
        lists: dict[str, str] | None = None,
        zone: tzinfo = UTC,
        types: dict[str, str] | None = None,
    ) -> None:
        self.root = read_xml(xml.encode())
        self.zone = zone
        self.types = types or {}
        self.paths: set[tuple[str, ...]] = set()
        self.repeats: set[tuple[str, ...]] = set()
        self._design(self.root, (self.root.name,))
        self.lists = {name: read_xml(text.encode()) for name, text in (lists or {}).items()}
        self.drawn = 0

    def _design(self, node: Node, path: tuple[str, ...]) -> None:
        node.defn = Design(self.types.get(node.name, "string"))
        self.paths.add(path)
        for name, kids in node.kids.items():
            if len(kids) > 1:
                self.repeats.add((*path, name))
            for kid in kids:
                self._design(kid, (*path, name))

    def scope(self, dialect: str = "collect") -> Scope:
        return Scope(
            root=self.root.name,
            paths=frozenset(self.paths),
            repeats=frozenset(self.repeats),
            instances=frozenset(self.lists),
            dialect=dialect,
        )

    def node(self, *steps: str | int) -> Node:
        """node("member", 1, "age"): by names and, where there are several, places from 0."""
        here = self.root
        for number, step in enumerate(steps):
            if isinstance(step, str):
                following = steps[number + 1] if number + 1 < len(steps) else 0
                here = here.kids[step][following if isinstance(following, int) else 0]
        return here

    def compile(self, text: str, node: Node | None = None, dialect: str = "collect") -> Any:
        at: list[str] = []
        here = node or self.root
        while here is not None:
            at.append(here.name)
            here = here.parent
        return compile_expression(text, at=tuple(reversed(at)), scope=self.scope(dialect))

    def value(self, text: str, node: Node | None = None, dialect: str = "collect") -> Any:
        return self.compile(text, node, dialect).value(node or self.root, self)

    def string(self, text: str, node: Node | None = None, dialect: str = "collect") -> str:
        return self.compile(text, node, dialect).string(node or self.root, self)

    def nodes(self, text: str, node: Node | None = None, dialect: str = "collect") -> list[Node]:
        return self.compile(text, node, dialect).nodes(node or self.root, self)

    # -- what expressions ask

    def instance(self, name: str) -> Node | None:
        found = self.lists.get(name)
        if found is None:
            return None
        if found.parent is None:
            Node(ELEMENT, "instance").append(found)
        return found.parent

    def now(self) -> datetime:
        return datetime(2026, 3, 1, 9, 30, tzinfo=UTC).astimezone(self.zone)

    def random(self) -> float:
        self.drawn += 1
        return (self.drawn * 0.618) % 1

    def spend(self, steps: int) -> None:
        """One expression alone has its own budget."""

    def new_uuid(self) -> str:
        self.drawn += 1
        return f"00000000-0000-4000-8000-{self.drawn:012x}"

    def property(self, name: str) -> str:
        return f"the {name}"

    def itext(self, name: str) -> str:
        return f"text {name}"

    def choice_label(self, node: Node, value: str, path: str) -> str:
        return f"{node.name} {path} {value}"
