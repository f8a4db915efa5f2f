"""The one corridor: whatever comes in, by whichever door, is taken in here, once."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import insert, select, tuple_, update

from schemas.envelope import Envelope, Payload, envelope_hash, parse
from schemas.problems import Problem, Refused
from schemas.signing import receipt_bytes, text
from sync_server import blobs, openings
from sync_server.checking import Judged, faults_json
from sync_server.signatures import verify
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
    from collections.abc import Mapping, Sequence

    from sync_server.desk import Desk
    from sync_server.enrol import Device
    from sync_server.store.engine import Tx

WAITING = ("received", "parked")
"""States that end by themselves, when the key or the form comes."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The answer to one batch. `receipts`: (counter, base64 signature).

    `refused`: `{counter, held, problem, faults}`; `parked`: counters that wait for a form or a key.
    """

    batch: str
    receipts: tuple[tuple[int, str], ...] = ()
    refused: tuple[dict[str, Any], ...] = ()
    parked: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class _One:
    """One envelope that can be taken in."""

    sealed: bytes
    envelope: Envelope
    judged: Judged

    @property
    def counter(self) -> int:
        return self.envelope.header.counter

    @property
    def hash(self) -> str:
        return self.envelope.hash


def accept(desk: Desk, device: Device, sealed: bytes, *, batch: str, by: str) -> Outcome:
    """Takes in one sealed submission, as a batch of its own."""
    return take_batch(desk, device, batch, [sealed], by=by)


def take_batch(
    desk: Desk, device: Device, batch: str, sealed: Sequence[bytes], *, by: str = "network"
) -> Outcome:
    """Takes a batch in, whole, in one transaction, and answers it.

    The same batch again gets the same answer. Each envelope has its own fate: one that was taken in
    before has no further effect; one at a taken place in the chain is held for a person; one of an
    unknown form is parked; one whose answers break the form's rules is kept and refused with
    the reasons. Raises `Refused("batch-changed")` if the id came before with other envelopes;
    then nothing is taken.
    """
    # A batch is its envelopes: openings come along or not, as the device sees need.
    brought, sealed = openings.set_apart(device, sealed)
    digest = hashlib.sha256("".join(map(envelope_hash, sealed)).encode()).hexdigest()
    said = desk.store.read(lambda tx: _said(tx, device, batch, digest))
    if said is None:
        refused, sound = _sound(device, sealed)
        sessions = {one.header.session for _, one in sound}
        brought = {name: data for name, data in brought.items() if name in sessions}
        opening = desk.store.read(lambda tx: openings.held(tx, device, sessions)) | brought
        refused, sound = _openable(refused, sound, opening)
        held = desk.store.read(lambda tx: _held(tx, device, sound))
        fresh = [one for one in sound if one[1].hash not in held]
        # Opening and checking take long and touch nothing: they come before the transaction.
        verdicts = desk.checker.judge([data for data, _ in fresh], opening)
        ones = [_One(*one, judged) for one, judged in zip(fresh, verdicts, strict=True)]
        at_ms = desk.now_ms()
        rest = [_at_rest(desk, device, one) for one in ones]

        def work(tx: Tx) -> dict[str, Any]:
            again = _said(tx, device, batch, digest)
            if again is not None:
                return again
            openings.keep(tx, device, brought)
            return _take(tx, device, batch, digest, sound, ones, rest, refused, by, at_ms)

        said = desk.store.transaction(work, lock=device.area)
    return _signed(desk, device, batch, said)


def _sound(
    device: Device, sealed: Sequence[bytes]
) -> tuple[list[dict[str, Any]], list[tuple[bytes, Envelope]]]:
    """What cannot be taken in at all, with its reason; and the rest, by counter."""
    refused: list[dict[str, Any]] = []
    sound: dict[str, tuple[bytes, Envelope]] = {}
    for place, data in enumerate(sealed):
        counter = 0
        try:
            envelope = parse(data)
            counter = envelope.header.counter
            if envelope.header.device != device.device:
                raise Refused("envelope-signature", f"it is of device {envelope.header.device}")
            if not verify(device.key, envelope.signature, envelope.signed):
                raise Refused("envelope-signature")
            sound[envelope.hash] = (data, envelope)
        except Refused as error:
            detail = error.problem.detail or f"envelope {place + 1} of the batch"
            problem = Problem(error.problem.code, detail)
            refused.append(_refusal(counter, problem, held=False))
    return refused, sorted(sound.values(), key=lambda one: one[1].header.counter)


def _openable(
    refused: list[dict[str, Any]],
    sound: list[tuple[bytes, Envelope]],
    opening: Mapping[str, bytes],
) -> tuple[list[dict[str, Any]], list[tuple[bytes, Envelope]]]:
    """Without its session's opening nobody could ever open it: no receipt is given for that."""
    lost = [one.header.counter for _, one in sound if one.header.session not in opening]
    told = [_refusal(one, Problem("session-unknown"), held=False) for one in lost]
    return refused + told, [one for one in sound if one[1].header.session in opening]


