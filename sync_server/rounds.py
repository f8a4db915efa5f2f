"""One meeting of a device with the server: hello, what it brings, what goes back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import BigInteger, Text, bindparam, func, insert, update

from schemas.messages import RoundReply
from sync_server import blobs, chain, inspection, intake, pages, pull
from sync_server.intake import Outcome
from sync_server.pull import Cursor, News
from sync_server.store.intake_tables import devices, epochs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from schemas.messages import RoundRequest
    from sync_server.chain import Standing
    from sync_server.desk import Desk
    from sync_server.enrol import Device
    from sync_server.store.engine import Tx


def meet(
    desk: Desk,
    device: Device,
    request: RoundRequest,
    sealed: Sequence[bytes],
    *,
    by: str = "network",
    clock_ms: int | None = None,
) -> RoundReply:
    """Takes the batch in, if there is one, and says what the device does not know yet.

    `clock_ms` is the device's clock; None where the round did not happen now (a bundle).
    Raises `Refused("batch-changed")`.
    """
    at_ms = desk.now_ms()
    brought = intake.unpacked(device, request.batch, sealed, by=by) if request.batch else None
    cursor = Cursor.parse(desk, device.device, request.cursor)
    fresh_epoch = desk.new_id().replace("-", "")[:12]

    def take(tx: Tx) -> dict[str, Any]:
        standing = chain.standing(tx, device)
        if cursor and _was_restored(standing, cursor):
            why = f"{device.device} holds the server's word for more than the server has"
            tx.execute(insert(epochs).values(area="", epoch=fresh_epoch, begun_ms=at_ms, why=why))
            # What it brings now is held, and receipted, in the new history.
            standing = standing._replace(epoch=fresh_epoch)
        said = intake.store_batch(tx, device, brought, at_ms, standing) if brought else {}
        tx.execute(
            _WAS_HERE,
            {
                "of_area": device.area,
                "of_device": device.device,
                "at_ms": at_ms,
                "left": max(0, request.unsent - said.get("count", 0)),
                "program": request.software,
                "skew": None if clock_ms is None else clock_ms - at_ms,
            },
        )
        return said

    # What it brings and that it was here: one transaction, one wait for the disk.
    said = desk.store.transaction(take, lock=device.area)
    outcome = Outcome("")
    if brought:
        outcome = intake.receipted(desk, device, request.batch, said)
        inspection.soon(desk, device)

    def look(tx: Tx) -> tuple[RoundReply, News]:
        epoch, last, held_to = chain.standing(tx, device)
        after = cursor.sequence if cursor and cursor.epoch == epoch else 0
        news, waits = News((), (), after, more=False, fresh=()), inspection.Count(0, 0)
        if request.page:
            news = pull.news(tx, desk, device, after, last, request.page, request.layout)
            waits = inspection.waiting(tx, device)
        reply = RoundReply(
            time_ms=at_ms,
            epoch=epoch,
            cursor=Cursor(epoch, news.reached, held_to).token(desk, device.device),
            lease_s=desk.config.lease_s,
            batch=outcome.batch,
            held=outcome.held,
            receipt=outcome.receipt,
            refused=outcome.refused,
            checking=waits.checking,
            parked=waits.parked,
            blobs=blobs.missing(tx, device.area, device.device),
            again=chain.unheld(tx, device, held_to, request.runs)
            if request.runs
            else chain.lost(tx, device, held_to, request.acknowledged),
            keys=pull.keys(desk, request.keys),
            forms=pull.forms(tx, request.forms),
            items=news.items,
            area=device.area if news.pages else "",
            pages=news.pages,
            more=news.more,
        )
        return reply, news

    reply, news = desk.store.read(look)
    pages.keep(desk, device.area, news.fresh)
    return reply


_WAS_HERE = (
    update(devices)
    .where(devices.c.area == bindparam("of_area"), devices.c.device == bindparam("of_device"))
    .values(
        seen_ms=bindparam("at_ms"),
        unsent=bindparam("left"),
        software=func.coalesce(
            func.nullif(bindparam("program", type_=Text), ""), devices.c.software
        ),
        skew_ms=func.coalesce(bindparam("skew", type_=BigInteger), devices.c.skew_ms),
    )
)


def _was_restored(standing: Standing, cursor: Cursor) -> bool:
    """Whether the server once held more than now, by its own word."""
    if cursor.epoch != standing.epoch:
        return False
    return cursor.sequence > standing.sequence or cursor.held_to > standing.held_to
