"""Enrolment, who is believed at the door, revocation, the lease: on both databases."""

from __future__ import annotations

import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from schemas.frames import unpack
from schemas.messages import pack_round
from schemas.problems import Refused
from schemas.ticket import Ticket
from sync_server import enrol
from sync_server.enrol import Unfit
from sync_server.store.intake_tables import codes
from tests.server.field import Tablet, state_of


def code_of(reply) -> str:
    return unpack(reply.data)[0]["code"]


def test_a_code_enrols_one_device_and_tells_it_whom_to_believe(desk, client):
    name, ticket = enrol.make_code(desk, area="north", device="tablet-7")
    tablet = Tablet(client)
    assert tablet.enrol(ticket).status_code == 200
    assert (name, tablet.device, tablet.area) == ("tablet-7", "tablet-7", "north")
    assert tablet.server == desk.keys.fingerprint
    (listed,) = desk.store.read(enrol.all_devices)
    assert listed.listed()["state"] == "active"


def test_a_reply_that_was_lost_is_given_again_to_the_same_key_only(desk, client):
    _, ticket = enrol.make_code(desk, area="north")
    tablet, thief = Tablet(client), Tablet(client)
    assert tablet.enrol(ticket).status_code == 200
    first = tablet.device
    assert tablet.enrol(ticket).status_code == 200
    assert tablet.device == first
    reply = thief.enrol(ticket)
    assert (reply.status_code, code_of(reply)) == (403, "code-used")


def test_a_code_expires(desk, client, clock):
    _, ticket = enrol.make_code(desk, area="north", hours=1)
    clock.pass_(hours=2)
    assert code_of(Tablet(client).enrol(ticket)) == "code-expired"


def test_whoever_reads_the_wire_cannot_enrol_with_what_was_read(desk, client):
    _, ticket = enrol.make_code(desk, area="north")
    guessed = Ticket(bytes(10), ticket.prefix)
    object.__setattr__(guessed, "secret", bytes(10))
    between = Tablet(client)

    class Named(Ticket):
        def name(self) -> str:
            return ticket.name()  # what travels

    assert code_of(between.enrol(Named(bytes(10), ticket.prefix))) == "code-unknown"
    assert code_of(between.enrol(guessed)) == "code-unknown"


def test_the_codes_secret_lies_encrypted_in_the_database(desk):
    from sqlalchemy import select

    _, ticket = enrol.make_code(desk, area="north")
    (row,) = desk.store.read(lambda tx: tx.execute(select(codes)).all())
    assert ticket.secret not in bytes(row.secret_at_rest)
    assert ticket.code() not in str(row)


@pytest.mark.parametrize("name", ["new", "Tablet 7", "../x", "x" * 64, "-a"])
def test_a_name_that_cannot_be_is_refused_with_what_can(desk, name):
    with pytest.raises(Unfit, match="small letters"):
        enrol.make_code(desk, area="north", device=name)


def test_two_devices_never_share_a_name(desk):
    enrol.make_code(desk, area="north", device="t1")
    with pytest.raises(Unfit, match="another --name"):
        enrol.make_code(desk, area="south", device="t1")


def test_a_mistyped_code_is_noticed_before_it_is_sent():
    ticket = Ticket(b"0123456789", "ab" * 10, "https://office.example")
    assert Ticket.parse(ticket.code().lower().replace("-", " ")) == Ticket(
        ticket.secret, ticket.prefix
    )
    assert Ticket.parse(ticket.text()) == ticket
    wrong = ("1" if ticket.code()[0] != "1" else "2") + ticket.code()[1:]
    with pytest.raises(Refused, match="mistyped"):
        Ticket.parse(wrong)


def test_nobody_is_believed_without_the_devices_signature(tablet):
    body = pack_round(tablet.asked())
    tablet.key = Ed25519PrivateKey.generate()
    reply = tablet.send("POST", "/sync/v1/round", body)
    assert (reply.status_code, code_of(reply)) == (401, "signature-wrong")
    reply = tablet.client.post("/sync/v1/round", data=body)
    assert reply.status_code == 401


def test_a_signature_is_for_one_path_and_one_body(tablet):
    good = pack_round(tablet.asked())
    other = pack_round(tablet.asked(unsent=9))
    signed = tablet.send("POST", "/sync/v1/round", good)
    assert signed.status_code == 200
    header = signed.request.headers["Authorization"]
    for path, body in [("/sync/v1/round", other), ("/sync/v1/enrol", good)]:
        reply = tablet.client.post(path, data=body, headers={"Authorization": header})
        assert reply.status_code in {400, 401}


def test_a_signature_for_one_file_does_not_fetch_another(tablet, visits):
    signed = tablet.send("GET", f"/sync/v1/blobs/{'0' * 64}")
    assert signed.status_code == 404
    header = signed.request.headers["Authorization"]
    reply = tablet.client.get(f"/sync/v1/blobs/{visits.hash}", headers={"Authorization": header})
    assert (reply.status_code, code_of(reply)) == (401, "signature-wrong")


def test_a_revoked_device_is_told_so_by_the_servers_own_word_and_nothing_else(desk, tablet):
    sealed = tablet.seal()
    enrol.revoke(desk, tablet.device, "stolen")
    reply = tablet.send(
        "POST", "/sync/v1/round", pack_round(tablet.asked("b1"), tablet.parts([sealed]))
    )
    assert (reply.status_code, code_of(reply)) == (403, "device-revoked")
    assert state_of(desk) == []
    (listed,) = desk.store.read(enrol.all_devices)
    assert listed.listed()["state"] == "revoked"
    assert listed.revoked_why == "stolen"


def test_an_unknown_device_is_not_told_to_erase_itself(tablet):
    tablet.device = "somebody"
    reply = tablet.send("POST", "/sync/v1/round", pack_round(tablet.asked()))
    assert (reply.status_code, code_of(reply)) == (401, "device-unknown")


def test_the_list_shows_the_last_round_the_unsent_and_the_clock(desk, tablet, clock):
    clock.pass_(minutes=5)
    tablet.round([tablet.seal()], "b1", unsent=4, software="0.1.0")
    (listed,) = desk.store.read(enrol.all_devices)
    told = listed.listed()
    assert told["unsent"] == 3
    assert told["last_round_ms"] == desk.now_ms()
    assert told["clock_skew_ms"] == tablet.time_ms - desk.now_ms() != 0
    assert told["software"] == "0.1.0"
    json.dumps(told)


def test_every_reply_carries_the_lease(url, clock):
    from tests.server.conftest import enrolled
    from tests.server.field import a_desk, app_of

    desk = a_desk(url, clock, lease_s=86_400)
    tablet = enrolled(desk, app_of(desk), "")
    assert tablet.round().lease_s == 86_400
    desk.close()
