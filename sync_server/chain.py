"""A device's chain of envelopes, as the server holds it: what lies where, what fits, how far it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import bindparam, func, literal_column, select, update

from schemas.runs import SHORT, sampled
from sync_server.store.engine import sequences
from sync_server.store.intake_tables import devices, envelopes, epochs

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Sequence

    from schemas.envelope import Outside
    from schemas.runs import Run
    from sync_server.enrol import Device
    from sync_server.store.engine import Tx

NEAR = 4096
"""Counters further apart than this are looked up one by one, closer ones as a range."""
AGAIN_MAX = 500
FORKS = ("counter-forked", "chain-broken")
"""Held for its place in the chain: a person can release it."""


class Held(NamedTuple):
    """One envelope that is here. At most one at a counter has no problem, and is the chain's."""

    counter: int
    hash: str
    prev: str
    problem: str


class Standing(NamedTuple):
    """How far the server is with a device: the history it is in, the last place that it gave in the
    device's area, and the last counter of the device before the first gap.
    """

    epoch: str
    sequence: int
    held_to: int


# These run at every round: built once, as building one costs more than to run it.
_OF_DEVICE = (
    envelopes.c.area == bindparam("area"),
    envelopes.c.device == bindparam("device"),
)
_PLACES = select(
    envelopes.c.counter, envelopes.c.hash, envelopes.c.prev, envelopes.c.problem
).where(*_OF_DEVICE)
_BETWEEN = _PLACES.where(envelopes.c.counter.between(bindparam("least"), bindparam("most")))
_AT = _PLACES.where(envelopes.c.counter.in_(bindparam("counters", expanding=True)))
_BEHIND = (
    select(envelopes.c.counter)
    .where(*_OF_DEVICE, envelopes.c.counter > bindparam("to"), envelopes.c.problem == "")
    .order_by(envelopes.c.counter)
)
_UP_TO = _PLACES.where(envelopes.c.counter <= bindparam("most"))
_EPOCH = (
    select(epochs.c.epoch)
    .where(epochs.c.area == "")
    .order_by(epochs.c.begun_ms.desc(), epochs.c.epoch)
    .limit(1)
)
_STANDING = select(
    _EPOCH.scalar_subquery(),
    select(sequences.c.value).where(sequences.c.area == bindparam("area")).scalar_subquery(),
    devices.c.held_to,
).where(devices.c.area == bindparam("area"), devices.c.device == bindparam("device"))
_RAISE = (
    update(devices)
    .where(devices.c.area == bindparam("of_area"), devices.c.device == bindparam("of_device"))
    .values(held_to=bindparam("to"))
)


def _of(device: Device) -> dict[str, str]:
    return {"area": device.area, "device": device.device}


def near(tx: Tx, device: Device, counters: Sequence[int]) -> list[Held]:
    """What the server holds of the device at these counters and beside them."""
    if not counters:
        return []
    least, most = min(counters) - 1, max(counters) + 1
    if most - least <= NEAR:
        found = tx.execute(_BETWEEN, {**_of(device), "least": least, "most": most})
    else:
        beside = {one for counter in counters for one in (counter - 1, counter, counter + 1)}
        found = tx.execute(_AT, {**_of(device), "counters": sorted(beside)})
    return [Held(*row) for row in found.all()]


def misfit(chain: dict[int, tuple[str, str]], envelope: Outside) -> str:
    """The problem's code if the envelope does not fit into the chain, else "".

    `chain` has (hash, prev) by counter of what is no fork, around the envelope's place.
    """
    if envelope.counter in chain:
        return "counter-forked"
    before, after = chain.get(envelope.counter - 1), chain.get(envelope.counter + 1)
    if before and before[0] != envelope.prev:
        return "chain-broken"
    if after and after[1] != envelope.hash:
        return "chain-broken"
    return ""


