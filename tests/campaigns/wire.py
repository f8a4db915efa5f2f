"""A wire that loses, doubles, delays, cuts and turns around, with deaths on both sides, seed by seed."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

from tests.campaigns import Figures, Violation
from tests.sync.world import Broken, Life

STEPS = 25


def run(n: int, seed: int) -> Figures:
    """`n` lives of two devices and one server, each of 25 acts and a last good sync."""
    entries = syncs = 0
    for number in range(n):
        with tempfile.TemporaryDirectory() as folder:
            life = Life(Path(folder), random.Random(f"{seed} {number}"))
            try:
                life.live(STEPS)
            except Broken as broken:
                raise Violation(
                    f"life {number} of seed {seed}: {broken}; " + "; ".join(life.acts)
                ) from broken
            entries += sum(len(one.made) for one in life.tablets)
            syncs += sum(" sync" in act for act in life.acts)
    return {"lives": n, "entries": entries, "broken syncs": syncs, "violations": 0}
