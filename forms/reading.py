"""Reads an XForm: model, binds, texts, events and body, into definitions."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from forms.graph import route
from forms.held import KINDS, WORDS
from forms.itext import Text, parts_of, translations_of
from forms.language import compile_expression
from forms.language.syntax import Binary, Call, Filter, Literal, Negative
from forms.language.syntax import Path as PathTo
from forms.markup import BLANKS, kids, local
from forms.markup import text as written
from forms.model import (
    EVENTS,
    Action,
    Control,
    Definition,
    Item,
    Itemset,
    Path,
    Seed,
    steps_of,
    type_named,
)
from forms.problems import BrokenForm, Problem

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Mapping

    from forms.itext import Translations
    from forms.language import Compiled, Scope
    from forms.language.syntax import Expr
    from forms.markup import Element

JAVAROSA = "{http://openrosa.org/javarosa}"
ENTITIES = "{http://www.opendatakit.org/xforms/entities}"
ODK = "{http://www.opendatakit.org/xforms}"
ASKING = frozenset(
    {"input", "secret", "select", "select1", "upload", "trigger", "range", "rank", "odk:rank"}
)
GROUPS = frozenset({"group", "repeat"})
PROPERTIES = frozenset(
    {
        "deviceid",
        "email",
        "phonenumber",
        "simserial",
        "subscriberid",
        "username",
        "uri:deviceid",
        "uri:email",
        "uri:phonenumber",
        "uri:simserial",
        "uri:subscriberid",
        "uri:username",
    }
)
ACTIONS = frozenset({"setvalue", "setgeopoint", "recordaudio"})
ENTITY_VERSIONS = re.compile(r"^(2022\.1|2023\.1|2024\.1|2025\.1)(\.\d+)*$")
PARAMETERS = frozenset(
    (
        "start",
        "end",
        "step",
        "rows",
        "mediatype",
        "accept",
        "query",
        "autoplay",
        "accuracyThreshold",
        "unacceptableAccuracyThreshold",
        "intent",
        "class",
        "tick-interval",
        "placeholder",
        "labelset",
        "quality",
        "allow-mock-accuracy",
        "incremental",
    )
)
RULES = ("relevant", "required", "readonly", "calculate", "constraint")
_TWICE = frozenset({"relevant", "calculate"})
"""Of these the last one counts, where several binds speak of one node."""
_COMMON = frozenset({"nodeset", "ref", "id", "type", *RULES})
BIND_EXTRAS = frozenset(
    (
        "max-pixels",
        "saveto",
        "track-changes",
        "track-changes-reasons",
        "identify-user",
        "location-priority",
        "location-min-interval",
        "location-max-age",
        "client-editable",
        "quality",
        "noAppErrorString",
        "saveIncomplete",
        "delimiter",
    )
)
_ITEXT = re.compile(r"^\s*jr:itext\(\s*(['\"])(.*)\1\s*\)\s*$", re.DOTALL)
_RANDOMIZE = re.compile(r"^\s*randomize\s*\(", re.DOTALL)
COLUMN = re.compile(r"[A-Za-z_][\w.-]*")
NODES_MAX = 50_000
"""The budget of a form: ten times the largest that we know, whose nodes take 80 MB."""
_REPEATABLE_MAX = 100_000
_ITEMS_MAX = 1_000_000


def loose(element: Element, name: str) -> str | None:
    """The attribute of that local name, with or without a namespace."""
    found = element.get(name)
    if found is not None:
        return found
    for key, value in element.attrib.items():
        if str(key).rpartition("}")[2] == name:
            return str(value)
    return None


class _Names(dict[object, str]):
    """By an element's tag its name without a namespace; "" of what is no element. A form has
    thousands of elements and some dozens of tags, and lxml is asked for a tag once only.
    """

    def __missing__(self, tag: object) -> str:
        name = self[tag] = tag.rpartition("}")[2] if isinstance(tag, str) else ""
        return name


class Reader:
    """One reading of one XForm. What is wrong is gathered in `problems`, all of it."""

    def __init__(self, root: Element, dialect: str) -> None:
        self.dialect = dialect
        self.problems: list[Problem] = []
        self.root = root
        self._names = _Names()
        found = self._find(root)
        self.model, self.body, self.title = found
        parts: dict[str, list[Element]] = {}
        self._model_actions: list[Element] = []
        for name, part in self._kids(self.model):
            parts.setdefault(name, []).append(part)
            if name in ACTIONS:
                self._model_actions.append(part)
        instances = parts.get("instance", [])
        primary = next((one for one in instances if next(kids(one), None) is not None), None)
        if not instances or primary is not instances[0]:
            first = instances[0] if instances else None
            if first is None or next(kids(first), None) is None:
                self._stop("the model holds no primary instance")
        assert primary is not None
        self.instances = instances[1:]
        self.data = next(kids(primary))
        self.top: Path = (local(self.data),)
        self.binds = [_attributes(one) for one in parts.get("bind", ())]
        self.bind_ids = {one["id"]: one.get("nodeset") or "" for one in self.binds if one.get("id")}
        itext = next(iter(parts.get("itext", ())), None)
        self.translations: Translations = translations_of(itext, browser=dialect == "webforms")
        self.submission: dict[str, str] = {
            key.rpartition("}")[2]: value
            for one in parts.get("submission", ())[:1]
            for key, value in _attributes(one).items()
        }
        self.nsmap = {prefix: uri for prefix, uri in root.nsmap.items() if prefix}
        self.controls: list[Control] = []
        self.ruled: set[Definition] = set()
        """Those of which a bind says more than a type."""
        self.itemsets: list[tuple[Control, Itemset]] = []
        self.actions: list[Action] = []
        self.by_path: dict[Path, Definition] = {}
        self.by_ref: dict[str, Definition] = {}
        self._columns: dict[tuple[str, str, Path], tuple[Compiled | None, Compiled | None]] = {}
        """What has been read already of how choices are taken from their items."""
        self.scope: Scope | None = None
        self._late_controls: list[tuple[Control, Element, list[tuple[str, Element]]]] = []
        self._pending_actions: list[tuple[Element, Control | None, str, frozenset[str], Path]] = []

    # -- reading, in the order in which one thing needs another

    def _find(self, root: Element) -> tuple[Element, Element | None, str]:
        # A model by itself is a form that asks nothing: Collect opens it.
        model = root if local(root) == "model" and self.dialect == "collect" else None
        body = None
        title = ""
        for part in kids(root):
            if local(part) == "body":
                body = part if body is None else body
            elif local(part) == "model":
                model = part if model is None else model
            elif local(part) == "head":
                for element in kids(part):
                    if local(element) == "model" and model is None:
                        model = element
                    elif local(element) == "title" and not title:
                        title = (element.text or "").strip()
        if model is None:
            self._stop("there is no <model>")
        assert model is not None
        return model, body, title

    def _kids(self, element: Element) -> list[tuple[str, Element]]:
        """The child elements with their names."""
        names = self._names
        return [(name, kid) for kid in element if (name := names[kid.tag])]

    def _stop(self, reason: str) -> None:
        self.problems.append(Problem("", None, "", reason))
        raise BrokenForm(tuple(self.problems))

    def problem(self, question: str, reason: str) -> None:
        self.problems.append(Problem("survey", None, question, reason))

    def read_body(self) -> None:
        """The controls and their places; what they say is read once the nodes are known."""
        if self.body is not None:
            for name, element in self._kids(self.body):
                self._control(name, element, self.top, None, self.controls)

    def _place(self, attributes: Mapping[str, str], context: Path) -> Path | None:
        said = attributes.get("bind")
        if said is not None and said in self.bind_ids:
            return steps_of(self.bind_ids[said], context)
        said = attributes.get("ref") or attributes.get("nodeset")
        if said is None:
            return None
        return steps_of(said, context)

    def _control(
        self,
        name: str,
        element: Element,
        context: Path,
        parent: Control | None,
        among: list[Control],
    ) -> None:
        """The control and all inside it; it goes `among` those around it."""
        if name in ACTIONS:
            # Collect does what stands in the model, in a question or in a repeat, and nothing else.
            if self.dialect == "webforms" or (parent is not None and parent.kind == "repeat"):
                self._action(element, parent, context)
            return
        if name not in ASKING and name not in GROUPS:
            return
        attributes = _attributes(element)
        place = self._place(attributes, context)
        control = Control(
            name,
            context if place is None else place,
            bound=place is not None,
            parent=parent,
            asks=name not in GROUPS,
            appearance=attributes.get("appearance", "").strip(),
        )
        if len(attributes) > 1:
            control.parameters = {
                parameter: value
                for key, value in attributes.items()
                if (parameter := key.rpartition("}")[2]) in PARAMETERS
            }
        if control.asks and place is None:
            self.problem("", f"a <{name}> names no node with ref or bind")
            return
        among.append(control)
        within = self._kids(element)
        self._late_controls.append((control, element, within))
        if control.asks:
            for inside, kid in within:
                if inside in ACTIONS:
                    self._action(kid, control, control.path[:-1])
            return
        below: list[Control] = []
        control.controls = below
        inner = control.path if control.bound else context
        for inside, kid in within:
            self._control(inside, kid, inner, control, below)

    def read_data(self) -> Definition:
        """The nodes, with what fresh entries and new instances begin with."""
        self.repeats = {
            one.path: one for top in self.controls for one in top.within() if one.kind == "repeat"
        }
        self.count = 0
        """How many nodes are known: each has its own number, those of the meta group too."""
        self._texts: list[Seed] = []
        # Counted first: each becomes a node with all that a node can have.
        if sum(1 + len(one.attrib) for one in self.data.iter()) > NODES_MAX:
            reason = f"its data has more than {NODES_MAX:,} nodes, attributes included"
            raise BrokenForm((Problem("", None, "", reason),))
        seed = self._node(self.data, self.top, None)
        root = seed.definition
        root.seed = seed
        for leaf in self._texts:
            # Beside it, another instance has nodes below.
            if leaf.definition.children:
                leaf.text = ""
        for control in self.repeats.values():
            found = self.by_path.get(control.path)
            if found is None:
                self.problem(control.path[-1], f"the repeat's node {_ref(control.path)} is missing")
                continue
            found.repeat = control
        for path in self.repeats:
            found = self.by_path.get(path)
            if found is not None and found.template is None:
                found.template = _blank(found)
        return root

    def _define(self, element: Element, path: Path, parent: Definition | None) -> Definition:
        tag = element.tag
        made = Definition(
            path,
            parent,
            namespace=tag[1:].partition("}")[0] if tag.startswith("{") else "",
            prefix=element.prefix or "",
            number=self.count,
        )
        self.count += 1
        self.by_path[path] = self.by_ref[made.ref] = made
        if parent is not None:
            parent.children.append(made)
            parent.by_name[made.name] = made
            made.repeats_above = parent.repeats_above
        made.repeat = self.repeats.get(path)
        if made.repeat is not None:
            made.repeats_above = (*made.repeats_above, len(path))
        return made

    def _labels(
        self, element: Element, definition: Definition
    ) -> tuple[tuple[Definition, str], ...]:
        """The element's attributes: each a node of its own, with what it begins with."""
        found = []
        for name, value in _attributes(element).items():
            if name == f"{JAVAROSA}template":
                continue
            short = name.rpartition("}")[2]
            attribute = definition.attributes.get(short)
            if attribute is None:
                uri = name[1:].partition("}")[0] if name.startswith("{") else ""
                prefix = (
                    next((p for p, u in element.nsmap.items() if u == uri and p), "") if uri else ""
                )
                attribute = self._attribute_of(
                    definition, (*definition.path, "@" + short), uri, prefix
                )
            found.append((attribute, value))
        if self.dialect == "webforms" and definition.repeat is not None:
            # Web Forms drops the attributes of a repeat's instances.
            return ()
        return tuple(found)

    def _attribute_of(self, owner: Definition, path: Path, uri: str, prefix: str) -> Definition:
        made = Definition(
            path, owner, namespace=uri, prefix=prefix, number=self.count, is_attribute=True
        )
        made.repeats_above = owner.repeats_above
        self.count += 1
        owner.attributes[made.name] = made
        self.by_path[path] = self.by_ref[made.ref] = made
        return made

    def _node(self, element: Element, path: Path, parent: Definition | None) -> Seed:
        """What the element says of the node at the path, and what an entry begins with there."""
        definition = self.by_path.get(path)
        if definition is None:
            definition = self._define(element, path, parent)
        attributes = self._labels(element, definition) if element.keys() else ()
        if not len(element):
            text = element.text
            seed = Seed(definition, self._first(text) if text else "", attributes, ())
            if seed.text:
                self._texts.append(seed)
            return seed
        children: list[Seed] = []
        counts: dict[str, int] = {}
        for name, kid in self._kids(element):
            seed = self._node(kid, (*path, name), definition)
            below = seed.definition
            if below.repeat is not None:
                if kid.get(f"{JAVAROSA}template") is not None:
                    if below.template is None or not below.typed:
                        below.template = seed
                        below.typed = True
                    continue
                if below.template is None:
                    # In Web Forms the instances of repeats inside it stay.
                    left_out = self.repeats if self.dialect == "collect" else ()
                    below.template = _emptied(seed, left_out)
            elif name in counts:
                below.several = True
            counts[name] = counts.get(name, 0) + 1
            children.append(seed)
        if self.dialect == "collect" and len(counts) != len(children):
            # Nodes of one name stand together there, wherever the form has them.
            order = {name: number for number, name in enumerate(counts)}
            children.sort(key=lambda seed: order[seed.definition.name])
        text = "" if definition.children else written(element)
        return Seed(definition, self._first(text), attributes, tuple(children))

    def _first(self, text: str) -> str:
        """A first value: blanks around it are none of it in Collect."""
        bare = text.strip(BLANKS)
        return bare if self.dialect == "collect" or not bare else text

    def compile(self, text: str, at: Path, what: str, pinned: int | None = None) -> Compiled | None:
        """The expression, ready to run where `at` is; a problem is noted when it cannot be."""
        assert self.scope is not None
        try:
            compiled = compile_expression(text, at=at, scope=self.scope, pinned=pinned)
        except ValueError as fault:
            self.problem(at[-1].removeprefix("@"), f"{what} {text!r} of {_ref(at)}: {fault}")
            return None
        if self.dialect == "collect" and not compiled.instances <= self.scope.instances:
            # pulldata() of a file that is not there is blank; a list that is not there is refused.
            for name in sorted(set(_lists(compiled.ast)) - self.scope.instances):
                there = ", ".join(sorted(self.scope.instances)) or "none"
                self.problem(
                    at[-1].removeprefix("@"),
                    f"{what}: there is no list {name!r} for instance({name!r}); the form's lists "
                    f"are: {there}; name one of these, or take the list in by a row of type "
                    "csv-external",
                )
        return compiled

    def read_binds(self) -> None:
        """What is so about each node: type, rules, messages, preloads."""
        for definition in self.by_path.values():
            definition.typed = False
        for bind in self.binds:
            nodeset = bind.get("nodeset")
            if nodeset is None:
                nodeset = bind.get("ref")
            if nodeset is None:
                self._stop("a <bind> has no nodeset")
            # Most often it is written as we write it.
            bound = self.by_ref.get(nodeset or "")
            if bound is None:
                path = steps_of(nodeset or "", self.top)
                if path is None:
                    self.problem("", f"a bind's nodeset {nodeset!r} is no path")
                    continue
                if self.dialect == "collect":
                    # Collect takes the first step of a path for the root of the data, whatever its
                    # name.
                    path = (*self.top, *path[1:])
                bound = self.by_path.get(path) or self._attribute(path)
            if bound is not None:
                self._bind(bind, bound)

    def _attribute(self, path: Path) -> Definition | None:
        """A bound attribute that the instance does not spell out."""
        owner = self.by_path.get(path[:-1])
        if owner is None or not path[-1].startswith("@"):
            return None
        return self._attribute_of(owner, path, "", "")

    def _bind(self, bind: Mapping[str, str], definition: Definition) -> None:
        at = definition.path
        said = bind.get("type")
        if said is not None:
            definition.type = type_named(said)
            definition.typed = True
            if self.dialect == "collect":
                definition.held = KINDS.get(definition.type, WORDS)
        for name in RULES:
            text = bind.get(name)
            if text is None or not text or text.isspace():
                continue
            self.ruled.add(definition)
            if name in _TWICE or getattr(definition, name) is None:
                setattr(definition, name, self.compile(text, at, name))
        if not bind.keys() <= _COMMON:
            self._besides(bind, definition)

    def _besides(self, bind: Mapping[str, str], definition: Definition) -> None:
        """What few binds have: messages, preloads, and what only a device asks about."""
        for name, key in (
            ("constraint_message", "constraintMsg"),
            ("required_message", "requiredMsg"),
        ):
            said = bind.get(JAVAROSA + key)
            if said is not None:
                setattr(definition, name, self._message(said))
        preload = bind.get(JAVAROSA + "preload")
        if preload is not None:
            definition.preload = preload
            self._known_property(bind, definition.path)
            definition.preload_parameters = bind.get(JAVAROSA + "preloadParams") or ""
        for attribute, value in bind.items():
            short = attribute.rpartition("}")[2]
            if short in BIND_EXTRAS:
                definition.extra[short] = value

    def _known_property(self, bind: Mapping[str, str], at: Path) -> None:
        name = bind.get(JAVAROSA + "preloadParams") or ""
        if bind.get(JAVAROSA + "preload") == "property" and name not in PROPERTIES:
            self.problem(at[-1], f"{_ref(at)} preloads {name!r}, which is no property of a device")

    def _message(self, text: str) -> Text:
        named = _ITEXT.match(text)
        return Text(itext=named[2]) if named else Text(parts=(text,))

    def read_controls(self) -> None:
        """What each control says and offers."""
        for control, element, within in self._late_controls:
            definition = self.by_path.get(control.path)
            if control.bound and definition is None and self.dialect == "webforms":
                self._leave_out(control)
                continue
            if control.bound and definition is None:
                self.problem(
                    control.path[-1] if control.path else "",
                    f"the <{control.kind}> at {_ref(control.path)} shows a node that the form's "
                    "data does not have",
                )
                continue
            if control.bound:
                assert definition is not None
                control.definition = definition
                control.path = definition.path
                if control.asks:
                    self._attach(control, definition)
                elif definition.control is None:
                    definition.control = control
            self._says(control, element, within)

    def _leave_out(self, control: Control) -> None:
        above = self if control.parent is None else control.parent
        above.controls = [one for one in above.controls if one is not control]

    def _attach(self, control: Control, definition: Definition) -> None:
        if definition.control is None or not definition.control.asks:
            definition.control = control
        if control.kind in {"select", "select1", "rank"}:
            definition.select = definition.select or control.kind
        closest = control.parent
        while closest is not None and closest.kind != "repeat":
            closest = closest.parent
        inner = definition.repeats_above
        if closest is None and not inner:
            return
        repeat = self.by_path[definition.path[: inner[-1]]] if inner else None
        if (closest.definition if closest is not None else None) is not repeat and (
            repeat is None or closest is None or repeat.path != closest.path
        ):
            if closest is None:
                return
            if repeat is None or repeat.path[: len(closest.path)] != closest.path:
                self.problem(
                    definition.name,
                    f"{definition.ref} is shown inside the repeat {_ref(closest.path)}, "
                    "where it does not belong",
                )

    def _says(self, control: Control, element: Element, within: list[tuple[str, Element]]) -> None:
        at = control.path
        select = control.kind in {"select", "select1", "rank"}
        items: list[Item] = []
        for name, kid in within:
            if name == "label":
                control.label = self._text(kid, at)
            elif name == "hint":
                control.hint = self._text(kid, at)
                if control.hint.itext:
                    control.guidance = control.hint
            elif name == "item" and select:
                self._item(items, kid, at)
            elif name == "itemset" and select:
                control.itemset = self._itemset(kid, at)
                if control.itemset is not None:
                    self.itemsets.append((control, control.itemset))
        control.items = tuple(items)
        if select and not control.items and control.itemset is None and self.dialect == "collect":
            self.problem(at[-1], f"the select {_ref(at)} has no choices")
        if control.kind == "range":
            for parameter in ("start", "end", "step"):
                value = control.parameters.get(parameter)
                if value is not None and not re.fullmatch(r"\s*[-+]?(\d+\.?\d*|\.\d+)\s*", value):
                    self.problem(at[-1], f"the range's {parameter} {value!r} is no number")
        if control.kind == "repeat":
            self._repeat(control, element)

    def _repeat(self, control: Control, element: Element) -> None:
        count = element.get(JAVAROSA + "count")
        if count is not None and count.strip():
            # Relative to what is around the repeat: most often the group of the same node.
            at: Path = self.top
            for around in _above(control):
                if around.bound:
                    at = around.path
                    break
            browser = self.dialect == "webforms"
            if browser:
                # Web Forms reads it as every other expression of a control, from its own node.
                at = control.path
            place = steps_of(count, at)
            lost = place is not None and place not in self.by_path
            if lost and not browser and not count.strip().isdigit():
                self.problem(
                    control.path[-1],
                    f"the repeat's count {count!r} names no question",
                )
            control.count = self.compile(count, at, "repeat_count")
            control.count_at = at
            control.count_path = place if place in self.by_path else None
            control.fixed = True
        fixed = element.get(JAVAROSA + "noAddRemove")
        if fixed is not None and fixed.strip() in {"true", "true()", "1"}:
            control.fixed = True

    def _text(self, element: Element, at: Path) -> Text:
        ref = element.get("ref")
        if ref is None:
            return Text(parts=parts_of(element, browser=self.dialect == "webforms"))
        named = _ITEXT.match(ref)
        if named:
            if named[2] and not self._has_text(named[2]):
                self.problem(at[-1] if at else "", f"no translation has the text {named[2]!r}")
            return Text(itext=named[2])
        if ref.strip().startswith("jr:itext("):
            inner = ref.strip().removeprefix("jr:itext(").rstrip().removesuffix(")")
            return Text(expression=self.compile(inner, at, "label"), named=True)
        return Text(expression=self.compile(ref, at, "label"))

    def _has_text(self, name: str) -> bool:
        return any(name in table for table in self.translations.texts.values())

    def _item(self, items: list[Item], element: Element, at: Path) -> None:
        label = Text()
        value: str | None = None
        for name, kid in self._kids(element):
            if name == "label":
                label = self._text(kid, at)
            elif name == "value":
                value = written(kid).strip(BLANKS if self.dialect == "collect" else None)
        if value is None:
            self.problem(at[-1], f"a choice of {_ref(at)} has no value")
            return
        items.append(Item(value, label))

    def _itemset(self, element: Element, at: Path) -> Itemset | None:
        nodeset = element.get("nodeset") or ""
        shuffled = None
        plain = nodeset
        if _RANDOMIZE.match(nodeset):
            shuffled = self.compile(nodeset, at, "choices")
            inner = nodeset.strip()[nodeset.strip().index("(") + 1 : -1]
            plain, _seed = _split_argument(inner)
        label = value = ""
        itext = False
        for name, kid in self._kids(element):
            ref = kid.get("ref") or ""
            if name == "label":
                label = ref
                if ref.strip().startswith("jr:itext("):
                    itext = True
                    label = ref.strip().removeprefix("jr:itext(").rstrip().removesuffix(")")
            elif name == "value":
                value = ref
        compiled = self.compile(plain, at, "choices")
        if not label:
            self.problem(at[-1], f"the choices of {_ref(at)} have no label")
            return None
        # Value and label are read from each item; an item of a repeat in the form's own data
        # stands at a known path, another one anywhere.
        inside = steps_of(plain, at) if "instance(" not in plain else None
        where = inside if inside in self.by_path else ("*item*",)
        assert where is not None
        taken = self._columns.get((value, label, where))
        if taken is not None and compiled is not None:
            value_compiled, label_compiled = taken
        else:
            value_compiled = self.compile(value or ".", where, "the choices' value")
            label_compiled = self.compile(label, where, "the choices' label")
        if compiled is None or value_compiled is None or label_compiled is None:
            return None
        self._columns[value, label, where] = value_compiled, label_compiled
        column = value.strip() if COLUMN.fullmatch(value.strip()) else ""
        return Itemset(compiled, value_compiled, label_compiled, itext, shuffled, column)

    def _action(self, element: Element, source: Control | None, context: Path) -> None:
        kind = local(element)
        if kind in {"setgeopoint", "recordaudio"} and not str(element.tag).startswith(ODK):
            if self.dialect == "webforms":
                return
            self.problem("", f"<{kind}> must be in ODK's namespace")
            return
        events = frozenset((element.get("event") or "").split())
        unknown = sorted(events - EVENTS)
        if unknown or not events:
            self.problem("", f"a <{kind}> waits for unknown events: {', '.join(unknown) or 'none'}")
            return
        alone = self.dialect == "webforms" or len(events) == 1
        if source is None and "odk-new-repeat" in events and alone:
            self.problem("", f"a <{kind}> for odk-new-repeat must stand inside its repeat")
            return
        said = element.get("bind")
        ref = self.bind_ids.get(said) if said is not None else element.get("ref")
        target = steps_of(ref or "", context) if ref else None
        if target is None:
            self.problem("", f"a <{kind}> names no node")
            return
        self._pending_actions.append((element, source, kind, events, target))

    def read_actions(self) -> None:
        """The events' actions, those of the model first."""
        waiting = self._pending_actions
        self._pending_actions = []
        root = self.top
        for element in self._model_actions:
            self._action(element, None, root)
        for element, source, kind, events, target in [*self._pending_actions, *waiting]:
            if target not in self.by_path and self._attribute(target) is None:
                self.problem(target[-1], f"a <{kind}> sets {_ref(target)}, which is no node")
                continue
            value = None
            ref = element.get("ref") or ""
            place = self.top
            if source is not None:
                place = source.path if not source.asks else source.path[:-1]
            said = element.get("value")
            text = element.text or ""
            if said or (said is not None and self.dialect == "collect"):
                text = ""
            if said is not None and said.strip():
                value = self.compile(said, target, kind, self._pinned(place, target, ref))
            nodes = self.compile(ref, place, kind) if "[" in ref else None
            action = Action(kind, events, target, value, text, source, nodes)
            self.actions.append(action)
            if source is not None:
                source.actions = (*source.actions, action)

    def _pinned(self, place: Path, target: Path, ref: str) -> int | None:
        """How far an absolute path in an action means the instances around its target: in Collect as
        far as those are around the action too. From outside a repeat it means all of them.
        """
        assert self.scope is not None
        common = len(place) - route(place, target)[0]
        inside = any(target[:end] in self.scope.repeats for end in range(common + 1, len(target)))
        return common if inside and self.dialect == "collect" and "[" not in ref else None


