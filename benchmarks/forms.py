"""The XForms engine beside JavaRosa (warm JVM): opening, filling in, checking, and how it grows."""

from __future__ import annotations

import gzip
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.table import Row
from forms.check import check
from forms.context import Context
from forms.entry import Entry
from forms.form import Form
from tests.forms.peer import oracle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

DATA = Path(__file__).parent / "data" / "forms"
AT = datetime(2026, 11, 23, 12, tzinfo=UTC)
PEER = "JavaRosa, warm JVM"


def context() -> Context:
    """A clock that stands still and ids that count."""
    numbers = iter(range(10**9))
    return Context(
        now=lambda: AT,
        new_uuid=lambda: str(uuid.UUID(int=next(numbers), version=4)),
        random=lambda: 0.5,
    )


OPENINGS, ROUNDS = 12, 3
"""As many as the peer's program runs."""


def least_ms(act: Callable[[], object], times: int) -> float:
    """The quickest of several runs, in milliseconds. What came of a run is thrown away outside the
    clock, as JavaRosa's is.
    """
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        made = act()
        taken.append((time.perf_counter() - start) * 1000)
        del made
    return min(taken)


def median_ms(act: Callable[[], object], times: int) -> float:
    """The median of several runs, in milliseconds."""
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        act()
        taken.append((time.perf_counter() - start) * 1000)
    return statistics.median(taken)


@dataclass(frozen=True, slots=True)
class Figures:
    """What one engine needs for one form: ms to open, submissions a second to fill and check."""

    load_ms: float
    fill_rate: float
    check_rate: float
    invalid: int


def read(name: str, sets: int) -> tuple[bytes, list[dict[str, Any]]]:
    form = gzip.decompress((DATA / f"{name}.xml.gz").read_bytes())
    with gzip.open(DATA / f"{name}-answers.jsonl.gz", "rt", encoding="utf-8") as lines:
        return form, [json.loads(line) for line in lines][:sets]


# Ours ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Given:
    """One answer: where, what, and in which instance of which repeat ("" for none)."""

    ref: str
    value: str
    repeat: str
    number: int


def given(answers: dict[str, Any]) -> list[Given]:
    """An answer set as it is filled in. JavaRosa's program reads its own outside the clock too."""
    found = []
    for ref, value in answers["values"].items():
        base = next((one for one in answers["repeats"] if ref.startswith(f"{one}[")), "")
        inside = re.match(r"\[(\d+)\]", ref[len(base) :])
        found.append(Given(ref, value, base, int(inside[1]) if base and inside else 0))
    return found


def fill(form: Form, answers: Sequence[Given], taken: list[float] | None = None) -> Entry:
    """One interview, answer by answer in the form's order, as JavaRosa is driven too."""
    entry = Entry.start(form, context())
    there: dict[str, int] = {}
    for one in answers:
        if one.repeat and one.repeat not in there:
            above, _, name = one.repeat.rpartition("/")
            there[one.repeat] = len(entry.find(above).kids.get(name, ()))
        while one.number > there.get(one.repeat, one.number):
            entry.add_repeat(one.repeat)
            there[one.repeat] += 1
        # People, and JavaRosa, answer only what is asked.
        if not entry.find(one.ref).relevant:
            continue
        start = time.perf_counter()
        entry.answer(one.ref, one.value)
        if taken is not None:
            taken.append((time.perf_counter() - start) * 1000)
    return entry


def ours(xml: bytes, sets: Sequence[dict[str, Any]]) -> tuple[Figures, list[float]]:
    """Our engine: of each the best of several rounds, which other work on the machine disturbs
    least; and how long each single answer took, disturbed or not."""
    load_ms = least_ms(lambda: Entry.start(Form.load(xml), context()), OPENINGS)
    form = Form.load(xml)
    answers = [given(each) for each in sets]
    fill(form, answers[0])
    taken: list[float] = []
    fill_rate = check_rate = 0.0
    for _ in range(ROUNDS):
        sent: list[bytes] = []
        invalid = 0
        start = time.perf_counter()
        for each in answers:
            entry = fill(form, each, taken)
            invalid += bool(entry.faults())
            sent.append(entry.xml())
        fill_rate = max(fill_rate, len(answers) / (time.perf_counter() - start))
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for each_xml in sent:
            check(form, each_xml)
        check_rate = max(check_rate, len(sent) / (time.perf_counter() - start))
    return Figures(load_ms, fill_rate, check_rate, invalid), taken


