"""Sealed entries on their way to the server, from the finish to the receipt."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from field_agent.belonging import Belonging
from field_agent.database import told
from field_agent.trouble import Missing
from schemas.envelope import CHUNK, TAG
from schemas.runs import RUNS_MAX, SHORT, sampled
from schemas.signing import ranges_of

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Mapping, Sequence

    from schemas.runs import Run

STATES = ("pending", "sent", "receipted", "refused", "held")


@dataclass(frozen=True, slots=True)
class Finished:
    """A sealed entry as the outbox lists it: what its agent may know of it, and no more."""

    counter: int
    hash: str
    state: str
    label: str
    form: str
    version: str
    made_ms: int
    size: int
    draft: str
    why: str = ""


@dataclass(frozen=True, slots=True)
class SealedAttachment:
    """A sealed file on its way. `sent` is how many of its bytes the server is known to hold."""

    hash: str
    counter: int
    size: int
    sent: int


@dataclass(frozen=True, slots=True)
class Batch:
    """What one round brings: made and stored before the first try, so that it can be sent again."""

    batch: str
    counters: tuple[int, ...]
    made_ms: int
    reply: dict[str, Any] | None


class Outbox(Belonging):
    """What was finished: its bytes are sealed, and its state alone changes."""

    def _find(self, where: str, *values: object) -> Finished | None:
        row = self._one(f"{_OUTBOX} WHERE {where}", values)
        return None if row is None else Finished(*row)

    def finished(self, counter: int) -> Finished:
        """Raises `Missing`."""
        found = self._find("counter = ?", counter)
        if found is None:
            raise Missing(f"this device has sealed no entry {counter}")
        return found

    def outbox(
        self, *, states: Sequence[str] = STATES, after: int = 0, limit: int = 1000
    ) -> list[Finished]:
        """Sealed entries in the order in which they were finished."""
        marks = ", ".join("?" * len(states))
        rows = self._all(
            f"{_OUTBOX} WHERE counter > ? AND state IN ({marks}) ORDER BY counter LIMIT ?",
            (after, *states, limit),
        )
        return [Finished(*row) for row in rows]

    def envelope(self, counter: int) -> bytes:
        """The sealed bytes. Raises `Missing` where they were dropped after their receipt."""
        row = self._one("SELECT data FROM envelopes WHERE counter = ?", (counter,))
        if row is None:
            raise Missing(f"the sealed bytes of entry {counter} are not on this device any more")
        return bytes(row[0])

    # Openings of the sessions that envelopes were sealed in: no secret, and needed to open them.

    def openings(self, counters: Sequence[int]) -> list[bytes]:
        """Those that these entries need and that the server is not known to hold."""
        found = {
            row[0]: bytes(row[1])
            for first, last in ranges_of(counters)
            for row in self._all(
                "SELECT hash, data FROM openings WHERE held = 0 AND hash IN "
                "(SELECT session FROM outbox WHERE counter BETWEEN ? AND ?) ORDER BY rowid",
                (first, last),
            )
        }
        return list(found.values())

    def openings_to_back_up(self) -> Iterator[bytes]:
        """All that an entry without a receipt needs, whether the server has them or not."""
        rows = self._all(
            "SELECT DISTINCT openings.hash FROM openings JOIN outbox ON session = openings.hash "
            "WHERE state != 'receipted' AND counter IN (SELECT counter FROM envelopes)"
        )
        for (name,) in rows:
            yield bytes(self._one("SELECT data FROM openings WHERE hash = ?", (name,))[0])

    def openings_held(self, counters: Sequence[int], *, held: bool = True) -> None:
        """The server holds, or has lost, what opens these entries."""
        with self.transaction():
            for first, last in ranges_of(counters):
                self._write(
                    "UPDATE openings SET held = ?1 WHERE held != ?1 AND hash IN "
                    "(SELECT session FROM outbox WHERE counter BETWEEN ?2 AND ?3)",
                    (held, first, last),
                )

    def pending(self, *, most: int, limit: int) -> list[tuple[int, bytes]]:
        """(counter, sealed bytes) of entries to be sent next: about `most` bytes, at least one."""
        found: list[tuple[int, bytes]] = []
        weight = 0
        with self._lock, told():
            for counter, envelope in self._connection.execute(
                "SELECT counter, data FROM outbox JOIN envelopes USING (counter) "
                "WHERE state = 'pending' ORDER BY counter LIMIT ?",
                (limit,),
            ):
                weight += len(envelope)
                if found and weight > most:
                    break
                found.append((counter, bytes(envelope)))
        return found

    def any_pending(self) -> bool:
        return self._one("SELECT 1 FROM outbox WHERE state = 'pending' LIMIT 1") is not None

    def envelopes(self, counters: Sequence[int]) -> list[bytes]:
        """The sealed bytes of several. Raises `Missing` where one of them was dropped."""
        found: list[bytes] = []
        for first, last in ranges_of(counters):
            rows = self._all(
                "SELECT data FROM envelopes WHERE counter BETWEEN ? AND ? ORDER BY counter",
                (first, last),
            )
            found += [bytes(row[0]) for row in rows]
        if len(found) != len(set(counters)):
            raise Missing("sealed bytes of a batch are not on this device any more")
        return found

    def unsent(self) -> int:
        """How many sealed entries the server has not yet acknowledged."""
        return sum(self._count(state) for state in ("pending", "sent"))

    def _count(self, state: str) -> int:
        return int(self._one("SELECT count(*) FROM outbox WHERE state = ?", (state,))[0])

    def waiting(self) -> tuple[int, int]:
        """How many sealed entries have no receipt and are to be sent, and their bytes."""
        row = self._one(
            "SELECT count(*), coalesce(sum(size), 0) FROM outbox WHERE state IN ('pending', 'sent')"
        )
        return row[0], row[1]

    def acknowledged(self) -> int:
        """The highest counter up to which every receipt is in hand."""
        first = [
            self._one("SELECT min(counter) FROM outbox WHERE state = ?", (state,))[0]
            for state in STATES
            if state != "receipted"
        ]
        return min((one - 1 for one in first if one is not None), default=self.counter)

    def receipted_runs(self) -> list[Run]:
        """What has its receipt, in runs without a gap, the newest first, each with its hashes.

        Those before the newest have their last one's alone: a sync that brings nothing stays small.
        """
        ends = self._all(
            "SELECT min(counter), max(counter) FROM (SELECT counter, counter - row_number() OVER "
            "(ORDER BY counter) AS run FROM outbox WHERE state = 'receipted') "
            "GROUP BY run ORDER BY 1 DESC LIMIT ?",
            (RUNS_MAX,),
        )
        named = [
            sampled(first, last)[: 1 if run else None] for run, (first, last) in enumerate(ends)
        ]
        return [
            (first, last, tuple(self.finished(one).hash[:SHORT] for one in counters))
            for (first, last), counters in zip(ends, named, strict=True)
        ]

    def mark(self, counters: Iterable[int], state: str, *, why: str = "", only: str = "") -> None:
        """Sealed entries are now in `state`, or those of them that are in `only`.

        A receipted one stays so, whatever arrives late.
        """
        if state not in STATES:
            raise ValueError(f"{state} is none of {', '.join(STATES)}")
        with self.transaction():
            for first, last in ranges_of(counters):
                self._connection.execute(
                    "UPDATE outbox SET state = ?1, why = ?2 WHERE counter BETWEEN ?3 AND ?4 "
                    "AND state != 'receipted' AND (?5 = '' OR state = ?5)",
                    (state, why, first, last, only),
                )

    def refused_though_held(self, counter: int, why: str) -> None:
        """The server holds this entry and will not let it into the registry as it is; "": it will."""
        self._write(
            "UPDATE outbox SET why = ? WHERE counter = ? AND state = 'receipted'", (why, counter)
        )

    def hashes(self, ranges: Iterable[tuple[int, int]]) -> list[tuple[int, str]]:
        """(counter, hash) of the sealed entries in these ranges, ends included."""
        return [
            (row[0], row[1])
            for first, last in ranges
            for row in self._all(
                "SELECT counter, hash FROM outbox WHERE counter BETWEEN ? AND ?", (first, last)
            )
        ]

    def receipt_all(self, ranges: Iterable[tuple[int, int]], receipt: Mapping[str, Any]) -> int:
        """Keep one receipt for the entries in these ranges; how many there are.

        The caller has checked its signature over their `hashes`.
        """
        done = 0
        with self.transaction():
            number = self._keep_receipt(receipt)
            for first, last in ranges:
                done += self._write(
                    # A receipt that comes again says nothing new about what was refused.
                    "UPDATE outbox SET why = CASE state WHEN 'receipted' THEN why ELSE '' END, "
                    "state = 'receipted', receipt = ? WHERE counter BETWEEN ? AND ?",
                    (number, first, last),
                )
        return done

    def receipted(self, ranges: Iterable[tuple[int, int]]) -> int:
        """How many of the entries in these ranges have their receipt."""
        return sum(
            self._one(
                "SELECT count(*) FROM outbox WHERE counter BETWEEN ? AND ? AND state = 'receipted'",
                pair,
            )[0]
            for pair in ranges
        )

    def _keep_receipt(self, receipt: Mapping[str, Any]) -> int:
        return int(
            self._connection.execute(
                "INSERT INTO receipts (receipt) VALUES (?)", (json.dumps(receipt),)
            ).lastrowid
        )

    def receipt(self, counter: int, envelope_hash: str, receipt: Mapping[str, Any]) -> bool:
        """Keep a receipt whose signature the caller has checked; False where it fits no entry."""
        with self.transaction():
            if self._find("counter = ? AND hash = ?", counter, envelope_hash) is None:
                return False
            return bool(self.receipt_all([(counter, counter)], receipt))

    def receipt_of(self, counter: int) -> dict[str, Any] | None:
        """The receipt that an entry has, with others of its batch or alone."""
        row = self._one(
            "SELECT receipts.receipt FROM outbox JOIN receipts ON number = outbox.receipt "
            "WHERE counter = ?",
            (counter,),
        )
        return json.loads(row[0]) if row else None

    def feed_again(self, first: int, last: int) -> int:
        """The server does not hold these, whatever their receipts say, as after it was restored from an
        old copy: pending again, if still here.
        """
        with self.transaction():
            # Which openings it has lost with them, it cannot say.
            self._write("UPDATE openings SET held = 0")
            self._write(
                "UPDATE outbox SET why = ? WHERE counter BETWEEN ? AND ? AND state = 'receipted' "
                "AND counter NOT IN (SELECT counter FROM envelopes)",
                (_LOST, first, last),
            )
            return self._write(
                "UPDATE outbox SET state = 'pending', why = '', receipt = 0 "
                "WHERE counter BETWEEN ? AND ? AND state = 'receipted' "
                "AND counter IN (SELECT counter FROM envelopes)",
                (first, last),
            )

    def drop_sealed(self, *, made_before_ms: int) -> int:
        """Let go of sealed bytes that have had their receipt for long; the counts stay.

        Nothing without a receipt is ever dropped, nor an entry with attachments still to send.
        """
        with self.transaction():
            old = (
                "SELECT counter FROM outbox WHERE state = 'receipted' AND made_ms < ? AND "
                "counter NOT IN (SELECT counter FROM attachments WHERE sent < size)"
            )
            self._write(
                "DELETE FROM attachment_pieces WHERE hash IN "  # noqa: S608  `old` is written above
                f"(SELECT hash FROM attachments WHERE counter IN ({old}))",
                (made_before_ms,),
            )
            dropped = self._write(
                f"DELETE FROM envelopes WHERE counter IN ({old})",  # noqa: S608  `old` is written above
                (made_before_ms,),
            )
            if dropped:
                self._write(
                    "DELETE FROM openings WHERE hash NOT IN (SELECT session FROM outbox "
                    "WHERE counter IN (SELECT counter FROM envelopes))"
                )
            return dropped

    # Sealed attachments on their way.

    def attachments(self, *, unsent: bool = True) -> list[SealedAttachment]:
        """Sealed files, by default those of which the server has not all bytes."""
        rows = self._all(
            "SELECT hash, counter, size, sent FROM attachments WHERE sent < size OR ? "
            "ORDER BY counter, hash",
            (not unsent,),
        )
        return [SealedAttachment(*row) for row in rows]

    def attachment_bytes(self, digest: str, offset: int, most: int) -> bytes:
        """At most `most` sealed bytes from `offset`; b"" at the end. Raises `Missing`."""
        whole = CHUNK + TAG
        out = bytearray()
        first = self._one("SELECT 1 FROM attachment_pieces WHERE hash = ? LIMIT 1", (digest,))
        if first is None:
            raise Missing(f"no sealed file {digest} on this device")
        while len(out) < most:
            at = offset + len(out)
            row = self._one(
                "SELECT data FROM attachment_pieces WHERE hash = ? AND number = ?",
                (digest, at // whole),
            )
            piece = bytes(row[0])[at % whole :] if row else b""
            if not piece:
                break
            out += piece[: most - len(out)]
        return bytes(out)

    def attachment_sent(self, digest: str, offset: int) -> None:
        """The server says that it holds so many bytes of the file."""
        self._write("UPDATE attachments SET sent = min(size, ?) WHERE hash = ?", (offset, digest))

    # Batches.

    def put_batch(self, batch: str, counters: Sequence[int], *, now_ms: int) -> None:
        """Store a batch before its first try; its entries are marked sent."""
        with self.transaction():
            self._write(
                "INSERT INTO batches VALUES (?, ?, ?, '')",
                (batch, json.dumps(ranges_of(counters)), now_ms),
            )
            self.mark(counters, "sent")

    def open_batch(self) -> Batch | None:
        """The oldest batch without a reply: it goes first, unchanged, in the next round."""
        row = self._one(
            "SELECT batch, counters, made_ms FROM batches WHERE reply = '' "
            "ORDER BY made_ms, rowid LIMIT 1"
        )
        return None if row is None else Batch(row[0], _counters(row[1]), row[2], None)

    def open_batches(self, *, but: Container[str] = ()) -> list[Batch]:
        """Batches without a reply, the oldest first: a bundle carries every one of them."""
        rows = self._all(
            "SELECT batch, counters, made_ms FROM batches WHERE reply = '' ORDER BY made_ms, rowid"
        )
        return [Batch(row[0], _counters(row[1]), row[2], None) for row in rows if row[0] not in but]

    def answer_batch(self, batch: str, reply: Mapping[str, Any]) -> None:
        self._write("UPDATE batches SET reply = ? WHERE batch = ?", (json.dumps(reply), batch))


def _counters(ranges: str) -> tuple[int, ...]:
    return tuple(one for first, last in json.loads(ranges) for one in range(first, last + 1))


_LOST = (
    "The server held it and has lost it, as after it was restored from an old copy, and its sealed "
    "bytes are not on this device any more. Tell the office, and register it again."
)
_OUTBOX = "SELECT counter, hash, state, label, form, version, made_ms, size, draft, why FROM outbox"
