"""A round with the server: what is finished goes out, what happened comes in, cut and resumed anywhere."""

from __future__ import annotations

import base64
import hashlib
import queue
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from field_agent import area
from field_agent.seal import verify
from field_agent.store import Batch, Form
from field_agent.transport import BLOBS, ROUND, SOFTWARE, Link, Unreachable
from field_agent.trouble import Missing, NotEnrolled, Revoked
from schemas.envelope import SealingKey
from schemas.frames import MAX_BATCH, digest
from schemas.messages import RoundReply, RoundRequest, pack_round, unpack_reply
from schemas.problems import Problem, Refused
from schemas.signing import held_digest, raw, receipt_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from field_agent.store import Identity, SealedAttachment, Store
    from field_agent.transport import Answer, Wire

BATCH_MIN, BATCH_START, BATCH_MAX = 8 * 1024, 24 * 1024, 1024 * 1024
# Where a link cuts is not known before it does, and what was under way is sent again: so no request
# is much larger than this share of what has got through already.
_RISK = 8
# A second connection hides a slow link's delays. On a quick one it waits until the first has proved
# that it carries so much, as both would be cut at the same place. A third keeps a server of many
# megabytes from waiting for its disk: what came meanwhile shares one commit.
_SLOW_S, _PROVED = 0.1, (256 * 1024, 2 * 1024 * 1024)
# Over two connections so many batches lie ready, so that neither the line nor the server waits for
# the device's disk.
_STOCK = 2
# How long to wait, one time after the other, for what the server is still checking.
_CHECKING_S = (0.15, 0.3, 0.6, 0.95)
# A sync that fails while a page is on its way does not wait for it longer than that.
_ABANDONED_S = 2.0
CHUNK_MIN, CHUNK_START, CHUNK_MAX = 8 * 1024, 64 * 1024, 2 * 1024 * 1024
PAGE_MIN, PAGE_START, PAGE_MAX = 1024, 64 * 1024, 512 * 1024
# One request should neither be all waiting nor be long enough to be cut: about this many seconds.
_LASTS_S = 4.0
_SENDING = ("sending entries", "sending files")
_WITH_DATA_PAGE = 4096
SKEW_MS = 2 * 60 * 1000
KEEP_SEALED_MS = 90 * 86_400_000
PATIENCE = 12
PATIENCE_UNMET = 3
WATCH_S_MIN, WATCH_S_MAX = 5.0, 900.0


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a sync is. `left_s` is None until there is something to judge by."""

    doing: str
    records: int
    records_all: int
    bytes: int
    bytes_all: int
    left_s: float | None = None
    note: str = ""
    """What just went wrong and what will be done about it, or ""."""


@dataclass(slots=True)
class Outcome:
    """What one sync did. `left` counts finished entries without a receipt."""

    receipts: int = 0
    refused: list[dict[str, Any]] = field(default_factory=list)
    parked: int = 0
    """How many of this device's entries wait at the server for their form."""
    checking: int = 0
    """How many the server had not yet looked at when it spoke last; a later sync tells of them."""
    attachments: int = 0
    forms: list[str] = field(default_factory=list)
    items: int = 0
    notices: int = 0
    fed_again: int = 0
    skew_ms: int = 0
    rounds: int = 0
    requests: int = 0
    retries: int = 0
    bytes_out: int = 0
    bytes_in: int = 0
    left: int = 0
    attachments_left: int = 0

    @property
    def synced(self) -> bool:
        """Every finished entry has its receipt, and every file is with the server."""
        return self.left == 0 and self.attachments_left == 0


