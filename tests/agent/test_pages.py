"""The agent's pages in a real browser: a household registered in French, without a network."""

from __future__ import annotations

import json
import re
import shutil
import time
from pathlib import Path

import pytest

from field_agent.register import register
from field_agent.vault import clock_ms
from field_agent.web import door
from tests.agent.test_register import FORM, clock, compiled, desk, programme, sample
from tests.device.small import opened
from tests.serving import serving

__all__ = ["clock", "compiled", "desk", "programme"]


@pytest.fixture
def session(desk):
    def no_run(tell):
        raise AssertionError(f"nothing syncs here ({tell})")

    return door.Session(desk.store, desk, no_run, lambda: None)


@pytest.fixture
def client(session):
    client = door.build(session).test_client()
    client.environ_base["HTTP_HOST"] = "127.0.0.1:5000"
    return client


def enter(client, session):
    assert client.get(f"/enter?token={session.token}").status_code == 302


def test_nobody_sees_anything_without_the_token(client, session):
    assert client.get("/").status_code == 403
    assert b"household" not in client.get("/").data.lower().replace(b"households", b"")
    assert client.get("/enter?token=guess").status_code == 403
    enter(client, session)
    assert b"Household registration" in client.get("/").data


def test_a_page_elsewhere_can_neither_read_nor_act(client, session):
    enter(client, session)
    begin = f"/forms/{FORM}/begin"
    assert client.get("/", headers={"Host": "evil.example"}).status_code == 403
    assert client.post(begin).status_code == 403
    stolen = {"Origin": "http://evil.example", "X-CSRF": session.csrf}
    assert client.post(begin, headers=stolen).status_code == 403
    assert client.post(begin, headers={"X-CSRF": session.csrf}).status_code == 302


def test_a_lease_that_ended_leaves_on_the_pages_the_way_to_a_round_and_no_more(
    client, session, desk
):
    enter(client, session)
    begun = client.post(f"/forms/{FORM}/begin", headers={"X-CSRF": session.csrf})
    desk.store.put_notice("n1", "returned", {"label": "Amina Diallo"}, now_ms=0)
    assert b"Amina Diallo" in client.get("/").data
    desk.store.renew_lease(60, now_ms=clock_ms() - 3_600_000)
    reply = client.get("/")
    assert reply.status_code == 200
    page = reply.data.decode()
    assert "bring the device to a round" in page
    assert 'id="sync"' in page
    assert "Amina Diallo" not in page
    assert "Household registration" not in page
    assert client.get(begun.headers["Location"]).headers["Location"] == "/"
    desk.store.renew_lease(60, now_ms=clock_ms())
    assert b"Amina Diallo" in client.get("/").data


def test_what_was_sent_back_is_on_the_page_until_its_notice_is_put_aside(client, session, desk):
    enter(client, session)
    done = register(desk, FORM, sample(1), {})
    desk.store.receipt(done.counter, done.hash, {})
    assert b"Sent back" not in client.get("/").data
    body = {"counter": done.counter, "hash": done.hash, "comment": "Which village?"}
    desk.store.put_notice("n1", "returned", body, now_ms=0)
    page = client.get("/").data.decode()
    assert '<span id="returned">1</span> sent back' in page
    (listed,) = re.findall(r'<ul id="sent-back">(.*?)</ul>', page)
    assert done.label in listed
    assert "Which village?" in listed
    desk.store.renew_lease(60, now_ms=clock_ms() - 3_600_000)
    assert "Which village?" not in client.get("/").data.decode()
    desk.store.renew_lease(60, now_ms=clock_ms())
    (notice,) = desk.store.notices()
    client.post(f"/notices/{notice.number}", headers={"X-CSRF": session.csrf})
    assert b"Sent back" not in client.get("/").data


def test_the_pages_ask_for_nothing_from_outside(client, session):
    enter(client, session)
    reply = client.get("/")
    assert "default-src 'none'" in reply.headers["Content-Security-Policy"]
    assert reply.headers["Cache-Control"] == "no-store"
    outside = re.compile(r"(?:src|href)=\"(?:https?:)?//")
    folder = Path(door.__file__).parent
    for file in [*folder.glob("templates/*"), *folder.glob("static/*")]:
        assert not outside.search(file.read_text("utf-8")), file.name


def test_each_answer_is_stored_and_only_what_changed_comes_back(client, session, desk):
    enter(client, session)
    head = {"X-CSRF": session.csrf}
    place = client.post(f"/forms/{FORM}/begin", headers=head).headers["Location"]
    client.get(place)
    told = client.post(
        f"{place}/answer", json={"ref": "/data/consent", "value": "yes"}, headers=head
    ).get_json()
    assert set(told["html"]) < set(told["order"])
    assert any("Region" in html for html in told["html"].values())
    saved = desk.store.draft(place.rpartition("/")[2]).answers["entry"]
    assert "<consent>yes</consent>" in saved
    wrong = client.post(
        f"{place}/answer", json={"ref": "/data/hh/phone", "value": "12"}, headers=head
    ).get_json()
    assert "8 to 15 digits" in wrong["fault"]
    unfinished = client.post(f"{place}/finish", json={}, headers=head).get_json()
    assert unfinished["count"] > 3
    assert unfinished["first"] in unfinished["order"]


