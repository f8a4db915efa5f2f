"""Several devices, one server, and a wire that loses, doubles, delays, cuts and turns around."""

from __future__ import annotations

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

from tests.databases import KINDS, Postgres, Sqlite
from tests.sync.world import FAULTS, NO_NETWORK, SPOILS, STICK_FAULTS, Office, Tablet

SCRIPT = st.one_of(st.just(NO_NETWORK), st.lists(st.sampled_from(FAULTS), max_size=8))
FEW = settings(
    max_examples=12,
    stateful_step_count=16,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


class World(RuleBasedStateMachine):
    """Every step leaves: acknowledged means held once, byte for byte; the rest is on the device."""

    def __init__(self, postgres=None) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        here = Path(self.folder.name)
        (here / "copy").mkdir()
        self.database = Postgres(postgres) if postgres else Sqlite(here)
        self.office = Office(here, self.database)
        self.tablets = [Tablet(self.office, here / f"tablet{n}") for n in range(2)]
        self.copy = None
        self.restored = False
        self.restored_for: set[int] = set()

    who = st.integers(0, 1)
    which = st.integers(0, 5)

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

    @rule(many=st.sampled_from((1, 4, 130, 700)), luck=st.integers(0, 10**6))
    def the_registry_learns(self, many, luck):
        self.office.learn(many, luck=luck)

    @rule(who=who)
    def device_dies(self, who):
        self.tablets[who].die()

    @rule()
    def server_starts_anew(self):
        self.office.again()

    @rule(who=who, which=which)
    def what_was_late_arrives(self, who, which):
        self.tablets[who].wire.arrive_late(which)

    @rule(who=who)
    def a_stick_is_made(self, who):
        self.tablets[who].pack()

    @precondition(lambda self: any(one.sticks for one in self.tablets))
    @rule(who=who, which=which, fault=st.sampled_from(STICK_FAULTS))
    def the_office_takes_a_stick(self, who, which, fault):
        self.tablets[who].bring(which, fault)

    @precondition(lambda self: any(one.backs for one in self.tablets))
    @rule(who=who, which=which, fault=st.sampled_from(("", *SPOILS)))
    def receipts_come_home(self, who, which, fault):
        self.tablets[who].take_back(which, fault)

    @precondition(lambda self: not self.copy)
    @rule()
    def the_office_makes_a_copy(self):
        self.copy = self.office.copy(Path(self.folder.name) / "copy")

    @precondition(lambda self: self.copy and not self.restored)
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
                one.settle()
        finally:
            for one in self.tablets:
                one.store.close()
            self.office.desk.close()
            self.database.drop()
            if self.copy:
                self.copy.drop()
            self.folder.cleanup()


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_lost_and_nothing_twice_whatever_the_wire_does(kind, request):
    running = request.getfixturevalue("postgres") if kind == "postgres" else None
    run_state_machine_as_test(lambda: World(running), settings=FEW)
