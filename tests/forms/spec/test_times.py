"""Days, hours and zones: https://getodk.github.io/xforms-spec/#fn:date and the data types there."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from forms import Context, Entry, Form
from tests.forms.spec.told import Case, ours, xform

NAMES = {"d": "date", "t": "time", "m": "dateTime"}


def _asked(**calculated: str) -> str:
    nodes = "".join(f"<{name}/>" for name in (*NAMES, *calculated))
    model = "".join(f'<bind nodeset="/data/{name}" type="{NAMES[name]}"/>' for name in NAMES)
    model += "".join(
        f'<bind nodeset="/data/{name}" type="string" calculate="{each}"/>'
        for name, each in calculated.items()
    )
    return xform(nodes, model, "".join(f'<input ref="/data/{name}"/>' for name in NAMES))


MOMENTS = _asked(
    days="decimal-date-time(/data/m)",
    told="format-date-time(/data/m, '%Y-%m-%d %H:%M')",
    hours="round((decimal-date-time(/data/m) - decimal-date-time(/data/d)) * 24, 2)",
)
DAYS = _asked(
    week="date(/data/d + 7)",
    number="number(/data/d)",
    text="concat('on ', /data/d)",
    before="/data/d &lt; today()",
    later="format-date(date(decimal-date-time(/data/d) + 1), '%Y-%m-%d')",
)

AS_TEXT = xform(
    "<d/><a/><b/><c/><e/><n/>",
    """<bind nodeset="/data/d" type="date"/>
       <bind nodeset="/data/a" type="string" calculate="string(/data/d)"/>
       <bind nodeset="/data/b" type="dateTime" calculate="string(date('2020-02-03'))"/>
       <bind nodeset="/data/c" type="date" calculate="string(once(date('2020-02-03')))"/>
       <bind nodeset="/data/e" type="int" calculate="string(date-time('2020-02-03T10:00:00Z'))"/>
       <bind nodeset="/data/n"
         calculate="concat(/data/a + 1, ' ', /data/b + 1, ' ', /data/c + 1, ' ', /data/e + 1)"/>""",
)
OF_A_DAY = xform(
    "<d/><t/><told/>",
    """<bind nodeset="/data/d" type="date"/>
       <bind nodeset="/data/t" type="time" calculate="date(/data/d)"/>
       <bind nodeset="/data/told" calculate="concat(/data/t, '|', /data/t + 1)"/>""",
)

CASES = {
    "a date as text is a text and no date": Case(
        AS_TEXT,
        (
            ("init", {"/data/b": "2020-02-03", "/data/c": "2020-02-03", "/data/e": "2020-02-03"}),
            ("/data/d = 2020-02-03", {"/data/a": "2020-02-03", "/data/n": "NaN NaN NaN NaN"}),
        ),
        zone="Europe/Paris",
    ),
    "a time that comes of a date knows its day": Case(
        OF_A_DAY,
        (
            ("init", {}),
            (
                "/data/d = 2020-02-03",
                {"/data/t": "00:00:00.000Z", "/data/told": "2020-02-03|18296"},
            ),
            (
                "/data/d = 2020-02-04",
                {"/data/t": "00:00:00.000Z", "/data/told": "2020-02-04|18297"},
            ),
            ("save_restore", {"/data/told": "2020-02-04|18297"}),
        ),
    ),
    "a moment in Greenwich": Case(
        MOMENTS,
        (
            ("init", {}),
            ("/data/d = 2024-02-29", {}),
            (
                "/data/m = 2024-02-29T12:00:00.000Z",
                {"/data/days": "19782.5", "/data/hours": "12", "/data/told": "2024-02-29 12:00"},
            ),
        ),
    ),
    "a moment of elsewhere is told in the zone of the device": Case(
        MOMENTS,
        (
            ("init", {}),
            (
                "/data/m = 2024-02-29T12:00:00.000Z",
                {"/data/m": "2024-02-29T17:45:00.000+05:45", "/data/told": "2024-02-29 17:45"},
            ),
        ),
        zone="Asia/Kathmandu",
    ),
    "an hour that clocks leap over is the hour that they show instead": Case(
        MOMENTS,
        (
            ("init", {}),
            ("/data/d = 2024-03-10", {}),
            (
                "/data/m = 2024-03-10T02:30:00.000",
                {
                    "/data/m": "2024-03-10T03:30:00.000-04:00",
                    "/data/told": "2024-03-10 03:30",
                    # From midnight to half past three, one hour of it leapt over.
                    "/data/hours": "2.5",
                },
            ),
        ),
        zone="America/New_York",
    ),
    "a midnight that clocks leap over": Case(
        _asked(day="date(/data/m)", told="format-date-time(/data/d, '%H:%M')"),
        (
            ("init", {}),
            (
                "/data/m = 2021-03-28T05:00:00.000+03:00",
                {"/data/day": "2021-03-28T01:00:00.000+03:00"},
            ),
            ("/data/d = 2021-03-28", {"/data/told": "01:00"}),
        ),
        zone="Asia/Beirut",
        says="Lebanon's summer time began at midnight",
    ),
    "a day that is 25 hours long": Case(
        MOMENTS,
        (
            ("init", {}),
            ("/data/d = 2024-11-03", {}),
            ("/data/m = 2024-11-04T00:00:00.000-05:00", {"/data/hours": "25"}),
        ),
        zone="America/New_York",
    ),
    "a day is a day, in every zone": Case(
        DAYS,
        (
            ("init", {}),
            (
                "/data/d = 2024-02-29",
                {
                    "/data/number": "19782",
                    "/data/text": "on 2024-02-29",
                    "/data/before": "1",
                },
            ),
        ),
        zone="America/Phoenix",
        says="the days since 1970 are whole for a date",
    ),
    "months and years have the lengths that they have": Case(
        _asked(next="format-date(date(/data/d + 1), '%Y-%m-%d')"),
        (
            ("init", {}),
            ("/data/d = 2024-02-28", {"/data/next": "2024-02-29"}),
            ("/data/d = 2023-02-28", {"/data/next": "2023-03-01"}),
            ("/data/d = 1900-02-28", {"/data/next": "1900-03-01"}),
            ("/data/d = 2000-02-28", {"/data/next": "2000-02-29"}),
            ("/data/d = 1969-12-31", {"/data/next": "1970-01-01"}),
            ("/data/d = 2023-02-30", {"/data/d": "", "/data/next": ""}),
        ),
    ),
    "a time has the offset that its device has today": Case(
        _asked(part="round(decimal-time(/data/t), 4)", told="format-date-time(/data/t, '%H:%M')"),
        (
            ("init", {}),
            # Nepal had another offset in 1970.
            ("/data/t = 06:00:00.000", {"/data/t": "06:00:00.000+05:45", "/data/part": "0.25"}),
            ("/data/t = 00:15:00.000Z", {"/data/t": "06:00:00.000+05:45", "/data/told": "06:00"}),
        ),
        zone="Asia/Kathmandu",
    ),
    "names of months and days": Case(
        _asked(
            months="format-date(/data/d, '%b %n %m')",
            days="format-date(/data/d, '%a %e %d')",
            years="format-date(/data/d, '%Y %y')",
        ),
        tuple(
            (
                f"/data/d = 2023-{month:02d}-0{day}",
                {
                    "/data/months": f"{name} {month} {month:02d}",
                    "/data/days": f"{week} {day} 0{day}",
                    "/data/years": "2023 23",
                },
            )
            if month
            else ("init", {})
            for month, day, name, week in (
                (0, 0, "", ""),
                (1, 2, "Jan", "Mon"), (2, 7, "Feb", "Tue"), (3, 1, "Mar", "Wed"),
                (4, 6, "Apr", "Thu"), (5, 5, "May", "Fri"), (6, 3, "Jun", "Sat"),
                (7, 2, "Jul", "Sun"), (8, 7, "Aug", "Mon"), (9, 5, "Sep", "Tue"),
                (10, 4, "Oct", "Wed"), (11, 2, "Nov", "Thu"), (12, 1, "Dec", "Fri"),
            )
        ),
        says="the specification gives them in English; JavaRosa takes those of the device",
    ),
    "hours, minutes and thousandths": Case(
        _asked(told="format-date-time(/data/m, '%H %h %M %S %3 %%')"),
        (
            ("init", {}),
            ("/data/m = 2024-02-29T07:08:09.045Z", {"/data/told": "07 7 08 09 045 %"}),
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_time_is_what_clocks_say(name: str):
    assert ours(name, CASES[name]) == []


def _at(moment: datetime, zone: str) -> Context:
    return Context(now=lambda: moment, new_uuid=lambda: "", random=lambda: 0.5, zone=ZoneInfo(zone))


@pytest.mark.parametrize(
    ("zone", "day", "stamp"),
    [
        ("UTC", "2026-06-30", "2026-06-30T22:00:00.000Z"),
        ("Asia/Kathmandu", "2026-07-01", "2026-07-01T03:45:00.000+05:45"),
        ("Pacific/Kiritimati", "2026-07-01", "2026-07-01T12:00:00.000+14:00"),
        ("America/Los_Angeles", "2026-06-30", "2026-06-30T15:00:00.000-07:00"),
    ],
)
def test_today_and_now_are_those_of_the_device_and_stand_still_within_one_act(
    zone: str, day: str, stamp: str
):
    form = Form.load(_asked(today="today()", now="now()"))
    entry = Entry.start(form, _at(datetime(2026, 6, 30, 22, tzinfo=UTC), zone))
    assert entry.find("/data/today").text == f"{day}T00:00:00.000{stamp[23:]}"
    assert entry.find("/data/now").text == stamp


def test_who_reads_a_time_follows_the_day_that_it_comes_of():
    entry = Entry.start(Form.load(OF_A_DAY), _at(datetime(2026, 6, 30, 22, tzinfo=UTC), "UTC"))
    for day, told in (("2020-02-03", "2020-02-03|18296"), ("2020-02-04", "2020-02-04|18297")):
        entry.answer("/data/d", day)
        assert (entry.find("/data/t").text, entry.find("/data/told").text) == (
            "00:00:00.000Z",
            told,
        )


def test_a_time_given_in_summer_is_a_summer_time():
    form = Form.load(_asked())
    for month, offset in ((7, "-04:00"), (1, "-05:00")):
        entry = Entry.start(form, _at(datetime(2026, month, 5, 12, tzinfo=UTC), "America/New_York"))
        entry.answer("/data/t", "09:30")
        assert entry.find("/data/t").text == f"09:30:00.000{offset}"
