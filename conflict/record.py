"""A household or a person as its changes tell it: a map from path to a multi-value register.

A write is live when no write names it as seen, and its own device wrote nothing later there.
Everything here is worked out from the set of changes alone, so that no order of arrival,
duplication or retry can show.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from types import MappingProxyType
from typing import TYPE_CHECKING, cast

from conflict.change import EXISTS, MOVED, NO, YES, Change, Dot, Forked, Value, Write
from conflict.clash import Candidate, Clash, LiveWrite, Suggestion, suggest
from conflict.policies import DEFAULTS, Policies, Policy

if TYPE_CHECKING:
    from collections.abc import Iterable

    from conflict.compaction import Snapshot

Entry = tuple[Change, Write]
"""One write and the change that it is part of."""

_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_ORDERED = frozenset({"max", "min", "sum"})


class Mixed(ValueError):
    """Changes of several records were given where one was asked for."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """The writes that put the shown value there, and every write that was knowingly replaced.

    After compaction `replaced` holds what the snapshot kept; the archive holds the rest.
    """

    by: tuple[LiveWrite, ...]
    replaced: tuple[LiveWrite, ...]


@dataclass(frozen=True, slots=True)
class Field:
    """One field: what is shown and by which policy, every live write, and its clash if any."""

    shown: Value
    live: tuple[LiveWrite, ...]
    clash: Clash | None
    provenance: Provenance
    policy: Policy


@dataclass(frozen=True, slots=True)
class _Judged:
    """What a policy makes of the writes at one path."""

    shown: Value
    by: tuple[Entry, ...]
    candidates: tuple[Candidate, ...] = ()
    reason: str = ""
    suggestion: Suggestion | None = None


def _order(entry: Entry) -> tuple[int, Dot]:
    return entry[0].effective, entry[0].dot


def _split(
    entries: list[Entry], before: frozenset[Dot] = frozenset()
) -> tuple[list[Entry], list[Entry]]:
    """Live and replaced. A ring of writes that each claim to have seen the next stays live.

    `before` holds what a snapshot knows to be replaced.
    """
    named = set(before)
    newest: dict[str, int] = {}
    for change, write in entries:
        device, counter = change.dot
        if newest.get(device, 0) < counter:
            newest[device] = counter
        if write.replaces:
            named |= write.replaces
    live: list[Entry] = []
    covered: list[Entry] = []
    for entry in entries:
        dot = entry[0].dot
        if dot in named or newest[dot.device] > dot.counter:
            covered.append(entry)
        else:
            live.append(entry)
    # A lone covered write is covered by a live one, for no write covers itself. Of several, each
    # must be reached from a live one: otherwise a lie about what was seen would hide an answer.
    if len(covered) > 1:
        walk = live + [entry for entry in covered if entry[0].dot in before]
        reached = {id(entry) for entry in walk}
        while walk:
            change, write = walk.pop()
            device, counter = change.dot
            for entry in covered:
                dot = entry[0].dot
                if id(entry) not in reached and (
                    dot in write.replaces or (dot.device == device and dot.counter < counter)
                ):
                    reached.add(id(entry))
                    walk.append(entry)
        if len(reached) < len(entries):
            live += [entry for entry in covered if id(entry) not in reached]
            covered = [entry for entry in covered if id(entry) in reached]
    return live, covered


def number(value: Value) -> Decimal | None:
    """The value as a finite number of moderate size, or None where it is none."""
    if not isinstance(value, str):
        return None
    try:
        found = Decimal(value.strip())
    except InvalidOperation:
        return None
    return found if found.is_finite() and abs(found.adjusted()) <= 30 else None


def _rank(value: Value) -> tuple[int, Decimal | str] | None:
    """What max and min compare: numbers with numbers, ISO dates with ISO dates."""
    found = number(value)
    if found is not None:
        return 0, found
    return (1, value) if isinstance(value, str) and _DATE.match(value) else None


class Fields(Mapping[str, Field]):
    """The fields of a record by path, each worked out when it is first asked for."""

    __slots__ = ("_made", "_record")

    def __init__(self, record: Record) -> None:
        self._record = record
        self._made: dict[str, Field] = {}

    def __getitem__(self, path: str) -> Field:
        made = self._made.get(path)
        if made is None:
            made = self._made[path] = self._record._field(path)
        return made

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._record._at))

    def __len__(self) -> int:
        return len(self._record._at)


class Record:
    """One record as its changes tell it. Nothing in it changes; `apply` makes another.

    Two records are equal when they show the same: ids, fields with their live writes, clashes.
    """

    __slots__ = ("_at", "_base", "_changes", "_clashes", "_fields", "_judged", "_shown", "policies")

    def __init__(
        self,
        changes: dict[Dot, Change],
        at: dict[str, Change | list[Entry]],
        policies: Policies,
        base: Snapshot | None,
    ) -> None:
        self._changes = changes
        self._at = at
        self._base = base
        self._judged: dict[str, _Judged] = {}
        self._fields: Fields | None = None
        self._clashes: tuple[Clash, ...] | None = None
        self._shown: Mapping[str, Value] | None = None
        self.policies = policies

    @property
    def id(self) -> str:
        return self._base.record if self._base else next(iter(self._changes.values())).record

    @property
    def dataset(self) -> str:
        """The dataset that its earliest change names; "" where none does."""
        named = [(change.order, change.dataset) for change in self._changes.values()]
        if self._base:
            named.append((self._base.born, self._base.dataset))
        return min((each for each in named if each[1]), default=(None, ""))[1]

    @property
    def changes(self) -> tuple[Change, ...]:
        """The changes that it was folded from, by dot; after compaction those since."""
        return tuple(self._changes[dot] for dot in sorted(self._changes))

    @property
    def fields(self) -> Fields:
        if self._fields is None:
            self._fields = Fields(self)
        return self._fields

    @property
    def values(self) -> Mapping[str, Value]:
        """What is shown at every path."""
        if self._shown is None:
            shown: dict[str, Value] = {}
            for path, held in self._at.items():
                if type(held) is Change:
                    value = held.writes[path].value
                    if path[-6:] != EXISTS or value == YES:
                        shown[path] = value
                        continue
                shown[path] = self._judge(path).shown
            for path in self._plain_exceptions():
                shown[path] = self._judge(path).shown
            self._shown = MappingProxyType(shown)
        return self._shown

    def value(self, path: str) -> Value:
        """What is shown there; None where nobody wrote anything. Old names of fields are known."""
        path = self.policies.path(path)
        return self._judge(path).shown if path in self._at else None

    @property
    def exists(self) -> bool:
        """Whether the record is there: not deleted, or deleted by someone who had not seen all."""
        return EXISTS not in self._at or self._judge(EXISTS).shown == YES

    @property
    def members(self) -> Mapping[str, Mapping[str, Value]]:
        """The members who are there: uuid -> field -> shown value."""
        found: dict[str, dict[str, Value]] = {}
        for path, value in self.values.items():
            if path.startswith("members/"):
                _, member, name = path.split("/", 2)
                found.setdefault(member, {})[name] = value
        return MappingProxyType(
            {
                member: MappingProxyType(found[member])
                for member in sorted(found)
                if found[member].get(EXISTS, YES) == YES
            }
        )

    @property
    def clashes(self) -> tuple[Clash, ...]:
        """Every field that a person must look at, by path."""
        if self._clashes is None:
            suspects = {
                path
                for path, held in self._at.items()
                if type(held) is not Change
                or (path[-6:] == EXISTS and held.writes[path].value != YES)
            }
            suspects.update(self._plain_exceptions())
            found = []
            for path in sorted(suspects):
                judged = self._judge(path)
                if judged.reason:
                    found.append(self._clash(path, judged))
            self._clashes = tuple(found)
        return self._clashes

    def _plain_exceptions(self) -> list[str]:
        """Paths with one write of which a policy still has something to say (types, numbers)."""
        names = set(self.policies.types)
        names.update(name for name, policy in self.policies.fields.items() if policy in _ORDERED)
        if not names and self.policies.default not in _ORDERED:
            return []
        if self.policies.default in _ORDERED:
            return list(self._at)
        bare = {name.rpartition("/")[2] for name in names}
        return [path for path in self._at if path.rpartition("/")[2] in bare]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Record):
            return NotImplemented
        return self._told() == other._told()

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return (
            f"Record({self.dataset} {self.id}, {len(self._at)} fields, {len(self.clashes)} clashes)"
        )

    def _told(self) -> tuple[object, ...]:
        return (
            self.id,
            self.dataset,
            {path: (field.shown, field.live) for path, field in self.fields.items()},
            self.clashes,
        )

    # -- what a policy makes of one path

    def entries(self, path: str) -> list[Entry]:
        """Every write to this path, by dot."""
        held = self._at.get(path)
        if held is None:
            return []
        if type(held) is Change:
            return [(held, held.writes[path])]
        return sorted(cast("list[Entry]", held), key=lambda entry: entry[0].dot)

    def live(self, path: str) -> list[Entry]:
        """The live writes to this path, in the server's order of time."""
        entries = self.entries(path)
        return entries if len(entries) < 2 else sorted(self.parted(path)[0], key=_order)

    def parted(self, path: str) -> tuple[list[Entry], list[Entry]]:
        """The live and the replaced writes to this path."""
        if self._base:
            return _split(self.entries(path), self._base.covered.get(path, frozenset()))
        return _split(self.entries(path))

    def below(self, path: str) -> list[tuple[str, Entry]]:
        """Every live write that the existence at this path speaks of, without its own."""
        prefix = path[: -len(EXISTS)]
        return [
            (each, entry)
            for each in self._at
            if each.startswith(prefix) and each != path
            for entry in self.live(each)
        ]

    def _judge(self, path: str) -> _Judged:
        judged = self._judged.get(path)
        if judged is None:
            judged = self._judged[path] = self._decide(path)
        return judged

    def _decide(self, path: str) -> _Judged:
        policy, _, kind = self.policies.of(path)
        entries = self.entries(path)
        live = self.live(path)
        if policy == "existence":
            return self._existence(path, live)
        if not policy:
            sets = all(isinstance(write.value, tuple) for _, write in live)
            policy = "union" if sets else self.policies.default
        if policy == "sum":
            return _sum(path, entries, live)
        if policy == "immutable":
            return _immutable(path, entries, live)
        values = dict.fromkeys(write.value for _, write in live)
        last = live[-1]
        if len(live) == 1 and last[0].kind == "settle":  # A person has spoken, also on its type.
            return _Judged(last[1].value, (last,))
        if kind and not all(_is(value, kind) for value in values):
            odd = next(value for value in values if not _is(value, kind))
            return _for_a_person(path, live, f"{_told(odd)} is not a {kind}, which the field is")
        if policy == "union":
            if len(values) == 1:
                return _Judged(last[1].value, tuple(live))
            union = sorted({one for value in values for one in _several(value)})
            return _Judged(tuple(union), tuple(live))
        if len({type(value) for value in values if value is not None}) > 1:
            reason = "one form version asks for one answer and the other for several"
            return _for_a_person(path, live, reason)
        if policy in {"max", "min"}:
            return _extreme(path, live, policy)
        if policy == "review" and len(values) > 1:
            reason = f"{len(values)} answers, each given without having seen the other"
            return _for_a_person(path, live, reason)
        return _Judged(last[1].value, (last,))

    def _existence(self, path: str, live: list[Entry]) -> _Judged:
        """Deletion loses to what the deleter had not seen; a move stands; a person judges both."""
        gone = [entry for entry in live if entry[1].value != YES]
        if not gone:
            return _Judged(YES, (live[-1],))
        unseen = [
            (each, entry)
            for each, entry in self.below(path)
            if entry[1].value is not None and not any(_saw(one, entry[0].dot) for one in gone)
        ]
        moved = [entry for entry in gone if str(entry[1].value).startswith(MOVED)]
        last = gone[-1]
        places = {entry[1].value for entry in moved}
        if len(gone) == len(live) and not unseen and len({w.value or NO for _, w in gone}) == 1:
            return _Judged(last[1].value or NO, (last,))
        candidates = [_candidate(path, entry) for entry in live]
        candidates += [_candidate(each, entry) for each, entry in unseen]
        candidates.sort(key=lambda one: (one.effective, one.dot, one.path))
        if len(places) > 1:
            reason = "moved to two households, each move made without knowing of the other"
        elif unseen:
            reason = "gone by one account, while another who did not know of it gave answers"
        elif len(gone) == len(live):
            reason = "deleted by one account and moved by another, neither knowing of the other"
        else:
            reason = "there by one account and gone by another, neither knowing of the other"
        if moved:  # Counted in one household only, or it would be paid twice.
            return _Judged(moved[-1][1].value, (moved[-1],), tuple(candidates), reason)
        back = [entry for entry in live if entry[1].value == YES] or live
        return _Judged(
            YES if unseen or back != live else NO, (back[-1],), tuple(candidates), reason
        )

    # -- what is handed out

    def _clash(self, path: str, judged: _Judged) -> Clash:
        return Clash(
            record=self.id,
            path=path,
            candidates=judged.candidates,
            suggestion=judged.suggestion or suggest(path, judged.candidates),
            reason=judged.reason,
        )

    def _field(self, path: str) -> Field:
        path = self.policies.path(path)
        if path not in self._at:
            raise KeyError(path)
        judged = self._judge(path)
        live, covered = self.parted(path)
        live.sort(key=_order)
        covered.sort(key=_order)
        policy = self.policies.of(path)[0]
        if not policy:
            sets = all(isinstance(write.value, tuple) for _, write in live)
            policy = "union" if sets else self.policies.default
        return Field(
            shown=judged.shown,
            live=tuple(map(_write, live)),
            clash=self._clash(path, judged) if judged.reason else None,
            provenance=Provenance(tuple(map(_write, judged.by)), tuple(map(_write, covered))),
            policy=policy,
        )


