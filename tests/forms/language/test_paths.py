"""Which nodes a path reaches, and what an expression says of itself: its reads, its crossings."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from forms.held import Truth
from tests.forms.language.world import World

HOUSE = """<data><district>d1</district><member><age>4</age><name>Ana</name></member>
<member><age>31</age><name>Ben</name></member><member><age>67</age><name/></member>
<total/></data>"""
LIST = (
    "<root>"
    + "".join(
        f"<item><name>v{n}</name><district>d{n % 7}</district><label>V {n}</label></item>"
        for n in range(200)
    )
    + "</root>"
)


def house() -> World:
    return World(HOUSE, lists={"villages": LIST}, types={"age": "int"})


def test_an_absolute_path_in_a_repeat_means_the_own_instance() -> None:
    world = house()
    for place, name in enumerate(["Ana", "Ben", ""]):
        assert world.string("/data/member/name", world.node("member", place, "age")) == name


def test_the_last_step_and_aggregates_mean_all_instances() -> None:
    world = house()
    inside = world.node("member", 1, "age")
    assert world.value("count(/data/member)", inside, "webforms") == 3
    # In Collect the path of the repeat means the own instance, but for those outside.
    assert world.value("count(/data/member)", inside) == 1
    assert world.value("count(../../member)", inside) == 3
    assert world.value("count(/data/member)", world.node("total")) == 3
    assert world.value("sum(/data/member/age)", world.node("total")) == 102
    assert world.value("sum(../../member/age)", world.node("member", 1, "age")) == 102


def test_a_number_asks_for_a_place_but_in_collect_where_only_what_is_true_holds() -> None:
    world = house()
    total = world.node("total")
    assert world.value("string(/data/member[2]/age)", total, "webforms") == "31"
    assert world.value("string(/data/member[2]/age)", total) == ""
    assert world.value("string(/data/member[position() = 2]/age)", total) == "31"


def test_what_is_not_relevant_reads_as_blank_and_drops_out_of_sets() -> None:
    world = house()
    gone = world.node("member", 1)
    gone.relevant = False
    for node in gone.below():
        node.relevant = False
    assert world.value("count(/data/member)", world.node("total")) == 2
    assert world.value("sum(/data/member/age)", world.node("total")) == 71
    assert world.string("../name", world.node("member", 1, "age")) == ""


def test_an_expression_says_what_it_reads() -> None:
    world = house()
    told = world.compile("../name != '' and /data/district = 'd1'", world.node("member", 0, "age"))
    assert told.reads == {("data", "member", "name"), ("data", "district")}
    assert not told.crosses
    assert not told.volatile


def test_aggregates_and_places_cross_instances() -> None:
    world = house()
    here = world.node("member", 0, "age")
    assert world.compile("sum(/data/member/age)", world.node("total")).crosses
    assert world.compile("position(..)", here).crosses
    assert world.compile("/data/member[1]/age", here).crosses
    text = "indexed-repeat(/data/member/age, /data/member, 2)"
    assert world.compile(text, world.node("total")).crosses
    assert world.value(text, world.node("total")) in {"31", 31.0}
    assert world.value("position(..)", world.node("member", 2, "age")) == 3


def test_what_is_read_inside_a_predicate_is_read_too() -> None:
    world = house()
    told = world.compile(
        "instance('villages')/root/item[district = /data/district]/label", world.node("total")
    )
    assert ("data", "district") in told.reads
    assert told.instances == {"villages"}


@settings(max_examples=60, deadline=None)
@given(st.integers(-2, 9), st.integers(-2, 220))
def test_the_index_finds_what_a_look_at_every_row_finds(district: int, village: int) -> None:
    world = house()
    here = world.node("total")
    root = "instance('villages')/root/item"
    for quick, slow in (
        (f"[district = 'd{district}']", f"[contains(district, 'd{district}') and true()]"),
        (
            f"[district = 'd{district}' and name = 'v{village}']",
            f"[concat(name, ' ', district) = 'v{village} d{district}' and true()]",
        ),
        (f"[name = 'v{village}'][district = 'd{district}']", None),
    ):
        found = world.nodes(root + quick, here)
        if slow is not None:
            assert found == world.nodes(root + slow, here)
        else:
            assert found == world.nodes(
                root + f"[district = 'd{district}' and name = 'v{village}']", here
            )


def test_a_blank_number_finds_no_rows_not_even_those_without_a_number() -> None:
    world = house()
    text = "count(instance('villages')/root/item[district = number(/data/member[3]/name)])"
    assert world.value(text, world.node("total")) == 0


def test_volatile_functions_say_so() -> None:
    world = house()
    for text in ("now()", "concat(uuid(), 'a')", "once(random())", "today() > '2026-01-01'"):
        assert world.compile(text).volatile


def test_a_reference_to_where_nothing_is_reads_as_blank() -> None:
    world = house()
    assert world.string("/data/nowhere", world.node("total")) == ""
    assert world.value("count(/data/nowhere/at/all)", world.node("total")) == 0
    assert world.string("pulldata('villages', 'label', 'name', 'v7')", world.node("total")) == "V 7"
    assert world.string("pulldata('villages', 'label', 'name', 'no')", world.node("total")) == ""


def test_text_where_a_number_belongs_breaks_no_expression() -> None:
    world = World(
        "<data><age>abc</age><due>1e400</due></data>", types={"age": "int", "due": "decimal"}
    )
    for text in ("/data/age > 3", "/data/age and true()", "/data/due = 3", "not(/data/age)"):
        assert isinstance(world.value(text), bool)


def test_a_calculated_truth_reads_as_one_in_collect_whatever_its_type() -> None:
    world = World("<data><grown>1</grown><q/></data>")
    world.node("grown").text = Truth("1")
    assert world.string("concat('is ', /data/grown)", world.node("q")) == "is true"
    assert world.value("/data/grown = 'true'", world.node("q")) is True
