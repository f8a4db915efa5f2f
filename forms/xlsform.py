"""From an author's spreadsheet to an ODK XForm: every mistake with its sheet, row and reason."""

from __future__ import annotations

import io
import re
import zipfile
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from forms.problems import BrokenForm, Problem

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

# The budget of a spreadsheet, refused before anything parses it. The largest form that we know
# (5,000 questions in four languages) takes a tenth of it; lists of places belong into CSV files.
BYTES_MAX = 16 * 2**20
UNPACKED_BYTES_MAX = 64 * 2**20
PARTS_MAX = 2_000
RATIO_MAX = 250
ROWS_MAX = 200_000

SHEETS = ("survey", "choices", "settings", "external_choices", "entities", "osm")

_SAME_HEADER = {
    "caption": "label",
    "relevance": "relevant",
    "bind::relevant": "relevant",
    "calculate": "calculation",
    "bind::calculate": "calculation",
    "bind::constraint": "constraint",
    "bind::required": "required",
    "bind::readonly": "read_only",
    "readonly": "read_only",
    "command": "type",
    "tag": "name",
    "value": "name",
    "count": "repeat_count",
    "jr:count": "repeat_count",
    "constraining_message": "constraint_message",
    "list name": "list_name",
    "list": "list_name",
    "dataset": "list_name",
    "form_id": "id_string",
}

_SELECT = re.compile(
    r"(?P<kind>select[ _]one|select[ _]multiple|select1|rank|select_one_external)"
    r"(?P<file>[ _]from[ _]file)?\s+(?P<list>\S.*?)(?P<other>\s+or[ _]other)?$",
    re.IGNORECASE,
)
_BEGIN = re.compile(r"begin[ _](?P<kind>group|repeat|loop)\b", re.IGNORECASE)
_END = re.compile(r"end[ _](?:group|repeat|loop)\b", re.IGNORECASE)
_REFERENCE = re.compile(r"\$\{(last-saved#)?\s*([^}]*?)\s*\}")
_PULLDATA = re.compile(r"""pulldata\(\s*(?:'([^']*)'|"([^"]*)")""")


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the spreadsheet something stands; the heading is row 1."""

    sheet: str
    row: int


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a sheet: its number and its cells by heading (in their standard spelling)."""

    number: int
    cells: Mapping[str, str]

    def __getitem__(self, heading: str) -> str:
        """The cell's text, "" where it is empty."""
        return self.cells.get(heading, "")


@dataclass(frozen=True, slots=True)
class Select:
    """What a select's type says: from which list, or file, or repeat."""

    kind: str
    """"one", "multiple" or "rank"."""
    source: str
    """The list's name, the file's name, or ${repeat}."""
    from_file: bool
    or_other: bool


@dataclass(frozen=True, slots=True)
class XlsForm:
    """A spreadsheet that became an XForm, and where each of its questions stands.

    `places` maps a question's path ("/data/hh/size") and, where it is unique, its name to its
    row. `sheets` holds the author's cells. An XForm that was made elsewhere has neither.
    """

    name: str
    xml: bytes
    sheets: Mapping[str, tuple[Row, ...]] = field(default_factory=lambda: MappingProxyType({}))
    places: Mapping[str, Place] = field(default_factory=lambda: MappingProxyType({}))
    warnings: tuple[Problem, ...] = ()

    def place(self, question: str) -> Place | None:
        """The row of a question, named or by its path (positions of repeats are passed over)."""
        path = re.sub(r"\[\d+\]", "", question)
        return self.places.get(path) or self.places.get(path.rsplit("/", 1)[-1])

    def located(self, problems: Iterable[Problem]) -> tuple[Problem, ...]:
        """The same problems, with the sheet and row of each question that is named."""
        found = []
        for problem in problems:
            place = self.place(problem.question) if problem.question else None
            if problem.row is None and place is not None:
                found.append(
                    Problem(
                        place.sheet,
                        place.row,
                        problem.question.rsplit("/", 1)[-1],
                        self._with_rows(problem.reason),
                    )
                )
            else:
                found.append(problem)
        return tuple(found)

    def _with_rows(self, reason: str) -> str:
        """Each path that the reason names, followed by its row."""

        def told(match: re.Match[str]) -> str:
            place = self.places.get(re.sub(r"\[\d+\]", "", match[0]))
            return match[0] if place is None else f"{match[0]} (row {place.row})"

        return re.sub(r"/[\w.-]+(?:\[\d+\])?(?:/[\w.@-]+(?:\[\d+\])?)+", told, reason)


