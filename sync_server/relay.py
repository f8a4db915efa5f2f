"""A supervisor's laptop between agents' sticks and the server: it carries what it cannot read.

A tray is a folder with the bundles that wait to be passed on, each named by the hash that its receipts
will name, and the receipts that came back. Nothing here needs a key. Every step can be done again: a
bundle that is in the tray, or whose receipts are, is not taken twice.
"""

from __future__ import annotations

import http.client
import io
import os
import urllib.error
import urllib.request
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from schemas.bundle import BUNDLE, RELAY, REPLY, WHOLE, Reader, Writer
from schemas.frames import unpack
from schemas.problems import Problem, Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

PIECE_MIN, PIECE_START, PIECE_MAX = 8 * 1024, 128 * 1024, 2 * 1024 * 1024
PATIENCE, PATIENCE_UNMET = 12, 2
TIMEOUT_S = 60.0
_BEGINS = b"ORSR"


_BY_HAND = "write all that waits with --out FILE, and carry it to sync-server take there"


class NoWay(Exception):
    """The server does not answer. What was passed on stays passed on; the rest is in the tray."""


@dataclass(frozen=True, slots=True)
class Found:
    """One bundle that was met: whose it is, and where it stands."""

    file: str
    device: str
    state: str
    """waits, receipts here (in the tray), receipts given back (beside the bundle), or damaged."""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Tray:
    folder: Path

    @classmethod
    def open(cls, folder: Path) -> Tray:
        for part in ("bundles", "receipts"):
            (folder / part).mkdir(mode=0o700, parents=True, exist_ok=True)
        return cls(folder)

    def bundle(self, name: str) -> Path:
        return self.folder / "bundles" / f"{name}.bundle"

    def receipts(self, name: str) -> Path:
        return self.folder / "receipts" / f"{name}.receipts"

    def waiting(self) -> list[Path]:
        """The bundles that nobody has given receipts for yet, the smallest first."""
        files = (self.folder / "bundles").glob("*.bundle")
        return sorted(files, key=lambda one: (one.stat().st_size, one.name))


def collect(tray: Tray, sticks: Sequence[Path]) -> list[Found]:
    """Take up what lies on the sticks (folders or files), and give back what came for it.

    Receipts are put beside the bundle they are for, as FILE.receipts.
    """
    met = [(file, *_met(tray, file)) for stick in sticks for file in _files(stick)]
    return [_give_back(tray, *one) for one in met if one[1] in {"bundle", "damaged"}]


def _files(stick: Path) -> Iterator[Path]:
    if stick.is_file():
        yield stick
        return
    for file in sorted(stick.rglob("*")):
        if file.is_file() and not file.is_symlink():
            with file.open("rb") as source:
                if source.read(len(_BEGINS)) == _BEGINS:
                    yield file


def _met(tray: Tray, file: Path) -> tuple[str, str, str]:
    """What the file is, whose, and the name of the bundle that it is or is for; "" for a relay."""
    with file.open("rb") as source:
        try:
            reader = Reader(source)
            if reader.opening.kind == RELAY:
                for kind, data in reader.frames():
                    if kind == WHOLE:
                        _keep(tray, Reader(io.BytesIO(data)), data)
                return "", "", ""
            source.seek(0)
            name = _keep(tray, reader, source.read())
        except Refused as error:
            # What is whole in it was kept; the other files on the stick have their turn.
            return "damaged", "", error.problem.sentence()
    what = "bundle" if reader.opening.kind == BUNDLE else "reply"
    return what, str(reader.opening.header.get("device", "")), name


def _keep(tray: Tray, reader: Reader, data: bytes) -> str:
    """Keep a whole bundle or reply in the tray, once; the bundle's name."""
    if reader.opening.kind == BUNDLE:
        name = reader.sha256.hex()
        if not tray.receipts(name).exists():
            _write(tray.bundle(name), data)
        return name
    name = str(reader.opening.header.get("for", ""))
    if reader.opening.kind != REPLY or len(name) != 64 or not name.isalnum():
        raise Refused("malformed", "neither a bundle nor a reply")
    _write(tray.receipts(name), data)
    tray.bundle(name).unlink(missing_ok=True)
    return name


def _give_back(tray: Tray, file: Path, what: str, device: str, name: str) -> Found:
    if what == "damaged":
        return Found(str(file), "", what, name)
    if not tray.receipts(name).exists():
        return Found(str(file), device, "waits")
    _write(file.with_name(file.name + ".receipts"), tray.receipts(name).read_bytes())
    return Found(str(file), device, "receipts given back")


def _write(place: Path, data: bytes) -> None:
    """Whole or not at all, and on the disk; the same again changes nothing."""
    if place.exists() and place.read_bytes() == data:
        return
    fresh = place.with_name(place.name + ".part")
    with fresh.open("wb") as out:
        out.write(data)
        out.flush()
        os.fsync(out.fileno())
    fresh.replace(place)


def write(tray: Tray, out: Path, *, made_ms: int) -> int:
    """Put all that waits into one file, to be carried on to `sync-server take`; how many."""
    fresh = out.with_name(out.name + ".part")
    files = tray.waiting()
    with fresh.open("wb") as target:
        writer = Writer(target, RELAY, {"made": made_ms})
        for file in files:
            writer.add(WHOLE, file.read_bytes())
        writer.end(lambda _: bytes(64))
    fresh.replace(out)
    return len(files)


