"""Two replays of one case laid side by side: what differs, and which differences are named."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lxml import etree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

State = dict[str, Any]

_MASKS = (
    (re.compile(r"uuid:[0-9a-f-]{36}"), "uuid:*"),
    (re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b"), "uuid"),
    (re.compile(r"\b20[2-9]\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+(?:Z|[+-]\d\d:?\d\d)"), "now"),
)


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


def _emptied_choice(difference: Difference) -> bool:
    return (
        difference.what == "fault on a blank answer"
        and difference.theirs == "constraint"
        and not any(ref == difference.ref for ref, _ in difference.ours)
    )


DIALECTS: tuple[Dialect, ...] = (
    Dialect(
        "the last digits of a decimal",
        "Java and Python round the last bit of pow, log and the trigonometric functions apart",
        _last_digits,
    ),
    Dialect(
        "a constraint on a blank answer",
        "JavaRosa weighs the constraint of a select_multiple that a filter has just emptied; by "
        "the specification a blank answer has no constraint to keep, and no interview could end",
        _emptied_choice,
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
        if ("error" in our) != ("error" in their):
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

    # The last digits of a long decimal are compared where it is a value, and named there.
    whole = masked(drawn(etree.fromstring(xml.encode())))
    return re.sub(r"\d+\.\d{9,}", lambda match: f"{float(match[0]):.10g}", whole)


def _faults(case: str, number: int, ours: State, theirs: State) -> Iterator[Difference]:
    """JavaRosa stops at its first fault; ours must hold that one, and none where it has none."""
    mine = [(fault["ref"], fault["kind"]) for fault in ours.get("validate") or ()]
    peer = theirs.get("validate")
    if "validate_error" in theirs:
        return
    if peer is None and mine:
        yield Difference(case, number, mine[0][0], "fault", mine, None)
    elif peer is not None:
        kind = {1: "required", 2: "constraint"}.get(peer["code"], "?")
        if not any(ref == peer["ref"] for ref, _ in mine):
            blank = _text_at(theirs["state"].get("xml", ""), peer["ref"]) == ""
            what = "fault on a blank answer" if blank else "fault"
            yield Difference(case, number, peer["ref"], what, mine, kind)


def _text_at(xml: str, ref: str) -> str | None:
    """What stands at a reference like /data/r[2]/a in the submission; None where nothing does."""
    here = etree.fromstring(xml.encode()) if xml else None
    for step in ref.strip("/").split("/")[1:]:
        name, _, place = step.rstrip("]").partition("[")
        kids = [] if here is None else [k for k in here if etree.QName(k).localname == name]
        at = int(place or 1) - 1
        here = kids[at] if at < len(kids) else None
    return None if here is None else (here.text or "")


WITHDRAWN = "what depends on a withdrawn answer"
TYPED_OVER = "a calculation that was typed over"
LASTING = {
    WITHDRAWN: (
        "an answer that its filter no longer offers is taken back by both; JavaRosa leaves what "
        "depends on it as it was until something else moves it, ours works it out again"
    ),
    TYPED_OVER: (
        "when an instance of a repeat is added or answered, JavaRosa may work out again the "
        "calculations of the group around it, over what a person typed there; ours keeps what was "
        "typed until something that it depends on changes"
    ),
}
"""Differences that begin at one step and are seen in all that follow: name and reason."""


def _lasting(
    number: int, found: list[Difference], ours: State, theirs: State, steps: Sequence[State]
) -> str | None:
    """The name of the lasting difference that begins at this step, if one does."""
    state = theirs["steps"][number].get("state", {})
    shown = {node["ref"]: node for node in state.get("nodes", ())}
    for ref, node in shown.items():
        if "choices" in node and node.get("value") and not _text_at(state.get("xml", ""), ref):
            return WITHDRAWN
    mine_xml = ours["steps"][number].get("state", {}).get("xml", "") if found else ""
    for each in found:
        # Something else looked at the choices first (jr:choice-name does): taken back all the same.
        gone = each.what == "value" and each.ours and not each.theirs
        if gone and "choices" in shown[each.ref] and not _text_at(mine_xml, each.ref):
            return WITHDRAWN
    act = steps[number] if number < len(steps) else {}
    if "[" not in act.get("ref", "") and act.get("op") != "add_repeat":
        return None
    typed = {step["ref"] for step in steps[:number] if step["op"] == "set"}
    sides = (ours["steps"][number - 1], theirs["steps"][number - 1])
    if not all("state" in side for side in sides):
        return None
    before, mine = ({node["ref"]: node for node in side["state"]["nodes"]} for side in sides[::-1])
    for each in found:
        if (
            each.what == "value"
            and each.ref in typed
            and each.ours == masked(mine.get(each.ref, {}).get("value", ""))
            and each.theirs != masked(before.get(each.ref, {}).get("value", ""))
        ):
            return TYPED_OVER
    return None


def unlisted(
    case: str, ours: State, theirs: State, steps: Sequence[State] = ()
) -> tuple[list[Difference], dict[str, int]]:
    """The differences that no dialect names, and how often each dialect was met.

    `steps` are the case's own, where a dialect depends on what was typed.
    """
    left: list[Difference] = []
    met: dict[str, int] = {}
    found = list(differences(case, ours, theirs))
    for number in range(len(theirs.get("steps", []))):
        here = [each for each in found if each.step == number]
        # A withdrawn answer is seen only in the step that withdraws it, so each step is asked.
        name = _lasting(number, here, ours, theirs, steps)
        if name is not None:
            later = [each for each in found if each.step >= number]
            if later:
                met[name] = met.get(name, 0) + len(later)
            return left, met
        for difference in here:
            name = next((each.name for each in DIALECTS if each.holds(difference)), None)
            if name is None:
                left.append(difference)
            else:
                met[name] = met.get(name, 0) + 1
    left.extend(each for each in found if each.step >= len(theirs.get("steps", [])))
    return left, met
