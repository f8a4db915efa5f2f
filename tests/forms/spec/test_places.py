"""Areas, lengths and fences, beside values that others have published.

The earth of both engines is a sphere of 6,378,100 m (https://getodk.github.io/xforms-spec/#fn:area
leaves the model open). Lengths are great circles by the law of cosines. Areas are those on that sphere in a
browser, and in Collect those on a plane that touches it at the first corner. So they differ from
what is measured on the ellipsoid of the earth, by what is said here with each value.
"""

from __future__ import annotations

import pytest

from tests.forms.spec.told import Case, ours, xform

ASKED = '<input ref="/data/a"/>'


def _measured(function: str, place: str, dialect: str = "collect", kind: str = "string") -> float:
    """What the function comes to of a text, or of an answer of that kind."""
    from forms import Entry, Form
    from tests.forms.test_entry import context

    model = (
        f'<bind nodeset="/data/a" type="{kind}"/>'
        f'<bind nodeset="/data/m" type="decimal" calculate="if(/data/a = \'\', -1, {function}(/data/a))"/>'
    )
    entry = Entry.start(Form.load(xform("<a/><m/>", model, ASKED), {}, dialect), context())
    entry.answer("/data/a", place)
    return float(entry.find("/data/m").text)


KM = 1000.0
LENGTHS = {
    # C. F. F. Karney, GeographicLib's documentation: 5551759.400 m on WGS 84.
    "Kennedy to Heathrow": ("40.6 -73.8 0 0;51.6 -0.5 0 0", 5551.7594, 0.002),
    # The same documentation: 19959679.267 m, nearly half around.
    "Wellington to Salamanca": ("-41.32 174.81 0 0;40.96 -5.50 0 0", 19959.679267, 0.003),
    # Geoscience Australia, Vincenty's test line: 54972.271 m on GRS 80.
    "Flinders Peak to Buninyong": (
        "-37.951033416666667 144.424867888888889 0 0;-37.652821138888889 143.926495527777778 0 0",
        54.972271,
        0.002,
    ),
    # Movable Type Scripts' example of the haversine: 968.9 km on a sphere of 6,371 km.
    "Land's End to John o'Groats": (
        "50.0663889 -5.7147222 0 0;58.6438889 -3.07 0 0",
        968.9 * 6378.1 / 6371,
        0.0001,
    ),
    # A degree of the equator on this sphere: 2 * pi * 6,378,100 / 360.
    "a degree": ("0 10 0 0;0 11 0 0", 111.3188450, 1e-7),
    "a degree over the line of the date": ("0 179.5 0 0;0 -179.5 0 0", 111.3188450, 1e-7),
    "half around": ("1 0 0 0;-1 180 0 0", 20037.3921, 1e-8),
    "up and down again": ("1 10 0 0;2 10 0 0;1 10 0 0", 222.637690, 1e-8),
}


@pytest.mark.parametrize("dialect", ["collect", "webforms"])
@pytest.mark.parametrize("name", LENGTHS)
def test_a_length_is_that_of_the_published_line(name: str, dialect: str):
    place, published_km, tolerance = LENGTHS[name]
    measured = _measured("distance", place, dialect) / KM
    assert measured == pytest.approx(published_km, rel=tolerance)


AREAS = {
    # Published as 104,094 square miles (U.S. Census Bureau), within 37 to 41 degrees north.
    "Colorado": (
        "37 -109.05 0 0;41 -109.05 0 0;41 -102.05 0 0;37 -102.05 0 0;37 -109.05 0 0",
        104_094 * 2.589988110336,
        {"collect": 0.01, "webforms": 0.0005},
    ),
    # A square degree at the equator: 12,308.8 square kilometres on WGS 84.
    "a square degree": (
        "0 10 0 0;0 11 0 0;1 11 0 0;1 10 0 0;0 10 0 0",
        12_308.8,
        {"collect": 0.007, "webforms": 0.007},
    ),
}


@pytest.mark.parametrize("dialect", ["collect", "webforms"])
@pytest.mark.parametrize("name", AREAS)
def test_an_area_is_that_of_the_published_shape(name: str, dialect: str):
    place, published_km2, tolerance = AREAS[name]
    measured = _measured("area", place, dialect, "geoshape") / KM**2
    assert measured == pytest.approx(published_km2, rel=tolerance[dialect])
    backwards = ";".join(reversed(place.split(";")))
    assert _measured("area", backwards, dialect, "geoshape") / KM**2 == pytest.approx(measured)


SQUARE = "2 10 0 0;2 11 0 0;3 11 0 0;3 10 0 0;2 10 0 0"


def _shape(kind: str, more: str = "") -> str:
    return xform(
        "<a/><b/><c/><d/>",
        f'<bind nodeset="/data/a" type="{kind}"/><bind nodeset="/data/d" type="geopoint"/>'
        '<bind nodeset="/data/b" calculate="area(/data/a)"/>'
        '<bind nodeset="/data/c" calculate="geofence(/data/d, /data/a)"/>' + more,
        ASKED + '<input ref="/data/d"/>',
    )


