"""A submission weighed again by whoever receives it: no device is taken at its word."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from unicodedata import normalize

from forms.choices import values
from forms.context import Context
from forms.entry import INSTANCES_MAX, Entry, Fault, FaultKind
from forms.finish import attachments as named_files
from forms.instance import below, everything, ref_of
from forms.language import TooCostly
from forms.markup import BadMarkup, parse
from forms.markup import text as written
from forms.plant import Strange, WrongForm, plant
from forms.values import ENTITY_ID, answered, chosen, fits, parse_datetime, writable

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from forms.form import Form
    from forms.graph import Rule
    from forms.instance import Cell
    from forms.markup import Element
    from forms.model import Control

BYTES_MAX = 8 * 2**20
ELEMENTS_MAX = 200_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_IRRELEVANT = "it has a value though it is not relevant"
_STRANGE = {
    "unknown": "the form has no such node",
    "twice": "the form has this node once only",
    "foreign": "its namespace is none of the form's",
    "text": "it holds text beside its nodes",
    "attribute": "the form has no such attribute",
}
_LUCKY = frozenset({"random", "uuid", "once", "property", "version", "randomize", "pulldata"})


def check(
    form: Form,
    xml: bytes,
    *,
    attachments: Collection[str] | None = None,
    instance_id: str | None = None,
) -> tuple[Fault, ...]:
    """All faults of a finished submission, () when it is sound.

    Judged are: unknown nodes and foreign namespaces, what is left out though relevant, types,
    choices, constraints, what is required, what is present though not relevant, calculated values
    that do not follow, and values that the form sets and nobody is asked for. Expressions that
    give another answer each time (random, uuid, once, ...) are exempt; today() and now() are judged
    in the submission's own offset, at its end and its start and between them. Lists whose files did
    not come with the form (an entity list as the device had it, the last saved submission) are not
    known here, so what was chosen or worked out from them stands. With `attachments`, the files
    that the answers name must be among them; with `instance_id`, the XML must name no other.
    First-load events and preloads are never run; the submission is not altered. Takes at most
    BYTES_MAX bytes, ELEMENTS_MAX elements and 200 levels; one that is too costly to judge has a
    fault of kind "size".
    """
    if len(xml) > BYTES_MAX:
        return (Fault("", "size", f"it has {len(xml):,} bytes; {BYTES_MAX:,} is the most"),)
    try:
        root = parse(xml, what="the submission", bytes_max=BYTES_MAX, elements_max=ELEMENTS_MAX)
        strange = Strange(form)
        planted = plant(form, root, strange)
    except (BadMarkup, WrongForm) as fault:
        return (Fault("", "form", str(fault)),)
    found: list[Fault] = []
    for name, wanted in (("id", form.id), ("version", form.version)):
        said = _named(root, name)
        if wanted and said != wanted:
            told = "left out" if said is None else repr(said)
            found.append(Fault("", "form", f"its {name} is {told}; the form's is {wanted!r}"))
    found.extend(_unspoken(xml, root))
    found.extend(Fault(ref, "unknown", _STRANGE[why]) for ref, why in strange.found)
    judged = Judged(form, planted)
    try:
        found.extend(judged.faults())
    except TooCostly as fault:
        return (*found, Fault("", "size", f"it cannot be judged: {fault}"))
    found.extend(judged.unsaid(strange.unsaid))
    known = {fault.ref for fault in found}
    found.extend(fault for fault in judged.left_out(strange.lacking) if fault.ref not in known)
    if attachments is not None:
        here = set(attachments)
        found.extend(
            Fault("", "attachment", f"the file {name!r} is missing")
            for name in named_files(judged.entry)
            if name not in here
        )
    if instance_id is not None:
        named = [written(one).strip() for one in root.iter("{*}instanceID")]
        if len(named) == 1 and named[0] not in {"", instance_id}:
            found.append(Fault("meta/instanceID", "form", "the XML names another instance"))
    return tuple(found)


def _named(root: Element, name: str) -> str | None:
    """An attribute of the root, whatever namespace a client writes it in."""
    found = {str(key).rpartition("}")[2]: str(text) for key, text in reversed(root.items())}
    return found.get(name)


_CDATA = re.compile(rb"<!\[CDATA\[.*?\]\]>", re.DOTALL)
_ASIDE = re.compile(rb"<!--|<\?(?!xml\s)")


def _unspoken(xml: bytes, root: Element) -> Iterator[Fault]:
    """What other readers may take otherwise: letters in another encoding, and what splits a text."""
    said = root.getroottree().docinfo.encoding or "UTF-8"
    if said.upper() not in {"UTF-8", "US-ASCII", "ASCII"}:
        yield Fault("", "form", f"it is written in {said}; submissions are UTF-8")
        return
    if _ASIDE.search(_CDATA.sub(b"", xml) if b"<![CDATA[" in xml else xml):
        yield Fault("", "unknown", "it holds a comment or an instruction, which is no answer")


class Judged:
    """One submission under judgement."""

    def __init__(self, form: Form, root: Cell) -> None:
        self.form = form
        moments = _moments(form, root)
        moment = moments[0] if moments else None
        self.moments = moments
        self.absent = form.absent
        at = moment or EPOCH
        zone = at.tzinfo or UTC
        context = Context(
            now=lambda: at,
            new_uuid=lambda: "00000000-0000-0000-0000-000000000000",
            random=lambda: 0.5,
            zone=zone,
        )
        self.entry = Entry(form, context, root)
        self.entry._moment = at  # noqa: SLF001 - one engine

    def faults(self) -> list[Fault]:
        entry, form = self.entry, self.form
        given: dict[Cell, str] = {}
        answers: list[Cell] = []
        for node in everything(entry.root):
            if node.defn.calculate is not None:
                given[node] = node.text
            elif node.text:
                answers.append(node)
        entry._settle_all(keeps=self._keeps)  # noqa: SLF001 - one engine
        found: list[Fault] = []
        for node in answers:
            definition = node.defn
            if not node.relevant:
                # An attribute of what is not relevant makes an entity nobody was asked about.
                if not definition.is_attribute or not node.parent.relevant:  # type: ignore[union-attr]
                    found.append(Fault(ref_of(node), "irrelevant", _IRRELEVANT))
            elif (
                definition.type != "string"
                and not definition.select
                and not fits(node.text, definition.type)
            ):
                found.append(Fault(ref_of(node), "type", f"{node.text!r} is no {definition.type}"))
        for node, text in given.items():
            if not node.relevant:
                if text:
                    found.append(Fault(ref_of(node), "irrelevant", _IRRELEVANT))
            elif text != node.text and not self._same(text, node.text, node.defn.type):
                reason = f"it holds {text!r}; the answers make it {node.text!r}"
                found.append(Fault(ref_of(node), "calculate", reason))
        for definition in form.selects:
            itemset = definition.control.itemset if definition.control is not None else None
            if itemset is not None and not itemset.nodeset.instances.isdisjoint(self.absent):
                continue
            for node in below(entry.root, definition.path[1:]):
                if node.text and node.relevant and node not in given:
                    found.extend(self._chosen(node))
        found.extend(entry.faults())
        found.extend(self._given_by_form(answers))
        found.extend(self._miscounted())
        found.extend(self._nameless())
        own = below(entry.root, form.instance_id.path[1:])
        if not own or not own[0].text:
            found.append(Fault(form.instance_id.ref, "required", "every submission has an id"))
        return found

    def _given_by_form(self, answers: list[Cell]) -> Iterator[Fault]:
        """What the form sets once and for all, and nobody can change."""
        fixed = self.form.fixed
        for node in answers:
            texts = fixed.get(node.defn)
            if texts is None or node.text in texts or not node.relevant:
                continue
            kind = node.defn.type
            if not any(self._same(node.text, text, kind) for text in texts):
                told = " or ".join(map(repr, sorted(texts)))
                reason = f"it holds {node.text!r}; the form sets {told}, and nobody is asked"
                yield Fault(ref_of(node), "calculate", reason)

    def _miscounted(self) -> Iterator[Fault]:
        """Repeats with fewer instances than their count makes, or with more than it can ever make.

        More than a count that answers decide is sound: a count that was lowered takes no instance
        away.
        """
        entry = self.entry
        for definition in self.form.counted:
            control = definition.repeat
            assert control is not None
            count = control.count
            assert count is not None
            if (
                definition.relevant is not None
                or count.volatile
                or not count.instances.isdisjoint(self.absent)
            ):
                continue
            constant = _constant(self.form, control)
            for parent in below(entry.root, definition.path[1:-1]):
                if not parent.relevant:
                    continue
                have = len(parent.kids.get(definition.name, ()))
                number = min(entry._count(control, parent, definition), INSTANCES_MAX)  # noqa: SLF001 - one engine
                if have < number or (constant and have > number):
                    reason = f"it has {have} instances; the count makes {number}"
                    kind: FaultKind = "missing" if have < number else "unknown"
                    yield Fault(f"{ref_of(parent)}/{definition.name}", kind, reason)

    def _nameless(self) -> Iterator[Fault]:
        """Entities that are to be made or changed and are none that a registry can tell apart."""
        for definition in self.form.entities:
            for node in below(self.entry.root, definition.path[1:]):
                attributes = node.attrs
                acts = [attributes[one].text for one in ("create", "update") if one in attributes]
                said = attributes["id"].text.strip()
                if {"1", "true"}.isdisjoint(acts) or ENTITY_ID.fullmatch(said):
                    continue
                reason = f"{said!r} is no UUID, by which an entity is known"
                yield Fault(f"{ref_of(node)}/@id", "type" if said else "missing", reason)

    def left_out(self, lacking: list[Cell]) -> Iterator[Fault]:
        """Relevant questions that are not even there as blank."""
        for top in lacking:
            for node in everything(top):
                definition = node.defn
                if node.relevant and not definition.children and not definition.is_attribute:
                    yield Fault(ref_of(node), "missing", "it is left out though it is relevant")

    def unsaid(self, left_out: list[Cell]) -> Iterator[Fault]:
        """Attributes that the form writes, as those that say what becomes of an entity."""
        for node in left_out:
            texts = self.form.fixed.get(node.defn)
            if texts and node.relevant:
                told = " or ".join(map(repr, sorted(texts)))
                yield Fault(ref_of(node), "missing", f"it is left out; the form sets {told}")

    def _keeps(self, rule: Rule, node: Cell) -> bool:
        """Whether the value given stands, because no second working out would give it again:
        it hangs on luck, on a moment or on a list that is not known, or a person may have written
        it.
        """
        compiled = rule.compiled
        if not compiled.instances.isdisjoint(self.absent):
            return True
        if compiled.volatile and (compiled.functions & _LUCKY or self._in_time(rule, node)):
            return True
        return self._excused(node) and bool(node.text)

    def _in_time(self, rule: Rule, node: Cell) -> bool:
        """Whether a value that hangs on the clock can have been worked out during the interview:
        nothing works it out again just because time goes on.

        It lies between what it is at the start and at the end. Where both are not known, today()
        is the day of the one that is, and now() is anything.
        """
        if not self.moments or (len(self.moments) == 1 and "now" in rule.compiled.functions):
            return True
        entry = self.entry
        told = []
        for moment in self.moments:
            entry._moment = moment  # noqa: SLF001 - one engine
            told.append(entry._worked_out(rule.compiled, node))  # noqa: SLF001 - one engine
        entry._moment = self.moments[0]  # noqa: SLF001 - one engine
        last, first = told[0], told[-1]
        # An hour that passed midnight is later and yet smaller: nothing is known of it then.
        return _between(first, node.text, last) or _after(first, last)

    def _excused(self, node: Cell) -> bool:
        control = node.defn.control
        return control is not None and control.asks and not node.readonly

    def _same(self, text: str, other: str, kind: str) -> bool:
        if text == normalize("NFC", writable(other)):
            return True
        try:
            if abs(float(text) - float(other)) <= 1e-9 * max(1.0, abs(float(other))):
                return True
        except ValueError:
            pass
        entry = self.entry
        return answered(text, kind, "", entry.dialect, entry.zone, entry.now) == other

    def _chosen(self, node: Cell) -> list[Fault]:
        known = values(self.entry, node)
        if not node.text.isascii():
            # Whatever is sent has its letters composed, which a list may not have.
            known = {normalize("NFC", one) for one in known}
        several = node.defn.select in {"select", "rank"}
        given = chosen(node.text) if several else [node.text]
        return [
            *(
                Fault(ref_of(node), "choice", f"{one!r} is not among the choices")
                for one in given
                if one not in known
            ),
            # Nobody can choose the same twice; who writes it deceives count-selected().
            *(
                Fault(ref_of(node), "choice", f"{one!r} is chosen more than once")
                for one in dict.fromkeys(given)
                if len(set(given)) < len(given) and given.count(one) > 1
            ),
        ]


def _constant(form: Form, control: Control) -> bool:
    """Whether a repeat's count is the same in every entry."""
    count = control.count
    if control.count_path is not None:
        # pyxform keeps a count that is no question's in a node of its own.
        count = form.by_path[control.count_path].calculate
    return count is not None and not (count.reads or count.instances or count.volatile)


def _moments(form: Form, root: Cell) -> tuple[datetime, ...]:
    """The submission's own end and start, as far as it tells them."""
    found = []
    for definition in form.timestamps:
        for node in below(root, definition.path[1:])[:1]:
            moment = parse_datetime(node.text.strip(), UTC)
            if moment is not None:
                found.append(moment)
    return (found[0], found[-1]) if len(found) > 1 else tuple(found)


def _between(first: str, text: str, last: str) -> bool:
    if text in {first, last}:
        return True
    try:
        return float(first) <= float(text) <= float(last)
    except ValueError:
        return len(first) == len(text) == len(last) and first <= text <= last


def _after(first: str, last: str) -> bool:
    try:
        return float(first) > float(last)
    except ValueError:
        return first > last
