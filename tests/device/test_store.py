"""The store: answers that stay, entries that are sealed and gone, counts that are right."""

from __future__ import annotations

import base64
import json
import shutil
import threading
from dataclasses import replace

import pytest
import sqlcipher3
from hypothesis import given, settings
from hypothesis import strategies as st

from field_agent import area, backup, seal, trouble, vault
from field_agent.store import Form, Identity, Store
from field_agent.trouble import Busy, DiskFull, Missing, NotEnrolled
from field_agent.waldamage import WIPED, unread_log
from schemas import envelope as layout
from schemas.envelope import CLASSIC, HYBRID
from tests.device.forensics import pages, planted_in
from tests.device.opening import ProgrammeKey, open_file
from tests.device.small import HOUSEHOLD, NOW, PASSPHRASE, QUICK, device, openings

NAMES = ["Amina Khalilova", "Zhāng Wěi"]
SECRETS = [*NAMES, "+998901234567", "41.311081,69.240562", "AB-7731-QX"]


def copied(tablet, place):
    """The disk as a power cut would leave it now: the log included."""
    place.mkdir(mode=0o700)
    for name in ("key.json", "store.db", "store.db-wal"):
        if (tablet.home / name).exists():
            shutil.copy(tablet.home / name, place / name)
    return place


def opened(home, now_ms=NOW, **how):
    return Store.open(vault.unlock(home, PASSPHRASE, argon=QUICK), now_ms=now_ms, **how)


# Answers.


def test_an_answer_is_on_the_disk_when_save_returns(tablet, tmp_path):
    tablet.fill("e1", {"/data/name": "Amina"})
    tablet.store.save("e1", "/data/age", 31)
    tablet.store.save("e1", "/data/name", "Amina K.")
    with opened(copied(tablet, tmp_path / "copy")) as store:
        assert store.draft("e1").answers == {"/data/name": "Amina K.", "/data/age": 31}
        assert list(store.draft("e1").answers) == ["/data/name", "/data/age"]
        assert store.left_aside == 0


def test_the_settings_that_a_power_cut_is_survived_by_are_set(tablet):
    def pragma(name):
        return tablet.store._one(f"PRAGMA {name}")[0]

    assert pragma("journal_mode") == "wal"
    assert pragma("synchronous") == 2
    assert pragma("secure_delete") == 1
    assert pragma("temp_store") == 2
    assert pragma("wal_autocheckpoint") == 0
    assert tablet.store._one("PRAGMA cipher_version")[0]


def test_several_answers_are_stored_together_or_not_at_all(tablet):
    tablet.fill("e1", {"/data/a": 1})
    with pytest.raises(TypeError):
        tablet.store.save_all("e1", {"/data/b": 2, "/data/c": object()})
    assert tablet.store.draft("e1").answers == {"/data/a": 1}
    tablet.store.forget("e1", ["/data/a"])
    assert tablet.store.draft("e1").answers == {}


def test_an_answer_to_no_entry_is_never_swallowed(tablet):
    with pytest.raises(Missing, match="not being filled in"):
        tablet.store.save("nobody", "/data/a", 1)
    with pytest.raises(Missing):
        tablet.store.attach("nobody", "p", "image/png", [b"x"])
    with pytest.raises(Missing):
        tablet.store.draft("nobody")


def test_a_full_disk_takes_no_answer_and_loses_none(tablet):
    tablet.fill("e1", {"/data/name": "Amina"})
    (count,) = tablet.store._one("PRAGMA page_count")
    tablet.store._one(f"PRAGMA max_page_count = {count}")
    with pytest.raises(DiskFull, match="free some space"):
        tablet.store.attach("e1", "photo.jpg", "image/jpeg", [bytes(500_000)])
    with pytest.raises(DiskFull):
        tablet.store.save("e1", "/data/long", "x" * 50_000)
    assert tablet.store.draft("e1").answers == {"/data/name": "Amina"}
    assert tablet.store.draft("e1").files == {}
    tablet.store._one("PRAGMA max_page_count = 1000000")
    tablet.store.save("e1", "/data/long", "x" * 50_000)
    assert len(tablet.again().draft("e1").answers) == 2


def test_a_photo_that_did_not_fit_gives_back_the_room_that_it_took(tablet):
    log = tablet.home / "store.db-wal"
    _too_large(tablet)
    assert log.stat().st_size == 0
    assert tablet.store.draft("e1").answers == {"/data/name": "Amina"}


