"""A fresh case as it is written down: the spreadsheet with its lists and files, and the steps."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from forms.xlsform import read_xlsform

PROPERTIES = {
    "properties": {
        where + name: "found"
        for where in ("", "uri:")
        for name in ("deviceid", "email", "phonenumber", "simserial", "subscriberid", "username")
    }
}
"""What JavaRosa's validator says for every property of a device, as the options of a case."""
LANGUAGES = ("English (en)", "French (fr)", "Hausa (ha)")
SPOKEN = {LANGUAGES[0]: "{}", LANGUAGES[1]: "{} en clair", LANGUAGES[2]: "{} a fili"}
LISTS = {
    "colour": ["red", "green", "blue", "grey"],
    "size": ["s", "m", "l"],
    "place": ["p1", "p2", "p3", "p4", "p5", "p6"],
    "yn": ["yes", "no"],
    "scale": ["1", "2", "3", "10"],
    "region": ["north", "south"],
    "district": ["n1", "n2", "s1", "s2"],
    "village": ["v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8"],
}
"""Every list that a form may choose from, with the names of its choices."""
ABOVE = {
    "place": {f"p{n}": LISTS["colour"][n % 3] for n in range(1, 7)},
    "district": {"n1": "north", "n2": "north", "s1": "south", "s2": "south"},
    "village": {f"v{n}": LISTS["district"][n % 4] for n in range(1, 9)},
}
"""The choice of the list above to which each belongs: what a cascade filters by."""
FILTERED_BY = {"place": "colour", "district": "region", "village": "district"}
FILES = {
    "towns.csv": ["t1", "t2", "t3", "t4", "t5"],
    "wards.xml": ["w1", "w2", "w3"],
    "wells.geojson": ["g1", "g2", "g3"],
}
"""Lists that are files beside the form; each belongs to a district."""
HEADINGS = [
    "type",
    "name",
    *(f"label::{language}" for language in LANGUAGES),
    "hint",
    "relevant",
    "constraint",
    *(f"constraint_message::{language}" for language in LANGUAGES),
    "required",
    *(f"required_message::{language}" for language in LANGUAGES),
    "read_only",
    "calculation",
    "default",
    "trigger",
    "repeat_count",
    "choice_filter",
    "parameters",
    "save_to",
]


def named(name: str) -> dict[str, str]:
    """What a choice or question is called in each language."""
    return {f"label::{language}": said.format(name) for language, said in SPOKEN.items()}


def _district(name: str) -> str:
    return LISTS["district"][int(name[1:]) % 4]


def attachments(survey: str) -> dict[str, str]:
    """The files that the survey chooses from, by their addresses."""
    found = {}
    if "towns" in survey:
        rows = [
            f"{name},Town {name},{_district(name)},{len(name) * 10}" for name in FILES["towns.csv"]
        ]
        found["jr://file-csv/towns.csv"] = "\n".join(["name,label,district,people", *rows]) + "\n"
    if "wards" in survey:
        items = "".join(
            f"<item><name>{name}</name><label>Ward {name}</label>"
            f"<district>{_district(name)}</district></item>"
            for name in FILES["wards.xml"]
        )
        found["jr://file/wards.xml"] = f"<root>{items}</root>"
    if "wells" in survey:
        features = ",".join(
            '{"type": "Feature", "geometry": {"type": "Point", "coordinates": '
            f'[{number}.5, 2.25]}}, "properties": {{"id": "{name}", "title": "Well {name}", '
            f'"district": "{_district(name)}"}}}}'
            for number, name in enumerate(FILES["wells.geojson"])
        )
        found["jr://file/wells.geojson"] = (
            f'{{"type": "FeatureCollection", "features": [{features}]}}'
        )
    return found


@dataclass(frozen=True)
class Form:
    """A form as an author writes it: rows of the survey; choices are always the same. `entity`
    is the row of the entity that it creates, blank where it creates none.
    """

    rows: tuple[dict[str, str], ...]
    entity: dict[str, str] = field(default_factory=dict)

    def markdown(self) -> str:
        """The form as the table that pyxform reads."""
        used = {heading for row in self.rows for heading in row}
        headings = [one for one in HEADINGS if one in used]
        lines = _table("survey", headings, self.rows)
        types = " ".join(row["type"] for row in self.rows) + " "
        choices = [
            {
                "list_name": list_name,
                "name": name,
                **named(name.title()),
                FILTERED_BY.get(list_name, ""): ABOVE.get(list_name, {}).get(name, ""),
            }
            for list_name, names in LISTS.items()
            if f" {list_name} " in types
            for name in names
        ]
        if choices:
            above = [one for one in FILTERED_BY.values() if any(one in row for row in choices)]
            labels = list(named(""))
            lines += _table("choices", ["list_name", "name", *labels, *above], choices)
        if self.entity:
            row = {"list_name": "things", **self.entity}
            lines += _table("entities", list(row), [row])
        settings = {"form_id": "case", "version": "1", "default_language": LANGUAGES[0]}
        lines += _table("settings", list(settings), [settings])
        return "\n".join(lines) + "\n"

    @cached_property
    def xform(self) -> str:
        # Whether our engine opens it is what the comparison is about.
        return read_xlsform("case.md", self.markdown().encode(), opened=False).xml.decode()


def _table(sheet: str, headings: list[str], rows: Any) -> list[str]:
    lines = [f"| {sheet} |", "| | " + " | ".join(headings) + " |"]
    lines += ["| | " + " | ".join(row.get(one, "") for one in headings) + " |" for row in rows]
    return [*lines, ""]


@dataclass(frozen=True)
class Sample:
    """A form with the steps of one interview."""

    id: str
    form: Form
    steps: tuple[dict[str, str], ...]
    dialect: str = "collect"

    def case(self) -> dict[str, Any]:
        """The case as both engines read it. Both stand in the present day: JavaRosa knows no
        other, and a time without a date is one of today.
        """
        types = " ".join(" ".join(row.values()) for row in self.form.rows)
        return {
            "id": self.id,
            "dialect": self.dialect,
            "form": self.form.xform,
            "attachments": attachments(types),
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "tz": "UTC",
            "options": PROPERTIES,
            "steps": [{"op": "init"}, *self.steps],
        }
