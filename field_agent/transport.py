"""The way to the server: signed requests out, signed replies in. The only file that opens a connection."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from field_agent.seal import verify
from schemas.frames import MAX_BODY, unpack
from schemas.messages import EnrolReply, EnrolRequest, pack_enrol, unpack_enrol_reply
from schemas.problems import PROBLEMS, Refused
from schemas.signing import (
    REPLY_HEADER,
    Authorization,
    enrol_bytes,
    raw,
    reply_bytes,
    request_bytes,
    text,
)
from schemas.ticket import PREFIX_DIGITS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from field_agent.belonging import Identity
    from schemas.ticket import Ticket

SOFTWARE = "field-agent 0.1.0"
ROUND = "/sync/v1/round"
ENROL = "/sync/v1/enrol"
BLOBS = "/sync/v1/blobs/"
MESSAGE = "application/zstd"
BYTES = "application/octet-stream"
CONNECT_S, READ_S = 15.0, 120.0
# What a request or a reply weighs besides its body, near enough to find where a link is cut.
_HEAD_BYTES = 400
# After so many times the bytes at which it cut, a link is trusted with more.
_FORGIVEN = 20


class Unreachable(Exception):
    """The server did not answer, or what came back was not its own: nothing on the device changed.

    `met` says whether there was a connection at all to the server before it broke, so that it is
    worth trying again at once.
    """

    def __init__(self, told: str, *, met: bool = True) -> None:
        self.met = met
        super().__init__(told)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Wire(Protocol):
    """Anything that carries one request and brings its answer, or raises `Unreachable`."""

    def send(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer: ...

    def renew(self) -> None:
        """Drop the connection, if there is one: the next request opens another."""


class Http:
    """A wire over HTTP(S) to the server at `url`."""

    def __init__(self, url: str, *, read_s: float = READ_S) -> None:
        # A command that meets no server does not wait for these.
        import requests  # noqa: PLC0415
        from urllib3.util import SKIP_HEADER  # noqa: PLC0415

        self.url = url.rstrip("/")
        if not self.url.startswith(("http://", "https://")):
            raise Unreachable(f"{url} is no address of a server: it begins with https://")
        self._read_s = read_s
        self._lost = requests.RequestException
        self._never_met = (requests.exceptions.ConnectTimeout, requests.exceptions.InvalidURL)
        self._session = requests.Session()
        # Without this, a password in a .netrc would take the place of our signature.
        self._session.auth = _as_is
        self._session.headers.clear()
        # Which program asks is signed in the message; each byte here is paid for at each request.
        self._session.headers["User-Agent"] = SKIP_HEADER

    def send(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        try:
            with self._session.request(
                method,
                self.url + path,
                data=body or None,
                headers={**headers, "Accept-Encoding": "identity"},
                timeout=(CONNECT_S, self._read_s),
                allow_redirects=False,
                stream=True,
            ) as reply:
                content = bytearray()
                for piece in reply.iter_content(65_536):
                    content += piece
                    if len(content) > MAX_BODY:
                        raise Unreachable(
                            f"{self.url} answers with more than {MAX_BODY} bytes: is it a sync server?"
                        )
                told = reply.headers.get("Content-Length")
                if (
                    method != "HEAD"
                    and told is not None
                    and told.isdigit()
                    and int(told) != len(content)
                ):
                    raise Unreachable(f"the reply of {self.url} was cut short")
                return Answer(
                    reply.status_code,
                    {name.lower(): value for name, value in reply.headers.items()},
                    bytes(content),
                )
        except self._lost as error:
            cause = _cause(error)
            # requests tells a refused connection from a broken one only by what it wraps.
            met = not isinstance(error, self._never_met) and "NewConnectionError" not in repr(error)
            raise Unreachable(f"{self.url} does not answer ({cause})", met=met) from error

    def renew(self) -> None:
        self._session.close()


def _as_is(request: Any) -> Any:
    return request


def _cause(error: BaseException) -> str:
    """The innermost reason in few words, as libraries wrap one in another."""
    seen: BaseException = error
    for _ in range(8):
        inner = getattr(seen, "reason", None)
        if not isinstance(inner, BaseException):
            inner = next((arg for arg in seen.args if isinstance(arg, BaseException)), None)
        if inner is None:
            break
        seen = inner
    words = str(getattr(seen, "strerror", None) or seen)
    words = words.rpartition("] ")[2] if "[Errno" in words else words
    return words[:120].rstrip(")'") or type(seen).__name__


@dataclass(slots=True)
class Traffic:
    """What went over the wire so far, in bytes of bodies; what was lost with a cut is counted too."""

    requests: int = 0
    sent: int = 0
    received: int = 0
    lost: int = 0
    """Requests that brought no answer."""


@dataclass(slots=True)
class Link:
    """An enrolled device's line to its server: every request signed, every reply checked.

    `sign` is the vault's; `server` the fingerprint and `server_key` the key that enrolment pinned.
    """

    wire: Wire
    device: str
    server: str
    server_key: bytes
    sign: Callable[[bytes], bytes]
    now_ms: Callable[[], int]
    traffic: Traffic = field(default_factory=Traffic)
    on_connection: int = 0
    """About how many bytes the present connection has carried, both ways."""
    cut_at: int = 0
    """How many bytes a connection carried before it was cut lately; 0: they are not cut."""
    _since_cut: int = 0

    def ask(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """The server's own answer.

        Raises `Unreachable`, also where the reply's signature is not the server's, and `Refused`
        where the server signed a refusal.
        """
        now = self.now_ms()
        signature = text(self.sign(request_bytes(method, path, body, now, self.server)))
        head = {
            "Authorization": Authorization(self.device, now, signature).header(),
            "Content-Type": BYTES if path.startswith(BLOBS) else MESSAGE,
            **(headers or {}),
        }
        weight = len(body) + _HEAD_BYTES
        if (
            self.cut_at
            and self.on_connection
            and self.on_connection + weight + _HEAD_BYTES > self.cut_at
        ):
            # The link cuts connections after so many bytes: go on with a fresh one before it does.
            self.renew()
        self.traffic.requests += 1
        self.traffic.sent += len(body)
        try:
            answer = self.wire.send(method, path, head, body)
            if not trusted(answer, signature, self.server_key, method):
                # A hotel's page does not even try to sign: it will be there for a while.
                raise Unreachable(_unsigned(answer), met=REPLY_HEADER.lower() in answer.headers)
        except Unreachable:
            self.traffic.lost += 1
            # A connection that had carried something and broke: perhaps it always does, there.
            # What got through before is what the next one is trusted with.
            if self.on_connection >= 8192:
                self.cut_at, self._since_cut = self.on_connection, 0
            self.renew()
            raise
        self.traffic.received += len(answer.body)
        self.on_connection += weight + len(answer.body) + _HEAD_BYTES
        if self.cut_at:
            self._since_cut += weight + len(answer.body)
            if self._since_cut > _FORGIVEN * self.cut_at:
                # It went well for long: perhaps the link was only bad for a while.
                self.cut_at, self._since_cut = 2 * self.cut_at, 0
        if answer.status >= 400:
            raise problem_of(answer)
        return answer

    def renew(self) -> None:
        self.wire.renew()
        self.on_connection = 0


def trusted(answer: Answer, request_signature: str, server_key: bytes, method: str) -> bool:
    """Whether the server signed this very answer to this very request."""
    body = b"" if method == "HEAD" else answer.body
    try:
        given = raw(answer.headers.get(REPLY_HEADER.lower(), ""))
    except Refused:
        return False
    return verify(server_key, given, reply_bytes(request_signature, answer.status, body))


def _unsigned(answer: Answer) -> str:
    return (
        f"what answered (status {answer.status}) is not the server that enrolled this device: "
        "a sign-in page of the network (sign in with a browser), another server, or a broken link"
    )


def problem_of(answer: Answer) -> Refused:
    """The refusal that the server signed."""
    try:
        told, _ = unpack(answer.body)
    except Refused:
        told = {}
    code = str(told.get("code", ""))
    if code not in PROBLEMS:
        by_status = {404: "not-found", 413: "too-large", 409: "blob-offset"}
        code = by_status.get(answer.status, "busy" if answer.status >= 500 else "malformed")
    return Refused(code, str(told.get("detail", ""))[:300])


def enrol(
    wire: Wire,
    ticket: Ticket,
    *,
    key: bytes,
    box: bytes,
    sign: Callable[[bytes], bytes],
    now_ms: int,
    label: str = "",
    was: Identity | None = None,
) -> EnrolReply:
    """Introduce this device with the office's code. The same code and key again give the same device.

    `was` is whose it is until then: its own server does not let it drop what nobody else holds.
    Raises `Unreachable`, and `Refused` where the code is not good or the server is another one.
    """
    proof = hmac.digest(ticket.secret, enrol_bytes(ticket.prefix, key, box), "sha256")
    mine = was.device if was and was.fingerprint.startswith(ticket.prefix) else ""
    body = pack_enrol(EnrolRequest(ticket.name(), proof, key, box, SOFTWARE, label, mine))
    signature = text(sign(request_bytes("POST", ENROL, body, now_ms, ticket.prefix)))
    answer = wire.send(
        "POST",
        ENROL,
        {
            "Authorization": Authorization("new", now_ms, signature).header(),
            "Content-Type": MESSAGE,
        },
        body,
    )
    if answer.status >= 400:
        # Nothing is pinned yet, so a refusal cannot be trusted either: it is only shown.
        refusal = problem_of(answer)
        if refusal.problem.code == "signature-wrong":
            # What is signed names the server that made the code.
            raise Unreachable(
                "the server is not the one that made this code (its fingerprint begins with "
                f"{ticket.prefix}): check the address"
            )
        raise refusal
    try:
        reply = unpack_enrol_reply(answer.body)
    except Refused as error:
        raise Unreachable("what answered is not a sync server; check the address") from error
    digest = hashlib.sha256(reply.server_key).hexdigest()
    if digest[:PREFIX_DIGITS] != ticket.prefix:
        raise Unreachable(
            "the server is not the one that made this code: its fingerprint is "
            f"{digest[:PREFIX_DIGITS]}, the code's is {ticket.prefix}"
        )
    if not trusted(answer, signature, reply.server_key, "POST"):
        raise Unreachable(_unsigned(answer))
    return reply
