"""What a submission says about the registry, by the ODK Entities specification."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, Protocol

from forms.markup import BadMarkup, kids, local, parse, text
from forms.problems import BrokenForm, Problem
from forms.values import ENTITY_ID

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from forms.markup import Element

ENTITIES = "http://www.opendatakit.org/xforms/entities"
NEWEST = (2025, 1)
"""The newest version of the specification that is understood; newer forms are refused by it."""


class HasXml(Protocol):
    """A form, as far as it is needed here."""

    @property
    def xml(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Claim:
    """One thing that a submission says about one entity (specification 2022.1 to 2025.1).

    `fields` holds the properties of which the submission carries a node, blank ones included: a
    question that was not relevant claims nothing. `parent` is the entity declared around this
    one; `ref` is the group or repeat that declares it, with positions ("/data/roster/member[2]").
    `base_version` is 0 where the form gave no positive integer.
    """

    dataset: str
    id: str
    action: Literal["create", "update"]
    label: str | None
    fields: Mapping[str, str]
    base_version: int
    trunk_version: int | None
    branch_id: str
    parent: tuple[str, str] | None
    ref: str


@dataclass(frozen=True, slots=True)
class Declared:
    """What a form declares: where entities stand, and which nodes are saved to which property."""

    version: tuple[int, int] | None
    datasets: Mapping[str, str]
    """Path of the container -> dataset."""
    saveto: Mapping[str, Mapping[str, str]]
    """Path of the container -> path of a node inside it -> property."""
    repeats: frozenset[str]


class BadClaim(ValueError):
    """An entity in a submission cannot be read; `problems` names each by its path."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        self.problems = problems
        super().__init__("; ".join(map(str, problems)))


def claims(form: HasXml | bytes, xml: bytes) -> tuple[Claim, ...]:
    """The claims of a submission to this form, outer entities before those inside them.

    Raises BadClaim for an entity that asks to be made or changed without a UUID, BadMarkup for
    what is no XML, and BrokenForm for a form of a newer specification.
    """
    declared = declarations(form if isinstance(form, bytes) else form.xml)
    if declared.version is None or not declared.datasets:
        return ()
    root = parse(xml, what="the submission")
    made: list[Claim] = []
    bad: list[Problem] = []
    _Reading(declared, made, bad).read(root, f"/{local(root)}", f"/{local(root)}", None)
    if bad:
        raise BadClaim(tuple(bad))
    return tuple(made)


@lru_cache(maxsize=64)
def declarations(xform: bytes) -> Declared:
    """The entities that an XForm declares. Raises BrokenForm for a version newer than NEWEST."""
    try:
        root = parse(xform, what="the form")
    except BadMarkup as fault:
        raise BrokenForm((Problem("", None, "", str(fault)),)) from None
    model = next((each for each in root.iter() if local(each) == "model"), None)
    if model is None:
        raise BrokenForm((Problem("", None, "", "the form has no model"),))
    version = _version(model.get(f"{{{ENTITIES}}}entities-version"))
    datasets: dict[str, str] = {}
    instance = next((each for each in kids(model) if local(each) == "instance"), None)
    primary = None if instance is None else next(kids(instance), None)
    if primary is not None and version is not None:
        for path, container in _containers(primary, f"/{local(primary)}"):
            entity = _entity(container)
            if entity is not None and (version >= (2025, 1) or container is primary):
                datasets.setdefault(path, entity.get("dataset", ""))
    saveto: dict[str, dict[str, str]] = {path: {} for path in datasets}
    for bind in kids(model):
        name = bind.get(f"{{{ENTITIES}}}saveto") if local(bind) == "bind" else None
        if name:
            path = _unprefixed(bind.get("nodeset", ""))
            around = path
            while around and around not in datasets:
                around = around.rpartition("/")[0]
            if around:
                saveto[around][path] = name
    repeats = frozenset(
        _unprefixed(each.get("nodeset", "")) for each in root.iter() if local(each) == "repeat"
    )
    return Declared(
        version,
        MappingProxyType(datasets),
        MappingProxyType({path: MappingProxyType(each) for path, each in saveto.items()}),
        repeats,
    )