def forked(tx: Tx) -> dict[tuple[str, str], int]:
    """How many envelopes lie beside their device's chain, by (area, device): two work by one name."""
    at = envelopes.c
    # Written into the statement: only so does SQLite know that the small index holds them.
    beside = at.problem != literal_column("''")
    found = select(at.area, at.device, func.count()).where(beside).group_by(at.area, at.device)
    return {(area, device): int(many) for area, device, many in tx.execute(found)}


def current_epoch(tx: Tx) -> str:
    """The history that the server is in now."""
    return str(tx.execute(_EPOCH).scalar_one())


def standing(tx: Tx, device: Device) -> Standing:
    """How far the server is with the device now."""
    epoch, sequence, held_to = tx.execute(_STANDING, _of(device)).one()
    return Standing(epoch, sequence or 0, held_to)


def raise_held_to(
    tx: Tx, device: Device, held_to: int, fresh: Iterable[int], here: Container[int]
) -> None:
    """Notes how far the chain goes without a gap, now that `fresh` came.

    `here` has the counters beside them that were here before.
    """
    to = held_to
    for counter in sorted(fresh):
        to += counter == to + 1
    if to == held_to:
        return
    if to + 1 in here:
        # Behind a gap that is closed now, more may have lain for long.
        for counter in tx.execute(_BEHIND, {**_of(device), "to": to}).scalars():
            if counter != to + 1:
                break
            to = counter
    tx.execute(_RAISE, {"of_area": device.area, "of_device": device.device, "to": to})


def lost(tx: Tx, device: Device, held_to: int, acknowledged: int) -> tuple[tuple[int, int], ...]:
    """The ranges of counters up to `acknowledged` that are not here."""
    if acknowledged <= held_to:
        return ()
    here = set(
        tx.execute(
            select(envelopes.c.counter).where(
                envelopes.c.area == device.area,
                envelopes.c.device == device.device,
                envelopes.c.counter > held_to,
                envelopes.c.counter <= acknowledged,
            )
        ).scalars()
    )
    return tuple(_gaps(held_to + 1, here, acknowledged)[:AGAIN_MAX])


def unheld(
    tx: Tx, device: Device, held_to: int, runs: Sequence[Run]
) -> tuple[tuple[int, int], ...]:
    """The ranges of counters in `runs` at which the very envelopes that the device has receipts of
    are not here: what lies there may be another's, of two devices restored from one copy.

    An envelope names the one before it by its hash, so whoever has one knows all before it. What
    is no fork is linked up to `held_to`: where every run ends in that, nothing more is read.
    """
    ends = {last: hashes[0] for _, last, hashes in runs}
    at_ends = tx.execute(_AT, {**_of(device), "counters": sorted(ends)}) if ends else ()
    linked = {
        counter
        for counter, digest, _, problem in at_ends
        if not problem and counter <= held_to and digest[:SHORT] == ends[counter]
    }
    doubtful = [run for run in runs if run[1] not in linked]
    if not doubtful:
        return ()
    most = max(last for _, last, _ in doubtful)
    before = {
        (counter, digest[:SHORT]): prev[:SHORT]
        for counter, digest, prev, _ in tx.execute(_UP_TO, {**_of(device), "most": most})
    }
    found: list[tuple[int, int]] = []
    for first, last, hashes in doubtful:
        here: set[int] = set()
        for sample, name in zip(sampled(first, last), hashes, strict=False):
            counter, digest = sample, name
            while counter >= first and counter not in here and (counter, digest) in before:
                here.add(counter)
                counter, digest = counter - 1, before[counter, digest]
        found += _gaps(first, here, last)
    return tuple(sorted(found)[:AGAIN_MAX])


def _gaps(first: int, here: set[int], last: int) -> list[tuple[int, int]]:
    """The ranges from `first` to `last` of what is not here."""
    found: list[tuple[int, int]] = []
    for counter in sorted({*here, last + 1}):
        if counter > first:
            found.append((first, counter - 1))
        first = counter + 1
    return found
