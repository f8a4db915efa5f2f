"""A form as it was designed: its questions, rules, texts, lists and events."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from forms.itext import Text
    from forms.language import Compiled

Path = tuple[str, ...]
"""The names from the root down, without positions; an attribute is its name after an "@"."""

TYPES = {
    "string": "string",
    "normalizedString": "string",
    "token": "string",
    "int": "int",
    "integer": "int",
    "long": "int",
    "boolean": "boolean",
    "decimal": "decimal",
    "double": "decimal",
    "float": "decimal",
    "date": "date",
    "time": "time",
    "dateTime": "dateTime",
    "geopoint": "geopoint",
    "geotrace": "geotrace",
    "geoshape": "geoshape",
    "binary": "binary",
    "base64Binary": "binary",
    "anyURI": "binary",
    "barcode": "barcode",
    "intent": "intent",
    "select": "select",
    "select1": "select1",
    "listItem": "select1",
    "listItems": "select",
    "rank": "rank",
}
EVENTS = frozenset(
    {
        "odk-instance-first-load",
        "odk-instance-load",
        "odk-new-repeat",
        "xforms-ready",
        "xforms-value-changed",
        "xforms-revalidate",
        "jr-insert",
    }
)
SELECTS = frozenset({"select", "select1", "rank"})


def type_named(said: str | None) -> str:
    """Our name for a bind's type; what is unknown is a string, as ODK has it."""
    return TYPES.get((said or "string").rpartition(":")[2], "string")


@dataclass(slots=True, eq=False)
class Item:
    """One choice that is written in the form itself."""

    value: str
    label: Text


@dataclass(slots=True, eq=False)
class Itemset:
    """Choices that come from nodes: which nodes, and where in each the value and label stand."""

    nodeset: Compiled
    value: Compiled
    label: Compiled
    label_is_itext: bool
    shuffled: Compiled | None = None
    """The nodeset within its randomize(), where it has one: the same nodes in another order."""
    column: str = ""
    """What each item's value stands in, where `value` is no more than its name."""
    steady: bool = False
    """The choices are the same in every entry, whatever is answered."""


@dataclass(slots=True, eq=False)
class Action:
    """What happens at an event: a value is set, a place or a sound is recorded."""

    kind: str
    events: frozenset[str]
    target: Path
    value: Compiled | None
    text: str
    source: Control | None
    """The control that the action is written in; None in the model."""
    nodes: Compiled | None = None
    """The target as an expression, where predicates pick one instance of several."""


@dataclass(slots=True, eq=False)
class Control:
    """One element of the form's body."""

    kind: str
    """input, secret, select, select1, upload, trigger, range, rank, group or repeat."""
    path: Path
    """Of the node that it shows; of the group around it when it is a group of no node."""
    bound: bool
    parent: Control | None
    asks: bool
    """It is neither a group nor a repeat."""
    appearance: str = ""
    label: Text | None = None
    hint: Text | None = None
    guidance: Text | None = None
    items: tuple[Item, ...] = ()
    itemset: Itemset | None = None
    parameters: Mapping[str, str] = field(default_factory=dict)
    controls: Sequence[Control] = ()
    actions: tuple[Action, ...] = ()
    count: Compiled | None = None
    count_at: Path = ()
    """Where the count is read from."""
    count_path: Path | None = None
    """Of the node that holds the count, where the count is a plain path."""
    fixed: bool = False
    """jr:noAddRemove, or a count: people neither add nor remove instances."""
    definition: Definition | None = None

    @property
    def holds_one_repeat(self) -> bool:
        """A group of which a repeat is all: the two are one to whoever goes through the form."""
        inside = self.controls
        return self.kind == "group" and len(inside) == 1 and inside[0].kind == "repeat"

    def within(self) -> Iterator[Control]:
        """The control and all inside it, in order."""
        yield self
        for control in self.controls:
            yield from control.within()


