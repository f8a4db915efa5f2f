"""A benchmark's rows, and the table and file that they are shown as."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Row:
    """One thing measured. `ratio` is ours to the peer's, in the sense that `goal` speaks of."""

    what: str
    measured: float | None
    unit: str = ""
    peer: float | None = None
    peer_name: str = ""
    ratio: float | None = None
    goal: str = ""
    met: bool | None = None


def machine() -> dict[str, str | int | None]:
    """The machine that the figures hold for."""
    return {
        "system": platform.platform(),
        "python": platform.python_version(),
        "processor": platform.machine(),
        "cores": os.cpu_count(),
    }


def _figure(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def show(rows: Sequence[Row]) -> str:
    """The rows as a table of plain text."""
    head = ("what", "measured", "unit", "peer", "peer's name", "ratio", "goal", "met")
    body = [
        (
            row.what,
            _figure(row.measured),
            row.unit,
            _figure(row.peer),
            row.peer_name or "-",
            _figure(row.ratio),
            row.goal or "-",
            {True: "yes", False: "NO", None: "-"}[row.met],
        )
        for row in rows
    ]
    widths = [max(len(line[i]) for line in [head, *body]) for i in range(len(head))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in [head, tuple("-" * width for width in widths), *body]
    ]
    return "\n".join(lines)


def write(rows: Sequence[Row], file: Path) -> None:
    """Write `{"machine", "rows"}` as JSON."""
    file.write_text(
        json.dumps({"machine": machine(), "rows": [asdict(row) for row in rows]}, indent=1) + "\n",
        encoding="utf-8",
    )
