"""Small worlds: devices that edit offline and come home in any order, and a desk that settles."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from conflict import (
    EXISTS,
    NO,
    YES,
    Change,
    Dot,
    Policies,
    Record,
    Value,
    delete,
    fold,
    live_dots,
    settle,
    written,
)

POLICIES = Policies(
    fields={
        "size": "last-writer",
        "village": "immutable",
        "dose": "max",
        "since": "min",
        "needs": "union",
        "visits": "sum",
        "shelter": "review",
    },
    sorts={"mobile": "phone"},
    aliases={"hh_size": "size"},
)
HOUSE = ("name", "size", "village", "dose", "since", "needs", "visits", "shelter", "account_no")
PEOPLE = ("m1", "m2")
MEMBER = ("name", "dob", "phone", "role")
NUMBERS = frozenset({"dose", "visits", "size"})


def value_for(luck: random.Random, path: str) -> Value:
    name = path.rpartition("/")[2]
    if name == EXISTS:
        return YES
    if name in {"needs", "phone"}:
        return tuple(sorted(luck.sample(("food", "water", "cash", "tent"), luck.randrange(1, 4))))
    if name in {"since", "dob"}:
        return f"20{luck.randrange(10, 20)}-01-01"
    if luck.random() < 0.05 and name != "visits":
        return None
    if name in NUMBERS:
        return str(luck.randrange(0, 6))
    return luck.choice(("ali", "aly", "zo", "wood", "tent"))


@dataclass(slots=True)
class Device:
    name: str
    counter: int = 0
    view: Record | None = None
    outbox: list[Change] = field(default_factory=list)


@dataclass(slots=True)
class World:
    """What was written by whom, and in which order the server came to hear of it."""

    made: list[Change]
    arrived: list[Change]
    policies: Policies = POLICIES


def _edit(luck: random.Random, device: Device, paths: list[str], clock: int, kind: str) -> Change:
    device.counter += 1
    seen = (
        live_dots(device.view, [p for p in paths if p in device.view.fields]) if device.view else {}
    )
    dot = Dot(device.name, device.counter)
    # A wrong clock moves the stamp either way; the dot breaks the ties that this makes.
    effective = max(0, clock + luck.randrange(-4, 5))
    return Change(
        record="h1",
        dataset="households",
        dot=dot,
        author=f"author of {device.name}",
        at=f"2026-03-01T00:{clock:02}",
        effective=effective,
        source=f"{device.name}-{device.counter}",
        writes=written({path: value_for(luck, path) for path in paths}, seen),
        kind=kind,
        form_version=luck.choice(("1", "2")),
    )


def paths_for(luck: random.Random) -> list[str]:
    house = luck.sample(HOUSE, luck.randrange(0, 4))
    if luck.random() < 0.4 or not house:
        person = luck.choice(PEOPLE)
        chosen = luck.sample(MEMBER, luck.randrange(1, 3))
        house += [f"members/{person}/{name}" for name in chosen]
        if luck.random() < 0.2:
            house.append(f"members/{person}/{EXISTS}")
    return house


def world(seed: int, *, steps: int = 24, devices: int = 3) -> World:
    """A history of one household. Devices cannot read what they sent until they pull again."""
    luck = random.Random(seed)
    crew = [Device(f"tablet-{number}") for number in range(devices)]
    desk = Device("desk")
    first = _edit(
        luck, crew[0], [EXISTS, *HOUSE[:4], "members/m1/exists", "members/m1/name"], 0, "create"
    )
    made, server = [first], [first]
    for device in crew:
        device.view = fold(server, POLICIES)
    for clock in range(1, steps):
        device = luck.choice(crew)
        act = luck.random()
        if act < 0.5:
            change = _edit(luck, device, paths_for(luck), clock, "update")
            made.append(change)
            device.outbox.append(change)
        elif act < 0.6 and device.view and device.view.members:
            device.counter += 1
            change = delete(
                device.view,
                member=luck.choice(sorted(device.view.members)),
                dot=Dot(device.name, device.counter),
                author=f"author of {device.name}",
                at=f"2026-03-01T00:{clock:02}",
                effective=clock,
                source=f"{device.name}-{device.counter}",
            )
            made.append(change)
            device.outbox.append(change)
        elif act < 0.75:
            luck.shuffle(device.outbox)  # Batches are approved in any order.
            count = luck.randrange(len(device.outbox) + 1)
            server += device.outbox[:count]
            del device.outbox[:count]
        elif act < 0.9:
            device.view = fold(server, POLICIES)
        else:
            now = fold(server, POLICIES)
            if now.clashes:
                clash = luck.choice(now.clashes)
                desk.counter += 1
                answers = [*clash.values, clash.suggestion.value]
                value = luck.choice(answers)
                if clash.path.endswith(EXISTS):
                    value = luck.choice((YES, NO))
                change = settle(
                    now,
                    clash.path,
                    value,
                    dot=Dot("desk", desk.counter),
                    author="supervisor",
                    at=f"2026-03-01T00:{clock:02}",
                    effective=clock,
                    source=f"desk-{desk.counter}",
                )
                made.append(change)
                server.append(change)
    for device in crew:
        server += device.outbox
    return World(made, server)
