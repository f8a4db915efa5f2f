"""Over real HTTP: a link that is cut every so many bytes, and one that is slow and loses."""

from __future__ import annotations

import time

import pytest
from flask import Flask

from field_agent import course, sync, transport
from tests.serving import serving
from tests.sync.links import Link, served
from tests.sync.world import Office, Tablet


class Afar(Tablet):
    """A tablet whose wire is HTTP through a link; it is enrolled at the office's desk."""

    def through(self, port: int) -> course.Outcome:
        wires: list[transport.Http] = []

        def link() -> transport.Link:
            wires.append(transport.Http(f"http://127.0.0.1:{port}", read_s=60))
            return sync.link_of(self.store, wires[-1], self.now_ms)

        steady = time.monotonic
        try:
            return sync.Run(
                course.Means(
                    self.store,
                    link(),
                    now_ms=self.now_ms,
                    steady_s=steady,
                    new_id=self.new_id,
                    luck=lambda: 0.0,
                    sleep=lambda wait_s: time.sleep(min(wait_s, 0.05)),
                    beside=link,
                )
            ).sync()
        finally:
            for one in wires:
                one.renew()


@pytest.fixture
def tablet(office, tmp_path):
    made = Afar(office, tmp_path / "tablet")
    yield made
    made.store.close()


def through(office: Office, tablet: Afar, **link) -> tuple[course.Outcome, Link]:
    with served(office.desk) as port:
        made = Link(port, **link)
        with made.running() as near:
            return tablet.through(near), made


@pytest.mark.parametrize("every", [12_000, 50_000, 131_072])
def test_a_link_that_is_cut_every_so_many_bytes_finishes(office, tablet, every):
    for _ in range(60):
        tablet.finish()
    tablet.finish(file=300_000)
    outcome, link = through(office, tablet, cut_every=every)
    assert outcome.synced
    assert link.cuts >= 1
    tablet.check_done()


def test_a_cut_link_carries_little_more_than_an_uncut_one(office, tablet, tmp_path):
    other = Afar(office, tmp_path / "other")
    for one in (tablet, other):
        for _ in range(900):
            one.finish()
    _, whole = through(office, other)
    _, cut = through(office, tablet, cut_every=65_536)
    assert cut.connections > 2
    # The first cut is not foreseen; on this short a run it weighs more than in the benchmark.
    assert cut.up <= 1.2 * whole.up
    tablet.check_done()
    other.check_done()
    other.store.close()


def test_a_long_sync_over_two_connections_ends_with_the_news(office, tablet):
    for number in range(1500):
        tablet.finish(size=77 if number == 700 else 5)
    outcome, link = through(office, tablet)
    assert outcome.synced
    assert link.connections == 2
    assert [one["counter"] for one in outcome.refused] == [701]
    assert outcome.checking == 0
    assert tablet.receipts() == set(tablet.made)


def test_a_slow_link_that_loses_finishes(office, tablet):
    for _ in range(20):
        tablet.finish()
    outcome, _ = through(office, tablet, rtt_s=0.3, bits_s=256_000, loss=0.4, seed=3)
    assert outcome.synced
    tablet.check_done()


def test_a_page_of_a_hotel_is_not_believed(office, tablet):
    tablet.finish()
    hotel = Flask("hotel")

    @hotel.route("/", defaults={"path": ""}, methods=["GET", "POST"])
    @hotel.route("/<path:path>", methods=["GET", "POST"])
    def sign_in(path):
        return "<h1>Welcome! Please sign in.</h1>"

    with (
        serving(hotel) as port,
        pytest.raises(transport.Unreachable, match="is not the server that enrolled this device"),
    ):
        tablet.through(port)
    tablet.check()
    assert tablet.receipts() == set()
