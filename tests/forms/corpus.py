"""What other engines did with their own test forms, and how ours is held against it.

A case is replayed as `python -m forms replay` replays it, and everything that was recorded of a
step is compared, exactly but for what is masked (ids and clocks, new at each run). Where less is
compared, it is because of how the case was recorded, and is said here:

- Cases on which both engines agree hold Web Forms' own record. In its dialect all of it must come
  out. JavaRosa's agreement was judged by values and rules of what is relevant, and so is ours in
  Collect's dialect: it adds no ids, tells moments in the zone of the device, has its own texts,
  keeps the instances that the form itself shows of a counted repeat, and makes an instance that is
  answered and not there, where Web Forms refuses: there the two part, and the comparison ends.
- Cases from JavaRosa's own tests hold what is in the form at that moment: how many of the instances
  that a count asks for were made hangs on how far the test had gone, so that there may be more. They
  were recorded from another version than the one that pyxform brings, which we follow, and the two
  write one moment in different offsets: moments are compared as moments.
"""

from __future__ import annotations

import gzip
import json
import re
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from lxml import etree

from forms.replay import dialect_of, replay

if TYPE_CHECKING:
    from collections.abc import Iterator

SHARED = Path(__file__).parents[3] / "shared" / "conformance"
_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_CLOCK = re.compile(r"2026-11-2\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[-+]\d\d:?\d\d)?")
"""The days on which the cases were recorded."""
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[-+]\d\d:?\d\d)?")
_COUNTED = re.compile(r"<repeat[^>]*jr:count=[^>]*>")
_NODESET = re.compile(r"""nodeset=["']([^"']+)""")
PLAIN = {"v": "", "rel": True, "ro": False, "req": False}
_BIND = re.compile(r"<bind[^>]*>")
_LUCKY = re.compile(r"""calculate=(["'])(?:(?!\1).)*\brandom\(\)""")


@lru_cache
def cases(name: str) -> list[dict[str, Any]]:
    """The recorded cases, or none where the corpora are not beside the project."""
    path = SHARED / name
    if not path.exists():
        return []
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        if name.endswith(".jsonl.gz"):
            return [json.loads(line) for line in lines]
        return json.load(lines)


def dialects(case: dict[str, Any]) -> tuple[str, ...]:
    """In which dialects the case must come out: in both where both engines agree."""
    return ("collect", "webforms") if case["oracle"] == "both" else (dialect_of(case),)


def masked(text: str | None) -> str:
    """The text without what is new at each run: ids, and the moment of the recording."""
    return _CLOCK.sub("now", _ID.sub("id", text or ""))


