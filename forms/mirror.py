"""An entry that moves as JavaRosa moves: the same stale values, healed at the same moments.

An `Entry` is never stale: what depends on an answer follows at once. JavaRosa works out what hangs
on an answer only when somebody gives or looks, and so shows, between two steps, values that the
next step heals. Both come to the same at the end. To lay two replays side by side step by step,
ours must be stale where JavaRosa is: this is the entry that `replay` drives in the dialect
"collect". The rules are those of TriggerableDag, ItemsetBinding and FormEntryModel of JavaRosa 5.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

from forms.choices import values
from forms.entry import Changed, Entry, Fault, NoSuchNode
from forms.held import DECIMAL, INT, WORDS
from forms.instance import Cell, below, everything, ref_of, remove
from forms.language.core import held
from forms.markup import BLANKS
from forms.twins import said, shared
from forms.values import chosen

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from forms.context import Context
    from forms.form import Form
    from forms.graph import Graph, Rule
    from forms.model import Control, Definition, Itemset, Path
    from forms.tree import Node

_ABSOLUTE = frozenset({"true()", "false()"})
"""What stands alone as a rule is none to JavaRosa: so it is from the beginning, and nothing follows."""

_PLACES = frozenset({"geopoint", "geotrace", "geoshape"})

Place = tuple[tuple[str, int], ...]
"""Where a node stands or stood: each name from the root down, with its position from 0."""


@dataclass(frozen=True, slots=True, eq=False)
class Trigger:
    """Rules that JavaRosa keeps as one, because they say the same of the same nodes.

    context: the path under which all their nodes lie; one node there, one working out.
    """

    rules: tuple[Rule, ...]
    context: Path


@dataclass(frozen=True, slots=True)
class _List:
    """Choices as they were last worked out: what they hung on, and a mark of their own."""

    hangs_on: object
    items: list[Node]
    mark: int


class Cascades:
    """What is worked out when a node is given: all that hangs on it, changed or not, in order."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self.absolute = {
            rule: None
            for rule in graph.rules
            if rule.compiled.text in _ABSOLUTE and rule.kind != "calculate"
        }
        same: dict[object, list[Rule]] = {}
        for rule in sorted(graph.rules, key=lambda one: one.target.number):
            if rule in self.absolute:
                continue
            same.setdefault((rule.kind, said(rule.target, rule.compiled)), []).append(rule)
        of: dict[Rule, Trigger] = {}
        triggers = []
        for rules in same.values():
            made = Trigger(tuple(rules), shared(rule.target.path for rule in rules))
            triggers.append(made)
            of.update(dict.fromkeys(rules, made))
        self.followers: dict[Trigger, tuple[Trigger, ...]] = {
            one: tuple(
                dict.fromkeys(
                    of[follower]
                    for rule in one.rules
                    for follower in graph.followers[rule]
                    if follower in of
                )
            )
            for one in triggers
        }
        self._of = of
        self.ordered = _in_layers(triggers, self.followers)
        self._downstream: dict[Path, frozenset[Trigger]] = {}

    def readers(self, path: Path) -> tuple[Trigger, ...]:
        # JavaRosa is not woken by a repeat that a path only passes, picking some of its instances.
        found = self._graph.readers.get(path, ())
        return tuple(
            dict.fromkeys(
                self._of[rule] for rule in found if path not in rule.compiled.program.passed
            )
        )

    def below(self, path: Path) -> frozenset[Trigger]:
        """All that hang on the node at the path, near or far."""
        found = self._downstream.get(path)
        if found is None:
            found = self.closure(self.readers(path))
            self._downstream[path] = found
        return found

    def closure(self, roots: Iterable[Trigger]) -> frozenset[Trigger]:
        found = dict.fromkeys(roots)
        waiting = list(found)
        while waiting:
            for follower in self.followers[waiting.pop()]:
                if follower not in found:
                    found[follower] = None
                    waiting.append(follower)
        return frozenset(found)

    def inside(self, path: Path) -> frozenset[Trigger]:
        """Those that decide something of the node at the path or below, and all that follow."""
        depth = len(path)
        return self.closure(
            one
            for one in self.ordered
            if any(rule.target.path[:depth] == path for rule in one.rules)
        )

    def everywhere(self, path: Path) -> frozenset[Trigger]:
        """Those worked out in all instances of the repeat at the path when it grows or shrinks:
        what follows within it from its positions, or from what outside it counts them.
        """
        depth = len(path)
        roots = self.readers(path)
        found = {one: None for one in roots if one.context[:depth] == path}
        outside: dict[Trigger, None] = {}
        level = dict.fromkeys(roots)
        while level:
            following: dict[Trigger, None] = {}
            for one in level:
                if one.context[:depth] != path or len(one.context) == depth:
                    outside[one] = None
                elif any(one in self.followers[above] for above in (*outside, *found)):
                    found[one] = None
                following.update(dict.fromkeys(self.followers[one]))
            level = following
        return frozenset(found)


