"""An XForm that was made elsewhere, laid out as the sheets that it might have come from."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from forms.form import Form
from forms.markup import kids, local, parse, text
from forms.problems import BrokenForm
from forms.sheets import Row

if TYPE_CHECKING:
    from collections.abc import Iterator

    from forms.markup import Element
    from forms.xlsform import XlsForm

_JAVAROSA = "{http://openrosa.org/javarosa}"
_TYPES = {
    "int": "integer",
    "decimal": "decimal",
    "date": "date",
    "time": "time",
    "dateTime": "datetime",
    "geopoint": "geopoint",
    "geotrace": "geotrace",
    "geoshape": "geoshape",
    "barcode": "barcode",
}
_PRELOADED = {"timestamp": "", "date": "today", "property": "", "uid": "hidden"}
_SELECTS = {"select1": "select_one", "select": "select_multiple", "rank": "rank"}
_ASKS = frozenset({*_SELECTS, "input", "range", "upload", "trigger", "secret"})
_WRITTEN = {"relevant": "relevant", "constraint": "constraint", "calculate": "calculation"}


def laid_out(form: XlsForm) -> XlsForm:
    """The same form with rows, whose numbers are the lines on which the XForm says these things.

    Raises BrokenForm for what the engine cannot read.
    """
    try:
        Form.load(form.xml)
    except BrokenForm as broken:
        raise BrokenForm(form.located(broken.problems), form=form.name) from None
    root = parse(form.xml, what=form.name)
    model = next((one for one in root.iter() if local(one) == "model"), None)
    if model is None:
        return form
    sheets = _Reading(root, model).sheets()
    return replace(form, sheets=MappingProxyType(sheets))


def _line(element: Element) -> int:
    line: object = element.sourceline
    return line if isinstance(line, int) else 1


@dataclass
class _Reading:
    """One XForm on its way into rows."""

    root: Element
    model: Element
    binds: dict[str, Element] = field(default_factory=dict)
    controls: dict[str, Element] = field(default_factory=dict)
    repeats: dict[str, Element] = field(default_factory=dict)
    by_path: dict[str, str] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    choices: list[Row] = field(default_factory=list)

    def sheets(self) -> dict[str, tuple[Row, ...]]:
        instances = [one for one in kids(self.model) if local(one) == "instance"]
        data = next((kid for one in instances[:1] for kid in kids(one)), None)
        if data is None:
            return {}
        self.name_paths(data)
        for bind in kids(self.model):
            if local(bind) == "bind":
                self.binds[str(bind.get("nodeset", ""))] = bind
        for element in self.root.iter():
            kind = local(element) if isinstance(element.tag, str) else ""
            if kind == "repeat":
                self.repeats[str(element.get("nodeset", ""))] = element
            elif kind in _ASKS:
                self.controls.setdefault(str(element.get("ref") or self.bound(element)), element)
            elif kind == "text":
                spoken = " ".join(self.shown(value) for value in kids(element))
                self.texts.setdefault(str(element.get("id", "")), spoken)
        for one in instances[1:]:
            self.listed(one)
        rows = tuple(self.below(data, f"/{local(data)}"))
        return {"survey": rows, "choices": tuple(self.choices)}

    def bound(self, element: Element) -> str:
        wanted = element.get("bind")
        named = (path for path, bind in self.binds.items() if wanted and bind.get("id") == wanted)
        return next(named, "")

    def name_paths(self, data: Element) -> None:
        """The paths that a question's name alone can stand for."""
        named: dict[str, list[str]] = {}

        def walk(element: Element, path: str) -> None:
            for kid in kids(element):
                inner = f"{path}/{local(kid)}"
                if inner not in named.setdefault(local(kid), []):
                    named[local(kid)].append(inner)
                walk(kid, inner)

        walk(data, f"/{local(data)}")
        self.by_path = {found[0]: name for name, found in named.items() if len(found) == 1}

    # Rows -------------------------------------------------------------------------------

    def below(self, element: Element, path: str) -> Iterator[Row]:
        told: set[str] = set()
        for kid in kids(element):
            inner = f"{path}/{local(kid)}"
            if inner in told or local(kid) == "meta":
                continue
            told.add(inner)
            repeat = self.repeats.get(inner)
            if repeat is None and not any(True for _ in kids(kid)):
                yield self.question(inner, kid)
                continue
            kind = "group" if repeat is None else "repeat"
            count = "" if repeat is None else repeat.get(f"{_JAVAROSA}count", "")
            yield self.row(inner, kid, f"begin_{kind}", repeat_count=self.said(count, inner))
            yield from self.below(kid, inner)
            yield Row(_line(kid), MappingProxyType({"type": f"end_{kind}"}))

    def question(self, path: str, node: Element) -> Row:
        control, bind = self.controls.get(path), self.binds.get(path)
        kind = _TYPES.get(str(bind.get("type", "")) if bind is not None else "", "text")
        cells: dict[str, str] = {}
        if control is None:
            preload = bind.get(f"{_JAVAROSA}preload") if bind is not None else None
            begun = bind.get(f"{_JAVAROSA}preloadParams", "") if bind is not None else ""
            kind = "calculate" if bind is not None and bind.get("calculate") else "hidden"
            if preload is not None:
                kind = _PRELOADED.get(preload, "hidden") or begun or "hidden"
        elif local(control) in _SELECTS:
            kind = f"{_SELECTS[local(control)]}{self.source(control, path, cells)}"
        elif local(control) != "input":
            kind = {"range": "range", "trigger": "acknowledge", "upload": "file"}.get(
                local(control), kind
            )
        return self.row(path, node, kind, **cells)

    def row(self, path: str, node: Element, kind: str, **more: str) -> Row:
        control, bind = self.controls.get(path), self.binds.get(path)
        cells = {
            "type": kind,
            "name": local(node),
            **{key: cell for key, cell in more.items() if cell},
        }
        if node.text and node.text.strip():
            cells["default"] = node.text.strip()
        if bind is not None:
            for attribute, heading in _WRITTEN.items():
                if bind.get(attribute):
                    cells[heading] = self.said(str(bind.get(attribute)), path)
            for attribute, heading in (("required", "required"), ("readonly", "read_only")):
                said = str(bind.get(attribute, "")).strip()
                if said and said != "false()":
                    cells[heading] = "yes" if said == "true()" else self.said(said, path)
        if control is not None:
            for part in kids(control):
                if local(part) in {"label", "hint"}:
                    cells[local(part)] = self.spoken(part)
                elif local(part) == "setvalue":
                    cells["trigger"] = "set"
        if any(
            local(one) == "setvalue" and one.get("ref") == path
            for one in self.root.iter("{*}setvalue")
        ):
            cells.setdefault("default", "set")
            cells["trigger"] = "set"
        at = bind if bind is not None else self.repeats.get(path)
        number = _line(node if at is None else at)
        return Row(number, MappingProxyType(cells))

    def spoken(self, part: Element) -> str:
        """A label with the ${references} that it shows."""
        wanted = re.match(r"jr:itext\('([^']*)'\)", str(part.get("ref", "")))
        return (self.texts.get(wanted[1], "") if wanted else self.shown(part)) or "-"

    def shown(self, part: Element) -> str:
        told = [
            self.said(str(one.get("value") or one.get("ref") or ""), "")
            for one in part.iter("{*}output")
        ]
        return " ".join([text(part).strip(), *told])

    # Choices ----------------------------------------------------------------------------

    def source(self, control: Element, path: str, cells: dict[str, str]) -> str:
        """What is behind a select's type: its list, its file or its repeat."""
        itemset = next((one for one in kids(control) if local(one) == "itemset"), None)
        if itemset is None:
            for item in kids(control):
                if local(item) == "item":
                    self.choice(path, item, {local(one): text(one).strip() for one in kids(item)})
            return f" {path}"
        nodeset = str(itemset.get("nodeset", ""))
        found = re.match(
            r"\s*(?:randomize\()?\s*instance\('([^']*)'\)[^\[]*(?:\[(.*)\])?", nodeset, re.DOTALL
        )
        if found is None:
            return " ${another}"
        if found[2]:
            cells["choice_filter"] = self.said(found[2], path)
        where = next((one for one in kids(self.model) if one.get("id") == found[1]), None)
        file = str(where.get("src", "")).rpartition("/")[2] if where is not None else ""
        for part, said in (("value", "value"), ("label", "label")):
            named = next((one for one in kids(itemset) if local(one) == part), None)
            column = str(named.get("ref", "")) if named is not None else ""
            if file and column:
                cells["parameters"] = f"{cells.get('parameters', '')} {said}={column}".strip()
        return f"_from_file {file}" if file else f" {found[1]}"

    def listed(self, instance: Element) -> None:
        for top in kids(instance):
            for item in kids(top):
                columns = {local(one): text(one).strip() for one in kids(item)}
                self.choice(str(instance.get("id", "")), item, columns)

    def choice(self, of: str, item: Element, columns: dict[str, str]) -> None:
        name = columns.pop("name", "") or columns.pop("value", "")
        cells = {"list_name": of, "name": name, **columns}
        self.choices.append(Row(_line(item), MappingProxyType(cells)))

    # Expressions ------------------------------------------------------------------------

    def said(self, expression: str, at: str) -> str:
        """The expression with ${names} for the paths that a name can stand for."""
        pieces = re.split(r"('[^']*'|\"[^\"]*\")", expression)
        for number in range(0, len(pieces), 2):
            pieces[number] = _PATH.sub(lambda found: self.named(found[0], at), pieces[number])
        return "".join(pieces).strip()

    def named(self, path: str, at: str) -> str:
        whole = path
        if not path.startswith("/"):
            steps = path.removeprefix("current()/").split("/")
            up = next((count for count, one in enumerate(steps) if one != ".."), len(steps))
            here = at.split("/")
            around, down = here[: len(here) - up], steps[up:]
            # One that goes out of a repeat and into it again looks at all of its instances.
            if not down or (len(here) > len(around) and down[0] == here[len(around)]):
                return path
            whole = "/".join([*around, *down])
        name = self.by_path.get(whole)
        return path if name is None else f"${{{name}}}"


_PATH = re.compile(
    r"(?<![\w\])/.}:@-])(?:/[\w.-]+(?:/[\w.-]+)*|(?:current\(\)/)?\.\.(?:/(?:\.\.|[\w.-]+))*)"
)
