"""Hostile inputs: whatever comes in, only the declared errors come out, and within the budget."""

from __future__ import annotations

import io
import random
import time
import zipfile
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from forms.check import check
from forms.claims import BadClaim, claims
from forms.context import Context
from forms.entry import Entry, NoSuchNode
from forms.finish import Unfinished
from forms.form import Form
from forms.language import BadExpression, TooCostly
from forms.markup import BadMarkup
from forms.media import BadMedia, read_instance
from forms.plant import WrongForm
from forms.problems import BrokenForm
from forms.rules import rule
from forms.xlsform import compile_xlsform
from tests.campaigns import Figures, Violation

if TYPE_CHECKING:
    from collections.abc import Callable

SAMPLES = Path(__file__).parents[2] / "samples"
BUDGET_S = 10.0
"""No single input may hold the engine for longer; it is a budget against hanging, not a speed."""

DECLARED = (
    BrokenForm,
    BadMedia,
    BadMarkup,
    BadClaim,
    BadExpression,
    NoSuchNode,
    TooCostly,
    Unfinished,
    WrongForm,
)
AT = datetime(2026, 11, 23, 12, tzinfo=UTC)


def context() -> Context:
    return Context(now=lambda: AT, new_uuid=lambda: "0" * 8, random=lambda: 0.5)


class Hostile:
    """A source of spoilt inputs."""

    def __init__(self, luck: random.Random) -> None:
        self.luck = luck
        self.workbook = (SAMPLES / "household_update.xlsx").read_bytes()
        self.xform = compile_xlsform("update.xlsx", self.workbook)
        self.form = Form.load(self.xform, {"households.csv": b"name,label\na,A\n"})
        self.sent = Entry.start(self.form, context()).xml()

    def spoilt(self, data: bytes) -> bytes:
        """The bytes with a few of them changed, cut, doubled or moved."""
        luck = self.luck
        for _ in range(luck.randint(1, 6)):
            at = luck.randrange(len(data) + 1)
            to = min(len(data), at + luck.randint(0, 40))
            kind = luck.randrange(6)
            if kind == 0:
                data = data[:at] + luck.randbytes(luck.randint(1, 8)) + data[to:]
            elif kind == 1:
                data = data[:at] + data[to:]
            elif kind == 2:
                data = data[:to] + data[at:to] * luck.randint(1, 50) + data[to:]
            elif kind == 3:
                data = data[:at]
            elif kind == 4:
                data = data[:at] + luck.choice(SPELLS).encode() + data[at:]
            else:
                data = data[:at] + data[at:to][::-1] + data[to:]
            data = data or b" "
        return data

    def workbook_(self) -> object:
        """A workbook spoilt outside or inside its archive."""
        if self.luck.random() < 0.3:
            return compile_xlsform("x.xlsx", self.spoilt(self.workbook))
        out = io.BytesIO()
        with (
            zipfile.ZipFile(io.BytesIO(self.workbook)) as old,
            zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new,
        ):
            names = old.namelist()
            hit = self.luck.choice(names)
            for name in names:
                data = old.read(name)
                new.writestr(name, self.spoilt(data) if name == hit else data)
        return compile_xlsform("x.xlsx", out.getvalue())

    def text(self) -> object:
        """A form as text, made of an author's words in a senseless order."""
        luck = self.luck
        lines = ["| survey |", "| | type | name | label | relevant | calculation |"]
        for _ in range(luck.randint(1, 6)):
            cells = [luck.choice(TYPES), *(self.expression(2) for _ in range(4))]
            lines.append("| | " + " | ".join(cells) + " |")
        xml = compile_xlsform("x.md", "\n".join(lines).encode())
        return Form.load(xml)

    def xform_(self) -> object:
        """A spoilt XForm; where it still opens, an entry of it is begun and finished."""
        form = Form.load(self.spoilt(self.xform))
        entry = Entry.start(form, context())
        entry.finish()
        return entry

    def submission(self) -> object:
        """A spoilt submission is checked and read; no fault of it stops the check."""
        data = self.spoilt(self.sent)
        check(self.form, data)
        return claims(self.form, data)

    def list_(self) -> object:
        luck = self.luck
        name = luck.choice(["x.csv", "x.xml", "x.geojson"])
        good = {
            "x.csv": b'name,label\na,"A, b"\nc,d\n',
            "x.xml": b"<root><item><name>a</name></item></root>",
            "x.geojson": (
                b'{"type": "FeatureCollection", "features": [{"type": "Feature", "geometry": '
                b'{"type": "Point", "coordinates": [1, 2]}, "properties": {"id": 1}}]}'
            ),
        }[name]
        instance = read_instance(name, self.spoilt(good))
        return [node.text for node in instance.below()]

    def expression(self, depth: int) -> str:
        luck = self.luck
        if depth == 0 or luck.random() < 0.3:
            return luck.choice([*SPELLS, "${a}", "a", ".", "1", "'x'", "..", "size", "member", ""])
        function = luck.choice(FUNCTIONS)
        inside = ", ".join(self.expression(depth - 1) for _ in range(luck.randint(0, 4)))
        made = f"{function}({inside})" if luck.random() < 0.6 else inside.replace(",", "+")
        if luck.random() < 0.2:
            made += f"[{self.expression(depth - 1)}]"
        return made

    def rule_(self) -> object:
        """An expression of a programme, run on a household."""
        made = rule(self.expression(self.luck.randint(1, 5)))
        record = {"size": "4", "a": "x", "empty": ""}
        members = [{"age": "3"}, {"age": "40"}]
        made.boolean(record, members, now=AT)
        made.number(record, members, now=AT)
        return made.string(record, members, now=AT)


