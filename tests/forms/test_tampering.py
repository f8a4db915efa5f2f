"""Whatever is changed in a finished submission is found by the check, at its place; else nothing is."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from forms.check import check
from forms.claims import claims
from forms.entry import Entry, Fault
from forms.finish import Submission, Unfinished
from forms.form import Form
from forms.xlsform import compile_xlsform
from tests.forms.filling import context, filled
from tests.forms.finishing import MEASURED, NAMES, forms, sent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from forms.instance import Cell


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(NAMES[:4]), st.integers(0, 10_000))
def test_what_was_not_tampered_with_has_no_fault(name: str, seed: int):
    form = forms()[name]
    entry = filled(form, random.Random(seed), hours=seed % 27 - 13)
    try:
        done = entry.finish()
    except Unfinished:
        return
    assert check(form, done.xml, attachments=done.attachments) == ()


@pytest.mark.skipif(not MEASURED, reason="the benchmark's forms are not beside the project")
def test_a_large_submission_that_was_not_tampered_with_has_no_fault():
    for _, done in sent("large"):
        assert check(forms()["large"], done.xml, attachments=done.attachments) == ()


# What a tamperer does ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tampered:
    """A changed submission, and what must be said of it: any of these kinds, at this place."""

    xml: bytes
    ref: str
    kinds: tuple[str, ...]


def ref_of(element: etree._Element) -> str:
    """As the engine writes it: positions on repeats only, which the caller's form decides."""
    parts = []
    here: etree._Element | None = element
    while here is not None:
        name = etree.QName(here).localname
        before = list(here.itersiblings(here.tag, preceding=True))
        parts.append((name, len(before) + 1))
        here = here.getparent()
    return "/" + "/".join(f"{name}[{at}]" for name, at in reversed(parts))


def plain(ref: str) -> str:
    """Without positions that are 1: repeats and single nodes are compared alike."""
    return ref.replace("[1]", "")


