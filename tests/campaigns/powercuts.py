"""Power cuts: whatever the disk had not yet been made to keep is lost, and no answer may be.

A store lives a day; each write, sync, truncation, creation and removal is recorded, and the moment
at which each act was acknowledged. A power cut is then played at any of these: of each file what
was synced is there; of what was not, any part may be, down to 512-byte sectors, in any order;
of the names in the folder those up to any moment since its last sync. The store must open, be
whole, and hold every answer acknowledged before the cut. The same day with `synchronous = NORMAL`
is the control: it must lose answers, or the cuts cut nothing.

Two ways to record, and each sees what the other does not. Under strace the real encrypted store
runs in a process of its own, and all that reaches the kernel is seen: the key file and the
overwriting of the log too. With `--vfs` the store's code runs over a fault-injecting SQLite VFS
(`tests/device/faulty.py`), on plain SQLite: it needs no strace, plays a day in a moment, and its
disk also fails now and then (full, or an I/O error) in the middle of an act.
"""

from __future__ import annotations

import json
import os
import random
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import apsw

from field_agent import trouble, vault
from field_agent.store import Store
from field_agent.trouble import Missing
from tests.campaigns import Figures, Violation
from tests.device.faulty import Connection, recorded, store_over
from tests.device.life import Hand
from tests.device.opening import ProgrammeKey
from tests.device.small import NOW, PASSPHRASE, QUICK, device, enrolled, openings
from tests.device.tracing import Call, traced

if TYPE_CHECKING:
    from collections.abc import Callable

SECTOR = 512


@dataclass(slots=True)
class Inode:
    """One file: what the disk surely has, and what it was asked to write since."""

    durable: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)

    def sync(self) -> None:
        for at, data in self.pending:
            _apply(self.durable, at, data)
        self.pending.clear()

    def after_a_cut(self, luck: random.Random) -> bytes:
        """What may be found: each unsynced write whole, torn or absent; a truncation or none."""
        left = bytearray(self.durable)
        fate = luck.choice(("none", "all", "some", "torn"))
        for at, data in self.pending:
            if fate == "none" or (fate in {"some", "torn"} and luck.random() < 0.5):
                continue
            if data is None or fate != "torn":
                _apply(left, at, data)
                continue
            for start in range(0, len(data), SECTOR):
                if luck.random() < 0.5:
                    _apply(left, at + start, data[start : start + SECTOR])
        return bytes(left)


def _apply(content: bytearray, at: int, data: bytes | None) -> None:
    if data is None:
        del content[at:]
        content.extend(bytes(at - len(content)))
        return
    content.extend(bytes(max(0, at + len(data) - len(content))))
    content[at : at + len(data)] = data


