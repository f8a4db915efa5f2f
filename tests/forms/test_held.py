"""In Collect a value stays what it was worked out as; in the browser the type of its node decides."""

from __future__ import annotations

import pytest

from forms import Entry, Form
from forms.held import Decimal, Held, Moment, Truth, Whole, Words
from tests.forms.test_dialects import entry, value, xform
from tests.forms.test_entry import context

KEPT = xform(
    "<day>2026-03-01</day><whole/><part/><holds/><when/><said/><same/><is/><on/><more/>",
    """<bind nodeset="/data/day" type="date"/>
       <bind nodeset="/data/whole" calculate="1 + 1"/>
       <bind nodeset="/data/part" calculate="5 div 2"/>
       <bind nodeset="/data/holds" calculate="1 = 1"/>
       <bind nodeset="/data/when" calculate="date(/data/day + 1)"/>
       <bind nodeset="/data/said" type="int" calculate="concat('x', 1)"/>
       <bind nodeset="/data/same" calculate="if(/data/whole = '2.0', 'yes', 'no')"/>
       <bind nodeset="/data/is" calculate="concat(/data/holds, '')"/>
       <bind nodeset="/data/on" calculate="concat(/data/when, '')"/>
       <bind nodeset="/data/more" calculate="/data/when + 1"/>""",
    '<input ref="/data/day"/>',
)


def test_a_calculated_value_keeps_its_kind_whatever_the_type_of_its_node():
    one = entry(KEPT, "collect")
    kinds = {
        name: type(one.find(f"/data/{name}").text)
        for name in ("whole", "part", "holds", "when", "said")
    }
    assert kinds == {
        "whole": Whole,
        "part": Decimal,
        "holds": Truth,
        "when": Moment,
        "said": Words,
    }
    assert type(one.find("/data/day").text) is str


def test_what_is_kept_compares_and_reads_as_what_it_is():
    one = entry(KEPT, "collect")
    assert value(one, "/data/same") == "yes"
    assert value(one, "/data/is") == "true"
    # A day that stands in a text node has its time, and reads as no more than the day.
    assert value(one, "/data/when") == "2026-03-02T00:00:00.000Z"
    assert value(one, "/data/on") == "2026-03-02"
    assert value(one, "/data/more") == "20515"
    browser = entry(KEPT, "webforms")
    assert value(browser, "/data/same") == "no"
    assert type(browser.find("/data/whole").text) is str


def test_what_is_read_back_from_xml_is_of_its_nodes_type_until_it_is_worked_out_again():
    form = Form.load(
        xform(
            "<kept/><is/>",
            """<bind nodeset="/data/kept" calculate="once(1 = 1)"/>
               <bind nodeset="/data/is" calculate="concat(/data/kept, '')"/>""",
            '<input ref="/data/is"/>',
        )
    )
    begun = Entry.start(form, context())
    assert value(begun, "/data/is") == "true"
    again = Entry.resume(form, begun.save(), context())
    # once() gives back the text that it found, and a text "1" is no truth.
    assert value(again, "/data/is") == "1"


def test_a_page_is_shown_plain_text():
    shown = entry(KEPT, "collect").state("/data/whole").value
    assert (shown, type(shown)) == ("2", str)
    assert not isinstance(shown, Held)


DATED = xform(
    "<born/><text>2026-03-01</text><most/><near/><comma/><big/><later/>",
    """<bind nodeset="/data/born" type="date" constraint=". > '1900-01-01'"/>
       <bind nodeset="/data/later" calculate="/data/born > '1900-01-01'"/>
       <bind nodeset="/data/most" calculate="max(-5, -3)"/>
       <bind nodeset="/data/near" calculate="0.1 + 0.2 = 0.3"/>
       <bind nodeset="/data/comma" calculate="number('1,5')"/>
       <bind nodeset="/data/big" calculate="string(3000000000)"/>""",
    '<input ref="/data/born"/>',
)


@pytest.mark.parametrize("dialect", ["collect", "webforms"])
@pytest.mark.parametrize(("born", "fault"), [("1990-01-01", None), ("1899-12-31", "constraint")])
def test_a_date_that_is_written_out_as_the_answers_limit_is_that_day(
    dialect: str, born: str, fault: str | None
):
    changed = entry(DATED, dialect).answer("/data/born", born)
    assert (changed.fault and changed.fault.kind) == fault


@pytest.mark.parametrize(("dialect", "later"), [("collect", "0"), ("webforms", "true")])
def test_anywhere_else_collect_reads_no_date_in_a_text(dialect: str, later: str):
    one = entry(DATED, dialect)
    one.answer("/data/born", "1990-01-01")
    assert value(one, "/data/later") == later


def test_numbers_in_collect_are_those_of_java():
    one = entry(DATED, "collect")
    told = {name: value(one, f"/data/{name}") for name in ("most", "near", "comma", "big")}
    assert told == {"most": "0", "near": "1", "comma": "1.5", "big": "3.0E9"}
    browser = entry(DATED, "webforms")
    told = {name: value(browser, f"/data/{name}") for name in ("most", "near", "comma", "big")}
    assert told == {"most": "-3", "near": "false", "comma": "", "big": "3000000000"}
