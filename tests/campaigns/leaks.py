"""Leaks: planted names, ids, phones and places are sought in everything that leaves a process.

A device lives a day under strace: entries filled in, corrected, finished, files attached, a backup
and a bundle made. Every byte that it gave to any write call, and every file that is left (store,
log, key file, backup, bundle, temporary files), is searched for each planted word in eight
encodings, also within zstd and zlib. The same day on a plain SQLite file is the control: there each
word must be found, or the search finds nothing.

Then a day at real doors (`tests/agent/witnessed.py`): a household is registered through the agent's
pages and synced over HTTP. The writes of that process, every byte on the line to the server, the
server's files without its keys, and what both sides logged and printed are searched. Between the
browser and the pages each word must be found, and in the plain control on its line, in its file
and in its log.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.agent.witnessed import a_day as a_day_at_doors
from tests.agent.witnessed import a_plain_day
from tests.campaigns import Figures, Violation
from tests.device.forensics import planted_in
from tests.device.small import PASSPHRASE, device
from tests.device.tracing import traced

if TYPE_CHECKING:
    from tests.device.tracing import Call

_GIVEN = ("Amina", "Bilal", "Zhāng", "Nguyễn", "Ólafur", "Фотима", "مريم", "सीता")
_FAMILY = ("Khalilova", "Örn", "Wěi", "Văn Thành", "Каримова", "الزهراء", "देवी")


def words(luck: random.Random) -> list[str]:
    """A name, an id, a phone and a place that no other text holds by chance."""
    number = luck.randrange(10**8, 10**9)
    return [
        f"{luck.choice(_GIVEN)} {luck.choice(_FAMILY)} {luck.randrange(1000, 9999)}",
        f"ID-{luck.randrange(16**8):08X}-{number}",
        f"+99890{luck.randrange(10**6, 10**7)}{luck.randrange(10)}",
        f"{luck.uniform(-90, 90):.7f} {luck.uniform(-180, 180):.7f} 412.5 3.25",
    ]


def a_day(luck: random.Random, planted: list[str]) -> list[list[Any]]:
    """An entry that is finished, one that is corrected and left open, a backup."""
    acts: list[list[Any]] = [["begin", "e1"], ["begin", "e2"]]
    for number, word in enumerate(planted):
        acts.append(["save", "e1", f"/data/q{number}", word])
        acts.append(["save", "e2", "/data/last", word * luck.choice((1, 3, 200))])
    acts.append(["attach", "e1", "voice.m4a", " ".join(planted)])
    acts.append(["attach", "e2", "photo.jpg", " ".join(planted)])
    acts.append(["finish", "e1", f"<data>{' '.join(planted)}</data>"])
    acts.append(["backup", "copy.backup"])
    acts.append(["bundle", "day.bundle"])
    acts.append(["save", "e2", "/data/after", planted[0]])
    return acts


def written(calls: list[Call]) -> bytes:
    """Every byte given to a write call, by file: a word may be split over two calls."""
    streams: dict[int, list[bytes]] = {}
    for call in calls:
        if call.name in {"write", "pwrite64", "writev", "pwritev", "pwritev2"}:
            streams.setdefault(call.fd, []).extend(call.strings)
        elif call.name in {"sendto", "sendmsg"}:
            streams.setdefault(-call.fd - 1, []).extend(call.strings)
    return b"\n\0\n".join(b"".join(parts) for parts in streams.values())


def search(how: str, luck: random.Random) -> tuple[int, list[str], list[tuple[str, str]]]:
    """(bytes searched, the planted words, those that were found)."""
    planted = words(luck)
    with tempfile.TemporaryDirectory() as folder:
        top = Path(folder)
        tablet = device(top / "tablet")
        tablet.store.close()
        day = {
            "home": str(tablet.home),
            "passphrase": PASSPHRASE,
            "how": how,
            "acts": a_day(luck, planted),
        }
        command = ["env", f"TMPDIR={top}", sys.executable, "-m", "tests.device.life"]
        calls = traced(command, stdin=json.dumps(day).encode(), place=top)
        seen = [written(calls), b"\0".join(text for call in calls for text in call.strings)]
        seen += [file.read_bytes() for file in top.rglob("*") if file.is_file()]
        # The passphrase is a planted word too, and so is each key as it opens the store.
        secrets = [PASSPHRASE] if how == "sealed" else []
        found = [one for data in seen for one in planted_in(data, planted + secrets)]
        if how == "sealed":
            (key,) = tablet.store.vault.database_keys
            if any(key in data or key.hex().encode() in data.lower() for data in seen):
                found.append(("the store's key", "as it is"))
        return sum(map(len, seen)), planted, found


def at_doors(luck: random.Random) -> tuple[int, list[tuple[str, str, str]], int]:
    """(bytes searched, (where, word, encoding) of what was found, hits in what is plain).

    Raises `Violation` where the search is blind: where it misses a word that must be there.
    """
    planted = words(luck)
    with tempfile.TemporaryDirectory() as folder:
        heard = a_day_at_doors(Path(folder), planted)
    found = [
        (where, *hit)
        for where, data in heard.kept.items()
        for hit in planted_in(data, [*planted, PASSPHRASE])
        # The agent's own secret is given to the commands in this file.
        if where != "passphrase"
    ]
    hits = 0
    with tempfile.TemporaryDirectory() as folder:
        plain = {"pages": heard.browser, **a_plain_day(Path(folder), planted)}
    for where, data in plain.items():
        seen = planted_in(data, planted)
        missed = set(planted) - {word for word, _ in seen}
        if missed:
            raise Violation(f"the search missed {missed} in the plain {where}")
        hits += len(seen)
    return sum(map(len, heard.kept.values())), found, hits


def run(n: int, seed: int) -> Figures:
    """`n` days, a fifth as many at real doors, and the controls of both."""
    figures: Figures = {"days": 0, "bytes": 0, "found": 0, "control found": 0}
    for day in range(n):
        size, _, found = search("sealed", random.Random(f"{seed} {day}"))
        if found:
            raise Violation(f"day {day}: {found[0][0]!r} was written as {found[0][1]}")
        figures["days"] = day + 1
        figures["bytes"] = int(figures["bytes"]) + size
        _, planted, found = search("plain", random.Random(f"{seed} {day}"))
        missed = set(planted) - {word for word, _ in found}
        if missed:
            raise Violation(f"day {day}: the search missed {missed} in the plain control")
        figures["control found"] = int(figures["control found"]) + len(found)
    figures |= {"days at doors": 0, "bytes there": 0, "found there": 0, "control found there": 0}
    for day in range(-(-n // 5)):
        size, leaked, hits = at_doors(random.Random(f"{seed} door {day}"))
        if leaked:
            raise Violation(f"day {day} at doors: {leaked[0]}")
        figures["days at doors"] = day + 1
        figures["bytes there"] = int(figures["bytes there"]) + size
        figures["control found there"] = int(figures["control found there"]) + hits
    return figures
