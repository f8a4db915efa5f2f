"""How a sealed submission lies in bytes: read whole, or only as far as taking in asks."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from schemas.envelope import MAX_ENVELOPE, Attachment, Header, Outside, outside, parse
from schemas.problems import Refused

HASHES = st.binary(min_size=32, max_size=32).map(bytes.hex)
TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12)


@st.composite
def envelopes(draw) -> bytes:
    counter = draw(st.one_of(st.just(1), st.integers(2, 2**53 - 1)))
    header = Header(
        device=draw(st.from_regex(r"[a-z0-9][a-z0-9-]{0,20}", fullmatch=True)),
        counter=counter,
        prev="" if counter == 1 else draw(HASHES.filter(lambda one: one != "00" * 32)),
        session=draw(HASHES),
        index=draw(st.integers(0, 1023)),
        form=draw(TEXTS),
        version=draw(TEXTS),
        form_hash=draw(HASHES),
        made=draw(TEXTS),
        attachments=tuple(
            draw(st.lists(st.builds(Attachment, HASHES, st.integers(16, 2**40)), max_size=2))
        ),
    )
    return header.prefix() + draw(st.binary(min_size=16 + 64, max_size=200))


def read(how, data: bytes) -> Outside | tuple[str, str]:
    """What a way of reading makes of it: where it belongs, or why it is refused."""
    try:
        found = how(data)
    except Refused as error:
        return error.problem.code, error.problem.detail
    if isinstance(found, Outside):
        return found
    at = found.header
    return Outside(at.counter, found.hash, at.prev, at.session, at.device, at.attachments)


@given(envelopes())
def test_where_a_submission_belongs_is_what_the_whole_of_it_says(data):
    assert read(outside, data) == read(parse, data)
    assert outside(data).hash == hashlib.sha256(data).hexdigest()


@given(envelopes(), st.data())
def test_what_is_refused_whole_is_refused_from_outside_for_the_same_reason(data, draw):
    broken = bytearray(data)
    for _ in range(draw.draw(st.integers(0, 2))):
        broken[draw.draw(st.integers(0, len(broken) - 1))] = draw.draw(st.integers(0, 255))
    cut = bytes(broken[: draw.draw(st.integers(0, len(broken)))])
    for one in (bytes(broken), cut):
        assert read(outside, one) == read(parse, one)


@given(st.integers(0, 2**32 - 1))
@example(MAX_ENVELOPE)
def test_a_header_that_names_a_wrong_length_is_no_way_in(length):
    data = Header("d", 1, "", "ab" * 32, 0, "f", "1", "cd" * 32, "m").prefix() + bytes(80)
    lied = data[:5] + length.to_bytes(4, "big") + data[9:]
    assert read(outside, lied) == read(parse, lied)


def test_a_submission_that_is_too_large_is_refused_from_outside_too():
    data = Header("d", 1, "", "ab" * 32, 0, "f", "1", "cd" * 32, "m").prefix() + bytes(MAX_ENVELOPE)
    assert read(outside, data) == read(parse, data) != read(outside, data[:1000])


@pytest.mark.parametrize(("counter", "prev"), [(1, "ab" * 32), (2, "")])
def test_only_a_first_submission_has_none_before_it(counter, prev):
    data = Header("d", counter, prev, "ab" * 32, 0, "f", "1", "cd" * 32, "m").prefix() + bytes(80)
    with pytest.raises(Refused, match="prev"):
        outside(data)
