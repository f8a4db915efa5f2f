"""Somebody who fills in any form with answers that it takes, decided by a seed."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta, timezone
from itertools import count
from typing import TYPE_CHECKING
from uuid import UUID

from forms.context import Context
from forms.entry import Entry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from forms.entry import State
    from forms.form import Form

ASKS_NOTHING = {"group", "repeat", "instance", "node"}
PLACES = ("12.5 -3.25 100 5", "41.3 69.2 0 0")
TRIES = 40


def context(luck: random.Random, hours: int = 0) -> Context:
    ticks, ids = count(), random.Random(luck.random())
    zone = timezone(timedelta(hours=hours))
    begun = datetime(2026, 11, 23, 22, 30, tzinfo=UTC)
    return Context(
        now=lambda: begun + timedelta(minutes=next(ticks)),
        new_uuid=lambda: str(UUID(int=ids.getrandbits(128), version=4)),
        random=luck.random,
        zone=zone,
    )


def filled(form: Form, luck: random.Random, *, repeats: int = 3, hours: int = 0) -> Entry:
    """An entry with every required question answered, and some of the others."""
    entry = Entry.start(form, context(luck, hours))
    done: set[str] = set()
    while _step(entry, luck, done, repeats):
        pass
    return entry


def _step(entry: Entry, luck: random.Random, done: set[str], repeats: int) -> bool:
    """Walk on to the first question not yet seen, and answer it; False at the end."""
    for state in entry.walk():
        if state.ref in done:
            continue
        if state.kind == "repeat":
            done.add(state.ref)
            if state.parameters.get("fixed") == "true":
                continue
            for _ in range(luck.randint(0, repeats)):
                entry.add_repeat(state.ref)
            return True
        if state.kind in ASKS_NOTHING or state.readonly:
            continue
        done.add(state.ref)
        if not state.required and luck.random() < 0.25:
            continue
        for answer in _answers(state, luck):
            if entry.answer(state.ref, answer, keep_faulty=False).fault is None:
                return True
        entry.answer(state.ref, "")
        return True
    return False


def _answers(state: State, luck: random.Random) -> Iterator[str]:
    """Some answers of the question's type, likely ones first."""
    names = [choice.value for choice in state.choices]
    for _ in range(TRIES):
        if state.kind == "select1":
            if names:
                yield luck.choice(names)
        elif state.kind == "select":
            if names:
                yield " ".join(luck.sample(names, luck.randint(1, len(names))))
        elif state.kind == "rank":
            yield " ".join(luck.sample(names, len(names)))
        elif state.kind == "trigger":
            yield "OK"
        elif state.kind == "upload":
            yield f"file{luck.randint(1, 9)}.jpg"
        elif state.kind == "range":
            yield str(int(float(state.parameters.get("start", "1"))))
        elif state.type == "int":
            yield str(luck.choice([luck.randint(0, 6), luck.randint(0, 99)]))
        elif state.type == "decimal":
            yield luck.choice([str(luck.randint(0, 500)), f"{luck.randint(0, 500)}.25"])
        elif state.type == "date":
            yield f"{luck.randint(1960, 2025)}-{luck.randint(1, 12):02}-{luck.randint(1, 28):02}"
        elif state.type == "time":
            yield f"{luck.randint(0, 23):02}:30:00.000Z"
        elif state.type == "dateTime":
            yield f"2025-0{luck.randint(1, 9)}-1{luck.randint(0, 9)}T08:00:00.000Z"
        elif state.type == "geopoint":
            yield luck.choice(PLACES)
        elif state.type in {"geotrace", "geoshape"}:
            yield "; ".join((*PLACES, "1 1 0 0", PLACES[0]))
        else:
            yield luck.choice(
                [
                    "Ada",
                    "Zoë Núñez",
                    "0712345678",
                    "a < b & c",
                    "AB123",
                    "1234567890",
                    "x@y.example",
                ]
            )