def compile_xlsform(name: str, data: bytes, media: Mapping[str, bytes] | None = None) -> bytes:
    """The XForm (XML) that an XLSForm stands for. `name` is the file's, to be named in messages.

    Raises BrokenForm with every problem that could be found at once.
    """
    return read_xlsform(name, data, media).xml


def read_xlsform(
    name: str, data: bytes, media: Collection[str] | None = None, *, opened: bool = True
) -> XlsForm:
    """Read an xlsx, xls, csv or md XLSForm (or pass an XForm through), with its rows.

    `media` names the files that go with the form; None says that they are not known yet, and
    then no missing file is complained about. What the engine itself refuses (an expression that
    is none, a cycle of calculations) is told by its rows too, unless `opened` is False.
    Raises BrokenForm.
    """
    kind = _kind_of(name, data)
    if kind == ".xml":
        return XlsForm(name, data)
    _within_budget(name, data, kind)
    if kind in {".md", ".csv"}:
        data = _as_utf8(name, data)
    definition = _sheets_of(name, data, kind)
    sheets = MappingProxyType(
        {sheet: _rows(getattr(definition, sheet)) for sheet in SHEETS if _has(definition, sheet)}
    )
    problems = [*_own_problems(sheets, media)]
    xml = b""
    warnings: tuple[str, ...] = ()
    try:
        xml, warnings = _converted(definition, name)
    except _Refused as refused:
        told = _from_pyxform(str(refused), sheets)
        known = {(own.sheet, own.row) for own in problems}
        # Without a row it most often says once more what we have just said with one.
        if not problems or (
            str(refused).startswith("[row") and (told.sheet, told.row) not in known
        ):
            problems.append(told)
    if problems:
        raise BrokenForm(tuple(sorted(problems, key=_by_place)), form=name)
    read = XlsForm(
        name,
        xml,
        sheets,
        MappingProxyType(_places(sheets, xml)),
        tuple(_from_pyxform(text, sheets) for text in warnings),
    )
    if opened:
        _open(read)
    return read


def _open(read: XlsForm) -> None:
    """Let the engine read the form, for what it refuses."""
    from forms.form import Form  # noqa: PLC0415 - the engine is read when it is first needed

    try:
        Form.load(read.xml)
    except BrokenForm as broken:
        raise BrokenForm(read.located(broken.problems), form=read.name) from None


def select_of(row: Row) -> Select | None:
    """What a row of the survey selects from, None if it is no select."""
    match = _SELECT.match(row["type"].strip())
    if match is None:
        return None
    kind = match["kind"].lower()
    return Select(
        "rank" if kind == "rank" else "multiple" if "multiple" in kind else "one",
        match["list"],
        bool(match["file"]),
        bool(match["other"]),
    )


def named(sheets: Mapping[str, Sequence[Row]]) -> Iterator[tuple[str, Row]]:
    """Each row of the survey that has a name, with its path below the form ("hh/size")."""
    above: list[str] = []
    for row in sheets.get("survey", ()):
        kind = row["type"].strip()
        if _END.match(kind):
            if above:
                above.pop()
            continue
        if not row["name"]:
            continue
        yield "/".join([*above, row["name"]]), row
        if _BEGIN.match(kind):
            above.append(row["name"])


class _Refused(Exception):
    """What pyxform says, on its way to its place in the sheet."""


# What the file is, and whether it may be read at all --------------------------------------


def _kind_of(name: str, data: bytes) -> str:
    head = data[:512].lstrip(b"\xef\xbb\xbf \t\r\n")
    if data[:2] == b"PK":
        return ".xlsx"
    if data[:4] == b"\xd0\xcf\x11\xe0":
        return ".xls"
    if head.startswith(b"<"):
        return ".xml"
    suffix = PurePosixPath(name).suffix.lower()
    if suffix in {".md", ".csv"}:
        return suffix
    if suffix in {".xlsx", ".xlsm", ".xls"}:
        raise BrokenForm(
            (Problem("", None, "", f"is no {suffix} file inside: save it again as .xlsx"),),
            form=name,
        )
    return ".md" if head.startswith(b"|") else ".csv"


