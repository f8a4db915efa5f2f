"""The rules of the house: style, types, layers, and what must not be written down anywhere."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).parent.parent
BIN = Path(sys.executable).parent


@pytest.mark.parametrize(
    "command",
    [
        ("ruff", "format", "--check", "."),
        ("ruff", "check", "."),
        ("mypy",),
        ("lint-imports",),
    ],
    ids=lambda command: command[0] + "-" + command[1] if len(command) > 1 else command[0],
)
def test_the_code_keeps_the_rules_of_the_house(command: tuple[str, ...]):
    tool = BIN / command[0]
    if not tool.exists():
        pytest.skip(f"{command[0]} is not installed beside this Python: `make test` sets it up")
    ran = subprocess.run([tool, *command[1:]], cwd=TOP, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout[-4000:] + ran.stderr[-2000:]


def written() -> list[Path]:
    """Every text file that git tracks."""
    listed = subprocess.run(
        ["git", "ls-files"], cwd=TOP, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("not a git checkout: the list of the project's files is git's")
    binary = {".xlsx", ".png", ".gz", ".bin", ".xls"}
    return [TOP / name for name in listed.stdout.splitlines() if Path(name).suffix not in binary]


def test_nothing_is_left_for_later_in_the_code():
    later = re.compile(r"#.*\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "X" * 3)) + r")\b")
    left = [
        f"{file.relative_to(TOP)}:{number}"
        for file in written()
        if file.suffix == ".py" and file.exists()
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
        if later.search(line)
    ]
    assert left == []


def test_no_file_holds_a_path_of_a_machine():
    machine = re.compile("/" + r"(work/(main|shared)|root/\.|home/[a-z]+/)")
    left = [
        f"{file.relative_to(TOP)}:{number}: {line.strip()[:80]}"
        for file in written()
        if file.exists() and file.suffix not in {".csv", ".xml", ".jsonl"}
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
        if machine.search(line)
    ]
    assert left == []


def test_a_clean_checkout_names_every_reason_for_a_library():
    config = (TOP / "setup.cfg").read_text(encoding="utf-8")
    needed = config.split("install_requires =")[1].split("[options.packages")[0]
    names = re.findall(r"^\s+([A-Za-z0-9-]+)(?:\[\w+\])? >=", needed, re.MULTILINE)
    told = (TOP / "docs" / "architecture.md").read_text(encoding="utf-8").lower()
    assert len(names) > 10
    assert [name for name in names if f"`{name.lower()}`" not in told] == []
