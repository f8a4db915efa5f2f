"""The enrolment code: one secret, bound to one server, as typed, as a QR picture and as a file."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass

from schemas.problems import Refused

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's base 32: no I, L, O, U
_MISREAD = str.maketrans("ILOU", "110V")
SECRET_BYTES = 10
PREFIX_DIGITS = 20


@dataclass(frozen=True, slots=True)
class Ticket:
    """What a device needs to enrol.

    `secret` is 10 random bytes. `prefix` is the first 20 hex digits of the server's fingerprint.
    `url` is the server's address, "" where a person typed only the code.
    """

    secret: bytes
    prefix: str
    url: str = ""

    def code(self) -> str:
        """Eight groups of four: secret, the fingerprint's beginning; a check character last."""
        whole = self.secret + bytes.fromhex(self.prefix)
        letters = _encode(whole)
        letters += _ALPHABET[hashlib.sha256(whole).digest()[0] % 32]
        return "-".join(letters[at : at + 4] for at in range(0, len(letters), 4))

    def text(self) -> str:
        """What the QR picture and the file hold: `ORS1:` and base64url of `{"code", "url"}`."""
        inside = json.dumps({"code": self.code(), "url": self.url}, sort_keys=True)
        return "ORS1:" + base64.urlsafe_b64encode(inside.encode()).decode().rstrip("=")

    @staticmethod
    def parse(given: str) -> Ticket:
        """A ticket from what was typed, scanned or read from a file.

        Raises `Refused("code-unreadable")` with what is wrong with it.
        """
        given = given.strip()
        url = ""
        if given.startswith("ORS1:"):
            try:
                inside = json.loads(
                    base64.urlsafe_b64decode(given[5:] + "=" * (-len(given[5:]) % 4))
                )
                given, url = str(inside["code"]), str(inside["url"])
            except (ValueError, KeyError, TypeError) as error:
                raise Refused("code-unreadable", "the file or picture is damaged") from error
        letters = given.upper().replace("-", "").replace(" ", "").translate(_MISREAD)
        if len(letters) != 33 or any(letter not in _ALPHABET for letter in letters):
            raise Refused("code-unreadable", "a code has 33 letters and digits")
        whole = _decode(letters[:32])
        if letters[32] != _ALPHABET[hashlib.sha256(whole).digest()[0] % 32]:
            raise Refused("code-unreadable", "one letter of the code is mistyped")
        return Ticket(whole[:SECRET_BYTES], whole[SECRET_BYTES:].hex(), url)

    def name(self) -> str:
        """How the server finds the code without being sent it: 32 hex digits."""
        return hashlib.sha256(b"offline-registration code v1" + self.secret).hexdigest()[:32]


def _encode(data: bytes) -> str:
    number = int.from_bytes(data, "big")
    return "".join(_ALPHABET[(number >> shift) & 31] for shift in range(len(data) * 8 - 5, -1, -5))


def _decode(letters: str) -> bytes:
    number = 0
    for letter in letters:
        number = number << 5 | _ALPHABET.index(letter)
    return number.to_bytes(len(letters) * 5 // 8, "big")
