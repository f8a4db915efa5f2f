"""Rounds with the server, one after the other or several at once, until all is brought and fetched."""

from __future__ import annotations

import queue
from typing import TYPE_CHECKING, Any

from field_agent.course import passes_soon
from field_agent.incoming import take
from field_agent.lane import Lane
from field_agent.outgoing import Known, Outgoing, known, prepare, split
from field_agent.pace import Pace
from field_agent.transport import Unreachable
from schemas.messages import unpack_reply
from schemas.problems import Refused

if TYPE_CHECKING:
    from collections.abc import Iterator

    from field_agent.course import Course
    from schemas.messages import RoundReply

BATCH_MIN, BATCH_START, BATCH_MAX = 8 * 1024, 24 * 1024, 1024 * 1024
PAGE_MIN, PAGE_START, PAGE_MAX = 1024, 64 * 1024, 512 * 1024
# Where a link cuts is not known before it does, and what was under way is sent again: so no request
# is much larger than this share of what has got through already. A quick link that has carried so
# much uncut is trusted with more: fewer requests wait for fewer disks, and to send one again takes
# no time.
_RISK, _RISK_QUICK, _TRUSTED = 8, 4, 512 * 1024
# A second connection hides a slow link's delays. On a quick one it waits until the first has proved
# that it carries so much, as both would be cut at the same place. A third keeps a server of many
# megabytes from waiting for its disk: what came meanwhile shares one commit.
_SLOW_S, _PROVED = 0.1, (256 * 1024, 2 * 1024 * 1024)
# Over two connections so many batches lie ready, so that neither the line nor the server waits for
# the device's disk.
_STOCK = 2
# How long to wait, one time after the other, for what the server is still checking.
_CHECKING_S = (0.15, 0.3, 0.6, 0.95)


