"""What is wrong with a form: where it stands, why it is refused, what to do."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One reason to refuse a form.

    `sheet` is "survey", "choices", "settings", "entities", ... or "" where the problem is the
    file's own; `row` is the spreadsheet's own number (the heading is row 1), a line where there is
    no sheet, as in an XForm made elsewhere, or None where it is not known; `question` is a name,
    or "".
    """

    sheet: str
    row: int | None
    question: str
    reason: str

    def __str__(self) -> str:
        where = self.sheet
        if self.row is not None:
            where = f"{where} row {self.row}" if where else f"line {self.row}"
        if self.question:
            where += f" ({self.question})" if where else self.question
        return f"{where}: {self.reason}" if where else self.reason


class BrokenForm(ValueError):
    """The form cannot be used. `problems` says where and why; nothing else was touched."""

    def __init__(self, problems: tuple[Problem, ...], *, form: str = "") -> None:
        self.problems = problems
        self.form = form
        told = "; ".join(map(str, problems)) or "the form is broken"
        super().__init__(f"{form}, {told}" if form else told)
