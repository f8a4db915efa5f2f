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

from sqlalchemy import bindparam, insert, select

from schemas.envelope import Outside, Payload, envelope_hash, outside
from schemas.problems import Problem, Refused
from schemas.signing import held_digest, ranges_of, receipt_bytes, text
from sync_server import blobs, chain, openings
from sync_server.checking import place
from sync_server.store.engine import add_all, as_bytes, next_sequence
from sync_server.store.intake_tables import batches, envelopes, submissions

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence

    from sync_server.chain import Standing
    from sync_server.desk import Desk
    from sync_server.enrol import Device
    from sync_server.store.engine import Tx

INSTANCE_KNOWN = "instance-known"


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
    sound: tuple[tuple[bytes, Outside], ...]
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
        lambda tx: store_batch(tx, device, brought, at_ms, chain.standing(tx, device)),
        lock=device.area,
    )
    return receipted(desk, device, batch, said)


def unpacked(device: Device, batch: str, sealed: Sequence[bytes], *, by: str) -> Brought:
    """The batch's envelopes, looked at outside of any transaction."""
    # A batch is its envelopes: openings come along or not, as the device sees need.
    brought, sealed = openings.set_apart(device, sealed)
    hashes: list[str] = []
    refused: list[dict[str, Any]] = []
    sound: dict[str, tuple[bytes, Outside]] = {}
    for number, data in enumerate(sealed, 1):
        counter = 0
        try:
            envelope = outside(data)
            hashes.append(envelope.hash)
            counter = envelope.counter
            if envelope.device != device.device:
                raise Refused("envelope-signature", f"it is of device {envelope.device}")
            sound[envelope.hash] = (data, envelope)
        except Refused as error:
            if len(hashes) < number:
                hashes.append(envelope_hash(data))
            detail = error.problem.detail or f"envelope {number} of the batch"
            refused.append(_refusal(counter, Problem(error.problem.code, detail), held=False))
    sessions = {envelope.session for _, envelope in sound.values()}
    return Brought(
        batch,
        hashlib.sha256("".join(hashes).encode()).hexdigest(),
        tuple(sorted(sound.values(), key=lambda one: one[1].counter)),
        tuple(refused),
        {name: data for name, data in brought.items() if name in sessions},
        by,
    )


def _openable(tx: Tx, device: Device, brought: Brought) -> Brought:
    """Without its session's opening nobody could ever open it: no receipt is given for that."""
    wanted = {envelope.session for _, envelope in brought.sound} - set(brought.openings)
    lost = wanted - set(openings.held(tx, device, wanted)) if wanted else set()
    if not lost:
        return brought
    told = [
        _refusal(envelope.counter, Problem("session-unknown"), held=False)
        for _, envelope in brought.sound
        if envelope.session in lost
    ]
    return replace(
        brought,
        sound=tuple(one for one in brought.sound if one[1].session not in lost),
        refused=(*brought.refused, *told),
    )


def _refusal(counter: int, problem: Problem, *, held: bool) -> dict[str, Any]:
    return {"counter": counter, "held": held, "problem": problem.as_json(), "faults": []}


