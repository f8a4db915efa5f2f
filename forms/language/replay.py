"""One evaluation as the conformance files write it: an expression, a document, what comes out."""

from __future__ import annotations

import base64
import json
import math
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from forms import cases
from forms.language import Scope, TooCostly, compile_expression
from forms.language.syntax import BadExpression
from forms.tree import (
    ATTRIBUTE,
    COMMENT,
    DECLARED,
    DOCUMENT,
    ELEMENT,
    INSTRUCTION,
    NAMESPACE,
    TEXT,
    Node,
    read_document,
)
from forms.values import java_double

if TYPE_CHECKING:
    from datetime import tzinfo

    from forms.language.core import Value

NUMBER, STRING, BOOLEAN = 1, 2, 3
_KIND_MAX = 9
"""The types of a result that DOM's XPathResult numbers; 0 is any, 4 to 9 are nodes."""

_KNOWN = {
    "xhtml": "http://www.w3.org/1999/xhtml",
    "h": "http://www.w3.org/1999/xhtml",
    "jr": "http://openrosa.org/javarosa",
    "xml": "http://www.w3.org/XML/1998/namespace",
}
_PLAIN_DOCTYPE = re.compile(r"<!DOCTYPE\s+[\w:.-]+\s*>", re.IGNORECASE)
_CDATA = re.compile(r"<!\[CDATA\[(.*?)\]\]>", re.DOTALL)
_CDATA_MARK = "cdata.section"
_DOCTYPE = "doctype"
_STEP = re.compile(r"(@)?([^/\[\]]+)(?:\[(\d+)\])?")
_KINDS = {"text()": TEXT, "comment()": COMMENT, "processing-instruction()": INSTRUCTION}


class Missing(ValueError):
    """The case names a node that its document has not."""


class _World:
    """The document of a case, as the world that the expression sees (forms.language.Env)."""

    def __init__(self, document: Node, root: Node, case: dict[str, Any]) -> None:
        self.document = document
        self.root = root
        self.zone: tzinfo = cases.zone(case)
        self.language: str = case.get("lang") or ""
        self.moment = cases.moment(case) or datetime(2026, 1, 1, tzinfo=UTC)
        self.drawn = 0

    def now(self) -> datetime:
        return self.moment.astimezone(self.zone)

    def random(self) -> float:
        """Evenly spread, and the same each time: the golden ratio's multiples."""
        self.drawn += 1
        return (self.drawn * 0.6180339887498949) % 1.0

    def spend(self, steps: int) -> None:
        """One expression alone has its own budget."""

    def new_uuid(self) -> str:
        self.drawn += 1
        return f"00000000-0000-4000-8000-{self.drawn:012x}"

    def property(self, name: str) -> str:  # noqa: ARG002 - a document belongs to no device
        return ""

    def choice_label(self, node: Node, value: str, path: str) -> str:  # noqa: ARG002 - as above
        return ""

    def instance(self, name: str) -> Node | None:
        for node in self.document.below():
            if node.kind == ELEMENT and node.name == "instance":
                own = node.attrs.get("id")
                if own is not None and own.text == name:
                    return node
        return None

    def itext(self, name: str) -> str:
        found = self.itext_nodes(name)
        return found[0].string_value() if found else ""

    def itext_nodes(self, name: str) -> list[Node]:
        translations = [
            node
            for node in self.document.below()
            if node.kind == ELEMENT and node.name == "translation"
        ]
        spoken = [one for one in translations if _attribute(one, "lang") == self.language]
        default = [one for one in translations if "default" in one.attrs]
        for translation in (*spoken, *default, *translations):
            for text in translation.kids.get("text", ()):
                if _attribute(text, "id") == name:
                    return list(text.kids.get("value", ()))
            return []
        return []


