"""Sync beside PouchDB 9 with express-pouchdb: the same registrations, the same machine, the same run.

Ours are real sample registrations, filled in by the engine once each and varied in their ids, then
sealed and signed one by one; the server opens, checks and stores every one of them. The peer gets
the same XML in plain documents and checks nothing. Both sides run client and server over loopback.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.table import Row
from field_agent import area, course, incoming, outgoing, sync, transport, vault
from field_agent.register import Desk, Interview, fill
from field_agent.store import Identity, Store
from schemas.messages import unpack_reply
from schemas.signing import fingerprint
from schemas.ticket import Ticket
from tests.sync.links import Link

if TYPE_CHECKING:
    from collections.abc import Iterator

TOP = Path(__file__).parent.parent
SAMPLES = TOP / "samples"
PEER = Path(__file__).parent / "peers" / "pouchdb"
PEER_NAME = "PouchDB 9"
FORM = "household_registration"
BIN = Path(sys.executable).parent
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_SLOW = {"rtt_s": 0.3, "bits_s": 256_000}
_CUT = {"cut_every": 131_072}
_PEERS_BATCHES = (500, 1000, 2500)
"""Documents in one of the peer's batches: the best of these counts, at each run anew."""


def run(*, quick: bool) -> list[Row]:
    many, few, slow = (500, 300, 40) if quick else (10_000, 1_000, 1_000)
    alone, patience_s = (300, 8) if quick else (5_000, 60)
    with tempfile.TemporaryDirectory() as folder:
        top = Path(folder)
        with Ours(top / "ours").running() as ours:
            mine = ours.figures(many, few, slow, alone)
        with Theirs(top / "theirs").running() as theirs:
            other = theirs.figures(many, few, slow, patience_s) if theirs else {}
    return _rows(mine, other, many, few, slow, patience_s)


def _rows(
    ours: dict[str, float],
    peer: dict[str, float],
    many: int,
    few: int,
    slow: int,
    patience_s: int,
) -> list[Row]:
    def row(
        what: str, name: str, unit: str, goal: str, *, least: float = 0, most: float = 0
    ) -> Row:
        mine, other = ours.get(name), peer.get(name)
        if mine is None or not other:
            return Row(what, mine, unit, other, PEER_NAME, None, goal, met=False)
        ratio = mine / other
        met = ratio >= least if least else ratio <= most
        return Row(what, mine, unit, other, PEER_NAME, round(ratio, 3), goal, met)

    for side in (ours, peer):
        if side:
            side["round"] = side["bytes"] / few + side["pulled"] / many
    overhead = ours["cut"] / ours["bytes"]
    rate, p99 = ours["intake"], ours["p99"]
    return [
        row(f"push {many:,} registrations", "push", "/s", ">= 3x", least=3),
        Row(f"the same, until all {many:,} are checked too", round(ours["checked"]), "/s"),
        row(f"pull {many:,} registrations", "pull", "/s", ">= 4x", least=4),
        Row(
            "the same, and the first list of them",
            ours["listed"],
            "/s",
            peer.get("listed"),
            PEER_NAME,
            round(ours["listed"] / peer["listed"], 3) if peer else None,
        ),
        row(f"bytes on the wire, pull of {many:,}", "pulled", "bytes", "<= 1/4", most=0.25),
        row(f"bytes on the wire, push of {few:,}", "bytes", "bytes", "<= 1/4", most=0.25),
        row("the sum, for one registration there and back", "round", "bytes", "<= 1/4", most=0.25),
        row("no-op sync, bytes on the wire", "noop", "bytes", "<= 1/10", most=0.1),
        Row(
            "its bodies, of one request",
            ours["bodies"],
            "bytes",
            goal="< 500",
            met=ours["bodies"] < 500,
        ),
        row(f"{slow:,} over 300 ms, 256 kbit/s", "slow", "/s", ">= 5x", least=5),
        Row(
            f"{few:,}, cut every 128 KiB, bytes to those of an uncut link",
            round(overhead, 3),
            "x",
            peer.get("cut_done"),
            f"{PEER_NAME}: documents through in {patience_s} s",
            goal="<= 1.1",
            met=overhead <= 1.1,
        ),
        Row(
            "server alone, batches of 50, until all are checked",
            rate,
            "/s",
            goal=">= 1000",
            met=rate >= 1000,
        ),
        Row("its p99 for a batch of 50", p99, "ms", goal="< 300", met=p99 < 300),
    ]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _await(url: str) -> None:
    for _ in range(300):
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError(f"nothing answers at {url}")


