"""The server's commands, as an operator types them."""

from __future__ import annotations

import json
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from schemas.ticket import Ticket
from sync_server.cli import main
from tests.server.field import form

SAMPLES = Path(__file__).parent.parent.parent / "samples"


@pytest.fixture
def run(tmp_path):
    def go(*words: object, code: int = 0):
        ran = CliRunner().invoke(main, ["--home", str(tmp_path / "server"), *map(str, words)])
        assert ran.exit_code == code, ran.output + str(ran.exception)
        return ran

    return go


@pytest.fixture
def server(run):
    run("init", "--url", "http://127.0.0.1:8000")
    return run


def test_setting_up_twice_overwrites_nothing(server, tmp_path):
    ring = tmp_path / "server" / "keys" / "ring.json"
    before = ring.read_bytes()
    assert "holds a server already" in server("init", code=1).output
    assert ring.read_bytes() == before
    assert stat.S_IMODE(ring.stat().st_mode) == 0o600
    assert stat.S_IMODE(ring.parent.stat().st_mode) == 0o700


def test_a_folder_that_is_open_to_others_gives_them_no_database(run, tmp_path):
    (tmp_path / "server").mkdir(mode=0o755)
    run("init")
    assert stat.S_IMODE((tmp_path / "server" / "registry.db").stat().st_mode) == 0o600


def test_the_sample_form_is_published_with_its_media_and_again_changes_nothing(server):
    out = server("publish", SAMPLES / "household_registration.xlsx").output
    assert "with 3 media files" in out
    server("publish", SAMPLES / "household_registration.xlsx")
    (listed,) = json.loads(server("forms", "list", "--json").stdout)
    assert [one["name"] for one in listed["media"]] == [
        "districts.csv",
        "regions.csv",
        "villages.csv",
    ]


def test_a_form_without_its_media_says_which_file_is_missing(server, tmp_path):
    lonely = tmp_path / "household_registration.xlsx"
    lonely.write_bytes((SAMPLES / lonely.name).read_bytes())
    assert "villages.csv" in server("publish", lonely, code=1).output


def test_a_broken_form_is_refused_by_sheet_row_and_reason(server, tmp_path):
    broken = tmp_path / "broken.md"
    broken.write_text(form().decode().replace(". < 30", "${nobody} > 1"))
    out = server("publish", broken, code=1).output
    assert "survey row 3" in out
    assert "nobody" in out
    assert json.loads(server("forms", "list", "--json").stdout or "[]") == []


def test_the_same_version_with_other_contents_is_refused(server, tmp_path):
    file = tmp_path / "visit.md"
    file.write_bytes(form())
    server("publish", file)
    file.write_bytes(form().replace(b"Head", b"Chief"))
    assert "another version" in server("publish", file, code=1).output
    file.write_bytes(form("2"))
    server("publish", file)
    listed = json.loads(server("forms", "list", "--json").stdout)
    assert [(one["version"], one["current"]) for one in listed] == [("1", False), ("2", True)]


def test_an_enrolment_code_comes_as_text_as_a_picture_and_as_a_file(server, tmp_path):
    told = json.loads(
        server(
            "enrol-device",
            "--name",
            "t7",
            "--qr",
            tmp_path / "q.png",
            "--file",
            tmp_path / "t",
            "--json",
        ).stdout
    )
    assert Ticket.parse(told["code"]).secret == Ticket.parse((tmp_path / "t").read_text()).secret
    assert Ticket.parse(told["text"]).url == "http://127.0.0.1:8000"
    assert (tmp_path / "q.png").read_bytes().startswith(b"\x89PNG")
    assert {stat.S_IMODE((tmp_path / one).stat().st_mode) for one in ("t", "q.png")} == {0o600}
    assert "--qr" in server("enrol-device", "--qr", tmp_path / "q.gif", code=2).output


def test_rotating_keeps_the_old_keys_and_makes_new_ones_current(server):
    before = json.loads(server("keys", "list", "--json").stdout)
    server("keys", "rotate")
    after = json.loads(server("keys", "list", "--json").stdout)
    assert {one["id"] for one in before} < {one["id"] for one in after}
    assert not any(one["current"] for one in after if one["id"] in {b["id"] for b in before})
    public = json.loads(server("keys", "export-public").stdout)
    assert len(public["sealing"]) == 4
    assert "private" not in json.dumps(public)


