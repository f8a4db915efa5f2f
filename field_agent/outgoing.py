"""What goes out in a round: the same for the network and for a memory stick."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from field_agent.store import Batch
from field_agent.transport import SOFTWARE
from field_agent.trouble import Missing
from schemas.frames import MAX_BATCH
from schemas.messages import RoundRequest, pack_round

if TYPE_CHECKING:
    from collections.abc import Callable

    from field_agent.store import Store

_WITH_DATA_PAGE = 4096


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
                # Once in a sync, where nothing else is on its way: what shows as synced is looked for
                # by its hash, whichever history the server is in.
                runs=tuple(store.receipted_runs()) if page and cursor is None else (),
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
    for waiting in store.open_batches(but=but):
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