def _refusal(
    counter: int, problem: Problem, *, held: bool, faults: Sequence[Sequence[str]] = ()
) -> dict[str, Any]:
    return {
        "counter": counter,
        "held": held,
        "problem": problem.as_json(),
        "faults": [{"path": path, "reason": reason} for path, _, reason in faults],
    }


def _said(tx: Tx, device: Device, batch: str, digest: str) -> dict[str, Any] | None:
    """The stored answer to that batch. Raises `Refused("batch-changed")`."""
    row = tx.execute(
        select(replies.c.reply, batches.c.digest)
        .join(
            batches,
            (batches.c.area == replies.c.area)
            & (batches.c.device == replies.c.device)
            & (batches.c.batch == replies.c.batch),
        )
        .where(
            replies.c.area == device.area,
            replies.c.device == device.device,
            replies.c.batch == batch,
        )
    ).first()
    if row is None:
        return None
    if row.digest != digest:
        raise Refused("batch-changed", batch)
    found: dict[str, Any] = json.loads(row.reply)
    return found


def _held(tx: Tx, device: Device, sound: Sequence[tuple[bytes, Envelope]]) -> set[str]:
    """Which of these hashes the server has already."""
    counters = [one.header.counter for _, one in sound]
    return set(
        tx.execute(
            select(envelopes.c.hash).where(
                envelopes.c.area == device.area,
                envelopes.c.device == device.device,
                envelopes.c.counter.in_(counters),
            )
        ).scalars()
    )


def place(area: str, device: str, counter: int, envelope_hash: str) -> str:
    """Where an opened submission is kept: what its encryption at rest is bound to."""
    return f"submissions/{area}/{device}/{counter}/{envelope_hash}"


def _at_rest(desk: Desk, device: Device, one: _One) -> tuple[bytes | None, bytes | None]:
    where = place(device.area, device.device, one.counter, one.hash)
    judged = one.judged
    return (
        desk.at_rest.seal(where, judged.opened) if judged.opened else None,
        desk.at_rest.seal(where + "/faults", faults_json(judged.faults)) if judged.faults else None,
    )


