"""A device's day in a process of its own, for those who watch it: `python -m tests.device.life`.

Reads one JSON object from standard input: `home`, `passphrase`, `how` ("sealed", "NORMAL" or
"plain": SQLite without any lock), `acts`, and `hold` to stay alive after them. Each act that was
acknowledged is written to standard output as one line, so that a watcher sees it in its place among
the system calls. It leaves without closing anything, as a process does whose battery is taken out.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import sys
from pathlib import Path
from typing import Any

from field_agent import backup, bundle, vault
from field_agent.store import Store
from schemas.frames import squeeze
from tests.device.small import HOUSEHOLD, NOW, QUICK


class Hand:
    """The real thing: acts on a store, as they are named."""

    def __init__(self, home: Path, store: Store) -> None:
        self.home = home
        self.store = store

    def does(self, act: list[Any]) -> dict[str, object]:
        name, *given = act
        if name == "attach":
            given[2] = given[2].encode() * 500
        return getattr(self, name)(*given) or {}

    def begin(self, draft: str) -> None:
        self.store.begin(draft, HOUSEHOLD, started="s", now_ms=NOW)

    def save(self, draft: str, path: str, value: object) -> None:
        self.store.save(draft, path, value)

    def attach(self, draft: str, name: str, data: bytes) -> None:
        self.store.attach(draft, name, "image/jpeg", [data])

    def finish(self, draft: str, xml: str) -> dict[str, object]:
        done = self.store.finish(
            draft,
            xml=xml,
            instance_id=f"uuid:{draft}",
            label="",
            finished="f",
            made="m",
            now_ms=NOW,
        )
        return {"counter": done.counter, "hash": done.hash}

    def backup(self, name: str) -> None:
        backup.write(self.store, self.home.parent / name, made="m")

    def bundle(self, name: str) -> None:
        bundle.pack(self.store, self.home.parent / name, new_id=lambda: name, now_ms=NOW)


class Plain(Hand):
    """The control: the same acts on an unlocked SQLite file, as durable, sealed to nobody."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.db = sqlite3.connect(home / "plain.db", isolation_level=None)
        self.db.execute("PRAGMA journal_mode = WAL")
        self.db.execute("CREATE TABLE IF NOT EXISTS answers (draft, path, value)")
        self.db.execute("CREATE TABLE IF NOT EXISTS outbox (draft, xml)")

    def begin(self, draft: str) -> None:
        self.db.execute("INSERT INTO answers VALUES (?, '', '')", (draft,))

    def save(self, draft: str, path: str, value: object) -> None:
        self.db.execute("INSERT INTO answers VALUES (?, ?, ?)", (draft, path, json.dumps(value)))

    def attach(self, draft: str, name: str, data: bytes) -> None:
        self.db.execute("INSERT INTO answers VALUES (?, ?, ?)", (draft, name, data))

    def finish(self, draft: str, xml: str) -> dict[str, object]:
        self.db.execute("DELETE FROM answers WHERE draft = ?", (draft,))
        self.db.execute("INSERT INTO outbox VALUES (?, ?)", (draft, xml))
        return {}

    def backup(self, name: str) -> None:
        (self.home / name).write_bytes("\n".join(self.db.iterdump()).encode())

    def bundle(self, name: str) -> None:
        rows = json.dumps([row[1] for row in self.db.execute("SELECT * FROM outbox")])
        (self.home / name).write_bytes(squeeze(rows.encode()))


def main() -> None:
    day = json.load(sys.stdin)
    home = Path(day["home"])
    if day["how"] == "plain":
        device = Plain(home)
    else:
        unlocked = vault.unlock(home, day["passphrase"], argon=QUICK)
        device = Hand(home, Store.open(unlocked, now_ms=NOW))
    if day["how"] == "NORMAL":
        device.store._connection.execute("PRAGMA synchronous = NORMAL")
    os.write(1, b'{"open":true}\n')
    for number, act in enumerate(day["acts"]):
        told = device.does(act)
        os.write(1, json.dumps({"done": number, **told}).encode() + b"\n")
    if day.get("hold"):
        signal.pause()
    os._exit(0)


if __name__ == "__main__":
    main()
