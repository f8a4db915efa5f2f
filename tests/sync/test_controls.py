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

from tests.databases import KINDS

TOP = Path(__file__).parent.parent.parent
PARTS = ("forms", "conflict", "schemas", "field_agent", "sync_server", "tests")
LOST = "acknowledged and is nowhere"
# A sync to its end looks for what has its receipt, and shows it as synced no longer.
TAKEN_BACK = "no receipt for"
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
    databases: tuple[str, ...] = KINDS


COMMIT = "    said = desk.store.transaction(take, lock=device.area)\n"
TOLD_BEFORE = """
    told: list = []
    def undone(tx):
        told.append(take(tx))
        raise LookupError
    try:
        desk.store.transaction(undone)
    except LookupError:
        said = told[-1]
    later = __import__("threading").Timer(60, desk.store.transaction, (take,))
    later.daemon = True
    later.start()
"""
"""The device hears of it from a transaction that is undone; the one that counts comes much later, so
that no slow machine makes it come in time."""

MUTATIONS = (
    Mutation(
        "acknowledge before the commit",
        "sync_server/rounds.py",
        ((COMMIT, TOLD_BEFORE),),
        "wire",
        12,
        (LOST, TAKEN_BACK),
    ),
    Mutation(
        "acknowledge before the commit, and be killed",
        "sync_server/rounds.py",
        ((COMMIT, TOLD_BEFORE),),
        "kills",
        40,
        # Which of the two is seen first depends on what was killed.
        ("has a receipt; the server holds None", LOST, TAKEN_BACK),
    ),
    Mutation(
        "mark as synced before the push",
        "field_agent/outgoing.py",
        ((BATCHED, BATCHED + '    store.mark(made.counters, "receipted")\n'),),
        "wire",
        12,
        (LOST,),
    ),
    Mutation(
        "take PostgreSQL's word for a commit that it has not written",
        "sync_server/store/engine.py",
        (('        event.listen(engine, "connect", _durable)\n', ""),),
        "kills",
        200,
        # What is lost may be the device itself, or the tables.
        ("has a receipt; the server holds None", LOST, "No device of that name", "does not exist"),
        ("postgres",),
    ),
)


@pytest.mark.parametrize(
    ("mutation", "database"),
    [(one, database) for one in MUTATIONS for database in one.databases],
    ids=lambda one: one if isinstance(one, str) else one.name.replace(" ", "_"),
)
def test_what_would_lose_a_registration_is_found(
    mutation: Mutation, database: str, tmp_path: Path, request
):
    if database == "postgres":
        request.getfixturevalue("postgres")  # skipped where none can start
    for part in PARTS:
        shutil.copytree(TOP / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__"))
    file = tmp_path / mutation.file
    source = file.read_text(encoding="utf-8")
    for before, after in mutation.edits:
        assert source.count(before) == 1, f"this moved; tell the mutation where it is: {before}"
        source = source.replace(before, after)
    file.write_text(source, encoding="utf-8")
    asked = (mutation.campaign, "--n", str(mutation.n), "--seed", "5", "--database", database)
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
