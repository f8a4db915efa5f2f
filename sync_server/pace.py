"""How fast the server takes registrations in: the measurement that `benchmarks/sync` calls."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING

from sync_server.intake import take_batch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sync_server.desk import Desk
    from sync_server.enrol import Device


@dataclass(frozen=True, slots=True)
class Pace:
    """`per_s`: registrations taken in, validated and durable, per second, all devices together.

    `p50_ms` and `p99_ms` are of one batch, from its arrival to its signed answer.
    """

    registrations: int
    per_s: float
    p50_ms: float
    p99_ms: float
    refused: int


@dataclass(slots=True)
class _Seen:
    took_s: list[float] = field(default_factory=list)
    receipts: int = 0
    refused: int = 0


def measure_intake(
    desk: Desk, sealed: Mapping[Device, Sequence[bytes]], *, batch: int = 50, lanes: int = 2
) -> Pace:
    """Takes each device's envelopes in, in batches, `lanes` devices at the same time.

    The envelopes are sealed and signed beforehand; opening, checking, storing and the receipts are
    what is measured. The database must not have them yet. Give the desk a `checking.Workers`
    checker to use more than one core.
    """
    waiting = list(sealed.items())
    seen = _Seen()
    lock = threading.Lock()

    def lane() -> None:
        while True:
            with lock:
                if not waiting:
                    return
                device, envelopes = waiting.pop()
            for at in range(0, len(envelopes), batch):
                began = perf_counter()
                said = take_batch(desk, device, f"pace-{at}", envelopes[at : at + batch])
                took_s = perf_counter() - began
                with lock:
                    seen.took_s.append(took_s)
                    seen.receipts += len(said.receipts)
                    seen.refused += len(said.refused)

    began = perf_counter()
    threads = [threading.Thread(target=lane) for _ in range(lanes)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    whole_s = perf_counter() - began
    took = sorted(seen.took_s)
    return Pace(
        seen.receipts,
        seen.receipts / whole_s,
        took[len(took) // 2] * 1000,
        took[min(len(took) - 1, int(len(took) * 0.99))] * 1000,
        seen.refused,
    )
