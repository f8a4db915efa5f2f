"""Taking in: nothing lost, nothing twice, nothing guessed, on both databases."""

from __future__ import annotations

import sqlite3
import threading
import time
from dataclasses import replace

import pytest
from sqlalchemy import func, select

from schemas.messages import pack_reply, pack_round, unpack_reply
from schemas.problems import Refused
from sync_server import enrol, intake
from sync_server.inspection import inspect
from sync_server.publish import publish
from sync_server.store.intake_tables import envelopes, submissions
from tests.server.conftest import enrolled
from tests.server.field import (
    Tablet,
    a_desk,
    app_of,
    form,
    receipted,
    refused,
    state_of,
    visit,
)


def test_a_batch_is_checked_receipted_and_kept_byte_for_byte(desk, tablet):
    sealed = [tablet.seal() for _ in range(3)]
    told = tablet.round(sealed, "b1", unsent=3)
    assert receipted(told) == [1, 2, 3]
    assert (refused(told), told.parked) == ([], 0)
    assert [state for _, _, state, _ in state_of(desk)] == ["checked"] * 3
    held = desk.store.read(
        lambda tx: (
            tx.execute(select(envelopes.c.sealed).order_by(envelopes.c.counter)).scalars().all()
        )
    )
    assert [bytes(one) for one in held] == sealed


def test_the_same_batch_again_has_the_same_reply_and_no_effect(desk, tablet):
    sealed = [tablet.seal() for _ in range(2)]
    first = tablet.round(sealed, "b1")
    again = tablet.round(sealed, "b1")
    assert pack_reply(replace(first, cursor="", keys={}, forms={})) == pack_reply(
        replace(again, cursor="", keys={}, forms={})
    )
    assert len(state_of(desk)) == 2


def test_an_envelope_that_comes_in_two_batches_is_taken_once_and_receipted_twice(desk, tablet):
    sealed = [tablet.seal() for _ in range(2)]
    first = tablet.round(sealed[:1], "b1")
    second = tablet.round(sealed, "b2")
    assert (first.held, second.held) == (((1, 1),), ((1, 2),))
    assert len(state_of(desk)) == 2


