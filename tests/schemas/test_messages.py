"""What crosses a boundary: the same value, the same bytes; nothing unbounded, nothing half read."""

from __future__ import annotations

import io
import struct

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from schemas import frames
from schemas.bundle import BLOB, BUNDLE, ROUND, Reader, Writer, split_blob
from schemas.frames import MAX_DEPTH, load_json, pack, squeeze, unpack, unsqueeze
from schemas.messages import (
    PROTOCOL,
    EnrolRequest,
    RoundReply,
    RoundRequest,
    pack_enrol,
    pack_reply,
    pack_round,
    unpack_enrol,
    unpack_reply,
    unpack_round,
)
from schemas.problems import PROBLEMS, Problem, Refused
from schemas.signing import Authorization, raw, text
from schemas.ticket import Ticket

names = st.text(st.characters(codec="utf-8"), max_size=40)
counts = st.integers(0, 2**53)


@given(
    st.builds(
        RoundRequest,
        cursor=names,
        acknowledged=counts,
        unsent=counts,
        forms=names,
        keys=names,
        batch=st.from_regex(r"\A[A-Za-z0-9_-]{1,64}\Z"),
        page=st.just(0) | st.integers(1024, 4_194_304),
        software=names,
    ),
    st.lists(st.binary(max_size=300), max_size=5),
)
def test_a_round_arrives_as_it_was_sent(message, parts):
    assert unpack_round(pack_round(message, parts)) == (message, parts)


@given(
    st.builds(
        RoundReply,
        time_ms=counts,
        epoch=names,
        cursor=names,
        held=st.lists(st.tuples(counts, counts), max_size=5).map(tuple),
        receipt=names,
        checking=counts,
        parked=counts,
        again=st.lists(st.tuples(counts, counts), max_size=5).map(tuple),
        more=st.booleans(),
    )
)
def test_a_reply_arrives_as_it_was_sent(message):
    if message.time_ms and message.epoch and message.cursor:
        assert unpack_reply(pack_reply(message)) == message


def test_an_enrolment_arrives_as_it_was_sent():
    message = EnrolRequest("a" * 32, b"p" * 32, b"k" * 32, b"b" * 32, "1", "Amina's")
    assert unpack_enrol(pack_enrol(message)) == message


@given(st.binary(max_size=400))
def test_rubbish_is_refused_and_nothing_else_happens(data):
    for read in (unpack, unpack_round, unpack_reply, unpack_enrol):
        with pytest.raises(Refused):
            read(data)


@given(st.binary(max_size=200), st.integers(0, 400), st.integers(0, 7))
def test_a_message_cut_or_flipped_is_read_the_same_or_refused(part, at, bit):
    whole = bytearray(pack_round(RoundRequest(batch="b"), [part]))
    with pytest.raises(Refused):
        unpack_round(bytes(whole[: at % len(whole)]))
    whole[at % len(whole)] ^= 1 << bit
    try:
        unpack_round(bytes(whole))
    except Refused:
        return


LYING = bytearray(squeeze(b"abcdefgh" * 4))
LYING[5] += 1  # One byte more than it holds.


@pytest.mark.parametrize("whole", [squeeze(b"x" * 999), squeeze(b""), bytes(LYING)])
@pytest.mark.parametrize(
    "change", [lambda one: one[:-1], lambda one: one + b"x", lambda one: one * 2]
)
def test_a_frame_that_is_cut_or_followed_by_something_is_refused(whole, change):
    with pytest.raises(Refused, match=r"malformed|frame"):
        unsqueeze(change(whole), 5_000)


def test_a_frame_that_holds_less_than_it_says_is_refused():
    with pytest.raises(Refused, match=r"malformed|frame"):
        unsqueeze(bytes(LYING), 5_000)


@pytest.mark.parametrize("sized", [True, False])
def test_a_bomb_is_refused_before_it_is_held(sized):
    packer = zstandard.ZstdCompressor(level=19, write_content_size=sized)
    bomb = packer.compress(bytes(200_000_000)) if sized else _streamed(packer)
    assert len(bomb) < 100_000
    with pytest.raises(Refused, match=r"limit|unpacked"):
        unsqueeze(bomb, 1_000_000)


def _streamed(packer) -> bytes:
    made = packer.compressobj()
    return b"".join(made.compress(bytes(1_000_000)) for _ in range(200)) + made.flush()


