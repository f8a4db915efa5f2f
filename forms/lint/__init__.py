"""Reads a form for its author: what will surprise, what can never happen, what will be slow."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from forms.lint import lists, never, repeats, slow, surprises
from forms.lint.desk import BIG_LIST, Desk, Finding
from forms.lint.elsewhere import laid_out

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from forms.lint.desk import Severity
    from forms.problems import Problem
    from forms.xlsform import XlsForm

__all__ = ["BIG_LIST", "RULES", "Finding", "lint"]


def lint(form: XlsForm, media: Mapping[str, bytes] | None = None) -> tuple[Finding, ...]:
    """What is to be said about a form that pyxform accepts, in the order of its rows.

    `media` are the files that go with it; lists in files that are not given are not judged.
    A form that was made elsewhere has no sheets: its findings name the lines of the XForm, and
    raised is BrokenForm where the engine itself cannot read it.
    """
    elsewhere = not form.sheets
    desk = Desk(laid_out(form), media or {}, "line") if elsewhere else Desk(form, media or {})
    found = [
        Finding(each.sheet, each.row, each.question, *_kind(form, each))
        for each in desk.form.warnings
    ]
    for rule in RULES:
        found.extend(rule(desk))
    if elsewhere:
        found = [each if "." in each.sheet else replace(each, sheet="") for each in found]
    order = {"survey": 0, "choices": 1, "external_choices": 1, "": 0}
    return tuple(
        sorted(dict.fromkeys(found), key=lambda each: (order.get(each.sheet, 2), each.row or 0))
    )


def _kind(form: XlsForm, told: Problem) -> tuple[str, str, Severity]:
    """What publishing the form warns of as well: pyxform's advice, or what is hardly meant."""
    if told in form.remarks:
        return "pyxform", told.reason, "note"
    return "hardly-meant", told.reason, "warning"


RULES: tuple[Callable[[Desk], Iterator[Finding]], ...] = (
    surprises.regex_anchoring,
    surprises.regex_dialect,
    surprises.date_as_number,
    surprises.date_as_text,
    surprises.hidden_answers,
    surprises.blank_in_arithmetic,
    surprises.sum_of_blanks,
    surprises.order_of_choices,
    surprises.choice_of_several,
    surprises.repeat_count_lowered,
    surprises.bare_reference,
    surprises.literal_condition,
    surprises.text_in_order,
    surprises.number_as_text,
    surprises.max_below_zero,
    surprises.not_in_collect,
    surprises.overwritten_answer,
    surprises.moving_today,
    repeats.outside_repeat,
    repeats.own_instance,
    repeats.place_as_number,
    never.cannot_be_answered,
    never.unknown_choice,
    never.never_relevant,
    never.constraints,
    lists.dead_choices,
    lists.twice_in_a_file,
    lists.unused_list,
    lists.choice_with_space,
    slow.slow,
)
"""Each rule alone can be read, tested and argued with."""
