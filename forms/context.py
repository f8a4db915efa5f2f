"""What an entry is told about the world: the time, the luck, the device and its person."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime


@dataclass(frozen=True, slots=True)
class Context:
    """Where an entry's time, ids and luck come from.

    now: an aware moment. new_uuid: a fresh one, without "uuid:". random: from 0 up to 1.
    properties: deviceid, username, email, phonenumber. zone: the device's.
    last_saved: the submission finished before with this form on this device, or None.
    """

    now: Callable[[], datetime]
    new_uuid: Callable[[], str]
    random: Callable[[], float]
    properties: Mapping[str, str] = field(default_factory=dict)
    zone: tzinfo = UTC
    last_saved: bytes | None = None
