"""Lists that come with a form as files: CSV, XML and GeoJSON become nodes for instance()."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from forms.bulk import bulk
from forms.markup import BLANKS, BadMarkup, kids, local, parse
from forms.tree import NO_CHILDREN, NO_KIDS, Node

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from forms.markup import Element

BYTES_MAX = 64 * 2**20
ROWS_MAX = 500_000
CELLS_MAX = 3_000_000
"""The budget of one file: about a gigabyte of nodes. Larger lists are cut by region, or searched
on a server."""

DELIMITERS = ",;\t|"
SCHEMES = ("jr://file-csv/", "jr://file/", "jr://instance/", "jr://images/", "jr://")


class BadMedia(ValueError):
    """A file that goes with a form cannot be used; the text names the file and the line."""


def file_named(src: str) -> str:
    """The file's name in a `src` like jr://file-csv/villages.csv."""
    for scheme in SCHEMES:
        if src.startswith(scheme):
            return src[len(scheme) :]
    return src


def found(src: str, media: Mapping[str, bytes]) -> bytes | None:
    """The file that a `src` asks for: under its whole address, or under its name."""
    if src in media:
        return media[src]
    return media.get(file_named(src))


def read_instance(name: str, data: bytes, *, browser: bool = False) -> Node:
    """A secondary instance, holding the root element of the file `name` (csv, xml, geojson).

    A CSV's rows are /root/item/<column>; an XML file is taken as it is; a GeoJSON's features are
    /root/item with geometry, id and their properties (ODK XForms specification, "Secondary
    Instances - External"). `browser`: as Web Forms reads it, with items for blank lines and
    values as JavaScript writes them. The nodes are shared by all entries and never changed. Raises
    BadMedia.
    """
    if len(data) > BYTES_MAX:
        raise BadMedia(f"{name} has {len(data):,} bytes; {BYTES_MAX:,} is the most")
    suffix = PurePosixPath(name).suffix.lower()
    if suffix == ".geojson":
        return _table(_features(name, data, browser=browser))
    start = data[:64].removeprefix(b"\xef\xbb\xbf").lstrip()
    if suffix == ".xml" or (suffix != ".csv" and start.startswith(b"<")):
        return _document(name, data, browser=browser)
    return _table(_lines(name, data, keep_blank_lines=browser))


def blank() -> Node:
    """What stands in for a file that is not there: a root without items, so that all is blank."""
    return _held(Node("element", "root"))


def instance_of(root: Element, *, browser: bool = False) -> Node:
    """The instance that holds the document whose root is given."""
    return _held(node_of(root, browser=browser))


def _held(root: Node) -> Node:
    """The instance around its root, so that instance('x')/root/item leads through both."""
    around = Node("element", "instance")
    around.append(root)
    return around


# CSV ---------------------------------------------------------------------------------------


def rows(name: str, data: bytes) -> Iterator[dict[str, str]]:
    """The rows of a CSV by column, as pulldata() searches them. Raises BadMedia."""
    for names, values in _lines(name, data, keep_blank_lines=False):
        yield dict.fromkeys(names, "") | dict(zip(names, values, strict=False))


def heading_of(name: str, data: bytes) -> tuple[str, ...]:
    """The columns of a CSV, in their order. Raises BadMedia."""
    reader = _reader(_text(name, data))
    try:
        return tuple(next(reader, ()))
    except csv.Error as fault:
        raise BadMedia(f"{name}, line {reader.line_num}: {fault}") from None


def _text(name: str, data: bytes) -> str:
    wide = data[:2] in {b"\xff\xfe", b"\xfe\xff"}
    encoding = "utf-16" if wide else "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as fault:
        line = data[: fault.start].count(b"\n") + 1
        raise BadMedia(f"{name}, line {line}: no {encoding} text: save the file as UTF-8") from None


