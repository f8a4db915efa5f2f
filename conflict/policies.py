"""Which of its answers a field shows, and whether a person must look. Data, not code."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, cast, get_args

from conflict.change import EXISTS

if TYPE_CHECKING:
    from collections.abc import Mapping

Policy = Literal["last-writer", "immutable", "max", "min", "union", "sum", "review", "existence"]
POLICIES = frozenset(get_args(Policy)) - {"existence"}
Type = Literal["text", "number", "date", "set"]
TYPES = frozenset(get_args(Type))
Sort = Literal["name", "birth date", "identifier", "payment account", "phone", "other"]
SORTS = frozenset(get_args(Sort))

ALWAYS_REVIEWED = frozenset({"name", "birth date", "identifier", "payment account"})
"""Kinds of field of which no rule decides: a wrong one pays, or hides, the wrong person."""

_GUESSES: tuple[tuple[Sort, re.Pattern[str]], ...] = (
    (
        "payment account",
        re.compile(r"(^|_)(iban|account|wallet|mobile_money|momo|bank|payee|payment)(_|$)"),
    ),
    ("birth date", re.compile(r"(^|_)(dob|birth_?date|birth_?day|date_of_birth|born)(_|$)")),
    (
        "identifier",
        re.compile(
            r"(^|_)(id|nin|nid|ssn|identifier|id_?number|passport|voter_?card|ration_?card)$"
        ),
    ),
    ("phone", re.compile(r"(^|_)(phones?|mobile|msisdn|telephone)(_|$)")),
    ("name", re.compile(r"(^|_)(name|surname|forename|first_?name|last_?name|label)$")),
)


class BadPolicy(ValueError):
    """Policies that cannot be followed; the message names the field and the way out."""


@dataclass(frozen=True, slots=True)
class Policies:
    """How a dataset's fields are shown, declared with its form or the registry's schema.

    Keys are names of fields; `members/<field>` speaks of a member's field alone and goes before
    `<field>`. `sorts` says what kind of field one is where its name does not (or misleads).
    `aliases` maps the names of older form versions to today's. `types` says what a value must be:
    another goes to a person. Raises BadPolicy.
    """

    fields: Mapping[str, Policy] = field(default_factory=dict)
    sorts: Mapping[str, Sort] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    types: Mapping[str, Type] = field(default_factory=dict)
    default: Policy = "last-writer"
    _paths: dict[str, tuple[Policy, Sort, Type | None]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        for name, known, what in (
            ("fields", POLICIES, "policy"),
            ("sorts", SORTS, "kind of field"),
            ("types", TYPES, "type"),
        ):
            for key, value in getattr(self, name).items():
                if value not in known:
                    raise BadPolicy(
                        f"field {key}: {value!r} is no {what}; choose one of "
                        f"{', '.join(sorted(known))}"
                    )
        if self.default not in POLICIES:
            raise BadPolicy(f"{self.default!r} is no policy to default to")
        aliases = {old: self._today(old) for old in self.aliases}
        for name, value in (
            ("fields", self.fields),
            ("sorts", self.sorts),
            ("aliases", aliases),
            ("types", self.types),
        ):
            object.__setattr__(self, name, MappingProxyType(dict(value)))
        for key, policy in self.fields.items():
            sort = self._sort(key)
            if sort in ALWAYS_REVIEWED and policy != "review":
                raise BadPolicy(
                    f"field {key} is a {sort}, which a person always reviews, so it cannot be "
                    f"{policy!r}; if it is none, say what it is under sorts"
                )

    def _today(self, old: str) -> str:
        passed = [old]
        while passed[-1] in self.aliases:
            passed.append(self.aliases[passed[-1]])
            if len(set(passed)) < len(passed):
                raise BadPolicy(f"the aliases run in a circle: {' -> '.join(passed)}")
        return passed[-1]

    def path(self, path: str) -> str:
        """The path by today's names."""
        if not self.aliases:
            return path
        around, slash, name = path.rpartition("/")
        return f"{around}{slash}{self.aliases.get(name, name)}"

    def policy(self, path: str) -> Policy | None:
        """The policy declared for this path or its kind; None where only the default speaks."""
        return self.of(path)[0] or None

    def sort(self, path: str) -> Sort:
        """What kind of field stands at this path."""
        return self.of(path)[1]

    def of(self, path: str) -> tuple[Policy | Literal[""], Sort, Type | None]:
        """Policy ("" where none is declared), kind of field and type of a path; remembered."""
        key = f"members/{path.rpartition('/')[2]}" if path.startswith("members/") else path
        # A pure function of the frozen fields: remembering it changes no answer.
        known = self._paths.get(key)
        if known is None:
            known = self._paths[key] = self._work_out(key)
        return known

    def _work_out(self, key: str) -> tuple[Policy, Sort, Type | None]:
        name = key.rpartition("/")[2]
        sort = self._sort(key)
        kind = self.types.get(key) or self.types.get(name)
        declared = self.fields.get(key) or self.fields.get(name)
        if name == EXISTS:
            return "existence", "other", None
        if sort in ALWAYS_REVIEWED:
            return "review", sort, kind
        if declared:
            return declared, sort, kind
        if sort == "phone" or kind == "set":
            return "union", sort, kind
        return cast("Policy", ""), sort, kind

    def _sort(self, key: str) -> Sort:
        name = key.rpartition("/")[2]
        said = self.sorts.get(key) or self.sorts.get(name)
        if said:
            return said
        lower = name.lower().replace("-", "_")
        return next((sort for sort, like in _GUESSES if like.search(lower)), "other")

    def to_json(self) -> str:
        """`{"fields", "sorts", "aliases", "types", "default"}` as JSON."""
        return json.dumps(
            {
                "fields": dict(self.fields),
                "sorts": dict(self.sorts),
                "aliases": dict(self.aliases),
                "types": dict(self.types),
                "default": self.default,
            },
            ensure_ascii=False,
            sort_keys=True,
        )

    @classmethod
    def from_json(cls, text: str | bytes) -> Policies:
        """What `to_json` wrote, or a plain `{field: policy}`. Raises BadPolicy."""
        try:
            said = json.loads(text)
        except (ValueError, RecursionError) as fault:
            raise BadPolicy(f"the policies are no JSON: {fault}") from None
        if not isinstance(said, dict):
            raise BadPolicy("policies are a JSON object of fields")
        parts = {"fields", "sorts", "aliases", "types", "default"}
        if not isinstance(said.get("fields"), dict):
            said = {"fields": said}
        if unknown := sorted(said.keys() - parts):
            raise BadPolicy(f"policies have no part {unknown[0]!r}; parts are {sorted(parts)}")
        for part in parts - {"default"}:
            held = said.get(part, {})
            if not isinstance(held, dict) or not all(isinstance(v, str) for v in held.values()):
                raise BadPolicy(f"the {part} of policies are a JSON object of texts")
        return cls(**said)


DEFAULTS = Policies()
