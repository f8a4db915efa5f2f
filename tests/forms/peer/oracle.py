"""JavaRosa, from the archive inside pyxform's own wheel, driven by the small program beside it."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

SHARED = Path(__file__).parents[4] / "shared"
Case = dict[str, Any]


class Missing(Exception):
    """JavaRosa cannot be run here; the text says what it would take."""


@cache
def classpath() -> str:
    """Where the jar and the compiled program are, compiling it once per machine and version."""
    java = SHARED / "oracle" / "JrPeer.java"
    if shutil.which("java") is None or shutil.which("javac") is None:
        raise Missing("Java (JDK 17) is not installed: the comparison with JavaRosa is skipped")
    if not java.exists():
        raise Missing("../shared/oracle/JrPeer.java is not there: the comparison is skipped")
    found = importlib.util.find_spec("pyxform")
    home = Path(found.origin).parent if found and found.origin else Path()
    jar = home / "validators" / "odk_validate" / "bin" / "ODK_Validate.jar"
    if not jar.exists():
        raise Missing("pyxform's wheel brings no ODK_Validate.jar: the comparison is skipped")
    mark = hashlib.sha256(java.read_bytes() + str(jar.stat().st_size).encode()).hexdigest()[:16]
    kept = Path(tempfile.gettempdir()) / f"javarosa-peer-{os.getuid()}-{mark}"
    if not (kept / "JrPeer.class").exists():
        with tempfile.TemporaryDirectory() as fresh:
            subprocess.run(
                ["javac", "-nowarn", "-cp", str(jar), "-d", fresh, str(java)],
                check=True,
                capture_output=True,
            )
            # Moved into place whole, so that two test processes never see half of it.
            shutil.copytree(fresh, kept, dirs_exist_ok=True)
    return f"{jar}{os.pathsep}{kept}"


def java(*arguments: str, zone: str = "UTC", timeout_s: float = 600) -> str:
    """Run the program once, on a device of that zone; its standard output."""
    # The names of months are those of the device's language.
    settings = ("-Xshare:auto", f"-Duser.timezone={zone}", "-Duser.language=en")
    ran = subprocess.run(
        ["java", *settings, "-cp", classpath(), "JrPeer", *arguments],
        check=True,
        capture_output=True,
        text=True,
        timeout=timeout_s,
    )
    return ran.stdout


def replay(cases: list[Case], zone: str = "UTC") -> list[Case]:
    """What JavaRosa makes of each case, in their order, on a device of that zone."""
    with tempfile.TemporaryDirectory() as here:
        asked, told = Path(here) / "cases.jsonl", Path(here) / "told.jsonl"
        asked.write_text("".join(json.dumps(case) + "\n" for case in cases), encoding="utf-8")
        java("replay", str(asked), str(told), zone=zone)
        return [json.loads(line) for line in told.read_text(encoding="utf-8").splitlines()]
