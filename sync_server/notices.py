"""Words that go back to devices with the pull: returned submissions, settled clashes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from sqlalchemy import insert, select

from sync_server.store.engine import as_bytes, next_sequence
from sync_server.store.intake_tables import notices

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sync_server.desk import Desk
    from sync_server.signatures import AtRest
    from sync_server.store.engine import Tx


def post(tx: Tx, desk: Desk, area: str, device: str, kind: str, body: Mapping[str, Any]) -> int:
    """Leaves a notice for one device, or for all of the area (""), and returns its sequence."""
    sequence = next_sequence(tx, area)
    data = json.dumps(body, ensure_ascii=False, sort_keys=True).encode()
    tx.execute(
        insert(notices).values(
            area=area,
            sequence=sequence,
            device=device,
            kind=kind,
            body_at_rest=desk.at_rest.seal(_place(area, sequence), data),
        )
    )
    return sequence


def since(
    tx: Tx, at_rest: AtRest, area: str, device: str, after: int, limit: int
) -> list[dict[str, Any]]:
    """What the device was not told yet, in order: `{sequence, kind, body}`."""
    found = tx.execute(
        select(notices)
        .where(
            notices.c.area == area,
            notices.c.sequence > after,
            notices.c.device.in_(("", device)),
        )
        .order_by(notices.c.sequence)
        .limit(limit)
    )
    return [
        {
            "sequence": row.sequence,
            "kind": row.kind,
            "body": json.loads(
                at_rest.open(_place(area, row.sequence), as_bytes(row.body_at_rest))
            ),
        }
        for row in found
    ]


def _place(area: str, sequence: int) -> str:
    return f"notices/{area}/{sequence}"
