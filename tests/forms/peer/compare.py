"""Two replays of one case laid side by side: what differs, and which differences are named."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lxml import etree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

State = dict[str, Any]

_MASKS = (
    (re.compile(r"uuid:[0-9a-f-]{36}"), "uuid:*"),
    (re.compile(r"(?<![0-9a-f])[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}(?![0-9a-f])"), "uuid"),
    # The clock of the day of recording or of this run; the dates that fresh forms hold are before.
    (
        re.compile(r"\b20(?:2[6-9]|[3-9]\d)-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+(?:Z|[+-]\d\d:?\d\d)"),
        "now",
    ),
)


_SEVERAL = re.compile(
    r"(?:XPathTypeMismatchException: |"
    r"RuntimeException: Error evaluating field '[\w.-]+' \([^)]*\): "
    r"The problem was located in [^\n]*\n)"
    r"XPath evaluation: type mismatch \nThis field is repeated: \n\n/"
)
_WHICH = "instances: an action must say which one it sets"


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing on which the engines disagree after a step."""

    case: str
    step: int
    ref: str
    what: str
    ours: Any
    theirs: Any

    def __str__(self) -> str:
        return (
            f"case {self.case}, step {self.step}, {self.ref} {self.what}: "
            f"ours {self.ours!r}, JavaRosa {self.theirs!r}"
        )


@dataclass(frozen=True, slots=True)
class Dialect:
    """A difference that is meant: its name, why we keep it, and how to know it."""

    name: str
    reason: str
    holds: Callable[[Difference], bool]


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _last_digits(difference: Difference) -> bool:
    ours, theirs = _number(difference.ours), _number(difference.theirs)
    return (
        difference.what == "value"
        and ours is not None
        and theirs is not None
        and abs(ours - theirs) <= 1e-9 * max(1.0, abs(ours))
    )


def _stopped(difference: Difference) -> bool:
    return (
        difference.what.endswith(" error")
        and (difference.ours is None or difference.ours.endswith(_WHICH))
        and _SEVERAL.match(difference.theirs or "") is not None
    )


DIALECTS: tuple[Dialect, ...] = (
    Dialect(
        "the last digits of a decimal",
        "Java and Python round the last bit of pow, log and the trigonometric functions apart",
        _last_digits,
    ),
    Dialect(
        "JavaRosa stops where several nodes stand for one",
        "a path that leads to several answers where one is meant ends the interview in Collect; here "
        "one of them decides, and the answer that was just given is kept",
        _stopped,
    ),
)


def masked(value: Any) -> Any:
    """The value without what is new in every run: identifiers and the clock."""
    if isinstance(value, str):
        for pattern, name in _MASKS:
            value = pattern.sub(name, value)
        return value
    if isinstance(value, list):
        return [masked(each) for each in value]
    return value


def differences(case: str, ours: State, theirs: State) -> Iterator[Difference]:
    """Where our replay says something else than JavaRosa's."""
    mine, peer = ours.get("steps", []), theirs.get("steps", [])
    for number, (our, their) in enumerate(zip(mine, peer, strict=False)):
        # What either engine had done before both stopped is not the same.
        if ("error" in our) != ("error" in their) or _SEVERAL.match(their.get("error") or ""):
            yield Difference(
                case, number, "", f"{their['op']} error", our.get("error"), their.get("error")
            )
            return
        if "state" in our and "state" in their:
            yield from _states(case, number, our["state"], their["state"])
            yield from _faults(case, number, our, their)
    if len(mine) != len(peer):
        yield Difference(case, min(len(mine), len(peer)), "", "steps", len(mine), len(peer))


