"""Enrolment:

programmes are added as data, and the households they find eligible are listed, approved, enrolled.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from sqlalchemy import func, insert, select, update

from sync_server import officers, programme, registry, review
from sync_server.expressions import JUDGE
from sync_server.officers import Declined
from sync_server.programme import Programme, Unusable, id_for
from sync_server.store.desk_tables import enrolments, not_enrolled, programmes
from sync_server.store.engine import add_if_new

if TYPE_CHECKING:
    from sync_server.desk import Desk
    from sync_server.store.engine import Tx

PROPOSED, ENROLLED, RETURNED = "proposed", "enrolled", "returned"


@dataclass(frozen=True, slots=True)
class Proposal:
    """What one area's run of a programme found:

    a list to be approved, and who is not on it and why.
    """

    area: str
    list: str
    households: tuple[str, ...]
    not_eligible: tuple[programme.SetAside, ...]
    known: int
    """Households that an earlier list holds already."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A programme in the registry, with the number of its version."""

    programme: Programme
    number: int
    author: str


def add(desk: Desk, officer: str, text: str) -> Kept:
    """Adds a programme, or a new version of it. The same file again changes nothing.

    Raises Unusable for what cannot be read, naming the place; Declined for who may not.
    """
    found = programme.read(text, JUDGE)
    at_ms = desk.now_ms()

    def work(tx: Tx) -> Kept:
        officers.acting(tx, officer, "admin")
        newest = tx.execute(
            select(programmes)
            .where(programmes.c.programme == found.name)
            .order_by(programmes.c.number.desc())
        ).first()
        if newest is not None and newest.version == found.version:
            return Kept(found, newest.number, newest.author)
        if tx.execute(
            select(programmes.c.number).where(
                programmes.c.programme == found.name, programmes.c.version == found.version
            )
        ).first():
            raise Declined(
                f"{found.name}: this is an older version word for word; change its title"
            )
        number = 1 if newest is None else newest.number + 1
        row = {"programme": found.name, "version": found.version, "number": number}
        tx.execute(insert(programmes).values(**row, text=text, author=officer, made_ms=at_ms))
        return Kept(found, number, officer)

    return desk.store.transaction(work)


def get(tx: Tx, name: str, version: str = "") -> Programme:
    """The newest version of a programme, or the one named. Raises Declined if there is none."""
    chosen = select(programmes).where(programmes.c.programme == name)
    if version:
        chosen = chosen.where(programmes.c.version == version)
    row = tx.execute(chosen.order_by(programmes.c.number.desc())).first()
    if row is None:
        raise Declined(f"there is no programme {name}: `programme list` shows them")
    try:
        return programme.read(row.text, JUDGE)
    except Unusable as wrong:
        raise Declined(f"programme {name} cannot be used any more: {wrong}") from wrong


def listed(desk: Desk) -> tuple[tuple[Kept, int], ...]:
    """The newest version of each programme, and how many households are enrolled in it."""

    def work(tx: Tx) -> tuple[tuple[Kept, int], ...]:
        rows = tx.execute(
            select(programmes).order_by(programmes.c.programme, programmes.c.number)
        ).all()
        newest = {row.programme: row for row in rows}
        counts = {
            row.programme: row.lines
            for row in tx.execute(
                select(enrolments.c.programme, func.count().label("lines"))
                .where(enrolments.c.state == ENROLLED)
                .group_by(enrolments.c.programme)
            )
        }
        return tuple(
            (
                Kept(programme.read(row.text, JUDGE), row.number, row.author),
                counts.get(name, 0),
            )
            for name, row in newest.items()
        )

    return desk.store.read(work)


def propose(desk: Desk, officer: str, name: str) -> tuple[Proposal, ...]:
    """Lists, in each area, the households that the programme finds eligible and that no list holds
    yet.

    The list waits for its approval (`review.POLICY`). Running it again adds nothing but new
    households.
    """
    areas = desk.store.read(registry.areas)
    return tuple(
        desk.store.transaction(partial(_propose, desk, officer, name, area), lock=area)
        for area in areas
    )


