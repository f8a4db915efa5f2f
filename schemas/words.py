"""Counts as people read them, for both command lines."""

from __future__ import annotations


def counted(count: int, one: str, many: str = "") -> str:
    """`1 receipt`, `2 receipts`, and with `many` given `2 entries`."""
    return f"{count} {one if count == 1 else many or one + 's'}"
