"""A form, what is done with it, and what must be so after each act, as one can read it in a text.

Each value here is written out from the specification or a document that is named beside it. The
same cases are put to JavaRosa (`test_javarosa.py`), so that what is written here is not just our
own word.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from forms.replay import replay
from forms.xlsform import compile_xlsform
from tests.forms.peer.compare import masked
from tests.forms.peer.written import PROPERTIES

if TYPE_CHECKING:
    from collections.abc import Mapping

    Facts = Mapping[str, Any]
    """What is so, by "/data/a" (its value; None: it is not there), or "/data/a rel", "... ro",
    "... req", "... label", "... hint" and "... choices" (their names), and "xml" (a part of it)."""

NAMESPACES = " ".join(
    f'xmlns{prefix}="{uri}"'
    for prefix, uri in (
        ("", "http://www.w3.org/2002/xforms"),
        (":h", "http://www.w3.org/1999/xhtml"),
        (":jr", "http://openrosa.org/javarosa"),
        (":orx", "http://openrosa.org/xforms"),
        (":odk", "http://www.opendatakit.org/xforms"),
        (":entities", "http://www.opendatakit.org/xforms/entities"),
    )
)
_ACT = re.compile(r"(\w+)(?: (\S.*))?")
_SET = re.compile(r"(/\S+) =(?: (.*))?", re.DOTALL)


def xform(data: str, model: str = "", body: str = "") -> str:
    """An XForm around its data, what else is in its model, and its body."""
    first = data.removeprefix("<").partition("/")[0].partition(">")[0]
    body = body or f'<input ref="/data/{first}"/>'
    return (
        f"<h:html {NAMESPACES}><h:head><h:title>t</h:title><model>"
        f'<instance><data id="t">{data}</data></instance>{model}</model></h:head>'
        f"<h:body>{body}</h:body></h:html>"
    )


@dataclass(frozen=True, slots=True)
class Case:
    """`form` is an XForm, or an XLSForm as a markdown table. `acts` are pairs of what is done and
    what is so then: "init", "/data/a = 5", "add /data/r", "remove /data/r[1]", "language fr",
    "save_restore", "edit". `says` names where it is said that it must be so; `stops` why
    JavaRosa by itself comes to something else or to nothing, "" where it comes to the same.
    """

    form: str
    acts: tuple[tuple[str, Facts], ...]
    says: str = ""
    stops: str = ""
    dialect: str = "collect"
    zone: str = "UTC"
    files: Mapping[str, str] | None = None
    at: str = ""

    def written(self, name: str) -> dict[str, Any]:
        """The case as `python -m forms replay` and the Java peer read it."""
        table = self.form.lstrip().startswith("|")
        form = compile_xlsform("case.md", self.form.encode()).decode() if table else self.form
        return {
            "id": name,
            "form": form,
            "attachments": dict(self.files or {}),
            "options": PROPERTIES,
            "dialect": self.dialect,
            "tz": self.zone,
            "steps": [_step(act) for act, _ in self.acts],
        } | ({"at": self.at} if self.at else {})

    def faults(self, told: dict[str, Any]) -> list[str]:
        """Where what an engine told of the case is not what must be so."""
        wrong = []
        for (act, facts), step in zip(self.acts, told["steps"], strict=False):
            wrong += [f"after {act!r}: {fault}" for fault in _untrue(facts, step)]
        if len(told["steps"]) < len(self.acts):
            wrong.append("the case broke off")
        return wrong


def ours(name: str, case: Case) -> list[str]:
    """Where our own engine does not do what must be so."""
    return case.faults(replay(case.written(name)))


def _step(act: str) -> dict[str, str]:
    set_ = _SET.fullmatch(act)
    if set_:
        return {"op": "set", "ref": set_[1], "value": set_[2] or ""}
    named = _ACT.fullmatch(act)
    assert named is not None, act
    match named[1]:
        case "add" | "remove":
            return {"op": f"{named[1]}_repeat", "ref": named[2]}
        case "language":
            return {"op": "language", "value": named[2]}
        case operation:
            return {"op": operation}


def _untrue(facts: Facts, step: dict[str, Any]) -> list[str]:
    if "error" in facts:
        return [] if "error" in step else ["an error was expected"]
    if "error" in step:
        return [step["error"]]
    nodes = {node["ref"]: node for node in reversed(step["state"]["nodes"])}
    wrong = []
    for fact, expected in facts.items():
        found = _found(fact, nodes, step)
        holds = expected in found if fact == "xml" else found == expected
        if not holds:
            wrong.append(f"{fact}: {expected!r} expected, {found!r} found")
    return wrong


def _found(fact: str, nodes: dict[str, Any], step: dict[str, Any]) -> Any:
    if fact == "xml":
        # Where the Java peer has it; without the prefixes that only one of them declares.
        return masked(re.sub(r' xmlns(:\w+)?="[^"]*"', "", step["state"]["xml"]))
    if fact == "fault":
        return _first_fault(step)
    ref, _, what = fact.partition(" ")
    node = nodes.get(ref)
    if node is None:
        return None
    if what == "choices":
        return " ".join(value for value, _ in node.get("choices") or ())
    if what == "choice labels":
        return [label for _, label in node.get("choices") or ()]
    return masked(node.get(what or "value"))


def _first_fault(step: dict[str, Any]) -> str:
    """The first that is wrong, as "/data/a required"; JavaRosa's check stops there."""
    told = step.get("validate")
    if isinstance(told, dict):
        return f"{told['ref']} {({1: 'required', 2: 'constraint'})[told['code']]}"
    return f"{told[0]['ref']} {told[0]['kind']}" if told else ""
