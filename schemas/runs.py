"""What a device has receipts of, told so briefly that every sync can say it, and by hash."""

from __future__ import annotations

SHORT = 16
"""Hex digits of a hash that name an envelope among those of one device, who alone could make two alike."""
RUNS_MAX = 500

Run = tuple[int, int, tuple[str, ...]]
"""(first, last, hashes): receipts are in hand for every counter from `first` to `last`; the short
hashes are those at `sampled(first, last)`, or at the first of them."""


def sampled(first: int, last: int) -> list[int]:
    """The last of the run, then 4, 16, 64 ... before it.

    The last alone says all, where it is held. The others tell, after a server was restored, how
    much need not be sent again.
    """
    found, back = [last], 4
    while last - back >= first:
        found.append(last - back)
        back *= 4
    return found