def _lines(
    name: str, data: bytes, *, keep_blank_lines: bool
) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    if data.count(b"\n") > ROWS_MAX or data.count(b"\r") > ROWS_MAX:
        raise BadMedia(f"{name} has more than {ROWS_MAX:,} rows")
    text = _text(name, data)
    stray = keep_blank_lines and _stray_returns(text)
    if stray:
        text = text.replace("\r", _STRAY)
    reader = _reader(text)
    try:
        names = tuple(next(reader, ()))
        cells = 0
        width = len(names)
        for line in reader:
            if not line:
                if keep_blank_lines:
                    yield names, ("",)
                continue
            cells += width
            if cells > CELLS_MAX:
                raise BadMedia(f"{name}, line {reader.line_num}: more than {CELLS_MAX:,} cells")
            yield names, tuple(one.replace(_STRAY, "\r") for one in line) if stray else tuple(line)
    except csv.Error as fault:
        raise BadMedia(f"{name}, line {reader.line_num}: {fault}") from None


def _reader(text: str) -> Any:
    # The delimiter is what most often parts the heading, whose names hold none of them.
    heading = text.split("\n", 1)[0].split("\r", 1)[0]
    delimiter = max(DELIMITERS, key=heading.count)
    return csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)


_QUOTED = re.compile(r'"[^"]*"')
_STRAY = "\ue00d"
"""Stands for a carriage return that ends no line, where the reader would take it for an end."""


def _stray_returns(text: str) -> bool:
    """Whether lines end with a line feed alone, so that a carriage return is part of a cell: to
    Web Forms' reader they do where the first line feed comes before the first carriage return.
    """
    if "\r" not in text:
        return False
    bare = _QUOTED.sub("", text[: 2**20])
    feed, back = bare.find("\n"), bare.find("\r")
    return feed >= 0 and (back < 0 or feed < back)


class _Cell(Node):
    """A value in a line of a list. Nothing is ever put below it, so that all share one emptiness."""

    __slots__ = ()

    def __init__(self, column: str, item: Node, text: str) -> None:
        self.kind = "element"
        self.name = column
        self.ns = self.prefix = ""
        self.parent = item
        self.text = text
        self.children = NO_CHILDREN
        self.kids = self.attrs = NO_KIDS
        self.relevant = True
        self.defn = self.index = None


class _Item(Node):
    """A line of a list. Its cells become nodes when first looked at: most never are, and a
    hundred thousand villages open in a fraction of a second.
    """

    __slots__ = ("_cells", "_kids", "_names", "_values")

    def __init__(self, root: Node, names: tuple[str, ...], values: tuple[str, ...]) -> None:
        self.kind = "element"
        self.name = "item"
        self.ns = self.prefix = self.text = ""
        self.parent = root
        self.attrs = self._kids = NO_KIDS
        self.relevant = True
        self.defn = self.index = None
        self._names = names
        self._values = values
        self._cells: list[Node] | None = None

    @property
    def children(self) -> list[Node]:  # type: ignore[override] # read only: lists never change
        return self._made() if self._cells is None else self._cells

    @property
    def kids(self) -> dict[str, list[Node]]:  # type: ignore[override] # as above
        if self._cells is None:
            self._made()
        return self._kids

    def texts(self, name: str) -> list[str]:
        """Without making nodes of all cells, as whoever looks for one item among all would."""
        if self._cells is not None:
            return super().texts(name)
        values = self._values
        known = len(values)
        return [
            values[at] if at < known else ""
            for at, column in enumerate(self._names)
            if column == name
        ]

    def _made(self) -> list[Node]:
        cells: list[Node] = []
        kids_: dict[str, list[Node]] = {}
        values = self._values
        known = len(values)
        for at, column in enumerate(self._names):
            # A short line's last columns are blank.
            text = values[at] if at < known else ""
            cell = _Cell(column, self, text)
            cells.append(cell)
            if column in kids_:
                kids_[column].append(cell)
            else:
                kids_[column] = [cell]
        self._kids = kids_
        # Last, so that another thread never sees cells without their names.
        self._cells = cells
        return cells


def _table(lines: Iterable[tuple[tuple[str, ...], tuple[str, ...]]]) -> Node:
    """The instance with /root/item for each line."""
    root = Node("element", "root")
    with bulk():
        items: list[Node] = [_Item(root, names, values) for names, values in lines]
    root.children.extend(items)
    if items:
        root.kids["item"] = items
    return _held(root)


# XML ---------------------------------------------------------------------------------------


def _document(name: str, data: bytes, *, browser: bool) -> Node:
    try:
        root = parse(data, what=name, bytes_max=BYTES_MAX, elements_max=ROWS_MAX)
        return instance_of(root, browser=browser)
    except BadMarkup as fault:
        raise BadMedia(str(fault)) from None


