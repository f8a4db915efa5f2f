"""What the functions of ODK's XForms come to, each dialect its own where they disagree."""

from __future__ import annotations

import base64
import math
from datetime import UTC, date, timedelta, timezone

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from forms.language import BadExpression
from forms.language.core import Conversions
from forms.language.functions.nodes import shuffled
from forms.language.functions.numbers import round_
from forms.tree import ELEMENT, Node
from tests.forms.language.world import World

PLAIN = World()
days = st.dates(date(1900, 1, 1), date(2199, 12, 31))


@settings(max_examples=100, deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_written_as_text_reads_as_the_same_number(number: float) -> None:
    browser = Conversions("webforms")
    assert math.isclose(
        browser.parse_number(browser.number_text(number)), number, rel_tol=1e-9, abs_tol=1e-15
    )
    assert Conversions("collect").parse_stored(Conversions("collect").number_text(number)) == (
        pytest.approx(number, abs=1e-11)
    )


@settings(max_examples=100, deadline=None)
@given(days, st.integers(-20_000, 20_000))
def test_days_added_to_a_date_lead_to_the_date_so_many_days_later(day: date, more: int) -> None:
    later = (day + timedelta(days=more)).isoformat()
    assert PLAIN.string(f"date(date('{day.isoformat()}') + {more})") == later
    assert PLAIN.value(f"date('{later}') - date('{day.isoformat()}')") == more


@settings(max_examples=60, deadline=None)
@given(days, days)
def test_dates_are_ordered_as_days_are(one: date, other: date) -> None:
    for sign, holds in (("<", one < other), ("=", one == other), (">=", one >= other)):
        assert PLAIN.value(f"date('{one}') {sign} date('{other}')") is holds


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 30), st.integers(-(2**63), 2**63 - 1))
def test_shuffling_loses_nobody_and_comes_out_the_same_for_the_same_seed(
    count: int, seed: int
) -> None:
    people = [Node(ELEMENT, f"p{number}") for number in range(count)]
    once, again = shuffled(people, seed), shuffled(people, seed)
    assert once == again
    assert sorted(once, key=id) == sorted(people, key=id)


@settings(max_examples=100, deadline=None)
@given(st.decimals(-(10**6), 10**6, places=4, allow_nan=False), st.integers(-3, 3))
def test_rounding_goes_at_most_half_a_unit_away_and_halves_go_up(
    number: object, places: int
) -> None:
    value = float(str(number))
    rounded, unit = round_(value, places), 10.0**-places
    assert abs(rounded - value) <= unit / 2 * (1 + 1e-9) + abs(value) * 1e-15 + 1e-12
    if abs(value - rounded) == unit / 2:
        assert rounded > value


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["rice", "maize", "teff", "a"]), max_size=5, unique=True))
def test_what_was_selected_is_found_again_in_its_place(chosen: list[str]) -> None:
    answer = " ".join(chosen)
    assert PLAIN.value(f"count-selected('{answer}')") == len(chosen)
    for place, one in enumerate(chosen):
        assert PLAIN.value(f"selected('{answer}', '{one}')") is True
        assert PLAIN.value(f"selected-at('{answer}', {place})") == one
    assert PLAIN.value(f"selected-at('{answer}', {len(chosen)})") == ""


@settings(max_examples=25, deadline=None)
@given(st.binary(min_size=32, max_size=32), st.text(alphabet="abc é€", max_size=20), st.data())
def test_a_signed_text_is_told_only_when_the_key_signed_just_that(
    seed: bytes, text: str, data: st.DataObject
) -> None:
    key = Ed25519PrivateKey.from_private_bytes(seed)
    public = base64.b64encode(
        key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    ).decode()
    signed = key.sign(text.encode()) + text.encode()
    whole = base64.b64encode(signed).decode()
    assert PLAIN.string(f"extract-signed('{whole}', '{public}')") == text
    place = data.draw(st.integers(0, len(signed) - 1))
    changed = signed[:place] + bytes([signed[place] ^ 1]) + signed[place + 1 :]
    forged = base64.b64encode(changed).decode()
    assert PLAIN.string(f"extract-signed('{forged}', '{public}')") == ""


