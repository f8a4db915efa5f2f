"""What comes in with a round's reply: stored whole or not at all, each receipt checked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from field_agent import area
from field_agent.seal import verify
from field_agent.trouble import Missing
from schemas.envelope import SealingKey
from schemas.frames import digest
from schemas.problems import Problem, Refused
from schemas.signing import held_digest, raw, receipt_bytes

if TYPE_CHECKING:
    from field_agent.course import Outcome
    from field_agent.outbox import Finished
    from field_agent.outgoing import Outgoing
    from field_agent.store import Identity, Store
    from schemas.messages import RoundReply


def take(
    store: Store,
    reply: RoundReply,
    outgoing: Outgoing,
    outcome: Outcome,
    *,
    now_ms: int,
    live: bool = True,
    move: bool = True,
) -> None:
    """Store what the server said, all of it or nothing. Receipts are checked one by one.

    `live`: the server said it just now, not on a memory stick; `move`: its cursor follows ours.
    """
    with store.transaction():
        who = store.owner()
        if reply.epoch != who.epoch and not _late(store, reply, live=live):
            # The server was restored from an old copy: what it lost is sent again.
            store.set_epoch(reply.epoch)
            store.empty_area()
        known = store.receipted(reply.held)
        got = _receipts(store, who, reply)
        # With its receipt the server holds what opens it: that need not be sent again.
        store.openings_held(sorted(got))
        outcome.receipts += max(0, len(got) - known)
        said = {one["counter"] for one in reply.refused}
        unopened = _unopened(store, reply)
        if unopened:
            # Their opening was not sent, for the server once had it: it goes along with the next batch.
            store.openings_held(unopened, held=False)
            store.mark(unopened, "pending")
            outcome.fed_again += len(unopened)
        for one in reply.refused:
            if one["counter"] not in unopened:
                _refused(store, one, outcome, held=one["counter"] in got, now_ms=now_ms)
        outcome.parked, outcome.checking = reply.parked, reply.checking
        if outgoing.batch:
            silent = [one for one in outgoing.counters if one not in got and one not in said]
            store.mark(silent, "pending", only="sent")
            store.answer_batch(
                outgoing.batch,
                {"receipts": len(got), "refused": sorted(said), "silent": len(silent)},
            )
        for first, last in reply.again:
            outcome.fed_again += store.feed_again(first, last)
        if reply.keys:
            take_keys(store, reply.keys)
        _files(store, reply)
        if reply.epoch == store.owner().epoch:
            _pages(store, who.area, reply, outcome)
        _items(store, reply, outcome, now_ms=now_ms)
        if move and reply.epoch == store.owner().epoch:
            store.keep("cursor", reply.cursor)
        if live:
            outcome.skew_ms = now_ms - reply.time_ms
            store.keep("skew_ms", outcome.skew_ms)
        _renew(store, reply, now_ms=now_ms, live=live)


def _late(store: Store, reply: RoundReply, *, live: bool) -> bool:
    """Whether the server has spoken to this device since it said this."""
    return not live and reply.time_ms <= store.kept("server_ms", 0)


def _renew(store: Store, reply: RoundReply, *, now_ms: int, live: bool) -> None:
    """The lease counts from when the server spoke; an old reply, or the same again, adds nothing."""
    if _late(store, reply, live=live):
        return
    store.keep("server_ms", reply.time_ms)
    since_s = 0 if live else max(0, now_ms - store.kept("skew_ms", 0) - reply.time_ms) // 1000
    if not reply.lease_s or reply.lease_s > since_s:
        store.renew_lease(max(0, reply.lease_s - since_s), now_ms=now_ms)


def _receipts(store: Store, who: Identity, reply: RoundReply) -> set[int]:
    """The counters whose receipt is in hand now: all that the reply says it is for, or none."""
    if not reply.receipt:
        return set()
    # The hashes are the device's own: a receipt that fits is for its bytes and no others.
    held = store.hashes(reply.held)
    try:
        given = raw(reply.receipt)
    except Refused:
        return set()
    digest = held_digest(held)
    # A reply that the server had stored may carry a receipt of the epoch before.
    for epoch in dict.fromkeys((reply.epoch, who.epoch)):
        signed = receipt_bytes(
            server=who.fingerprint,
            epoch=epoch,
            area=who.area,
            device=who.device,
            batch=reply.batch,
            count=len(held),
            held=digest,
        )
        if verify(who.server_key, given, signed):
            kept = {
                "epoch": epoch,
                "batch": reply.batch,
                "held": reply.held,
                "signature": reply.receipt,
            }
            store.receipt_all(reply.held, kept)
            return {counter for counter, _ in held}
    return set()


def _unopened(store: Store, reply: RoundReply) -> list[int]:
    """What the server refuses for want of an opening that did not go along."""
    return [
        one["counter"]
        for one in reply.refused
        if one["problem"].get("code") == "session-unknown" and not store.openings([one["counter"]])
    ]


def _refused(
    store: Store, one: dict[str, Any], outcome: Outcome, *, held: bool, now_ms: int
) -> None:
    """A refusal is kept with its reason and told to the agent; what is not held stays here."""
    counter, told = one["counter"], one["problem"]
    try:
        mine = store.finished(counter)
    except Missing:
        return
    if one.get("hash", mine.hash) != mine.hash:
        return  # Another's bytes at this place, as of a copy of this device: not this entry.
    code = str(told.get("code", ""))
    if code in _FORKS and store.was_noticed(f"released {mine.hash}"):
        return  # Said before a supervisor let it go on, and late.
    try:
        why = Problem(code, str(told.get("detail", ""))).sentence()
    except ValueError:
        why = f"{told.get('title', 'refused')}. {told.get('way_out', '')}".strip()
    for fault in one.get("faults", ())[:5]:
        why += f" {fault['path']}: {fault['reason']}."
    if held:
        store.refused_though_held(counter, why)
    else:
        store.mark([counter], "refused", why=why)
    body = {"counter": counter, "label": mine.label, "form": mine.form, "why": why, "held": held}
    if store.put_notice(f"refused {mine.hash} {code}", "refused", body, now_ms=now_ms):
        outcome.noticed("refused")
    outcome.refused.append(body)


_FORKS = ("counter-forked", "chain-broken")
_TAKEN = "The office looked at it and lets it go on with the others. There is nothing to do."


def _released(store: Store, body: dict[str, Any], *, now_ms: int) -> bool:
    """A supervisor let go on what was held: it is as any other that has its receipt. Whether it is ours,
    and new.
    """
    mine = _named(store, body)
    if mine is None or mine.hash != body.get("hash"):
        return False
    store.refused_though_held(mine.counter, "")
    told = {"counter": mine.counter, "label": mine.label, "form": mine.form, "why": _TAKEN}
    told["comment"] = str(body.get("comment", ""))
    return store.put_notice(f"released {mine.hash}", "released", told, now_ms=now_ms)


def _named(store: Store, body: dict[str, Any]) -> Finished | None:
    """The entry of this device at the place that the server names."""
    counter = body.get("counter")
    try:
        return store.finished(counter) if isinstance(counter, int) else None
    except Missing:
        return None


def _anothers(store: Store, body: dict[str, Any]) -> bool:
    """Whether it concerns what another device made at that place, which was restored from the same
    copy as this one.
    """
    mine = _named(store, body)
    return mine is not None and body.get("hash", mine.hash) != mine.hash


def take_keys(store: Store, told: dict[str, Any]) -> None:
    """The programme's keys that new entries are sealed to. Ones that this program cannot read wait."""
    found: list[SealingKey] = []
    for one in sorted(told.get("list", ()), key=lambda one: not one.get("current")):
        try:
            found.append(SealingKey(str(one["suite"]), raw(str(one["public"])), str(one["id"])))
        except (Refused, KeyError, TypeError):
            continue
    if found:
        store.put_keys(found)
        store.keep("keys_digest", str(told.get("digest", "")))


def _files(store: Store, reply: RoundReply) -> None:
    for name, held in reply.blobs.items():
        store.attachment_sent(name, held)


def _pages(store: Store, own: str, reply: RoundReply, outcome: Outcome) -> None:
    if reply.pages and reply.area != own:
        raise Refused(
            "malformed",
            f"pages of area {reply.area!r}, and this device is in {own!r}: none is kept",
        )
    records = area.take(store, reply.pages)
    outcome.items += len(records)
    outcome.records.update(records)


def _items(store: Store, reply: RoundReply, outcome: Outcome, *, now_ms: int) -> None:
    for item in reply.items:
        kind, body = item["kind"], item["body"]
        new = False
        if kind == "refused":
            if isinstance(body.get("counter"), int) and isinstance(body.get("problem"), dict):
                _refused(store, body, outcome, held=True, now_ms=now_ms)
        elif kind == "released":
            new = _released(store, body, now_ms=now_ms)
        elif kind == "settled" or (kind == "returned" and not _anothers(store, body)):
            new = store.put_notice(f"{kind} {digest(body)}", kind, body, now_ms=now_ms)
        if new:
            outcome.noticed(kind)
        outcome.items += 1