def _saw(one: Entry, dot: Dot) -> bool:
    """Whether who wrote this had that submission before them, or their own device made it.

    What a device adds to its own deletion afterwards does not undo it: it would write `yes`.
    """
    return dot in one[1].replaces or dot.device == one[0].dot.device


def _told(value: Value) -> str:
    return (
        "an empty field" if value is None else repr(value if isinstance(value, str) else [*value])
    )


def _several(value: Value) -> tuple[str, ...]:
    if isinstance(value, tuple):
        return value
    return (value,) if value else ()


def _is(value: Value, kind: str) -> bool:
    if value is None or value == "":
        return True
    if kind == "set":
        return True
    if isinstance(value, tuple):
        return False
    if kind == "number":
        return number(value) is not None
    return kind != "date" or _DATE.match(value) is not None


def _candidate(path: str, entry: Entry) -> Candidate:
    change, write = entry
    return Candidate(
        value=write.value,
        author=change.author,
        at=change.at,
        device=change.dot.device,
        dot=change.dot,
        saw=write.replaces,
        effective=change.effective,
        kind=change.kind,
        path=path,
    )


def _write(entry: Entry) -> LiveWrite:
    change, write = entry
    return LiveWrite(
        value=write.value,
        author=change.author,
        at=change.at,
        device=change.dot.device,
        dot=change.dot,
        effective=change.effective,
        source=change.source,
        kind=change.kind,
        form_version=change.form_version,
        replaces=write.replaces,
    )


