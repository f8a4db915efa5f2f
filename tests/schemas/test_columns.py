"""Pages in columns: what the merge sees of each change comes out as it went in, whatever it is."""

from __future__ import annotations

import json
import random
import uuid
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conflict import EXISTS, YES, Change, Dot, Unsound, Write, from_json, to_json
from schemas.columns import _HEAD, LAYOUT, Columns, pack_columns
from schemas.frames import MAX_MESSAGE, squeeze, unsqueeze
from schemas.pages import Page, in_lines, unpack_page
from schemas.problems import Refused
from tests.conflict.worlds import world
from tests.pulled import as_pulled

PEOPLE = [str(uuid.UUID(int=n * 10**37, version=4)) for n in range(1, 9)]
HASH = "5f" * 32

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
names = st.sampled_from(["age", "sex", "name", "né/e", "", "exists"]) | texts
ids = st.sampled_from([*PEOPLE, "h1", "desk~1", PEOPLE[0].upper(), PEOPLE[1][:-1]])
persons = st.sampled_from(PEOPLE) | texts.map(lambda one: one.replace("/", "|"))
paths = st.one_of(
    names,
    st.tuples(persons, names).map(lambda one: f"members/{one[0]}/{one[1]}"),
    st.sampled_from(["members", "members/", "members//", "members/x", "members0", "members/x0/a"]),
)
dots = st.builds(Dot, st.sampled_from(["d1", "d2", "a:b", "d1~5f"]), st.integers(0, 2**40))
values = st.none() | texts | st.lists(texts, max_size=3).map(tuple)


@st.composite
def changes(draw) -> Change:
    dot = draw(dots)
    before = st.frozensets(dots.filter(lambda one: one.device != dot.device), max_size=2)
    effective = draw(st.integers(-5, 2**52))
    return Change(
        record=draw(ids),
        dataset=draw(st.sampled_from(["households", "", "né"])),
        dot=dot,
        author=draw(st.sampled_from(["amina", "d1", ""])),
        at=draw(st.sampled_from([f"{effective:013d}-0000", f"{effective:013d}", "2026", "+", ""])),
        effective=effective,
        source=draw(st.sampled_from([HASH, "settlement", "", HASH[1:]])),
        writes=draw(st.dictionaries(paths, st.builds(Write, values, before), max_size=12)),
        kind=draw(st.sampled_from(["create", "update", "settle", "move", "delete"])),
        form_version=draw(st.sampled_from(["", "f 1"])),
    )


def numbered(some, luck=None) -> list[tuple[int, bytes]]:
    """Sequences that grow, with gaps."""
    at, steps = 0, luck or random.Random(1)
    made = []
    for one in some:
        at += steps.choice((1, 1, 1, 7, 400))
        made.append((at, one if isinstance(one, bytes) else to_json(one).encode()))
    return made


def given_back(page: bytes) -> list[tuple[int, bytes]]:
    held = Columns(page)
    return [(sequence, held.change(place)) for place, sequence in enumerate(held.sequences)]


@settings(max_examples=60, deadline=None)
@given(some=st.lists(changes(), max_size=8))
def test_every_change_comes_out_as_it_went_in_but_for_the_hash_of_where_it_is_from(some):
    lines = numbered(some)
    page = pack_columns(lines)
    assert given_back(page) == [(sequence, as_pulled(change)) for sequence, change in lines]
    held = Columns(page)
    assert held.records == [one.record for one in some]
    for place, one in enumerate(some):
        bare = replace(one, source="" if one.source == HASH else one.source)
        assert from_json(held.body(place)) == bare
        own = {path: write for path, write in one.writes.items() if "/" not in path}
        assert from_json(held.body(place, own=True), own=True) == replace(bare, writes=own)


@pytest.mark.parametrize("seed", range(5))
def test_a_history_of_many_devices_comes_out_as_it_went_in(seed):
    lines = numbered(world(seed).arrived, random.Random(seed))
    page = Page(0, lines[-1][0], pack_columns(lines))
    whole = [(sequence, as_pulled(change)) for sequence, change in lines]
    assert [(one.sequence, one.change) for one in unpack_page(page)] == whole
    older = in_lines(page)
    assert older.data[:1] != page.data[:1]
    assert [(one.sequence, one.change) for one in unpack_page(older)] == whole


def test_a_household_of_ids_that_were_not_named_before_takes_little_more_than_them():
    luck = random.Random(3)

    def household(number: int) -> Change:
        said = {EXISTS: YES, "label": f"Amina {number % 7}", "phone": f"+2577000{number:05d}"}
        for _ in range(4):
            person = uuid.UUID(int=luck.getrandbits(128), version=4)
            said |= {f"members/{person}/exists": YES, f"members/{person}/age": str(number % 50)}
        return Change(
            str(uuid.UUID(int=luck.getrandbits(128), version=4)),
            "households",
            Dot("d1", number),
            "amina",
            f"{10**12 + number * 1_200:013d}-0000",
            10**12 + number * 1_200,
            luck.randbytes(32).hex(),
            {path: Write(value) for path, value in said.items()},
            "create",
        )

    lines = numbered(map(household, range(1, 513)))
    assert len(pack_columns(lines)) < 512 * (5 * 16 + 6)


