"""Two devices that were restored from one copy: what lies beside the chain is judged by a person."""

from __future__ import annotations

import pytest
from sqlalchemy import delete, select

from schemas.envelope import envelope_hash
from sync_server import batches, chain, docket, officers, registry, review
from sync_server.inspection import inspect
from sync_server.officers import Declined
from sync_server.publish import publish
from sync_server.store import desk_tables as d
from tests.server.conftest import enrolled
from tests.server.field import app_of, receipted, state_of

FORM = """
| survey   |            |         |         |                            |
|          | type       | name    | label   | save_to                    |
|          | text       | head    | Head    | households#head            |
|          | integer    | size    | Size    | households#size            |
|          | text       | account | Account | households#payment_account |
| settings |            |         |         |                            |
|          | form_id    | version |         |                            |
|          | visit      | 1       |         |                            |
| entities |            |         |         |                            |
|          | list_name  | label   |         |                            |
|          | households | ${head} |         |                            |
"""


@pytest.fixture
def tablet(desk, client):
    for name, role in (("sara", "supervisor"), ("sam", "supervisor"), ("anna", "approver")):
        officers.add(desk, name, (role,), "a long enough password")
    return enrolled(desk, client, publish(desk, "visit.md", FORM.encode(), {}).hash)


def sealed(tablet, number: int, *, visit: str = "", size="5", account="1", **more) -> bytes:
    """A registration of household `number`, sealed."""
    visit = visit or f"uuid:visit-{number}"
    xml = (
        f'<data id="visit" version="1"><head>Head {number}</head><size>{size}</size>'
        f"<account>{account}</account><meta><instanceID>{visit}</instanceID>"
        f'<entity dataset="households" id="{number:08d}-0000-4000-8000-000000000000"'
        f' create="1"><label>Head {number}</label></entity></meta></data>'
    )
    return tablet.seal(xml, instance=visit, **more)


@pytest.fixture
def copy(desk, tablet):
    """The subject of the batch that the copy brought: its own first and second visit."""
    tablet.round([sealed(tablet, 1)], "b1")
    mine = sealed(tablet, 2, counter=1, prev=""), sealed(tablet, 3)
    tablet.round(mine, "b2")
    assert [state for _, _, state, _ in state_of(desk)] == ["checked", "held", "held"]
    docket.decide(desk, "sara", f"{tablet.device}:b1", "approve")
    docket.decide(desk, "anna", f"{tablet.device}:b1", "approve")
    tablet.mine = mine
    return docket.show(desk, f"{tablet.device}:b2").subject


def labels(desk) -> list[str]:
    return sorted(one.label for one in registry.find(desk, ""))


def dots(desk) -> list[tuple[str, int]]:
    rows = desk.store.read(
        lambda tx: tx.execute(
            select(d.changes.c.device, d.changes.c.counter).order_by(d.changes.c.sequence)
        ).all()
    )
    return [tuple(row) for row in rows]


def approve(desk, subject) -> None:
    for name in ("sam", "anna"):
        docket.decide(desk, name, subject.id, "approve")


def test_a_batch_with_what_is_held_cannot_be_approved_and_is_told_the_way_out(desk, copy):
    with pytest.raises(
        Declined, match=r"submission 1 .*; 2 .*review release \S+:b2 1.*review retu"
    ):
        docket.decide(desk, "sara", copy.id, "approve")
    assert docket.show(desk, copy.id).state is review.State.WAITING
    assert labels(desk) == ["Head 1"]


def test_what_is_released_is_checked_approved_and_registered_beside_the_other(desk, tablet, copy):
    batches.release_one(desk, "sara", copy, "1")
    assert [state for _, _, state, _ in state_of(desk)] == ["checked", "checked", "held"]
    with pytest.raises(Declined, match=r"not judged yet: submission 2"):
        docket.decide(desk, "sara", copy.id, "approve")
    batches.release_one(desk, "sara", copy, "uuid:visit-3")
    assert labels(desk) == ["Head 1"]
    approve(desk, copy)
    assert labels(desk) == ["Head 1", "Head 2", "Head 3"]
    assert review.broken_links(desk, tablet.area) == ()
    said = desk.store.read(
        lambda tx: tx.execute(select(d.decisions).where(d.decisions.c.kind == "fork")).all()
    )
    assert [(one.officer, one.role, one.verdict) for one in said] == [
        ("sara", "supervisor", "approve")
    ] * 2
    first, second, third = dots(desk)
    assert first == (tablet.device, 1)
    assert (second[1], third[1]) == (1, 2)
    assert len({first[0], second[0], third[0]}) == 3


