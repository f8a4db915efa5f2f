"""A sync: what is finished goes out, what happened comes in, cut and resumed anywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from field_agent.blobs import Blobs
from field_agent.course import Course
from field_agent.rounds import Rounds
from field_agent.transport import Link
from field_agent.trouble import Revoked
from schemas.problems import Refused

if TYPE_CHECKING:
    from collections.abc import Callable

    from field_agent.course import Means, Outcome
    from field_agent.store import Store
    from field_agent.transport import Wire

KEEP_SEALED_MS = 90 * 86_400_000


def link_of(store: Store, wire: Wire, now_ms: Callable[[], int]) -> Link:
    """The line from this device to the server that enrolled it. Raises `NotEnrolled`."""
    who = store.owner()
    return Link(wire, who.device, who.fingerprint, who.server_key, store.vault.sign, now_ms)


class Run:
    """One sync over a wire, from hello to the last file. Build one for each."""

    def __init__(self, means: Means) -> None:
        self._means = means
        self._course = Course(means)
        self._rounds = Rounds(self._course)
        self._blobs = Blobs(self._course)

    def sync(self) -> Outcome:
        """Everything there is to do, until it is done or patience ends.

        Raises `Unreachable` (what was done is kept, the rest is sent next time), `Refused` where the
        server will not have this device or program, `Revoked` after erasing the key.
        """
        store, outcome = self._means.store, self._course.outcome
        try:
            self._rounds.run()
            while self._blobs.send_attachments():
                # What the server says of files in headers is not signed; what it says in a round is.
                self._rounds.run()
            self._blobs.fetch_forms(self._rounds.form_list)
            store.drop_sealed(made_before_ms=self._means.now_ms() - KEEP_SEALED_MS)
        except Refused as error:
            if error.problem.code == "device-revoked":
                reason = error.problem.detail or "by the server"
                store.revoke(reason)
                raise Revoked(
                    f"the server has revoked this device ({reason}): its key was erased; "
                    "what was received before is kept there"
                ) from error
            raise
        finally:
            self._rounds.end()
            outcome.left = store.unsent()
            outcome.attachments_left = len(store.attachments())
        self._course.say("done")
        return outcome