# JavaRosa ----------------------------------------------------------------------------------


def theirs(xml: bytes, answers: Sequence[dict[str, Any]]) -> Figures:
    """JavaRosa on the same form and answers: the best of its rounds, as the best of ours."""
    with tempfile.TemporaryDirectory() as here:
        form, given = Path(here) / "form.xml", Path(here) / "answers.jsonl"
        form.write_bytes(xml)
        given.write_text("".join(json.dumps(each) + "\n" for each in answers), encoding="utf-8")
        told = oracle.java("bench", str(form), str(given))

    def best(pattern: str) -> float:
        return max(map(float, re.findall(pattern, told)))

    return Figures(
        load_ms=best(r"warm load\+init: best ([\d.]+) ms"),
        fill_rate=best(r"fill round \d+: .*-> ([\d.]+) subs/s"),
        check_rate=best(r"instance imported\) round \d+: .*?, ([\d.]+) subs/s"),
        invalid=int(best(r"fill round \d+: .*invalid=(\d+)")),
    )


def beside(
    what: str, unit: str, our: float, their: float | None, *, goal: float, least: float = 0
) -> Row:
    """A row whose goal is a ratio (ours is better when larger), and for rates also a least."""
    ratio = None
    if their is not None:
        ratio = their / our if unit == "ms" else our / their
    wants = f"{goal:g}x" + (f", {least:g} {unit}" if least else "")
    met = None if ratio is None else ratio >= goal and our >= least
    return Row(what, our, unit, their, PEER if their is not None else "", ratio, wants, met)


# How it grows ------------------------------------------------------------------------------

HEAD = (
    '<h:html xmlns="http://www.w3.org/2002/xforms" xmlns:h="http://www.w3.org/1999/xhtml" '
    'xmlns:jr="http://openrosa.org/javarosa"><h:head><h:title>T</h:title><model>'
)


def many_questions(count: int) -> bytes:
    """A form with a calculation in every fourth question and a condition in every fifth."""
    nodes, binds, body = [], [], []
    for n in range(count):
        nodes.append(f"<q{n}/>")
        rules = 'type="int"'
        if n % 4 == 3:
            rules += f' calculate="/data/q{n - 1} + /data/q{n - 2} * 2"'
        elif n % 5 == 4:
            rules += f' relevant="/data/q{n - 2} &gt; 3"'
        binds.append(f'<bind nodeset="/data/q{n}" {rules}/>')
        if n % 4 != 3:
            body.append(f'<input ref="/data/q{n}"><label>Question {n}</label></input>')
    return (
        f'{HEAD}<instance><data id="t">{"".join(nodes)}</data></instance>{"".join(binds)}'
        f"</model></h:head><h:body>{''.join(body)}</h:body></h:html>"
    ).encode()


def many_members(_count: int) -> bytes:
    """A household whose members have eight questions each, with sums across them."""
    inner = "".join(f"<a{n}/>" for n in range(8))
    binds = "".join(f'<bind nodeset="/data/m/a{n}" type="int"/>' for n in range(8))
    body = "".join(f'<input ref="/data/m/a{n}"><label>A{n}</label></input>' for n in range(8))
    return (
        f'{HEAD}<instance><data id="t"><m jr:template="">{inner}</m><total/><grown/></data>'
        f'</instance>{binds}<bind nodeset="/data/total" calculate="sum(/data/m/a0)"/>'
        '<bind nodeset="/data/grown" calculate="count(/data/m[./a1 &gt; 17])"/></model></h:head>'
        f'<h:body><group ref="/data/m"><repeat nodeset="/data/m">{body}</repeat></group></h:body>'
        "</h:html>"
    ).encode()


