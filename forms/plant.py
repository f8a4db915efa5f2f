"""Saved XML and submissions, planted again as nodes of their form."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING

from forms.instance import Cell, everything, grow, insert, ref_of, remove
from forms.markup import XFORMS, kids, local

if TYPE_CHECKING:
    from forms.form import Form
    from forms.markup import Element
    from forms.model import Definition, Seed


_BY_PLACE = attrgetter("defn.number")


class WrongForm(ValueError):
    """The saved entry or submission is not of this form; nothing was changed."""


class Strange:
    """What a submission has that its form has not, and what it lacks."""

    def __init__(self, form: Form) -> None:
        self.homes = form.homes
        self.found: list[tuple[str, str]] = []
        """(ref, why), why being one of "unknown", "twice", "foreign", "text" and "attribute"."""
        self.lacking: list[Cell] = []
        """What stands, blank, for the nodes that are left out."""
        self.unsaid: list[Cell] = []
        """What stands, blank, for the attributes that are left out."""


def of_form(form: Form, root: Element) -> None:
    """Raises WrongForm where the XML says that it is another form's; any version is its own."""
    found = {str(key).rpartition("}")[2]: str(text) for key, text in reversed(root.items())}
    said = found.get("id", form.id)
    if form.id and said != form.id:
        raise WrongForm(f"it is an entry of the form {said!r}; this is {form.id!r}")


def plant(
    form: Form,
    root: Element,
    strange: Strange | None = None,
    left_out: list[str] | None = None,
) -> Cell:
    """Saved XML as nodes of the form. What the form does not know is put into `strange`; where
    there is none it is left out, and named in `left_out`. Raises WrongForm.
    """
    if local(root) != form.root.name:
        raise WrongForm(f"its data is <{local(root)}>; the form's is <{form.root.name}>")
    made = _planted(form.root, root, None, strange, left_out)
    if strange is not None and str(root.tag).rpartition("}")[0] not in strange.homes:
        strange.found.append((ref_of(made), "foreign"))
    meta = next((kid for kid in kids(root) if local(kid) == "meta"), None)
    if (
        form.dialect.webforms
        and meta is not None
        and _space(meta) != (form.meta.namespace or XFORMS)
    ):
        # To Web Forms an element of another namespace is another one.
        for other in list(made.kids.get("meta", ())):
            remove(other)  # type: ignore[arg-type]
    if form.root.seed is not None:
        _completed(made, form.root.seed, strange)
        if form.dialect.webforms and strange is None:
            _only_written(made, root)
    return made


def _space(element: Element) -> str:
    space = str(element.tag).rpartition("}")[0].removeprefix("{")
    return XFORMS if space == "" else space


def _planted(
    definition: Definition,
    element: Element,
    parent: Cell | None,
    strange: Strange | None,
    left_out: list[str] | None,
) -> Cell:
    if not definition.children:
        made = Cell(definition, element.text or "", parent)
        if element.attrib:
            _labelled(made, element, strange)
        if len(element):
            for kid in kids(element):
                _unknown(f"{ref_of(made)}/{local(kid)}", "unknown", strange, left_out)
        return made
    made = Cell(definition, "", parent)
    if element.attrib:
        _labelled(made, element, strange)
    by_name = definition.by_name
    children, table = made.children, made.kids
    if strange is not None and element.text and not element.text.isspace():
        strange.found.append((ref_of(made), "text"))
    for kid in kids(element):
        # Nearly all are named without a namespace.
        inner = by_name.get(kid.tag) or by_name.get(local(kid))
        if inner is None:
            _unknown(f"{ref_of(made)}/{local(kid)}", "unknown", strange, left_out)
            continue
        name = inner.name
        siblings = table.get(name)
        if siblings is not None and inner.repeat is None and not inner.several:
            _unknown(f"{ref_of(made)}/{name}", "twice", strange, left_out)
            continue
        grown = _planted(inner, kid, made, strange, left_out)
        if strange is not None:
            # Else it was found by its local name alone.
            if kid.tag != name and str(kid.tag).rpartition("}")[0] not in strange.homes:
                strange.found.append((ref_of(grown), "foreign"))
            if kid.tail and not kid.tail.isspace():
                strange.found.append((ref_of(made), "text"))
        children.append(grown)
        if siblings is None:
            table[name] = [grown]
        else:
            siblings.append(grown)
    if strange is None:
        # Whoever wrote it, an entry goes in the order of the form.
        children.sort(key=_BY_PLACE)
    return made


def _unknown(ref: str, why: str, strange: Strange | None, left_out: list[str] | None) -> None:
    if strange is not None:
        strange.found.append((ref, why))
    elif left_out is not None:
        left_out.append(ref)


def _labelled(node: Cell, element: Element, strange: Strange | None) -> None:
    """The attributes that the form knows. Others are strange, save those that have a namespace or
    stand at the root: servers write there what is theirs, and nobody reads it.
    """
    known = node.defn.attributes
    for key, value in element.attrib.items():
        name = str(key)
        attribute = known.get(name.rpartition("}")[2])
        if attribute is not None:
            node.attrs[attribute.name] = Cell(attribute, str(value), node)
        elif strange is not None and node.parent is not None and not name.startswith("{"):
            strange.found.append((f"{ref_of(node)}/@{name}", "attribute"))


def _completed(node: Cell, seed: Seed, strange: Strange | None) -> None:
    """Nodes that a submission leaves out (they were not relevant) are there again: as the form
    begins, or blank, and noted as `strange`, where it is only to be judged.
    """
    definition = seed.definition
    lacking = None if strange is None else strange.lacking
    for attribute in definition.attributes.values():
        if attribute.name not in node.attrs:
            node.attrs[attribute.name] = made = Cell(attribute, "", node)
            if strange is not None:
                strange.unsaid.append(made)
    for below in seed.children:
        inner = below.definition
        if inner.repeat is not None:
            continue
        found = node.kids.get(inner.name)
        if not found:
            grown = grow(below, None, blank=lacking is not None)
            grown.parent = node
            insert(node, grown)
            if lacking is not None:
                lacking.append(grown)
            elif inner.relevant is not None:
                _hidden(grown)
        elif inner.children or inner.attributes:
            _completed(found[0], below, strange)  # type: ignore[arg-type]
    for inner in definition.children:
        if inner.repeat is not None and inner.template is not None:
            for one in node.kids.get(inner.name, ()):
                _completed(one, inner.template, strange)  # type: ignore[arg-type]


def _only_written(node: Cell, element: Element | None) -> None:
    """In Web Forms what is read back has the instances of repeats that are written, and no first
    ones from the form where a group around them was left out.
    """
    written = {local(kid): kid for kid in kids(element)} if element is not None else {}
    for kid in list(node.children):
        assert isinstance(kid, Cell)
        if kid.defn.repeat is not None and kid.name not in written:
            remove(kid)
        elif kid.children and kid.defn.repeat is None:
            _only_written(kid, written.get(kid.name))


def _hidden(node: Cell) -> None:
    """What was left out was not relevant, and is not until its own rule finds otherwise: once()
    in a rule that comes before that one sees no value there.
    """
    node.own_relevant = False
    for one in everything(node):
        one.relevant = False
