"""How a sync is going: what it works with, what it has done, and how long it bears with the link."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from field_agent.transport import Unreachable

if TYPE_CHECKING:
    from collections.abc import Callable

    from field_agent.store import Store
    from field_agent.transport import Link
    from schemas.problems import Problem

PATIENCE = 12
PATIENCE_UNMET = 3
_SENDING = ("sending entries", "sending files")


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
    """How many entries had none before."""
    refused: list[dict[str, Any]] = field(default_factory=list)
    parked: int = 0
    """How many of this device's entries wait at the server for their form."""
    checking: int = 0
    """How many the server had not yet looked at when it spoke last; a later sync tells of them."""
    attachments: int = 0
    forms: list[str] = field(default_factory=list)
    items: int = 0
    """How much was told, whether it was known here or not."""
    news: dict[str, int] = field(default_factory=dict)
    """By their kind, how many notices the agent has not had before."""
    records: set[str] = field(default_factory=set)
    """The area's households of which something came that was not here."""
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

    def noticed(self, kind: str) -> None:
        self.news[kind] = self.news.get(kind, 0) + 1

    def told(self) -> dict[str, Any]:
        """As a script reads it."""
        return asdict(self) | {"records": len(self.records), "synced": self.synced}


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


class Course:
    """How one sync is going."""

    def __init__(self, means: Means) -> None:
        self.means = means
        self.store = means.store
        self.outcome = Outcome()
        self.doing = "asking the server"
        self.records_done = self.bytes_done = 0
        self._fails = 0
        self._records_all, self._bytes_all = self.store.waiting()
        self._bytes_all += sum(one.size - one.sent for one in self.store.attachments())
        self._began_s = means.steady_s()

    def say(self, doing: str, note: str = "") -> None:
        self.doing = doing
        spent = self.means.steady_s() - self._began_s
        left = None
        if self.bytes_done and spent > 0 and doing in _SENDING:
            left = max(0.0, (self._bytes_all - self.bytes_done) * spent / self.bytes_done)
        self.means.tell(
            Progress(
                doing,
                self.records_done,
                max(self._records_all, self.records_done),
                self.bytes_done,
                max(self._bytes_all, self.bytes_done),
                left,
                note,
            )
        )

    def answered(self) -> None:
        """The server was reached: patience begins anew."""
        self._fails = 0

    def failed(self, why: str, *, met: bool) -> None:
        """Wait before the next try. Raises `Unreachable` when patience ends."""
        self._fails += 1
        self.outcome.retries += 1
        if self._fails >= (PATIENCE if met else PATIENCE_UNMET):
            raise Unreachable(why, met=met)
        wait = pause_s(self._fails - (1 if met else 0), self.means.luck())
        self.say(self.doing, f"{why.rstrip('.')}; again in {wait:.1f} s")
        self.means.sleep(wait)


def passes_soon(problem: Problem) -> bool:
    """Whether the next minute may be another: a server's full disk wants a person first."""
    return problem.code != "storage-full"


def pause_s(fails: int, luck: float) -> float:
    """Seconds before the next try: doubling, at most 30, spread by `luck` (0 to 1)."""
    return min(30.0, 0.1 * 2.0 ** max(0, fails)) * (0.5 + luck)