def _propose(desk: Desk, officer: str, name: str, area: str, tx: Tx) -> Proposal:
    officers.acting(tx, officer, "supervisor", "admin")
    chosen = get(tx, name)
    held = set(
        tx.execute(
            select(enrolments.c.household).where(
                enrolments.c.area == area, enrolments.c.programme == name
            )
        ).scalars()
    )
    people = registry.households(desk, tx, area, chosen.record)
    fresh = [one for one in people if one.id not in held]
    verdicts = [(one.id, programme.verdict(chosen, one, JUDGE)) for one in fresh]
    eligible = tuple(sorted(household for household, found in verdicts if found.eligible))
    aside = tuple(
        programme.SetAside(household, found.reasons)
        for household, found in sorted(verdicts)
        if not found.eligible
    )
    list_id = id_for("enrolment", name, chosen.version, area, *eligible)
    add_if_new(
        tx,
        enrolments,
        [
            {
                "area": area,
                "programme": name,
                "household": household,
                "list": list_id,
                "state": PROPOSED,
                "made_ms": desk.now_ms(),
            }
            for household in eligible
        ],
    )
    if eligible:
        subject = subject_of(tx, area, list_id, author=officer)
        review.announce(tx, subject, desk.now_ms())
        add_if_new(
            tx,
            not_enrolled,
            [
                {
                    "area": area,
                    "list": list_id,
                    "household": one.household,
                    "reasons": json.dumps(one.reasons, ensure_ascii=False),
                }
                for one in aside
            ],
        )
    return Proposal(area, list_id if eligible else "", eligible, aside, len(people) - len(fresh))


def subject_of(tx: Tx, area: str, list_id: str, *, author: str = "") -> review.Subject:
    """The list as something to decide on. Its content is the programme and who is on it."""
    rows = tx.execute(
        select(enrolments.c.programme, enrolments.c.household)
        .where(enrolments.c.area == area, enrolments.c.list == list_id)
        .order_by(enrolments.c.household)
    ).all()
    if not rows:
        raise Declined(f"there is no enrolment list {list_id}")
    name = rows[0].programme
    content = {"programme": name, "households": [row.household for row in rows]}
    return review.Subject(
        area,
        "enrolment",
        list_id,
        author or review.author_of(tx, area, "enrolment", list_id),
        f"{name}: {len(rows)} households",
        review.content_hash(content),
    )


def on_list(tx: Tx, area: str, list_id: str) -> tuple[str, ...]:
    """The households on a list."""
    rows = tx.execute(
        select(enrolments.c.household)
        .where(enrolments.c.area == area, enrolments.c.list == list_id)
        .order_by(enrolments.c.household)
    )
    return tuple(rows.scalars())


def left_off(tx: Tx, area: str, list_id: str) -> tuple[programme.SetAside, ...]:
    """Who was not eligible when the list was made, and why."""
    rows = tx.execute(
        select(not_enrolled)
        .where(not_enrolled.c.area == area, not_enrolled.c.list == list_id)
        .order_by(not_enrolled.c.household)
    )
    return tuple(programme.SetAside(row.household, tuple(json.loads(row.reasons))) for row in rows)


def settle(tx: Tx, standing: review.Standing) -> None:
    """Carries out what was decided about a list: enrols its households, or gives them back."""
    if standing.state not in {review.State.APPROVED, review.State.RETURNED}:
        return
    approved = standing.state is review.State.APPROVED
    tx.execute(
        update(enrolments)
        .where(enrolments.c.area == standing.subject.area, enrolments.c.list == standing.subject.id)
        .values(state=ENROLLED if approved else RETURNED)
    )
    if approved:
        review.move(tx, standing.subject, review.State.CARRIED_OUT)


def enrolled(tx: Tx, area: str, name: str) -> frozenset[str]:
    """The households enrolled in a programme in one area."""
    rows = tx.execute(
        select(enrolments.c.household).where(
            enrolments.c.area == area,
            enrolments.c.programme == name,
            enrolments.c.state == ENROLLED,
        )
    )
    return frozenset(rows.scalars())
