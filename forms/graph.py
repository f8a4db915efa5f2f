"""Which rule follows from which node, and in what order: the one directed graph without cycles."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Generic, Literal, TypeVar

from forms.instance import below
from forms.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from forms.instance import Cell
    from forms.language import Compiled
    from forms.model import Definition, Path

Kind = Literal["calculate", "relevant", "readonly", "required"]
EDGES_MAX = 1_000_000
"""The budget of a form; the largest that we know, of 5,000 questions, has a hundredth of it."""
CIRCLES_MAX = 20
"""How many circles are told of at once."""
KINDS: tuple[Kind, ...] = ("calculate", "relevant", "readonly", "required")


class Rule:
    """One expression that decides something about one node. `rank` orders the working out."""

    __slots__ = ("compiled", "fresh", "kind", "rank", "target")

    def __init__(self, kind: Kind, target: Definition, compiled: Compiled) -> None:
        self.kind = kind
        self.target = target
        self.compiled = compiled
        self.rank = 0
        self.fresh = compiled.volatile
        """Worked out again whenever anything above it was given, even when nothing changed:
        it is volatile, or a person can have written over it."""

    def __repr__(self) -> str:
        return f"<{self.kind} of {self.target.ref}>"


class Watcher:
    """What is only shown, not stored, and follows from nodes: violations, labels, choices."""

    __slots__ = ("compiled", "kind", "target")

    def __init__(self, kind: str, target: Definition, compiled: Compiled) -> None:
        self.kind = kind
        self.target = target
        self.compiled = compiled


R = TypeVar("R", Rule, Watcher)


class Way(Generic[R]):
    """From the nodes of one definition to those of a reader: so many up, then down by names; or
    to all that the entry has (`everywhere`), where the reader looks at other instances too.
    """

    __slots__ = ("climb", "everywhere", "names", "reader")

    def __init__(self, source: Definition, reader: R) -> None:
        target = reader.target
        self.reader: R = reader
        self.everywhere = reader.compiled.crosses and bool(target.repeats_above)
        if self.everywhere:
            self.climb, self.names = 0, target.path[1:]
        else:
            self.climb, self.names = route(source.path, target.path)

    def ends(self, node: Cell, root: Cell) -> list[Cell]:
        """The reader's nodes as `node`, which has changed, finds them."""
        here = root if self.everywhere else node
        climb = self.climb
        while climb and here.parent is not None:
            here = here.parent  # type: ignore[assignment]
            climb -= 1
        return below(here, self.names) if self.names else [here]


class Ways(dict["Definition", tuple[Way[R], ...]]):
    """From each definition the ways to all that read it, found when they are first asked for:
    every answer asks, and the form's design alone decides.
    """

    def __init__(self, readers: Mapping[Path, Sequence[R]]) -> None:
        super().__init__()
        self._readers: Mapping[Path, Sequence[R]] = readers

    def __missing__(self, source: Definition) -> tuple[Way[R], ...]:
        made = tuple(Way(source, one) for one in self._readers.get(source.path, ()))
        self[source] = made
        return made


class Counters(dict["Definition", tuple[Way[Rule], ...]]):
    """From each repeat the ways, from above its instances, to those who see it grow and shrink:
    who reads it or anything in it, but for what only looks at its own instance.
    """

    def __init__(self, readers: Mapping[Path, Sequence[Rule]]) -> None:
        super().__init__()
        self._readers = readers

    def __missing__(self, repeat: Definition) -> tuple[Way[Rule], ...]:
        assert repeat.parent is not None
        depth = len(repeat.path)
        found: dict[Rule, None] = {}
        for inside in repeat.within():
            for rule in self._readers.get(inside.path, ()):
                inner = rule.target.path[:depth] == repeat.path
                if not inner or rule.compiled.crosses or inside is repeat:
                    found[rule] = None
        made = tuple(Way(repeat.parent, rule) for rule in found)
        self[repeat] = made
        return made


def route(source: Path, target: Path) -> tuple[int, Path]:
    """From a node at one path to those at another: so many up, then down by names."""
    shared = 0
    for one, other in zip(source, target, strict=False):
        if one != other:
            break
        shared += 1
    return len(source) - shared, target[shared:]