def _version(said: str | None) -> tuple[int, int] | None:
    if said is None:
        return None
    match = re.match(r"(\d{4})\.(\d+)", said)
    if match is None or (int(match[1]), int(match[2])) > NEWEST:
        reason = (
            f"the form follows version {said} of the entities specification; up to "
            f"{NEWEST[0]}.{NEWEST[1]} is understood"
        )
        raise BrokenForm((Problem("entities", None, "", reason),))
    return int(match[1]), int(match[2])


def _unprefixed(path: str) -> str:
    return re.sub(r"/[\w.-]+:", "/", path.strip())


def _containers(node: Element, path: str) -> Iterator[tuple[str, Element]]:
    yield path, node
    for kid in kids(node):
        if local(kid) != "meta" and len(kid):
            yield from _containers(kid, f"{path}/{local(kid)}")


def _entity(container: Element) -> Element | None:
    for meta in kids(container):
        if local(meta) == "meta":
            for entity in kids(meta):
                if local(entity) == "entity":
                    return entity
    return None


@dataclass(frozen=True, slots=True)
class _Reading:
    """One submission being read: what it claims, and what is wrong with it."""

    declared: Declared
    made: list[Claim]
    bad: list[Problem]

    def read(self, node: Element, path: str, ref: str, parent: tuple[str, str] | None) -> None:
        """Read the entity of this container, then go down; containers nest, so this is shallow."""
        if path in self.declared.datasets:
            entity = _entity(node)
            if entity is not None:
                identity = _identity(entity, self.declared.datasets[path])
                self._claim(node, entity, path, _At(ref, identity, parent))
                parent = identity or parent
        seen: Counter[str] = Counter()
        for kid in kids(node):
            name = local(kid)
            below = f"{path}/{name}"
            seen[name] += 1
            if any(f"{each}/".startswith(f"{below}/") for each in self.declared.datasets):
                at = f"[{seen[name]}]" if below in self.declared.repeats else ""
                self.read(kid, below, f"{ref}/{name}{at}", parent)

    def _claim(self, node: Element, entity: Element, path: str, at: _At) -> None:
        acts: list[Literal["create", "update"]] = []
        # Where both are true the specification wants both done; the registry refuses one.
        if _true(entity.get("create")):
            acts.append("create")
        if _true(entity.get("update")):
            acts.append("update")
        if at.identity is None:
            dataset, said = self.declared.datasets[path], entity.get("id", "")
            self.bad.extend(
                Problem("", None, at.ref, f"to {act} in {dataset} takes a UUID as id, not {said!r}")
                for act in acts
            )
            return
        label = next((text(kid).strip() for kid in kids(entity) if local(kid) == "label"), "")
        fields = dict(_fields(node, path, self.declared.saveto[path], self.declared.datasets))
        self.made.extend(
            Claim(
                dataset=at.identity[0],
                id=at.identity[1],
                action=act,
                label=label or None,
                fields=MappingProxyType(fields),
                base_version=_positive(entity.get("baseVersion")) or 0,
                trunk_version=_positive(entity.get("trunkVersion")),
                branch_id=entity.get("branchId", "").strip(),
                parent=at.parent,
                ref=at.ref,
            )
            for act in acts
        )


@dataclass(frozen=True, slots=True)
class _At:
    """Where an entity stands: its container, who it is, and what it is inside of."""

    ref: str
    identity: tuple[str, str] | None
    parent: tuple[str, str] | None


def _identity(entity: Element, dataset: str) -> tuple[str, str] | None:
    """Which entity; the form says of which dataset, a submission cannot choose another one."""
    matched = ENTITY_ID.fullmatch(entity.get("id", "").strip())
    return None if matched is None else (dataset, matched[1].lower())


def _fields(
    node: Element, path: str, saveto: Mapping[str, str], datasets: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    for kid in kids(node):
        below = f"{path}/{local(kid)}"
        name = saveto.get(below)
        if name is not None:
            yield name, text(kid).strip()
        elif len(kid) and below not in datasets:
            yield from _fields(kid, below, saveto, datasets)


def _true(said: str | None) -> bool:
    return said in {"1", "true"}


def _positive(said: str | None) -> int | None:
    told = (said or "").strip()
    return int(told) if re.fullmatch(r"0*[1-9][0-9]{0,17}", told) else None
