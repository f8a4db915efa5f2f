"""The room that is kept on the disk for the day when it is full."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from field_agent import room, trouble
from tests.device.small_disk import NO_DISK


def test_on_a_full_disk_a_device_still_reads_and_sends_and_counts_tries(tmp_path):
    """On a real one of four megabytes, where this machine lets us make it."""
    unshare = shutil.which("unshare")
    if unshare is None:
        pytest.skip("no unshare here: a small disk cannot be made")
    ran = subprocess.run(
        [
            *(unshare, "--user", "--map-root-user", "--mount"),
            *(sys.executable, "-m", "tests.device.small_disk", tmp_path),
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    if ran.returncode == NO_DISK or ran.stderr.startswith("unshare: "):
        pytest.skip(f"a small disk cannot be made here: {ran.stderr.strip()}")
    assert ran.returncode == 0, ran.stderr


def test_what_is_given_up_is_for_reading_and_sending_only(tablet):
    tablet.fill("e1", {"/data/name": "Amina"})
    assert (tablet.home / room.FILE).stat().st_size == room.SIZE
    (count,) = tablet.store._one("PRAGMA page_count")
    tablet.store._one(f"PRAGMA max_page_count = {count}")
    with pytest.raises(trouble.DiskFull):
        tablet.store.attach("e1", "photo.jpg", "image/jpeg", [bytes(500_000)])
    tablet.store._one("PRAGMA max_page_count = 1000000")
    assert not (tablet.home / room.FILE).exists()
    # Its place is taken: the disk has no room to be kept again.
    (tablet.home / room.FILE).mkdir()
    tablet.store.keep("clock", 1)
    for adds in (
        lambda: tablet.store.save("e1", "/data/age", 7),
        lambda: tablet.store.attach("e1", "p.jpg", "image/jpeg", [b"p"]),
        lambda: tablet.fill("e2", {}),
        lambda: tablet.finish("e1"),
    ):
        with pytest.raises(trouble.DiskFull, match="free some space"):
            adds()
    (tablet.home / room.FILE).rmdir()
    tablet.store.save("e1", "/data/age", 7)
    assert tablet.finish("e1").counter == 1
    assert (tablet.home / room.FILE).exists()
