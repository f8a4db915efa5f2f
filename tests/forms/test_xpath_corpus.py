"""The evaluations that ODK Web Forms and JavaRosa recorded: the same here, or listed."""

from __future__ import annotations

import gzip
import json
import math
import re
from collections import Counter
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

from forms.language.replay import replay_xpath

RECORDED = Path(__file__).parents[3] / "shared" / "conformance" / "xpath.jsonl.gz"
SHOWN = 200
"""So much of each text was recorded."""
LIST = Path(__file__).with_name("xpath_misses.md")
pytestmark = pytest.mark.skipif(
    not RECORDED.exists(), reason="the recorded cases are not beside the project"
)


def group(case: dict[str, Any]) -> str:
    if "xforms" not in case:
        return "javarosa"
    return "xforms" if case["xforms"] else "native"


def _number(value: Any) -> float:
    return float(str(value).replace("Infinity", "inf"))


def same_number(one: Any, other: Any) -> bool:
    a, b = _number(one), _number(other)
    if math.isnan(a) or math.isnan(b):
        return math.isnan(a) and math.isnan(b)
    return a == b or abs(a - b) <= 1e-9 * max(1.0, abs(a), abs(b))


def _place(path: str) -> str:
    """Texts are counted by what a browser's parser made of them; which one it is shows in it."""
    return re.sub(r"text\(\)\[\d+\]", "text()", path)


def agrees(case: dict[str, Any], told: dict[str, Any]) -> bool:
    """Whether ours is what was recorded; what luck decides agrees when it is of the same kind."""
    if "error" in case or "error" in told:
        return "error" in case and "error" in told
    expected, found = case["expect"], told["result"]
    if "number" in expected:
        return "number" in found and same_number(expected["number"], found["number"])
    if "boolean" in expected:
        return found.get("boolean") is expected["boolean"]
    if "nodes" in expected:
        theirs, ours = map(_place, expected["nodes"]), map(_place, found.get("nodes", ()))
        if case["volatile"] or (case["type"] in {4, 6} and "randomize" not in case["expr"]):
            return sorted(theirs) == sorted(ours)
        return list(theirs) == list(ours) and expected["strings"] == [
            told[:SHOWN] for told in found["strings"]
        ]
    if expected.get("kind") == "XPathNodeset":
        return (
            found.get("kind") == "XPathNodeset"
        )  # its text is an address in that machine's memory
    if expected.get("kind") == "Date":
        return expected["string"].removesuffix("T00:00:00Z").removesuffix("Z") == (
            found["string"].removesuffix("Z").removesuffix(".000")
        )
    if case.get("volatile") and found.get("string") != expected["string"]:
        return len(found.get("string", "")) == len(expected["string"])
    return found.get("string") == expected["string"]


@lru_cache
def outcomes() -> tuple[tuple[dict[str, Any], bool], ...]:
    with gzip.open(RECORDED, "rt", encoding="utf-8") as lines:
        cases = [json.loads(line) for line in lines]
    return tuple((case, agrees(case, replay_xpath(case))) for case in cases)


def listed() -> dict[str, str]:
    """case id -> why it is missed, from the list that people read."""
    return dict(re.findall(r"^\| `([^`]+)` \| .* \| ([^|]+) \|$", LIST.read_text(), re.MULTILINE))


def test_every_recorded_evaluation_comes_out_the_same_or_is_listed_with_its_reason() -> None:
    known = listed()
    missed = {case["id"]: case["expr"] for case, agreed in outcomes() if not agreed}
    assert {name: told for name, told in missed.items() if name not in known} == {}
    assert [name for name in known if name not in missed] == []
    assert all(reason.strip() for reason in known.values())


def test_at_least_ninety_nine_of_a_hundred_come_out_the_same() -> None:
    counted = Counter(agreed for _, agreed in outcomes())
    assert counted[True] >= 0.99 * (counted[True] + counted[False])


def test_plain_xpath_and_odks_own_language_come_out_the_same_nearly_always() -> None:
    for name in ("native", "xforms"):
        own = [agreed for case, agreed in outcomes() if group(case) == name]
        assert sum(own) >= 0.995 * len(own)
