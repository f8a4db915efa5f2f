"""The lock: one passphrase, counted tries, a key that can be changed, rotated and destroyed."""

from __future__ import annotations

import ctypes
import json
import multiprocessing
import os
import resource
import stat
import subprocess
import sys

import pytest
import sqlcipher3

from field_agent import seal, trouble, vault
from field_agent.store import Store
from schemas.envelope import CLASSIC, HYBRID, SealingKey
from tests.device.opening import ProgrammeKey
from tests.device.small import NOW, PASSPHRASE, QUICK


class Clock:
    def __init__(self) -> None:
        self.ms = NOW

    def __call__(self) -> int:
        return self.ms


def test_the_passphrase_opens_what_it_locked_and_nothing_else_does(tmp_path):
    made = vault.create(tmp_path / "d", PASSPHRASE, argon=QUICK)
    opened = vault.unlock(tmp_path / "d", PASSPHRASE, argon=QUICK)
    assert opened.database_keys == made.database_keys
    with pytest.raises(trouble.WrongPassphrase, match="does not fit"):
        vault.unlock(tmp_path / "d", PASSPHRASE + "!", argon=QUICK)


def test_a_passphrase_typed_on_another_keyboard_is_the_same(tmp_path):
    vault.create(tmp_path / "d", "pass é phrase", argon=QUICK)
    assert vault.unlock(tmp_path / "d", "pass é phrase", argon=QUICK)


def test_neither_the_key_nor_the_passphrase_is_written_or_shown(tmp_path):
    made = vault.create(tmp_path / "d", PASSPHRASE, argon=QUICK)
    key = made.database_keys[0]
    written = (tmp_path / "d" / "key.json").read_text()
    assert key.hex() not in written
    assert PASSPHRASE not in written
    assert key.hex() not in repr(made)
    assert key.hex() not in repr(vault.DeviceKeys(key, key))


def test_folder_and_files_are_the_owners_alone_whatever_the_umask(tmp_path):
    before = os.umask(0)
    try:
        made = vault.create(tmp_path / "d", PASSPHRASE, argon=QUICK)
        os.umask(0)
        with Store.open(made, now_ms=NOW) as store:
            store.keep("a", 1)
            names = {file.name: file for file in (tmp_path / "d").iterdir()}
            assert {"store.db", "store.db-wal", "store.db-shm", "key.json", "room"} == set(names)
            for file in names.values():
                assert stat.S_IMODE(file.stat().st_mode) == 0o600, file.name
        assert stat.S_IMODE((tmp_path / "d").stat().st_mode) == 0o700
    finally:
        os.umask(before)


def test_after_three_wrong_tries_each_further_one_waits_longer(tmp_path):
    clock = Clock()
    vault.create(tmp_path / "d", PASSPHRASE, argon=QUICK)
    waits = []
    for _ in range(5):
        with pytest.raises(trouble.WrongPassphrase) as wrong:
            vault.unlock(tmp_path / "d", "wrong passphrase", argon=QUICK, now_ms=clock)
        waits.append(wrong.value.wait_s)
        clock.ms += int(wrong.value.wait_s * 1000)
    assert waits == [0, 0, 2, 4, 8]
    clock.ms -= 1
    with pytest.raises(
        trouble.WrongPassphrase, match=r"last 5 tries.* wrong or did not finish; try again in 1 s"
    ):
        vault.unlock(tmp_path / "d", PASSPHRASE, argon=QUICK, now_ms=clock)
    clock.ms += 1
    assert vault.unlock(tmp_path / "d", PASSPHRASE, argon=QUICK, now_ms=clock)
    with pytest.raises(trouble.WrongPassphrase) as wrong:
        vault.unlock(tmp_path / "d", "wrong passphrase", argon=QUICK, now_ms=clock)
    assert wrong.value.wait_s == 0
    assert vault.delay_s(100) == 3600


