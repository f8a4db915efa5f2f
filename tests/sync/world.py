"""A small world: some devices, one server, and a wire that does what wires do. All of it real but the wire."""

from __future__ import annotations

import hashlib
import random
import shutil
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from flask import Flask
from sqlalchemy import func, select

from field_agent import sync, transport, vault
from field_agent.bundle import pack, take_file
from field_agent.store import Identity, Store
from schemas.problems import Refused
from schemas.signing import fingerprint
from sync_server import bundles, enrol, inspection
from sync_server.publish import publish
from sync_server.signatures import new_keys
from sync_server.store.engine import as_bytes
from sync_server.store.intake_tables import batches, blobs, envelopes, submissions
from sync_server.web.sync import blueprint
from tests.server.field import Clock, a_desk, form, visit

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FAULTS = (
    "deliver",
    "drop-request",
    "drop-reply",
    "twice",
    "late",
    "cut-reply",
    "twist-reply",
    "device-dies-before",
    "device-dies-after",
    "server-dies-before-commit",
    "server-dies-after-commit",
    "server-dies-inspecting",
)

NO_NETWORK = ["drop-request"] * 20


class Killed(BaseException):
    """The device's process ended here: no handler of its own runs."""


class Broken(AssertionError):
    """A promise of the sync does not hold."""


class Died(Exception):
    """The server's process ended here."""


class Mortal:
    """The server's store, whose process can end just before or just after a commit."""

    def __init__(self, store, *, lies: bool = False) -> None:
        self._store = store
        self.dies = ""
        self.dead = False
        self.lies = lies

    def __getattr__(self, name):
        return getattr(self._store, name)

    def transaction(self, work, *, lock=""):
        if self.dead:
            raise Died
        if self.lies:
            return self._lie(work, lock)
        if self.dies == "before":
            self.dead = True

            def dying(tx):
                work(tx)
                raise Died

            return self._store.transaction(dying, lock=lock)
        if self.dies == "inspecting":
            # The batch is taken in; its verdicts are what is not written any more.
            self.dies = "before"
            return self._store.transaction(work, lock=lock)
        done = self._store.transaction(work, lock=lock)
        if self.dies == "after":
            self.dead = True
            raise Died
        return done

    def _lie(self, work, lock):
        """The control: it answers from a transaction that is never committed."""
        said = []

        def undone(tx):
            said.append(work(tx))
            if len(said) == 1:
                raise Died

        try:
            return self._store.transaction(undone, lock=lock)
        except Died:
            return said[0]


@dataclass
class Office:
    """The server, its database in one file, so that it can be copied and put back."""

    folder: Path
    clock: Clock = field(default_factory=Clock)
    lies: bool = False
    keys: object = field(default_factory=lambda: new_keys(at_ms=1))

    def __post_init__(self) -> None:
        self.file = self.folder / "registry.db"
        self.open()
        self.visits = publish(self.desk, "visit.md", form(), {})

    def open(self) -> None:
        self.desk = a_desk(f"sqlite:///{self.file}", self.clock, self.keys)
        self.mortal = Mortal(self.desk.store, lies=self.lies)
        app = Flask("office")
        app.logger.disabled = True
        app.register_blueprint(blueprint(replace(self.desk, store=self.mortal)))
        self.client = app.test_client()

    def again(self) -> None:
        """The server's process, started anew."""
        self.desk.close()
        self.open()

    def copy(self, place: Path) -> None:
        self.desk.close()
        shutil.copyfile(self.file, place)
        self.open()

    def put_back(self, place: Path) -> None:
        """Restore an old copy, as after a fire."""
        self.desk.close()
        for file in self.folder.glob("registry.db*"):
            file.unlink()
        shutil.copyfile(place, self.file)
        self.open()

    def handle(self, method, path, headers, body) -> transport.Answer:
        reply = self.client.open(path, method=method, headers=dict(headers), data=body)
        found = {name.lower(): value for name, value in reply.headers.items()}
        return transport.Answer(reply.status_code, found, b"" if method == "HEAD" else reply.data)

    def held(self, device: str) -> dict[int, list[bytes]]:
        rows = self.desk.store.read(
            lambda tx: tx.execute(
                select(envelopes.c.counter, envelopes.c.sealed).where(envelopes.c.device == device)
            ).all()
        )
        found: dict[int, list[bytes]] = {}
        for counter, sealed in rows:
            found.setdefault(counter, []).append(as_bytes(sealed))
        return found

    def taken_in(self, device: str) -> list[tuple[int, str]]:
        return [
            (row.counter, row.state)
            for row in self.desk.store.read(
                lambda tx: tx.execute(
                    select(submissions.c.counter, submissions.c.state)
                    .where(submissions.c.device == device)
                    .order_by(submissions.c.counter)
                ).all()
            )
        ]

    def batches_by(self, door: str) -> int:
        """How many batches came by the network, or by a bundle."""
        return self.desk.store.read(
            lambda tx: tx.execute(
                select(func.count()).select_from(batches).where(batches.c.by == door)
            ).scalar_one()
        )

    def whole_files(self) -> set[str]:
        return set(
            self.desk.store.read(
                lambda tx: tx.execute(select(blobs.c.hash).where(blobs.c.whole)).scalars().all()
            )
        )


