"""The main job, run by its own commands: from an XLSForm to a payment list, with the network gone in between.

`make demo` runs it; `--once` ends it by itself. Everything it makes is under `demo-data/`, made anew at each run.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

HERE = Path(__file__).parent
SAMPLES = HERE / "samples"
BIN = Path(sys.executable).parent


class Stopped(Exception):
    """A command of the journey did not end as it must; the text holds what it said."""


class Journey:
    """The commands, as a person would type them, in one folder."""

    def __init__(self, folder: Path, *, verbose: bool = True) -> None:
        self.folder = folder
        self.verbose = verbose
        self.figures: dict[str, int | str] = {}
        self.passwords: dict[str, str] = {}
        self.server_port = free_port()
        self.server: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def say(self, line: str) -> None:
        if self.verbose:
            print(line, flush=True)

    def secret(self, name: str) -> Path:
        """A file that holds this person's password, readable by its owner only."""
        file = self.folder / "secrets" / name
        if not file.exists():
            file.parent.mkdir(mode=0o700, exist_ok=True)
            self.passwords[name] = f"{name}-{os.urandom(6).hex()}"
            file.touch(mode=0o600)
            file.write_text(self.passwords[name] + "\n", encoding="utf-8")
        return file

    def run(
        self,
        *words: str | Path,
        expect: int = 0,
        show: bool = False,
        env: Mapping[str, str] | None = None,
    ) -> str:
        """What one command printed. Raises Stopped where it does not exit as expected."""
        command = [str(BIN / str(words[0])), *map(str, words[1:])]
        if show and self.verbose:
            ran = subprocess.run(command, check=False, env={**os.environ, **(env or {})})
            out, err = "", ""
        else:
            ran_text = subprocess.run(
                command,
                check=False,
                capture_output=True,
                text=True,
                env={**os.environ, **(env or {})},
            )
            ran, out, err = ran_text, ran_text.stdout, ran_text.stderr
        if ran.returncode != expect:
            told = f"{' '.join(map(str, words))}\nexit {ran.returncode}, not {expect}\n{out}{err}"
            raise Stopped(told)
        return out or err

    def at_server(self, *words: str | Path, **more: Any) -> str:
        return self.run("sync-server", "--home", self.folder / "server", *words, **more)

    def listed(self, *words: str | Path) -> Any:
        return json.loads(self.at_server(*words, "--json"))

    def at_device(self, name: str, *words: str | Path, **more: Any) -> str:
        return self.run(
            "field-agent",
            "--home",
            self.folder / name,
            "--passphrase-file",
            self.secret(name),
            *words,
            **more,
        )

    def officer(self, name: str) -> tuple[str | Path, ...]:
        return ("--as", name, "--password-file", self.secret(name))

    def serve(self) -> None:
        """Start the sync server and wait until it answers."""
        log = (self.folder / "server.log").open("ab")
        self.server = subprocess.Popen(
            [
                BIN / "sync-server",
                "--home",
                self.folder / "server",
                "serve",
                "--port",
                str(self.server_port),
            ],
            stdout=log,
            stderr=log,
        )
        log.close()
        await_answer(self.address, self.server)

    def unplug(self) -> None:
        """Take the network away: nothing answers at the server's address."""
        if self.server:
            self.server.terminate()
            self.server.wait(timeout=20)
            self.server = None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def await_answer(address: str, process: subprocess.Popen[bytes], patience_s: float = 30) -> None:
    """Return when the address answers. Raises Stopped when the process ends or patience does."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise Stopped(
                f"the server at {address} ended with exit {process.returncode}; see its log"
            )
        try:
            with urllib.request.urlopen(address, timeout=2):
                return
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.1)
    raise Stopped(f"nothing answered at {address} within {patience_s:.0f} s")


def officers(journey: Journey) -> None:
    """The people of the office, each with a role of their own."""
    for name, role in (
        ("nadia", "admin"),
        ("amina", "supervisor"),
        ("bruno", "approver"),
        ("chloe", "finance"),
    ):
        journey.at_server(
            "users", "add", name, "--role", role, "--password-file", journey.secret(name)
        )


def set_up(journey: Journey) -> None:
    journey.at_server("init", "--url", journey.address)
    officers(journey)
    journey.at_server("publish", SAMPLES / "household_registration.xlsx")
    journey.at_server("publish", SAMPLES / "household_update.xlsx")
    journey.say(f"  server     set up on an embedded SQLite registry, serving at {journey.address}")
    journey.say(
        "  forms      household_registration and household_update published from their XLSForms"
    )


def enrol_device(journey: Journey, name: str) -> None:
    """One device: a one-time code in a file, a passphrase, and the forms fetched once."""
    ticket = journey.folder / f"{name}.enrolment"
    journey.at_server("enrol-device", "--area", "R01", "--url", journey.address, "--file", ticket)
    journey.at_device(name, "enrol", "--file", ticket, "--label", name)
    journey.at_device(name, "sync")


def register_offline(journey: Journey, device: str) -> None:
    answers = sorted((SAMPLES / "answers").glob("household-*.json"))
    members = 0
    for file in answers:
        journey.at_device(device, "register", "household_registration", "--answers", file)
        members += len(json.loads(file.read_text(encoding="utf-8"))["member"])
    journey.figures["registered"] = len(answers)
    refused = journey.at_device(device, "sync", expect=1)
    journey.say(
        f"  offline    {len(answers)} households with {members} members registered and sealed; "
        "the network is gone:"
    )
    journey.say(f"             {refused.strip().splitlines()[-1]}")


def decide(journey: Journey, kind: str, stages: Sequence[str]) -> int:
    """Every waiting subject of the kind passes its stages, each by another officer."""
    approvals = 0
    for officer in stages:
        for subject in journey.listed("review", "list", "--kind", kind):
            journey.at_server("review", "approve", subject["subject"], *journey.officer(officer))
            approvals += 1
    return approvals


def counts(journey: Journey) -> dict[str, int]:
    found: dict[str, int] = json.loads(journey.at_server("registry", "counts"))
    return found


def disagree(journey: Journey, devices: Sequence[str]) -> None:
    """Two agents visit the same household and neither knows of the other: a clash for a person."""
    household = next(
        one["id"]
        for one in journey.listed("registry", "list")
        if one.get("label", "").startswith("Amina")
    )
    for device, account in zip(devices, ("+2577000199", "+2577000188"), strict=True):
        journey.at_device(device, "sync")
        answers = journey.folder / f"{device}-update.json"
        answers.write_text(
            json.dumps(
                {
                    "household": household,
                    "changes": ["channel"],
                    "channel": "mobile_money",
                    "account": account,
                }
            ),
            encoding="utf-8",
        )
        journey.at_device(device, "register", "household_update", "--answers", answers)
    for device in devices:
        journey.at_device(device, "sync")


def pay(journey: Journey) -> Path:
    """A programme, who is in it, what they are due this month, and the list for the payer."""
    journey.at_server("programme", "add", SAMPLES / "programme.json", *journey.officer("nadia"))
    journey.at_server("programme", "enrol", "family-support", *journey.officer("amina"))
    approvals = decide(journey, "enrolment", ("bruno",))
    journey.at_server("cycle", "open", "family-support", "2026-11", *journey.officer("amina"))
    for officer in ("bruno", "chloe"):
        journey.at_server("cycle", "approve", "family-support/2026-11", *journey.officer(officer))
        approvals += 1
    output = journey.folder / "payments-2026-11.csv"
    journey.at_server("cycle", "pay-list", "family-support/2026-11", "--output", output)
    journey.figures["approvals"] = int(journey.figures.get("approvals", 0)) + approvals
    return output


def numbers(journey: Journey) -> None:
    """The figures of the whole journey, as the journey's test asserts them."""
    found = counts(journey)
    journey.figures["households"] = found["records"]
    journey.figures["members"] = found["members"]
    journey.figures["open clashes"] = found["clashes"]