def test_one_that_comes_by_two_doors_at_the_same_moment_is_taken_once(desk, tablet):
    parts = tablet.parts([tablet.seal()])
    device = desk.store.read(lambda tx: enrol.find(tx, tablet.device))
    wrong: list[BaseException] = []

    def bring(batch):
        try:
            for number in range(5):
                told = intake.take_batch(desk, device, f"{batch}{number}", parts)
                assert (told.held, told.refused) == (((1, 1),), ())
        except BaseException as error:  # noqa: BLE001  told to the test below
            wrong.append(error)

    threads = [threading.Thread(target=bring, args=(one,)) for one in ("stick", "wire")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(state_of(desk)) == 1


def test_what_two_servers_inspect_at_the_same_time_counts_once(desk, tablet):
    tablet.round([tablet.seal(), tablet.seal(visit(f"uuid:{tablet.device}-2", size=77))], "b1")
    first = tablet.cursor
    again = [tablet.seal(visit(f"uuid:{tablet.device}-{n}", size=n)) for n in (3, 44)]
    device = desk.store.read(lambda tx: enrol.find(tx, tablet.device))

    class Meanwhile:
        """While this server judges, the other one has judged and written already."""

        def judge(self, waiting):
            assert inspect(desk) == {"checked": 1, "refused": 1}
            yield from desk.checker.judge(waiting)

    intake.take_batch(desk, device, "b2", tablet.parts(again))
    assert inspect(replace(desk, checker=Meanwhile())) == {}
    assert [state for _, _, state, _ in state_of(desk)] == ["checked", "refused"] * 2
    tablet.cursor = first
    assert [one["counter"] for one in refused(tablet.round())] == [4]


def test_what_was_received_before_the_server_ended_is_inspected_after_its_start(desk, tablet):
    device = desk.store.read(lambda tx: enrol.find(tx, tablet.device))
    told = intake.take_batch(desk, device, "b1", tablet.parts([tablet.seal(), tablet.seal()]))
    assert told.held == ((1, 2),)
    assert [state for _, _, state, _ in state_of(desk)] == ["received"] * 2
    assert inspect(desk) == {"checked": 2}
    assert inspect(desk) == {}


def test_a_round_says_how_many_are_being_checked_and_a_later_one_what_was_refused(desk, tablet):
    busy = replace(desk, wake=lambda: None)
    tablet.client = app_of(busy)
    told = tablet.round([tablet.seal(visit(f"uuid:{tablet.device}-1", size=77))], "b1")
    assert (receipted(told), told.checking, refused(told)) == ([1], 1, [])
    assert inspect(desk) == {"refused": 1}
    told = tablet.round()
    assert (told.checking, [one["problem"]["code"] for one in refused(told)]) == (
        0,
        ["answers-refused"],
    )
    assert refused(tablet.round()) == []


def test_the_watch_inspects_what_it_is_woken_for(desk, tablet):
    from sync_server.inspection import Watch

    wrong: list[BaseException] = []
    watch = Watch(desk, report=wrong.append)
    tablet.client = app_of(replace(desk, wake=watch.wake))
    watch.start()
    tablet.round([tablet.seal() for _ in range(3)], "b1")
    for _ in range(6000):
        if "received" not in str(state_of(desk)):
            break
        time.sleep(0.01)
    watch.close()
    assert wrong == []
    assert [state for _, _, state, _ in state_of(desk)] == ["checked"] * 3


@pytest.mark.parametrize("times", [3, 1_000_000])
def test_the_watch_lets_whoever_brings_something_go_first_but_not_for_ever(desk, tablet, times):
    from sync_server.inspection import Watch

    seen: list[str] = []
    begun, go_on = threading.Event(), threading.Event()

    def sleep(_) -> None:
        if not seen:
            begun.set()
            go_on.wait(60)
            tablet.round([tablet.seal()], "b1")
        seen.append(str(state_of(desk)))
        if len(seen) <= times:
            watch.wake()

    watch = Watch(desk, report=lambda error: seen.append(repr(error)), sleep=sleep)
    tablet.client = app_of(replace(desk, wake=watch.wake))
    watch.start()
    for _ in range(6000):
        if begun.wait(0.01):
            break
        watch.wake()
    go_on.set()
    for _ in range(6000):
        if "checked" in str(state_of(desk)):
            break
        time.sleep(0.01)
    watch.close()
    assert [state for _, _, state, _ in state_of(desk)] == ["checked"]
    waited = [one for one in seen if "received" in one]
    assert len(waited) == min(times + 1, 10)


def test_a_batch_id_with_other_contents_takes_nothing(desk, tablet):
    one, two = tablet.seal(), tablet.seal()
    tablet.round([one], "b1")
    body = pack_round(tablet.asked("b1"), tablet.parts([one, two]))
    reply = tablet.send("POST", "/sync/v1/round", body)
    assert reply.status_code == 409
    assert len(state_of(desk)) == 1


def test_the_same_counter_with_another_content_is_held_and_never_guessed(desk, tablet):
    tablet.round([tablet.seal()], "b1")
    other = tablet.seal(counter=1, prev="", instance="uuid:the-copy")
    told = tablet.round([other], "b2")
    assert [one["problem"]["code"] for one in told.refused] == ["counter-forked"]
    assert told.refused[0]["held"]
    assert receipted(told) == [1]
    assert [(at, state) for _, at, state, _ in state_of(desk)] == [(1, "checked"), (1, "held")]


def test_what_follows_a_fork_is_held_too(desk, tablet):
    tablet.round([tablet.seal(), tablet.seal()], "b1")
    tablet.seal(counter=2, prev=tablet.prev, instance="uuid:copy-2")  # the copy's own second
    told = tablet.round([tablet.seal(instance="uuid:copy-3")], "b2")
    assert [one["problem"]["code"] for one in told.refused] == ["chain-broken"]
    assert state_of(desk)[-1][2:] == ("held", "chain-broken")


def test_a_later_one_that_came_first_does_not_let_a_fork_slip_in_before_it(desk, tablet):
    first = tablet.seal()
    second = tablet.seal()
    tablet.round([second], "b1")
    copy = tablet.seal(counter=1, prev="", instance="uuid:copy")
    told = tablet.round([copy], "b2")
    assert [one["problem"]["code"] for one in told.refused] == ["chain-broken"]
    tablet.round([first], "b3")
    assert sorted(state_of(desk)[at][1:3] for at in range(3)) == [
        (1, "checked"),
        (1, "held"),
        (2, "checked"),
    ]


def test_one_bad_submission_never_blocks_the_others(desk, tablet):
    good = tablet.seal()
    wrong = tablet.seal(visit(f"uuid:{tablet.device}-2", size=77))
    after = tablet.seal()
    told = tablet.round([good, wrong, b"ORSE rubbish", after], "b1")
    assert receipted(told) == [1, 2, 3]
    codes = {one["counter"]: one["problem"]["code"] for one in refused(told)}
    assert codes == {0: "envelope-malformed", 2: "answers-refused"}
    (faults,) = [one["faults"] for one in refused(told) if one["counter"] == 2]
    assert any("size" in one["path"] for one in faults)
    assert "77" not in str([(one["problem"], one["faults"]) for one in refused(told)])
    assert [state for _, _, state, _ in state_of(desk)] == ["checked", "refused", "checked"]


def test_another_devices_envelope_is_not_taken_from_this_one(desk, client, visits, tablet):
    other = enrolled(desk, client, visits.hash)
    stolen = other.seal()
    told = tablet.round([stolen], "b1")
    assert told.held == ()
    assert [one["problem"]["code"] for one in told.refused] == ["envelope-signature"]
    assert not told.refused[0]["held"]
    assert state_of(desk) == []


def test_a_device_does_not_speak_in_anothers_name(desk, tablet):
    name, tablet.device = tablet.device, "somebody-else"
    sealed = tablet.seal()
    tablet.device = name
    told = tablet.round([sealed], "b1")
    assert [one["problem"]["code"] for one in told.refused] == ["envelope-signature"]
    assert (told.held, state_of(desk)) == ((), [])


def test_a_flipped_bit_never_comes_near_the_registry(desk, tablet):
    sealed = bytearray(tablet.seal())
    sealed[-80] ^= 1
    told = tablet.round([bytes(sealed)], "b1")
    # The device itself sent these bytes, so they are kept for a person; nobody opens them.
    assert [one["problem"]["code"] for one in refused(told)] == ["envelope-signature"]
    assert state_of(desk)[0][2:] == ("refused", "envelope-signature")


def test_an_unknown_form_version_is_parked_and_taken_up_when_it_is_published(desk, tablet):
    from forms.form import Form
    from forms.xlsform import compile_xlsform
    from sync_server import blobs

    coming = compile_xlsform("visit.md", form("2"))
    assert Form.load(coming).version == "2"
    tablet.form_hash = blobs.hash_of(coming)
    told = tablet.round([tablet.seal(version="2"), tablet.seal(version="2")], "b1")
    assert told.parked == 2
    assert receipted(told) == [1, 2]
    assert inspect(desk, parked=True) == {}
    publish(desk, "visit.md", form("2"), {})
    assert inspect(desk, parked=True) == {"checked": 2}
    assert inspect(desk, parked=True) == {}
    assert [state for _, _, state, _ in state_of(desk)] == ["checked", "checked"]


def test_an_older_version_still_counts_after_a_newer_one_is_published(desk, tablet):
    publish(desk, "visit.md", form("2"), {})
    told = tablet.round([tablet.seal()], "b1")
    assert (receipted(told), refused(told), told.parked) == ([1], [], 0)
    assert [one["version"] for one in told.forms["list"]] == ["2"]


def test_a_submission_for_a_key_that_is_elsewhere_waits_and_opens_when_the_key_comes(desk, tablet):
    sealed = tablet.seal()
    poor = replace(desk, keys=replace(desk.keys, sealing=()))
    from sync_server.checking import Inline

    poor = replace(poor, checker=Inline(desk.store, poor.keys, desk.at_rest))
    away = Tablet(
        app_of(poor),
        **{
            n: getattr(tablet, n)
            for n in (
                *("key", "box", "device", "area", "server", "server_key", "sealing"),
                "openings",
            )
        },
    )
    told = away.round([sealed], "b1")
    assert told.parked == 1
    assert state_of(desk)[0][2:] == ("parked", "key-unknown")
    assert inspect(desk, parked=True) == {"checked": 1}


def test_old_keys_keep_opening_after_a_rotation(desk, tablet):
    from sync_server.checking import Inline

    old = tablet.seal()
    turned = desk.keys.rotated(at_ms=2)
    rotated = replace(desk, keys=turned, checker=Inline(desk.store, turned, desk.at_rest))
    tablet.client = app_of(rotated)
    told = tablet.round([old], "b1")
    assert told.parked == 0
    assert sum(1 for one in told.keys["list"] if one["current"]) == 2
    assert state_of(desk)[0][2] == "checked"


def test_without_its_sessions_opening_a_submission_has_no_receipt_and_with_it_one(desk, tablet):
    device = desk.store.read(lambda tx: enrol.find(tx, tablet.device))
    sealed = tablet.seal()
    told = intake.take_batch(desk, device, "b1", [sealed])
    (one,) = told.refused
    assert (told.held, one["problem"]["code"], one["held"]) == ((), "session-unknown", False)
    assert state_of(desk) == []
    assert intake.take_batch(desk, device, "b2", tablet.parts([sealed])).held == ((1, 1),)
    # From now on the server has it: what else was sealed in that session comes alone.
    assert intake.take_batch(desk, device, "b3", [tablet.seal()]).held == ((2, 2),)
    assert inspect(desk) == {"checked": 2}


def test_an_opening_that_the_device_did_not_sign_is_as_one_that_did_not_come(desk, tablet):
    device = desk.store.read(lambda tx: enrol.find(tx, tablet.device))
    sealed = tablet.seal()
    opening, _ = tablet.parts([sealed])
    for at in (20, len(opening) // 2, len(opening) - 1):
        wrong = bytearray(opening)
        wrong[at] ^= 1
        told = intake.take_batch(desk, device, f"b{at}", [bytes(wrong), sealed])
        assert told.held == ()


def test_the_same_instance_in_two_envelopes_enters_once_and_the_second_is_held(desk, tablet):
    told = tablet.round([tablet.seal(instance="uuid:x"), tablet.seal(instance="uuid:x")], "b1")
    assert [one["problem"]["code"] for one in refused(told)] == ["instance-known"]
    assert [state for _, _, state, _ in state_of(desk)] == ["checked", "held"]


def test_one_that_was_held_for_a_person_is_told_of_when_it_comes_again(tablet):
    twice = [tablet.seal(instance="uuid:x"), tablet.seal(instance="uuid:x")]
    tablet.round(twice, "b1")
    told = tablet.round(twice, "b2")
    assert [(one["counter"], one["problem"]["code"]) for one in told.refused] == [
        (2, "instance-known")
    ]
    assert receipted(told) == [1, 2]


def test_many_devices_at_once_are_each_taken_in_once(desk, client, visits):
    tablets = [enrolled(desk, client, visits.hash, area=f"a{n % 2}") for n in range(4)]
    work = [(one, [[one.seal() for _ in range(3)] for _ in range(3)]) for one in tablets]
    for one in tablets:
        # Here and not in the threads: werkzeug parses Python for its routes, and in CPython 3.11
        # two threads that do so at once may get a SystemError (python/cpython 106905).
        one.client = app_of(desk)
    wrong: list[BaseException] = []

    def run(one, batches):
        try:
            for number, batch in enumerate(batches):
                for _ in range(2):
                    one.round(batch, f"b{number}")
        except BaseException as error:  # noqa: BLE001  told to the test below
            wrong.append(error)

    threads = [threading.Thread(target=run, args=one) for one in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert [state for _, _, state, _ in state_of(desk)] == ["checked"] * 36
    sequences = desk.store.read(
        lambda tx: tx.execute(
            select(
                submissions.c.area,
                submissions.c.device,
                submissions.c.batch,
                submissions.c.sequence,
            ).distinct()
        ).all()
    )
    assert len({(one.area, one.sequence) for one in sequences}) == len(sequences) == 12


def test_a_no_op_round_is_one_small_request(tablet):
    tablet.round([tablet.seal()], "b1")
    body = pack_round(tablet.asked())
    reply = tablet.send("POST", "/sync/v1/round", body)
    assert len(body) + len(reply.data) < 500
    assert unpack_reply(reply.data).items == ()


def test_a_server_restored_from_an_old_backup_is_noticed_and_fed_again(tmp_path, clock):
    from tests.server.conftest import publish as put

    live = tmp_path / "live.db"
    desk = a_desk(f"sqlite:///{live}", clock)
    published = put(desk, "visit.md", form(), {})
    tablet = enrolled(desk, app_of(desk), published.hash)
    early = tablet.seal()
    tablet.round([early], "b1")
    backup = tmp_path / "backup.db"
    with sqlite3.connect(live) as source, sqlite3.connect(backup) as copy:
        source.backup(copy)
    source.close()
    copy.close()
    later = [tablet.seal(), tablet.seal()]
    tablet.round(later, "b2")
    desk.close()

    restored = a_desk(f"sqlite:///{backup}", clock, desk.keys)
    tablet.client = app_of(restored)
    told = tablet.round()
    assert told.again == ((2, 3),)
    assert told.epoch != "first"
    tablet.acknowledged, tablet.receipts = 1, {1: ""}
    again = tablet.round(later, "b3")
    assert receipted(again) == [2, 3]
    assert tablet.round().again == ()
    assert [state for _, _, state, _ in state_of(restored)] == ["checked"] * 3
    # The new epoch is begun once, not at every round.
    assert tablet.round().epoch == told.epoch
    restored.close()


@pytest.mark.parametrize("others", [0, 9])
def test_a_restored_server_is_noticed_by_a_device_that_brings_more(tmp_path, clock, others):
    """However many others came first, so that the server gave places away again."""
    from tests.server.conftest import publish as put

    live, backup = tmp_path / "live.db", tmp_path / "backup.db"
    desk = a_desk(f"sqlite:///{live}", clock)
    published = put(desk, "visit.md", form(), {})
    tablet, other = (enrolled(desk, app_of(desk), published.hash) for _ in range(2))
    with sqlite3.connect(live) as source, sqlite3.connect(backup) as copy:
        source.backup(copy)
    source.close()
    copy.close()
    tablet.round([tablet.seal()], "b1")
    tablet.acknowledged = 1
    desk.close()

    restored = a_desk(f"sqlite:///{backup}", clock, desk.keys)
    tablet.client = other.client = app_of(restored)
    for number in range(others):
        other.round([other.seal()], f"b{number}")
    told = tablet.round([tablet.seal()], "b2")
    assert told.epoch != "first"
    assert told.again == ((1, 1),)
    restored.close()


def test_a_device_cannot_begin_an_epoch_by_making_a_cursor_up(tablet):
    tablet.cursor = "first.9999.9999.AAAAAAAAAAAA"
    assert tablet.round().epoch == "first"


def test_what_is_opened_lies_encrypted_in_the_database(desk, tablet):
    tablet.round([tablet.seal(visit(f"uuid:{tablet.device}-1", head="Planted-Zainab"))], "b1")
    (row,) = desk.store.read(lambda tx: tx.execute(select(submissions)).all())
    assert "Planted-Zainab" in intake.opened(desk, row).xml
    for table in (submissions, envelopes):
        for line in desk.store.read(lambda tx, table=table: tx.execute(select(table)).all()):
            assert b"Planted" not in b"".join(
                bytes(value) if isinstance(value, (bytes, memoryview)) else str(value).encode()
                for value in line
            )


def test_a_value_moved_to_another_row_does_not_open(desk):
    sealed = desk.at_rest.seal("submissions/a/b/1/x", b"hers")
    with pytest.raises(Refused, match="seal"):
        desk.at_rest.open("submissions/a/b/2/x", sealed)


def test_the_count_of_what_is_held_follows_gaps(desk, tablet):
    sealed = [tablet.seal() for _ in range(4)]
    for number, (given, to) in enumerate([([0], 1), ([2, 3], 1), ([1], 4)]):
        tablet.round([sealed[at] for at in given], f"b{number}")
        assert desk.store.read(lambda tx: enrol.find(tx, tablet.device)).held_to == to
    assert (
        desk.store.read(lambda tx: tx.execute(select(func.count()).select_from(envelopes)).scalar())
        == 4
    )
