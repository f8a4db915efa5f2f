"""`python -m tests.campaigns NAME --n N [--seed S]`: exits 1 on the first violation."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from pathlib import Path

from tests.campaigns import Violation

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
    chosen = parser.parse_args()
    if chosen.vfs and chosen.name != "powercuts":
        parser.error("--vfs is for powercuts")
    more = {"vfs": True} if chosen.vfs else {}
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
