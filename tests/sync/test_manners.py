"""How a sync behaves on the line: what goes first, how large, and how long it waits when nobody answers."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from field_agent import blobs, course, transport, watch
from field_agent.course import Outcome
from schemas.problems import Refused
from sync_server.publish import publish
from sync_server.store.engine import StorageFull
from tests.server.field import form
from tests.sync.world import Office, Tablet, Wire


@dataclass
class Narrow(Wire):
    """Loses every request whose body is larger than `most`, and notes the others."""

    most: int = 1 << 30
    got: list[tuple[str, str, int]] = field(default_factory=list)

    def send(self, method, path, headers, body) -> transport.Answer:
        if len(body) > self.most:
            raise transport.Unreachable("the link broke")
        self.got.append((method, path, len(body)))
        return super().send(method, path, headers, body)


@pytest.fixture
def tablet(tmp_path):
    office = Office(tmp_path)
    made = Tablet(office, tmp_path / "tablet", wire=Narrow(office))
    made.wire.got.clear()
    yield made
    made.store.close()
    office.desk.close()


def files_sent(tablet: Tablet) -> list[str]:
    """The hashes of the files in the order in which they went out."""
    return list(
        dict.fromkeys(path.rpartition("/")[2] for _, path, _ in tablet.wire.got if "blobs" in path)
    )


def test_files_go_after_all_the_data_and_the_smallest_first(tablet):
    for size in (90_000, 200, 30_000):
        tablet.finish(file=size)
    sizes = {one.hash: one.size for one in tablet.store.attachments()}
    assert tablet.sync().synced
    kinds = ["file" if "blobs" in path else "data" for _, path, _ in tablet.wire.got]
    first = kinds.index("file")
    # One round more tells what the server says of the files.
    assert kinds[first:-1] == ["file"] * (len(kinds) - first - 1)
    assert [sizes[one] for one in files_sent(tablet)] == sorted(sizes.values())


def test_a_file_is_known_on_the_line_by_its_hash_alone(tablet):
    tablet.finish(file=200)
    names = {one.hash for one in tablet.store.attachments()}
    tablet.sync()
    assert set(files_sent(tablet)) == names


def test_pieces_become_as_small_as_8_kib_where_nothing_larger_comes_through(tablet):
    tablet.finish(file=60_000)
    tablet.wire.most = blobs.CHUNK_MIN
    assert blobs.CHUNK_MIN == 8 * 1024
    assert tablet.sync().synced
    pieces = [size for method, _, size in tablet.wire.got if method == "PATCH"]
    assert max(pieces) == blobs.CHUNK_MIN
    # What came through once was not sent again.
    assert sum(pieces) == sum(one.size for one in tablet.store.attachments(unsent=False))
    tablet.check_done()


@dataclass
class Hotel(Wire):
    """Answers itself, as the sign-in page of a network does."""

    asked: int = 0

    def send(self, *_request) -> transport.Answer:
        self.asked += 1
        return transport.Answer(200, {"content-type": "text/html"}, b"<h1>Room number?</h1>")


def test_a_sign_in_page_of_the_network_is_soon_left_alone_and_named(tablet):
    tablet.finish(file=9_000)
    tablet.wire = Hotel(tablet.office)
    with pytest.raises(transport.Unreachable, match="sign in with a browser"):
        tablet.run().sync()
    assert tablet.wire.asked == course.PATIENCE_UNMET
    tablet.check()


@dataclass
class Full:
    """The server's store, whose disk is full from the `after`th piece of work on."""

    store: object
    after: int

    def __getattr__(self, name):
        return getattr(self.store, name)

    def transaction(self, work, *, lock=""):
        self.after -= 1
        if self.after < 0:
            raise StorageFull("the disk is full")
        return self.store.transaction(work, lock=lock)


@pytest.mark.parametrize("after", [0, 1, 3], ids=["entries", "files", "in the midst"])
def test_a_server_that_is_full_is_soon_left_alone_and_gets_all_once_it_has_room(tablet, after):
    for size in (9_000, 70_000):
        tablet.finish(file=size)
    office = tablet.office
    room, office.mortal._store = office.mortal._store, Full(office.mortal._store, after)
    with pytest.raises(transport.Unreachable, match="Free space on the server"):
        tablet.run().sync()
    assert len(tablet.wire.got) <= after + 4 + course.PATIENCE_UNMET
    tablet.check()
    office.mortal._store = room
    assert tablet.sync().synced
    tablet.check_done()


def test_who_watches_asks_ever_more_rarely_and_soon_again_when_the_server_is_back():
    here, gone = Outcome(receipts=1), transport.Unreachable("nobody there", met=False)
    told = [gone] * 12 + [here, Outcome()]
    pauses: list[float] = []

    def once() -> Outcome:
        found = told.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    def keep_on(luck: float) -> None:
        watch.watch(
            once,
            sleep=pauses.append,
            luck=lambda: luck,
            say=lambda *_: None,
            go_on=lambda: bool(told),
        )

    keep_on(0.5)
    assert pauses[:3] == [10.0, 20.0, 40.0]
    assert pauses[11] == watch.WATCH_S_MAX
    assert pauses[12:] == [watch.WATCH_S_MIN, 2 * watch.WATCH_S_MIN]
    # Many devices that lost the same server do not come back in step.
    pauses.clear()
    for luck in (0.0, 0.25, 1.0):
        told[:] = [gone]
        keep_on(luck)
    assert len(set(pauses)) == 3


def test_who_watches_ends_when_the_server_will_not_have_the_device():
    def once() -> Outcome:
        raise Refused("device-unknown")

    with pytest.raises(Refused):
        watch.watch(once, sleep=lambda _: None, luck=lambda: 0.5, say=lambda *_: None)


def test_the_form_that_is_begun_is_the_one_the_office_names_though_another_came_later(
    tablet, tmp_path
):
    office = tablet.office
    (tmp_path / "copy").mkdir()

    def publishes(version: str) -> str:
        publish(office.desk, "visit.md", form(version), {})
        assert tablet.sync().synced
        return tablet.store.forms()[0].version

    before = office.copy(tmp_path / "copy")
    assert publishes("2") == "2"
    # A fire: the office has its old copy again, publishes the third, and then the second anew.
    office.put_back(before)
    assert tablet.sync().synced
    assert tablet.store.forms()[0].version == "1"
    assert publishes("3") == "3"
    assert publishes("2") == "2"
