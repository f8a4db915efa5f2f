"""The layout of what is sealed: one way to write it, and every other refused with the place."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidTag
from hypothesis import given, settings
from hypothesis import strategies as st

from field_agent import seal
from schemas import envelope as layout
from schemas.frames import squeeze
from schemas.problems import Refused
from tests.device.opening import ProgrammeKey, open_body, open_file

VECTORS = json.loads((Path(__file__).parent.parent / "data" / "seal_vectors.json").read_text())


def plain(text: str) -> bytes:
    return base64.b64decode(text)


def opened(vector, envelope: bytes = b"") -> layout.Payload:
    return ProgrammeKey(vector["suite"], plain(vector["private"])).submission(
        envelope or plain(vector["envelope"]),
        [plain(vector["opening"])],
        plain(vector["device_public"]),
        vector["form"].encode(),
    )


def chain_of(vector) -> bytes:
    key = ProgrammeKey(vector["suite"], plain(vector["private"]))
    return key.chain_key(plain(vector["opening"]), plain(vector["device_public"]))


@pytest.mark.parametrize("vector", VECTORS["envelopes"], ids=lambda one: one["suite"])
def test_an_envelope_sealed_once_is_opened_for_ever(vector):
    key = ProgrammeKey(vector["suite"], plain(vector["private"]))
    assert key.public.id == vector["key"]
    payload = opened(vector)
    assert layout.parse(plain(vector["envelope"])).header.packing == "form-1"
    assert payload.xml == vector["xml"]
    assert payload.seen == {"r1": {"name": ["d0:1"]}}
    assert layout.envelope_hash(plain(vector["envelope"])) == vector["hash"]


def test_a_file_and_a_backup_sealed_once_are_opened_for_ever():
    file = VECTORS["file"]
    sealed = plain(file["sealed"])
    assert open_file(plain(file["key"]), sealed) == plain(file["plain"])
    backup = VECTORS["backup"]
    key = ProgrammeKey(backup["suite"], plain(backup["private"]))
    header, items = key.backup(plain(backup["file"]), plain(backup["device_public"]))
    assert (header.device, header.counter) == ("d1", 2)
    assert [head["kind"] for head, _ in items] == backup["kinds"]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_whatever_bit_flips_in_an_envelope_it_is_noticed(data):
    vector = VECTORS["envelopes"][1]
    good = layout.parse(plain(vector["envelope"]))
    whole = bytearray(plain(vector["envelope"]))
    bit = data.draw(st.integers(0, len(whole) * 8 - 1))
    whole[bit // 8] ^= 1 << bit % 8
    try:
        found = layout.parse(bytes(whole))
    except Refused as refused:
        assert refused.problem.code in {"envelope-malformed", "too-large"}
        return
    assert not seal.verify(plain(vector["device_public"]), found.signature, found.signed)
    if (found.body, found.prefix) != (good.body, good.prefix):
        with pytest.raises(InvalidTag):
            open_body(chain_of(vector), found)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_whatever_bit_flips_in_an_opening_it_is_noticed(data):
    vector = VECTORS["envelopes"][1]
    key = ProgrammeKey(vector["suite"], plain(vector["private"]))
    whole = bytearray(plain(vector["opening"]))
    bit = data.draw(st.integers(0, len(whole) * 8 - 1))
    whole[bit // 8] ^= 1 << bit % 8
    try:
        found = layout.parse_opening(bytes(whole))
    except Refused as refused:
        assert refused.problem.code in {"envelope-malformed", "key-unknown", "too-large"}
        return
    assert found.hash != layout.parse(plain(vector["envelope"])).header.session
    assert not seal.verify(plain(vector["device_public"]), found.signature, found.signed)
    if bit // 8 < len(whole) - 64:
        with pytest.raises(InvalidTag):
            key.open(found.wrapped, found.info)


def test_another_header_does_not_open_the_body():
    vector = VECTORS["envelopes"][1]
    found = layout.parse(plain(vector["envelope"]))
    open_body(chain_of(vector), found)
    other = found.prefix.replace(b'"counter":2', b'"counter":3')
    with pytest.raises(InvalidTag):
        open_body(chain_of(vector), replace(found, prefix=other))


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"counter": 0}, "counter"),
        ({"counter": True}, "counter"),
        ({"counter": 1}, "prev"),
        ({"index": -1}, "index"),
        ({"index": layout.SESSION_MAX}, "index"),
        ({"packing": "rar"}, "packing"),
        ({"device": "D 1"}, "device"),
        ({"form_hash": "x"}, "form_hash"),
        ({"form": "a\nb"}, "form"),
        ({"attachments": [{"hash": "ab" * 32, "size": 3}]}, "attachments"),
        ({"attachments": [{"hash": 7, "size": 30}]}, "attachments"),
        ({"attachments": "no"}, "attachments"),
        ({"extra": 1}, "extra"),
        ({"session": "ab" * 32}, "session"),
    ],
)
def test_a_header_out_of_shape_is_refused_with_its_place(change, place):
    found = layout.parse(plain(VECTORS["envelopes"][1]["envelope"]))
    text = json.dumps({**found.header.json(), **change}, sort_keys=True, separators=(",", ":"))
    whole = b"ORSE\x02" + len(text).to_bytes(4, "big") + text.encode() + found.prefix[-64:]
    whole += found.body + bytes(64)
    with pytest.raises(Refused, match=place):
        layout.parse(whole)


HEADER = {
    **layout.parse(plain(VECTORS["envelopes"][1]["envelope"])).header.json(),
    "attachments": [],
}
ODD = st.sampled_from(["", '"', "\\", "\n", "\x7f", "\x80", "é", "🙂", "\ud800", "a" * 513, "01"])
VALUES = st.one_of(ODD, st.text(max_size=3), st.integers(-1, 2**60), st.booleans())


def read_by(way, text: bytes, prev: bytes):
    try:
        return way(text, prev, "cd" * 32)
    except Refused as refused:
        return refused.problem.code


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_a_header_read_at_one_go_is_what_the_long_way_reads(data):
    changed = data.draw(st.dictionaries(st.sampled_from([*HEADER, "extra"]), VALUES, max_size=2))
    text = json.dumps(
        {**HEADER, **changed}, sort_keys=True, separators=(",", ":"), ensure_ascii=False
    )
    at, gone = data.draw(st.integers(0, len(text))), data.draw(st.integers(0, 1))
    put = data.draw(st.sampled_from(["", "", " ", "0", "9", "-", "\\u0041", '"', "\n"]))
    if put or gone:
        text = text[:at] + put + text[at + gone :]
    text = text.encode(errors="surrogatepass")
    prev = data.draw(st.sampled_from([bytes(32), b"p" * 32]))

    def long_way(text: bytes, prev: bytes, session: str):
        return layout._submission_header(layout._object(text), prev, session)

    quick = read_by(layout._at_one_go, text, prev)
    assert quick is None or quick == read_by(long_way, text, prev)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        (b'"counter":', b'"counter":0'),
        (b'"index":', b'"index":0'),
        (b'"index":', b'"index":1024'),
        (b'"form":"', b'"form":"' + b"a" * 513),
        (b'"made":"', b'"made":"\x7f'),
        (b'"made":"', b'"made":"\xc3\xa9'),
        (b'"made":"', b'"made":"\xc3'),
        (b'"version":"', b'"version":"\\u0041'),
        (b'"packing":"', b'"packing":"x'),
    ],
)
def test_a_header_that_is_nearly_usual_is_judged_the_long_way(right, wrong):
    text = layout.canonical(HEADER).replace(right, wrong)
    assert layout._at_one_go(text, b"p" * 32, "cd" * 32) is None


def test_the_usual_header_is_read_at_one_go():
    text = layout.canonical(HEADER)
    assert layout._at_one_go(text, b"p" * 32, "cd" * 32).counter == HEADER["counter"]


@pytest.mark.parametrize("cut", [0, 3, 8, 12, 200, 350])
def test_an_envelope_cut_short_is_refused(cut):
    with pytest.raises(Refused):
        layout.parse(plain(VECTORS["envelopes"][1]["envelope"])[:cut])


def test_one_header_has_one_row_of_bytes():
    found = layout.parse(plain(VECTORS["envelopes"][1]["envelope"]))
    text = json.dumps(found.header.json(), sort_keys=True).encode()
    whole = b"ORSE\x02" + len(text).to_bytes(4, "big") + text + found.prefix[-64:]
    whole += found.body + bytes(64)
    with pytest.raises(Refused, match="canonical"):
        layout.parse(whole)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 3 * layout.CHUNK + 1), st.integers(1, 100_000))
def test_a_file_of_any_size_comes_back_and_its_sealed_size_is_known(size, piece):
    data = bytes(size)
    sealer = seal.FileSealer()
    pieces = (data[at : at + piece] for at in range(0, size, piece))
    sealed = b"".join(sealer.seal(pieces))
    assert len(sealed) == layout.sealed_size(size) == sealer.sealed_size
    assert sealer.size == size
    assert open_file(sealer.key, sealed) == data


def test_chunks_that_are_moved_dropped_or_cut_are_noticed():
    sealer = seal.FileSealer()
    chunks = list(sealer.seal([bytes(range(256)) * 1024]))
    assert len(chunks) == 4
    for broken in (
        [chunks[1], chunks[0], *chunks[2:]],
        chunks[:-1],
        chunks[1:],
        [*chunks, chunks[-1]],
        [*chunks[:-1], chunks[-1][:-1]],
    ):
        with pytest.raises(InvalidTag):
            open_file(sealer.key, b"".join(broken))
    with pytest.raises(Refused):
        open_file(sealer.key, b"".join(chunks) + b"x" * 10)


def test_a_key_that_does_not_fit_its_suite_or_its_name_never_exists():
    key = ProgrammeKey.fresh(layout.CLASSIC.name).public
    with pytest.raises(Refused, match="named"):
        layout.SealingKey(key.suite, key.public, "0" * 16)
    with pytest.raises(Refused, match="bytes"):
        layout.SealingKey(layout.HYBRID.name, key.public)
    with pytest.raises(Refused, match="rot13"):
        layout.SealingKey("rot13", key.public)


def test_a_backup_without_its_end_is_refused():
    def reader(data):
        view = [data]

        def read(most):
            got, view[0] = view[0][:most], view[0][most:]
            return got

        return read

    one = layout.item_head({"kind": "draft"}, 3) + b"abc"
    end = layout.item_head({"kind": "end", "items": 1}, 0)
    assert [head["kind"] for head, _ in layout.items(reader(one + end))] == ["draft"]
    for wrong in (one, one[:-1], end, one + one + end, one + end + b"x", one + end[:-1]):
        with pytest.raises(Refused):
            list(layout.items(reader(wrong)))


def test_what_was_sealed_must_be_a_submission():
    with pytest.raises(Refused, match="zstd"):
        layout.Payload.unpack(b"no")
    whole = layout.Payload("uuid:1", "f", "1", "0" * 64, "", "", "", "<data/>")
    assert layout.Payload.unpack(whole.pack()) == whole
    with pytest.raises(Refused, match="no submission"):
        layout.Payload.unpack(squeeze(b"{}"))
    head = layout.parse(plain(VECTORS["envelopes"][0]["envelope"])).header
    for wrong in (b"", b"{}", b"{}\n<data/>", b'{"form":"x"}\n<data/>', b'{"files":{"a":[1]}}\n'):
        with pytest.raises(Refused, match="no submission"):
            layout.Payload.read(wrong, head)
