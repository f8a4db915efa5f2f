"""What other engines did with their own test forms, and how ours is held against it."""

from __future__ import annotations

import gzip
import json
import re
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from lxml import etree

from forms.entry import NoSuchNode
from forms.mirror import Mirror
from forms.replay import Run, plain, snapshot

SHARED = Path(__file__).parents[3] / "shared" / "conformance"
UUID = re.compile(r"^uuid:[0-9a-f-]{36}$|^[0-9a-f]{8}-[0-9a-f-]{27}$")
STAMP = re.compile(r"^\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[-+]\d\d:?\d\d)?)?$")
RECORDED = "2026-11-2"
_TEXTUAL = re.compile(r"^step \d+ \S+ \S*: /\S+: (?:label|hint|choices) ")
PLAIN = {"v": "", "rel": True, "ro": False, "req": False}
REFUSALS = (ValueError, KeyError, ArithmeticError, RecursionError)


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


def same(expected: str, found: str, *, frozen: bool) -> bool:
    """Values agree: exactly, as numbers, or both are of the kind that differs each time."""
    expected, found = expected or "", found or ""
    if expected == found:
        return True
    if UUID.match(expected) and UUID.match(found):
        return True
    if not frozen and expected.startswith(RECORDED) and STAMP.match(found):
        return True
    one, other = _moment(expected), _moment(found)
    if one is not None and other is not None:
        # Texts of one moment are the same; the clock had moved on a little when it was written.
        if one.tzinfo is None or other.tzinfo is None:
            one, other = one.replace(tzinfo=None), other.replace(tzinfo=None)
        near = 60 if frozen and expected.startswith(RECORDED) else 0
        return abs((one - other).total_seconds()) <= near
    if not expected or not found:
        return False
    try:
        one, other = float(expected), float(found)
    except ValueError:
        return " ".join(expected.split()) == " ".join(found.split())
    return one == other or abs(one - other) <= 1e-9 * max(abs(one), abs(other))


def _moment(text: str) -> datetime | None:
    if not STAMP.match(text) or "T" not in text:
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def _tree(element: Any) -> Any:
    return (
        etree.QName(element).localname,
        {
            etree.QName(key).localname: value
            for key, value in element.attrib.items()
            if etree.QName(key).localname not in {"xmlns", "template"}
        },
        "" if len(element) else (element.text or ""),
        [_tree(kid) for kid in element if isinstance(kid.tag, str)],
    )


def xml_differs(expected: str, found: str, *, frozen: bool) -> str:
    """Where two instances differ, "" where they do not."""
    try:
        theirs = _tree(etree.fromstring(expected.encode()))
    except etree.XMLSyntaxError:
        # JavaRosa writes characters that XML forbids; ours are left out.
        return ""
    return _differs(theirs, _tree(etree.fromstring(found.encode())), "", frozen=frozen)


def _differs(one: Any, other: Any, where: str, *, frozen: bool) -> str:
    here = f"{where}/{one[0]}"
    if one[0] != other[0]:
        return f"{here}: <{other[0]}> instead"
    for name in sorted({*one[1], *other[1]}):
        if not same(one[1].get(name, ""), other[1].get(name, ""), frozen=frozen):
            return f"{here}@{name}: {one[1].get(name)!r} expected, {other[1].get(name)!r} found"
    if not same(one[2], other[2], frozen=frozen):
        return f"{here}: {one[2]!r} expected, {other[2]!r} found"
    ours = [kid for kid in other[3] if kid[0] != "meta"]
    theirs = [kid for kid in one[3] if kid[0] != "meta"]
    if [kid[0] for kid in theirs] != [kid[0] for kid in ours]:
        # The engines put first instances in different places, and JavaRosa keeps instances beyond
        # a count: the first of each name are held against each other, none may be missing.
        paired = []
        for kid in theirs:
            match = next((one for one in ours if one[0] == kid[0]), None)
            if match is None:
                return f"{here}: {[k[0] for k in theirs]} expected, {[k[0] for k in ours]} found"
            ours.remove(match)
            paired.append(match)
        ours = paired
    for first, second in zip(theirs, ours, strict=True):
        found = _differs(first, second, here, frozen=frozen)
        if found:
            return found
    return ""


