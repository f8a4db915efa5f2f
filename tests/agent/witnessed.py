"""A registration at real doors, by an agent's pages and a live sync, with every witness heard.

A server and a device by their own commands; the device's pages run under strace; a tap on the line
between the two keeps every byte. A household of planted words is registered through the pages, a
photo and a voice attached, a second one left unfinished, and all of it synced.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.device.small import PASSPHRASE
from tests.device.tracing import Call, Trace
from tests.serving import serving

if TYPE_CHECKING:
    from collections.abc import Iterator

BIN = Path(sys.executable).parent
FORM = """
| survey |          |         |         |
|        | type     | name    | label   |
|        | text     | name    | Name    |
|        | text     | id      | Id      |
|        | text     | phone   | Phone   |
|        | geopoint | place   | Place   |
|        | image    | photo   | Photo   |
| settings |         |         |         |
|          | form_id | version | form_title |
|          | planted | 1       | Planted |
"""
ASKED = ("/data/name", "/data/id", "/data/phone", "/data/place")
PHOTO_BYTES = 700_000
"""More than what a web server keeps in memory unless it is told to: above it, a spool file."""


@dataclass
class Tap:
    """A line to a port that keeps what went over it, each way."""

    target: int
    heard: list[bytearray] = field(default_factory=list)

    @contextmanager
    def running(self) -> Iterator[int]:
        listener = socket.create_server(("127.0.0.1", 0))
        accepting = threading.Thread(target=self._accept, args=(listener,), daemon=True)
        accepting.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            accepting.join(20)
            listener.close()

    def _accept(self, listener: socket.socket) -> None:
        pumps = []
        with suppress(OSError):
            while True:
                near, _ = listener.accept()
                far = socket.create_connection(("127.0.0.1", self.target))
                for one, other in ((near, far), (far, near)):
                    kept = bytearray()
                    self.heard.append(kept)
                    pumps.append(threading.Thread(target=_pump, args=(one, other, kept)))
                    pumps[-1].start()
        for pump in pumps:
            pump.join(20)


def _pump(one: socket.socket, other: socket.socket, kept: bytearray) -> None:
    with one, suppress(OSError):
        while data := one.recv(65_536):
            kept += data
            other.sendall(data)
    with suppress(OSError):
        other.shutdown(socket.SHUT_WR)


@dataclass(slots=True)
class Heard:
    """What the witnesses have: by place, bytes in which nothing planted may be."""

    kept: dict[str, bytes]
    browser: bytes
    """What went between the pages and the agent's browser: there all of it must be."""
    calls: list[Call]


class Browser:
    """The agent at the pages; each request and reply is kept, as the tap keeps the other line."""

    def __init__(self, address: str) -> None:
        self.kept = bytearray()
        found = re.match(r"http://([^/]+)(/\S+)", address)
        self.line = http.client.HTTPConnection(found[1], timeout=120)
        self.head: dict[str, str] = {}
        reply, _ = self.ask("GET", found[2])
        self.head["Cookie"] = reply.getheader("Set-Cookie").split(";")[0]
        _, page = self.ask("GET", "/")
        self.head["X-CSRF"] = re.search(rb'name="csrf" content="([^"]+)"', page)[1].decode()

    def ask(
        self, how: str, path: str, body: bytes = b"", kind: str = "application/json"
    ) -> tuple[http.client.HTTPResponse, bytes]:
        self.line.request(how, path, body, {**self.head, "Content-Type": kind})
        reply = self.line.getresponse()
        data = reply.read()
        assert reply.status < 400, data
        self.kept += b"\0".join((path.encode(), body, data))
        return reply, data

    def begin(self) -> str:
        reply, _ = self.ask("POST", "/forms/planted/begin")
        place = reply.getheader("Location")
        self.ask("GET", place)
        return place

    def answer(self, place: str, ref: str, value: str) -> None:
        told = json.dumps({"ref": ref, "value": value}).encode()
        self.ask("POST", f"{place}/answer", told)

    def attach(self, place: str, name: str, data: bytes) -> None:
        edge = "edge7d1f"
        body = (
            f'--{edge}\r\nContent-Disposition: form-data; name="ref"\r\n\r\n/data/photo\r\n'
            f'--{edge}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
            "Content-Type: image/jpeg\r\n\r\n"
        ).encode()
        body += data + f"\r\n--{edge}--\r\n".encode()
        self.ask("POST", f"{place}/file", body, f"multipart/form-data; boundary={edge}")

    def sync(self) -> dict[str, Any]:
        self.ask("POST", "/sync")
        for _ in range(1200):
            told = json.loads(self.ask("GET", "/sync")[1])
            if not told["running"]:
                return told
            time.sleep(0.1)
        raise AssertionError("the sync does not end")