@dataclass
class Wire:
    """Carries requests to the office by a script of faults; after its end it works."""

    office: Office
    script: list[str] = field(default_factory=list)
    late: list[tuple] = field(default_factory=list)

    def renew(self) -> None:
        """There is no connection to drop."""

    def send(self, method, path, headers, body) -> transport.Answer:
        fault = self.script.pop(0) if self.script else "deliver"
        request = (method, path, dict(headers), body)
        if fault == "drop-request":
            raise transport.Unreachable("the request was lost")
        if fault == "device-dies-before":
            raise Killed
        if fault == "late":
            self.late.append(request)
            raise transport.Unreachable("no answer in time")
        if fault.startswith("server-dies"):
            self.office.mortal.dies = fault.split("-")[2]
        answer = self.office.handle(*request)
        if fault.startswith("server-dies"):
            self.office.again()
            raise transport.Unreachable("the server went away")
        if fault == "twice":
            answer = self.office.handle(*request)
        if fault == "device-dies-after":
            raise Killed
        if fault == "drop-reply":
            raise transport.Unreachable("the reply was lost")
        if fault == "cut-reply":
            return replace(answer, body=answer.body[: len(answer.body) // 2])
        if fault == "twist-reply" and answer.body:
            return replace(answer, body=answer.body[:-1] + bytes([answer.body[-1] ^ 1]))
        return answer

    def arrive_late(self) -> None:
        """What was on its way for long reaches the server now; nobody hears the answer."""
        if self.late:
            self.office.handle(*self.late.pop(0))


class Tablet:
    """A real device: its store on a disk, its sync as it is, and a memory of what it finished."""

    def __init__(self, office: Office, folder: Path, *, wire: Wire | None = None) -> None:
        self.office = office
        self.wire = wire or Wire(office)
        self.folder = folder
        folder.mkdir(mode=0o700)
        self._key = hashlib.sha256(str(folder).encode()).digest()
        self.store = self._open()
        _, ticket = enrol.make_code(office.desk, area="north")
        told = transport.enrol(
            self.wire,
            ticket,
            key=self.store.vault.public,
            box=self.store.vault.box_public,
            sign=self.store.vault.sign,
            now_ms=self.now_ms(),
        )
        self.name = told.device
        who = Identity(
            told.device,
            told.area,
            "http://office.example",
            fingerprint(told.server_key),
            told.server_key,
            told.epoch,
        )
        self.store.enrol(who, [], lease_s=told.lease_s, now_ms=self.now_ms())
        sync.take_keys(self.store, told.keys)
        self.ids = 0
        self.made: dict[int, bytes] = {}
        self.files: dict[str, int] = {}
        self.sync()

    def now_ms(self) -> int:
        return int(self.office.clock().timestamp() * 1000)

    def _open(self) -> Store:
        # The key itself: what Argon2id guards is no concern of these tests.
        return Store.open(vault.Vault(self.folder, self._key), now_ms=self.now_ms())

    def die(self) -> None:
        """The process ends; what the disk has is all there is."""
        self.store._connection.close()
        self.store = self._open()

    def new_id(self) -> str:
        # Ids survive no process: a fresh one must not depend on what was forgotten.
        self.ids += 1
        return f"{self.name}-{self.ids}"

    def finish(self, *, size: int | str = 5, file: int = 0) -> None:
        draft = f"{self.name}-{len(self.made) + 1}"
        visits = self.store.form("visit")
        self.store.begin(draft, visits, started="2026-03-01T08:00:00.000Z", now_ms=self.now_ms())
        if file:
            luck = random.Random(f"{draft} {file}")
            self.store.attach(draft, "photo.jpg", "image/jpeg", [luck.randbytes(file)])
        done = self.store.finish(
            draft,
            xml=visit(f"uuid:{draft}", size=size),
            instance_id=f"uuid:{draft}",
            label=draft,
            finished="2026-03-01T08:10:00.000Z",
            made="2026-03-01T08:10:00Z",
            now_ms=self.now_ms(),
        )
        self.made[done.counter] = self.store.envelope(done.counter)
        for one in self.store.attachments(unsent=False):
            self.files[one.hash] = one.counter

    def run(self) -> sync.Run:
        link = sync.link_of(self.store, self.wire, self.now_ms)
        return sync.Run(
            sync.Means(
                self.store,
                link,
                now_ms=self.now_ms,
                steady_s=lambda: 0.0,
                new_id=self.new_id,
                luck=lambda: 0.0,
                sleep=lambda _: None,
            )
        )

    def sync(self, script: list[str] | None = None) -> sync.Outcome | None:
        """None where the wire, or the process's death, ended it before its end."""
        self.wire.script = list(script or [])
        try:
            return self.run().sync()
        except transport.Unreachable:
            return None
        except Killed:
            self.die()
            return None
        finally:
            self.wire.script = []

    def carry(self, file: Path, *, back: bool = True) -> None:
        """A bundle to the office, and its receipts home."""
        pack(self.store, file, new_id=self.new_id, now_ms=self.now_ms())
        reply = self.bring(file)
        if back:
            take_file(self.store, reply, now_ms=self.now_ms())

    def bring(self, file: Path) -> Path:
        """The office takes the bundle; gives the file with its receipts."""
        reply = file.with_suffix(".reply")
        with file.open("rb") as source, reply.open("w+b") as out:
            bundles.take(self.office.desk, source, out)
        return reply

    # What is promised.

    def receipts(self) -> set[int]:
        return {one.counter for one in self.store.outbox(states=("receipted",), limit=10**6)}

    def check(self, *, restored: bool = False) -> None:
        """At any moment: what is acknowledged is there, byte for byte, once; the rest is still here."""
        held = self.office.held(self.name)
        acknowledged = self.receipts()
        for counter, sealed in self.made.items():
            there = held.get(counter, [])
            if len(there) > 1 or (there and there[0] != sealed):
                raise Broken(
                    f"{self.name} {counter}: the server holds {len(there)} of it, or another"
                )
            if counter in acknowledged and not there and not restored:
                raise Broken(f"{self.name} {counter} was acknowledged and is nowhere")
            if counter not in acknowledged and self.store.envelope(counter) != sealed:
                raise Broken(
                    f"{self.name} {counter} is not acknowledged and not here as it was made"
                )
        if set(held) - set(self.made):
            raise Broken(f"{self.name}: the server holds what was never made: {set(held)}")

    def check_done(self) -> None:
        """After a sync over a good wire: everything is there, once, with its receipt and its files."""
        self.check()
        if self.receipts() != set(self.made):
            raise Broken(f"{self.name}: no receipt for {set(self.made) - self.receipts()}")
        taken = [counter for counter, _ in self.office.taken_in(self.name)]
        if taken != sorted(self.made):
            raise Broken(f"{self.name}: {sorted(self.made)} made, {taken} in the registry")
        # What a death left unchecked is found and checked, and nothing is checked into another state.
        inspection.inspect(self.office.desk)
        wrong = [one for one in self.office.taken_in(self.name) if one[1] != "checked"]
        if wrong:
            raise Broken(f"{self.name}: not checked, or not once: {wrong}")
        missing = set(self.files) - self.office.whole_files()
        if missing:
            raise Broken(f"{self.name}: files {missing} are not whole at the server")


class Eager(Tablet):
    """The control: a device that calls an entry synced before it was pushed."""

    def _open(self) -> Store:
        store = super()._open()
        put_batch = store.put_batch

        def too_soon(batch, counters, *, now_ms):
            put_batch(batch, counters, now_ms=now_ms)
            for counter in counters:
                store.receipt(counter, store.finished(counter).hash, {"signature": "none"})

        store.put_batch = too_soon
        return store


@dataclass
class Life:
    """A random life of a world from a seed: for the campaign, where hypothesis would be too slow."""

    folder: Path
    luck: random.Random
    tablets: list[Tablet] = field(default_factory=list)
    acts: list[str] = field(default_factory=list)

    def live(
        self, steps: int, make: Callable[[Office, Path], Tablet] = Tablet, *, lies=False
    ) -> None:
        office = Office(self.folder)
        try:
            for number in range(2):
                self.tablets.append(make(office, self.folder / f"tablet{number}"))
            office.lies = office.mortal.lies = lies
            for _ in range(steps):
                self._step(office)
                for one in self.tablets:
                    one.check()
            for one in self.tablets:
                while one.wire.late:
                    one.wire.arrive_late()
                if one.sync() is None:
                    raise Broken(f"{one.name}: no sync over a good wire")
                one.check_done()
        finally:
            for one in self.tablets:
                one.store.close()
            office.desk.close()

    def _step(self, office: Office) -> None:
        one = self.luck.choice(self.tablets)
        act = self.luck.choice(("finish", "finish", "file", "sync", "sync", "late", "restart"))
        self.acts.append(f"{one.name[-4:]} {act}")
        if act == "finish":
            one.finish()
        elif act == "file":
            one.finish(file=self.luck.choice((1, 9_000, 70_000, 200_000)))
        elif act == "sync":
            script = [self.luck.choice(FAULTS) for _ in range(self.luck.randrange(12))]
            if self.luck.random() < 0.2:
                script = NO_NETWORK
            self.acts[-1] += f" {script}"
            one.sync(script)
        elif act == "late":
            one.wire.arrive_late()
        else:
            office.again()


def quiet_refusal(work: Callable[[], object]) -> str:
    """The code that `work` is refused with."""
    try:
        work()
    except Refused as error:
        return error.problem.code
    return ""
