"""A disk of four megabytes, as a tmpfs of this process's own, and a device's life when it is full.

Run as `python -m tests.device.small_disk FOLDER` under `unshare`, by `test_room.py`.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from field_agent import room, vault
from field_agent.store import Store
from field_agent.trouble import DiskFull, WrongPassphrase
from tests.device.small import NOW, PASSPHRASE, QUICK, Device, device

NO_DISK = 77
"""The exit code where this machine allows no such disk."""


def free(place: Path) -> int:
    return shutil.disk_usage(place).free


def fill_up(place: Path) -> None:
    """Until not one byte is left, as photos of the family would."""
    with place.open("ab", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError as error:
            assert error.errno == errno.ENOSPC


def tries(home: Path) -> int:
    return int(json.loads((home / "key.json").read_text())["tries"])


def command(home: Path, secret: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            Path(sys.executable).parent / "field-agent",
            *("--home", home, "--passphrase-file", secret, *words),
        ],
        capture_output=True,
        text=True,
        check=False,
    )


def a_photo_too_large(tablet: Device) -> None:
    """It fails, and what it took is free again."""
    tablet.fill("e1", {"/data/name": "Amina"})
    before = free(tablet.home)
    with pytest.raises(DiskFull, match="free some space"):
        tablet.store.attach("e1", "photo.jpg", "image/jpeg", [os.urandom(4_000_000)])
    assert free(tablet.home) >= before, (free(tablet.home), before)
    tablet.store.save("e1", "/data/age", 31)
    assert (tablet.home / room.FILE).exists()
    tablet.store.attach("e1", "photo.jpg", "image/jpeg", [os.urandom(100_000)])
    assert tablet.finish("e1").counter == 1
    tablet.fill("e2", {"/data/name": "Zahra"})


def a_full_disk(home: Path, top: Path) -> None:
    """Reading and sending go on, tries are counted, and nothing is added."""
    fill_up(top / "photos")
    assert free(top) == 0
    with pytest.raises(WrongPassphrase):
        vault.unlock(home, "wrong passphrase", argon=QUICK)
    assert tries(home) == 1
    for _ in range(3):
        opened = vault.unlock(home, PASSPHRASE, argon=QUICK)
        assert tries(home) == 0
        with Store.open(opened, now_ms=NOW + 120_000) as store:
            assert store.draft("e2").answers == {"/data/name": "Zahra"}
            for number in range(200):
                store.keep("clock", number)
            with pytest.raises(DiskFull, match="free some space"):
                store.save("e2", "/data/age", 7)
        assert {file.name for file in home.iterdir()} == {"key.json", "store.db", room.FILE}


def its_commands(home: Path, top: Path, elsewhere: Path) -> None:
    fill_up(top / "photos")
    secret = elsewhere / "passphrase"
    secret.write_text(PASSPHRASE)
    for words in (("status",), ("list",), ("check",), ("bundle", str(elsewhere / "stick"))):
        ran = command(home, secret, *words)
        assert ran.returncode == 0, (words, ran.stderr)
        assert ran.stderr == "", (words, ran.stderr)
    ran = command(home, secret, "sync")
    assert ran.returncode == 1
    assert "does not answer" in ran.stderr, ran.stderr
    wrong = elsewhere / "wrong"
    wrong.write_text("not the passphrase")
    assert "does not fit" in command(home, wrong, "status").stderr
    assert command(home, secret, "status").returncode == 0


def a_device_that_never_had_room(home: Path, top: Path) -> None:
    """Nothing can be done there, and that is said; no try is made that cannot be counted."""
    (home / room.FILE).unlink()
    fill_up(top / "photos")
    before = (home / "key.json").read_bytes()
    with pytest.raises(OSError, match="No space left"):
        vault.unlock(home, "wrong passphrase", argon=QUICK)
    assert (home / "key.json").read_bytes() == before
    assert not (home / "key.json.new").exists()
    (top / "photos").unlink()
    with Store.open(vault.unlock(home, PASSPHRASE, argon=QUICK), now_ms=NOW + 120_000) as store:
        store.save("e2", "/data/age", 7)
        assert store.check() == ()
        assert store.left_aside == 0


def main(folder: Path) -> int:
    top = folder / "disk"
    top.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m,mode=700", "tmpfs", top],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        sys.stderr.write(mounted.stderr)
        return NO_DISK
    home = top / "device"
    tablet = device(home)
    nobody = replace(tablet.store.owner(), server_url="http://127.0.0.1:9")
    tablet.store.enrol(nobody, [tablet.programme.public], lease_s=0, now_ms=NOW)
    a_photo_too_large(tablet)
    tablet.store.close()
    a_full_disk(home, top)
    its_commands(home, top, folder)
    a_device_that_never_had_room(home, top)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
