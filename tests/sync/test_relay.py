"""A supervisor's laptop between agents' sticks and the server, by the commands that a person types."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from flask import Flask, request
from sqlalchemy import delete

from field_agent.bundle import take_file
from schemas.bundle import ROUND, SEALED_REPLY, Reader
from schemas.frames import pack
from schemas.messages import unpack_reply, unpack_round
from schemas.problems import Problem, Refused
from sync_server.cli import main
from sync_server.store.intake_tables import places
from sync_server.web import carried
from tests.serving import serving
from tests.sync.links import Link
from tests.sync.world import Office, Tablet


@pytest.fixture
def tablets(office, tmp_path):
    made = [Tablet(office, tmp_path / f"tablet{n}") for n in range(2)]
    yield made
    for one in made:
        one.store.close()


@pytest.fixture
def laptop(tmp_path):
    """Types `sync-server relay TRAY ...` on a machine that has no server and no key."""

    def go(*words: object, code: int = 0) -> list[dict]:
        ran = CliRunner().invoke(
            main, ["relay", str(tmp_path / "tray"), *map(str, words), "--json"]
        )
        assert ran.exit_code == code, ran.output + str(ran.exception)
        return json.loads(ran.stdout)

    return go


def stick_of(tablet: Tablet, folder) -> None:
    """The agent hands a stick over, beside whatever else is on it."""
    folder.mkdir(exist_ok=True)
    (folder / "holiday.jpg").write_bytes(b"a photo")
    tablet.pack()
    (folder / "out.bundle").write_bytes(tablet.sticks[-1])


def comes_home(tablet: Tablet, folder) -> None:
    take_file(tablet.store, folder / "out.bundle.receipts", now_ms=tablet.now_ms())
    assert tablet.store.attachments() == [], "the device never heard that its file arrived"
    tablet.check_done()


def door(office: Office) -> Flask:
    app = Flask("office")
    app.register_blueprint(carried.blueprint(office.desk))
    return app


def test_two_agents_sticks_reach_the_server_over_the_laptops_network(
    office, tablets, laptop, tmp_path
):
    sticks = [tmp_path / "stick1", tmp_path / "stick2"]
    for tablet, stick in zip(tablets, sticks, strict=True):
        tablet.finish()
        tablet.finish(file=70_000)
        stick_of(tablet, stick)
    # In the village there is no network.
    assert [one["state"] for one in laptop(*sticks)] == ["waits", "waits"]
    laptop(*sticks)
    assert laptop("--to", "http://127.0.0.1:9", *sticks, code=1) != []
    with serving(door(office)) as port:
        told = laptop("--to", f"http://127.0.0.1:{port}", *sticks)
        assert [one["state"] for one in told] == ["receipts given back"] * 2
        laptop("--to", f"http://127.0.0.1:{port}", *sticks)
    for tablet, stick in zip(tablets, sticks, strict=True):
        comes_home(tablet, stick)
        # The network afterwards changes nothing.
        assert tablet.sync() is not None
        tablet.check_done()
    assert office.batches_by("network") == 0


def test_a_laptop_that_never_meets_a_network_carries_one_file_to_the_office(
    office, tablets, laptop, tmp_path
):
    sticks = [tmp_path / "stick1", tmp_path / "stick2"]
    for tablet, stick in zip(tablets, sticks, strict=True):
        tablet.finish()
        stick_of(tablet, stick)
    laptop("--out", tmp_path / "all.relay", *sticks)
    back = tmp_path / "all.relay.receipts"
    back.write_bytes(office.take((tmp_path / "all.relay").read_bytes()))
    told = laptop(back, *sticks)
    assert [one["state"] for one in told] == ["receipts given back"] * 2
    for tablet, stick in zip(tablets, sticks, strict=True):
        comes_home(tablet, stick)


def test_a_bundle_of_a_device_that_the_server_does_not_know_keeps_no_other_back(
    office, tablets, laptop, tmp_path
):
    for tablet, stick in zip(tablets, (tmp_path / "stick0", tmp_path / "stick1"), strict=True):
        tablet.finish()
        stick_of(tablet, stick)
    gone = tablets[0].name
    office.desk.store.transaction(
        lambda tx: tx.execute(delete(places).where(places.c.device == gone))
    )
    with serving(door(office)) as port:
        sticks = tmp_path / "stick0", tmp_path / "stick1"
        told = laptop("--to", f"http://127.0.0.1:{port}", *sticks, code=1)
    why = {one["device"]: one["problem"] for one in told if one["problem"]}
    assert set(why) == {gone}
    assert "No device of that name" in why[gone]
    comes_home(tablets[1], tmp_path / "stick1")


@pytest.mark.parametrize(
    "answer",
    [
        ("<h1>Welcome to the hotel</h1>", 200),
        ("<h1>Not Found</h1>", 404),
        (b"", 405),
        (pack(Problem("signature-wrong").as_json()), 401),
    ],
    ids=["portal", "no such page", "no such method", "an older server"],
)
def test_whoever_does_not_take_bundles_is_named_with_the_way_out(office, tablets, tmp_path, answer):
    tablet, stick = tablets[0], tmp_path / "stick"
    tablet.finish()
    stick_of(tablet, stick)
    other = Flask("other")
    other.add_url_rule(
        "/<path:_>",
        "any",
        lambda _: (answer[0] if request.method != "HEAD" else b"", answer[1]),
        methods=["HEAD", "GET", "PATCH"],
    )
    with serving(other) as port:
        asked = ["relay", str(tmp_path / "tray"), str(stick), "--to", f"http://127.0.0.1:{port}"]
        ran = CliRunner().invoke(main, asked)
    assert (ran.exit_code, ran.exception.__class__) == (1, SystemExit)
    assert "with --out FILE, and carry it to sync-server take there" in ran.output + ran.stderr
    assert "1 bundle waits" in ran.stderr


def test_what_is_tried_again_is_said_while_it_is_tried(office, tablets, tmp_path):
    tablets[0].finish()
    stick_of(tablets[0], tmp_path / "stick")
    asked = ["relay", str(tmp_path / "tray"), str(tmp_path / "stick"), "--to", "http://127.0.0.1:9"]
    ran = CliRunner().invoke(main, [*asked, "--json"])
    assert ran.exit_code == 1
    why = "http://127.0.0.1:9 does not answer (Connection refused)"
    assert ran.stderr.splitlines() == [
        f"  {why}; again in 0.2 s",
        f"1 bundle waits in {tmp_path / 'tray'}",
        f"{why}. Nothing is lost: give the same command again",
    ]


def test_an_address_that_is_none_is_said_to_be_none(office, tablets, tmp_path):
    tablets[0].finish()
    stick_of(tablets[0], tmp_path / "stick")
    asked = ["relay", str(tmp_path / "tray"), str(tmp_path / "stick"), "--to", "office"]
    ran = CliRunner().invoke(main, asked)
    assert ran.exit_code == 1
    assert "office is no address of a server" in ran.stderr


def test_one_torn_file_on_a_stick_keeps_none_of_the_others_out(office, tablets, laptop, tmp_path):
    stick = tmp_path / "stick"
    tablets[0].finish()
    stick_of(tablets[0], stick)
    whole = (stick / "out.bundle").read_bytes()
    (stick / "a-torn.bundle").write_bytes(whole[:-20])
    laptop("--out", tmp_path / "all.relay", stick, code=1)
    (stick / "b-torn.relay").write_bytes((tmp_path / "all.relay").read_bytes()[:-20])
    told = {Path(one["file"]).name: one["state"] for one in laptop(stick, code=1)}
    assert told == {"a-torn.bundle": "damaged", "b-torn.relay": "damaged", "out.bundle": "waits"}
    with serving(door(office)) as port:
        laptop("--to", f"http://127.0.0.1:{port}", stick, code=1)
    comes_home(tablets[0], stick)


def test_a_bundle_goes_on_where_the_link_was_cut(office, tablets, laptop, tmp_path):
    tablet, stick = tablets[0], tmp_path / "stick"
    for _ in range(4):
        tablet.finish(file=120_000)
    stick_of(tablet, stick)
    whole = len(tablet.sticks[-1])
    with serving(door(office)) as port:
        link = Link(port, cut_every=150_000)
        with link.running() as near:
            laptop("--to", f"http://127.0.0.1:{near}", stick)
    assert link.cuts >= 2
    assert link.up < 2 * whole
    comes_home(tablet, stick)


def test_only_what_a_device_of_this_server_signed_is_kept(office, tablets, laptop, tmp_path):
    tablet, stick = tablets[0], tmp_path / "stick"
    tablet.finish()
    stick_of(tablet, stick)
    good = tablet.sticks[-1]
    client = door(office).test_client()

    def bring(data: bytes, device: str) -> int:
        head = {"Upload-Offset": "0", "Upload-Length": str(len(data))}
        path = f"/sync/v1/bundles/{device}/{'ab' * 32}"
        return client.patch(path, data=data, headers=head).status_code

    assert bring(b"x" * 5000, tablet.name) == 400
    assert bring(good, tablets[1].name) == 401
    assert bring(good, "nobody") == 401
    twisted = bytearray(good)
    twisted[good.index(b"made") + 7] ^= 1
    assert bring(bytes(twisted), tablet.name) == 401
    (stick / "cut.bundle").write_bytes(good[:-9])
    told = {one["file"].rpartition("/")[2]: one["state"] for one in laptop(stick, code=1)}
    assert told == {"cut.bundle": "damaged", "out.bundle": "waits"}


def test_the_laptop_can_read_nothing_of_what_it_carries(office, tablets, laptop, tmp_path):
    tablet, stick = tablets[0], tmp_path / "stick"
    tablet.finish()
    stick_of(tablet, stick)
    with serving(door(office)) as port:
        laptop("--to", f"http://127.0.0.1:{port}", stick)
    tablet.finish()
    stick_of(tablet, stick)
    laptop(stick)
    (waiting,) = (tmp_path / "tray" / "bundles").iterdir()
    (back,) = (tmp_path / "tray" / "receipts").iterdir()
    inside = [part for data in frames(waiting, ROUND) for part in unpack_round(data)[1]]
    assert inside
    assert b"Zainab" not in b"".join(inside)
    assert frames(back, SEALED_REPLY)
    for data in frames(back, SEALED_REPLY):
        with pytest.raises(Refused):
            unpack_reply(data)


def frames(file, wanted: int) -> list[bytes]:
    with file.open("rb") as source:
        return [data for kind, data in Reader(source).frames() if kind == wanted]
