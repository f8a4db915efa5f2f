"""A programme is data: who is eligible, for how much, by which channel, and why not."""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# The name under which ids are worked out from what they are for: the same thing gets the same id,
# always.
SPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://offline-registration.invalid/programme")
NAMED = re.compile(r"\$\{\s*([A-Za-z_][\w.-]*)\s*\}")
AMOUNT_MOST_MINOR = 10**12


class Unusable(Exception):
    """A programme's file cannot be used. Its message names the place and the way out."""


class Judge(Protocol):
    """Evaluates expressions of the forms' language over one record's fields."""

    def problem(self, expression: str) -> str | None:
        """Why this is no expression, or None."""

    def true(self, expression: str, record: Household) -> bool: ...

    def number(self, expression: str, record: Household) -> float: ...


@dataclass(frozen=True, slots=True)
class Household:
    """What the rules see of one record: shown values as text, members as such mappings."""

    id: str
    fields: Mapping[str, str]
    members: tuple[Mapping[str, str], ...] = ()
    frozen: str = ""
    """Why nothing may be paid to it now; empty if it may."""


@dataclass(frozen=True, slots=True)
class Rule:
    """`when` must be true; if it is not, `why` says so, with `${field}` filled in."""

    when: str
    why: str


@dataclass(frozen=True, slots=True)
class Programme:
    """If one exists, its expressions can be read. `version` is the hash of its file's meaning."""

    name: str
    title: str
    version: str
    record: str
    currency: str
    minor_digits: int
    amount_minor: str
    eligibility: tuple[Rule, ...]
    channels: Mapping[str, tuple[Rule, ...]]
    channel_field: str
    account_field: str
    name_field: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a household is eligible, and every reason why not."""

    eligible: bool
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Entitlement:
    """What one household is due in one cycle. `id` is worked out from what it is for."""

    id: str
    household: str
    name: str
    channel: str
    account: str
    amount_minor: int


@dataclass(frozen=True, slots=True)
class SetAside:
    """A household that gets nothing now, and every reason."""

    household: str
    reasons: tuple[str, ...]


def id_for(*what: str) -> str:
    """The id of a thing that is known by `what`; the lengths keep ('a', 'bc') from ('ab', 'c')."""
    return str(uuid.uuid5(SPACE, "".join(f"{len(part)}:{part}" for part in what)))


def _text(data: Mapping[str, Any], key: str, default: str | None = None) -> str:
    value = data.get(key, default)
    if not isinstance(value, str) or not value.strip():
        raise Unusable(f"{key} is missing or empty: give it as text")
    return value


def _rules(data: Any, place: str) -> tuple[Rule, ...]:
    if not isinstance(data, list):
        raise Unusable(f"{place} is no list: give a list of {{'when': ..., 'why': ...}}")
    found: list[Rule] = []
    for number, one in enumerate(data, 1):
        if not isinstance(one, dict) or set(one) != {"when", "why"}:
            raise Unusable(f"{place}, rule {number}: needs `when` and `why`, and nothing else")
        found.append(Rule(_text(one, "when"), _text(one, "why")))
    return tuple(found)


KEYS = frozenset(
    {
        "name",
        "title",
        "record",
        "currency",
        "minor_digits",
        "amount_minor",
        "eligibility",
        "channels",
        "channel_field",
        "account_field",
        "name_field",
    },
)


def read(text: str, judge: Judge) -> Programme:
    """The programme in a JSON file. Raises Unusable naming the key, the rule and the way out."""
    try:
        data = json.loads(text)
    except ValueError as wrong:
        raise Unusable(f"this is no JSON: {wrong}") from wrong
    if not isinstance(data, dict):
        raise Unusable(
            "a programme is a JSON object with name, currency, eligibility, amount_minor ..."
        )
    unknown = sorted(set(data) - KEYS)
    if unknown:
        raise Unusable(f"{unknown[0]} is no key of a programme: they are {', '.join(sorted(KEYS))}")
    name = _text(data, "name")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
        raise Unusable(f"name {name!r}: letters, digits, dot, dash and underscore, at most 64")
    currency = _text(data, "currency")
    if not re.fullmatch(r"[A-Z]{3}", currency):
        raise Unusable(f"currency {currency!r}: give three capital letters (ISO 4217)")
    digits = data.get("minor_digits", 2)
    if not isinstance(digits, int) or isinstance(digits, bool) or not 0 <= digits <= 4:
        raise Unusable(f"minor_digits {digits!r}: the digits after the point, 0 to 4")
    channels = data.get("channels")
    if not isinstance(channels, dict) or not channels:
        raise Unusable("channels is missing: name each channel with its list of rules")
    programme = Programme(
        name=name,
        title=_text(data, "title", name),
        version=hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest(),
        record=_text(data, "record", "households"),
        currency=currency,
        minor_digits=digits,
        amount_minor=_text(data, "amount_minor"),
        eligibility=_rules(data.get("eligibility"), "eligibility"),
        channels={
            str(each): _rules(rules, f"channels, {each}")
            for each, rules in sorted(channels.items())
        },
        channel_field=_text(data, "channel_field", "payment_channel"),
        account_field=_text(data, "account_field", "payment_account"),
        name_field=_text(data, "name_field", "head_name"),
    )
    for place, expression in _expressions(programme):
        wrong_with_it = judge.problem(expression)
        if wrong_with_it:
            raise Unusable(f"{place}: {expression!r}: {wrong_with_it}")
    return programme


def _expressions(programme: Programme) -> Iterable[tuple[str, str]]:
    yield "amount_minor", programme.amount_minor
    for number, rule in enumerate(programme.eligibility, 1):
        yield f"eligibility, rule {number}", rule.when
    for channel, rules in programme.channels.items():
        for number, rule in enumerate(rules, 1):
            yield f"channels, {channel}, rule {number}", rule.when


def told(why: str, record: Household) -> str:
    """The reason with the record's own values in it."""
    return NAMED.sub(lambda found: record.fields.get(found[1], "") or "?", why)