def test_a_clock_set_back_does_not_shorten_the_wait(tmp_path):
    clock = Clock()
    vault.create(tmp_path / "d", PASSPHRASE, argon=QUICK)
    for _ in range(3):
        with pytest.raises(trouble.WrongPassphrase):
            vault.unlock(tmp_path / "d", "wrong passphrase", argon=QUICK, now_ms=clock)
    clock.ms -= 86_400_000
    with pytest.raises(trouble.WrongPassphrase, match="2 s"):
        vault.unlock(tmp_path / "d", PASSPHRASE, argon=QUICK, now_ms=clock)
    clock.ms += 2000
    assert vault.unlock(tmp_path / "d", PASSPHRASE, argon=QUICK, now_ms=clock)


def test_a_try_is_counted_before_it_is_made(tmp_path):
    """Pulling the plug between the guess and its answer gains no guess."""
    vault.create(tmp_path / "d", PASSPHRASE, argon=QUICK)
    script = (
        "import os, sys; from pathlib import Path; from field_agent import vault\n"
        "vault.Argon.derive = lambda *a: os._exit(9)\n"
        "vault.unlock(Path(sys.argv[1]), 'wrong passphrase')\n"
    )
    for tries in (1, 2, 3):
        ran = subprocess.run([sys.executable, "-c", script, tmp_path / "d"], check=False)
        assert ran.returncode == 9
        assert json.loads((tmp_path / "d" / "key.json").read_text())["tries"] == tries


def test_a_try_that_cannot_be_counted_is_not_made_and_leaves_nothing(tmp_path):
    """A disk that is filled up on purpose gives no free guess. Here no file may grow at all."""
    vault.create(tmp_path / "d", PASSPHRASE, argon=QUICK)
    before = (tmp_path / "d" / "key.json").read_bytes()
    script = (
        "import os, resource, sys; from pathlib import Path; from field_agent import vault\n"
        "vault.Argon.derive = lambda *a: os._exit(9)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n"
        "try: vault.unlock(Path(sys.argv[1]), 'wrong passphrase')\n"
        "except OSError: os._exit(7)\n"
    )
    ran = subprocess.run([sys.executable, "-c", script, tmp_path / "d"], check=False)
    assert ran.returncode == 7
    assert (tmp_path / "d" / "key.json").read_bytes() == before
    assert [file.name for file in (tmp_path / "d").iterdir()] == ["key.json"]


def test_argon2id_never_costs_less_than_64_mib():
    with pytest.raises(ValueError, match="64 MiB"):
        vault.Argon(memory_kib=1024)
    with pytest.raises(ValueError, match="4 GiB"):
        vault.Argon(memory_kib=2**30)
    with pytest.raises(ValueError, match="lanes"):
        vault.Argon(lanes=0)


def test_a_higher_cost_is_taken_on_at_the_next_unlock(tmp_path):
    vault.create(tmp_path / "d", PASSPHRASE, argon=QUICK)
    higher = vault.Argon(iterations=2)
    key = vault.unlock(tmp_path / "d", PASSPHRASE, argon=higher).database_keys
    stored = json.loads((tmp_path / "d" / "key.json").read_text())["argon"]
    assert stored == {"memory_kib": 65536, "iterations": 2, "lanes": 4}
    assert vault.unlock(tmp_path / "d", PASSPHRASE, argon=QUICK).database_keys == key


def test_a_cost_lowered_by_hand_opens_nothing(tmp_path):
    vault.create(tmp_path / "d", PASSPHRASE, argon=vault.Argon(iterations=2))
    place = tmp_path / "d" / "key.json"
    file = vault._KeyFile.parse(place.read_bytes(), place)
    file.argon = QUICK
    place.write_bytes(file.whole())
    with pytest.raises(trouble.WrongPassphrase):
        vault.unlock(tmp_path / "d", PASSPHRASE, argon=QUICK)


