"""What became of a foreign form: whether both engines open it, and answer it alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from forms.replay import replay
from tests.forms.peer import oracle
from tests.forms.peer.compare import Difference, drawn_by_lot, unlisted
from tests.forms.peer.ours import SWAYED, swayed

if TYPE_CHECKING:
    from tests.forms.peer.foreign import Foreign

    Steps = tuple[dict[str, str], ...]

PEERS_OWN = ("no question at", "no repeat at", "no repeat prompt at")
"""What JavaRosa's driver says of a step that leads nowhere; all else is JavaRosa stopping."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """`kind` is "same", "differs", "both refuse", "only JavaRosa refuses", "only we refuse",
    "JavaRosa stops" (at a step on which we go on; as far as that all was the same) or "too long".
    """

    kind: str
    said: str = ""
    differences: tuple[Difference, ...] = ()


def outcomes(cases: list[dict[str, Any]]) -> list[Outcome]:
    """What became of each case."""
    told = oracle.replay(cases)
    found = [_outcome(case, theirs) for case, theirs in zip(cases, told, strict=True)]
    differ = [case for case, one in zip(cases, found, strict=True) if one.kind == "differs"]
    alike = set(swayed(differ, oracle.replay))
    return [
        Outcome("same", SWAYED) if case["id"] in alike and one.kind == "differs" else one
        for case, one in zip(cases, found, strict=True)
    ]


def _outcome(case: dict[str, Any], theirs: dict[str, Any]) -> Outcome:
    if theirs.get("timeout") or not theirs["steps"]:
        return Outcome("too long")
    ours = replay(case)
    refused, they_refused = ours["steps"][0].get("error"), theirs["steps"][0].get("error")
    if refused and they_refused:
        return Outcome("both refuse", refused)
    if they_refused:
        return Outcome("only JavaRosa refuses", they_refused)
    if refused:
        return Outcome("only we refuse", refused)
    stops = next((n for n, step in enumerate(theirs["steps"]) if _stopped(step)), None)
    if stops is not None:
        # Half of what follows from the step is done there; nothing after it can be compared.
        ours, theirs = ({**each, "steps": each["steps"][:stops]} for each in (ours, theirs))
    left, _ = unlisted(case["id"], ours, theirs)
    left = [each for each in left if not drawn_by_lot(each, case["form"])]
    if left:
        return Outcome("differs", "; ".join(map(str, left[:3])), tuple(left))
    return Outcome("same" if stops is None else "JavaRosa stops")


def _stopped(step: dict[str, Any]) -> bool:
    return not step.get("error", PEERS_OWN[0]).startswith(PEERS_OWN)


def shorter(one: Foreign, steps: Steps) -> str:
    """The fewest of the steps after which the form still differs, and how, for a person."""
    number = 0
    best = outcomes([one.case(steps)])[0]
    while number < len(steps):
        fewer = steps[:number] + steps[number + 1 :]
        outcome = outcomes([one.case(fewer)])[0]
        if outcome.kind == "differs":
            steps, best = fewer, outcome
        else:
            number += 1
    lines = [one.xform]
    lines += [f"step {n}: {step}" for n, step in enumerate([{"op": "init"}, *steps])]
    return "\n".join([*lines, *map(str, best.differences[:6])])
