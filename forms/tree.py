"""XML as a tree that expressions walk: elements, attributes, texts, comments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from lxml import etree

from forms.markup import BYTES_MAX, BadMarkup

if TYPE_CHECKING:
    from collections.abc import Iterator

ELEMENT = "element"
ATTRIBUTE = "attribute"
TEXT = "text"
COMMENT = "comment"
INSTRUCTION = "instruction"
DOCUMENT = "document"
NAMESPACE = "namespace"
DECLARED = "declared namespaces"
"""Where `index` keeps what an element of a document declares: prefix -> uri."""
XML_NAMESPACE = "http://www.w3.org/XML/1998/namespace"


class Node:
    """One node. A leaf element of an instance holds its text itself; `kids` has its element
    children by local name, `children` all of them in document order.

    `relevant` takes in the groups above; `defn` belongs to whoever made the tree; `index` holds
    what has been looked up below a node that never changes.
    """

    __slots__ = (
        "attrs",
        "children",
        "defn",
        "index",
        "kids",
        "kind",
        "name",
        "ns",
        "parent",
        "prefix",
        "relevant",
        "text",
    )

    def __init__(
        self,
        kind: str,
        name: str = "",
        *,
        ns: str = "",
        prefix: str = "",
        parent: Node | None = None,
        text: str = "",
    ) -> None:
        self.kind = kind
        self.name = name
        self.ns = ns
        self.prefix = prefix
        self.parent = parent
        self.children: list[Node] = []
        self.kids: dict[str, list[Node]] = {}
        self.attrs: dict[str, Node] = {}
        self.text = text
        self.relevant = True
        self.defn: Any = None
        self.index: dict[Any, Any] | None = None

    def __repr__(self) -> str:
        return f"<{self.kind} {self.name}>"

    @property
    def position(self) -> int:
        """The place among the siblings of the same name, from 1."""
        if self.parent is None:
            return 1
        return self.parent.kids[self.name].index(self) + 1

    def append(self, kid: Node) -> None:
        kid.parent = self
        self.children.append(kid)
        if kid.kind == ELEMENT:
            self.kids.setdefault(kid.name, []).append(kid)

    def string_value(self) -> str:
        """XPath 1.0, section 5: the node's own text, or that of all texts below it."""
        if not self.children:
            return self.text
        if self.kind not in {ELEMENT, DOCUMENT}:
            return self.text
        return self.text + "".join(
            kid.string_value() for kid in self.children if kid.kind in {ELEMENT, TEXT}
        )

    def texts(self, name: str) -> list[str]:
        """What its element children of the name say, in document order."""
        return [kid.string_value() for kid in self.kids.get(name, ())]

    def top(self) -> Node:
        here = self
        while here.parent is not None:
            here = here.parent
        return here

    def below(self) -> Iterator[Node]:
        """All that is below, in document order, without attributes."""
        waiting = list(reversed(self.children))
        while waiting:
            node = waiting.pop()
            yield node
            if node.children:
                waiting.extend(reversed(node.children))


class _None(dict[str, Any]):
    """No kids and no attributes, shared by all nodes below which nothing is ever put."""

    __slots__ = ()

    def __setitem__(self, name: str, _value: object) -> None:
        raise TypeError(f"{name} is put below a node that has nothing below it")

    setdefault = update = __setitem__  # type: ignore[assignment]


NO_KIDS: dict[str, Any] = _None()
NO_CHILDREN: list[Node] = cast("list[Node]", ())
"""As NO_KIDS; a tuple, so that nobody adds to it."""


def _parser(*, keep: bool) -> etree.XMLParser:
    return etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        huge_tree=False,
        remove_comments=not keep,
        remove_pis=not keep,
    )


def _parsed(data: bytes, *, keep: bool) -> Any:
    if len(data) > BYTES_MAX:
        raise BadMarkup(f"the XML has {len(data):,} bytes; {BYTES_MAX:,} is the most")
    try:
        root = etree.fromstring(data, _parser(keep=keep))
    except (etree.XMLSyntaxError, ValueError) as fault:
        raise BadMarkup(f"the XML is not well-formed: {fault}") from None
    about: Any = root.getroottree().docinfo
    if about.doctype:
        raise BadMarkup("the XML declares a document type, which none of ours needs")
    return root


def _element(source: Any, parent: Node | None, *, keep: bool) -> Node:
    name = etree.QName(source)
    made = Node(
        ELEMENT,
        name.localname,
        ns=name.namespace or "",
        prefix=source.prefix or "",
        parent=parent,
    )
    for key, value in source.attrib.items():
        about = etree.QName(key)
        label = (
            about.localname if not about.namespace else f"{{{about.namespace}}}{about.localname}"
        )
        made.attrs[label] = Node(
            ATTRIBUTE,
            about.localname,
            ns=about.namespace or "",
            prefix=_prefix(source, about.namespace),
            parent=made,
            text=value,
        )
    if keep:
        above = source.getparent()
        known = {} if above is None else above.nsmap
        declared = {prefix: uri for prefix, uri in source.nsmap.items() if known.get(prefix) != uri}
        if declared:
            made.index = {DECLARED: {prefix or "": uri for prefix, uri in declared.items()}}
    leaf = len(source) == 0
    if not keep and leaf:
        made.text = source.text or ""
        return made
    _text(source.text, made, keep=keep)
    for below in source:
        if isinstance(below.tag, str):
            made.append(_element(below, made, keep=keep))
        elif keep:
            kind = COMMENT if below.tag is etree.Comment else INSTRUCTION
            label = below.target if kind == INSTRUCTION else ""
            made.append(Node(kind, label, text=below.text or ""))
        _text(below.tail, made, keep=keep)
    return made


def _prefix(source: Any, uri: str | None) -> str:
    """The prefix that stands for the namespace where the element is."""
    if uri is None:
        return ""
    if uri == XML_NAMESPACE:
        return "xml"
    return next((prefix for prefix, one in source.nsmap.items() if prefix and one == uri), "")


def _text(text: str | None, parent: Node, *, keep: bool) -> None:
    if text and (keep or text.strip()):
        parent.append(Node(TEXT, text=text))


def read_xml(data: bytes) -> Node:
    """The root element, without comments and without the white space between elements.

    Raises BadMarkup; nothing is expanded or fetched.
    """
    return _element(_parsed(data, keep=False), None, keep=False)


def read_document(data: bytes) -> Node:
    """The document, with every text, comment and instruction, as plain XPath 1.0 sees it."""
    root = _parsed(data, keep=True)
    document = Node(DOCUMENT)
    before = []
    sibling = root.getprevious()
    while sibling is not None:
        before.append(sibling)
        sibling = sibling.getprevious()
    after = []
    sibling = root.getnext()
    while sibling is not None:
        after.append(sibling)
        sibling = sibling.getnext()
    for one in [*reversed(before), root, *after]:
        if isinstance(one.tag, str):
            document.append(_element(one, document, keep=True))
            for node in document.children[-1].below():
                node.text = node.text if node.kind != ELEMENT else ""
        else:
            kind = COMMENT if one.tag is etree.Comment else INSTRUCTION
            label = one.target if kind == INSTRUCTION else ""
            document.append(Node(kind, label, text=one.text or ""))
    return document
