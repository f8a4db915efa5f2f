"""The one corridor: whatever comes in, by whichever door, is taken in here, once.

Taking in is short: who sent it was checked by whoever opened the door, its place in the device's
chain is judged here, and then it is stored. What lies under the seal is looked at afterwards
(`inspection`), so that a device hears soon that its work is safe.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, insert, select, update

from schemas.envelope import Envelope, Payload, envelope_hash, parse
from schemas.problems import Problem, Refused
from schemas.signing import held_digest, receipt_bytes, text
from sync_server import blobs, openings
from sync_server.checking import place
from sync_server.store.engine import as_bytes, next_sequence
from sync_server.store.intake_tables import (
    batches,
    devices,
    envelopes,
    epochs,
    replies,
    submissions,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sync_server.desk import Desk
    from sync_server.enrol import Device
    from sync_server.store.engine import Tx

NEAR = 4096
"""Counters further apart than this are looked up one by one, closer ones as a range."""
HELD_FOR = ("counter-forked", "chain-broken", "instance-known")
"""Problems that only a person can end."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The answer to one batch.

    `held`: ranges of counters that the server holds durably; `count` of envelopes in them;
    `receipt`: base64 of the server's signature over them, "" where nothing is held.
    `refused`: `{counter, held, problem, faults}`, as far as taking in can tell.
    """

    batch: str
    held: tuple[tuple[int, int], ...] = ()
    count: int = 0
    receipt: str = ""
    refused: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Brought:
    """One batch as it came, taken apart: nothing of it is stored yet."""

    batch: str
    digest: str
    sound: tuple[tuple[bytes, Envelope], ...]
    """What can be taken in, by counter."""
    refused: tuple[dict[str, Any], ...]
    """What cannot, with its reason."""
    openings: Mapping[str, bytes]
    """Those of its sessions that came along, by hash."""
    by: str


def take_batch(
    desk: Desk, device: Device, batch: str, sealed: Sequence[bytes], *, by: str = "network"
) -> Outcome:
    """Takes a batch in, whole, in one transaction, and answers it. Nothing of it is opened yet.

    The caller has checked that the device itself signed what holds these envelopes. The same batch
    again gets the same answer. Each envelope has its own fate: one that was taken in before has no
    further effect; one at a taken place in the chain is held for a person; the others wait to be
    inspected. Raises `Refused("batch-changed")` if the id came before with other envelopes; then
    nothing is taken.
    """
    brought = unpacked(device, batch, sealed, by=by)
    at_ms = desk.now_ms()
    said = desk.store.transaction(
        lambda tx: store_batch(tx, device, brought, at_ms), lock=device.area
    )
    return receipted(desk, device, batch, said)


def unpacked(device: Device, batch: str, sealed: Sequence[bytes], *, by: str) -> Brought:
    """The batch's envelopes, taken apart outside of any transaction."""
    # A batch is its envelopes: openings come along or not, as the device sees need.
    brought, sealed = openings.set_apart(device, sealed)
    hashes: list[str] = []
    refused: list[dict[str, Any]] = []
    sound: dict[str, tuple[bytes, Envelope]] = {}
    for number, data in enumerate(sealed, 1):
        counter = 0
        try:
            envelope = parse(data)
            hashes.append(envelope.hash)
            counter = envelope.header.counter
            if envelope.header.device != device.device:
                raise Refused("envelope-signature", f"it is of device {envelope.header.device}")
            sound[envelope.hash] = (data, envelope)
        except Refused as error:
            if len(hashes) < number:
                hashes.append(envelope_hash(data))
            detail = error.problem.detail or f"envelope {number} of the batch"
            refused.append(_refusal(counter, Problem(error.problem.code, detail), held=False))
    sessions = {envelope.header.session for _, envelope in sound.values()}
    return Brought(
        batch,
        hashlib.sha256("".join(hashes).encode()).hexdigest(),
        tuple(sorted(sound.values(), key=lambda one: one[1].header.counter)),
        tuple(refused),
        {name: data for name, data in brought.items() if name in sessions},
        by,
    )


def _openable(tx: Tx, device: Device, brought: Brought) -> Brought:
    """Without its session's opening nobody could ever open it: no receipt is given for that."""
    wanted = {envelope.header.session for _, envelope in brought.sound} - set(brought.openings)
    lost = wanted - set(openings.held(tx, device, wanted)) if wanted else set()
    if not lost:
        return brought
    told = [
        _refusal(envelope.header.counter, Problem("session-unknown"), held=False)
        for _, envelope in brought.sound
        if envelope.header.session in lost
    ]
    return replace(
        brought,
        sound=tuple(one for one in brought.sound if one[1].header.session not in lost),
        refused=(*brought.refused, *told),
    )