def many_choices(count: int) -> tuple[bytes, bytes]:
    """A cascade from a thousand districts to villages in a CSV."""
    xml = (
        f'{HEAD}<instance><data id="t"><d/><v/></data></instance>'
        '<instance id="v" src="jr://file-csv/v.csv"/><bind nodeset="/data/d" type="string"/>'
        '<bind nodeset="/data/v" type="string"/></model></h:head><h:body><input ref="/data/d">'
        '<label>D</label></input><select1 ref="/data/v"><label>V</label><itemset '
        'nodeset="instance(\'v\')/root/item[district = /data/d]"><value ref="name"/>'
        '<label ref="label"/></itemset></select1></h:body></h:html>'
    ).encode()
    lines = "".join(f"v{n},Village {n},d{n % 1000}\n" for n in range(count))
    return xml, f"name,label,district\n{lines}".encode()


def growth(*, quick: bool) -> Iterator[Row]:
    for count in (250, 1_000, 5_000) if quick else (250, 500, 1_000, 2_000, 5_000, 10_000):
        xml = many_questions(count)
        load_ms = median_ms(lambda xml=xml: Form.load(xml), 3)
        yield Row(f"growth: open a form of {count:,} questions", load_ms, "ms")
    for count in (10, 50) if quick else (5, 10, 20, 50, 100, 200):
        entry = Entry.start(Form.load(many_members(count)), context())
        for _ in range(count):
            entry.add_repeat("/data/m")
        answers = iter(range(10**6))
        one_ms = median_ms(
            lambda entry=entry, answers=answers: entry.answer("/data/m[1]/a0", str(next(answers))),
            30,
        )
        yield Row(f"growth: one answer among {count:,} members", one_ms, "ms")
    for count in (1_000, 100_000) if quick else (1_000, 5_000, 20_000, 50_000, 100_000):
        xml, villages = many_choices(count)
        start = time.perf_counter()
        entry = Entry.start(Form.load(xml, {"v.csv": villages}), context())
        entry.answer("/data/d", "d7")
        first = len(entry.state("/data/v").choices)
        first_ms = (time.perf_counter() - start) * 1000
        yield Row(f"growth: first cascade over {count:,} choices", first_ms, "ms")
        districts = iter(range(10**6))

        def ask(
            entry: Entry = entry, districts: Iterator[int] = districts, offered: int = first
        ) -> None:
            entry.answer("/data/d", f"d{next(districts) % 1000}")
            if len(entry.state("/data/v").choices) != offered:
                raise AssertionError("a cascade came out with another number of choices")

        later_ms = median_ms(ask, 50)
        biggest = count == 100_000
        yield Row(
            f"growth: later cascade over {count:,} choices",
            later_ms,
            "ms",
            goal="1 ms" if biggest else "",
            met=later_ms < 1 if biggest else None,
        )


