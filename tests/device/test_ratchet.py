"""The ratchet: whoever seizes a running, unlocked device opens nothing that was finished before."""

from __future__ import annotations

import gc
import json
import re
import subprocess
import sys
import types
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from field_agent import seal
from schemas import envelope as layout
from schemas.envelope import CLASSIC
from tests.device.opening import ProgrammeKey, expand, nonce_of, open_body
from tests.device.small import NOW, PASSPHRASE, device, openings

# What a running, unlocked device gives away.


def reachable(root: object) -> list[bytes]:
    """Every row of bytes that an object holds, through whatever holds it in turn."""
    seen: set[int] = set()
    found: list[bytes] = []
    waiting = [root]
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, (bytes, bytearray)):
            found.append(bytes(one))
        elif not isinstance(one, (type, types.ModuleType, types.FunctionType)):
            waiting += gc.get_referents(one)
    return found


def opens(state: list[bytes], sealed: bytes) -> bool:
    """Whether any 32 bytes of a state, or what follows from them, open an envelope."""
    found = layout.parse(sealed)
    keys = {held[at : at + 32] for held in state for at in range(max(0, len(held) - 31))}
    for key in keys:
        for steps in range(4):
            try:
                if steps == 0:
                    AESGCM(key).decrypt(nonce_of(found), found.body, found.prefix)
                else:
                    open_body(key, found, found.header.index - steps + 1)
            except InvalidTag:
                continue
            return True
    return False


def test_a_seized_running_device_opens_nothing_that_was_finished(tablet):
    """Its whole memory of keys, taken after each entry, is tried on all that came before."""
    for number in range(1, 5):
        tablet.fill(f"e{number}", {"/data/name": "Amina"})
        tablet.finish(f"e{number}")
        state = reachable(tablet.store.vault)
        assert len(state) > 3
        for counter in range(1, number + 1):
            assert not opens(state, tablet.store.envelope(counter))
    # The search itself finds what is there: the present key opens what comes next, and must.
    tablet.fill("e5", {"/data/name": "Amina"})
    tablet.finish("e5")
    assert opens(state, tablet.store.envelope(5))


def memory_of(process: subprocess.Popen[bytes]) -> bytes:
    """Every byte that a running process could change, freed or not."""
    found = []
    place = Path(f"/proc/{process.pid}")
    with (place / "mem").open("rb", buffering=0) as mem:
        for line in (place / "maps").read_text().splitlines():
            first, last, how = re.match(r"(\w+)-(\w+) (\S+)", line).groups()
            if how.startswith("rw") and "[vvar" not in line:
                mem.seek(int(first, 16))
                found.append(mem.read(int(last, 16) - int(first, 16)))
    return b"".join(found)


def test_the_memory_of_a_running_device_holds_no_key_of_what_was_finished(tmp_path):
    """The whole process, what Python freed included, as a thief's memory image has it."""
    tablet = device(tmp_path / "tablet")
    tablet.store.close()
    acts = [
        act
        for number in range(5)
        for act in (
            ["begin", f"e{number}"],
            ["save", f"e{number}", "/data/name", "Amina"],
            ["finish", f"e{number}", "<data><name>Amina</name></data>"],
        )
    ]
    day = {"home": str(tablet.home), "passphrase": PASSPHRASE, "how": "sealed", "acts": acts}
    command = [sys.executable, "-m", "tests.device.life"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            process.stdin.write(json.dumps({**day, "hold": True}).encode())
            process.stdin.close()
            while json.loads(process.stdout.readline()).get("done") != len(acts) - 1:
                pass
            memory = memory_of(process)
        except PermissionError:
            pytest.skip("the system lets nobody look into another process")
        finally:
            process.kill()
    store = tablet.again()
    assert len(memory) > 1_000_000
    chain = tablet.programme.chain_key(openings(store)[0], store.vault.public)
    for number in range(5):
        for key in (chain, expand(chain, layout.MESSAGE_INFO)):
            assert key not in memory, f"a key of entry {number}"
        chain = expand(chain, layout.CHAIN_INFO)
    # What seals the next one is there, and the search finds it.
    assert chain in memory


def test_one_key_used_twice_still_never_uses_a_nonce_twice(tablet):
    """A machine's memory that was copied, and went on twice, seals two entries by one key."""
    key = tablet.programme.public
    by = tablet.store.vault.next_seal(key, "d1", now_ms=NOW)
    twin = seal.Seal(by.session, by.opening, by.index, bytearray(by._key))
    head = layout.Header("d1", 1, "", by.session, by.index, "f", "1", "ab" * 32, "1790000000000")
    here, there = b"Amina Khalilova", b"Bilal Rahimov.."
    one = layout.parse(tablet.store.vault.seal(here, head, by))
    other = replace(head, made="1790000000001")
    two = layout.parse(tablet.store.vault.seal(there, other, twin))

    def apart(a: bytes, b: bytes) -> bytes:
        return bytes(x ^ y for x, y in zip(a, b, strict=False))

    assert apart(one.body, two.body)[: len(here)] != apart(here, there)


def test_a_session_ends_with_its_process_its_key_its_length_and_its_hour(tablet, monkeypatch):
    def finish(draft: str, now_ms: int = NOW) -> layout.Header:
        tablet.fill(draft, {"/data/name": "x"})
        done = tablet.finish(draft, now_ms=now_ms)
        return layout.parse(tablet.store.envelope(done.counter)).header

    monkeypatch.setattr(seal, "SESSION_MAX", 3)
    one, two, three, four = (finish(f"e{number}") for number in range(4))
    assert one.session == two.session == three.session != four.session
    assert [head.index for head in (one, two, three, four)] == [0, 1, 2, 0]
    other = ProgrammeKey.fresh(CLASSIC.name)
    tablet.store.put_keys([other.public])
    tablet.programme, old = other, tablet.programme
    five = finish("e5")
    assert five.session != four.session
    tablet.store.put_keys([old.public])
    tablet.programme = old
    tablet.again()
    assert finish("e6").session not in {four.session, five.session}
    assert tablet.opened(6).instance_id == "uuid:e6"
    within, after = NOW + seal.SESSION_MS - 1, NOW + seal.SESSION_MS
    seven, eight = finish("e7", within), finish("e8", after)
    assert seven.session == layout.parse(tablet.store.envelope(6)).header.session != eight.session
    # A clock set back tells nothing of how old the session is.
    assert finish("e9", NOW).session not in {seven.session, eight.session}
    assert tablet.opened(9).instance_id == "uuid:e9"


def test_a_finish_that_fails_leaves_a_gap_and_never_a_key(tablet, monkeypatch):
    tablet.fill("e1", {"/data/name": "x"})
    put, tablet.store._put_sealed = tablet.store._put_sealed, None
    with pytest.raises(TypeError):
        tablet.finish("e1")
    tablet.store._put_sealed = put
    assert layout.parse(tablet.store.envelope(tablet.finish("e1").counter)).header.index == 1
    assert tablet.opened(1).instance_id == "uuid:e1"


def test_a_message_key_seals_once_and_at_its_own_place(tablet):
    keys = tablet.store.vault
    key = tablet.programme.public
    by = keys.next_seal(key, "d1", now_ms=NOW)
    head = layout.Header("d1", 1, "", by.session, by.index, "f", "1", "ab" * 32, "m")
    with pytest.raises(ValueError, match="place"):
        keys.seal(b"x", replace(head, index=7), by)
    keys.seal(b"x", head, by)
    with pytest.raises(ValueError, match="once"):
        keys.seal(b"x", head, by)