SOUND = to_json(
    Change("h1", "d", Dot("d1", 1), "a", "t", 5, HASH, {"a": Write("1")}, "create", "f 1")
)
STRANGE = {
    "no JSON": SOUND[:-1] + ",}",
    "a value that is a number": SOUND.replace('"1"', "1.0"),
    "a value that JSON does not have": SOUND.replace('"1"', "NaN"),
    "a value nested deep": SOUND.replace('"1"', "[" * 60 + "]" * 60),
    "a number beyond all": SOUND.replace('"e":5', '"e":' + "9" * 5000),
    "half a character": SOUND.replace('"1"', '"\\ud800"'),
    "a key of a later program": SOUND.replace('"w":', '"x":1,"w":'),
    "a key that is missing": SOUND.replace('"k":"create",', ""),
    "a version that is empty": SOUND.replace('"f 1"', '""'),
    "a dot without a counter": SOUND.replace('"d1:1"', '"d1"'),
    "a counter with zeros": SOUND.replace('"d1:1"', '"d1:01"'),
    "a counter of other digits": SOUND.replace('"d1:1"', '"d1:\u0661"'),
    "an empty list of dots": SOUND.replace('"w":', '"n":[],"w":'),
    "true instead of a number": SOUND.replace('"e":5', '"e":true'),
    "places that are no numbers": SOUND.replace('"1"', '["1",true]'),
    "an empty cell": SOUND.replace('"1"', "[]"),
    "paths in another order": SOUND.replace('{"a":', '{"b":"2","a":'),
}


@pytest.mark.parametrize("what", STRANGE)
def test_what_columns_cannot_hold_lies_in_them_byte_for_byte_and_disturbs_no_other(what):
    strange = STRANGE[what].encode()
    assert strange != SOUND.encode()
    lines = numbered([SOUND.encode(), strange, SOUND.replace("h1", PEOPLE[0]).encode()])
    (_, first), (_, second), (_, third) = given_back(pack_columns(lines))
    assert second == strange
    assert first == as_pulled(SOUND.encode())
    assert third == as_pulled(lines[2][1])
    assert Columns(pack_columns(lines)).records == ["h1", "h1", PEOPLE[0]]


# Pages that are wrong.


def opened(page: bytes) -> tuple[bytes, dict]:
    _, many = _HEAD.unpack_from(page)
    begins = _HEAD.size + 16 * many
    return page[:begins], json.loads(unsqueeze(page[begins:], MAX_MESSAGE))


def closed(head: bytes, body) -> bytes:
    return head + squeeze(json.dumps(body).encode())


PAGE = pack_columns(numbered([*world(1).arrived[:30], STRANGE["no JSON"].encode()]))
LISTS = ("q", "k", "o", "e", "t", "n", "r", "w", "m", "i", "p", "odd", "own", "members")


# A sort that nothing names does no harm, and the dots that one change names concern it alone.
UNFIT = [(key, how) for key in LISTS for how in ("longer", "shorter", "missing", "other")]
UNFIT += [(key, "deep") for key in (*LISTS, "sorts") if key != "n"]
UNFIT += [("sorts", how) for how in ("missing", "other")]


@pytest.mark.parametrize(("key", "how"), UNFIT)
def test_columns_that_do_not_fit_together_are_refused(key, how):
    head, body = opened(PAGE)
    if how == "longer":
        body[key] += body[key][-1:] or [0]
    elif how == "shorter":
        assert body[key], "there is something to leave out"
        del body[key][-1]
    elif how == "missing":
        del body[key]
    else:
        body[key] = 5 if how == "other" else [[[]]] * len(body[key])
    with pytest.raises(Refused, match="cannot be read"):
        Columns(closed(head, body))


@pytest.mark.parametrize(
    ("key", "cell"),
    [
        ("r", 99),
        ("r", -1),
        ("r", ""),
        ("r", 'a"b'),
        ("r", None),
        ("k", 99),
        ("w", -5),
        ("m", 10**9),
    ],
)
def test_what_refers_to_nothing_is_refused(key, cell):
    head, body = opened(PAGE)
    body[key][0] = cell
    with pytest.raises(Refused):
        Columns(closed(head, body))


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_any_bytes_are_a_page_or_refused(seed):
    luck = random.Random(seed)
    head, body = opened(PAGE)
    key = luck.choice([*LISTS, "sorts"])
    cell = luck.choice([0, 1, -1, 7, "", "x", None, [], [0], {}, True, 0.5, 10**30])
    if body[key]:
        body[key][luck.randrange(len(body[key]))] = cell
    wrong = bytearray(luck.choice([closed(head, body), PAGE]))
    if luck.random() < 0.5:
        del wrong[luck.randrange(len(wrong)) :]
    elif wrong == PAGE:
        wrong[luck.randrange(len(wrong))] ^= 1 << luck.randrange(8)
    try:
        found = Columns(bytes(wrong))
    except Refused:
        return
    for place, record in enumerate(found.records):
        assert record
        try:
            from_json(found.body(place))
        except Unsound:
            continue


def test_a_page_that_would_unpack_to_too_much_is_refused_before_it_does():
    head = _HEAD.pack(LAYOUT, 0)
    with pytest.raises(Refused, match="limit"):
        Columns(head + squeeze(bytes(MAX_MESSAGE + 1)))
    with pytest.raises(Refused):
        Columns(_HEAD.pack(LAYOUT, 2**32 - 1) + squeeze(b"{}"))