def test_it_gives_it_back_while_another_command_reads(tablet):
    """What is committed then stays in the log; what never was is cut from it."""
    log = tablet.home / "store.db-wal"
    with Store.open(tablet.store.vault, now_ms=NOW) as other, other.snapshot():
        assert other.drafts() == []
        _too_large(tablet)
        assert other.drafts() == []
        assert 0 < log.stat().st_size < 100_000
        assert unread_log(log.read_bytes()) == 0
    assert tablet.again().draft("e1").answers == {"/data/name": "Amina"}
    assert tablet.store.left_aside == 0


def _too_large(tablet):
    """A file that goes far into the log before there is no room for it."""
    tablet.fill("e1", {"/data/name": "Amina"})
    (count,) = tablet.store._one("PRAGMA page_count")
    tablet.store._one("PRAGMA cache_size = 10")
    tablet.store._one(f"PRAGMA max_page_count = {count + 200}")
    with pytest.raises(DiskFull):
        tablet.store.attach("e1", "photo.jpg", "image/jpeg", [bytes(2_000_000)])


def test_a_full_disk_while_finishing_leaves_the_draft_as_it_was(tablet):
    tablet.fill("e1", {"/data/name": "Amina"})
    tablet.store.attach("e1", "photo.jpg", "image/jpeg", [b"p" * 300_000])
    (count,) = tablet.store._one("PRAGMA page_count")
    tablet.store._one(f"PRAGMA max_page_count = {count}")
    with pytest.raises(DiskFull):
        tablet.finish("e1")
    assert b"".join(tablet.store.attached("e1", "photo.jpg")) == b"p" * 300_000
    assert tablet.store.outbox() == []
    tablet.store._one("PRAGMA max_page_count = 1000000")
    assert tablet.finish("e1").counter == 1


