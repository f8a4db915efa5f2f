"""A device made small: the cheapest Argon2id that is allowed, a form, and a programme's key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from field_agent import vault
from field_agent.store import Form, Identity, Store
from schemas.envelope import parse
from tests.device.opening import ProgrammeKey

if TYPE_CHECKING:
    from pathlib import Path

    from schemas.envelope import Payload

PASSPHRASE = "correct horse battery"
QUICK = vault.Argon(iterations=1)
NOW = 1_790_000_000_000
HOUSEHOLD = Form("household", "3", "ab" * 32, "Household", "<h:html/>")


@dataclass(slots=True)
class Device:
    """An enrolled device and the private key of its programme."""

    home: Path
    store: Store
    programme: ProgrammeKey

    def again(self, now_ms: int = NOW) -> Store:
        """The store after the process ended and the agent came back."""
        self.store.close()
        opened = vault.unlock(self.home, PASSPHRASE, argon=QUICK)
        self.store = Store.open(opened, now_ms=now_ms)
        return self.store

    def opened(self, counter: int = 1) -> Payload:
        """A finished entry as the programme reads it."""
        return opened(self.store, self.programme, counter)

    def fill(self, draft: str, answers: dict[str, object]) -> None:
        self.store.begin(draft, HOUSEHOLD, started="2026-09-21T10:00:00.000+00:00", now_ms=NOW)
        for path, value in answers.items():
            self.store.save(draft, path, value)

    def finish(self, draft: str, xml: str = "<data/>", label: str = "", now_ms: int = NOW):
        return self.store.finish(
            draft,
            xml=xml,
            instance_id=f"uuid:{draft}",
            label=label,
            finished="2026-09-21T10:20:00.000+00:00",
            made=f"{NOW}-0000-d1",
            now_ms=now_ms,
        )


def openings(store: Store) -> list[bytes]:
    """Every session's opening that the device keeps."""
    return [bytes(row[0]) for row in store._all("SELECT data FROM openings ORDER BY rowid")]


def opened(store: Store, programme: ProgrammeKey, counter: int) -> Payload:
    """A finished entry of a store as the programme reads it."""
    sealed = store.envelope(counter)
    form = store._one("SELECT xml FROM forms WHERE hash = ?", (parse(sealed).header.form_hash,))
    return programme.submission(
        sealed, openings(store), store.vault.public, form[0].encode() if form else b""
    )


def device(home: Path, programme: ProgrammeKey | None = None, *, lease_s: int = 0) -> Device:
    programme = programme or ProgrammeKey.fresh()
    store = Store.open(vault.create(home, PASSPHRASE, argon=QUICK), now_ms=NOW)
    enrolled(store, programme, lease_s=lease_s)
    return Device(home, store, programme)


def enrolled(store: Store, programme: ProgrammeKey, *, lease_s: int = 0) -> None:
    store.enrol(
        Identity("d1", "north", "https://server.example", "cd" * 32, b"s" * 32, "e1"),
        [programme.public],
        lease_s=lease_s,
        now_ms=NOW,
    )
    store.put_form(HOUSEHOLD)
