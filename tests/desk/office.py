"""An office made small:

a real server on a database, officers, and batches as the intake leaves them.
"""

from __future__ import annotations

import itertools
import json
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import NAMESPACE_URL, uuid5

from sqlalchemy import insert

from schemas.envelope import Payload
from sync_server import docket, enrolment, officers
from sync_server.checking import Inline
from sync_server.desk import Config, Desk, prepare
from sync_server.intake import place
from sync_server.publish import publish
from sync_server.signatures import new_keys
from sync_server.store import intake_tables as t
from sync_server.store.engine import next_sequence, open_store

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from sync_server.review import Standing
    from tests.databases import Database

FORM = """
| survey   |                 |                 |                 |                            |
|          | type            | name            | label           | save_to                    |
|          | integer         | size            | Size            | households#size            |
|          | integer         | children        | Children        | households#children        |
|          | text            | phone           | Phone           | households#phone           |
|          | text            | head_name       | Head            | households#head_name       |
|          | text            | channel         | Channel         | households#payment_channel |
|          | text            | account         | Account         | households#payment_account |
|          | begin_repeat    | member          | Member          |                            |
|          | text            | given_name      | Given name      | persons#given_name         |
|          | end_repeat      |                 |                 |                            |
| settings |                 |                 |                 |                            |
|          | form_id         | version         | form_title      |                            |
|          | hh              | 1               | Household       |                            |
| entities |                 |                 |                 |                            |
|          | list_name       | label           | repeat          |                            |
|          | households      | ${head_name}    |                 |                            |
|          | persons         | ${given_name}   | ${member}       |                            |
"""

PROGRAMME = {
    "name": "support",
    "currency": "BIF",
    "minor_digits": 2,
    "eligibility": [
        {"when": "${size} >= 3", "why": "${size} members; the programme asks for 3"},
    ],
    "amount_minor": "100000 + 5000 * ${children}",
    "channels": {
        "cash": [],
        "mobile_money": [
            {
                "when": "regex(${payment_account}, '^\\+?[0-9]{8,15}$')",
                "why": "${payment_account} is no mobile number",
            },
        ],
    },
}
PASSWORD = "a long enough password"
STAFF = {
    "sara": ("supervisor",),
    "sam": ("supervisor",),
    "anna": ("approver",),
    "finn": ("finance",),
    "ada": ("admin",),
    "both": ("supervisor", "approver", "finance", "admin"),
}


def uuid(name: str) -> str:
    return str(uuid5(NAMESPACE_URL, name))


