"""Whether the agent's pages are open on this device, and how another command ends them."""

from __future__ import annotations

import fcntl
import os
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FILE = "serve.pid"


class Open(Exception):
    """The pages are open already."""


@contextmanager
def held(home: Path) -> Iterator[None]:
    """Be the one session of this device. Raises `Open` where another process is it."""
    place = home / FILE
    handle = os.open(place, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Open("the pages are open already: field-agent lock ends them") from None
        os.ftruncate(handle, 0)
        os.pwrite(handle, str(os.getpid()).encode(), 0)
        try:
            yield
        finally:
            place.unlink(missing_ok=True)
    finally:
        os.close(handle)


def end(home: Path) -> bool:
    """End the session, if there is one; the process that holds the file is the one, no other."""
    try:
        handle = os.open(home / FILE, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.pread(handle, 20, 0).decode()
            if pid.isdigit():
                os.kill(int(pid), signal.SIGTERM)
                # It lets go of the file when it has ended.
                fcntl.flock(handle, fcntl.LOCK_EX)
                return True
        return False
    finally:
        os.close(handle)