def test_many_threads_of_one_page_server_lose_nothing(tablet):
    tablet.fill("e1", {})

    def answer(number):
        for turn in range(10):
            tablet.store.save("e1", f"/data/q{number}-{turn}", turn)

    threads = [threading.Thread(target=answer, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(tablet.store.draft("e1").answers) == 40


def test_a_second_command_sees_what_the_first_one_stored(tablet):
    second = Store.open(tablet.store.vault, now_ms=NOW)
    tablet.fill("e1", {"/data/a": 1})
    assert second.draft("e1").answers == {"/data/a": 1}
    second.save("e1", "/data/b", 2)
    assert tablet.store.draft("e1").answers == {"/data/a": 1, "/data/b": 2}
    second.close()
    second.close()
    tablet.store.save("e1", "/data/c", 3)


class Interrupted(Store):
    """A store of which another command erases an entry while this one lists them."""

    other = None

    def _draft(self, draft):
        if self.other is not None:
            other, self.other = self.other, None
            other.discard("e2")
        return super()._draft(draft)


def test_a_list_is_of_one_moment_whatever_another_command_finishes_meanwhile(tablet):
    """Once a list broke off as an entry on it had just been finished elsewhere."""
    tablet.fill("e1", {"/data/a": 1})
    tablet.fill("e2", {"/data/a": 2})
    store = Interrupted.open(tablet.store.vault, now_ms=NOW)
    store.other = tablet.store
    assert [one.draft for one in store.drafts()] == ["e1", "e2"]
    assert [one.draft for one in store.drafts()] == ["e1"]
    store.close()


def test_a_command_that_finds_the_store_held_says_so(tablet, monkeypatch):
    monkeypatch.setattr("field_agent.database.BUSY_MS", 10)
    second = Store.open(tablet.store.vault, now_ms=NOW)
    with tablet.store.transaction(), pytest.raises(Busy, match="another command"):
        second.keep("a", 1)
    second.close()


# Finishing.


def test_a_finished_entry_is_what_was_given_and_only_the_programme_reads_it(tablet):
    tablet.store.begin(
        "e1", HOUSEHOLD, started="s", now_ms=NOW, parent="uuid:e0", seen={"r": {"p": ["d2:4"]}}
    )
    tablet.store.attach("e1", "photo.jpg", "image/jpeg", [b"one", b"two"])
    tablet.store.attach("e1", "unused.jpg", "image/jpeg", [b"x"])
    done = tablet.store.finish(
        "e1",
        xml="<data/>",
        instance_id="uuid:e1",
        label="A.",
        finished="f",
        made="m",
        now_ms=NOW,
        files=["photo.jpg"],
    )
    data = tablet.store.envelope(1)
    assert done.hash == layout.envelope_hash(data)
    payload = tablet.opened()
    assert (payload.xml, payload.parent, payload.label) == ("<data/>", "uuid:e0", "A.")
    assert payload.seen == {"r": {"p": ["d2:4"]}}
    assert list(payload.files) == ["photo.jpg"]
    one = payload.files["photo.jpg"]
    (sealed,) = tablet.store.attachments()
    assert sealed.hash == one.hash
    whole = tablet.store.attachment_bytes(one.hash, 0, 10**6)
    assert open_file(base64.b64decode(one.key), whole) == b"onetwo"
    header = layout.parse(data).header
    assert (header.device, header.counter, header.prev) == ("d1", 1, "")
    assert header.attachments == (layout.Attachment(one.hash, sealed.size),)


@pytest.mark.parametrize("suite", [HYBRID.name, CLASSIC.name])
def test_with_the_disk_and_the_passphrase_no_finished_entry_can_be_read(tmp_path, suite):
    tablet = device(tmp_path / "tablet", ProgrammeKey.fresh(suite))
    (key,) = tablet.store.vault.database_keys
    answers = {f"/data/q{number}": word for number, word in enumerate(SECRETS)}
    tablet.fill("e1", answers)
    tablet.store.attach("e1", "voice.m4a", "audio/mp4", [" ".join(SECRETS).encode() * 3000])
    before = planted_in(pages(tablet.home, key), SECRETS)
    assert {word for word, _ in before} == set(SECRETS)
    tablet.finish("e1", "<data>" + " ".join(SECRETS) + "</data>")
    assert planted_in(pages(tablet.home, key), SECRETS) == []
    tablet.fill("e2", {"/data/q": "harmless"})
    assert planted_in(pages(tablet.home, key), SECRETS) == []
    tablet.again()
    assert planted_in(pages(tablet.home, key), SECRETS) == []
    tablet.store.close()


def test_no_log_is_removed_before_it_is_overwritten(tablet, tmp_path):
    """SQLite removes its log when the last command closes; the disk's free blocks would keep it."""
    (key,) = tablet.store.vault.database_keys
    tablet.fill("e1", {"/data/name": NAMES[0]})
    log = tablet.home / "store.db-wal"
    kept = tmp_path / "the blocks of the log"
    kept.hardlink_to(log)
    assert kept.stat().st_size
    tablet.store.close()
    assert not log.exists()
    assert not any(kept.read_bytes())
    killed = copied(tablet, tmp_path / "killed")
    tablet.again()
    tablet.store.save("e1", "/data/phone", SECRETS[2])
    shutil.copy(log, killed / "store.db-wal")
    shutil.copy(tablet.home / "store.db", killed / "store.db")
    assert planted_in(pages(killed, key), [SECRETS[2]])
    with opened(killed):
        assert (killed / "store.db-wal").stat().st_size == 0


def test_a_log_that_cannot_be_wiped_now_is_wiped_later_and_nothing_fails(tablet):
    second = Store.open(tablet.store.vault, now_ms=NOW)
    tablet.fill("e1", {"/data/name": NAMES[0]})
    log = tablet.home / "store.db-wal"
    with second.snapshot():
        second.drafts()
        assert tablet.finish("e1").counter == 1
        assert log.stat().st_size
    tablet.store.keep("next", 1)
    assert log.stat().st_size == 0
    second.close()


class Refusing(Store):
    """A store on a disk that will not let its log be overwritten."""

    def _wiped(self, log):
        raise OSError(5, f"{log} cannot be written")


def test_what_was_committed_is_not_refused_because_the_log_cannot_be_wiped(tablet):
    tablet.store.close()
    tablet.store = Refusing.open(tablet.store.vault, now_ms=NOW)
    tablet.fill("e1", {"/data/a": 1})
    assert tablet.finish("e1").counter == 1
    assert tablet.again().outbox()[0].counter == 1


def test_a_finish_within_a_larger_transaction_is_wiped_after_it(tablet):
    (key,) = tablet.store.vault.database_keys
    tablet.fill("e1", {"/data/name": NAMES[0]})
    with tablet.store.transaction():
        tablet.finish("e1")
        tablet.store.keep("clock", 5)
    assert planted_in(pages(tablet.home, key), NAMES) == []
    assert tablet.store.kept("clock") == 5


def test_a_long_log_is_folded_into_the_file(tablet, monkeypatch):
    monkeypatch.setattr("field_agent.database.LOG_PAGES_MAX", 3)
    for number in range(6):
        tablet.fill(f"e{number}", {"/data/x": "x" * 3000})
        assert (tablet.home / "store.db-wal").stat().st_size <= 5 * 4120
    assert len(tablet.store.drafts()) == 6


def test_a_discarded_entry_leaves_nothing(tablet):
    (key,) = tablet.store.vault.database_keys
    tablet.fill("e1", {"/data/name": NAMES[0]})
    assert planted_in(pages(tablet.home, key), NAMES)
    tablet.store.discard("e1")
    assert planted_in(pages(tablet.home, key), NAMES) == []
    assert tablet.store.drafts() == []


def test_the_label_and_the_counts_are_all_that_stays_to_be_read(tablet):
    tablet.fill("e1", {"/data/name": NAMES[0]})
    tablet.finish("e1", label="household 7")
    (one,) = tablet.store.outbox()
    assert (one.label, one.state, one.form, one.counter) == (
        "household 7",
        "pending",
        "household",
        1,
    )


def test_entries_are_counted_without_gaps_and_chained_by_hash(tablet):
    for number in range(1, 5):
        tablet.fill(f"e{number}", {"/data/n": number})
        if number == 3:
            with pytest.raises(Missing):
                tablet.finish("nobody")
            tablet.again()
        tablet.finish(f"e{number}")
    headers = [layout.parse(tablet.store.envelope(n)).header for n in range(1, 5)]
    assert [one.counter for one in headers] == [1, 2, 3, 4]
    hashes = [layout.envelope_hash(tablet.store.envelope(n)) for n in range(1, 5)]
    assert [one.prev for one in headers] == ["", *hashes[:-1]]
    assert tablet.store.counter == 4


def test_finishing_twice_gives_the_same_sealed_entry(tablet):
    tablet.fill("e1", {"/data/a": 1})
    assert tablet.finish("e1") == tablet.finish("e1")
    assert len(tablet.store.outbox()) == 1
    with pytest.raises(Missing):
        tablet.store.save("e1", "/data/a", 2)


def test_two_devices_restored_from_one_copy_fork_at_the_same_counter(tablet, tmp_path):
    """The server sees one place with two hashes, both rightly signed, and holds the second."""
    tablet.fill("e1", {"/data/a": 1})
    tablet.finish("e1")
    twin = copied(tablet, tmp_path / "twin")
    tablet.fill("e2", {"/data/a": 2})
    first = tablet.finish("e2")
    with opened(twin) as store:
        store.begin("e3", HOUSEHOLD, started="s", now_ms=NOW)
        second = store.finish(
            "e3", xml="<d/>", instance_id="u", label="", finished="f", made="m", now_ms=NOW
        )
        one, two = layout.parse(tablet.store.envelope(2)), layout.parse(store.envelope(2))
    assert (one.header.device, one.header.counter) == (two.header.device, two.header.counter)
    assert one.header.prev == two.header.prev
    assert first.hash != second.hash
    for each in (one, two):
        assert seal.verify(tablet.store.vault.public, each.signature, each.signed)


def test_without_a_programmes_key_nothing_is_finished_and_nothing_lost(tmp_path):
    with Store.open(vault.create(tmp_path / "d", PASSPHRASE, argon=QUICK), now_ms=NOW) as store:
        store.put_form(HOUSEHOLD)
        store.begin("e1", HOUSEHOLD, started="s", now_ms=NOW)
        store.save("e1", "/data/a", 1)
        finish = {"xml": "<d/>", "instance_id": "u", "label": "", "finished": "f", "made": "m"}
        with pytest.raises(NotEnrolled, match="enrol"):
            store.finish("e1", **finish, now_ms=NOW)
        with pytest.raises(NotEnrolled):
            backup.write(store, tmp_path / "b", made="m")
        assert store.identity is None
        identity = Identity("d1", "north", "u", "f" * 64, b"k" * 32, "e1")
        store.enrol(identity, [], lease_s=0, now_ms=NOW)
        with pytest.raises(trouble.CannotSeal):
            store.finish("e1", **finish, now_ms=NOW)
        assert store.draft("e1").answers == {"/data/a": 1}


# Damage.


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_every_flipped_bit_of_the_store_is_noticed(worn, data):
    home, whole, log = worn
    bit = data.draw(st.integers(0, len(whole) * 8 - 1))
    flipped = bytearray(whole)
    flipped[bit // 8] ^= 1 << bit % 8
    (home / "store.db").write_bytes(flipped)
    (home / "store.db-wal").unlink(missing_ok=True)
    assert log
    try:
        with opened(home) as store:
            assert store.check() != ()
    except trouble.Damaged as damaged:
        assert "damaged" in str(damaged)


@pytest.mark.parametrize("place", ["salt", "content", "vector", "tag"])
def test_a_bit_of_each_part_of_each_page_is_noticed(worn, place):
    home, whole, _ = worn
    offset = {"salt": 3, "content": 2000, "vector": 4020, "tag": 4090}[place]
    (home / "store.db-wal").unlink(missing_ok=True)
    for page in range(0, len(whole), 4096):
        flipped = bytearray(whole)
        flipped[page + offset] ^= 1
        (home / "store.db").write_bytes(flipped)
        try:
            with opened(home) as store:
                assert store.check() != (), f"page {page // 4096 + 1}"
        except trouble.Damaged:
            continue


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_every_flipped_bit_of_the_log_is_noticed(worn, data):
    """SQLite itself would silently leave out all that was stored after the flipped bit."""
    _, _, log = worn
    assert unread_log(log) == 0
    bit = data.draw(st.integers(0, len(log) * 8 - 1))
    flipped = bytearray(log)
    flipped[bit // 8] ^= 1 << bit % 8
    assert unread_log(bytes(flipped)) > 0


def test_a_damaged_log_becomes_a_notice_to_the_agent(worn):
    home, whole, log = worn
    (home / "store.db").write_bytes(whole)
    flipped = bytearray(log)
    flipped[-100] ^= 1
    (home / "store.db-wal").write_bytes(flipped)
    with opened(home) as store:
        assert store.left_aside > 0
        assert [one.kind for one in store.notices()] == ["log-left-aside"]
    with opened(home) as store:
        assert store.left_aside == 0


@pytest.mark.parametrize("cut", [1, 31, 32, 33, 4119, 4151])
def test_a_log_cut_within_a_write_is_noticed(worn, cut):
    assert unread_log(worn[2][:-cut]) > 0
    assert unread_log(worn[2][:cut]) == cut - (32 if cut >= 32 else 0)


def test_a_log_that_was_wiped_on_purpose_is_no_damage():
    assert unread_log(b"") == 0
    assert unread_log(WIPED + bytes(5000)) == 0
    assert unread_log(bytes(5000)) == 5000


@pytest.mark.parametrize("stage", [20, 32, 3000, 10**9])
def test_a_power_cut_while_the_log_is_wiped_loses_nothing(worn, stage):
    """By then every frame is in the file, synced: whatever is left of the log, all is there."""
    home, whole, log = worn
    (home / "store.db").write_bytes(whole)
    (home / "store.db-wal").write_bytes(log)
    with opened(home) as store:
        answers = store.draft("e1").answers
        store._one("PRAGMA wal_checkpoint(FULL)")
        kept = (home / "store.db").read_bytes()
    (home / "store.db").write_bytes(kept)
    torn = (WIPED + bytes(min(stage, len(log))) + log)[: len(log)]
    (home / "store.db-wal").write_bytes(torn)
    with opened(home) as store:
        assert store.draft("e1").answers == answers
        assert store.left_aside == 0


@pytest.fixture(scope="module")
def worn(tmp_path_factory):
    """A store with some life in it, as (home, its file's bytes, its log's bytes)."""
    tablet = device(tmp_path_factory.mktemp("worn") / "tablet")
    tablet.fill("e0", {"/data/name": "Amina"})
    tablet.finish("e0")
    tablet.fill("e1", {f"/data/q{number}": "x" * number for number in range(6)})
    home = copied(tablet, tablet.home.parent / "copy")
    # A check that complains of everything would notice every flipped bit too.
    assert tablet.store.check() == ()
    tablet.store.close()
    return home, (home / "store.db").read_bytes(), (home / "store.db-wal").read_bytes()


# The lease.


def test_a_device_out_of_contact_locks_itself_and_a_round_opens_it(tmp_path):
    tablet = device(tmp_path / "tablet", lease_s=3600)
    tablet.store.close()
    opened(tablet.home, NOW + 3_600_000).close()
    with pytest.raises(trouble.LeaseEnded, match="round"):
        opened(tablet.home, NOW + 3_600_001)
    with opened(tablet.home, NOW + 3_600_001, for_contact=True) as store:
        assert store.tick(NOW + 3_600_001)
        store.renew_lease(3600, now_ms=NOW + 3_700_000)
        assert store.tick(NOW + 3_700_001) == ""
        assert store.status(now_ms=NOW + 3_700_000).lease_left_s == 3600
    opened(tablet.home, NOW + 3_700_000).close()


def test_setting_the_clock_back_does_not_lengthen_the_lease(tmp_path):
    tablet = device(tmp_path / "tablet", lease_s=86_400)
    tablet.store.close()
    opened(tablet.home, NOW + 80_000_000).close()
    with pytest.raises(trouble.LeaseEnded, match="clock"):
        opened(tablet.home, NOW + 1000)
    opened(tablet.home, NOW + 80_000_000 - 60_000).close()
    with pytest.raises(trouble.LeaseEnded):
        opened(tablet.home, NOW + 90_000_000)


def test_a_clock_turned_back_in_mid_session_is_caught_by_the_steady_one(tmp_path):
    tablet = device(tmp_path / "tablet", lease_s=3600)
    tablet.store.close()
    steady = [0]
    with opened(tablet.home, NOW, steady_ms=lambda: steady[0]) as store:
        for minute in range(1, 9):
            steady[0] = minute * 60_000
            assert store.tick(NOW) == ""
        steady[0] = 62 * 60_000
        assert store.tick(NOW) != ""


def test_a_lease_that_ended_leaves_the_round_the_counts_and_the_backup_and_no_more(tmp_path):
    tablet = device(tmp_path / "tablet", lease_s=3600)
    tablet.fill("e1", {"/data/name": NAMES[0]})
    tablet.store.attach("e1", "p.jpg", "image/jpeg", [b"p"])
    tablet.fill("e2", {})
    tablet.finish("e2")
    tablet.store.close()
    late = NOW + 4_000_000
    with opened(tablet.home, late, for_contact=True) as store:
        for closed in (
            store.drafts,
            lambda: store.draft("e1"),
            lambda: store.save("e1", "/data/a", 1),
            lambda: store.begin("e3", HOUSEHOLD, started="s", now_ms=late),
            lambda: store.attach("e1", "q", "image/png", [b"q"]),
            lambda: store.attached("e1", "p.jpg"),
            store.ready,
            lambda: area.listed(store),
            lambda: area.record(store, "r1"),
            lambda: area.changes(store),
        ):
            with pytest.raises(trouble.LeaseEnded):
                closed()
        assert store.status(now_ms=late).drafts == 1
        assert store.envelope(1)
        took = backup.write(store, tmp_path / "copy", made="m")
        assert (took.entries, took.drafts, took.files) == (1, 1, 1)
        store.renew_lease(3600, now_ms=late)
        assert store.draft("e1").answers == {"/data/name": NAMES[0]}


def test_a_lease_ends_in_mid_session_though_nobody_looks_at_the_clock(tmp_path):
    tablet = device(tmp_path / "tablet", lease_s=3600)
    tablet.fill("e1", {})
    tablet.store.close()
    steady = [5_000]
    with opened(tablet.home, NOW, steady_ms=lambda: steady[0]) as store:
        store.save("e1", "/data/a", 1)
        steady[0] += 3_600_001
        with pytest.raises(trouble.LeaseEnded):
            store.save("e1", "/data/a", 2)
        store.renew_lease(3600, now_ms=NOW)
        store.save("e1", "/data/a", 3)


# The outbox and its batches.


def test_a_batch_is_stored_before_its_first_try_and_stays_until_its_reply(tablet):
    for number in (1, 2, 3):
        tablet.fill(f"e{number}", {"/data/n": number})
        tablet.finish(f"e{number}")
    tablet.store.put_batch("b1", [1, 2], now_ms=NOW)
    open_batch = tablet.again().open_batch()
    assert (open_batch.batch, open_batch.counters) == ("b1", (1, 2))
    assert [one.state for one in tablet.store.outbox()] == ["sent", "sent", "pending"]
    assert tablet.store.receipt(1, tablet.store.finished(1).hash, {"sig": "x"})
    assert not tablet.store.receipt(2, "00" * 32, {"sig": "x"})
    tablet.store.mark([1, 2], "refused", why="late news")
    tablet.store.answer_batch("b1", {"ok": True})
    assert tablet.store.open_batch() is None
    assert [one.state for one in tablet.store.outbox()] == ["receipted", "refused", "pending"]
    assert tablet.store.receipt_of(1) == {"sig": "x"}
    assert tablet.store.receipt_of(2) is None
    assert tablet.store.status(now_ms=NOW).unsent == 1
    tablet.store.refused_though_held(1, "age is missing")
    tablet.store.refused_though_held(2, "no receipt speaks of this one")
    # The same receipt comes again, as by a bundle and then the network.
    assert tablet.store.receipt(1, tablet.store.finished(1).hash, {"sig": "x"})
    assert [one.why for one in tablet.store.outbox()] == ["age is missing", "late news", ""]
    counted = tablet.store.status(now_ms=NOW).states
    assert (counted["receipted"], counted["held"], counted["refused"]) == (0, 1, 1)
    with pytest.raises(ValueError, match="none of"):
        tablet.store.mark([1], "lost")


def test_only_what_has_its_receipt_is_ever_dropped_and_the_rest_can_be_fed_again(tablet):
    for number in (1, 2):
        tablet.fill(f"e{number}", {"/data/n": number})
        if number == 1:
            tablet.store.attach("e1", "p", "image/png", [b"x" * 100_000])
        tablet.finish(f"e{number}")
    (file,) = tablet.store.attachments()
    tablet.store.receipt(1, tablet.store.finished(1).hash, {})
    assert tablet.store.drop_sealed(made_before_ms=NOW + 1) == 0
    tablet.store.attachment_sent(file.hash, 10**9)
    assert tablet.store.attachments() == []
    assert [one.sent for one in tablet.store.attachments(unsent=False)] == [file.size]
    assert tablet.store.feed_again(1, 1) == 1
    tablet.store.receipt(1, tablet.store.finished(1).hash, {})
    assert tablet.store.drop_sealed(made_before_ms=NOW + 1) == 1
    assert tablet.store.envelope(2)
    for gone in (
        lambda: tablet.store.envelope(1),
        lambda: tablet.store.attachment_bytes(file.hash, 0, 9),
    ):
        with pytest.raises(Missing):
            gone()
    assert tablet.store.feed_again(1, 2) == 0
    tablet.store.receipt(2, tablet.store.finished(2).hash, {})
    assert tablet.store.feed_again(1, 2) == 1
    assert [one.state for one in tablet.store.outbox()] == ["receipted", "pending"]
    # What cannot be sent again is not left to look synced.
    assert "has lost it" in tablet.store.finished(1).why
    with pytest.raises(Missing):
        tablet.store.finished(9)


def test_a_sealed_file_can_be_sent_from_any_byte(tablet):
    tablet.fill("e1", {})
    tablet.store.attach("e1", "p", "image/png", [bytes(range(256)) * 1000])
    tablet.finish("e1")
    (file,) = tablet.store.attachments()
    whole = tablet.store.attachment_bytes(file.hash, 0, 10**9)
    assert len(whole) == file.size
    for offset, most in (
        (0, 1),
        (65_551, 3),
        (65_552, 70_000),
        (file.size - 1, 10),
        (file.size, 10),
    ):
        assert (
            tablet.store.attachment_bytes(file.hash, offset, most) == whole[offset : offset + most]
        )


def test_another_identity_is_taken_only_when_nothing_waits_to_be_sent(tablet):
    tablet.fill("e1", {})
    tablet.store.attach("e1", "photo.jpg", "image/jpeg", [b"photo"])
    tablet.finish("e1")
    other = Identity("d2", "south", "u", "f" * 64, b"k" * 32, "e1")
    with pytest.raises(Busy, match="sync"):
        tablet.store.enrol(other, [tablet.programme.public], lease_s=0, now_ms=NOW)
    tablet.store.receipt(1, tablet.store.finished(1).hash, {})
    (photo,) = tablet.store.attachments()
    with pytest.raises(Busy, match="sync"):
        tablet.store.enrol(other, [tablet.programme.public], lease_s=0, now_ms=NOW)
    tablet.store.attachment_sent(photo.hash, photo.size)
    tablet.store.enrol(other, [tablet.programme.public], lease_s=0, now_ms=NOW)
    assert tablet.store.attachments(unsent=False) == []
    tablet.fill("e2", {})
    assert tablet.finish("e2").counter == 1
    assert layout.parse(tablet.store.envelope(1)).header.device == "d2"


def test_a_device_that_moves_to_another_area_keeps_no_news_of_the_old_one(tablet):
    tablet.store.put_notice("n1", "returned", {"label": NAMES[0]}, now_ms=NOW)
    again = replace(tablet.store.identity, device="d2")
    tablet.store.enrol(again, [tablet.programme.public], lease_s=0, now_ms=NOW)
    assert len(tablet.store.notices()) == 1
    elsewhere = replace(again, device="d3", area="south")
    tablet.store.enrol(elsewhere, [tablet.programme.public], lease_s=0, now_ms=NOW)
    assert tablet.store.notices() == []


def test_the_devices_keys_are_made_once_and_stay(tablet):
    public, box = tablet.store.vault.public, tablet.store.vault.box_public
    tablet.again()
    assert (tablet.store.vault.public, tablet.store.vault.box_public) == (public, box)


# Forms, records, notices.


def test_a_new_version_is_begun_and_the_old_one_can_still_be_finished(tablet):
    newer = Form("household", "4", "cd" * 32, "Household", "<h/>", {"villages.csv": "ef" * 32})
    tablet.fill("e1", {})
    tablet.store.put_form(newer)
    assert tablet.store.forms() == [newer]
    assert tablet.store.form("household") == newer
    assert tablet.store.form("household", "3") == HOUSEHOLD
    assert tablet.store.missing_media() == ["ef" * 32]
    tablet.store.put_media("ef" * 32, b"a,b")
    assert tablet.store.media("ef" * 32) == b"a,b"
    assert tablet.store.missing_media() == []
    tablet.store.retire_forms([])
    assert tablet.store.forms() == []
    tablet.store.retire_forms([("household", "4")])
    assert tablet.store.forms() == [newer]
    # The office goes back to what it published before.
    tablet.store.retire_forms([("household", "3")])
    assert tablet.store.forms() == [HOUSEHOLD]
    assert layout.parse(tablet.store.envelope(tablet.finish("e1").counter)).header.version == "3"
    for missing in (lambda: tablet.store.form("no"), lambda: tablet.store.media("00")):
        with pytest.raises(Missing):
            missing()


def test_a_notice_comes_once_and_goes_when_it_is_read(tablet):
    for _ in range(2):
        tablet.store.put_notice("n1", "returned", {"comment": "age?"}, now_ms=NOW)
    (one,) = tablet.store.notices()
    assert one.body == {"comment": "age?"}
    tablet.store.read_notice(one.number)
    assert tablet.store.notices() == []
    assert tablet.store.notices(unread=False)[0].read


def test_kept_values_and_keys_come_back(tablet):
    assert tablet.store.kept("clock", 5) == 5
    tablet.store.keep("clock", [1, "a"])
    classic = ProgrammeKey.fresh(CLASSIC.name).public
    tablet.store.put_keys([classic, tablet.programme.public])
    tablet.store.set_epoch("e2")
    assert tablet.again().kept("clock") == [1, "a"]
    assert tablet.store.sealing_keys == [classic, tablet.programme.public]
    assert tablet.store.identity.epoch == "e2"
    tablet.store.relabel("nobody", "x")


def test_the_counts_are_right(tablet):
    tablet.fill("e1", {})
    tablet.fill("e2", {})
    tablet.store.attach("e1", "p", "image/png", [b"x"])
    tablet.finish("e1")
    status = tablet.store.status(now_ms=NOW)
    assert (status.drafts, status.unsent, status.attachments_left) == (1, 1, 1)
    assert (status.device, status.area, status.counter) == ("d1", "north", 1)
    assert status.lease_left_s is None
    assert [one.draft for one in tablet.store.drafts()] == ["e2"]


def test_sqlite_utils_works_on_the_encrypted_file_and_plain_sqlite_does_not(tablet):
    tablet.fill("e1", {"/data/a": 1})
    assert [row["draft"] for row in tablet.store.db.query("SELECT draft FROM drafts")] == ["e1"]
    import sqlite3

    plain = sqlite3.connect(tablet.home / "store.db")
    with pytest.raises(sqlite3.DatabaseError, match="not a database"):
        plain.execute("SELECT * FROM drafts")
    plain.close()
    other = sqlcipher3.connect(str(tablet.home / "store.db"))
    other.execute("PRAGMA cipher_log_level = NONE")
    other.execute("PRAGMA key = 'guess'")
    with pytest.raises(sqlcipher3.DatabaseError):
        other.execute("SELECT * FROM drafts")
    other.close()


# Backups.


def test_a_backup_holds_what_is_not_yet_safe_and_only_the_programme_opens_it(tablet, tmp_path):
    for number in (1, 2, 3):
        tablet.fill(f"e{number}", {"/data/name": NAMES[0]})
        tablet.store.attach(f"e{number}", "p.jpg", "image/jpeg", [b"p" * 70_000])
    tablet.finish("e1")
    tablet.finish("e2")
    tablet.store.receipt(1, tablet.store.finished(1).hash, {})
    file = tmp_path / "stick" / "copy.backup"
    file.parent.mkdir()
    took = backup.write(tablet.store, file, made="m")
    assert (took.entries, took.drafts, took.files) == (1, 1, 3)
    assert took.size == file.stat().st_size
    assert [one.name for one in file.parent.iterdir()] == ["copy.backup"]
    data = file.read_bytes()
    assert planted_in(data, NAMES) == []
    header, items = tablet.programme.backup(data, tablet.store.vault.public)
    assert (header.device, header.counter) == ("d1", 2)
    kinds = [head["kind"] for head, _ in items]
    assert kinds == ["opening", "envelope", "attachment", "attachment", "draft", "draft-file"]
    assert items[0][1] == openings(tablet.store)[0]
    assert items[1][1] == tablet.store.envelope(2)
    assert items[4][0]["draft"] == "e3"
    assert json.loads(items[4][1]) == [["/data/name", NAMES[0]]]
    assert items[5][1] == b"p" * 70_000


def test_a_backup_onto_a_full_stick_leaves_the_older_one_whole(tablet, tmp_path, monkeypatch):
    tablet.fill("e1", {"/data/name": "x"})
    file = tmp_path / "copy"
    backup.write(tablet.store, file, made="m")
    before = file.read_bytes()
    monkeypatch.setattr(
        seal.FileSealer, "_chunk", lambda *_, **__: (_ for _ in ()).throw(OSError(28, "full"))
    )
    with pytest.raises(OSError, match="full"):
        backup.write(tablet.store, file, made="m")
    assert file.read_bytes() == before
    assert not (tmp_path / "copy.part").exists()
    monkeypatch.undo()
    tablet.store.save("e1", "/data/b", 1)