def test_a_changed_passphrase_closes_the_door_on_the_old_one(tmp_path):
    made = vault.create(tmp_path / "d", PASSPHRASE, argon=QUICK)
    old_bytes = (tmp_path / "d" / "key.json").read_bytes()
    with pytest.raises(trouble.WrongPassphrase):
        made.change_passphrase("wrong passphrase", "another horse", argon=QUICK)
    with pytest.raises(trouble.WeakPassphrase, match="8"):
        made.change_passphrase(PASSPHRASE, "short", argon=QUICK)
    made.change_passphrase(PASSPHRASE, "another horse", argon=QUICK)
    assert vault.unlock(tmp_path / "d", "another horse", argon=QUICK).database_keys
    with pytest.raises(trouble.WrongPassphrase):
        vault.unlock(tmp_path / "d", PASSPHRASE, argon=QUICK)
    assert (tmp_path / "d" / "key.json").read_bytes() != old_bytes


@pytest.mark.parametrize("act", ["unlock", "wrong", "change", "rotate", "revoke"])
def test_no_wrapped_key_is_left_in_the_disks_free_blocks(tmp_path, act):
    """Whoever knew an old passphrase, or has that of a revoked device, may read the free blocks."""
    made = vault.create(tmp_path / "d", PASSPHRASE, argon=QUICK)
    place = tmp_path / "d" / "key.json"
    kept = tmp_path / "the blocks of the key file"
    kept.hardlink_to(place)
    wrapped = json.loads(place.read_text())["wrapped"].encode()
    assert wrapped in kept.read_bytes()
    if act == "wrong":
        with pytest.raises(trouble.WrongPassphrase):
            vault.unlock(tmp_path / "d", PASSPHRASE + "!", argon=QUICK)
    elif act == "rotate":
        made.begin_rotation(PASSPHRASE)
    elif act == "revoke":
        made.erase("lost")
    elif act == "change":
        made.change_passphrase(PASSPHRASE, "another horse", argon=QUICK)
    else:
        vault.unlock(tmp_path / "d", PASSPHRASE, argon=QUICK)
    assert wrapped not in kept.read_bytes()


def test_a_key_file_that_a_power_cut_left_half_way_is_written_over(tmp_path):
    vault.create(tmp_path / "d", PASSPHRASE, argon=QUICK)
    place = tmp_path / "d" / "key.json"
    place.with_name("key.json.new").write_bytes(place.read_bytes() * 2)
    vault.unlock(tmp_path / "d", PASSPHRASE, argon=QUICK).erase("lost")
    assert json.loads(place.read_bytes()) == {"v": 1, "revoked": "lost"}


def test_every_flipped_bit_of_the_key_file_is_noticed(tmp_path):
    vault.create(tmp_path / "d", PASSPHRASE, argon=QUICK)
    place = tmp_path / "d" / "key.json"
    whole = place.read_bytes()
    for bit in range(len(whole) * 8):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(trouble.Damaged, match="damaged"):
            vault._KeyFile.parse(bytes(flipped), place)


def test_a_device_is_never_made_over_another(tmp_path):
    vault.create(tmp_path / "d", PASSPHRASE, argon=QUICK)
    with pytest.raises(trouble.AlreadySetUp):
        vault.create(tmp_path / "d", PASSPHRASE, argon=QUICK)
    (tmp_path / "d" / "store.db").write_bytes(b"x")
    (tmp_path / "d" / "key.json").unlink()
    with pytest.raises(trouble.AlreadySetUp, match="store"):
        vault.create(tmp_path / "d", PASSPHRASE, argon=QUICK)
    with pytest.raises(trouble.NotSetUp):
        vault.unlock(tmp_path / "d", PASSPHRASE, argon=QUICK)
    with pytest.raises(trouble.WeakPassphrase):
        vault.create(tmp_path / "e", "short", argon=QUICK)


def test_a_revoked_device_has_no_key_left_to_open(tablet):
    tablet.fill("e1", {"/data/name": "Amina"})
    wrapped = json.loads((tablet.home / "key.json").read_text())["wrapped"]
    tablet.store.revoke("lost in the market")
    assert wrapped not in (tablet.home / "key.json").read_text()
    assert not (tablet.home / "key.json.new").exists()
    with pytest.raises(trouble.Revoked, match="lost in the market"):
        vault.unlock(tablet.home, PASSPHRASE, argon=QUICK)
    with pytest.raises(trouble.Locked):
        tablet.store.vault.sign(b"x")