@contextmanager
def _process(*words: str | Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as out:
        process = subprocess.Popen([str(word) for word in words], stdout=out, stderr=out)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(20)


@dataclass
class Device:
    """One real device and the store it fills."""

    store: Store
    home: Path

    def run(self, port: int) -> course.Outcome:
        return self.timed(port)[0]

    def timed(self, port: int) -> tuple[course.Outcome, float]:
        """A sync, and how long it was until every receipt was in hand, durable on both sides."""
        wires: list[transport.Http] = []

        def link() -> transport.Link:
            wires.append(transport.Http(f"http://127.0.0.1:{port}"))
            return sync.link_of(self.store, wires[-1], vault.clock_ms)

        begun, receipted = time.perf_counter(), 0.0

        def tell(now: course.Progress) -> None:
            nonlocal receipted
            # It is told after the receipts of a batch were stored.
            if not receipted and now.records == now.records_all:
                receipted = time.perf_counter() - begun

        try:
            outcome = sync.Run(
                course.Means(
                    self.store,
                    link(),
                    now_ms=vault.clock_ms,
                    steady_s=time.monotonic,
                    new_id=lambda: uuid.uuid4().hex,
                    luck=lambda: 0.5,
                    sleep=time.sleep,
                    tell=tell,
                    beside=link,
                )
            ).sync()
        finally:
            for one in wires:
                one.renew()
        return outcome, receipted

    def await_checks(self, port: int) -> None:
        """Until the server has opened and checked everything of this device."""
        wire = transport.Http(f"http://127.0.0.1:{port}")
        link = sync.link_of(self.store, wire, vault.clock_ms)
        asked = outgoing.prepare(
            self.store, new_id=str, now_ms=vault.clock_ms(), most=1, page=1024, bring=False
        )
        while unpack_reply(link.ask("POST", transport.ROUND, asked.body).body).checking:
            time.sleep(0.2)
        wire.renew()


class Ours:
    """Our server as its command starts it, and devices."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.server = folder / "server"
        self.port = _free_port()
        self._xml: list[tuple[str, str]] = []

    def at_server(self, *words: str | Path) -> str:
        ran = subprocess.run(
            [BIN / "sync-server", "--home", self.server, *words],
            capture_output=True,
            text=True,
            check=True,
        )
        return ran.stdout

    @contextmanager
    def running(self) -> Iterator[Ours]:
        self.at_server("init")
        self.at_server("publish", SAMPLES / f"{FORM}.xlsx")
        words = ("--home", self.server, "serve", "--port", str(self.port))
        with _process(BIN / "sync-server", *words, log=self.folder / "log"):
            _await(f"http://127.0.0.1:{self.port}/healthz")
            yield self

    def device(self, name: str, where: str = "north") -> Device:
        told = json.loads(self.at_server("enrol-device", "--area", where, "--json"))
        told = told[0] if isinstance(told, list) else told
        ticket = Ticket.parse(told["code"])
        home = self.folder / name
        home.mkdir(mode=0o700)
        store = Store.open(vault.Vault(home, os.urandom(32)), now_ms=vault.clock_ms())
        opened = store.vault
        reply = transport.enrol(
            transport.Http(f"http://127.0.0.1:{self.port}"),
            ticket,
            key=opened.public,
            box=opened.box_public,
            sign=opened.sign,
            now_ms=vault.clock_ms(),
        )
        who = Identity(
            reply.device,
            reply.area,
            "",
            fingerprint(reply.server_key),
            reply.server_key,
            reply.epoch,
        )
        store.enrol(who, [], lease_s=0, now_ms=vault.clock_ms())
        incoming.take_keys(store, reply.keys)
        made = Device(store, home)
        made.run(self.port)
        return made

    def samples(self, device: Device) -> list[tuple[str, str]]:
        """(XML, label) of each sample household, filled in by the engine."""
        if not self._xml:
            import datetime as dt

            desk = Desk(
                device.store,
                lambda: dt.datetime.now(dt.UTC),
                lambda: str(uuid.uuid4()),
                lambda: 0.5,
            )
            for file in sorted((SAMPLES / "answers").glob("household-*.json")):
                interview = Interview.begin(desk, FORM)
                fill(interview, json.loads(file.read_text("utf-8")), {})
                done = interview.entry.finish()
                self._xml.append((done.xml.decode(), done.name))
                device.store.discard(interview.draft)
        return self._xml

    def fill(self, device: Device, many: int) -> list[tuple[str, str]]:
        """Finish so many registrations; (instance id, XML) of each."""
        store, made = device.store, []
        # Filling is not measured: it need not survive a power cut.
        store._connection.execute("PRAGMA synchronous = OFF")  # noqa: SLF001
        wipe, store._wipe_log = store._wipe_log, lambda: None  # noqa: SLF001
        samples, stored = self.samples(device), store.form(FORM)
        for number in range(many):
            xml, label = samples[number % len(samples)]
            fresh: dict[str, str] = {}
            xml = _UUID.sub(lambda m, f=fresh: f.setdefault(m[0], str(uuid.uuid4())), xml)
            instance = re.search(r"instanceID>(uuid:[0-9a-f-]+)<", xml)[1]
            draft = f"draft-{number}"
            now = vault.clock_ms()
            store.begin(draft, stored, started="2026-11-23T10:00:00.000Z", now_ms=now)
            store.finish(
                draft,
                xml=xml,
                instance_id=instance,
                label=label,
                finished="2026-11-23T10:20:00.000Z",
                made=f"{now:013d}-0000",
                now_ms=now,
            )
            made.append((instance, xml))
        store._wipe_log = wipe  # noqa: SLF001
        store._connection.execute("PRAGMA synchronous = FULL")  # noqa: SLF001
        # A device wipes its log at each finish: what filling left of it is no part of a push.
        store._wipe_log()  # noqa: SLF001
        return made

    def figures(self, many: int, few: int, slow: int, alone: int) -> dict[str, float]:
        found: dict[str, float] = {}
        device = self.device("push")
        documents = self.fill(device, many)
        (self.folder.parent / "documents.jsonl").write_text(
            "\n".join(json.dumps({"_id": one, "form": FORM, "xml": xml}) for one, xml in documents)
        )
        begun = time.perf_counter()
        outcome, receipted = device.timed(self.port)
        found["push"] = many / receipted
        device.await_checks(self.port)
        found["checked"] = many / (time.perf_counter() - begun)
        if not outcome.synced or outcome.receipts < many:
            raise RuntimeError(f"not all was pushed: {outcome}")
        found |= self._pulled(many)
        device.run(self.port)  # What the pull brought into the registry comes to it too.
        found["noop"] = self._through(device)
        nothing = device.run(self.port)
        if nothing.requests != 1:
            raise RuntimeError(f"a sync without news takes more than one request: {nothing}")
        found["bodies"] = nothing.bytes_out + nothing.bytes_in
        for name, link, count in (("bytes", {}, few), ("cut", _CUT, few)):
            other = self.device(name, "east")
            self.fill(other, count)
            found[name] = self._through(other, **link)
        other = self.device("slow", "west")
        self.fill(other, slow)
        with Link(self.port, **_SLOW).running() as near:
            found["slow"] = slow / other.timed(near)[1]
        return found | self._alone(alone)

    def _through(self, device: Device, **link: Any) -> float:
        """Bytes both ways, heads included, of a whole sync through a link."""
        made = Link(self.port, **link)
        with made.running() as near:
            outcome = device.run(near)
        if not outcome.synced:
            raise RuntimeError(f"not all was pushed: {outcome}")
        return made.up + made.down

    def _pulled(self, many: int) -> dict[str, float]:
        """What the registry makes of them, pulled by devices of the area that have the forms."""
        import datetime as dt

        from sqlalchemy import select

        from sync_server import registry
        from sync_server.desk import open_desk, unjudging
        from sync_server.store.intake_tables import batches

        reader, weigher = self.device("pull"), self.device("pull-through")
        desk = open_desk(
            self.server,
            now=lambda: dt.datetime.now(dt.UTC),
            new_id=lambda: str(uuid.uuid4()),
            checker=unjudging,
        )
        rows = desk.store.read(lambda tx: tx.execute(select(batches)).all())
        for row in rows:
            subject = f"{row.device}:{row.batch}"
            desk.store.transaction(
                lambda tx, a=row.area, s=subject: registry.fold_batch(desk, tx, a, s)
            )
        desk.close()
        begun = time.perf_counter()
        reader.run(self.port)
        spent = time.perf_counter() - begun
        area.listed(reader.store, limit=100)
        listed = time.perf_counter() - begun
        here = reader.store.status(now_ms=0).records
        if here < many:
            raise RuntimeError(f"{here} records pulled of {many}")
        found = {
            "pull": many / spent,
            "listed": many / listed,
            "pulled": self._through(weigher),
        }
        reader.store.close()
        weigher.store.close()
        return found

    def _alone(self, count: int) -> dict[str, float]:
        """The server's own pace, until all is checked: batches of 50 that lie ready, sent by two."""
        device = self.device("alone", "alone")
        self.fill(device, count)
        now = vault.clock_ms
        ready = []
        store = device.store
        made: set[str] = set()
        while len(ready) * 50 < count:
            counters = [one.counter for one in store.outbox(states=("pending",), limit=50)]
            store.put_batch(f"b{len(ready)}", counters, now_ms=now())
            one = outgoing.prepare(
                store, new_id=str, now_ms=now(), most=1, page=1024, but=frozenset({"", *made})
            )
            made.add(one.batch)
            ready.append(one)
        spent: list[float] = []
        begun = time.perf_counter()

        def send(some: list[outgoing.Outgoing]) -> None:
            link = sync.link_of(store, transport.Http(f"http://127.0.0.1:{self.port}"), now)
            for one in some:
                at = time.perf_counter()
                link.ask("POST", transport.ROUND, one.body)
                spent.append(time.perf_counter() - at)

        lanes = [threading.Thread(target=send, args=(ready[at::2],)) for at in range(2)]
        for lane in lanes:
            lane.start()
        for lane in lanes:
            lane.join()
        device.await_checks(self.port)
        whole = time.perf_counter() - begun
        spent.sort()
        p99 = spent[min(len(spent) - 1, int(len(spent) * 0.99))]
        return {
            "intake": count / whole,
            "p99": p99 * 1000,
            "median": statistics.median(spent) * 1000,
        }


class Theirs:
    """PouchDB's client and server, from npm, installed where git ignores it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.port = _free_port()

    @contextmanager
    def running(self) -> Iterator[Theirs | None]:
        node, npm = shutil.which("node"), shutil.which("npm")
        if not node or not npm:
            print("no node and npm: the peer's columns stay empty and count as not met")
            yield None
            return
        if not (PEER / "node_modules").is_dir():
            words = [npm, "install", "--no-audit", "--no-fund", "--silent"]
            if subprocess.run(words, cwd=PEER, check=False).returncode:
                print("npm cannot fetch PouchDB: its columns stay empty and count as not met")
                yield None
                return
        data = self.folder / "server"
        data.mkdir()
        with _process(
            node, PEER / "server.js", data, str(self.port), log=self.folder / "log"
        ) as process:
            _await(f"http://127.0.0.1:{self.port}/")
            self.process = process
            yield self

    def client(
        self,
        name: str,
        act: str,
        port: int,
        *more: str | Path,
        patience_s: int = 600,
        batch: int = 500,
    ) -> Any:
        here = self.folder / name
        here.mkdir(exist_ok=True)
        url = f"http://127.0.0.1:{port}/{name}"
        ran = subprocess.run(
            ["node", PEER / "client.js", here, url, act, *more],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PATIENCE_S": str(patience_s), "BATCH": str(batch)},
            timeout=patience_s + 900,
        )
        return json.loads(ran.stdout.strip().splitlines()[-1])

    def figures(self, many: int, few: int, slow: int, patience_s: int) -> dict[str, float]:
        documents = self.folder.parent / "documents.jsonl"
        lines = documents.read_text().splitlines()
        found: dict[str, float] = {}
        for size in _PEERS_BATCHES:
            name = f"push-{size}"
            self.client(name, "fill", self.port, documents)
            spent = self.client(name, "push", self.port, batch=size)["seconds"]
            found["push"] = max(found.get("push", 0), many / spent)
        told = self.client("push-500", "pull", self.port)
        found["pull"], found["listed"] = many / told["seconds"], many / told["listed"]
        found["pulled"] = self._through("push-500", "pull-through")[0]
        found["noop"] = self._through("push-500")[0]
        for name, link, count in (("bytes", {}, few), ("slow", _SLOW, slow), ("cut", _CUT, few)):
            part = self.folder / f"{name}.jsonl"
            part.write_text("\n".join(lines[:count]))
            self.client(name, "fill", self.port, part)
            carried, told = self._through(
                name, patience_s=patience_s if name == "cut" else 600, **link
            )
            if name == "bytes":
                found["bytes"] = carried
            elif name == "cut":
                found["cut_done"] = self._stored(name)
            elif told["seconds"]:
                found["slow"] = count / told["seconds"]
            else:
                # It did not finish: the rate of what came through.
                found["slow"] = max(1, self._stored(name)) / 600
        return found

    def _stored(self, name: str) -> float:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/{name}", timeout=20) as reply:
            return float(json.load(reply)["doc_count"])

    def _through(
        self, name: str, act: str = "push", *, patience_s: int = 600, **link: Any
    ) -> tuple[float, Any]:
        made = Link(self.port, **link)
        with made.running() as near:
            told = self.client(name, act, near, patience_s=patience_s)
        return made.up + made.down, told
