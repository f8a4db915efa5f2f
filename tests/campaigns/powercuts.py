"""Power cuts: whatever the disk had not yet been made to keep is lost, and no answer may be.

A real store (SQLCipher, its own code, its own pragmas) lives a day under strace, which records each
write, sync, truncation, creation, renaming and removal that reaches the kernel, and the moment at
which each act was acknowledged. A power cut is then played at any of these calls: of each file what
was synced is there; of what was not, any part may be, down to 512-byte sectors, in any order;
of the names in the folder those up to any moment since its last sync. The store must open, be
whole, and hold every answer acknowledged before the cut. The same day with `synchronous = NORMAL`
is the control: it must lose answers, or the cuts cut nothing.

This is stricter than a fault-injecting SQLite VFS: it also sees what does not pass through SQLite
(the key file, the overwriting of the log), and runs the encrypted file itself.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from field_agent import trouble, vault
from field_agent.store import Store
from field_agent.trouble import Missing
from tests.campaigns import Figures, Violation
from tests.device.small import NOW, PASSPHRASE, device, openings
from tests.device.tracing import Call, traced

if TYPE_CHECKING:
    from tests.device.opening import ProgrammeKey

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
    home: Path, keys: tuple[bytes, ...], programme: ProgrammeKey, acts: list[Any], told: list[Any]
) -> str:
    """What was lost of the acknowledged acts, or "" if all is there."""
    try:
        store = Store.open(vault.Vault(home, keys[0]), now_ms=NOW)
    except trouble.Locked as error:
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


def run(n: int, seed: int) -> Figures:
    """`n` power cuts of the store, and as many of the control."""
    figures: Figures = {"cuts": 0, "lost": 0, "control cuts": 0, "control lost": 0}
    day = 0
    while int(figures["cuts"]) < n:
        some = min(50, n - int(figures["cuts"]))
        played, lost = one_day(random.Random(f"{seed} {day}"), some, "sealed")
        if lost:
            raise Violation(f"day {day}: {lost[0]}")
        figures["cuts"] = int(figures["cuts"]) + played
        played, lost = one_day(random.Random(f"{seed} {day}"), some, "NORMAL")
        figures["control cuts"] = int(figures["control cuts"]) + played
        figures["control lost"] = int(figures["control lost"]) + len(lost)
        day += 1
    if n >= 100 and not figures["control lost"]:
        raise Violation("the control with synchronous = NORMAL lost nothing: the cuts cut nothing")
    return figures
