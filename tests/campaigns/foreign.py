"""Forms that somebody else wrote, interviewed by chance, through our engine and through JavaRosa."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from tests.campaigns import Figures, Violation
from tests.forms.peer import oracle
from tests.forms.peer.foreign import Foreign, forms_in, interview
from tests.forms.peer.outcomes import Outcome, outcomes, shorter

BATCH = 100
STEPS = 12
XFORM_MAX = 200_000
"""What takes JavaRosa longer than its time for a case is not asked."""
SHOWN = 40


def run(n: int, seed: int, folder: str = "") -> Figures:
    """At most `n` forms of the folder and those inside it. Prints what became of each that is not
    answered alike; raises Violation where an answer differs, with the steps that it takes.
    """
    try:
        oracle.classpath()
    except oracle.Missing as missing:
        raise Violation(f"nothing was compared: {missing}") from None
    if not folder or not Path(folder).is_dir():
        raise Violation("nothing was compared: say with --folder where the forms are")
    found, none = forms_in(Path(folder))
    print(f"{len(found)} XForms; {len(none)} spreadsheets that pyxform or we refuse:")
    for name, reason in none.items():
        print(f"    {name}: {reason[: SHOWN * 4]}")
    asked = [one for one in found if len(one.xform) <= XFORM_MAX][:n]
    kinds: Counter[str] = Counter()
    steps = 0
    different: list[tuple[Foreign, Outcome]] = []
    for start in range(0, len(asked), BATCH):
        batch = asked[start : start + BATCH]
        cases = [one.case(interview(one, str(seed), STEPS)) for one in batch]
        for one, case, outcome in zip(batch, cases, outcomes(cases), strict=True):
            kinds[outcome.kind] += 1
            steps += len(case["steps"])
            if outcome.kind == "differs":
                different.append((one, outcome))
            if outcome.kind not in {"same", "both refuse"}:
                print(f"    {outcome.kind:20} {one.id}: {outcome.said[: SHOWN * 6]}", flush=True)
    if different:
        one, _ = min(different, key=lambda pair: len(pair[0].xform))
        raise Violation(
            f"{len(different)} of {len(asked)} forms differ; the smallest, {one.id}:\n"
            + shorter(one, interview(one, str(seed), STEPS))
        )
    return {"forms": len(asked), "steps": steps, **dict(sorted(kinds.items()))}