def settle(journey: Journey) -> None:
    """The supervisor judges what two agents stated differently."""
    clashes = journey.listed("review", "clashes")
    journey.figures["clashes"] = len(clashes)
    for clash in clashes:
        answer = clash["suggested"]
        journey.at_server(
            "review", "settle", clash["record"], clash["path"], answer, *journey.officer("amina")
        )


def travel(journey: Journey) -> Path:
    """The whole journey; returns the payment list's file."""
    set_up(journey)
    journey.serve()
    for device in ("tablet", "laptop"):
        enrol_device(journey, device)
    journey.say("  devices    a tablet and a laptop enrolled with one-time codes; stores encrypted")
    journey.unplug()
    register_offline(journey, "tablet")
    journey.serve()
    journey.say("  sync       back online:")
    journey.at_device("tablet", "sync", show=True)
    journey.figures["approvals"] = decide(journey, "batch", ("amina", "bruno"))
    numbers(journey)
    journey.say(
        f"  review     the batch approved by amina and confirmed by bruno: {journey.figures['households']} "
        f"households with {journey.figures['members']} members in the registry"
    )
    disagree(journey, ("tablet", "laptop"))
    journey.figures["approvals"] = int(journey.figures["approvals"]) + decide(
        journey, "batch", ("amina", "bruno")
    )
    settle(journey)
    journey.say(
        f"  conflict   both agents gave the same household another account: {journey.figures['clashes']} clash, "
        "settled by amina"
    )
    return pay(journey)


