"""Expressions as authors write them, drawn by luck from what can be read where they stand."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.forms.peer.written import FILES, LISTS

if TYPE_CHECKING:
    import random

DATES = ["2020-02-29", "2021-01-01", "1999-12-31", "2024-07-15", "2020-03-01"]
NUMBERS = frozenset({"integer", "decimal", "range", "number"})
TEXTS = frozenset({"text", "select_one", "string", "select_multiple", "barcode"})
CHOSEN = frozenset({"select_one", "select_multiple"})
SEVERAL = frozenset({"select_multiple", "rank"})
MOMENTS = frozenset({"date", "dateTime", "moment"})


@dataclass
class Question:
    """One that can be read: where it stands, and what it chooses from."""

    name: str
    kind: str
    repeats: tuple[str, ...]
    path: str
    source: str = ""


@dataclass
class Repeat:
    """A repeat that can be counted: where it stands, whether a count decides how many there are."""

    name: str
    path: str
    around: tuple[str, ...]
    counted: bool = False


@dataclass
class Expressions:
    """What has been asked so far, where the next row stands, and expressions that fit there."""

    luck: random.Random
    asked: list[Question] = field(default_factory=list)
    repeats: dict[str, Repeat] = field(default_factory=dict)
    inside: list[tuple[str, bool]] = field(default_factory=list)

    def chance(self, odds: float) -> bool:
        return self.luck.random() < odds

    def here(self) -> tuple[str, ...]:
        return tuple(name for name, repeat in self.inside if repeat)

    def path(self, name: str) -> str:
        return "/data/" + "/".join([*(each for each, _ in self.inside), name])

    def seen(self, kinds: frozenset[str] | None = None) -> list[Question]:
        """Questions that can be read from here as one value."""
        here = self.here()
        return [
            each
            for each in self.asked
            if (kinds is None or each.kind in kinds) and each.repeats == here[: len(each.repeats)]
        ]

    def across(self, kinds: frozenset[str]) -> list[Question]:
        """Questions inside repeats that do not enclose this place."""
        here = self.here()
        return [
            each
            for each in self.asked
            if each.kind in kinds and each.repeats and each.repeats != here[: len(each.repeats)]
        ]

    def ref(self, kinds: frozenset[str] | None = None) -> str | None:
        found = self.seen(kinds)
        return f"${{{self.luck.choice(found).name}}}" if found else None

    # Numbers ----------------------------------------------------------------------------

    def num(self, depth: int = 2) -> str:
        luck = self.luck
        plain = [str(luck.choice([0, 1, 2, 3, 5, 7, 10, 0.5, 2.25]))]
        one = self.ref(NUMBERS)
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
            f"coalesce(coalesce({one or a}, {a}), {b})",
            f"if({self.boolean(depth - 1)}, {a}, {b})",
            f"if({self.boolean(0)}, {a}, if({self.boolean(0)}, {b}, 4))",
            f"string-length({self.text(depth - 1)})",
            f"number({self.text(0)})",
            f"min({a}, {b})",
            f"max({a}, {b})",
            f"(- {a})",
            f"once({a})",
            f"weighted-checklist(1, 3, {self.boolean(0)}, 2, {self.boolean(0)}, 1.5)",
        ]
        several = self.ref(SEVERAL)
        if several:
            forms += [f"count-selected({several})"] * 2
            forms.append(f"checklist(1, 2, selected({several}, 'red'), selected({several}, 's'))")
        forms += self._dated(luck.choice(["decimal-date-time({})", "number({})", "({} + 1)"]))
        time = self.ref(frozenset({"time"}))
        if time:
            forms.append(f"round(decimal-time({time}), 4)")
        places = [f"${{{each.name}}}" for each in self.seen(frozenset({"geopoint"}))]
        if places:
            forms.append(f"round(distance(concat({places[0]}, ';', {places[-1]})), 1)")
        lines = [f"${{{each.name}}}" for each in self.seen(frozenset({"geotrace", "geoshape"}))]
        if lines:
            forms += [f"round({luck.choice(['area', 'distance'])}({luck.choice(lines)}), 1)"]
        if self.here():
            forms += ["position(..)"] * 2
        forms += self._over_repeats()
        listed = luck.choice(["towns", ""])
        if listed and self.files():
            district = self.ref(frozenset({"select_one"})) or "'n2'"
            forms.append(f"count(instance('towns')/root/item[district = {district}])")
        return luck.choice(forms)

    def files(self) -> bool:
        """Whether something here chooses from the file of towns."""
        return any(each.source == "towns.csv" for each in self.asked)

    def _over_repeats(self) -> list[str]:
        """Counts and sums over instances of repeats that do not enclose this place, or of its own."""
        luck, here = self.luck, self.here()
        forms: list[str] = []
        for repeat in self.repeats.values():
            own = repeat.name in here
            if repeat.around != here[: len(repeat.around)]:
                continue
            inner = [
                each.name
                for each in self.asked
                if each.repeats == (*repeat.around, repeat.name)
                and each.kind in {"integer", "decimal"}
            ]
            if own and here[-1] == repeat.name:
                forms.append(f"count({repeat.path})")
                if inner:
                    forms += self._over_own(repeat, luck.choice(inner))
                continue
            if own:
                continue
            forms += [f"count(${{{repeat.name}}})"] * 2
            forms += [f"count(${{{repeat.name}}}[position() {luck.choice('=<>')} 2])"]
            if inner:
                pick, bound = luck.choice(inner), luck.randint(0, 5)
                forms += [
                    f"sum(${{{pick}}})",
                    f"max(${{{pick}}})",
                    f"min(${{{pick}}})",
                    f"count-non-empty(${{{pick}}})",
                    f"count(${{{repeat.name}}}[${{{pick}}} > {bound}])",
                ]
                if not repeat.around and not any(self._grouped(repeat, pick)):
                    forms += [
                        f"indexed-repeat(${{{pick}}}, ${{{repeat.name}}}, {luck.randint(1, 3)})",
                        f"sum({repeat.path}[{pick} > {bound}]/{pick})",
                        f"sum({repeat.path}[position() < {luck.randint(2, 3)}]/{pick})",
                        f"number({repeat.path}[{luck.randint(1, 3)}]/{pick})",
                    ]
                    index = self.ref(NUMBERS)
                    if index:
                        forms.append(f"indexed-repeat(${{{pick}}}, ${{{repeat.name}}}, {index})")
        return forms

    def _grouped(self, repeat: Repeat, name: str) -> list[bool]:
        """Something for each group between the repeat and its question."""
        found = next(each for each in self.asked if each.name == name)
        return [True] * (found.path.count("/") - repeat.path.count("/") - 1)

    def _over_own(self, repeat: Repeat, name: str) -> list[str]:
        """From inside an instance: over the others, and over those before it."""
        if repeat.around or any(self._grouped(repeat, name)):
            return []
        return [
            f"sum({repeat.path}[{name} > {self.luck.randint(0, 3)}]/{name})",
            f"sum({repeat.path}[position() < position(current()/..)]/{name})",
            f"indexed-repeat(${{{name}}}, ${{{repeat.name}}}, position(..) - 1)",
        ]

    # Texts ------------------------------------------------------------------------------

    def text(self, depth: int = 2) -> str:
        luck = self.luck
        plain = [f"'{luck.choice(['', 'a', 'abc', 'x-y', 'red', '7', '1,5'])}'"]
        one = self.ref(TEXTS | {"integer", "date", "dateTime", "time", "geopoint"})
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
            f"once({a})",
        ]
        several = self.ref(SEVERAL)
        if several:
            forms += [f"selected-at({several}, {luck.randint(0, 2)})", f"join(',', {several})"]
        pattern = luck.choice(["%Y-%m", "%e/%n/%y", "%d %b %a", "%m.%d", "%y%%", "%Y %W"])
        forms += self._dated("format-date({}, '" + pattern + "')")
        clock = luck.choice(["%Y-%m-%d %H:%M:%S", "%h:%M %a", "%H:%M:%S.%3", "%e %b, %H"])
        forms += self._dated("format-date-time({}, '" + clock + "')")
        forms += [f"digest({a}, '{luck.choice(['MD5', 'SHA-1', 'SHA-256'])}')"]
        chosen = [each for each in self.seen(CHOSEN) if each.source in LISTS]
        if chosen:
            pick = luck.choice(chosen)
            value = f"${{{pick.name}}}"
            if pick.kind == "select_multiple":
                value = f"selected-at({value}, 0)"
            forms += [f"jr:choice-name({value}, '${{{pick.name}}}')"] * 2
        across = self.across(frozenset({"text", "integer", "select_one"}))
        if across:
            forms += [f"join(' ', ${{{luck.choice(across).name}}})"]
        if self.files():
            town = luck.choice(FILES["towns.csv"])
            key = luck.choice([f"'{town}'", self.ref(frozenset({"select_one"})) or f"'{town}'"])
            column = luck.choice(["label", "people", "district"])
            forms += [f"string(instance('towns')/root/item[name = {key}]/{column})"]
        return luck.choice(forms)

    # Moments ----------------------------------------------------------------------------

    def _dated(self, shape: str) -> list[str]:
        one = self.ref(MOMENTS)
        return [shape.format(one)] if one else []

    def moment(self, depth: int = 1) -> str:
        """What comes to a date or a moment, or to nothing."""
        luck = self.luck
        forms = [f"date('{luck.choice(DATES)}')", "today()"]
        one = self.ref(MOMENTS)
        if one:
            forms += [one, f"date({one} + {luck.randint(-40, 400)})", f"date({one})"]
            forms += [f"date-time({one})", f"date(decimal-date-time({one}) + 1.5)"]
        if depth > 0:
            a, b = self.moment(0), self.moment(0)
            forms += [
                f"if({self.boolean(0)}, {a}, {b})",
                f"coalesce({one or a}, {b})",
                f"if({self.boolean(0)}, {a}, '')",
                f"once({a})",
            ]
        return luck.choice(forms)

    # Truths -----------------------------------------------------------------------------

    def boolean(self, depth: int = 2) -> str:
        luck = self.luck
        compare = luck.choice(["=", "!=", "<", "<=", ">", ">="])
        forms = [f"{self.num(0)} {compare} {self.num(0)}", f"{self.text(0)} = {self.text(0)}"]
        chosen = self.seen(CHOSEN)
        if chosen:
            pick = luck.choice(chosen)
            value = luck.choice(LISTS.get(pick.source, ["x"]))
            forms += [f"selected(${{{pick.name}}}, '{value}')", f"${{{pick.name}}} = '{value}'"] * 2
        place = self.ref(frozenset({"geopoint"}))
        shape = self.ref(frozenset({"geoshape"}))
        if place and shape:
            forms.append(f"geofence({place}, {shape})")
        any_ = self.ref()
        if any_:
            forms += [f"{any_} != ''", f"{any_} = ''"]
        date = self.ref(MOMENTS)
        if date:
            forms += [f"{date} {compare} date('{luck.choice(DATES)}')"] * 2
            forms += [
                f"{date} {compare} '{luck.choice(DATES)}'",
                f"{date} {compare} today()",
                f"{date} {compare} {self.moment(0)}",
                f"{date} {compare} {self.num(0)}",
            ]
        if depth > 0:
            a, b = self.boolean(depth - 1), self.boolean(depth - 1)
            forms += [
                f"({a} and {b})",
                f"({a} or {b})",
                f"not({a})",
                f"{self.num(1)} {compare} {self.num(1)}",
                f"{self.text(1)} {luck.choice(['=', '!='])} {self.text(1)}",
                f"starts-with({self.text(0)}, 'a')",
                f"ends-with({self.text(0)}, 'c')",
                f"contains({self.text(0)}, 'b')",
                f"regex({self.text(0)}, '[a-c]+')",
                f"boolean-from-string({self.text(0)})",
                f"boolean({self.text(0)})",
                f"string-length({self.text(0)}) > {luck.randint(0, 3)}",
                f"({a}) = ({b})",
            ]
        return luck.choice(forms)
