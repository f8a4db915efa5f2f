"""Changes in one line each, as a person would tell them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from conflict import Change, Dot, written

if TYPE_CHECKING:
    from collections.abc import Mapping

    from conflict import Value


def said(who: str, when: int, values: Mapping[str, Value], seen: Any = (), **more: Any) -> Change:
    """`who` is author and device in one; `when` is counter, hour and stamp in one.

    `seen` is one list of dots for all paths, or a mapping from path to dots.
    """
    by_path = seen if hasattr(seen, "get") else dict.fromkeys(values, seen)
    facts = {
        "record": "h1",
        "dataset": "households",
        "dot": Dot(f"{who}-tablet", when),
        "author": who,
        "at": f"2026-03-01T{when:02}:00",
        "effective": when,
        "source": f"{who}-{when}",
        "writes": written(values, by_path),
    }
    return Change(**{**facts, **more})


def word(who: str, when: int) -> dict[str, Any]:
    """Who acts and when, for `settle`, `delete` and `move`."""
    return {
        "dot": Dot(f"{who}-tablet", when),
        "author": who,
        "at": f"2026-03-01T{when:02}:00",
        "effective": when,
        "source": f"{who}-{when}",
    }
