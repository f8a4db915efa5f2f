"""The device: what the lock and the seal cost, beside plain sqlite3 with the same durability."""

from __future__ import annotations

import json
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import patch

from benchmarks.table import Row
from conflict import EXISTS, YES, Change, Dot, Write, to_json
from field_agent import area, vault
from field_agent.store import Store
from schemas.columns import pack_columns
from schemas.envelope import CLASSIC, HYBRID, Header, Payload, envelope_hash
from schemas.packing import Outline, pack
from schemas.pages import Page
from tests.device.opening import ProgrammeKey
from tests.device.small import HOUSEHOLD, NOW, PASSPHRASE, device

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

RECORDS = 10_000
_FORM = (
    b"<model><instance><data>"
    + b"".join(b"<q%d/>" % n for n in range(40))
    + b"</data></instance></model>"
)
_SMALL = "<data>" + "".join(f"<q{n}>answer {n * 7919}</q{n}>" for n in range(40)) + "</data>"


def _wall(act: Callable[[], object]) -> float:
    begun = time.perf_counter()
    act()
    return time.perf_counter() - begun


def _plain(place: Path) -> sqlite3.Connection:
    """Plain SQLite, as durable as the store: the peer."""
    db = sqlite3.connect(place, isolation_level=None)
    for pragma in ("synchronous = EXTRA", "journal_mode = WAL", "synchronous = FULL"):
        db.execute(f"PRAGMA {pragma}")
    return db


def _unlock(top: Path, times: int) -> Row:
    home = top / "unlock"
    Store.open(vault.create(home, PASSPHRASE), now_ms=NOW).close()
    besides, spent = [], [0.0]

    def timed(argon: vault.Argon, passphrase: str, salt: bytes) -> bytes:
        begun = time.perf_counter()
        key = derive(argon, passphrase, salt)
        spent[0] = time.perf_counter() - begun
        return key

    derive = vault.Argon.derive
    with patch.object(vault.Argon, "derive", timed):
        for _ in range(times):
            whole = _wall(lambda: Store.open(vault.unlock(home, PASSPHRASE), now_ms=NOW).close())
            besides.append(whole - spent[0])
    peer = _plain(top / "open.db")
    peer.execute("CREATE TABLE a (b)")
    peer.close()
    plain = statistics.median(
        _wall(lambda: _plain(top / "open.db").execute("SELECT * FROM a").fetchall())
        for _ in range(times)
    )
    ours = statistics.median(besides)
    return Row(
        f"unlock besides Argon2id ({vault.STANDARD.memory_kib // 1024} MiB)",
        ours,
        "s",
        plain,
        "sqlite3 open",
        ours / plain,
        "< 0.3 s",
        ours < 0.3,
    )


def _saves(top: Path, times: int) -> list[Row]:
    tablet = device(top / "saves")
    peer = _plain(top / "saves.db")
    peer.execute(
        "CREATE TABLE answers (draft, path, number, value, PRIMARY KEY (draft, path)) WITHOUT ROWID"
    )
    tablet.store.begin("e1", HOUSEHOLD, started="s", now_ms=NOW)

    def plain_save(turn: int) -> None:
        peer.execute("BEGIN IMMEDIATE")
        peer.execute(
            "INSERT INTO answers VALUES ('e1', ?, ?, ?) "
            "ON CONFLICT (draft, path) DO UPDATE SET value = excluded.value",
            (f"/data/q{turn % 40}", turn, json.dumps(f"answer {turn}")),
        )
        peer.execute("COMMIT")

    ours, plain = [], []
    for turn in range(times):  # in turns, so that the disk's moods are the same for both
        ours.append(
            _wall(
                lambda turn=turn: tablet.store.save("e1", f"/data/q{turn % 40}", f"answer {turn}")
            )
        )
        plain.append(_wall(lambda turn=turn: plain_save(turn)))
    tablet.store.close()
    rows = []
    for name, place in (("p50", 0.5), ("p99", 0.99)):
        one = sorted(ours)[int(place * times)] * 1000
        other = sorted(plain)[int(place * times)] * 1000
        rows.append(
            Row(
                f"save one answer, {name}",
                one,
                "ms",
                other,
                "sqlite3, same durability",
                one / other,
                "<= 2x",
                one / other <= 2,
            )
        )
    return rows


