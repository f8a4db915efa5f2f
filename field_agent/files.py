"""Files of the owner alone, written so that a power cut leaves the old one or the new one, whole."""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def write_whole(place: Path, data: bytes) -> None:
    """Replace a file so that a power cut leaves the old or the new one, whole, for its owner only.

    The old file's bytes are overwritten once the new ones are safe: they may hold what a changed
    passphrase or a revocation must take away.
    """
    fresh = place.with_name(place.name + ".new")
    # One that a power cut left is written over in its place, never only cut.
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    left = os.fstat(handle).st_size
    try:
        os.fchmod(handle, 0o600)
        view = memoryview(data.ljust(left, b"\0"))
        while view:
            view = view[os.write(handle, view) :]
        os.fsync(handle)
        if left > len(data):
            os.ftruncate(handle, len(data))
            os.fsync(handle)
    except BaseException:
        if not left:
            # The disk is full: nothing is left of the try, neither a name nor a piece of the key.
            with suppress(OSError):
                os.pwrite(handle, bytes(os.fstat(handle).st_size), 0)
                os.fsync(handle)
            fresh.unlink(missing_ok=True)
        raise
    finally:
        os.close(handle)
    old = os.open(place, os.O_WRONLY | os.O_CLOEXEC) if place.exists() else None
    try:
        fresh.replace(place)
        sync_folder(place.parent)
        if old is not None:
            os.pwrite(old, bytes(os.fstat(old).st_size), 0)
            os.fsync(old)
    finally:
        if old is not None:
            os.close(old)


@contextmanager
def private_file(place: Path) -> Iterator[BinaryIO]:
    """A new file for its owner only, on the disk when the block ends; gone if the block fails."""
    handle = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(handle, 0o600)
            yield file
            file.flush()
            os.fsync(handle)
    except BaseException:
        place.unlink(missing_ok=True)
        raise


def sync_folder(folder: Path) -> None:
    """Make the names in a folder as durable as its files."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
