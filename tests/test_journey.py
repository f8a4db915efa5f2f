"""The main job, end to end, by the commands that a person types: its numbers are these and no others."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

import demo

if TYPE_CHECKING:
    from pathlib import Path


def test_six_households_go_from_a_spreadsheet_to_a_payment_list(tmp_path: Path):
    journey = demo.Journey(tmp_path, verbose=False)
    try:
        payments = demo.travel(journey)
        demo.summary(journey, payments)
        enrolled = journey.listed("programme", "list")
        audited = journey.at_server("review", "audit")
        again = journey.at_server(
            "cycle", "pay-list", "family-support/2026-11", "--output", tmp_path / "again.csv"
        )
        status = journey.at_device("tablet", "status")
    finally:
        journey.unplug()

    assert journey.figures == {
        "registered": 6,
        "households": 6,
        "members": 21,
        "approvals": 9,
        "clashes": 1,
        "open clashes": 0,
        "payment lines": 4,
    }
    with payments.open(encoding="utf-8-sig", newline="") as lines:
        *paid, total = list(csv.DictReader(lines))
    assert {(one["name"], one["channel"], one["account"], one["amount"]) for one in paid} == {
        ("Amina Diallo", "mobile_money", "+2577000188", "22500.00"),
        ("Jean Niyonzima", "bank", "001-2233445-66", "20000.00"),
        ("Samuel Bizimana", "voucher", "", "17500.00"),
        ("Yusuf Said", "mobile_money", "+2577000104", "25000.00"),
    }
    assert (total["payment"], total["amount"]) == ("total", "85000.00")
    assert enrolled
    assert audited
    assert again is not None
    assert (tmp_path / "again.csv").read_bytes() == payments.read_bytes()
    assert "waiting        0" in status
    # Nothing that was answered lies readable in either device's folder.
    for device in ("tablet", "laptop"):
        for file in (tmp_path / device).rglob("*"):
            if file.is_file():
                held = file.read_bytes()
                assert b"Diallo" not in held
                assert b"+2577000101" not in held
