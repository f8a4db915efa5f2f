"""The lint tells an author, by the row, what will surprise, never happen, or be slow."""

from __future__ import annotations

from pathlib import Path

import pytest

from forms.lint import RULES, Finding, lint
from forms.lint.desk import Desk
from forms.problems import BrokenForm
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
    ("spot", "round", "yes"),
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
REPEAT = [{"type": "begin_repeat", "name": "r"}, AGE, END]
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
        [COLOUR, ask("select_one shade", "s", choice_filter="colour = 'green'")],
        3,
        [COLOUR, ask("select_one shade", "s", choice_filter="colour = ${colour}")],
    ),
    "empty-choices": (
        [YN, ask("select_one spot", "s", choice_filter="colour = ${yn}")],
        3,
        [YN, ask("select_one spot", "s", choice_filter="colour = ${yn}", relevant="${yn} = 'yes'")],
    ),
    "constraint-never-met": (
        [ask("integer", "n", constraint=". > 10 and . < 5")],
        2,
        [ask("integer", "n", constraint=". > 5 and . < 10")],
    ),
    "constraint-always-met": (
        [ask("integer", "n", constraint=". >= 0 or . <= 120")],
        2,
        [ask("integer", "n", constraint=". >= 0 and . <= 120")],
    ),
    "choice-of-several": (
        [MANY, ask("note", "n", relevant="${many} = 'red'")],
        3,
        [MANY, ask("note", "n", relevant="selected(${many}, 'red') and ${many} != ''")],
    ),
    "literal-condition": (
        [YN, ask("note", "n", relevant="${yn} = 'yes' or 'no'")],
        3,
        [YN, ask("note", "n", relevant="${yn} = 'yes' or ${yn} = 'no'")],
    ),
    "text-in-order": (
        [ask("text", "t", constraint=". > 'm'")],
        2,
        [ask("text", "t", constraint=". > '5' and . > '2020-01-01' and . < '10:30'")],
    ),
    "number-as-text": (
        [AGE, ask("note", "n", relevant="${age} = '05'")],
        3,
        [AGE, ask("note", "n", relevant="${age} = '5' or ${age} = 'NaN'")],
    ),
    "max-below-zero": (
        [
            ask("decimal", "low", constraint=". > -60", required="yes"),
            ask("calculate", "c", calculation="max(${low}, -70)"),
        ],
        3,
        [AGE, ask("calculate", "c", calculation="max(${age}, 7)")],
    ),
    "not-in-collect": (
        [AGE, ask("calculate", "c", calculation="floor(${age} div 7)")],
        3,
        [AGE, ask("calculate", "c", calculation="int(${age} div 7)")],
    ),
    "regex-dialect": (
        [ask("text", "t", constraint="regex(., '^[a-z&&[^b]]$')")],
        2,
        [ask("text", "t", constraint="regex(., '^[ac-z[:digit:]]$')")],
    ),
    "outside-repeat": (
        [*REPEAT, ask("calculate", "c", calculation="${age} + 1")],
        5,
        [
            *REPEAT,
            ask("calculate", "c", calculation="max(${age}) + indexed-repeat(${age}, ${r}, 1)"),
        ],
    ),
    "own-instance": (
        [*REPEAT[:-1], ask("calculate", "c", calculation="sum(${age})"), END],
        4,
        [*REPEAT, ask("calculate", "c", calculation="sum(${age})")],
    ),
    "place-as-number": (
        [*REPEAT, ask("calculate", "c", calculation="sum(${r}[2]/age)")],
        5,
        [*REPEAT, ask("calculate", "c", calculation="sum(${r}[position() = 2]/age)")],
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
        [*REPEAT[:-1], ask("calculate", "c", calculation="sum(../../r/age)"), END],
        4,
        [*REPEAT[:-1], ask("calculate", "c", calculation="../age + 1"), END],
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
    assert (found.sheet, found.row, found.question) == ("choices", 9, "lost")


@pytest.mark.parametrize(
    "relevant",
    [
        "1 = 2",
        "'a' = 'b'",
        "not(true())",
        "${colour} = 'green'",
        "1 = 2 and ${age} > 3",
        "${age} > 7 and ${age} < 8",
        "${age} = 2.5",
        "${age} > 5 and not(${age} > 3)",
        "(${colour} = 'red' or ${colour} = 'blue') and ${colour} = 'green'",
        "${colour} = 'red' and ${colour} != 'red'",
        "${colour} != '' and ${colour} != 'red' and ${colour} != 'blue'",
        "selected(${colour}, 'red') and ${colour} = ''",
    ],
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


@pytest.mark.parametrize(
    "relevant",
    [
        "true()",
        "${age} > 7 and ${age} < 9",
        "${age} >= 7 and ${age} <= 7",
        "${age} != 3 and ${age} != 4",
        "${colour} = 'red' or ${colour} = 'blue'",
        "not(${colour} = 'red' and ${colour} = 'blue')",
        "selected(${many}, 'red') and selected(${many}, 'blue')",
        "${many} = 'red blue'",
        "${yn} = ${colour} and ${yn} = 'yes'",
        "today() > date('2020-01-01') and ${age} = ''",
    ],
)
def test_a_condition_that_can_be_true_is_left_alone(relevant: str):
    assert (
        told(form(AGE, COLOUR, MANY, YN, ask("note", "n", relevant=relevant)), "never-relevant")
        == []
    )


def test_what_is_turned_off_on_purpose_is_no_error():
    (found,) = told(form(ask("text", "t", relevant="false()")), "never-relevant")
    assert (found.row, found.severity) == (2, "note")


def test_a_condition_is_read_together_with_those_that_it_hangs_on():
    """The pregnancy that is asked of women stands in a group for men."""
    group = ask("begin_group", "g", relevant="${colour} = 'red'")
    blue = ask("note", "n", relevant="${colour} = 'blue'")
    (found,) = told(form(COLOUR, group, blue, ask("end_group", "")), "never-relevant")
    assert (found.row, found.question) == (4, "n")
    # Here one needs an answer to what is asked only where the other is not so.
    shade = ask("select_one shade", "shade", relevant="${colour} = 'blue'")
    both = ask("note", "n", relevant="${colour} = 'red' and ${shade} = 'dark'")
    (found,) = told(form(COLOUR, shade, both), "never-relevant")
    assert found.row == 4
    # A blank needs no answer, and so may be.
    blank = ask("note", "n", relevant="${colour} = 'red' and ${shade} = ''")
    assert told(form(COLOUR, shade, blank), "never-relevant") == []
    # What is wrong with the group is said of the group alone.
    dead = ask("begin_group", "g", relevant="${colour} = 'green'")
    found_all = told(form(COLOUR, dead, blue, ask("end_group", "")), "never-relevant")
    assert [each.row for each in found_all] == [3]


@pytest.mark.parametrize(
    ("kind", "constraint", "rule"),
    [
        ("date", ". > date('2020-01-01') and . < date('2019-01-01')", "constraint-never-met"),
        ("select_one colour", ". = 'green'", "constraint-never-met"),
        ("text", ". = 'a' and . = 'b'", "constraint-never-met"),
        ("text", ". != 'a' or . != 'b'", "constraint-always-met"),
        ("select_one colour", ". = 'red' or . = 'blue'", "constraint-always-met"),
        ("integer", "not(. < 3 and . > 5)", "constraint-always-met"),
        ("integer", ". > 3 or . < 3", ""),
        ("integer", ". > 3 or ${age} < 3", ""),
        ("text", ". > 3 or . <= 3", ""),
        ("date", ". <= today() and . > date('1900-01-01')", ""),
        ("integer", "true()", ""),
        ("integer", ". != 5", ""),
    ],
)
def test_a_constraint_is_weighed_by_what_can_be_answered(kind: str, constraint: str, rule: str):
    made = form(AGE, ask(kind, "q", constraint=constraint))
    found = {each.rule for each in lint(made) if each.rule.startswith("constraint-")}
    assert found == ({rule} if rule else set())


def test_a_label_that_shows_an_answer_of_a_repeat_is_told_of():
    (found,) = told(form(*REPEAT, ask("note", "n", label="You are ${age}")), "outside-repeat")
    assert (found.row, found.question) == (5, "n")
    assert found.message.startswith("label: ")
    inside = form(*REPEAT[:-1], ask("note", "n", label="You are ${age}"), END)
    assert told(inside, "outside-repeat") == []


def test_the_name_of_an_entry_is_judged_at_its_place_in_the_settings():
    text = (
        "| survey |\n| | type | name | label |\n| | begin_repeat | r | R |\n| | text | v | V |\n"
        "| | end_repeat | | |\n| settings |\n| | form_id | instance_name |\n| | f | ${v} |\n"
    )
    (found,) = told(read_xlsform("f.md", text.encode()), "outside-repeat")
    assert str(found).startswith("settings row 2: warning: instance_name: every r has its own ${v}")


def test_what_is_offered_from_a_repeat_is_judged_by_its_own_answers():
    made = form(*REPEAT, ask("select_one ${age}", "who", choice_filter="${age} > 17"))
    assert told(made, "outside-repeat") == []


def test_the_count_of_a_repeat_is_worked_out_outside_of_it():
    made = form(*REPEAT, {"type": "begin_repeat", "name": "s", "repeat_count": "${age}"}, YN, END)
    assert [each.row for each in told(made, "outside-repeat")] == [5]


def test_a_wall_that_an_author_builds_is_a_note_and_one_for_all_is_an_error():
    wall = ask("note", "stop", required="yes", relevant="${age} > 120")
    assert [each.severity for each in told(form(AGE, wall), "cannot-be-answered")] == ["note"]
    assert [
        each.severity for each in told(form(AGE, {**wall, "relevant": ""}), "cannot-be-answered")
    ] == ["error"]


def test_a_choice_that_a_file_has_twice_is_told_by_its_line():
    made = form(ask("select_one_from_file places.csv", "p"))
    twice = {"places.csv": b"name,label\na,A\nb,B\na,C\n"}
    (found,) = told(made, "choice-twice", twice)
    assert str(found).startswith("places.csv line 4 (a): warning: line 2 has the name 'a' already")
    assert told(made, "choice-twice", {"places.csv": b"name,label\na,A\nb,B\n"}) == []
    filtered = form(YN, ask("select_one_from_file places.csv", "p", choice_filter="label = ${yn}"))
    assert told(filtered, "choice-twice", twice) == []


def test_a_search_inside_a_repeat_is_felt_sooner():
    made = form(
        *REPEAT[:-1],
        ask("calculate", "c", calculation="count(instance('places')/root/item[size > 4])"),
        END,
        ask("select_one_from_file places.csv", "p"),
    )
    some = {"places.csv": b"name,label,size\n" + b"a,A,1\n" * 300}
    (found,) = told(made, "slow-search", some)
    assert "for every r" in found.message


def test_each_rule_says_something_of_a_form_here():
    """A rule that is taken out is missed by its own case; one that says nothing has none."""
    forms = [form(*broken) for broken, _, _ in CASES.values()]
    forms.append(form(YN, choices=[*CHOICES[:2], ("spare one", "a b", ""), ("yn", "a b", "")]))
    filed = form(ask("select_one_from_file places.csv", "p"))
    twice = {"places.csv": b"name,label\na,A\na,C\n"}
    for rule in RULES:
        said = [each for made in forms for each in rule(Desk(made, {}))]
        assert said or list(rule(Desk(filed, twice))), rule.__name__


@pytest.mark.parametrize("rule", sorted(CASES))
def test_a_form_made_elsewhere_is_read_by_the_lines_of_its_xml(rule: str):
    broken, _, sound = CASES[rule]
    for rows, expected in ((broken, True), (sound, False)):
        made = form(*rows)
        lines = made.xml.replace(b"><", b">\n<")
        found = told(XlsForm("made-elsewhere.xml", lines), rule)
        names = {each.question for each in told(made, rule)}
        assert {each.question for each in found} == names
        assert bool(found) is expected
        for each in found:
            assert each.row is not None
            assert f'/{each.question}"'.encode() in lines.splitlines()[each.row - 1]
            assert str(each).startswith(f"line {each.row} (")


def test_a_form_made_elsewhere_that_no_engine_reads_is_refused():
    with pytest.raises(BrokenForm):
        lint(XlsForm("made-elsewhere.xml", b"<h:html/>"))


@pytest.mark.parametrize(
    ("heading", "where"),
    [
        ("label::English", "survey row 1: note: label::English: the language English has no code"),
        ("label::English (en)", ""),
    ],
)
def test_what_pyxform_says_of_no_row_is_told_of_the_heading(heading: str, where: str):
    text = f"| survey |\n| | type | name | {heading} |\n| | text | t | T |\n"
    said = [str(each) for each in lint(read_xlsform("f.md", text.encode()))]
    assert said == ([] if not where else [said[0]])
    assert not where or said[0].startswith(where)


def test_languages_are_told_of_at_their_sheet():
    text = (
        "| survey |\n| | type | name | label::English (en) | label::French (fr) | hint::English (en) |\n"
        "| | select_one a or_other | q | Q | Q | H |\n"
        "| choices |\n| | list_name | name | label::English (en) |\n| | a | x | X |\n"
        "| stettings |\n| | form_id |\n| | f |\n"
    )
    said = {
        (each.sheet, each.row, each.rule): each.message
        for each in lint(read_xlsform("f.md", text.encode()))
    }
    assert "add hint::French (fr)" in said["survey", 1, "pyxform"]
    assert "or_other asks in English alone" in said["survey", 2, "pyxform"]
    assert ("stettings", None, "hardly-meant") in said
    assert all(sheet for sheet, _, _ in said)


def test_columns_of_choices_are_found_by_the_letters_that_filters_name():
    text = (
        "| survey |\n| | type | name | label | choice_filter |\n| | select_one a | q | Q | Region = 'x' |\n"
        "| choices |\n| | list_name | name | label | Region |\n| | a | b | B | x |\n"
    )
    assert lint(read_xlsform("f.md", text.encode())) == ()


def test_lists_of_external_choices_are_those_of_their_own_sheet():
    text = (
        "| survey |\n| | type | name | label | choice_filter |\n| | select_one c | q | Q | |\n"
        "| | select_one_external c | r | R | Kind = ${q} |\n"
        "| choices |\n| | list_name | name | label |\n| | c | one | One |\n"
        "| external_choices |\n| | list_name | name | label | Kind |\n| | c | b | B | one |\n| | c | d | D | two |\n"
    )
    (found,) = lint(read_xlsform("f.md", text.encode()))
    assert (found.sheet, found.row, found.rule) == ("external_choices", 3, "dead-choices")


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


@pytest.mark.parametrize(
    "source",
    ["1 +", "(", "a b", "'open", "§", "(" * 500, "- " * 500 + "1", "1" + " + 1" * 500],
)
def test_what_cannot_be_read_is_left_to_the_engine(source: str):
    assert read(source) is None
