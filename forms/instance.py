"""The answers of one entry as a tree: every node knows what it is by the form's design."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forms.tree import NO_CHILDREN, NO_KIDS, Node

if TYPE_CHECKING:
    from forms.model import Definition, Path, Seed


class Cell(Node):
    """A node of an entry. `relevant` is what holds with all groups above taken in;
    the `own_` ones are the node's own rules. A new one is not yet among its parent's children.
    """

    __slots__ = ("own_readonly", "own_relevant", "readonly", "required")

    defn: Definition
    own_relevant: bool
    own_readonly: bool
    readonly: bool
    required: bool

    def __init__(self, definition: Definition, text: str, parent: Cell | None) -> None:
        # All in one place: a submission of a large form has thousands of these.
        self.kind = "attribute" if definition.is_attribute else "element"
        self.name = definition.name
        self.ns = definition.namespace
        self.prefix = definition.prefix
        self.parent = parent
        if definition.by_name:
            self.children = []
            self.kids = {}
        else:
            # Most are leaves: a thousand containers less to make, and to look through for garbage.
            self.children = NO_CHILDREN
            self.kids = NO_KIDS
        self.attrs = {} if definition.attributes else NO_KIDS
        self.text = text
        self.relevant = True
        self.defn = definition
        self.index = None
        self.own_relevant = True
        self.own_readonly = False
        self.readonly = False
        self.required = definition.always_required

    def string_value(self) -> str:
        """As any node's, but that what is not relevant reads as blank."""
        if not self.relevant:
            return ""
        return super().string_value() if self.children else self.text


def grow(seed: Seed, parent: Cell | None, *, blank: bool = False) -> Cell:
    """The seed as nodes (or as `blank` ones) that have the parent above them."""
    made = Cell(seed.definition, "" if blank else seed.text, parent)
    if seed.definition.attributes:
        for definition, text in seed.attributes:
            made.attrs[definition.name] = Cell(definition, "" if blank else text, made)
        for definition in seed.definition.attributes.values():
            if definition.name not in made.attrs:
                made.attrs[definition.name] = Cell(definition, "", made)
    children, table = made.children, made.kids
    for below in seed.children:
        if below.children or below.definition.attributes:
            kid = grow(below, made, blank=blank)
        else:
            kid = Cell(below.definition, "" if blank else below.text, made)
        children.append(kid)
        siblings = table.get(kid.name)
        if siblings is None:
            table[kid.name] = [kid]
        else:
            siblings.append(kid)
    return made


def insert(parent: Cell, made: Cell, *, last: bool = False) -> None:
    """Among its parent's children: after the last of its own name; else where the form has it, or
    `last` of all.
    """
    siblings = parent.kids.get(made.name)
    if siblings:
        place = parent.children.index(siblings[-1]) + 1
        siblings.append(made)
    else:
        parent.kids[made.name] = [made]
        place = len(parent.children)
        if not last:
            for kid in reversed(parent.children):
                if kid.defn.number < made.defn.number:
                    break
                place -= 1
    parent.children.insert(place, made)


def remove(gone: Cell) -> None:
    parent = gone.parent
    assert parent is not None
    parent.children.remove(gone)
    parent.kids[gone.name].remove(gone)
    if not parent.kids[gone.name]:
        del parent.kids[gone.name]


def ref_of(node: Cell) -> str:
    """Where the node stands, with positions at repeats only: /data/member[2]/name."""
    definition = node.defn
    if not definition.repeats_above:
        return definition.ref
    parent = node.parent
    step = definition.path[-1]
    if parent is None:
        return f"/{step}"
    if definition.repeat is not None:
        step = f"{step}[{position_of(node)}]"
    return f"{ref_of(parent)}/{step}"  # type: ignore[arg-type]


def position_of(node: Cell) -> int:
    """The node's place among those of its name, from 1."""
    parent = node.parent
    if parent is None:
        return 1
    siblings = parent.kids.get(node.name, ())
    for number, sibling in enumerate(siblings, 1):
        if sibling is node:
            return number
    # It is being planted: it will be the next.
    return len(siblings) + 1


def everything(node: Cell) -> list[Cell]:
    """The node, its attributes and all below, in document order."""
    found = [node]
    _gather(node, found)
    return found


def _gather(node: Cell, found: list[Cell]) -> None:
    # A list that grows is half the work of generators within generators, and every act of an
    # entry asks for all of some instance.
    if node.attrs:
        found.extend(node.attrs.values())  # type: ignore[arg-type]
    for kid in node.children:
        found.append(kid)  # type: ignore[arg-type]
        if kid.children or kid.attrs:
            _gather(kid, found)  # type: ignore[arg-type]


def below(node: Cell, names: Path) -> list[Cell]:
    """All nodes reached from `node` by the names, in document order."""
    if len(names) == 1 and names[0][0] != "@":
        return node.kids.get(names[0], [])  # type: ignore[return-value]
    found: list[Cell] = [node]
    for name in names:
        if name.startswith("@"):
            name = name[1:]  # noqa: PLW2901 - the attribute's own name
            found = [one.attrs[name] for one in found if name in one.attrs]  # type: ignore[misc]
        elif len(found) == 1:
            found = found[0].kids.get(name, [])  # type: ignore[assignment]
        else:
            found = [kid for one in found for kid in one.kids.get(name, ())]  # type: ignore[misc]
    return found
