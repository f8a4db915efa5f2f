"""Attachments and form files: by hash, in pieces, from where it broke off, on both databases."""

from __future__ import annotations

import hashlib
import os

import pytest

from schemas.frames import unpack
from sync_server import blobs
from tests.server.conftest import enrolled


def photo(size: int = 5000) -> tuple[str, bytes]:
    data = os.urandom(size)
    return hashlib.sha256(data).hexdigest(), data


def patch(tablet, name: str, offset: int, data: bytes):
    headers = {"Upload-Offset": str(offset), "Content-Type": "application/octet-stream"}
    return tablet.send("PATCH", f"/sync/v1/blobs/{name}", data, headers)


def test_an_attachment_goes_up_in_pieces_and_from_where_it_broke_off(desk, tablet):
    name, data = photo()
    told = tablet.round([tablet.seal(attachments=[(name, len(data))])], "b1")
    assert told.blobs == {name: 0}
    assert patch(tablet, name, 0, data[:2000]).headers["Upload-Offset"] == "2000"
    assert tablet.round().blobs == {name: 2000}
    head = tablet.send("HEAD", f"/sync/v1/blobs/{name}")
    assert (head.headers["Upload-Offset"], head.headers["Upload-Length"]) == ("2000", "5000")
    wrong = patch(tablet, name, 3000, data[3000:])
    assert (wrong.status_code, wrong.headers["Upload-Offset"]) == (409, "2000")
    again = patch(tablet, name, 0, data[:2000])
    assert (again.status_code, again.headers["Upload-Offset"]) == (204, "2000")
    assert patch(tablet, name, 2000, data[2000:]).status_code == 204
    assert tablet.round().blobs == {}
    assert desk.store.read(lambda tx: blobs.content(tx, tablet.area, name)) == data


def test_what_does_not_have_its_hash_at_the_end_is_dropped_whole(tablet):
    name, data = photo()
    tablet.round([tablet.seal(attachments=[(name, len(data))])], "b1")
    patch(tablet, name, 0, data[:2000])
    reply = patch(tablet, name, 2000, bytes(3000))
    assert (reply.status_code, unpack(reply.data)[0]["code"]) == (422, "blob-differs")
    assert tablet.round().blobs == {name: 0}
    assert patch(tablet, name, 0, data).status_code == 204


@pytest.mark.parametrize("name", ["0" * 64, "..etc", "A" * 64])
def test_only_what_a_submission_names_can_be_sent(tablet, name):
    assert patch(tablet, name, 0, b"x").status_code == 404
    assert tablet.send("HEAD", f"/sync/v1/blobs/{name}").status_code == 404


def test_more_than_the_size_that_was_named_is_refused(tablet):
    name, data = photo()
    tablet.round([tablet.seal(attachments=[(name, len(data))])], "b1")
    assert patch(tablet, name, 0, data + b"more").status_code == 413


def test_a_file_that_two_submissions_share_is_sent_once(desk, client, visits, tablet):
    name, data = photo()
    other = enrolled(desk, client, visits.hash)
    for one in (tablet, other):
        one.round([one.seal(attachments=[(name, len(data))])], "b1")
    patch(tablet, name, 0, data)
    assert other.round().blobs == {}


def test_the_smallest_are_asked_for_first(tablet):
    sizes = {photo(size)[0]: size for size in (900, 30, 500)}
    told = tablet.round([tablet.seal(attachments=list(sizes.items()))], "b1")
    assert [sizes[name] for name in sorted(told.blobs, key=sizes.__getitem__)] == [30, 500, 900]
    assert set(told.blobs) == set(sizes)


def test_a_form_comes_down_in_pieces_with_each_piece_signed(tablet, visits):
    got = b""
    while len(got) < visits.size:
        reply = tablet.send(
            "GET",
            f"/sync/v1/blobs/{visits.hash}",
            headers={"Range": f"bytes={len(got)}-{len(got) + 299}"},
        )
        assert reply.status_code == 206
        got += reply.data
    assert hashlib.sha256(got).hexdigest() == visits.hash


def test_what_people_sent_never_leaves_by_this_door(tablet):
    name, data = photo()
    tablet.round([tablet.seal(attachments=[(name, len(data))])], "b1")
    patch(tablet, name, 0, data)
    assert tablet.send("GET", f"/sync/v1/blobs/{name}").status_code == 404