class Tamperer:
    """One finished submission, and all that can be done to it."""

    def __init__(self, form: Form, entry: Entry, done: Submission) -> None:
        self.form = form
        self.entry = entry
        self.xml = done.xml

    def elements(self) -> Iterator[etree._Element]:
        return etree.fromstring(self.xml).iter()

    def copy(self, element: etree._Element) -> tuple[etree._Element, etree._Element]:
        """A fresh document, and the same element in it."""
        number = list(element.getroottree().getroot().iter()).index(element)
        root = etree.fromstring(self.xml)
        return root, list(root.iter())[number]

    def leaves(self) -> Iterator[tuple[etree._Element, Cell]]:
        """Each leaf, and the engine's node for it."""
        for element in self.elements():
            if not len(element):
                yield element, self.entry.find(self.found(ref_of(element)))

    def found(self, ref: str) -> str:
        """The reference with positions where the form repeats only."""
        steps, here = [], self.form.root
        for number, step in enumerate(ref.strip("/").split("/")):
            name = step.partition("[")[0]
            if number:
                here = here.by_name[name]
            steps.append(step if here.repeat is not None else name)
        return "/" + "/".join(steps)

    def told(self, root: etree._Element, element_ref: str, *kinds: str) -> Tampered:
        return Tampered(etree.tostring(root), plain(element_ref), kinds)

    # -- each is one way to tamper

    def rewritten(self, element: etree._Element, text: str, *kinds: str) -> Tampered:
        root, mine = self.copy(element)
        mine.text = text
        return self.told(root, ref_of(mine), *kinds)

    def without(self, element: etree._Element, ref: str, *kinds: str) -> Tampered:
        root, mine = self.copy(element)
        mine.getparent().remove(mine)
        return self.told(root, ref, *kinds)

    def constraints_broken(self) -> Iterator[Tampered]:
        probe = Entry.resume(self.form, self.entry.save(), self.entry.context)
        for element, node in self.leaves():
            if node.defn.constraint is None or not node.text:
                continue
            ref = self.found(ref_of(element))
            for wrong in ("-99999", "99999999", "2999-01-01", "?!", "a b c", "1"):
                fault = probe.answer(ref, wrong).fault
                broken = fault is not None and fault.kind == "constraint"
                broken = broken and probe.find(ref).text == wrong
                probe.answer(ref, node.text)
                if broken:
                    yield self.rewritten(element, wrong, "constraint")
                    break

    def required_emptied(self) -> Iterator[Tampered]:
        for element, node in self.leaves():
            if node.required and node.text:
                yield self.rewritten(element, "", "required")

    def required_removed(self) -> Iterator[Tampered]:
        for element, node in self.leaves():
            if node.required and node.text:
                yield self.without(element, ref_of(element), "required")

    def blanks_removed(self) -> Iterator[Tampered]:
        for element, node in self.leaves():
            if not node.text and not node.required and node.defn.parent is not self.form.meta:
                yield self.without(element, ref_of(element), "missing", "calculate")

    def types_wrong(self) -> Iterator[Tampered]:
        for element, node in self.leaves():
            if node.text and node.defn.type in {"int", "decimal", "date", "geopoint", "dateTime"}:
                yield self.rewritten(element, "plenty", "type", "calculate")

    def choices_invented(self) -> Iterator[Tampered]:
        for element, node in self.leaves():
            if node.text and node.defn.select:
                yield self.rewritten(element, "no_such_choice", "choice")

    def choices_doubled(self) -> Iterator[Tampered]:
        for element, node in self.leaves():
            if node.text and node.defn.select == "select":
                first = node.text.split()[0]
                yield self.rewritten(element, f"{node.text} {first}", "choice")

    def choices_filtered_out(self) -> Iterator[Tampered]:
        """A choice that the list has, but not for these answers."""
        for element, node in self.leaves():
            control = node.defn.control
            if not node.text or control is None or control.itemset is None:
                continue
            named = re.match(r"instance\('([^']+)'\).*\[", control.itemset.nodeset.text)
            held = self.form.instance(named[1]) if named else None
            if held is None:
                continue
            offered = {one.value for one in self.entry.state(self.found(ref_of(element))).choices}
            for item in held.children[0].children:
                value = item.kids["name"][0].text
                if value not in offered:
                    yield self.rewritten(element, value, "choice")
                    break

    def hidden_answers_given(self) -> Iterator[Tampered]:
        """What is not relevant is put in, in its place, with an answer."""
        for element in self.elements():
            steps = ref_of(element).strip("/").split("/")
            definition = self.form.by_path[tuple(step.partition("[")[0] for step in steps)]
            there = {etree.QName(kid).localname for kid in element}
            for inner in definition.children:
                if inner.name in there or inner.children or definition is self.form.meta:
                    continue
                root, mine = self.copy(element)
                etree.SubElement(mine, inner.name).text = "1"
                yield self.told(root, f"{ref_of(mine)}/{inner.name}", "irrelevant")

    def calculations_changed(self) -> Iterator[Tampered]:
        for element, node in self.leaves():
            rule = node.defn.calculate
            lucky = rule is None or rule.functions & {"random", "uuid", "once", "now"}
            if not lucky and not rule.instances & self.form.absent:
                yield self.rewritten(element, node.text + "1", "calculate", "type")

    def set_by_the_form_changed(self) -> Iterator[Tampered]:
        for element, node in self.leaves():
            if node.defn in self.form.fixed and node.text:
                yield self.rewritten(element, "another", "calculate", "type")

    def attributes_changed(self) -> Iterator[Tampered]:
        for element in self.elements():
            if etree.QName(element).localname == "entity":
                root, mine = self.copy(element)
                mine.set("dataset", "other")
                yield self.told(root, f"{ref_of(mine)}/@dataset", "calculate")

    def attributes_added(self) -> Iterator[Tampered]:
        """As one that makes an update of somebody else's record out of a new one."""
        for element in self.elements():
            if element.getparent() is not None and element.get("update") is None:
                root, mine = self.copy(element)
                mine.set("update", "1")
                yield self.told(root, f"{ref_of(mine)}/@update", "unknown")

    def attributes_taken_away(self) -> Iterator[Tampered]:
        for element in self.elements():
            if etree.QName(element).localname == "entity":
                root, mine = self.copy(element)
                del mine.attrib["dataset"]
                yield self.told(root, f"{ref_of(mine)}/@dataset", "missing")

    def strangers_added(self) -> Iterator[Tampered]:
        for element in self.elements():
            if len(element):
                root, mine = self.copy(element)
                etree.SubElement(mine, "stranger").text = "1"
                yield self.told(root, f"{ref_of(mine)}/stranger", "unknown")

    def strangers_in_an_answer(self) -> Iterator[Tampered]:
        for element, _ in self.leaves():
            root, mine = self.copy(element)
            etree.SubElement(mine, "stranger").text = "1"
            yield self.told(root, f"{ref_of(mine)}/stranger", "unknown")

    def nodes_doubled(self) -> Iterator[Tampered]:
        for element, node in self.leaves():
            if node.defn.repeat is None:
                root, mine = self.copy(element)
                etree.SubElement(mine.getparent(), mine.tag).text = mine.text
                yield self.told(root, ref_of(mine), "unknown")

    def groups_doubled(self) -> Iterator[Tampered]:
        """A group with all that is in it, where no repeat is."""
        for element in self.elements():
            steps = ref_of(element).strip("/").split("/")
            definition = self.form.by_path[tuple(step.partition("[")[0] for step in steps)]
            if len(element) and element.getparent() is not None and definition.repeat is None:
                root, mine = self.copy(element)
                mine.addnext(etree.fromstring(etree.tostring(mine)))
                yield self.told(root, ref_of(mine), "unknown")

    def texts_split(self) -> Iterator[Tampered]:
        """To one reader it is 12, to another it is 1."""
        for aside in (b"<!-- x -->", b"<?x y?>"):
            for found in re.finditer(rb">[^<>]([^<>]*)</", self.xml):
                at = found.start(1)
                yield Tampered(self.xml[:at] + aside + self.xml[at:], "", ("unknown",))

    def letters_changed(self) -> Iterator[Tampered]:
        text = self.xml.decode().partition("?>")[2]
        for encoding in ("UTF-16", "ISO-8859-1"):
            whole = f"<?xml version='1.0' encoding='{encoding}'?>{text}"
            yield Tampered(whole.encode(encoding, "xmlcharrefreplace"), "", ("form",))

    def entities_without_an_id(self) -> Iterator[Tampered]:
        for element in self.elements():
            if etree.QName(element).localname == "entity":
                for said, kind in (("", "missing"), ("7", "type"), (None, "missing")):
                    root, mine = self.copy(element)
                    if said is None:
                        del mine.attrib["id"]
                    else:
                        mine.set("id", said)
                    yield self.told(root, f"{ref_of(mine)}/@id", kind, "calculate")

    def namespaces_changed(self) -> Iterator[Tampered]:
        for element in self.elements():
            root, mine = self.copy(element)
            ref = ref_of(mine)
            mine.tag = "{http://elsewhere.example}" + etree.QName(mine).localname
            yield self.told(root, ref, "unknown")

    def text_slipped_in(self) -> Iterator[Tampered]:
        for element in self.elements():
            if len(element):
                root, mine = self.copy(element)
                mine[-1].tail = "hidden words"
                yield self.told(root, ref_of(mine), "unknown")
                root, mine = self.copy(element)
                mine.text = "hidden words"
                yield self.told(root, ref_of(mine), "unknown")

    def another_form(self) -> Iterator[Tampered]:
        for name in ("id", "version"):
            root = etree.fromstring(self.xml)
            if root.get(name):
                root.set(name, "other")
                yield self.told(root, "", "form")
                del root.attrib[name]
                yield self.told(root, "", "form")

    def id_taken_away(self) -> Iterator[Tampered]:
        for element in self.elements():
            if etree.QName(element).localname == "instanceID":
                yield self.rewritten(element, "", "required")
                yield self.without(element, ref_of(element), "required")

    def instances_taken_away(self) -> Iterator[Tampered]:
        """Fewer than the count makes: a member of the household is left out."""
        for element in self.elements():
            steps = ref_of(element).strip("/").split("/")
            definition = self.form.by_path[tuple(step.partition("[")[0] for step in steps)]
            if definition in self.form.counted:
                yield self.without(element, ref_of(element).rpartition("[")[0], "missing")

    def instances_beyond_a_fixed_count(self) -> Iterator[Tampered]:
        for element in self.elements():
            if etree.QName(element).localname == "plot":
                root, mine = self.copy(element)
                mine.addnext(etree.fromstring(etree.tostring(mine)))
                yield self.told(root, ref_of(mine).rpartition("[")[0], "unknown")


