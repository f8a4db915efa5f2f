"""Whatever is written to do harm ends in a declared error or fault, in a process of bounded memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.forms.hostile import HOSTILE

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_input_ends_in_what_is_declared_within_its_memory(name: str):
    ran = subprocess.run(
        [sys.executable, "-m", "tests.forms.hostile", name],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    kind, _, words = HOSTILE[name][1].partition(": ")
    told = json.loads(ran.stdout)["told"]
    assert told.partition(": ")[0] == kind, told[:500]
    assert words in told
