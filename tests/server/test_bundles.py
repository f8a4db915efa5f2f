"""Rounds on a memory stick and backups: the same receipts, once, on both databases."""

from __future__ import annotations

import hashlib
import io
import os
from dataclasses import replace

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from schemas.bundle import (
    BLOB,
    BUNDLE,
    RELAY,
    REPLY,
    ROUND,
    SEALED_REPLY,
    WHOLE,
    Reader,
    Writer,
    split_blob,
    start,
)
from schemas.envelope import (
    CLASSIC,
    BackupHeader,
    backup_info,
    backup_signed,
    backup_start,
    chunk_nonce,
    envelope_hash,
    item_head,
)
from schemas.messages import pack_round, unpack_reply
from schemas.problems import Refused
from schemas.signing import REPLY_INFO, bundle_bytes, raw
from sync_server import blobs, bundles, enrol
from sync_server.recover import recover
from sync_server.signatures import seal_to_box, verify
from tests.server.conftest import enrolled
from tests.server.field import SUITE, receipted, state_of


def bundle(tablet, sealed, files=(), *, batch="s1", server="") -> bytes:
    out = io.BytesIO()
    header = {
        "device": tablet.device,
        "area": tablet.area,
        "server": server or tablet.server,
        "made": 1,
    }
    writer = Writer(out, BUNDLE, header)
    writer.add(ROUND, pack_round(tablet.asked(batch), tablet.parts(sealed)))
    for name, data in files:
        writer.add_blob(name, data)
    writer.end(lambda sha256: tablet.key.sign(bundle_bytes(sha256)))
    return out.getvalue()


def carry_back(tablet, reply: bytes, sealed):
    """The device reads its reply file; nobody else can."""
    reader = Reader(io.BytesIO(reply))
    assert reader.opening.kind == REPLY
    assert verify(tablet.server_key, reader.signature, bundle_bytes(reader.sha256))
    rounds, files = [], {}
    for kind, data in reader.frames():
        if kind == SEALED_REPLY:
            opened = SUITE.decrypt(data, tablet.box, info=REPLY_INFO + b"\n" + reader.opening.raw)
            rounds.append(tablet.believe(unpack_reply(opened), sealed))
        elif kind == BLOB:
            files.update([split_blob(data)])
    return rounds, files


def taken(desk, data: bytes):
    out = io.BytesIO()
    rows = bundles.take(desk, io.BytesIO(data), out)
    return rows, out.getvalue()


def test_a_bundle_brings_the_same_receipts_as_the_network(desk, tablet, visits):
    photo = os.urandom(3_000_000)
    name = hashlib.sha256(photo).hexdigest()
    sealed = [tablet.seal(attachments=[(name, len(photo))]), tablet.seal()]
    rows, reply = taken(desk, bundle(tablet, sealed, [(name, photo)]))
    assert rows == [
        {
            "device": tablet.device,
            "received": 2,
            "refused": 0,
            "parked": 0,
            "files": 1,
            "problem": "",
        }
    ]
    (told,), files = carry_back(tablet, reply, sealed)
    assert receipted(told) == [1, 2]
    assert told.blobs == {name: len(photo)}
    assert hashlib.sha256(files[visits.hash]).hexdigest() == visits.hash
    assert desk.store.read(lambda tx: blobs.content(tx, tablet.area, name)) == photo


def test_a_bundle_for_another_server_is_told_both_servers(desk, tablet):
    with pytest.raises(Refused) as told:
        taken(desk, bundle(tablet, [tablet.seal()], server="ab" * 32))
    assert (
        f"(it is for server {'ab' * 8}, this is {desk.config.server} with "
        f"{desk.keys.fingerprint[:16]}). Take it to that server."
    ) in str(told.value)


def test_a_bundle_twice_and_then_the_network_changes_nothing(desk, tablet):
    sealed = [tablet.seal(), tablet.seal()]
    stick = bundle(tablet, sealed)
    taken(desk, stick)
    before = state_of(desk)
    rows, reply = taken(desk, stick)
    (told,), _ = carry_back(tablet, reply, sealed)
    assert len(receipted(told)) == rows[0]["received"] == 2
    tablet.round(sealed, "n1")
    tablet.round(sealed, "s1")
    assert state_of(desk) == before


class Meanwhile:
    """The store, and what happens just before a piece of a file is written into it, once for each."""

    def __init__(self, store, acts) -> None:
        self._store = store
        self._acts = list(acts)

    def __getattr__(self, name):
        return getattr(self._store, name)

    def transaction(self, work, *, lock=""):
        if lock.startswith("blob ") and self._acts:
            self._acts.pop(0)()
        return self._store.transaction(work, lock=lock)


