"""A device's chain of envelopes, as the server holds it: what lies where, what fits, how far it goes."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import bindparam, select, update

from sync_server.store.intake_tables import devices, envelopes

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from schemas.envelope import Envelope
    from sync_server.enrol import Device
    from sync_server.store.engine import Tx

NEAR = 4096
"""Counters further apart than this are looked up one by one, closer ones as a range."""
AGAIN_MAX = 500


class Held(NamedTuple):
    """One envelope that is here. At most one at a counter is not a fork."""

    counter: int
    hash: str
    prev: str
    fork: bool


# These run at every round: built once, as building one costs more than to run it.
_OF_DEVICE = (
    envelopes.c.area == bindparam("area"),
    envelopes.c.device == bindparam("device"),
)
_PLACES = select(envelopes.c.counter, envelopes.c.hash, envelopes.c.prev, envelopes.c.fork).where(
    *_OF_DEVICE
)
_BETWEEN = _PLACES.where(envelopes.c.counter.between(bindparam("least"), bindparam("most")))
_AT = _PLACES.where(envelopes.c.counter.in_(bindparam("counters", expanding=True)))
_BEHIND = (
    select(envelopes.c.counter)
    .where(*_OF_DEVICE, envelopes.c.counter > bindparam("to"), envelopes.c.fork.is_(False))
    .order_by(envelopes.c.counter)
)
_HELD_TO = select(devices.c.held_to).where(
    devices.c.area == bindparam("area"), devices.c.device == bindparam("device")
)
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
    return [Held(*row) for row in found]


def misfit(chain: dict[int, tuple[str, str]], envelope: Envelope) -> str:
    """The problem's code if the envelope does not fit into the chain, else "".

    `chain` has (hash, prev) by counter of what is no fork, around the envelope's place.
    """
    header = envelope.header
    if header.counter in chain:
        return "counter-forked"
    before, after = chain.get(header.counter - 1), chain.get(header.counter + 1)
    if before and before[0] != header.prev:
        return "chain-broken"
    if after and after[1] != envelope.hash:
        return "chain-broken"
    return ""


def held_to(tx: Tx, device: Device) -> int:
    """The last counter before the first gap."""
    return int(tx.execute(_HELD_TO, _of(device)).scalar_one())


def raise_held_to(tx: Tx, device: Device, fresh: Iterable[int]) -> None:
    """Notes how far the chain goes without a gap, now that `fresh` came."""
    to = begun = held_to(tx, device)
    for counter in sorted(fresh):
        to += counter == to + 1
    # Behind a gap that is closed now, more may have lain for long.
    for counter in tx.execute(_BEHIND, {**_of(device), "to": to}).scalars():
        if counter != to + 1:
            break
        to = counter
    if to != begun:
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
    found: list[tuple[int, int]] = []
    first = held_to + 1
    for counter in sorted({*here, acknowledged + 1}):
        if counter > first:
            found.append((first, counter - 1))
        first = counter + 1
    return tuple(found[:AGAIN_MAX])
