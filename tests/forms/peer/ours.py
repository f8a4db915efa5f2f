"""Our engine, asked in process what JavaRosa is asked in its own."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from forms.problems import BrokenForm
from forms.replay import replay
from tests.forms.peer import oracle
from tests.forms.peer.compare import Difference, unlisted
from tests.forms.peer.generator import sample
from tests.forms.peer.smaller import smaller

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tests.forms.peer.written import Sample

    Ask = Callable[[list[dict[str, Any]]], list[dict[str, Any]]]


def disagreements(
    cases: Iterable[dict[str, Any]], ask: Ask = oracle.replay
) -> tuple[dict[str, list[Difference]], dict[str, int], int]:
    """Unlisted differences by case, how often each dialect was met, and how many JavaRosa loads."""
    asked = list(cases)
    told = ask(asked)
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
    lots = swayed([case for case in asked if case["id"] in found], ask)
    for name in lots:
        del found[name]
    if lots:
        met[SWAYED] = len(lots)
    return found, met, loaded


SWAYED = "JavaRosa answers in more than one way"
"""It works rules that do not read each other out in the order of a hash table, and where one of
them looks at a node that another has just set (by once(), by the choices of jr:choice-name) the
run decides. Only a case in which JavaRosa, asked again, comes to just what we do is one."""
AGAIN = 16


def swayed(cases: list[dict[str, Any]], ask: Ask) -> list[str]:
    """The cases in which one of JavaRosa's further runs differs from ours in nothing."""
    if not cases or len(cases) > AGAIN:
        return []
    told = ask(cases * AGAIN)
    mine = {case["id"]: replay(case) for case in cases}
    alike = {one["id"] for one in told if not unlisted(one["id"], mine[one["id"]], one)[0]}
    return sorted(alike)


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


def minimal(
    one: Sample, ask: Ask = oracle.replay, *, rounds: int = 60
) -> tuple[Sample, list[Difference]]:
    """The smallest case that still differs in the same thing, and how it differs."""
    found, _, _ = disagreements([one.case()], ask)
    first = found[one.id][0].what
    differs = found[one.id]
    for _ in range(rounds):
        numbered = [replace(each, id=f"{number}") for number, each in enumerate(smaller(one))]
        cases = [case for each in numbered if (case := _case(each)) is not None]
        if not cases:
            break
        found, _, _ = disagreements(cases, ask)
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
