"""Fresh forms and interviews, one after another, through our engine and through JavaRosa."""

from __future__ import annotations

from tests.campaigns import Figures, Violation
from tests.forms.peer import oracle
from tests.forms.peer.ours import disagreements, fresh, minimal, shown

BATCH = 500


def run(n: int, seed: int) -> Figures:
    """`n` cases of `seed`. Raises Violation with the smallest form and steps that differ."""
    try:
        oracle.classpath()
    except oracle.Missing as missing:
        raise Violation(f"nothing was compared: {missing}") from None
    compared = opened = steps = 0
    dialects: dict[str, int] = {}
    for start in range(0, n, BATCH):
        samples = fresh(seed, range(start, min(start + BATCH, n)))
        found, met, loaded = disagreements(one.case() for one in samples)
        if found:
            worst = min(
                (one for one in samples if one.id in found),
                key=lambda one: len(one.form.rows) + len(one.steps),
            )
            raise Violation(
                f"{len(found)} of the {len(samples)} cases from {start} differ; the smallest:\n"
                + shown(*minimal(worst))
            )
        compared += len(samples)
        opened += loaded
        steps += sum(1 + len(one.steps) for one in samples)
        for name, times in met.items():
            dialects[name] = dialects.get(name, 0) + times
    return {
        "cases": compared,
        "opened by JavaRosa": opened,
        "steps": steps,
        **{f"dialect: {name}": times for name, times in dialects.items()},
    }