def summary(journey: Journey, payments: Path) -> None:
    lines = payments.read_text(encoding="utf-8-sig").strip().splitlines()
    journey.figures["payment lines"] = len(lines) - 2
    journey.say(
        f"  payment    {payments.relative_to(HERE) if payments.is_relative_to(HERE) else payments}:"
    )
    for line in lines:
        journey.say(f"             {line}")
    numbers(journey)


def agent_pages(journey: Journey) -> tuple[subprocess.Popen[str], str]:
    """The agent's pages of the tablet: the process, and the address that opens them."""
    process = subprocess.Popen(
        [
            BIN / "field-agent",
            "--home",
            journey.folder / "tablet",
            "--passphrase-file",
            journey.secret("tablet"),
            "serve",
            "--port",
            str(free_port()),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if "http://" in line:
            return process, line[line.index("http://") :].split()[0]
    raise Stopped("the agent's pages did not start")


def main() -> int:
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--once", action="store_true", help="end when the journey is done")
    parser.add_argument(
        "--folder", type=Path, default=HERE / "demo-data", help="where its data goes"
    )
    chosen = parser.parse_args()
    folder = chosen.folder.resolve()
    if folder.exists() and any(folder.iterdir()) and not (folder / "made-by-demo").exists():
        print(f"{folder} holds something else: name an empty folder with --folder", file=sys.stderr)
        return 2
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, mode=0o700)
    (folder / "made-by-demo").touch()
    journey = Journey(folder)
    begun = time.monotonic()
    with ExitStack() as ending:
        ending.callback(journey.unplug)
        try:
            print("From an XLSForm to a payment list")
            summary(journey, travel(journey))
            figures = ", ".join(f"{key} {value}" for key, value in journey.figures.items())
            print(f"  done       in {time.monotonic() - begun:.0f} s: {figures}")
            if chosen.once:
                return 0
            process, agent = agent_pages(journey)
            ending.callback(process.terminate)
            print(f"\nThe agent's pages       {agent}")
            print(f"The supervisor's pages  {journey.address}/")
            for name in ("amina", "bruno"):
                print(f"  sign in as            {name}, password {journey.passwords[name]}")
            print("Ctrl-C ends them.", flush=True)
            process.wait()
        except KeyboardInterrupt:
            print()
        except Stopped as stopped:
            print(f"the journey stopped: {stopped}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
