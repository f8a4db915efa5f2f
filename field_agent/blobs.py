"""Files on their way, resumable by offset: sealed attachments out, forms and their media in."""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING, Any

from field_agent.course import passes_soon
from field_agent.pace import Pace
from field_agent.store import Form
from field_agent.transport import BLOBS, Unreachable
from field_agent.trouble import Missing
from schemas.problems import Refused

if TYPE_CHECKING:
    from field_agent.course import Course
    from field_agent.store import SealedAttachment

CHUNK_MIN, CHUNK_START, CHUNK_MAX = 8 * 1024, 64 * 1024, 2 * 1024 * 1024


class Blobs:
    """The files of one sync, chunk by chunk as large as the link bears."""

    def __init__(self, course: Course) -> None:
        self._course, self._means, self._store = course, course.means, course.store
        self._chunks = Pace(CHUNK_MIN, CHUNK_START, CHUNK_MAX)

    # Attachments.

    def send_attachments(self) -> bool:
        """Send what is left of files, the smallest first; whether there was anything to send."""
        waiting = sorted(self._store.attachments(), key=lambda one: (one.size - one.sent, one.hash))
        ready = [one for one in waiting if self._store.receipt_of(one.counter) is not None]
        sent = [self._attachment(one) for one in ready]
        return any(sent)

    def _attachment(self, one: SealedAttachment) -> bool:
        """Whether the server holds it whole now, by its own word."""
        at: int | None = one.sent
        while True:
            try:
                if at is None:
                    at = self._held(one)
                    self._store.attachment_sent(one.hash, at)
                if at >= one.size:
                    break
                at = self._chunk(one, at)
            except Unreachable as error:
                self._course.failed(str(error), met=error.met)
                if error.met:
                    self._chunks.was_cut()
                at = None
            except Refused as error:
                code = error.problem.code
                if code == "blob-unknown":
                    # The server lost the entry that names it: a round sends that again first.
                    return False
                if code not in {"blob-offset", "blob-differs"} and not error.problem.kind.again:
                    raise
                self._course.failed(error.problem.sentence(), met=passes_soon(error.problem))
                at = None
        self._course.outcome.attachments += 1
        return True

    def _held(self, one: SealedAttachment) -> int:
        answer = self._means.link.ask("HEAD", BLOBS + one.hash)
        return _offset(answer.headers, one.size)

    def _chunk(self, one: SealedAttachment, at: int) -> int:
        data = self._store.attachment_bytes(one.hash, at, self._chunks.size)
        self._course.say("sending files")
        began = self._means.steady_s()
        answer = self._means.link.ask("PATCH", BLOBS + one.hash, data, {"Upload-Offset": str(at)})
        self._course.answered()
        self._chunks.went_well(self._means.steady_s() - began, len(data))
        now = _offset(answer.headers, one.size)
        # The header is not signed, the status is: no more than was sent is believed.
        now = min(now, at + len(data))
        self._store.attachment_sent(one.hash, now)
        self._course.bytes_done += max(0, now - at)
        return now

    # Forms and their media.

    def fetch_forms(self, told: dict[str, Any]) -> None:
        """Have the forms of this list and no other current ones; of an empty one, nothing is known."""
        if not told:
            return
        for one in told.get("list", ()):
            self._form(one)
        with self._store.transaction():
            self._store.retire_forms(
                (str(one["form"]), str(one["version"])) for one in told.get("list", ())
            )
            self._store.keep("forms_digest", str(told.get("digest", "")))

    def _form(self, one: dict[str, Any]) -> None:
        try:
            held = self._store.form(one["form"], one["version"])
        except Missing:
            held = None
        media = {part["name"]: part["hash"] for part in one.get("media", ())}
        for part in one.get("media", ()):
            try:
                self._store.media(part["hash"])
            except Missing:
                self._store.put_media(part["hash"], self._fetch(part["hash"], part["size"]))
        if held is not None and held.hash == one["hash"] and held.media == media:
            return
        xml = self._fetch(one["hash"], one["size"]).decode()
        self._store.put_form(
            Form(one["form"], one["version"], one["hash"], one.get("title", ""), xml, media)
        )
        self._course.outcome.forms.append(f"{one['form']} {one['version']}")

    def _fetch(self, name: str, size: int) -> bytes:
        """A form's file, whole and of its hash; what arrived before a cut is kept for the next sync."""
        kept = f"part {name}"
        data = bytearray(base64.b64decode(self._store.kept(kept, "")))
        while True:
            while len(data) < size:
                end = min(size, len(data) + self._chunks.size) - 1
                began = self._means.steady_s()
                self._course.say("fetching forms")
                try:
                    answer = self._means.link.ask(
                        "GET", BLOBS + name, headers={"Range": f"bytes={len(data)}-{end}"}
                    )
                except Unreachable as error:
                    self._store.keep(kept, base64.b64encode(data).decode())
                    self._course.failed(str(error), met=error.met)
                    if error.met:
                        self._chunks.was_cut()
                    continue
                self._course.answered()
                self._chunks.went_well(self._means.steady_s() - began, len(answer.body))
                if not answer.body:
                    raise Unreachable(f"the server gives {len(data)} of {size} bytes of {name}")
                data += answer.body[: end + 1 - len(data)]
            if hashlib.sha256(data).hexdigest() == name:
                break
            data.clear()
            self._store.keep(kept, "")
            self._course.failed(f"the file {name[:12]} arrived with other bytes", met=True)
        if self._store.kept(kept):
            self._store.keep(kept, "")
        return bytes(data)


def _offset(headers: Any, size: int) -> int:
    told = str(headers.get("upload-offset", ""))
    if not told.isdigit():
        raise Unreachable("the server's reply about a file names no offset")
    return min(int(told), size)
