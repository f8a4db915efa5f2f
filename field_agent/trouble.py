"""What can go wrong with the device's keys and its store; each says what was not lost."""

from __future__ import annotations

import math


class Locked(Exception):
    """The store stays closed; nothing in it was changed or lost."""


class NotSetUp(Locked):
    """There is no device at this place yet."""


class AlreadySetUp(Locked):
    """A device lives at this place: it is never overwritten."""


class WeakPassphrase(Locked):
    """The passphrase is too short to be worth its Argon2id."""


class WrongPassphrase(Locked):
    """It does not fit, or (not `tried`) it is too early to try: the next counts after `wait_s` seconds."""

    def __init__(self, wait_s: float, *, tried: bool, tries: int) -> None:
        self.wait_s = wait_s
        self.tried = tried
        # A command that was killed while it tried counts too, and accuses nobody.
        self.text = (
            "the passphrase does not fit"
            if tried
            else f"the last {tries} tries of a passphrase were wrong or did not finish"
        )
        pause = f"; try again in {math.ceil(wait_s)} s" if wait_s else "; try again"
        super().__init__(self.text + pause)


class Revoked(Locked):
    """The server withdrew this device: its key was erased, and no passphrase opens it again."""


class LeaseEnded(Locked):
    """Out of contact for too long, or the clock went back: a round opens the store again."""


class Damaged(Locked):
    """The disk gave back other bytes than were written; it is said where."""


class CannotSeal(Locked):
    """None of the programme's keys can be used by this machine's OpenSSL."""


class DiskFull(Exception):
    """The disk is full: what was being written was not stored, everything before it was."""


class Busy(Exception):
    """Another command of this device holds the store; nothing was changed."""


class Missing(Exception):
    """There is no such entry, form or file in this store."""


class NotEnrolled(Exception):
    """The device belongs to no server yet: nothing can be sealed, as there is no key to seal to."""
