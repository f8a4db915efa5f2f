"""Saved XML and submissions, planted again as nodes of their form."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forms.instance import Cell, grow, insert, ref_of, remove
from forms.markup import XFORMS, kids, local

if TYPE_CHECKING:
    from forms.form import Form
    from forms.markup import Element
    from forms.model import Definition, Seed


class WrongForm(ValueError):
    """The saved entry or submission is not of this form; nothing was changed."""


def plant(form: Form, root: Element, strange: list[tuple[str, str]] | None = None) -> Cell:
    """Saved XML as nodes of the form. What the form does not know is put into `strange`
    (ref, why), or left out where there is no such list. Raises WrongForm.
    """
    if local(root) != form.root.name:
        raise WrongForm(f"its data is <{local(root)}>; the form's is <{form.root.name}>")
    made = _planted(form.root, root, None, strange)
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
        _completed(made, form.root.seed, blank=strange is not None)
    return made


def _space(element: Element) -> str:
    space = str(element.tag).rpartition("}")[0].removeprefix("{")
    return XFORMS if space == "" else space


def _planted(
    definition: Definition,
    element: Element,
    parent: Cell | None,
    strange: list[tuple[str, str]] | None,
) -> Cell:
    if not definition.children:
        made = Cell(definition, element.text or "", parent)
        if definition.attributes:
            _labelled(made, element)
        if len(element) and strange is not None:
            strange.extend((f"{ref_of(made)}/{local(kid)}", "unknown") for kid in kids(element))
        return made
    made = Cell(definition, "", parent)
    if definition.attributes:
        _labelled(made, element)
    by_name = definition.by_name
    children, table = made.children, made.kids
    for kid in kids(element):
        # Nearly all are named without a namespace.
        inner = by_name.get(kid.tag) or by_name.get(local(kid))
        if inner is None:
            if strange is not None:
                strange.append((f"{ref_of(made)}/{local(kid)}", "unknown"))
            continue
        name = inner.name
        siblings = table.get(name)
        if siblings is not None and inner.repeat is None and not inner.several:
            if strange is not None:
                strange.append((f"{ref_of(made)}/{name}", "twice"))
            continue
        grown = _planted(inner, kid, made, strange)
        children.append(grown)
        if siblings is None:
            table[name] = [grown]
        else:
            siblings.append(grown)
    return made


def _labelled(node: Cell, element: Element) -> None:
    """The attributes that the form knows."""
    known = node.defn.attributes
    for key, value in element.attrib.items():
        attribute = known.get(str(key).rpartition("}")[2])
        if attribute is not None:
            node.attrs[attribute.name] = Cell(attribute, str(value), node)


def _completed(node: Cell, seed: Seed, *, blank: bool) -> None:
    """Nodes that a submission leaves out (they were not relevant) are there again: as the form
    begins, or `blank` where it is only to be judged.
    """
    definition = seed.definition
    for attribute in definition.attributes.values():
        if attribute.name not in node.attrs:
            node.attrs[attribute.name] = Cell(attribute, "", node)
    for below in seed.children:
        inner = below.definition
        if inner.repeat is not None:
            continue
        found = node.kids.get(inner.name)
        if not found:
            grown = grow(below, None, blank=blank)
            grown.parent = node
            insert(node, grown)
        elif inner.children or inner.attributes:
            _completed(found[0], below, blank=blank)  # type: ignore[arg-type]
    for inner in definition.children:
        if inner.repeat is not None and inner.template is not None:
            for one in node.kids.get(inner.name, ()):
                _completed(one, inner.template, blank=blank)  # type: ignore[arg-type]