def test_its_device_hears_that_it_was_released_and_of_a_refusal_only_before(desk, tablet, copy):
    before = tablet.round().items
    assert [one for one in before if one["kind"] == "released"] == []
    assert [one["problem"]["code"] for one in tablet.round(tablet.mine, "b3").refused] == [
        "counter-forked",
        "chain-broken",
    ]
    batches.release_one(desk, "sara", copy, "1", "A family of their own")
    told = [one["body"] for one in tablet.round().items if one["kind"] == "released"]
    assert [(one["counter"], one["hash"], one["officer"], one["comment"]) for one in told] == [
        (1, envelope_hash(tablet.mine[0]), "sara", "A family of their own")
    ]
    again = tablet.round(tablet.mine, "b4")
    assert receipted(again) == [1, 2]
    assert [(one["counter"], one["problem"]["code"]) for one in again.refused] == [
        (2, "chain-broken")
    ]
    # The same batch has the same answer, always.
    assert len(tablet.round(tablet.mine, "b2").refused) == 2


def test_of_two_with_one_number_the_one_meant_is_named_by_its_hash(desk, tablet):
    mine, copied = sealed(tablet, 1), sealed(tablet, 2, counter=1, prev="")
    tablet.round([mine, copied], "b1")
    batch = docket.show(desk, f"{tablet.device}:b1").subject
    first, second = (envelope_hash(one)[:12] for one in (mine, copied))
    with pytest.raises(Declined, match="2 submissions are called 1") as told:
        batches.return_one(desk, "sara", batch, "1", "Which?")
    assert first in str(told.value)
    assert second in str(told.value)
    with pytest.raises(Declined, match=rf"review release \S+ {second}`"):
        docket.decide(desk, "sara", batch.id, "approve")
    batches.return_one(desk, "sara", batch, first, "Was registered twice")
    assert sorted(one[2] for one in state_of(desk)) == ["held", "returned"]
    (told,) = (one["body"] for one in tablet.round().items if one["kind"] == "returned")
    assert told["hash"] == envelope_hash(mine)
    with pytest.raises(Declined, match="2 submissions are called 1"):
        batches.return_one(desk, "sara", batch, "1", "Again")
    batches.release_one(desk, "sara", docket.show(desk, batch.id).subject, "1")
    assert sorted(one[2] for one in state_of(desk)) == ["checked", "returned"]


def test_a_release_stands_among_what_was_decided_and_is_decided_in_its_batch(desk, tablet, copy):
    assert [one.subject.kind for one in docket.listed(desk, settled=True)] == ["batch", "batch"]
    batches.release_one(desk, "sara", copy, "1")
    (found,) = docket.listed(desk, kind="fork", settled=True)
    assert (found.state, found.decided[0].officer) == (review.State.CARRIED_OUT, "sara")
    assert docket.listed(desk, kind="fork") == ()
    with pytest.raises(Declined, match=rf"review release {copy.id}"):
        docket.decide(desk, "sam", found.subject.id, "approve")


def test_a_release_that_takes_two_waits_in_the_list_for_the_second(desk, tablet, copy):
    officers.add(desk, "ada", ("admin",), "a long enough password")
    stages = [("release", "supervisor"), ("confirm", "approver")]
    review.set_policy(desk, "ada", "fork", stages)
    assert batches.release_one(desk, "sara", copy, "1").next.role == "approver"
    (found,) = docket.listed(desk, kind="fork")
    assert found.next.role == "approver"
    assert [one for one in tablet.round().items if one["kind"] == "released"] == []
    batches.release_one(desk, "anna", copy, "1")
    assert docket.listed(desk, kind="fork") == ()
    assert len([one for one in tablet.round().items if one["kind"] == "released"]) == 1


def test_the_list_of_devices_says_which_work_twice(desk, client, tablet, copy):
    whole = enrolled(desk, client, tablet.form_hash)
    whole.round([sealed(whole, 7)], "w1")
    assert desk.store.read(chain.forked) == {(tablet.area, tablet.device): 2}


