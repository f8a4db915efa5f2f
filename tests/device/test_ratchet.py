"""The ratchet: whoever seizes a running, unlocked device opens nothing that was finished before."""

from __future__ import annotations

import gc
import types
from dataclasses import replace

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from field_agent import vault
from schemas import envelope as layout
from schemas.envelope import CLASSIC
from tests.device.opening import ProgrammeKey, open_body

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
                    AESGCM(key).decrypt(bytes(12), found.body, found.prefix)
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


def test_a_session_ends_with_its_process_its_key_and_its_length(tablet, monkeypatch):
    def finish(draft: str) -> layout.Header:
        tablet.fill(draft, {"/data/name": "x"})
        return layout.parse(tablet.store.envelope(tablet.finish(draft).counter)).header

    monkeypatch.setattr(vault, "SESSION_MAX", 3)
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
    by = keys.next_seal(key, "d1")
    head = layout.Header("d1", 1, "", by.session, by.index, "f", "1", "ab" * 32, "m")
    with pytest.raises(ValueError, match="place"):
        keys.seal(b"x", replace(head, index=7), by)
    keys.seal(b"x", head, by)
    with pytest.raises(ValueError, match="once"):
        keys.seal(b"x", head, by)
