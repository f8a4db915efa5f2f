"""A form being filled in: every answer is weighed at once, and nothing is ever silently dropped."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from functools import lru_cache
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Literal
from unicodedata import normalize

from forms.bulk import bulk
from forms.choices import Choice, browser_takes, offered, ranked, values, within_bounds
from forms.finish import Submission, finished, serialized
from forms.graph import route
from forms.held import whole
from forms.instance import (
    Cell,
    below,
    everything,
    grow,
    insert,
    position_of,
    ref_of,
    remove,
)
from forms.itext import MEDIA, Output
from forms.language import TooCostly
from forms.markup import parse
from forms.media import instance_of
from forms.plant import of_form, plant
from forms.preload import preloaded, property_named
from forms.values import answered, calculated, chosen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from datetime import datetime, tzinfo

    from forms.context import Context
    from forms.form import Form
    from forms.graph import Rule
    from forms.itext import Text
    from forms.language import Compiled
    from forms.markup import Element
    from forms.model import Action, Control, Definition, Itemset, Path
    from forms.tree import Node

FaultKind = Literal[
    "constraint",
    "required",
    "type",
    "choice",
    "irrelevant",
    "calculate",
    "unknown",
    "missing",
    "attachment",
    "form",
    "size",
]
STEPS_MAX = 5_000_000
"""What all expressions that follow from one act may look at together."""
SHOWN_MAX = 1_000_000
"""Characters of answers that one text shows."""
INSTANCES_MAX = 10_000
INSTANCE_STEPS = 250
"""What a new instance of a repeat costs: an act makes 20,000, however repeats are nested."""
TEXTS_MAX = 20_000_000
"""How many characters the long calculated texts of one act may have together."""
_LONG = 10_000
_LISTED = frozenset({"string", "select", "select1", "rank"})
"""What a question that chooses from a list is, but where its values are numbers or dates."""
_ROUNDS_MAX = 50


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with one answer: where, what kind of fault, and why in words."""

    ref: str
    kind: FaultKind
    reason: str
    said: bool = False
    """Whether the reason is in the form's own words."""


@dataclass(frozen=True, slots=True)
class Changed:
    """What one act changed. `refs` are nodes whose value, rules, texts or choices may be new;
    `added` and `removed` are instances of repeats; `fault` is the answer's own.
    """

    refs: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    fault: Fault | None = None


@dataclass(frozen=True, slots=True)
class State:
    """All that a page needs to know about one place in the form.

    kind: a control's (input, select1, ...), "group", "repeat" (all instances together; its
    parameters hold "count" and "fixed"), "instance", or "node" for what is not shown.
    """

    ref: str
    kind: str
    type: str
    appearance: str = ""
    value: str = ""
    relevant: bool = True
    required: bool = False
    readonly: bool = False
    label: str = ""
    hint: str = ""
    guidance: str = ""
    media: dict[str, str] = field(default_factory=dict)
    choices: tuple[Choice, ...] = ()
    fault: Fault | None = None
    required_message: str = ""
    constraint_message: str = ""
    parameters: dict[str, str] = field(default_factory=dict)
    depth: int = 0

    @property
    def chosen(self) -> tuple[str, ...]:
        """The choices that the value of a select or rank names."""
        return tuple(chosen(self.value))


def _instances(number: float) -> int:
    """A count as instances; what is no number asks for none, and one without end for too many."""
    return 0 if math.isnan(number) else int(max(min(number, 1e9), 0))


class NoSuchNode(KeyError):
    """The entry has nothing there; nothing was changed."""

    def __str__(self) -> str:
        return str(self.args[0])


class NoSuchLanguage(ValueError):
    """The form speaks other languages; the entry goes on in the one that it was in."""


class NotAsked(ValueError):
    """Nobody can answer there now. Nothing was changed."""


class Restless(ValueError):
    """Values that a dialect lets depend on each other in a circle never come to rest."""


_LOAD = frozenset(("odk-instance-load",))
_FIRST_LOAD = frozenset(("odk-instance-first-load", "xforms-ready", "odk-instance-load"))
_NEW = frozenset(("odk-new-repeat", "jr-insert"))
_STEP = re.compile(r"(@?)(?:[\w.-]+:)?([\w.-]+)(?:\[(\d+)\])?")


@lru_cache(4096)
def _steps(ref: str) -> tuple[tuple[str, str, int | None], ...]:
    """Of each step of a reference the sign, the name and the position. Raises NoSuchNode."""
    found = []
    for step in ref.strip("/").split("/"):
        matched = _STEP.fullmatch(step)
        if matched is None:
            raise NoSuchNode(f"{ref}: {step!r} names no node")
        found.append((matched[1], matched[2], int(matched[3]) if matched[3] else None))
    return tuple(found)