def _unknown(expression: str, record: Household) -> tuple[str, ...]:
    """The fields that the expression needs and the record does not say: not knowing is no yes."""
    names = dict.fromkeys(NAMED.findall(expression))
    return tuple(
        name for name in names if name not in {"members", "member"} and not record.fields.get(name)
    )


def _broken(rules: Iterable[Rule], record: Household, judge: Judge) -> tuple[str, ...]:
    reasons: list[str] = []
    for rule in rules:
        unknown = _unknown(rule.when, record)
        if unknown:
            reasons.append(f"{', '.join(unknown)}: not known, and the programme asks for it")
        elif not judge.true(rule.when, record):
            reasons.append(told(rule.why, record))
    return tuple(dict.fromkeys(reasons))


def verdict(programme: Programme, record: Household, judge: Judge) -> Verdict:
    """Whether this household is eligible, with every reason why not (not only the first)."""
    reasons = _broken(programme.eligibility, record, judge)
    return Verdict(not reasons, reasons)


def entitled(
    programme: Programme, cycle: str, record: Household, judge: Judge
) -> Entitlement | SetAside:
    """What is due to one enrolled household in the cycle, or why nothing is."""
    if record.frozen:
        return SetAside(record.id, (record.frozen,))
    reasons = list(verdict(programme, record, judge).reasons)
    channel = record.fields.get(programme.channel_field, "")
    if channel not in programme.channels:
        offered = ", ".join(programme.channels)
        reasons.append(
            f"asks to be paid by {channel or 'nothing'}; the programme pays by {offered}"
        )
    else:
        reasons += _broken(programme.channels[channel], record, judge)
    amount = 0
    unknown = _unknown(programme.amount_minor, record)
    if unknown:
        reasons.append(f"{', '.join(unknown)}: not known, and the amount depends on it")
    else:
        number = judge.number(programme.amount_minor, record)
        # NaN compares false with everything, so it is no whole number either.
        if not (abs(number) <= AMOUNT_MOST_MINOR and number == int(number)):
            reasons.append(
                f"the amount works out as {number}, which is no whole number of minor units"
            )
        elif number <= 0:
            reasons.append(f"the amount works out as {int(number)}: nothing to pay")
        else:
            amount = int(number)
    if reasons:
        return SetAside(record.id, tuple(dict.fromkeys(reasons)))
    # A number left over from an earlier channel is nothing to the payer of this one.
    by_account = any(
        programme.account_field in NAMED.findall(rule.when) for rule in programme.channels[channel]
    )
    return Entitlement(
        id=id_for("entitlement", programme.name, cycle, record.id),
        household=record.id,
        name=record.fields.get(programme.name_field, ""),
        channel=channel,
        account=record.fields.get(programme.account_field, "") if by_account else "",
        amount_minor=amount,
    )


def due(
    programme: Programme, cycle: str, people: Iterable[Household], judge: Judge
) -> tuple[tuple[Entitlement, ...], tuple[SetAside, ...]]:
    """The cycle's entitlements and what was set aside, both in order of household;

    each household once.
    """
    drafted: list[Entitlement] = []
    aside: list[SetAside] = []
    for record in sorted({one.id: one for one in people}.values(), key=lambda one: one.id):
        found = entitled(programme, cycle, record, judge)
        if isinstance(found, Entitlement):
            drafted.append(found)
        else:
            aside.append(found)
    return tuple(drafted), tuple(aside)