CASES = {
    "JavaRosa's own word on a square degree": Case(
        xform("<a>0 0 0 0;0 1 0 0;1 1 0 0;1 0 0 0;0 0 0 0</a><b/>", """
            <bind nodeset="/data/b" calculate="area(/data/a)"/>"""),
        (("init", {"/data/b": "1.2390941584836643E10"}),),
    ),
    "a shape is stored with four figures of each corner": Case(
        _shape("geoshape"),
        (
            ("init", {"/data/b": "0"}),
            ("/data/a = 2 10;2 11;3 11;2 10", {"/data/a": (
                "2.0 10.0 0.0 0.0; 2.0 11.0 0.0 0.0; 3.0 11.0 0.0 0.0; 2.0 10.0 0.0 0.0"
            )}),
            ("/data/a = x y;2 11", {"/data/a": "", "/data/b": "0"}),
        ),
    ),
    "fewer than three corners enclose nothing": Case(
        _shape("geotrace"),
        (
            ("init", {"/data/b": "0"}),
            ("/data/a = 2 10 0 0", {"/data/b": "0"}),
            ("/data/a = 2 10 0 0;2 11 0 0", {"/data/b": "0"}),
            ("/data/a =", {"/data/b": "0"}),
        ),
    ),
    "a semicolon at the end is no corner": Case(
        _shape("geotrace"),
        (
            ("init", {}),
            ("/data/a = 2 10 0 0;2 11 0 0;3 11 0 0;", {"/data/a": (
                "2.0 10.0 0.0 0.0; 2.0 11.0 0.0 0.0; 3.0 11.0 0.0 0.0"
            )}),
        ),
    ),
    "a place inside a fence, outside it, and none": Case(
        _shape("geoshape"),
        (
            ("init", {"/data/c": "0"}),
            (f"/data/a = {SQUARE}", {"/data/c": "0"}),
            ("/data/d = 2.5 10.5 0 0", {"/data/c": "1"}),
            ("/data/d = 3.5 10.5 0 0", {"/data/c": "0"}),
            ("/data/d = 2.5 11.5 0 0", {"/data/c": "0"}),
            ("/data/d =", {"/data/c": "0"}),
        ),
        says="https://docs.getodk.org/form-operators-functions/#geography",
    ),
    "a fence that is not closed is one in Collect": Case(
        _shape("geotrace"),
        (
            ("init", {}),
            ("/data/d = 2.5 10.6 0 0", {}),
            ("/data/a = 2 10 0 0;2 11 0 0;3 11 0 0", {"/data/c": "1"}),
        ),
    ),
    "and none in a browser": Case(
        _shape("geotrace"),
        (
            ("init", {}),
            ("/data/d = 2.5 10.6 0 0", {}),
            ("/data/a = 2 10 0 0;2 11 0 0;3 11 0 0", {"/data/c": "false"}),
        ),
        dialect="webforms",
    ),
    "in a browser a line does not end where it begins": Case(
        _shape("geotrace"),
        (
            ("init", {}),
            ("/data/a = 2 10;2 11;2 10", {"/data/a": ""}),
            ("/data/a = 2 10;2 11", {"/data/a": "2.0 10.0;2.0 11.0"}),
            ("/data/a = 2 10;;2 11", {"/data/a": ""}),
            ("/data/a = 2 10;0 0;2 11", {"/data/a": ""}),
        ),
        dialect="webforms",
    ),
    "in a browser a shape does": Case(
        _shape("geoshape"),
        (
            ("init", {}),
            ("/data/a = 2 10;2 11;3 11", {"/data/a": ""}),
            ("/data/a = 2 10;2 11;3 11;2 10;", {"/data/a": "2.0 10.0;2.0 11.0;3.0 11.0;2.0 10.0"}),
        ),
        dialect="webforms",
    ),
    "the place 0 0 is none": Case(
        _shape("geoshape"),
        (("init", {}), ("/data/d = 0 0 0 0", {"/data/d": ""}), ("/data/d = 0 1 0 0", {"/data/d": "0.0 1.0 0.0 0.0"})),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_place_is_as_its_engine_has_it(name: str):
    assert ours(name, CASES[name]) == []


@pytest.mark.parametrize(
    ("line", "crosses"),
    [
        ("0 0;1 1;0 1;1 0", "1"),
        ("0 0;0 1;1 1;1 0;0 0", "0"),
        ("0 0;0 1;1 1", "0"),
        ("0 0;0 2;0 1", "0"),
        ("", "0"),
        ("5 5", "0"),
    ],
)
def test_a_line_that_crosses_itself_is_known(line: str, crosses: str):
    """https://docs.getodk.org/form-operators-functions/#intersects; Collect adds it to JavaRosa."""
    model = '<bind nodeset="/data/b" calculate="intersects(/data/a)"/>'
    case = Case(xform(f"<a>{line}</a><b/>", model, ASKED), (("init", {"/data/b": crosses}),))
    assert ours("line", case) == []
