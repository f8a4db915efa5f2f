"""A wire that loses, doubles, delays, cuts and turns around, with deaths on both sides, seed by seed."""

from __future__ import annotations

import random
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.campaigns import Figures, Violation
from tests.databases import KINDS, Postgres, postgres_server
from tests.sync.world import Broken, Life

STEPS = 25


def run(n: int, seed: int, database: str = "sqlite") -> Figures:
    """`n` lives of two devices and one server, each of 25 acts and a last good sync.

    `database`: sqlite, postgres, or both (every life on each). Raises `Absent`.
    """
    entries = syncs = 0
    kinds = KINDS if database == "both" else (database,)
    with ExitStack() as stack:
        running = stack.enter_context(postgres_server()) if "postgres" in kinds else None
        for number in range(n):
            for kind in kinds:
                life = _lived(number, seed, kind, running)
                entries += sum(len(one.made) for one in life.tablets)
                syncs += sum(" sync" in act for act in life.acts)
    return {
        "lives": n * len(kinds),
        "entries": entries,
        "broken syncs": syncs,
        "violations": 0,
    }


def _lived(number: int, seed: int, kind: str, running: Any) -> Life:
    with tempfile.TemporaryDirectory() as folder:
        life = Life(Path(folder), random.Random(f"{seed} {number}"))
        made = Postgres(running) if kind == "postgres" else None
        try:
            life.live(STEPS, made)
        except Broken as broken:
            raise Violation(
                f"life {number} of seed {seed} on {kind}: {broken}; " + "; ".join(life.acts)
            ) from broken
        finally:
            if made:
                made.drop()
        return life
