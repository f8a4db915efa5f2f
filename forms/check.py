"""A submission weighed again by whoever receives it: no device is taken at its word."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from forms.choices import values
from forms.context import Context
from forms.entry import Entry, Fault
from forms.finish import attachments as named_files
from forms.instance import below, everything, ref_of
from forms.markup import BadMarkup, parse
from forms.markup import text as written
from forms.plant import WrongForm, plant
from forms.values import answered, fits, parse_datetime

if TYPE_CHECKING:
    from collections.abc import Collection

    from forms.form import Form
    from forms.graph import Rule
    from forms.instance import Cell

BYTES_MAX = 8 * 2**20
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_IRRELEVANT = "it has a value though it is not relevant"
_LUCKY = frozenset({"random", "uuid", "once", "property", "version", "randomize", "pulldata"})


def check(
    form: Form,
    xml: bytes,
    *,
    attachments: Collection[str] | None = None,
    instance_id: str | None = None,
) -> tuple[Fault, ...]:
    """All faults of a finished submission, () when it is sound.

    Judged are: unknown nodes, types, choices, constraints, what is required, what is present
    though not relevant, and calculated values that do not follow. Expressions that give another
    answer each time (random, uuid, once, ...) are exempt; today() and now() are judged at the
    submission's own end (else start) and in its offset. Lists whose files did not come with the
    form (an entity list as the device had it, the last saved submission) are not known here, so
    what was chosen or worked out from them stands. With `attachments`, the files that the
    answers name must be among them; with `instance_id`, the XML must name no other. First-load
    events and preloads are never run; the submission is not altered. Takes at most BYTES_MAX bytes
    and 200 levels.
    """
    if len(xml) > BYTES_MAX:
        return (Fault("", "size", f"it has {len(xml):,} bytes; {BYTES_MAX:,} is the most"),)
    try:
        root = parse(xml, what="the submission", bytes_max=BYTES_MAX)
        strange: list[tuple[str, str]] = []
        planted = plant(form, root, strange)
    except (BadMarkup, WrongForm) as fault:
        return (Fault("", "form", str(fault)),)
    found: list[Fault] = []
    said = root.get("id")
    if said is not None and form.id and said != form.id:
        found.append(Fault("", "form", f"it is of the form {said!r}, not {form.id!r}"))
    found.extend(
        Fault(ref, "unknown", "the form has no such node")
        if why == "unknown"
        else Fault(ref, "unknown", "the form has this node once only")
        for ref, why in strange
    )
    judged = Judged(form, planted)
    found.extend(judged.faults())
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


class Judged:
    """One submission under judgement."""

    def __init__(self, form: Form, root: Cell) -> None:
        self.form = form
        moment = _moment(form, root)
        self.timed = moment is not None
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
                if not definition.is_attribute:
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
        return found

    def _keeps(self, rule: Rule, node: Cell) -> bool:
        """Whether the value given stands, because no second working out would give it again:
        it hangs on luck, on a moment or on a list that is not known, or a person may have written
        it.
        """
        compiled = rule.compiled
        if not compiled.instances.isdisjoint(self.absent):
            return True
        if compiled.volatile and not (self.timed and not (compiled.functions & _LUCKY)):
            return True
        return self._excused(node) and bool(node.text)

    def _excused(self, node: Cell) -> bool:
        control = node.defn.control
        return control is not None and control.asks and not node.readonly

    def _same(self, text: str, other: str, kind: str) -> bool:
        try:
            if abs(float(text) - float(other)) <= 1e-9 * max(1.0, abs(float(other))):
                return True
        except ValueError:
            pass
        entry = self.entry
        return answered(text, kind, "", entry.dialect, entry.zone) == other

    def _chosen(self, node: Cell) -> list[Fault]:
        known = values(self.entry, node)
        several = node.defn.select in {"select", "rank"}
        chosen = node.text.split() if several else [node.text]
        return [
            Fault(ref_of(node), "choice", f"{one!r} is not among the choices")
            for one in chosen
            if one not in known
        ]


def _moment(form: Form, root: Cell) -> datetime | None:
    """The submission's own time: its end, else its start, else None."""
    for definition in form.timestamps:
        for node in below(root, definition.path[1:]):
            moment = parse_datetime(node.text.strip(), UTC)
            if moment is not None:
                return moment
    return None
