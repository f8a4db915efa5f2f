"""Devices that break, are copied, are stolen: by the commands that a person types."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

import demo

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ANSWERS = demo.SAMPLES / "answers"


@pytest.fixture
def journey(tmp_path: Path) -> Iterator[demo.Journey]:
    made = demo.Journey(tmp_path, verbose=False)
    made.at_server("init", "--url", made.address)
    made.at_server(
        "users", "add", "amina", "--role", "supervisor", "--password-file", made.secret("amina")
    )
    made.at_server("publish", demo.SAMPLES / "household_registration.xlsx")
    made.serve()
    demo.enrol_device(made, "tablet")
    yield made
    made.unplug()


def register(journey: demo.Journey, device: str, number: int) -> None:
    journey.at_device(
        device,
        "register",
        "household_registration",
        "--answers",
        ANSWERS / f"household-{number}.json",
    )


def taken_in(journey: demo.Journey) -> list[tuple[str, int, str]]:
    """(device, counter, state) of every submission that the server has."""
    found = []
    for batch in journey.listed("review", "list", "--kind", "batch", "--all"):
        shown = journey.listed("review", "show", batch["subject"])
        found += [
            (batch["subject"].partition(":")[0], one["counter"], one["state"])
            for one in shown["submissions"]
        ]
    return sorted(found)


def test_the_unsent_work_of_a_broken_laptop_is_taken_in_exactly_once(journey: demo.Journey):
    register(journey, "tablet", 1)
    register(journey, "tablet", 2)
    backup = journey.folder / "tablet.backup"
    journey.at_device("tablet", "backup", backup)
    assert b"Diallo" not in backup.read_bytes()

    journey.at_server("recover", backup)
    once = taken_in(journey)
    journey.at_server("recover", backup)
    journey.at_device("tablet", "sync")  # it was not broken after all

    assert [(counter, state) for _, counter, state in once] == [(1, "checked"), (2, "checked")]
    assert taken_in(journey) == once
    assert "waiting        0" in journey.at_device("tablet", "status")


def test_of_two_devices_from_one_copy_the_second_is_held_for_a_person(journey: demo.Journey):
    shutil.copytree(journey.folder / "tablet", journey.folder / "twin")
    shutil.copy(journey.secret("tablet"), journey.folder / "secrets" / "twin")
    register(journey, "tablet", 1)
    register(journey, "twin", 2)
    journey.at_device("tablet", "sync")
    told = journey.run(
        "field-agent", "--home", journey.folder / "twin",
        "--passphrase-file", journey.secret("twin"), "sync", "--json",
    )  # fmt: skip

    assert '"held": true' in told
    assert "restored from a copy" in told
    assert [state for _, _, state in taken_in(journey)].count("checked") == 1

    for subject in (one["subject"] for one in journey.listed("review", "list")):
        if "held" not in journey.at_server("review", "show", subject):
            continue
        assert "review release" in journey.at_server(
            "review", "approve", subject, *journey.officer("amina"), expect=1
        )
        journey.at_server("review", "release", subject, "1", *journey.officer("amina"))
        journey.at_server("review", "release", subject, "1", *journey.officer("amina"), expect=1)
        journey.at_server("review", "approve", subject, *journey.officer("amina"))

    assert [state for _, _, state in taken_in(journey)] == ["checked", "checked"]


def test_a_revoked_device_erases_its_key_at_the_next_contact(journey: demo.Journey):
    register(journey, "tablet", 1)
    (device,) = journey.listed("devices", "list")
    journey.at_server("devices", "revoke", device["device"])
    journey.at_device("tablet", "sync", expect=1)

    told = journey.at_device("tablet", "list", expect=1)

    assert "revoked" in told.lower()
    assert not any(b"Diallo" in file.read_bytes() for file in (journey.folder / "tablet").iterdir())