def a_day(top: Path, planted: list[str]) -> Heard:
    """All of it, in the folder `top`; raises NoTrace where nobody may look."""
    server, home, temp = top / "server", top / "device", top / "tmp"
    temp.mkdir()
    secret = top / "passphrase"
    secret.write_text(PASSPHRASE + "\n")
    logs: dict[str, bytes] = {}

    def run(who: str, *words: str | Path) -> None:
        head = ["--home", server] if who == "sync-server" else ["--home", home]
        if who == "field-agent":
            head += ["--passphrase-file", secret]
        ran = subprocess.run(
            [BIN / who, *head, *words],
            capture_output=True,
            check=True,
            env={**os.environ, "TMPDIR": str(temp)},
        )
        logs[f"output of {who} {words[0]}"] = ran.stdout + ran.stderr

    form = top / "planted.md"
    form.write_text(FORM)
    run("sync-server", "init")
    run("sync-server", "publish", form)
    with _served(server, temp, top / "server.log") as port:
        tap = Tap(port)
        with tap.running() as near:
            file = top / "tablet.enrolment"
            run("sync-server", "enrol-device", "--url", f"http://127.0.0.1:{near}", "--file", file)
            run("field-agent", "enrol", "--file", file)
            run("field-agent", "sync")
            command = ["field-agent", "--home", home, "--passphrase-file", secret, "serve"]
            command = [sys.executable, BIN / command[0], *command[1:]]
            pages = Trace(command, place=top, env={**os.environ, "TMPDIR": str(temp)})
            try:
                browser = _registers(pages, planted)
            finally:
                pages.end()
            calls = pages.calls()
            run("field-agent", "bundle", top / "day.bundle")
            run("field-agent", "backup", top / "day.backup")
            run("field-agent", "sync")
            run("field-agent", "list")
            run("field-agent", "status")
    # Whatever the server had not opened when it ended, it opens now: the answers lie in its files.
    run("sync-server", "take-up")
    logs["output of the pages"] = pages.told
    # The keys are apart from the database: whoever steals that has not these.
    for secret_one in (server / "keys").rglob("*"):
        secret_one.unlink()
    files = {str(one.relative_to(top)): one.read_bytes() for one in top.rglob("*") if one.is_file()}
    wire = {f"line {number}": bytes(kept) for number, kept in enumerate(tap.heard)}
    writes = {"write calls of the pages": written(calls)}
    return Heard({**files, **logs, **wire, **writes}, bytes(browser.kept), calls)


def _registers(pages: Trace, planted: list[str]) -> Browser:
    browser = Browser(pages.line(b"The pages are at").split()[-1])
    whole, open_one = browser.begin(), browser.begin()
    for place in (whole, open_one):
        for ref, word in zip(ASKED, planted, strict=True):
            browser.answer(place, ref, word)
    words = " ".join(planted).encode()
    photo = b"\xff\xd8\xff" + words * (PHOTO_BYTES // len(words))
    browser.attach(whole, "photo.jpg", photo)
    browser.attach(open_one, "photo.jpg", photo[:20_000])
    _, told = browser.ask("POST", f"{whole}/finish", b"{}")
    assert json.loads(told).get("done"), told
    outcome = browser.sync()
    assert outcome.get("synced"), outcome
    browser.ask("POST", "/lock")
    browser.line.close()
    return browser


def written(calls: list[Call]) -> bytes:
    """Every byte given to a file, by file: a word may be split over two calls. No sockets."""
    streams: dict[int, list[bytes]] = {}
    for call in calls:
        if call.name in {"write", "pwrite64", "writev", "pwritev", "pwritev2"}:
            streams.setdefault(call.fd, []).extend(call.strings)
    return b"\n\0\n".join(b"".join(parts) for parts in streams.values())


def a_plain_day(top: Path, planted: list[str]) -> dict[str, bytes]:
    """The control: the same household sent to a plain server, which keeps and logs it as it is."""
    kept = sqlite3.connect(top / "plain.db", check_same_thread=False)
    kept.execute("CREATE TABLE submissions (xml)")
    log = top / "plain.log"

    def take(environ: dict[str, Any], start: Any) -> list[bytes]:
        xml = environ["wsgi.input"].read()
        kept.execute("INSERT INTO submissions VALUES (?)", (xml,))
        kept.commit()
        log.write_bytes(b"POST /submission " + xml)
        start("201 Created", [("Content-Length", "0")])
        return [b""]

    with serving(take) as port:
        tap = Tap(port)
        with tap.running() as near:
            line = http.client.HTTPConnection("127.0.0.1", near, timeout=60)
            line.request("POST", "/submission", f"<data>{' '.join(planted)}</data>".encode())
            line.getresponse().read()
            line.close()
    kept.close()
    return {
        "wire": b"".join(tap.heard),
        "file": (top / "plain.db").read_bytes(),
        "log": log.read_bytes(),
    }


@contextmanager
def _served(server: Path, temp: Path, log: Path) -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with log.open("ab") as out:
        serving = subprocess.Popen(
            [BIN / "sync-server", "--home", server, "serve", "--port", str(port)],
            stdout=out,
            stderr=out,
            env={**os.environ, "TMPDIR": str(temp)},
        )
    try:
        for _ in range(1200):
            with (
                suppress(OSError),
                urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=2),
            ):
                break
            time.sleep(0.1)
        else:
            raise AssertionError(log.read_text())
        yield port
    finally:
        serving.send_signal(signal.SIGTERM)
        serving.wait(60)