def _for_a_person(path: str, live: list[Entry], reason: str) -> _Judged:
    """The latest answer is shown while a person looks."""
    last = live[-1]
    return _Judged(last[1].value, (last,), tuple(_candidate(path, entry) for entry in live), reason)


def _extreme(path: str, live: list[Entry], policy: str) -> _Judged:
    ranked = [(rank, entry) for entry in live if (rank := _rank(entry[1].value)) is not None]
    given = [entry for entry in live if entry[1].value is not None]
    if not given:
        return _Judged(None, (live[-1],))
    if len(ranked) < len(given) or len({rank[0] for rank, _ in ranked}) > 1:
        odd = next((w.value for _, w in given if number(w.value) is None), None)
        return _for_a_person(path, live, f"{_told(odd)} cannot be compared, and {policy} must")
    best = (max if policy == "max" else min)(rank for rank, _ in ranked)
    chosen = [entry for rank, entry in ranked if rank == best][-1]
    return _Judged(chosen[1].value, (chosen,))


def _settlements(entries: list[Entry]) -> tuple[list[Entry], list[Entry]]:
    """The settlements that stand, latest last, and the writes that none of them has seen."""
    made = [entry for entry in entries if entry[0].kind == "settle"]
    seen = {dot for _, write in made for dot in write.replaces}
    standing = sorted((e for e in made if not _within(e, made, seen)), key=_order)
    return standing, [e for e in entries if e[0].kind != "settle" and e[0].dot not in seen]