class Entry:
    """One interview. Also the world that its expressions see (forms.language.Env)."""

    def __init__(self, form: Form, context: Context, root: Cell) -> None:
        self.form = form
        self.context = context
        self.root = root
        self.dialect = form.dialect
        self.language = form.default_language
        self.zone: tzinfo = context.zone
        self.steps = STEPS_MAX
        self._written = 0
        self._heap: list[int] = []
        self._pending: dict[int, dict[Cell, None]] = {}
        self._rules = form.graph.rules
        self._touched: dict[Cell, None] = {}
        self._flipped: dict[Cell, None] = {}
        self._added: list[Cell] = []
        self._removed: list[str] = []
        self._moment: datetime | None = None
        self._last_saved: Node | None = None
        self._taken: dict[Cell, str] = {}
        self._deep = 0
        self._begun = False
        self._seen: dict[Cell, str] = {}
        """What was seen of answers that actions follow."""
        self._loading = False
        """The actions of a load or of a new instance are under way, as Web Forms has them."""
        self._read_back = False
        self._made: dict[Node, None] = {}
        """Instances of repeats that were added here."""
        self.left_out: tuple[str, ...] = ()
        """What stood in the XML that it was read from, and has no place in this version of the form."""

    # -- beginnings

    @classmethod
    def start(cls, form: Form, context: Context, dialect: str | None = None) -> Entry:
        """A new entry: preloads, first-load events, then everything that follows from them."""
        if dialect is not None:
            form = form.in_dialect(dialect)
        assert form.root.seed is not None
        with bulk():
            entry = cls(form, context, grow(form.root.seed, None))
            entry._begin(first=True)
        return entry

    @classmethod
    def resume(
        cls, form: Form, saved: bytes, context: Context, dialect: str | None = None
    ) -> Entry:
        """An entry kept by `save`, or any submission's XML. Never runs first-load events.

        An entry of another version opens too; what this one has no place for is in `left_out`.
        Raises WrongForm where the XML is not this form's.
        """
        if dialect is not None:
            form = form.in_dialect(dialect)
        root, left_out = cls._read(form, parse(saved, what="the saved entry"))
        entry = cls(form, context, root)
        entry.left_out = left_out
        entry._begin(first=False)
        return entry

    @classmethod
    def edit(
        cls, form: Form, submission: bytes, context: Context, dialect: str | None = None
    ) -> Entry:
        """A correction: a new entry that names the submission it replaces as deprecatedID.

        As with `resume`, other versions open, `left_out` names what goes, and another form's
        submission raises WrongForm.
        """
        if dialect is not None:
            form = form.in_dialect(dialect)
        root, left_out = cls._read(form, parse(submission, what="the submission"))
        entry = cls(form, context, root)
        entry.left_out = left_out
        entry._rename()
        entry._begin(first=False)
        return entry

    _of_any_form = False

    @classmethod
    def _read(cls, form: Form, root: Element) -> tuple[Cell, tuple[str, ...]]:
        if not cls._of_any_form:
            of_form(form, root)
        left_out: list[str] = []
        return plant(form, root, left_out=left_out), tuple(left_out)

    def _rename(self) -> None:
        """The id it had becomes deprecatedID; where the form makes its ids, a new one is made (at
        the latest when the entry is finished: no correction keeps the id of what it replaces).
        """
        own = self._meta(self.form.instance_id)
        if own.text:
            self._meta(self.form.deprecated_id).text = own.text
        definition = self.form.instance_id
        if definition.preload == "uid" or definition.calculate or self._adds_id(own):
            own.text = "uuid:" + self.context.new_uuid()

    def _adds_id(self, own: Cell) -> bool:
        """Whether it is the engine, not the form, that has put an id there."""
        seed = self.form.root.seed
        assert seed is not None
        written = any(
            one.definition is self.form.instance_id
            for meta in seed.children
            if meta.definition is self.form.meta
            for one in meta.children
        )
        return not written or not own.text

    def _meta(self, definition: Definition) -> Cell:
        """The node under meta, made where it is missing."""
        here = self.root
        for wanted in (self.form.meta, definition):
            found = here.kids.get(wanted.name)
            if found:
                here = found[0]  # type: ignore[assignment]
            else:
                made = Cell(wanted, "", here)
                insert(here, made)
                here = made
        return here

    def _begin(self, *, first: bool) -> None:
        self._moment = self.context.now().astimezone(self.zone)
        self._read_back = not first
        self._normalize()
        if first:
            if self.dialect.adds_instance_id and not self._instance_id():
                definition = self.form.instance_id
                ruled = definition.calculate is not None or definition.preload
                written = below(self.root, ("meta", "instanceID"))
                if not ruled and not definition.typed and not written:
                    self._meta(definition).text = "uuid:" + self.context.new_uuid()
            self._preload(self.root)
        if self.dialect.webforms:
            if first:
                self._fixed(self.root)
            self._settle_all()
            self._counted()
            self._node_by_node(_FIRST_LOAD if first else _LOAD, self.root)
        else:
            if first:
                self._fire("odk-instance-first-load")
                self._fire("xforms-ready")
            self._fire("odk-instance-load")
            self._heap.clear()
            self._pending.clear()
            self._settle_all()
        self._forget()
        self.look()
        self._after()
        self._begun = True
        self._forget()

    def _fixed(self, top: Cell) -> None:
        """A repeat to which people add nothing has at least the one instance of its template."""
        for definition in self.form.repeats:
            control = definition.repeat
            if control is None or not control.fixed or control.count is not None:
                continue
            for parent in below(top, definition.path[1:-1]):
                if definition.name not in parent.kids:
                    made = grow(self.form.seed_of(definition), None)
                    made.parent = parent
                    insert(parent, made)

    def _instance_id(self) -> str:
        found = below(self.root, ("meta", "instanceID"))
        return found[0].text if found else ""

    def _normalize(self) -> None:
        """Defaults written in the form read as an answer of their type would."""
        for node in everything(self.root):
            definition = node.defn
            if not node.text:
                continue
            if definition.type != "string" and not definition.select:
                node.text = self._cast(node.text, definition.type)
                if self.dialect.webforms:
                    node.text = within_bounds(definition, node.text)
            elif definition.select in {"select", "rank"}:
                node.text = " ".join(chosen(node.text))
            if not self._read_back:
                self._listed(node)

    def _listed(self, node: Cell) -> None:
        """In Collect a first value that is not in a list written in the form itself is none."""
        definition = node.defn
        control = definition.control
        if control is None or not control.items or self.dialect.webforms:
            return
        if definition.select and definition.type in _LISTED and control.itemset is None:
            names = {one.value for one in control.items}
            if definition.select == "select1":
                node.text = node.text if node.text in names else ""
            else:
                node.text = " ".join(one for one in chosen(node.text) if one in names)

    def _preload(self, top: Cell) -> None:
        """Attributes are filled in by Web Forms alone."""
        depth = len(top.defn.path)
        for definition in self.form.preloads:
            if definition.path[:depth] != top.defn.path:
                continue
            if definition.is_attribute and not self.dialect.webforms:
                continue
            for node in below(top, definition.path[depth:]):
                text = preloaded(definition, self.context, self.zone, self.dialect)
                if text is not None:
                    node.text = text

    # -- the world that expressions see (forms.language.Env)

    def instance(self, name: str) -> Node | None:
        if self.form.wants_last_saved(name):
            if self._last_saved is None and self.context.last_saved is not None:
                self._last_saved = instance_of(
                    parse(self.context.last_saved, what="the last saved submission"),
                    browser=self.dialect.webforms,
                )
            return self._last_saved
        return self.form.instance(name)

    def now(self) -> datetime:
        if self._moment is None:
            return self.context.now().astimezone(self.zone)
        return self._moment

    def random(self) -> float:
        return self.context.random()

    def spend(self, steps: int) -> None:
        self.steps -= steps
        if self.steps < 0:
            raise TooCostly(f"what follows from one act takes more than {STEPS_MAX:,} steps")

    def new_uuid(self) -> str:
        return self.context.new_uuid()

    def property(self, name: str) -> str:
        return property_named(self.context, name)

    def itext(self, name: str) -> str:
        parts = self.form.said(name, self.language)
        if parts is None:
            # Collect shows which text is missing; one that has only pictures is not.
            tables = self.form.translations.texts.values()
            there = self.dialect.webforms or any(name in table for table in tables)
            return "" if there else f"[itext:{name}]"
        return self._woven(parts, self.root)

    def choice_label(self, node: Node, value: str, path: str) -> str:
        """What the choice `value` of the question at `path`, seen from `node`, is called."""
        definition = self._named_by(node, path)
        if definition is None or definition.control is None:
            return ""
        if not definition.select and self.dialect.webforms:
            raise ValueError(f"jr:choice-name(): {definition.ref} offers no choices")
        at = self._nearest(node, definition)
        if at is None:
            return ""
        self._chosen_at(at)
        try:
            for choice in offered(self, at):
                if choice.value == value:
                    return choice.label
        except RecursionError:
            raise TooCostly(
                f"the choices of {definition.ref} hang on their own names, without an end"
            ) from None
        return ""

    def _chosen_at(self, node: Cell) -> None:
        """Somebody asks what a choice of the question there is called."""

    def _named_by(self, node: Node, path: str) -> Definition | None:
        from forms.model import steps_of  # noqa: PLC0415 - asked for rarely

        context = node.defn.path if isinstance(node, Cell) else self.form.root.path
        steps = steps_of(path, context)
        return None if steps is None else self.form.by_path.get(steps)

    def _nearest(self, node: Node, definition: Definition) -> Cell | None:
        """The definition's node that shares the most instances with `node`."""
        here = node if isinstance(node, Cell) else self.root
        climb, names = self._route(here.defn, definition)
        for _ in range(climb):
            here = here.parent or here  # type: ignore[assignment]
        found = below(here, names)
        return found[0] if found else None

    # -- acts

    def answer(self, ref: str, value: str, *, keep_faulty: bool = True) -> Changed:
        """The answer is stored as its type has it, and all that follows is worked out.

        An answer that breaks its constraint is kept and reported as `fault`; with keep_faulty
        off it is refused instead, and the old one stays. Raises NoSuchNode, also where nobody is
        asked: what is worked out there is not for a person to say.
        """
        if not isinstance(value, str):
            raise TypeError(f"{ref}: an answer is a text, such as '5', not {type(value).__name__}")
        node = self.find(ref)
        control = node.defn.control
        if control is None or not control.asks:
            raise NoSuchNode(f"{ref} is no question: nobody is asked there")
        return self._take(node, value, keep_faulty=keep_faulty)

    def name_log(self, ref: str, file: str) -> Changed:
        """The file of the audit log, for which a form has a node and no question. Raises NoSuchNode."""
        return self._take(self.find(ref), file, keep_faulty=True)

    def _take(self, node: Cell, value: str, *, keep_faulty: bool) -> Changed:
        definition = node.defn
        text = self._stored(node, value)
        self._start()
        self._taken.pop(node, None)
        before = node.text
        if not keep_faulty and text and definition.constraint is not None:
            node.text = text
            fault = self._broken(node)
            node.text = before
            if fault is not None:
                return Changed(fault=fault)
        # Blank where it was blank is no act, not even to Collect; a place at 0 0 0 0, whose text is
        # blank, is one to it.
        given = text or (value.strip() and definition.type == "geopoint")
        if text != before or (given and self.dialect.recalculates_on_same_value):
            self._give(node, text)
            self._run()
            if text != before and not self.dialect.webforms:
                self._changed_by_hand(node)
        self._after()
        return self._told(node)

    def _followed(self) -> bool:
        """In Web Forms what is seen of an answer (of what is not relevant, nothing) sets off its
        actions whenever it has changed, by whatever. Says whether any was.
        """
        seen, self._seen = self._seen, {}
        changed = []
        for source in self.form.followed:
            for node in below(self.root, source.path[1:]):
                self._seen[node] = text = node.text if node.relevant else ""
                if seen.get(node, text) != text:
                    changed.append(node)
        for node in changed:
            self._changed_by_hand(node)
        return bool(changed)

    def _stored(self, node: Cell, value: str) -> str:
        """The answer as its question keeps it."""
        definition = node.defn
        if self.dialect.webforms and node.readonly and definition.readonly is not None:
            raise NotAsked(f"{ref_of(node)} is read only: Web Forms takes no answer there")
        text = self._cast(self._typed(value, definition), definition.type, definition.select)
        return browser_takes(self, node, text) if text and self.dialect.webforms else text

    def _cast(self, text: str, kind: str, select: str = "") -> str:
        return answered(text, kind, select, self.dialect, self.zone, self.now)

    _composes = True

    def _typed(self, value: str, definition: Definition) -> str:
        """Letters and their marks are composed at once, as they will be sent: else the length of a
        name would be another on the server than on the device. Choices are kept as their list has them.
        """
        if value.isascii() or definition.select or not self._composes or self.dialect.webforms:
            return value
        return normalize("NFC", value)

    def add_repeat(self, ref: str) -> Changed:
        """One more instance of the repeat at `ref`, last. Raises NoSuchNode."""
        parent, definition = self._repeat_at(ref)
        self._start()
        self._new_instance(parent, definition)
        self._run()
        self._after()
        return self._told(None)

    def remove_repeat(self, ref: str) -> Changed:
        """The instance at `ref` (/data/member[2]) goes, with all in it. Raises NoSuchNode."""
        gone = self.find(ref)
        if gone.defn.repeat is None:
            raise NoSuchNode(f"{ref} is no instance of a repeat")
        self._start()
        later = gone.parent.kids[gone.name][position_of(gone) - 1 :]  # type: ignore[union-attr]
        self._removed.append(ref_of(gone))
        parent = gone.parent
        assert isinstance(parent, Cell)
        remove(gone)
        self._reshaped(parent, gone.defn)
        self._run()
        for node in later:
            if node is not gone:
                for one in everything(node):  # type: ignore[arg-type]
                    self._touched[one] = None
        self._after()
        return self._told(None)

    def set_language(self, language: str) -> Changed:
        """Texts in another language; what is calculated from texts is worked out again. Raises
        NoSuchLanguage; in a form of one language there is nothing to choose, and nothing to refuse.
        """
        spoken = self.form.languages
        if spoken and language not in spoken:
            raise NoSuchLanguage(f"{language!r} is none of {', '.join(spoken)}")
        self.language = language
        self._start()
        for rule in self._rules:
            if self.dialect.webforms and "jr:choice-name" in rule.compiled.functions:
                for node in below(self.root, rule.target.path[1:]):
                    self._wait(rule, node)
        self._run()
        self._after()
        told = self._told(None)
        shown = [state.ref for state in self.walk()]
        return Changed(tuple(dict.fromkeys((*told.refs, *shown))), told.added, told.removed)

    def _start(self) -> None:
        self._moment = self.context.now().astimezone(self.zone)
        self.steps = STEPS_MAX
        self._written = 0
        self._forget()

    def _forget(self) -> None:
        self._touched = {}
        self._flipped = {}
        self._added = []
        self._removed = []

    # -- finding

    def find(self, ref: str) -> Cell:
        """The node at a reference like /data/member[2]/name. Raises NoSuchNode."""
        here = self.root
        (_, name, _), *steps = _steps(ref)
        if name != here.name:
            raise NoSuchNode(f"{ref}: the form's data is /{here.name}")
        for sign, name, place in steps:
            siblings = here.kids.get(name)
            if sign:
                found = here.attrs.get(name)
            elif not siblings:
                found = None
            elif place is not None:
                found = siblings[place - 1] if 1 <= place <= len(siblings) else None
            else:
                found = siblings[0]
                if found.defn.repeat is not None:
                    raise NoSuchNode(f"{ref}: say which instance of {name}, as {name}[1]")
            if found is None:
                step = f"{sign}{name}" if place is None else f"{name}[{place}]"
                raise NoSuchNode(f"{ref}: there is no {step} in {ref_of(here)}")
            here = found  # type: ignore[assignment]
        return here

    def _repeat_at(self, ref: str) -> tuple[Cell, Definition]:
        parent_ref, _, last = ref.rstrip("/").rpartition("/")
        matched = _STEP.fullmatch(last)
        if not parent_ref or matched is None:
            raise NoSuchNode(f"{ref} is no repeat")
        parent = self.find(parent_ref)
        definition = parent.defn.by_name.get(matched[2])
        if definition is None or definition.repeat is None:
            raise NoSuchNode(f"{ref} is no repeat")
        return parent, definition

    # -- the work

    def _route(self, source: Definition, target: Definition) -> tuple[int, Path]:
        """From a node of one kind to those of another: so many up, then down by names."""
        key = (source, target)
        found = self.form.routes.get(key)
        if found is None:
            found = route(source.path, target.path)
            self.form.routes[key] = found
        return found

    def _wait(self, rule: Rule, node: Cell) -> None:
        waiting = self._pending.get(rule.rank)
        if waiting is None:
            self._pending[rule.rank] = {node: None}
            heappush(self._heap, rule.rank)
        else:
            waiting[node] = None

    def _spread(self, node: Cell) -> None:
        """All who read this node must look again."""
        for way in self.form.graph.to_readers[node.defn]:
            for target in way.ends(node, self.root):
                self._wait(way.reader, target)

    def _give(self, node: Cell, text: str) -> None:
        """A value from outside the rules: a person's, or an action's."""
        node.text = text
        self._touched[node] = None
        self._spread(node)
        if self.dialect.recalculates_on_same_value:
            for way in self.form.graph.to_fresh[node.defn]:
                for target in way.ends(node, self.root):
                    self._wait(way.reader, target)

    def _run(self) -> None:
        heap, pending, rules = self._heap, self._pending, self._rules
        tries = 0
        limit = 50 * len(rules) + 1000
        while heap:
            rank = heappop(heap)
            rule = rules[rank]
            tries += 1
            if tries > limit:
                # Only a circle that a dialect tolerates comes here.
                heap.clear()
                pending.clear()
                raise Restless(f"{rule.target.ref} depends on itself and never comes to rest")
            for node in pending.pop(rank, ()):
                self._apply(rule, node)

    def _apply(self, rule: Rule, node: Cell) -> None:
        kind = rule.kind
        if kind == "calculate":
            text = self._worked_out(rule.compiled, node)
            # Of a moment that is written as its time of day, the day may be another.
            if text != node.text or whole(text) != whole(node.text):
                node.text = text
                self._touched[node] = None
                self._spread(node)
            return
        holds = rule.compiled.boolean(node, self)
        if kind == "relevant":
            if holds != node.own_relevant:
                node.own_relevant = holds
                parent = node.parent
                self._set_relevant(node, holds and (parent is None or parent.relevant))
        elif kind == "readonly":
            if holds != node.own_readonly:
                node.own_readonly = holds
                parent = node.parent
                inherited = parent is not None and parent.readonly  # type: ignore[attr-defined]
                self._set_readonly(node, holds or inherited)
        elif holds != node.required:
            node.required = holds
            self._touched[node] = None

    def _worked_out(self, compiled: Compiled, node: Cell) -> str:
        value = compiled.value(node, self)
        if value.__class__ is list:
            value = compiled.program.conversions.unpacked(value)
        text = calculated(value, node.defn.type, self.dialect, self.zone, self.now)
        if len(text) > _LONG:
            self._written += len(text)
            if self._written > TEXTS_MAX:
                raise TooCostly(f"what follows from one act has more than {TEXTS_MAX:,} characters")
        return text

    def _set_relevant(self, node: Cell, holds: bool) -> None:
        if node.relevant == holds:
            return
        node.relevant = holds
        self._touched[node] = None
        self._flipped[node] = None
        self._spread(node)
        for attribute in node.attrs.values():
            self._set_relevant(attribute, holds and attribute.own_relevant)  # type: ignore[arg-type,attr-defined]
        for kid in node.children:
            self._set_relevant(kid, holds and kid.own_relevant)  # type: ignore[arg-type,attr-defined]

    def _set_readonly(self, node: Cell, holds: bool) -> None:
        if node.readonly == holds:
            return
        node.readonly = holds
        self._touched[node] = None
        for kid in node.children:
            self._set_readonly(kid, holds or kid.own_readonly)  # type: ignore[arg-type,attr-defined]

    def _settle_all(self, keeps: Callable[[Rule, Cell], bool] | None = None) -> None:
        """Everything from the beginning, each rule once, in rank order; a calculated value that
        `keeps` names stays as it was given.
        """
        places: dict[int, list[Cell]] = {}
        for node in everything(self.root):
            if node.defn.rules:
                places.setdefault(node.defn.number, []).append(node)
        for rule in self._rules:
            asks = keeps is not None and rule.kind == "calculate"
            for node in places.get(rule.target.number, ()):
                if asks and keeps is not None and keeps(rule, node):
                    continue
                self._settle(rule, node)
        self._heap.clear()
        self._pending.clear()
        for rule in self.form.graph.circular:
            for node in below(self.root, rule.target.path[1:]):
                self._wait(rule, node)
        self._run()

    def _settle(self, rule: Rule, node: Cell) -> None:
        """As _apply, where all rules further down come later anyway."""
        kind = rule.kind
        if kind == "calculate":
            node.text = self._worked_out(rule.compiled, node)
            return
        holds = rule.compiled.boolean(node, self)
        if kind == "relevant":
            if holds != node.own_relevant:
                node.own_relevant = holds
                parent = node.parent
                _all_relevant(node, holds and (parent is None or parent.relevant))
        elif kind == "readonly":
            if holds != node.own_readonly:
                node.own_readonly = holds
                parent = node.parent
                inherited = parent is not None and parent.readonly  # type: ignore[attr-defined]
                self._set_readonly(node, holds or inherited)
        else:
            node.required = holds

    # -- repeats

    def _new_instance(self, parent: Cell, definition: Definition) -> Cell:
        siblings = parent.kids.get(definition.name, ())
        if len(siblings) >= INSTANCES_MAX:
            raise NoSuchNode(f"{definition.ref}: {INSTANCES_MAX:,} instances are the most")
        self.spend(INSTANCE_STEPS)
        seed = self.form.seed_of(definition)
        if self.dialect.webforms and not self._read_back:
            seed = self.form.own_seed(definition, len(siblings)) or seed
        made = grow(seed, None)
        made.parent = parent
        insert(parent, made, last=self._comes_last(parent))
        self._made[made] = None
        if not parent.relevant:
            _all_relevant(made, False)
        if parent.readonly:
            self._set_readonly(made, True)
        for node in everything(made):
            if node.text and node.defn.type != "string" and not node.defn.select:
                node.text = self._cast(node.text, node.defn.type)
            self._listed(node)
        self._preload(made)
        self._added.append(made)
        control = definition.repeat
        assert control is not None
        if not self.dialect.webforms:
            self._greet(control, made)
        self._joined(made)
        # To Web Forms those that a count makes while the form opens are not new.
        if self.dialect.webforms and self._begun:
            self._run()
            self._node_by_node(_NEW, made)
        return made

    def _greet(self, repeat: Control, made: Cell) -> None:
        """The actions that wait for new instances."""
        self._deep += 1
        # Those of the model first, where they wait for another event too.
        of_model = (one for one in self.form.actions if one.source is None)
        for action in (*of_model, *repeat.actions):
            if not _NEW.isdisjoint(action.events):
                self._act(action, made)
        self._deep -= 1

    def _node_by_node(self, events: frozenset[str], top: Cell) -> None:
        """As Web Forms has it: each node in the order of the form, once all has been worked out,
        and only where it is relevant; nothing follows these actions but what is worked out. A
        calculation that reads nodes which begin with it is done again once they are there.
        """
        depth = len(top.defn.path)
        waiting: dict[Path, list[Action]] = {}
        for action in self.form.actions:
            work = self.form.by_path[action.target].calculate
            stays = work is not None and any(one[:depth] == top.defn.path for one in work.reads)
            if not stays and not events.isdisjoint(action.events):
                waiting.setdefault(action.target, []).append(action)
        if not waiting:
            return
        self._loading = True
        for node in list(everything(top)):
            for action in waiting.get(node.defn.path, ()):
                aimed = action.nodes is None or node in action.nodes.nodes(self.root, self)
                if node.relevant and aimed:
                    self._do(action, node)
        self._loading = False

    def _comes_last(self, parent: Cell) -> bool:
        """As JavaRosa has it, a first instance inside an instance of another repeat comes last
        there, but where the form has it in an instance that was read back from XML.
        """
        if self.dialect.webforms:
            return False
        here: Node | None = parent
        while here is not None and here.defn.repeat is None:
            here = here.parent
        return here is not None and (not self._read_back or here in self._made)

    def _joined(self, made: Cell) -> None:
        """All that follows from the new instance waits to be worked out."""
        assert isinstance(made.parent, Cell)
        self._reshaped(made.parent, made.defn)
        for node in everything(made):
            for rule in node.defn.rules:
                self._wait(rule, node)  # type: ignore[arg-type]

    def _reshaped(self, parent: Cell, definition: Definition) -> None:
        """The repeat has more or fewer instances: who reads it or anything in it looks again."""
        for way in self.form.graph.to_counters[definition]:
            for node in way.ends(parent, self.root):
                self._wait(way.reader, node)

    def _counted(self) -> bool:
        """Instances that a count asks for are there. Says whether any had to be made."""
        made = False
        for definition in self.form.counted:
            control = definition.repeat
            assert control is not None
            assert control.count is not None
            for parent in below(self.root, definition.path[1:-1]):
                if not self.dialect.webforms and not self._wanted(definition, parent):
                    continue
                have = len(parent.kids.get(definition.name, ()))
                number = self._count(control, parent, definition)
                if number < have and self.dialect.webforms:
                    self._fewer(parent, definition, number)
                    made = True
                if number > INSTANCES_MAX:
                    raise TooCostly(
                        f"{ref_of(parent)}/{definition.name}: its count asks for {number:,} "
                        f"instances; {INSTANCES_MAX:,} are the most"
                    )
                for _ in range(have, number):
                    self._new_instance(parent, definition)
                    self._run()
                    made = True
        return made

    def _wanted(self, definition: Definition, parent: Cell) -> bool:
        """In Collect only what is shown gets the instances that its count asks for."""
        if not parent.relevant:
            return False
        return definition.relevant is None or self._would_be(definition, parent)

    def _would_be(self, definition: Definition, parent: Cell) -> bool:
        assert definition.relevant is not None
        instances = parent.kids.get(definition.name)
        probe = instances[0] if instances else Cell(definition, "", parent)
        return definition.relevant.boolean(probe, self)

    def _count(self, control: Control, parent: Cell, definition: Definition) -> int:
        assert control.count is not None
        if control.count_path is not None and not self.dialect.webforms:
            # Collect reads the node itself, relevant or not.
            found = self._nearest(parent, self.form.by_path[control.count_path])
            number = plain_float(found.text) if found is not None else 0.0
            return _instances(number)
        instances = parent.kids.get(definition.name)
        here: Node = instances[0] if instances else Cell(definition, "", parent)
        for _ in range(len(definition.path) - len(control.count_at)):
            here = here.parent or here
        number = control.count.number(here, self)
        if number != number:  # noqa: PLR0124 - NaN
            # A blank count changes nothing; a form begins with none, whatever it is written with.
            return len(instances or ()) if self._begun else 0
        return _instances(number)

    def _fewer(self, parent: Cell, definition: Definition, number: int) -> None:
        """Web Forms takes away what the count no longer asks for, last first."""
        for gone in reversed(parent.kids[definition.name][number:]):
            if self._begun:
                self._removed.append(ref_of(gone))  # type: ignore[arg-type]
            remove(gone)  # type: ignore[arg-type]
        self._reshaped(parent, definition)
        self._run()

    def _after(self) -> None:
        """What follows once the rules are settled: counted repeats, choices no longer offered."""
        for _ in range(_ROUNDS_MAX):
            again = self._counted() if self.form.counted else False
            again = self._cleared(self._suspects()) or again
            if self.dialect.webforms and self.form.followed:
                again = self._followed() or again
            if not again:
                return

    def look(self) -> None:
        """Every question is seen: answers that its choices no longer offer are taken back."""
        self._cleared(
            node
            for definition in self.form.selects
            if definition.control is not None and definition.control.itemset is not None
            for node in below(self.root, definition.path[1:])
        )

    def items(self, node: Cell, itemset: Itemset) -> list[Node]:
        """The nodes that the question's choices come from, in the order in which they are shown."""
        return (itemset.shuffled or itemset.nodeset).nodes(node, self)

    def _cleared(self, suspects: Iterable[Cell]) -> bool:
        """Answers that the choices no longer offer are taken back."""
        cleared = False
        for node in suspects:
            definition = node.defn
            if not node.relevant or not (node.text or node in self._taken):
                continue
            known = values(self, node)
            given = self._taken.get(node, node.text)
            if definition.select == "select1":
                text = given if given in known else ""
            elif definition.select == "rank" and self.dialect.webforms:
                text = ranked(self, node, given)
            else:
                text = " ".join(one for one in chosen(given) if one in known)
            if self.dialect.webforms:
                # What was taken back is given back once it is offered again.
                if text != given:
                    self._taken[node] = given
                else:
                    self._taken.pop(node, None)
            if text != node.text:
                self._give(node, text)
                self._run()
                cleared = True
        return cleared

    def _suspects(self) -> list[Cell]:
        """The selects whose choices hang on what this act has touched."""
        graph = self.form.graph
        found: dict[Cell, None] = {}
        if not graph.choosers:
            return []
        choosers = graph.to_choosers
        nodes = list(self._touched)
        for made in self._added:
            nodes.extend(everything(made))
        for node in nodes:
            for way in choosers[node.defn]:
                for target in way.ends(node, self.root):
                    found[target] = None
            if node.defn.offers and node.relevant:
                found[node] = None
        return list(found)

    # -- actions

    def _fire(self, event: str) -> None:
        for action in self.form.actions:
            if event not in action.events:
                continue
            if action.source is None:
                self._act(action, self.root)
                continue
            control = action.source
            path = control.path if control.kind in {"group", "repeat"} else control.path[:-1]
            for context in below(self.root, path[1:]):
                self._act(action, context)

    def _changed_by_hand(self, node: Cell) -> None:
        control = node.defn.control
        if control is None or not control.actions or self._deep > _ROUNDS_MAX or self._loading:
            return
        self._deep += 1
        for action in control.actions:
            if "xforms-value-changed" in action.events:
                self._act(action, node)
        self._deep -= 1

    def _act(self, action: Action, context: Cell) -> None:
        definition = self.form.by_path[action.target]
        climb, names = self._route(context.defn, definition)
        here = context
        for _ in range(climb):
            if here.parent is None:
                break
            here = here.parent  # type: ignore[assignment]
        if action.nodes is not None:
            nodes: list[Cell] = action.nodes.nodes(context, self)  # type: ignore[assignment]
        else:
            nodes = below(here, names)
        if not nodes:
            return
        if len(nodes) > 1:
            raise NoSuchNode(
                f"{definition.ref} has {len(nodes)} instances: an action must say which one it sets"
            )
        self._do(action, nodes[0])

    def _do(self, action: Action, node: Cell) -> None:
        if action.kind == "setgeopoint":
            text = property_named(self.context, "location")
        elif action.kind == "recordaudio":
            return
        elif action.value is not None:
            text = self._worked_out(action.value, node)
        else:
            text = calculated(action.text, node.defn.type, self.dialect, self.zone, self.now)
        if action.value is not None or action.text:
            # Whatever it was worked out as, what an action sets is of the node's type.
            text = str(self._cast(text, node.defn.type))
        before = node.text
        self._give(node, text)
        self._run()
        if text != before and not self.dialect.webforms:
            self._changed_by_hand(node)

    # -- telling

    def _told(self, answered_node: Cell | None) -> Changed:
        graph = self.form.watched()
        seen: dict[Cell, None] = dict(self._touched)
        watchers = graph.to_watchers
        for node in self._touched:
            for way in watchers[node.defn]:
                for target in way.ends(node, self.root):
                    seen[target] = None
        for made in self._added:
            for node in everything(made):
                seen.pop(node, None)
        if (self._added or self._removed) and graph.watchers:
            for made in self._added:
                for node in everything(made):
                    for way in watchers[node.defn]:
                        for target in way.ends(node, self.root):
                            seen[target] = None
        fault = None
        if answered_node is not None:
            fault = self.fault(answered_node)
        return Changed(
            tuple(map(ref_of, seen)),
            tuple(map(ref_of, self._added)),
            tuple(self._removed),
            fault,
        )

    def fault(self, node: Cell) -> Fault | None:
        """What is wrong with the node's answer now, or None."""
        if not node.relevant:
            return None
        if not node.text:
            if node.required and not node.defn.is_group:
                said = self.text(node.defn.required_message, node)
                return Fault(
                    ref_of(node), "required", said or "an answer is needed", said=bool(said)
                )
            return None
        return self._broken(node)

    def _broken(self, node: Cell) -> Fault | None:
        constraint = node.defn.constraint
        if constraint is None or constraint.boolean(node, self):
            return None
        said = self.text(node.defn.constraint_message, node)
        return Fault(
            ref_of(node), "constraint", said or "the answer is not allowed", said=bool(said)
        )

    def faults(self) -> tuple[Fault, ...]:
        """All faults of what is asked and relevant, in the order of the form."""
        found = []
        for node, control in self.asked():
            if control.asks:
                fault = self.fault(node)
                if fault is not None:
                    found.append(fault)
        return tuple(dict.fromkeys(found))

    def asked(self, *, hidden: bool = False) -> list[tuple[Cell, Control]]:
        """The relevant controls with their nodes, in the order of the body; or the `hidden` too."""
        return self._asked(self.form.controls, self.root, [], hidden=hidden)

    def _asked(
        self,
        controls: Iterable[Control],
        here: Cell,
        found: list[tuple[Cell, Control]],
        *,
        hidden: bool,
    ) -> list[tuple[Cell, Control]]:
        """Puts the relevant controls with their nodes into `found`, in the order of the body."""
        for control in controls:
            if not control.bound:
                found.append((here, control))
                self._asked(control.controls, here, found, hidden=hidden)
                continue
            for node in self._at(control, here):
                if node.relevant or hidden:
                    found.append((node, control))
                    if control.controls:
                        self._asked(control.controls, node, found, hidden=hidden)
        return found

    def _at(self, control: Control, here: Cell) -> list[Cell]:
        assert control.definition is not None
        definition = control.definition
        around = control.kind == "group" and definition.repeat is not None
        if definition.parent is here.defn and not around and not definition.is_attribute:
            return here.kids.get(definition.name, [])  # type: ignore[return-value]
        climb, names = self._route(here.defn, definition)
        if around:
            # The group around a repeat shows what holds the repeat's instances.
            names = names[:-1]
        at = here
        for _ in range(climb):
            at = at.parent or at  # type: ignore[assignment]
        return below(at, names)

    def text(self, text: Text | None, node: Cell, form: str = "") -> str:
        """A label, hint or message in the entry's language, with its values woven in."""
        if text is None:
            return ""
        if text.itext:
            parts = self.form.said(text.itext, self.language, form)
            return "" if parts is None else self._woven(parts, node)
        if form:
            return ""
        if text.expression is not None:
            said = text.expression.string(node, self)
            return self.itext(said) if text.named else said
        return self._woven(text.parts, node)

    def _woven(self, parts: tuple[str | Output, ...], node: Cell) -> str:
        if len(parts) == 1 and isinstance(parts[0], str):
            return parts[0]
        at = node.defn.path
        woven: list[str] = []
        size = 0
        try:
            for part in parts:
                if not isinstance(part, str):
                    woven.append(self._told_of(self.form.output(part.expression, at), node))
                    size += len(woven[-1])
                    if size > SHOWN_MAX:
                        raise TooCostly(f"a text shows more than {SHOWN_MAX:,} characters")
                else:
                    woven.append(part)
        except RecursionError:
            raise TooCostly("a text of the form shows itself, without an end") from None
        return "".join(woven)

    def _told_of(self, output: Compiled, node: Cell) -> str:
        """What stands for a value in a text; no number is nothing in Web Forms."""
        if self.dialect.webforms:
            value = output.value(node, self)
            if value != value:  # noqa: PLR0124 - NaN
                return ""
        return output.string(node, self)

    def state(self, ref: str) -> State:
        """All about one node. Raises NoSuchNode."""
        node = self.find(ref)
        control = node.defn.control
        return self._state(node, control, 0)

    def _state(self, node: Cell, control: Control | None, depth: int) -> State:
        definition = node.defn
        if control is None:
            return State(
                ref=ref_of(node),
                kind="node" if not definition.is_group else "group",
                type=definition.type,
                value=str(node.text),
                relevant=node.relevant,
                required=node.required,
                readonly=node.readonly,
                fault=self.fault(node),
                depth=depth,
            )
        media = {
            form: said
            for form in MEDIA
            if control.label is not None and (said := self.text(control.label, node, form))
        }
        parameters = dict(control.parameters)
        parameters.update(definition.extra)
        if control.kind == "repeat":
            parameters["fixed"] = "true" if control.fixed else "false"
        return State(
            ref=ref_of(node),
            kind="instance" if control.kind == "repeat" else control.kind,
            type=definition.type,
            appearance=control.appearance,
            value="" if definition.is_group else str(node.text),
            relevant=node.relevant,
            required=node.required,
            readonly=node.readonly,
            label=self.label(control, node),
            hint=self.text(control.hint, node),
            guidance=self.text(control.guidance, node, "guidance"),
            media=media,
            choices=tuple(offered(self, node)) if definition.select and control.asks else (),
            fault=self.fault(node),
            required_message=self.text(definition.required_message, node),
            constraint_message=self.text(definition.constraint_message, node),
            parameters=parameters,
            depth=depth,
        )

    def label(self, control: Control, node: Cell) -> str:
        """A repeat without a label of its own has that of the group around it."""
        if control.label is None and control.kind == "repeat" and control.parent is not None:
            return self.text(control.parent.label, node)
        return self.text(control.label, node)

    def walk(self) -> Iterator[State]:
        """What is visible, in order: groups, repeats, their instances, questions."""
        yield from self._walk(self.form.controls, self.root, 0)

    def _walk(self, controls: Sequence[Control], here: Cell, depth: int) -> Iterator[State]:
        for control in controls:
            if control.kind == "repeat":
                yield from self._walk_repeat(control, here, depth)
                continue
            if not control.bound:
                yield State(
                    ref="",
                    kind="group",
                    type="",
                    appearance=control.appearance,
                    label=self.text(control.label, here),
                    depth=depth,
                )
                yield from self._walk(control.controls, here, depth + 1)
                continue
            if control.definition is not None and control.definition.repeat is not None:
                yield from self._walk(control.controls, here, depth)
                continue
            for node in self._at(control, here):
                if not node.relevant:
                    continue
                yield self._state(node, control, depth)
                if control.controls:
                    yield from self._walk(control.controls, node, depth + 1)

    def _walk_repeat(self, control: Control, here: Cell, depth: int) -> Iterator[State]:
        definition = control.definition
        assert definition is not None
        climb, names = self._route(here.defn, definition)
        at = here
        for _ in range(climb):
            at = at.parent or at  # type: ignore[assignment]
        for parent in below(at, names[:-1]):
            if not parent.relevant:
                continue
            instances = parent.kids.get(definition.name, [])
            shown = [one for one in instances if one.relevant]
            if instances and not shown:
                continue
            if not instances and definition.relevant and not self._would_be(definition, parent):
                continue
            probe = instances[0] if instances else Cell(definition, "", parent)
            yield State(
                ref=f"{ref_of(parent)}/{definition.name}",
                kind="repeat",
                type="",
                appearance=control.appearance,
                label=self.label(control, probe),  # type: ignore[arg-type]
                parameters={
                    **control.parameters,
                    "count": str(len(instances)),
                    "fixed": "true" if control.fixed else "false",
                },
                depth=depth,
            )
            for node in shown:
                yield self._state(node, control, depth + 1)  # type: ignore[arg-type]
                yield from self._walk(control.controls, node, depth + 2)  # type: ignore[arg-type]

    # -- endings

    def save(self) -> bytes:
        """The whole entry, with what is not relevant now: `resume` brings back the same."""
        return serialized(self, everything=True)

    def xml(self) -> bytes:
        """The entry as a submission would hold it: without what is not relevant."""
        return serialized(self, everything=False)

    def finish(self) -> Submission:
        """The submission. Raises Unfinished, having kept all answers, where something is wrong."""
        return finished(self)


def _all_relevant(node: Cell, holds: bool) -> None:
    if node.relevant == holds:
        return
    node.relevant = holds
    for attribute in node.attrs.values():
        _all_relevant(attribute, holds and attribute.own_relevant)  # type: ignore[arg-type,attr-defined]
    for kid in node.children:
        _all_relevant(kid, holds and kid.own_relevant)  # type: ignore[arg-type,attr-defined]


def plain_float(text: str) -> float:
    """The number that a stored answer holds; 0 where it is none."""
    try:
        number = float(text)
    except ValueError:
        return 0.0
    return 0.0 if math.isnan(number) else number
