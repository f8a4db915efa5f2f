"""`python -m tests.campaigns NAME --n N [--seed S]`: exits 1 on the first violation."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from pathlib import Path
from typing import Any

from tests.campaigns import Violation
from tests.databases import KINDS

NAMES = sorted(
    file.stem for file in Path(__file__).parent.glob("*.py") if not file.stem.startswith("_")
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.campaigns", description=__doc__)
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--n", type=int, required=True, help="how many runs")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument(
        "--vfs", action="store_true", help="powercuts: through a fault-injecting SQLite VFS"
    )
    parser.add_argument(
        "--database",
        choices=(*KINDS, "both"),
        help="kills, wire: what the office keeps its data in (sqlite)",
    )
    parser.add_argument("--folder", help="foreign: where the forms are that are to be compared")
    chosen = parser.parse_args()
    if chosen.vfs and chosen.name != "powercuts":
        parser.error("--vfs is for powercuts")
    if chosen.database and chosen.name not in {"kills", "wire"}:
        parser.error("--database is for kills and wire")
    if chosen.folder and chosen.name != "foreign":
        parser.error("--folder is for foreign")
    more: dict[str, Any] = {"vfs": True} if chosen.vfs else {}
    if chosen.database:
        more["database"] = chosen.database
    if chosen.folder:
        more["folder"] = chosen.folder
    seed = int.from_bytes(os.urandom(4), "big") if chosen.seed is None else chosen.seed
    print(f"seed {seed}", flush=True)
    try:
        figures = importlib.import_module(f"tests.campaigns.{chosen.name}").run(
            chosen.n, seed, **more
        )
    except Violation as violation:
        print(f"violation (seed {seed}): {violation}")
        return 1
    print(", ".join(f"{key} {value}" for key, value in figures.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
