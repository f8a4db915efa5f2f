"""A registration through the pages, and its sync: nothing of it is anywhere in the clear."""

from __future__ import annotations

import random

import pytest

from tests.campaigns import leaks
from tests.device.tracing import NoTrace


def test_nothing_planted_leaves_by_the_pages_or_the_wire_and_the_plain_control_is_full_of_it():
    """Files, temporary files, logs, the line and the server's database; a photo is attached too."""
    try:
        size, found, hits = leaks.at_doors(random.Random("doors"))
    except NoTrace as why:
        pytest.skip(str(why))
    assert size > 2_000_000
    assert found == []
    assert hits >= 16
