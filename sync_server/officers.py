"""Officers: who they are, what they may do, how they sign in, and how guessing is made slow."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import delete, insert, select, update

from sync_server import signatures
from sync_server.store.desk_tables import officer_roles, officers, sessions

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sync_server.desk import Desk
    from sync_server.store.engine import Tx

ROLES = {
    "agent": "registers households",
    "supervisor": "checks what devices bring, returns it, settles clashes, proposes enrolments",
    "approver": "confirms what a supervisor checked, and cycles",
    "finance": "releases payments and reconciles them",
    "admin": "manages officers, programmes and cycles",
}
FREE_TRIES = 3
LONGEST_WAIT_S = 3600
SESSION_IDLE_MS = 30 * 60 * 1000
PASSWORD_LEAST = 10
NOBODY = f"scrypt:{'00' * 16}:{'00' * 32}"


class Declined(Exception):
    """The act may not be done. Its text is the reason, for a person. Nothing of it was written."""


@dataclass(frozen=True, slots=True)
class Officer:
    """Someone who proved who they are.

    Roles are read again where they matter, inside the transaction.
    """

    name: str
    roles: frozenset[str]


@dataclass(frozen=True, slots=True)
class Session:
    """A signed-in browser. `csrf` goes into every form that its pages show."""

    officer: Officer
    csrf: str


def wait_s(wrong_tries: int) -> int:
    """How long nobody can sign in under this name after so many wrong tries:

    doubling, at most an hour.
    """
    if wrong_tries < FREE_TRIES:
        return 0
    return int(min(LONGEST_WAIT_S, 2 ** min(wrong_tries - FREE_TRIES + 1, 20)))


def add(desk: Desk, name: str, roles: Iterable[str], password: str) -> Officer:
    """A new officer. Raises Declined for a name taken, a role unknown, or a password too short."""
    roles = frozenset(roles)
    if not re.fullmatch(r"[\w][\w.@-]{0,63}", name):
        raise Declined(
            f"{name!r} is no name for an officer: letters, digits, . @ - and _, at most 64"
        )
    _known(roles)
    _long_enough(password)
    stored = signatures.password_hash(password)
    at_ms = desk.now_ms()

    def work(tx: Tx) -> None:
        if tx.execute(select(officers.c.officer).where(officers.c.officer == name)).first():
            raise Declined(
                f"there is an officer {name} already: give another name, or `users password`"
            )
        row = {"officer": name, "password": stored, "active": True, "wrong_tries": 0}
        tx.execute(insert(officers).values(**row, locked_until_ms=0, made_ms=at_ms))
        for role in sorted(roles):
            tx.execute(insert(officer_roles).values(officer=name, role=role, active=True))

    desk.store.transaction(work)
    return Officer(name, roles)


def _known(roles: frozenset[str]) -> None:
    unknown = sorted(roles - set(ROLES))
    if unknown or not roles:
        wrong = f"{unknown[0]} is no role" if unknown else "no role was given"
        raise Declined(f"{wrong}: they are {', '.join(ROLES)}")


def _long_enough(password: str) -> None:
    if len(password) < PASSWORD_LEAST:
        raise Declined(f"the password is too short: give at least {PASSWORD_LEAST} characters")


def change_password(desk: Desk, name: str, password: str) -> None:
    """Sets a new password, lifts the lock, and ends every session of the officer."""
    _long_enough(password)
    stored = signatures.password_hash(password)

    def work(tx: Tx) -> None:
        changed = tx.execute(
            update(officers)
            .where(officers.c.officer == name)
            .values(password=stored, wrong_tries=0, locked_until_ms=0)
        )
        if not changed.rowcount:
            raise Declined(f"there is no officer {name}: `users list` shows them")
        tx.execute(delete(sessions).where(sessions.c.officer == name))

    desk.store.transaction(work)


def give_roles(desk: Desk, name: str, roles: Iterable[str], *, active: bool) -> None:
    """Gives roles, or (not `active`) ends them.

    Old decisions keep the role they were taken under.
    """
    roles = frozenset(roles)
    _known(roles)

    def work(tx: Tx) -> None:
        if not tx.execute(select(officers.c.officer).where(officers.c.officer == name)).first():
            raise Declined(f"there is no officer {name}: `users list` shows them")
        for role in sorted(roles):
            held = (officer_roles.c.officer == name) & (officer_roles.c.role == role)
            changed = tx.execute(update(officer_roles).where(held).values(active=active))
            if active and not changed.rowcount:
                tx.execute(insert(officer_roles).values(officer=name, role=role, active=True))

    desk.store.transaction(work)


def set_active(desk: Desk, name: str, *, active: bool) -> None:
    """Lets an officer in, or shuts them out at once: their sessions end with it."""

    def work(tx: Tx) -> None:
        changed = tx.execute(
            update(officers).where(officers.c.officer == name).values(active=active)
        )
        if not changed.rowcount:
            raise Declined(f"there is no officer {name}: `users list` shows them")
        tx.execute(delete(sessions).where(sessions.c.officer == name))

    desk.store.transaction(work)


@dataclass(frozen=True, slots=True)
class Listed:
    """An officer as a list shows them."""

    name: str
    roles: tuple[str, ...]
    active: bool
    locked: bool


def listed(desk: Desk) -> tuple[Listed, ...]:
    now_ms = desk.now_ms()

    def work(tx: Tx) -> tuple[Listed, ...]:
        rows = tx.execute(select(officers).order_by(officers.c.officer)).all()
        return tuple(
            Listed(
                row.officer,
                tuple(sorted(_roles(tx, row.officer))),
                bool(row.active),
                row.locked_until_ms > now_ms,
            )
            for row in rows
        )

    return desk.store.read(work)


def _roles(tx: Tx, name: str) -> frozenset[str]:
    rows = tx.execute(
        select(officer_roles.c.role).where(
            officer_roles.c.officer == name, officer_roles.c.active.is_(True)
        )
    )
    return frozenset(rows.scalars())


def acting(tx: Tx, name: str, *roles: str) -> str:
    """Which of `roles` the officer holds at this moment.

    Raises Declined if none, or if they are shut out.
    """
    row = tx.execute(select(officers.c.active).where(officers.c.officer == name)).first()
    if row is None or not row.active:
        raise Declined(f"{name} is no active officer")
    held = _roles(tx, name)
    for role in roles:
        if role in held:
            return role
    raise Declined(
        f"{name} is {', '.join(sorted(held)) or 'without a role'}; this takes {' or '.join(roles)}"
    )


def sign_in(desk: Desk, name: str, password: str) -> Officer:
    """The officer whose password this is. Raises Declined, with how long to wait if there were
    wrong tries.

    A try is counted before it is judged, so that many at once are counted as many.
    """
    now_ms = desk.now_ms()

    def count(tx: Tx) -> str:
        row = tx.execute(select(officers).where(officers.c.officer == name)).first()
        if row is None:
            return ""
        if row.locked_until_ms > now_ms:
            left_s = -(-(row.locked_until_ms - now_ms) // 1000)
            raise Declined(f"too many wrong passwords for {name}: try again in {left_s} s")
        tries = row.wrong_tries + 1
        tx.execute(
            update(officers)
            .where(officers.c.officer == name)
            .values(wrong_tries=tries, locked_until_ms=now_ms + wait_s(tries) * 1000)
        )
        return str(row.password) if row.active else ""

    stored = desk.store.transaction(count)
    # An unknown name costs as much as a known one, so that names cannot be told apart by the clock.
    if not signatures.password_fits(password, stored or NOBODY) or not stored:
        raise Declined("the name or the password is wrong")

    def forget(tx: Tx) -> Officer:
        tx.execute(
            update(officers)
            .where(officers.c.officer == name)
            .values(wrong_tries=0, locked_until_ms=0)
        )
        return Officer(name, _roles(tx, name))

    return desk.store.transaction(forget)


def begin_session(desk: Desk, officer: Officer, *, token: str, csrf: str) -> Session:
    """Lets a browser in that shows `token` from now on. Only its hash is stored."""
    now_ms = desk.now_ms()

    def work(tx: Tx) -> None:
        tx.execute(delete(sessions).where(sessions.c.expires_ms < now_ms))
        tx.execute(
            insert(sessions).values(
                token_hash=_token_hash(token),
                officer=officer.name,
                csrf=csrf,
                seen_ms=now_ms,
                expires_ms=now_ms + SESSION_IDLE_MS,
            )
        )

    desk.store.transaction(work)
    return Session(officer, csrf)


def session_of(desk: Desk, token: str) -> Session | None:
    """The session of this token, or None if it ended, idled for half an hour, or never was."""
    now_ms = desk.now_ms()

    def look(tx: Tx) -> tuple[Session, int] | None:
        row = tx.execute(
            select(sessions, officers.c.active)
            .join(officers, officers.c.officer == sessions.c.officer)
            .where(sessions.c.token_hash == _token_hash(token))
        ).first()
        if row is None or row.expires_ms < now_ms or not row.active:
            return None
        return Session(Officer(row.officer, _roles(tx, row.officer)), row.csrf), row.seen_ms

    found = desk.store.read(look)
    if found is None:
        return None
    session, seen_ms = found
    # A write for every page would be for nothing: a minute's precision is enough for half an hour.
    if now_ms - seen_ms > 60_000:

        def touch(tx: Tx) -> None:
            tx.execute(
                update(sessions)
                .where(sessions.c.token_hash == _token_hash(token))
                .values(seen_ms=now_ms, expires_ms=now_ms + SESSION_IDLE_MS)
            )

        desk.store.transaction(touch)
    return session


def end_session(desk: Desk, token: str) -> None:
    def work(tx: Tx) -> None:
        tx.execute(delete(sessions).where(sessions.c.token_hash == _token_hash(token)))

    desk.store.transaction(work)


def _token_hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
