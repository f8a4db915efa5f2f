"""What is finished here is taken by others: ODK Central, ODK Validate, and JavaRosa as an edit."""

from __future__ import annotations

import random
import re
import subprocess
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from forms.check import check
from forms.entry import Entry
from forms.finish import Submission, Unfinished
from forms.form import Form
from forms.replay import replay
from forms.xlsform import compile_xlsform
from tests.forms.central import Central, Refused
from tests.forms.filling import context, filled
from tests.forms.finishing import SAMPLES, forms, sent
from tests.forms.peer import oracle

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ("nested", "household_registration", "household_update")
REGISTERED = "household_registration"


def finished(name: str, seed: int) -> tuple[Entry, Submission] | None:
    entry = filled(forms()[name], random.Random(seed), hours=seed % 27 - 13)
    try:
        return entry, entry.finish()
    except Unfinished:
        return None


@settings(max_examples=10, deadline=None)
@given(st.sampled_from(NAMES), st.integers(0, 10_000))
def test_central_takes_what_is_finished_and_takes_the_same_again(name: str, seed: int):
    made = finished(name, seed)
    if made is None:
        return
    _, done = made
    central = Central(forms()[name].xml)
    central.take(done.xml, done.attachments)
    central.take(done.xml, done.attachments)
    assert list(central.submissions) == [done.instance_id]
    # A household in which luck made nobody the head has no name to be shown by.
    assert set(central.lost) <= {"it has no label"}
    told = [each.get("id") for each in etree.fromstring(done.xml).iter("{*}entity")]
    assert len(central.entities) == len(set(told)) - len(central.lost)


@pytest.mark.parametrize("name", NAMES)
def test_central_takes_a_correction_in_the_place_of_the_old_one(name: str):
    form = forms()[name]
    entry, done = next(sent(name))
    central = Central(form.xml)
    central.take(done.xml, done.attachments)
    assert central.entities
    again = Entry.edit(form, done.xml, context(random.Random(99))).finish()
    central.take(again.xml, again.attachments)
    assert central.replaced == {done.instance_id}
    with pytest.raises(Refused, match="was replaced"):
        central.take(
            again.xml.replace(again.instance_id.encode(), b"uuid:" + UUID), again.attachments
        )
    assert entry.find("/data/meta/instanceID").text == done.instance_id


UUID = b"3f2504e0-4f89-41d3-9a0c-0305e82c3301"

# What is done to a finished submission, and by which rule Central refuses it then. The rules would
# prove nothing if they refused nothing.
SPOILT = {
    "no id": (lambda xml: re.sub(rb" id=\"[\w]+\"", b"", xml, count=1), "no form id"),
    "another id": (lambda xml: re.sub(rb" id=\"[\w]+\"", b' id="x"', xml, count=1), "no such form"),
    "another version": (
        lambda xml: re.sub(rb" version=\"[^\"]+\"", b' version="0"', xml, count=1),
        "no such version",
    ),
    "another root": (lambda xml: xml.replace(b"<data", b"<d", 1)[:-7] + b"</d>", "the root is d"),
    "no instanceID": (
        lambda xml: re.sub(rb"(<\w*:?instanceID>).*?<", rb"\1<", xml),
        "no instanceID",
    ),
    "a zero": (lambda xml: xml.replace(b"</", b"&#0;</", 1), "no XML"),
    "no UTF-8": (lambda xml: xml.replace(b"</", b"\xe9</", 1), "no XML"),
    "a document type": (
        lambda xml: xml.replace(b"<data", b"<!DOCTYPE data []><data", 1),
        "document type",
    ),
    "an envelope": (
        lambda xml: xml[:-7] + b"<base64EncryptedKey>x</base64EncryptedKey></data>",
        "encryption",
    ),
}
LOST = {
    "an entity without a UUID": (
        lambda xml: re.sub(rb"(<\w*:?entity [^>]* id=)\"[^\"]+\"", rb'\1"7"', xml, count=1),
        "its id is no UUID of version 4",
    ),
    "an entity of no list": (
        lambda xml: re.sub(rb" dataset=\"[^\"]+\"", b"", xml, count=1),
        "it belongs to no list",
    ),
    "an entity without a label": (
        lambda xml: re.sub(rb"(<\w*:?entity [^>]*><label>)[^<]*", rb"\1", xml, count=1),
        "it has no label",
    ),
    "an update of no version": (
        lambda xml: re.sub(rb" create=\"1\"", b' update="1"', xml, count=1),
        "it changes no version",
    ),
    "an entity of which nothing is said": (
        lambda xml: re.sub(rb" create=\"1\"", b"", xml, count=1),
        "it is neither made nor changed",
    ),
}


@pytest.mark.parametrize("way", SPOILT)
def test_the_rules_refuse_what_central_refuses(way: str):
    spoil, reason = SPOILT[way]
    _, done = next(sent(REGISTERED))
    spoilt = spoil(done.xml)
    assert spoilt != done.xml
    with pytest.raises(Refused, match=reason):
        Central(forms()[REGISTERED].xml).take(spoilt, done.attachments)


@pytest.mark.parametrize("way", LOST)
def test_the_rules_lose_the_entities_that_central_loses(way: str):
    spoil, reason = LOST[way]
    _, done = next(sent(REGISTERED))
    sound, central = Central(forms()[REGISTERED].xml), Central(forms()[REGISTERED].xml)
    sound.take(done.xml, done.attachments)
    central.take(spoil(done.xml), done.attachments)
    assert reason in central.lost
    assert len(central.lost) == len(sound.lost) + 1


