"""Fresh forms and interviews through our dialect `webforms` and through ODK Web Forms itself."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from tests.campaigns import Figures, Violation
from tests.forms.peer import browser
from tests.forms.peer.beside import beside
from tests.forms.peer.oracle import Missing
from tests.forms.peer.ours import fresh, minimal, shown

BATCH = 50
SHRUNK_MAX = 3


def run(n: int, seed: int) -> Figures:
    """`n` cases of `seed`. Prints each that differs, and raises Violation with the smallest form
    and steps that do. What Web Forms itself stops at is counted.
    """
    try:
        browser.install()
        browser.program()
    except Missing as missing:
        raise Violation(f"nothing was compared: {missing}") from None
    kinds: Counter[str] = Counter()
    steps = 0
    different = []
    for start in range(0, n, BATCH):
        numbers = range(start, min(start + BATCH, n))
        samples = [replace(one, dialect="webforms") for one in fresh(seed, numbers)]
        for one, found in zip(samples, beside([one.case() for one in samples]), strict=True):
            steps += 1 + len(one.steps)
            kinds[found if isinstance(found, str) else "differs"] += 1
            if not isinstance(found, str):
                print(f"    {found[0]}", flush=True)
                different.append(one)
    if different:
        worst = min(different, key=lambda one: len(one.form.rows) + len(one.steps))
        told = shown(*minimal(worst, browser.replay, rounds=SHRUNK_MAX))
        raise Violation(f"{dict(kinds)}; the smallest, made smaller:\n{told}")
    return {"steps": steps, **kinds}