def _document(xml: str) -> Node:
    """The document as a browser has it: a CDATA section is a text apart, a document type a node."""
    plain, doctypes = _PLAIN_DOCTYPE.subn("", xml.strip(), count=1)
    marked = _CDATA.sub(
        lambda found: f"<?{_CDATA_MARK} {base64.b64encode(found[1].encode()).decode()}?>", plain
    )
    document = read_document(marked.strip().encode())
    for node in document.below():
        if node.kind == INSTRUCTION and node.name == _CDATA_MARK:
            node.kind = TEXT
            node.text = base64.b64decode(node.text).decode()
    if doctypes:
        document.children.insert(0, Node(_DOCTYPE, parent=document))
    return document


def _attribute(node: Node, name: str) -> str:
    found = node.attrs.get(name)
    return "" if found is None else found.text


def _find(document: Node, path: str) -> Node:
    """The node that a case's path names: "/", "/*[1]/text()[2]", "/*[1]/@id"."""
    here = document
    for step in path.strip("/").split("/") if path != "/" else ():
        match = _STEP.fullmatch(step)
        if match is None:
            raise Missing(f"there is no node {path}")
        sign, test, place = match.groups()
        if sign:
            found = [one for one in here.attrs.values() if _attribute_name(one) == test]
        elif test == "*":
            found = [one for one in here.children if one.kind == ELEMENT]
        else:
            found = [one for one in here.children if one.kind == _KINDS.get(test)]
        number = int(place or 1)
        if number > len(found):
            raise Missing(f"there is no node {path}")
        here = found[number - 1]
    return here


def _attribute_name(node: Node) -> str:
    return f"{node.prefix}:{node.name}" if node.prefix else node.name


def _named(node: Node) -> str:
    """The path by which the cases name a node."""
    parts: list[str] = []
    here = node
    while here.parent is not None:
        if here.kind == ATTRIBUTE:
            parts.append("@" + _attribute_name(here))
        elif here.kind == NAMESPACE:
            parts.append("@xmlns:" + here.name if here.name else "@xmlns")
        elif here.kind == _DOCTYPE:
            parts.append("node()[1]")
        else:
            alike = [one for one in here.parent.children if one.kind == here.kind]
            if here.kind == TEXT:
                alike = [one for one in alike if one.name == here.name]
            place = next(number for number, one in enumerate(alike, 1) if one is here)
            test = {ELEMENT: "*", TEXT: "text()", COMMENT: "comment()"}.get(
                here.kind, "processing-instruction()"
            )
            parts.append(f"{test}[{place}]")
        here = here.parent
    return "/" + "/".join(reversed(parts))


def _number(value: float) -> float | str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return int(value) if value == int(value) else value


def _nodes(nodes: list[Node], *, only_first: bool) -> dict[str, Any]:
    shown = nodes[:1] if only_first else nodes
    return {
        "type": "nodeset",
        "nodes": [_named(one) for one in shown],
        "strings": ["" if one.kind == DOCUMENT else one.string_value() for one in shown],
    }


def _kind_of(value: Value) -> int:
    if isinstance(value, bool):
        return BOOLEAN
    return NUMBER if isinstance(value, float) else STRING


def _java(value: Value) -> dict[str, Any]:
    """As the cases that JavaRosa recorded write a value."""
    if isinstance(value, bool):
        return {"boolean": value}
    if isinstance(value, float):
        return {"number": java_double(value)}
    if isinstance(value, str):
        return {"string": value, "kind": "String"}
    return {"string": ", ".join(one.string_value() for one in value), "kind": "XPathNodeset"}


def _repeats(root: Node) -> tuple[frozenset[tuple[str, ...]], frozenset[tuple[str, ...]]]:
    """All generic paths below the root, and those at which some parent has several."""
    paths: set[tuple[str, ...]] = set()
    several: set[tuple[str, ...]] = set()
    waiting: list[tuple[Node, tuple[str, ...]]] = [(root, (root.name,))]
    while waiting:
        node, path = waiting.pop()
        paths.add(path)
        for name, kids in node.kids.items():
            if len(kids) > 1:
                several.add((*path, name))
            waiting.extend((kid, (*path, name)) for kid in kids)
    return frozenset(paths), frozenset(several)


