"""How an answer is stored: the text that stands in the submission for each type of question."""

from __future__ import annotations

import decimal
import math
import re
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import TYPE_CHECKING

from forms.dialect import COLLECT
from forms.held import Clock, Decimal, Moment, Truth, Whole, Words

if TYPE_CHECKING:
    from collections.abc import Callable

    from forms.dialect import Dialect

    Now = Callable[[], datetime]

_UNCHANGED = frozenset({"string", "select", "select1", "binary", "barcode", "intent", "rank"})
_RADIX = re.compile(r"0[xX][\da-fA-F]+|0[oO][0-7]+|0[bB][01]+")
_DAY = re.compile(r"\d{4}-\d\d-\d\d")
_CLOCK = re.compile(r"\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[-+]\d\d:\d\d)?")
_HANDS = re.compile(r"\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?")
INT_MAX = 2**31 - 1
INT_MIN = -(2**31)

_INT = re.compile(r"[-+]?\d+")
_DECIMAL = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
_DATE = re.compile(r"(\d{4})-(\d{1,2})-(\d{1,2})")
_TIME = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2})(?:\.(\d+))?)?\s*(Z|[-+]\d{2}(?::?\d{2})?)?")


ENTITY_ID = re.compile(
    r"(?:uuid:)?([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})", re.IGNORECASE
)
"""What the id of an entity is (ODK Entities), and the part of it that names the record."""


def java_double(number: float) -> str:
    """The text that Java gives a double: "2000.0", "1.5E7", "1.0E-4"."""
    if math.isnan(number):
        return "NaN"
    if math.isinf(number):
        return "Infinity" if number > 0 else "-Infinity"
    if number == 0:
        return "-0.0" if math.copysign(1, number) < 0 else "0.0"
    if 1e-3 <= abs(number) < 1e7:
        plain = repr(number)
        return plain if "." in plain else plain + ".0"
    digits = repr(number)
    # Of the shortest digits: 1e-6 itself is a little less than what it is written as.
    power = decimal.Decimal(digits).adjusted()
    bare = re.sub(r"e.*$", "", digits).replace("-", "").replace(".", "").strip("0") or "0"
    mantissa = f"{bare[0]}.{bare[1:] or '0'}"
    return f"{'-' if number < 0 else ''}{mantissa}E{power}"


def plain_number(number: float) -> str:
    """The text of a number by XPath 1.0: no exponent, no needless point; "" for NaN."""
    if math.isnan(number):
        return ""
    if math.isinf(number):
        return "Infinity" if number > 0 else "-Infinity"
    if number == int(number) and abs(number) < 1e21:
        return str(int(number))
    text = repr(number)
    if "e" in text:
        text = f"{number:.20f}".rstrip("0")
    return text


def browser_number(number: float) -> str:
    """The text of a number as browsers write it: an exponent below 1e-6 and from 1e21 on."""
    if not math.isfinite(number) or not number or 1e-6 <= abs(number) < 1e21:
        return plain_number(number)
    mantissa, _, power = repr(number).partition("e")
    if not power:
        return plain_number(number)
    return f"{mantissa.removesuffix('.0')}e{int(power):+d}"


def browser_decimal(number: float) -> str:
    """The text that Web Forms stores of a decimal: no exponent, and a point always."""
    told = format(decimal.Decimal(repr(number)), "f")
    return told if "." in told else told + ".0"


def parse_date(text: str) -> date | None:
    if len(text) == 10 and text[4] == text[7] == "-":
        # As nearly all are written: Python reads these itself, and what it refuses is seen below.
        try:
            return date.fromisoformat(text)
        except ValueError:
            pass
    found = _DATE.fullmatch(text)
    if not found:
        return None
    try:
        return date(int(found[1]), int(found[2]), int(found[3]))
    except ValueError:
        return None


def parse_time(text: str) -> tuple[time, tzinfo | None] | None:
    """The time of day and its own offset, if it has one."""
    found = _TIME.fullmatch(text)
    if not found:
        return None
    fraction = (found[4] or "").ljust(6, "0")[:6]
    try:
        clock = time(int(found[1]), int(found[2]), int(found[3] or 0), int(fraction or 0))
    except ValueError:
        return None
    return clock, offset(found[5])


