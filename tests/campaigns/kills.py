"""SIGKILL: real processes of a device, a server and a clerk with sticks, killed at any moment.

A world is one office and one device on real files. The device's process finishes entries, and syncs
them over real HTTP or puts them on a stick; the server's takes them in and inspects them; the
clerk's takes in the sticks, on the server's database. The parent kills them after random times and
starts them anew; where that database is a PostgreSQL, it kills processes of that one too.

What a process has told (an entry finished, a receipt in hand) is written to a file first, so that no
kill can take it back: at the end of a world each told receipt must stand for an entry that the server
holds once, byte for byte, and each entry told as finished must be at the server or still on the
device; and one good sync more brings the rest, once.

Processes are forked from one that has everything loaded, and worlds run side by side: most of the
time goes into what is to be killed, not into its beginning.
"""

from __future__ import annotations

import ctypes
import gc
import hashlib
import json
import os
import random
import signal
import socket
import sys
import tempfile
import time
import traceback
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sync_server.store.engine import Unavailable
from tests.campaigns import Figures, Violation
from tests.databases import Postgres, come_back, kill_some, postgres_server, runs
from tests.sync.world import Broken, Office, Tablet

if TYPE_CHECKING:
    from collections.abc import Callable

WORLD = 50
"""Kills in one world: few enough that what it holds stays small and its judgement quick."""
SIDES = {"device": 9, "server": 8, "clerk": 3}
"""Who is killed, and how often beside the others."""
DATABASE = {"database": 3}
"""And where the database is another process."""


def run(n: int, seed: int, database: str = "sqlite") -> Figures:
    """`n` kills in worlds of fifty, two worlds at a time for each processor: they wait for the disk.

    `database`: sqlite, postgres, or both (every other world). Raises `Absent`.
    """
    _warm()
    worlds = [min(WORLD, n - at) for at in range(0, n, WORLD)]
    jobs = min(2 * (os.cpu_count() or 1), len(worlds), 8)
    # What is there by now stays as it is: the collector of a fork would copy it page by page.
    gc.collect()
    gc.freeze()
    began = time.monotonic()
    total: dict[str, int] = {}
    hands: list[_Hand] = []
    with ExitStack() as stack:
        for number in range(jobs):
            # One each: what dies with it is one world's.
            running = None if database == "sqlite" else stack.enter_context(postgres_server())
            hands.append(
                _Hand.start(
                    lambda number=number, running=running: _worlds(
                        worlds, seed, number, jobs, running, every=2 if database == "both" else 1
                    )
                )
            )
        stack.callback(_end, hands)
        for hand in hands:
            for line in hand.lines():
                told = json.loads(line)
                if "violation" in told:
                    raise Violation(told["violation"])
                for name, value in told.items():
                    total[name] = total.get(name, 0) + value
    if sum(value for name, value in total.items() if name.startswith("kills of the ")) != n:
        raise Violation(f"a world ended without its figures: {total}")
    if total["told receipts"] * 20 < n:
        raise Violation(f"too little came between the kills, they prove nothing: {total}")
    seconds = time.monotonic() - began
    return {"worlds": len(worlds), **total, "violations": 0, "seconds": round(seconds)}


def _end(hands: list[_Hand]) -> None:
    for hand in hands:
        _kill(hand.pid)
        os.close(hand.told)


@dataclass
class _Hand:
    """A forked process that tells what it found, line by line."""

    pid: int
    told: int

    @classmethod
    def start(cls, work: Callable[[], object]) -> _Hand:
        inward, outward = os.pipe()

        def tell() -> None:
            os.close(inward)
            for one in work():
                os.write(outward, json.dumps(one).encode() + b"\n")

        pid = _forked(tell)
        os.close(outward)
        return cls(pid, inward)

    def lines(self) -> list[bytes]:
        with os.fdopen(os.dup(self.told), "rb") as opened:
            return opened.read().splitlines()


def _warm() -> None:
    """Do everything once, so that those who are forked from here have it loaded; end it again."""
    import waitress.server  # noqa: F401

    with tempfile.TemporaryDirectory() as folder:
        office = Office(Path(folder))
        tablet = Tablet(office, Path(folder) / "tablet")
        tablet.finish(file=9_000)
        tablet.sync()
        tablet.finish()
        tablet.carry()
        _link(tablet, 9)
        tablet.store.close()
        office.desk.close()


def _worlds(worlds: list[int], seed: int, first: int, step: int, running: Any, *, every: int):
    for turn, number in enumerate(range(first, len(worlds), step)):
        try:
            with tempfile.TemporaryDirectory() as folder:
                here = running if turn % every == 0 else None
                world = World(Path(folder), random.Random(f"{seed} {number}"), here)
                found = world.run(worlds[number])
            # For whoever waits for a long run.
            print(f"world {number}: {found}", file=sys.stderr, flush=True)
            yield found
        except (Violation, Broken) as broken:
            yield {"violation": f"world {number} of seed {seed}: {broken}"}
            return


