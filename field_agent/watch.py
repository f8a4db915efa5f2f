"""Sync again and again, as long as somebody wants it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from field_agent.transport import Unreachable
from schemas.problems import Refused

if TYPE_CHECKING:
    from collections.abc import Callable

    from field_agent.course import Outcome

WATCH_S_MIN, WATCH_S_MAX = 5.0, 900.0


def watch(
    once: Callable[[], Outcome],
    *,
    sleep: Callable[[float], None],
    luck: Callable[[], float],
    say: Callable[[Outcome | str, float], None],
    go_on: Callable[[], bool] = lambda: True,
) -> None:
    """Sync again and again: soon after work was done, ever more rarely while the server is away.

    `say` gets the outcome, or why there is none, and the seconds until the next try. Ends when `go_on`
    says so, or with what `once` raises besides `Unreachable` and problems that pass by themselves.
    """
    wait = WATCH_S_MIN
    while go_on():
        told: Outcome | str
        try:
            told = once()
            busy = told.receipts or told.items or told.attachments or not told.synced
            wait = WATCH_S_MIN if busy else min(wait * 2, WATCH_S_MAX)
        except Unreachable as error:
            told, wait = str(error), min(wait * 2, WATCH_S_MAX)
        except Refused as error:
            if not error.problem.kind.again:
                raise
            told, wait = error.problem.sentence(), min(wait * 2, WATCH_S_MAX)
        pause = wait * (0.75 + luck() / 2)
        say(told, pause)
        sleep(pause)
