"""Spreadsheets become XForms, or are refused with the sheet, the row and the reason."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import openpyxl
import pytest

from forms.problems import BrokenForm, Problem
from forms.xlsform import compile_xlsform, read_xlsform

SAMPLES = Path(__file__).parents[2] / "samples"

HEADINGS = "| survey |\n| | type | name | label | relevant | calculation |\n"


def problems(text: str, media: set[str] | None = None) -> tuple[Problem, ...]:
    with pytest.raises(BrokenForm) as refused:
        read_xlsform("broken.md", text.encode(), media)
    return refused.value.problems


@pytest.mark.parametrize("form", ["household_registration", "household_update"])
def test_the_sample_forms_become_xforms_whose_questions_know_their_rows(form: str):
    data = (SAMPLES / f"{form}.xlsx").read_bytes()
    media = {"regions.csv", "districts.csv", "villages.csv"}
    read = read_xlsform(f"{form}.xlsx", data, media)
    survey = openpyxl.load_workbook(io.BytesIO(data))["survey"]
    headings = [cell.value for cell in survey[1]]
    column = headings.index("name") + 1
    assert b"<h:html" in read.xml
    assert len(read.places) > 20
    for path, place in read.places.items():
        if place.sheet == "survey":
            assert survey.cell(place.row, column).value == path.rsplit("/", 1)[-1]


def test_every_unknown_reference_is_named_with_its_row_and_the_likely_name():
    found = problems(
        HEADINGS + "| | integer | age | Age | | |\n"
        "| | text | school | School | ${agee} < 18 | |\n"
        "| | text | other | Hello ${nobody} | | |\n"
    )
    assert [(each.sheet, each.row, each.question) for each in found] == [
        ("survey", 3, "school"),
        ("survey", 4, "other"),
    ]
    assert "relevant uses ${agee}" in found[0].reason
    assert "${age}" in found[0].reason
    assert "label uses ${nobody}" in found[1].reason


@pytest.mark.parametrize(
    ("rows", "row", "says"),
    [
        ("| | text | a | A | | |\n| | text | a | A | | |", 3, "unique"),
        ("| | begin group | g | G | | |\n| | text | a | A | | |", 2, "never closed"),
        ("| | quiz | a | A | | |", 2, "quiz"),
        ("| | text | | A | | |", 2, "no name"),
        ("| | text | a b | A | | |", 2, "write a_b"),
        ("| | select_one colour | a | A | | |", 2, "colour"),
    ],
)
def test_a_mistake_in_the_survey_is_told_with_its_row(rows: str, row: int, says: str):
    first = problems(HEADINGS + rows)[0]
    assert (first.sheet, first.row) == ("survey", row)
    assert says in first.reason


def test_a_choice_with_a_space_would_be_lost_in_a_select_multiple_and_is_refused():
    found = problems(
        "| survey |\n| | type | name | label |\n| | select_multiple c | a | A |\n"
        "| choices |\n| | list_name | name | label |\n| | c | dark red | D |\n| | c | blue | B |\n"
    )
    assert [(each.sheet, each.row) for each in found] == [("choices", 2)]
    assert "dark_red" in found[0].reason


def test_a_choice_given_twice_names_both_rows():
    found = problems(
        "| survey |\n| | type | name | label |\n| | select_one c | a | A |\n"
        "| choices |\n| | list_name | name | label |\n| | c | red | R |\n| | c | red | B |\n"
    )
    assert [(each.sheet, each.row) for each in found] == [("choices", 3)]
    assert "row 2" in found[0].reason


def test_files_that_the_form_needs_and_nobody_gave_are_named():
    text = (
        HEADINGS + "| | select_one_from_file places.csv | a | A | | |\n"
        "| | calculate | b | | | pulldata('people', 'n', 'k', ${a}) |\n"
        "| | csv-external | more | | | |\n"
    )
    found = problems(text, set())
    assert [each.row for each in found] == [2, 3, 4]
    assert [each.reason.split()[3].strip(",") for each in found] == [
        "places.csv",
        "people.csv",
        "more.csv",
    ]
    given = {"places.csv", "people.csv", "more.csv"}
    assert read_xlsform("f.md", text.encode(), given).xml
    assert read_xlsform("f.md", text.encode()).xml


def test_a_csv_with_a_byte_order_mark_is_read_like_one_without():
    text = 'survey,,,\n,type,name,label\n,text,a,"A, or not"\n'
    plain = compile_xlsform("f.csv", text.encode())
    assert compile_xlsform("f.csv", b"\xef\xbb\xbf" + text.encode()) == plain


def test_an_xform_made_elsewhere_passes_through():
    xform = b'<?xml version="1.0"?><h:html xmlns:h="http://www.w3.org/1999/xhtml"/>'
    assert compile_xlsform("made-elsewhere.xml", xform) == xform


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"PK\x03\x04 not a workbook",
        b"\xd0\xcf\x11\xe0 not a workbook",
        b"\xff\xfe\x00",
        b"a,b\n1,2\n",
        b"survey,,\n,type,name\n,\xe9,x\n",
    ],
)
def test_what_is_no_spreadsheet_is_refused_with_a_reason(data: bytes):
    with pytest.raises(BrokenForm, match=r"broken\.xlsx|form"):
        read_xlsform("form", data)


def packed(parts: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return out.getvalue()


def test_a_zip_bomb_is_refused_before_it_is_unpacked():
    bomb = packed({"xl/worksheets/sheet1.xml": b"<a>" + b" " * 30_000_000})
    with pytest.raises(BrokenForm, match="packed more than"):
        read_xlsform("bomb.xlsx", bomb)


def test_a_workbook_that_declares_entities_is_refused():
    laughs = b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "ha">]><a>&b;</a>'
    with pytest.raises(BrokenForm, match="document type"):
        read_xlsform("laughs.xlsx", packed({"xl/workbook.xml": laughs}))
    wide = laughs.decode().encode("utf-16")
    with pytest.raises(BrokenForm, match="document type"):
        read_xlsform("laughs.xlsx", packed({"xl/workbook.xml": wide}))


def test_a_sheet_of_a_million_rows_is_refused():
    rows = b"<a>" + b"".join(b'<row r="%d"/>' % number for number in range(1_000_000))
    with pytest.raises(BrokenForm, match="rows"):
        read_xlsform("long.xlsx", packed({"xl/worksheets/sheet1.xml": rows}))
    with pytest.raises(BrokenForm, match="rows"):
        read_xlsform("long.csv", b"survey,,\n" + b",text,a\n" * 300_000)


CYCLE = (
    HEADINGS + "| | begin repeat | r | R | | |\n| | calculate | a | | | ${b} |\n"
    "| | calculate | b | | | ${a} |\n| | end repeat | | | | |\n"
)


def test_a_cycle_of_calculations_is_refused_by_its_rows():
    found = problems(CYCLE)
    assert {each.row for each in found} <= {3, 4}
    assert {each.sheet for each in found} == {"survey"}
    assert "row 3" in str(found)
    assert "row 4" in str(found)


def test_an_expression_that_is_none_is_refused_by_its_row():
    found = problems(HEADINGS + "| | text | a | A | | |\n| | text | b | B | 1 + | |\n")
    assert [(each.sheet, each.row, each.question) for each in found] == [("survey", 3, "b")]


def test_the_engines_own_problems_are_brought_back_to_their_rows():
    read = read_xlsform(
        "f.md",
        CYCLE.encode(),
        opened=False,
    )
    raw = Problem("", None, "/data/r[2]/a", "/data/r/a needs /data/r/b, which needs /data/r/a")
    assert read.located([raw]) == (
        Problem(
            "survey",
            3,
            "a",
            "${a} (row 3) needs ${b} (row 4), which needs ${a} (row 3)",
        ),
    )