class Disk:
    """A folder as a disk has it: files by inode, names that last once the folder is synced."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.names = {file.name: Inode(bytearray(file.read_bytes())) for file in home.iterdir()}
        self.sure = dict(self.names)
        self.since: list[dict[str, Inode]] = []
        self.open: dict[int, Inode | str] = {}
        self.at: dict[int, int] = {}
        self.acknowledged: list[dict[str, Any]] = []

    def _name(self, raw: bytes) -> str | None:
        path = Path(raw.decode())
        return path.name if path.parent == self.home else None

    def _changed(self) -> None:
        self.since.append(dict(self.names))

    def take(self, call: Call) -> bool:
        """Let one call happen; whether it touched the disk or acknowledged an act."""
        name = call.name
        if name in {"open", "openat"}:
            return self._opened(call)
        if name in {"unlink", "unlinkat"}:
            found = self._name(call.strings[0])
            if found in self.names:
                del self.names[found]
                self._changed()
                return True
            return False
        if name in {"rename", "renameat", "renameat2"}:
            old, new = self._name(call.strings[0]), self._name(call.strings[1])
            if old in self.names and new:
                self.names[new] = self.names.pop(old)
                self._changed()
                return True
            return False
        if name in {"creat", "truncate", "sendfile", "splice", "copy_file_range"}:
            raise Violation(f"the store did {name}, which this campaign does not know")
        return self._on_open_file(call)

    def _opened(self, call: Call) -> bool:
        path = Path(call.strings[0].decode())
        self.open.pop(call.result, None)
        if path == self.home:
            self.open[call.result] = "folder"
            return False
        name = self._name(call.strings[0])
        if name is None:
            return False
        fresh = name not in self.names
        if fresh:
            self.names[name] = Inode()
            self._changed()
        self.open[call.result] = self.names[name]
        self.at[call.result] = 0
        if "O_TRUNC" in call.rest:
            self.names[name].pending.append((0, None))
        return fresh

    def _on_open_file(self, call: Call) -> bool:
        if call.name == "write" and call.fd == 1:
            for line in call.strings[0].splitlines():
                self.acknowledged.append(json.loads(line))
            return True
        file = self.open.get(call.fd)
        if file is None:
            return False
        if call.name == "close":
            del self.open[call.fd]
            return False
        if isinstance(file, str):
            if call.name in {"fsync", "fdatasync"}:
                self.sure, self.since = dict(self.names), []
            return True
        if call.name in {"fsync", "fdatasync"}:
            file.sync()
        elif call.name == "pwrite64":
            file.pending.append((call.last, call.strings[0][: call.result]))
        elif call.name == "write":
            file.pending.append((self.at[call.fd], call.strings[0][: call.result]))
            self.at[call.fd] += call.result
        elif call.name == "ftruncate":
            file.pending.append((call.last, None))
        else:
            raise Violation(f"the store did {call.name}, which this campaign does not know")
        return True

    def cut(self, place: Path, luck: random.Random) -> None:
        """Write into `place` one of the disks that this moment may leave behind."""
        names = luck.choice([self.sure, *self.since])
        for name, inode in names.items():
            if not name.endswith("-shm"):  # memory, not disk: SQLite makes it anew after a start
                (place / name).write_bytes(inode.after_a_cut(luck))


def a_day(luck: random.Random) -> list[list[Any]]:
    """Acts: two entries filled in at once, answers corrected, files attached, entries finished."""
    acts: list[list[Any]] = []
    for entry in range(luck.randint(2, 3)):
        draft = f"e{entry}"
        acts.append(["begin", draft])
        for answer in range(luck.randint(2, 6)):
            path = f"/data/q{luck.randint(0, 4)}"
            acts.append(["save", draft, path, f"{entry}-{answer}" * luck.choice((1, 40, 3000))])
        if luck.random() < 0.4:
            acts.append(["attach", draft, "photo.jpg", "p" * luck.choice((10, 200))])
        if luck.random() < 0.7:
            acts.append(["finish", draft, f"<data>{draft}</data>"])
    return acts


def judge(
    home: Path,
    keys: tuple[bytes, ...],
    programme: ProgrammeKey,
    acts: list[Any],
    told: list[Any],
    opened: Callable[[vault.Vault], Store] = lambda kept: Store.open(kept, now_ms=NOW),
) -> str:
    """What was lost of the acknowledged acts, or "" if all is there."""
    try:
        store = opened(vault.Vault(home, keys[0]))
    except (trouble.Locked, apsw.Error) as error:
        return f"the store does not open: {error}"
    with store:
        damage = store.check()
        if damage:
            return f"the store is damaged: {damage[0]}"
        done = {one["done"]: one for one in told if "done" in one}
        for draft in {act[1] for number, act in enumerate(acts) if number in done}:
            lost = _lost(store, programme, acts, done, draft)
            if lost:
                return lost
    return ""


def _lost(
    store: Store, programme: ProgrammeKey, acts: list[Any], done: dict[int, Any], draft: str
) -> str:
    mine = [(number, act) for number, act in enumerate(acts) if act[1] == draft]
    finish = next((number for number, act in mine if act[0] == "finish"), None)
    sealed = [one for one in store.outbox() if one.draft == draft]
    if finish in done and (not sealed or sealed[0].hash != done[finish]["hash"]):
        return f"entry {draft} was acknowledged as finished (act {finish}) and is not in the outbox"
    if sealed:
        if finish is None:
            return f"entry {draft} is sealed and nobody finished it"
        data = store.envelope(sealed[0].counter)
        found = programme.submission(data, openings(store), store.vault.public)
        if found.xml != acts[finish][2]:
            return f"entry {draft} is sealed with other words"
        try:
            store.draft(draft)
        except Missing:
            return ""
        return f"entry {draft} is sealed and its draft is still there"
    try:
        answers = store.draft(draft).answers
    except Missing:
        return f"entry {draft} was begun and is gone"
    for number, act in mine:
        if act[0] == "save" and number in done:
            later = [
                other[3]
                for at, other in mine
                if at >= number and other[0] == "save" and other[2] == act[2]
            ]
            if answers.get(act[2]) not in later:
                return (
                    f"act {number}, the answer to {act[2]} of {draft}, was acknowledged and is lost"
                )
        if act[0] == "attach" and number in done:
            file = b"".join(store.attached(draft, act[2]))
            if file != act[3].encode() * 500:
                return f"act {number}, the file of {draft}, was acknowledged and is lost"
    return ""


def one_day(luck: random.Random, cuts: int, how: str) -> tuple[int, list[str]]:
    """(cuts played, what was lost in each that lost something)."""
    with tempfile.TemporaryDirectory() as folder:
        top = Path(folder)
        tablet = device(top / "tablet")
        tablet.store.close()
        keys = tablet.store.vault.database_keys
        disk = Disk(tablet.home)
        acts = a_day(luck)
        day = {"home": str(tablet.home), "passphrase": PASSPHRASE, "how": how, "acts": acts}
        command = [sys.executable, "-m", "tests.device.life"]
        calls = traced(command, stdin=json.dumps(day).encode(), place=top)
        begun = next(
            n
            for n, call in enumerate(calls)
            if str(tablet.home).encode() in call.strings
            or (call.strings and call.strings[0].startswith(str(tablet.home).encode()))
        )
        moments = sorted(luck.choices(range(begun, len(calls)), k=cuts))
        lost, at = [], 0
        for number, moment in enumerate(moments):
            while at < moment:
                disk.take(calls[at])
                at += 1
            after = top / f"cut{number}"
            after.mkdir(mode=0o700)
            disk.cut(after, luck)
            verdict = judge(after, keys, tablet.programme, acts, disk.acknowledged)
            if verdict:
                lost.append(f"cut before call {moment} of {len(calls)}: {verdict}")
        return len(moments), lost


class Taped:
    """A folder as a disk has it, by what a tape says that SQLite asked of it."""

    def __init__(self) -> None:
        self.names: dict[str, Inode] = {}
        self.sure: dict[str, Inode] = {}
        self.since: list[dict[str, Inode]] = []

    def take(self, step: tuple[str, str, int, bytes]) -> None:
        what, name, at, data = step
        if what == "create":
            self.names[name] = Inode()
            self.since.append(dict(self.names))
        elif what == "write":
            self.names[name].pending.append((at, data))
        elif what == "truncate":
            self.names[name].pending.append((at, None))
        elif what == "sync":
            # SQLite's own VFS syncs the folder with a new journal or log, and only then.
            self.names[name].sync()
            self.sure, self.since = dict(self.names), []
        else:
            del self.names[name]
            self.since.append(dict(self.names))
            if what == "delete-synced":
                self.sure, self.since = dict(self.names), []

    def cut(self, place: Path, luck: random.Random) -> None:
        """Write into `place` one of the disks that this moment may leave behind."""
        for name, inode in luck.choice([self.sure, *self.since]).items():
            (place / name).write_bytes(inode.after_a_cut(luck))


def one_day_over_vfs(luck: random.Random, cuts: int, how: str) -> tuple[int, list[str]]:
    """As `one_day`, through a fault-injecting SQLite VFS."""
    with tempfile.TemporaryDirectory() as folder:
        top, programme, acts = Path(folder), ProgrammeKey.fresh(), a_day(luck)
        kept = vault.create(top / "tablet", PASSPHRASE, argon=QUICK)
        store, tape, disk = recorded(f"day-{os.getpid()}", kept, now_ms=NOW)
        enrolled(store, programme)
        if how == "NORMAL":
            store._connection.execute("PRAGMA synchronous = NORMAL")
        begun, told = len(tape.steps), list[tuple[int, dict[str, Any]]]()
        # The control's disk does not fail: what it loses, it loses by its lack of syncs.
        if how != "NORMAL" and luck.random() < 0.5:
            ill = begun + luck.randrange(200)
            tape.fails = lambda at: at >= ill
        hand = Hand(top / "tablet", store)
        for number, act in enumerate(acts):
            try:
                done = hand.does(act)
                told.append((len(tape.steps), {"done": number, **done}))
            except (Missing, apsw.FullError, apsw.IOError):
                # It was not acknowledged, or it waits for one that was not.
                assert how != "NORMAL"
        tape.on = False
        left, at, lost = Taped(), 0, []
        for number, moment in enumerate(
            sorted(luck.choices(range(begun, len(tape.steps)), k=cuts))
        ):
            for step in tape.steps[at:moment]:
                left.take(step)
            at = moment
            after = top / f"cut{number}"
            after.mkdir(mode=0o700)
            left.cut(after, luck)
            heard = [one for when, one in told if when <= moment]
            verdict = judge(after, kept.database_keys, programme, acts, heard, _over_apsw)
            if verdict:
                lost.append(f"cut before step {moment} of {len(tape.steps)}: {verdict}")
        store.close()
        disk.unregister()
        return cuts, lost


def _over_apsw(kept: vault.Vault) -> Store:
    return store_over(kept, Connection(kept.home / "store.db"), fresh=False, now_ms=NOW)


def run(n: int, seed: int, *, vfs: bool = False) -> Figures:
    """`n` power cuts of the store, and as many of the control."""
    figures: Figures = {"cuts": 0, "lost": 0, "control cuts": 0, "control lost": 0}
    live = one_day_over_vfs if vfs else one_day
    day = 0
    while int(figures["cuts"]) < n:
        some = min(50, n - int(figures["cuts"]))
        played, lost = live(random.Random(f"{seed} {day}"), some, "sealed")
        if lost:
            raise Violation(f"day {day}: {lost[0]}")
        figures["cuts"] = int(figures["cuts"]) + played
        played, lost = live(random.Random(f"{seed} {day}"), some, "NORMAL")
        figures["control cuts"] = int(figures["control cuts"]) + played
        figures["control lost"] = int(figures["control lost"]) + len(lost)
        day += 1
    if n >= 100 and not figures["control lost"]:
        raise Violation("the control with synchronous = NORMAL lost nothing: the cuts cut nothing")
    return figures
