"""The pull: every change of the area once, in order, as the registry holds it."""

from __future__ import annotations

import itertools
import random

import pytest
from sqlalchemy import delete, insert, select, update

from conflict import EXISTS, YES, Change, Dot, Write, to_json
from schemas.columns import pack_columns
from schemas.frames import pack, squeeze, unpack
from schemas.messages import pack_reply, unpack_reply
from schemas.pages import LINES, Page, unpack_page
from schemas.problems import Refused
from sync_server import notices, pages, registry
from sync_server.store import desk_tables as t
from sync_server.store.engine import as_bytes, next_sequence
from tests.pulled import as_pulled
from tests.server.conftest import enrolled

WORDS = ("Amina", "Omar", "Zainab", "Ousmane", "Fatou", "Awa", "Salimata", "Ibrahima")
NAMED = "Karadžić-Ndayishimiye"


def household(number: int, *, area="north", size: int = 0, counter: int = 1) -> Change:
    """A household of the area. `size` is about how many bytes its note has."""
    luck = random.Random(f"{area} {number} {counter}")
    said = {EXISTS: YES, "label": f"{luck.choice(WORDS)} {NAMED}"}
    if size:
        said["note"] = luck.randbytes(size // 2).hex()
    return Change(
        f"{area}-{number}",
        "households",
        Dot(f"d{number}", counter),
        "amina",
        "1772352000000-0000",
        1_772_352_000_000 + number,
        "ab" * 32,
        {path: Write(value) for path, value in said.items()},
        "create",
    )


def learn(desk, *changes: Change, area="north") -> None:
    desk.store.transaction(
        lambda tx: registry.record_changes(desk, tx, area, changes, batch="b"), lock=area
    )


def in_registry(desk, area="north") -> list[tuple[int, bytes]]:
    """Every change of the area with its sequence, straight from the table, as devices have it."""
    rows = desk.store.read(
        lambda tx: tx.execute(
            select(t.changes).where(t.changes.c.area == area).order_by(t.changes.c.sequence)
        ).all()
    )
    return [
        (
            row.sequence,
            as_pulled(desk.at_rest.open(f"changes/{area}/{row.sequence}", as_bytes(row.sealed))),
        )
        for row in rows
    ]


def lines(told) -> list[tuple[int, bytes]]:
    return [(one.sequence, one.change) for page in told.pages for one in unpack_page(page)]


def pulled(tablet, **how) -> tuple[list[tuple[int, bytes]], list]:
    """Rounds until there is no more: the changes, and the replies."""
    found, replies = [], []
    while not replies or replies[-1].more:
        replies.append(tablet.round(**how))
        assert not replies[-1].pages or replies[-1].area == tablet.area
        found += lines(replies[-1])
    return found, replies


def kept(desk) -> list:
    return desk.store.read(lambda tx: tx.execute(select(t.pages).order_by(t.pages.c.after)).all())


@pytest.mark.parametrize("page", [1024, 8192, 262_144])
def test_a_device_gets_every_change_of_its_area_once_and_as_it_is(desk, client, tablet, page):
    learn(desk, *(household(n, size=200) for n in range(150)))
    learn(desk, *(household(n, area="south") for n in range(5)), area="south")
    desk.store.transaction(lambda tx: notices.post(tx, desk, "north", "", "settled", {"a": 1}))
    learn(desk, household(150))
    whole = in_registry(desk)
    assert len(whole) == 151
    found, replies = pulled(tablet, page=page)
    assert found == whole
    assert [one["body"] for told in replies for one in told.items] == [{"a": 1}]
    assert (len(replies) > 1) == (page < 262_144)
    for told in replies:
        size = sum(len(one.data) for one in told.pages)
        assert size <= page or len(lines(told)) == 1
    # Nothing comes twice, and what is new comes alone.
    assert pulled(tablet, page=page)[0] == []
    learn(desk, household(3, counter=2))
    assert pulled(tablet, page=page)[0] == in_registry(desk)[-1:]
    south = enrolled(desk, client, tablet.form_hash, area="south")
    assert pulled(south, page=page)[0] == in_registry(desk, "south")


def test_a_round_without_news_is_small_and_moves_nothing(desk, tablet):
    learn(desk, household(1))
    pulled(tablet)
    before, told = tablet.cursor, tablet.round()
    assert (told.cursor, told.pages, told.items, told.more) == (before, (), (), False)
    assert len(pack_reply(told)) < 500


def test_changes_reach_a_device_in_the_order_they_were_committed_whatever_came_between(
    desk, client, tablet
):
    """Devices begin at any place, other things take sequences, and pages are kept meanwhile."""
    luck = random.Random(7)
    crew, has = [tablet], {tablet.device: []}
    number = itertools.count()
    for _ in range(12):
        learn(desk, *(household(next(number)) for _ in range(luck.randrange(60))))
        for _ in range(luck.choice((0, 3, 200))):
            other = luck.choice(("", "someone"))
            desk.store.transaction(
                lambda tx, to=other: notices.post(tx, desk, "north", to, "settled", {})
            )
        if luck.random() < 0.3:
            crew.append(enrolled(desk, client, tablet.form_hash))
            has[crew[-1].device] = []
        one = luck.choice(crew)
        has[one.device] += pulled(one, page=luck.choice((1024, 3000, 262_144)))[0]
    whole = in_registry(desk)
    for one in crew:
        has[one.device] += pulled(one)[0]
        assert has[one.device] == whole
        assert lines(one.round(cursor="")) == whole
    assert kept(desk)


def test_a_page_is_made_once_and_kept_sealed(desk, client, tablet):
    learn(desk, *(household(n) for n in range(2 * pages.STEP + 10)))
    rows = kept(desk)
    assert [(row.after, row.last) for row in rows] == [(0, 256), (256, 512)], "before any pull"
    first, _ = pulled(tablet)
    assert kept(desk) == rows
    for row, held in zip(rows, (first[:256], first[256:512]), strict=True):
        sealed = as_bytes(row.sealed)
        data = desk.at_rest.open(f"pages/north/{row.after}/{row.last}", sealed)
        assert [
            (one.sequence, one.change) for one in unpack_page(Page(row.after, row.last, data))
        ] == held
        assert data not in sealed
        with pytest.raises(Refused):
            desk.at_rest.open(f"pages/south/{row.after}/{row.last}", sealed)
    # Who cannot take a whole one at once gets less.
    small = enrolled(desk, client, tablet.form_hash)
    told = small.round(page=1024)
    assert sum(len(one.data) for one in told.pages) <= 1024
    assert lines(told) + pulled(small, page=1024)[0] == first
    # It is the kept bytes that are sent: another page under this name reaches the next device.
    other = pack_columns([(1, to_json(household(77)).encode())])
    swapped = desk.at_rest.seal("pages/north/0/256", other)
    desk.store.transaction(
        lambda tx: tx.execute(update(t.pages).where(t.pages.c.after == 0).values(sealed=swapped))
    )
    told = enrolled(desk, client, tablet.form_hash).round()
    assert told.pages[0].data == other
    # Without them they are made again, the same.
    desk.store.transaction(lambda tx: tx.execute(delete(t.pages)))
    assert pulled(enrolled(desk, client, tablet.form_hash))[0] == first
    assert len(kept(desk)) == 2


def test_a_page_that_may_still_grow_is_not_kept(desk, tablet):
    learn(desk, *(household(n) for n in range(pages.STEP - 1)))
    pulled(tablet)
    assert kept(desk) == []
    learn(desk, household(5000))
    assert len(kept(desk)) == 1
    found = lines(tablet.round(cursor=""))
    assert found == in_registry(desk)
    assert len(found) == pages.STEP


def test_a_page_that_became_whole_by_something_else_is_kept_at_the_first_pull(desk, tablet):
    learn(desk, *(household(n) for n in range(pages.STEP - 1)))
    desk.store.transaction(lambda tx: notices.post(tx, desk, "north", "", "settled", {}))
    assert kept(desk) == []
    assert pulled(tablet)[0] == in_registry(desk)
    assert len(kept(desk)) == 1


def test_a_page_of_an_earlier_program_is_replaced_by_one_that_is_read_today(desk, client, tablet):
    learn(desk, *(household(n) for n in range(2 * pages.STEP)))
    older = squeeze(b'1 {"r":"h1"}\n')
    for after in (0, 128):
        sealed = desk.at_rest.seal(f"pages/north/{after}/{after + 128}", older)
        row = {"area": "north", "after": after, "last": after + 128, "sealed": sealed}
        desk.store.transaction(
            lambda tx, row=row: (
                tx.execute(delete(t.pages).where(t.pages.c.after == row["after"])),
                tx.execute(insert(t.pages).values(row)),
            )
        )
    assert pulled(tablet)[0] == in_registry(desk)
    assert [(row.after, row.last) for row in kept(desk)] == [(0, 256), (256, 512)]
    assert pulled(enrolled(desk, client, tablet.form_hash))[0] == in_registry(desk)


@pytest.mark.parametrize("page", [1024, 262_144])
def test_a_device_of_an_earlier_program_gets_the_same_changes_in_lines(desk, client, tablet, page):
    learn(desk, *(household(n, size=100) for n in range(pages.STEP + 40)))
    older = enrolled(desk, client, tablet.form_hash)
    found, replies = pulled(older, page=page, layout=LINES)
    assert found == in_registry(desk)
    assert {one.data[:4] for told in replies for one in told.pages} == {squeeze(b"")[:4]}
    assert len(kept(desk)) == 1


def test_long_changes_are_parted_and_one_that_is_longer_than_a_page_comes_alone(desk, tablet):
    many = [household(n, size=400_000) for n in range(4)] + [household(9, size=3_000_000)]
    learn(desk, *many, household(10))
    found, replies = pulled(tablet, page=1024)
    assert found == in_registry(desk)
    assert [len(lines(told)) for told in replies[:5]] == [1] * 5
    told = tablet.round(cursor="", page=4_194_304)
    assert lines(told) == found
    for one in told.pages:
        held = unpack_page(one)
        assert len(held) == 1 or sum(len(line.change) for line in held) <= pages.RAW_MOST


def test_a_long_stretch_without_changes_is_stepped_over(desk, tablet):
    learn(desk, household(1))
    for _ in range(700):
        desk.store.transaction(
            lambda tx: notices.post(tx, desk, "north", "someone else", "settled", {})
        )
    learn(desk, household(2))
    asked = []

    def counting(tx):
        execute = tx.execute
        counted = type("Counted", (), {"execute": lambda _, *a: asked.append(1) or execute(*a)})()
        return pages.between(counted, desk, "north", 0, next_sequence(tx, "north"), 10**6)

    told = desk.store.read(counting)
    assert lines(told) == in_registry(desk)
    assert len(asked) < 8
    assert pulled(tablet)[0] == in_registry(desk)


def test_a_reply_whose_pages_are_not_all_there_is_refused(desk, tablet):
    learn(desk, household(1))
    told = tablet.round()
    assert unpack_reply(pack_reply(told)) == told
    head, parts = unpack(pack_reply(told))
    for wrong in ([], [*parts, parts[0]]):
        with pytest.raises(Refused, match="pages are named"):
            unpack_reply(pack(head, wrong))
