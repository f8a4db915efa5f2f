"""History that everybody has, folded into a snapshot; the whole of it goes to the archive."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from conflict.policies import DEFAULTS, Policies
from conflict.record import Entry, Mixed, fold

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from conflict.change import Change, Dot, Write


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What of a record's history up to `horizon` any fold to come can need.

    `kept` are the changes, thinned to such writes; `covered` says which of these are replaced;
    `absorbed` names every change that is in here, so that a late repetition of one adds nothing.
    """

    record: str
    dataset: str
    horizon: int
    born: tuple[int, Dot]
    kept: tuple[Change, ...]
    covered: Mapping[str, frozenset[Dot]]
    absorbed: frozenset[Dot]


def compact(
    history: Iterable[Change],
    horizon: int,
    policies: Policies = DEFAULTS,
    *,
    base: Snapshot | None = None,
) -> Snapshot:
    """The snapshot of the changes whose effective time is at most `horizon`.

    `fold(later, policies, base=snapshot)` shows what folding everything would show, whatever comes
    later or late, and under any policy but `sum`: only increments of fields that are sums now are
    kept, so that a field which becomes one later is folded from the archive. The replaced writes
    in a provenance are in the archive too. Raises Mixed where nothing is that old.
    """
    old = [change for change in history if change.effective <= horizon]
    if not old and base is None:
        raise Mixed(f"no change is as old as {horizon}; there is nothing to compact")
    record = fold(old, policies, base=base)
    absorbed = frozenset(change.dot for change in old) | (base.absorbed if base else frozenset())
    thinned: dict[Dot, tuple[Change, dict[str, Write]]] = {}
    covered: dict[str, frozenset[Dot]] = {}
    for path in record.fields:
        _, replaced = record.parted(path)
        gone = {id(entry[1]) for entry in replaced}
        needed = _needed(record.entries(path), gone, absorbed, record.policies.of(path)[0] == "sum")
        for change, write in needed:
            name = next(name for name, each in change.writes.items() if each is write)
            thinned.setdefault(change.dot, (change, {}))[1][name] = write
        if names := frozenset(change.dot for change, write in needed if id(write) in gone):
            covered[path] = names
    first = min(old, key=lambda change: change.order) if old else None
    born = [] if first is None else [(first.order, first.dataset)]
    if base:
        born.append((base.born, base.dataset))
    when, dataset = min(born)
    return Snapshot(
        record=record.id,
        dataset=dataset,
        horizon=horizon,
        born=when,
        kept=tuple(
            replace(change, writes=MappingProxyType(writes))
            for _, (change, writes) in sorted(thinned.items())
        ),
        covered=MappingProxyType(covered),
        absorbed=absorbed,
    )


def _needed(
    entries: list[Entry], gone: set[int], absorbed: frozenset[Dot], adds_up: bool
) -> list[Entry]:
    """The writes to one path that a fold to come can still turn on."""
    settled = {
        dot for change, write in entries if change.kind == "settle" for dot in write.replaces
    }
    open_ones = [e for e in entries if e[0].kind != "settle" and e[0].dot not in settled]
    first = min(open_ones, key=lambda entry: entry[0].order, default=None)
    newest: dict[str, int] = {}
    for change, _ in entries:
        newest[change.dot.device] = max(newest.get(change.dot.device, 0), change.dot.counter)
    return [
        entry
        for entry in entries
        if id(entry[1]) not in gone  # live
        or entry[0].kind == "settle"  # sums and immutable fields start from it
        or entry is first  # what an immutable field shows
        or (adds_up and entry in open_ones)
        or newest[entry[0].dot.device] == entry[0].dot.counter  # it replaces a straggler
        or not entry[1].replaces <= absorbed  # and so does this one
    ]