def test_what_was_released_is_folded_once_and_named_alike_ever_after(desk, tablet, copy):
    for counter in ("1", "2"):
        batches.release_one(desk, "sara", copy, counter)
    approve(desk, copy)
    known = dots(desk)
    desk.store.transaction(lambda tx: registry.fold_batch(desk, tx, tablet.area, copy.id))
    tablet.round(tablet.mine, "b2")
    tablet.round(tablet.mine, "b3")
    assert inspect(desk, parked=True) == {}
    assert (dots(desk), labels(desk)) == (known, ["Head 1", "Head 2", "Head 3"])
    desk.store.transaction(lambda tx: tx.execute(delete(d.changes)))
    for subject in (copy.id, f"{tablet.device}:b1"):
        desk.store.transaction(lambda tx, s=subject: registry.fold_batch(desk, tx, tablet.area, s))
    assert sorted(dots(desk)) == sorted(known)


def test_what_two_copies_say_of_one_household_is_a_clash_and_none_is_lost(desk, tablet):
    tablet.round([sealed(tablet, 1, account="4")], "b1")
    tablet.round([sealed(tablet, 1, visit="uuid:copy", account="7", counter=1, prev="")], "b2")
    mine, copied = (docket.show(desk, f"{tablet.device}:{one}").subject for one in ("b1", "b2"))
    batches.release_one(desk, "sara", copied, "1")
    approve(desk, mine)
    approve(desk, copied)
    (found,) = registry.clashes(desk)
    assert sorted(side.value for side in found.sides) == ["4", "7"]


def test_a_release_is_said_once_by_a_supervisor_and_never_after_a_return(desk, copy):
    with pytest.raises(Declined, match="supervisor"):
        batches.release_one(desk, "anna", copy, "1")
    batches.release_one(desk, "sara", copy, "1")
    with pytest.raises(Declined, match="is checked: only what is held"):
        batches.release_one(desk, "sam", copy, "1")
    with pytest.raises(Declined, match="no submission 9"):
        batches.release_one(desk, "sam", copy, "9")
    batches.return_one(desk, "sara", copy, "2", "Enrol this tablet anew")
    with pytest.raises(Declined, match="is returned: only what is held"):
        batches.release_one(desk, "sam", copy, "2")
    approve(desk, copy)
    assert labels(desk) == ["Head 1", "Head 2"]
    with pytest.raises(Declined, match="carried out"):
        batches.release_one(desk, "sam", copy, "2")


def test_what_is_released_is_refused_where_its_answers_are_wrong(desk, tablet):
    tablet.round([sealed(tablet, 1)], "b1")
    tablet.round([sealed(tablet, 2, size="many", counter=1, prev="")], "b2")
    subject = docket.show(desk, f"{tablet.device}:b2").subject
    batches.release_one(desk, "sara", subject, "1")
    assert [state for _, _, state, _ in state_of(desk)] == ["checked", "refused"]


def test_a_known_instance_beside_the_chain_stays_held_and_can_only_be_returned(desk, tablet):
    tablet.round([sealed(tablet, 1)], "b1")
    tablet.round([sealed(tablet, 1, size=6, counter=1, prev="")], "b2")
    subject = docket.show(desk, f"{tablet.device}:b2").subject
    batches.release_one(desk, "sara", subject, "1")
    assert state_of(desk)[1][2:] == ("held", "instance-known")
    with pytest.raises(Declined, match="only returned"):
        batches.release_one(desk, "sam", subject, "1")
    with pytest.raises(Declined, match="not judged yet"):
        docket.decide(desk, "sara", subject.id, "approve")


def test_a_supervisor_releases_on_the_page(desk, copy):
    browser = app_of(desk)
    page = browser.get("/desk/sign-in").text
    door = page.split('name="door" value="')[1].split('"')[0]
    browser.post(
        "/desk/sign-in",
        data={"name": "sara", "password": "a long enough password", "door": door},
    )
    page = browser.get(f"/desk/subjects/{copy.id}").text
    csrf = page.split('name="csrf" value="')[1].split('"')[0]
    hashes = [one.split('"')[0] for one in page.split('name="submission" value="')[1:]]
    assert len(hashes) == 2
    for at in hashes:
        told = browser.post(
            f"/desk/subjects/{copy.id}/release", data={"csrf": csrf, "submission": at}
        )
        assert told.status_code == 303
    assert "/release" not in browser.get(f"/desk/subjects/{copy.id}").text
    assert [state for _, _, state, _ in state_of(desk)] == ["checked"] * 3
