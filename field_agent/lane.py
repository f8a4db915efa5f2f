"""One line to the server with at most one request on its way."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from field_agent.transport import ROUND

if TYPE_CHECKING:
    import queue
    from collections.abc import Callable

    from field_agent.outgoing import Outgoing
    from field_agent.transport import Answer, Link

# A sync that fails while a page is on its way does not wait for it longer than that.
_ABANDONED_S = 2.0


class Lane:
    """One line to the server.

    While another lane is busy too, the requests wait in threads of their own; these never touch
    the store.
    """

    def __init__(self, link: Link, steady_s: Callable[[], float]) -> None:
        self.link = link
        self._steady_s = steady_s
        self._sent: Outgoing | None = None
        self._began_s = 0.0
        self._thread: threading.Thread | None = None
        self._told: Answer | BaseException | None = None

    @property
    def busy(self) -> bool:
        return self._sent is not None

    @property
    def outgoing(self) -> Outgoing:
        assert self._sent is not None
        return self._sent

    @property
    def started(self) -> bool:
        return self._thread is not None

    def begin(self, outgoing: Outgoing) -> None:
        self._sent, self._thread, self._told = outgoing, None, None
        self._began_s = self._steady_s()

    def start(self, ready: queue.SimpleQueue[Lane]) -> None:
        if self._thread is None:

            def ask() -> None:
                self._ask()
                ready.put(self)

            self._thread = threading.Thread(target=ask, daemon=True)
            self._thread.start()

    def _ask(self) -> None:
        try:
            self._told = self.link.ask("POST", ROUND, self.outgoing.body)
        except BaseException as error:  # noqa: BLE001  raised again by `end`, where it is waited for
            self._told = error

    def end(self) -> tuple[Answer, float]:
        """The answer, and how many seconds it took. Raises what asking raised."""
        if self._told is None:
            self._ask()
        told, self._sent = self._told, None
        if isinstance(told, BaseException):
            raise told
        assert told is not None
        return told, self._steady_s() - self._began_s

    def abandon(self) -> None:
        """Nobody waits for the answer any more: what it would have brought comes again."""
        if self.busy and self._thread is not None:
            self.link.renew()
            self._thread.join(_ABANDONED_S)
