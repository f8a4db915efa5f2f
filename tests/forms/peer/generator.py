"""Fresh forms and answers, made from a seed: what no author would think of trying."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from typing import Any

from forms.xlsform import read_xlsform

LANGUAGES = ("English (en)", "French (fr)")
LISTS = {
    "colour": ["red", "green", "blue", "grey"],
    "size": ["s", "m", "l"],
    "place": ["p1", "p2", "p3", "p4", "p5", "p6"],
    "yn": ["yes", "no"],
}
PLACES = [(f"p{n}", f"Place {n}", LISTS["colour"][n % 3]) for n in range(1, 7)]
TEXTS = ["", "a", "b c", "abc", "Ünï", "7", "10.5", "2020-05-06", "x-y", "true", " pad "]
DATES = ["2020-02-29", "2021-01-01", "1999-12-31", "2024-07-15", "2020-03-01"]
HEADINGS = [
    "type",
    "name",
    "label::English (en)",
    "label::French (fr)",
    "relevant",
    "constraint",
    "required",
    "read_only",
    "calculation",
    "default",
    "trigger",
    "repeat_count",
    "choice_filter",
    "parameters",
]


@dataclass(frozen=True)
class Form:
    """A form as an author writes it: rows of the survey; choices are always the same."""

    rows: tuple[dict[str, str], ...]

    def markdown(self) -> str:
        """The form as the table that pyxform reads."""
        lines = ["| survey |", "| | " + " | ".join(HEADINGS) + " |"]
        lines += [
            "| | " + " | ".join(row.get(heading, "") for heading in HEADINGS) + " |"
            for row in self.rows
        ]
        used = " ".join(row["type"] for row in self.rows)
        lists = [name for name in LISTS if f" {name}" in used]
        if lists:
            lines += [
                "",
                "| choices |",
                "| | list_name | name | label::English (en) | label::French (fr) | colour |",
            ]
        for name in lists:
            if name == "place":
                lines += [f"| | place | {n} | {t} | Lieu {n} | {c} |" for n, t, c in PLACES]
            else:
                lines += [
                    f"| | {name} | {choice} | {choice.title()} | {choice.title()} fr | |"
                    for choice in LISTS[name]
                ]
        lines += [
            "",
            "| settings |",
            "| | form_id | version | default_language |",
            f"| | case | 1 | {LANGUAGES[0]} |",
        ]
        return "\n".join(lines) + "\n"

    def xform(self) -> str:
        # Whether our engine opens it is what the comparison is about.
        return read_xlsform("case.md", self.markdown().encode(), opened=False).xml.decode()


@dataclass(frozen=True)
class Sample:
    """A form with the steps of one interview."""

    id: str
    form: Form
    steps: tuple[dict[str, str], ...]

    def case(self) -> dict[str, Any]:
        """The case as both engines read it."""
        return {
            "id": self.id,
            "form": self.form.xform(),
            "attachments": {},
            "tz": "UTC",
            "steps": [{"op": "init"}, *self.steps],
        }


@dataclass
class _Question:
    name: str
    kind: str
    repeats: tuple[str, ...]
    path: str
    source: str = ""


@dataclass
class _Maker:
    luck: random.Random
    rows: list[dict[str, str]] = field(default_factory=list)
    asked: list[_Question] = field(default_factory=list)
    repeats: dict[str, tuple[str, tuple[str, ...], bool]] = field(default_factory=dict)
    inside: list[tuple[str, bool]] = field(default_factory=list)
    number: int = 0

    # Expressions ----------------------------------------------------------------------

    def here(self) -> tuple[str, ...]:
        return tuple(name for name, repeat in self.inside if repeat)

    def seen(self, *kinds: str) -> list[_Question]:
        """Questions that can be read from here as one value."""
        here = self.here()
        return [
            each
            for each in self.asked
            if (not kinds or each.kind in kinds) and each.repeats == here[: len(each.repeats)]
        ]

    def across(self, *kinds: str) -> list[_Question]:
        """Questions inside repeats that do not enclose this place."""
        here = self.here()
        return [
            each
            for each in self.asked
            if each.kind in kinds and each.repeats and each.repeats != here[: len(each.repeats)]
        ]

    def ref(self, *kinds: str) -> str | None:
        found = self.seen(*kinds)
        return f"${{{self.luck.choice(found).name}}}" if found else None

    def num(self, depth: int = 2) -> str:
        luck = self.luck
        plain = [str(luck.choice([0, 1, 2, 3, 5, 7, 10, 0.5, 2.25]))]
        one = self.ref("integer", "decimal", "number", "range")
        if one:
            plain += [one] * 4
        if depth <= 0:
            return luck.choice(plain)
        a, b = self.num(depth - 1), self.num(depth - 1)
        forms = [
            *plain,
            *plain,
            f"({a} + {b})",
            f"({a} - {b})",
            f"({a} * {b})",
            f"({a} div 4)",
            f"({a} mod 3)",
            f"round({a}, {luck.choice([0, 1, 2])})",
            f"int({a})",
            f"abs({a})",
            f"pow({a}, 2)",
            f"coalesce({one or a}, {b})",
            f"if({self.boolean(depth - 1)}, {a}, {b})",
            f"string-length({self.text(depth - 1)})",
            f"number({self.text(0)})",
            f"min({a}, {b})",
            f"max({a}, {b})",
            f"(- {a})",
        ]
        multi = self.ref("select_multiple", "rank")
        if multi:
            forms += [f"count-selected({multi})"] * 2
            forms.append(f"checklist(1, 2, selected({multi}, 'red'), selected({multi}, 's'))")
        date = self.ref("date")
        if date:
            forms += [f"decimal-date-time({date})", f"number({date})"]
        if self.here():
            forms += ["position(..)"] * 2
        for name, (_, around, _) in self.repeats.items():
            if around == self.here()[: len(around)] and name not in self.here():
                forms += [f"count(${{{name}}})"] * 2
                inner = [
                    each
                    for each in self.asked
                    if each.repeats == (*around, name) and each.kind in {"integer", "decimal"}
                ]
                if inner:
                    pick = luck.choice(inner).name
                    forms += [
                        f"sum(${{{pick}}})",
                        f"max(${{{pick}}})",
                        f"min(${{{pick}}})",
                        f"count-non-empty(${{{pick}}})",
                        f"count(${{{name}}}[${{{pick}}} > {luck.randint(0, 5)}])",
                    ]
                    if not around:
                        forms.append(
                            f"indexed-repeat(${{{pick}}}, ${{{name}}}, {luck.randint(1, 3)})"
                        )
        return luck.choice(forms)

    def text(self, depth: int = 2) -> str:
        luck = self.luck
        plain = [f"'{luck.choice(['', 'a', 'abc', 'x-y', 'red', '7'])}'"]
        one = self.ref("text", "select_one", "string", "select_multiple", "integer", "date")
        if one:
            plain += [one] * 3
        if depth <= 0:
            return luck.choice(plain)
        a, b = self.text(depth - 1), self.text(depth - 1)
        forms = [
            *plain,
            f"concat({a}, '-', {b})",
            f"substr({a}, {luck.randint(0, 2)}, {luck.randint(2, 5)})",
            f"if({self.boolean(depth - 1)}, {a}, {b})",
            f"coalesce({a}, {b})",
            f"string({self.num(depth - 1)})",
            f"substring-before({a}, '-')",
            f"substring-after({a}, '-')",
            f"translate({a}, 'abc', 'xy')",
            f"normalize-space({a})",
        ]
        multi = self.ref("select_multiple", "rank")
        if multi:
            forms += [f"selected-at({multi}, {luck.randint(0, 2)})", f"join(',', {multi})"]
        date = self.ref("date")
        if date:
            forms += [f"format-date({date}, '{luck.choice(['%Y-%m', '%e/%n/%y', '%d %b %a'])}')"]
        chosen = [each for each in self.seen("select_one") if each.source in LISTS]
        if chosen:
            name = luck.choice(chosen).name
            forms += [f"jr:choice-name(${{{name}}}, '${{{name}}}')"] * 2
        across = self.across("text", "integer", "select_one")
        if across:
            forms += [f"join(' ', ${{{luck.choice(across).name}}})"]
        return luck.choice(forms)

    def boolean(self, depth: int = 2) -> str:
        luck = self.luck
        compare = luck.choice(["=", "!=", "<", "<=", ">", ">="])
        forms = [f"{self.num(0)} {compare} {self.num(0)}", f"{self.text(0)} = {self.text(0)}"]
        chosen = self.seen("select_one", "select_multiple")
        if chosen:
            pick = luck.choice(chosen)
            value = luck.choice(LISTS.get(pick.source, ["x"]))
            forms += [f"selected(${{{pick.name}}}, '{value}')", f"${{{pick.name}}} = '{value}'"] * 2
        any_ = self.ref()
        if any_:
            forms += [f"{any_} != ''", f"{any_} = ''"]
        date = self.ref("date")
        if date:
            forms += [f"{date} {compare} date('{luck.choice(DATES)}')"] * 2
        if depth > 0:
            a, b = self.boolean(depth - 1), self.boolean(depth - 1)
            forms += [
                f"({a} and {b})",
                f"({a} or {b})",
                f"not({a})",
                f"{self.num(1)} {compare} {self.num(1)}",
                f"starts-with({self.text(0)}, 'a')",
                f"contains({self.text(0)}, 'b')",
                f"regex({self.text(0)}, '[a-c]+')",
                f"boolean-from-string({self.text(0)})",
                f"string-length({self.text(0)}) > {luck.randint(0, 3)}",
            ]
        return luck.choice(forms)

    # Questions --------------------------------------------------------------------------

    def fresh(self, stem: str) -> str:
        self.number += 1
        return f"{stem}{self.number}"

    def path(self, name: str) -> str:
        return "/data/" + "/".join([*(each for each, _ in self.inside), name])

    def chance(self, odds: float) -> bool:
        return self.luck.random() < odds

    def label(self, name: str) -> dict[str, str]:
        said = f" {self.ref()}" if self.chance(0.25) and self.ref() else ""
        return {
            "label::English (en)": f"Ask {name}{said}",
            "label::French (fr)": f"Dites {name}{said}",
        }

    def question(self) -> None:
        luck = self.luck
        kind = luck.choices(
            [
                "text",
                "integer",
                "decimal",
                "date",
                "select_one",
                "select_multiple",
                "rank",
                "range",
                "note",
                "calculate",
                "acknowledge",
            ],
            [4, 6, 3, 3, 6, 4, 1, 1, 2, 8, 1],
        )[0]
        name = self.fresh("c" if kind == "calculate" else "q")
        row = {"type": kind, "name": name, **self.label(name)}
        source = ""
        if kind == "calculate":
            row = {"type": kind, "name": name}
            made = luck.choice(["number", "string", "boolean"])
            expression = {"number": self.num, "string": self.text, "boolean": self.boolean}[made]()
            row["calculation"] = expression
            self.rows.append(row)
            self.asked.append(_Question(name, made, self.here(), self.path(name)))
            if self.chance(0.2):
                row["relevant"] = self.boolean(1)
            return
        if kind in {"select_one", "select_multiple", "rank"}:
            source = luck.choice([each for each in LISTS if kind != "rank" or each == "size"])
            row["type"] = f"{kind} {source}"
            others = [
                each for each in self.seen("select_one", "text") if each.source in {"", "colour"}
            ]
            if source == "place" and others and kind != "rank":
                row["choice_filter"] = f"colour = ${{{luck.choice(others).name}}}"
            elif self.chance(0.15) and kind == "select_one":
                row["choice_filter"] = self.boolean(1)
            if self.chance(0.1):
                row["parameters"] = f"randomize=true, seed={luck.randint(1, 999)}"
            if kind == "rank":
                row.pop("choice_filter", None)
        if kind == "range":
            row["parameters"] = "start=0 end=10 step=2"
        if kind == "integer" and self.chance(0.3):
            row["default"] = str(luck.randint(0, 9))
        if kind == "text" and self.chance(0.25):
            row["default"] = luck.choice(["abc", "x-y"]) if self.chance(0.5) else self.text(1)
        if kind in {"text", "integer"} and self.chance(0.2):
            changed = self.seen("integer", "text", "select_one")
            if changed:
                row["trigger"] = f"${{{luck.choice(changed).name}}}"
                row["calculation"] = self.num(1) if kind == "integer" else self.text(1)
                if kind == "integer":
                    row["calculation"] = f"int({row['calculation']})"
        elif kind in {"text", "integer"} and self.chance(0.1):
            row["calculation"] = self.num(1) if kind == "integer" else self.text(1)
        if self.chance(0.3):
            row["relevant"] = self.boolean()
        if kind not in {"note", "acknowledge"}:
            if self.chance(0.2):
                bound = luck.randint(0, 9)
                row["constraint"] = luck.choice(
                    [
                        f". > {bound}",
                        f". != '{luck.choice(['a', 'abc', 'red'])}'",
                        f"string-length(.) < {luck.randint(1, 6)}",
                        f". >= 0 and {self.boolean(1)}",
                    ]
                )
            if self.chance(0.2):
                row["required"] = "yes" if self.chance(0.6) else self.boolean(1)
            if self.chance(0.05):
                row["read_only"] = "yes" if self.chance(0.5) else self.boolean(0)
        self.rows.append(row)
        if kind != "note":
            self.asked.append(_Question(name, kind, self.here(), self.path(name), source))

    def group(self, depth: int, *, repeat: bool) -> None:
        name = self.fresh("r" if repeat else "g")
        row = {"type": f"begin_{'repeat' if repeat else 'group'}", "name": name, **self.label(name)}
        if self.chance(0.35):
            row["relevant"] = self.boolean()
        counted = False
        if repeat and self.chance(0.25):
            whole = self.ref("integer")
            if whole:
                row["repeat_count"] = whole if self.chance(0.6) else str(self.luck.randint(1, 3))
                counted = True
        self.rows.append(row)
        around = self.here()
        path = self.path(name)
        self.inside.append((name, repeat))
        if repeat:
            self.repeats[name] = (path, around, counted)
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

    # Steps ---------------------------------------------------------------------------------

    def steps(self) -> list[dict[str, str]]:
        luck = self.luck
        counts: dict[str, int] = {}

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
        askable = [each for each in self.asked if each.kind not in {"number", "string", "boolean"}]
        growing = [(path, around) for path, around, counted in self.repeats.values() if not counted]
        for _ in range(luck.randint(2, 9)):
            pick = luck.random()
            if growing and pick < 0.2:
                path, around = luck.choice(growing)
                head, _, name = path.rpartition("/")
                ref = f"{placed(head, around)}/{name}"
                steps.append({"op": "add_repeat", "ref": ref})
                counts[ref] = counts.get(ref, 1) + 1
            elif growing and pick < 0.27:
                path, around = luck.choice(growing)
                head, _, name = path.rpartition("/")
                ref = f"{placed(head, around)}/{name}"
                if counts.get(ref, 1) > 0:
                    at = luck.randint(1, counts.get(ref, 1))
                    steps.append({"op": "remove_repeat", "ref": f"{ref}[{at}]"})
                    counts[ref] = counts.get(ref, 1) - 1
            elif pick < 0.31:
                steps.append({"op": "language", "value": luck.choice(LANGUAGES)})
            elif pick < 0.34:
                # The peer opens the form anew, and so forgets the language; an entry of ours
                # keeps it, as Collect does. So a case does not speak French before it.
                steps = [step for step in steps if step["op"] != "language"]
                steps.append({"op": "save_restore"})
            elif askable:
                each = luck.choice(askable)
                ref = placed(each.path, each.repeats)
                steps.append({"op": "set", "ref": ref, "value": self.answer(each)})
        return steps

    def answer(self, question: _Question) -> str:
        luck = self.luck
        if self.chance(0.12):
            return ""
        options = LISTS.get(question.source, ["red"])
        if question.kind == "integer":
            return str(luck.choice([0, 1, 2, 3, 4, 7, 12, -3]))
        if question.kind == "decimal":
            return str(luck.choice([0.5, 1.25, 3.0, 10.75, -2.5, 7]))
        if question.kind == "range":
            return str(luck.choice([0, 2, 4, 10]))
        if question.kind == "date":
            return luck.choice(DATES)
        if question.kind == "select_one":
            return luck.choice(options)
        if question.kind == "select_multiple":
            return " ".join(luck.sample(options, luck.randint(1, len(options))))
        if question.kind == "rank":
            return " ".join(luck.sample(options, len(options)))
        if question.kind == "acknowledge":
            return "OK"
        return luck.choice([each for each in TEXTS if each]).strip()


def sample(seed: int, number: int) -> Sample:
    """The case of this seed and number; always the same one."""
    maker = _Maker(random.Random(f"{seed}/{number}"))
    for _ in range(maker.luck.randint(3, 8)):
        maker.part(2)
    if not maker.asked:
        maker.question()
    return Sample(f"{seed}/{number}", Form(tuple(maker.rows)), tuple(maker.steps()))


def _top_ends(rows: tuple[dict[str, str], ...]) -> list[int]:
    """Where each question or group that is in no group ends."""
    depth, ends = 0, []
    for at, row in enumerate(rows, 1):
        depth += row["type"].startswith("begin_")
        depth -= row["type"].startswith("end_")
        if depth == 0:
            ends.append(at)
    return ends


def smaller(one: Sample) -> list[Sample]:
    """Every case that is one thing smaller: a step, a row (a group with its end), a cell."""
    found = [
        replace(one, steps=one.steps[:at] + one.steps[at + 1 :]) for at in range(len(one.steps))
    ]
    rows = one.form.rows
    ends = _top_ends(rows)
    for size in (4, 2):
        # Runs of steps and of whole questions and groups first: most of a case is beside the point.
        found += [
            replace(one, steps=one.steps[:at] + one.steps[at + size :])
            for at in range(0, len(one.steps), size)
        ]
        starts = [0, *ends]
        found += [
            replace(one, form=Form(rows[: starts[at]] + rows[starts[at + size] :]))
            for at in range(len(starts) - size)
        ]
    for at, row in enumerate(rows):
        if row["type"].startswith("end_"):
            continue
        if row["type"].startswith("begin_"):
            depth, end = 0, at
            for end in range(at, len(rows)):
                depth += rows[end]["type"].startswith("begin_")
                depth -= rows[end]["type"].startswith("end_")
                if depth == 0:
                    break
            whole = rows[:at] + rows[end + 1 :]
            shell = rows[:at] + rows[at + 1 : end] + rows[end + 1 :]
            found += [replace(one, form=Form(kept)) for kept in (whole, shell)]
        else:
            found.append(replace(one, form=Form(rows[:at] + rows[at + 1 :])))
        for heading in row:
            if heading in {"type", "name", "label::English (en)"}:
                continue
            cut = {each: text for each, text in row.items() if each != heading}
            found.append(replace(one, form=Form((*rows[:at], cut, *rows[at + 1 :]))))
    return found
