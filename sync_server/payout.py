"""The payment list:

a CSV that a bank or a mobile money house can read and a spreadsheet cannot run.
"""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

COLUMNS = ("payment", "household", "name", "channel", "account", "currency", "amount")
ANSWERED = ("payment", "status", "reference", "amount")
# A cell that a spreadsheet would run, or that begins like one after what it skips (OWASP, CSV
# injection).
RUNS = re.compile(r"^[\s\x00]*[=+\-@|%\t\r\n]")
# What a spreadsheet takes for a plain number is not run by it, and an apostrophe in front of a
# telephone number would send money nowhere.
PHONE = re.compile(r"^\+[0-9]{1,15}$")
_TOTAL = "total"


@dataclass(frozen=True, slots=True)
class Instruction:
    """Pay `amount_minor` of `currency` to one household.

    `payment` is its id, made before the first try.
    """

    payment: str
    household: str
    name: str
    channel: str
    account: str
    currency: str
    amount_minor: int
    minor_digits: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What the payer said about one payment. `paid` is False when the money came back."""

    payment: str
    paid: bool
    reference: str
    amount_minor: int


def money(amount_minor: int, minor_digits: int) -> str:
    """`123456` with two digits is `1234.56`: exact, without grouping, a point for the fraction."""
    sign, digits = ("-" if amount_minor < 0 else ""), str(abs(amount_minor))
    if not minor_digits:
        return sign + digits
    digits = digits.rjust(minor_digits + 1, "0")
    return f"{sign}{digits[:-minor_digits]}.{digits[-minor_digits:]}"


def minor(text: str, minor_digits: int) -> int | None:
    """The minor units of an amount as `money` writes it, or None where it is no such amount."""
    shape = re.fullmatch(r"(-?)([0-9]+)(?:\.([0-9]+))?", text.strip())
    if shape is None or len(shape[3] or "") > minor_digits:
        return None
    return int(shape[1] + shape[2] + (shape[3] or "").ljust(minor_digits, "0"))


def harmless(cell: str) -> str:
    """The cell as a spreadsheet shows it and never runs it: an apostrophe goes before a formula."""
    if PHONE.fullmatch(cell) or not RUNS.match(cell):
        return cell.replace("\x00", "")
    return "'" + cell.replace("\x00", "")


def written(instructions: Sequence[Instruction]) -> str:
    """The list as CSV (RFC 4180):

    a line for each payment, in order of id, and the total of each currency last.
    """
    out = io.StringIO()
    sheet = csv.writer(out, lineterminator="\r\n")
    sheet.writerow(COLUMNS)
    totals: dict[tuple[str, int], int] = {}
    for one in sorted(instructions, key=lambda each: each.payment):
        sheet.writerow(
            [
                harmless(cell)
                for cell in (
                    one.payment,
                    one.household,
                    one.name,
                    one.channel,
                    one.account,
                    one.currency,
                    money(one.amount_minor, one.minor_digits),
                )
            ],
        )
        key = (one.currency, one.minor_digits)
        totals[key] = totals.get(key, 0) + one.amount_minor
    for (currency, digits), total in sorted(totals.items()):
        lines = sum(1 for one in instructions if one.currency == currency)
        sheet.writerow([_TOTAL, "", f"{lines} payments", "", "", currency, money(total, digits)])
    return out.getvalue()


def answered(text: str, *, minor_digits: int) -> tuple[tuple[Answer, ...], tuple[str, ...]]:
    """The payer's answers out of a CSV with the columns of `ANSWERED`, and what could not be read,
    each with its row.
    """
    rows = csv.DictReader(io.StringIO(text.lstrip("\ufeff")))
    missing = [name for name in ANSWERED if name not in (rows.fieldnames or ())]
    if missing:
        return (), (f"row 1: the column {missing[0]} is missing; needed are {', '.join(ANSWERED)}",)
    read: list[Answer] = []
    faults: list[str] = []
    for number, row in enumerate(rows, 2):
        payment, status = (row["payment"] or "").strip(), (row["status"] or "").strip().lower()
        if payment == _TOTAL:
            continue
        amount = minor(row["amount"] or "", minor_digits)
        if status not in {"paid", "failed"}:
            faults.append(f"row {number}: status is {status or 'empty'!r}; it is paid or failed")
        elif amount is None:
            faults.append(
                f"row {number}: {row['amount']!r} is no amount with {minor_digits} digits"
            )
        else:
            read.append(Answer(payment, status == "paid", (row["reference"] or "").strip(), amount))
    return tuple(read), tuple(faults)


def total_minor(instructions: Iterable[Instruction]) -> int:
    return sum(one.amount_minor for one in instructions)
