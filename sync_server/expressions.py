"""A programme's expressions, in the forms' own language, worked out over one record.

Each expression becomes a form of one calculation, so that it means here what it means in an
interview: the same
engine runs both. `${field}` is a field of the record, `${members}` its members, whose fields stand
inside.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape, quoteattr

from sync_server.programme import NAMED

if TYPE_CHECKING:
    from forms.form import Form
    from sync_server.programme import Household

_NAME = re.compile(r"[A-Za-z_][\w.-]*")
_WORD = re.compile(r"[A-Za-z_][\w.-]*")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Expressions:
    """Judges by the forms' engine.

    Knows neither time nor luck: a verdict is the same whenever it is asked for.
    """

    def problem(self, expression: str) -> str | None:
        """Why this is no expression, or None."""
        if re.search(r"\b(today|now|random|uuid|once|instance)\s*\(", expression):
            return (
                "a verdict may not depend on the day, on luck, or on lists: use the record's fields"
            )
        try:
            _form(expression)
        except ValueError as wrong:
            return str(wrong)
        return None

    def true(self, expression: str, record: Household) -> bool:
        return _worked_out(f"string(boolean({expression}))", record) == "true"

    def number(self, expression: str, record: Household) -> float:
        """The number, or NaN where the expression gives none."""
        try:
            return float(_worked_out(f"string(number({expression}))", record) or "nan")
        except ValueError:
            return float("nan")


JUDGE = Expressions()


@lru_cache(maxsize=256)
def _form(expression: str) -> Form:
    from forms.form import Form  # noqa: PLC0415  the engine is read when it is first needed

    names = dict.fromkeys(NAMED.findall(expression))
    inside = NAMED.sub("", expression)
    members = "members" in names
    # Words beside the named fields are functions, operators, or the members' own fields: a field
    # that the
    # calculation does not ask for does no harm.
    words = dict.fromkeys(_WORD.findall(re.sub(r"'[^']*'|\"[^\"]*\"", "", inside)))
    fields = [name for name in names if name != "members"]
    nodes = "".join(f"<{name}/>" for name in fields)
    if members:
        nodes += '<members jr:template="">' + "".join(f"<{word}/>" for word in words) + "</members>"
    calculation = NAMED.sub(lambda found: f" /data/{found[1]} ", expression)
    repeat = (
        '<group ref="/data/members"><repeat nodeset="/data/members"/></group>' if members else ""
    )
    xml = (
        '<h:html xmlns="http://www.w3.org/2002/xforms" xmlns:h="http://www.w3.org/1999/xhtml"'
        ' xmlns:jr="http://openrosa.org/javarosa"><h:head><h:title>rule</h:title><model>'
        f'<instance><data id="rule">{nodes}<result/></data></instance>'
        f'<bind nodeset="/data/result" type="string" calculate={quoteattr(calculation)}/>'
        f"</model></h:head><h:body>{repeat}</h:body></h:html>"
    )
    return Form.load(xml)


def _worked_out(expression: str, record: Household) -> str:
    from forms.context import Context  # noqa: PLC0415  the engine is read when it is first needed
    from forms.entry import Entry  # noqa: PLC0415  as above

    form = _form(expression)
    names = dict.fromkeys(NAMED.findall(expression))
    nodes = "".join(
        f"<{name}>{escape(record.fields.get(name, ''))}</{name}>"
        for name in names
        if name != "members"
    )
    if "members" in names:
        for person in record.members:
            said = "".join(
                f"<{name}>{escape(value)}</{name}>"
                for name, value in person.items()
                if _NAME.fullmatch(name)
            )
            nodes += f"<members>{said}</members>"
    saved = f'<data id="rule">{nodes}<result/></data>'.encode()
    context = Context(now=lambda: EPOCH, new_uuid=lambda: "", random=lambda: 0.0)
    entry = Entry.resume(form, saved, context)
    return entry.state("/data/result").value
