"""The engine's test language: cases in, the whole state after each step out, a line each."""

from __future__ import annotations

import json
import re
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from forms import cases
from forms.choices import offered
from forms.context import Context
from forms.dialect import COLLECT, WEBFORMS
from forms.entry import Entry, NoSuchLanguage, NoSuchNode, Restless
from forms.form import Form
from forms.instance import ref_of
from forms.language import BadExpression, TooCostly
from forms.markup import BadMarkup
from forms.media import BadMedia
from forms.mirror import Mirror
from forms.plant import WrongForm
from forms.problems import BrokenForm
from forms.values import writable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from forms.entry import Fault
    from forms.instance import Cell
    from forms.model import Control


EPOCH = datetime(2026, 11, 23, 8, tzinfo=UTC)
"""The moment of a case that names none."""
_PREFIX = re.compile(r"/[A-Za-z_][\w.-]*:")
_REPEAT_MAX = 50


def replay(case: dict[str, Any], dialect: str | None = None) -> dict[str, Any]:
    """One case's steps and what each came to, in the form that the Java peer writes.

    `dialect` is for cases that do not name their own (`dialect_of`). Whatever becomes of a case, it
    has its outcome: a step that fails is told as its error.
    """
    steps: list[dict[str, Any]] = []
    try:
        cases.judged(case)
        run = run_of(case, dialect)
    except Exception as fault:  # noqa: BLE001 - a case that cannot be read is told as such
        return refused(cases.named(case), fault)
    for each in case["steps"]:
        operation = cases.operation(each)
        try:
            run.step(cases.step_judged(each))
            state = run.snapshot()
            # Beside the state, and in it, where the Java peer has it.
            state["xml"] = xml = run.entry.xml().decode()
            faults = [{"ref": one.ref, "kind": one.kind} for one in run.faults()]
        except Exception as fault:  # noqa: BLE001 - the cases that follow are asked all the same
            steps.append({"op": operation, "error": _told(fault)})
            if operation == "init":
                break
        else:
            steps.append({"op": operation, "state": state, "xml": xml, "validate": faults})
    return {"id": cases.named(case), "steps": steps}


def refused(name: str | float | None, fault: Exception) -> dict[str, Any]:
    """What is said of a case that was not begun."""
    return {"id": name, "steps": [{"op": "init", "error": _told(fault)}]}


def _as_text(value: object) -> str:
    """As the Java peer reads a value: numbers and truths as they are written, all else as blank."""
    if isinstance(value, str):
        return value
    return json.dumps(value) if isinstance(value, (bool, int, float)) else ""


DECLARED = (
    *(cases.Misshapen, NoSuchNode, NoSuchLanguage, Restless, TooCostly),
    *(BrokenForm, BadExpression, BadMarkup, BadMedia, WrongForm),
)
"""What a case can end in by what it says."""


def _told(fault: Exception) -> str:
    if isinstance(fault, cases.Misshapen):
        return str(fault)
    name = type(fault).__name__
    return (
        f"{name}: {fault}" if isinstance(fault, DECLARED) else f"the engine failed: {name}: {fault}"
    )


def dialect_of(case: dict[str, Any], asked: str | None = None) -> str:
    """Whose habits a case is replayed with: those it names itself, else those asked for, else those
    of the one engine from which it was recorded, else Collect's.
    """
    own = case.get("dialect") or asked
    if own:
        return str(own)
    return WEBFORMS.name if case.get("oracle") == "wf" else COLLECT.name


def run_of(case: dict[str, Any], asked: str | None = None) -> Run:
    dialect = dialect_of(case, asked)
    if dialect == COLLECT.name and case.get("oracle") == "jr":
        return HandedOver(case, dialect)
    return Run(case, dialect)


