"""Expressions written to do harm end in an error or an answer, within a budget that is counted."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forms.language import BadExpression, TooCostly
from forms.language import core as running
from forms.markup import BadMarkup
from forms.tree import read_xml
from tests.forms.language.world import World

MANY = "<root>" + "<item><a>1</a></item>" * 400 + "</root>"


def test_a_path_that_multiplies_itself_ends_when_its_steps_are_spent() -> None:
    world = World(lists={"x": MANY})
    text = "count(instance('x')/root/item[count(../item[count(../item[a > 0]) > 0]) > 0])"
    with pytest.raises(TooCostly, match="steps"):
        world.value(text)


def test_axes_that_multiply_each_other_end_too() -> None:
    world = World(lists={"x": MANY})
    text = "count(instance('x')//*[count(../..//*[count(../..//*) > 0]) > 0])"
    with pytest.raises(TooCostly):
        world.value(text, dialect="webforms")


def test_the_budget_is_counted_for_each_run_anew() -> None:
    world = World(lists={"x": MANY})
    told = world.compile("count(instance('x')/root/item[count(../item) > 0])")
    frames = [told.value(world.root, world) for _ in range(3)]
    assert frames == [400.0] * 3
    assert running.STEPS_MAX >= 400 * 400


def test_a_pattern_that_would_never_end_elsewhere_ends_here() -> None:
    world = World()
    assert world.value("regex('" + "a" * 5000 + "!', '(a+)+')") is False
    assert world.value("regex('" + "a" * 5000 + "', '(a|a)*(a|aa)+b?')") is True


def test_a_pattern_that_cannot_be_bounded_is_refused_with_its_reason() -> None:
    for pattern in (r"(a)\1", "(?=a)b", "((((a{1000}){1000}){1000}){1000}", "("):
        with pytest.raises(BadExpression, match="the pattern cannot be used"):
            World().value(f"regex('a', '{pattern}')")


def test_a_text_cannot_be_doubled_without_end() -> None:
    world = World(f"<data><long>{'x' * 600_000}</long></data>")
    with pytest.raises(TooCostly, match="a text of more than"):
        world.value("concat(/data/long, /data/long)")


def test_a_trace_of_many_points_is_not_compared_with_itself_for_ever() -> None:
    trace = ";".join(f"{n % 80} {n % 170}" for n in range(8000))
    with pytest.raises(TooCostly):
        World(f"<data><t>{trace}</t></data>").value("intersects(/data/t)")


def test_a_document_with_entities_or_a_type_is_refused() -> None:
    bomb = '<!DOCTYPE a [<!ENTITY x "xxxxxxxxxx"><!ENTITY y "&x;&x;&x;&x;&x;&x;">]><a>&y;&y;&y;</a>'
    with pytest.raises(BadMarkup):
        read_xml(bomb.encode())
    with pytest.raises(BadMarkup):
        read_xml(("<a>" * 5000 + "</a>" * 5000).encode())


@settings(max_examples=120, deadline=None)
@given(
    st.recursive(
        st.sampled_from(
            ["1", "'a'", ".", "..", "/data/a", "now()", "//a", "instance('x')/root/item"]
        ),
        lambda inner: st.one_of(
            st.builds("{}[{}]".format, inner, inner),
            st.builds("({} = {})".format, inner, inner),
            st.builds("count({})".format, inner),
            st.builds("concat({}, {})".format, inner, inner),
            st.builds("sum({})".format, inner),
            st.builds("date({})".format, inner),
            st.builds("substr({}, {})".format, inner, inner),
            st.builds("randomize({}, {})".format, inner, inner),
            st.builds("{}/*".format, inner),
        ),
        max_leaves=8,
    ),
    st.sampled_from(["collect", "webforms"]),
)
def test_whatever_is_put_together_comes_to_a_value_or_to_one_of_our_errors(
    text: str, dialect: str
) -> None:
    world = World("<data><a>1</a><a>two</a><b><a>3</a></b></data>", lists={"x": MANY})
    try:
        value = world.value(text, dialect=dialect)
    except (BadExpression, TooCostly):
        return
    assert isinstance(value, (str, float, bool, list))
