"""Forms that are known well, and interviews of them that are finished: what a server would get."""

from __future__ import annotations

import random
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from forms.finish import Submission, Unfinished
from forms.form import Form
from forms.xlsform import compile_xlsform
from tests.forms.filling import filled

if TYPE_CHECKING:
    from collections.abc import Iterator

    from forms.entry import Entry

SAMPLES = Path(__file__).parents[2] / "samples"
BENCHMARKS = Path(__file__).parents[2].parent / "shared" / "benchmark-forms"

MEASURED = ("small", "large") if BENCHMARKS.exists() else ()
"""The benchmark's forms, where they are beside the project."""

NESTED = """
| survey |
| | type | name | label | required | relevant | constraint | calculation | choice_filter | repeat_count | default |
| | start | start | | | | | | | | | |
| | end | end | | | | | | | | | |
| | today | today | | | | | | | | | |
| | hidden | source | | | | | | | | field | |
| | select_one region | region | Region | yes | | | | | | | |
| | integer | size | Size | yes | | . > 0 and . < 5 | | | | | |
| | calculate | doubled | | | | | ${size} * 2 | | | | |
| | calculate | drawn | | | | | random() | | | | |
| | calculate | label | | | | | once(concat('h-', uuid())) | | | | |
| | calculate | visited | | | | | format-date(today(), '%Y-%m-%d') | | | | |
| | calculate | hour | | | | | format-date-time(now(), '%H') | | | | |
| | begin_repeat | member | Member | | | | | | ${size} | | |
| | text | name | Name | yes | | | | | | | |
| | integer | age | Age | yes | | . < 120 | | | | | |
| | calculate | place | | | | | position(..) | | | | |
| | select_one school | school | School | | ${age} < 18 | | | region = ${region} | | | |
| | decimal | income | Income | yes | ${age} >= 18 | | | | | | |
| | begin_repeat | visit | Visit | | | | | | | | |
| | date | day | Day | yes | | . <= today() | | | | | |
| | select_multiple sign | signs | Signs | | | count-selected(.) < 3 | | | | | |
| | calculate | many | | | | | count-selected(${signs}) + ${age} | | | | |
| | end_repeat | | | | | | | | | | |
| | calculate | visits | | | | | count(${visit}) | | | | |
| | end_repeat | | | | | | | | | | |
| | calculate | ages | | | | | sum(${age}) | | | | |
| | begin_repeat | plot | Plot | | | | | | 2 | | |
| | geopoint | corner | Corner | | | | | | | | |
| | end_repeat | | | | | | | | | | |
| choices |
| | list_name | name | label | region |
| | region | n | North | |
| | region | s | South | |
| | school | n1 | N1 | n |
| | school | n2 | N2 | n |
| | school | s1 | S1 | s |
| | sign | a | A | |
| | sign | b | B | |
| | sign | c | C | |
| settings |
| | form_id | version | instance_name |
| | nested | 7 | concat(${region}, '-', ${size}) |
| entities |
| | list_name | label |
| | households | ${label} |
"""


@cache
def forms() -> dict[str, Form]:
    media = {file.name: file.read_bytes() for file in SAMPLES.glob("*.csv")}
    media["households.csv"] = (
        b"name,label,head_name,size,phone,village,account,__version\n"
        b"0b9f7a4e-6f0e-4c3b-9a37-3c1c5f1de0aa,One,Ada,3,0712345678,v,77,4\n"
    )
    found = {"nested": Form.load(compile_xlsform("nested.md", NESTED.encode()))}
    for name in ("household_registration", "household_update"):
        data = (SAMPLES / f"{name}.xlsx").read_bytes()
        found[name] = Form.load(compile_xlsform(f"{name}.xlsx", data), media)
    for name in MEASURED:
        found[name] = Form.load((BENCHMARKS / f"{name}.xml").read_bytes())
    return found


NAMES = ("nested", "household_registration", "household_update", *MEASURED)


@cache
def finished(name: str, seed: int) -> tuple[Entry, Submission] | None:
    """A finished entry; None where chance left a required question without a fitting answer."""
    entry = filled(forms()[name], random.Random(seed), hours=seed % 13 - 6)
    try:
        return entry, entry.finish()
    except Unfinished:
        return None


def sent(name: str) -> Iterator[tuple[Entry, Submission]]:
    """Some finished entries of the form, the fullest first."""
    found = [one for seed in range(5) if (one := finished(name, seed)) is not None]
    most = 1 if name == "large" else 2
    return iter(sorted(found, key=lambda one: -len(one[1].xml))[:most])