def test_a_ring_apart_is_rotated_where_it_lies(run, tmp_path):
    run("keys", "new", tmp_path / "vault")
    run("init", "--keys-command", f"cat {tmp_path}/vault/ring.json")
    assert "keys rotate FOLDER" in run("keys", "rotate", code=1).output
    before = {one["id"] for one in json.loads(run("keys", "list", "--json").stdout)}
    run("keys", "rotate", tmp_path / "vault")
    after = json.loads(run("keys", "list", "--json").stdout)
    assert {one["id"] for one in after if not one["current"]} == before


def test_a_ring_that_is_away_is_to_be_brought_and_not_made_anew(server, tmp_path):
    (tmp_path / "server" / "keys").rename(tmp_path / "away")
    assert "bring the stick" in server("devices", "list", code=1).output


def test_the_keys_can_come_from_a_command_and_live_apart_from_the_database(run, tmp_path):
    run("keys", "new", tmp_path / "vault")
    command = f"{sys.executable} -c \"print(open('{tmp_path}/vault/ring.json').read())\""
    run("init", "--keys-command", command)
    assert not (tmp_path / "server" / "keys").exists()
    assert len(json.loads(run("keys", "list", "--json").stdout)) == 2
    (tmp_path / "vault" / "ring.json").unlink()
    assert "run it by hand" in run("devices", "list", code=1).output


def test_a_database_with_another_ring_does_not_open(server, tmp_path):
    (tmp_path / "server" / "keys" / "ring.json").unlink()
    (tmp_path / "server" / "keys").rmdir()
    server("keys", "new", tmp_path / "server" / "keys")
    assert "do not fit this database" in server("devices", "list", code=1).output


def test_a_ring_that_others_can_read_is_refused(server, tmp_path):
    (tmp_path / "server" / "keys" / "ring.json").chmod(0o644)
    assert "chmod 600" in server("devices", "list", code=1).output


def test_without_a_server_every_command_says_how_to_set_one_up(run):
    for words in (["devices", "list"], ["forms", "list"], ["enrol-device"], ["take-up"]):
        assert "init sets one up" in run(*words, code=1).output


def test_revoking_nobody_says_so(server):
    assert "No device of that name" in server("devices", "revoke", "nobody", code=1).output


def test_lint_speaks_by_sheet_and_row_and_publishes_nothing(server):
    out = server("lint", SAMPLES / "household_registration.xlsx").output
    assert "survey row" in out
    found = json.loads(server("lint", SAMPLES / "household_registration.xlsx", "--json").stdout)
    assert all(one["message"] for one in found)


def test_lint_reads_an_xform_by_its_lines_and_refuses_one_that_is_none(server, tmp_path):
    (tmp_path / "made.xml").write_text("""<h:html xmlns="http://www.w3.org/2002/xforms"
    xmlns:h="http://www.w3.org/1999/xhtml"><h:head><h:title>x</h:title><model><instance>
      <data id="x"><age/></data></instance>
      <bind nodeset="/data/age" type="int" constraint=". &gt;= 0 or . &lt; 120"/></model></h:head>
    <h:body><input ref="/data/age"><label>Age</label></input></h:body></h:html>""")
    out = server("lint", tmp_path / "made.xml").output
    assert "made.xml, line 4 (age): warning: constraint: every answer is taken" in out
    (tmp_path / "none.xml").write_text("<a/>")
    assert "none.xml, " in server("lint", tmp_path / "none.xml", code=1).output


def test_taking_what_is_no_bundle_ends_in_a_sentence(server, tmp_path):
    (tmp_path / "x").write_bytes(b"no bundle at all")
    out = server("take", tmp_path / "x", code=1).output
    assert "not a bundle" in out, out
    assert not (tmp_path / "x.receipts").exists()


def test_help_explains_itself_and_reads_no_heavy_library():
    heavy = ("sqlalchemy", "flask", "pyxform", "cryptography", "lxml", "waitress", "marshmallow")
    code = (
        "import sys; from click.testing import CliRunner; from sync_server.cli import main; "
        "out = CliRunner().invoke(main, ['--help']).output; assert 'publish' in out, out; "
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_an_address_that_is_taken_is_named_with_the_way_out(server, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        # A process of its own: what waitress leaves open when it cannot listen ends with it.
        ran = subprocess.run(
            [
                Path(sys.executable).with_name("sync-server"),
                *("--home", tmp_path / "server", "serve", "--port", str(port)),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
    assert ran.returncode == 1
    assert f"127.0.0.1:{port}" in ran.stderr
    assert "--port" in ran.stderr