SPELLS = (
    "<!DOCTYPE a [<!ENTITY b 'c'>]>",
    "&b;",
    "]]>",
    "<a>",
    "\x00",
    "\ufeff",
    "9" * 400,
    "(" * 300,
    "((((a+)+)+)+)$",
    "regex('aaaaaaaaaaaaaaaaaaaaaaaaaaaa!', '(a+)+$')",
    "${",
    "//*[//*[//*]]",
    "instance('x')/root/item[name = //*]",
    "-" * 200,
    "1e999",
    "0 div 0",
    "'",
    "substr('a', 0, 99999999999999999999)",
    "concat(., ., .)",
    "format-date('2020-01-01', '%')",
    "randomize(//*, 'x')",
    "date('99999-99-99')",
    "pow(9, pow(9, 9))",
    "string-length(.) > ",
    "round(1 div 3, 400)",
    "\u202e\u0000\U0001f600",
)
FUNCTIONS = (
    "concat",
    "if",
    "coalesce",
    "selected",
    "selected-at",
    "count-selected",
    "substr",
    "regex",
    "translate",
    "format-date",
    "date",
    "number",
    "int",
    "round",
    "pow",
    "log",
    "sqrt",
    "sum",
    "min",
    "max",
    "count",
    "count-non-empty",
    "join",
    "position",
    "randomize",
    "indexed-repeat",
    "once",
    "digest",
    "base64-decode",
    "decimal-date-time",
    "area",
    "distance",
    "boolean-from-string",
    "checklist",
    "weighted-checklist",
    "pulldata",
    "instance",
    "not",
    "true",
    "uuid",
    "current",
    "normalize-space",
    "string-length",
    "contains",
    "exp10",
    "jr:choice-name",
    "jr:itext",
    "nonsense",
)
TYPES = ("text", "integer", "calculate", "begin_group", "end_group", "begin_repeat", "end_repeat")
TYPES += ("select_one x", "note", "date", "", "select_one ${a}", "range")


def run(n: int, seed: int) -> Figures:
    """`n` inputs. Raises Violation for an error that nobody declared, or a budget overrun."""
    hostile = Hostile(random.Random(seed))
    doors: tuple[Callable[[], object], ...] = (
        hostile.workbook_,
        hostile.text,
        hostile.xform_,
        hostile.submission,
        hostile.list_,
        hostile.rule_,
    )
    met: Counter[str] = Counter()
    slowest = 0.0
    for number in range(n):
        # Each input has luck of its own, so that one of them can be sent again alone.
        hostile.luck = random.Random(f"{seed}/{number}")
        door = doors[number % len(doors)]
        start = time.perf_counter()
        try:
            door()
            met["taken"] += 1
        except DECLARED as refused:
            met[type(refused).__name__] += 1
        except Exception as crash:
            raise Violation(
                f"input {number} ({door.__name__.strip('_')}): {type(crash).__name__}: {crash}"
            ) from crash
        took = time.perf_counter() - start
        slowest = max(slowest, took)
        if took > BUDGET_S:
            raise Violation(f"input {number} ({door.__name__.strip('_')}) took {took:.1f} s")
    return {"inputs": n, **dict(met), "slowest s": round(slowest, 2)}
