"""Rules that Collect keeps as one, because they say the same of nodes in different places."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forms.graph import KINDS
from forms.language import compile_expression, written

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from forms.language import Compiled, Scope
    from forms.model import Definition, Path


def shared(paths: Iterable[Path]) -> Path:
    """What all the paths begin with."""
    first, *others = paths
    for path in others:
        length = 0
        while length < min(len(first), len(path)) and first[length] == path[length]:
            length += 1
        first = first[:length]
    return first


def settle_twins(ruled: Iterable[Definition], scope: Scope) -> None:
    """An absolute path means the own instance of the repeats around all the nodes of which the
    same is said, and no deeper: JavaRosa works the one rule out from where they all are
    (Triggerable.intersectContextWith).
    """
    for kind in KINDS:
        rules = [(one, compiled) for one in ruled if (compiled := getattr(one, kind)) is not None]
        if not any(compiled.program.pins for _, compiled in rules):
            continue
        # Those that say the same read the same, which is sooner told.
        reading: dict[frozenset[Path], list[tuple[Definition, Compiled]]] = {}
        for definition, compiled in rules:
            reading.setdefault(compiled.reads, []).append((definition, compiled))
        for alike in reading.values():
            if len(alike) > 1:
                _settle(kind, alike, scope)


def _settle(kind: str, rules: Sequence[tuple[Definition, Compiled]], scope: Scope) -> None:
    alike: dict[object, list[Path]] = {}
    for definition, compiled in rules:
        alike.setdefault(said(definition, compiled), []).append(definition.path)
    for definition, compiled in rules:
        around = shared(alike[said(definition, compiled)])
        if len(around) < compiled.program.pins:
            narrower = compile_expression(
                compiled.text, at=definition.path, scope=scope, pinned=len(around)
            )
            setattr(definition, kind, narrower)


ALONE = frozenset({"now", "once", "random", "today", "uuid"})
"""With one of these in it no rule says the same as another to JavaRosa."""


def said(definition: Definition, compiled: Compiled) -> object:
    """What a rule says, however it is spaced: what is written by hand and what ${name} became."""
    own = None if compiled.functions.isdisjoint(ALONE) else definition.path
    return written(compiled.ast), compiled.reads, own
