"""An author's sheets as each of the files that authors keep them in."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

import openpyxl

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Sheets = Mapping[str, Sequence[Sequence[str]]]

ASKED = ("type", "name", "label")


def survey(columns: str, *rows: str) -> Sheets:
    """A survey with type, name and label and these other columns; cells are parted by | signs."""
    heading = [*ASKED, *columns.split()]
    lines = [[cell.strip() for cell in row.split("|")] for row in rows]
    return {"survey": [heading, *lines]}


def sheet(name: str, *rows: str) -> Sheets:
    """A sheet of these lines, the first being its heading; cells are parted by | signs."""
    return {name: [[cell.strip() for cell in row.split("|")] for row in rows]}


YES_NO = sheet("choices", "list_name|name|label", "yn|yes|Yes", "yn|no|No")


def markdown(sheets: Sheets) -> bytes:
    lines = []
    for name, rows in sheets.items():
        lines.append(f"| {name} |")
        lines += [
            "| | " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows
        ]
    return "\n".join(lines).encode()


def comma_separated(sheets: Sheets) -> bytes:
    out = io.StringIO()
    writer = csv.writer(out)
    for name, rows in sheets.items():
        writer.writerow([name])
        for row in rows:
            writer.writerow(["", *row])
    return out.getvalue().encode()


def workbook(sheets: Sheets) -> bytes:
    made = openpyxl.Workbook()
    made.remove(made.worksheets[0])
    for name, rows in sheets.items():
        page = made.create_sheet(name)
        for row in rows:
            page.append([cell or None for cell in row])
    out = io.BytesIO()
    made.save(out)
    return out.getvalue()


WRITERS = {"form.md": markdown, "form.csv": comma_separated, "form.xlsx": workbook}
