"""Devices for the tests of this folder."""

from __future__ import annotations

import pytest

from tests.device.small import device


@pytest.fixture
def tablet(tmp_path):
    made = device(tmp_path / "tablet")
    yield made
    made.store.close()