class Definition:
    """One node of the form's data: what it holds, and what is so about it. Frozen once loaded."""

    __slots__ = (
        "always_required",
        "attributes",
        "by_name",
        "calculate",
        "children",
        "constraint",
        "constraint_message",
        "control",
        "extra",
        "held",
        "is_attribute",
        "itext_constraint",
        "name",
        "namespace",
        "number",
        "offers",
        "parent",
        "path",
        "prefix",
        "preload",
        "preload_parameters",
        "readonly",
        "ref",
        "relevant",
        "repeat",
        "repeats_above",
        "required",
        "required_message",
        "rules",
        "seed",
        "select",
        "several",
        "template",
        "type",
        "typed",
    )

    def __init__(
        self,
        path: Path,
        parent: Definition | None,
        *,
        namespace: str,
        prefix: str,
        number: int,
        is_attribute: bool = False,
    ) -> None:
        self.path = path
        self.ref: str = (parent.ref if parent is not None else "") + "/" + path[-1]
        """The path as people write it, without positions: /data/member/name."""
        self.name = path[-1].removeprefix("@")
        self.parent = parent
        self.namespace = namespace
        self.prefix = prefix
        self.number = number
        self.is_attribute = is_attribute
        self.children: list[Definition] = []
        self.by_name: dict[str, Definition] = {}
        self.attributes: dict[str, Definition] = {}
        self.repeat: Control | None = None
        self.repeats_above: tuple[int, ...] = ()
        self.control: Control | None = None
        self.type = "string"
        self.held = ""
        """The kind of a plain text here (forms.held.KINDS), for a dialect that tells them apart."""
        self.typed = False
        self.select = ""
        self.offers = False
        """It is a select whose choices are listed somewhere: an answer may be offered no longer."""
        self.several = False
        self.relevant: Compiled | None = None
        self.required: Compiled | None = None
        self.readonly: Compiled | None = None
        self.calculate: Compiled | None = None
        self.constraint: Compiled | None = None
        self.always_required = False
        """`required` says so whatever is answered: nothing is ever worked out."""
        self.constraint_message: Text | None = None
        self.required_message: Text | None = None
        self.preload = ""
        self.preload_parameters = ""
        self.extra: dict[str, str] = {}
        self.seed: Seed | None = None
        self.template: Seed | None = None
        self.rules: tuple[object, ...] = ()

    @property
    def is_group(self) -> bool:
        return bool(self.children)

    def __repr__(self) -> str:
        return f"<Definition {self.ref}>"

    def within(self) -> Iterator[Definition]:
        """The node, its attributes and all nodes below, in order."""
        yield self
        yield from self.attributes.values()
        for child in self.children:
            yield from child.within()


class Seed:
    """A node as a fresh entry or a new instance of a repeat begins."""

    __slots__ = ("attributes", "children", "definition", "text")

    def __init__(
        self,
        definition: Definition,
        text: str,
        attributes: tuple[tuple[Definition, str], ...],
        children: tuple[Seed, ...],
    ) -> None:
        self.definition = definition
        self.text = text
        self.attributes = attributes
        self.children = children


_SIMPLE = re.compile(r"(?:/[\w-]+)+")
_STEP = re.compile(r"^@?(?:[\w.-]+:)?([\w.-]+|\*)")


def steps_of(ref: str, context: Path) -> Path | None:
    """The generic path of a reference read from `context`; None where it is not a plain path.

    Prefixes and predicates are dropped: within one form, local names tell nodes apart.
    """
    ref = ref.strip()
    if _SIMPLE.fullmatch(ref):
        return tuple(ref[1:].split("/"))
    ref = _without_predicates(ref)
    if not ref:
        return None
    absolute = ref.startswith("/")
    at: list[str] = [] if absolute else list(context)
    if ref.startswith("current()"):
        ref = ref.removeprefix("current()").lstrip("/") or "."
    for step in ref.split("/"):
        step = step.strip()  # noqa: PLW2901 - the same step, tidied
        if step in {"", "."}:
            continue
        if step == "..":
            if not at:
                return None
            at.pop()
            continue
        matched = _STEP.fullmatch(step)
        if matched is None:
            return None
        at.append(("@" if step.startswith("@") else "") + matched[1])
    return tuple(at)


def _without_predicates(ref: str) -> str:
    """The path alone, whatever the conditions in it say."""
    if "[" not in ref:
        return ref
    kept: list[str] = []
    depth, quote = 0, ""
    for letter in ref:
        if quote:
            quote = "" if letter == quote else quote
        elif depth and letter in "'\"":
            quote = letter
        elif letter == "[":
            depth += 1
            continue
        elif letter == "]":
            depth -= 1
            continue
        if not depth:
            kept.append(letter)
    return "".join(kept)
