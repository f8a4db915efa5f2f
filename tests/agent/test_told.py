"""What a sync says in one line to the agent who reads it."""

from __future__ import annotations

import json

import pytest

from field_agent.cli import _tell, _tell_trouble
from field_agent.course import Outcome

HOUR_MS = 3_600_000


def said(capsys, **outcome: object) -> str:
    _tell(Outcome(**outcome), as_json=False)
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("outcome", "line"),
    [
        ({"receipts": 1}, "1 receipt"),
        ({"receipts": 2, "attachments": 1}, "2 receipts; 1 file sent"),
        ({"news": {"returned": 1}}, "1 entry was sent back: field-agent notices"),
        ({"news": {"returned": 2}}, "2 entries were sent back: field-agent notices"),
        ({"news": {"refused": 1}}, "1 entry was refused: field-agent notices"),
        (
            {"receipts": 1, "news": {"settled": 2, "returned": 1}},
            "1 receipt; 1 entry was sent back, 2 clashes were settled: field-agent notices",
        ),
        (
            {"news": {"released": 1}},
            "1 entry that was held was let go on: field-agent notices",
        ),
        ({"records": {"h1"}}, "1 household of the area"),
        (
            {"news": {"settled": 1}, "records": {"h1", "h2"}},
            "1 clash was settled: field-agent notices; 2 households of the area",
        ),
        ({}, "Nothing new."),
    ],
)
def test_what_came_is_said_by_its_kind(capsys, outcome, line):
    assert said(capsys, **outcome) == f"Synced. {line}\n"


def test_what_waits_still_is_counted_as_people_count(capsys):
    told = said(capsys, left=1, parked=1).splitlines()
    assert told[0] == "Not all synced yet. Nothing new."
    assert told[1] == "  1 waits at the server for its form to be published"
    assert told[2].startswith("  1 entry waits here still")
    assert "2 entries and 1 file wait here still" in said(capsys, left=2, attachments_left=1)


def test_a_script_is_told_the_same_counts(capsys):
    _tell(Outcome(news={"returned": 2}, records={"h1", "h2", "h3"}), as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert (told["news"], told["records"], told["synced"]) == ({"returned": 2}, 3, True)


@pytest.mark.parametrize(
    ("skew_ms", "told"),
    [
        (3 * 60_000, "3 min ahead of"),
        (-5 * HOUR_MS, "5 hours behind"),
        (400 * 24 * HOUR_MS, "400 days ahead of"),
    ],
)
def test_a_clock_that_is_wrong_is_told_of_in_the_unit_that_a_person_would_use(
    capsys, skew_ms, told
):
    _tell(Outcome(skew_ms=skew_ms), as_json=False)
    assert f"This device's clock is {told} the server's" in capsys.readouterr().err


def test_a_reason_that_ends_in_a_full_stop_gets_no_second_one(capsys):
    _tell_trouble("it is full. Wait.", {"left": 0, "attachments_left": 1}, as_json=False)
    assert "it is full. Wait. 1 file waits here, to" in capsys.readouterr().err
