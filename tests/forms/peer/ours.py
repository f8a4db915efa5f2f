"""Our engine, asked in process what JavaRosa is asked in its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from forms.problems import BrokenForm
from forms.replay import replay
from tests.forms.peer import oracle
from tests.forms.peer.compare import Difference, unlisted
from tests.forms.peer.generator import sample
from tests.forms.peer.smaller import smaller
from tests.forms.peer.written import Sample

if TYPE_CHECKING:
    from collections.abc import Iterable


def disagreements(
    cases: Iterable[dict[str, Any]],
) -> tuple[dict[str, list[Difference]], dict[str, int], int]:
    """Unlisted differences by case, how often each dialect was met, and how many JavaRosa loads."""
    asked = list(cases)
    told = oracle.replay(asked)
    found: dict[str, list[Difference]] = {}
    met: dict[str, int] = {}
    loaded = 0
    for case, theirs in zip(asked, told, strict=True):
        loaded += "error" not in theirs["steps"][0] and not theirs.get("timeout")
        if theirs.get("timeout"):
            continue
        left, names = unlisted(case["id"], replay(case), theirs)
        for name, times in names.items():
            met[name] = met.get(name, 0) + times
        if left:
            found[case["id"]] = left
    return found, met, loaded


def fresh(seed: int, numbers: Iterable[int]) -> list[Sample]:
    """The cases of a seed that pyxform accepts; a form that it refuses is no form."""
    kept = []
    for number in numbers:
        one = sample(seed, number)
        if _case(one) is not None:
            kept.append(one)
    return kept


def _case(one: Sample) -> dict[str, Any] | None:
    try:
        return one.case()
    except BrokenForm:
        return None


def minimal(one: Sample, *, rounds: int = 60) -> tuple[Sample, list[Difference]]:
    """The smallest case that still differs in the same thing, and how it differs."""
    found, _, _ = disagreements([one.case()])
    first = found[one.id][0].what
    differs = found[one.id]
    for _ in range(rounds):
        numbered = [
            Sample(f"{number}", each.form, each.steps) for number, each in enumerate(smaller(one))
        ]
        cases = [case for each in numbered if (case := _case(each)) is not None]
        if not cases:
            break
        found, _, _ = disagreements(cases)
        next_one = min(
            (each for each in numbered if any(d.what == first for d in found.get(each.id, ()))),
            key=lambda each: len(each.steps) * 3 + sum(map(len, each.form.rows)),
            default=None,
        )
        if next_one is None:
            break
        one, differs = next_one, found[next_one.id]
    return one, differs


def shown(one: Sample, differs: list[Difference]) -> str:
    """A case as a person reads it: the form, the steps, and what differs."""
    lines = [one.form.markdown()]
    lines += [f"step {n}: {step}" for n, step in enumerate([{"op": "init"}, *one.steps])]
    lines += [str(each) for each in differs[:6]]
    return "\n".join(lines)
