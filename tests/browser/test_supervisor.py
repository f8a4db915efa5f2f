"""A supervisor signs in and approves a batch in a real browser, by keyboard and by hand."""

from __future__ import annotations

import shutil
import threading
from typing import TYPE_CHECKING

import pytest
from werkzeug.serving import make_server

from sync_server import docket, review
from sync_server.web.app import create_app
from tests.desk.conftest import made, office, postgres  # noqa: F401 - fixtures are found by their names
from tests.desk.office import PASSWORD, household

if TYPE_CHECKING:
    from collections.abc import Iterator

    from selenium.webdriver import Chrome

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=360,740",
)


@pytest.fixture
def chrome(tmp_path) -> Iterator[Chrome]:
    driver = shutil.which("chromedriver")
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if not driver or not browser:
        pytest.skip("no chromium with chromedriver here: `make browser` installs them")
    from selenium.webdriver import Chrome, ChromeOptions
    from selenium.webdriver.chrome.service import Service

    options = ChromeOptions()
    options.binary_location = browser
    for flag in (*FLAGS, f"--user-data-dir={tmp_path / 'profile'}"):
        options.add_argument(flag)
    found = Chrome(options=options, service=Service(driver))
    yield found
    found.quit()


@pytest.fixture
def address(office) -> Iterator[str]:
    server = make_server("127.0.0.1", 0, create_app(office.desk), threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def sign_in(chrome: Chrome, address: str, name: str) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    chrome.get(address)
    chrome.find_element(By.ID, "name").send_keys(name, Keys.TAB, PASSWORD, Keys.ENTER)


def test_two_officers_approve_a_batch_in_the_browser(office, address, chrome):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    subject = office.bring(household("Diallo", "Amina", "عائشة"))
    for name, state in (("sara", "partly approved"), ("anna", "carried out")):
        sign_in(chrome, address, name)
        chrome.find_element(By.PARTIAL_LINK_TEXT, "1 sound").click()
        assert "عائشة" in chrome.page_source
        # A small screen shows the page without scrolling sideways.
        width = chrome.execute_script("return document.documentElement.scrollWidth")
        assert width <= chrome.execute_script("return window.innerWidth")
        # By keyboard alone: from the comment on to the button.
        chrome.find_element(By.ID, "comment").send_keys("seen", Keys.TAB)
        assert chrome.switch_to.active_element.get_attribute("id") == "approve"
        chrome.switch_to.active_element.send_keys(Keys.ENTER)
        assert chrome.find_element(By.ID, "state").text == state
        chrome.find_element(By.XPATH, "//button[text()='Sign out']").click()
    assert docket.show(office.desk, subject).state is review.State.CARRIED_OUT
    loaded = chrome.execute_script(
        "return performance.getEntriesByType('resource').map(entry => entry.name)"
    )
    assert all(one.startswith(address) for one in loaded)
