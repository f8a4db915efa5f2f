"""A programme's expressions, in the forms' own language, worked out over one record.

They mean here what they mean in an interview: `forms.rules` is that language, asked about a record.
`${field}` is a field of the record, `${members}` its members, whose fields stand inside.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from forms.rules import Rule
    from sync_server.programme import Household

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TODAY = re.compile(r"\b(today|now)\s*\(")


class Expressions:
    """Judges by the forms' engine.

    Knows neither time nor luck: a verdict is the same whenever it is asked for.
    """

    def problem(self, expression: str) -> str | None:
        """Why this is no expression, or None."""
        try:
            _rule(expression)
        except ValueError as wrong:
            return str(wrong)
        # Asked of what is outside of quotes only.
        if _TODAY.search(re.sub(r"'[^']*'|\"[^\"]*\"", "''", expression)):
            return "a verdict may not depend on the day: use the record's fields"
        return None

    def true(self, expression: str, record: Household) -> bool:
        asked = _asked(expression, record)
        return asked.rule.boolean(asked.fields, asked.members, now=EPOCH)

    def number(self, expression: str, record: Household) -> float:
        """The number, or NaN where the expression gives none."""
        asked = _asked(expression, record)
        return asked.rule.number(asked.fields, asked.members, now=EPOCH)


JUDGE = Expressions()


@lru_cache(maxsize=256)
def _rule(expression: str) -> Rule:
    from forms.rules import rule  # noqa: PLC0415  the engine is read when it is first needed

    return rule(expression)


class _Asked(NamedTuple):
    """A rule, and as much of a record as it reads."""

    rule: Rule
    fields: dict[str, str]
    members: list[dict[str, str]]


def _asked(expression: str, record: Household) -> _Asked:
    rule = _rule(expression)
    return _Asked(
        rule,
        {name: record.fields[name] for name in rule.fields if name in record.fields},
        [{name: one[name] for name in rule.member_fields if name in one} for one in record.members],
    )
