"""Functions about places on the earth: areas, distances, fences, crossings."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

from forms.language.core import Code
from forms.language.functions.table import function

if TYPE_CHECKING:
    from collections.abc import Callable

    from forms.language.compiler import Compiler
    from forms.language.core import Frame
    from forms.language.syntax import Expr
    from forms.tree import Node

    Where = tuple[str, ...] | None
    Point = tuple[float, float]

EARTH_RADIUS_M = 6_378_100.0
"""As JavaRosa has it."""
FIGURES_MAX = 4
"""Latitude, longitude, altitude, accuracy."""


def points(text: str) -> list[Point] | None:
    """(latitude, longitude) of a geopoint, geotrace or geoshape; None where it is none."""
    found = []
    for part in text.split(";"):
        if not part.strip():
            continue
        try:
            numbers = [float(one) for one in part.split()]
        except ValueError:
            return None
        if len(numbers) < 2 or abs(numbers[0]) > 90 or abs(numbers[1]) > 180:
            return None
        found.append((numbers[0], numbers[1]))
    return found


def marked(given: list[str]) -> list[Point] | None:
    """The places that area() and distance() are given, as JavaRosa reads them: one text is a trace
    or shape, several are a place each. A figure that is left out is 0, so a blank among several is
    the place 0 0, and no figure is too large. None where one of them is none.
    """
    parts = given[0].rstrip(";").split(";") if len(given) == 1 else given
    found = []
    for part in parts:
        try:
            numbers = [float(one) for one in part.split()]
        except ValueError:
            return None
        if len(numbers) > FIGURES_MAX:
            return None
        latitude, longitude, *_ = (*numbers, 0.0, 0.0)
        found.append((latitude, longitude))
    return found


def apart(one: Point, other: Point) -> float:
    """Metres along the sphere by the law of cosines, as both engines work it out."""
    lat1, lat2 = math.radians(one[0]), math.radians(other[0])
    across = math.radians(other[1]) - math.radians(one[1])
    cosine = math.sin(lat1) * math.sin(lat2) + math.cos(lat1) * math.cos(lat2) * math.cos(across)
    return EARTH_RADIUS_M * math.acos(max(-1.0, min(1.0, cosine)))


def length(line: list[Point]) -> float:
    return sum((apart(a, b) for a, b in pairwise(line)), 0.0)


def enclosed(shape: list[Point]) -> float:
    """Square metres inside, on the sphere; the shape need not be closed."""
    if len(shape) < 3:
        return 0.0
    total = 0.0
    for number, (lat1, lon1) in enumerate(shape):
        lat2, lon2 = shape[(number + 1) % len(shape)]
        total += math.radians(lon2 - lon1) * (
            2 + math.sin(math.radians(lat1)) + math.sin(math.radians(lat2))
        )
    return abs(total * EARTH_RADIUS_M * EARTH_RADIUS_M / 2)


def enclosed_flat(shape: list[Point]) -> float:
    """Square metres on a plane that touches the earth at the first point, as JavaRosa has it."""
    if len(shape) < 3:
        return 0.0
    metres_a_degree = 2 * EARTH_RADIUS_M * math.pi / 360.0
    latitude, longitude = shape[0]
    flat = [
        ((lat - latitude) * metres_a_degree, (lon - longitude) * metres_a_degree * cosine(lat))
        for lat, lon in shape[1:]
    ]
    return abs(sum((y1 * x2 - x1 * y2) / 2 for (y1, x1), (y2, x2) in pairwise(flat)))


def cosine(degrees: float) -> float:
    return math.cos(math.radians(degrees))


def inside(point: Point, shape: list[Point]) -> bool:
    """By how often a ray from the point crosses the border."""
    within = False
    for number, (lat1, lon1) in enumerate(shape):
        lat2, lon2 = shape[number - 1]
        if (lat1 > point[0]) != (lat2 > point[0]) and point[1] < (lon2 - lon1) * (
            point[0] - lat1
        ) / (lat2 - lat1) + lon1:
            within = not within
    return within


def _turn(a: Point, b: Point, c: Point) -> float:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


def _between(a: Point, b: Point, c: Point) -> bool:
    return min(a[0], b[0]) <= c[0] <= max(a[0], b[0]) and min(a[1], b[1]) <= c[1] <= max(a[1], b[1])


def cross(a: Point, b: Point, c: Point, d: Point) -> bool:
    """Whether the stretches a-b and c-d meet."""
    one, two, three, four = _turn(c, d, a), _turn(c, d, b), _turn(a, b, c), _turn(a, b, d)
    if (
        ((one > 0) != (two > 0))
        and ((three > 0) != (four > 0))
        and 0 not in {one, two, three, four}
    ):
        return True
    return (
        (one == 0 and _between(c, d, a))
        or (two == 0 and _between(c, d, b))
        or (three == 0 and _between(a, b, c))
        or (four == 0 and _between(a, b, d))
    )


def crosses_itself(line: list[Point]) -> bool:
    stretches = list(pairwise(line))
    closed = len(line) > 2 and line[0] == line[-1]
    for number, one in enumerate(stretches):
        for later in range(number + 2, len(stretches)):
            if closed and number == 0 and later == len(stretches) - 1:
                continue
            if cross(*one, *stretches[later]):
                return True
    return False


_POINTS = 16
"""So much more than other texts costs one that is read as points."""


def _texts(
    compiler: Compiler, arguments: tuple[Expr, ...], where: Where
) -> Callable[[Node, Frame], list[str]]:
    """The texts of all arguments: of every node of those that are nodes."""
    codes = [compiler.compile(one, where) for one in arguments]
    conversions = compiler.conversions

    def every(node: Node, frame: Frame) -> list[str]:
        found: list[str] = []
        for code in codes:
            value = code.run(node, frame)
            if isinstance(value, list):
                found.extend(one.string_value() for one in value)
            else:
                found.append(conversions.to_text(value, frame))
        for text in found:
            frame.read(text, times=_POINTS)
        return found

    return every


def _rounded(number: float) -> float:
    """The browser's engine gives two places."""
    return math.floor(number * 100 + 0.5) / 100