def _within(entry: Entry, made: list[Entry], seen: set[Dot]) -> bool:
    dot = entry[0].dot
    return dot in seen or any(
        other[0].dot.device == dot.device and other[0].dot.counter > dot.counter for other in made
    )


def _sum(path: str, entries: list[Entry], live: list[Entry]) -> _Judged:
    """What was last settled, and every increment that nobody had seen in settling."""
    standing, since = _settlements(entries)
    counted = standing[-1:] + sorted(since, key=_order)
    total = Decimal(0)
    for _, write in counted:
        if write.value is None:
            continue
        found = number(write.value)
        if found is None:
            return _for_a_person(path, live, f"{_told(write.value)} cannot be added up")
        total += found
    shown = format(total, "f")
    if len({write.value for _, write in standing}) > 1:
        reason = "settled twice, each time without knowing of the other"
        return _Judged(
            shown, tuple(counted), tuple(_candidate(path, each) for each in standing), reason
        )
    return _Judged(shown, tuple(counted))


def _immutable(path: str, entries: list[Entry], live: list[Entry]) -> _Judged:
    """What was last settled, or else written first, stands; whatever differs goes to a person."""
    standing, since = _settlements(entries)
    first = standing[-1] if standing else min(since, key=_order)
    differing = [entry for entry in live if entry[1].value != first[1].value]
    if not differing:
        return _Judged(first[1].value, (first,))
    asked = sorted([first, *(e for e in live if e is not first)], key=_order)
    return _Judged(
        first[1].value,
        (first,),
        tuple(_candidate(path, entry) for entry in asked),
        "the field never changes, and a later answer differs from the first",
        Suggestion(first[1].value, "it was there first, and the field never changes"),
    )


