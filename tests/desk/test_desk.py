"""From a batch to a payment list:

nobody approves twice, nothing is paid twice, nothing changes unseen.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json

import pytest
from sqlalchemy import insert, select, update
from sqlalchemy.exc import IntegrityError

from conflict import from_json
from schemas.pages import unpack_page
from sync_server import (
    batches,
    cycle,
    docket,
    enrolment,
    notices,
    officers,
    pages,
    registry,
    review,
)
from sync_server.officers import Declined
from sync_server.store import desk_tables as d
from sync_server.store import intake_tables as t
from sync_server.store.engine import next_sequence
from tests.desk.office import PASSWORD, PROGRAMME, household, uuid, writing

PEOPLE = ("Amina", "Ousmane", "Fatou")


def test_two_officers_approve_a_batch_and_its_households_are_in_the_registry(office):
    subject = office.bring(household("Diallo", *PEOPLE), household("Said", "Yusuf"))
    first = office.approve(subject, "sara")
    assert (first.state, first.next.role) == (review.State.PARTLY, "approver")
    assert registry.find(office.desk, "") == ()
    assert office.approve(subject, "anna").state is review.State.CARRIED_OUT
    assert registry.counts(office.desk) == {"records": 2, "members": 4, "clashes": 0}
    found = registry.record(office.desk, uuid(uuid("Diallo") + "Fatou"))
    assert found.id == uuid("Diallo")
    assert found.fields["head_name"] == "Diallo Diallo"
    assert sorted(one["given_name"] for one in found.members.values()) == sorted(PEOPLE)


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (("sara", "sara"), "another officer"),
        (("both", "both"), "another officer"),
        (("anna",), "takes supervisor"),
        (("sara", "sam"), "takes approver"),
        (("finn",), "takes supervisor"),
        (("nobody",), "no active officer"),
    ],
)
def test_an_officer_who_may_not_decide_is_told_why(office, names, reason):
    subject = office.bring(household("Diallo", *PEOPLE))
    with pytest.raises(Declined, match=reason):
        office.approve(subject, *names)
    assert registry.find(office.desk, "") == ()


def test_the_author_of_a_cycle_does_not_approve_it(office):
    name = office.enrolled(household("Diallo", *PEOPLE))
    opened = cycle.open_cycle(office.desk, "both", name, "2026-11")
    with pytest.raises(Declined, match="another officer"):
        office.approve(opened.cycle.id, "both")


def decision(office, subject, **other):
    """The row that a careless caller would write beside the use case."""
    row = office.desk.store.read(
        lambda tx: tx.execute(select(d.decisions).where(d.decisions.c.subject == subject)).first()
    )._asdict()
    return {**row, "number": 99, "previous": "made up", "hash": "made up", **other}


SECOND = {"stage": 2, "role": "approver", "after": 1, "after_verdict": "approve"}


@pytest.mark.parametrize(
    "other",
    [
        {**SECOND, "officer": "sara"},  # decided already, and holds no such role
        {**SECOND, "officer": "sam"},  # is no approver
        {**SECOND, "officer": "both", "author": "both"},  # made it
        {**SECOND, "officer": "anna", "after": 2},  # after itself
        {**SECOND, "officer": "anna", "content": "other"},  # no first stage on this content
        {**SECOND, "officer": "anna", "role": "finance"},  # the stage is another role's
        {"officer": "sam"},  # the stage is decided
        {**SECOND, "officer": "anna", "previous": ""},  # a second chain
    ],
)
def test_the_store_itself_refuses_what_the_rules_forbid(office, other):
    subject = office.bring(household("Diallo", *PEOPLE))
    office.approve(subject, "sara")
    row = decision(office, subject, **other)
    with pytest.raises(IntegrityError), writing(office.desk) as tx:
        tx.execute(insert(d.decisions).values(**row))


def test_the_store_refuses_a_second_decision_by_an_officer_who_holds_every_role(office):
    subject = office.bring(household("Diallo", *PEOPLE))
    office.approve(subject, "both")
    row = decision(office, subject, **SECOND)
    with (
        pytest.raises(IntegrityError, match=r"decisions\.officer|nobody_decides_twice"),
        writing(office.desk) as tx,
    ):
        tx.execute(insert(d.decisions).values(**row))


def test_the_store_takes_the_row_that_the_rules_allow(office):
    subject = office.bring(household("Diallo", *PEOPLE))
    office.approve(subject, "sara")
    row = decision(office, subject, **SECOND, officer="anna")
    with writing(office.desk) as tx:
        tx.execute(insert(d.decisions).values(**row))


def test_an_approval_of_what_has_changed_since_is_refused(office):
    subject = office.bring(household("Diallo", *PEOPLE), household("Said", "Yusuf"))
    seen = docket.show(office.desk, subject).subject
    office.approve(subject, "sara")
    batches.return_one(office.desk, "anna", seen, "2", "The name is missing")
    with pytest.raises(Declined, match="changed since"):
        docket.decide(office.desk, "anna", subject, "approve", seen_content=seen.content)
    assert docket.show(office.desk, subject).next.number == 1
    office.approve(subject, "sara", "anna")
    assert [one.id for one in registry.find(office.desk, "")] == [uuid("Diallo")]


def test_a_returned_batch_tells_its_device_why_and_never_enters_the_registry(office):
    subject = office.bring(household("Diallo", *PEOPLE))
    with pytest.raises(Declined, match="comment"):
        docket.decide(office.desk, "sara", subject, "return")
    docket.decide(office.desk, "sara", subject, "return", comment="Ask for the phone again")
    with pytest.raises(Declined, match="nothing left"):
        office.approve(subject, "sam")
    told = office.desk.store.read(
        lambda tx: notices.since(tx, office.desk.at_rest, "north", "tab-1", 0, 10)
    )
    assert [(one["kind"], one["body"]["comment"]) for one in told] == [
        ("returned", "Ask for the phone again")
    ]
    assert registry.find(office.desk, "") == ()


def test_a_submission_that_nobody_could_open_keeps_its_batch_from_the_registry(office):
    subject = office.bring(household("Diallo", *PEOPLE))
    with writing(office.desk) as tx:
        tx.execute(update(t.submissions).values(state="parked"))
    office.approve(subject, "sara")
    with pytest.raises(Declined, match="not opened yet"):
        office.approve(subject, "anna")


def test_every_altered_decision_is_found_in_the_chain(office):
    for name in ("Diallo", "Said"):
        office.fold(household(name, *PEOPLE))
    assert review.broken_links(office.desk, "north") == ()
    with writing(office.desk) as tx:
        tx.execute(update(d.decisions).where(d.decisions.c.number == 2).values(officer="both"))
    assert "decision 2" in review.broken_links(office.desk, "north")[0]


def test_a_decision_that_someone_rewrote_whole_lacks_the_servers_signature(office):
    office.fold(household("Diallo", *PEOPLE))
    row = office.desk.store.read(
        lambda tx: tx.execute(select(d.decisions).where(d.decisions.c.number == 2)).one()
    )
    said = {**json.loads(row.statement), "comment": "I never looked"}
    statement = json.dumps(said, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    with writing(office.desk) as tx:
        tx.execute(
            update(d.decisions)
            .where(d.decisions.c.number == 2)
            .values(
                statement=statement,
                comment="I never looked",
                hash=hashlib.sha256(statement.encode()).hexdigest(),
            )
        )
    assert review.broken_links(office.desk, "north") == (
        "decision 2 of area north: its signature is not this server's",
    )


def test_a_policy_of_three_stages_holds_for_what_is_decided_after_it(office):
    before = office.bring(household("Diallo", *PEOPLE))
    office.approve(before, "sara")
    stages = [("check", "supervisor"), ("confirm", "approver"), ("look again", "supervisor")]
    assert review.set_policy(office.desk, "ada", "batch", stages) == 2
    assert office.approve(before, "anna").state is review.State.CARRIED_OUT
    after = office.bring(household("Said", *PEOPLE))
    assert office.approve(after, "sara", "anna").next.name == "look again"
    with pytest.raises(Declined, match="another officer"):
        office.approve(after, "sara")
    assert office.approve(after, "sam").state is review.State.CARRIED_OUT


def pays(office, *households):
    name = office.enrolled(*households)
    opened = cycle.open_cycle(office.desk, "ada", name, "2026-11")
    office.approve(opened.cycle.id, "anna")
    return opened.cycle.id


def release(office, cycle_id):
    office.approve(cycle.payment_batch(cycle_id), "finn")
    return cycle.pay_list(office.desk, cycle_id)


def test_the_payment_list_holds_who_is_due_and_says_why_the_others_are_not(office):
    name = office.enrolled(
        household("Diallo", *PEOPLE),
        household("Said", "Yusuf"),
        household("Toure", *PEOPLE, channel="mobile_money", account="12"),
        household("Keita", *PEOPLE, channel="voucher"),
    )
    opened = cycle.open_cycle(office.desk, "ada", name, "2026-11")
    assert (opened.entitlements, opened.total) == (1, "1100.00")
    assert {one.household: one.reasons for one in opened.set_aside} == {
        uuid("Toure"): ("12 is no mobile number",),
        uuid("Keita"): ("asks to be paid by voucher; the programme pays by cash, mobile_money",),
    }
    with pytest.raises(Declined, match="not made yet"):
        cycle.pay_list(office.desk, opened.cycle.id)
    office.approve(opened.cycle.id, "anna")
    with pytest.raises(Declined, match="waiting"):
        cycle.pay_list(office.desk, opened.cycle.id)
    with pytest.raises(Declined, match="takes finance"):
        office.approve(cycle.payment_batch(opened.cycle.id), "sara")
    text, instructions = release(office, opened.cycle.id)
    assert [one.name for one in instructions] == ["Diallo Diallo"]
    rows = list(csv.reader(io.StringIO(text)))
    assert rows[-1] == ["total", "", "1 payments", "", "", "BIF", "1100.00"]


def test_a_cycle_that_runs_again_adds_nothing(office):
    cycle_id = pays(office, household("Diallo", *PEOPLE), household("Toure", *PEOPLE))
    first = release(office, cycle_id)
    before = everything(office)
    for _ in range(2):
        cycle.open_cycle(office.desk, "ada", "support", "2026-11")
        cycle.run(office.desk, "ada", cycle_id)
        docket.carry_on(office.desk)
        cycle.release(office.desk, cycle_id)
        assert cycle.pay_list(office.desk, cycle_id) == first
        assert enrolment.propose(office.desk, "sara", "support")[0].households == ()
    assert everything(office) == before


def everything(office):
    tables = (d.entitlements, d.payments, d.ledger, d.enrolments, d.set_aside, d.changes)
    return office.desk.store.read(
        lambda tx: {
            one.name: sorted(
                tuple(v for c, v in row._mapping.items() if c != "sealed")
                for row in tx.execute(select(one))
            )
            for one in tables
        }
    )


def clash(office, **fields):
    """Two devices give the same household another account, neither in sight of the other."""
    wallet = {"channel": "mobile_money", **fields}
    office.fold(household("Diallo", *PEOPLE, **wallet, account="+25770001"))
    office.fold(
        household("Diallo", *PEOPLE, **wallet, account="+25779999"), device="tab-2", label="omar"
    )


def test_a_clash_in_an_account_freezes_payments_until_a_person_settles_it(office):
    clash(office)
    (found,) = registry.clashes(office.desk)
    assert (found.path, found.freezes) == ("payment_account", True)
    assert {side.value for side in found.sides} == {"+25770001", "+25779999"}
    name = office.enrolled()
    opened = cycle.open_cycle(office.desk, "ada", name, "2026-11")
    assert opened.entitlements == 0
    assert "frozen" in opened.set_aside[0].reasons[0]
    registry.settle(office.desk, "sara", found.record, found.path, "+25770001", seen=found.seen)
    assert registry.clashes(office.desk) == ()
    assert cycle.run(office.desk, "ada", opened.cycle.id).entitlements == 1
    told = office.desk.store.read(
        lambda tx: pages.between(tx, office.desk, "north", 0, next_sequence(tx, "north"), 10**6)
    )
    pulled = [from_json(line.change) for page in told.pages for line in unpack_page(page)]
    assert pulled[-1].writes["payment_account"].value == "+25770001"
    assert len(pulled[-1].writes["payment_account"].replaces) == 2
    *_, item = office.desk.store.read(
        lambda tx: notices.since(tx, office.desk.at_rest, "north", "tab-1", 0, 100)
    )
    assert item["kind"] == "settled"
    assert item["body"]["label"] == registry.find(office.desk, "")[0].label != ""
    assert item["body"]["comment"] == "payment_account: +25770001"


def test_a_clash_that_comes_after_the_approval_holds_the_payment_back(office):
    wallet = {"channel": "mobile_money"}
    cycle_id = pays(
        office,
        household("Diallo", *PEOPLE, **wallet, account="+25770001"),
        household("Toure", *PEOPLE),
    )
    office.fold(
        household("Diallo", *PEOPLE, **wallet, account="+25779999"), device="tab-2", label="omar"
    )
    _, instructions = release(office, cycle_id)
    assert [one.household for one in instructions] == [uuid("Toure")]
    assert "frozen" in cycle.figures(office.desk, cycle_id).set_aside[0].reasons[0]
    (found,) = registry.clashes(office.desk)
    registry.settle(office.desk, "sara", found.record, found.path, "+25770001")
    _, instructions = cycle.pay_list(office.desk, cycle_id)
    assert {one.household for one in instructions} == {uuid("Toure"), uuid("Diallo")}
    assert cycle.figures(office.desk, cycle_id).set_aside == ()


def test_a_settlement_of_what_has_another_value_by_now_is_refused(office):
    clash(office)
    (found,) = registry.clashes(office.desk)
    office.fold(
        household("Diallo", *PEOPLE, channel="mobile_money", account="+25775555"),
        device="tab-3",
        label="zoe",
    )
    with pytest.raises(Declined, match="another value since"):
        registry.settle(office.desk, "sara", found.record, found.path, "+25770001", seen=found.seen)
    with pytest.raises(Declined, match="takes supervisor"):
        registry.settle(office.desk, "anna", found.record, found.path, "+25770001")


def test_an_update_in_sight_of_the_old_value_is_no_clash(office):
    office.fold(household("Diallo", *PEOPLE, channel="mobile_money", account="+25770001"))
    update_ = {"id": uuid("Diallo"), "account": "+25779999", "people": ""}
    seen = {uuid("Diallo"): {"payment_account": ["tab-1:1"]}}
    office.fold(update_, device="tab-2", label="omar", seen=seen, action="update")
    assert registry.clashes(office.desk) == ()
    assert registry.record(office.desk, uuid("Diallo")).fields["payment_account"] == "+25779999"


def test_folding_a_batch_again_adds_nothing(office):
    subject = office.fold(household("Diallo", *PEOPLE))
    before = everything(office)
    again = office.desk.store.transaction(
        lambda tx: registry.fold_batch(office.desk, tx, "north", subject)
    )
    assert (again, everything(office)) == ((), before)


def test_the_payer_answers_and_the_books_balance(office):
    cycle_id = pays(office, household("Diallo", *PEOPLE), household("Toure", *PEOPLE))
    _, instructions = release(office, cycle_id)
    one, other = instructions
    answers = (
        "payment,status,reference,amount\r\n"
        f"{one.payment},paid,R1,1100.00\r\n{other.payment},failed,,1100.00\r\n"
        "unknown,paid,R3,1.00\r\n"
    )
    with pytest.raises(Declined, match="takes finance"):
        cycle.reconcile(office.desk, "sara", cycle_id, answers)
    told = cycle.reconcile(office.desk, "finn", cycle_id, answers)
    assert (told.paid, told.failed, told.already) == (1, 1, 0)
    assert told.faults == ("unknown: no such payment in this cycle",)
    again = cycle.reconcile(office.desk, "finn", cycle_id, answers)
    assert (again.paid, again.failed, again.already) == (0, 0, 2)
    books = cycle.books(office.desk, "support")
    assert sum(books.values()) == 0
    assert books == {
        ("expense/support", "BIF"): 220000,
        ("bank/support", "BIF"): -110000,
        (f"due/{other.household}", "BIF"): -110000,
    }


def test_an_answer_about_another_amount_is_not_booked(office):
    cycle_id = pays(office, household("Diallo", *PEOPLE))
    _, (one,) = release(office, cycle_id)
    text = f"payment,status,reference,amount\r\n{one.payment},paid,R1,1.00\r\n"
    told = cycle.reconcile(office.desk, "finn", cycle_id, text)
    assert told.paid == 0
    assert "110000 minor units were sent" in told.faults[0]


def test_a_programme_that_cannot_be_used_is_refused_by_its_place(office):
    wrong = {**PROGRAMME, "eligibility": [{"when": "${size} >>= 3", "why": "x"}]}
    with pytest.raises(enrolment.Unusable, match="eligibility, rule 1"):
        enrolment.add(office.desk, "ada", json.dumps(wrong))
    for when, why in (
        ("today() > ${size}", "may not depend on the day"),
        ("random() < 0.5", "random.. comes out another way each time"),
        ("instance('people')/root", "needs an interview"),
    ):
        wrong = {**PROGRAMME, "eligibility": [{"when": when, "why": "x"}]}
        with pytest.raises(enrolment.Unusable, match=why):
            enrolment.add(office.desk, "ada", json.dumps(wrong))
    with pytest.raises(Declined, match="takes admin"):
        enrolment.add(office.desk, "sara", json.dumps(PROGRAMME))
    assert enrolment.add(office.desk, "ada", json.dumps(PROGRAMME)).number == 1
    assert enrolment.add(office.desk, "ada", json.dumps(PROGRAMME)).number == 1
    other = {**PROGRAMME, "title": "Support, second"}
    assert enrolment.add(office.desk, "ada", json.dumps(other)).number == 2


def test_guessing_a_password_is_made_slower_with_every_try(office):
    waits = []
    for _ in range(5):
        with pytest.raises(Declined):
            officers.sign_in(office.desk, "sara", "wrong")
        try:
            officers.sign_in(office.desk, "sara", PASSWORD)
            waits.append(0)
            for _ in range(3):
                with pytest.raises(Declined):
                    officers.sign_in(office.desk, "sara", "wrong")
        except Declined as told:
            waits.append(int(str(told).split()[-2]))
        office.wait(seconds=waits[-1] + 1)
    assert waits == sorted(waits)
    assert waits[-1] > waits[1] > 0
    assert officers.sign_in(office.desk, "sara", PASSWORD).name == "sara"


def test_an_officer_who_is_shut_out_loses_their_session_and_their_say(office):
    session = officers.begin_session(
        office.desk, officers.sign_in(office.desk, "sara", PASSWORD), token="t", csrf="c"
    )
    assert officers.session_of(office.desk, "t") == session
    officers.set_active(office.desk, "sara", active=False)
    assert officers.session_of(office.desk, "t") is None
    with pytest.raises(Declined, match="wrong"):
        officers.sign_in(office.desk, "sara", PASSWORD)
    with pytest.raises(Declined, match="no active officer"):
        office.approve(office.bring(household("Diallo", *PEOPLE)), "sara")


def test_a_session_that_nobody_uses_ends(office):
    officer = officers.sign_in(office.desk, "sara", PASSWORD)
    officers.begin_session(office.desk, officer, token="t", csrf="c")
    office.wait(minutes=20)
    assert officers.session_of(office.desk, "t") is not None
    office.wait(minutes=20)
    assert officers.session_of(office.desk, "t") is not None
    office.wait(minutes=31)
    assert officers.session_of(office.desk, "t") is None


def test_a_password_is_nowhere_in_the_database(office):
    office.desk.store.close()
    whole = office.database.contents()
    assert b"sara" in whole
    assert PASSWORD.encode() not in whole


def test_names_and_accounts_are_nowhere_readable_in_the_database(office):
    wallet = {"channel": "mobile_money", "account": "+25770001234"}
    cycle_id = pays(office, household("Zanzibarova", *PEOPLE, **wallet))
    office.fold(
        household("Zanzibarova", *PEOPLE, channel="mobile_money", account="+25770009999"),
        device="tab-2",
    )
    release(office, cycle_id)
    office.desk.store.close()
    whole = office.database.contents()
    for planted in ("Zanzibarova", "Ousmane", "25770001234", "25770009999"):
        assert planted.encode() not in whole
