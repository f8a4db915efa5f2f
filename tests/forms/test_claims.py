"""Submissions say things about the registry, by the ODK Entities specification."""

from __future__ import annotations

from pathlib import Path

import pytest

from forms.claims import BadClaim, Claim, claims, declarations
from forms.markup import BadMarkup
from forms.problems import BrokenForm
from forms.xlsform import compile_xlsform

SAMPLES = Path(__file__).parents[2] / "samples"
HOME = "0b0a4d5e-3f1c-4a3e-9a55-0f8f6f1f0001"
AMINA = "0b0a4d5e-3f1c-4a3e-9a55-0f8f6f1f0002"
OMAR = "0b0a4d5e-3f1c-4a3e-9a55-0f8f6f1f0003"


def sample(name: str) -> bytes:
    return compile_xlsform(f"{name}.xlsx", (SAMPLES / f"{name}.xlsx").read_bytes())


REGISTRATION = sample("household_registration")
UPDATE = sample("household_update")

FAMILY = f"""<data id="household_registration" version="1">
  <hh><phone>+2577000101</phone><displaced>no</displaced></hh>
  <roster><size>2</size>
    <member><given_name>Amina</given_name><age>39</age>
      <meta><entity dataset="persons" create="1" id="{AMINA}"><label>Amina D</label></entity></meta>
    </member>
    <member><given_name>Omar</given_name><age/>
      <meta><entity dataset="persons" create="true" id="uuid:{OMAR.upper()}">
        <label>Omar D</label></entity></meta>
    </member>
    <head_name>Amina D</head_name>
  </roster>
  <meta><entity dataset="households" create="1" id="{HOME}"><label>Amina D</label></entity>
    <instanceID>uuid:x</instanceID></meta>
</data>""".encode()


def update(**attributes: str) -> bytes:
    said = {"dataset": "households", "update": "1", "id": HOME, **attributes}
    entity = "".join(f' {name}="{value}"' for name, value in said.items())
    return f"<data><size>7</size><meta><entity{entity}/></meta></data>".encode()


def test_a_household_claims_itself_and_each_of_its_members():
    household, amina, omar = claims(REGISTRATION, FAMILY)
    assert household == Claim(
        dataset="households",
        id=HOME,
        action="create",
        label="Amina D",
        fields={"phone": "+2577000101", "displaced": "no", "size": "2", "head_name": "Amina D"},
        base_version=0,
        trunk_version=None,
        branch_id="",
        parent=None,
        ref="/data",
    )
    assert (amina.dataset, amina.id, amina.ref) == ("persons", AMINA, "/data/roster/member[1]")
    assert amina.parent == omar.parent == ("households", HOME)
    assert omar.id == OMAR
    assert omar.fields == {"given_name": "Omar", "age": ""}
    assert omar.ref == "/data/roster/member[2]"


def test_an_update_tells_which_version_its_author_had_seen():
    (claim,) = claims(UPDATE, update(baseVersion="4", trunkVersion="3", branchId="b1"))
    assert (claim.action, claim.fields) == ("update", {"size": "7"})
    assert (claim.base_version, claim.trunk_version, claim.branch_id) == (4, 3, "b1")


@pytest.mark.parametrize("said", ["", "-3", "0", "4.5", "four", "9" * 400])
def test_a_base_version_that_is_no_positive_integer_counts_as_nothing(said: str):
    (claim,) = claims(UPDATE, update(baseVersion=said))
    assert claim.base_version == 0


@pytest.mark.parametrize("said", ["", "0", "false", "yes", "TRUE", "2", "1.0", " 1"])
def test_only_one_and_true_make_a_claim(said: str):
    assert claims(UPDATE, update(update=said)) == ()


def test_a_form_that_says_both_claims_both():
    both = claims(UPDATE, update(create="true"))
    assert [claim.action for claim in both] == ["create", "update"]


@pytest.mark.parametrize("said", ["", "h-1", f"{HOME}0", f"{HOME}' or '1'='1"])
def test_an_entity_without_a_uuid_is_refused_by_its_path(said: str):
    with pytest.raises(BadClaim, match="UUID") as refused:
        claims(UPDATE, update(id=said))
    assert refused.value.problems[0].question == "/data"
    assert claims(UPDATE, update(id=said, update="0")) == ()


def test_a_submission_cannot_choose_another_dataset_than_its_form_declares():
    (claim,) = claims(UPDATE, update(dataset="officers"))
    assert claim.dataset == "households"


def test_a_question_that_was_not_relevant_claims_nothing():
    (claim,) = claims(UPDATE, update())
    assert "phone" not in claim.fields


def test_what_is_no_xml_or_brings_entities_of_its_own_is_refused():
    with pytest.raises(BadMarkup, match="well-formed"):
        claims(UPDATE, b"<data>")
    with pytest.raises(BadMarkup, match="document type"):
        claims(UPDATE, b'<!DOCTYPE data [<!ENTITY a "b">]>' + update())


def test_a_form_of_a_later_specification_is_refused_by_its_version():
    later = UPDATE.replace(b'entities-version="2024.1.0"', b'entities-version="2026.2.0"')
    with pytest.raises(BrokenForm, match="2026"):
        declarations(later)


def test_a_form_that_declares_no_entities_makes_no_claims():
    plain = compile_xlsform("f.md", b"| survey |\n| | type | name | label |\n| | text | a | A |\n")
    assert claims(plain, b"<data><a>1</a></data>") == ()


def test_members_of_a_group_inside_a_repeat_belong_to_the_nearest_entity():
    form = compile_xlsform(
        "f.md",
        b"""
| survey |
| | type | name | label | save_to |
| | text | place | P | farms#place |
| | begin_repeat | plot | Plot | |
| | text | crop | C | plots#crop |
| | begin_group | soil | S | |
| | text | kind | K | plots#soil |
| | end_group | | | |
| | end_repeat | | | |

| entities |
| | list_name | label |
| | farms | ${place} |
| | plots | ${crop} |
""",
    )
    sent = f"""<data><place>Hill</place>
      <plot><crop>maize</crop><soil><kind>clay</kind></soil>
        <meta><entity create="1" id="{AMINA}"><label>maize</label></entity></meta></plot>
      <meta><entity create="1" id="{HOME}"><label>Hill</label></entity></meta></data>"""
    farm, plot = claims(form, sent.encode())
    assert (farm.dataset, dict(farm.fields)) == ("farms", {"place": "Hill"})
    assert (plot.dataset, dict(plot.fields)) == ("plots", {"crop": "maize", "soil": "clay"})
    assert plot.parent == ("farms", HOME)