def test_arabic_pages_are_written_from_right_to_left(client, session):
    enter(client, session)
    head = {"X-CSRF": session.csrf}
    client.post("/language", data={"language": "ar", "csrf": session.csrf})
    assert b'<html lang="ar" dir="rtl">' in client.get("/").data
    place = client.post(f"/forms/{FORM}/begin", headers=head).headers["Location"]
    page = client.get(place).data.decode()
    assert 'lang="ar" dir="rtl" id="sheet"' in page
    assert "هل يوافق المستجيب" in page


# In a browser.


@pytest.fixture
def browser():
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    driver = shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("no Chromium with chromedriver on this machine: `make browser` installs it")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for word in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
        options.add_argument(word)
    options.add_argument("--window-size=390,844")
    opened = webdriver.Chrome(
        options=options, service=webdriver.ChromeService(executable_path=driver)
    )
    opened.set_script_timeout(30)
    yield opened
    opened.quit()


@pytest.fixture
def address(session):
    with serving(door.build(session), threads=2) as port:
        yield f"http://127.0.0.1:{port}"


GIVE = """
const [ref, value, done] = arguments;
const item = [...document.querySelectorAll('#items .question')].find(one => one.dataset.ref === ref);
if (!item) { done('no question ' + ref); return; }
const inputs = [...item.querySelectorAll('input,select,textarea')];
const idle = document.getElementById('items').dataset.idle;
const told = () => document.getElementById('items').dataset.idle !== idle ? done('') : setTimeout(told, 20);
if (inputs[0].type === 'radio' || inputs[0].type === 'checkbox' && inputs[0].name) {
  for (const one of value.split(' ')) inputs.find(input => input.value === one).click();
} else {
  inputs[0].focus(); inputs[0].value = value;
  inputs[0].dispatchEvent(new Event('change', {bubbles: true}));
}
told();
"""


def wait(check, patience_s=120.0):
    until = time.monotonic() + patience_s
    while time.monotonic() < until:
        found = check()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError("the page did not come to it")


def walk(answers: dict, groups: dict[str, str]) -> list[tuple[str, str]]:
    given = []
    for name, value in answers.items():
        if name == "member":
            for number, member in enumerate(value, 1):
                for inner, answer in member.items():
                    given.append((f"/data/roster/member[{number}]/{inner}", answer))
        else:
            given.append((f"/data/{groups.get(name, '')}{name}", value))
    return [(ref, " ".join(v) if isinstance(v, list) else str(v)) for ref, v in given]


GROUPS = {
    **dict.fromkeys(
        ("region", "district", "village", "address", "location", "phone", "displaced"), "hh/"
    ),
    "size": "roster/",
    **dict.fromkeys(("roof", "floor", "rooms", "water", "assets", "income"), "dwelling/"),
    **dict.fromkeys(("channel", "account"), "payment/"),
}


def test_a_household_is_registered_in_french_in_the_browser(
    browser, address, session, desk, programme
):
    browser.get(f"{address}/enter?token={session.token}")
    by = "css selector"
    browser.execute_script(
        "const s = document.getElementById('ui'); s.value = 'fr';"
        "s.dispatchEvent(new Event('change', {bubbles: true}));"
    )
    wait(lambda: browser.find_element(by, "html").get_attribute("lang") == "fr")
    browser.find_element(by, f"button[data-form={FORM}]").click()
    wait(lambda: browser.find_elements(by, "#items"))
    assert "Le répondant consent-il" in browser.find_element(by, "#items").text
    for ref, value in walk(sample(1), GROUPS):
        assert browser.execute_async_script(GIVE, ref, value) == ""
    # A wrong number is said where it is, and can be put right.
    phone = "/data/hh/phone"
    assert browser.execute_async_script(GIVE, phone, "12") == ""
    said = browser.find_element(by, f"[data-ref='{phone}'] .fault").text
    assert "8 à 15 chiffres" in said
    browser.find_element(by, "#finish").click()
    wait(lambda: "1 " in browser.find_element(by, "#saved").text)
    assert browser.execute_async_script(GIVE, phone, sample(1)["phone"]) == ""
    assert "".join(one["message"] for one in browser.get_log("browser")) == ""
    browser.find_element(by, "#finish").click()
    wait(lambda: browser.find_elements(by, "#entries"))
    (done,) = desk.store.outbox()
    told = opened(desk.store, programme, done.counter)
    assert "Amina" in told.xml
    assert told.xml.count("<member>") == 5
    assert json.dumps(sample(1)["account"]).strip('"') in told.xml
