"""A few hundred kills for every change; `python -m tests.campaigns kills --n 10000` for the long run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).parent.parent.parent


@pytest.mark.parametrize(
    ("name", "n", "database"),
    [
        ("kills", "300", "sqlite"),
        ("kills", "80", "postgres"),
        ("wire", "3", "sqlite"),
        ("wire", "3", "postgres"),
    ],
)
def test_nothing_acknowledged_is_lost_when_processes_are_killed_or_the_wire_misbehaves(
    name, n, database, request
):
    if database == "postgres":
        request.getfixturevalue("postgres")  # skipped where none can start
    # A process of its own: it forks, and what pytest holds must not be forked with it.
    ran = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.campaigns",
            name,
            "--n",
            n,
            "--seed",
            "5",
            "--database",
            database,
        ],
        cwd=TOP,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert ran.returncode == 0, ran.stdout[-2000:] + ran.stderr[-3000:]
    assert "entries" in ran.stdout