def offset(text: str | None) -> tzinfo | None:
    """An offset like "Z", "+05:30", "-07" as a zone; None for none."""
    if not text:
        return None
    if text == "Z":
        return UTC
    digits = text[1:].replace(":", "")
    away = timedelta(hours=int(digits[:2]), minutes=int(digits[2:] or 0))
    from datetime import timezone  # noqa: PLC0415 - named like our own argument elsewhere

    if away >= timedelta(hours=24):
        return None
    return timezone(-away if text[0] == "-" else away)


def parse_datetime(text: str, zone: tzinfo) -> datetime | None:
    """A moment; without an offset of its own it is in `zone`."""
    day_text, tee, clock_text = text.partition("T")
    day = parse_date(day_text)
    if day is None:
        return None
    if not tee:
        return moment_at(day, time(), zone)
    clock = parse_time(clock_text)
    if clock is None:
        return None
    return moment_at(day, clock[0], clock[1] or zone)


def moment_at(day: date, clock: time, zone: tzinfo) -> datetime:
    """When clocks in the zone show that; where summer time makes them leap over it, so much later
    as they leap.
    """
    moment = datetime.combine(day, clock, zone)
    try:
        return moment.astimezone(UTC).astimezone(zone)
    except OverflowError:
        return moment


def iso_datetime(moment: datetime) -> str:
    """2026-11-23T07:03:04.125+03:00, with "Z" for UTC: as ODK writes timestamps."""
    said = moment.isoformat(timespec="milliseconds")
    away = said[23:29]
    return said[:23] + ("Z" if away in {"", "+00:00"} else away)


def stamped(moment: datetime, dialect: Dialect) -> str:
    """The moment as the dialect's engine writes one that it has worked out or looked up: a browser
    writes no zeros after a fraction, and Greenwich's offset like any other.
    """
    if not dialect.webforms:
        return iso_datetime(moment)
    fraction = f"{moment.microsecond // 1000:03d}"
    return (
        moment.isoformat(timespec="seconds")[:19]
        + f".{fraction.rstrip('0') or fraction}"
        + (moment.isoformat()[-6:] if moment.utcoffset() is not None else "")
    )


def iso_time(moment: datetime) -> str:
    return iso_datetime(moment)[11:]


# -- what a person answered


_DIGITS_MAX = 20
"""More than any whole number has that can be stored; Python reads no number of thousands."""


def _as_int(text: str, dialect: Dialect, _zone: tzinfo, _now: Now) -> str:
    text = text.strip()
    if dialect.casts_like_java:
        if not _INT.fullmatch(text):
            return ""
        digits = text.lstrip("+-").lstrip("0")
        if len(digits) > _DIGITS_MAX:
            return ""
        number = int(digits or "0") * (-1 if text.startswith("-") else 1)
    else:
        found = _browser_float(text)
        if found is None:
            return ""
        number = math.trunc(found)
    return str(number) if INT_MIN <= number <= INT_MAX else ""


def _browser_float(text: str) -> float | None:
    """The number that a browser reads; None where there is none, or no end to it."""
    if _RADIX.fullmatch(text):
        try:
            return float(int(text, 0))
        except OverflowError:
            return None
    if not _DECIMAL.fullmatch(text):
        return None
    number = float(text)
    return None if math.isinf(number) else number


def _as_decimal(text: str, dialect: Dialect, _zone: tzinfo, _now: Now) -> str:
    text = text.strip()
    if not dialect.casts_like_java:
        found = _browser_float(text)
        return "" if found is None else browser_decimal(found)
    if not _DECIMAL.fullmatch(text):
        return ""
    number = float(text)
    return "" if math.isinf(number) else java_double(number)


def _as_date(text: str, dialect: Dialect, _zone: tzinfo, _now: Now) -> str:
    text = text.strip()
    if not dialect.casts_like_java:
        # A time may follow, but none that says in which zone it is.
        day, tee, clock = text.partition("T")
        if not _DAY.fullmatch(day) or (tee and not _HANDS.fullmatch(clock)):
            return ""
        text = day
    day_ = parse_date(text)
    return day_.isoformat() if day_ else ""


def _as_time(text: str, dialect: Dialect, zone: tzinfo, now: Now) -> str:
    text = text.strip()
    found = parse_time(text)
    if found is None:
        return ""
    if not dialect.casts_like_java:
        return text if _CLOCK.fullmatch(text) else ""
    clock, own = found
    # In the offset of today, whatever that of other days is.
    today = now().astimezone(zone).date()
    return iso_time(moment_at(today, clock, own or zone).astimezone(zone))