WAYS: tuple[Callable[[Tamperer], Iterator[Tampered]], ...] = (
    Tamperer.constraints_broken,
    Tamperer.required_emptied,
    Tamperer.required_removed,
    Tamperer.blanks_removed,
    Tamperer.types_wrong,
    Tamperer.choices_invented,
    Tamperer.choices_doubled,
    Tamperer.choices_filtered_out,
    Tamperer.hidden_answers_given,
    Tamperer.calculations_changed,
    Tamperer.set_by_the_form_changed,
    Tamperer.attributes_changed,
    Tamperer.attributes_added,
    Tamperer.attributes_taken_away,
    Tamperer.strangers_added,
    Tamperer.strangers_in_an_answer,
    Tamperer.nodes_doubled,
    Tamperer.groups_doubled,
    Tamperer.texts_split,
    Tamperer.letters_changed,
    Tamperer.entities_without_an_id,
    Tamperer.namespaces_changed,
    Tamperer.text_slipped_in,
    Tamperer.another_form,
    Tamperer.id_taken_away,
    Tamperer.instances_taken_away,
    Tamperer.instances_beyond_a_fixed_count,
)
MOST = {"large": 2}


def found(faults: tuple[Fault, ...], tampered: Tampered) -> bool:
    return any(plain(one.ref) == tampered.ref and one.kind in tampered.kinds for one in faults)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_each_way_to_tamper_is_found_at_its_place(
    way: Callable[[Tamperer], Iterator[Tampered]], name: str
):
    form = forms()[name]
    missed = []
    for entry, done in sent(name):
        for number, tampered in enumerate(way(Tamperer(form, entry, done))):
            if number >= MOST.get(name, 12):
                break
            faults = check(form, tampered.xml)
            if not found(faults, tampered):
                missed.append((tampered.ref, tampered.kinds, faults[:3]))
    assert missed == []