def _as_utf8(name: str, data: bytes) -> bytes:
    text: bytes = data.removeprefix(b"\xef\xbb\xbf")
    try:
        text.decode("utf-8")
    except UnicodeDecodeError as fault:
        line = text[: fault.start].count(b"\n") + 1
        raise BrokenForm(
            (Problem("", line, "", "the text is not UTF-8: save the file as UTF-8"),), form=name
        ) from None
    return text


def _within_budget(name: str, data: bytes, kind: str) -> None:
    """Refuse what would cost more to read than any honest form (zip and entity bombs)."""

    def refuse(reason: str) -> BrokenForm:
        return BrokenForm((Problem("", None, "", reason),), form=name)

    if len(data) > BYTES_MAX:
        raise refuse(f"{len(data):,} bytes; a form may have {BYTES_MAX:,}")
    if kind in {".md", ".csv"}:
        if data.count(b"\n") > ROWS_MAX:
            raise refuse(f"more than {ROWS_MAX:,} rows: keep long lists in a CSV file of their own")
        return
    if kind != ".xlsx":
        return
    try:
        reason = next(_bombs(data), None)
    except Exception as fault:  # noqa: BLE001 - zipfile raises a dozen kinds on broken archives
        reason = f"the workbook is damaged ({fault}): save it again as .xlsx"
    if reason is not None:
        raise refuse(reason)


def _bombs(data: bytes) -> Iterator[str]:
    """Why an archive is not to be unpacked; zipfile itself never reads past a declared size."""
    with zipfile.ZipFile(io.BytesIO(data)) as packed:
        parts = packed.infolist()
        if len(parts) > PARTS_MAX:
            yield f"{len(parts):,} parts in the workbook; {PARTS_MAX:,} is the most"
        unpacked = sum(part.file_size for part in parts)
        if unpacked > UNPACKED_BYTES_MAX:
            yield f"unpacks to {unpacked:,} bytes; {UNPACKED_BYTES_MAX:,} is the most"
        for part in parts:
            # Small parts compress as they like; only a large one can hurt.
            if part.file_size > 2**20 and part.file_size > RATIO_MAX * part.compress_size:
                yield f"{part.filename} is packed more than {RATIO_MAX} times"
            elif part.filename.endswith((".xml", ".rels")):
                yield from _strange_part(packed, part)


def _strange_part(packed: zipfile.ZipFile, part: zipfile.ZipInfo) -> Iterator[str]:
    """A document type in the prolog (entity bombs live there), or too many rows."""
    with packed.open(part) as stream:
        head = stream.read(2**16)
        wide = head[:2] in {b"\xff\xfe", b"\xfe\xff"}
        prolog = head.decode("utf-16" if wide else "utf-8", errors="replace")
        element = re.search(r"<[A-Za-z]", prolog)
        if "\x00" in prolog[:64] or element is None or "<!" in prolog[: element.start()]:
            yield f"{part.filename} declares a document type, or is no XML"
        if not part.filename.startswith("xl/worksheets/"):
            return
        rows = head.count(b"<row")
        while block := stream.read(2**20):
            rows += block.count(b"<row")
            if rows > ROWS_MAX:
                yield f"more than {ROWS_MAX:,} rows: keep long lists in a CSV file of their own"


# pyxform's door ---------------------------------------------------------------------------


def _sheets_of(name: str, data: bytes, kind: str) -> Any:
    # pyxform takes half a second to import; a device that only asks questions never needs it.
    from pyxform.errors import PyXFormError  # noqa: PLC0415 - see above
    from pyxform.xls2json_backends import get_xlsform  # noqa: PLC0415 - see above

    try:
        definition = get_xlsform(data, file_type=kind)
    except PyXFormError as refused:
        reason = str(refused)
        if "was not recognized" in reason:
            reason = "holds no XLSForm: a sheet named survey, with type and name, is needed"
        raise BrokenForm((Problem("", None, "", reason),), form=name) from None
    except Exception as fault:  # noqa: BLE001 - openpyxl, xlrd and csv raise anything on damage
        reason = f"cannot be read ({type(fault).__name__}: {str(fault)[:200]}): save it again"
        raise BrokenForm((Problem("", None, "", reason),), form=name) from None
    definition.fallback_form_name = (
        re.sub(r"[^\w.-]+", "_", PurePosixPath(name.replace("\\", "/")).stem) or None
    )
    return definition


