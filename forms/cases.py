"""A case of the test language as it is written: its shape is judged before anything is done."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from forms.dialect import DIALECTS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import tzinfo
    from typing import BinaryIO

LINE_MAX = 256 * 2**20
"""A line has no more bytes: the largest form, written in JSON, has less."""
_SHOWN = 80


class Misshapen(ValueError):
    """What is written is no case, or no step of one; the text says where and what belongs there."""


def lines(source: BinaryIO, most: int = LINE_MAX) -> Iterator[bytes]:
    """Each line that is not blank; of one that is too long as much as shows that it is."""
    while raw := source.readline(most + 1):
        long = len(raw) > most and not raw.endswith(b"\n")
        while long and (rest := source.readline(most)):
            if rest.endswith(b"\n"):
                break
        if raw.strip():
            yield raw


def read(raw: bytes, most: int = LINE_MAX) -> dict[str, Any]:
    """The object that a line holds. Raises Misshapen."""
    if len(raw.rstrip(b"\r\n")) > most:
        raise Misshapen(f"the line has more than {most:,} bytes")
    try:
        case = json.loads(raw.decode("utf-8-sig"), parse_constant=_no_number)
    except UnicodeDecodeError as fault:
        raise Misshapen(f"the line is not UTF-8, from byte {fault.start + 1} on") from None
    except json.JSONDecodeError as fault:
        raise Misshapen(f"the line is no JSON: {fault.msg}, at character {fault.pos + 1}") from None
    except RecursionError:
        raise Misshapen("the line is no JSON that can be read: it nests too deeply") from None
    except ValueError as fault:
        raise Misshapen(f"the line is no JSON: {fault}") from None
    if not isinstance(case, dict):
        raise Misshapen(f"the line holds {_kind(case)}, where a case is an object")
    return case


def _no_number(word: str) -> float:
    raise ValueError(f"{word} is no number there")


def named(case: object) -> str | float | None:
    """The name that a case is answered under; None where it has none that can be."""
    name = case.get("id") if isinstance(case, dict) else None
    return name if isinstance(name, (str, int, float)) else None


def judged(case: dict[str, Any]) -> None:
    """Raises Misshapen for what is none of the fields that are read, steps apart."""
    if not isinstance(case.get("form"), str):
        raise Misshapen(f"form: {_kind(case.get('form'))} stands where the XForm's text belongs")
    if not isinstance(case.get("steps"), list):
        raise Misshapen(f"steps: {_kind(case.get('steps'))} stands where a list of steps belongs")
    _texts("attachments", case.get("attachments"), "the text of a file, or null")
    options = case.get("options")
    if options is not None and not isinstance(options, dict):
        raise Misshapen(f"options: {_kind(options)} stands where an object belongs")
    _texts("options.properties", (options or {}).get("properties"), "a text")
    dialect = case.get("dialect")
    if dialect is not None and (not isinstance(dialect, str) or dialect not in DIALECTS):
        raise Misshapen(f"dialect: {_shown(dialect)} is none; there are {' and '.join(DIALECTS)}")
    moment(case)
    zone(case)


def _texts(field: str, value: object, what: str) -> None:
    if value is None:
        return
    if not isinstance(value, dict):
        raise Misshapen(f"{field}: {_kind(value)} stands where an object belongs")
    for name, text in value.items():
        if text is not None and not isinstance(text, str):
            raise Misshapen(f"{field}, {_shown(name)}: {_kind(text)} stands where {what} belongs")


def moment(case: dict[str, Any]) -> datetime | None:
    """When the case happens, in UTC where it names no zone; None where it does not say."""
    at = case.get("at")
    if at is None or at == "":
        return None
    try:
        found = datetime.fromisoformat(at)
        # A moment at the ends of time has no place in another zone.
        found.astimezone(ZoneInfo("Pacific/Kiritimati"))
        found.astimezone(ZoneInfo("Pacific/Niue"))
    except (TypeError, ValueError, OverflowError):
        raise Misshapen(f"at: {_shown(at)} is no moment, as 2026-11-23T08:00:00Z is") from None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def zone(case: dict[str, Any]) -> tzinfo:
    """The zone of the case, UTC where it names none."""
    name = case.get("tz")
    if name is None or name == "":
        return UTC
    try:
        return ZoneInfo(name)
    except (TypeError, ValueError, AttributeError, OSError, ZoneInfoNotFoundError):
        raise Misshapen(f"tz: {_shown(name)} is no zone, as Africa/Nairobi is") from None


_NEEDS = {
    "set": ("ref", "value"),
    "add_repeat": ("ref",),
    "remove_repeat": ("ref",),
    "language": ("value",),
}
OPERATIONS = frozenset({*_NEEDS, "init", "new_instance", "save_restore", "serialize_form", "edit"})


def operation(step: object) -> str:
    """What a step is called in its answer, "" where it has no name."""
    said = step.get("op") if isinstance(step, dict) else None
    return said if isinstance(said, str) else ""


def step_judged(step: object) -> dict[str, Any]:
    """The step. Raises Misshapen where it is none that can be done."""
    if not isinstance(step, dict):
        raise Misshapen(f"the step is {_kind(step)}, where an object with op belongs")
    name = operation(step)
    if name not in OPERATIONS:
        raise Misshapen(f"op: {_shown(step.get('op'))} is none of {', '.join(sorted(OPERATIONS))}")
    for field in _NEEDS.get(name, ()):
        if field not in step:
            raise Misshapen(f"{name} needs {field}")
    if "ref" in _NEEDS.get(name, ()) and not isinstance(step["ref"], str):
        raise Misshapen(f"ref: {_kind(step['ref'])} stands where the path of a node belongs")
    if name == "language" and not isinstance(step["value"], str):
        raise Misshapen(f"value: {_kind(step['value'])} stands where a language belongs")
    edited = step.get("edit_xml")
    if edited is not None and not isinstance(edited, str):
        raise Misshapen(f"edit_xml: {_kind(edited)} stands where a submission's text belongs")
    return step


def _kind(value: object) -> str:
    kinds = {
        dict: "an object",
        list: "a list",
        str: "a text",
        bool: "a truth",
        type(None): "nothing",
    }
    return kinds.get(type(value), "a number")


def _shown(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]} ..."
