"""A form, read once and never changed: many entries and threads may share it."""

from __future__ import annotations

import hashlib
import re
import threading
from functools import cached_property
from typing import TYPE_CHECKING

from forms.bulk import bulk
from forms.dialect import dialect_named
from forms.graph import Graph, Watcher
from forms.itext import Output
from forms.language import Scope, compile_expression
from forms.language.syntax import BadExpression, Call, Literal, is_name
from forms.language.syntax import Path as PathTo
from forms.language.syntax import parse as parse_expression
from forms.markup import BadMarkup, kids, local, parse
from forms.media import BadMedia, blank, file_named, found, node_of, read_instance, rows
from forms.model import Definition
from forms.problems import BrokenForm, Problem
from forms.reading import COLUMN, ENTITY_VERSIONS, Reader, loose
from forms.twins import settle_twins

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from forms.itext import Parts, Text
    from forms.language import Compiled
    from forms.language.syntax import Expr
    from forms.markup import Element
    from forms.model import Action, Control, Path, Seed
    from forms.tree import Node

_ATTRIBUTE = re.compile(rb"""=\s*(?:"[^"]*"|'[^']*')""")
OPENROSA = "http://openrosa.org/xforms"
XFORMS = "http://www.w3.org/2002/xforms"
LAST_SAVED = "jr://instance/last-saved"


