"""Expressions are read as XPath 1.0 says, written back the same, and refused with a place."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forms.language import BadExpression, parse, written
from forms.language.syntax import (
    LENGTH_MAX,
    Binary,
    Call,
    Expr,
    Filter,
    Literal,
    Negative,
    Number,
    Path,
    Step,
)

names = st.sampled_from(["a", "member", "and", "or", "div", "mod", "x-y", "n.1", "jr:text", "été"])
literals = st.one_of(
    st.text(alphabet="ab '«é\n", max_size=6).map(Literal),
    st.floats(0, 1e9, allow_nan=False).map(Number),
)
OPERATORS = ["=", "!=", "<", "<=", ">", ">=", "+", "-", "*", "div", "mod", "and", "or"]


def _larger(smaller: st.SearchStrategy[Expr]) -> st.SearchStrategy[Expr]:
    predicates = st.lists(smaller, max_size=1).map(tuple)
    steps = st.lists(
        st.builds(Step, st.sampled_from(["child", "attribute", "parent"]), names, predicates),
        min_size=1,
        max_size=3,
    ).map(tuple)
    calls = st.builds(
        Call,
        st.sampled_from(["concat", "jr:itext", "if"]),
        st.lists(smaller, max_size=3).map(tuple),
    )
    return st.one_of(
        calls,
        st.builds(Path, st.sampled_from(["", "/"]), steps),
        st.builds(Path, calls, steps),
        st.builds(Filter, calls, st.lists(smaller, min_size=1, max_size=2).map(tuple)),
        st.builds(Negative, smaller),
        st.builds(Binary, st.sampled_from(OPERATORS), smaller, smaller),
    )


expressions: st.SearchStrategy[Expr] = st.recursive(literals, _larger, max_leaves=8)


@settings(max_examples=150, deadline=None)
@given(expressions)
def test_what_is_written_reads_as_the_same_expression(expression: Expr) -> None:
    assert parse(written(expression)) == expression


def _fault_in(text: str) -> int | None:
    try:
        parse(text)
    except BadExpression as fault:
        return fault.position
    return None


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet="ab1.'\"/[]()@*+-=<>|,$ \n:{}é", max_size=30))
def test_any_text_is_read_or_refused_with_a_place_in_it(text: str) -> None:
    place = _fault_in(text)
    assert place is None or 0 <= place <= len(text)


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("1 - 2 - 3", "((1 - 2) - 3)"),
        ("1 + 2 * 3", "(1 + (2 * 3))"),
        ("-1 + 2", "(-(1) + 2)"),
        ("a or b and c = d", "(child::a or (child::b and (child::c = child::d)))"),
        ("../* * 2", "(parent::node()/child::* * 2)"),
        ("div div div", "(child::div div child::div)"),
        ("10 div-4", "(10 div -(4))"),
        ("1div2", "(1 div 2)"),
        ("//x", "/descendant-or-self::node()/child::x"),
        ("instance('a')/root/item[name = 'b']/label", None),
        ("a-b", "child::a-b"),
        ("a -b", "(child::a - child::b)"),
    ],
)
def test_operators_bind_as_xpath_has_it(text: str, tree: str | None) -> None:
    read = parse(text)
    if tree is not None:
        assert written(read) == tree
    assert parse(written(read)) == read


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1 +",
        "(1",
        "a[",
        "a[1",
        "'open",
        "1 2",
        "a//",
        "f(1,)",
        "${name}",
        "a::b",
        "1 And 1",
        "]",
    ],
)
def test_what_is_no_expression_is_refused(text: str) -> None:
    with pytest.raises(BadExpression):
        parse(text)


def test_the_refusal_names_the_place_and_the_reason() -> None:
    with pytest.raises(BadExpression, match="at character 5 near '1 \\+ '") as caught:
        parse("1 + ")
    assert caught.value.position == 4


def test_an_expression_nested_beyond_reason_is_refused_and_not_run_out_of_stack() -> None:
    for text in ("(" * 5000 + "1" + ")" * 5000, "-" * 5000 + "1", "a[" * 3000 + "1" + "]" * 3000):
        with pytest.raises(BadExpression, match="nested deeper"):
            parse(text)


def test_an_expression_too_long_is_refused_before_it_is_read() -> None:
    with pytest.raises(BadExpression, match="longer than"):
        parse("1" * (LENGTH_MAX + 1))
