"""Whom the device belongs to, and how long it may stay out of contact."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from field_agent.database import Database
from field_agent.lease import Lease
from field_agent.trouble import Busy, LeaseEnded, NotEnrolled
from schemas.envelope import SealingKey

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from field_agent.vault import Vault


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom the device belongs to. `about` is what enrolment told besides (programme, officer)."""

    device: str
    area: str
    server_url: str
    fingerprint: str
    server_key: bytes
    epoch: str
    about: dict[str, Any] = field(default_factory=dict)


_OF_A_DEVICE = (
    *("outbox", "envelopes", "openings", "attachments", "attachment_pieces"),
    *("batches", "receipts"),
)
"""What was sealed as one device, and is nothing to another."""


class Belonging(Database):
    """A file that answers for its owner: once the lease has ended, it gives nothing out."""

    def __init__(self, vault: Vault, connection: Any, presence: int) -> None:
        super().__init__(vault, connection, presence)
        self._lease = Lease(0, 0, 0)
        self._ended = ""
        self._steady_ms: Callable[[], int] | None = None
        self._steady_last_ms = 0

    # The lease and the clock.

    def tick(self, now_ms: int) -> str:
        """Look at the clock; why the device must lock itself now, or "". Called now and then."""
        steady = self._steady_ms() if self._steady_ms else 0
        spent, self._steady_last_ms = steady - self._steady_last_ms, steady
        ended = self._lease.ended(now_ms)
        seen = self._lease.seen(now_ms, spent)
        # One write a minute at most: the mark is for days.
        if seen.seen_ms - self._lease.seen_ms >= 60_000:
            self._write("UPDATE identity SET seen_ms = ?", (seen.seen_ms,))
            self._lease = seen
        else:
            self._steady_last_ms -= spent
        self._ended = ended or seen.ended(now_ms)
        return self._ended

    def _ready(self) -> None:
        """Raises `LeaseEnded` where the lease has ended, at opening or by the steady clock."""
        if self._steady_ms is not None and not self._ended:
            now = self._lease.seen(0, self._steady_ms() - self._steady_last_ms)
            self._ended = now.ended(now.seen_ms)
        if self._ended:
            raise LeaseEnded(self._ended)

    def ready(self) -> None:
        """Raises `LeaseEnded` where what people said may not be read any more."""
        self._ready()

    def renew_lease(self, lease_s: int, *, now_ms: int) -> None:
        """After a round in which the server's signed reply granted it."""
        with self.transaction():
            self._lease = self._lease.renewed(now_ms, lease_s)
            self._ended = ""
            self._steady_last_ms = self._steady_ms() if self._steady_ms else 0
            self._write(
                "UPDATE identity SET lease_s = ?, contact_ms = ?, seen_ms = ?",
                (lease_s, now_ms, now_ms),
            )

    def revoke(self, reason: str) -> None:
        """The server withdrew this device: erase the wrapped key. No passphrase opens it again."""
        with self._lock:
            self.vault.erase(reason)

    # Whom the device belongs to.

    @property
    def identity(self) -> Identity | None:
        """None before enrolment."""
        row = self._one(
            "SELECT device, area, server_url, fingerprint, server_key, epoch, about FROM identity"
        )
        return None if not row[0] else Identity(*(*row[:6], json.loads(row[6])))

    def owner(self) -> Identity:
        """Raises `NotEnrolled`."""
        found = self.identity
        if found is None:
            raise NotEnrolled(
                "this device belongs to no server yet: field-agent enrol URL --code CODE"
            )
        return found

    def enrol(
        self, identity: Identity, sealing: Sequence[SealingKey], *, lease_s: int, now_ms: int
    ) -> None:
        """The device is now `identity`'s. Its own keys were made when the store was."""
        with self.transaction():
            old = self.identity
            if old is not None and old.device != identity.device:
                unsent = "SELECT 1 FROM outbox WHERE state IN ('pending', 'sent')"
                if self._one(f"{unsent} UNION SELECT 1 FROM attachments WHERE sent < size"):  # noqa: S608  it is written above
                    raise Busy(
                        "unsent entries are sealed as another device: send them first "
                        "(field-agent sync), then enrol again with the same code"
                    )
                self._write("UPDATE identity SET counter = 0, last_hash = ''")
                for table in _OF_A_DEVICE:
                    self._write(f"DELETE FROM {table}")  # noqa: S608  the names are ours
                if (old.area, old.fingerprint) != (identity.area, identity.fingerprint):
                    # They name households of an area that is this agent's no more.
                    self._write("DELETE FROM notices")
                self.empty_area()
            elif old is not None and old.epoch != identity.epoch:
                self.empty_area()
            self._write(
                "UPDATE identity SET device = ?, area = ?, server_url = ?, fingerprint = ?, "
                "server_key = ?, epoch = ?, about = ?",
                (
                    identity.device,
                    identity.area,
                    identity.server_url,
                    identity.fingerprint,
                    identity.server_key,
                    identity.epoch,
                    json.dumps(identity.about),
                ),
            )
            self.put_keys(sealing)
            self.renew_lease(lease_s, now_ms=now_ms)

    @property
    def counter(self) -> int:
        """The counter of the last entry that was sealed; 0 at first."""
        return int(self._one("SELECT counter FROM identity")[0])

    def set_epoch(self, epoch: str) -> None:
        self._write("UPDATE identity SET epoch = ?", (epoch,))

    def empty_area(self) -> None:
        """Forget the area's pulled records, to pull them anew (a restored server, a new area)."""
        with self.transaction():
            for table in ("pages", "places", "records"):
                self._write(f"DELETE FROM {table}")  # noqa: S608  the names are ours
            self._write("DELETE FROM kept WHERE name IN ('cursor', 'folded', 'server_ms')")

    def put_keys(self, sealing: Sequence[SealingKey]) -> None:
        """The programme's public keys from now on, in the programme's order of preference."""
        with self.transaction():
            self._write("DELETE FROM programme_keys")
            for place, key in enumerate(sealing):
                self.db.table("programme_keys").insert(
                    {"id": key.id, "suite": key.suite, "public": key.public, "place": place}
                )

    @property
    def sealing_keys(self) -> list[SealingKey]:
        rows = self._all("SELECT suite, public, id FROM programme_keys ORDER BY place")
        return [SealingKey(*row) for row in rows]

    def keep(self, name: str, value: Any) -> None:
        """Keep a small JSON value under a name of the caller's (a setting, a clock's last mark)."""
        self._write("INSERT OR REPLACE INTO kept VALUES (?, ?)", (name, json.dumps(value)))

    def kept(self, name: str, default: Any = None) -> Any:
        row = self._one("SELECT value FROM kept WHERE name = ?", (name,))
        return default if row is None else json.loads(row[0])
