"""What a process really asked the kernel to write, in order: a run under strace, taken apart."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
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
    run = Trace(command, place=place)
    run.told, wrong = run.process.communicate(stdin)
    if check and run.process.returncode:
        raise RuntimeError(f"{command} ended with {run.process.returncode}: {wrong[-2000:]!r}")
    return run.calls(wrong)


class Trace:
    """A process that runs under strace, to be talked to while it runs."""

    def __init__(
        self, command: Sequence[str], *, place: Path, env: Mapping[str, str] | None = None
    ) -> None:
        strace = shutil.which("strace")
        if strace is None:
            raise NoTrace("strace is not installed")
        self._out = place / "trace"
        self.told = b""
        """What it said so far."""
        self.process = subprocess.Popen(
            [
                *(strace, "-f", "-xx", "-s", "100000000", "-e", f"trace={_CALLS}"),
                *("-o", self._out, *command),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=env,
        )

    def line(self, holds: bytes) -> str:
        """The first line of its output that holds these bytes."""
        while line := self.process.stdout.readline():
            self.told += line
            if holds in line:
                return line.decode()
        raise NoTrace(f"it ended before it said {holds!r}: {self.process.stderr.read()[-500:]!r}")

    def end(self) -> None:
        """Wait until it has ended; what it said is in `told`."""
        out, wrong = self.process.communicate(timeout=120)
        self.told += out + wrong

    def calls(self, wrong: bytes = b"") -> list[Call]:
        """Its calls in order, once it has ended. The trace itself is erased."""
        if not self._out.exists() or b"ptrace" in wrong.lower():
            raise NoTrace(f"strace may not look here: {wrong[-300:]!r}")
        with self._out.open(encoding="ascii") as lines:
            calls = list(_calls(lines))
        self._out.unlink()
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