def _seals(top: Path, times: int, suite: str, goal: int | None) -> Row:
    """Payload packed, sealed, headed, signed, chained. Processor time of the least disturbed of 40."""
    opened = vault.Vault(top, b"k" * 32)
    opened.adopt(vault.new_device_keys())
    key = ProgrammeKey.fresh(suite).public
    payload = Payload("uuid:e1", "household", "3", "ab" * 32, "s", "f", "", _SMALL)
    outline = Outline(_FORM)

    prev = "", 0

    def seal() -> None:
        nonlocal prev
        by = opened.next_seal(key, "d1", now_ms=NOW)
        packing, packed = pack(payload.text(), outline)
        last, counter = prev
        place = ("d1", counter + 1, last, by.session, by.index)
        head = Header(*place, "household", "3", "ab" * 32, "m", packing)
        prev = envelope_hash(opened.seal(packed, head, by)), counter + 1

    best = 0.0
    for _ in range(40):
        begun = time.process_time()
        for _ in range(times // 40):
            seal()
        best = max(best, times // 40 / (time.process_time() - begun))
    return Row(
        f"seal small submissions, {suite.split('-', maxsplit=1)[0]}",
        best,
        "1/s per core",
        goal=f">= {goal:,}/s" if goal else "",
        met=best >= goal if goal else None,
    )


def _finish(top: Path, times: int) -> Row:
    tablet = device(top / "finish")
    spent = []
    for turn in range(times):
        draft = f"e{turn}"
        tablet.fill(draft, {"/data/a": turn, "/data/b": "x" * 200})
        spent.append(_wall(lambda draft=draft: tablet.finish(draft, _SMALL)))
    tablet.store.close()
    return Row("finish: seal, outbox, erase, wipe (p50)", statistics.median(spent) * 1000, "ms")


def _records(top: Path) -> list[Row]:
    tablet = device(top / "records")
    peer = _plain(top / "records.db")
    peer.execute("CREATE TABLE records (record PRIMARY KEY, kind, label, parent, body)")
    peer.execute("CREATE INDEX by_label ON records (kind, label)")
    some = [
        (f"r{n}", f"Person {n * 7919 % RECORDS}", {"name": "x" * 60, "n": str(n)})
        for n in range(RECORDS)
    ]
    with tablet.store.transaction():
        area.take(tablet.store, _pulled(some))
    first = _wall(lambda: area.listed(tablet.store, limit=50))
    tablet.store.close()
    peer.execute("BEGIN")
    peer.executemany(
        "INSERT INTO records VALUES (?, ?, ?, ?, ?)",
        [(name, "person", label, "", json.dumps(fields)) for name, label, fields in some],
    )
    peer.execute("COMMIT")
    peer.close()

    def plain_all() -> list[area.Listed]:
        db = _plain(top / "records.db")
        found = db.execute("SELECT * FROM records ORDER BY kind, label, record LIMIT 20000")
        return [area.Listed(*row[:3], json.loads(row[4])) for row in found]

    rows = []
    opened = vault.unlock(tablet.home, PASSPHRASE)
    ours, plain = [], []
    for _ in range(5):
        store: list[Store] = []
        ours.append(
            _wall(
                lambda store=store: (
                    store.append(Store.open(opened, now_ms=NOW)),
                    area.listed(store[0], limit=20_000),
                )
            )
        )
        store[0].close()
        plain.append(_wall(plain_all))
    one, other = statistics.median(ours), statistics.median(plain)
    rows.append(
        Row(
            f"open and list {RECORDS:,} records",
            one,
            "s",
            other,
            "sqlite3, unencrypted",
            one / other,
        )
    )
    with Store.open(opened, now_ms=NOW) as open_store:
        page = statistics.median(
            _wall(lambda: area.listed(open_store, "person", limit=50)) for _ in range(20)
        )
        one = statistics.median(
            _wall(lambda n=n: area.record(open_store, f"r{n}")) for n in range(0, RECORDS, 500)
        )
    rows.append(Row("list 50 of them", page * 1000, "ms"))
    rows.append(Row("look one up by its id, whole", one * 1000, "ms"))
    rows.append(Row(f"first list after {RECORDS:,} were pulled", first, "s"))
    return rows


def _pulled(some: list[tuple[str, str, dict[str, str]]]) -> Iterator[Page]:
    """The records as a pull brings them."""
    for at in range(0, len(some), 128):
        lines = []
        for number, (name, label, fields) in enumerate(some[at : at + 128], at + 1):
            said = {EXISTS: YES, "label": label, **fields}
            change = Change(
                name,
                "person",
                Dot("d1", number),
                "amina",
                f"{NOW}-0000",
                NOW,
                "ab" * 32,
                {path: Write(value) for path, value in said.items()},
                "create",
            )
            lines.append((number, to_json(change).encode()))
        yield Page(at, at + len(lines), pack_columns(lines))


_STATUS = """
import sys
from field_agent.cli import cli
cli(sys.argv[1:], standalone_mode=False)
with open("/proc/self/status") as file:
    print(next(line.split()[1] for line in file if line.startswith("VmHWM")), file=sys.stderr)
"""


def _status(top: Path) -> list[Row]:
    """The command itself: interpreter, Argon2id, a store with 10,000 sealed entries, counts."""
    tablet = device(top / "status")
    envelope = b"e" * 2000
    with tablet.store.transaction():
        tablet.store.db.table("outbox").insert_all(
            {
                "counter": n,
                "hash": f"{n:064x}",
                "state": "pending",
                "label": f"Household {n}",
                "form": "household",
                "version": "3",
                "made_ms": NOW,
                "size": 2000,
                "draft": f"e{n}",
                "why": "",
                "receipt": 0,
                "session": "",
            }
            for n in range(1, RECORDS + 1)
        )
        tablet.store.db.table("envelopes").insert_all(
            {"counter": n, "data": envelope} for n in range(1, RECORDS + 1)
        )
    tablet.store.close()
    # The cost that a real device has, not the tests' quick one.
    vault.unlock(tablet.home, PASSPHRASE, argon=vault.STANDARD)
    secret = top / "passphrase"
    secret.write_text(PASSPHRASE)
    command = [sys.executable, "-c", _STATUS, "--home", tablet.home, "--passphrase-file", secret]
    spent, memory = [], []
    for _ in range(5):
        begun = time.perf_counter()
        ran = subprocess.run([*command, "status", "--json"], capture_output=True, check=True)
        spent.append(time.perf_counter() - begun)
        memory.append(int(ran.stderr) / 1024)
        assert json.loads(ran.stdout)["waiting"] == RECORDS
    took = statistics.median(spent)
    return [
        Row(
            f"field-agent status, {RECORDS:,} entries, from nothing",
            took,
            "s",
            goal="< 0.7 s",
            met=took < 0.7,
        ),
        Row("its memory at most", max(memory), "MiB", goal="< 120 MiB", met=max(memory) < 120),
    ]


def run(*, quick: bool) -> list[Row]:
    """All rows."""
    with tempfile.TemporaryDirectory() as folder:
        top = Path(folder)
        return [
            *_status(top),
            _unlock(top, 5 if quick else 20),
            *_saves(top, 400 if quick else 5000),
            _seals(top, 4000 if quick else 20_000, HYBRID.name, 8000),
            _seals(top, 4000 if quick else 20_000, CLASSIC.name, None),
            _finish(top, 50 if quick else 500),
            *_records(top),
        ]