def test_every_way_to_tamper_is_tried_on_the_nested_form():
    form = forms()["nested"]
    for way in WAYS:
        tried = [one for entry, done in sent("nested") for one in way(Tamperer(form, entry, done))]
        assert tried, way.__name__


MEMBERS = """
| survey |
| | type | name | label | relevant | save_to |
| | integer | age | Age | | |
| | begin_repeat | member | Member | ${age} > 17 | |
| | text | called | Name | | called |
| | end_repeat | | | | |
| settings |
| | form_id | version |
| | members | 1 |
| entities |
| | list_name | label |
| | persons | ${called} |
"""


def test_nobody_is_made_a_member_in_what_was_not_asked():
    """Blank where it can be blank: what is left says create in an attribute alone."""
    form = Form.load(compile_xlsform("members.md", MEMBERS.encode()))
    sent_ = {}
    for age in ("5", "25"):
        entry = Entry.start(form, context(random.Random(1)))
        entry.answer("/data/age", age)
        sent_[age] = entry.finish().xml
        assert check(form, sent_[age]) == ()
    member = re.search(rb"<member>.*</member>", sent_["25"])
    assert member is not None
    ghost = sent_["5"].replace(b"</age>", b"</age>" + member[0])
    assert b"<called />" in ghost
    assert len(claims(form, ghost)) == 1
    found = {(one.ref, one.kind) for one in check(form, ghost)}
    assert ("/data/member[1]/meta/entity/@create", "irrelevant") in found


def test_more_than_a_count_that_an_answer_lowered_is_sound():
    """Collect keeps the instances when the answer that counts them is lowered."""
    form = forms()["nested"]
    entry, _ = next(sent("nested"))
    lowered = Entry.resume(form, entry.save(), context(random.Random(1)))
    lowered.answer("/data/size", "1")
    done = lowered.finish()
    assert check(form, done.xml) == ()


def test_the_day_and_the_hour_are_judged_where_and_when_the_interview_was_held():
    form = forms()["nested"]
    for hours in (-11, 0, 13):
        done = None
        for seed in range(20):
            entry = filled(form, random.Random(seed), hours=hours)
            try:
                done = entry.finish()
                break
            except Unfinished:
                continue
        assert done is not None
        assert check(form, done.xml) == ()
        day = entry.find("/data/visited").text
        wrong = done.xml.replace(
            f"<visited>{day}</visited>".encode(), b"<visited>2026-01-01</visited>"
        )
        assert [(one.ref, one.kind) for one in check(form, wrong)] == [
            ("/data/visited", "calculate")
        ]