class Pace:
    """How much to put into one request: more while it goes well and fast, at once less when cut."""

    def __init__(self, least: int, first: int, most: int) -> None:
        self._least, self._most = least, most
        self.size = first
        self._ceiling = most
        self._good = 0

    def went_well(self, took_s: float, size: int) -> None:
        """`size` bytes took so long. Small requests say little about large ones."""
        self._good += 1
        if took_s > 1.5 * _LASTS_S:
            self.size = max(self._least, self.size // 2)
        elif took_s < _LASTS_S and size * 2 >= self.size:
            self.size = min(self.size * 2, self._ceiling)
        if self._good >= 8 and self._ceiling < self._most:
            # It went well for a while: what cut it may be over.
            self._ceiling = min(self._ceiling * 2, self._most)
            self._good = 0

    def was_cut(self) -> None:
        self._good = 0
        self._ceiling = max(self._least, min(self.size, self._ceiling) // 2)
        self.size = max(self._least, self.size // 4)


@dataclass(slots=True)
class Means:
    """What a sync works with: told the time, the ids, the luck, and whom to tell."""

    store: Store
    link: Link
    now_ms: Callable[[], int]
    steady_s: Callable[[], float]
    new_id: Callable[[], str]
    luck: Callable[[], float]
    sleep: Callable[[float], None]
    tell: Callable[[Progress], None] = lambda _: None
    beside: Callable[[], Link] | None = None
    """Opens a second line for a long sync; None: one request at a time, in this thread."""


def enrolled(store: Store) -> Identity:
    """Raises `NotEnrolled`."""
    found = store.identity
    if found is None:
        raise NotEnrolled("this device belongs to no server yet: field-agent enrol URL --code CODE")
    return found


def link_of(store: Store, wire: Wire, now_ms: Callable[[], int]) -> Link:
    """The line from this device to the server that enrolled it."""
    who = enrolled(store)
    return Link(wire, who.device, who.fingerprint, who.server_key, store.vault.sign, now_ms)


# What goes out: the same for the network and for a memory stick.


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One round's request, ready to be sent any number of times."""

    body: bytes
    batch: str
    counters: tuple[int, ...]
    weight: int
    """Bytes of its envelopes."""
    news: bool = True
    """Whether it asks for news too."""


@dataclass(frozen=True, slots=True)
class Known:
    """What the device knows of the server's lists: their digests, as the last reply gave them."""

    forms: str
    keys: str


def known(store: Store) -> Known:
    return Known(store.kept("forms_digest", ""), store.kept("keys_digest", ""))


def prepare(
    store: Store,
    *,
    new_id: Callable[[], str],
    now_ms: int,
    most: int,
    page: int,
    bring: bool = True,
    but: frozenset[str] = frozenset(),
    lists: Known | None = None,
    cursor: str | None = None,
) -> Outgoing:
    """The next request: an unanswered batch unchanged, else a new one of about `most` bytes.

    The batch's id and contents are on the disk when this returns, before any byte is sent.
    `but` names batches that are on their way already. Only a request that is the last for now, with
    nothing else on its way, asks for news: two that ask at once would bring the same twice.
    `cursor` is where to go on, if what leads there is in hand and not stored yet.
    """
    with store.transaction():
        batch, envelopes = _batch(store, new_id, now_ms, most, but) if bring else (None, [])
        if batch:
            page = 0 if but or store.any_pending() else min(page, _WITH_DATA_PAGE)
        lists = lists or known(store)
        body = pack_round(
            RoundRequest(
                cursor=store.kept("cursor", "") if cursor is None else cursor,
                acknowledged=store.acknowledged(),
                unsent=store.unsent(),
                forms=lists.forms,
                keys=lists.keys,
                batch=batch.batch if batch else "",
                page=page,
                software=SOFTWARE,
            ),
            [*(store.openings(batch.counters) if batch else ()), *envelopes],
        )
    return Outgoing(
        body,
        batch.batch if batch else "",
        batch.counters if batch else (),
        sum(len(one) for one in envelopes),
        bool(page),
    )


def _batch(
    store: Store, new_id: Callable[[], str], now_ms: int, most: int, but: frozenset[str]
) -> tuple[Batch | None, list[bytes]]:
    for waiting in store.open_batches():
        if waiting.batch in but:
            continue
        try:
            return waiting, store.envelopes(waiting.counters)
        except Missing:
            # A receipt came by another way and the bytes were let go: the batch is no more.
            split(store, waiting)
    chosen = store.pending(most=most, limit=MAX_BATCH)
    if not chosen:
        return None, []
    made = Batch(new_id(), tuple(counter for counter, _ in chosen), now_ms, None)
    store.put_batch(made.batch, made.counters, now_ms=now_ms)
    return made, [envelope for _, envelope in chosen]


def split(store: Store, batch: Batch) -> None:
    """Give a batch up; its entries go out again in others. The server knows each by its hash."""
    with store.transaction():
        store.answer_batch(batch.batch, {"split": True})
        store.mark(batch.counters, "pending", only="sent")


# What comes in.


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
        who = enrolled(store)
        if reply.epoch != who.epoch and not _late(store, reply, live=live):
            # The server was restored from an old copy: what it lost is sent again.
            store.set_epoch(reply.epoch)
            store.empty_area()
        got = _receipts(store, who, reply)
        # With its receipt the server holds what opens it: that need not be sent again.
        store.openings_held(sorted(got))
        outcome.receipts += len(got)
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
        if reply.epoch == enrolled(store).epoch:
            _pages(store, who.area, reply, outcome)
        _items(store, reply, outcome, now_ms=now_ms)
        if move and reply.epoch == enrolled(store).epoch:
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
    try:
        why = Problem(str(told.get("code", "")), str(told.get("detail", ""))).sentence()
    except ValueError:
        why = f"{told.get('title', 'refused')}. {told.get('way_out', '')}".strip()
    for fault in one.get("faults", ())[:5]:
        why += f" {fault['path']}: {fault['reason']}."
    if held:
        store.refused_though_held(counter, why)
    else:
        store.mark([counter], "refused", why=why)
    body = {"counter": counter, "label": mine.label, "form": mine.form, "why": why, "held": held}
    store.put_notice(f"refused {mine.hash}", "refused", body, now_ms=now_ms)
    outcome.refused.append(body)


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
    outcome.items += area.take(store, reply.pages)


def _items(store: Store, reply: RoundReply, outcome: Outcome, *, now_ms: int) -> None:
    for item in reply.items:
        kind, body = item["kind"], item["body"]
        if kind == "refused":
            if isinstance(body.get("counter"), int) and isinstance(body.get("problem"), dict):
                _refused(store, body, outcome, held=True, now_ms=now_ms)
        elif kind in {"returned", "settled"}:
            store.put_notice(f"{kind} {digest(body)}", kind, body, now_ms=now_ms)
            outcome.notices += 1
        outcome.items += 1


# The run of a sync.


class _Lane:
    """One line to the server with at most one request on its way.

    While another lane is busy too, the requests wait in threads of their own; these never touch
    the store.
    """

    def __init__(self, link: Link, steady_s: Callable[[], float]) -> None:
        self.link = link
        self._steady_s = steady_s
        self._sent: Outgoing | None = None
        self._began_s = 0.0
        self._thread: threading.Thread | None = None
        self._told: Answer | BaseException | None = None

    @property
    def busy(self) -> bool:
        return self._sent is not None

    @property
    def outgoing(self) -> Outgoing:
        assert self._sent is not None
        return self._sent

    @property
    def started(self) -> bool:
        return self._thread is not None

    def begin(self, outgoing: Outgoing) -> None:
        self._sent, self._thread, self._told = outgoing, None, None
        self._began_s = self._steady_s()

    def start(self, ready: queue.SimpleQueue[_Lane]) -> None:
        if self._thread is None:

            def ask() -> None:
                self._ask()
                ready.put(self)

            self._thread = threading.Thread(target=ask, daemon=True)
            self._thread.start()

    def _ask(self) -> None:
        try:
            self._told = self.link.ask("POST", ROUND, self.outgoing.body)
        except BaseException as error:  # noqa: BLE001  raised again by `end`, where it is waited for
            self._told = error

    def end(self) -> tuple[Answer, float]:
        """The answer, and how many seconds it took. Raises what asking raised."""
        if self._told is None:
            self._ask()
        told, self._sent = self._told, None
        if isinstance(told, BaseException):
            raise told
        assert told is not None
        return told, self._steady_s() - self._began_s

    def abandon(self) -> None:
        """Nobody waits for the answer any more: what it would have brought comes again."""
        if self.busy and self._thread is not None:
            self.link.renew()
            self._thread.join(_ABANDONED_S)


class Run:
    """One sync over a wire, from hello to the last file. Build one for each."""

    def __init__(self, means: Means) -> None:
        self._means = means
        self._store = means.store
        self.outcome = Outcome()
        self._batches = Pace(BATCH_MIN, BATCH_START, BATCH_MAX)
        self._chunks = Pace(CHUNK_MIN, CHUNK_START, CHUNK_MAX)
        self._pages = Pace(PAGE_MIN, PAGE_START, PAGE_MAX)
        self._fails = 0
        self._doing = "asking the server"
        self._records_done = self._bytes_done = 0
        self._form_list: dict[str, Any] = {}
        self._lists = known(self._store)
        self._lanes = [_Lane(means.link, means.steady_s)]
        self._done: queue.SimpleQueue[_Lane] = queue.SimpleQueue()
        self._through = 0
        self._took_s = 0.0
        self._trouble: Unreachable | None = None
        # Batches that are on the disk and not yet on their way, and replies that are not stored yet.
        self._stock: list[Outgoing] = []
        self._unheard: list[tuple[RoundReply, Outgoing]] = []
        self._records_all, self._bytes_all = self._store.waiting()
        self._bytes_all += sum(one.size - one.sent for one in self._store.attachments())
        self._began_s = means.steady_s()

    def sync(self) -> Outcome:
        """Everything there is to do, until it is done or patience ends.

        Raises `Unreachable` (what was done is kept, the rest is sent next time), `Refused` where the
        server will not have this device or program, `Revoked` after erasing the key.
        """
        try:
            self._rounds()
            while self._attachments():
                # What the server says of files in headers is not signed; what it says in a round is.
                self._rounds()
            self._forms()
            self._store.drop_sealed(made_before_ms=self._means.now_ms() - KEEP_SEALED_MS)
        except Refused as error:
            if error.problem.code == "device-revoked":
                reason = error.problem.detail or "by the server"
                self._store.revoke(reason)
                raise Revoked(
                    f"the server has revoked this device ({reason}): its key was erased; "
                    "what was received before is kept there"
                ) from error
            raise
        finally:
            for lane in self._lanes:
                lane.abandon()
            for lane in self._lanes[1:]:
                lane.link.renew()
            self._count()
        self._say("done")
        return self.outcome

    def _count(self) -> None:
        traffic, done = [lane.link.traffic for lane in self._lanes], self.outcome
        done.requests = sum(one.requests for one in traffic)
        done.bytes_out = sum(one.sent for one in traffic)
        done.bytes_in = sum(one.received for one in traffic)
        done.left = self._store.unsent()
        done.attachments_left = len(self._store.attachments())

    def _say(self, doing: str, note: str = "") -> None:
        self._doing = doing
        spent = self._means.steady_s() - self._began_s
        left = None
        if self._bytes_done and spent > 0 and doing in _SENDING:
            left = max(0.0, (self._bytes_all - self._bytes_done) * spent / self._bytes_done)
        self._means.tell(
            Progress(
                doing,
                self._records_done,
                max(self._records_all, self._records_done),
                self._bytes_done,
                max(self._bytes_all, self._bytes_done),
                left,
                note,
            )
        )

    def _rounds(self) -> None:
        """Rounds until nothing is left to bring and nothing more to fetch."""
        bring, asked = True, 0
        self._send(bring=bring)
        while True:
            self._say(self._doing)
            lane = self._next()
            outgoing = lane.outgoing
            reply = self._answer(lane)
            if reply is not None:
                self._unheard.append((reply, outgoing))
            if self._from_stock(lane):
                continue
            if reply is not None:
                self._read_ahead(lane, outgoing, reply)
            # What was said, and what goes out next, is one commit: one wait for the disk.
            with self._store.transaction():
                for one in self._unheard:
                    bring = self._heard(*one, bring=bring)
                self._unheard.clear()
                if self._trouble or not bring:
                    self._empty_stock()
                further = self._further(reply, outgoing, bring=bring)
                if further and not self._trouble:
                    self._send(bring=bring)
            if self._trouble and not any(lane.busy for lane in self._lanes):
                # What else was under way is in: now there is time to wait.
                trouble, self._trouble = self._trouble, None
                self._failed(str(trouble), met=trouble.met)
                self._send(bring=bring)
            elif not further:
                checking = reply.checking if reply else 0
                if not self.outcome.receipts or not checking or asked >= len(_CHECKING_S):
                    return
                self._say("waiting for the server's checks")
                self._means.sleep(_CHECKING_S[asked])
                asked += 1
                self._send(bring=bring)

    def _from_stock(self, lane: _Lane) -> bool:
        """Send at once what lies ready; whether there is more of it, so that all else can wait.

        What the server said is stored then with what it says next. If this process ends before,
        those batches go out again, and the server gives the same receipts.
        """
        if self._trouble or not self._stock:
            return False
        lane.begin(self._stock.pop(0))
        lane.start(self._done)
        return bool(self._stock)

    def _empty_stock(self) -> None:
        """What lies ready is not sent as it is: how much gets through at once has changed."""
        for outgoing in self._stock:
            self._give_up(outgoing)
        self._stock.clear()

    def _heard(self, reply: RoundReply, outgoing: Outgoing, *, bring: bool) -> bool:
        """Store what the server said; whether there is sense in bringing more."""
        before = self._progress()
        take(self._store, reply, outgoing, self.outcome, now_ms=self._means.now_ms())
        self.outcome.rounds += 1
        if outgoing.batch:
            self._records_done += len(outgoing.counters)
            self._bytes_done += outgoing.weight
            # A server that says nothing of what it was brought is not asked again at once.
            bring = before != self._progress()
        if reply.forms:
            self._form_list = reply.forms
        self._lists = Known(
            str(reply.forms.get("digest", self._lists.forms)),
            str(reply.keys.get("digest", self._lists.keys)),
        )
        return bring

    def _further(self, reply: RoundReply | None, outgoing: Outgoing, *, bring: bool) -> bool:
        """Whether there is more to bring or to fetch at once."""
        if reply is None or reply.more or any(lane.busy for lane in self._lanes):
            return True
        # When all is brought, somebody still has to ask what is new.
        return not outgoing.news or (bring and bool(self._store.unsent()))

    def _read_ahead(self, lane: _Lane, outgoing: Outgoing, reply: RoundReply) -> None:
        """Ask for the next page before this one is stored, so that neither side waits.

        What comes is stored after this one or not at all. Not where this reply changes what the
        next request says.
        """
        if outgoing.batch or not reply.more or self._trouble or lane.busy:
            return
        if reply.again or reply.epoch != enrolled(self._store).epoch:
            return
        ahead = prepare(
            self._store,
            new_id=self._means.new_id,
            now_ms=self._means.now_ms(),
            most=0,
            page=self._pages.size,
            bring=False,
            lists=Known(
                str(reply.forms.get("digest", self._lists.forms)),
                str(reply.keys.get("digest", self._lists.keys)),
            ),
            cursor=reply.cursor,
        )
        lane.begin(ahead)
        lane.start(self._done)

    def _next(self) -> _Lane:
        """A lane whose answer can be had: a single request is made in this thread."""
        busy = [lane for lane in self._lanes if lane.busy]
        if len(busy) == 1 and not busy[0].started:
            return busy[0]
        for lane in busy:
            lane.start(self._done)
        return self._done.get()

    def _progress(self) -> tuple[int, int, int]:
        return self.outcome.receipts, len(self.outcome.refused), self.outcome.fed_again

    def _send(self, *, bring: bool) -> None:
        """Put requests under way: one always, a second where there is enough and it helps."""
        for lane in self._ready_lanes():
            busy = any(one.busy for one in self._lanes)
            if busy and not (bring and self._store.any_pending()):
                return
            outgoing = self._prepared(bring=bring)
            self._doing = "sending entries" if outgoing.batch else "asking the server"
            lane.begin(outgoing)
            if not outgoing.batch:
                return
        if bring and len(self._lanes) > 1:
            self._fill_stock()

    def _fill_stock(self) -> None:
        while len(self._stock) < _STOCK and self._store.any_pending():
            self._stock.append(self._prepared(bring=True))

    def _prepared(self, *, bring: bool) -> Outgoing:
        on_their_way = [*(one.outgoing for one in self._lanes if one.busy), *self._stock]
        return prepare(
            self._store,
            new_id=self._means.new_id,
            now_ms=self._means.now_ms(),
            most=min(self._batches.size, max(BATCH_START, self._through // _RISK)),
            page=self._pages.size,
            bring=bring,
            but=frozenset(one.batch for one in on_their_way),
            lists=self._lists,
        )

    def _ready_lanes(self) -> Iterator[_Lane]:
        slow = bool(self._through) and self._took_s > _SLOW_S
        proved = sum(self._through > one for one in _PROVED)
        if (
            self._means.beside is not None
            and len(self._lanes) <= (1 if slow else proved)
            and self._store.any_pending()
        ):
            self._lanes.append(_Lane(self._means.beside(), self._means.steady_s))
        yield from [lane for lane in self._lanes if not lane.busy]

    def _answer(self, lane: _Lane) -> RoundReply | None:
        """None where the round must be prepared anew."""
        outgoing = lane.outgoing
        pace = self._batches if outgoing.batch else self._pages
        try:
            answer, took_s = lane.end()
            reply = unpack_reply(answer.body)
        except Unreachable as error:
            self._trouble = error
            if error.met:
                self._smaller(pace, outgoing)
            for other in self._lanes:
                # What one connection learned of the link holds for all.
                other.link.cut_at = other.link.cut_at or lane.link.cut_at
            return None
        except Refused as error:
            self._refusal(error, outgoing)
            return None
        self._fails = 0
        if outgoing.batch:
            self._through += outgoing.weight
            self._took_s = took_s
        pace.went_well(took_s, outgoing.weight if outgoing.batch else len(answer.body))
        return reply

    def _smaller(self, pace: Pace, outgoing: Outgoing) -> None:
        pace.was_cut()
        if outgoing.weight > 1.25 * pace.size and len(outgoing.counters) > 1:
            self._give_up(outgoing)

    def _give_up(self, outgoing: Outgoing) -> None:
        for waiting in self._store.open_batches():
            if waiting.batch == outgoing.batch:
                split(self._store, waiting)

    def _refusal(self, error: Refused, outgoing: Outgoing) -> None:
        problem = error.problem
        if problem.kind.again:
            self._trouble = Unreachable(problem.sentence())
        elif problem.code == "batch-changed":
            self._trouble = Unreachable(problem.sentence())
            self._give_up(outgoing)
        elif problem.code == "too-large" and len(outgoing.counters) > 1:
            self._trouble = Unreachable(problem.sentence())
            self._batches.was_cut()
            self._give_up(outgoing)
        elif problem.code == "too-large" and outgoing.counters:
            # One entry alone is too large for this server: it stays here, the others go on.
            self._store.mark(outgoing.counters, "refused", why=problem.sentence())
            self._store.answer_batch(outgoing.batch, {"refused": list(outgoing.counters)})
        else:
            raise error

    def _failed(self, why: str, *, met: bool) -> None:
        """Wait before the next try. Raises `Unreachable` when patience ends."""
        self._fails += 1
        self.outcome.retries += 1
        if self._fails >= (PATIENCE if met else PATIENCE_UNMET):
            raise Unreachable(why, met=met)
        wait = pause_s(self._fails - (1 if met else 0), self._means.luck())
        self._say(self._doing, f"{why}; again in {wait:.1f} s")
        self._means.sleep(wait)

    # Attachments.

    def _attachments(self) -> bool:
        """Send what is left of files, the smallest first; whether there was anything to send."""
        waiting = sorted(self._store.attachments(), key=lambda one: (one.size - one.sent, one.hash))
        ready = [one for one in waiting if self._store.receipt_of(one.counter) is not None]
        sent = [self._attachment(one) for one in ready]
        return any(sent)

    def _attachment(self, one: SealedAttachment) -> bool:
        """Whether the server holds it whole now, by its own word."""
        at: int | None = one.sent
        while True:
            try:
                if at is None:
                    at = self._held(one)
                    self._store.attachment_sent(one.hash, at)
                if at >= one.size:
                    break
                at = self._chunk(one, at)
            except Unreachable as error:
                self._failed(str(error), met=error.met)
                if error.met:
                    self._chunks.was_cut()
                at = None
            except Refused as error:
                code = error.problem.code
                if code == "blob-unknown":
                    # The server lost the entry that names it: a round sends that again first.
                    return False
                if code not in {"blob-offset", "blob-differs"} and not error.problem.kind.again:
                    raise
                self._failed(error.problem.sentence(), met=True)
                at = None
        self.outcome.attachments += 1
        return True

    def _held(self, one: SealedAttachment) -> int:
        answer = self._means.link.ask("HEAD", BLOBS + one.hash)
        return _offset(answer.headers, one.size)

    def _chunk(self, one: SealedAttachment, at: int) -> int:
        data = self._store.attachment_bytes(one.hash, at, self._chunks.size)
        self._say("sending files")
        began = self._means.steady_s()
        answer = self._means.link.ask("PATCH", BLOBS + one.hash, data, {"Upload-Offset": str(at)})
        self._fails = 0
        self._chunks.went_well(self._means.steady_s() - began, len(data))
        now = _offset(answer.headers, one.size)
        # The header is not signed, the status is: no more than was sent is believed.
        now = min(now, at + len(data))
        self._store.attachment_sent(one.hash, now)
        self._bytes_done += max(0, now - at)
        return now

    # Forms and their media.

    def _forms(self) -> None:
        told = self._form_list
        if not told:
            return
        for one in told.get("list", ()):
            self._form(one)
        with self._store.transaction():
            self._store.retire_forms(
                (str(one["form"]), str(one["version"])) for one in told.get("list", ())
            )
            self._store.keep("forms_digest", str(told.get("digest", "")))

    def _form(self, one: dict[str, Any]) -> None:
        try:
            held = self._store.form(one["form"], one["version"])
        except Missing:
            held = None
        media = {part["name"]: part["hash"] for part in one.get("media", ())}
        for part in one.get("media", ()):
            try:
                self._store.media(part["hash"])
            except Missing:
                self._store.put_media(part["hash"], self._fetch(part["hash"], part["size"]))
        if held is not None and held.hash == one["hash"] and held.media == media:
            return
        xml = self._fetch(one["hash"], one["size"]).decode()
        self._store.put_form(
            Form(one["form"], one["version"], one["hash"], one.get("title", ""), xml, media)
        )
        self.outcome.forms.append(f"{one['form']} {one['version']}")

    def _fetch(self, name: str, size: int) -> bytes:
        """A form's file, whole and of its hash; what arrived before a cut is kept for the next sync."""
        kept = f"part {name}"
        data = bytearray(base64.b64decode(self._store.kept(kept, "")))
        while True:
            while len(data) < size:
                end = min(size, len(data) + self._chunks.size) - 1
                began = self._means.steady_s()
                self._say("fetching forms")
                try:
                    answer = self._means.link.ask(
                        "GET", BLOBS + name, headers={"Range": f"bytes={len(data)}-{end}"}
                    )
                except Unreachable as error:
                    self._store.keep(kept, base64.b64encode(data).decode())
                    self._failed(str(error), met=error.met)
                    if error.met:
                        self._chunks.was_cut()
                    continue
                self._fails = 0
                self._chunks.went_well(self._means.steady_s() - began, len(answer.body))
                if not answer.body:
                    raise Unreachable(f"the server gives {len(data)} of {size} bytes of {name}")
                data += answer.body[: end + 1 - len(data)]
            if hashlib.sha256(data).hexdigest() == name:
                break
            data.clear()
            self._store.keep(kept, "")
            self._failed(f"the file {name[:12]} arrived with other bytes", met=True)
        if self._store.kept(kept):
            self._store.keep(kept, "")
        return bytes(data)


def _offset(headers: Any, size: int) -> int:
    told = str(headers.get("upload-offset", ""))
    if not told.isdigit():
        raise Unreachable("the server's reply about a file names no offset")
    return min(int(told), size)


def pause_s(fails: int, luck: float) -> float:
    """Seconds before the next try: doubling, at most 30, spread by `luck` (0 to 1)."""
    return min(30.0, 0.1 * 2.0 ** max(0, fails)) * (0.5 + luck)


def watch(
    once: Callable[[], Outcome],
    *,
    sleep: Callable[[float], None],
    luck: Callable[[], float],
    say: Callable[[Outcome | str, float], None],
    go_on: Callable[[], bool] = lambda: True,
) -> None:
    """Sync again and again: soon after work was done, ever more rarely while the server is away.

    `say` gets the outcome, or why there is none, and the seconds until the next try. Ends when `go_on`
    says so, or with what `once` raises besides `Unreachable` and problems that pass by themselves.
    """
    wait = WATCH_S_MIN
    while go_on():
        told: Outcome | str
        try:
            told = once()
            busy = told.receipts or told.items or told.attachments or not told.synced
            wait = WATCH_S_MIN if busy else min(wait * 2, WATCH_S_MAX)
        except Unreachable as error:
            told, wait = str(error), min(wait * 2, WATCH_S_MAX)
        except Refused as error:
            if not error.problem.kind.again:
                raise
            told, wait = error.problem.sentence(), min(wait * 2, WATCH_S_MAX)
        pause = wait * (0.75 + luck() / 2)
        say(told, pause)
        sleep(pause)
