"""Counts as people read them."""

from __future__ import annotations

import pytest

from schemas.words import counted


@pytest.mark.parametrize(
    ("count", "told"), [(0, "0 entries"), (1, "1 entry"), (2, "2 entries"), (11, "11 entries")]
)
def test_one_is_said_otherwise_than_none_and_many(count, told):
    assert counted(count, "entry", "entries") == told


def test_most_words_take_an_s():
    assert (counted(1, "receipt"), counted(2, "receipt")) == ("1 receipt", "2 receipts")
