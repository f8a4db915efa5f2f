"""Our engine and JavaRosa agree on forms that neither was written for."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.forms.peer import oracle
from tests.forms.peer.compare import (
    DIALECTS,
    Difference,
    differences,
    drawn_by_lot,
)
from tests.forms.peer.generator import sample
from tests.forms.peer.ours import disagreements, fresh, minimal, shown
from tests.forms.peer.smaller import smaller
from tests.forms.peer.written import PROPERTIES

CONFORMANCE = oracle.SHARED / "conformance"


def needs_java() -> None:
    try:
        oracle.classpath()
    except oracle.Missing as missing:
        pytest.skip(str(missing))


def read(name: str) -> Any:
    file = CONFORMANCE / name
    if not file.exists():
        pytest.skip(f"../shared/conformance/{name} is not there")
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        return json.load(lines) if name.endswith(".json.gz") else [json.loads(x) for x in lines]


def test_the_examples_of_odks_documentation_open_in_the_same_state():
    needs_java()
    now = datetime.now(UTC).isoformat()
    cases = [
        {
            "id": f"{each['file']}:{each['line']}",
            "form": each["xml"],
            "attachments": {},
            "options": PROPERTIES,
            "at": now,
            "tz": "UTC",
            "steps": [{"op": "init"}],
        }
        for each in read("docs-xforms.json.gz")
    ]
    found, _, loaded = disagreements(cases)
    forms = {case["id"]: case["form"] for case in cases}
    wrong = {
        case: [
            str(each)
            for each in differs
            # What JavaRosa itself does not open has no state to compare.
            if not drawn_by_lot(each, forms[case]) and each.what != "init error"
        ]
        for case, differs in found.items()
    }
    assert loaded > 120
    assert {case: differs for case, differs in wrong.items() if differs} == {}


def test_500_fresh_forms_and_interviews_come_out_the_same():
    needs_java()
    samples = fresh(2026, range(500))
    found, _, loaded = disagreements(one.case() for one in samples)
    assert loaded > 400
    told = ""
    if found:
        worst = next(one for one in samples if one.id in found)
        told = f"{len(found)} of {len(samples)} differ\n" + shown(*minimal(worst))
    assert not found, told


def test_a_lasting_difference_is_none_of_those_in_which_javarosa_sways():
    needs_java()
    one = fresh(2026, [0])[0].case()
    assert disagreements([one])[0] == {}

    # The same form and steps, but that we are asked something else than JavaRosa was.
    def asked_otherwise(cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return oracle.replay([{**each, "steps": each["steps"][:1]} for each in cases])

    found, met, _ = disagreements([one], asked_otherwise)
    assert set(found) == {one["id"]}
    assert met == {}


def test_the_same_seed_makes_the_same_case_and_another_seed_another():
    assert sample(7, 3) == sample(7, 3)
    assert sample(7, 3) != sample(8, 3)


def test_every_smaller_case_is_smaller():
    one = sample(1, 1)
    size = len(one.steps) + sum(map(len, one.form.rows))
    for each in smaller(one):
        assert len(each.steps) + sum(map(len, each.form.rows)) < size


def test_a_difference_is_seen_wherever_it_is():
    def said(**changed: Any) -> dict[str, Any]:
        node = {"ref": "/data/a", "value": "1", "rel": True, "ro": False, "req": False, **changed}
        return {
            "steps": [{"op": "init", "state": {"nodes": [node], "xml": "<data><a>1</a></data>"}}]
        }

    assert list(differences("x", said(), said())) == []
    for changed in ({"value": "2"}, {"rel": False}, {"ro": True}, {"req": True}, {"label": "A"}):
        (found,) = differences("x", said(), said(**changed))
        assert found.what == next(iter(changed))
    refused = {"steps": [{"op": "init", "error": "no"}]}
    assert [each.what for each in differences("x", refused, said())] == ["init error"]


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
def test_a_listed_dialect_has_a_reason_and_does_not_swallow_everything(dialect: Any):
    assert len(dialect.reason) > 20
    assert not dialect.holds(Difference("x", 0, "/data/a", "value", "ours", "theirs"))
    assert not dialect.holds(Difference("x", 0, "/data/a", "rel", True, False))


def test_only_a_stop_over_several_nodes_is_excused_and_only_where_we_go_on():
    stop = next(each for each in DIALECTS if each.name.startswith("JavaRosa stops"))
    why = (
        "XPath evaluation: type mismatch \nThis field is repeated: \n\n"
        "/data/r[1]/q[1];/data/r[2]/q[1]\n\nYou may need to use the indexed-repeat() function"
    )
    told = f"XPathTypeMismatchException: {why}"
    rule = (
        "RuntimeException: Error evaluating field 'q9' (/data/r[1]/q9[1]): The problem was located in "
        "Condition expression for /data/r/q9\n"
    )
    assert stop.holds(Difference("x", 1, "", "set error", None, told))
    assert stop.holds(Difference("x", 1, "", "add_repeat error", None, rule + why))
    assert not stop.holds(Difference("x", 1, "", "set error", None, rule + "no such function"))
    assert not stop.holds(Difference("x", 1, "", "set error", "NoSuchNode: q", told))
    both = "NoSuchNode: /data/r/c has 2 instances: an action must say which one it sets"
    assert stop.holds(Difference("x", 1, "", "set error", both, told))
    assert not stop.holds(Difference("x", 1, "", "set error", told, None))
    assert not stop.holds(Difference("x", 1, "/data/q", "value", None, told))
    other = told.replace("This field is repeated", "Cannot convert")
    assert not stop.holds(Difference("x", 1, "", "set error", None, other))


def test_after_javarosa_has_stopped_over_several_nodes_a_case_is_compared_no_further():
    def said(error: str, value: str) -> dict[str, Any]:
        node = {"ref": "/data/a", "value": value}
        state = {"nodes": [node], "xml": f"<data><a>{value}</a></data>"}
        return {"steps": [{"op": "set", "error": error}, {"op": "set", "state": state}]}

    several = "XPathTypeMismatchException: XPath evaluation: type mismatch \nThis field is repeated"
    (found,) = differences("x", said("NoSuchNode: q", "1"), said(several + ": \n\n/data", "2"))
    assert (found.step, found.what) == (0, "set error")
    told = differences("x", said("NoSuchNode: q", "1"), said("no question at q", "2"))
    assert [each.what for each in told] == ["value", "xml"]
