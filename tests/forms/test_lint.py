"""The lint tells an author, by the row, what will surprise, never happen, or be slow."""

from __future__ import annotations

from pathlib import Path

import pytest

from forms.lint import RULES, Finding, lint
from forms.terms import read
from forms.xlsform import XlsForm, read_xlsform

SAMPLES = Path(__file__).parents[2] / "samples"

COLUMNS = [
    "type",
    "name",
    "label",
    "relevant",
    "constraint",
    "required",
    "read_only",
    "calculation",
    "choice_filter",
    "repeat_count",
    "default",
    "trigger",
]
CHOICES = [
    ("yn", "yes", ""),
    ("yn", "no", ""),
    ("colour", "red", ""),
    ("colour", "blue", ""),
    ("shade", "dark", "red"),
    ("shade", "pale", "blue"),
]


def form(*rows: dict[str, str], choices: list[tuple[str, str, str]] | None = None) -> XlsForm:
    """A survey of these rows; the first stands in row 2."""
    lines = ["| survey |", "| | " + " | ".join(COLUMNS) + " |"]
    lines += [
        "| | "
        + " | ".join({"label": row.get("name", ""), **row}.get(c, "") for c in COLUMNS)
        + " |"
        for row in rows
    ]
    used = CHOICES if choices is None else choices
    lines += ["| choices |", "| | list_name | name | label | colour |"]
    lines += [f"| | {of} | {name} | {name} | {colour} |" for of, name, colour in used]
    return read_xlsform("f.md", "\n".join(lines).encode())


def told(made: XlsForm, rule: str, media: dict[str, bytes] | None = None) -> list[Finding]:
    return [each for each in lint(made, media) if each.rule == rule]


def ask(kind: str, name: str, **cells: str) -> dict[str, str]:
    return {"type": kind, "name": name, **cells}


END = {"type": "end_repeat"}
YN = ask("select_one yn", "yn")
COLOUR = ask("select_one colour", "colour")
MANY = ask("select_multiple colour", "many")
AGE = ask("integer", "age", required="yes")
BORN = ask("date", "born", required="yes")
OPTIONAL = ask("integer", "herd")
HIDDEN = ask("select_one yn", "school", relevant="${age} < 18")


