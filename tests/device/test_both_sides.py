"""What a device seals, the server's own code opens: the vectors, and fresh ones."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from field_agent import seal
from schemas import envelope as layout
from schemas import packing
from schemas.problems import Refused
from sync_server import signatures

VECTORS = json.loads((Path(__file__).parent.parent / "data" / "seal_vectors.json").read_text())
plain = base64.b64decode


def ring(vector) -> signatures.Keys:
    """The server's ring with the vector's private key and, as after a rotation, newer ones."""
    fresh = signatures.new_keys(at_ms=2)
    suite, private = vector["suite"], plain(vector["private"])
    public = next(one["public"] for one in VECTORS["public"] if one["suite"] == suite)
    old = signatures.PrivateKey(layout.SealingKey(suite, plain(public)), private, 1)
    return signatures.Keys(fresh.signing, fresh.wrapping, (*fresh.sealing, old))


@pytest.mark.parametrize("vector", VECTORS["envelopes"], ids=lambda one: one["suite"])
def test_the_server_opens_what_a_device_sealed_once(vector):
    found = layout.parse(plain(vector["envelope"]))
    assert signatures.verify(plain(vector["device_public"]), found.signature, found.signed)
    sessions = signatures.Sessions(ring(vector))
    opened = sessions.open(found, plain(vector["opening"]))
    text = packing.unpack("form-1", opened, packing.Outline(vector["form"].encode()))
    payload = layout.Payload.read(text, found.header)
    assert payload.xml == vector["xml"]


def test_the_server_opens_a_sealed_file():
    file = VECTORS["file"]
    assert signatures.opened_file(plain(file["key"]), plain(file["sealed"])) == plain(file["plain"])
    with pytest.raises(Refused):
        signatures.opened_file(plain(file["key"]), plain(file["sealed"])[:-1])


def test_each_key_that_the_server_publishes_is_one_that_a_device_can_seal_to():
    keys = signatures.new_keys(at_ms=1)
    published = [
        layout.SealingKey(one["suite"], plain(one["public"]), one["id"]) for one in keys.published()
    ]
    assert {key.suite for key in published} == set(layout.SUITES)
    for key in published:
        sealed = seal.seal_to(key, b"words", b"info")
        assert keys.rotated(at_ms=2).open(key.id, sealed, b"info") == b"words"


def test_a_reply_that_the_server_seals_is_opened_by_its_device(tablet):
    keys = tablet.store.vault
    sealed = signatures.seal_to_box(keys.box_public, b"reply", b"info")
    assert keys.open_box(sealed, b"info") == b"reply"
