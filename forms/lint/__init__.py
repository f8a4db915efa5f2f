"""Reads a form for its author: what will surprise, what can never happen, what will be slow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forms.lint import never, slow, surprises
from forms.lint.desk import BIG_LIST, Desk, Finding

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from forms.xlsform import XlsForm

__all__ = ["BIG_LIST", "RULES", "Finding", "lint"]


def lint(form: XlsForm, media: Mapping[str, bytes] | None = None) -> tuple[Finding, ...]:
    """What is to be said about a form that pyxform accepts, in the order of its rows.

    `media` are the files that go with it; lists in files that are not given are not judged.
    A form that was made elsewhere has no rows, and nothing is said about it.
    """
    desk = Desk(form, media or {})
    found = [
        Finding(each.sheet, each.row, each.question, "pyxform", each.reason, "note")
        for each in form.warnings
    ]
    for rule in RULES:
        found.extend(rule(desk))
    order = {"survey": 0, "choices": 1}
    return tuple(
        sorted(dict.fromkeys(found), key=lambda each: (order.get(each.sheet, 2), each.row or 0))
    )


RULES: tuple[Callable[[Desk], Iterator[Finding]], ...] = (
    surprises.regex_anchoring,
    surprises.date_as_number,
    surprises.date_as_text,
    surprises.hidden_answers,
    surprises.blank_in_arithmetic,
    surprises.sum_of_blanks,
    surprises.order_of_choices,
    surprises.repeat_count_lowered,
    surprises.bare_reference,
    surprises.overwritten_answer,
    never.cannot_be_answered,
    surprises.moving_today,
    never.unknown_choice,
    never.never_relevant,
    never.dead_choices,
    never.unused_list,
    never.choice_with_space,
    slow.slow,
)
"""Each rule alone can be read, tested and argued with."""