def instants(text: str, zone: ZoneInfo) -> str:
    """The text with its moments as those of one clock; without an offset they are of the zone."""

    def told(found: re.Match[str]) -> str:
        moment = datetime.fromisoformat(found[0])
        return (
            (moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(UTC).isoformat()
        )

    return _MOMENT.sub(told, text)


def miss(case: dict[str, Any], dialect: str) -> str:
    """Where the case does not come out as recorded; "" where it does."""
    told = replay(case, dialect)["steps"]
    compare = _Comparison(case, dialect)
    for number, step in enumerate(case["steps"]):
        where = f"step {number} {step['op']} {step.get('ref') or ''}"
        ours = told[number] if number < len(told) else {"error": "no such step"}
        if ("error" in ours) != ("error" in step):
            if "error" in step and step["op"] == "set" and compare.agreed:
                return ""
            return f"{where}: {step.get('error')!r} expected, {ours.get('error')!r} found"
        if "error" in step:
            if step["op"] == "init":
                return ""
            continue
        compare.learn(step)
        differs = next(compare.differences(step, ours), "")
        if differs:
            return f"{where}: {differs}"
    return ""


class _Comparison:
    """What is known of the nodes so far, and where ours are otherwise."""

    def __init__(self, case: dict[str, Any], dialect: str) -> None:
        self.expected: dict[str, dict[str, Any]] = {}
        self.lucky = {
            path
            for bind in _BIND.findall(case["form"])
            if _LUCKY.search(bind)
            for path in _NODESET.findall(bind)
        }
        self.collect = dialect == "collect"
        self.agreed = case["oracle"] == "both" and dialect == "collect"
        self.zone = ZoneInfo(case["tz"])
        # Where instances may be that were not recorded.
        self.counted = (
            tuple(
                path for each in _COUNTED.findall(case["form"]) for path in _NODESET.findall(each)
            )
            if self.agreed or case["oracle"] == "jr"
            else ()
        )

    def told(self, text: str | None) -> str:
        return instants(masked(text), self.zone) if self.collect else masked(text)

    def learn(self, step: dict[str, Any]) -> None:
        for ref in step.get("gone", ()):
            self.expected.pop(ref, None)
        self.expected.update(step.get("set") or {})

    def differences(self, step: dict[str, Any], ours: dict[str, Any]) -> Iterator[str]:
        nodes: dict[str, dict[str, Any]] = {}
        for node in ours["state"]["nodes"]:
            nodes.setdefault(node["ref"], node)
        for ref, want in self.expected.items():
            if self.agreed and "/meta" in ref:
                continue
            node = nodes.get(ref)
            if node is None:
                yield f"{ref}: is not there"
            else:
                yield from self._node(ref, {**PLAIN, **want}, node)
        for ref in nodes.keys() - self.expected.keys():
            if not (self._in_counted(ref) or (self.agreed and "/meta" in ref)):
                yield f"{ref}: is not expected"
        if step.get("xml") and not self.lucky and not self.agreed:
            yield from self._xml(step["xml"], ours["xml"])

    def _in_counted(self, ref: str) -> bool:
        plain = re.sub(r"\[\d+\]", "", ref)
        return any(plain == path or plain.startswith(f"{path}/") for path in self.counted)

    def _node(self, ref: str, want: dict[str, Any], node: dict[str, Any]) -> Iterator[str]:
        if node["rel"] != want["rel"]:
            yield f"{ref}: rel {want['rel']} expected"
        if self.agreed and not want["rel"]:
            return
        lucky = re.sub(r"\[\d+\]", "", ref) in self.lucky
        if not lucky and self.told(want["v"]) != self.told(node.get("value")):
            yield f"{ref}: {want['v']!r} expected, {node.get('value')!r} found"
        for key in ("ro", "req"):
            if node[key] != want[key]:
                yield f"{ref}: {key} {want[key]} expected"
        if self.agreed:
            return
        texts = {"viol": "violation", "msg": "msg", "label": "label", "hint": "hint"}
        for key, own in texts.items():
            if key in want and masked(want[key]) != masked(node.get(own)):
                yield f"{ref}: {key} {want[key]!r} expected, {node.get(own)!r} found"
        if "choices" in want:
            theirs = [[value, label or ""] for value, label in want["choices"]]
            if theirs != [[value, label or ""] for value, label in node.get("choices") or []]:
                yield f"{ref}: choices {theirs} expected, {node.get('choices')} found"

    def _xml(self, expected: str, found: str) -> Iterator[str]:
        try:
            theirs = etree.fromstring(expected.encode())
        except etree.XMLSyntaxError:
            return  # JavaRosa writes characters that XML forbids; ours are left out.
        one = self.told(drawn(theirs))
        other = self.told(drawn(etree.fromstring(found.encode())))
        if one != other and not self._fewer(one, other):
            yield f"xml {one} expected, {other} found"

    def _fewer(self, one: str, other: str) -> bool:
        """Whether only blank instances of counted repeats are more."""
        for path in self.counted:
            name = re.escape(path.rpartition("/")[2])
            blank = re.compile(rf"<{name}>(?:<[\w.-]+>(?:0|\d|)</[\w.-]+>)*</{name}>")
            one, other = blank.sub("", one), blank.sub("", other)
        return bool(self.counted) and one == other


def drawn(element: Any) -> str:
    """The XML by local names, without declarations, templates' marks and what is new each time."""
    name = etree.QName(element).localname
    said = "".join(
        f' {etree.QName(key).localname}="{value}"'
        for key, value in sorted(element.attrib.items())
        if etree.QName(key).localname != "template"
    )
    kids = [kid for kid in element if isinstance(kid.tag, str)]
    inside = "".join(map(drawn, kids)) if kids else (element.text or "")
    return masked(f"<{name}{said}>{inside}</{name}>")