def store_batch(
    tx: Tx, device: Device, brought: Brought, at_ms: int, standing: Standing
) -> dict[str, Any]:
    """The whole effect of a batch, in the writer's transaction; returns the answer, unsigned.

    `standing` is what the same transaction read of the device before.
    """
    again = _said(tx, device, brought)
    if again is not None:
        return again
    brought = _openable(tx, device, brought)
    openings.keep(tx, device, brought.openings)
    near = chain.near(tx, device, [one.counter for _, one in brought.sound])
    here = {one.hash for one in near}
    # Around these counters, what the server holds of the device's chain.
    links = {one.counter: (one.hash, one.prev) for one in near if not one.problem}
    before = frozenset(links)
    sequence = next_sequence(tx, device.area)
    rows: list[tuple[Any, ...]] = []
    fresh: list[int] = []
    named: list[dict[str, Any]] = []
    area, name = device.area, device.device
    for data, envelope in brought.sound:
        counter, digest = envelope.counter, envelope.hash
        if digest in here:
            continue
        # What does not fit into the chain is kept too, for the person who will look at it.
        problem = chain.misfit(links, envelope)
        if not problem:
            links[counter] = (digest, envelope.prev)
            fresh.append(counter)
        rows.append((area, name, counter, digest, envelope.prev, problem, sequence, data))
        named += [
            {"area": area, "hash": part.hash, "device": name, "counter": counter, "size": part.size}
            for part in envelope.attachments
        ]
    add_all(tx, envelopes, _SEALED, rows)
    chain.raise_held_to(tx, device, standing.held_to, fresh, before)
    if named:
        blobs.expect(tx, area, [(one["hash"], one["size"]) for one in named])
        once = {(one["hash"], one["counter"]): one for one in named}
        blobs.name(tx, list(once.values()))
    said = _answer(tx, device, brought, standing.epoch, known=here)
    counters = [row[2] for row in rows]
    tx.execute(
        _KEEP,
        {
            "area": area,
            "device": name,
            "batch": brought.batch,
            "sequence": sequence,
            "received_ms": at_ms,
            "digest": brought.digest,
            "count": len(rows),
            "first": min(counters, default=0),
            "last": max(counters, default=0),
            "unchecked": len(rows),
            "by": brought.by,
            "reply": json.dumps(said),
        },
    )
    return said


_SEALED = ("area", "device", "counter", "hash", "prev", "problem", "sequence", "sealed")
# These run at every round: built once, as building one costs more than to run it.
_KEEP = insert(batches)


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


_REPLY = select(batches.c.reply, batches.c.digest).where(
    batches.c.area == bindparam("area"),
    batches.c.device == bindparam("device"),
    batches.c.batch == bindparam("batch"),
)


def _answer(
    tx: Tx, device: Device, brought: Brought, epoch: str, *, known: Container[str]
) -> dict[str, Any]:
    """What the server holds now of this batch: read back, not remembered.

    `known` are the hashes of what was here before.
    """
    mine = {envelope.hash for _, envelope in brought.sound}
    rows = chain.near(tx, device, [envelope.counter for _, envelope in brought.sound])
    held = [(one.counter, one.hash) for one in rows if one.hash in mine]
    told = list(brought.refused)
    beside = [one for one in rows if one.problem and one.hash in mine]
    released = _released(tx, device, beside) if beside else set()
    told += [
        _refusal(one.counter, Problem(one.problem), held=True)
        for one in beside
        if one.hash not in released
    ]
    if any(digest in known for _, digest in held):
        # Opened already, perhaps: what came of it is told again.
        told += [
            _refusal(counter, Problem(INSTANCE_KNOWN), held=True)
            for counter, digest in tx.execute(
                _CLAIMED,
                {
                    "area": device.area,
                    "device": device.device,
                    "least": min(held)[0],
                    "most": max(held)[0],
                },
            )
            if digest in mine
        ]
    return {
        "epoch": epoch,
        "held": ranges_of(counter for counter, _ in held),
        "count": len(held),
        "digest": held_digest(held),
        "refused": told,
    }


def _released(tx: Tx, device: Device, beside: list[chain.Held]) -> set[str]:
    """Which of those that lie beside the chain a supervisor has let go on."""
    at = submissions.c
    return set(
        tx.execute(
            select(at.hash).where(
                at.area == device.area,
                at.device == device.device,
                at.counter.in_({one.counter for one in beside}),
                at.hash.in_({one.hash for one in beside}),
                at.problem.not_in(chain.FORKS),
            )
        ).scalars()
    )


_CLAIMED = select(submissions.c.counter, submissions.c.hash).where(
    submissions.c.area == bindparam("area"),
    submissions.c.device == bindparam("device"),
    submissions.c.counter.between(bindparam("least"), bindparam("most")),
    submissions.c.problem == INSTANCE_KNOWN,
)


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