def pass_on(
    tray: Tray, url: str, *, sleep: Callable[[float], None], tell: Callable[[str], None]
) -> list[Found]:
    """Bring what waits to the server at `url`, and its receipts into the tray.

    One that the server refuses stays in the tray, with the reason. `tell` hears what goes wrong and
    is tried again. Raises `NoWay`.
    """
    if not url.startswith(("http://", "https://")):
        raise NoWay(f"{url} is no address of a server: it begins with https://")
    done = []
    for file in tray.waiting():
        data = file.read_bytes()
        reader = Reader(io.BytesIO(data))
        device = str(reader.opening.header.get("device", ""))
        try:
            reply = _Upload(url, device, data, sleep, tell).run()
            _keep(tray, Reader(io.BytesIO(reply)), reply)
            done.append(Found(file.name, device, "receipts here"))
        except Refused as error:
            why = error.problem.sentence()
            if error.problem.code == "signature-wrong":
                why += f" Or the server is older than the device's program: {_BY_HAND}."
            why = f"{why} It stays in the tray until someone deletes it."
            done.append(Found(str(file), device, "waits", why))
    return done


class _Upload:
    """One bundle on its way, in pieces that become small where the link is bad."""

    def __init__(
        self,
        url: str,
        device: str,
        data: bytes,
        sleep: Callable[[float], None],
        tell: Callable[[str], None],
    ) -> None:
        self._where = f"{url.rstrip('/')}/sync/v1/bundles/{device}/{sha256(data).hexdigest()}"
        self._data = data
        self._sleep, self._tell = sleep, tell
        self._piece = PIECE_START
        self._fails = 0
        self._met = False

    def run(self) -> bytes:
        """The reply. Raises `Refused`, `NoWay`."""
        at: int | None = None
        while True:
            try:
                if at is None:
                    at = self._held()
                while at < len(self._data):
                    at = self._send(at)
                _, _, reply = self._ask("GET")
            except (OSError, EOFError, http.client.HTTPException) as error:
                self._failed(error)
                at = None
            except Refused as error:
                # Another laptop brought another bundle of this device meanwhile: from the start.
                if error.problem.code not in {"blob-unknown", "blob-differs"}:
                    raise
                self._failed(error)
                at = None
            else:
                return reply

    def _held(self) -> int:
        try:
            offset = self._ask("HEAD")[1].get("Upload-Offset", "")
            return int(offset) if offset.isdecimal() else 0
        except Refused as error:
            if error.problem.code != "blob-unknown":
                raise
            return 0

    def _send(self, at: int) -> int:
        piece = self._data[at : at + self._piece]
        head = {"Upload-Offset": str(at), "Upload-Length": str(len(self._data))}
        status, told, _ = self._ask("PATCH", piece, head)
        offset = told.get("Upload-Offset", "")
        if not offset.isdecimal():
            raise self._no_server(f"status {status}")
        if status != 409:
            self._fails = 0
            self._piece = min(self._piece * 2, PIECE_MAX)
        return int(offset)

    def _no_server(self, answered: str) -> NoWay:
        return NoWay(
            f"what answers at {self._where.partition('/sync/')[0]} ({answered}) takes no bundles: a "
            f"sign-in page of the network, another server, or an older one. Check the address, or "
            f"{_BY_HAND}"
        )

    def _failed(self, error: Exception) -> None:
        self._fails += 1
        self._piece = max(PIECE_MIN, self._piece // 4)
        where, why = self._where.partition("/sync/")[0], getattr(error, "reason", error)
        cause = str(getattr(why, "strerror", "") or why).rstrip(".")
        told = f"{where} does not answer ({cause})"
        if self._fails >= (PATIENCE if self._met else PATIENCE_UNMET):
            raise NoWay(f"{told}. Nothing is lost: give the same command again") from error
        wait_s = min(30.0, 0.1 * 2.0**self._fails)
        self._tell(f"{told}; again in {wait_s:.1f} s")
        self._sleep(wait_s)

    def _ask(
        self, method: str, body: bytes | None = None, head: dict[str, str] | None = None
    ) -> tuple[int, Any, bytes]:
        """Status, headers and body. Raises `Refused` for what the server says, OSError for the wire."""
        request = urllib.request.Request(  # noqa: S310  the address is what a person typed
            self._where, data=body, headers=head or {}, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as reply:  # noqa: S310
                self._met = True
                return reply.status, reply.headers, _whole(reply)
        except urllib.error.HTTPError as error:
            with error:
                if error.code == 409 and error.headers.get("Upload-Offset"):
                    return error.code, error.headers, b""
                if error.code < 500 and method == "HEAD":
                    # An answer to HEAD has no words: whatever is wrong, the first piece is told it.
                    raise Refused("blob-unknown") from error
                content = error.read()
            problem = _problem(content)
            if problem is None and error.code < 500:
                raise self._no_server(f"status {error.code}") from error
            problem = problem or Problem("busy", f"status {error.code}")
            if problem.kind.again:
                raise OSError(problem.sentence()) from error
            raise Refused(problem.code, problem.detail) from error


def _whole(reply: Any) -> bytes:
    data: bytes = reply.read()
    told = reply.headers.get("Content-Length")
    if told and reply.status == 200 and len(data) != int(told):
        raise EOFError("the reply was cut short")
    return data


def _problem(body: bytes) -> Problem | None:
    """What the server says is wrong; None where no sync server speaks."""
    try:
        told, _ = unpack(body)
        return Problem(str(told.get("code", "")), str(told.get("detail", ""))[:300])
    except (Refused, ValueError):
        return None
