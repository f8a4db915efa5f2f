"""What a question offers: its choices as they stand now, filtered, translated, shuffled."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from forms.itext import MEDIA
from forms.markup import BLANKS
from forms.values import chosen

if TYPE_CHECKING:
    from forms.entry import Entry
    from forms.instance import Cell
    from forms.model import Control, Definition


@dataclass(frozen=True, slots=True)
class Choice:
    """One choice: what is stored, what is read, and pictures and sounds by form."""

    value: str
    label: str
    media: dict[str, str] = field(default_factory=dict)


def offered(entry: Entry, node: Cell) -> list[Choice]:
    """The choices of the question at `node`, in order; empty where it is no select."""
    control = node.defn.control
    if control is None:
        return []
    found = [
        Choice(
            one.value,
            entry.text(one.label, node),
            {form: said for form in MEDIA if (said := entry.text(one.label, node, form))}
            if one.label.itext
            else {},
        )
        for one in control.items
    ]
    itemset = control.itemset
    if itemset is None:
        return found
    for item in entry.items(node, itemset):
        value = _bare(entry, itemset.value.string(item, entry))
        label = itemset.label.string(item, entry)
        media: dict[str, str] = {}
        if itemset.label_is_itext:
            name = label
            label = entry.itext(name)
            for form in MEDIA:
                parts = entry.form.said(name, entry.language, form)
                if parts is not None:
                    media[form] = entry._woven(parts, node)  # noqa: SLF001 - one engine
        found.append(Choice(value, label, media))
    return found


def _bare(entry: Entry, value: str) -> str:
    """What a choice is called in an answer: Collect leaves blanks around it out, as spreadsheets
    and pretty-printed lists have them. In predicates the list's value stands as it is.
    """
    return value if entry.dialect.webforms else value.strip(BLANKS)


def browser_takes(entry: Entry, node: Cell, text: str) -> str:
    """The answer as Web Forms keeps it: what is offered now, several in the order of the list, a
    rank of all of them, a number within the range. Raises Unranked.
    """
    definition = node.defn
    if definition.select in {"select", "select1"}:
        given = {text} if definition.select == "select1" else set(chosen(text))
        return " ".join(one for one in dict.fromkeys(_in_turn(entry, node)) if one in given)
    if definition.select == "rank":
        missing = [one for one in _in_turn(entry, node) if one not in chosen(text)]
        if missing:
            raise Unranked(f"{definition.ref}: all choices are ranked; {missing[0]} is not")
        return ranked(entry, node, text)
    return within_bounds(definition, text)


class Unranked(ValueError):
    """Some choices were left out of a rank. The answer is as it was."""


def ranked(entry: Entry, node: Cell, text: str) -> str:
    """The rank without what is not offered, and then what was not ranked."""
    turn = dict.fromkeys(_in_turn(entry, node))
    return " ".join(dict.fromkeys([*(one for one in chosen(text) if one in turn), *turn]))


def _in_turn(entry: Entry, node: Cell) -> list[str]:
    return [one.value for one in offered(entry, node)]


def within_bounds(definition: Definition, text: str) -> str:
    """The number, or "" where it is not from the start to the end of its range."""
    control = definition.control
    if control is None or control.kind != "range" or not text:
        return text
    try:
        start, end = (float(control.parameters[name]) for name in ("start", "end"))
        return text if start <= float(text) <= end else ""
    except (KeyError, ValueError):
        return text


def values(entry: Entry, node: Cell) -> frozenset[str] | set[str]:
    """Only what can be stored: cheaper than `offered` where nobody reads the labels."""
    control = node.defn.control
    if control is None:
        return set()
    kept = entry.form.steady_values
    known = kept.get(control)
    if known is not None:
        return known
    found = _values(entry, node, control)
    if control.itemset is not None and not control.itemset.steady:
        return found
    kept[control] = frozenset(found)
    return kept[control]


def _values(entry: Entry, node: Cell, control: Control) -> set[str]:
    found = {one.value for one in control.items}
    itemset = control.itemset
    if itemset is None:
        return found
    items = entry.items(node, itemset)
    column, take = itemset.column, itemset.value.string
    for item in items:
        if column and item.defn is None:
            # An item of a list, as nearly all are: what stands there is what the expression says.
            cells = item.kids.get(column)
            found.add(cells[0].string_value() if cells else "")
        else:
            found.add(take(item, entry))
    return {_bare(entry, one) for one in found}
