"""How much of SQLite's write-ahead log cannot be read: a torn last write, or a failing disk."""

from __future__ import annotations

import struct

WIPED = b"wiped by field-agent" + bytes(12)
"""What stands at the head of a log whose readable pages were overwritten on purpose."""

_HEAD = struct.Struct(">8I")
_FRAME = struct.Struct(">6I")


def unread_log(log: bytes) -> int:
    """Bytes after the last whole, committed transaction in a log (SQLite's file format, section 4).

    The store cuts its log whenever it starts anew, so every byte of a log should be live: anything
    that does not verify had not reached the disk whole, or has changed since. 0 if all is well.
    """
    if not log or log.startswith(WIPED):
        return 0
    if len(log) < _HEAD.size:
        return len(log)
    magic, version, page, _, salt1, salt2, one, two = _HEAD.unpack_from(log)
    order = "<" if magic == 0x377F0682 else ">"
    if magic not in {0x377F0682, 0x377F0683} or version != 3007000 or not 512 <= page <= 65536:
        return len(log)
    sums = _sum(order, log[:24], (0, 0))
    if sums != (one, two):
        return len(log)
    good = at = _HEAD.size
    while at + _FRAME.size + page <= len(log):
        _, commit, *salts, one, two = _FRAME.unpack_from(log, at)
        body = log[at : at + 8] + log[at + _FRAME.size : at + _FRAME.size + page]
        sums = _sum(order, body, sums)
        if salts != [salt1, salt2] or sums != (one, two):
            break
        at += _FRAME.size + page
        if commit:
            good = at
    return len(log) - good


def _sum(order: str, data: bytes, start: tuple[int, int]) -> tuple[int, int]:
    one, two = start
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    for even, odd in zip(words[::2], words[1::2], strict=True):
        one = (one + even + two) & 0xFFFFFFFF
        two = (two + odd + one) & 0xFFFFFFFF
    return one, two
