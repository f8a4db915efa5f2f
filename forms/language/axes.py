"""Which nodes a step of a path leads to (XPath 1.0, sections 2.2 and 2.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forms.tree import (
    ATTRIBUTE,
    COMMENT,
    DECLARED,
    DOCUMENT,
    ELEMENT,
    INSTRUCTION,
    NAMESPACE,
    TEXT,
    Node,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from forms.language.core import Scope


def document_of(root: Node) -> Node:
    """What "/" is: a document around the root, also where the tree was made without one."""
    top = root.top()
    if top.kind == DOCUMENT:
        return top
    document = Node(DOCUMENT)
    document.children = [top]
    document.kids = {top.name: [top]}
    return document


def changes(parent: Node) -> bool:
    """Whether the node is of an entry, whose answers come and go, and not of a list."""
    return parent.defn is not None


def _ancestors(node: Node) -> list[Node]:
    """Nearest first."""
    found = []
    here = node.parent
    while here is not None:
        found.append(here)
        here = here.parent
    return found


def _siblings(node: Node) -> tuple[list[Node], int]:
    if node.parent is None or node.kind in {ATTRIBUTE, NAMESPACE}:
        return [node], 0
    around = node.parent.children
    return around, next(number for number, one in enumerate(around) if one is node)


def _after(node: Node) -> list[Node]:
    around, place = _siblings(node)
    return around[place + 1 :]


def _before(node: Node) -> list[Node]:
    """Nearest first."""
    around, place = _siblings(node)
    return around[:place][::-1]


def _with_below(node: Node) -> list[Node]:
    return [node, *node.below()]


def _following(node: Node) -> list[Node]:
    if node.kind in {ATTRIBUTE, NAMESPACE} and node.parent is not None:
        return [*node.parent.below(), *_following(node.parent)]
    found: list[Node] = []
    for here in [node, *_ancestors(node)]:
        around, place = _siblings(here)
        for one in around[place + 1 :]:
            found.extend(_with_below(one))
    return found


def _preceding(node: Node) -> list[Node]:
    """Nearest first."""
    if node.kind in {ATTRIBUTE, NAMESPACE} and node.parent is not None:
        return _preceding(node.parent)
    found: list[Node] = []
    for here in [node, *_ancestors(node)]:
        around, place = _siblings(here)
        for one in reversed(around[:place]):
            found.extend(reversed(_with_below(one)))
    return found


_IN_SCOPE = "namespaces in scope"


def _namespaces(node: Node) -> list[Node]:
    """The namespaces in scope, from the outermost declaration (XPath 1.0, 5.4; without "xml")."""
    if node.kind != ELEMENT:
        return []
    if node.index is None:
        node.index = {}
    found: list[Node] | None = node.index.get(_IN_SCOPE)
    if found is None:
        seen: dict[str, str] = {}
        for here in reversed([node, *_ancestors(node)]):
            seen.update((here.index or {}).get(DECLARED, {}))
        found = [Node(NAMESPACE, prefix, parent=node, text=uri) for prefix, uri in seen.items()]
        node.index[_IN_SCOPE] = found
    return found


AXES: Mapping[str, Callable[[Node], list[Node]]] = {
    "self": lambda node: [node],
    "child": lambda node: node.children,
    "parent": lambda node: [node.parent] if node.parent is not None else [],
    "attribute": lambda node: list(node.attrs.values()),
    "descendant": lambda node: list(node.below()),
    "descendant-or-self": _with_below,
    "ancestor": _ancestors,
    "ancestor-or-self": lambda node: [node, *_ancestors(node)],
    "following": _following,
    "preceding": _preceding,
    "following-sibling": _after,
    "preceding-sibling": _before,
    "namespace": _namespaces,
}
_KINDS = {
    "text()": frozenset({TEXT}),
    "comment()": frozenset({COMMENT}),
    "processing-instruction()": frozenset({INSTRUCTION}),
}


def taker(axis: str, test: str, scope: Scope) -> Callable[[Node], list[Node]]:
    """From a node to those that the axis reaches and the test takes, nearest first."""
    reach = AXES[axis]
    principal = {"attribute": ATTRIBUTE, "namespace": NAMESPACE}.get(axis, ELEMENT)
    if test == "node()":
        return reach
    if test == "text()":
        return lambda node: _texts(node, reach)
    if test in _KINDS:
        kinds = _KINDS[test]
        return lambda node: [one for one in reach(node) if one.kind in kinds]
    if test.startswith("processing-instruction("):
        target = test[len("processing-instruction(") + 1 : -2]
        return lambda node: [
            one for one in reach(node) if one.kind == INSTRUCTION and one.name == target
        ]
    prefix, colon, name = test.rpartition(":")
    known: Mapping[str, str] = scope.namespaces if isinstance(scope.namespaces, dict) else {}
    uri = known.get(prefix) if colon else None
    if test == "*":
        return lambda node: [one for one in reach(node) if one.kind == principal]
    if name == "*":
        return lambda node: [
            one
            for one in reach(node)
            if one.kind == principal and (one.ns == uri if uri else one.prefix == prefix)
        ]
    if scope.bare_names:
        if axis == "child":
            return lambda node: node.kids.get(name, [])
        return lambda node: [
            one for one in reach(node) if one.kind == principal and one.name == name
        ]
    wanted = uri or ""
    return lambda node: [
        one
        for one in reach(node)
        if one.kind == principal and one.name == name and one.ns == wanted
    ]


def _texts(node: Node, reach: Callable[[Node], list[Node]]) -> list[Node]:
    """Text nodes; a leaf of an instance holds its text itself and lends it one."""
    if node.kind == ELEMENT and not node.children and node.text and reach is AXES["child"]:
        return [Node(TEXT, parent=node, text=node.text)]
    return [one for one in reach(node) if one.kind == TEXT]


def in_order(nodes: list[Node]) -> list[Node]:
    """Each node once, in document order."""
    once = list({id(node): node for node in nodes}.values())
    if len(once) < 2:
        return once
    order: dict[int, int] = {}
    for top in dict.fromkeys(_topmost(node) for node in once):
        for node in _with_below(top):
            order[id(node)] = len(order)
            for attribute in (*(node.index or {}).get(_IN_SCOPE, ()), *node.attrs.values()):
                order[id(attribute)] = len(order)
    once.sort(key=lambda node: order.get(id(node), len(order)))
    return once


def _topmost(node: Node) -> Node:
    return node.top()