def test_a_file_that_an_answer_names_is_expected_by_that_name():
    found = [made for seed in range(40) if (made := finished(REGISTERED, seed)) is not None]
    _, done = next(made for made in found if made[1].attachments)
    central = Central(forms()[REGISTERED].xml)
    assert sorted(central.expected(etree.fromstring(done.xml))) == sorted(done.attachments)
    with pytest.raises(Refused, match="files are missing"):
        central.take(done.xml)


# What a person types that no XML can hold, or that is written in more than one way --------------

TYPED = compile_xlsform(
    "typed.md",
    b"""
| survey |
| | type | name | label | calculation | constraint |
| | text | name | Name | | string-length(.) < 5 |
| | calculate | long | | string-length(${name}) | |
| | calculate | twice | | concat(${name}, ${name}) | |
| | calculate | read | | base64-decode('AGEBYg==') | |
| settings |
| | form_id |
| | typed |
""",
)


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("a\x00b\x1f", "ab"),
        ("\ud800ab\udfff", "ab"),
        ("\ufffe\uffffz", "z"),
        ("\x0b", ""),
        ("e\u0301", "\xe9"),
        ("\u1112\u1161\u11ab", "\ud55c"),
        ("\U0001f600", "\U0001f600"),
        ("<&>]]>"[:4], "<&>]"),
        ("a\r\nb", "a\r\nb"),
        ("\u202eab", "\u202eab"),
    ],
)
def test_what_was_typed_is_worked_with_as_it_is_sent(typed: str, kept: str):
    """Else an honest name of which a letter is composed otherwise would be refused by the server."""
    form = Form.load(TYPED)
    entry = Entry.start(form, context(random.Random(1)))
    entry.answer("/data/name", typed)
    done = entry.finish()
    assert etree.fromstring(done.xml).findtext("name", "") == kept
    # A letter beyond U+FFFF is two, as Java counts.
    letters = len(kept.encode("utf-16-le")) // 2
    assert etree.fromstring(done.xml).findtext("long") == str(letters)
    assert check(form, done.xml) == ()
    Central(form.xml).take(done.xml)


def test_a_choice_whose_list_composes_its_letters_otherwise_is_found():
    text = "| survey |\n| | type | name | label |\n| | select_one_from_file l.csv | q | Q |\n"
    xml = compile_xlsform("f.md", text.encode())
    form = Form.load(xml, {"l.csv": "name,label\nMe\u0301a,M\n".encode()})
    entry = Entry.start(form, context(random.Random(1)))
    entry.answer("/data/q", "Me\u0301a")
    done = entry.finish()
    assert "M\xe9a".encode() in done.xml
    assert check(form, done.xml) == ()
    assert check(form, done.xml.replace("M\xe9a".encode(), b"Mea"))[0].kind == "choice"


# ODK's own tools ------------------------------------------------------------------------------


def jar() -> str:
    try:
        return oracle.classpath().partition(":")[0]
    except oracle.Missing as missing:
        pytest.skip(str(missing))


@pytest.mark.parametrize("name", NAMES)
def test_odk_validate_takes_the_forms(name: str, tmp_path: Path):
    jar_ = jar()
    (tmp_path / "form.xml").write_bytes(forms()[name].xml)
    ran = subprocess.run(
        ["java", "-jar", jar_, str(tmp_path / "form.xml")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert "is valid" in ran.stdout + ran.stderr


@pytest.mark.parametrize("name", NAMES)
def test_javarosa_reads_what_is_finished_back_and_finds_nothing_wrong_with_it(name: str):
    jar()
    form = forms()[name]
    lists = {
        f"jr://file-csv/{file.name}": file.read_text(encoding="utf-8")
        for file in SAMPLES.glob("*.csv")
    }
    lists["jr://file-csv/households.csv"] = (
        "name,label,head_name,size,phone,village,account,__version\n"
        "0b9f7a4e-6f0e-4c3b-9a37-3c1c5f1de0aa,One,Ada,3,0712345678,v,77,4\n"
    )
    cases = [
        {
            "id": f"{name} {number}",
            "form": form.xml.decode(),
            "attachments": lists,
            "steps": [{"op": "init", "edit_xml": done.xml.decode()}],
        }
        for number, (_, done) in enumerate(sent(name))
    ]
    assert cases
    for case, told in zip(cases, oracle.replay(cases), strict=True):
        (step,) = told["steps"]
        assert "error" not in step, step["error"]
        assert "validate" not in step, step["validate"]
        read = {each["ref"]: each["value"] for each in step["state"]["nodes"] if "value" in each}
        (own,) = replay(case)["steps"]
        mine = {each["ref"]: each["value"] for each in own["state"]["nodes"] if "value" in each}
        drawn = re.compile(r"/(?:now|hour|visited|drawn|today|start|end)$")
        differing = {ref for ref in read if read[ref] != mine.get(ref) and not drawn.search(ref)}
        assert differing == set()
        # Moments are told in the zone of whoever reads, and numbers as Java writes them.
        for element in etree.fromstring(case["steps"][0]["edit_xml"].encode()).iter():
            text = (element.text or "").strip()
            if text.isalpha() and not len(element):
                assert text in read.values()
