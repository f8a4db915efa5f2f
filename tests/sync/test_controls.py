"""What keeps a registration from being lost, taken away in a copy: the campaigns must find it.

The packages and the tests are copied, some text is replaced in the copy, and the campaign that must
notice is run there. Without a replacement both campaigns pass (`test_kills.py`).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

TOP = Path(__file__).parent.parent.parent
PARTS = ("forms", "conflict", "schemas", "field_agent", "sync_server", "tests")
LOST = "acknowledged and is nowhere"
BATCHED = "    store.put_batch(made.batch, made.counters, now_ms=now_ms)\n"


@dataclass(frozen=True, slots=True)
class Mutation:
    """What is done wrong, where, and which campaign says what then: any of the words `found`."""

    name: str
    file: str
    edits: tuple[tuple[str, str], ...]
    campaign: str
    n: int
    found: tuple[str, ...]


UNDONE = """
    told: list = []
    def undone(tx):
        told.append(take(tx))
        raise LookupError
    try:
        desk.store.transaction(undone)
    except LookupError:
        said = told[-1]
"""


def told_before_the_commit(wait_s: float) -> tuple[tuple[str, str], ...]:
    """The device hears of it from a transaction that is undone; the one that counts comes later."""
    commit = "    said = desk.store.transaction(take, lock=device.area)\n"
    later = f"__import__('threading').Timer({wait_s}, desk.store.transaction, (take,))"
    return ((commit, f"{UNDONE}    {later}.start()\n"),)


MUTATIONS = (
    Mutation(
        "acknowledge before the commit",
        "sync_server/rounds.py",
        told_before_the_commit(0.2),
        "wire",
        12,
        (LOST,),
    ),
    Mutation(
        "acknowledge before a commit that takes its time",
        "sync_server/rounds.py",
        told_before_the_commit(0.5),
        "kills",
        100,
        # Which of the two is seen first depends on what was killed.
        ("has a receipt; the server holds None", LOST),
    ),
    Mutation(
        "mark as synced before the push",
        "field_agent/outgoing.py",
        ((BATCHED, BATCHED + '    store.mark(made.counters, "receipted")\n'),),
        "wire",
        12,
        (LOST,),
    ),
)


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda one: one.name.replace(" ", "_"))
def test_what_would_lose_a_registration_is_found(mutation: Mutation, tmp_path: Path):
    for part in PARTS:
        shutil.copytree(TOP / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__"))
    file = tmp_path / mutation.file
    source = file.read_text(encoding="utf-8")
    for before, after in mutation.edits:
        assert source.count(before) == 1, f"this moved; tell the mutation where it is: {before}"
        source = source.replace(before, after)
    file.write_text(source, encoding="utf-8")
    asked = (mutation.campaign, "--n", str(mutation.n), "--seed", "5")
    ran = subprocess.run(
        [sys.executable, "-m", "tests.campaigns", *asked],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
        env={**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert ran.returncode == 1, ran.stdout[-2000:] + ran.stderr[-2000:]
    assert "violation (seed 5)" in ran.stdout
    assert any(words in ran.stdout for words in mutation.found), ran.stdout[-2000:]
