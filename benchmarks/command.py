"""Whole commands, as a person starts them: how long until the prompt is back, and at what memory."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.table import Row
from field_agent import vault
from field_agent.store import Identity, Store
from tests.device.opening import ProgrammeKey
from tests.device.small import HOUSEHOLD

ENTRIES = 10_000
PASSPHRASE = "correct horse battery"


def run(*, quick: bool) -> list[Row]:
    times = 3 if quick else 9
    help_s, _ = _measure(("--help",), times)
    rows = [Row("field-agent --help", help_s, "s", goal="< 0.25", met=help_s < 0.25)]
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "device"
        _fill(home, ENTRIES)
        secret = Path(folder) / "passphrase"
        secret.write_text(PASSPHRASE)
        words = ("--home", str(home), "--passphrase-file", str(secret), "status")
        status_s, most_mb = _measure(words, times)
    what = f"field-agent status, {ENTRIES:,} entries, with the key's derivation"
    rows.append(Row(what, status_s, "s", goal="< 0.7", met=status_s < 0.7))
    rows.append(Row("its peak memory", most_mb, "MB", goal="< 120", met=most_mb < 120))
    return rows


def _measure(words: tuple[str, ...], times: int) -> tuple[float, float]:
    """Median seconds, and the largest peak memory in megabytes."""
    command = [str(Path(sys.executable).parent / "field-agent"), *words]
    spent, most = [], 0.0
    for _ in range(times + 1):
        begun = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        _, status, used = os.wait4(process.pid, 0)
        spent.append(time.perf_counter() - begun)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
        most = max(most, used.ru_maxrss * 1024 / 1e6)
    # The first run reads the programs from the disk.
    return statistics.median(spent[1:]), most


def _fill(home: Path, entries: int) -> None:
    """A store with so many sealed entries of about 2 KB."""
    now = vault.clock_ms()
    with Store.open(vault.create(home, PASSPHRASE), now_ms=now) as store:
        who = Identity("d1", "north", "https://server.example", "cd" * 32, b"s" * 32, "e1")
        store.enrol(who, [ProgrammeKey.fresh().public], lease_s=0, now_ms=now)
        store.put_form(HOUSEHOLD)
        # Filling is not measured: it need not survive a power cut.
        store._connection.execute("PRAGMA synchronous = OFF")  # noqa: SLF001
        store._wipe_log = lambda: None  # type: ignore[method-assign]  # noqa: SLF001
        xml = "<data>" + "".join(f"<q{n}>answer {n * 7919}</q{n}>" for n in range(60)) + "</data>"
        for number in range(entries):
            draft = f"draft-{number}"
            store.begin(draft, HOUSEHOLD, started="2026-11-23T10:00:00.000Z", now_ms=now)
            _seal(store, draft, xml, now)


def _seal(store: Store, draft: str, xml: str, now: int) -> None:
    store.finish(
        draft,
        xml=xml,
        instance_id=f"uuid:{draft}",
        label=draft,
        finished="2026-11-23T10:20:00.000Z",
        made=f"{now}-0000",
        now_ms=now,
    )
