"""Several devices, one server, and a wire that loses, doubles, delays, cuts and turns around."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.sync.world import FAULTS, NO_NETWORK, Broken, Eager, Life, Office, Tablet

SCRIPT = st.one_of(st.just(NO_NETWORK), st.lists(st.sampled_from(FAULTS), max_size=8))
FEW = settings(
    max_examples=12,
    stateful_step_count=14,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


class World(RuleBasedStateMachine):
    """Every step leaves: acknowledged means held once, byte for byte; the rest is on the device."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        here = Path(self.folder.name)
        self.office = Office(here)
        self.tablets = [Tablet(self.office, here / f"tablet{n}") for n in range(2)]
        self.copy = here / "old-copy.db"
        self.restored = False
        self.restored_for: set[int] = set()
        self.carried = 0

    who = st.integers(0, 1)

    @rule(who=who, many=st.integers(1, 3))
    def finish(self, who, many):
        for _ in range(many):
            self.tablets[who].finish()

    @rule(who=who, size=st.sampled_from((1, 9_000, 70_000, 150_000)))
    def finish_with_a_photo(self, who, size):
        self.tablets[who].finish(file=size)

    @rule(who=who, script=SCRIPT)
    def sync(self, who, script):
        if self.tablets[who].sync(script) is not None:
            self.restored_for.discard(who)

    @rule(who=who)
    def device_dies(self, who):
        self.tablets[who].die()

    @rule()
    def server_starts_anew(self):
        self.office.again()

    @rule(who=who)
    def what_was_late_arrives(self, who):
        self.tablets[who].wire.arrive_late()

    @rule(who=who, back=st.booleans())
    def a_stick_is_carried(self, who, back):
        self.carried += 1
        self.tablets[who].carry(Path(self.folder.name) / f"{self.carried}.bundle", back=back)

    @precondition(lambda self: not self.copy.exists())
    @rule()
    def the_office_makes_a_copy(self):
        self.office.copy(self.copy)

    @precondition(lambda self: self.copy.exists() and not self.restored)
    @rule()
    def the_office_burns_and_the_copy_is_put_back(self):
        self.office.put_back(self.copy)
        self.restored = True
        self.restored_for.update((0, 1))

    @invariant()
    def nothing_is_lost_and_nothing_twice(self):
        for number, one in enumerate(self.tablets):
            one.check(restored=number in self.restored_for)

    def teardown(self):
        try:
            for one in self.tablets:
                while one.wire.late:
                    one.wire.arrive_late()
                # Two rounds: after a restore the first tells what the server lost.
                assert one.sync() is not None
                one.check_done()
        finally:
            for one in self.tablets:
                one.store.close()
            self.office.desk.close()
            self.folder.cleanup()


def test_nothing_is_lost_and_nothing_twice_whatever_the_wire_does():
    run_state_machine_as_test(World, settings=FEW)


def lives(folder: Path, **more) -> None:
    for seed in range(12):
        (folder / str(seed)).mkdir()
        Life(folder / str(seed), random.Random(seed)).live(20, **more)


def test_a_server_that_acknowledges_before_its_commit_is_caught(tmp_path):
    with pytest.raises(Broken, match="acknowledged and is nowhere"):
        lives(tmp_path, lies=True)


def test_a_device_that_calls_an_entry_sent_before_the_push_is_caught(tmp_path):
    with pytest.raises(Broken, match="acknowledged and is nowhere"):
        lives(tmp_path, make=Eager)
