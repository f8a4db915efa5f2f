"""What was compiled at one place and is used at another means there what it says."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from forms.language import compile_expression
from tests.forms.language.world import World

FARM = """<data><district>d1</district><farm><size>3</size><field><crop>rice</crop><yield>2</yield>
</field><field><crop>maize</crop><yield/></field></farm><farm><size>12</size><field><crop>tea</crop>
<yield>7</yield></field></farm><house><rooms>2</rooms><owner>Ana</owner></house><total/></data>"""
CROPS = (
    "<root>"
    + "".join(
        f"<item><name>{name}</name><district>d{number % 2}</district></item>"
        for number, name in enumerate(("rice", "maize", "tea", "beans"))
    )
    + "</root>"
)
PLACES: tuple[tuple[str | int, ...], ...] = (
    ("district",),
    ("total",),
    ("house", "rooms"),
    ("house", "owner"),
    ("farm", 0, "size"),
    ("farm", 1, "size"),
    ("farm", 0, "field", 0, "crop"),
    ("farm", 0, "field", 1, "yield"),
    ("farm", 1, "field", 0, "yield"),
)
PATHS = st.sampled_from(
    (
        ".",
        "..",
        "../size",
        "../yield",
        "../../size",
        "../../../total",
        "../../field/yield",
        "../owner",
        "../../../../../x",
        "./rooms",
        "district",
        "/data",
        "/data/district",
        "/data/total",
        "/data/house/rooms",
        "/data/house",
        "/data/farm",
        "/data/farm/size",
        "/data/farm/field/yield",
        "/data/nothing",
        "/other/district",
        "/data/farm[1]/size",
        "/data/farm/field[./yield > 2]/crop",
        "current()/../size",
        "instance('crops')/root/item[district = /data/district]/name",
        "instance('crops')/root/item[name = current()]/name",
        "instance('crops')/root/item[./district = 'd1' and name != 'rice']/name",
    )
)
VALUES = st.one_of(
    PATHS,
    PATHS.map(lambda path: f"count({path})"),
    PATHS.map(lambda path: f"sum({path})"),
    PATHS.map(lambda path: f"position({path})"),
    st.sampled_from(("1", "'d1'", "true()", "position(..)", "today()", "string-length(.)")),
)
EXPRESSIONS = st.one_of(
    VALUES,
    st.tuples(VALUES, st.sampled_from(("=", "!=", "<", ">=", "+", "and", "or")), VALUES).map(
        " ".join
    ),
    st.tuples(VALUES, VALUES).map(lambda two: f"if({two[0]} = 2, {two[1]}, 'no')"),
    st.tuples(VALUES, VALUES).map(lambda two: f"coalesce({two[0]}, {two[1]})"),
)


@settings(max_examples=400, deadline=None)
@given(
    st.lists(EXPRESSIONS, min_size=1, max_size=4),
    st.permutations(PLACES),
    st.sampled_from(("collect", "webforms")),
)
def test_an_expression_means_the_same_whether_or_not_it_was_met_elsewhere_before(
    texts: list[str], places: list[tuple[str | int, ...]], dialect: str
) -> None:
    world = World(FARM, lists={"crops": CROPS}, types={"size": "int", "yield": "decimal"})
    shared = replace(world.scope(dialect), several=frozenset(world.repeats))
    for steps in places:
        node = world.node(*steps)
        at = ("data", *(step for step in steps if isinstance(step, str)))
        for text in texts:
            outcomes = []
            for scope in (shared, world.scope(dialect)):
                try:
                    told = compile_expression(text, at=at, scope=scope)
                except ValueError as fault:
                    outcomes.append((str(fault),))
                    continue
                outcomes.append(
                    (
                        told.reads,
                        told.crosses,
                        told.kind,
                        told.functions,
                        told.instances,
                        told.volatile,
                        told.string(node, world),
                        str(told.number(node, world)),
                        told.boolean(node, world),
                        told.nodes(node, world),
                    )
                )
            assert outcomes[0] == outcomes[1], (text, at)


def test_equal_texts_are_compiled_once() -> None:
    world = World(FARM)
    scope = replace(world.scope(), several=frozenset(world.repeats))
    one = compile_expression(". > 0", at=("data", "house", "rooms"), scope=scope)
    other = compile_expression(". > 0", at=("data", "farm", "size"), scope=scope)
    assert one.program is other.program
    assert other.reads == {("data", "farm", "size")}


def test_a_path_into_a_repeat_is_compiled_at_each_place() -> None:
    world = World(FARM)
    scope = replace(world.scope(), several=frozenset(world.repeats))
    for at in (("data", "farm", "size"), ("data", "total")):
        compile_expression("/data/farm/size", at=at, scope=scope)
    assert not scope.programs