def _place(node: Node, root: Node) -> tuple[str, ...]:
    names: list[str] = []
    here: Node | None = node
    while here is not None and here.kind != DOCUMENT:
        names.append("@" + here.name if here.kind == ATTRIBUTE else here.name)
        if here is root:
            return tuple(reversed(names))
        here = here.parent
    return ()


def replay_xpath(case: dict[str, Any]) -> dict[str, Any]:
    """`{"id", "result"}` shaped like the case's `expect`, or `{"id", "error"}`."""
    try:
        return {"id": case.get("id"), "result": _evaluated(case)}
    except (BadExpression, TooCostly, ValueError, ArithmeticError, RecursionError) as fault:
        return {"id": case.get("id"), "error": str(fault) or type(fault).__name__}


def _evaluated(case: dict[str, Any]) -> dict[str, Any]:
    recorded_by_java = "xforms" not in case
    document = _document(case.get("xml") or "<root/>")
    top = next(one for one in document.children if one.kind == ELEMENT)
    base = _find(document, case["rootNode"]) if case.get("rootNode") else document
    root = top if base is document else next((o for o in base.children if o.kind == ELEMENT), base)
    context = _find(document, case.get("context") or "/")
    known = dict(_KNOWN)
    for node in document.below():
        for prefix, uri in (node.index or {}).get(DECLARED, {}).items():
            known[prefix or "xmlns"] = uri
    paths, several = _repeats(root)
    xforms = bool(case.get("xforms"))
    scope = Scope(
        root=root.name,
        paths=paths,
        repeats=several,
        namespaces=known,
        dialect="collect" if recorded_by_java else "webforms" if xforms else "xpath",
        bare_names=recorded_by_java or xforms,
        late=xforms,
    )
    compiled = compile_expression(case["expr"], at=_place(context, root), scope=scope)
    world = _World(document, root, case)
    wanted = case.get("type") or 0
    if wanted == NUMBER:
        number = compiled.number(context, world)
        told: dict[str, Any] = {"type": NUMBER, "number": _number(number)}
        if number == 0 and math.copysign(1, number) < 0:
            told["negzero"] = True
        return told
    if wanted == STRING:
        return {"type": STRING, "string": compiled.string(context, world)}
    if wanted == BOOLEAN:
        return {"type": BOOLEAN, "boolean": compiled.boolean(context, world)}
    if wanted >= 4 or compiled.kind == "d":
        nodes = compiled.nodes(context, world)
        if recorded_by_java:
            return _java(nodes)
        return _nodes(nodes, only_first=wanted >= 8)
    value = compiled.value(context, world)
    if recorded_by_java:
        return _java(value)
    kind = _kind_of(value)
    if kind == NUMBER:
        assert isinstance(value, float)
        return {"type": kind, "number": _number(value)}
    return {"type": kind, {STRING: "string", BOOLEAN: "boolean"}[kind]: value}


def line(raw: bytes) -> str:
    """The line that answers a line; one that is no evaluation is answered as one that failed."""
    name = None
    try:
        case = cases.read(raw)
        name = cases.named(case)
        _judged(case)
        told = replay_xpath(case)
    except cases.Misshapen as fault:
        told = {"id": name, "error": str(fault)}
    return json.dumps(told, ensure_ascii=False)


def _judged(case: dict[str, Any]) -> None:
    for field in ("expr", "xml", "context", "rootNode", "lang"):
        value = case.get(field, None if field == "expr" else "")
        if not isinstance(value, str) and not (value is None and field != "expr"):
            raise cases.Misshapen(f"{field}: no text stands there")
    kind = case.get("type")
    if kind is not None and (not isinstance(kind, int) or not 0 <= kind <= _KIND_MAX):
        raise cases.Misshapen(f"type: no number from 0 to {_KIND_MAX} stands there")
    cases.moment(case)
    cases.zone(case)
