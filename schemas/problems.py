"""The one catalogue of problems: each has a code, an HTTP status, a sentence and a way out."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class Kind:
    """One sort of problem: what is so, and what the person in front of it can do."""

    code: str
    status: int
    title: str
    way_out: str
    again: bool = False
    """Whether sending the very same request later can succeed."""


_KINDS = (
    # The request as a whole.
    Kind("malformed", 400, "The message cannot be read", "Update the program that sent it."),
    Kind(
        "too-large",
        413,
        "The message is larger than this server takes",
        "Send less at once; the limits are in docs/protocol.md.",
    ),
    Kind(
        "protocol-unknown",
        400,
        "This server does not speak that version of the protocol",
        "Update whichever of the two programs is older.",
    ),
    Kind(
        "device-unknown",
        401,
        "No device of that name is enrolled here",
        "If this is its server, restored from an old copy, enrol the device again by that very name, "
        "and it sends what it holds: sync-server enrol-device --area AREA --name NAME.",
    ),
    Kind(
        "signature-wrong",
        401,
        "The signature does not fit the message and the device",
        "Check that the address is the server that enrolled this device.",
    ),
    Kind(
        "device-revoked",
        403,
        "This device was revoked",
        "Ask the supervisor; what was received before is kept.",
    ),
    Kind(
        "code-unreadable",
        422,
        "That is no enrolment code",
        "Type it again as the office showed it, or give the file that the office wrote.",
    ),
    Kind("code-unknown", 403, "That enrolment code is not known", "Ask for a new code."),
    Kind("code-expired", 403, "That enrolment code has expired", "Ask for a new code."),
    Kind("code-used", 403, "That enrolment code was used by another device", "Ask for a new code."),
    Kind(
        "code-astray",
        409,
        "That enrolment code would make another device of this one, and what it holds would be lost",
        "This server does not know the device, as after it was restored from an old copy. Ask for a "
        "code by the device's own name: sync-server enrol-device --area AREA --name NAME. This code "
        "is not used up.",
    ),
    Kind("not-found", 404, "There is nothing here by that name", "Check the address."),
    Kind(
        "batch-changed",
        409,
        "A batch of that id was received before, with other contents",
        "Give the batch a new id; nothing was lost.",
    ),
    Kind("busy", 503, "The server could not finish in time", "Try again in a moment.", again=True),
    Kind(
        "storage-full",
        507,
        "The server's disk or database is full",
        "Free space on the server; devices keep everything until then.",
        again=True,
    ),
    # Blobs.
    Kind(
        "blob-unknown",
        404,
        "No submission or form here names that file",
        "Send the submission first; its attachments come after it.",
    ),
    Kind("blob-offset", 409, "The file goes on at another place", "Go on at Upload-Offset."),
    Kind(
        "blob-differs",
        422,
        "The finished file does not have the hash it was sent under",
        "Send it again from the start; the part received was dropped.",
    ),
    # One envelope of a batch.
    Kind(
        "envelope-malformed",
        422,
        "The sealed submission cannot be read",
        "It stays on the device; make a backup and show it to the office.",
    ),
    Kind(
        "envelope-signature",
        422,
        "The sealed submission is not signed by this device",
        "It stays on the device; make a backup and show it to the office.",
    ),
    Kind(
        "counter-forked",
        409,
        "Two different submissions carry the same place in this device's chain",
        "Someone must look: was the device restored from a copy, or are there two of it? It stays "
        "out of the registry until a supervisor releases it, or returns it and the household is "
        "registered again.",
    ),
    Kind(
        "chain-broken",
        409,
        "The submission does not follow the one before it in this device's chain",
        "Someone must look: was the device restored from a copy, or are there two of it? It stays "
        "out of the registry until a supervisor releases it, or returns it and the household is "
        "registered again.",
    ),
    Kind(
        "key-unknown",
        422,
        "The server has no key that opens this submission",
        "Give the server the key: sync-server keys list shows which it has.",
        again=True,
    ),
    Kind(
        "session-unknown",
        409,
        "The server has no opening of the session that the submission was sealed in",
        "Nothing was lost: the device sends the opening along with the next batch.",
    ),
    Kind(
        "seal-broken",
        422,
        "The seal of the submission is broken",
        "It was kept as it came; register the household again.",
    ),
    Kind(
        "payload-differs",
        422,
        "The inside of the submission does not match its outside",
        "It was kept as it came; register the household again.",
    ),
    Kind(
        "form-unknown",
        202,
        "The server does not have that version of the form yet",
        "Nothing to do: it is parked, and taken up when the form is published.",
    ),
    Kind(
        "answers-refused",
        422,
        "The answers do not pass the form's own checks",
        "Correct the answers named and finish the form again.",
    ),
    Kind(
        "instance-known",
        409,
        "Another submission with the same instance id was received before",
        "Someone must look: a correction names its parent and has its own instance id.",
    ),
    # Bundles.
    Kind(
        "bundle-cut",
        422,
        "The bundle is cut short or damaged",
        "Nothing was taken; copy the file again.",
    ),
    Kind("bundle-foreign", 422, "The bundle is for another server", "Take it to that server."),
    Kind(
        "bundle-astray",
        422,
        "This file is not for here",
        "What a device wrote goes to sync-server take, its receipts to field-agent take there.",
    ),
    Kind(
        "reply-foreign",
        422,
        "The receipts are not for this device",
        "Look for the file that came back for this device's own bundle.",
    ),
    # Backups.
    Kind(
        "backup-unfit",
        422,
        "The file is no backup of a device, or is cut short or damaged",
        "Nothing was taken; copy it again from where field-agent backup wrote it.",
    ),
    Kind("backup-foreign", 422, "The backup is for another server", "Take it to that server."),
)

PROBLEMS = {kind.code: kind for kind in _KINDS}


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem as it happened. `detail` names the place, never what a person answered."""

    code: str
    detail: str = ""

    def __post_init__(self) -> None:
        if self.code not in PROBLEMS:
            raise ValueError(f"schemas/problems.py has no problem {self.code!r}")

    @property
    def kind(self) -> Kind:
        return PROBLEMS[self.code]

    @property
    def status(self) -> int:
        return self.kind.status

    def sentence(self) -> str:
        """What is so, where, and the way out, for a person."""
        where = f" ({self.detail})" if self.detail else ""
        return f"{self.kind.title}{where}. {self.kind.way_out}"

    def as_json(self) -> dict[str, object]:
        """`{code, title, detail, way_out, again}`, for the wire and for `--json`."""
        return {
            "code": self.code,
            "title": self.kind.title,
            "detail": self.detail,
            "way_out": self.kind.way_out,
            "again": self.kind.again,
        }


class Refused(Exception):
    """The caller cannot go on with what it was given; `problem` says why."""

    def __init__(self, code: str, detail: str = "") -> None:
        self.problem = Problem(code, detail)
        super().__init__(self.problem.sentence())


@contextmanager
def at(place: str) -> Iterator[None]:
    """A refusal from inside names `place` too, such as the file that a person gave."""
    try:
        yield
    except Refused as error:
        detail = f"{place}: {error.problem.detail}" if error.problem.detail else place
        raise Refused(error.problem.code, detail) from error
