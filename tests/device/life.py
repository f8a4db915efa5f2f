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

from field_agent import backup, bundle, vault
from field_agent.store import Store
from schemas.frames import squeeze
from tests.device.small import HOUSEHOLD, NOW, QUICK


class Plain:
    """The control: the same acts on an unlocked SQLite file, as durable, sealed to nobody."""

    def __init__(self, home: Path) -> None:
        self.db = sqlite3.connect(home / "plain.db", isolation_level=None)
        self.home = home
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


class Sealed:
    """The real thing."""

    def __init__(self, home: Path, passphrase: str, how: str) -> None:
        self.home = home
        self.store = Store.open(vault.unlock(home, passphrase, argon=QUICK), now_ms=NOW)
        if how == "NORMAL":
            self.store._connection.execute("PRAGMA synchronous = NORMAL")

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


def main() -> None:
    day = json.load(sys.stdin)
    home = Path(day["home"])
    device = Plain(home) if day["how"] == "plain" else Sealed(home, day["passphrase"], day["how"])
    os.write(1, b'{"open":true}\n')
    for number, (act, *given) in enumerate(day["acts"]):
        if act == "attach":
            given[2] = given[2].encode() * 500
        told = getattr(device, act)(*given) or {}
        os.write(1, json.dumps({"done": number, **told}).encode() + b"\n")
    if day.get("hold"):
        signal.pause()
    os._exit(0)


if __name__ == "__main__":
    main()
