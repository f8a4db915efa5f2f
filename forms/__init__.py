"""XLSForms in; interviews asked, checked and finished out. Pure.

The check of a submission is `forms.check.check`, a spreadsheet's way in `forms.xlsform`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from forms.choices import Choice
    from forms.context import Context
    from forms.dialect import NoSuchDialect
    from forms.entry import (
        Changed,
        Entry,
        Fault,
        NoSuchLanguage,
        NoSuchNode,
        State,
    )
    from forms.finish import Submission, Unfinished
    from forms.form import Form, load
    from forms.language import TooCostly
    from forms.plant import WrongForm
    from forms.problems import BrokenForm, Problem

__all__ = [
    "BrokenForm",
    "Changed",
    "Choice",
    "Context",
    "Entry",
    "Fault",
    "Form",
    "NoSuchDialect",
    "NoSuchLanguage",
    "NoSuchNode",
    "Problem",
    "State",
    "Submission",
    "TooCostly",
    "Unfinished",
    "WrongForm",
    "load",
]

# Read when first asked for, so that a command that needs no form does not wait for the engine.
_HOMES = {
    "BrokenForm": "forms.problems",
    "Problem": "forms.problems",
    "Form": "forms.form",
    "load": "forms.form",
    "Context": "forms.context",
    "NoSuchDialect": "forms.dialect",
    "Choice": "forms.choices",
    "Submission": "forms.finish",
    "Unfinished": "forms.finish",
    "TooCostly": "forms.language",
    "WrongForm": "forms.plant",
} | dict.fromkeys(
    (
        "Changed",
        "Entry",
        "Fault",
        "NoSuchLanguage",
        "NoSuchNode",
        "State",
    ),
    "forms.entry",
)


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"forms has no {name!r}")
    return getattr(import_module(home), name)
