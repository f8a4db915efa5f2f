"""The officers' commands as a person types them: what they print, and how they end."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from click.testing import CliRunner

from sync_server.cli import main
from sync_server.signatures import keep
from tests.desk.office import PASSWORD, PROGRAMME, household, uuid

PEOPLE = ("Amina", "Ousmane", "Fatou")


@pytest.fixture
def typed(office, tmp_path):
    """Types a command; returns what it printed. The office's folder is made a server's whole home."""
    keep(tmp_path / "keys", office.desk.keys)
    replace(office.desk.config, database=office.database.url).save(tmp_path)
    secret = tmp_path / "secret"
    secret.write_text(PASSWORD + "\n", encoding="utf-8")

    def run(*words: str, by: str = "", ends: int = 0) -> str:
        acting = ("--as", by, "--password-file", str(secret)) if by else ()
        told = CliRunner().invoke(main, ["--home", str(tmp_path), *words, *acting])
        assert told.exit_code == ends, told.output + told.stderr
        return told.output

    return run


def test_a_batch_goes_to_the_payment_list_by_commands(office, typed, tmp_path):
    subject = office.bring(household("Diallo", *PEOPLE))
    (waiting,) = json.loads(typed("review", "list", "--json"))
    assert (waiting["subject"], waiting["next"]) == (subject, "check, by supervisor")
    assert "Ousmane" in typed("review", "show", subject)
    assert "partly approved" in typed("review", "approve", subject, by="sara")
    assert "another officer" in typed("review", "approve", subject, by="sara", ends=1)
    assert "carried out" in typed("review", "approve", "batch-1", by="anna")
    assert json.loads(typed("registry", "counts")) == {"records": 1, "members": 3, "clashes": 0}
    rules = tmp_path / "programme.json"
    rules.write_text(json.dumps(PROGRAMME), encoding="utf-8")
    typed("programme", "add", str(rules), by="ada")
    (proposal,) = json.loads(typed("programme", "enrol", "support", "--json", by="sara"))
    typed("review", "approve", proposal["list"], by="anna")
    assert "BIF 1100.00" in typed("cycle", "open", "support", "2026-11", by="ada")
    out = tmp_path / "list.csv"
    typed("cycle", "pay-list", "support/2026-11", "--output", str(out), ends=1)
    typed("cycle", "approve", "support/2026-11", by="anna")
    typed("cycle", "approve", "support/2026-11", by="finn")
    typed("cycle", "pay-list", "support/2026-11", "--output", str(out))
    assert out.read_text(encoding="utf-8").splitlines()[-1].endswith("BIF,1100.00")
    (row,) = json.loads(typed("cycle", "list", "--json"))
    assert (row["state"], row["total_minor"]) == ("released", 110000)
    assert "whole and signed" in typed("review", "audit")


def test_a_clash_is_settled_by_a_command(office, typed):
    for device, account in (("tab-1", "+25770001"), ("tab-2", "+25779999")):
        office.fold(household("Diallo", *PEOPLE, account=account), device=device)
    (found,) = json.loads(typed("review", "clashes", "--json"))
    typed("review", "settle", found["record"], found["path"], "+25770001", by="sara")
    assert json.loads(typed("review", "clashes", "--json")) == []
    told = json.loads(typed("registry", "show", uuid("Diallo")))
    assert told["fields"]["payment_account"] == "+25770001"


def test_officers_are_added_listed_and_shut_out(typed, tmp_path):
    secret = str(tmp_path / "secret")
    typed("users", "add", "zoe", "--role", "supervisor", "--password-file", secret)
    assert "an officer zoe already" in typed(
        "users", "add", "zoe", "--role", "admin", "--password-file", secret, ends=1
    )
    assert "is no role" in typed(
        "users", "add", "ben", "--role", "king", "--password-file", secret, ends=1
    )
    typed("users", "lock", "zoe")
    listed = {one["name"]: one for one in json.loads(typed("users", "list", "--json"))}
    assert (listed["zoe"]["roles"], listed["zoe"]["active"]) == ("supervisor", False)


@pytest.mark.parametrize(
    "words",
    [("review", "approve"), ("users", "add", "zoe"), ("cycle", "open", "support"), ("review", "x")],
)
def test_a_command_that_is_typed_wrongly_ends_as_misuse(typed, words):
    typed(*words, ends=2)


def test_a_short_password_is_refused_and_none_is_taken_from_an_argument(typed, tmp_path):
    short = tmp_path / "short"
    short.write_text("short\n", encoding="utf-8")
    told = typed("users", "add", "zoe", "--role", "admin", "--password-file", str(short), ends=1)
    assert "at least 10 characters" in told
    typed("users", "add", "zoe", "--role", "admin", "--password", PASSWORD, ends=2)
