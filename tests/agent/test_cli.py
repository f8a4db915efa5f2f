"""The commands as a person types them: the journey of one device, and each trouble in one sentence."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from field_agent import vault
from field_agent.store import Store
from tests.campaigns.kills import _free_port

BIN = Path(sys.executable).parent
SAMPLES = Path(__file__).parent.parent.parent / "samples"
FORM = "household_registration"
LISTINGS = ("forms", "list", "records", "notices", "status")


class Field:
    """A server's folder, a device's folder, and their commands."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = _free_port(random.Random())
        self.url = f"http://127.0.0.1:{self.port}"
        self.secret = folder / "passphrase"
        self.secret.write_text("correct horse battery\n")
        self.serving: subprocess.Popen | None = None
        self.office("init", "--url", self.url)
        self.office("publish", str(SAMPLES / f"{FORM}.xlsx"))

    def office(self, *words: str) -> str:
        return subprocess.run(
            [BIN / "sync-server", "--home", self.folder / "server", *words],
            check=True,
            capture_output=True,
            text=True,
        ).stdout

    def agent(self, *words: str, secret: Path | None = None, home: str = "device", stdin: str = ""):
        return subprocess.run(
            [
                BIN / "field-agent",
                "--home",
                self.folder / home,
                "--passphrase-file",
                secret or self.secret,
                *words,
            ],
            capture_output=True,
            text=True,
            check=False,
            input=stdin,
        )

    def told(self, *words: str):
        ran = self.agent(*words, "--json")
        assert ran.returncode == 0, ran.stderr
        return json.loads(ran.stdout)

    def plug_in(self) -> None:
        log = (self.folder / "log").open("ab")
        self.serving = subprocess.Popen(
            [
                BIN / "sync-server",
                "--home",
                self.folder / "server",
                "serve",
                "--port",
                str(self.port),
            ],
            stdout=log,
            stderr=log,
        )
        log.close()
        for _ in range(1200):
            try:
                with urllib.request.urlopen(self.url + "/healthz", timeout=2):
                    return
            except OSError:
                time.sleep(0.1)
        raise AssertionError((self.folder / "log").read_text())

    def unplug(self) -> None:
        if self.serving:
            self.serving.terminate()
            self.serving.wait(60)
            self.serving = None


@pytest.fixture(scope="module")
def field(tmp_path_factory):
    made = Field(tmp_path_factory.mktemp("field"))
    made.plug_in()
    made.office("enrol-device", "--area", "north", "--file", str(made.folder / "ticket"))
    ran = made.agent("enrol", "--file", str(made.folder / "ticket"), made.url)
    assert ran.returncode == 0, ran.stderr
    assert made.agent("sync").returncode == 0
    yield made
    made.unplug()


def answers(number: int) -> str:
    return str(SAMPLES / "answers" / f"household-{number}.json")


def test_households_registered_without_a_network_are_synced_when_it_is_back(field):
    field.unplug()
    try:
        before = field.told("status")
        for number in (1, 2):
            done = field.told("register", FORM, "--answers", answers(number))
            assert done["state"] == "waiting"
        down = field.agent("sync")
        assert down.returncode == 1
        assert "does not answer" in down.stderr
        assert "Traceback" not in down.stderr
        assert "2 entries and 2 files wait here, to go out with the next sync" in down.stderr
        scripted = field.agent("sync", "--json")
        assert scripted.returncode == 1
        assert scripted.stderr.count("; again in ") == 2
        told = json.loads(scripted.stdout)
        assert (told["synced"], told["left"], told["attachments_left"]) == (False, 2, 2)
        assert "does not answer" in told["trouble"]
        assert field.told("status")["waiting"] == before["waiting"] + 2
    finally:
        field.plug_in()
    done = field.told("sync")
    assert done["synced"]
    assert done["receipts"] == 2
    assert {one["state"] for one in field.told("list")} == {"synced"}
    quiet = field.told("sync")
    assert quiet["requests"] == 1
    assert quiet["bytes_out"] < 500
    assert quiet["bytes_in"] < 500