@pytest.mark.parametrize(
    ("text", "collect", "webforms"),
    [
        ("regex('12345', '[0-9]{3}')", False, True),
        ("regex('123', '[0-9]{3}')", True, True),
        ("round(-1.5)", -1.0, -2.0),
        ("boolean-from-string('True')", True, False),
        ("string(2000 * 1000000)", "2000000000", "2000000000"),
        ("string(0.0001)", "1.0E-4", "0.0001"),
        ("coalesce(1 div '', 'x')", "x", "x"),
        ("join('-', 'a', 'b')", "a-b", "a-b"),
        ("substr('hello', 1, -1)", "ell", "ell"),
        ("substr('😀a', 0, 1)", "", "😀"),
        ("substr('😀a', 1)", "a", "a"),
        ("string-length('😀a')", 3.0, 2.0),
        ("count-selected('a\tb c\nd')", 2.0, 4.0),
        ("selected-at('a\tb c', 0)", "a\tb", "a"),
        ("selected('a b c', 'a b')", True, False),
        ("selected(' 7 ', '')", True, False),
        ("substring('12345', 2, 3)", "234", "234"),
        ("translate('a-b', '-', '')", "ab", "ab"),
        ("pow(2, 10)", 1024.0, 1024.0),
        ("string(pow(1, 'x'))", "NaN", ""),
        ("string(pow(-1, 1 div 0))", "NaN", ""),
        ("pow(0 div 0, 0)", 1.0, 1.0),
        ("digest('some text', 'SHA-1', 'hex')", "37aa63c77398d954473262e1a0057c1e632eda77", None),
        ("base64-decode('SGVsbG8=')", "Hello", "Hello"),
        ("checklist(1, 2, true(), false(), true())", True, True),
        ("weighted-checklist(5, 9, true(), 4, true(), 3)", True, True),
        ("format-date('2026-03-01', '%Y %y %m %n %b %d %e %a')", "2026 26 03 3 Mar 01 1 Sun", None),
        ("weighted-checklist(0, -1, true(), 4)", False, True),
        ("weighted-checklist(-1, 5, true(), -9)", False, True),
        ("checklist(1.5, -1, true())", True, False),
        ("checklist('', 1, true())", True, False),
        ("selected-at('a b', '')", "a", ""),
        ("selected-at('a b', 1 div 0)", "", ""),
        ("round(-7, -1)", 0.0, -10.0),
        ("round(-16, -1)", -10.0, -20.0),
        ("round(-150, -1)", -140.0, -150.0),
        ("round(-1.25, 1)", -1.2, -1.3),
        ("round(149, -2)", 100.0, 100.0),
        ("string(round(12.5, ''))", "13", ""),
        ("string(round(12.5, 31))", "NaN", "12.5"),
        ("format-date('2021-01-03', '%W')", "2", None),
        ("format-date('2027-01-02', '%W')", "1", None),
        ("decimal-time('2020-02-29')", 0.0, None),
        ("decimal-time('2020-02-29T23:02:03.000Z')", 0.9597569444449618, None),
        ("geofence('0.5 0.5', '0 0;0 1;1 1;1 0;0 0')", True, True),
        ("intersects('0 0;1 1;0 1;1 0')", True, True),
        ("intersects('0 0;0 1;1 1')", False, False),
        ("today()", "2026-03-01", "2026-03-01"),
        ("jr:itext('a')", "text a", "text a"),
    ],
)
def test_each_dialect_comes_to_its_own(text: str, collect: object, webforms: object) -> None:
    assert PLAIN.value(text) == collect
    if webforms is not None:
        assert PLAIN.value(text, dialect="webforms") == webforms


def test_moments_are_told_in_the_zone_of_the_device() -> None:
    phoenix = World(zone=timezone(timedelta(hours=-7)))
    assert phoenix.value("date-time('2026-03-01T06:00:00Z')") == "2026-02-28T23:00:00.000-07:00"
    # As text Collect writes no more of it than the day.
    assert phoenix.string("date-time('2026-03-01T06:00:00Z')") == "2026-02-28"
    assert phoenix.value("decimal-time('06:00:00.000-01:00')") == 0.0
    assert World(zone=UTC).value("decimal-time('12:00:00Z')") == 0.5
    assert phoenix.string("date('2026-03-01T06:00:00Z')") == "2026-02-28"


@pytest.mark.parametrize(
    "text", ["nope()", "round()", "count('a')", "date('2026-02-30')", "a | b", "//a", "number()"]
)
def test_what_would_stop_collect_is_refused_when_the_form_is_read(text: str) -> None:
    with pytest.raises(BadExpression):
        PLAIN.compile(text)


def test_a_cooler_seed_gives_the_order_that_the_specification_gives() -> None:
    letters = [Node(ELEMENT, letter) for letter in "ABCDEF"]
    assert "".join(node.name for node in shuffled(letters, 42)) == "AFCBDE"
    assert "".join(node.name for node in shuffled(letters, -42)) == "EDAFBC"