def _take(
    tx: Tx,
    device: Device,
    batch: str,
    digest: str,
    sound: Sequence[tuple[bytes, Envelope]],
    ones: Sequence[_One],
    rest: Sequence[tuple[bytes | None, bytes | None]],
    refused: Sequence[dict[str, Any]],
    by: str,
    at_ms: int,
) -> dict[str, Any]:
    """The whole effect of a batch, in the writer's transaction; returns the answer, unsigned."""
    held = _held(tx, device, [(one.sealed, one.envelope) for one in ones])
    new = [(one, kept) for one, kept in zip(ones, rest, strict=True) if one.hash not in held]
    chain = _chain(tx, device, [one.counter for one, _ in new])
    instances = _instances(tx, device.area, [one.judged.instance_id for one, _ in new])
    sequence = next_sequence(tx, device.area)
    sealed_rows: list[dict[str, Any]] = []
    opened_rows: list[dict[str, Any]] = []
    named: list[dict[str, Any]] = []
    for one, (opened, faults) in new:
        header = one.envelope.header
        fork = _fork(chain, one.envelope)
        judged = one.judged
        if fork:
            judged = replace(judged, state="held", problem=fork, faults=())
        elif (
            judged.instance_id
            and judged.instance_id in instances
            and judged.state in {"checked", "parked"}
        ):
            judged = replace(judged, state="held", problem="instance-known")
        if not fork:
            chain[header.counter] = (one.hash, header.prev)
            if judged.state in {"checked", "parked"}:
                instances.add(judged.instance_id)
        where = {
            "area": device.area,
            "device": device.device,
            "counter": header.counter,
            "hash": one.hash,
        }
        sealed_rows.append(
            {
                **where,
                "prev": header.prev,
                "fork": bool(fork),
                "received_ms": at_ms,
                "sealed": one.sealed,
            }
        )
        opened_rows.append(
            {
                **where,
                "sequence": sequence,
                "batch": batch,
                "state": judged.state,
                "problem": judged.problem,
                "instance_id": judged.instance_id,
                "parent": judged.parent,
                "form": header.form[:255],
                "version": header.version[:255],
                "form_hash": header.form_hash,
                "made": header.made[:128],
                "received_ms": at_ms,
                "opened_at_rest": opened,
                "faults_at_rest": faults,
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
        _raise_held_to(tx, device)
    if named:
        blobs.expect(tx, device.area, [(one["hash"], one["size"]) for one in named])
        once = {(one["hash"], one["counter"]): one for one in named}
        blobs.name(tx, list(once.values()))
    tx.execute(
        insert(batches).values(
            area=device.area,
            device=device.device,
            batch=batch,
            sequence=sequence,
            received_ms=at_ms,
            digest=digest,
            count=len(opened_rows),
            by=by,
        )
    )
    verdicts = {one.hash: one.judged for one in ones}
    said = _answer(tx, device, sound, refused, verdicts)
    tx.execute(
        insert(replies).values(
            area=device.area, device=device.device, batch=batch, reply=json.dumps(said)
        )
    )
    return said


def _chain(tx: Tx, device: Device, counters: Sequence[int]) -> dict[int, tuple[str, str]]:
    """Around these counters, what the server holds of the device's chain: (hash, prev)."""
    near = {near for one in counters for near in (one - 1, one, one + 1)}
    found = tx.execute(
        select(envelopes.c.counter, envelopes.c.hash, envelopes.c.prev).where(
            envelopes.c.area == device.area,
            envelopes.c.device == device.device,
            envelopes.c.counter.in_(near),
            envelopes.c.fork.is_(False),
        )
    )
    return {row.counter: (row.hash, row.prev) for row in found}


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


def _instances(tx: Tx, area: str, wanted: Sequence[str]) -> set[str]:
    """Which of these instance ids are in the area already, other than refused."""
    return set(
        tx.execute(
            select(submissions.c.instance_id).where(
                submissions.c.area == area,
                submissions.c.instance_id.in_([one for one in wanted if one]),
                submissions.c.state.in_(("checked", "parked")),
            )
        ).scalars()
    )


def _raise_held_to(tx: Tx, device: Device) -> None:
    here = (devices.c.area == device.area) & (devices.c.device == device.device)
    to = int(tx.execute(select(devices.c.held_to).where(here)).scalar_one())
    begun = to
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


def _answer(
    tx: Tx,
    device: Device,
    sound: Sequence[tuple[bytes, Envelope]],
    refused: Sequence[dict[str, Any]],
    verdicts: dict[str, Judged],
) -> dict[str, Any]:
    """What the server holds now of this batch: read back, not remembered."""
    rows = {
        row.hash: row
        for row in tx.execute(
            select(
                submissions.c.hash,
                submissions.c.counter,
                submissions.c.state,
                submissions.c.problem,
            ).where(
                submissions.c.area == device.area,
                submissions.c.device == device.device,
                submissions.c.counter.in_([one.header.counter for _, one in sound]),
            )
        )
    }
    mine = [rows[envelope.hash] for _, envelope in sound]
    told = list(refused)
    for row in mine:
        if row.state in {"refused", "held"}:
            judged = verdicts.get(row.hash)
            # The reasons name what was answered: they go to the author only, and are stored as
            # places and rules; the words themselves are kept encrypted with the submission.
            faults = (
                [(path, rule, _RULES.get(rule, rule)) for path, rule, _ in judged.faults]
                if (judged and row.state == "refused")
                else []
            )
            told.append(_refusal(row.counter, Problem(row.problem), held=True, faults=faults))
    return {
        "epoch": current_epoch(tx),
        "receipts": [[row.counter, row.hash] for row in mine],
        "refused": told,
        "parked": [row.counter for row in mine if row.state in WAITING],
    }


_RULES = {
    "constraint": "the answer is outside of what the form allows",
    "required": "an answer is required here",
    "type": "the answer is of another kind than the question asks for",
    "choice": "the answer is none of the choices",
    "irrelevant": "the form does not ask this after the answers before it",
    "calculate": "the value does not follow from the answers",
    "unknown": "the form has no such question",
    "attachment": "a file that the answers name is missing",
    "form": "the answers are of another form",
    "size": "the submission is too large",
}


def _signed(desk: Desk, device: Device, batch: str, said: dict[str, Any]) -> Outcome:
    """The answer with its receipts. Ed25519 is deterministic: the same answer, the same bytes."""
    signer, server = desk.keys.signer(), desk.keys.fingerprint
    receipts = tuple(
        (
            counter,
            text(
                signer.sign(
                    receipt_bytes(
                        server=server,
                        epoch=said["epoch"],
                        device=device.device,
                        counter=counter,
                        envelope_hash=held,
                        area=device.area,
                    )
                )
            ),
        )
        for counter, held in said["receipts"]
    )
    return Outcome(batch, receipts, tuple(said["refused"]), tuple(said["parked"]))


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


def take_up(desk: Desk) -> dict[str, int]:
    """Judges again what waited for a form or a key, and counts the states that came of it."""
    counted: dict[str, int] = {}
    after: tuple[Any, ...] = ("", "", 0)
    while True:
        rows = desk.store.read(lambda tx, after=after: _waiting(tx, after))  # type: ignore[misc]
        if not rows:
            return counted
        sealed = [as_bytes(row.sealed) for row in rows]
        kept = [(row.area, row.device, one) for row, one in zip(rows, sealed, strict=True)]
        opening = desk.store.read(lambda tx, kept=kept: openings.of(tx, kept))  # type: ignore[misc]
        verdicts = desk.checker.judge(sealed, opening)
        for row, judged in zip(rows, verdicts, strict=True):
            if judged.state not in WAITING or judged.state != row.state:
                state = desk.store.transaction(
                    lambda tx, row=row, judged=judged: _settle(tx, desk, row, judged),  # type: ignore[misc]
                    lock=row.area,
                )
                counted[state] = counted.get(state, 0) + 1
        after = (rows[-1].area, rows[-1].device, rows[-1].counter)


def _waiting(tx: Tx, after: tuple[Any, ...]) -> list[Any]:
    return list(
        tx.execute(
            select(submissions, envelopes.c.sealed)
            .join(
                envelopes,
                (envelopes.c.area == submissions.c.area)
                & (envelopes.c.device == submissions.c.device)
                & (envelopes.c.counter == submissions.c.counter)
                & (envelopes.c.hash == submissions.c.hash),
            )
            .where(
                submissions.c.state.in_(WAITING),
                tuple_(submissions.c.area, submissions.c.device, submissions.c.counter)
                > tuple_(*after),
            )
            .order_by(submissions.c.area, submissions.c.device, submissions.c.counter)
            .limit(200)
        )
    )


def _settle(tx: Tx, desk: Desk, row: Any, judged: Judged) -> str:
    where = place(row.area, row.device, row.counter, row.hash)
    state, problem = judged.state, judged.problem
    if (
        state == "checked"
        and not row.instance_id
        and _instances(tx, row.area, [judged.instance_id])
    ):
        state, problem = "held", "instance-known"
    tx.execute(
        update(submissions)
        .where(
            submissions.c.area == row.area,
            submissions.c.device == row.device,
            submissions.c.counter == row.counter,
            submissions.c.hash == row.hash,
            submissions.c.state.in_(WAITING),
        )
        .values(
            state=state,
            problem=problem,
            instance_id=judged.instance_id,
            parent=judged.parent,
            opened_at_rest=desk.at_rest.seal(where, judged.opened) if judged.opened else None,
            faults_at_rest=desk.at_rest.seal(where + "/faults", faults_json(judged.faults))
            if judged.faults
            else None,
        )
    )
    return state