def test_a_bundle_brings_the_same_receipts_as_a_network(field):
    field.told("register", FORM, "--answers", answers(3))
    bundle = field.folder / "stick"
    for _ in range(2):
        assert field.agent("bundle", str(bundle)).returncode == 0
        field.office("take", str(bundle), "--receipts", str(bundle) + ".back")
    assert field.agent("take", str(bundle) + ".back").stdout.startswith("Synced. 1 receipt")
    again = field.agent("take", str(bundle) + ".back")
    assert again.stdout.startswith("Synced. Already here")
    assert field.told("status")["waiting"] == 0
    cut = field.folder / "cut"
    cut.write_bytes(Path(str(bundle) + ".back").read_bytes()[:-10])
    ran = field.agent("take", str(cut))
    assert ran.returncode == 1
    assert f"cut short or damaged ({cut}: it ends" in ran.stderr
    ran = field.agent("take", str(bundle))
    assert ran.returncode == 1
    assert "goes to sync-server take" in ran.stderr


def test_what_a_copied_device_sent_is_held_and_reads_as_refused_with_the_reason(field):
    shutil.copytree(field.folder / "device", field.folder / "twin")
    numbers = []
    for home, number in (("device", 4), ("twin", 5)):
        done = field.agent("register", FORM, "--answers", answers(number), "--json", home=home)
        numbers.append(json.loads(done.stdout)["number"])
        assert field.agent("sync", home=home).returncode == 0
    assert numbers[0] == numbers[1]
    assert field.agent("sync", home="twin").stdout == "Synced. Nothing new.\n"
    (held,) = json.loads(field.agent("list", "--state", "refused", "--json", home="twin").stdout)
    assert held["number"] == numbers[0]
    assert "Someone must look" in held["why"]
    status = json.loads(field.agent("status", "--json", home="twin").stdout)
    assert (status["refused"], status["waiting"]) == (1, 0)
    assert field.told("list", "--state", "refused") == []
    # The officer reads the same sentence.
    waiting = json.loads(field.office("review", "list", "--json"))
    shown = [field.office("review", "show", one["subject"]) for one in waiting]
    assert [text.count("Two different submissions carry") for text in shown].count(1) == 1
    (row,) = (one for one in json.loads(field.office("devices", "list", "--json")))
    assert row["forked"] == 1
    # It is let go on, and its agent hears of that; the other agent, whose number it is too, does not.
    (batch,) = (
        one["subject"]
        for one in waiting
        if field.office("review", "show", one["subject"]).count("held")
    )
    password = field.folder / "password"
    password.write_text("a long enough password\n")
    field.office("users", "add", "sara", "--role", "supervisor", "--password-file", str(password))
    by = ("--as", "sara", "--password-file", str(password), "--comment", "Both were there")
    field.office("review", "release", batch, str(numbers[0]), *by)
    for home, news in (("twin", 1), ("device", 0)):
        assert field.agent("sync", home=home).stdout.startswith("Synced.")
        listed = json.loads(field.agent("list", "--json", home=home).stdout)
        (mine,) = (one for one in listed if one["number"] == numbers[0])
        assert (mine["state"], mine["why"]) == ("synced", "")
        told = json.loads(field.agent("notices", "--json", home=home).stdout)
        assert [one["comment"] for one in told if one["kind"] == "released"] == [
            "Both were there"
        ] * news
    released = json.loads(field.office("review", "list", "--all", "--kind", "fork", "--json"))
    assert [(one["state"], one["decided"][0]["officer"]) for one in released] == [
        ("carried out", "sara")
    ]


def test_what_a_supervisor_sent_back_is_said_and_listed_until_it_is_put_aside(field):
    ticket = field.folder / "ticket-of-the-clerk"
    field.office("enrol-device", "--area", "east", "--name", "clerk", "--file", str(ticket))
    assert field.agent("enrol", "--file", str(ticket), field.url, home="clerk").returncode == 0

    def told(*words: str):
        ran = field.agent(*words, "--json", home="clerk")
        assert ran.returncode == 0, ran.stderr
        return json.loads(ran.stdout)

    for number in (1, 2):
        told("register", FORM, "--answers", answers(number))
    told("sync")
    password = field.folder / "password-of-rita"
    password.write_text("a long enough password\n")
    field.office("users", "add", "rita", "--role", "supervisor", "--password-file", str(password))
    (batch,) = (
        one["subject"]
        for one in json.loads(field.office("review", "list", "--json"))
        if one["subject"].startswith("clerk:")
    )
    by = ("--as", "rita", "--password-file", str(password), "--comment", "Again please")
    field.office("review", "return", batch, *by)
    ran = field.agent("sync", home="clerk")
    assert ran.stdout == "Synced. 2 entries were sent back: field-agent notices\n"
    assert told("sync")["news"] == {}
    assert (told("status")["returned"], told("status")["synced"]) == (2, 0)
    shown = field.agent("notices", home="clerk")
    assert shown.stdout.count("Again please") == 2
    assert "--aside NUMBER" in shown.stderr
    # To have read it is not to have dealt with it.
    listed = told("list", "--state", "returned")
    assert [(one["number"], one["why"]) for one in listed] == [
        (1, "Again please"),
        (2, "Again please"),
    ]
    assert "state: returned" in field.agent("show", "1", home="clerk").stdout
    (second,) = (one for one in told("notices") if one["body"]["counter"] == 2)
    assert len(told("notices", "--aside", str(second["number"]))) == 1
    assert [one["state"] for one in told("list")] == ["returned", "synced"]
    nobody = field.agent("notices", "--aside", "999", home="clerk")
    assert (nobody.returncode, "no notice 999" in nobody.stderr) == (1, True)


