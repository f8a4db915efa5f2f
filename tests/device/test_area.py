"""The area's records on the device: stored as they were pulled, folded when somebody looks."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conflict import EXISTS, YES, Change, Dot, Write, fold, live_dots, to_json
from field_agent import area, incoming
from field_agent.area import Unreadable
from field_agent.course import Outcome
from field_agent.outgoing import Outgoing
from field_agent.store import Identity, Store
from field_agent.trouble import Missing
from schemas.columns import pack_columns
from schemas.frames import MAX_MESSAGE, squeeze
from schemas.messages import RoundReply
from schemas.pages import Page
from schemas.problems import Refused
from tests.conflict.worlds import world
from tests.device.small import NOW, device
from tests.pulled import as_pulled


def change(
    record: str, number: int, /, device: str = "d1", kind: str = "update", **writes
) -> Change:
    return Change(
        record,
        "households",
        Dot(device, number),
        "amina",
        f"{NOW + number:013d}-0000",
        NOW + number,
        "ab" * 32,
        {path.replace("__", "/"): write for path, write in said(writes).items()},
        kind,
    )


def said(writes):
    return {
        path: value if isinstance(value, Write) else Write(value) for path, value in writes.items()
    }


def created(record: str, number: int, label: str, **more) -> Change:
    return change(record, number, kind="create", **{EXISTS: YES, "label": label, **more})


def page(first: int, *changes: Change | bytes) -> Page:
    """Changes at sequences from `first` on."""
    texts = [one if isinstance(one, bytes) else to_json(one).encode() for one in changes]
    return Page(first - 1, first + len(texts) - 1, pack_columns(enumerate(texts, first)))


def pull(store: Store, *pages: Page, cursor: str = "c", **more) -> Outcome:
    outcome = Outcome()
    told = {"area": "north", "time_ms": NOW, "epoch": "e1", "lease_s": 0, **more}
    reply = RoundReply(cursor=cursor, pages=pages, **told)
    incoming.take(store, reply, Outgoing(b"", "", (), 0), outcome, now_ms=NOW)
    return outcome


HOUSE = created("h1", 1, "Amina Diallo", size="3", members__m1__exists=YES, members__m1__age="7")


def labels(store: Store, **how) -> list[str]:
    return [one.label for one in area.listed(store, **how)]


def test_a_household_is_found_by_its_label_or_id_and_shows_its_people(tablet):
    store = tablet.store
    assert pull(store, page(1, HOUSE, created("h2", 2, "Omar Toure"))).items == 2
    assert labels(store) == ["Amina Diallo", "Omar Toure"]
    assert labels(store, find="DIAL") == labels(store, find="H1") == ["Amina Diallo"]
    assert labels(store, kind="persons") == []
    assert labels(store, limit=1, offset=1) == ["Omar Toure"]
    (found,) = area.with_members(store, area.listed(store, find="h1"))
    assert found.fields == {"label": "Amina Diallo", "size": "3", "members/m1/age": "7"}
    held = area.record(store, "h1")
    assert (held.kind, held.label, held.fields["members/m1/age"]) == (
        "households",
        "Amina Diallo",
        "7",
    )
    assert held.dots["size"] == ["d1:1"]
    assert area.dataset_csv(store, "households") == (
        b"name,label,size\r\nh1,Amina Diallo,3\r\nh2,Omar Toure,\r\n"
    )
    with pytest.raises(Missing, match="no record h9"):
        area.record(store, "h9")


def test_a_record_is_read_before_any_list_was_made_and_counts_at_once(tablet):
    pull(tablet.store, page(1, HOUSE))
    assert tablet.store.status(now_ms=NOW).records == 1
    assert area.record(tablet.store, "h1").fields["size"] == "3"
    assert tablet.store.kept("folded") is None, "looking at one record folds no other"


def test_what_comes_later_shows_in_the_next_list_and_nothing_before_is_lost(tablet):
    store = tablet.store
    before = area.pulled(store)
    pull(store, page(1, HOUSE, created("h2", 2, "Omar Toure")))
    assert area.pulled(store) != before
    assert len(labels(store)) == 2
    pull(store, page(3, change("h1", 3, size=Write("4", frozenset({Dot("d1", 1)})))))
    assert area.listed(store)[0].fields == {"label": "Amina Diallo", "size": "4"}
    assert area.record(store, "h1").dots["size"] == ["d1:3"]
    gone = {EXISTS: Write("no", frozenset({Dot("d1", 1), Dot("d1", 3)}))}
    pull(store, page(4, change("h1", 4, **gone)))
    assert labels(store) == ["Omar Toure"]
    assert store.status(now_ms=NOW).records == 1
    with pytest.raises(Missing):
        area.record(store, "h1")


def test_a_clash_and_its_settlement_are_seen(tablet):
    store = tablet.store
    seen = frozenset({Dot("d1", 1)})
    pull(
        store,
        page(
            1,
            HOUSE,
            change("h1", 2, size=Write("4", seen)),
            change("h1", 1, device="d2", size=Write("5", seen)),
        ),
    )
    assert area.record(store, "h1").dots["size"] == ["d1:2", "d2:1"]
    both = frozenset({Dot("d1", 2), Dot("d2", 1)})
    pull(store, page(4, change("h1", 1, device="desk", kind="settle", size=Write("4", both))))
    held = area.record(store, "h1")
    assert (held.fields["size"], held.dots["size"]) == ("4", ["desk:1"])


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), cuts=st.sets(st.integers(1, 30)), looks=st.integers(0, 255))
def test_however_it_is_cut_into_pages_it_folds_to_the_same(tmp_path_factory, seed, cuts, looks):
    """With lists made in between, pages that come twice, and pages that overlap."""
    history = world(seed).arrived
    luck = random.Random(seed)
    tablet = device(tmp_path_factory.mktemp("tablet") / "t")
    at = 0
    for number, end in enumerate(
        [*sorted(cut for cut in cuts if cut < len(history)), len(history)]
    ):
        begin = max(0, at - luck.randrange(3))
        made = page(begin + 1, *history[begin:end])
        pull(tablet.store, made, *([made] if luck.random() < 0.3 else []))
        if looks >> (number % 8) & 1:
            area.listed(tablet.store)
        at = end
    whole = fold(history)
    shown = {
        p: v for p, v in whole.values.items() if "/" not in p and p != EXISTS and v is not None
    }
    (one,) = area.listed(tablet.store) if whole.exists else (None,)
    assert area.changes(tablet.store) == [as_pulled(to_json(change).encode()) for change in history]
    if one is not None:
        assert one.fields == {
            path: " ".join(value) if isinstance(value, tuple) else value
            for path, value in shown.items()
        }
        assert area.record(tablet.store, "h1").dots == {
            path: [str(dot) for dot in dots] for path, dots in live_dots(whole).items()
        }
    tablet.store.close()


# What is not as it should be.


def everything(store: Store) -> list:
    tables = ("pages", "places", "records", "kept", "notices", "identity")
    return [store.rows(f"SELECT * FROM {table}") for table in tables]


def bomb() -> bytes:
    return squeeze(bytes(MAX_MESSAGE + 1))


HOSTILE = {
    "more than is allowed when unpacked": (Page(2, 9, bomb()), "larger than"),
    "no zstd frame": (Page(2, 9, b"{}"), "zstd"),
    "no change": (Page(2, 3, squeeze(b'3 {"d":"x"}\n')), "line 1 is no change"),
    "no end": (Page(2, 3, squeeze(b'3 {"r":"h9"}')), "does not end"),
    "a sequence that was": (page(2, HOUSE), "record h1 has sequence 2 behind 2"),
    "one before the other": (
        Page(2, 9, pack_columns([(5, to_json(HOUSE).encode()), (4, to_json(HOUSE).encode())])),
        "record h1 has sequence 4 behind 5",
    ),
    "one beyond its end": (
        Page(2, 3, pack_columns([(5, to_json(HOUSE).encode())])),
        "up to 3: record h1 has sequence 5",
    ),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_page_that_is_wrong_leaves_nothing_half_done(tablet, what):
    hostile, why = HOSTILE[what]
    store = tablet.store
    pull(store, page(1, HOUSE, created("h2", 2, "Omar Toure")), cursor="good")
    area.listed(store)
    before = everything(store)
    item = {"sequence": 3, "kind": "returned", "body": {"comment": "age?"}}
    after = replace(hostile, after=2)
    with pytest.raises(Refused, match=why):
        pull(store, page(3, created("h3", 3, "Zo")), after, cursor="bad", items=(item,))
    assert everything(store) == before


def test_pages_of_another_area_are_refused(tablet):
    before = everything(tablet.store)
    with pytest.raises(Refused, match="area 'south', and this device is in 'north'"):
        pull(tablet.store, page(1, HOUSE), area="south")
    assert everything(tablet.store) == before


@pytest.mark.parametrize(
    "text",
    [b'{"r":"h1","o":}', b'{"r":"h1","o":"d1:2"}', to_json(replace(HOUSE, author="x")).encode()],
    ids=["no JSON", "no change", "a dot that was used for another"],
)
def test_a_change_that_cannot_be_read_concerns_its_record_alone_and_is_named(tablet, text):
    store = tablet.store
    pull(store, page(1, HOUSE, created("h2", 2, "Omar Toure")))
    assert len(labels(store)) == 2
    pull(store, page(3, text, b'{"r":"h3"}', change("h2", 3, size="9")), cursor="on")
    assert store.kept("cursor") == "on", "the pull goes on"
    first, second, third = sorted(area.listed(store), key=lambda one: one.record)
    assert first.label == "Amina Diallo"
    assert first.fields["size"] == "3", "as it was before"
    assert first.wrong
    assert (second.fields["size"], second.wrong) == ("9", "")
    assert third.label == "h3"
    assert third.wrong
    with pytest.raises(Unreadable, match="record h1 cannot be read"):
        area.record(store, "h1")
    assert [one.wrong for one in area.with_members(store, [second])] == [""]


# Beginning anew.


def test_a_restored_server_is_pulled_anew_and_what_is_unsent_stays(tablet):
    store = tablet.store
    pull(store, page(1, HOUSE, created("h2", 2, "Omar Toure")))
    assert len(labels(store)) == 2
    tablet.fill("e1", {})
    tablet.finish("e1")
    pull(store, page(1, created("h2", 2, "Omar Toure")), epoch="e2", cursor="anew")
    assert labels(store) == ["Omar Toure"]
    assert area.changes(store) == [as_pulled(to_json(created("h2", 2, "Omar Toure")).encode())]
    assert store.kept("cursor") == "anew"
    assert store.unsent() == 1
    assert store.envelope(1)


def test_a_device_that_moves_to_another_area_takes_no_household_along(tablet):
    store = tablet.store
    pull(store, page(1, HOUSE))
    assert labels(store)
    moved = Identity("d2", "south", "https://server.example", "cd" * 32, b"s" * 32, "e1")
    store.enrol(moved, [tablet.programme.public], lease_s=0, now_ms=NOW)
    assert labels(store) == []
    assert area.changes(store) == []
    assert store.kept("cursor", "") == ""
    pull(store, page(1, created("h7", 1, "Zo")), area="south")
    assert labels(store) == ["Zo"]


# A store of an earlier program.

FIRST_LAYOUT = (
    "DROP TABLE records",
    "DROP TABLE pages",
    "DROP TABLE places",
    "CREATE TABLE records (record TEXT PRIMARY KEY, kind TEXT, label TEXT, parent TEXT, body TEXT)",
    "CREATE INDEX idx_records_kind_label ON records (kind, label)",
    "CREATE INDEX idx_records_parent ON records (parent)",
    """CREATE TABLE changes (area TEXT, sequence INTEGER, record TEXT, body TEXT,
       PRIMARY KEY (area, sequence))""",
    "CREATE INDEX idx_changes_record ON changes (record)",
    "CREATE TABLE cursors (area TEXT PRIMARY KEY, epoch TEXT, sequence INTEGER)",
    "PRAGMA user_version = 1",
)


def test_a_store_of_an_earlier_program_shows_its_records_until_they_are_pulled_again(tablet):
    store = tablet.store
    tablet.fill("e1", {"/data/a": 1})
    tablet.fill("e2", {})
    tablet.finish("e2")
    body = {
        "fields": {EXISTS: YES, "label": "Amina", "size": "2", "members/m1/age": "6"},
        "dots": {"size": ["d1:1"], "label": ["d1:1"]},
    }
    for sql in FIRST_LAYOUT:
        store._connection.execute(sql)
    store._connection.execute(
        "INSERT INTO records VALUES ('h1', 'households', 'Amina', '', ?)", (json.dumps(body),)
    )
    store._connection.execute("INSERT INTO changes VALUES ('north', 1, 'h1', '{}')")
    store._connection.execute("INSERT INTO cursors VALUES ('north', 'e1', 1)")
    store.keep("cursor", "first.1.1.mac")
    store = tablet.again()
    assert store.rows("PRAGMA user_version") == [(2,)]
    assert store.status(now_ms=NOW).records == 1
    assert area.record(store, "h1").dots == body["dots"]
    (one,) = area.listed(store)
    assert one.fields == {"label": "Amina", "size": "2", "members/m1/age": "6"}
    assert area.dataset_csv(store, "households") == b"name,label,size\r\nh1,Amina,2\r\n"
    assert store.kept("cursor", "") == "", "it asks for everything"
    assert store.draft("e1").answers == {"/data/a": 1}
    assert store.unsent() == 1
    pull(store, page(1, HOUSE))
    assert labels(store) == ["Amina Diallo"]
    assert area.record(store, "h1").fields["size"] == "3"
    assert tablet.again().rows("PRAGMA user_version") == [(2,)]