class Run:
    """A case under way."""

    def __init__(self, case: dict[str, Any], dialect: str) -> None:
        self.case = case
        self.dialect = dialect
        self.counter = 0
        self.moment = cases.moment(case) or EPOCH
        properties = (case.get("options") or {}).get("properties") or {}
        self.context = Context(
            now=lambda: self.moment,
            new_uuid=self._uuid,
            random=lambda: 0.5,
            properties=self._properties(properties),
            zone=cases.zone(case),
        )
        self.form: Form | None = None
        self.current: Entry | None = None

    @property
    def _kind(self) -> type[Entry]:
        return Mirror if self.dialect == "collect" else Entry

    def _properties(self, given: dict[str, str]) -> dict[str, str]:
        # What stands in for a place where no client can find one, as JavaRosa's own tests have it.
        place = "no client implementation" if self.dialect == "collect" else ""
        return {"location": place, **given}

    def _uuid(self) -> str:
        self.counter += 1
        drawn = uuid.uuid5(uuid.NAMESPACE_URL, f"{self.case['id']} {self.counter}")
        return str(uuid.UUID(bytes=drawn.bytes, version=4))

    @property
    def entry(self) -> Entry:
        if self.current is None:
            raise NoSuchNode("the case has no entry yet: it must begin with init")
        return self.current

    def snapshot(self) -> dict[str, Any]:
        """Every node as it stands after the step, by whoever looks at the form then."""
        return snapshot(self.entry)

    def faults(self) -> tuple[Fault, ...]:
        entry = self.entry
        return entry.validated() if isinstance(entry, Mirror) else entry.faults()

    def _load(self) -> Form:
        if self.form is None:
            media = {
                name: text.encode()
                for name, text in (self.case.get("attachments") or {}).items()
                if text is not None
            }
            self.form = Form.load(self.case["form"], media, self.dialect)
        return self.form

    def step(self, step: dict[str, Any]) -> None:
        operation = step["op"]
        form = self._load()
        if operation == "init" and step.get("edit_xml"):
            begin = self._kind.resume if self.dialect == COLLECT.name else self._kind.edit
            self.current = begin(form, writable(step["edit_xml"]).encode(), self.context)
        elif operation in {"init", "new_instance"}:
            self.current = self._kind.start(form, self.context)
        elif operation == "set":
            self._set(step["ref"], _as_text(step.get("value")))
        elif operation == "add_repeat":
            self._one_more(plain(step["ref"]))
        elif operation == "remove_repeat":
            self.entry.remove_repeat(plain(step["ref"]))
        elif operation == "language":
            self.entry.set_language(step["value"])
        elif operation in {"save_restore", "serialize_form", "edit"}:
            begin = self._kind.edit if operation == "edit" else self._kind.resume
            # Read anew, with the form, as in the Java peer: it speaks its default language again.
            self.current = begin(form, self.entry.xml(), self.context)

    def _one_more(self, ref: str) -> None:
        """A step may say which instance it makes; one that a count has made already is there."""
        if ref.endswith("]"):
            try:
                there = self.entry.find(ref)
            except NoSuchNode:
                there = None
            if there is not None and there.defn.repeat and there.defn.repeat.fixed:
                return
        self.entry.add_repeat(ref)

    def _set(self, ref: str, value: str) -> None:
        ref = plain(ref)
        self.reach(ref)
        node = self.entry.find(ref)
        if not self._asks(node):
            raise NoSuchNode(f"{ref} is no question")
        self._answer(ref, value)

    def _asks(self, node: Cell) -> bool:
        return node.defn.control is not None and node.defn.control.asks

    def _answer(self, ref: str, value: str) -> None:
        self.entry.answer(ref, value)

    def reach(self, ref: str) -> None:
        """Instances on the way are added, as a person would who goes there in Collect."""
        if not isinstance(self.current, Mirror):
            return
        parts = ref.strip("/").split("/")
        here = ""
        for part in parts:
            here += "/" + part
            if not part.endswith("]"):
                continue
            for _ in range(_REPEAT_MAX):
                try:
                    self.entry.find(here)
                    break
                except NoSuchNode:
                    self.entry.add_repeat(re.sub(r"\[\d+\]$", "", here))


class HandedOver(Run):
    """A case recorded from JavaRosa's own tests (`oracle` is "jr").

    They hand values over past the parser that a person's answer goes through, keep the old answer
    where the new one breaks its constraint, and look at nothing between two steps: what a count
    asks for is made when a later step goes anywhere.
    """

    def step(self, step: dict[str, Any]) -> None:
        if isinstance(self.current, Mirror):
            self.current.arrive()
        super().step(step)

    def _asks(self, node: Cell) -> bool:
        return not node.defn.is_group

    def _answer(self, ref: str, value: str) -> None:
        assert isinstance(self.current, Mirror)
        self.current.hand_over(ref, value)

    def snapshot(self) -> dict[str, Any]:
        return {"nodes": [told for told, _ in _nodes(self.entry)]}

    def faults(self) -> tuple[Fault, ...]:
        return self.entry.faults()


