"""ODK Web Forms' engine, from npm, driven in Node with jsdom by the small program beside it."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from tests.forms.peer.oracle import Missing

HOME = Path(__file__).with_name("webforms")
Case = dict[str, Any]


def install() -> None:
    """Bring the engine where git ignores it, unless it is there. Raises Missing."""
    npm = shutil.which("npm")
    if (HOME / "node_modules" / "@getodk").exists():
        return
    if npm is None:
        raise Missing("npm is not installed: Web Forms' engine cannot be fetched")
    words = [npm, "install", "--no-audit", "--no-fund", "--no-package-lock", "--silent"]
    ran = subprocess.run(words, cwd=HOME, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise Missing(f"npm could not install Web Forms' engine: {ran.stderr.strip()[-200:]}")


def program() -> list[str]:
    """What starts the driver. Raises Missing."""
    node = shutil.which("node")
    if node is None:
        raise Missing("Node is not installed: the comparison with Web Forms is skipped")
    if not (HOME / "node_modules" / "@getodk").exists():
        raise Missing(
            "Web Forms' engine is not installed: `python -m tests.campaigns webforms --n 1` does it"
        )
    return [node, str(HOME / "driver.mjs"), str(HOME)]


def replay(cases: list[Case], timeout_s: float = 900) -> list[Case]:
    """What Web Forms makes of each case, in their order. Raises Missing."""
    with tempfile.TemporaryDirectory() as here:
        asked, told = Path(here) / "cases.jsonl", Path(here) / "told.jsonl"
        asked.write_text("".join(json.dumps(case) + "\n" for case in cases), encoding="utf-8")
        words = [*program(), str(asked), str(told)]
        subprocess.run(words, check=True, capture_output=True, timeout=timeout_s)
        return [json.loads(line) for line in told.read_text(encoding="utf-8").splitlines()]