@function("area", "enclosed-area", least=1, most=None)
def _area(compiler: Compiler, arguments: tuple[Expr, ...], where: Where) -> Code:
    texts = _texts(compiler, arguments, where)
    java = compiler.conversions.java

    def measured(node: Node, frame: Frame) -> float:
        given = texts(node, frame)
        shape = marked(given) if java else points(";".join(given))
        if shape is None:
            if java:
                raise compiler.fail("area() was given what are no places on earth")
            return 0.0
        return enclosed_flat(shape) if java else _rounded(enclosed(shape))

    return Code("n", measured)


@function("distance", least=1, most=None)
def _distance(compiler: Compiler, arguments: tuple[Expr, ...], where: Where) -> Code:
    texts = _texts(compiler, arguments, where)
    java = compiler.conversions.java

    def measured(node: Node, frame: Frame) -> float:
        given = texts(node, frame)
        line = marked(given) if java else points(";".join(given))
        if line is not None and not java:
            several = len(arguments) > 1 and any(";" in one for one in given)
            # Several arguments are places, one each; what has fewer than two is no trace.
            line = None if several or len(line) < 2 else line
        if line is None:
            raise compiler.fail("distance() was given what are no places on earth")
        return length(line) if java else _rounded(length(line))

    return Code("n", measured)


@function("geofence", least=2, most=2)
def _geofence(compiler: Compiler, arguments: tuple[Expr, ...], where: Where) -> Code:
    """Whether the point lies inside the shape, which in a browser must end where it begins."""
    browser = not compiler.conversions.java
    codes = [compiler.compile(one, where) for one in arguments]
    texts = [compiler.conversions.string(one) for one in codes]
    if compiler.conversions.java and codes[1].constant:
        fence = points(texts[1](None, None))  # type: ignore[arg-type] # a constant asks neither
        if not fence or len(fence) < 3:
            raise compiler.fail("geofence() takes a place and a shape of at least 3 points")

    def fenced(node: Node, frame: Frame) -> bool:
        point, shape = (points(frame.read(text(node, frame), times=_POINTS)) for text in texts)
        if not point or not shape or (browser and shape[0] != shape[-1]):
            return False
        return inside(point[0], shape)

    return Code("b", fenced)


@function("intersects", least=1, most=1)
def _intersects(compiler: Compiler, arguments: tuple[Expr, ...], where: Where) -> Code:
    """Whether the trace or shape crosses itself."""
    text = compiler.conversions.string(compiler.compile(arguments[0], where))

    def crossed(node: Node, frame: Frame) -> bool:
        line = points(frame.read(text(node, frame), times=_POINTS))
        if line is None:
            return False
        frame.spend(len(line) * len(line) // 2)
        return crosses_itself(line)

    return Code("b", crossed)
