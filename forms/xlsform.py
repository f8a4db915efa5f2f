"""From an author's spreadsheet to an ODK XForm: every mistake with its sheet, row and reason."""

from __future__ import annotations

import csv
import io
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from forms import mistakes
from forms.doubts import doubts
from forms.markup import BadMarkup, parse
from forms.problems import BrokenForm, Problem
from forms.sheets import SHEETS, Place, Row, named, rows_of
from forms.vocabulary import near
from forms.wording import from_pyxform, warned, with_rows

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

# The budget of a spreadsheet, refused before anything parses it. The largest form that we know
# (5,000 questions in four languages) takes a tenth of it; lists of places belong into CSV files.
BYTES_MAX = 16 * 2**20
UNPACKED_BYTES_MAX = 64 * 2**20
PARTS_MAX = 2_000
RATIO_MAX = 250
ROWS_MAX = 200_000
QUESTIONS_MAX = 10_000
CELL_MAX = 32_767
"""As many characters as a cell of a workbook can hold."""
TOLD_MAX = 200
"""How many problems are told at once."""


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
    remarks: frozenset[Problem] = frozenset()
    """Those of the warnings that are pyxform's advice, and no mistake."""

    def place(self, question: str) -> Place | None:
        """The row of a question, named or by its path (positions of repeats are passed over)."""
        path = re.sub(r"\[\d+\]", "", question)
        return self.places.get(path) or self.places.get(path.rsplit("/", 1)[-1])

    def located(self, problems: Iterable[Problem]) -> tuple[Problem, ...]:
        """The same problems, with the sheet and row of each question that is named; in an XForm
        made elsewhere with the line on which it is first spoken of.
        """
        if not self.sheets:
            lines = _lines(self.xml)
            return tuple(
                Problem("", lines[one.question], one.question, one.reason)
                if one.row is None and one.question in lines
                else one
                for one in problems
            )
        found = []
        for problem in problems:
            place = self.place(problem.question) if problem.question else None
            reason = with_rows(self._as_written(problem.reason, place), self.places)
            if problem.row is None and place is not None:
                question = problem.question.rsplit("/", 1)[-1]
                found.append(Problem(place.sheet, place.row, question, reason))
            else:
                found.append(Problem(problem.sheet, problem.row, problem.question, reason))
        return tuple(found)

    def _as_written(self, reason: str, place: Place | None) -> str:
        """A default that is worked out is an action of the form; its author wrote it as a default."""
        if place is None or place.sheet != "survey" or not reason.startswith("setvalue "):
            return reason
        row = next((one for one in self.sheets["survey"] if one.number == place.row), None)
        if row is None or not row["default"]:
            return reason
        return f"default: {reason.removeprefix('setvalue ')}"


def compile_xlsform(name: str, data: bytes, media: Mapping[str, bytes] | None = None) -> bytes:
    """The XForm (XML) that an XLSForm stands for. `name` is the file's, to be named in messages.

    Raises BrokenForm with every problem that could be found at once.
    """
    return read_xlsform(name, data, media).xml


def read_xlsform(
    name: str,
    data: bytes,
    media: Mapping[str, bytes] | Collection[str] | None = None,
    *,
    opened: bool = True,
) -> XlsForm:
    """Read an xlsx, xls, csv or md XLSForm (or pass an XForm through), with its rows.

    `media` are the files that go with the form, or their names alone; None says that they are not
    known yet, and then no missing file is complained about. What the engine itself refuses (an
    expression that is none, a cycle of calculations) is told by its rows too, unless `opened` is
    False. Raises BrokenForm; what can be used but is hardly meant is among `warnings`.
    """
    kind = _kind_of(name, data)
    if kind == ".xml":
        return XlsForm(name, data)
    _within_budget(name, data, kind)
    if kind in {".md", ".csv"}:
        data = _as_utf8(name, data)
    definition = _sheets_of(name, data, kind)
    sheets = MappingProxyType(
        {
            sheet: rows_of(getattr(definition, sheet), sheet)
            for sheet in SHEETS
            if _has(definition, sheet)
        }
    )
    _within_rows(name, sheets)
    problems = list(islice(mistakes.refusals(sheets, media), TOLD_MAX))
    xml = b""
    said: tuple[str, ...] = ()
    try:
        xml, said = _converted(definition, name)
    except _Refused as refused:
        known = {(own.sheet, own.row) for own in problems}
        problems.extend(
            own
            for own in islice(chain(mistakes.stops(sheets), mistakes.expressions(sheets)), TOLD_MAX)
            if (own.sheet, own.row) not in known
        )
        told = from_pyxform(str(refused), sheets)
        known = {(own.sheet, own.row) for own in problems}
        # Without a row it most often says once more what we have just said with one.
        if not problems or (
            str(refused).startswith("[row") and (told.sheet, told.row) not in known
        ):
            problems.append(told)
    if problems:
        problems.extend(_misspelt_sheets(definition))
        raise BrokenForm(tuple(sorted(problems, key=_by_place)), form=name)
    remarks = [one for text in said for one in warned(text, sheets)]
    warnings = [
        *remarks,
        *islice(doubts(sheets, media), TOLD_MAX),
        *_misspelt_sheets(definition),
    ]
    read = XlsForm(
        name,
        xml,
        sheets,
        MappingProxyType(_places(sheets, xml)),
        tuple(sorted(dict.fromkeys(warnings), key=_by_place)),
        frozenset(remarks),
    )
    if opened:
        _open(read, media if isinstance(media, Mapping) else None)
    return read