@dataclass
class World:
    folder: Path
    luck: random.Random
    running: Any = None
    """The PostgreSQL that the office keeps its data in; None: SQLite."""
    longest_s: float = 0.3
    """The longest that a process lives; follows what the machine needs to get something done."""
    living: dict[str, int] = field(default_factory=dict)
    lives: count = field(default_factory=count)
    receipts: int = 0
    barren: int = 0
    """Kills since the last receipt was told."""

    def run(self, kills: int) -> Figures:
        database = Postgres(self.running) if self.running else None
        self.office = Office(self.folder, database)
        self.tablet = Tablet(self.office, self.folder / "tablet")
        self.sticks = self.folder / "sticks"
        self.sticks.mkdir()
        self.port = _free_port(self.luck)
        self.tablet.store.close()
        self.office.desk.close()
        self.journal = self.folder / "told"
        self.journal.touch()
        self.ends = self.folder / "ends"
        sides = SIDES | (DATABASE if self.running else {})
        killed = dict.fromkeys(sides, 0)
        try:
            for side in SIDES:
                self._start(side)
            for _ in range(kills):
                time.sleep(self.luck.random() ** 2 * self.longest_s)
                side = self.luck.choices([*sides], [*sides.values()])[0]
                self._bury()
                if side == "database":
                    kill_some(self.running, self.luck)
                elif side in self.living:
                    _kill(self.living.pop(side))
                killed[side] += 1
                if self.running and self.luck.random() < 0.7:
                    runs(self.running)
                for other in SIDES:
                    # Who comes back may meet a dead server, or nobody's sticks taken.
                    if other not in self.living and self.luck.random() < 0.7:
                        self._start(other)
                self._pace()
        finally:
            for pid in self.living.values():
                _kill(pid)
        if self.running:
            come_back(self.running)
        found = self._judge() | {f"kills of the {side}": times for side, times in killed.items()}
        if database:
            database.drop()
        return found

    def _start(self, side: str) -> None:
        life = next(self.lives)
        work = {"device": self._device, "server": self._server, "clerk": self._clerk}[side]
        self.living[side] = _forked(lambda: work(life), says=self.ends)

    def _bury(self) -> None:
        """Who ended without being killed: a database that was away is the only reason for that."""
        for side, pid in list(self.living.items()):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                del self.living[side]
                if os.waitstatus_to_exitcode(status) != _UNAVAILABLE or not self.running:
                    raise Violation(f"the {side} ended by itself: {self.ends.read_text()[-2000:]}")

    def _pace(self) -> None:
        """Let them live long enough that something comes of it now and then, and no longer."""
        receipts = self.journal.read_bytes().count(b"receipt")
        self.barren = self.barren + 1 if receipts == self.receipts else 0
        self.receipts = receipts
        if self.barren >= 4:
            self.longest_s = min(6.0, self.longest_s * 1.3)
        elif not self.barren:
            self.longest_s = max(0.02, self.longest_s * 0.85)

    # The three lives.

    def _server(self, _life: int) -> None:
        from flask import Flask
        from waitress.server import create_server

        from sync_server.inspection import Watch
        from sync_server.web.sync import blueprint

        self.office.open()
        # The watch inspects in a thread of its own, so that kills find it half-way too.
        watch = Watch(self.office.desk, report=lambda _: None)
        app = Flask("office")
        app.register_blueprint(blueprint(replace(self.office.desk, wake=watch.wake)))
        watch.start()
        create_server(app, host="127.0.0.1", port=self.port, threads=3).run()

    def _clerk(self, life: int) -> None:
        from sync_server import bundles

        self.office.open()
        luck = random.Random(life)
        while True:
            for stick in sorted(self.sticks.glob("*.bundle")):
                back = stick.with_suffix(".receipts")
                # Now and then a stick is taken that was taken before.
                if back.exists() and luck.random() < 0.9:
                    continue
                fresh = back.with_suffix(f".{life}")
                with suppress(FileNotFoundError):  # the device was done with it
                    with stick.open("rb") as source, fresh.open("w+b") as out:
                        bundles.take(self.office.desk, source, out)
                    fresh.replace(back)
            time.sleep(0.02)

    def _device(self, life: int) -> None:
        """Finish, sync and carry until killed."""
        from field_agent import sync, transport

        told = os.open(self.journal, os.O_WRONLY | os.O_APPEND)
        tablet = self.tablet
        tablet.store = tablet._open()
        known: set[int] = set()
        luck = random.Random(f"{life}")
        for turn in count():
            for number in range(2):
                self._finish(f"{tablet.name}-{life}-{turn}-{number}", told, luck)
            if luck.random() < 0.3:
                self._carry(f"{life}-{turn}")
            else:
                with suppress(transport.Unreachable):
                    sync.Run(_means(tablet, self.port)).sync()
            for one in tablet.store.outbox(states=("receipted",), limit=10**6):
                if one.counter not in known:
                    known.add(one.counter)
                    os.write(told, f"receipt {one.counter} {one.hash}\n".encode())

    def _finish(self, draft: str, told: int, luck: random.Random) -> None:
        store, now_ms = self.tablet.store, self.tablet.now_ms()
        store.begin(draft, store.form("visit"), started="2026-03-01T08:00:00.000Z", now_ms=now_ms)
        if luck.random() < 0.2:
            store.attach(draft, "photo.jpg", "image/jpeg", [os.urandom(luck.choice(_PHOTOS))])
        done = store.finish(
            draft,
            xml=_visit(draft),
            instance_id=f"uuid:{draft}",
            label="",
            finished="2026-03-01T08:10:00.000Z",
            made="2026-03-01T08:10:00Z",
            now_ms=now_ms,
        )
        os.write(told, f"finished {done.counter} {done.hash}\n".encode())

    def _carry(self, name: str) -> None:
        """Take in what the clerk brought back, and make another stick."""
        from field_agent.bundle import pack, take_file

        store, now_ms = self.tablet.store, self.tablet.now_ms()
        for back in sorted(self.sticks.glob("*.receipts")):
            take_file(store, back, now_ms=now_ms)
            back.with_suffix(".bundle").unlink(missing_ok=True)
            back.unlink(missing_ok=True)
        pack(
            store, self.sticks / f"{name}.bundle", new_id=lambda: os.urandom(8).hex(), now_ms=now_ms
        )

    # The judgement.

    def _judge(self) -> dict[str, int]:
        finished: dict[int, str] = {}
        receipted: dict[int, str] = {}
        for line in self.journal.read_text().splitlines():
            word, counter, digest = line.split()
            told = finished if word == "finished" else receipted
            if told.setdefault(int(counter), digest) != digest:
                raise Violation(f"entry {counter} was told as {word} with two contents")
        self.office.open()
        self.tablet.store = self.tablet._open()
        try:
            here = self._compare(finished, receipted)
            for stick in sorted(self.sticks.glob("*.bundle")):
                # What still lies about may be taken at any later time.
                self.office.take(stick.read_bytes())
            self.tablet.made = {one: self.tablet.store.envelope(one) for one in here}
            if self.tablet.sync() is None:
                raise Violation("no sync over a good wire after the kills")
            self.tablet.check_done()
        finally:
            self.tablet.store.close()
            self.office.desk.close()
        return {
            "entries": len(here),
            "told finished": len(finished),
            "told receipts": len(receipted),
            "batches by stick": self.office.batches_by("bundle"),
        }

    def _compare(self, finished: dict[int, str], receipted: dict[int, str]) -> dict[int, str]:
        held = {
            counter: [hashlib.sha256(one).hexdigest() for one in all_of]
            for counter, all_of in self.office.held(self.tablet.name).items()
        }
        here = {one.counter: one.hash for one in self.tablet.store.outbox(limit=10**6)}
        for counter, digest in receipted.items():
            if held.get(counter) != [digest]:
                raise Violation(
                    f"entry {counter} has a receipt; the server holds {held.get(counter)}"
                )
        for counter, digest in finished.items():
            if held.get(counter, [here.get(counter)]) != [digest]:
                raise Violation(
                    f"entry {counter} was told as finished and is neither here nor there"
                )
        return here


