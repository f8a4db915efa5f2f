"""The programme's side made small: opens what a device sealed, by the contract's text alone."""

from __future__ import annotations

import hashlib
import hmac
import io
from dataclasses import dataclass

from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from field_agent import seal
from schemas import envelope as layout
from schemas import packing


@dataclass(frozen=True, slots=True)
class ProgrammeKey:
    """A private sealing key: 64 bytes of ML-KEM seed and 32 of X25519, or the latter alone."""

    suite: str
    private: bytes

    @staticmethod
    def fresh(suite: str = layout.HYBRID.name) -> ProgrammeKey:
        curve = X25519PrivateKey.generate().private_bytes_raw()
        if suite == layout.CLASSIC.name:
            return ProgrammeKey(suite, curve)
        return ProgrammeKey(suite, MLKEM768PrivateKey.generate().private_bytes_raw() + curve)

    @property
    def keys(self):
        curve = X25519PrivateKey.from_private_bytes(self.private[-32:])
        if self.suite == layout.CLASSIC.name:
            return hpke.KEM.X25519, curve, curve.public_key().public_bytes_raw()
        lattice = MLKEM768PrivateKey.from_seed_bytes(self.private[:64])
        public = lattice.public_key().public_bytes_raw() + curve.public_key().public_bytes_raw()
        return hpke.KEM.MLKEM768_X25519, hpke.MLKEM768X25519PrivateKey(lattice, curve), public

    @property
    def public(self) -> layout.SealingKey:
        return layout.SealingKey(self.suite, self.keys[2])

    def open(self, sealed: bytes, info: bytes) -> bytes:
        kem, private, _ = self.keys
        suite = hpke.Suite(kem, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)
        return suite.decrypt(sealed, private, info=info)

    def chain_key(self, opening: bytes, device_public: bytes) -> bytes:
        """The first chain key of a session, its opening's signature checked."""
        found = layout.parse_opening(opening)
        assert seal.verify(device_public, found.signature, found.signed)
        return self.open(found.wrapped, found.info)

    def submission(
        self, data: bytes, openings: list[bytes], device_public: bytes, form: bytes = b""
    ) -> layout.Payload:
        """A whole envelope, its signature checked and its seal opened."""
        found = layout.parse(data)
        assert seal.verify(device_public, found.signature, found.signed)
        (opening,) = (one for one in openings if sha256(one) == found.header.session)
        chain = self.chain_key(opening, device_public)
        packed = open_body(chain, found)
        outline = packing.Outline(form) if form else None
        text = packing.unpack(found.header.packing, packed, outline)
        return layout.Payload.read(text, found.header)

    def backup(self, data: bytes, device_public: bytes):
        """[(head, bytes)] of a whole backup."""
        begun = layout.parse_backup_start(data)
        signed, signature = data[:-64], data[-64:]
        digest = hashlib.sha256(signed).digest()
        assert seal.verify(device_public, signature, layout.backup_signed(digest))
        key = self.open(begun.wrapped, layout.backup_info(begun.prefix))
        plain = io.BytesIO(open_file(key, signed[begun.chunks_at :]))
        found = []
        for head, read in layout.items(plain.read):
            body = b""
            while more := read(1000):
                body += more
            found.append((head, body))
        return begun.header, found


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def expand(key: bytes, info: bytes) -> bytes:
    """HKDF-Expand of RFC 5869, written out: one block of HMAC-SHA-256."""
    return hmac.new(key, info + b"\x01", "sha256").digest()


def open_body(chain: bytes, found: layout.Envelope, begun: int = 0) -> bytes:
    """What lies in the body, packed, by the chain key that the session has at index `begun`."""
    for _ in range(found.header.index - begun):
        chain = expand(chain, b"offline-registration submission v2 chain")
    key = expand(chain, b"offline-registration submission v2 message")
    return AESGCM(key).decrypt(nonce_of(found), found.body, found.prefix)


def nonce_of(found: layout.Envelope) -> bytes:
    return hashlib.sha256(found.prefix).digest()[:12]


def open_file(key: bytes, sealed: bytes) -> bytes:
    """A sealed file's plain bytes; raises where a chunk is missing, moved or changed."""
    out, at = [], 0
    for number, (size, last) in enumerate(layout.chunk_sizes(len(sealed))):
        nonce = layout.chunk_nonce(number, last=last)
        out.append(AESGCM(key).decrypt(nonce, sealed[at : at + size], None))
        at += size
    return b"".join(out)