class Graph:
    """The rules of a form in the order in which they are worked out, and who reads what."""

    def __init__(self, ruled: Iterable[Definition], *, tolerant: bool) -> None:
        self.rules: list[Rule] = []
        self.problems: list[Problem] = []
        self.circular: list[Rule] = []
        """Where circles that a dialect tolerates were cut: worked out until they come to rest."""
        for definition in ruled:
            own = []
            for kind in KINDS:
                compiled = getattr(definition, kind)
                if compiled is None:
                    continue
                if kind == "required" and compiled.always is not None:
                    definition.always_required = compiled.always
                    continue
                own.append(Rule(kind, definition, compiled))
            definition.rules = tuple(own)
            self.rules.extend(own)
        self.readers: dict[Path, list[Rule]] = {}
        for rule in self.rules:
            for path in rule.compiled.reads:
                self.readers.setdefault(path, []).append(rule)
            control = rule.target.control
            if rule.kind == "calculate" and control is not None and control.asks:
                rule.fresh = True
        self._order(tolerant=tolerant)
        self.watchers: dict[Path, list[Watcher]] = {}
        self.choosers: dict[Path, list[Watcher]] = {}
        """Those whose choices change with the node: what is no longer offered is taken back."""
        self.to_readers = Ways(self.readers)
        self.to_counters = Counters(self.readers)
        self.to_watchers = Ways(self.watchers)
        self.to_choosers = Ways(self.choosers)

    @cached_property
    def to_fresh(self) -> Ways[Rule]:
        """Nobody asks before the first answer."""
        return Ways(self._fresh_below())

    def chooses(self, watcher: Watcher) -> None:
        for path in watcher.compiled.reads:
            self.choosers.setdefault(path, []).append(watcher)

    def watch(self, watcher: Watcher) -> None:
        for path in watcher.compiled.reads:
            self.watchers.setdefault(path, []).append(watcher)

    def touches(self, rule: Rule) -> Iterable[Definition]:
        """The nodes whose readers must look again when the rule's outcome changes."""
        target = rule.target
        if rule.kind == "relevant" and (target.children or target.attributes):
            return target.within()
        return (target,)

    def _order(self, *, tolerant: bool) -> None:
        followers: dict[Rule, tuple[Rule, ...]] = {}
        self.followers = followers
        waiting = dict.fromkeys(self.rules, 0)
        edges = 0
        for rule in self.rules:
            found: dict[Rule, None] = {}
            for touched in self.touches(rule):
                for reader in self.readers.get(touched.path, ()):
                    found[reader] = None
            if tolerant:
                if found.pop(rule, rule) is None and rule.kind == "calculate":
                    self.circular.append(rule)
                if rule.kind in {"readonly", "required"}:
                    found = {}
            elif rule in found:
                self._refuse([rule])
                found.pop(rule)
            followers[rule] = tuple(found)
            edges += len(found)
            if edges > EDGES_MAX:
                reason = f"its questions hang on each other in more than {EDGES_MAX:,} ways"
                self.problems.append(Problem("", None, "", reason))
                self.followers = dict.fromkeys(self.rules, ())
                return
            for reader in found:
                waiting[reader] += 1
        ready = [rule for rule in self.rules if not waiting[rule]]
        ordered: list[Rule] = []
        while waiting:
            if not ready:
                if not tolerant and len(self.problems) < CIRCLES_MAX:
                    self._refuse(self._circle(waiting))
                # A circle that a dialect tolerates is cut at its first rule in document order.
                ready = [next(iter(waiting))]
                self.circular.extend(ready if tolerant else ())
            following: list[Rule] = []
            for rule in ready:
                ordered.append(rule)
                del waiting[rule]
                for reader in followers[rule]:
                    if reader in waiting:
                        waiting[reader] -= 1
                        if not waiting[reader]:
                            following.append(reader)
            ready = following
        for rank, rule in enumerate(ordered):
            rule.rank = rank
        self.rules = ordered

    def _circle(self, waiting: Mapping[Rule, int]) -> list[Rule]:
        """One circle among the rules that wait for each other."""
        before: dict[Rule, Rule] = {}
        for rule in waiting:
            for reader in self.followers[rule]:
                if reader in waiting:
                    before.setdefault(reader, rule)
        rule = next(one for one in waiting if one in before)
        seen: dict[Rule, None] = {}
        while rule not in seen:
            seen[rule] = None
            rule = before[rule]
        # Each rule is followed by those that it hangs on.
        found = list(seen)
        return found[found.index(rule) :]

    def _refuse(self, circle: list[Rule]) -> None:
        first = circle[0]
        if len(circle) == 1:
            reason = (
                f"{first.kind} of {first.target.ref} needs the outcome of itself, which is a cycle: "
                "take what it says of itself out"
            )
        else:
            some = [f"{one.target.ref} ({one.kind})" for one in circle[1:9]]
            if len(circle) > 9:
                some.append(f"{len(circle) - 9} more")
            told = ", which needs ".join(some)
            reason = (
                f"the questions depend on each other in a cycle: {first.target.ref} "
                f"({first.kind}) needs {told}, which needs {first.target.ref} again: take one of "
                "these out"
            )
        self.problems.append(Problem("survey", None, first.target.name, reason))

    def _fresh_below(self) -> dict[Path, tuple[Rule, ...]]:
        """By path the rules further down than its readers that must be worked out anyway."""
        below: dict[Rule, frozenset[Rule]] = {}
        for rule in reversed(self.rules):
            found: set[Rule] = set()
            for reader in self.followers[rule]:
                if reader.rank <= rule.rank:
                    continue
                if reader.fresh:
                    found.add(reader)
                found |= below.get(reader, frozenset())
            below[rule] = frozenset(found)
        fresh: dict[Path, tuple[Rule, ...]] = {}
        for path, readers in self.readers.items():
            gathered: set[Rule] = set()
            for reader in readers:
                gathered |= below.get(reader, frozenset())
            gathered -= set(readers)
            if gathered:
                fresh[path] = tuple(sorted(gathered, key=lambda rule: rule.rank))
        return fresh
