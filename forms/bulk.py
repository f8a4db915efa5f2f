"""Many objects that stay, made at one go: nobody looks for garbage among them meanwhile."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def bulk() -> Iterator[None]:
    """The collector waits. A form or an entry is thousands of objects of which none is garbage:
    to look through them again and again while they are made takes as long as making them.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()
