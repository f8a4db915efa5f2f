"""Fresh forms and interviews, one after another, through our engine and through JavaRosa."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.campaigns import Figures, Violation
from tests.forms.peer import oracle
from tests.forms.peer.ours import disagreements, fresh, minimal, shown

if TYPE_CHECKING:
    from tests.forms.peer.written import Sample

BATCH = 250


def run(n: int, seed: int) -> Figures:
    """`n` cases of `seed`, to the end. Raises Violation with all that differ, and of them the
    smallest form and steps.
    """
    try:
        oracle.classpath()
    except oracle.Missing as missing:
        raise Violation(f"nothing was compared: {missing}") from None
    compared = opened = steps = 0
    wrong: list[Sample] = []
    dialects: dict[str, int] = {}
    for start in range(0, n, BATCH):
        samples = fresh(seed, range(start, min(start + BATCH, n)))
        found, met, loaded = disagreements(one.case() for one in samples)
        wrong += [one for one in samples if one.id in found]
        compared += len(samples)
        opened += loaded
        steps += sum(1 + len(one.steps) for one in samples)
        for name, times in met.items():
            dialects[name] = dialects.get(name, 0) + times
    if wrong:
        smallest = min(wrong, key=lambda one: len(one.form.rows) + len(one.steps))
        raise Violation(
            f"{len(wrong)} of {compared} cases differ: {', '.join(one.id for one in wrong)}; "
            "the smallest:\n" + shown(*minimal(smallest))
        )
    return {
        "cases": compared,
        "opened by JavaRosa": opened,
        "steps": steps,
        **{f"dialect: {name}": times for name, times in dialects.items()},
    }