@dataclass
class Office:
    """The desk, and the hands that bring it work."""

    desk: Desk
    clock: list[datetime]
    counters: dict[str, Iterator[int]] = field(default_factory=dict)
    batches: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    database: Database | None = None
    """What the desk's store keeps its tables in, where a test needs to look at that."""

    def wait(self, **time: float) -> None:
        self.clock[0] += timedelta(**time)

    def bring(
        self,
        *households: Mapping[str, str],
        device: str = "tab-1",
        area: str = "north",
        label: str = "amina's tablet",
        seen: Mapping[str, Mapping[str, list[str]]] | None = None,
        action: str = "create",
    ) -> str:
        """A batch of checked submissions, as the intake leaves it; returns its subject."""
        batch = f"batch-{next(self.batches)}"
        counter = self.counters.setdefault(device, itertools.count(1))
        now_ms = self.desk.now_ms()
        form = self.desk.store.read(t_form)
        with writing(self.desk) as tx:
            known = tx.execute(t.devices.select().where(t.devices.c.device == device)).first()
            if known is None:
                tx.execute(
                    insert(t.devices).values(
                        area=area,
                        device=device,
                        label=label,
                        key=b"k",
                        box=b"b",
                        enrolled_ms=now_ms,
                    )
                )
            tx.execute(
                insert(t.batches).values(
                    area=area,
                    device=device,
                    batch=batch,
                    sequence=next_sequence(tx, area),
                    received_ms=now_ms,
                    digest="",
                    count=len(households),
                    by="network",
                )
            )
            for household in households:
                at = next(counter)
                digest = uuid(f"{device}/{at}").replace("-", "") * 2
                payload = Payload(
                    instance_id=f"uuid:{uuid(digest)}",
                    form="hh",
                    version="1",
                    form_hash=form,
                    started="",
                    finished="",
                    label=household.get("head_name", ""),
                    xml=xml(household, action),
                    seen={key: dict(value) for key, value in (seen or {}).items()},
                )
                raw = payload.pack()
                where = place(area, device, at, digest)
                tx.execute(
                    insert(t.submissions).values(
                        area=area,
                        device=device,
                        counter=at,
                        hash=digest,
                        sequence=next_sequence(tx, area),
                        batch=batch,
                        state="checked",
                        instance_id=payload.instance_id,
                        form="hh",
                        version="1",
                        form_hash=form,
                        made=f"{now_ms:013d}-0000",
                        received_ms=now_ms,
                        opened_at_rest=self.desk.at_rest.seal(where, raw),
                    )
                )
        return f"{device}:{batch}"

    def approve(self, subject: str, *names: str) -> Standing:
        """Each of these officers approves, in this order."""
        for name in names:
            standing = docket.decide(self.desk, name, subject, "approve")
        return standing

    def fold(self, *households: Mapping[str, str], **more: object) -> str:
        """A batch that two officers have approved."""
        subject = self.bring(*households, **more)
        self.approve(subject, "sara", "anna")
        return subject

    def enrolled(self, *households: Mapping[str, str]) -> str:
        """The programme's name, with these households in the registry and the eligible ones
        enrolled.
        """
        if households:
            self.fold(*households)
        enrolment.add(self.desk, "ada", json.dumps(PROGRAMME))
        for one in enrolment.propose(self.desk, "sara", "support"):
            if one.list:
                self.approve(one.list, "anna")
        return "support"


@contextmanager
def writing(desk: Desk) -> Iterator:
    with desk.store.engine.begin() as tx:
        yield tx


def t_form(tx) -> str:
    return tx.execute(t.forms.select().where(t.forms.c.form == "hh")).one().hash


def household(name: str, *people: str, **fields: str) -> dict[str, str]:
    """Answers of a household; `name` makes its id, and its members' with theirs."""
    told = {
        "id": uuid(name),
        "head_name": f"{name} Diallo",
        "size": str(max(1, len(people))),
        "children": str(max(0, len(people) - 1)),
        "channel": "cash",
        "account": "",
        "phone": "",
        **fields,
    }
    return {**told, "people": ",".join(people)}


def xml(told: Mapping[str, str], action: str) -> str:
    fields = "".join(
        f"<{name}>{told[name]}</{name}>"
        for name in ("size", "children", "phone", "head_name", "channel", "account")
        if name in told
    )
    members = "".join(
        f"<member><given_name>{person}</given_name><meta>"
        f'<entity dataset="persons" id="{uuid(told["id"] + person)}" {action}="1">'
        f"<label>{person}</label></entity></meta></member>"
        for person in filter(None, told.get("people", "").split(","))
    )
    label = f"<label>{told['head_name']}</label>" if "head_name" in told else ""
    return (
        f'<data id="hh" version="1">{fields}{members}<meta><instanceID>uuid:x</instanceID>'
        f'<entity dataset="households" id="{told["id"]}" {action}="1">{label}</entity>'
        "</meta></data>"
    )


def open_office(home: Path, url: str = "") -> Office:
    clock = [datetime(2026, 11, 23, 8, tzinfo=UTC)]
    store = open_store(url or f"sqlite:///{home / 'registry.db'}")
    keys = new_keys(at_ms=0)
    at_rest = prepare(store, keys, epoch="first", at_ms=0)
    ids = itertools.count(1)
    desk = Desk(
        store,
        lambda: clock[0],
        lambda: uuid(f"id {next(ids)}"),
        keys,
        at_rest,
        Config("test", "Registration", ""),
        Inline(store, keys, at_rest),
        home,
    )
    publish(desk, "hh.md", FORM.encode(), {})
    return Office(desk, clock)


def staff(office: Office, names: Sequence[str] = tuple(STAFF)) -> Office:
    for name in names:
        officers.add(office.desk, name, STAFF[name], PASSWORD)
    return office