def _refusal(counter: int, problem: Problem, *, held: bool) -> dict[str, Any]:
    return {"counter": counter, "held": held, "problem": problem.as_json(), "faults": []}


def store_batch(tx: Tx, device: Device, brought: Brought, at_ms: int) -> dict[str, Any]:
    """The whole effect of a batch, in the writer's transaction; returns the answer, unsigned."""
    again = _said(tx, device, brought)
    if again is not None:
        return again
    brought = _openable(tx, device, brought)
    openings.keep(tx, device, brought.openings)
    near = _near(tx, device, [one.header.counter for _, one in brought.sound])
    here = {row.hash for row in near}
    # Around these counters, what the server holds of the device's chain.
    chain = {row.counter: (row.hash, row.prev) for row in near if not row.fork}
    sequence = next_sequence(tx, device.area)
    sealed_rows: list[dict[str, Any]] = []
    opened_rows: list[dict[str, Any]] = []
    named: list[dict[str, Any]] = []
    for data, envelope in brought.sound:
        if envelope.hash in here:
            continue
        header = envelope.header
        fork = _fork(chain, envelope)
        if not fork:
            chain[header.counter] = (envelope.hash, header.prev)
        sealed_rows.append(
            {
                "area": device.area,
                "device": device.device,
                "counter": header.counter,
                "hash": envelope.hash,
                "prev": header.prev,
                "fork": bool(fork),
                "received_ms": at_ms,
                "sealed": data,
            }
        )
        opened_rows.append(
            {
                "area": device.area,
                "device": device.device,
                "counter": header.counter,
                "hash": envelope.hash,
                "sequence": sequence,
                "batch": brought.batch,
                # What does not fit into the chain is opened too, for the person who will look at it.
                "state": "received",
                "problem": fork,
                "form": header.form[:255],
                "version": header.version[:255],
                "form_hash": header.form_hash,
                "made": header.made[:128],
                "received_ms": at_ms,
            }
        )
        named += [
            {
                "area": device.area,
                "hash": part.hash,
                "device": device.device,
                "counter": header.counter,
                "size": part.size,
            }
            for part in header.attachments
        ]
    if opened_rows:
        tx.execute(insert(envelopes), sealed_rows)
        tx.execute(insert(submissions), opened_rows)
        _raise_held_to(tx, device, [row["counter"] for row in sealed_rows if not row["fork"]])
    if named:
        blobs.expect(tx, device.area, [(one["hash"], one["size"]) for one in named])
        once = {(one["hash"], one["counter"]): one for one in named}
        blobs.name(tx, list(once.values()))
    tx.execute(
        insert(batches).values(
            area=device.area,
            device=device.device,
            batch=brought.batch,
            sequence=sequence,
            received_ms=at_ms,
            digest=brought.digest,
            count=len(opened_rows),
            by=brought.by,
        )
    )
    said = _answer(tx, device, brought)
    tx.execute(
        insert(replies).values(
            area=device.area, device=device.device, batch=brought.batch, reply=json.dumps(said)
        )
    )
    return said


def _said(tx: Tx, device: Device, brought: Brought) -> dict[str, Any] | None:
    """The stored answer to that batch. Raises `Refused("batch-changed")`."""
    row = tx.execute(
        _REPLY, {"area": device.area, "device": device.device, "batch": brought.batch}
    ).first()
    if row is None:
        return None
    if row.digest != brought.digest:
        raise Refused("batch-changed", brought.batch)
    found: dict[str, Any] = json.loads(row.reply)
    return found


_REPLY = (
    select(replies.c.reply, batches.c.digest)
    .join(
        batches,
        (batches.c.area == replies.c.area)
        & (batches.c.device == replies.c.device)
        & (batches.c.batch == replies.c.batch),
    )
    .where(
        replies.c.area == bindparam("area"),
        replies.c.device == bindparam("device"),
        replies.c.batch == bindparam("batch"),
    )
)


def _near(tx: Tx, device: Device, counters: Sequence[int]) -> list[Any]:
    """What the server holds of the device at these counters and beside them."""
    if not counters:
        return []
    least, most = min(counters) - 1, max(counters) + 1
    here = select(envelopes.c.counter, envelopes.c.hash, envelopes.c.prev, envelopes.c.fork).where(
        envelopes.c.area == device.area, envelopes.c.device == device.device
    )
    if most - least <= NEAR:
        here = here.where(envelopes.c.counter.between(least, most))
    else:
        beside = {one for counter in counters for one in (counter - 1, counter, counter + 1)}
        here = here.where(envelopes.c.counter.in_(beside))
    return list(tx.execute(here))