def node_of(element: Element, parent: Node | None = None, *, browser: bool = False) -> Node:
    """An XML element with all below it as nodes; the text of an element with children is left
    out, and of any other the blanks around it, which only a `browser` keeps.
    """
    text = "" if len(element) else (element.text or "")
    made = Node(
        "element",
        local(element),
        ns=str(element.tag)[1:].partition("}")[0] if str(element.tag).startswith("{") else "",
        prefix=element.prefix or "",
        parent=parent,
        text=text if browser else text.strip(BLANKS),
    )
    for key, value in element.attrib.items():
        label = str(key).rpartition("}")[2]
        made.attrs[label] = Node(
            "attribute",
            label,
            ns=str(key)[1:].partition("}")[0] if str(key).startswith("{") else "",
            parent=made,
            text=str(value),
        )
    for kid in kids(element):
        below = node_of(kid, made, browser=browser)
        made.children.append(below)
        made.kids.setdefault(below.name, []).append(below)
    return made


# GeoJSON -----------------------------------------------------------------------------------


def _features(
    name: str, data: bytes, *, browser: bool
) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    if data.count(b"Feature") > 2 * ROWS_MAX:
        raise BadMedia(f"{name} has more than {ROWS_MAX:,} features")
    try:
        text = data.removeprefix(b"\xef\xbb\xbf")
        read = json.loads(text, parse_float=_browser_number if browser else None)
    except (ValueError, RecursionError) as fault:
        raise BadMedia(f"{name} is no JSON: {fault}") from None
    if not isinstance(read, dict) or read.get("type") != "FeatureCollection":
        raise BadMedia(f"{name} is no GeoJSON FeatureCollection")
    features = read.get("features")
    if not isinstance(features, list):
        raise BadMedia(f"{name} has no list of features")
    if len(features) > ROWS_MAX:
        raise BadMedia(f"{name} has {len(features):,} features; {ROWS_MAX:,} is the most")
    tell = _browser_text if browser else _plain
    for number, feature in enumerate(features, 1):
        if not isinstance(feature, dict) or feature.get("type") != "Feature":
            raise BadMedia(f"{name}, feature {number}: is no Feature")
        cells = {"geometry": _geometry(f"{name}, feature {number}", feature.get("geometry"))}
        properties = feature.get("properties") or {}
        if not isinstance(properties, dict):
            raise BadMedia(f"{name}, feature {number}: its properties are no object")
        for key, value in properties.items():
            cells[str(key)] = tell(value)
        # A feature's own id comes before a property that happens to be called so.
        if feature.get("id") is not None:
            cells["id"] = tell(feature["id"])
        yield tuple(cells), tuple(cells.values())


def _plain(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (dict, list)):
        return json.dumps(value, ensure_ascii=False)
    return str(value)


def _browser_number(text: str) -> float | int:
    """JavaScript knows no difference between 102.0 and 102."""
    number = float(text)
    return int(number) if number.is_integer() else number


def _browser_text(value: Any) -> str:
    """As JavaScript makes a text of anything."""
    if value is None:
        return "null"
    if isinstance(value, dict):
        return "[object Object]"
    if isinstance(value, list):
        return ",".join("" if one is None else _browser_text(one) for one in value)
    return _plain(value)


def _geometry(where: str, geometry: Any) -> str:
    """ODK's own notation: "latitude longitude altitude accuracy", parted by semicolons."""
    if geometry is None:
        return ""
    kind = geometry.get("type") if isinstance(geometry, dict) else None
    coordinates: Any = geometry.get("coordinates") if isinstance(geometry, dict) else None
    try:
        if kind == "Point":
            return _point(coordinates)
        if kind == "LineString":
            return "; ".join(map(_point, coordinates))
        if kind == "Polygon":
            return "; ".join(map(_point, coordinates[0]))
    except (TypeError, ValueError, LookupError):
        raise BadMedia(f"{where}: the coordinates of its {kind} cannot be read") from None
    raise BadMedia(f"{where}: Point, LineString and Polygon can be used, not {kind}")


def _point(position: Any) -> str:
    longitude, latitude = position[0], position[1]
    for degree in (longitude, latitude):
        if isinstance(degree, bool) or not isinstance(degree, (int, float)):
            raise TypeError(degree)
    return f"{latitude} {longitude} 0 0"
