"""The scenarios of ODK Web Forms and JavaRosa: where they agree, we do what they do."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from forms.replay import dialect_of
from tests.forms.corpus import cases, dialects, miss

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
    """case id -> in which dialect it is missed, and where."""
    found: dict[str, str] = {}
    for case in RECORDED:
        for dialect in dialects(case):
            where = miss(case, dialect)
            if where:
                found[case["id"]] = f"{dialect}: {where}"
    return found


def test_each_recorded_scenario_comes_out_as_recorded_or_is_listed_with_its_reason():
    known, found = listed(), missed()
    assert {name: found[name] for name in found if name not in known} == {}
    assert [name for name in known if name not in found] == []
    assert all(known.values())


def test_a_scenario_is_replayed_in_its_own_dialect_or_in_the_one_that_is_asked_for():
    case = {"oracle": "wf"}
    assert [dialect_of({"oracle": of}) for of in ("wf", "jr", "both")] == [
        "webforms",
        "collect",
        "collect",
    ]
    assert dialect_of(case, "collect") == "collect"
    assert dialect_of({**case, "dialect": "webforms"}, "collect") == "webforms"


def test_a_case_whose_record_is_altered_anywhere_is_missed():
    case = next(one for one in RECORDED if one["oracle"] == "both" and len(one["steps"]) > 2)
    for dialect in dialects(case):
        assert miss(case, dialect) == ""
        for at, step in enumerate(case["steps"]):
            for ref, held in (step.get("set") or {}).items():
                if "/meta" in ref:
                    continue
                for key, other in (("v", "elsewhere"), ("rel", False), ("ro", True), ("req", True)):
                    wrong = {**step, "set": {**step["set"], ref: {**held, key: other}}}
                    if (at, ref) == (0, "/data") and key == "v":
                        continue
                    altered = {**case, "steps": [*case["steps"]]}
                    altered["steps"][at] = wrong
                    assert miss(altered, dialect) != "", (at, ref, key)


def test_the_list_is_short_enough_to_keep_what_is_promised():
    known = listed()
    engines = Counter(case["oracle"] for case in RECORDED)
    missing = Counter(case["oracle"] for case in RECORDED if case["id"] in known)
    assert missing["both"] == 0
    assert missing["wf"] <= 0.03 * engines["wf"]
    assert missing["jr"] <= 0.03 * engines["jr"]