def _fork(chain: dict[int, tuple[str, str]], envelope: Envelope) -> str:
    """The problem's code if the envelope does not fit into the chain, else ""."""
    header = envelope.header
    if header.counter in chain:
        return "counter-forked"
    before, after = chain.get(header.counter - 1), chain.get(header.counter + 1)
    if before and before[0] != header.prev:
        return "chain-broken"
    if after and after[1] != envelope.hash:
        return "chain-broken"
    return ""


def _raise_held_to(tx: Tx, device: Device, fresh: Iterable[int]) -> None:
    """`devices.held_to` to the last counter before the first gap, now that `fresh` came."""
    here = (devices.c.area == device.area) & (devices.c.device == device.device)
    to = begun = int(tx.execute(select(devices.c.held_to).where(here)).scalar_one())
    for counter in sorted(fresh):
        to += counter == to + 1
    # Behind a gap that is closed now, more may have lain for long.
    for counter in tx.execute(
        select(envelopes.c.counter)
        .where(
            envelopes.c.area == device.area,
            envelopes.c.device == device.device,
            envelopes.c.counter > to,
            envelopes.c.fork.is_(False),
        )
        .order_by(envelopes.c.counter)
    ).scalars():
        if counter != to + 1:
            break
        to = counter
    if to != begun:
        tx.execute(update(devices).where(here).values(held_to=to))


def _answer(tx: Tx, device: Device, brought: Brought) -> dict[str, Any]:
    """What the server holds now of this batch: read back, not remembered."""
    mine = {envelope.hash for _, envelope in brought.sound}
    rows = _near(tx, device, [envelope.header.counter for _, envelope in brought.sound])
    held = [(row.counter, row.hash) for row in rows if row.hash in mine]
    told = list(brought.refused)
    if held:
        told += [
            _refusal(row.counter, Problem(row.problem), held=True)
            for row in tx.execute(
                select(submissions.c.counter, submissions.c.hash, submissions.c.problem).where(
                    submissions.c.area == device.area,
                    submissions.c.device == device.device,
                    submissions.c.counter.between(min(held)[0], max(held)[0]),
                    submissions.c.problem.in_(HELD_FOR),
                )
            )
            if row.hash in mine
        ]
    return {
        "epoch": current_epoch(tx),
        "held": ranges(counter for counter, _ in held),
        "count": len(held),
        "digest": held_digest(held),
        "refused": told,
    }


def ranges(counters: Iterable[int]) -> list[tuple[int, int]]:
    """The same counters as ranges, ends included."""
    found: list[tuple[int, int]] = []
    for counter in sorted(set(counters)):
        if found and found[-1][1] == counter - 1:
            found[-1] = (found[-1][0], counter)
        else:
            found.append((counter, counter))
    return found


def receipted(desk: Desk, device: Device, batch: str, said: dict[str, Any]) -> Outcome:
    """The answer with its receipt. Ed25519 is deterministic: the same answer, the same bytes."""
    receipt = ""
    if said["count"]:
        receipt = text(
            desk.sign(
                receipt_bytes(
                    server=desk.keys.fingerprint,
                    epoch=said["epoch"],
                    area=device.area,
                    device=device.device,
                    batch=batch,
                    count=said["count"],
                    held=said["digest"],
                )
            )
        )
    return Outcome(
        batch,
        tuple((first, last) for first, last in said["held"]),
        said["count"],
        receipt,
        tuple(said["refused"]),
    )


def current_epoch(tx: Tx) -> str:
    """The history that the server is in now."""
    return str(
        tx.execute(
            select(epochs.c.epoch)
            .where(epochs.c.area == "")
            .order_by(epochs.c.begun_ms.desc(), epochs.c.epoch)
            .limit(1)
        ).scalar_one()
    )


def opened(desk: Desk, row: Any) -> Payload:
    """The payload of a row of `submissions` that was opened. Raises `Refused("seal-broken")`."""
    where = place(row.area, row.device, row.counter, row.hash)
    return Payload.unpack(desk.at_rest.open(where, as_bytes(row.opened_at_rest)))


def faults_of(desk: Desk, row: Any) -> list[tuple[str, str, str]]:
    """(place, rule, reason) of a row of `submissions` that was refused, [] where none are kept."""
    if row.faults_at_rest is None:
        return []
    where = place(row.area, row.device, row.counter, row.hash) + "/faults"
    return [
        (one[0], one[1], one[2])
        for one in json.loads(desk.at_rest.open(where, as_bytes(row.faults_at_rest)))
    ]
