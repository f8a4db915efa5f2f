"""Entities by each version of the specification, in the words of a form and in those of pyxform.

Source: https://getodk.github.io/xforms-spec/entities (2022.1 creates, 2023.1 updates, 2024.1 tells
offline changes apart by trunkVersion and branchId, 2025.1 has entities inside repeats)
"""

from __future__ import annotations

import re

import pytest

from forms import BrokenForm, Entry, Form
from forms.claims import claims
from forms.xlsform import compile_xlsform
from tests.forms.spec.told import Case, ours, xform
from tests.forms.test_entry import context

ANN, BOB = "11111111-1111-4111-8111-111111111111", "33333333-3333-4333-8333-333333333333"
BRANCH = "22222222-2222-4222-8222-222222222222"
PEOPLE = {
    "jr://file-csv/people.csv": (
        f"name,label,__version,__trunkVersion,__branchId\n{ANN},Ann,3,2,{BRANCH}\n{BOB},Bob,1,,\n"
    )
}


def _entity(version: str, attributes: str, binds: str, more: str = "") -> str:
    """A form that names the version, with one entity of people and one question, n."""
    form = xform(
        f'<n/><who/><meta><instanceID/><entity dataset="people" {attributes}><label/></entity></meta>',
        '<bind nodeset="/data/n" type="string" entities:saveto="name_"/>'
        '<bind nodeset="/data/meta/entity/label" calculate="/data/n"/>'
        '<bind nodeset="/data/meta/instanceID" jr:preload="uid"/>'
        f"{binds}{more}",
        '<input ref="/data/n"/><input ref="/data/who"/>',
    )
    return form.replace("<model>", f'<model entities:entities-version="{version}">')


NEW_ID = '<setvalue event="odk-instance-first-load" ref="/data/meta/entity/@id" value="uuid()"/>'
CREATED = '<bind nodeset="/data/meta/entity/@create" calculate="/data/n != \'\'"/>'
CREATES = """
    | survey |
    | | type | name | label | save_to | relevant |
    | | text | n | N | name_ | |
    | | integer | age | Age | age | ${n} != '' |
    | entities |
    | | list_name | label | create_if |
    | | people | ${n} | ${age} > 17 |
    """
UPDATES = """
    | survey |
    | | type | name | label | save_to |
    | | select_one_from_file people.csv | who | Who | |
    | | text | n | N | name_ |
    | entities |
    | | list_name | label | entity_id | update_if |
    | | people | ${n} | ${who} | ${n} != '' |
    """
UPSERTS = UPDATES.replace("update_if |", "update_if | create_if |").replace(
    "${who} | ${n} != '' |", "coalesce(${who}, uuid()) | ${who} != '' | ${who} = '' |"
)
MEMBERS = """
    | survey |
    | | type | name | label | save_to |
    | | text | village | Village | households#village |
    | | begin repeat | p | Person | |
    | | text | n | N | people#name_ |
    | | end repeat | | | |
    | entities |
    | | list_name | label | repeat |
    | | households | ${village} | |
    | | people | ${n} | ${p} |
    """