_PHOTOS = (2_000, 20_000, 90_000)


def _means(tablet: Tablet, port: int):
    """As the command makes it: two lines to the server, and short patience."""
    from field_agent import course

    return course.Means(
        tablet.store,
        _link(tablet, port),
        now_ms=tablet.now_ms,
        steady_s=time.monotonic,
        new_id=lambda: os.urandom(8).hex(),
        luck=lambda: 0.5,
        sleep=lambda _: time.sleep(0.02),
        beside=lambda: _link(tablet, port),
    )


def _link(tablet: Tablet, port: int):
    from field_agent import sync, transport

    wire = transport.Http(f"http://127.0.0.1:{port}", read_s=5)
    return sync.link_of(tablet.store, wire, tablet.now_ms)


def _visit(draft: str) -> str:
    from tests.server.field import visit

    return visit(f"uuid:{draft}")


def _free_port(luck: random.Random) -> int:
    """One that the system gives to nobody by itself: else a device could meet its own socket there."""
    while True:
        port = luck.randrange(10_000, 32_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


_DIES_WITH_PARENT = 1
_UNAVAILABLE, _FAULT = 3, 4


def _forked(work: Callable[[], object], *, says: Path | None = None) -> int:
    """The child does `work` and ends; whatever happens, nothing of the parent's runs on in it.

    `says`: where it writes what else it would write to a terminal, and why it ended by itself.
    """
    pid = os.fork()
    if pid:
        return pid
    try:
        # Whoever stops the campaign stops all of it.
        ctypes.CDLL(None).prctl(_DIES_WITH_PARENT, signal.SIGKILL)
        if says:
            with says.open("a") as written:
                os.dup2(written.fileno(), 2)
        work()
    except Unavailable:
        os._exit(_UNAVAILABLE)
    except BaseException:  # noqa: BLE001  told by the file and the code
        traceback.print_exc()
        os._exit(_FAULT)
    finally:
        os._exit(0)
