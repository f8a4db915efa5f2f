"""`docs/protocol.md` is enough to write another client: one that was is served like any device."""

from __future__ import annotations

import ast
import copy
import os
import sys
from pathlib import Path

from sync_server import blobs, enrol
from tests.sync import client
from tests.sync.links import served
from tests.sync.world import Office

VISIT = (
    '<data id="visit" version="1"><head>Zainab</head><size>{size}</size>'
    "<meta><instanceID>{instance}</instanceID></meta></data>"
)


def test_a_client_from_the_document_alone_brings_a_registration_and_its_photo(tmp_path):
    office = Office(tmp_path)
    _, ticket = enrol.make_code(office.desk, area="north")
    with served(office.desk) as port:
        one = client.Client(f"http://127.0.0.1:{port}")
        one.enrol(ticket.code())
        (form,) = one.round()["forms"]["list"]
        assert b"instanceID" in one.fetch(form["hash"], form["size"], chunk=500)
        photo = os.urandom(40_000)
        first, sealed = one.seal(form, VISIT.format(size=5, instance="uuid:a"), "uuid:a", photo)
        wrong, _ = one.seal(form, VISIT.format(size=77, instance="uuid:b"), "uuid:b")
        told = one.round("b1", {1: first, 2: wrong})
        assert told["receipted"] == [1, 2]
        assert told["blobs"] == {client.sha(sealed): 0}
        # The reply was lost: the same batch again, with the same outcome.
        assert one.round("b1", {1: first, 2: wrong})["receipted"] == [1, 2]
        assert one.send_file(sealed, chunk=15_000) == 15_000
        assert one.send_file(sealed, chunk=15_000) == 30_000
        assert one.send_file(sealed, chunk=15_000) == len(sealed)
        office.learn(300, luck=1)
        pulls = [pulled(one, layout) for layout in (0, 1, 2)]
        one.state = {}
        refused = [item["body"] for item in one.round()["items"] if item["kind"] == "refused"]
    assert [(one["counter"], one["problem"]["code"]) for one in refused] == [(2, "answers-refused")]
    assert pulls == [office.registry()] * 3
    assert len(pulls[0]) == 300
    assert office.taken_in(one.device) == [(1, "checked"), (2, "refused")]
    assert office.held(one.device) == {1: [first], 2: [wrong]}
    assert client.sha(sealed) in office.whole_files()
    held = office.desk.store.read(lambda tx: blobs.content(tx, "north", client.sha(sealed)))
    assert held == sealed
    office.desk.close()


def test_that_client_learns_that_a_restored_server_has_anothers_work_in_place_of_its_own(tmp_path):
    office = Office(tmp_path)
    _, ticket = enrol.make_code(office.desk, area="north")
    with served(office.desk) as port:
        one = client.Client(f"http://127.0.0.1:{port}")
        one.enrol(ticket.code())
        (form,) = one.round()["forms"]["list"]
    other = copy.copy(one)
    other.receipts = {}
    (tmp_path / "copy").mkdir()
    saved = office.copy(tmp_path / "copy")
    brought = {}
    for each, instance in ((one, "uuid:a"), (other, "uuid:b")):
        each.begin()
        sealed, _ = each.seal(form, VISIT.format(size=5, instance=instance), instance)
        brought[instance] = {1: sealed}
        with served(office.desk) as port:
            each.url = f"http://127.0.0.1:{port}"
            assert each.round(instance[5:], brought[instance])["receipted"] == [1]
            assert "again" not in each.round()
    office.put_back(saved)
    with served(office.desk) as port:
        one.url = other.url = f"http://127.0.0.1:{port}"
        assert other.round()["again"] == [[1, 1]]
        assert other.round("b2", brought["uuid:b"])["receipted"] == [1]
        assert one.round()["again"] == [[1, 1]]
        assert one.round("a2", brought["uuid:a"])["receipted"] == [1]
        assert "again" not in one.round() | other.round()
    assert len(office.held(one.device)[1]) == 2
    office.desk.close()
    saved.drop()


def pulled(one: client.Client, layout: int) -> list[bytes]:
    """Everything, from the beginning."""
    one.state, one.changes, one.layout = {}, {}, layout
    while one.round().get("more"):
        pass
    return list(one.changes.values())


def test_it_shares_nothing_with_the_device():
    tree = ast.parse(Path(client.__file__).read_text(encoding="utf-8"))
    named = {
        one.name.partition(".")[0]
        for found in ast.walk(tree)
        if isinstance(found, ast.Import)
        for one in found.names
    }
    named |= {
        str(found.module).partition(".")[0]
        for found in ast.walk(tree)
        if isinstance(found, ast.ImportFrom)
    }
    assert named - set(sys.stdlib_module_names) == {"cryptography", "zstandard"}