# For each rule: a form with the fault (and the row it is in), and its sound neighbour.
CASES = {
    "regex-anchoring": (
        [ask("text", "phone", constraint="regex(., '[0-9]+')")],
        2,
        [ask("text", "phone", constraint="regex(., '^[0-9]+$')")],
    ),
    "date-as-number": (
        [BORN, ask("calculate", "days", calculation="today() - ${born}")],
        3,
        [
            BORN,
            ask(
                "calculate",
                "days",
                calculation="decimal-date-time(${born}) - decimal-date-time('2020-01-01')",
            ),
        ],
    ),
    "date-as-text": (
        [ask("date", "born", constraint=". > '1900-01-01'")],
        2,
        [ask("date", "born", constraint=". > date('1900-01-01')")],
    ),
    "hidden-answer": (
        [AGE, HIDDEN, ask("note", "n", relevant="${school} != 'yes'")],
        4,
        [AGE, HIDDEN, ask("note", "n", relevant="${school} = 'no'")],
    ),
    "blank-in-arithmetic": (
        [AGE, OPTIONAL, ask("calculate", "c", calculation="${age} + ${herd}")],
        4,
        [AGE, OPTIONAL, ask("calculate", "c", calculation="${age} + coalesce(${herd}, 0)")],
    ),
    "sum-of-blanks": (
        [
            {"type": "begin_repeat", "name": "r"},
            OPTIONAL,
            {"type": "end_repeat"},
            ask("calculate", "c", calculation="sum(${herd})"),
        ],
        5,
        [
            {"type": "begin_repeat", "name": "r"},
            AGE,
            {"type": "end_repeat"},
            ask("calculate", "c", calculation="sum(${age})"),
        ],
    ),
    "order-of-choices": (
        [MANY, ask("calculate", "c", calculation="selected-at(${many}, 0)")],
        3,
        [MANY, ask("calculate", "c", calculation="selected(${many}, 'red')")],
    ),
    "repeat-count-lowered": (
        [
            AGE,
            {"type": "begin_repeat", "name": "r", "repeat_count": "${age}"},
            YN,
            {"type": "end_repeat"},
        ],
        3,
        [AGE, {"type": "begin_repeat", "name": "r"}, YN, {"type": "end_repeat"}],
    ),
    "bare-reference": (
        [YN, ask("note", "n", relevant="${yn}")],
        3,
        [YN, ask("note", "n", relevant="${yn} = 'yes'")],
    ),
    "overwritten-answer": (
        [AGE, ask("integer", "c", calculation="${age} + 1")],
        3,
        [AGE, ask("integer", "c", calculation="${age} + 1", trigger="${age}")],
    ),
    "cannot-be-answered": (
        [ask("text", "t", required="yes", read_only="yes")],
        2,
        [ask("text", "t", required="yes", read_only="yes", calculation="'x'")],
    ),
    "moving-today": (
        [ask("calculate", "c", calculation="format-date(today(), '%Y')")],
        2,
        [ask("calculate", "c", calculation="once(format-date(today(), '%Y'))")],
    ),
    "unknown-choice": (
        [MANY, ask("note", "n", relevant="${many} != '' and selected(${many}, 'green')")],
        3,
        [MANY, ask("note", "n", relevant="${many} != '' and selected(${many}, 'blue')")],
    ),
    "never-relevant": (
        [COLOUR, ask("note", "n", relevant="${colour} = 'red' and ${colour} = 'blue'")],
        3,
        [COLOUR, ask("note", "n", relevant="${colour} = 'red' or ${colour} = 'blue'")],
    ),
    "dead-choices": (
        [COLOUR, ask("select_one shade", "s", choice_filter="color = ${colour}")],
        3,
        [COLOUR, ask("select_one shade", "s", choice_filter="colour = ${colour}")],
    ),
    "slow-nested-search": (
        [
            COLOUR,
            ask(
                "calculate",
                "c",
                calculation="count(instance('colour')/root/item[name = "
                "instance('shade')/root/item[name = 'dark']/colour])",
            ),
        ],
        3,
        [
            COLOUR,
            ask("calculate", "c", calculation="count(instance('colour')/root/item[name = 1])"),
        ],
    ),
    "slow-crossing": (
        [
            {"type": "begin_repeat", "name": "r"},
            AGE,
            ask("calculate", "c", calculation="sum(${age})"),
            {"type": "end_repeat"},
        ],
        4,
        [
            {"type": "begin_repeat", "name": "r"},
            AGE,
            {"type": "end_repeat"},
            ask("calculate", "c", calculation="sum(${age})"),
        ],
    ),
}


@pytest.mark.parametrize("rule", CASES)
def test_a_fault_is_told_by_its_row_and_its_sound_neighbour_is_left_alone(rule: str):
    broken, row, sound = CASES[rule]
    found = told(form(*broken), rule)
    assert found, [str(each) for each in lint(form(*broken))]
    assert {(each.sheet, each.row) for each in found} == {("survey", row)}
    assert told(form(*sound), rule) == []


def test_a_note_that_has_to_be_answered_is_an_error():
    (found,) = told(form(ask("note", "n", required="yes")), "cannot-be-answered")
    assert (found.row, found.severity) == (2, "error")
    assert told(form(ask("note", "n", required="no")), "cannot-be-answered") == []


def test_a_list_that_nobody_uses_is_named_by_its_first_row():
    (found,) = told(
        form(YN, choices=[*CHOICES[:2], ("spare", "a", ""), ("spare", "b", "")]), "unused-list"
    )
    assert (found.sheet, found.row) == ("choices", 4)
    assert told(form(YN, choices=CHOICES[:2]), "unused-list") == []


def test_a_choice_whose_name_has_a_space_is_told_even_in_a_select_one():
    (found,) = told(
        form(YN, choices=[("yn", "yes sir", ""), ("yn", "no", "")]), "choice-with-space"
    )
    assert (found.sheet, found.row, found.severity) == ("choices", 2, "warning")
    assert told(form(YN, choices=CHOICES[:2]), "choice-with-space") == []


