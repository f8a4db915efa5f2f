"""XML that is refused before anything is made of it."""

from __future__ import annotations

import pytest

from forms.markup import ATTRIBUTES_MAX, BadMarkup, parse


@pytest.mark.parametrize("before", [0, 1, 1_234, 9_990, 9_999, 10_000, 19_999, 20_001])
@pytest.mark.parametrize("after", [0, 5, 9_999])
def test_a_tag_of_too_many_attributes_is_found_wherever_it_stands(before: int, after: int) -> None:
    """libxml2 would compare each with all before it."""
    attributes = "".join(f' {chr(97 + n % 26)}{n // 26}=""' for n in range(ATTRIBUTES_MAX + 1))
    xml = f"<data>{' ' * before}<a{attributes}/>{' ' * after}</data>".encode()
    with pytest.raises(BadMarkup, match="attributes"):
        parse(xml)


def test_the_shortest_tag_of_too_many_attributes_is_long_enough_to_be_found() -> None:
    names = [f"{chr(97 + n % 26)}{'' if n < 26 else n // 26}" for n in range(ATTRIBUTES_MAX + 1)]
    xml = f"<a {' '.join(name + '=' + repr('') for name in names)}/>".encode()
    assert len(xml) > 20_000
    with pytest.raises(BadMarkup, match="attributes"):
        parse(xml)


@pytest.mark.parametrize(("elements", "refused"), [(100, False), (101, True)])
def test_elements_are_counted_however_short_they_are(elements: int, refused: bool) -> None:
    xml = f"<a>{'<a/>' * (elements - 1)}</a>".encode()
    if refused:
        with pytest.raises(BadMarkup, match="more than 100 elements"):
            parse(xml, elements_max=100)
    else:
        assert len(parse(xml, elements_max=100)) == elements - 1
