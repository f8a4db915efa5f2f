"""Room that the device keeps on its disk, and gives up when the disk is full: to read and to send.

Even a reader needs some (SQLite's index of the log, the count of a try), and what frees a device is
a sync. What adds to the store never gets this room.
"""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

from field_agent.files import private_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FILE = "room"
SIZE = 1 << 20
SHORT = SIZE // 4


def short(home: Path) -> bool:
    """Whether the disk has so little left that the next command may fail for it."""
    disk = os.statvfs(home)
    return disk.f_bavail * disk.f_frsize < SHORT


def keep(home: Path) -> bool:
    """Have the room from now on; False where the disk has not so much left."""
    place = home / FILE
    if place.exists() and place.stat().st_size == SIZE:
        return True
    try:
        with private_file(place) as file:
            _fill(file)
    except OSError:
        return False
    return True


def _fill(file: BinaryIO) -> None:
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(file.fileno(), 0, SIZE)
        except OSError as error:
            if error.errno not in {errno.EOPNOTSUPP, errno.EINVAL}:
                raise
        else:
            return
    file.write(bytes(SIZE))


def give_up(home: Path) -> None:
    (home / FILE).unlink(missing_ok=True)


@contextmanager
def lent(home: Path) -> Iterator[None]:
    """For a small write that frees again what it takes."""
    needed = (home / FILE).exists() and short(home)
    if needed:
        give_up(home)
    try:
        yield
    finally:
        if needed:
            keep(home)
