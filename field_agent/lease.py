"""How long a device may stay open: the lease between two rounds, and the idle lock of a session."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

CLOCK_SLACK_MS = 10 * 60 * 1000
"""How far a clock may go back without a word: what a laptop's clock is corrected by."""


@dataclass(frozen=True, slots=True)
class Lease:
    """What the server granted, and how late it has been seen to be. Milliseconds since 1970.

    `lease_s` 0 means no lease. `contact_ms` is the last round, by the device's clock at that time.
    `seen_ms` only ever grows: the latest time this device knows to have passed.
    """

    lease_s: int
    contact_ms: int
    seen_ms: int

    def seen(self, now_ms: int, spent_ms: int = 0) -> Lease:
        """The lease after a look at the clock, `spent_ms` of a steady clock after the last look.

        The steady clock goes on counting where the wall clock is turned back in mid-session.
        """
        return replace(self, seen_ms=max(self.seen_ms + max(0, spent_ms), now_ms))

    def renewed(self, now_ms: int, lease_s: int) -> Lease:
        """After a round. The clock of that moment is trusted: the server was just spoken to."""
        return Lease(lease_s, now_ms, now_ms)

    def ended(self, now_ms: int) -> str:
        """Why the device must lock itself, or "" while it need not.

        A clock that reads earlier than a time already seen ends the lease, slack apart. Nothing
        else would do: how long the machine lay switched off, only that clock could tell.
        """
        if not self.lease_s:
            return ""
        if now_ms < self.seen_ms - CLOCK_SLACK_MS:
            return (
                "the clock reads earlier than it did before: set it right, or bring the device "
                "to a round (field-agent sync)"
            )
        late_ms = max(now_ms, self.seen_ms) - self.contact_ms
        if late_ms > self.lease_s * 1000:
            days = late_ms / 86_400_000
            return f"no round for {days:.1f} days: bring the device to a round (field-agent sync)"
        return ""

    def left_s(self, now_ms: int) -> int | None:
        """Seconds until the lease ends; None without a lease."""
        if not self.lease_s:
            return None
        return max(0, self.lease_s - (max(now_ms, self.seen_ms) - self.contact_ms) // 1000)


class IdleLock:
    """Ends the process when nobody has touched it for `limit_s` seconds.

    Ending is the only lock: a closed connection would leave the keys in the process's memory.
    `end` closes the store and leaves (the command line gives `os._exit`); `steady_s` is a clock
    that no one can set (`time.monotonic`).
    """

    def __init__(
        self, limit_s: float, *, steady_s: Callable[[], float], end: Callable[[], None]
    ) -> None:
        self._limit_s = limit_s
        self._steady_s = steady_s
        self._end = end
        self._touched_s = steady_s()
        self._stop = threading.Event()

    def touch(self) -> None:
        """Somebody is here: called for each request of a person, not for a page's own polling."""
        self._touched_s = self._steady_s()

    def left_s(self) -> float:
        return max(0.0, self._limit_s - (self._steady_s() - self._touched_s))

    def start(self) -> threading.Thread:
        """Watch in a thread of its own, which ends with the process or with `stop`."""
        thread = threading.Thread(target=self._watch, name="idle-lock", daemon=True)
        thread.start()
        return thread

    def stop(self) -> None:
        self._stop.set()

    def _watch(self) -> None:
        while not self._stop.wait(max(0.05, min(self.left_s(), 5.0))):
            if self.left_s() <= 0:
                self._end()
                return