def _states(case: str, number: int, ours: State, theirs: State) -> Iterator[Difference]:
    our_nodes = {node["ref"]: node for node in ours["nodes"]}
    their_nodes = {node["ref"]: node for node in theirs["nodes"]}
    for ref in sorted(our_nodes.keys() ^ their_nodes.keys()):
        yield Difference(case, number, ref, "exists", ref in our_nodes, ref in their_nodes)
    for ref, their in their_nodes.items():
        our = our_nodes.get(ref)
        if our is None:
            continue
        for what in ("value", "rel", "ro", "req"):
            if what not in their:
                continue
            mine, peer = masked(our.get(what, _LEFT_OUT[what])), masked(their[what])
            if mine != peer:
                yield Difference(case, number, ref, what, mine, peer)
        for what in ("label", "choices"):
            # JavaRosa tells them of what it shows; what it does not show has none to compare.
            # A label that it cannot work out ("ERR:...") is no label to compare either.
            told = their.get(what)
            if told is not None and _shown(their) and "ERR:" not in str(told):
                mine, peer = _said(our.get(what)), _said(their[what])
                if mine != peer:
                    yield Difference(case, number, ref, what, mine, peer)
    if "xml" in theirs and "xml" in ours:
        mine, peer = _canonical(ours["xml"]), _canonical(theirs["xml"])
        if mine != peer:
            yield Difference(case, number, "", "xml", mine, peer)


_LEFT_OUT = {"value": "", "rel": True, "ro": False, "req": False}


def _shown(node: State) -> bool:
    return bool(node.get("rel", True))


def _said(value: Any) -> Any:
    if isinstance(value, list):
        return [[_said(part) for part in pair] for pair in value]
    return masked(" ".join(value.split())) if isinstance(value, str) else (value or "")


def _canonical(xml: str) -> str:
    """The submission by local names: JavaRosa declares every prefix of the form, used or not."""

    def drawn(element: etree._Element) -> str:
        name = etree.QName(element).localname
        said = "".join(
            f' {etree.QName(key).localname}="{value}"'
            for key, value in sorted(element.attrib.items())
        )
        inside = "".join(map(drawn, element)) if len(element) else (element.text or "")
        return f"<{name}{said}>{inside}</{name}>"

    try:
        root = etree.fromstring(xml.encode())
    except etree.XMLSyntaxError:
        # JavaRosa writes what no XML can hold, such as the letter 0 out of a base64 text.
        return xml
    # The last digits of a long decimal are compared where it is a value, and named there.
    whole = masked(drawn(root))
    return re.sub(r"\d+\.\d{9,}", lambda match: f"{float(match[0]):.10g}", whole)


def _faults(case: str, number: int, ours: State, theirs: State) -> Iterator[Difference]:
    """JavaRosa stops at its first fault; ours must begin with that one."""
    if "validate_error" in theirs:
        return
    mine = [(fault["ref"], fault["kind"]) for fault in ours.get("validate") or ()][:1]
    told = theirs.get("validate")
    kinds = {1: "required", 2: "constraint"}
    peer = [] if told is None else [(told["ref"], kinds.get(told["code"], "?"))]
    if mine != peer:
        yield Difference(case, number, (peer or mine)[0][0], "fault", mine, peer)


def unlisted(case: str, ours: State, theirs: State) -> tuple[list[Difference], dict[str, int]]:
    """The differences that no dialect names, and how often each dialect was met."""
    left: list[Difference] = []
    met: dict[str, int] = {}
    for difference in differences(case, ours, theirs):
        name = next((each.name for each in DIALECTS if each.holds(difference)), None)
        if name is None:
            left.append(difference)
        else:
            met[name] = met.get(name, 0) + 1
    return left, met


def drawn_by_lot(difference: Difference, form: str) -> bool:
    """Whether luck or the second makes it: where the form asks for them, and no list of choices but
    for its order.
    """
    if difference.what == "choices":
        return "randomize(" in form and sorted(difference.ours) == sorted(difference.theirs)
    lots = "random()" in form or "decimal-date-time(now())" in form or "now()" in form
    return lots and difference.what in {"value", "xml", "label"}
