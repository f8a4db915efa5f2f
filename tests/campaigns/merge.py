"""Histories of one household, one after another, each asked every law of merging."""

from __future__ import annotations

import random

from conflict import fold
from tests.campaigns import Figures, Violation
from tests.conflict.laws import LAWS
from tests.conflict.worlds import world


def run(n: int, seed: int) -> Figures:
    """`n` histories of `seed`, each asked every law. Raises Violation with what replays it."""
    changes = clashes = settled = 0
    for number in range(n):
        own = seed * 1_000_003 + number
        steps, devices = 2 + own % 27, 1 + own % 4
        made = world(own, steps=steps, devices=devices)
        for law in LAWS:
            try:
                law(made, random.Random(own))
            except AssertionError as broken:
                raise Violation(
                    f"{law.__name__} does not hold of "
                    f"world({own}, steps={steps}, devices={devices}) "
                    f"with random.Random({own}): {broken}"
                ) from broken
        changes += len(made.made)
        clashes += len(fold(made.made, made.policies).clashes)
        settled += sum(change.kind == "settle" for change in made.made)
    return {
        "histories": n,
        "laws": len(LAWS),
        "changes": changes,
        "clashes": clashes,
        "settlements": settled,
        "violations": 0,
    }