ALONE = """
import resource, sys, time
from benchmarks.forms import many_questions
from forms.form import Form
xml = many_questions(5000)
start = time.perf_counter()
form = Form.load(xml)
print(time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def alone() -> Iterator[Row]:
    """A form of 5,000 questions in a process of its own, so that the memory is all its own."""
    ran = subprocess.run(
        [sys.executable, "-c", ALONE],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
    )
    seconds, megabytes = map(float, ran.stdout.split())
    yield Row("5,000 questions: open", seconds, "s", goal="1 s", met=seconds < 1)
    yield Row(
        "5,000 questions: memory of the process",
        megabytes,
        "MB",
        goal="150 MB",
        met=megabytes < 150,
    )


GOALS = {"small": (3, 1.5, 2, 1_000), "large": (3, 1.5, 1.5, 80)}


def run(*, quick: bool) -> list[Row]:
    """All rows. Without Java the peer's columns are empty and their goals count as not met."""
    rows: list[Row] = []
    for name, sets in (("small", 60 if quick else 200), ("large", 10 if quick else 60)):
        xml, answers = read(name, sets)
        try:
            peer: Figures | None = theirs(xml, answers)
        except oracle.Missing as missing:
            print(missing)
            peer = None
        mine, taken = ours(xml, answers)
        load, filling, checking, least = GOALS[name]
        rows += [
            beside(f"{name}: open", "ms", mine.load_ms, peer and peer.load_ms, goal=load),
            beside(f"{name}: fill", "/s", mine.fill_rate, peer and peer.fill_rate, goal=filling),
            beside(
                f"{name}: check",
                "/s",
                mine.check_rate,
                peer and peer.check_rate,
                goal=checking,
                least=least,
            ),
            Row(
                f"{name}: faulty interviews found",
                mine.invalid,
                "",
                peer and peer.invalid,
                PEER if peer else "",
                goal="the same",
                met=peer is not None and mine.invalid == peer.invalid,
            ),
        ]
        cuts = statistics.quantiles(taken, n=100)
        rows += [
            Row(
                f"{name}: one answer, {label}",
                cuts[at],
                "ms",
                goal=f"{most} ms" if name == "large" else "",
                met=cuts[at] < most if name == "large" else None,
            )
            for label, at, most in (("p50", 49, 1), ("p99", 98, 5))
        ]
    rows += alone()
    rows += growth(quick=quick)
    return [row if row.met is not None or "x" not in row.goal else _unmet(row) for row in rows]


def _unmet(row: Row) -> Row:
    return Row(row.what, row.measured, row.unit, goal=row.goal, met=False)


# The chart ---------------------------------------------------------------------------------

SERIES = (
    ("open a form of", "questions: open the form", "#1b6ca8"),
    ("one answer among", "members of a repeat: one answer", "#b4431f"),
    ("first cascade over", "choices: first cascade, file and index included", "#2d7d46"),
    ("later cascade over", "choices: each later cascade", "#7a4fa3"),
)


def draw(rows: Sequence[Row], file: Path) -> None:
    """How it grows, as an SVG: both axes logarithmic, a straight 45° line is proportional."""
    import math

    width, height, left, bottom = 760, 440, 64, 56
    lines = []
    points: dict[str, list[tuple[int, float]]] = {}
    for row in rows:
        found = re.match(r"growth: (.*?) ([\d,]+) ", row.what)
        if found and row.measured is not None:
            points.setdefault(found[1], []).append((int(found[2].replace(",", "")), row.measured))
    low, high = 1, 5
    down, up = -2, 4

    def at(count: float, ms: float) -> tuple[float, float]:
        across = (math.log10(count) - low + 0.4) / (high - low + 0.5)
        along = (math.log10(max(ms, 10**down)) - down) / (up - down)
        return left + across * (width - left - 24), height - bottom - along * (height - bottom - 40)

    for power in range(down, up + 1):
        _, y = at(10, 10.0**power)
        lines.append(
            f'<line x1="{left}" x2="{width - 24}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>'
        )
        lines.append(
            f'<text x="{left - 8}" y="{y + 4:.1f}" class="right">{10.0**power:g} ms</text>'
        )
    for power in range(low, high + 1):
        x, _ = at(10**power, 1)
        lines.append(
            f'<text x="{x:.1f}" y="{height - bottom + 20}" class="mid">{10**power:,}</text>'
        )
    for number, (key, label, colour) in enumerate(SERIES):
        found_points = sorted(points.get(key, []))
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (at(*each) for each in found_points))
        lines.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for each in found_points:
            x, y = at(*each)
            lines.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>')
        lines.append(f'<text x="{left + 8}" y="{18 + number * 16}" fill="{colour}">{label}</text>')
    file.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height + 8}" role="img">'
        "<title>How the XForms engine grows with questions, members and choices</title>"
        "<style>text{font:12px sans-serif}.grid{stroke:#ddd}.right{text-anchor:end;fill:#555}"
        '.mid{text-anchor:middle;fill:#555}</style><rect width="100%" height="100%" fill="#fff"/>'
        + "".join(lines)
        + f'<text x="{width / 2}" y="{height}" class="mid">how many</text></svg>\n',
        encoding="utf-8",
    )
