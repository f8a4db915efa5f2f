"""Our dialect `webforms` and Web Forms itself agree on forms that neither was written for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.forms.peer import browser
from tests.forms.peer.beside import REFUSES, SAME, _one, beside
from tests.forms.peer.oracle import Missing
from tests.forms.peer.ours import fresh

FORM = """<h:html xmlns="http://www.w3.org/2002/xforms" xmlns:h="http://www.w3.org/1999/xhtml">
  <h:head><h:title>t</h:title><model><instance><data id="t"><a>1</a></data></instance></model>
  </h:head><h:body><input ref="/data/a"><label>a</label></input></h:body></h:html>"""
CASE = {"id": "x", "dialect": "webforms", "form": FORM, "steps": [{"op": "init"}]}


def needs_node() -> None:
    try:
        browser.program()
    except Missing as missing:
        pytest.skip(str(missing))


def test_fresh_forms_and_interviews_come_out_as_in_a_browser():
    needs_node()
    samples = [replace(one, dialect="webforms") for one in fresh(2026, range(20))]
    found = beside([one.case() for one in samples])
    assert [one for one in found if isinstance(one, list)] == []
    assert found.count(SAME) > len(found) / 2


def test_what_web_forms_makes_of_a_case_is_told_apart():
    (node,) = [{"ref": "/data", "rel": True, "ro": False, "req": False}]
    opened = {"op": "init", "state": {"nodes": [node, {**node, "ref": "/data/a", "value": "1"}]}}
    refused = {"op": "init", "error": "Error: no"}
    assert _one(CASE, {"steps": [refused]}) == REFUSES
    assert _one({**CASE, "form": "<no/>"}, {"steps": [refused]}) == SAME
    wrong = {**opened, "state": {"nodes": [node, {**node, "ref": "/data/a", "value": "2"}]}}
    found = _one(CASE, {"steps": [wrong]})
    assert isinstance(found, list)
    assert ("/data/a", "value") in [(one.ref, one.what) for one in found]
    more = {**CASE, "steps": [{"op": "init"}, {"op": "set", "ref": "/data/a", "value": "3"}]}
    first = {"steps": [wrong, {"op": "set", "error": "Error: it broke"}]}
    assert isinstance(_one(more, first), list)


def test_what_is_not_there_is_said_with_the_way_to_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(Missing, match="Node is not installed"):
        browser.program()