class Form:
    """Everything a form says. `Form.load` is the way in; `hash` is of its XML and media together.
    Two forms are equal where these and their dialects are.

    `questions` are the definitions of its nodes in document order; `media_names` the files that
    it asks for.
    """

    def __init__(self, xml: bytes, media: Mapping[str, bytes], dialect: str) -> None:
        self.dialect = dialect_named(dialect)
        self.xml = xml
        try:
            root = _parsed(xml)
        except BadMarkup as fault:
            raise BrokenForm((Problem("", None, "", str(fault)),)) from None
        reader = Reader(root, dialect)
        reader.read_body()
        self.root = reader.read_data()
        self.by_path: Mapping[Path, Definition] = reader.by_path
        self._add_meta(reader)
        self.id = reader.data.get("id") or root.nsmap.get(reader.data.prefix) or ""
        self.version = loose(reader.data, "version") or ""
        self.title = reader.title or self.id
        self.translations = reader.translations
        self.languages = reader.translations.languages
        self.default_language = reader.translations.default
        self.submission: Mapping[str, str] = reader.submission
        self._media = dict(media)
        self._internal: dict[str, Element] = {}
        self._external: dict[str, str] = {}
        self._read: dict[str, Node | None] = {}
        self._lock = threading.Lock()
        self._instances(reader)
        self.scope = Scope(
            root=self.root.name,
            paths=frozenset(self.by_path),
            repeats=frozenset(reader.repeats),
            several=frozenset(
                one.path
                for one in self.by_path.values()
                if one.several or one.path in reader.repeats
            ),
            instances=frozenset((*self._internal, *self._external)),
            namespaces=reader.nsmap,
            dialect=dialect,
        )
        reader.scope = self.scope
        reader.read_binds()
        ruled = [one for one in self.by_path.values() if one in reader.ruled]
        if dialect == "collect":
            settle_twins(ruled, self.scope)
        reader.read_controls()
        reader.read_actions()
        self._check_versions(reader)
        if dialect == "collect":
            self._check_lists(reader)
        else:
            self._check_headings(reader)
        self.controls: tuple[Control, ...] = tuple(reader.controls)
        self.actions: tuple[Action, ...] = tuple(reader.actions)
        self.followed = tuple(
            control.definition
            for top in self.controls
            for control in top.within()
            if control.definition is not None
            and any("xforms-value-changed" in action.events for action in control.actions)
        )
        """The questions whose changes set off actions."""
        self.graph = Graph(ruled, tolerant=dialect == "webforms")
        self.routes: dict[tuple[Definition, Definition], tuple[int, Path]] = {}
        """The ways between definitions that entries have gone already."""
        reader.problems.extend(self.graph.problems)
        if reader.problems:
            raise BrokenForm(tuple(reader.problems), form=self.title)
        self.questions: tuple[Definition, ...] = tuple(self.by_path.values())
        self.preloads = tuple(one for one in self.questions if one.preload)
        self.repeats = tuple(
            definition
            for path in reader.repeats
            if (definition := self.by_path.get(path)) is not None
        )
        self.counted = tuple(one for one in self.repeats if one.repeat and one.repeat.count)
        self.selects = tuple(
            one
            for one in self.questions
            if one.select and one.control is not None and one.control.asks
        )
        for one in self.selects:
            itemset = one.control.itemset if one.control is not None else None
            if itemset is not None:
                one.offers = True
                listed = itemset.nodeset
                itemset.steady = (
                    bool(itemset.column)
                    and not listed.reads
                    and listed.functions <= {"instance"}
                    and not any(map(self.wants_last_saved, listed.instances))
                )
                for compiled in (itemset.nodeset, itemset.value):
                    if compiled.reads:
                        self.graph.chooses(Watcher("choices", one, compiled))
        self._outputs: dict[tuple[str, Path], Compiled] = {}
        self.steady_values: dict[Control, frozenset[str]] = {}
        self._watched = False
        self._hash = ""

    @classmethod
    def load(
        cls,
        xml: bytes | str,
        media: Mapping[str, bytes] | None = None,
        dialect: str = "collect",
    ) -> Form:
        """The form. `media` maps file names (or whole jr:// addresses) to what the files hold.

        Raises BrokenForm with every problem found, and NoSuchDialect.
        """
        data = xml.encode() if isinstance(xml, str) else xml
        if not isinstance(data, bytes):
            raise TypeError(f"a form is its XML, as bytes or as text, not {type(data).__name__}")
        with bulk():
            return cls(data, media or {}, dialect)

    @property
    def hash(self) -> str:
        """sha256, in hex, of the XML and of the media by name: two equal hashes, one form."""
        if not self._hash:
            digest = hashlib.sha256(hashlib.sha256(self.xml).digest())
            for name in sorted(self._media):
                digest.update(hashlib.sha256(name.encode()).digest())
                digest.update(hashlib.sha256(self._media[name]).digest())
            self._hash = digest.hexdigest()
        return self._hash

    @property
    def media_names(self) -> tuple[str, ...]:
        return tuple(file_named(src) for src in self._external.values() if src != LAST_SAVED)

    @cached_property
    def absent(self) -> frozenset[str]:
        """The ids of lists whose files did not come with the form: what is in them is not known."""
        return frozenset(
            name
            for name, src in self._external.items()
            if src == LAST_SAVED
            or (src not in self._media and src.rpartition("/")[2] not in self._media)
        )

    @cached_property
    def namespaces(self) -> Mapping[str, str]:
        """What its nodes' prefixes stand for."""
        known: dict[str, str] = {}
        for definition in self.questions:
            if definition.prefix and definition.namespace:
                known.setdefault(definition.prefix, definition.namespace)
        return known

    @cached_property
    def uploads(self) -> tuple[Definition, ...]:
        """The questions whose answers name files."""
        return tuple(
            one
            for one in self.questions
            if one.type == "binary" or (one.control is not None and one.control.kind == "upload")
        )

    @cached_property
    def timestamps(self) -> tuple[Definition, ...]:
        """Where an entry's own time stands: its end first, its start otherwise."""
        return tuple(
            one
            for which in ("end", "start")
            for one in self.preloads
            if one.preload == "timestamp" and one.preload_parameters == which
        )

    @cached_property
    def homes(self) -> frozenset[str]:
        """How the names of a submission's nodes may begin: "{uri" of each namespace, or ""."""
        uris = {one.namespace for one in self.questions} | {XFORMS, OPENROSA}
        return frozenset({"", *(f"{{{uri}" for uri in uris if uri)})

    @cached_property
    def fixed(self) -> dict[Definition, frozenset[str]]:
        """What is written into nodes that nobody is asked for, and no rule, action or preload sets.

        What stands directly in meta is the client's; of attributes, only those that say something
        are here.
        """
        targets = {one.target for one in self.actions}
        for top in self.controls:
            for control in top.within():
                targets.update(one.target for one in control.actions)
        texts: dict[Definition, set[str]] = {}
        waiting = [self.root.seed] if self.root.seed is not None else []
        waiting += [one.template for one in self.repeats if one.template is not None]
        while waiting:
            seed = waiting.pop()
            waiting.extend(seed.children)
            if not seed.definition.children:
                texts.setdefault(seed.definition, set()).add(seed.text)
            for attribute, text in seed.attributes:
                if text:
                    texts.setdefault(attribute, set()).add(text)
        return {
            one: frozenset(said)
            for one, said in texts.items()
            if one.calculate is None
            and not one.preload
            and one.path not in targets
            and (one.control is None or not one.control.asks)
            and one.parent is not self.meta
            and not (one.is_attribute and one.parent is self.root)
        }

    @cached_property
    def entities(self) -> tuple[Definition, ...]:
        """The nodes that say what becomes of an entity (ODK Entities)."""
        return tuple(
            one
            for one in self.by_path.values()
            if one.name == "entity" and "id" in one.attributes and one.path[-2:-1] == ("meta",)
        )

    @property
    def datasets(self) -> frozenset[str]:
        """The entity lists that the form writes to (ODK Entities, `dataset`)."""
        found: set[str] = set()
        waiting = [self.root.seed] if self.root.seed is not None else []
        while waiting:
            seed = waiting.pop()
            waiting.extend(seed.children)
            if seed.definition.name == "entity":
                found.update(text for one, text in seed.attributes if one.name == "dataset")
        return frozenset(found)

    def __repr__(self) -> str:
        return f"<Form {self.id} {self.version}>"

    def __eq__(self, other: object) -> bool:
        if self is other or not isinstance(other, Form):
            return self is other
        return self.dialect == other.dialect and self.hash == other.hash

    def __hash__(self) -> int:
        return hash((self.hash, self.dialect.name))

    def in_dialect(self, dialect: str) -> Form:
        """The same form with another engine's habits."""
        return self if dialect == self.dialect.name else Form(self.xml, self._media, dialect)

    # -- parts of reading

    def _add_meta(self, reader: Reader) -> None:
        """meta/instanceID and meta/deprecatedID are known everywhere, used only where needed."""
        meta = self.root.by_name.get("meta")
        fresh = meta is None
        if meta is None:
            meta = Definition(
                (*self.root.path, "meta"),
                self.root,
                namespace=OPENROSA,
                prefix="orx",
                number=reader.count,
            )
            reader.count += 1
            self.root.by_name["meta"] = meta
            reader.by_path[meta.path] = meta
        for name in ("instanceID", "deprecatedID"):
            if name in meta.by_name:
                continue
            made = Definition(
                (*meta.path, name),
                meta,
                namespace=OPENROSA if fresh else meta.namespace,
                prefix="orx" if fresh else meta.prefix,
                number=reader.count,
            )
            reader.count += 1
            meta.by_name[name] = made
            meta.children.append(made)
            reader.by_path[made.path] = made
        self.meta = meta
        self.instance_id = meta.by_name["instanceID"]
        self.deprecated_id = meta.by_name["deprecatedID"]

    def _instances(self, reader: Reader) -> None:
        for element in reader.instances:
            name = element.get("id")
            if name is None:
                continue
            src = element.get("src")
            if src is not None:
                self._external[name] = src
            else:
                self._internal.setdefault(name, element)

    def _check_lists(self, reader: Reader) -> None:
        """Choices from a list must have what the question shows and stores, as Collect asks."""
        known: dict[tuple[str, tuple[str, ...]], frozenset[str]] = {}
        fine: set[tuple[str, str, str]] = set()
        for control, itemset in reader.itemsets:
            said = itemset.nodeset.text, itemset.label.text, itemset.value.text
            place = None if said in fine else _listed(itemset.nodeset.ast)
            if place is None:
                continue
            columns = known.get(place)
            if columns is None:
                columns = known[place] = self._columns(*place)
            lacking = [
                (what, name)
                for what, part in (("label", said[1]), ("value", said[2]))
                if (name := part.strip()) not in columns and columns and COLUMN.fullmatch(name)
            ]
            for what, name in lacking:
                reader.problem(
                    control.path[-1],
                    f"its choices come from {place[0]!r}, which has no {name!r} for the {what}",
                )
            if not lacking:
                fine.add(said)

    def _check_headings(self, reader: Reader) -> None:
        """Web Forms takes each heading of a CSV for an expression, and refuses what is none."""
        for name, src in self._external.items():
            for heading in self._columns(name, ()):
                try:
                    parse_expression(heading)
                except BadExpression:
                    reader.problems.append(
                        Problem("", None, "", f"{file_named(src)} has a column {heading!r}")
                    )

    def _columns(self, name: str, steps: tuple[str, ...]) -> frozenset[str]:
        """What the first item of the list has; nothing where the list is empty or not at hand."""
        element = self._internal.get(name)
        if element is not None:
            for step in steps:
                for kid in kids(element):
                    if local(kid) == step:
                        element = kid
                        break
                else:
                    return frozenset()
            return frozenset(map(local, kids(element)))
        src = self._external.get(name, "")
        data = found(src, self._media)
        if data is None or not file_named(src).endswith(".csv"):
            return frozenset()
        try:
            return frozenset(next(iter(rows(file_named(src), data)), ()))
        except BadMedia:
            return frozenset()

    def _check_versions(self, reader: Reader) -> None:
        if self.dialect.webforms:
            if loose(reader.data, "id") is None:
                reader.problems.append(Problem("settings", None, "", "the form's data has no id"))
            if not str(reader.model.tag).startswith("{http://www.w3.org/2002/xforms}"):
                reader.problems.append(Problem("", None, "", "the <model> is none of XForms"))
        said = reader.model.get("{http://www.opendatakit.org/xforms/entities}entities-version")
        if said is not None and not ENTITY_VERSIONS.match(said):
            reader.problems.append(
                Problem(
                    "settings",
                    None,
                    "",
                    f"its entities follow version {said!r}; known are 2022.1 to 2025.1",
                )
            )
        method = self.submission.get("method")
        if (
            method is not None
            and self.dialect.name == "webforms"
            and method.lower()
            not in {
                "post",
                "form-data-post",
            }
        ):
            reader.problems.append(
                Problem("settings", None, "", f"submission method {method!r} is not supported")
            )

    # -- what entries ask

    def instance(self, name: str) -> Node | None:
        """The secondary instance, read when first asked for; None where the form has none."""
        try:
            return self._read[name]
        except KeyError:
            pass
        with self._lock:
            if name not in self._read:
                self._read[name] = self._read_instance(name)
            return self._read[name]

    def _read_instance(self, name: str) -> Node | None:
        element = self._internal.get(name)
        if element is not None:
            return node_of(element, browser=self.dialect.webforms)
        src = self._external.get(name)
        if src is None or src == LAST_SAVED:
            return None
        data = found(src, self._media)
        if data is None:
            return blank()
        try:
            return read_instance(file_named(src), data, browser=self.dialect.webforms)
        except BadMedia as fault:
            raise BrokenForm((Problem("", None, "", str(fault)),), form=self.title) from None

    def wants_last_saved(self, name: str) -> bool:
        return self._external.get(name) == LAST_SAVED

    def output(self, expression: str, at: Path) -> Compiled:
        """A value woven into a text shown at `at`; a broken one reads as blank."""
        key = (expression, at)
        found = self._outputs.get(key)
        if found is None:
            try:
                found = compile_expression(expression, at=at, scope=self.scope)
            except ValueError:
                found = compile_expression("''", at=at, scope=self.scope)
            self._outputs[key] = found
        return found

    def outputs(self, text: Text | None, at: Path) -> Iterator[Compiled]:
        """Every expression that the text depends on, in any language."""
        if text is None:
            return
        if text.expression is not None:
            yield text.expression
        for part in self.written(text):
            if isinstance(part, Output):
                yield self.output(part.expression, at)

    def written(self, text: Text) -> Iterator[str | Output]:
        yield from text.parts
        if text.itext:
            for table in self.translations.texts.values():
                for parts in table.get(text.itext, {}).values():
                    yield from parts

    def said(self, name: str, language: str, form: str = "") -> Parts | None:
        return self.translations.find(language, name, form)

    def watched(self) -> Graph:
        """The graph, knowing too what is only shown: violations, labels, choices. Nobody asks
        before the first answer, so that a form opens without them.
        """
        if not self._watched:
            with self._lock:
                if not self._watched:
                    self._watch()
                    self._watched = True
        return self.graph

    def _watch(self) -> None:
        for definition in self.questions:
            if definition.constraint is not None:
                self.graph.watch(Watcher("fault", definition, definition.constraint))
        for top in self.controls:
            for control in top.within():
                definition = control.definition or self.by_path[control.path]
                for text in (control.label, control.hint, *(one.label for one in control.items)):
                    for compiled in self.outputs(text, control.path):
                        self.graph.watch(Watcher("label", definition, compiled))
                itemset = control.itemset
                if itemset is not None:
                    for compiled in (itemset.nodeset, itemset.value):
                        self.graph.watch(Watcher("choices", definition, compiled))
                    for shown in (itemset.label, itemset.shuffled):
                        if shown is not None:
                            self.graph.watch(Watcher("label", definition, shown))

    def seed_of(self, definition: Definition) -> Seed:
        assert definition.template is not None
        return definition.template

    def own_seed(self, definition: Definition, place: int) -> Seed | None:
        """The instance at that place, from 0, that the form itself has of a counted repeat: what
        Web Forms begins with again whenever the count comes to ask for it.
        """
        control = definition.repeat
        if control is None or control.count is None or len(definition.repeats_above) > 1:
            return None
        seeds = [self.root.seed]
        for name in definition.path[1:]:
            seeds = [
                kid for one in seeds if one for kid in one.children if kid.definition.name == name
            ]
        return seeds[place] if place < len(seeds) else None


def _listed(expr: Expr) -> tuple[str, tuple[str, ...]] | None:
    """The list, and the names from its root down to its items, where the nodes are those of one."""
    if not isinstance(expr, PathTo) or not isinstance(expr.start, Call):
        return None
    if expr.start.name != "instance" or not isinstance(expr.start.arguments[0], Literal):
        return None
    if not all(step.axis == "child" and is_name(step.test) for step in expr.steps):
        return None
    names = (step.test.rpartition(":")[2] for step in expr.steps)
    return expr.start.arguments[0].value, tuple(names)


def _parsed(xml: bytes) -> Element:
    """JavaRosa reads a bare "<" in an attribute, as authors write it in expressions: so do we."""
    try:
        return parse(xml, what="the XForm")
    except BadMarkup as fault:
        if "Unescaped '<'" not in str(fault):
            raise
    mended = _ATTRIBUTE.sub(lambda found: found[0].replace(b"<", b"&lt;"), xml)
    return parse(mended, what="the XForm")


def load(
    xml: bytes | str, media: Mapping[str, bytes] | None = None, dialect: str = "collect"
) -> Form:
    """As Form.load."""
    return Form.load(xml, media, dialect)
