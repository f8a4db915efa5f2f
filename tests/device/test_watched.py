"""Watched from outside: what reaches the disk, and what a power cut leaves of it."""

from __future__ import annotations

import random

import pytest

from schemas.frames import squeeze
from tests.campaigns import leaks, powercuts
from tests.device.forensics import encodings, planted_in
from tests.device.tracing import NoTrace


@pytest.mark.parametrize("word", ["Amina Khalilova", "مريم الزهراء", "41.311081 69.240562"])
def test_a_planted_word_is_found_in_each_of_eight_encodings(word):
    assert len(encodings(word)) == 8
    for name, code in encodings(word).items():
        data = bytes(range(256)) + code + bytes(range(255, -1, -1))
        assert (word, name) in planted_in(data, [word])
    assert planted_in(bytes(range(256)) * 50, [word]) == []
    packed = b"some head" + squeeze(word.encode() * 9) + b"some tail"
    assert [one for one, _ in planted_in(packed, [word])]


def test_nothing_planted_reaches_the_disk_in_the_clear_and_the_plain_control_is_full_of_it():
    try:
        size, _, found = leaks.search("sealed", random.Random("day"))
        _, planted, control = leaks.search("plain", random.Random("day"))
    except NoTrace as why:
        pytest.skip(str(why))
    assert size > 500_000
    assert found == []
    assert {word for word, _ in control} >= set(planted)


def test_no_power_cut_takes_an_acknowledged_answer_and_the_normal_control_loses_some():
    try:
        figures = powercuts.run(120, 7)
    except NoTrace as why:
        pytest.skip(str(why))
    assert (figures["cuts"], figures["lost"]) == (120, 0)
    assert figures["control lost"] > 0


def test_no_power_cut_on_a_disk_that_also_fails_takes_an_acknowledged_answer():
    """Over a fault-injecting SQLite VFS; the control with `synchronous = NORMAL` loses some."""
    figures = powercuts.run(150, 7, vfs=True)
    assert (figures["cuts"], figures["lost"]) == (150, 0)
    assert figures["control lost"] > 0