def fold(
    changes: Iterable[Change], policies: Policies = DEFAULTS, *, base: Snapshot | None = None
) -> Record:
    """The record that these changes of one record tell, whatever their order and repetition.

    With a `base`, the record of the changes compacted into it and of these. Raises Mixed where
    there is no change, or the changes are of several records; Forked where one dot names two.
    """
    known: dict[Dot, Change] = {}
    at: dict[str, Change | list[Entry]] = {}
    absorbed: frozenset[Dot] = frozenset()
    record = None
    if base:
        record, absorbed = base.record, base.absorbed
        for change in base.kept:
            _add(at, change, policies)
    for change in changes:
        if change.record != record:
            if record is not None:
                raise Mixed(f"changes of {record} and of {change.record} were folded together")
            record = change.record
        same = known.get(change.dot)
        if same is not None:
            if same is not change and same != change:
                raise Forked(same, change)
            continue
        if change.dot in absorbed:
            continue
        known[change.dot] = change
        if at or policies.aliases:
            _add(at, change, policies)
        else:
            at.update(dict.fromkeys(change.writes, change))
    if record is None:
        raise Mixed("a record is folded from at least one change")
    return Record(known, at, policies, base)


def _add(at: dict[str, Change | list[Entry]], change: Change, policies: Policies) -> None:
    """Put a change's writes where they belong. A list in `at` is never shared between records."""
    renamed = policies.aliases
    for written, write in change.writes.items():
        path = policies.path(written) if renamed else written
        held = at.get(path)
        if held is None:
            at[path] = change if path == written else [(change, write)]
        elif type(held) is Change:
            at[path] = [(held, held.writes[path]), (change, write)]
        else:
            cast("list[Entry]", held).append((change, write))


def apply(record: Record, change: Change) -> Record:
    """The record with one more change: the same as folding anew, at a small part of the price.

    A change that is already in it gives the same record. Raises Mixed and Forked like `fold`.
    """
    if change.record != record.id:
        raise Mixed(f"a change of {change.record} was applied to {record.id}")
    same = record._changes.get(change.dot)
    base = record._base
    if same is not None:
        if same != change:
            raise Forked(same, change)
        return record
    if base and change.dot in base.absorbed:
        return record
    at = dict(record._at)
    for written in change.writes:
        path = record.policies.path(written)
        held = at.get(path)
        if isinstance(held, list):
            at[path] = [*held]
    _add(at, change, record.policies)
    known = {**record._changes, change.dot: change}
    after = Record(known, at, record.policies, base)
    touched = {record.policies.path(written) for written in change.writes}
    after._judged = {
        path: judged
        for path, judged in record._judged.items()
        if path not in touched and path.rpartition("/")[2] != EXISTS
    }
    return after


def fold_all(
    changes: Iterable[Change], policies: Policies | Mapping[str, Policies] = DEFAULTS
) -> dict[str, Record]:
    """Each record of a mixed history by its id. `policies` for all, or by dataset."""
    apart: dict[str, list[Change]] = {}
    for change in changes:
        apart.setdefault(change.record, []).append(change)
    found = {}
    for record, own in sorted(apart.items()):
        if isinstance(policies, Policies):
            chosen = policies
        else:
            dataset = min(own, key=lambda change: change.order).dataset
            chosen = policies.get(dataset, DEFAULTS)
        found[record] = fold(own, chosen)
    return found