def _converted(definition: Any, name: str) -> tuple[bytes, tuple[str, ...]]:
    from pyxform.errors import PyXFormError  # noqa: PLC0415 - see _sheets_of
    from pyxform.xls2xform import convert  # noqa: PLC0415 - see _sheets_of

    content = {
        slot: getattr(definition, slot)
        for slot in definition.__slots__
        if getattr(definition, slot) is not None
    }
    try:
        result = convert(content)
    except PyXFormError as refused:
        raise _Refused(str(refused)) from None
    except RecursionError:
        raise _Refused("the questions are nested too deeply") from None
    except Exception as fault:  # noqa: BLE001 - a cell that pyxform did not foresee
        raise _Refused(
            f"pyxform stumbles over a cell of {name} ({type(fault).__name__}: {str(fault)[:200]})"
        ) from None
    return result.xform.encode("utf-8"), tuple(result.warnings)


def _has(definition: Any, sheet: str) -> bool:
    return bool(getattr(definition, sheet))


def _rows(lines: Sequence[Mapping[str, Any]]) -> tuple[Row, ...]:
    """The sheet's lines; pyxform keeps the empty ones, so that the numbers are the author's."""
    spelled: dict[str, str] = {}
    found = []
    for number, line in enumerate(lines, 2):
        cells = {}
        for raw, value in line.items():
            if raw is None or value is None:
                continue
            if raw not in spelled:
                spelled[raw] = _heading(str(raw))
            cells[spelled[raw]] = str(value).strip()
        if cells:
            found.append(Row(number, MappingProxyType(cells)))
    return tuple(found)


def _heading(raw: str) -> str:
    base, mark, language = raw.strip().partition("::")
    base = base.strip().lower()
    if mark and base in {"bind", "control", "instance", "body"}:
        whole = f"{base}::{language.strip().lower()}"
        return _SAME_HEADER.get(whole, whole)
    base = _SAME_HEADER.get(base, _SAME_HEADER.get(base.replace(" ", "_"), base.replace(" ", "_")))
    return f"{base}::{language.strip()}" if mark else base


def _from_pyxform(message: str, sheets: Mapping[str, Sequence[Row]]) -> Problem:
    """What pyxform says, with the place that it names or that can be found from what it quotes."""
    reason = " ".join(message.split())
    at = re.match(r"\[row : (\d+)\]\s*", reason)
    in_sheet = re.search(r"On the '(\w+)' sheet, ", reason)
    sheet = in_sheet[1] if in_sheet else ""
    row: Row | None = None
    number = None
    if at:
        number = int(at[1])
        sheet = sheet or "survey"
        reason = reason[at.end() :]
        row = next((each for each in sheets.get(sheet, ()) if each.number == number), None)
    else:
        quoted = re.findall(r"'([^']+)'|\[([^\]]+)\]", reason)
        for token in (a or b for a, b in quoted):
            hits = [
                each
                for each in sheets.get("survey", ())
                if token in {each["type"], each["name"]} or f" {token}" in f" {each['type']}"
            ]
            if hits:
                row, sheet, number = hits[0], "survey", hits[0].number
                break
    if in_sheet:
        reason = reason.replace(in_sheet[0], "", 1)
        reason = reason[:1].lower() + reason[1:]
    return Problem(sheet, number, row["name"] if row is not None else "", reason)


# Our own checks: all at once, each with its row ------------------------------------------------


def _by_place(problem: Problem) -> tuple[int, int]:
    order = SHEETS.index(problem.sheet) if problem.sheet in SHEETS else len(SHEETS)
    return order, problem.row or 0


def _own_problems(
    sheets: Mapping[str, Sequence[Row]], media: Collection[str] | None
) -> Iterator[Problem]:
    yield from _unknown_references(sheets)
    yield from _choice_problems(sheets)
    if media is not None:
        yield from _missing_files(sheets, media)


