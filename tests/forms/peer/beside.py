"""Our dialect `webforms` laid beside Web Forms itself, case by case."""

from __future__ import annotations

from typing import Any

from forms.replay import replay
from tests.forms.peer import browser
from tests.forms.peer.compare import Difference, drawn_by_lot, unlisted

SAME, REFUSES, STOPS = "same", "Web Forms refuses", "Web Forms stops"


def beside(cases: list[dict[str, Any]]) -> list[str | list[Difference]]:
    """For each case how it differs; else SAME, REFUSES (a form that we open), or STOPS (at a step
    on which we go on; as far as that all was the same).
    """
    told = browser.replay(cases)
    return [_one(case, theirs) for case, theirs in zip(cases, told, strict=True)]


def _one(case: dict[str, Any], theirs: dict[str, Any]) -> str | list[Difference]:
    ours = replay(case)
    if "error" in theirs["steps"][0]:
        return SAME if "error" in ours["steps"][0] else REFUSES
    pairs = zip(ours["steps"], theirs["steps"], strict=False)
    # An act that fails half-way leaves Web Forms' own reckoning unfinished ever after.
    stops = next((n for n, (our, their) in enumerate(pairs) if _alone(our, their)), None)
    if stops is not None:
        ours, theirs = ({**each, "steps": each["steps"][:stops]} for each in (ours, theirs))
    left, _ = unlisted(case["id"], ours, theirs)
    left = [each for each in left if not drawn_by_lot(each, case["form"])]
    return left or (SAME if stops is None else STOPS)


def _alone(our: dict[str, Any], their: dict[str, Any]) -> bool:
    refused = ("nothing at ", "Cannot write to readonly", "takes no answer")
    error = their.get("error", "")
    return bool(error) and ("error" not in our or not any(one in error for one in refused))
