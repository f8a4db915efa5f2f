"""Where ODK's engines disagree: two named sets of habits, of which `collect` is the default."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Dialect:
    """One engine's habits, each a known disagreement with a recorded case.

    name: "collect" or "webforms".
    adds_instance_id: a form without meta/instanceID is given one when it is opened.
    casts_like_java: stored numbers, times and booleans read as JavaRosa writes them.
    recalculates_on_same_value: giving the answer that is already there works out its dependents
        once more (which overwrites what a person typed over a calculated value).
    """

    name: str
    adds_instance_id: bool
    casts_like_java: bool
    recalculates_on_same_value: bool

    @property
    def webforms(self) -> bool:
        return self.name == "webforms"


COLLECT = Dialect(
    name="collect",
    adds_instance_id=False,
    casts_like_java=True,
    recalculates_on_same_value=True,
)
WEBFORMS = Dialect(
    name="webforms",
    adds_instance_id=True,
    casts_like_java=False,
    recalculates_on_same_value=False,
)
DIALECTS = {one.name: one for one in (COLLECT, WEBFORMS)}


class NoSuchDialect(ValueError):
    """Nobody has such habits; no form was read."""


def dialect_named(name: str) -> Dialect:
    """Raises NoSuchDialect."""
    found = DIALECTS.get(name)
    if found is None:
        raise NoSuchDialect(f"there is no dialect {name!r}; there are {', '.join(DIALECTS)}")
    return found