@pytest.mark.parametrize("program", ["sync-server", "field-agent"])
def test_a_reader_that_has_seen_enough_ends_the_command_without_a_word(field, program):
    reading, writing = os.pipe()
    os.close(reading)
    begins = ("--home", field.folder / ("server" if program == "sync-server" else "device"))
    if program == "field-agent":
        begins = (*begins, "--passphrase-file", field.secret)
    ran = subprocess.run(
        [BIN / program, *begins, "forms", "list"][: None if program == "sync-server" else -1],
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writing)
    assert (ran.returncode, ran.stderr) == (1, "")


@pytest.mark.parametrize("listing", LISTINGS)
def test_every_listing_can_be_read_by_a_script(field, listing):
    assert isinstance(field.told(listing), (list, dict))


def test_each_trouble_ends_in_one_sentence_and_exit_one(field, tmp_path):
    wrong = tmp_path / "wrong"
    wrong.write_text("not the passphrase")
    bad = tmp_path / "bad.json"
    bad.write_text('{"consent": "yes", "surname": "Diallo"}')
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    troubles = {
        ("register", FORM, "--answers", str(bad)): "no such question: surname",
        ("register", FORM, "--answers", str(broken)): "not JSON",
        ("register", "census", "--answers", str(bad)): "no form census",
        ("show", "9999"): "no entry 9999",
        ("register", "--resume", "zzz"): "no entry being filled in",
        ("take", str(bad)): "not a bundle",
    }
    before = field.told("status")
    for words, sentence in troubles.items():
        ran = field.agent(*words)
        assert (ran.returncode, sentence in ran.stderr) == (1, True), (words, ran.stderr)
        assert ran.stderr.count("\n") == 1, ran.stderr
    ran = field.agent("status", secret=wrong)
    assert ran.returncode == 1
    assert "the passphrase does not fit" in ran.stderr
    nobody = field.agent("status", home="nobody")
    assert nobody.returncode == 1
    assert "field-agent enrol" in nobody.stderr
    assert field.told("status") == before


def test_an_enrolment_says_what_is_wrong_with_what_it_was_given(field, tmp_path):
    picture = tmp_path / "code.png"
    picture.write_bytes(b"\x89PNG\r\n")
    for words, told in (
        (("--file", str(picture)), "scan it"),
        (("--file", str(field.secret)), "no enrolment code"),
        (("--code", "AAAA", field.url), "33 letters"),
    ):
        ran = field.agent("enrol", *words, home="new")
        assert ran.returncode == 1
        assert told in ran.stderr
        assert "Traceback" not in ran.stderr
    assert not (field.folder / "new").exists()


def test_a_device_has_its_forms_when_it_is_enrolled(field):
    """Also when the office's code was read out of its picture; another server's code is refused."""
    ticket, server = field.folder / "t3", field.folder / "other"
    field.office("enrol-device", "--area", "north", "--name", "third", "--file", str(ticket))
    subprocess.run([BIN / "sync-server", "--home", server, "init"], check=True, capture_output=True)
    told = subprocess.run(
        [BIN / "sync-server", "--home", server, "enrol-device", "--json"],
        check=True,
        capture_output=True,
    ).stdout
    foreign = field.agent("enrol", field.url, "--code", json.loads(told)["code"], home="third")
    assert foreign.returncode == 1
    assert "not the one that made this code" in foreign.stderr
    ran = field.agent("enrol", field.url, "--code", ticket.read_text().strip(), home="third")
    assert ran.returncode == 0, ran.stderr
    assert FORM in ran.stdout
    assert FORM in field.agent("forms", home="third").stdout