def test_the_rotated_store_opens_by_the_new_key_and_not_by_the_old(tablet):
    tablet.fill("e1", {"/data/name": "Amina"})
    (old,) = tablet.store.vault.database_keys
    tablet.store.rotate_key(PASSPHRASE)
    assert tablet.store.vault.database_keys != (old,)
    tablet.store.save("e1", "/data/age", 7)
    assert tablet.again().draft("e1").answers == {"/data/name": "Amina", "/data/age": 7}
    tablet.store.close()
    raw = sqlcipher3.connect(str(tablet.home / "store.db"))
    raw.execute("PRAGMA cipher_log_level = NONE")
    raw.execute(f"PRAGMA key = \"x'{old.hex()}'\"")
    with pytest.raises(sqlcipher3.DatabaseError):
        raw.execute("SELECT * FROM drafts")
    raw.close()
    tablet.again()


@pytest.mark.parametrize("moment", ["before the store", "after the store"])
def test_a_rotation_cut_short_leaves_a_store_that_opens(tablet, moment, monkeypatch):
    tablet.fill("e1", {"/data/name": "Amina"})
    old = tablet.store.vault.database_keys[0]

    def cut(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(vault.Vault, "end_rotation", cut)
    if moment == "before the store":
        following = tablet.store.vault.begin_rotation(PASSPHRASE)
    else:
        with pytest.raises(KeyboardInterrupt):
            tablet.store.rotate_key(PASSPHRASE)
        following = tablet.store.vault.database_keys[0]
    monkeypatch.undo()
    assert tablet.again().draft("e1").answers == {"/data/name": "Amina"}
    opens = old if moment == "before the store" else following
    assert tablet.store.vault.database_keys == (opens,)
    assert tablet.again().draft("e1").answers == {"/data/name": "Amina"}


def test_a_rotation_waits_until_it_has_the_store_to_itself(tablet):
    second = Store.open(tablet.store.vault, now_ms=NOW)
    second.drafts()
    with pytest.raises(Exception, match="another command"):
        tablet.store.rotate_key(PASSPHRASE)
    second.close()
    tablet.store.rotate_key(PASSPHRASE)
    assert tablet.again().drafts() == []


def _limits(pipe) -> None:
    vault.harden_process()
    pipe.send((resource.getrlimit(resource.RLIMIT_CORE), _dumpable()))


def _dumpable() -> int:
    return ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
def test_a_process_with_keys_leaves_no_core_behind():
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    child = multiprocessing.get_context("spawn").Process(target=_limits, args=(theirs,))
    child.start()
    limits, dumpable = ours.recv()
    child.join()
    assert limits == (0, 0)
    assert dumpable == 0


def test_a_signature_is_for_its_bytes_and_its_key(tablet):
    keys = tablet.store.vault
    mark = keys.sign(b"words")
    assert seal.verify(keys.public, mark, b"words")
    assert not seal.verify(keys.public, mark, b"other words")
    assert not seal.verify(b"\1" * 32, mark, b"words")
    assert not seal.verify(b"short", mark, b"words")


def test_a_reply_in_a_bundle_is_for_this_device_alone(tablet):
    keys = tablet.store.vault
    sealed = seal.seal_to(SealingKey(CLASSIC.name, keys.box_public), b"reply", b"info")
    assert keys.open_box(sealed, b"info") == b"reply"
    with pytest.raises(trouble.Damaged):
        keys.open_box(sealed, b"other")
    with pytest.raises(trouble.Damaged):
        keys.open_box(b"", b"info")


def test_a_machine_without_ml_kem_seals_by_the_named_fallback_or_says_so(monkeypatch):
    hybrid = ProgrammeKey.fresh(HYBRID.name).public
    classic = ProgrammeKey.fresh(CLASSIC.name).public
    assert seal.choose([hybrid, classic]) == hybrid
    monkeypatch.setattr(seal, "offers_hybrid", lambda: False)
    assert seal.choose([hybrid, classic]) == classic
    with pytest.raises(trouble.CannotSeal, match="sync"):
        seal.choose([hybrid])
    with pytest.raises(trouble.CannotSeal):
        seal.choose([])
