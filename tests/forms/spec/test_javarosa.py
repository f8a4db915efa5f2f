"""JavaRosa comes to the very values that are written out beside this file."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

import pytest

from tests.forms.peer import oracle
from tests.forms.spec import (
    test_entities,
    test_events,
    test_functions,
    test_lists,
    test_places,
    test_questions,
    test_repeats,
    test_times,
)

if TYPE_CHECKING:
    from tests.forms.spec.told import Case

CASES: dict[str, Case] = {
    f"{module.__name__.rpartition('.')[2]}: {name}": case
    for module in (
        test_entities,
        test_events,
        test_functions,
        test_lists,
        test_places,
        test_questions,
        test_repeats,
        test_times,
    )
    for name, case in module.CASES.items()
    if case.dialect == "collect" and not case.at
}


def told_by_javarosa() -> dict[str, list[str]]:
    """Where JavaRosa does not do what is written, by case, nowhere for most; one Java for each zone.
    A case for which a busy machine left it no time is not judged.
    """
    wrong: dict[str, list[str]] = {}
    for zone, group in groupby(sorted(CASES, key=lambda name: CASES[name].zone), _zone):
        names = list(group)
        told = oracle.replay([CASES[name].written(name) for name in names], zone)
        for name, one in zip(names, told, strict=True):
            if not one.get("timeout"):
                wrong[name] = CASES[name].faults(one)
    return wrong


def _zone(name: str) -> str:
    return CASES[name].zone


def test_javarosa_does_what_is_written_here_but_where_it_is_said_that_it_stops():
    try:
        oracle.classpath()
    except oracle.Missing as missing:
        pytest.skip(str(missing))
    wrong = told_by_javarosa()
    assert len(wrong) > len(CASES) / 2
    unexpected = {
        name: faults for name, faults in wrong.items() if faults and not CASES[name].stops
    }
    assert unexpected == {}
    stale = [name for name, faults in wrong.items() if CASES[name].stops and not faults]
    assert stale == [], "what JavaRosa does is no longer what is said of it"