def _as_datetime(text: str, dialect: Dialect, zone: tzinfo, _now: Now) -> str:
    text = text.strip()
    moment = parse_datetime(text, zone)
    if moment is None:
        return ""
    if not dialect.casts_like_java:
        day, _, clock = text.partition("T")
        return text if _DAY.fullmatch(day) and _CLOCK.fullmatch(clock) else ""
    try:
        return iso_datetime(moment.astimezone(zone))
    except OverflowError:
        return ""


def _as_boolean(text: str, dialect: Dialect, _zone: tzinfo, _now: Now) -> str:
    if not dialect.casts_like_java:
        return text
    text = text.strip()
    if not text:
        return ""
    return "1" if text == "1" else "0"


def geopoint(text: str, *, whole: bool = False) -> str:
    """In order latitude, longitude, altitude, accuracy; "" where the text is no place on earth.
    `whole` has all four, with 0.0 for what is not given.
    """
    parts = text.split()
    if not 2 <= len(parts) <= 4 or not all(_DECIMAL.fullmatch(one) for one in parts):
        return ""
    numbers = [float(one) for one in parts]
    if abs(numbers[0]) > 90 or abs(numbers[1]) > 180:
        return ""
    if any(math.isinf(one) for one in numbers):
        return ""
    if whole:
        numbers += [0.0] * (4 - len(numbers))
    return " ".join(java_double(one) for one in numbers)


def _as_geopoint(text: str, dialect: Dialect, _zone: tzinfo, _now: Now) -> str:
    if not dialect.casts_like_java:
        return _browser_point(text)
    place = geopoint(text, whole=True)
    # A place that is 0 in all four was never recorded.
    return "" if place in {"0.0 0.0 0.0 0.0", "-0.0 0.0 0.0 0.0"} else place


def _browser_point(text: str) -> str:
    """To Web Forms there is no place where the equator meets the meridian of Greenwich."""
    place = geopoint(text)
    return place if any(float(degrees) for degrees in place.split()[:2]) else ""


def _java_points(text: str) -> str:
    """All points; none where one of them is no place on earth."""
    points = [geopoint(one, whole=True) for one in text.split(";") if one.strip()]
    return "; ".join(points) if all(points) else ""


def _browser_points(text: str, least: int, *, closed: bool) -> str:
    parts = text.split(";")
    points = [_browser_point(one) for one in (parts if parts[-1].strip() else parts[:-1])]
    if len(points) < least or not all(points):
        return ""
    ends_where_it_begins = points[0].split()[:2] == points[-1].split()[:2]
    return ";".join(points) if ends_where_it_begins is closed else ""


def _as_geotrace(text: str, dialect: Dialect, _zone: tzinfo, _now: Now) -> str:
    """In Web Forms a line has two points, and does not end where it begins."""
    if dialect.casts_like_java:
        return _java_points(text)
    return _browser_points(text, 2, closed=False)


def _as_geoshape(text: str, dialect: Dialect, _zone: tzinfo, _now: Now) -> str:
    """In Web Forms a shape ends where it begins."""
    if dialect.casts_like_java:
        return _java_points(text)
    return _browser_points(text, 3, closed=True)


_ANSWERS: dict[str, Callable[[str, Dialect, tzinfo, Now], str]] = {
    "int": _as_int,
    "decimal": _as_decimal,
    "date": _as_date,
    "time": _as_time,
    "dateTime": _as_datetime,
    "boolean": _as_boolean,
    "geopoint": _as_geopoint,
    "geotrace": _as_geotrace,
    "geoshape": _as_geoshape,
}


UNWRITABLE = dict.fromkeys(
    [
        *(code for code in range(32) if code not in {9, 10, 13}),
        *range(0xD800, 0xE000),
        0xFFFE,
        0xFFFF,
    ]
)
"""Characters that no XML can hold, as `str.translate` leaves them out."""


def writable(text: str) -> str:
    """The text without what no submission can hold, so that what is worked out of an answer is
    worked out of what is sent.
    """
    return text.translate(UNWRITABLE)


_CHOICE = re.compile(r"[^ \t-\r]+")


def chosen(text: str) -> list[str]:
    """The choices that an answer names. A no-break space, as spreadsheets have it in names, parts
    none: neither XML nor Java takes it for a blank.
    """
    return text.split() if text.isascii() else _CHOICE.findall(text)