def _open(read: XlsForm, media: Mapping[str, bytes] | None) -> None:
    """Let the engine read the form, for what it refuses."""
    from forms.form import Form  # noqa: PLC0415 - the engine is read when it is first needed

    try:
        Form.load(read.xml, media)
    except BrokenForm as broken:
        own = tuple(islice(mistakes.expressions(read.sheets), TOLD_MAX))
        told = {(one.sheet, one.row) for one in own}
        rest = [one for one in read.located(broken.problems) if (one.sheet, one.row) not in told]
        raise BrokenForm(tuple(sorted((*own, *rest), key=_by_place)), form=read.name) from None


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


def _within_rows(name: str, sheets: Mapping[str, tuple[Row, ...]]) -> None:
    """Refuse what pyxform would take minutes over."""
    questions = len(sheets.get("survey", ()))
    problem = None
    if questions > QUESTIONS_MAX:
        reason = f"the survey has {questions:,} rows; {QUESTIONS_MAX:,} is the most: cut the form"
        problem = Problem("survey", None, "", reason)
    for sheet, rows in sheets.items():
        for row in rows:
            for heading, text in row.cells.items():
                if len(text) > CELL_MAX:
                    reason = f"{heading} has {len(text):,} characters; {CELL_MAX:,} is the most"
                    problem = Problem(sheet, row.number, row["name"][:80], reason)
    if problem is not None:
        raise BrokenForm((problem,), form=name)


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

    strange: list[str] = []
    if kind == ".csv":
        data, strange = _known_sheets(data)
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
    definition.sheet_names = [*(definition.sheet_names or ()), *strange]
    definition.fallback_form_name = (
        re.sub(r"[^\w.-]+", "_", PurePosixPath(name.replace("\\", "/")).stem) or None
    )
    return definition


def _known_sheets(data: bytes) -> tuple[bytes, list[str]]:
    """The CSV without the sheets that pyxform knows nothing of, and their names."""
    kept: list[list[str]] = []
    strange: list[str] = []
    known = True
    try:
        for row in csv.reader(io.StringIO(data.decode("utf-8"), newline="")):
            if row and row[0].strip():
                known = row[0].strip().lower() in SHEETS
                if not known:
                    strange.append(row[0].strip())
            if known:
                kept.append(row)
    except csv.Error:
        return data, []
    if not strange:
        return data, []
    out = io.StringIO()
    csv.writer(out).writerows(kept)
    return out.getvalue().encode(), strange


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


def _misspelt_sheets(definition: Any) -> Iterator[Problem]:
    """A sheet that nobody reads, and whose name is nearly that of one which is read."""
    there = [str(one) for one in definition.sheet_names or ()]
    lacking = [one for one in SHEETS if one not in {name.strip().lower() for name in there}]
    for name in there:
        close = near(name.strip(), lacking) if name.strip().lower() not in SHEETS else ""
        if close:
            yield Problem(name, None, "", f"the whole sheet is passed over; is {close} meant?")


def _by_place(problem: Problem) -> tuple[int, int]:
    order = SHEETS.index(problem.sheet) if problem.sheet in SHEETS else len(SHEETS)
    return order, problem.row or 0


# Where each question stands ----------------------------------------------------------------


def _lines(xml: bytes) -> dict[str, int]:
    """On which line of an XForm each question that has its name alone is bound, or else asked."""
    try:
        root = parse(xml, what="the XForm")
    except BadMarkup:
        return {}
    found: dict[str, dict[str, int]] = {}
    for element in root.iter():
        path = element.get("nodeset") or element.get("ref") or ""
        name = path.rpartition("/")[2]
        line: object = element.sourceline
        if name and path.startswith("/") and isinstance(line, int):
            found.setdefault(name, {}).setdefault(path, line)
    return {name: next(iter(at.values())) for name, at in found.items() if len(at) == 1}


def _places(sheets: Mapping[str, tuple[Row, ...]], xml: bytes) -> dict[str, Place]:
    match = re.search(rb"<instance>\s*<([\w.:-]+)", xml)
    root = match[1].decode() if match else "data"
    places: dict[str, Place] = {}
    by_name: dict[str, list[Place]] = {}
    for path, row in named(sheets):
        place = Place("survey", row.number)
        places[f"/{root}/{path}"] = place
        if not re.fullmatch(r"\d*|\$\{[^}]*\}", row["repeat_count"]):
            # pyxform keeps an expression's outcome in a node of its own.
            places.setdefault(f"/{root}/{path}_count", place)
            by_name.setdefault(f"{row['name']}_count", []).append(place)
        by_name.setdefault(row["name"], []).append(place)
    for name, found in by_name.items():
        if len(found) == 1:
            places[name] = found[0]
    for row in sheets.get("entities", ())[:1]:
        for made in ("baseVersion", "trunkVersion", "branchId"):
            # What pyxform asks of the list of a record that is corrected.
            places.setdefault(made, Place("entities", row.number))
    for row in sheets.get("settings", ())[:1]:
        if row["instance_name"]:
            places[f"/{root}/meta/instanceName"] = Place("settings", row.number)
    return places
