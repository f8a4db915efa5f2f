"""An author's mistakes are refused, or warned of, by sheet, row and question, with the way out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from forms.form import Form
from forms.lint import lint
from forms.problems import BrokenForm, Problem
from forms.xlsform import read_xlsform
from tests.forms.workbooks import WRITERS, YES_NO, markdown, sheet, survey

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.forms.workbooks import Sheets

SAMPLES = Path(__file__).parents[2] / "samples"
OLD = Path(__file__).parent / "data"


@dataclass(frozen=True, slots=True)
class Mistake:
    """What an author wrote, and what is to be said of it: where, and each of these words."""

    sheets: Sheets
    sheet: str
    row: int | None
    question: str
    says: tuple[str, ...]
    media: Mapping[str, bytes] | None = None


def at(
    sheets: Sheets,
    where: str,
    *says: str,
    media: Mapping[str, bytes] | None = None,
    of: str = "survey",
) -> Mistake:
    """`where` is "row question"."""
    row, _, question = where.partition(" ")
    return Mistake(sheets, of, int(row) if row != "-" else None, question, says, media)


AGE = "integer|age|How old?"
REPEAT = ("begin_repeat|r|Members", "integer|a|A", "end_repeat||")


def places(text: str) -> Mapping[str, bytes]:
    return {"places.csv": text.encode()}


FROM_FILE = survey("", "select_one_from_file places.csv|a|A")

REFUSED = {
    "a heading that is misspelt": at(
        sheet("survey", "typ|name|label", "text|a|A"), "1", "lack the column 'type'", "typ"
    ),
    "no headings at all": at(sheet("survey", "text|a|A", "text|b|B"), "1", "headings"),
    "a label under a misspelt heading": at(
        sheet("survey", "type|name|lable", "text|a|A"), "2 a", "no label", "lable"
    ),
    "a question without a label": at(survey("", "text|a|"), "2 a", "no label", "column label"),
    "a question without a name": at(survey("", AGE, "text||What?"), "3", "no name", "column name"),
    "a question without a type": at(survey("", AGE, "|a|A"), "3 a", "no type", "column type"),
    "a type that is misspelt": at(survey("", "intger|a|A"), "2 a", "'intger'", "integer meant"),
    "a type that nobody knows": at(survey("", "quiz|a|A"), "2 a", "'quiz' is unknown", "text"),
    "a group that is not closed": at(
        survey("", "begin_group|g|G", "text|a|A"), "2 g", "never closed", "end_group"
    ),
    "a repeat that is not closed": at(
        survey("", AGE, "begin_repeat|g|G", "text|a|A"), "3 g", "never closed", "end_repeat"
    ),
    "an end of nothing": at(survey("", AGE, "end_group||"), "3", "nothing that is open", "delete"),
    "a group closed as a repeat": at(
        survey("", "begin_group|g|G", "text|a|A", "end_repeat||"),
        "4",
        "group g of row 2",
        "end_group",
    ),
    "a name given twice": at(
        survey("", AGE, "text|age|Again"), "3 age", "already that of row 2", "another"
    ),
    "a name with a space": at(survey("", "text|first name|A"), "2 first name", "first_name"),
    "a name with a sign": at(survey("", "text|a+b|A"), "2 a+b", "'+'", "a_b"),
    "a name that begins with a digit": at(survey("", "text|1st|A"), "2 1st", "q1st", "letter"),
    "a list that is not there": at(
        survey("", "select_one yn|a|A"), "2 a", "the list yn", "list_name"
    ),
    "a list that is misspelt": at(
        survey("", "select_one ny|a|A") | sheet("choices", "list_name|name|label", "nyy|y|Y"),
        "2 a",
        "the list ny",
        "is nyy meant?",
    ),
    "choices under a misspelt heading": at(
        survey("", "select_one yn|a|A") | sheet("choices", "listname|name|label", "yn|y|Y"),
        "2 a",
        "no column list_name",
        "listname",
    ),
    "a select that names no list": at(
        survey("", "select_one|a|A") | YES_NO, "2 a", "names no list", "select_one yes_no"
    ),
    "a choice without a name": at(
        survey("", "select_one yn|a|A")
        | sheet("choices", "list_name|name|label", "yn|y|Y", "yn||N"),
        "3",
        "no name",
        "column name",
        of="choices",
    ),
    "a choice given twice": at(
        survey("", "select_one yn|a|A")
        | sheet("choices", "list_name|name|label", "yn|y|Y", "yn|n|N", "yn|y|Yes"),
        "4 y",
        "in row 2",
        of="choices",
    ),
    "a choice with a space among several": at(
        survey("", "select_multiple c|a|A")
        | sheet("choices", "list_name|name|label", "c|dark red|D", "c|blue|B"),
        "2 dark red",
        "dark_red",
        of="choices",
    ),
    "a filter beside or_other": at(
        survey("choice_filter", "select_one yn or_other|a|A|name != 'yes'") | YES_NO,
        "2 a",
        "or_other",
        "leave out",
    ),
    "a reference to nothing": at(
        survey("relevant", AGE, "text|a|A|${agee} > 1"),
        "3 a",
        "relevant",
        "${agee}",
        "${age} meant",
    ),
    "a reference in a label to nothing": at(
        survey("", AGE, "text|a|Dear ${nam}"), "3 a", "label", "${nam}", "no question asks"
    ),
    "a reference that is not closed": at(
        survey("relevant", AGE, "text|a|A|${age > 1"), "3 a", "relevant", "not closed", "}"
    ),
    "a reference with spaces": at(
        survey("relevant", AGE, "text|a|A|${ age } > 1"), "3 a", "write ${age}", "without spaces"
    ),
    "a reference without its braces": at(
        survey("relevant", AGE, "text|a|A|$age > 1"), "3 a", "$age", "${age}"
    ),
    "a reference to a name that two questions have": at(
        survey(
            "relevant",
            "begin_group|g|G|",
            "text|x|X|",
            "end_group|||",
            "begin_group|h|H|",
            "text|x|X|",
            "end_group|||",
            "text|b|B|${x} = '1'",
        ),
        "8 b",
        "${x} can be any",
        "another",
    ),
    "calculations in a circle": at(
        survey("calculation", AGE, "calculate|a||${b} + 1", "calculate|b||${a} + 1"),
        "3 a",
        "cycle",
        "${a} (row 3)",
        "${b} (row 4)",
        "out",
    ),
    "conditions in a circle": at(
        survey("relevant", "text|a|A|${b} = 'x'", "text|b|B|${a} = 'x'"),
        "2 a",
        "cycle",
        "${a} (row 2) (relevant)",
        "${b} (row 3) (relevant)",
    ),
    "a calculation of itself": at(
        survey("calculation", "calculate|a||${a} + 1"), "2 a", "itself", "${a}", "take"
    ),
    "an expression that ends too soon": at(
        survey("calculation", AGE, "calculate|a||${age} +"), "3 a", "calculation", "'${age} +'"
    ),
    "a bracket that is not closed": at(
        survey("relevant", AGE, "text|a|A|(${age} > 1"), "3 a", "relevant", "a ) is missing"
    ),
    "a text that is not closed": at(
        survey("relevant", AGE, "text|a|A|${age} = 'x"), "3 a", "relevant", "quotation mark"
    ),
    "== for =": at(
        survey("relevant", AGE, "text|a|A|${age} == 1"), "3 a", "'${age} == 1'", "write = once"
    ),
    "&& for and": at(
        survey("relevant", AGE, "text|a|A|${age} > 1 && ${age} < 9"), "3 a", "write and"
    ),
    "AND for and": at(
        survey("constraint", AGE, "integer|a|A|. > 1 AND . < 9"), "3 a", "small letters"
    ),
    "a function that nobody knows": at(
        survey("calculation", AGE, "calculate|a||iff(${age} > 1, 2, 3)"), "3 a", "iff()", "if()"
    ),
    "a function in capital letters": at(
        survey("calculation", AGE, "calculate|a||ROUND(${age}, 0)"), "3 a", "ROUND()", "round()"
    ),
    "an argument too few": at(
        survey("calculation", AGE, "calculate|a||if(${age} > 1, 2)"), "3 a", "3 arguments, not 2"
    ),
    "selected() without its choice": at(
        survey("relevant", "select_one yn|a|A|", "text|b|B|selected(${a})") | YES_NO,
        "3 b",
        "2 arguments, not 1",
        "'choice'",
    ),
    "a pattern that is none": at(
        survey("constraint", "text|a|A|regex(., '[0-9')"), "2 a", "constraint", "missing ]"
    ),
    "a pattern that looks ahead": at(
        survey("constraint", "text|a|A|regex(., '(?=x)y')"), "2 a", "pattern", "(?=", "for each"
    ),
    "a pattern that must not hold something": at(
        survey("constraint", "text|a|A|regex(., '(?!0)[0-9]+')"), "2 a", "not(regex(...))"
    ),
    "a pattern that asks for what it found": at(
        survey("constraint", r"text|a|A|regex(., '(.)\1')"), "2 a", "cannot be asked for again"
    ),
    "a pattern that gives nothing back": at(
        survey("constraint", "text|a|A|regex(., '[0-9]++')"), "2 a", "take out the +"
    ),
    "a pattern that counts too far": at(
        survey("constraint", "text|a|A|regex(., 'a{2000}')"), "2 a", "string-length()"
    ),
    "a calculate without its calculation": at(
        survey("", AGE, "calculate|a|"), "3 a", "column calculation"
    ),
    "a count of nothing": at(
        survey("repeat_count", "begin_repeat|r|R|${n}", "text|a|A|", "end_repeat|||"),
        "2 r",
        "repeat_count",
        "${n}",
    ),
    "a count by a word": at(
        survey("repeat_count", "begin_repeat|r|R|${a} x", "text|a|A|", "end_repeat|||"),
        "2 r",
        "repeat_count",
    ),
    "a trigger that is no reference": at(
        survey("trigger calculation", f"{AGE}||", "text|a|A|age|now()"), "3 a", "trigger", "${name}"
    ),
    "a range that ends nowhere": at(
        survey("parameters", "range|a|A|start=1;end=x"), "2 a", "parameters", "'end'", "number"
    ),
    "a shuffle that is neither": at(
        survey("parameters", "select_one yn|a|A|randomize=perhaps") | YES_NO,
        "2 a",
        "randomize is true or false",
        "perhaps",
    ),
    "a seed without a shuffle, beside another's fault": at(
        survey("parameters", "select_one yn|a|A|seed=3", "select_one yn|b|B|randomize=maybe")
        | YES_NO,
        "2 a",
        "randomize=true",
    ),
    "a shuffle that is neither, beside another's fault": at(
        survey("parameters", "select_one yn|a|A|seed=3", "select_one yn|b|B|randomize=maybe")
        | YES_NO,
        "3 b",
        "not maybe",
    ),
    "a seed without a shuffle": at(
        survey("parameters", f"{AGE}|", "select_one yn|a|A|seed=3") | YES_NO,
        "3 a",
        "randomize=true",
    ),
    "a seed that is a word": at(
        survey("parameters", f"{AGE}|", "select_one yn|a|A|randomize=true,seed=abc") | YES_NO,
        "3 a",
        "the seed is a number",
        "abc",
    ),
    "a trigger that nobody is asked": at(
        survey(
            "trigger calculation",
            f"{AGE}||",
            "calculate|k|||${age} + 1",
            "calculate|g||${k}|now()",
        ),
        "4 g",
        "trigger: ${k} is worked out",
    ),
    "a name of the form that is none": at(
        survey("", AGE) | sheet("settings", "name", "1a"), "2", "name", "letter", of="settings"
    ),
    "a curly quotation mark": at(
        survey("relevant", AGE, "text|a|A|${age} = \u201ex\u201d"),
        "3 a",
        "straight quotation marks",
    ),
    "a default that ends too soon": at(
        survey("default", f"{AGE}|", "date|a|A|now("), "3 a", "default: 'now('"
    ),
    "a sum that ends too soon as a default": at(
        survey("default", f"{AGE}|", "integer|a|A|5 +"), "3 a", "default: '5 +'"
    ),
    "an audit by another name": at(
        survey("", AGE, "audit|log|"), "3 log", "an audit is called audit"
    ),
    "a picture of no size": at(
        survey("parameters", f"{AGE}|", "image|a|A|max-pixels=big"),
        "3 a",
        "max-pixels is a whole number",
    ),
    "a quality that is none": at(
        survey("parameters", f"{AGE}|", "audio|a|A|quality=loud"), "3 a", "quality"
    ),
    "an audit of places that says not how": at(
        survey("parameters", f"{AGE}|", "audit|audit||location-priority=fast"),
        "3 audit",
        "location-min-interval",
    ),
    "a list's file that is not there": at(
        FROM_FILE, "2 a", "needs the file places.csv", "beside the form", media={}
    ),
    "a list's file that is misspelt": at(
        FROM_FILE, "2 a", "places.csv", "is place.csv meant?", media={"place.csv": b"name,label\n"}
    ),
    "a list's file without names": at(
        FROM_FILE, "2 a", "column name", "(it has code, label)", media=places("code,label\n1,A\n")
    ),
    "a list's file that is no UTF-8": at(
        FROM_FILE,
        "2 a",
        "places.csv, line 2",
        "UTF-8",
        media={"places.csv": "name,label\na,é\n".encode("latin-1")},
    ),
    "a list's file that is empty": at(FROM_FILE, "2 a", "no heading", media=places("")),
    "a list's XML that is not closed": at(
        survey("", "select_one_from_file places.xml|a|A"),
        "2 a",
        "places.xml",
        media={"places.xml": b"<root><item><name>a</name>"},
    ),
    "a list's XML with entities": at(
        survey("", "select_one_from_file places.xml|a|A"),
        "2 a",
        "places.xml",
        media={"places.xml": b'<!DOCTYPE r [<!ENTITY a "b">]><root><item>&a;</item></root>'},
    ),
    "a list's GeoJSON that is none": at(
        survey("", "select_one_from_file places.geojson|a|A"),
        "2 a",
        "places.geojson is no GeoJSON FeatureCollection",
        media={"places.geojson": b'{"type": "Feature"}'},
    ),
    "pulldata() from a file that is not there": at(
        survey("calculation", AGE, "calculate|a||pulldata('prices', 'p', 'k', ${age})"),
        "3 a",
        "needs the file prices.csv",
        media={},
    ),
    "an instance name of nothing": at(
        survey("", AGE) | sheet("settings", "form_id|instance_name", "f|concat(${nam}, 'x')"),
        "2",
        "instance_name",
        "${nam}",
        of="settings",
    ),
    "something saved into no record": at(
        survey("save_to", "text|a|A|size"), "2 a", "save_to", "sheet entities"
    ),
    "a list that nothing makes": at(
        survey(
            "calculation", f"{AGE}|", "calculate|a||instance('q')/root/item[name = ${age}]/label"
        ),
        "3 a",
        "calculate",
        "no list 'q'",
        "lists are: none",
    ),
    "a record that is corrected, of a list that the form does not take in": at(
        survey("", "text|q|Q") | sheet("entities", "list_name|entity_id|update_if", "e|${q}|1"),
        "2 baseVersion",
        "no list 'e'",
        "csv-external",
        of="entities",
    ),
    "a record that belongs to no list": at(
        survey("save_to", "text|a|A|size") | sheet("entities", "label", "${a}"),
        "2",
        "list_name",
        of="entities",
    ),
}

WARNED = {
    "a condition under a misspelt heading": at(
        survey("relevent", f"{AGE}|", "text|a|A|${age} > 1"), "1", "relevent", "relevant meant"
    ),
    "a rule under a misspelt heading": at(
        survey("constrain", "integer|a|A|. < 9"), "1", "constrain", "constraint meant"
    ),
    "a setting under a misspelt heading": at(
        survey("", AGE) | sheet("settings", "form_idd|form_title", "f|F"),
        "1",
        "form_idd",
        "form_id meant",
        of="settings",
    ),
    "a sheet that is misspelt": at(
        survey("", AGE) | sheet("setings", "form_id|form_title", "f|F"),
        "-",
        "passed over",
        "is settings meant?",
        of="setings",
    ),
    "a word without quotation marks": at(
        survey("relevant", "select_one yn|a|A|", "text|b|B|${a} = yes") | YES_NO,
        "3 b",
        "relevant: yes",
        "is 'yes' meant?",
    ),
    "a question without its braces": at(
        survey("relevant", AGE, "text|b|B|age > 1"), "3 b", "age is read", "is ${age} meant?"
    ),
    "a filter by a column that no choice has": at(
        survey("choice_filter", "text|r|R|", "select_one yn|a|A|region = ${r}") | YES_NO,
        "3 a",
        "choice_filter",
        "no column region",
    ),
    "a filter by a column that the file has not": at(
        survey("choice_filter", "text|r|R|", "select_one_from_file places.csv|a|A|regoin = ${r}"),
        "3 a",
        "places.csv has no column regoin",
        "is region meant?",
        media=places("name,label,region\na,A,1\n"),
    ),
    "a choice of no list": at(
        survey("", "select_one yn|a|A")
        | sheet("choices", "list_name|name|label", "yn|y|Y", "|n|N"),
        "3 n",
        "never offered",
        "list_name",
        of="choices",
    ),
    "a choice without a label": at(
        survey("", "select_one yn|a|A")
        | sheet("choices", "list_name|name|label", "yn|y|Y", "yn|n|"),
        "3 n",
        "no label",
        of="choices",
    ),
    "a translation that is missing": at(
        sheet(
            "survey",
            "type|name|label::English (en)|label::French (fr)",
            "text|a|Name|Nom",
            "text|b|Age|",
        ),
        "3",
        "label::French (fr)",
        "translate",
    ),
    "a language that no label is in": at(
        sheet("survey", "type|name|label::English (en)|label::French (fr)", "text|a|Name|Nom")
        | sheet("settings", "default_language", "Frenhc (fr)"),
        "2",
        "default_language",
        "is French (fr) meant?",
        of="settings",
    ),
    "a form_id with a space": at(
        survey("", AGE) | sheet("settings", "form_id", "my form"), "2", "my_form", of="settings"
    ),
    "a picture that is not there": at(
        survey("media::image", "text|a|A|a.png"), "2 a", "a.png", "beside the form", media={}
    ),
    "a choice's sound that is not there": at(
        survey("", "select_one yn|a|A")
        | sheet("choices", "list_name|name|label|audio", "yn|y|Y|y.mp3"),
        "2 y",
        "y.mp3",
        of="choices",
        media={},
    ),
    "a count on a group": at(
        survey("repeat_count", "begin_group|g|G|3", "text|a|A|", "end_group|||"),
        "2 g",
        "repeat_count",
        "no repeat",
    ),
    "a count asked inside its own repeat": at(
        survey("repeat_count", "begin_repeat|r|R|${a}", "integer|a|A|", "end_repeat|||"),
        "2 r",
        "${a}",
        "before the repeat",
    ),
    "a count below nothing": at(
        survey("repeat_count", "begin_repeat|r|R|-2", "integer|a|A|", "end_repeat|||"),
        "2 r",
        "-2",
    ),
    "a count of ten million": at(
        survey("repeat_count", "begin_repeat|r|R|10000000", "integer|a|A|", "end_repeat|||"),
        "2 r",
        "10,000",
    ),
    "a default that is no date": at(
        survey("default", "date|a|A|31/12/2025"), "2 a", "default", "2026-11-23"
    ),
    "a default that is no number": at(
        survey("default", "integer|a|A|many"), "2 a", "default", "whole number"
    ),
    "a default in a month that no year has": at(
        survey("default", "date|a|A|2020-13-01"), "2 a", "default: '2020-13-01'", "stays blank"
    ),
    "a default on a day that no February has": at(
        survey("default", "date|a|A|2020-02-30"), "2 a", "default: '2020-02-30'", "stays blank"
    ),
    "a default at an hour that no day has": at(
        survey("default", "time|a|A|25:00"), "2 a", "default: '25:00'", "stays blank"
    ),
    "a default that is no place": at(
        survey("default", "geopoint|a|A|a b"), "2 a", "default: 'a b'", "a place"
    ),
    "a column that a list's file has not, searched by": at(
        survey(
            "calculation",
            "select_one_from_file places.csv|p|P|",
            "calculate|a||instance('places')/root/item[nam=${p}]/label",
        ),
        "3 a",
        "calculation: the list places has no column nam",
        "is name meant?",
        media=places("name,label\na,A\n"),
    ),
    "a column that a list's file has not, asked for": at(
        survey(
            "calculation",
            "select_one_from_file places.csv|p|P|",
            "calculate|a||instance('places')/root/item[name=${p}]/lab",
        ),
        "3 a",
        "no column lab,",
        "is label meant?",
        media=places("name,label\na,A\n"),
    ),
    "a column that a list of choices has not": at(
        survey(
            "calculation choice_filter",
            "select_one yn|p|P||name != ''",
            "calculate|a||instance('yn')/root/item[name=${p}]/price|",
        )
        | YES_NO,
        "3 a",
        "the list yn has no column price",
    ),
    "such a column beside a path that only looks like a list's": at(
        survey(
            "calculation",
            "select_one yn|p|P|",
            "calculate|a||instance/root/item = instance('yn')/root/item[name=${p}]/price",
        )
        | YES_NO,
        "3 a",
        "the list yn has no column price",
    ),
    "a path to nothing": at(
        survey("relevant", AGE, "text|a|A|/data/agee = 1"),
        "3 a",
        "relevant: /data/agee leads to no question",
        "is ${age} meant?",
    ),
    "a default that is no choice": at(
        survey("default", "select_one yn|a|A|yess") | YES_NO, "2 a", "'yess'", "is yes meant?"
    ),
    "an appearance that is misspelt": at(
        survey("appearance", "select_one yn|a|A|quik") | YES_NO, "2 a", "'quik'", "is quick meant?"
    ),
    "names that differ by a capital letter": at(
        survey("", "text|a|A", "text|A|B"), "3 A", "capital letters"
    ),
    "a list's file without rows": at(
        FROM_FILE, "2 a", "places.csv", "no rows", media=places("name,label\n")
    ),
    "a list's file with a quotation mark that nothing closes": at(
        FROM_FILE, "2 a", "quotation mark", media=places('name,label\na,"A\nb,B\n')
    ),
    "a column to pull that the file has not": at(
        survey("calculation", AGE, "calculate|a||pulldata('places', 'prize', 'name', ${age})"),
        "3 a",
        "calculation: places.csv has no column prize",
        "is price meant?",
        media=places("name,price\na,1\n"),
    ),
    "a column to search by that the file has not": at(
        survey("calculation", AGE, "calculate|a||pulldata('places', 'price', 'nam', ${age})"),
        "3 a",
        "no column nam",
        "is name meant?",
        media=places("name,price\na,1\n"),
    ),
    "a list's file with a column twice": at(
        FROM_FILE, "2 a", "column label twice", media=places("name,label,label\na,A,B\n")
    ),
}


def found(mistake: Mistake, problems: tuple[Problem, ...]) -> list[Problem]:
    return [
        one
        for one in problems
        if (one.sheet, one.row, one.question) == (mistake.sheet, mistake.row, mistake.question)
        and all(word in one.reason for word in mistake.says)
    ]


@pytest.mark.parametrize("file", WRITERS)
@pytest.mark.parametrize("name", REFUSED)
def test_a_mistake_is_refused_by_its_row_with_the_way_out(name: str, file: str):
    mistake = REFUSED[name]
    data = WRITERS[file](mistake.sheets)
    with pytest.raises(BrokenForm) as refused:
        read_xlsform(file, data, mistake.media)
    assert found(mistake, refused.value.problems), str(refused.value)
    assert str(refused.value).startswith(f"{file}, ")


def test_a_mistake_in_an_xform_made_elsewhere_is_refused_by_its_line():
    xml = read_xlsform("form.md", markdown(survey("calculation", f"{AGE}|", "calculate|a||1"))).xml
    broken = xml.replace(b'calculate="1"', b"calculate=\"instance('q')/root/item/b\"")
    (line,) = (n for n, one in enumerate(broken.splitlines(), 1) if b"instance('q')" in one)
    with pytest.raises(BrokenForm) as refused:
        lint(read_xlsform("form.xml", broken), {})
    assert str(refused.value).startswith(f"form.xml, line {line} (a): calculate: there is no list")


@pytest.mark.parametrize("file", WRITERS)
@pytest.mark.parametrize("name", WARNED)
def test_what_is_hardly_meant_is_published_with_a_warning_at_its_row(name: str, file: str):
    mistake = WARNED[name]
    read = read_xlsform(file, WRITERS[file](mistake.sheets), mistake.media)
    assert found(mistake, read.warnings), [str(one) for one in read.warnings]
    assert Form.load(read.xml, mistake.media)


def test_no_message_shows_what_the_author_never_wrote():
    for mistake in REFUSED.values():
        with pytest.raises(BrokenForm) as refused:
            read_xlsform("form.md", markdown(mistake.sheets), mistake.media)
        told = str(refused.value)
        for sign in ("/data/", "pyxform", "http", "{'", "Error", "Unnamed"):
            assert sign not in told


def test_a_form_that_asks_nothing_is_warned_of():
    (warning,) = read_xlsform("form.md", markdown(survey(""))).warnings
    assert "asks nothing" in warning.reason


def test_every_mistake_of_a_form_is_told_at_once_in_the_order_of_its_rows():
    sheets = survey(
        "relevant calculation",
        "text|first name|A||",
        "text|b|B|${nobody} = 1|",
        "calculate|c|||sum(1",
        "select_one none|d|D||",
    )
    with pytest.raises(BrokenForm) as refused:
        read_xlsform("form.md", markdown(sheets))
    assert [one.row for one in refused.value.problems] == [2, 3, 4, 5]


def test_what_pyxform_tells_of_one_by_one_is_told_at_once():
    sheets = survey("", "text|a|", "text|b|", "|c|C", "text||D", "select_one yn|e|") | YES_NO
    with pytest.raises(BrokenForm) as refused:
        read_xlsform("form.md", markdown(sheets))
    assert [(one.row, one.reason.partition(":")[0]) for one in refused.value.problems] == [
        (2, "it has no label"),
        (3, "it has no label"),
        (4, "it has no type"),
        (5, "it has no name"),
        (6, "it has no label"),
    ]


def test_quotation_marks_that_pyxform_makes_straight_are_blamed_for_nothing():
    sheets = survey("relevant", AGE, "text|a|A|${age} = \u2018x\u2019", "text|b||")
    with pytest.raises(BrokenForm) as refused:
        read_xlsform("form.md", markdown(sheets))
    assert [one.row for one in refused.value.problems] == [4]


def test_the_id_of_the_entry_may_be_named_unless_the_form_leaves_it_out():
    sheets = survey("calculation", f"{AGE}|", "text|id|It is ${instanceID}|${instanceID}")
    xml = read_xlsform("form.md", markdown(sheets)).xml
    assert b'calculate=" /data/meta/instanceID "' in xml
    left_out = markdown(sheets | sheet("settings", "omit_instanceID", "yes"))
    with pytest.raises(BrokenForm, match=r"uses \$\{instanceID\}, which no question asks"):
        read_xlsform("form.md", left_out)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_list_is_read_however_it_was_saved(delimiter: str, mark: str):
    text = mark + "name,label,region\na,A,1\nb,B,2\n".replace(",", delimiter)
    read = read_xlsform("form.md", markdown(FROM_FILE), places(text))
    assert read.warnings == ()
    root = Form.load(read.xml, places(text)).instance("places")
    assert root is not None
    assert [item.kids["region"][0].text for item in root.children[0].children] == ["1", "2"]


def test_an_old_workbook_is_read_and_refused_as_a_new_one_is():
    sound = read_xlsform("old.xls", (OLD / "sound.xls").read_bytes())
    assert {path: one.row for path, one in sound.places.items()} == {
        "/data/age": 2,
        "/data/school": 4,
        "age": 2,
        "school": 4,
    }
    with pytest.raises(BrokenForm) as refused:
        read_xlsform("old.xls", (OLD / "mistaken.xls").read_bytes())
    (problem,) = refused.value.problems
    assert (problem.sheet, problem.row, problem.question) == ("survey", 3, "school")
    assert "is ${age} meant?" in problem.reason


@pytest.mark.parametrize("form", ["household_registration", "household_update"])
def test_the_sample_forms_are_warned_of_nothing_but_large_pictures(form: str):
    media = {file.name: file.read_bytes() for file in SAMPLES.glob("*.csv")}
    read = read_xlsform(f"{form}.xlsx", (SAMPLES / f"{form}.xlsx").read_bytes(), media)
    assert [str(one) for one in read.warnings if "max-pixels" not in one.reason] == []
