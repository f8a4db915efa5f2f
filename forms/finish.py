"""The end of an entry: OpenRosa XML that ODK Central takes, without what is not relevant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from unicodedata import normalize

from forms.instance import below
from forms.markup import XFORMS
from forms.values import UNWRITABLE, stamped

if TYPE_CHECKING:
    from forms.entry import Entry, Fault
    from forms.form import Form
    from forms.instance import Cell

OPENROSA = "http://openrosa.org/xforms"
_TEXT = {**UNWRITABLE, ord("&"): "&amp;", ord("<"): "&lt;", ord(">"): "&gt;", 13: "&#13;"}
_QUOTED = {**_TEXT, ord('"'): "&quot;", 10: "&#10;", 9: "&#9;"}


class Unfinished(ValueError):
    """The entry cannot be finished yet. `faults` say where; all answers are kept."""

    def __init__(self, faults: tuple[Fault, ...]) -> None:
        self.faults = faults
        super().__init__("; ".join(f"{one.ref}: {one.reason}" for one in faults))


@dataclass(frozen=True, slots=True)
class Submission:
    """A finished entry. `attachments` are the names of the files that its answers name."""

    xml: bytes
    instance_id: str
    name: str
    attachments: tuple[str, ...]


def finished(entry: Entry) -> Submission:
    """The submission: end times set, everything worked out once more, then judged.

    Raises Unfinished with all faults; the entry stays as it is and can be answered further.
    """
    _stamp(entry)
    faults = entry.faults()
    if faults:
        raise Unfinished(faults)
    node = entry._meta(entry.form.instance_id)  # noqa: SLF001 - one engine
    replaced = below(entry.root, ("meta", "deprecatedID"))
    if not node.text or (replaced and replaced[0].text == node.text):
        node.text = "uuid:" + entry.context.new_uuid()
    return Submission(
        xml=serialized(entry, everything=False),
        instance_id=node.text,
        name=instance_name(entry),
        attachments=attachments(entry),
    )


def _stamp(entry: Entry) -> None:
    stamp = stamped(entry.context.now().astimezone(entry.zone), entry.dialect)
    entry._start()  # noqa: SLF001 - one engine
    for definition in entry.form.preloads:
        if definition.preload == "timestamp" and definition.preload_parameters == "end":
            for node in below(entry.root, definition.path[1:]):
                entry._give(node, stamp)  # noqa: SLF001 - one engine
    entry._run()  # noqa: SLF001 - one engine
    entry._after()  # noqa: SLF001 - one engine
    entry._forget()  # noqa: SLF001 - one engine


def instance_name(entry: Entry) -> str:
    found = below(entry.root, ("meta", "instanceName"))
    return found[0].text if found and found[0].relevant else ""


def attachments(entry: Entry) -> tuple[str, ...]:
    """The files that relevant answers name, in the order of the form, each once."""
    names: dict[str, None] = {}
    for definition in entry.form.uploads:
        for node in below(entry.root, definition.path[1:]):
            if node.text and node.relevant:
                names[node.text] = None
    return tuple(names)


def serialized(entry: Entry, *, everything: bool) -> bytes:
    """The entry's XML, UTF-8; all of it, or only what is relevant."""
    out: list[str] = ["<?xml version='1.0' encoding='UTF-8' ?>"]
    _write(entry.root, out, _namespaces(entry.form, entry.root), everything=everything)
    whole = "".join(out)
    return (whole if whole.isascii() else normalize("NFC", whole)).encode()


def _namespaces(form: Form, root: Cell) -> str:
    known = form.namespaces.items()
    said = "".join(f' xmlns:{prefix}="{uri.translate(_QUOTED)}"' for prefix, uri in known)
    namespace = root.defn.namespace
    if namespace and not root.defn.prefix and namespace != XFORMS:
        said = f' xmlns="{namespace.translate(_QUOTED)}"' + said
    return said


def _write(node: Cell, out: list[str], extra: str, *, everything: bool) -> None:
    definition = node.defn
    tag = f"{definition.prefix}:{definition.name}" if definition.prefix else definition.name
    if not (node.children or node.attrs or extra):
        text = node.text.translate(_TEXT) if node.text else ""
        out.append(f"<{tag}>{text}</{tag}>" if text else f"<{tag} />")
        return
    out.append(f"<{tag}{extra}")
    for attribute in node.attrs.values():
        if not attribute.text and attribute.defn.calculate is None and not everything:
            own = attribute.defn
            if own.number >= 0 and not _given(node, own.name):
                continue
        if attribute.relevant or everything:
            own = attribute.defn
            name = f"{own.prefix}:{own.name}" if own.prefix else own.name
            out.append(f' {name}="{attribute.text.translate(_QUOTED)}"')
    before = len(out)
    out.append(">")
    for kid in node.children:
        if everything or kid.relevant:
            _write(kid, out, "", everything=everything)  # type: ignore[arg-type]
    if node.text:
        out.append(node.text.translate(_TEXT))
    if len(out) == before + 1:
        out[before] = " />"
    else:
        out.append(f"</{tag}>")


def _given(node: Cell, name: str) -> bool:
    seed = node.defn.seed or node.defn.template
    return seed is None or any(one.name == name for one, _ in seed.attributes)
