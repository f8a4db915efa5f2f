"""What a process really asked the kernel to write, in order: a run under strace, taken apart."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_CALLS = (
    "openat,open,creat,close,dup,dup2,dup3,write,pwrite64,writev,pwritev,pwritev2,sendto,sendmsg,"
    "fsync,fdatasync,ftruncate,truncate,unlink,unlinkat,rename,renameat,renameat2,copy_file_range,"
    "sendfile,splice"
)
_LINE = re.compile(r"^(\d+) +(\w+)\((.*)\) += +(-?\d+|\?)(?: .*)?$", re.DOTALL)
_STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"(\.\.\.)?')


class NoTrace(Exception):
    """strace is not there, or may not look."""


@dataclass(frozen=True, slots=True)
class Call:
    """One system call that succeeded: its name, its strings, its plain arguments, its result."""

    name: str
    strings: tuple[bytes, ...]
    rest: str
    result: int

    @property
    def fd(self) -> int:
        return int(re.match(r"\d+", self.rest)[0])

    @property
    def last(self) -> int:
        """The last plain argument: pwrite64's offset, ftruncate's length."""
        return int(self.rest.rsplit(",", 1)[-1])


def traced(command: Sequence[str], *, stdin: bytes, place: Path, check: bool = True) -> list[Call]:
    """Run `command` under strace; its calls in order. The trace itself is erased."""
    strace = shutil.which("strace")
    if strace is None:
        raise NoTrace("strace is not installed")
    out = place / "trace"
    ran = subprocess.run(
        [strace, "-f", "-xx", "-s", "100000000", "-e", f"trace={_CALLS}", "-o", out, *command],
        input=stdin,
        capture_output=True,
        check=False,
    )
    if not out.exists() or b"ptrace" in ran.stderr.lower():
        raise NoTrace(f"strace may not look here: {ran.stderr[-300:]!r}")
    if check and ran.returncode:
        raise RuntimeError(f"{command} ended with {ran.returncode}: {ran.stderr[-2000:]!r}")
    with out.open(encoding="ascii") as lines:
        calls = list(_calls(lines))
    out.unlink()
    return calls


def _calls(lines: Iterator[str]) -> Iterator[Call]:
    begun: dict[str, str] = {}
    for line in lines:
        text = line.rstrip("\n")
        pid = text.split(" ", 1)[0]
        if text.endswith("<unfinished ...>"):
            begun[pid] = text.removesuffix("<unfinished ...>").rstrip()
            continue
        resumed = re.match(r"^\d+ +<\.\.\. \w+ resumed>(.*)$", text, re.DOTALL)
        if resumed:
            text = begun.pop(pid) + resumed[1]
        found = _LINE.match(text)
        if not found or found[4] in {"?", "-1"} or found[4].startswith("-"):
            continue
        name, arguments, result = found[2], found[3], int(found[4])
        strings = []
        for one in _STRING.finditer(arguments):
            if one[2]:
                raise NoTrace("strace cut a string short")
            strings.append(bytes.fromhex(one[1].replace("\\x", "")))
        rest = _STRING.sub("", arguments)
        if name in {"write", "pwrite64"} and not strings and result:
            raise NoTrace("strace may not read this process's memory; run as root")
        yield Call(name, tuple(strings), rest, result)
