"""Rules of a programme are asked in the forms' own language, and say what they looked at."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from forms.language import BadExpression
from forms.rules import rule

SAMPLES = Path(__file__).parents[2] / "samples"
NOW = datetime(2026, 11, 23, 22, 30, tzinfo=UTC)
HOME = {"size": "4", "pmt_score": "2.1", "displaced": "no", "phone": "", "channel": "bank"}
PEOPLE = [
    {"name": "Amina", "age": "39", "sex": "female"},
    {"name": "Omar", "age": "3", "sex": "male"},
    {"name": "Lina", "age": "0", "sex": "female"},
    {"name": "Old", "age": "", "sex": "male"},
]


def holds(text: str, record: dict[str, str] | None = None) -> bool:
    return rule(text).boolean(HOME if record is None else record, PEOPLE, now=NOW)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${size} >= 4", True),
        ("size >= 5", False),
        ("${ size } = 4", True),
        ("${pmt_score} < 2.5 and ${displaced} != 'yes'", True),
        ("${phone} = ''", True),
        ("${never_asked} = ''", True),
        ("${never_asked} > 3", False),
        ("count(member[age < 5]) >= 2", True),
        ("count(${member}[age < 5]) >= 2", True),
        ("count(members[sex = 'female' and age > 5]) = 1", True),
        ("count(persons) = ${size}", True),
        ("count(member[age > ${size}]) = 1", True),
        ("sum(member/age) = 42", True),
        ("regex(${channel}, '[a-z]+')", True),
        ("selected('bank cash', ${channel})", True),
        ("'${size}' = '4'", False),
        ('"it\'s ${size}" = "it\'s ${size}"', True),
    ],
)
def test_a_rule_reads_the_record_and_its_members(text: str, expected: bool):
    assert holds(text) is expected


def test_amounts_are_numbers_and_a_blank_makes_none():
    amount = rule("1500000 + 250000 * count(member[age < 18])")
    assert amount.number(HOME, PEOPLE, now=NOW) == 2_000_000
    assert amount.string(HOME, PEOPLE, now=NOW) == "2000000"
    assert math.isnan(rule("${phone} * 2").number(HOME, now=NOW))
    assert rule("coalesce(${phone}, 0) * 2").number(HOME, now=NOW) == 0


def test_a_household_without_members_counts_none():
    assert rule("count(member)").number(HOME, now=NOW) == 0


def test_today_is_the_day_where_the_office_is():
    assert rule("today()").string({}, now=NOW) == "2026-11-23"
    east = NOW.astimezone(timezone(timedelta(hours=3)))
    assert rule("today()").string({}, now=east) == "2026-11-24"
    with pytest.raises(ValueError, match="time zone"):
        rule("today()").string({}, now=NOW.replace(tzinfo=None))


def test_a_rule_says_what_it_looked_at():
    told = rule("${size} >= 3 and ${pmt_score} < 2.5 and ${phone} = '' and ${size} < 9").explain(
        HOME, PEOPLE, now=NOW
    )
    assert [str(each) for each in told] == ["size = 4", "pmt_score = 2.1", "phone = blank"]
    (counted,) = rule("count(member[age < 5]) >= 2").explain(HOME, PEOPLE, now=NOW)
    assert str(counted) == "count(member[age < 5]) = 2"


def test_a_rule_knows_its_fields_before_any_record_is_there():
    made = rule("${size} > count(member[age < ${limit}]) and sum(persons/income) < 5")
    assert made.fields == {"size", "limit"}
    assert made.member_fields == {"age", "income"}


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("${size} >= ", 11),
        ("${size} > 3 and ${age} ! 4", 23),
        ("${size", 0),
        ("size > ${}", 7),
        ("${size} = 'open", 10),
        ("", 0),
    ],
)
def test_a_rule_that_cannot_be_read_names_the_place(text: str, place: int):
    with pytest.raises(BadExpression) as refused:
        rule(text)
    assert refused.value.text == text
    assert refused.value.position == place


@pytest.mark.parametrize("text", ["random() < 0.5", "uuid() = ''", "1 = once(2)", "nonsense(1)"])
def test_what_would_give_another_verdict_each_time_is_refused(text: str):
    with pytest.raises(BadExpression):
        rule(text)


@pytest.mark.parametrize("text", ["instance('x')/root/item", "pulldata('a', 'b', 'c', 'd')"])
def test_what_only_an_interview_has_is_refused(text: str):
    with pytest.raises(BadExpression, match="interview"):
        rule(text)


def test_the_sample_programme_is_made_of_rules():
    file = SAMPLES / "programme.json"
    programme = json.loads(file.read_text(encoding="utf-8"))
    record = {"size": "5", "children": "2", "displaced": "no"}
    assert all(rule(each["when"]).boolean(record, now=NOW) for each in programme["eligibility"])
    assert rule(programme["amount_minor"]).number(record, now=NOW) == 2_000_000