def _attributes(element: Element) -> dict[str, str]:
    """All at one go: to ask lxml for one after the other takes longer."""
    return dict(element.items())  # type: ignore[arg-type] # all are texts


def _lists(expr: Expr) -> Iterator[str]:
    """The lists that the expression asks for by their names."""
    waiting: list[Expr | str] = [expr]
    while waiting:
        one = waiting.pop()
        if isinstance(one, Call):
            named = one.arguments[0] if one.name == "instance" and one.arguments else None
            if isinstance(named, Literal):
                yield named.value
            waiting.extend(one.arguments)
        elif isinstance(one, PathTo):
            waiting.append(one.start)
            waiting.extend(inner for step in one.steps for inner in step.predicates)
        elif isinstance(one, Filter):
            waiting.extend((one.source, *one.predicates))
        elif isinstance(one, Binary):
            waiting.extend((one.left, one.right))
        elif isinstance(one, Negative):
            waiting.append(one.operand)


def _above(control: Control) -> list[Control]:
    found = []
    above = control.parent
    while above is not None:
        found.append(above)
        above = above.parent
    return found


def _ref(path: Path) -> str:
    return "/" + "/".join(path)


def _blank(definition: Definition) -> Seed:
    """A new instance of a repeat of which the form shows no example."""
    return Seed(
        definition,
        "",
        (),
        tuple(_blank(child) for child in definition.children if child.repeat is None),
    )


def _emptied(seed: Seed, left_out: Container[Path]) -> Seed:
    """An instance as a template: without its values (its attributes keep theirs), and without what
    is at the paths `left_out`.
    """
    inside = (one for one in seed.children if one.definition.path not in left_out)
    return Seed(
        seed.definition, "", seed.attributes, tuple(_emptied(one, left_out) for one in inside)
    )


def _split_argument(inner: str) -> tuple[str, str]:
    """The two arguments of randomize(), apart at the comma outside brackets and quotes."""
    depth, quote = 0, ""
    for place, letter in enumerate(inner):
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        elif letter in "([":
            depth += 1
        elif letter in ")]":
            depth -= 1
        elif letter == "," and not depth:
            return inner[:place], inner[place + 1 :].strip()
    return inner, ""