@pytest.mark.parametrize("by", ["stick", "backup"])
def test_a_file_that_comes_by_two_ways_at_once_comes_in_once(desk, tablet, by):
    photo = os.urandom(2_500_000)
    name = hashlib.sha256(photo).hexdigest()
    sealed = [tablet.seal(attachments=[(name, len(photo))])]

    tablet.round(sealed, "n1")

    def by_network(at: int, many: int):
        head = {"Upload-Offset": str(at), "Content-Type": "application/octet-stream"}
        return lambda: tablet.send("PATCH", f"/sync/v1/blobs/{name}", photo[at : at + many], head)

    acts = (by_network(0, 8192), by_network(8192, 8192), by_network(1_048_576, 1_300_000))
    busy = replace(desk, store=Meanwhile(desk.store, acts))
    if by == "stick":
        rows, _ = taken(busy, bundle(tablet, sealed, [(name, photo)]))
        assert (rows[0]["files"], rows[0]["problem"]) == (1, "")
    else:
        inside = [
            ({"kind": "envelope", "counter": 1, "hash": envelope_hash(sealed[0])}, sealed[0]),
            ({"kind": "attachment", "hash": name, "size": len(photo)}, photo),
        ]
        assert recover(busy, io.BytesIO(backup(tablet, inside))).files == 1
    assert desk.store.read(lambda tx: blobs.content(tx, tablet.area, name)) == photo


def test_what_came_wrong_by_the_network_is_mended_by_the_stick(desk, tablet):
    photo = os.urandom(2_500_000)
    name = hashlib.sha256(photo).hexdigest()
    sealed = [tablet.seal(attachments=[(name, len(photo))])]
    tablet.round(sealed, "n1")
    head = {"Upload-Offset": "0", "Content-Type": "application/octet-stream"}
    assert tablet.send("PATCH", f"/sync/v1/blobs/{name}", bytes(9000), head).status_code == 204
    rows, _ = taken(desk, bundle(tablet, sealed, [(name, photo)]))
    assert (rows[0]["files"], rows[0]["problem"]) == (1, "")
    assert desk.store.read(lambda tx: blobs.content(tx, tablet.area, name)) == photo


def test_the_carrier_cannot_read_what_goes_back(desk, client, visits, tablet):
    other = enrolled(desk, client, visits.hash)
    _, reply = taken(desk, bundle(tablet, [tablet.seal()]))
    with pytest.raises(InvalidTag):
        carry_back(other, reply, [])
    assert b"receipts" not in reply


@pytest.mark.parametrize("cut", [1, 9, 70, 200, -1])
def test_a_bundle_cut_short_is_refused_whole(desk, tablet, cut):
    stick = bundle(tablet, [tablet.seal()])
    with pytest.raises(Refused, match="cut short"):
        taken(desk, stick[:cut])
    assert state_of(desk) == []


def test_a_flipped_bit_anywhere_in_a_bundle_takes_nothing(desk, tablet):
    stick = bytearray(bundle(tablet, [tablet.seal()]))
    for at in range(0, len(stick), 97):
        stick[at] ^= 4
        with pytest.raises(Refused):
            taken(desk, bytes(stick))
        stick[at] ^= 4
    assert state_of(desk) == []


def test_another_servers_bundle_says_where_it_belongs(desk, tablet):
    with pytest.raises(Refused, match="Take it to that server"):
        taken(desk, bundle(tablet, [], server="0" * 64))


def test_receipts_that_lie_beside_a_bundle_are_sent_to_their_device(desk, tablet):
    _, back = taken(desk, bundle(tablet, [tablet.seal()]))
    with pytest.raises(Refused, match="receipts to field-agent take"):
        taken(desk, back)


def relayed(*inside: bytes) -> bytes:
    out = io.BytesIO()
    writer = Writer(out, RELAY, {"made": 1})
    for one in inside:
        writer.add(WHOLE, one)
    writer.end(lambda _: bytes(64))
    return out.getvalue()


