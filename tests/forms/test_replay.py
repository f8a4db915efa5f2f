"""Whatever stands in a line of cases, it is answered in its own line, and the next is asked."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from forms import cases
from forms.replay import line
from forms.xlsform import compile_xlsform

ROOT = Path(__file__).parents[2]
FORM = compile_xlsform(
    "f.md",
    b"""
| survey |
| | type | name | label::English (en) |
| | integer | a | A |
| | text | t | T |
| | begin_repeat | r | R |
| | text | v | V |
| | end_repeat | | |
""",
).decode()
INIT = {"op": "init"}


def case(**fields: object) -> bytes:
    return json.dumps({"id": "x", "form": FORM, "steps": [INIT], **fields}).encode()


MISSHAPEN = {
    "nothing but a bracket": (b"{", "no JSON"),
    "words": (b"nonsense", "no JSON"),
    "a list": (b"[]", "a list, where a case is an object"),
    "a number": (b"3", "a number, where a case is an object"),
    "no UTF-8": (b'{"id": "\xe9"}', "not UTF-8, from byte 9"),
    "brackets without end": (b"[" * 100_000, "nests too deeply"),
    "a number that JSON has not": (b'{"id": NaN}', "NaN"),
    "a number of ten thousand digits": (b'{"id": ' + b"9" * 10_000 + b"}", "no JSON"),
    "no form": (b'{"id": 1, "steps": []}', "form: nothing"),
    "a form that is a number": (case(form=3), "form: a number"),
    "no steps": (case(steps=None), "steps: nothing"),
    "steps that are no list": (case(steps={"op": "init"}), "steps: an object"),
    "a moment that is none": (case(at="yesterday"), 'at: "yesterday" is no moment'),
    "a moment that is a number": (case(at=5), "at: 5 is no moment"),
    "a moment before all time": (case(at="0001-01-01T00:00:00+00:00"), "is no moment"),
    "a zone that is none": (case(tz="Moon/Base"), 'tz: "Moon/Base" is no zone'),
    "a zone that is a path": (case(tz="../../etc/passwd"), "is no zone"),
    "files in a list": (case(attachments=[1]), "attachments: a list"),
    "a file that is a number": (case(attachments={"a": 3}), 'attachments, "a": a number'),
    "options that are a truth": (case(options=True), "options: a truth"),
    "a property that is a number": (
        case(options={"properties": {"a": 3}}),
        'options.properties, "a": a number',
    ),
    "a dialect that is none": (case(dialect="klingon"), '"klingon" is none; there are collect'),
    "a dialect that is a list": (case(dialect=[]), "dialect: [] is none"),
    "a form that does not compile": (case(form="<a"), "BrokenForm: the XForm is not well-formed"),
    "an entry to edit that is a number": (
        case(steps=[{"op": "init", "edit_xml": 3}]),
        "edit_xml: a number",
    ),
    "an entry to edit of another form": (
        case(steps=[{"op": "init", "edit_xml": "<b/>"}]),
        "WrongForm: ",
    ),
}


@pytest.mark.parametrize("name", MISSHAPEN)
def test_a_case_that_cannot_be_begun_says_why_and_where(name: str):
    raw, told = MISSHAPEN[name]
    answer = json.loads(line(raw))
    (step,) = answer["steps"]
    assert answer.keys() == {"id", "steps"}
    assert step.keys() == {"op", "error"}
    assert told in step["error"]
    assert "Error" not in step["error"]


STEPS = {
    "a number": (3, "the step is a number"),
    "no operation": ({}, "op: null is none of"),
    "an operation that nobody knows": ({"op": "fly"}, 'op: "fly" is none of'),
    "no question": ({"op": "set", "value": "1"}, "set needs ref"),
    "no answer": ({"op": "set", "ref": "/data/a"}, "set needs value"),
    "a question that is a number": ({"op": "set", "ref": 3, "value": "1"}, "ref: a number"),
    "a question that nobody asks": (
        {"op": "set", "ref": "/data/zz", "value": "1"},
        "NoSuchNode: /data/zz",
    ),
    "a path that is none": ({"op": "remove_repeat", "ref": "["}, "NoSuchNode: ["),
    "a repeat that is none": ({"op": "add_repeat", "ref": "/data/a"}, "NoSuchNode: /data/a"),
    "an instance that is not there": (
        {"op": "remove_repeat", "ref": "/data/r[9]"},
        "NoSuchNode: /data/r[9]",
    ),
    "an instance too far": (
        {"op": "set", "ref": f"/data/r[{9**99}]/v", "value": "1"},
        "NoSuchNode: ",
    ),
    "a language that the form does not speak": (
        {"op": "language", "value": "kl"},
        "NoSuchLanguage: 'kl' is none of English (en)",
    ),
    "no language": ({"op": "language", "value": None}, "value: nothing"),
}


@pytest.mark.parametrize("dialect", ["collect", "webforms"])
@pytest.mark.parametrize("name", STEPS)
def test_a_step_that_cannot_be_done_says_why_and_the_next_goes_on(name: str, dialect: str):
    step, told = STEPS[name]
    answer = {"op": "set", "ref": "/data/a", "value": "12"}
    init, wrong, after = json.loads(line(case(steps=[INIT, step, answer], dialect=dialect)))[
        "steps"
    ]
    assert init.keys() == after.keys() == {"op", "state", "xml", "validate"}
    assert wrong.keys() == {"op", "error"}
    assert told in wrong["error"]
    assert "Error" not in wrong["error"]
    values = {each["ref"]: each.get("value") for each in after["state"]["nodes"]}
    assert values["/data/a"] == "12"


def test_the_command_answers_each_line_and_ends_well():
    """Also one with half of a letter in its name, and one that is far too long to be kept."""
    lines = [raw for raw, _ in MISSHAPEN.values()] + [case(id="\ud800"), b"", case(id="last")]
    ran = subprocess.run(
        [sys.executable, "-m", "forms", "replay"],
        input=b"\n".join(lines) + b"\n",
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    answers = [json.loads(each) for each in ran.stdout.splitlines()]
    assert len(answers) == len(lines) - 1
    assert [each["id"] for each in answers[-2:]] == ["\ud800", "last"]
    assert "state" in answers[-1]["steps"][0]


def test_a_line_that_is_too_long_is_not_kept_and_the_next_is_read():
    source = io.BytesIO(b'{"id": "' + b"x" * 5_000 + b'"}\n\n{"id": 1}\n' + b"y" * 200)
    first, second, third = cases.lines(source, most=100)
    assert len(first) == 101
    assert second == b'{"id": 1}\n'
    assert len(third) == 101
    for raw in (first, third):
        assert "more than 100 bytes" in json.loads(line(raw, most=100))["steps"][0]["error"]
    assert list(cases.lines(io.BytesIO(b"x" * 100 + b"\n"), most=100)) == [b"x" * 100 + b"\n"]
    assert cases.read(b" " * 98 + b"{}\r\n", most=100) == {}


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (b"{", "no JSON"),
        (b'{"id": 1}', "expr: no text"),
        (b'{"id": 1, "expr": "1", "xml": 3}', "xml: no text"),
        (b'{"id": 1, "expr": "1", "type": "s"}', "type: "),
        (b'{"id": 1, "expr": "1", "tz": 3}', "tz: "),
        (b'{"id": 1, "expr": "1 +"}', "operand is missing"),
        (b'{"id": 1, "expr": "1", "xml": "<a"}', "well-formed"),
        (b'{"id": 1, "expr": "1", "context": "/a/b"}', "no node"),
    ],
)
def test_an_evaluation_that_cannot_be_done_says_why(raw: bytes, told: str):
    ran = subprocess.run(
        [sys.executable, "-m", "forms", "xpath"],
        input=raw + b'\n{"id": 2, "expr": "1 + 1"}\n',
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    wrong, right = map(json.loads, ran.stdout.splitlines())
    assert told in wrong["error"], wrong
    assert right["result"]["number"] == "2.0"
