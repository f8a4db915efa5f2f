"""Dates, times and moments as ODK's expressions see them: ISO texts, and days since 1970."""

from __future__ import annotations

import math
import re
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import TYPE_CHECKING

from forms.values import moment_at, parse_date, parse_time

if TYPE_CHECKING:
    from collections.abc import Sequence

EPOCH = date(1970, 1, 1)
_DAY_S = 86_400.0
_OFFSET = re.compile(r"[-+](\d{2}):?(\d{2})?$")
_LIKE_DATE = re.compile(r"\d{4}-\d{1,2}-\d{1,2}(?:T|$)")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


class Dated(str):
    """What a browser's function of dates comes to: a text that compares as the number of days."""

    __slots__ = ()


def moment(text: str, zone: tzinfo) -> datetime | None:
    """The moment of an ISO date (its first one, in `zone`) or dateTime; None for neither."""
    if not _LIKE_DATE.match(text):
        return None
    day_text, tee, clock_text = text.partition("T")
    day = parse_date(day_text)
    if day is None:
        return None
    if not tee:
        return moment_at(day, time(), zone)
    clock = parse_time(clock_text)
    if clock is None:
        return None
    return moment_at(day, clock[0], clock[1] or zone).astimezone(zone)


def days(text: str, zone: tzinfo, *, whole: bool, utc: bool) -> float:
    """Days since 1970: of the wall clock in `zone`, or since midnight in Greenwich (`utc`);
    NaN for what is no date. `whole` leaves the time of day out.
    """
    found = moment(text, zone)
    if found is None:
        return math.nan
    return days_of(found, whole=whole, utc=utc)


def days_of(found: datetime, *, whole: bool, utc: bool) -> float:
    if utc:
        return (found - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(days=1)
    since = (found.date() - EPOCH).days
    if whole:
        return float(since)
    clock = found.time()
    seconds = clock.hour * 3600 + clock.minute * 60 + clock.second
    return ((since * 86_400 + seconds) * 1000 + clock.microsecond // 1000) / 86_400_000


def of_days(number: float, zone: tzinfo) -> datetime | None:
    """The moment so many days after 1970 began in Greenwich, as it is in the zone; None beyond the
    years 1 to 9999.
    """
    if not math.isfinite(number):
        return None
    try:
        whole = math.floor(number)
        rest = timedelta(milliseconds=round((number - whole) * 86_400_000))
        return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=whole) + rest).astimezone(zone)
    except OverflowError:
        return None


def day_of(number: float) -> date | None:
    """The day so many whole days after 1 January 1970, wherever one is."""
    try:
        return EPOCH + timedelta(days=math.trunc(number)) if math.isfinite(number) else None
    except OverflowError:
        return None


def day_fraction(text: str, zone: tzinfo) -> float:
    """decimal-time(): the part of the day gone in `zone` at "[dateT]hh:mm[:ss[.sss]][offset]".

    NaN for what is no time. A time without a date is one of the first day of 1970.
    """
    day_text, tee, clock_text = text.strip().partition("T")
    day = parse_date(day_text) if tee else EPOCH
    clock_text = clock_text if tee else day_text
    found = parse_time(clock_text)
    away = _OFFSET.search(clock_text)
    if day is None or found is None or (away and (int(away[1]) > 23 or int(away[2] or 0) > 59)):
        return math.nan
    try:
        clock = moment_at(day, found[0], found[1] or zone).astimezone(zone).time()
    except OverflowError:
        return math.nan
    seconds = clock.hour * 3600 + clock.minute * 60 + clock.second + clock.microsecond / 1e6
    return seconds / _DAY_S


def formatted(
    found: datetime,
    pattern: str,
    months: Sequence[str] = MONTHS,
    weekdays: Sequence[str] = WEEKDAYS,
) -> str | None:
    """ODK XForms, format-date-time(): %Y %y %m %n %b %d %e %H %h %M %S %3 %a %W %%; else None."""
    parts = []
    place = 0
    while place < len(pattern):
        sign = pattern[place]
        if sign != "%":
            parts.append(sign)
            place += 1
            continue
        letter = pattern[place + 1 : place + 2]
        made = _letter(found, letter, months, weekdays)
        if made is None:
            return None
        parts.append(made)
        place += 2
    return "".join(parts)


def _letter(
    found: datetime, letter: str, months: Sequence[str], weekdays: Sequence[str]
) -> str | None:
    match letter:
        case "%":
            return "%"
        case "Y":
            return f"{found.year:04d}"
        case "y":
            return f"{found.year % 100:02d}"
        case "m":
            return f"{found.month:02d}"
        case "n":
            return str(found.month)
        case "b":
            return months[found.month - 1]
        case "d":
            return f"{found.day:02d}"
        case "e":
            return str(found.day)
        case "H":
            return f"{found.hour:02d}"
        case "h":
            return str(found.hour)
        case "M":
            return f"{found.minute:02d}"
        case "S":
            return f"{found.second:02d}"
        case "3":
            return f"{found.microsecond // 1000:03d}"
        case "a":
            return weekdays[found.weekday()]
        case "W":
            return str(_week(found.date()))
    return None


def _week(day: date) -> int:
    """The week of the year as Java counts it without a place: from Sundays, the first that has
    a day of the year is week 1.
    """
    if day >= _sunday(date(day.year + 1, 1, 1)):
        return 1
    return (_sunday(day) - _sunday(date(day.year, 1, 1))).days // 7 + 1


def _sunday(day: date) -> date:
    return day - timedelta(days=(day.weekday() + 1) % 7)