def state_differs(
    expected: dict[str, dict[str, Any]],
    found: list[dict[str, Any]],
    *,
    frozen: bool,
    counted: tuple[str, ...] = (),
) -> str:
    """The first node on which two states differ, "" where there is none."""
    ours: dict[str, dict[str, Any]] = {}
    for node in found:
        ours.setdefault(node["ref"], node)
    for ref, theirs in expected.items():
        node = ours.get(ref)
        if node is None:
            if "/meta" in ref:
                continue
            return f"{ref}: is not there"
        want = {**PLAIN, **theirs}
        if node["rel"] != want["rel"]:
            return f"{ref}: rel {want['rel']} expected"
        if not want["rel"]:
            continue
        if not same(want["v"], node.get("value", ""), frozen=frozen):
            return f"{ref}: {want['v']!r} expected, {node.get('value')!r} found"
        for key in ("ro", "req"):
            if node[key] != want[key]:
                return f"{ref}: {key} {want[key]} expected"
        if "label" in want and not same(want["label"], node.get("label", ""), frozen=frozen):
            return f"{ref}: label {want['label']!r} expected, {node.get('label')!r} found"
        if "hint" in want and not same(want["hint"], node.get("hint", ""), frozen=frozen):
            return f"{ref}: hint {want['hint']!r} expected, {node.get('hint')!r} found"
        if "viol" in want and want["viol"] != node.get("violation"):
            return f"{ref}: {want['viol']} expected, {node.get('violation')} found"
        if "choices" in want:
            theirs_ = [[v, " ".join((label or "").split())] for v, label in want["choices"]]
            ours_ = [[v, " ".join((label or "").split())] for v, label in node.get("choices") or []]
            if theirs_ != ours_:
                return f"{ref}: choices {theirs_} expected, {ours_} found"
    for ref, node in ours.items():
        # JavaRosa's own tests make counted instances only when they go there: blank ones may be.
        if ref not in expected and "/meta" not in ref and node.get("value"):
            if any(ref.startswith(f"{top}[") for top in counted):
                continue
            return f"{ref}: is not expected"
    return ""


def miss(case: dict[str, Any]) -> str:
    """Why the case does not come out as recorded; "" where it does.

    A case on which both engines agree was recorded from Web Forms, and held against JavaRosa in
    its values and rules: where it words a text otherwise than Collect, it must do so in Web
    Forms' own dialect.
    """
    found = _missed(case, dialect_of(case))
    if case["oracle"] == "both" and _TEXTUAL.search(found):
        return _missed(case, "webforms")
    return found


def _missed(case: dict[str, Any], dialect: str) -> str:
    run = Run(case, dialect)
    expected: dict[str, dict[str, Any]] = {}
    frozen = "at" in case
    # JavaRosa's own tests were recorded without going through the form after a step: what a count
    # asks for is there once a later step goes anywhere, and no question was looked at.
    walked = case["oracle"] == "jr"
    for number, step in enumerate(case["steps"]):
        where = f"step {number} {step['op']} {step.get('ref') or ''}"
        try:
            if walked and isinstance(run.current, Mirror):
                run.current.arrive()
            if step.get("result") == "CONSTRAINT_VIOLATED":
                told = run.entry.answer(plain(step["ref"]), step["value"], keep_faulty=False)
                if told.fault is None:
                    return f"{where}: no constraint was broken"
            elif walked and step["op"] == "set" and step.get("ref"):
                put(run, plain(step["ref"]), step.get("value") or "")
            else:
                run.step(step)
        except REFUSALS as fault:
            if "error" in step:
                if step["op"] == "init":
                    return ""
                continue
            return f"{where}: {type(fault).__name__}: {str(fault)[:300]}"
        if "error" in step:
            if step["op"] == "init":
                return f"{where}: was refused there ({step['error'][:150]})"
            # One engine made an instance on the way and the other did not: no more to compare.
            return ""
        for ref in step.get("gone", ()):
            expected.pop(ref, None)
        expected.update(step.get("set") or {})
        try:
            found = snapshot(run.entry, seen=not walked)["nodes"]
            for node in found:
                if node["ref"] in expected and _lucky(run, node["ref"]):
                    node["value"] = expected[node["ref"]].get("v", "")
        except REFUSALS as fault:
            return f"{where}: {type(fault).__name__}: {str(fault)[:300]}"
        counted = tuple(one.ref for one in run.entry.form.counted)
        differs = state_differs(expected, found, frozen=frozen, counted=counted)
        if differs:
            return f"{where}: {differs}"
        if step.get("xml") and not any(
            "random" in rule.compiled.functions for rule in run.entry._rules
        ):
            differs = xml_differs(step["xml"], run.entry.xml().decode(), frozen=frozen)
            if differs:
                return f"{where}: xml {differs}"
    return ""


def put(run: Run, ref: str, text: str) -> None:
    """The text as it is, whatever the question's type: so JavaRosa's own tests hand over answers,
    past the parser that a person's answer goes through.
    """
    run.reach(ref)
    entry = run.entry
    node = entry.find(ref)
    entry._start()
    before = node.text
    entry._give(node, text)
    entry._run()
    if text != before:
        entry._changed_by_hand(node)
    entry._after()


def _lucky(run: Run, ref: str) -> bool:
    """Whether the value there is drawn by lot."""
    rule = run.entry.find(ref).defn.calculate
    return rule is not None and "random" in rule.functions


def dialect_of(case: dict[str, Any]) -> str:
    return "webforms" if case["oracle"] == "wf" else "collect"


__all__ = ["NoSuchNode", "cases", "dialect_of", "miss", "state_differs", "xml_differs"]