def answered(text: str, kind: str, select: str, dialect: Dialect, zone: tzinfo, now: Now) -> str:
    """What is stored when a person answers `text`: "" where it cannot be of the type."""
    if not text.isprintable():
        text = writable(text)
    if not text:
        return ""
    if select in {"select", "rank"}:
        return " ".join(dict.fromkeys(chosen(text)))
    if select == "select1":
        return text
    cast = _ANSWERS.get(kind)
    return text if cast is None else cast(text, dialect, zone, now)


def calculated(value: object, kind: str, dialect: Dialect, zone: tzinfo, now: Now) -> str:
    """What is stored when an expression came to `value` (text, number or truth)."""
    if dialect.casts_like_java:
        return _wrapped(value, kind, zone, now)
    # A browser's engine reads the text of the outcome as it reads an answer.
    if isinstance(value, bool):
        text = "true" if value else "false"
    elif isinstance(value, float):
        text = "" if math.isnan(value) else browser_number(value)
    else:
        text = str(value)
    return answered(text, kind, "", dialect, zone, now)


def _wrapped(value: object, kind: str, zone: tzinfo, now: Now) -> str:
    """As JavaRosa wraps the outcome of a calculation (IAnswerData.wrapData): a truth stays one, a
    number is cut for an int only, a moment is cut to a date's day or a time's clock; what then is
    of another kind than the node's type says so itself.
    """
    if isinstance(value, bool):
        text = "1" if value else "0"
        return text if kind == "boolean" else Truth(text)
    if isinstance(value, float):
        return _wrapped_number(value, kind)
    assert isinstance(value, str)
    if not value:
        return ""
    if kind == "boolean":
        return "1"
    if value.__class__ is Moment:
        today = now().date()
        text = dated(value, kind, zone, today)
        if kind == "time":
            return Clock(text, dated(value, "dateTime", zone, today))
        return text if kind in {"date", "dateTime"} else Moment(text)
    if kind in _UNCHANGED:
        return str(value)
    if kind.startswith("geo"):
        return _ANSWERS[kind](value, COLLECT, zone, now)
    return Words(value)


def _wrapped_number(value: float, kind: str) -> str:
    if math.isnan(value):
        return ""
    if kind == "boolean":
        return "1" if abs(value) > 1e-12 else "0"
    if math.isinf(value):
        if kind == "int":
            return str(INT_MAX if value > 0 else INT_MIN)
        text = java_double(value)
        return text if kind == "decimal" else Decimal(text)
    whole = int(value)
    if kind == "int":
        return str(max(INT_MIN, min(INT_MAX, whole)))
    if abs(value - whole) < 1e-9 and abs(whole) < 2**63:
        text = str(whole)
        if kind == "decimal":
            return text
        return Whole(text) if INT_MIN <= whole <= INT_MAX else Decimal(text)
    text = java_double(value)
    return text if kind == "decimal" else Decimal(text)


def moment_of(text: str, zone: tzinfo, today: date) -> datetime | None:
    """The moment that an ISO date, time or both names; None where the text is none of these."""
    text = text.strip()
    found = parse_datetime(text, zone)
    if found is None and (clock := parse_time(text)) is not None:
        found = moment_at(today, clock[0], clock[1] or zone)
    return found


def dated(text: str, kind: str, zone: tzinfo, today: date) -> str:
    """What JavaRosa stores when an expression came to a date, of whatever type the node is: a
    date's day, a time's clock, and the whole moment for every other type.
    """
    moment = moment_of(text, zone, today)
    if moment is None:
        return text
    moment = moment.astimezone(zone)
    if kind == "date":
        return moment.date().isoformat()
    if kind == "time":
        return iso_time(moment)
    return iso_datetime(moment)


def fits(text: str, kind: str) -> bool:
    """Whether foreign text is of the type: what `check` asks of a submission's values."""
    text = text.strip()
    if kind == "int":
        return bool(_INT.fullmatch(text)) and len(text) < 20
    if kind == "decimal":
        return bool(_DECIMAL.fullmatch(text))
    if kind == "date":
        return parse_date(text.partition("T")[0]) is not None
    if kind == "time":
        return parse_time(text) is not None
    if kind == "dateTime":
        return parse_datetime(text, UTC) is not None
    if kind == "boolean":
        return text in {"true", "false", "1", "0"}
    if kind == "geopoint":
        return geopoint(text) != ""
    if kind in {"geotrace", "geoshape"}:
        return all(geopoint(one) for one in text.split(";") if one.strip())
    return True