def _unknown_references(sheets: Mapping[str, Sequence[Row]]) -> Iterator[Problem]:
    known = {row["name"] for _, row in named(sheets)}
    if "osm" in sheets or any(row["type"].startswith("osm") for row in sheets.get("survey", ())):
        known |= {row["name"] for row in sheets.get("osm", ())}
    for sheet, rows in sheets.items():
        for row in rows:
            for heading, text in row.cells.items():
                if "${" not in text:
                    continue
                for _, name in _REFERENCE.findall(text):
                    if name and name not in known:
                        yield Problem(
                            sheet,
                            row.number,
                            row["name"],
                            f"{heading.partition('::')[0]} uses ${{{name}}}, which no question "
                            f"asks{_near(name, known)}",
                        )


def _near(name: str, known: Collection[str]) -> str:
    import difflib  # noqa: PLC0415 - only needed when something is already wrong

    close = difflib.get_close_matches(name, known, n=1)
    return f"; is ${{{close[0]}}} meant?" if close else ""


def _choice_problems(sheets: Mapping[str, Sequence[Row]]) -> Iterator[Problem]:
    lists: dict[str, dict[str, int]] = {}
    several = {
        select.source
        for _, row in named(sheets)
        if (select := select_of(row)) and select.kind != "one" and not select.from_file
    }
    settings = next(iter(sheets.get("settings", ())), None)
    twice_allowed = settings is not None and settings["allow_choice_duplicates"].lower() in {
        "yes",
        "true",
        "true()",
    }
    for row in sheets.get("choices", ()):
        of, name = row["list_name"], row["name"]
        if not of or not name:
            continue
        seen = lists.setdefault(of, {})
        if name in seen and not twice_allowed:
            yield Problem(
                "choices",
                row.number,
                name,
                f"the list {of} already has the choice {name}, in row {seen[name]}",
            )
        seen.setdefault(name, row.number)
        if of in several and re.search(r"\s", name):
            yield Problem(
                "choices",
                row.number,
                name,
                "a select_multiple keeps its answers apart by spaces, so that this choice would "
                f"be lost: name it {'_'.join(name.split())}",
            )
    for _, row in named(sheets):
        select = select_of(row)
        if (
            select is None
            or select.from_file
            or select.source in lists
            or select.source.startswith("${")
            or row["type"].lower().startswith("select_one_external")
        ):
            continue
        yield Problem(
            "survey",
            row.number,
            row["name"],
            f"selects from the list {select.source}, which the choices sheet does not have"
            + (_near_list(select.source, lists)),
        )


def _near_list(name: str, lists: Collection[str]) -> str:
    return _near(name, lists).replace("${", "").replace("}", "")


def _missing_files(
    sheets: Mapping[str, Sequence[Row]], media: Collection[str]
) -> Iterator[Problem]:
    # An entity list that the form itself writes to is the server's to attach, not the author's.
    given = {*media, *(f"{row['list_name']}.csv" for row in sheets.get("entities", ()))}
    for row in sheets.get("survey", ()):
        needed: dict[str, None] = {}
        select = select_of(row)
        if select is not None and select.from_file:
            needed[select.source] = None
        kind = row["type"].lower()
        if kind in {"csv-external", "xml-external"}:
            needed[f"{row['name']}.{kind[:3]}"] = None
        for text in row.cells.values():
            if "pulldata(" in text:
                for single, double in _PULLDATA.findall(text):
                    file = single or double
                    needed[file if file.endswith(".csv") else f"{file}.csv"] = None
        for file in needed:
            if file not in given:
                yield Problem(
                    "survey",
                    row.number,
                    row["name"],
                    f"needs the file {file}, which is not among the form's media",
                )


# Where each question stands ----------------------------------------------------------------


def _places(sheets: Mapping[str, Sequence[Row]], xml: bytes) -> dict[str, Place]:
    match = re.search(rb"<instance>\s*<([\w.:-]+)", xml)
    root = match[1].decode() if match else "data"
    places: dict[str, Place] = {}
    by_name: dict[str, list[Place]] = {}
    for path, row in named(sheets):
        place = Place("survey", row.number)
        places[f"/{root}/{path}"] = place
        by_name.setdefault(row["name"], []).append(place)
    for name, found in by_name.items():
        if len(found) == 1:
            places[name] = found[0]
    for row in sheets.get("settings", ())[:1]:
        if row["instance_name"]:
            places[f"/{root}/meta/instanceName"] = Place("settings", row.number)
    return places