def test_a_store_that_is_gone_is_no_empty_device(field, tmp_path):
    shutil.copytree(field.folder / "device", field.folder / "emptied")
    for file in (field.folder / "emptied").glob("store.db*"):
        file.unlink()
    for words in ("list", "check", "status"):
        ran = field.agent(words, home="emptied")
        assert ran.returncode == 1
        assert "no store.db" in ran.stderr


def test_a_short_wait_after_killed_commands_is_waited_out_and_a_long_one_is_said(field):
    home = field.folder / "hurried"
    shutil.copytree(field.folder / "device", home)
    place = home / "key.json"

    def tried(times: int) -> None:
        file = vault._KeyFile.parse(place.read_bytes(), place)
        # By a clock that was set back since, so that the wait begins with the command.
        file.tries, file.tried_ms = times, vault.clock_ms() + 86_400_000
        place.write_bytes(file.whole())

    tried(3)
    ran = field.agent("status", home="hurried")
    assert (ran.returncode, ran.stderr.count("\n")) == (0, 1), ran.stderr
    assert (
        "the last 3 tries of a passphrase were wrong or did not finish; waiting 2 s" in ran.stderr
    )
    assert field.agent("status", home="hurried").stderr == ""
    tried(8)
    ran = field.agent("status", home="hurried")
    assert ran.returncode == 1
    assert "the last 8 tries of a passphrase were wrong or did not finish" in ran.stderr
    assert "try again in 64 s" in ran.stderr


def test_a_passphrase_is_changed_with_a_new_key_or_not_at_all(field, tmp_path):
    shutil.copytree(field.folder / "device", field.folder / "changed")
    fresh = tmp_path / "fresh"
    fresh.write_text("another horse staple\n")
    rotate = ("passphrase", "--rotate", "--new-passphrase-file", str(fresh))
    opened = vault.unlock(field.folder / "changed", field.secret.read_text().strip())
    with Store.open(opened, now_ms=vault.clock_ms(), for_contact=True) as store:
        store.status(now_ms=0)
        held = field.agent(*rotate, home="changed")
    assert held.returncode == 1
    assert "field-agent lock" in held.stderr
    assert field.agent("list", home="changed").returncode == 0
    assert field.agent(*rotate, home="changed").returncode == 0
    assert field.agent("list", home="changed", secret=fresh).returncode == 0
    assert "does not fit" in field.agent("list", home="changed").stderr


@pytest.mark.parametrize(
    "words", [("register",), ("enrol", "http://x"), ("list", "--state", "lost"), ("no-such",)]
)
def test_misuse_ends_with_exit_two(field, words):
    assert field.agent(*words).returncode == 2


def test_an_interview_is_held_in_the_terminal_and_left(field):
    ran = field.agent("register", FORM, stdin="1\n=\n")
    assert ran.returncode == 0, ran.stderr
    (draft,) = [one for one in field.told("list") if one["state"] == "draft"]
    assert draft["number"] in ran.stdout
    assert field.agent("discard", draft["number"]).returncode == 0
    assert [one for one in field.told("list") if one["state"] == "draft"] == []


def test_the_pages_open_for_this_machine_only_and_lock_ends_them(field):
    serving = subprocess.Popen(
        [
            BIN / "field-agent",
            "--home",
            field.folder / "device",
            "--passphrase-file",
            field.secret,
            "serve",
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        line = serving.stdout.readline()
        address = line.split()[-1]
        assert address.startswith("http://127.0.0.1:")
        with urllib.request.urlopen(address.partition("/enter")[0] + "/static/agent.css") as reply:
            assert reply.status == 200
        assert "Locked" in field.agent("lock").stdout
        assert serving.wait(20) == 0
        assert "no pages are open" in field.agent("lock").stdout
    finally:
        serving.kill()
        serving.wait()
        serving.stdout.close()


def test_a_revoked_device_erases_its_key(field):
    field.office(
        "enrol-device", "--area", "south", "--name", "lost", "--file", str(field.folder / "t2")
    )
    ran = field.agent("enrol", "--file", str(field.folder / "t2"), field.url, home="lost")
    assert ran.returncode == 0, ran.stderr
    field.office("devices", "revoke", "lost", "--why", "stolen")
    ran = field.agent("sync", "--json", home="lost")
    assert ran.returncode == 1
    assert "revoked this device" in ran.stderr
    told = json.loads(ran.stdout)
    assert told == {"synced": False, "trouble": told["trouble"]}
    assert "revoked this device" in told["trouble"]
    assert "revoked" in field.agent("status", home="lost").stderr
