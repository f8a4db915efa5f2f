"""Forms of anyone: read from a folder as they lie there, and interviewed without knowing them."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from forms.choices import offered
from forms.entry import NoSuchNode
from forms.instance import ref_of
from forms.problems import BrokenForm
from forms.replay import Run, run_of
from forms.xlsform import read_xlsform
from tests.forms.peer.written import PROPERTIES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from forms.instance import Cell
    from forms.model import Control

SHEETS = {".xls", ".xlsx", ".md"}
_ADDRESS = re.compile(r"jr://(?:file|file-csv)/[^\"'<>]+")
_LITERAL = re.compile(r"'([^'<>&]{1,40})'|\b(\d{1,7}(?:\.\d{1,3})?)\b")
_CONDITION = re.compile(r"\[[^\]]*\]")
_COLUMN = re.compile(r"(?<![\w/$.-])([A-Za-z_][\w.-]*)\s*=")
DATES = ("2024-02-29", "1999-12-31", "2020-05-06", "2031-01-01")
TEXTS = ("a", "Ünï b", "7", "10.5", "0712345678", "x@y.example", "true", "2020-05-06", "-3")
NEW_LANGUAGE = 0.04
SAVED = 0.04
REPEATS = 0.2
HIDDEN = 0.03
BLANK = 0.1
OF_THE_FORM = 0.3


@dataclass(frozen=True)
class Foreign:
    """A form that somebody wrote: its name, its XForm, and the files that lie beside it."""

    id: str
    xform: str
    attachments: dict[str, str] = field(default_factory=dict)

    def case(self, steps: tuple[dict[str, str], ...] = ()) -> dict[str, Any]:
        return {
            "id": self.id,
            "form": self.xform,
            "attachments": self.attachments,
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "tz": "UTC",
            "options": PROPERTIES,
            "steps": [{"op": "init"}, *steps],
        }


def forms_in(folder: Path) -> tuple[list[Foreign], dict[str, str]]:
    """The forms of a folder and of those inside it, and why a spreadsheet in it is none."""
    found: list[Foreign] = []
    none: dict[str, str] = {}
    for file in sorted(folder.rglob("*")):
        name = str(file.relative_to(folder))
        if not file.is_file():
            continue
        if file.suffix.lower() == ".xml":
            xml = file.read_bytes().decode("utf-8-sig", "replace")
            if "<model" not in xml and ":model" not in xml:
                continue
        elif file.suffix.lower() in SHEETS:
            if file.suffix.lower() == ".md" and b"| survey" not in file.read_bytes():
                continue
            try:
                xml = read_xlsform(file.name, file.read_bytes(), opened=False).xml.decode()
            except BrokenForm as broken:
                none[name] = str(broken)
                continue
        else:
            continue
        found.append(Foreign(name, xml, attachments(xml, file, folder)))
    return found, none


def attachments(xml: str, file: Path, folder: Path) -> dict[str, str]:
    """The lists that the form names: as they lie in the folder, the nearest first; else a made one
    with the columns that its filters read.
    """
    said = {}
    for address in sorted(set(_ADDRESS.findall(xml))):
        name = address.rpartition("/")[2]
        near = [one for one in folder.rglob(name) if one.is_file()] if "*" not in name else []
        near.sort(key=lambda one: -len(_common(one, file)))
        if near:
            said[address] = near[0].read_bytes().decode("utf-8-sig", "replace")
        elif name.endswith(".csv"):
            conditions = " ".join(_CONDITION.findall(xml))
            columns = sorted({"name", "label", *_COLUMN.findall(conditions)})
            rows = [",".join(f"{column}{n}" for column in columns) for n in range(1, 4)]
            said[address] = "\n".join([",".join(columns), *rows]) + "\n"
    return said


def _common(one: Path, other: Path) -> tuple[str, ...]:
    pairs = zip(one.parts, other.parts, strict=False)
    return tuple(mine for mine, its in pairs if mine == its)


class Interview:
    """Somebody who answers whatever is asked, in any order, decided by a seed.

    Each step is thought of by looking at our own entry as it stands then; JavaRosa is told the
    steps afterwards.
    """

    def __init__(self, form: Foreign, luck: random.Random) -> None:
        self.luck = luck
        self.run: Run = run_of(form.case())
        self.run.step({"op": "init"})
        self.run.snapshot()
        said = [text or number for text, number in _LITERAL.findall(form.xform)]
        self.literals = sorted(set(said)) or ["1"]
        self.languages = tuple(self.run.entry.form.languages)

    def steps(self, number: int) -> tuple[dict[str, str], ...]:
        made = []
        for _ in range(number):
            step = self.step()
            if step is None:
                break
            made.append(step)
            try:
                self.run.step(step)
                self.run.snapshot()
                self.run.faults()
            except (NoSuchNode, ValueError):
                # Refused, as JavaRosa may: that is what the comparison is about.
                continue
        return tuple(made)

    def step(self) -> dict[str, str] | None:
        luck, entry = self.luck, self.run.entry
        pick = luck.random()
        if pick < NEW_LANGUAGE and len(self.languages) > 1:
            return {"op": "language", "value": luck.choice(self.languages)}
        if pick < NEW_LANGUAGE + SAVED and len(self.languages) < 2:
            return {"op": "save_restore"}
        if pick > 1 - REPEATS:
            grown = list(self._grown())
            if grown:
                return luck.choice(grown)
        asked = [
            (node, control)
            for node, control in entry.asked(hidden=luck.random() < HIDDEN)
            if control.asks and control.definition is node.defn
        ]
        if not asked:
            return None
        node, control = luck.choice(asked)
        value = "" if luck.random() < BLANK else self.answer(node, control)
        return {"op": "set", "ref": ref_of(node), "value": value}

    def _grown(self) -> Iterator[dict[str, str]]:
        for state in self.run.entry.walk():
            if state.kind == "repeat" and state.parameters["fixed"] == "false":
                yield {"op": "add_repeat", "ref": state.ref}
            elif state.kind == "instance" and state.parameters["fixed"] == "false":
                yield {"op": "remove_repeat", "ref": state.ref}

    def answer(self, node: Cell, control: Control) -> str:
        luck = self.luck
        names = [one.value for one in offered(self.run.entry, node) if one.value.strip()]
        kind, its = control.kind, node.defn.type
        if kind in {"select", "rank", "select1"} or node.defn.select:
            if not names:
                return ""
            if kind == "select1":
                return luck.choice(names)
            few = min(len(names), 5) if kind == "select" else len(names)
            return " ".join(luck.sample(names, luck.randint(1, few) if kind == "select" else few))
        if its in {"select", "select1", "rank"}:
            # A text of that type JavaRosa takes for a choice, and finds none of that name.
            return ""
        if kind == "trigger":
            return "OK"
        if kind == "upload":
            return f"file{luck.randint(1, 9)}.jpg"
        return self._typed(its)

    def _typed(self, its: str) -> str:
        luck = self.luck
        numbers = [one for one in self.literals if one.isdigit() and len(one) < 4]
        match its:
            case "int":
                if numbers and luck.random() < OF_THE_FORM:
                    return str(int(luck.choice(numbers)) + luck.choice([-1, 0, 0, 1]))
                return str(luck.choice([0, 1, 2, 3, 5, 12, 18, 45, 200, -2]))
            case "decimal":
                if numbers and luck.random() < OF_THE_FORM:
                    return luck.choice(numbers)
                return luck.choice(["0.5", "1.25", "37.5", "10.75", "-2.5", "7", "250"])
            case "date":
                return luck.choice(DATES)
            case "dateTime":
                clock = luck.choice(["00:00:00", "10:20:30", "23:59:00"])
                return f"{luck.choice(DATES)}T{clock}"
            case "time":
                return luck.choice(["00:00:00", "06:30:00", "18:45:10"])
            case "geopoint":
                return luck.choice(["1.5 2.5 0 0", "-3.25 36.75 1500 4.5"])
            case "geotrace" | "geoshape":
                return "1.5 2.5 0 0; 1.5 3.5 0 0; 2.5 3.5 0 0; 1.5 2.5 0 0"
            case "boolean":
                return luck.choice(["1", "0"])
        if luck.random() < OF_THE_FORM:
            return luck.choice(self.literals)
        return luck.choice(TEXTS)


def interview(form: Foreign, seed: str, number: int) -> tuple[dict[str, str], ...]:
    """The steps of the seed, at most so many; the same ones whenever they are asked for. None
    where we do not open the form.
    """
    try:
        return Interview(form, random.Random(f"{seed}/{form.id}")).steps(number)
    except ValueError:
        return ()