def _in_layers(
    triggers: list[Trigger], followers: dict[Trigger, tuple[Trigger, ...]]
) -> tuple[Trigger, ...]:
    waiting = dict.fromkeys(triggers, 0)
    for one in triggers:
        for follower in followers[one]:
            waiting[follower] += 1
    ordered: list[Trigger] = []
    while waiting:
        # A circle that only the merging makes is cut at its first: the form's own have none.
        ready = [one for one in waiting if not waiting[one]] or [next(iter(waiting))]
        for one in ready:
            del waiting[one]
        for one in ready:
            for follower in followers[one]:
                if follower in waiting:
                    waiting[follower] -= 1
        ordered.extend(ready)
    return tuple(ordered)


class Mirror(Entry):
    """An entry in the dialect "collect" that is stale where JavaRosa is."""

    def __init__(self, form: Form, context: Context, root: Cell) -> None:
        super().__init__(form, context, root)
        self._cascades = Cascades(form.graph)
        self._hollow: set[Cell] = set()
        """Answers of which nothing is left to write: to JavaRosa an answer all the same."""
        self._lists: dict[Control, _List] = {}
        self._marks = count(1)
        self._given: dict[Cell, int] = {}
        """When the value was last given or worked out, though it may be the same again."""
        self._bound: dict[Cell, int] = {}
        """The list among which the answer was seen since it was given."""

    # -- beginnings

    def _normalize(self) -> None:
        """JavaRosa reads XML without the blanks around a value; of blanks alone nothing is left.
        An entry that a device has kept comes back as it was instead.
        """
        if self._read_back:
            for node in everything(self.root):
                if not node.defn.is_attribute:
                    node.text = node.text.strip(BLANKS)
                    self._listed(node)
        super()._normalize()

    _composes = False
    """JavaRosa composes letters when it writes them, and not before."""
    _of_any_form = True
    """JavaRosa looks at the name of the root alone."""

    # -- working out

    def _give(self, node: Cell, text: str) -> None:
        node.text = text
        self._hollow.discard(node)
        self._renewed(node)
        self._trigger(place_of(node))

    def _settle(self, rule: Rule, node: Cell) -> None:
        super()._settle(rule, node)
        if rule.kind == "calculate":
            self._renewed(node)

    def _renewed(self, node: Cell) -> None:
        self._given[node] = next(self._marks)
        self._bound.pop(node, None)

    def _stored(self, node: Cell, value: str) -> str:
        """JavaRosa keeps a choice as often as it is given."""
        if node.defn.select in {"select", "rank"}:
            return " ".join(chosen(value))
        return super()._stored(node, value)

    def answer(self, ref: str, value: str, *, keep_faulty: bool = True) -> Changed:
        node = self.find(ref)
        if not value and node in self._hollow:
            # It was an answer, so that taking it away is an act that others follow.
            self._start()
            self._give(node, "")
            self._changed_by_hand(node)
        told = super().answer(ref, value, keep_faulty=keep_faulty)
        if value and not node.text and node.defn.type == "geopoint":
            # The place that is 0 in all four is one, of which nothing is shown or written.
            self._hollow.add(node)
        return told

    def _trigger(
        self,
        place: Place,
        everywhere: frozenset[Trigger] = frozenset(),
        done: frozenset[Trigger] = frozenset(),
    ) -> frozenset[Trigger]:
        """Works out all that hangs on the node there; what was already done is left."""
        path = tuple(name for name, _ in place)
        if not self._cascades.readers(path):
            return done
        due = self._cascades.below(path) - done
        self._work(due, place, everywhere)
        return due

    def _work(
        self,
        due: frozenset[Trigger],
        place: Place,
        everywhere: frozenset[Trigger] = frozenset(),
    ) -> None:
        for one in self._cascades.ordered:
            if one not in due:
                continue
            depth = len(one.context)
            for at in self._expanded(() if one in everywhere else place, one.context):
                for rule in one.rules:
                    for node in below(at, rule.target.path[depth:]):
                        self._settle(rule, node)

    def _expanded(self, place: Place, path: Path) -> list[Cell]:
        """The nodes at the path: at the positions of the place as far as both go together."""
        found = [self.root]
        pinned = True
        for depth, name in enumerate(path[1:], 1):
            pinned = pinned and depth < len(place) and place[depth][0] == name
            if pinned and not name.startswith("@"):
                at = place[depth][1]
                found = [one.kids[name][at] for one in found if at < len(one.kids.get(name, ()))]  # type: ignore[misc]
            else:
                found = [kid for one in found for kid in below(one, (name,))]
        return found

    def _run(self) -> None:
        """Nothing waits: what was given has been followed already."""

    def _after(self) -> None:
        """Nothing follows by itself: counted instances and choices wait for somebody to go there."""

    def look(self) -> None:
        """Nobody looks until `arrive`, `see` or `validated`."""

    def arrive(self) -> None:
        """Somebody goes through the form: instances that a count asks for are made."""
        for _ in self.tour():
            pass

    def hand_over(self, ref: str, text: str) -> None:
        """The text as it is, past the parser that a person's answer goes through; the old answer
        stays where it breaks its constraint. Raises NoSuchNode.
        """
        node = self.find(ref)
        self._start()
        before = node.text
        if text and node.defn.constraint is not None:
            node.text = text
            broken = self._broken(node)
            node.text = before
            if broken is not None:
                return
        self._give(node, text)
        self._run()
        if text != before:
            self._changed_by_hand(node)
        self._after()

    # -- repeats

    def add_repeat(self, ref: str) -> Changed:
        """Whoever goes where a count asks for an instance finds it made, and cannot make it."""
        parent, definition = self._repeat_at(ref)
        control = definition.repeat
        assert control is not None
        have = len(parent.kids.get(definition.name, ()))
        if control.count is not None and self._count(control, parent, definition) > have:
            self._start()
            self._new_instance(parent, definition)
            raise NoSuchNode(f"{ref}: its count has made that instance already")
        return super().add_repeat(ref)

    def _joined(self, made: Cell) -> None:
        place = place_of(made)
        path = made.defn.path
        for rule in self._cascades.absolute:
            if rule.target.path[: len(path)] == path:
                for node in below(made, rule.target.path[len(path) :]):
                    self._settle(rule, node)
        done = self._trigger(place, self._cascades.everywhere(path))
        due = self._cascades.inside(path)
        self._work(due, place)
        for kid in list(made.children):
            self._trigger(place_of(kid), frozenset(), done | due)  # type: ignore[arg-type]

    def remove_repeat(self, ref: str) -> Changed:
        gone = self.find(ref)
        if gone.defn.repeat is None:
            raise NoSuchNode(f"{ref} is no instance of a repeat")
        self._start()
        place = place_of(gone)
        inside = [place_of(kid) for kid in gone.children]  # type: ignore[arg-type]
        remove(gone)
        # The reference now means the next instance: that one is worked out, as JavaRosa does.
        done = self._trigger(place, self._cascades.everywhere(gone.defn.path))
        for kid in inside:
            self._trigger(kid, frozenset(), done)
        return Changed(removed=(ref,))

    # -- going through

    def tour(self) -> Iterator[tuple[Cell, Control]]:
        """Every relevant group, instance and question in order, as things stand when it is
        reached; instances that a count asks for are made on the way.
        """
        yield from self._through(self.form.controls, self.root)

    def _through(self, controls: Iterable[Control], here: Cell) -> Iterator[tuple[Cell, Control]]:
        for control in controls:
            if control.kind == "repeat":
                yield from self._instances(control, here)
                continue
            if not control.bound:
                if here.relevant:
                    yield here, control
                yield from self._through(control.controls, here)
                continue
            definition = control.definition
            assert definition is not None
            if definition.repeat is not None:
                yield from self._through(control.controls, here)
                continue
            node = self._only(here, definition)
            if node is None:
                continue
            if node.relevant:
                yield node, control
            if control.controls:
                yield from self._through(control.controls, node)

    def _instances(self, control: Control, here: Cell) -> Iterator[tuple[Cell, Control]]:
        definition = control.definition
        assert definition is not None
        assert definition.parent is not None
        parent = self._only(here, definition.parent)
        number = 0
        while parent is not None:
            there = parent.kids.get(definition.name, ())
            if number >= len(there):
                if not self._one_more(control, parent, definition, number):
                    return
                there = parent.kids[definition.name]
            instance: Cell = there[number]  # type: ignore[assignment]
            if instance.relevant:
                yield instance, control
            yield from self._through(control.controls, instance)
            number += 1

    def _one_more(
        self, control: Control, parent: Cell, definition: Definition, number: int
    ) -> bool:
        """Whether a count asks for an instance in that place, which is then made."""
        if control.count is None or self._count(control, parent, definition) <= number:
            return False
        if not parent.relevant:
            return False
        if definition.relevant is not None:
            probe = Cell(definition, "", parent)
            if not definition.relevant.boolean(probe, self):
                return False
        self._new_instance(parent, definition)
        return True

    def _only(self, here: Cell, definition: Definition) -> Cell | None:
        """The definition's node from here, the first of each that is not on the way."""
        climb, names = self._route(here.defn, definition)
        for _ in range(climb):
            here = here.parent or here  # type: ignore[assignment]
        for name in names:
            found = below(here, (name,))
            if not found:
                return None
            here = found[0]
        return here

    # -- choices

    def items(self, node: Cell, itemset: Itemset) -> list[Node]:
        """The list as it was when the answers that it hangs on were last other ones; what else
        may have moved since (whether they are relevant) is not asked.
        """
        return self._list(node, itemset).items

    def _list(self, node: Cell, itemset: Itemset) -> _List:
        control = node.defn.control
        assert control is not None
        now = self._hangs_on(node, itemset)
        kept = self._lists.get(control)
        if kept is None or now is None or kept.hangs_on != now:
            kept = _List(now, super().items(node, itemset), next(self._marks))
            self._lists[control] = kept
        return kept

    def _hangs_on(self, node: Cell, itemset: Itemset) -> object:
        """The answers that decide the list, by place; None where one is not one answer."""
        place = place_of(node)
        choosing = itemset.nodeset.reads
        found = []
        for path in sorted((itemset.shuffled or itemset.nodeset).reads):
            nodes = self._expanded(place, path)
            if len(nodes) != 1 or nodes[0].defn.repeat is not None:
                return None
            (one,) = nodes
            # What only shuffles the list is read each time, and blank where it is not relevant.
            seen = self._as_object(one) if path in choosing else one.relevant and one.text
            found.append((ref_of(one), seen))
        return tuple(found)

    def _as_object(self, node: Cell) -> object:
        """What JavaRosa compares an answer by: words and numbers by what they say, a choice also by
        the list in which it was last seen, and anything else only with itself.
        """
        if not node.text:
            return node in self._hollow
        if node.defn.select:
            return node.text, self._bound.get(node)
        kind = held(node)
        if kind in {INT, DECIMAL} or (kind == WORDS and node.defn.type not in _PLACES):
            return node.text, kind
        return node.text, self._given.get(node)

    def see(self, node: Cell) -> None:
        """The question is seen: what its choices no longer offer is taken back, and nobody who
        depends on it is told.
        """
        control = node.defn.control
        if control is None or control.itemset is None:
            return
        if not node.text and node not in self._hollow:
            return
        known = values(self, node)
        self._bound[node] = self._list(node, control.itemset).mark
        if node.defn.select == "select1":
            node.text = node.text if node.text in known else ""
            return
        node.text = " ".join(one for one in chosen(node.text) if one in known)
        if not node.text:
            self._hollow.add(node)

    def _chosen_at(self, node: Cell) -> None:
        self.see(node)

    # -- judging

    def validated(self) -> tuple[Fault, ...]:
        """Every question is answered again with what it holds, in order, up to the first fault,
        which comes first; the other faults follow as they stand then.
        """
        self._start()
        for node, control in self.tour():
            if not control.asks:
                continue
            self.see(node)
            held = bool(node.text) or node in self._hollow
            fault = None
            if not held:
                fault = self.fault(node)
            elif node.defn.constraint is not None:
                fault = self._broken(node)
            if fault is not None:
                rest = [one for one in self.faults() if one != fault]
                return (fault, *rest)
            if held:
                self._trigger(place_of(node))
        return ()


def place_of(node: Cell) -> Place:
    found: list[tuple[str, int]] = []
    here: Cell | None = node
    while here is not None:
        above = here.parent
        definition = here.defn
        if definition.is_attribute:
            found.append(("@" + definition.name, 0))
        else:
            siblings = above.kids[here.name] if above is not None else [here]
            at = next(number for number, one in enumerate(siblings) if one is here)
            found.append((definition.name, at))
        here = above  # type: ignore[assignment]
    return tuple(reversed(found))
