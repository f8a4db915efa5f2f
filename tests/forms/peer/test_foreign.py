"""Forms that nobody here wrote are answered as JavaRosa answers them, whatever is answered."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.campaigns import Violation, foreign
from tests.forms.peer.foreign import Foreign, forms_in, interview
from tests.forms.peer.outcomes import Outcome, _outcome, outcomes
from tests.forms.peer.test_peer import needs_java, read

SAMPLES = Path(__file__).parents[3] / "samples"
XFORM_MAX = 30_000
FORMS = 70
STEPS = 6
SURVEY = """| survey |
| | type | name | label | choice_filter |
| | select_one_from_file places.csv | place | Where? | area = ${area} |
| | integer | area | Area? | |
"""
"""The filter reads a question that comes after it, as forms of the field do."""


def ours() -> list[Foreign]:
    """The forms of the recorded corpora that are not long, each once, in an order of chance."""
    every = [
        Foreign(f"{one['file']}:{one['line']}", one["xml"]) for one in read("docs-xforms.json.gz")
    ]
    every += [
        Foreign(one["id"], one["form"], one.get("attachments") or {})
        for name in ("forms.jsonl.gz", "scenario.jsonl.gz")
        for one in read(name)
    ]
    short = list({one.xform: one for one in every if len(one.xform) <= XFORM_MAX}.values())
    random.Random(2026).shuffle(short)
    return short[:FORMS]


def test_recorded_forms_are_answered_alike_beyond_what_was_recorded_of_them():
    needs_java()
    cases = [one.case(interview(one, "2026", STEPS)) for one in ours()]
    found = {case["id"]: one for case, one in zip(cases, outcomes(cases), strict=True)}
    bad = {"differs", "only we refuse"}
    assert {name: one.said for name, one in found.items() if one.kind in bad} == {}
    assert sum(one.kind == "same" for one in found.values()) > FORMS / 2


def test_the_samples_are_answered_alike():
    needs_java()
    found, none = forms_in(SAMPLES)
    assert none == {}
    cases = [one.case(interview(one, "1", STEPS)) for one in found]
    assert [one.kind for one in outcomes(cases)] == ["same"] * len(found)


def test_a_folder_gives_its_forms_with_the_lists_that_lie_beside_them(tmp_path: Path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "survey.md").write_text(SURVEY)
    (tmp_path / "deep" / "broken.md").write_text(
        "| survey |\n| | type | name |\n| | nothing | a |\n"
    )
    (tmp_path / "notes.md").write_text("Not a form at all.\n")
    (tmp_path / "data.xml").write_text("<data/>")
    places = "name,label,area\np1,One,1\np2,Two,2\n"
    (tmp_path / "places.csv").write_text(places)
    found, none = forms_in(tmp_path)
    assert [one.id for one in found] == ["deep/survey.md"]
    assert found[0].attachments == {"jr://file-csv/places.csv": places}
    assert set(none) == {"deep/broken.md"}
    (tmp_path / "places.csv").unlink()
    (again,) = forms_in(tmp_path)[0]
    assert again.attachments["jr://file-csv/places.csv"].startswith("area,label,name\n")


def test_an_interview_is_the_same_each_time_and_goes_as_far_as_it_is_asked(tmp_path: Path):
    (tmp_path / "survey.md").write_text(SURVEY)
    ((form,), _) = forms_in(tmp_path)
    first = interview(form, "7", 20)
    assert first == interview(form, "7", 20)
    assert first != interview(form, "8", 20)
    assert len(first) == 20
    assert {one["op"] for one in first} <= {"set", "save_restore"}
    assert interview(Foreign("none", "<no form/>"), "7", 20) == ()


def test_what_became_of_a_form_is_told_apart():
    def told(*steps: dict[str, object]) -> dict[str, object]:
        return {"steps": [{"op": "init", **each} for each in steps]}

    form = Foreign("x", "<h:html xmlns:h='h'/>").case()
    assert _outcome(form, {"steps": [], "timeout": True}) == Outcome("too long")
    assert _outcome(form, told({"error": "no"})).kind == "both refuse"
    assert _outcome(form, told({"state": {"nodes": []}})).kind == "only we refuse"
    (sample,) = [one for one in forms_in(SAMPLES)[0] if "update" in one.id]
    opened = sample.case(({"op": "set", "ref": "/nowhere", "value": "1"},))
    assert _outcome(opened, told({"error": "no"})).kind == "only JavaRosa refuses"
    assert _outcome(opened, told({"state": {"nodes": []}}, {"error": "x"})).kind == "differs"


def test_a_campaign_without_a_folder_says_what_it_lacks():
    needs_java()
    with pytest.raises(Violation, match="say with --folder"):
        foreign.run(1, 1)
