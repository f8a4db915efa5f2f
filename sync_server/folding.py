"""A record out of its acts: what each field shows, what is live beside it, and what a person must look at.

Pure. A field is a multi-value register: an act's write is known by its dot (device, counter) and names the dots
that its author had seen and replaces. Folding is by set, so order and duplicates of acts change nothing.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

EXISTS = "exists"
"""The field of a member that is blank once the member is gone."""


@dataclass(frozen=True, slots=True, order=True)
class Write:
    """One value that someone gave one field. `at_ms` is the server's effective time."""

    at_ms: int
    device: str
    counter: int
    value: str
    author: str

    @property
    def dot(self) -> str:
        return f"{self.device}:{self.counter}"


@dataclass(frozen=True, slots=True)
class Act:
    """One act on one record: path -> (value, dots it replaces). Never altered."""

    record: str
    kind: str
    device: str
    counter: int
    author: str
    at_ms: int
    writes: Mapping[str, tuple[str, tuple[str, ...]]]

    @property
    def dot(self) -> str:
        return f"{self.device}:{self.counter}"

    def as_json(self) -> dict[str, Any]:
        """As it is stored, and as devices pull it. `at` is 13 digits, so that as text it sorts as in time."""
        return {
            "record": self.record,
            "kind": self.kind,
            "device": self.device,
            "counter": self.counter,
            "dot": self.dot,
            "author": self.author,
            "at": f"{self.at_ms:013d}",
            "writes": {
                path: {"value": value, "replaces": list(replaces)}
                for path, (value, replaces) in sorted(self.writes.items())
            },
        }

    @staticmethod
    def of_json(said: Mapping[str, Any]) -> Act:
        """The act that `as_json` wrote."""
        return Act(
            said["record"],
            said["kind"],
            said["device"],
            said["counter"],
            said["author"],
            int(said["at"]),
            {path: (one["value"], tuple(one["replaces"])) for path, one in said["writes"].items()},
        )


def _latest(live: tuple[Write, ...]) -> str:
    return max(live).value


def _earliest(live: tuple[Write, ...]) -> str:
    return min(live).value


def _number(write: Write) -> tuple[int, float, str]:
    """Numbers above words, so that a mistyped value never wins over a number."""
    try:
        return (1, float(write.value), "")
    except ValueError:
        return (0, 0.0, write.value)


def _union(live: tuple[Write, ...]) -> str:
    return " ".join(sorted({part for write in live for part in write.value.split()}))


# What to show of several live values. None of these drops any: they only choose.
SHOW: Mapping[str, Callable[[tuple[Write, ...]], str]] = {
    "last-writer": _latest,
    "immutable": _earliest,
    "review": _latest,
    "max": lambda live: max(live, key=_number).value,
    "min": lambda live: min(live, key=lambda write: (-_number(write)[0], _number(write)[1])).value,
    "union": _union,
}
LOOK = frozenset({"review", "immutable"})
"""Policies under which a person looks at differing live values."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Fields whose name fits `fields` follow `policy`; a clash in them holds payments back if it `freezes`."""

    fields: str
    policy: str
    freezes: bool = False


# By kind of field. The first that fits decides; what fits none follows the last.
DEFAULTS = (
    Rule(r"(.*_)?account(_.*)?|iban|(.*_)?wallet(_.*)?", "review", freezes=True),
    Rule(r"payment_channel", "review", freezes=True),
    Rule(
        r"(.*_)?(name|names|surname)|birth_date|dob|date_of_birth|id_number|national_id", "review"
    ),
    Rule(r"difficulties|phones|.*_all", "union"),
    Rule(r".*", "last-writer"),
)


def rules_of(config: Iterable[Mapping[str, Any]]) -> tuple[Rule, ...]:
    """The operator's rules before the defaults. Raises ValueError naming what is wrong."""
    found: list[Rule] = []
    for one in config:
        policy = one.get("policy")
        if policy not in SHOW:
            raise ValueError(f"{policy!r} is no policy: they are {', '.join(SHOW)}")
        re.compile(str(one["fields"]))
        found.append(Rule(str(one["fields"]), str(policy), bool(one.get("freezes"))))
    return (*found, *DEFAULTS)


def rule_for(path: str, rules: tuple[Rule, ...]) -> Rule:
    name = path.rpartition("/")[2]
    return next(
        (rule for rule in rules if re.fullmatch(rule.fields, name)), Rule(".*", "last-writer")
    )


@dataclass(frozen=True, slots=True)
class Clash:
    """Differing live values of a field that a person must choose from. `suggested` is one of them."""

    path: str
    sides: tuple[Write, ...]
    suggested: str
    why: str
    freezes: bool


@dataclass(frozen=True, slots=True)
class Folded:
    """A record as its acts make it. `fields` are shown values; `live` all that stand, latest last."""

    fields: Mapping[str, str]
    members: Mapping[str, Mapping[str, str]]
    live: Mapping[str, tuple[Write, ...]]
    clashes: tuple[Clash, ...]


def live_writes(acts: Iterable[Act]) -> dict[str, tuple[Write, ...]]:
    """Written minus replaced, for each path. What one device wrote later replaces what it wrote before."""
    written: dict[str, dict[str, Write]] = defaultdict(dict)
    replaced: dict[str, set[str]] = defaultdict(set)
    for act in acts:
        for path, (value, replaces) in act.writes.items():
            written[path][act.dot] = Write(act.at_ms, act.device, act.counter, value, act.author)
            replaced[path].update(replaces)
    live: dict[str, tuple[Write, ...]] = {}
    for path, writes in written.items():
        newest: dict[str, int] = {}
        for write in writes.values():
            newest[write.device] = max(newest.get(write.device, 0), write.counter)
        standing = [
            write
            for dot, write in writes.items()
            if dot not in replaced[path] and write.counter == newest[write.device]
        ]
        # A circle of replacements cannot come from honest devices; the latest write stands then.
        live[path] = tuple(sorted(standing or [max(writes.values())]))
    return live


def fold(acts: Iterable[Act], rules: tuple[Rule, ...] = DEFAULTS) -> Folded:
    """The record. Commutative, associative and idempotent in its acts; no write is silently dropped."""
    live = live_writes(acts)
    fields: dict[str, str] = {}
    members: dict[str, dict[str, str]] = defaultdict(dict)
    clashes: list[Clash] = []
    for path, writes in sorted(live.items()):
        rule = rule_for(path, rules)
        value = SHOW[rule.policy](writes)
        if rule.policy in LOOK and len({write.value for write in writes}) > 1:
            clashes.append(Clash(path, writes, value, _why(writes, value), rule.freezes))
        parts = path.split("/")
        if len(parts) == 3 and parts[0] == "members":
            members[parts[1]][parts[2]] = value
        else:
            fields[path] = value
    here = {
        person: {name: value for name, value in said.items() if name != EXISTS}
        for person, said in members.items()
        if said.get(EXISTS, "yes") == "yes"
    }
    return Folded(fields, here, live, tuple(clashes))


def _why(writes: tuple[Write, ...], value: str) -> str:
    who = next(write for write in reversed(writes) if write.value == value)
    return (
        f"{len({write.value for write in writes})} values were written without sight of each other; "
        f"suggested is the latest, by {who.author}"
    )