def plain(ref: str) -> str:
    """The reference without namespace prefixes."""
    return _PREFIX.sub("/", ref)


def snapshot(entry: Entry) -> dict[str, Any]:
    """Every node of the entry, in document order.

    As the Java peer does, somebody goes through the form first (which makes what a count asks
    for), then the values are read, and only then is every question looked at, one after the
    other: what that takes back is seen in the XML of the step and in the values of the next.
    In Web Forms nothing waits for anybody to look, and what is not relevant has its texts too.
    """
    mirror = entry if isinstance(entry, Mirror) else None
    if mirror is None:
        entry.look()
    else:
        mirror.arrive()
    # A form may have several nodes of one name outside any repeat: they share what is shown.
    shown: dict[str, list[dict[str, Any]]] = {}
    nodes: list[dict[str, Any]] = []
    for told, _ in _nodes(entry):
        nodes.append(told)
        shown.setdefault(told["ref"], []).append(told)
    way = entry.asked(hidden=True) if mirror is None else mirror.tour()
    for asked, control in way:
        if control.bound and control.definition is not asked.defn:
            continue
        if mirror is not None and control.asks:
            mirror.see(asked)
        for told in shown.get(ref_of(asked), ()):
            _show(entry, asked, control, told)
    return {"nodes": nodes}


def _nodes(entry: Entry) -> Iterator[tuple[dict[str, Any], Cell]]:
    for node in _elements(entry.root):
        told: dict[str, Any] = {"ref": ref_of(node), "type": node.defn.type}
        if not node.children:
            told["value"] = node.text if node.relevant or _kept(entry, node) else ""
        told["rel"] = node.relevant
        told["ro"] = node.readonly
        told["req"] = node.required
        fault = entry.fault(node)
        told["violation"] = None if fault is None else fault.kind
        if fault is not None and fault.said:
            told["msg"] = fault.reason
        yield told, node


def _kept(entry: Entry, node: Cell) -> bool:
    """Whether what is not relevant has its value still; in Web Forms only files have."""
    control = node.defn.control
    return not entry.dialect.webforms or (control is not None and control.kind == "upload")


def _show(entry: Entry, asked: Cell, control: Control, told: dict[str, Any]) -> None:
    if control.asks:
        told["label"] = entry.label(control, asked)
        hint = entry.text(control.hint, asked)
        if hint:
            told["hint"] = hint
        if asked.defn.select:
            told["choices"] = [[one.value, one.label] for one in offered(entry, asked)]
        return
    around: Control | None = control
    if control.kind == "repeat":
        around = _around(entry, control)
    elif control.holds_one_repeat or (entry.dialect.webforms and not control.bound):
        # The group is the repeat's; and what has no node is nowhere in Web Forms.
        return
    label = entry.text(around.label, asked) if around is not None else ""
    if label or "label" not in told:
        told["label"] = label


def _around(entry: Entry, repeat: Control) -> Control | None:
    """The group after which an instance of the repeat is called; never after its own label.

    In Collect it is the group that holds nothing else, in Web Forms the one of the same node.
    """
    group = repeat.parent
    if group is None or group.kind != "group":
        return None
    if entry.dialect.webforms:
        return group if group.bound and group.definition is repeat.definition else None
    return group if group.holds_one_repeat else None


def _elements(node: Cell) -> Iterator[Cell]:
    yield node
    for kid in node.children:
        yield from _elements(kid)  # type: ignore[arg-type]


def line(raw: bytes, dialect: str | None = None, most: int = cases.LINE_MAX) -> str:
    """The line that answers a line; one that is no case is answered as a case that failed."""
    try:
        told = replay(cases.read(raw, most), dialect)
    except cases.Misshapen as fault:
        told = refused(None, fault)
    return json.dumps(told, ensure_ascii=False)
