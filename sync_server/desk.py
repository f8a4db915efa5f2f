"""The desk: what every use case of the server works with, in one value, built at the top."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import insert, select

from sync_server import signatures
from sync_server.signatures import AtRest, Keys, NoKeys
from sync_server.store.engine import Store, open_store
from sync_server.store.intake_tables import epochs, facts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime
    from pathlib import Path

    from sync_server.checking import Checker, Judged, Waiting
    from sync_server.store.engine import Tx

CONFIG = "config.json"


class NotSetUp(Exception):
    """There is no server in that folder, or its configuration cannot be read."""


@dataclass(frozen=True, slots=True)
class Config:
    """What the operator decided. `keys_command` takes the place of `keys_dir` where it is given."""

    server: str
    programme: str
    database: str
    lease_s: int = 0
    keys_dir: str = "keys"
    keys_command: str = ""
    url: str = ""
    review: dict[str, Any] = field(default_factory=dict)

    def save(self, home: Path) -> None:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = home / (CONFIG + ".new")
        fresh.write_text(json.dumps(asdict(self), indent=2, sort_keys=True) + "\n")
        fresh.chmod(0o600)
        fresh.replace(home / CONFIG)

    @staticmethod
    def load(home: Path) -> Config:
        """Raises `NotSetUp`."""
        try:
            return Config(**json.loads((home / CONFIG).read_text()))
        except FileNotFoundError as error:
            raise NotSetUp(
                f"no server in {home}: sync-server --home {home} init sets one up"
            ) from error
        except (OSError, ValueError, TypeError) as error:
            raise NotSetUp(f"{home / CONFIG} cannot be read: {error}") from error

    def database_url(self, home: Path) -> str:
        if self.database:
            return self.database
        return f"sqlite:///{self.database_file(home).resolve()}"

    def database_file(self, home: Path) -> Path:
        """SQLite's file, where no other database is named."""
        return home / "registry.db"

    def keys_folder(self, home: Path) -> Path:
        return home / self.keys_dir  # an absolute keys_dir stays where it is


@dataclass(frozen=True, slots=True)
class Desk:
    """Store, clock, ids and keys. `now` gives an aware UTC time; `new_id` a fresh UUID as text."""

    store: Store
    now: Callable[[], datetime]
    new_id: Callable[[], str]
    keys: Keys
    at_rest: AtRest
    config: Config
    checker: Checker
    home: Path | None = None
    wake: Callable[[], None] | None = None
    """Tells the server's watch that something was received; None: there is none."""

    def now_ms(self) -> int:
        """Milliseconds since 1970."""
        return int(self.now().timestamp() * 1000)

    def sign(self, data: bytes) -> bytes:
        """64 bytes of Ed25519 by the server."""
        return self.keys.signer().sign(data)

    def close(self) -> None:
        """Ends the checker and the store; works already handed in are finished first."""
        self.checker.close()
        self.store.close()

    def signed(self, data: bytes, signature: bytes) -> bool:
        """Whether the server signed `data` so."""
        return signatures.verify(self.keys.public, signature, data)


class _Unjudging:
    """For commands that take nothing in."""

    def judge(self, waiting: Sequence[Waiting]) -> Iterator[Judged]:
        raise RuntimeError(f"{len(waiting)} submissions, and this desk judges none")

    def close(self) -> None:
        """Nothing is held."""


unjudging = _Unjudging()


def prepare(store: Store, keys: Keys, *, epoch: str, at_ms: int) -> AtRest:
    """Makes the tables, the data key and the first epoch where they are missing.

    Raises `NoKeys` where the database was made with another ring.
    """
    store.create()

    def work(tx: Tx) -> str:
        found = _fact(tx, "data key")
        if found:
            return found
        wrapped = keys.new_data_key()
        tx.execute(insert(facts).values(area="", name="data key", value=wrapped))
        tx.execute(insert(epochs).values(area="", epoch=epoch, begun_ms=at_ms, why="set up"))
        return wrapped

    return keys.data_key(store.transaction(work))


def open_desk(
    home: Path,
    *,
    now: Callable[[], datetime],
    new_id: Callable[[], str],
    checker: Checker,
) -> Desk:
    """The desk of the server in `home`. Raises `NotSetUp` or `NoKeys`."""
    config = Config.load(home)
    keys = signatures.load(config.keys_folder(home), config.keys_command)
    store = open_store(config.database_url(home))
    found = store.read(lambda tx: _fact(tx, "data key"))
    if not found:
        raise NoKeys(f"the database of {home} is empty: sync-server init makes its tables")
    store.create()
    return Desk(store, now, new_id, keys, keys.data_key(found), config, checker, home)


def _fact(tx: Tx, name: str) -> str:
    found = tx.execute(
        select(facts.c.value).where(facts.c.area == "", facts.c.name == name)
    ).scalar()
    return str(found or "")
