"""`python -m benchmarks NAME [--quick] [--json FILE]`: measure one thing beside its peer."""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

from benchmarks.table import machine, show, write

NAMES = sorted(
    file.stem
    for file in Path(__file__).parent.glob("*.py")
    if file.stem not in {"__init__", "__main__", "table"} and not file.stem.startswith("_")
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--quick", action="store_true", help="under a minute")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the rows there")
    chosen = parser.parse_args()
    benchmark = importlib.import_module(f"benchmarks.{chosen.name}")
    rows = benchmark.run(quick=chosen.quick)
    print(", ".join(f"{key} {value}" for key, value in machine().items()))
    print(show(rows))
    if chosen.json:
        write(rows, chosen.json)
        if hasattr(benchmark, "draw"):
            benchmark.draw(rows, chosen.json.with_suffix(".svg"))
    return 0 if all(row.met is not False for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