CASES = {
    "2022.1 creates": Case(
        _entity("2022.1.0", 'create="1" id=""', CREATED, NEW_ID),
        (
            ("init", {"xml": '<entity dataset="people" create="0" id="uuid"><label />'}),
            ("/data/n = Ann", {"xml": 'create="1" id="uuid"><label>Ann</label>'}),
            ("save_restore", {"xml": 'create="1" id="uuid"><label>Ann</label>'}),
        ),
    ),
    "2023.1 updates what it names by the version that it had seen": Case(
        _entity(
            "2023.1.0",
            'update="1" id="" baseVersion=""',
            '<bind nodeset="/data/meta/entity/@id" calculate="/data/who"/>'
            '<bind nodeset="/data/meta/entity/@baseVersion" calculate="'
            "instance('people')/root/item[name = /data/who]/__version\"/>",
            '<instance id="people" src="jr://file-csv/people.csv"/>',
        ),
        (
            ("init", {"xml": 'update="1" id="" baseVersion=""><label />'}),
            (f"/data/who = {BOB}", {"xml": 'update="1" id="uuid" baseVersion="1"><label />'}),
        ),
        files=PEOPLE,
    ),
    "2024.1 creates as pyxform has it, where it is to": Case(
        CREATES,
        (
            ("init", {"xml": '<entity dataset="people" create="0" id="uuid"><label />'}),
            ("/data/n = Ann", {"xml": "<label>Ann</label>"}),
            ("/data/age = 20", {"xml": 'create="1" id="uuid"'}),
            ("/data/age = 10", {"xml": 'create="0" id="uuid"'}),
        ),
    ),
    "2024.1 tells on which branch of which trunk an update stands": Case(
        UPDATES,
        (
            ("init", {"xml": 'baseVersion="" trunkVersion="" branchId="" id=""'}),
            (f"/data/who = {ANN}", {"xml": 'baseVersion="3" trunkVersion="2" branchId="uuid"'}),
            ("/data/n = Anna", {"xml": '<entity dataset="people" update="1" baseVersion="3"'}),
            # Bob was never changed offline: he has no branch.
            (f"/data/who = {BOB}", {"xml": 'baseVersion="1" trunkVersion="" branchId=""'}),
        ),
        files=PEOPLE,
    ),
    "2024.1 creates or updates, whichever it is": Case(
        UPSERTS,
        (
            ("init", {"xml": 'create="1" update="0" baseVersion="" trunkVersion="" branchId=""'}),
            ("/data/n = Anna", {"xml": "<label>Anna</label>"}),
            (f"/data/who = {ANN}", {"xml": 'create="0" update="1" baseVersion="3"'}),
        ),
        files=PEOPLE,
    ),
    "2025.1 has an entity in each instance, and one around them": Case(
        MEMBERS,
        (
            ("init", {"xml": '<entity dataset="people" create="1" id="uuid"><label />'}),
            ("/data/village = X", {"xml": '"households" create="1" id="uuid"><label>X</label>'}),
            ("/data/p[1]/n = Ann", {"xml": "<label>Ann</label></entity></meta></p>"}),
            ("add /data/p", {}),
            (
                "/data/p[2]/n = Bob",
                {"xml": 'id="uuid"><label>Bob</label></entity></meta></p><meta>'},
            ),
        ),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_an_entity_is_declared_as_its_version_has_it(name: str):
    assert ours(name, CASES[name]) == []


@pytest.mark.parametrize("name", CASES)
def test_the_version_is_the_one_that_the_case_is_about(name: str):
    (said,) = re.findall(r'entities-version="([\d.]+)"', CASES[name].written(name)["form"])
    assert said.startswith(name.partition(" ")[0])


def test_attributes_are_nodes_that_others_can_read():
    form = Form.load(_entity("2024.1.0", 'create="1" id=""', CREATED, NEW_ID))
    entry = Entry.start(form, context())
    assert entry.find("/data/meta/entity/@create").text == "0"
    first = entry.find("/data/meta/entity/@id").text
    assert "/data/meta/entity/@create" in entry.answer("/data/n", "Ann").refs
    again = Entry.resume(form, entry.save(), context())
    assert again.find("/data/meta/entity/@id").text == first


def test_each_member_claims_itself_by_an_id_of_its_own_and_keeps_it():
    xml = compile_xlsform("f.md", MEMBERS.encode())
    form = Form.load(xml)
    entry = Entry.start(form, context())
    entry.answer("/data/village", "X")
    for place, name in ((1, "Ann"), (2, "Bob")):
        if place > 1:
            entry.add_repeat("/data/p")
        entry.answer(f"/data/p[{place}]/n", name)
    bob = entry.find("/data/p[2]/meta/entity/@id").text
    entry.remove_repeat("/data/p[1]")
    assert entry.find("/data/p[1]/meta/entity/@id").text == bob
    made = claims(form, entry.finish().xml)
    assert [(one.dataset, dict(one.fields), one.label) for one in made] == [
        ("households", {"village": "X"}, "X"),
        ("people", {"name_": "Bob"}, "Bob"),
    ]
    assert made[1].parent == ("households", made[0].id)
    assert len({one.id for one in made}) == 2


def test_an_update_claims_the_base_the_trunk_and_the_branch_that_it_stands_on():
    media = {"people.csv": PEOPLE["jr://file-csv/people.csv"].encode()}
    form = Form.load(compile_xlsform("f.md", UPDATES.encode(), media), media)
    entry = Entry.start(form, context())
    entry.answer("/data/who", ANN)
    entry.answer("/data/n", "Anna")
    (claim,) = claims(form, entry.finish().xml)
    assert (claim.action, claim.id, claim.base_version) == ("update", ANN, 3)
    assert (claim.trunk_version, claim.branch_id) == (2, BRANCH)


@pytest.mark.parametrize("version", ["2026.1.0", "2025.2.0", "1.0", ""])
def test_a_version_that_nobody_knows_here_is_refused(version: str):
    with pytest.raises(BrokenForm, match="entities"):
        Form.load(_entity(version, 'create="1" id=""', CREATED, NEW_ID))
