"""Another client, written from `docs/protocol.md` alone: it shares no line with the device or `schemas/`.

It enrols, pushes one sealed submission with an attachment, checks the receipt, sends the file from
where the server has it, fetches the form and pulls the news. What it needs that the document does not
say is a fault of the document.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import struct
import time
import urllib.error
import urllib.request
import uuid
from dataclasses import dataclass, field

import zstandard
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
CLASSIC = "x25519-hkdfsha256-aes256gcm"
HPKE = hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def lines(*parts: object) -> bytes:
    return "\n".join(map(str, parts)).encode()


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def pack(head: dict, parts=()) -> bytes:
    text = json.dumps(head).encode()
    whole = b"".join(struct.pack(">I", len(one)) + one for one in (text, *parts))
    return zstandard.ZstdCompressor().compress(whole)


def unpack(body: bytes) -> dict:
    return json.loads(pieces(body)[0])


def pieces(body: bytes) -> list[bytes]:
    whole = zstandard.ZstdDecompressor().decompress(body, max_output_size=32 << 20)
    found = []
    while whole:
        (length,) = struct.unpack(">I", whole[:4])
        found.append(whole[4 : 4 + length])
        whole = whole[4 + length :]
    return found


def in_lines(page: bytes):
    for line in zstandard.ZstdDecompressor().decompress(page).splitlines():
        sequence, change = line.split(b" ", 1)
        yield int(sequence), change


def in_columns(page: bytes):
    """(sequence, change) of each, and nothing left over."""
    (count,) = struct.unpack(">I", page[1:5])
    ids = [str(uuid.UUID(bytes=page[at : at + 16])) for at in range(5, 5 + 16 * count, 16)]
    told = json.loads(zstandard.ZstdDecompressor().decompress(page[5 + 16 * count :]))
    named = 0

    def refer(cell):
        nonlocal named
        if isinstance(cell, str):
            return cell
        named += cell == 0
        return ids[named - 1 if cell == 0 else named - cell]

    def taken(entry):
        names, columns = entry
        return [(name, column.pop(0)) for name, column in zip(names, columns, strict=True)]

    sequence = effective = 0
    counters: dict[str, int] = {}
    for step, sort in zip(told["q"], told["k"], strict=True):
        sequence += step
        if sort == -1:
            yield sequence, told["odd"].pop(0).encode()
            continue
        dataset, device, author, source, kind, version = told["sorts"][sort]
        counters[device] = counters.get(device, 0) + told["o"].pop(0)
        effective += told["e"].pop(0)
        mark = told["t"].pop(0)
        change = {"r": refer(told["r"].pop(0)), "d": dataset, "o": f"{device}:{counters[device]}"}
        change |= {"a": author, "t": f"{effective:013}" * (mark[0] == "+") + mark[1:]}
        change |= {"e": effective, "s": source, "k": kind} | ({"v": version} if version else {})
        change |= {"n": seen} if (seen := told["n"].pop(0)) else {}
        writes = taken(told["own"][told["w"].pop(0)])
        for _ in range(told["m"].pop(0)):
            person = refer(told["i"].pop(0))
            fields = taken(told["members"][told["p"].pop(0)])
            writes += [(f"members/{person}/{name}", value) for name, value in fields]
        change["w"] = dict(sorted(writes))
        yield sequence, json.dumps(change, separators=(",", ":"), ensure_ascii=False).encode()
    assert named == count
    assert not any(told[key] for key in (*"oetnrwmip", "odd"))
    assert not any(any(columns) for _, columns in told["own"] + told["members"])


def canonical(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def start(magic: bytes, header: dict) -> bytes:
    text = canonical(header)
    return magic + struct.pack(">BI", 2, len(text)) + text


@dataclass
class Client:
    """One device. `offset` is where each file goes on after a break, by the server's word."""

    url: str
    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    box: X25519PrivateKey = field(default_factory=X25519PrivateKey.generate)
    device: str = "new"
    server: str = ""
    server_key: bytes = b""
    counter: int = 0
    prev: bytes = bytes(32)
    state: dict = field(default_factory=dict)
    changes: dict[int, bytes] = field(default_factory=dict)
    """The area's changes by their sequence."""
    layout: int = 0
    """Of pages: 1, 2, or 0, not saying it."""
    receipts: dict[int, str] = field(default_factory=dict)
    """The hashes of what has a receipt, from 1 without a gap."""

    def ask(self, method: str, path: str, body: bytes = b"", **headers: str):
        """(status, headers, body), all of it believed only with the server's signature."""
        now = int(time.time() * 1000)
        signed = lines("offline-registration request v1", method, path, sha(body), now, self.server)
        signature = b64(self.key.sign(signed))
        head = {"Authorization": f"Device {self.device} {now} {signature}"}
        head["Content-Type"] = (
            "application/octet-stream" if "/blobs/" in path else "application/zstd"
        )
        head |= {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(
            self.url + path, data=body or None, headers=head, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as reply:
                status, told, data = reply.status, reply.headers, reply.read()
        except urllib.error.HTTPError as error:
            with error:
                status, told, data = error.code, error.headers, error.read()
        key = self.server_key or base64.b64decode(unpack(data)["server_key"])
        said = lines("offline-registration reply v1", signature, status, sha(data))
        Ed25519PublicKey.from_public_bytes(key).verify(
            base64.b64decode(told["Server-Signature"]), said
        )
        return status, told, data

    def enrol(self, code: str) -> None:
        number = 0
        for letter in code.replace("-", "")[:32]:
            number = number << 5 | CROCKFORD.index(letter)
        whole = number.to_bytes(20, "big")
        secret, self.server = whole[:10], whole[10:].hex()
        key = self.key.public_key().public_bytes_raw()
        box = self.box.public_key().public_bytes_raw()
        proof = lines("offline-registration enrol v1", self.server, key.hex(), box.hex())
        asked = {
            "protocol": 3,
            "code": sha(b"offline-registration code v1" + secret)[:32],
            "proof": b64(hmac.digest(secret, proof, "sha256")),
            "key": b64(key),
            "box": b64(box),
        }
        status, _, data = self.ask("POST", "/sync/v1/enrol", pack(asked))
        assert status == 200, unpack(data)
        told = unpack(data)
        self.server_key = base64.b64decode(told["server_key"])
        assert sha(self.server_key).startswith(self.server)
        self.server, self.device, self.area = sha(self.server_key), told["device"], told["area"]
        self.sealing = next(one for one in told["keys"]["list"] if one["suite"] == CLASSIC)
        self.begin()

    def begin(self) -> None:
        """Open a session: a chain of keys that only moves forward."""
        self.chain, self.index = os.urandom(32), 0
        header = {
            "suite": CLASSIC,
            "key": self.sealing["id"],
            "device": self.device,
            "nonce": os.urandom(16).hex(),
        }
        prefix = start(b"ORSS", header)
        to = X25519PublicKey.from_public_bytes(base64.b64decode(self.sealing["public"]))
        info = b"offline-registration session v2\n" + prefix
        whole = prefix + HPKE.encrypt(self.chain, to, info=info)
        self.opening = whole + self.key.sign(whole)

    def seal(self, form: dict, xml: str, instance: str, photo: bytes = b"") -> tuple[bytes, bytes]:
        """A sealed submission, and its sealed file (one chunk: the photo is small)."""
        file_key = os.urandom(32)
        sealed = AESGCM(file_key).encrypt(bytes(11) + b"\1", photo, None) if photo else b""
        self.counter += 1
        header = {
            "device": self.device,
            "counter": self.counter,
            "index": self.index,
            "form": form["form"],
            "version": form["version"],
            "form_hash": form["hash"],
            "made": "2026-03-01T08:00:00Z",
            "packing": "zstd",
            "attachments": [{"hash": sha(sealed), "size": len(sealed)}] if photo else [],
        }
        prefix = start(b"ORSE", header) + self.prev + hashlib.sha256(self.opening).digest()
        files = {"photo.jpg": [0, b64(file_key), len(photo), "image/jpeg"]} if photo else {}
        head = {"instance_id": instance, "started": "2026-03-01T08:00:00.000Z"}
        head |= {"finished": "2026-03-01T08:10:00.000Z"} | ({"files": files} if files else {})
        plain = zstandard.ZstdCompressor().compress(canonical(head) + b"\n" + xml.encode())
        info = b"offline-registration submission v2 "
        message = hmac.digest(self.chain, info + b"message\1", "sha256")
        self.chain = hmac.digest(self.chain, info + b"chain\1", "sha256")
        self.index += 1
        nonce = hashlib.sha256(prefix).digest()[:12]
        whole = prefix + AESGCM(message).encrypt(nonce, plain, prefix)
        whole += self.key.sign(whole)
        self.prev = hashlib.sha256(whole).digest()
        return whole, sealed

    def round(self, batch: str = "", envelopes: dict[int, bytes] | None = None) -> dict:
        """One round; `envelopes` by counter. A receipt is checked against what was sent."""
        envelopes = envelopes or {}
        asked = {"protocol": 3, "cursor": self.state.get("cursor", ""), "batch": batch}
        asked |= {"layout": self.layout} if self.layout else {}
        if self.receipts and not envelopes:
            last = max(self.receipts)
            asked["runs"] = [[1, last, [self.receipts[last][:16]]]]
        parts = [self.opening, *envelopes.values()] if envelopes else []
        status, _, data = self.ask("POST", "/sync/v1/round", pack(asked, parts))
        assert status == 200, unpack(data)
        told = self.state = unpack(data)
        for (after, last), page in zip(told.get("pages", ()), pieces(data)[1:], strict=True):
            assert told["area"] == self.area
            assert page[0] == (2 if self.layout == 2 else 0x28)
            for sequence, change in in_columns(page) if page[0] == 2 else in_lines(page):
                assert after < sequence <= last
                self.changes[sequence] = change
        held = [n for first, last in told.get("held", ()) for n in range(first, last + 1)]
        if held:
            listed = "".join(f"{n} {sha(envelopes[n])}\n" for n in held)
            said = lines(
                *("offline-registration receipt v2", self.server, told["epoch"], self.area),
                *(self.device, told["batch"], len(held), sha(listed.encode())),
            )
            key = Ed25519PublicKey.from_public_bytes(self.server_key)
            key.verify(base64.b64decode(told["receipt"]), said)
            self.receipts |= {n: sha(envelopes[n]) for n in held}
        return told | {"receipted": held}

    def send_file(self, sealed: bytes, chunk: int) -> int:
        """Send one chunk from where the server is; how much it has then."""
        path = f"/sync/v1/blobs/{sha(sealed)}"
        at = int(self.ask("HEAD", path)[1]["Upload-Offset"])
        status, told, _ = self.ask("PATCH", path, sealed[at : at + chunk], Upload_Offset=str(at))
        assert status == 204
        return int(told["Upload-Offset"])

    def fetch(self, name: str, size: int, chunk: int) -> bytes:
        data = b""
        while len(data) < size:
            status, _, piece = self.ask(
                "GET",
                f"/sync/v1/blobs/{name}",
                Range=f"bytes={len(data)}-{len(data) + chunk - 1}",
            )
            assert status == 206
            data += piece
        assert sha(data) == name
        return data