def test_a_lying_length_is_refused():
    lying = squeeze(struct.pack(">I", 10**6) + b"{}")
    with pytest.raises(Refused, match="cut short"):
        unpack(lying)
    long = squeeze(struct.pack(">I", 2) + b"{}" + struct.pack(">I", 2**31) + b"x")
    with pytest.raises(Refused, match="part"):
        unpack(long)


@pytest.mark.parametrize(
    "data",
    [
        b"[" * 100_000,
        b'{"a":' * (MAX_DEPTH + 1) + b"1" + b"}" * (MAX_DEPTH + 1),
        b'{"a":1,"a":2}',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b"[]",
        b"\xff{}",
        b'{"a":"\xed\xa0\x80"}',
        b'{"a":"\\ud800"}',
        '{"a":1}'.encode("utf-16"),
        b'"' * 9,
    ],
)
def test_json_that_two_programs_could_read_differently_is_refused(data):
    with pytest.raises(Refused):
        load_json(data)


def test_brackets_inside_of_words_are_no_depth():
    assert load_json(b'{"a":"' + b"[" * 500 + b'\\"[","b":"\\\\"}')["b"] == "\\"


def test_another_version_of_the_protocol_is_named():
    with pytest.raises(Refused, match=f"asked for 9, speaks {PROTOCOL}"):
        unpack_round(pack({"protocol": 9}))


def test_a_refusal_names_the_field_and_never_what_was_in_it():
    with pytest.raises(Refused) as refused:
        unpack_round(pack({"protocol": PROTOCOL, "unsent": "Zainab", "batch": "Diallo family"}))
    assert "batch, unsent" in str(refused.value)
    assert "Zainab" not in str(refused.value)
    assert "Diallo" not in str(refused.value)


def test_envelopes_without_a_batch_are_refused():
    with pytest.raises(Refused, match="batch id"):
        unpack_round(pack({"protocol": PROTOCOL}, [b"x"]))


def test_a_hello_is_small():
    hello = RoundRequest("abcdef123456.99999.99999.AAAAAAAAAAAA", 99_999, 0, "f" * 16, "k" * 16)
    assert len(pack_round(hello)) < 250


def test_every_problem_has_a_title_and_a_way_out():
    for code, kind in PROBLEMS.items():
        assert kind.code == code
        assert kind.title
        assert kind.way_out.endswith(".") or kind.way_out.endswith("?")
        assert 200 <= kind.status < 600
    with pytest.raises(ValueError, match="no problem"):
        Problem("nonsense")


@given(st.binary(max_size=60))
def test_base64_is_strict(data):
    assert raw(text(data)) == data
    with pytest.raises(Refused):
        raw(text(data) + "\n!")


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Basic x",
        "Device a 1 x",
        "Device A 1 " + "A" * 86 + "==",
        "Device a -1 " + "A" * 86 + "==",
    ],
)
def test_an_authorization_of_another_form_is_refused(header):
    with pytest.raises(Refused):
        Authorization.parse(header)
    good = Authorization("tablet-7", 12, "A" * 86 + "==")
    assert Authorization.parse(good.header()) == good


@given(st.binary(min_size=10, max_size=10), st.binary(min_size=10, max_size=10))
def test_a_code_survives_being_typed(secret, prefix):
    ticket = Ticket(secret, prefix.hex())
    assert Ticket.parse(ticket.code().lower().replace("0", "o").replace("1", "l")) == ticket


@given(st.lists(st.binary(max_size=100), max_size=4), st.integers(0, 2000))
def test_a_file_of_frames_is_whole_or_refused(parts, cut):
    out = io.BytesIO()
    writer = Writer(out, BUNDLE, {"device": "t"})
    for part in parts:
        writer.add(ROUND, part)
        writer.add_blob("ab" * 32, part)
    writer.end(lambda sha256: sha256 * 2)
    whole = out.getvalue()
    reader = Reader(io.BytesIO(whole))
    read = list(reader.frames())
    assert [data for kind, data in read if kind == ROUND] == parts
    assert [split_blob(data) for kind, data in read if kind == BLOB] == [
        ("ab" * 32, p) for p in parts
    ]
    assert reader.signature == reader.sha256 * 2
    with pytest.raises(Refused):
        Reader(io.BytesIO(whole[: cut % len(whole)]))
    with pytest.raises(Refused):
        Reader(io.BytesIO(whole + b"x"))


def test_the_same_value_has_the_same_bytes():
    assert frames.canonical({"b": 1, "a": "é"}) == '{"a":"é","b":1}'.encode()
    assert frames.digest([1]) == frames.digest([1]) != frames.digest([2])
