"""How much to put into one request over a link that nobody knows yet."""

from __future__ import annotations

# One request should neither be all waiting nor be long enough to be cut: about this many seconds.
_LASTS_S = 4.0


class Pace:
    """How much to put into one request: more while it goes well and fast, at once less when cut."""

    def __init__(self, least: int, first: int, most: int) -> None:
        self._least, self._most = least, most
        self.size = first
        self._ceiling = most
        self._good = 0

    def went_well(self, took_s: float, size: int) -> None:
        """`size` bytes took so long. Small requests say little about large ones."""
        self._good += 1
        if took_s > 1.5 * _LASTS_S:
            self.size = max(self._least, self.size // 2)
        elif took_s < _LASTS_S and size * 2 >= self.size:
            self.size = min(self.size * 2, self._ceiling)
        if self._good >= 8 and self._ceiling < self._most:
            # It went well for a while: what cut it may be over.
            self._ceiling = min(self._ceiling * 2, self._most)
            self._good = 0

    def was_cut(self) -> None:
        self._good = 0
        self._ceiling = max(self._least, min(self.size, self._ceiling) // 2)
        self.size = max(self._least, self.size // 4)