class Rounds:
    """The rounds of one sync over its lanes. Build one for each sync."""

    def __init__(self, course: Course) -> None:
        self._course, self._means, self._store = course, course.means, course.store
        self.form_list: dict[str, Any] = {}
        """The forms to have, where a reply told of them."""
        self._batches = Pace(BATCH_MIN, BATCH_START, BATCH_MAX)
        self._pages = Pace(PAGE_MIN, PAGE_START, PAGE_MAX)
        self._lists = known(self._store)
        self._lanes = [Lane(self._means.link, self._means.steady_s)]
        self._done: queue.SimpleQueue[Lane] = queue.SimpleQueue()
        self._through = 0
        self._took_s = 0.0
        self._trouble: Unreachable | None = None
        # Batches that are on the disk and not yet on their way, and replies that are not stored yet.
        self._stock: list[Outgoing] = []
        self._unheard: list[tuple[RoundReply, Outgoing]] = []

    def run(self) -> None:
        """Rounds until nothing is left to bring and nothing more to fetch."""
        bring, asked = True, 0
        self._send(bring=bring)
        while True:
            self._course.say(self._course.doing)
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
                self._course.failed(str(trouble), met=trouble.met)
                self._send(bring=bring)
            elif not further:
                checking = reply.checking if reply else 0
                if not self._course.outcome.receipts or not checking or asked >= len(_CHECKING_S):
                    return
                self._course.say("waiting for the server's checks")
                self._means.sleep(_CHECKING_S[asked])
                asked += 1
                self._send(bring=bring)

    def _from_stock(self, lane: Lane) -> bool:
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
        take(self._store, reply, outgoing, self._course.outcome, now_ms=self._means.now_ms())
        self._course.outcome.rounds += 1
        if outgoing.batch:
            self._course.records_done += len(outgoing.counters)
            self._course.bytes_done += outgoing.weight
            # A server that says nothing of what it was brought is not asked again at once, nor one that
            # wants everything time and again.
            again = self._course.outcome.fed_again
            bring = before != self._progress() and again <= 2 * self._store.counter
        if reply.forms:
            self.form_list = reply.forms
        self._lists = self._lists_after(reply)
        return bring

    def _further(self, reply: RoundReply | None, outgoing: Outgoing, *, bring: bool) -> bool:
        """Whether there is more to bring or to fetch at once."""
        if reply is None or reply.more or any(lane.busy for lane in self._lanes):
            return True
        # When all is brought, somebody still has to ask what is new.
        return not outgoing.news or (bring and bool(self._store.unsent()))

    def _read_ahead(self, lane: Lane, outgoing: Outgoing, reply: RoundReply) -> None:
        """Ask for the next page before this one is stored, so that neither side waits.

        What comes is stored after this one or not at all. Not where this reply changes what the
        next request says.
        """
        if outgoing.batch or not reply.more or self._trouble or lane.busy:
            return
        if reply.again or reply.epoch != self._store.owner().epoch:
            return
        ahead = prepare(
            self._store,
            new_id=self._means.new_id,
            now_ms=self._means.now_ms(),
            most=0,
            page=self._pages.size,
            bring=False,
            lists=self._lists_after(reply),
            cursor=reply.cursor,
        )
        lane.begin(ahead)
        lane.start(self._done)

    def _lists_after(self, reply: RoundReply) -> Known:
        """Which lists of forms and keys are here once this reply is stored."""
        return Known(
            str(reply.forms.get("digest", self._lists.forms)),
            str(reply.keys.get("digest", self._lists.keys)),
        )

    def _next(self) -> Lane:
        """A lane whose answer can be had: a single request is made in this thread."""
        busy = [lane for lane in self._lanes if lane.busy]
        if len(busy) == 1 and not busy[0].started:
            return busy[0]
        for lane in busy:
            lane.start(self._done)
        return self._done.get()

    def _progress(self) -> tuple[int, int, int]:
        done = self._course.outcome
        return done.receipts, len(done.refused), done.fed_again

    def _send(self, *, bring: bool) -> None:
        """Put requests under way: one always, a second where there is enough and it helps."""
        for lane in self._ready_lanes():
            busy = any(one.busy for one in self._lanes)
            if busy and not (bring and self._store.any_pending()):
                return
            outgoing = self._prepared(bring=bring)
            self._course.doing = "sending entries" if outgoing.batch else "asking the server"
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
            most=self._most(),
            page=self._pages.size,
            bring=bring,
            but=frozenset(one.batch for one in on_their_way),
            lists=self._lists,
        )

    def _most(self) -> int:
        """Bytes of the next batch."""
        cut_at = max(lane.link.cut_at for lane in self._lanes)
        quick = self._through > _TRUSTED and not self._slow and not cut_at
        risk = max(BATCH_START, self._through // (_RISK_QUICK if quick else _RISK))
        # What is as large as a connection that is cut never gets through one.
        return min(self._batches.size, risk, cut_at // 2 or risk)

    @property
    def _slow(self) -> bool:
        return bool(self._through) and self._took_s > _SLOW_S

    def _ready_lanes(self) -> Iterator[Lane]:
        proved = sum(self._through > one for one in _PROVED)
        if (
            self._means.beside is not None
            and len(self._lanes) <= (1 if self._slow else proved)
            and self._store.any_pending()
        ):
            beside = self._means.beside()
            # What one connection learned of the link holds for all.
            beside.cut_at = self._lanes[0].link.cut_at
            self._lanes.append(Lane(beside, self._means.steady_s))
        yield from [lane for lane in self._lanes if not lane.busy]

    def _answer(self, lane: Lane) -> RoundReply | None:
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
                other.link.cut_at = other.link.cut_at or lane.link.cut_at
            return None
        except Refused as error:
            self._refusal(error, outgoing)
            return None
        self._course.answered()
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
            self._trouble = Unreachable(problem.sentence(), met=passes_soon(problem))
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

    def end(self) -> None:
        """Nobody waits for what is still under way; what it would have brought comes again."""
        for lane in self._lanes:
            lane.abandon()
        for lane in self._lanes[1:]:
            lane.link.renew()
        traffic, done = [lane.link.traffic for lane in self._lanes], self._course.outcome
        done.requests = sum(one.requests for one in traffic)
        done.bytes_out = sum(one.sent for one in traffic)
        done.bytes_in = sum(one.received for one in traffic)
