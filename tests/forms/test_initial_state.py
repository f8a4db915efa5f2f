"""Whole forms as they are opened: pyxform's, JavaRosa's and Web Forms' own, against JavaRosa."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from forms.replay import replay
from tests.forms.corpus import cases
from tests.forms.peer.compare import drawn_by_lot, unlisted
from tests.forms.peer.written import PROPERTIES

# JavaRosa was recorded then and there, on a device all of whose properties are "found".
DEVICE: dict[str, Any] = {
    "at": "2026-11-23T05:30:00Z",
    "tz": "America/Phoenix",
    "options": PROPERTIES,
}
LIST = Path(__file__).with_name("scenario_misses.md")
FORMS = cases("forms.jsonl.gz")
DOCUMENTED = cases("docs-xforms.json.gz")
LOADED = [case for case in FORMS if "state" in (case.get("javarosa") or [{}])[0]]
pytestmark = pytest.mark.skipif(not FORMS, reason="the recorded forms are not beside the project")


@cache
def opened() -> dict[str, str]:
    """form id -> where our freshly opened form differs from JavaRosa's."""
    found: dict[str, str] = {}
    for case in LOADED:
        ours = replay({**case, **DEVICE, "steps": [{"op": "init"}]})
        left, _ = unlisted(case["id"], ours, {"steps": case["javarosa"][:1]})
        left = [each for each in left if not drawn_by_lot(each, case["form"])]
        if left:
            found[case["id"]] = str(left[0])
    return found


def listed() -> set[str]:
    return set(re.findall(r"^\| `([^`]+)` \| opened \| .+ \|$", LIST.read_text(), re.MULTILINE))


def test_every_form_that_javarosa_loads_opens_in_the_same_state_or_is_listed():
    known, found = listed(), opened()
    assert len(LOADED) > 700
    assert {name: found[name] for name in found if name not in known} == {}
    assert sorted(known - set(found)) == []


def test_all_forms_of_pyxform_open_in_the_same_state():
    assert [name for name in opened() if name.startswith("pyxform")] == []


def test_the_examples_of_odks_documentation_open_but_for_the_two_with_broken_expressions():
    refused = {}
    for case in DOCUMENTED:
        told = replay({"id": case["file"], "form": case["xml"], "steps": [{"op": "init"}]})
        if "error" in told["steps"][0]:
            refused[case["file"], case["line"]] = told["steps"][0]["error"]
    # JavaRosa refuses these two for the same expressions: stray markup, and an operand missing.
    assert set(refused) == {("entities-quick-reference.rst", 115), ("form-logic.rst", 802)}
    assert all("calculate" in why for why in refused.values())
