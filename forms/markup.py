"""XML from outside: no document types, no entities, no network, no bottomless nesting."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from lxml import etree

if TYPE_CHECKING:
    from collections.abc import Iterator

Element = etree._Element  # noqa: SLF001 - the name under which lxml's types know an element

XFORMS = "http://www.w3.org/2002/xforms"
"""The namespace of a form's own nodes, which a submission may leave out."""
BLANKS = "".join(map(chr, range(33)))
"""What Java takes for blank at the ends of a text."""
BYTES_MAX = 64 * 2**20
ELEMENTS_MAX = 1_000_000
ATTRIBUTES_MAX = 5_000
_LONG = 20_000
"""How many bytes a tag has at least that has too many attributes: `a=""` and a blank for each."""
_QUOTED = re.compile(rb"\"[^\"]*\"|'[^']*'")
_LONG_TAG = re.compile(rb"<[^<]{%d,}" % _LONG)
_LEAST = len(b"<a/>")
"""How few bytes an element can have."""


# One for all, because to make one takes a fifth of the time that a small form takes to be read by
# it. It keeps nothing of what it has read, and lets one thread in at a time.
_PARSER = etree.XMLParser(
    resolve_entities=False,
    no_network=True,
    load_dtd=False,
    dtd_validation=False,
    # Without this, libxml2 itself refuses what nests deeper than 256 elements.
    huge_tree=False,
    remove_comments=True,
    remove_pis=True,
)


class BadMarkup(ValueError):
    """The bytes are not XML that can be trusted; the text says why and where."""


def parse(
    data: bytes,
    *,
    what: str = "the XML",
    bytes_max: int = BYTES_MAX,
    elements_max: int = ELEMENTS_MAX,
) -> Element:
    """The root element. Raises BadMarkup, having expanded and fetched nothing."""
    if len(data) > bytes_max:
        raise BadMarkup(f"{what} has {len(data):,} bytes; {bytes_max:,} is the most")
    # Counted before anything is made of it: each element takes a thousand bytes once it is a node.
    if len(data) > _LEAST * elements_max and data.count(b"<") - data.count(b"</") > elements_max:
        raise BadMarkup(f"{what} has more than {elements_max:,} elements")
    for tag in _LONG_TAG.finditer(data) if _may_be_long(data) else ():
        # libxml2 compares each attribute of an element with all before it. What is in quotation
        # marks, or behind the tag, is no attribute, but an expression or an answer.
        if _QUOTED.sub(b"", tag[0]).partition(b">")[0].count(b"=") > ATTRIBUTES_MAX:
            raise BadMarkup(f"{what} has an element of more than {ATTRIBUTES_MAX:,} attributes")
    try:
        root = etree.fromstring(data, _PARSER)
    except (etree.XMLSyntaxError, ValueError) as fault:
        raise BadMarkup(f"{what} is not well-formed: {fault}") from None
    if root is None:
        raise BadMarkup(f"{what} holds no element")
    if root.getroottree().docinfo.doctype:  # type: ignore[union-attr] # a parsed tree has one
        raise BadMarkup(f"{what} declares a document type, which no form needs")
    return root


def _may_be_long(data: bytes) -> bool:
    """Whether some tag may be long: one is where a "<" is followed by as many bytes that are none,
    so that there is half as long a stretch, counted from the beginning, without any.
    """
    half = _LONG // 2
    starts = range(0, len(data) - half + 1, half)
    return any(data.find(b"<", start, start + half) < 0 for start in starts)


def local(element: Element) -> str:
    """The element's name without its namespace."""
    return str(element.tag).rpartition("}")[2]


def kids(element: Element) -> Iterator[Element]:
    """The child elements, without what is no element."""
    return (kid for kid in element if isinstance(kid.tag, str))


def text(element: Element) -> str:
    """All text inside, in document order."""
    return "".join(map(str, element.itertext()))
