"""The scenarios of ODK Web Forms and JavaRosa: where they agree, we do what they do."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from tests.forms.corpus import cases, miss

LIST = Path(__file__).with_name("scenario_misses.md")
RECORDED = cases("scenario.jsonl.gz")
pytestmark = pytest.mark.skipif(
    not RECORDED, reason="the recorded cases are not beside the project"
)


def listed() -> dict[str, str]:
    """case id -> why it is missed, from the list that people read."""
    found = re.findall(r"^\| `([^`]+)` \| [^|]+ \| (.+) \|$", LIST.read_text(), re.MULTILINE)
    return {name: why for name, why in found if name.startswith(("wf-", "jr-"))}


def missed() -> dict[str, str]:
    return {case["id"]: found for case in RECORDED if (found := miss(case))}


def test_each_recorded_scenario_comes_out_as_recorded_or_is_listed_with_its_reason():
    known, found = listed(), missed()
    assert {name: found[name] for name in found if name not in known} == {}
    assert [name for name in known if name not in found] == []
    assert all(known.values())


def test_the_list_is_short_enough_to_keep_what_is_promised():
    known = listed()
    engines = Counter(case["oracle"] for case in RECORDED)
    missing = Counter(case["oracle"] for case in RECORDED if case["id"] in known)
    assert missing["both"] == 0
    assert missing["wf"] <= 0.03 * engines["wf"]
    assert missing["jr"] <= 0.03 * engines["jr"]
