"""SIGKILL: real processes of a device and a server on real files, killed at any moment, again and again.

The device's process finishes entries and syncs them over real HTTP; the server's takes them in. The
parent kills one or the other after a random time and starts it anew. What a process has told (an entry
finished, a receipt in hand) is written to a pipe first, so that no kill can take it back: at the end
each told receipt must stand for an entry that the server holds once, byte for byte, and each entry
told as finished must be at the server or still on the device.
"""

from __future__ import annotations

import hashlib
import os
import random
import signal
import socket
import tempfile
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from tests.campaigns import Figures, Violation
from tests.sync.world import Office, Tablet

LONGEST_S = 0.9


def run(n: int, seed: int) -> Figures:
    """`n` kills, about half of them on each side."""
    luck = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        return _run(n, luck, Path(folder))


def _run(n: int, luck: random.Random, folder: Path) -> Figures:
    office = Office(folder)
    tablet = Tablet(office, folder / "tablet")
    port = _free_port()
    tablet.store.close()
    office.desk.close()
    journal = folder / "told"
    journal.touch()
    server, device = _start_server(office, port), _start_device(tablet, port, journal, 0)
    kills = {"device": 0, "server": 0}
    for number in range(1, n + 1):
        time.sleep(luck.random() ** 2 * LONGEST_S)
        # A killed device may come back to a dead server, and the other way round.
        if luck.random() < 0.5:
            _kill(device)
            kills["device"] += 1
            device = _start_device(tablet, port, journal, number)
        else:
            _kill(server)
            kills["server"] += 1
            server = _start_server(office, port)
    _kill(device)
    _kill(server)
    return _judge(office, tablet, journal) | {f"kills of the {k}": v for k, v in kills.items()}


def _judge(office: Office, tablet: Tablet, journal: Path) -> Figures:
    finished: dict[int, str] = {}
    receipted: set[int] = set()
    for line in journal.read_text().splitlines():
        word, _, rest = line.partition(" ")
        if word == "finished":
            counter, _, digest = rest.partition(" ")
            if finished.setdefault(int(counter), digest) != digest:
                raise Violation(f"entry {counter} was finished as two different things")
        elif word == "receipt" and rest.isdigit():
            receipted.add(int(rest))
    office.open()
    tablet.store = tablet._open()
    try:
        held = {
            counter: [hashlib.sha256(one).hexdigest() for one in all_of]
            for counter, all_of in office.held(tablet.name).items()
        }
        here = {one.counter: one.hash for one in tablet.store.outbox(limit=10**6)}
        for counter in receipted:
            if held.get(counter) != [finished.get(counter, here.get(counter))]:
                raise Violation(
                    f"entry {counter} has a receipt; the server holds {held.get(counter)}"
                )
        for counter, digest in finished.items():
            if held.get(counter, [here.get(counter)]) != [digest]:
                raise Violation(
                    f"entry {counter} was told as finished and is neither here nor there"
                )
        tablet.made = {counter: tablet.store.envelope(counter) for counter in here}
        if tablet.sync() is None:
            raise Violation("no sync over a good wire after the kills")
        tablet.check_done()
    finally:
        tablet.store.close()
        office.desk.close()
    if not receipted and len(here) > 40:
        raise Violation("not one receipt came between the kills: they prove nothing")
    return {"entries": len(here), "told finished": len(finished), "told receipts": len(receipted)}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def _start_server(office: Office, port: int) -> int:
    pid = os.fork()
    if pid:
        return pid
    _quietly(lambda: _serve(office, port))
    return 0


def _start_device(tablet: Tablet, port: int, journal: Path, life: int) -> int:
    pid = os.fork()
    if pid:
        return pid
    _quietly(lambda: _work(tablet, port, journal, life))
    return 0


def _quietly(work) -> None:
    """Run a child's life; whatever happens, nothing of the parent's runs on in it."""
    try:
        with Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
            work()
    finally:
        os._exit(0)


def _serve(office: Office, port: int) -> None:
    from flask import Flask
    from waitress.server import create_server

    from sync_server.inspection import Watch
    from sync_server.web.sync import blueprint

    office.open()
    # The watch inspects in a thread of its own, so that kills find it half-way too.
    watch = Watch(office.desk, report=lambda _: None)
    app = Flask("office")
    app.register_blueprint(blueprint(replace(office.desk, wake=watch.wake)))
    watch.start()
    create_server(app, host="127.0.0.1", port=port, threads=2).run()


def _work(tablet: Tablet, port: int, journal: Path, life: int) -> None:
    """Finish and sync until killed."""
    from field_agent import sync, transport

    told = os.open(journal, os.O_WRONLY | os.O_APPEND)
    tablet.store = tablet._open()
    wire = transport.Http(f"http://127.0.0.1:{port}", read_s=5)
    known: set[int] = set()
    count = 0
    while True:
        for _ in range(2):
            count += 1
            draft = f"{tablet.name}-{life}-{count}"
            visits = tablet.store.form("visit")
            tablet.store.begin(
                draft, visits, started="2026-03-01T08:00:00.000Z", now_ms=tablet.now_ms()
            )
            if count % 5 == 0:
                tablet.store.attach(draft, "photo.jpg", "image/jpeg", [os.urandom(90_000)])
            done = tablet.store.finish(
                draft,
                xml=_visit(draft),
                instance_id=f"uuid:{draft}",
                label="",
                finished="2026-03-01T08:10:00.000Z",
                made="2026-03-01T08:10:00Z",
                now_ms=tablet.now_ms(),
            )
            os.write(told, f"finished {done.counter} {done.hash}\n".encode())
        means = sync.Means(
            tablet.store,
            sync.link_of(tablet.store, wire, tablet.now_ms),
            now_ms=tablet.now_ms,
            steady_s=time.monotonic,
            new_id=lambda: os.urandom(8).hex(),
            luck=lambda: 0.5,
            sleep=lambda _: time.sleep(0.02),
        )
        with suppress(transport.Unreachable):
            sync.Run(means).sync()
        for one in tablet.store.outbox(states=("receipted",), limit=10**6):
            if one.counter not in known:
                known.add(one.counter)
                os.write(told, f"receipt {one.counter}\n".encode())


def _visit(draft: str) -> str:
    from tests.server.field import visit

    return visit(f"uuid:{draft}")
