"""The database under the intake: whole or not at all, durable before anyone hears of it."""

from __future__ import annotations

import sqlite3
import threading
import time
from contextlib import closing, suppress
from itertools import pairwise

import pytest
from sqlalchemy import UniqueConstraint, func, insert, select, text
from sqlalchemy.exc import IntegrityError

from sync_server.store.engine import (
    TRIES,
    Unavailable,
    add_all,
    metadata,
    next_sequence,
    open_store,
    pause_s,
)
from sync_server.store.intake_tables import epochs, facts


@pytest.fixture
def store(url):
    found = open_store(url)
    found.create()
    yield found
    found.close()


def note(tx, name: str) -> None:
    tx.execute(insert(facts).values(area="", name=name, value="x"))


def noted(store) -> int:
    return store.read(lambda tx: tx.execute(select(func.count()).select_from(facts)).scalar_one())


def test_two_servers_that_begin_at_the_same_time_both_find_their_tables(url):
    stores = [open_store(url) for _ in range(4)]
    barrier = threading.Barrier(len(stores), timeout=60)
    wrong: list[Exception] = []

    def begin(one) -> None:
        barrier.wait()
        try:
            one.create()
            one.transaction(lambda tx: note(tx, f"store {id(one)}"))
        except Exception as error:  # noqa: BLE001  said below
            wrong.append(error)

    threads = [threading.Thread(target=begin, args=(one,)) for one in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (wrong, noted(stores[0])) == ([], len(stores))
    for one in stores:
        one.close()


def test_a_database_that_is_away_is_said_in_one_word_by_whatever_meets_it(tmp_path):
    for url in (
        f"sqlite:///{tmp_path}/nowhere/registry.db",
        "postgresql://nobody@/x?host=/nowhere",
    ):
        store = open_store(url)
        for meet in (
            store.create,
            lambda one=store: one.read(lambda tx: tx.execute(text("select 1"))),
            lambda one=store: one.transaction(lambda tx: tx.execute(text("select 1"))),
        ):
            with pytest.raises(Unavailable, match="does not answer"):
                meet()
        store.close()


def test_a_commit_is_asked_to_be_written_before_it_is_answered_whatever_the_database_is_set_to(
    store,
):
    def setting(tx, name: str) -> str:
        return str(tx.execute(text(f"{'pragma' if store.sqlite else 'show'} {name}")).scalar())

    if store.sqlite:
        assert store.read(lambda tx: setting(tx, "synchronous")) == "2"  # full
        return
    # The tests' PostgreSQL is set to `off`, as one may be that others share.
    assert store.read(lambda tx: setting(tx, "synchronous_commit")) == "on"
    assert store.transaction(lambda tx: setting(tx, "synchronous_commit")) == "on"


def test_those_who_met_do_not_meet_again_after_the_same_wait():
    waits = [[pause_s(tried, luck) for tried in range(TRIES)] for luck in (0.0, 0.5, 0.999)]
    for gentle, middling, late in zip(*waits, strict=True):
        assert late - gentle > middling / 2 > 0
    assert all(mine < after for one in waits for mine, after in pairwise(one[:8]))
    assert max(max(one) for one in waits) < 0.4


@pytest.mark.parametrize("database", ["postgres"], indirect=True)
def test_a_try_after_a_collision_waits_by_the_luck_it_is_given(url):
    asked: list[float] = []
    store = open_store(url, luck=lambda: asked.append(0.0) or 0.0)
    store.create()
    tried: list[int] = []

    def work(tx) -> None:
        tried.append(1)
        if len(tried) < 4:
            tx.execute(text("do $$ begin raise sqlstate '40001'; end $$"))
        note(tx, "kept")

    store.transaction(work)
    assert (len(tried), len(asked), noted(store)) == (4, 3, 1)
    store.close()


def test_a_work_that_fails_leaves_nothing(store):
    def work(tx):
        note(tx, "one")
        raise LookupError

    with pytest.raises(LookupError):
        store.transaction(work)
    assert noted(store) == 0


def test_a_work_that_fails_does_not_undo_the_ones_it_shares_a_commit_with(store):
    gate = threading.Event()
    wrong: list[str] = []

    def run(number: int) -> None:
        def work(tx):
            gate.wait(5)
            note(tx, f"n{number}")
            if number % 3 == 0:
                raise LookupError(number)

        try:
            store.transaction(work)
        except LookupError as error:
            wrong.append(str(error))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    gate.set()
    for thread in threads:
        thread.join()
    assert sorted(wrong, key=int) == ["0", "3", "6", "9"]
    assert noted(store) == 8


def test_nobody_hears_that_it_is_done_when_the_commit_fails(store):
    def prepare(tx):
        tx.execute(text("create table parent (id integer primary key)"))
        tx.execute(
            text(
                "create table child (id integer references parent (id) "
                "deferrable initially deferred)"
            )
        )

    store.transaction(prepare)
    with pytest.raises(IntegrityError):
        store.transaction(lambda tx: tx.execute(text("insert into child values (1)")) and None)
    assert store.read(lambda tx: tx.execute(text("select count(*) from child")).scalar()) == 0
    store.transaction(lambda tx: note(tx, "after"))
    assert noted(store) == 1


def test_places_are_given_without_gaps_in_the_order_of_commits(store):
    def run() -> None:
        for _ in range(10):
            store.transaction(lambda tx: next_sequence(tx, "north"), lock="north")

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.transaction(lambda tx: next_sequence(tx, "north", 5)) == 41
    assert store.transaction(lambda tx: next_sequence(tx, "south")) == 1


def test_however_many_rows_are_added_at_once_each_is_there_as_it_was(store):
    rows = [("", f"name {number}", f"value {number}") for number in range(12_345)]
    store.transaction(lambda tx: add_all(tx, facts, ("area", "name", "value"), rows))
    found = store.read(
        lambda tx: tx.execute(select(facts.c.area, facts.c.name, facts.c.value)).all()
    )
    assert sorted(tuple(one) for one in found) == sorted(rows)
    with pytest.raises(IntegrityError):
        store.transaction(lambda tx: add_all(tx, facts, ("name", "area", "value"), [rows[0]] * 2))
    store.transaction(lambda tx: add_all(tx, facts, ("area", "name", "value"), []))
    assert noted(store) == len(rows)


def test_two_that_decide_on_what_they_read_never_both_decide(store):
    """Write skew: each sees no epoch and would make one. Serializable isolation lets one only."""
    barrier = threading.Barrier(2, timeout=60)
    tried: list[int] = []

    def run(number: int) -> None:
        def work(tx) -> bool:
            tried.append(number)
            found = tx.execute(select(func.count()).select_from(epochs)).scalar_one()
            if len(tried) <= 2 and not store.sqlite:
                barrier.wait()
            if found:
                return False
            tx.execute(insert(epochs).values(area="", epoch=f"e{number}", begun_ms=1, why=""))
            return True

        made.append(store.transaction(work))

    made: list[bool] = []
    threads = [threading.Thread(target=run, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(made) == [False, True]
    if not store.sqlite:
        assert len(tried) > 2, "PostgreSQL refused one of the two, and it was tried again"


def test_a_reader_never_writes(store):
    store.read(lambda tx: note(tx, "one"))
    assert noted(store) == 0


def test_a_work_inside_a_work_is_a_mistake_and_no_deadlock(store):
    if not store.sqlite:
        pytest.skip("PostgreSQL gives the inner work its own connection")
    with pytest.raises(RuntimeError, match="has one already"):
        store.transaction(lambda _: store.transaction(lambda tx: note(tx, "inner")))


def test_works_handed_in_before_the_end_are_finished(store):
    threads = [
        threading.Thread(target=store.transaction, args=(lambda tx, n=n: note(tx, f"n{n}"),))
        for n in range(5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    url = store.engine.url.render_as_string(hide_password=False)
    store.close()
    again = open_store(url)
    assert noted(again) == 5
    again.close()


def test_sqlite_is_set_so_that_a_power_cut_takes_nothing_acknowledged(tmp_path):
    store = open_store(f"sqlite:///{tmp_path / 'r.db'}")
    store.create()

    def said(tx) -> list[object]:
        return [
            tx.execute(text(f"pragma {name}")).scalar()
            for name in ("journal_mode", "synchronous", "secure_delete", "temp_store")
        ]

    assert store.read(said) == store.transaction(said) == ["wal", 2, 1, 2]
    store.close()


def test_the_log_of_sqlite_is_folded_into_the_file_when_nobody_writes(tmp_path):
    """Not while somebody does: then a commit would wait for it."""
    file = tmp_path / "r.db"
    store = open_store(f"sqlite:///{file}")
    store.create()
    for number in range(3):
        store.transaction(lambda tx, n=number: note(tx, f"n{n}"))
    for _ in range(6000):
        # Opened so, SQLite reads the file without its log.
        alone = sqlite3.connect(f"file:{file}?immutable=1", uri=True)
        # It may be being written, or have no table yet.
        with closing(alone), suppress(sqlite3.Error):
            if alone.execute("select count(*) from facts").fetchone() == (3,):
                break
        time.sleep(0.01)
    else:
        pytest.fail("what was written is still in the log alone")
    store.close()


def test_area_leads_every_key_and_index_of_what_belongs_to_an_area():
    from sync_server.store import tables

    assert set(tables.ALL) == set(metadata.sorted_tables)
    assert len(tables.ALL) >= 30
    for table in set(tables.ALL) - set(tables.SHARED):
        unique = [one for one in table.constraints if isinstance(one, UniqueConstraint)]
        for key in (table.primary_key, *unique, *table.indexes):
            assert next(iter(key.columns)).name == "area", f"{table.name}: {key}"
        for key in table.foreign_key_constraints:
            shared = key.referred_table in tables.SHARED
            assert shared or next(iter(key.columns)).name == "area", f"{table.name}: {key}"
    for table in tables.SHARED:
        assert "area" not in table.columns
        assert {key.referred_table for key in table.foreign_key_constraints} <= {*tables.SHARED}


def test_the_time_of_a_long_read_is_one_moment(store):
    store.transaction(lambda tx: note(tx, "one"))
    seen = []

    def look(tx):
        seen.append(tx.execute(select(func.count()).select_from(facts)).scalar_one())
        writer = threading.Thread(target=store.transaction, args=(lambda tx: note(tx, "two"),))
        writer.start()
        writer.join()
        seen.append(tx.execute(select(func.count()).select_from(facts)).scalar_one())

    store.read(look)
    assert seen == [1, 1]
    assert noted(store) == 2
