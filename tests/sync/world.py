"""A small world: some devices, one server, and a wire that does what wires do. All of it real but the wire."""

from __future__ import annotations

import copy
import hashlib
import io
import random
import shutil
import uuid
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from flask import Flask
from sqlalchemy import event, func, select

from conflict import EXISTS, YES, Change, Dot, Write, fold_all, from_json
from field_agent import area, course, incoming, sync, transport, vault
from field_agent.bundle import pack, take_file
from field_agent.store import Identity, Store
from schemas.problems import Refused
from schemas.signing import fingerprint
from sync_server import bundles, enrol, inspection, registry
from sync_server.publish import publish
from sync_server.signatures import new_keys
from sync_server.store import desk_tables
from sync_server.store.engine import as_bytes
from sync_server.store.intake_tables import batches, blobs, envelopes, submissions
from sync_server.web.sync import blueprint
from tests.databases import Sqlite
from tests.pulled import as_pulled
from tests.server.field import Clock, a_desk, form, visit

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.databases import Database

FAULTS = (
    "deliver",
    "drop-request",
    "cut-request",
    "twist-request",
    "drop-reply",
    "cut-reply",
    "twist-reply",
    "reply-of-another",
    "twice",
    "late",
    "device-dies-before",
    "device-dies-after",
    "server-dies-before-commit",
    "server-dies-after-commit",
    "server-dies-inspecting",
)

NO_NETWORK = ["drop-request"] * 20

SPOILS = {
    "cut": lambda data: data[: len(data) * 2 // 3],
    "twist": lambda data: (
        data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :]
    ),
}
STICK_FAULTS = ("", "", *SPOILS, *(fault for fault in FAULTS if fault.startswith("server-dies")))


class Killed(BaseException):
    """The device's process ended here: no handler of its own runs."""


class Broken(AssertionError):
    """A promise of the sync does not hold."""


class Died(Exception):
    """The server's process ended here."""


class Mortal:
    """The server's store, whose process can end just before or just after a commit."""

    def __init__(self, store) -> None:
        self._store = store
        self.dies = ""
        self.dead = False
        self._committing = False
        event.listen(store.engine, "commit", self._commit)

    def __getattr__(self, name):
        return getattr(self._store, name)

    def transaction(self, work, *, lock=""):
        if self.dead:
            raise Died

        def marked(tx):
            said = work(tx)
            # What follows this work is its own commit, and no other's.
            self._committing = True
            return said

        done = self._store.transaction(marked, lock=lock)
        if self.dies == "after":
            self.dead = True
            raise Died
        return done

    def _commit(self, _connection) -> None:
        if not self._committing:
            return
        self._committing = False
        if self.dies == "before":
            self.dead = True
            raise Died
        if self.dies == "inspecting":
            # The batch is taken in; its verdicts are what is not written any more.
            self.dies = "before"


