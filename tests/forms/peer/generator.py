"""Fresh forms and answers, made from a seed: what no author would think of trying."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from tests.forms.peer.expressions import CHOSEN, DATES, Expressions, Question, Repeat
from tests.forms.peer.written import (
    FILES,
    FILTERED_BY,
    LANGUAGES,
    LISTS,
    SPOKEN,
    Form,
    Sample,
)

PLACES = ["1.5 2.5 0 0", "-3.25 36.75 1500 4.5", "1.75 2.25 10 0", "0 0 0 0"]
CLOCKS = ["00:00:00", "10:20:30", "23:59:00"]
TEXTS = ["a", "b c", "abc", "Ünï", "7", "10.5", "1,5", "2020-05-06", "x-y", "true", "007", "1e3"]
KINDS = {
    "text": 4,
    "integer": 6,
    "decimal": 3,
    "date": 3,
    "dateTime": 2,
    "time": 1,
    "select_one": 6,
    "select_multiple": 4,
    "select_one_from_file": 2,
    "rank": 1,
    "range": 1,
    "geopoint": 1,
    "note": 2,
    "calculate": 8,
    "geotrace": 1,
    "geoshape": 1,
    "acknowledge": 1,
    "device": 1,
    "cascade": 1,
    "from_repeat": 1,
}
"""What a row may be, and how often. Some are several rows."""
ABOUT_THE_DEVICE = {"today": "date", "start": "dateTime", "deviceid": "text", "username": "text"}
"""What nobody is asked, and as what it is read."""
OUTCOMES = {"number": 4, "string": 4, "boolean": 3, "moment": 2}


@dataclass
class _Maker(Expressions):
    rows: list[dict[str, str]] = field(default_factory=list)
    number: int = 0

    def fresh(self, stem: str) -> str:
        self.number += 1
        return f"{stem}{self.number}"

    def label(self, name: str) -> dict[str, str]:
        said = f" {self.ref()}" if self.chance(0.25) and self.ref() else ""
        return {
            f"label::{language}": f"{text.format(name)}{said}" for language, text in SPOKEN.items()
        }

    # Questions --------------------------------------------------------------------------

    def question(self) -> None:
        kind = self.luck.choices(list(KINDS), list(KINDS.values()))[0]
        match kind:
            case "calculate":
                self.calculation()
            case "cascade":
                self.cascade()
            case "from_repeat":
                self.from_repeat()
            case "device":
                self.device()
            case _:
                self.plain(kind)

    def calculation(self) -> None:
        name = self.fresh("c")
        made = self.luck.choices(list(OUTCOMES), list(OUTCOMES.values()))[0]
        work = {
            "number": self.num,
            "string": self.text,
            "boolean": self.boolean,
            "moment": self.moment,
        }[made]
        row = {"type": "calculate", "name": name, "calculation": work()}
        if self.chance(0.12):
            self.triggered(row)
        if self.chance(0.2):
            row["relevant"] = self.boolean(1)
        self.rows.append(row)
        self.asked.append(Question(name, made, self.here(), self.path(name)))

    def triggered(self, row: dict[str, str]) -> bool:
        """Whether there is something at whose change the row is worked out; now and then two."""
        changed = self.seen(frozenset({"integer", "text", "select_one", "date"}))
        if changed:
            several = self.luck.sample(changed, min(len(changed), 2 if self.chance(0.3) else 1))
            row["trigger"] = ", ".join(f"${{{each.name}}}" for each in several)
        return bool(changed)

    def device(self) -> None:
        """What the device knows by itself: a time, or a property of its own."""
        if self.here():
            self.plain("text")
            return
        kind = self.luck.choice(list(ABOUT_THE_DEVICE))
        name = self.fresh("m")
        self.rows.append({"type": kind, "name": name})
        # A moment of this second is another one in each engine: nobody reads it.
        if kind != "start":
            self.asked.append(Question(name, "about", (), self.path(name)))

    def cascade(self) -> None:
        """Region, district, village; the last from a list or from a file."""
        above = ""
        for source in ("region", "district", self.luck.choice(["village", "towns.csv"])):
            name = self.fresh("q")
            kind = "select_one_from_file" if source in FILES else "select_one"
            row = {"type": f"{kind} {source}", "name": name, **self.label(name)}
            if above:
                column = FILTERED_BY.get(source, "district")
                row["choice_filter"] = f"{column} = ${{{above}}}"
            self.rows.append(row)
            self.asked.append(Question(name, "select_one", self.here(), self.path(name), source))
            above = name

    def from_repeat(self) -> None:
        """Who of those listed in a repeat: its choices are answers."""
        named = [
            each
            for each in self.across(frozenset({"text"}))
            # What stands in a group there, pyxform or JavaRosa refuses.
            if not any(self._grouped(self.repeats[each.repeats[-1]], each.name))
        ]
        if not named:
            self.plain("text")
            return
        name = self.fresh("q")
        kind = self.luck.choice(["select_one", "select_multiple"])
        asked = self.luck.choice(named).name
        self.rows.append({"type": f"{kind} ${{{asked}}}", "name": name, **self.label(name)})
        self.asked.append(Question(name, kind, self.here(), self.path(name), "answers"))

    def plain(self, kind: str) -> None:
        name = self.fresh("q")
        row = {"type": kind, "name": name, **self.label(name)}
        source = ""
        if kind in {"select_one", "select_multiple", "rank"}:
            source = self.choices(kind, row)
        elif kind == "select_one_from_file":
            source = self.luck.choice(list(FILES))
            row["type"] = f"{kind} {source}"
            above = [each for each in self.seen(CHOSEN) if each.source == "district"]
            if above and self.chance(0.7):
                row["choice_filter"] = f"district = ${{{self.luck.choice(above).name}}}"
            kind = "select_one"
        elif kind == "range":
            row["parameters"] = self.luck.choice(
                ["start=0 end=10 step=2", "start=0.5 end=5 step=0.5"]
            )
        self.values(kind, row)
        self.rules(kind, row)
        self.rows.append(row)
        if kind != "note":
            self.asked.append(Question(name, kind, self.here(), self.path(name), source))

    def choices(self, kind: str, row: dict[str, str]) -> str:
        """Which list it chooses from, by which filter and in which order."""
        luck = self.luck
        source = "size" if kind == "rank" else luck.choice(list(LISTS))
        row["type"] = f"{kind} {source}"
        above = [
            each
            for each in self.seen(frozenset({"select_one", "text"}))
            if each.source in {"", FILTERED_BY.get(source)}
        ]
        if source in FILTERED_BY and above and kind != "rank":
            row["choice_filter"] = f"{FILTERED_BY[source]} = ${{{luck.choice(above).name}}}"
        elif self.chance(0.15) and kind == "select_one":
            row["choice_filter"] = self.boolean(1)
        elif self.chance(0.08) and kind != "rank":
            row["type"] += " or_other"
        if self.chance(0.1) and "or_other" not in row["type"]:
            seed = str(luck.randint(1, 999))
            if self.chance(0.3):
                seed = self.ref(frozenset({"integer"})) or seed
            row["parameters"] = f"randomize=true, seed={seed}"
        return source

    def values(self, kind: str, row: dict[str, str]) -> None:
        """What it begins with, what sets it, what it is worked out from."""
        luck = self.luck
        if kind == "integer" and self.chance(0.3):
            row["default"] = str(luck.randint(0, 9)) if self.chance(0.7) else f"int({self.num(1)})"
        if kind == "text" and self.chance(0.25):
            row["default"] = luck.choice(["abc", "x-y"]) if self.chance(0.5) else self.text(1)
        if kind == "date" and self.chance(0.2):
            row["default"] = luck.choice([*DATES, "today()"])
        if kind in {"text", "integer"} and "default" not in row and self.chance(0.05):
            row["default"] = f"${{last-saved#{row['name']}}}"
        if kind == "select_one" and row["type"].split()[-1] in LISTS and self.chance(0.1):
            row["default"] = luck.choice(LISTS[row["type"].split()[-1]])
        work = {
            "text": self.text,
            "integer": lambda depth: f"int({self.num(depth)})",
            "decimal": self.num,
            "date": self.moment,
            "dateTime": self.moment,
        }.get(kind)
        if work is None:
            return
        if (self.chance(0.2) and self.triggered(row)) or self.chance(0.1):
            row["calculation"] = work(1)

    def rules(self, kind: str, row: dict[str, str]) -> None:
        luck = self.luck
        if self.chance(0.3):
            row["relevant"] = self.boolean()
        if kind in {"note", "acknowledge"}:
            return
        if self.chance(0.2):
            bound = luck.randint(0, 9)
            shapes = [
                f". > {bound}",
                f". != '{luck.choice(['a', 'abc', 'red'])}'",
                f"string-length(.) < {luck.randint(1, 6)}",
                f". >= 0 and {self.boolean(1)}",
                f". > {self.num(0)} or {self.boolean(0)}",
            ]
            if kind in {"date", "dateTime"}:
                shapes += [
                    ". <= today()",
                    ". > date('1900-01-01')",
                    f". >= date('{luck.choice(DATES)}')",
                ]
            row["constraint"] = luck.choice(shapes)
            if self.chance(0.4):
                self.message("constraint_message", row)
        if self.chance(0.2):
            row["required"] = "yes" if self.chance(0.6) else self.boolean(1)
            if self.chance(0.4):
                self.message("required_message", row)
        if self.chance(0.05):
            row["read_only"] = "yes" if self.chance(0.5) else self.boolean(0)
        if self.chance(0.05):
            row["hint"] = f"Think of {self.ref() or 'it'}"

    def message(self, heading: str, row: dict[str, str]) -> None:
        """What is said of a fault, in one language or in all; the peer does not tell it, but the
        form must open and all else be the same.
        """
        spoken = LANGUAGES if self.chance(0.5) else LANGUAGES[:1]
        for language in spoken:
            row[f"{heading}::{language}"] = f"Not so {self.ref() or ''}"

    def group(self, depth: int, *, repeat: bool) -> None:
        name = self.fresh("r" if repeat else "g")
        row = {"type": f"begin_{'repeat' if repeat else 'group'}", "name": name, **self.label(name)}
        if self.chance(0.35):
            row["relevant"] = self.boolean()
        made = Repeat(name, self.path(name), self.here())
        if repeat and self.chance(0.25):
            whole = self.ref(frozenset({"integer"}))
            if whole:
                row["repeat_count"] = self.luck.choice(
                    [whole, whole, str(self.luck.randint(1, 3)), f"({whole} mod 3) + 1"]
                )
                made.counted = True
        self.rows.append(row)
        self.inside.append((name, repeat))
        if repeat:
            self.repeats[name] = made
        for _ in range(self.luck.randint(1, 4)):
            self.part(depth - 1)
        self.inside.pop()
        self.rows.append({"type": f"end_{'repeat' if repeat else 'group'}"})

    def part(self, depth: int) -> None:
        pick = self.luck.random()
        if depth > 0 and pick < 0.14:
            self.group(depth, repeat=False)
        elif depth > 0 and pick < 0.32:
            self.group(depth, repeat=True)
        else:
            self.question()

    def entity(self) -> dict[str, str]:
        """The entity that the form creates, or each instance of a repeat, with properties of it;
        mostly none.
        """
        if not self.chance(0.15):
            return {}
        told = [each for each in self.asked if each.kind not in {"note", "about"}]
        if not told:
            return {}
        around = self.luck.choice(told).repeats
        names = [each.name for each in told if each.repeats == around]
        rows = [row for row in self.rows if row.get("name") in names]
        for row in self.luck.sample(rows, min(2, len(rows))):
            row["save_to"] = f"kept_{row['name']}"
        made = {"label": f"concat('Thing ', ${{{self.luck.choice(names)}}})"}
        if self.chance(0.3):
            made["create_if"] = f"${{{self.luck.choice(names)}}} != ''"
        return made

    # Steps ------------------------------------------------------------------------------

    def steps(self) -> list[dict[str, str]]:
        luck = self.luck
        counts: dict[str, int] = {}
        spoken = ""

        def placed(path: str, repeats: tuple[str, ...]) -> str:
            """The path with a position in each repeat on its way."""
            found = ""
            for part in path.strip("/").split("/"):
                found += f"/{part}"
                if part in repeats:
                    most = counts.get(found, 1)
                    found += f"[{luck.randint(1, max(1, most))}]"
            return found

        steps: list[dict[str, str]] = []
        askable = [each for each in self.asked if each.kind not in {*OUTCOMES, "about"}]
        growing = [each for each in self.repeats.values() if not each.counted]
        for _ in range(luck.randint(2, 12)):
            pick = luck.random()
            if growing and pick < 0.27:
                repeat = luck.choice(growing)
                head, _, name = repeat.path.rpartition("/")
                ref = f"{placed(head, repeat.around)}/{name}"
                have = counts.get(ref, 1)
                if pick < 0.18 or not have:
                    steps.append({"op": "add_repeat", "ref": ref})
                    counts[ref] = have + 1
                else:
                    steps.append({"op": "remove_repeat", "ref": f"{ref}[{luck.randint(1, have)}]"})
                    counts[ref] = have - 1
            elif pick < 0.31:
                spoken = luck.choice(LANGUAGES)
                steps.append({"op": "language", "value": spoken})
            elif pick < 0.35:
                # The peer opens the form anew, and so forgets the language: both begin in the first.
                if spoken:
                    steps.append({"op": "language", "value": LANGUAGES[0]})
                steps.append({"op": "save_restore"})
                if spoken:
                    steps.append({"op": "language", "value": spoken})
            elif askable:
                each = luck.choice(askable)
                ref = placed(each.path, each.repeats)
                steps.append({"op": "set", "ref": ref, "value": self.answer(each)})
        return steps

    def answer(self, question: Question) -> str:
        luck = self.luck
        if self.chance(0.12):
            return ""
        options = LISTS.get(question.source) or FILES.get(question.source) or TEXTS[:3]
        match question.kind:
            case "integer":
                return str(luck.choice([0, 1, 2, 3, 4, 7, 12, -3]))
            case "decimal":
                return str(luck.choice([0.5, 1.25, 3.0, 10.75, -2.5, 7]))
            case "range":
                return str(luck.choice([0, 2, 4, 10]))
            case "date":
                return luck.choice(DATES)
            case "dateTime":
                offset = luck.choice(["", "", ".250+03:00", ".000-05:30", "Z"])
                return f"{luck.choice(DATES)}T{luck.choice(CLOCKS)}{offset}"
            case "time":
                return luck.choice(["00:00:00", "06:30:00", "18:45:10"])
            case "geopoint":
                return luck.choice(PLACES)
            case "geotrace":
                return "; ".join(luck.sample(PLACES[:3], 2))
            case "geoshape":
                around = luck.sample(PLACES[:3], 3)
                return "; ".join([*around, around[0]])
            case "select_one":
                return luck.choice(options)
            case "select_multiple":
                return " ".join(luck.sample(options, luck.randint(1, len(options))))
            case "rank":
                return " ".join(luck.sample(options, len(options)))
            case "acknowledge":
                return "OK"
        return luck.choice(TEXTS)


def sample(seed: int, number: int) -> Sample:
    """The case of this seed and number; always the same one."""
    maker = _Maker(random.Random(f"{seed}/{number}"))
    deep = 3 if maker.chance(0.2) else 2
    for _ in range(maker.luck.randint(3, 8)):
        maker.part(deep)
    if not maker.asked:
        maker.plain("integer")
    entity = maker.entity()
    return Sample(f"{seed}/{number}", Form(tuple(maker.rows), entity), tuple(maker.steps()))
