"""The officers' pages as a browser without script meets them."""

from __future__ import annotations

import re

import pytest

from sync_server import docket, registry
from sync_server.web.app import create_app
from tests.desk.office import PASSWORD, household, uuid

PEOPLE = ("Amina", "Ousmane", "Fatou")


@pytest.fixture
def browser(office):
    return create_app(office.desk).test_client()


def token(html: str, name: str = "csrf") -> str:
    return re.search(rf'name="{name}" value="([^"]+)"', html)[1]


def enter(browser, name: str, password: str = PASSWORD, **more: str):
    door = token(browser.get("/desk/sign-in").text, "door")
    return browser.post(
        "/desk/sign-in", data={"name": name, "password": password, "door": door, **more}
    )


def test_a_page_without_a_session_leads_to_the_sign_in(browser):
    assert browser.get("/").location == "/desk/"
    answer = browser.get("/desk/programmes")
    assert (answer.status_code, answer.location) == (303, "/desk/sign-in?next=/desk/programmes")


def test_a_wrong_password_and_a_strangers_form_let_nobody_in(browser):
    assert "the name or the password is wrong" in enter(browser, "sara", "wrong").text
    answer = browser.post(
        "/desk/sign-in", data={"name": "sara", "password": PASSWORD, "door": "guessed"}
    )
    assert answer.status_code == 403
    assert browser.get("/desk/").status_code == 303


@pytest.mark.parametrize("elsewhere", ["https://evil.example/", "//evil.example", "/desk\\evil"])
def test_signing_in_leads_nowhere_else(browser, elsewhere):
    assert enter(browser, "sara", next=elsewhere).location == "/desk/"


def test_an_officer_looks_at_a_batch_and_approves_what_they_saw(office, browser):
    subject = office.bring(household("Diallo", *PEOPLE))
    enter(browser, "sara")
    assert "1 sound" in browser.get("/desk/").text
    page = browser.get(f"/desk/subjects/{subject}").text
    for seen in ("Head", "Diallo Diallo", "Given name", "Ousmane", "waiting"):
        assert seen in page
    said = {"csrf": token(page), "content": token(page, "content"), "verdict": "approve"}
    assert browser.post(f"/desk/subjects/{subject}", data=said).status_code == 303
    again = browser.post(f"/desk/subjects/{subject}", data=said)
    assert (again.status_code, "another officer" in again.text) == (409, True)
    assert docket.show(office.desk, subject).next.role == "approver"


def test_a_form_from_another_site_decides_nothing(office, browser):
    subject = office.bring(household("Diallo", *PEOPLE))
    enter(browser, "sara")
    page = browser.get(f"/desk/subjects/{subject}").text
    said = {"csrf": "guessed", "content": token(page, "content"), "verdict": "approve"}
    assert browser.post(f"/desk/subjects/{subject}", data=said).status_code == 403
    assert docket.show(office.desk, subject).decided == ()


def test_a_page_of_another_role_is_not_shown(office, browser):
    office.bring(household("Diallo", *PEOPLE))
    enter(browser, "finn")
    assert browser.get("/desk/clashes").status_code == 403
    assert browser.get("/desk/households").status_code == 403


def test_no_page_asks_for_anything_from_outside_or_runs_a_script(office, browser):
    subject = office.fold(household("Diallo", *PEOPLE))
    enter(browser, "both")
    for page in ("/desk/", "/desk/clashes", "/desk/households", "/desk/programmes"):
        answer = browser.get(page)
        assert answer.status_code == 200
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert answer.headers["Cache-Control"] == "no-store"
        assert not re.search(r"<script|https?://|style=|onclick", answer.text)
    with browser.get("/desk/static/desk.css") as sheet:
        assert sheet.status_code == 200
    assert "carried out" in browser.get(f"/desk/subjects/{subject}").text
    assert "Ousmane" in browser.get(f"/desk/households/{uuid('Diallo')}").text


def test_what_an_agent_wrote_is_shown_and_never_run(office, browser):
    office.fold(household("Diallo", *PEOPLE, head_name="&lt;script&gt;alert(1)&lt;/script&gt;"))
    enter(browser, "sara")
    page = browser.get("/desk/households").text
    assert "&lt;script&gt;" in page
    assert "<script>" not in page


def test_a_supervisor_settles_a_clash_with_both_values_in_sight(office, browser):
    for device, account in (("tab-1", "+25770001"), ("tab-2", "+25779999")):
        office.fold(
            household("Diallo", *PEOPLE, channel="mobile_money", account=account), device=device
        )
    enter(browser, "sara")
    page = browser.get("/desk/clashes").text
    assert "+25770001" in page
    assert "+25779999" in page
    assert "frozen" in page
    said = {name: token(page, name) for name in ("csrf", "record", "path", "seen")}
    assert browser.post("/desk/clashes", data={**said, "value": "+25770001"}).status_code == 303
    assert "No clash waits" in browser.get("/desk/clashes").text
    record = registry.record(office.desk, uuid("Diallo"))
    assert record.fields["payment_account"] == "+25770001"


def test_a_cycle_goes_from_its_opening_to_the_payment_list_by_pages_alone(office, browser):
    office.enrolled(household("Diallo", *PEOPLE))
    enter(browser, "ada")
    page = browser.get("/desk/programmes").text
    opened = browser.post(
        "/desk/programmes/support/cycles", data={"csrf": token(page), "period": "2026-11"}
    )
    cycle_page = opened.location
    enter(browser, "anna")
    page = browser.get(cycle_page).text
    assert "BIF 1100.00" in page
    said = {"csrf": token(page), "content": token(page, "content"), "verdict": "approve"}
    assert browser.post(cycle_page, data=said).status_code == 303
    enter(browser, "finn")
    waiting = browser.get("/desk/").text
    payment = re.search(r'href="(/desk/subjects/[^"]+)"[^>]*>support 2026-11: 1 payments', waiting)
    page = browser.get(payment[1]).text
    said = {"csrf": token(page), "content": token(page, "content"), "verdict": "approve"}
    browser.post(payment[1], data=said)
    page = browser.get(payment[1]).text
    listed = browser.get(re.search(r'href="(/desk/cycles/[^"]+\.csv)"', page)[1])
    assert listed.mimetype == "text/csv"
    assert listed.text.splitlines()[-1] == "total,,1 payments,,,BIF,1100.00"
    enter(browser, "sara")
    assert browser.get(re.search(r"/desk/cycles/[^\"]+\.csv", page)[0]).status_code == 403


def test_signing_out_ends_the_session_on_the_server(browser):
    enter(browser, "sara")
    cookie = browser.get_cookie("desk_session", path="/desk").value
    browser.post("/desk/sign-out", data={"csrf": token(browser.get("/desk/").text)})
    browser.set_cookie("desk_session", cookie, path="/desk")
    assert browser.get("/desk/").status_code == 303