def test_a_relay_carries_many_and_one_damaged_keeps_none_of_the_others_out(
    desk, client, visits, tablet
):
    other = enrolled(desk, client, visits.hash)
    mine, hers = [tablet.seal()], [other.seal()]
    good, bad = bundle(tablet, mine), bytearray(bundle(other, hers))
    bad[-1] ^= 1
    rows, back = taken(desk, relayed(good, bytes(bad), bundle(other, hers)))
    assert [(row["device"], row["received"]) for row in rows] == [
        (tablet.device, 1),
        ("", 0),
        (other.device, 1),
    ]
    assert f"not as {other.device} signed it" in rows[1]["problem"]
    assert "copy the file again" in rows[1]["problem"]
    reader = Reader(io.BytesIO(back))
    assert reader.opening.kind == RELAY
    replies = [data for kind, data in reader.frames() if kind == WHOLE]
    for one, sealed, reply in ((tablet, mine, replies[0]), (other, hers, replies[1])):
        (told,), _ = carry_back(one, reply, sealed)
        assert len(receipted(told)) == 1


def test_a_revoked_devices_bundle_is_not_taken(desk, tablet):
    stick = bundle(tablet, [tablet.seal()])
    enrol.revoke(desk, tablet.device, "stolen")
    with pytest.raises(Refused, match="revoked"):
        taken(desk, stick)
    assert state_of(desk) == []


def test_the_opening_of_a_reply_is_what_its_seal_is_bound_to(tablet):
    box = tablet.box.public_key().public_bytes_raw()
    sealed = seal_to_box(box, b"x", REPLY_INFO + b"\n" + start(REPLY, {"device": "a"}))
    with pytest.raises(InvalidTag):
        SUITE.decrypt(sealed, tablet.box, info=REPLY_INFO + b"\n" + start(REPLY, {"device": "b"}))


# Backups.


def backup(tablet, inside) -> bytes:
    """A backup of items (head, bytes), as the device writes it."""
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey

    public = next(one for one in tablet.sealing if one["suite"] == CLASSIC.name)
    header = BackupHeader(
        CLASSIC.name, public["id"], tablet.device, tablet.counter, "m", tablet.server
    )
    key = os.urandom(32)
    to = X25519PublicKey.from_public_bytes(raw(public["public"]))
    out = backup_start(header, SUITE.encrypt(key, to, info=backup_info(header.prefix())))
    plain = b"".join(item_head(head, len(data)) + data for head, data in inside)
    plain += item_head({"kind": "end", "items": len(inside)}, 0)
    pieces = [plain[at : at + 65_536] for at in range(0, len(plain), 65_536)]
    for number, piece in enumerate(pieces):
        nonce = chunk_nonce(number, last=number == len(pieces) - 1)
        out += AESGCM(key).encrypt(nonce, piece, None)
    return out + tablet.key.sign(backup_signed(hashlib.sha256(out).digest()))


def test_a_broken_laptops_backup_is_taken_in_exactly_once(desk, tablet):
    photo = os.urandom(200_000)
    name = hashlib.sha256(photo).hexdigest()
    sealed = [tablet.seal(attachments=[(name, len(photo))]), tablet.seal()]
    inside = [
        ({"kind": "envelope", "counter": at, "hash": envelope_hash(one), "state": "pending"}, one)
        for at, one in enumerate(sealed, 1)
    ]
    inside += [
        ({"kind": "attachment", "hash": name, "size": len(photo)}, photo),
        ({"kind": "draft", "draft": "../d1", "form": "visit"}, b'[["/data/head","Awa"]]'),
        ({"kind": "draft-file", "draft": "d1", "name": "../../x.jpg"}, b"jpeg"),
    ]
    tablet.round(sealed[:1], "b1")
    file = backup(tablet, inside)
    found = recover(desk, io.BytesIO(file))
    assert (found.received, found.known, found.refused, found.files) == (1, 1, 0, 1)
    assert [state for _, _, state, _ in state_of(desk)] == ["checked", "checked"]
    assert desk.store.read(lambda tx: blobs.content(tx, tablet.area, name)) == photo
    assert sorted(found.drafts) == ["_d1.json", "d1-_.._x.jpg"]
    assert b"Awa" in found.drafts["_d1.json"]
    again = recover(desk, io.BytesIO(file))
    assert (again.received, again.known, again.files) == (0, 2, 0)
    assert len(state_of(desk)) == 2


def test_a_damaged_backup_takes_nothing(desk, tablet):
    file = bytearray(backup(tablet, [({"kind": "envelope"}, tablet.seal())]))
    for at in (0, 20, 300, len(file) // 2, len(file) - 1):
        file[at] ^= 1
        with pytest.raises(Refused):
            recover(desk, io.BytesIO(bytes(file)))
        file[at] ^= 1
    for cut in (file[:-100], file[:300], b"a letter"):
        with pytest.raises(Refused, match="no backup of a device, or is cut short"):
            recover(desk, io.BytesIO(bytes(cut)))
    assert state_of(desk) == []