def test_a_choice_that_the_filter_never_offers_is_told_in_its_own_row():
    made = form(
        COLOUR,
        ask("select_one shade", "s", choice_filter="colour = ${colour}"),
        choices=[*CHOICES, ("shade", "lost", "purple")],
    )
    (found,) = told(made, "dead-choices")
    assert (found.sheet, found.row, found.question) == ("choices", 8, "lost")


@pytest.mark.parametrize(
    "relevant",
    ["false()", "1 = 2", "'a' = 'b'", "not(true())", "${colour} = 'green'", "1 = 2 and ${age} > 3"],
)
def test_a_condition_that_can_never_be_true_is_an_error(relevant: str):
    (found,) = told(form(AGE, COLOUR, ask("note", "n", relevant=relevant)), "never-relevant")
    assert (found.row, found.severity) == (4, "error")


def test_a_search_is_slow_only_in_a_long_list_without_a_key():
    def made(calculation: str) -> XlsForm:
        return form(
            ask("select_one_from_file places.csv", "p"),
            ask("calculate", "c", calculation=calculation),
        )

    scan = made("count(instance('places')/root/item[size > 4])")
    keyed = made("instance('places')/root/item[name = ${p}]/size")
    short = {"places.csv": b"name,label,size\n" + b"a,A,1\n" * 10}
    long = {"places.csv": b"name,label,size\n" + b"a,A,1\n" * 3_000}
    (found,) = told(scan, "slow-search", long)
    assert (found.row, found.severity) == (3, "warning")
    assert "3,000" in found.message
    assert told(scan, "slow-search", short) == []
    assert told(keyed, "slow-search", long) == []


def test_lists_in_files_are_judged_when_the_file_is_given():
    made = form(
        ask("select_one_from_file places.csv", "p"), ask("note", "n", relevant="${p} = 'nowhere'")
    )
    assert told(made, "never-relevant") == []
    given = {"places.csv": b"name,label\nhill,Hill\n"}
    assert [each.row for each in told(made, "never-relevant", given)] == [3]


def test_other_is_a_choice_where_the_form_says_so():
    made = form(ask("select_one yn or_other", "yn"), ask("note", "n", relevant="${yn} = 'other'"))
    assert told(made, "unknown-choice") == []


@pytest.mark.parametrize("name", ["household_registration", "household_update"])
def test_the_sample_forms_have_no_errors(name: str):
    media = {file.name: file.read_bytes() for file in SAMPLES.glob("*.csv")}
    made = read_xlsform(f"{name}.xlsx", (SAMPLES / f"{name}.xlsx").read_bytes())
    assert [str(each) for each in lint(made, media) if each.severity == "error"] == []


def test_every_rule_is_met_by_a_test():
    met = {*CASES, "unused-list", "choice-with-space", "slow-search"}
    words = {rule.__name__ for rule in RULES}
    assert len(words) == len(RULES)
    assert len(met) >= len(RULES)


def test_a_form_without_rows_has_nothing_said_about_it():
    assert lint(XlsForm("made-elsewhere.xml", b"<h:html/>")) == ()


@pytest.mark.parametrize(
    ("source", "shape"),
    [
        ("1 + 2 * 3", "+(1, *(2, 3))"),
        ("${a} = 'b' and not(${c})", "and(=(a, b), not(c))"),
        ("-${a} div 2", "div(negative(a), 2)"),
        (
            "instance('x')/root/item[name = ${a}]/b",
            "instance/root/item/b(x, predicate(=(name, a)))",
        ),
        ("../a[position() = 1]", "../a(predicate(=(position, 1)))"),
        ("current()/../a", "current/../a"),
        (". > 3", ">(., 3)"),
    ],
)
def test_expressions_are_read_with_their_references_whole(source: str, shape: str):
    def drawn(term: object) -> str:
        inner = ", ".join(map(drawn, term.parts))
        return f"{term.name}({inner})" if inner else term.name

    assert drawn(read(source)) == shape


@pytest.mark.parametrize("source", ["1 +", "(", "a b", "'open", "§", "(" * 500, "- " * 500 + "1"])
def test_what_cannot_be_read_is_left_to_the_engine(source: str):
    assert read(source) is None