@dataclass
class Office:
    """The server, and its database, which can be copied and put back."""

    folder: Path
    database: Database | None = None
    """SQLite in the folder, if none is given."""
    clock: Clock = field(default_factory=Clock)
    learned: int = 0
    keys: object = field(default_factory=lambda: new_keys(at_ms=1))

    def __post_init__(self) -> None:
        self.database = self.database or Sqlite(self.folder)
        self.open()
        self.visits = publish(self.desk, "visit.md", form(), {})

    def open(self) -> None:
        self.desk = a_desk(self.database.url, self.clock, self.keys)
        self.mortal = Mortal(self.desk.store)
        app = Flask("office")
        app.logger.disabled = True
        app.register_blueprint(blueprint(replace(self.desk, store=self.mortal)))
        self.client = app.test_client()

    def again(self) -> None:
        """The server's process, started anew."""
        self.desk.close()
        self.open()

    def copy(self, folder: Path) -> Database:
        self.desk.close()
        made = self.database.copy(folder)
        self.open()
        return made

    def put_back(self, copy: Database) -> None:
        """Restore an old copy, as after a fire."""
        self.desk.close()
        self.database.put_back(copy)
        self.open()

    def handle(self, method, path, headers, body) -> transport.Answer:
        reply = self.client.open(path, method=method, headers=dict(headers), data=body)
        found = {name.lower(): value for name, value in reply.headers.items()}
        return transport.Answer(reply.status_code, found, b"" if method == "HEAD" else reply.data)

    def take(self, stick: bytes, *, dies: str = "") -> bytes:
        """What a clerk does with a stick; gives what goes back. Raises `Died`."""
        self.mortal.dies = dies
        out = io.BytesIO()
        bundles.take(replace(self.desk, store=self.mortal), io.BytesIO(stick), out)
        return out.getvalue()

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

    # The registry, as approved batches of other devices would fill it.

    def learn(self, many: int, *, luck: int) -> None:
        """So many changes of a few households, committed at once, and one of another area."""
        self.learned += 1
        words = random.Random(luck)
        houses = [f"house-{one}" if one % 2 else str(uuid.UUID(int=one + 1)) for one in range(60)]
        made = [
            Change(
                record=houses[(luck + number) % 60],
                dataset="households",
                dot=Dot(f"desk-{self.learned}-{luck}", number + 1),
                author="sara",
                at="1772352000000-0000",
                effective=1_772_352_000_000 + self.learned,
                source="ab" * 32,
                writes={
                    EXISTS: Write(YES),
                    "label": Write(f"{luck} {number}"),
                    "size": Write(str(number), frozenset({Dot("desk-0", luck % 5 + 1)})),
                    f"members/{uuid.UUID(int=number % 7 + 99)}/age": Write(str(number % 90)),
                    # What does not compress, so that many changes are several pages.
                    "note": Write(words.randbytes(100).hex()),
                },
            )
            for number in range(many)
        ]
        for name, changes in (("north", made), ("south", made[:1])):
            self.desk.store.transaction(
                lambda tx, name=name, changes=changes: registry.record_changes(
                    self.desk, tx, name, changes, batch="b"
                ),
                lock=name,
            )

    def registry(self, name: str = "north") -> list[bytes]:
        """Every change of the area as devices have it, in the order of its commits."""
        changes = desk_tables.changes
        rows = self.desk.store.read(
            lambda tx: tx.execute(
                select(changes).where(changes.c.area == name).order_by(changes.c.sequence)
            ).all()
        )
        return [
            as_pulled(
                self.desk.at_rest.open(f"changes/{name}/{row.sequence}", as_bytes(row.sealed))
            )
            for row in rows
        ]

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
    before: transport.Answer = field(default_factory=lambda: transport.Answer(200, {}, b""))
    """The answer to the request before, which a muddled connection gives once more."""

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
        if fault == "cut-request":
            request = (*request[:3], body[: len(body) // 2])
        if fault == "twist-request" and body:
            request = (*request[:3], bytes([body[0] ^ 1]) + body[1:])
        if fault.startswith("server-dies"):
            self.office.mortal.dies = fault.split("-")[2]
        answer = self.office.handle(*request)
        if fault.startswith("server-dies"):
            self.office.again()
            # Only what was said before its death comes over the wire.
            if answer.status >= 500:
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
        answer, self.before = (self.before if fault == "reply-of-another" else answer), answer
        return answer

    def arrive_late(self, number: int = 0) -> None:
        """One that was on its way for long reaches the server now; nobody hears the answer."""
        if self.late:
            self.office.handle(*self.late.pop(number % len(self.late)))


class Tablet:
    """A real device: its store on a disk, its sync as it is, and a memory of what it finished."""

    def __init__(self, office: Office, folder: Path, *, wire: Wire | None = None) -> None:
        self.office = office
        self.wire = wire or Wire(office)
        self.folder = folder
        folder.mkdir(mode=0o700)
        self._key = hashlib.sha256(str(folder).encode()).digest()
        self.store = self._open()
        self.ids = 0
        self.made: dict[int, bytes] = {}
        self.files: dict[str, int] = {}
        self.sticks: list[bytes] = []
        self.backs: list[bytes] = []
        self.enrol()
        self.sync()

    def enrol(self, name: str = "") -> None:
        """By a code that the office makes, for a device of that name."""
        _, ticket = enrol.make_code(self.office.desk, area="north", device=name)
        told = transport.enrol(
            self.wire,
            ticket,
            key=self.store.vault.public,
            box=self.store.vault.box_public,
            sign=self.store.vault.sign,
            now_ms=self.now_ms(),
            was=self.store.identity,
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
        incoming.take_keys(self.store, told.keys)

    def copied(self, folder: Path) -> Tablet:
        """Another device by this one's name, from a copy of its disk."""
        self.store.close()
        shutil.copytree(self.folder, folder)
        other = copy.copy(self)
        other.folder, other.wire = folder, Wire(self.office)
        other.made, other.files = dict(self.made), dict(self.files)
        other.sticks, other.backs = [], []
        other.store, self.store = other._open(), self._open()
        return other

    def unheld(self) -> set[int]:
        """What shows as synced, and its bytes are not at the server."""
        held = self.office.held(self.name)
        return {one for one in self.receipts() if self.made[one] not in held.get(one, [])}

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
        return f"{self.name}-{self.folder.name}-{self.ids}"

    def finish(self, *, size: int | str = 5, file: int = 0) -> None:
        draft = f"{self.name}-{self.folder.name}-{len(self.made) + 1}"
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
            course.Means(
                self.store,
                link,
                now_ms=self.now_ms,
                steady_s=lambda: 0.0,
                new_id=self.new_id,
                luck=lambda: 0.0,
                sleep=lambda _: None,
            )
        )

    def sync(self, script: list[str] | None = None) -> course.Outcome | None:
        """None where the wire, or the process's death, ended it before its end."""
        self.wire.script = list(script or [])
        try:
            return self.run().sync()
        except transport.Unreachable:
            return None
        except Refused:
            # The server refuses what is not as the device signed it: only the wire can do that, now or
            # with an answer that it kept (in this world's one moment the same request is the same bytes).
            if not {"cut-request", "twist-request", "reply-of-another"} & set(script or ()):
                raise
            return None
        except Killed:
            self.die()
            return None
        finally:
            self.wire.script = []

    # By stick. What was made once may be taken at any later time, and again.

    def carry(self, *, back: bool = True) -> None:
        """A bundle to the office, and its receipts home."""
        self.pack()
        self.bring(-1)
        if back:
            self.take_back(-1)

    def pack(self) -> None:
        file = self.folder / f"{len(self.sticks) + 1}.bundle"
        pack(self.store, file, new_id=self.new_id, now_ms=self.now_ms())
        self.sticks.append(file.read_bytes())

    def bring(self, number: int, fault: str = "") -> None:
        """The office takes one of the sticks; what it gives back waits in `backs`."""
        if not self.sticks:
            return
        stick = self.sticks[number % len(self.sticks)]
        if fault in SPOILS:
            self.refused(lambda: self.office.take(SPOILS[fault](stick)))
        elif fault.startswith("server-dies"):
            with suppress(Died):
                self.office.take(stick, dies=fault.split("-")[2])
            self.office.again()
        else:
            self.backs.append(self.office.take(stick))

    def take_back(self, number: int, fault: str = "") -> None:
        """The device takes in one of the replies."""
        if not self.backs:
            return
        back = self.folder / "back"
        reply = self.backs[number % len(self.backs)]
        back.write_bytes(SPOILS[fault](reply) if fault in SPOILS else reply)
        if fault in SPOILS:
            self.refused(lambda: take_file(self.store, back, now_ms=self.now_ms()))
        else:
            take_file(self.store, back, now_ms=self.now_ms())

    def refused(self, work: Callable[[], object]) -> None:
        try:
            work()
        except Refused:
            return
        raise Broken(f"{self.name}: a spoilt file was taken in")

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
        self._check_area(restored=restored)

    def _check_area(self, *, restored: bool) -> None:
        """What was pulled is the registry's beginning, byte for byte, and is what lists show."""
        pulled, whole = area.changes(self.store), self.office.registry()
        if not restored and pulled != whole[: len(pulled)]:
            raise Broken(
                f"{self.name}: {len(pulled)} changes were pulled, and are not the first of "
                f"the registry's {len(whole)}"
            )
        folded = fold_all([from_json(one) for one in pulled])
        shown = {one.record: dict(one.fields) for one in area.listed(self.store, limit=-1)}
        if shown != {
            name: {path: one.value(path) for path in ("label", "note", "size")}
            for name, one in folded.items()
        }:
            raise Broken(f"{self.name}: the list shows what its changes do not tell: {shown}")

    def settle(self) -> None:
        """The end: what was under way for long arrives, sticks too, and there is one good sync."""
        for number in range(len(self.sticks)):
            self.bring(number)
        while self.wire.late:
            self.wire.arrive_late(1)
        if self.sync() is None:
            raise Broken(f"{self.name}: no sync over a good wire")
        self.check_done()
        for number in range(len(self.backs)):
            self.take_back(number)
        self.check_done()

    def check_done(self) -> None:
        """After a sync over a good wire: everything is there, once, with its receipt and its files."""
        self.check()
        if area.changes(self.store) != self.office.registry():
            raise Broken(f"{self.name}: the area on the device is not the registry's")
        if self.receipts() != set(self.made):
            raise Broken(f"{self.name}: no receipt for {set(self.made) - self.receipts()}")
        # What a death left unchecked is found and checked, and nothing is checked into another state.
        inspection.inspect(self.office.desk)
        taken = [counter for counter, _ in self.office.taken_in(self.name)]
        if taken != sorted(self.made):
            raise Broken(f"{self.name}: {sorted(self.made)} made, {taken} in the registry")
        wrong = [one for one in self.office.taken_in(self.name) if one[1] != "checked"]
        if wrong:
            raise Broken(f"{self.name}: not checked, or not once: {wrong}")
        missing = set(self.files) - self.office.whole_files()
        if missing:
            raise Broken(f"{self.name}: files {missing} are not whole at the server")


@dataclass
class Life:
    """A random life of a world from a seed: for the campaign, where hypothesis would be too slow."""

    folder: Path
    luck: random.Random
    tablets: list[Tablet] = field(default_factory=list)
    acts: list[str] = field(default_factory=list)

    def live(self, steps: int, database: Database | None = None) -> None:
        office = Office(self.folder, database)
        try:
            for number in range(2):
                self.tablets.append(Tablet(office, self.folder / f"tablet{number}"))
            for _ in range(steps):
                self._step(office)
                for one in self.tablets:
                    one.check()
            for one in self.tablets:
                one.settle()
        finally:
            for one in self.tablets:
                one.store.close()
            office.desk.close()

    def _step(self, office: Office) -> None:
        one = self.luck.choice(self.tablets)
        act = self.luck.choice(
            (
                "finish",
                "finish",
                "file",
                "sync",
                "sync",
                "late",
                "restart",
                "die",
                "stick",
                "bring",
                "back",
                "learn",
            )
        )
        number = self.luck.randrange(10)
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
            one.wire.arrive_late(number)
        elif act == "die":
            one.die()
        elif act == "stick":
            one.pack()
        elif act == "bring":
            one.bring(number, self.luck.choice(STICK_FAULTS))
        elif act == "back":
            one.take_back(number, self.luck.choice(("", *SPOILS)))
        elif act == "learn":
            office.learn(self.luck.choice((1, 3, 150, 400)), luck=self.luck.randrange(10**6))
        else:
            office.again()
