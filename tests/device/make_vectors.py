"""Makes tests/data/seal_vectors.json anew: only when the layout changes on purpose."""

from __future__ import annotations

import base64
import json
import tempfile
from pathlib import Path

from field_agent import backup, vault
from schemas import envelope as layout
from tests.device.opening import ProgrammeKey
from tests.device.small import device


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def key_of(vector: dict[str, str]) -> ProgrammeKey:
    return ProgrammeKey(vector["suite"], base64.b64decode(vector["private"]))


def main() -> None:
    envelopes = []
    with tempfile.TemporaryDirectory() as folder:
        for suite in (layout.HYBRID.name, layout.CLASSIC.name):
            key = ProgrammeKey.fresh(suite)
            one = device(Path(folder) / suite, key)
            one.fill("e1", {"/data/name": "Amina"})
            one.store.attach("e1", "photo.jpg", "image/jpeg", [b"photo"])
            xml = "<data><name>Amina</name><photo>photo.jpg</photo></data>"
            done = one.store.finish(
                "e1",
                xml=xml,
                instance_id="uuid:e1",
                label="Amina",
                finished="2026-09-21T10:20:00.000+00:00",
                made="1790000000000-0000-d1",
                now_ms=1_790_000_000_000,
                seen={"r1": {"name": ["d0:1"]}},
            )
            envelopes.append(
                {
                    "suite": suite,
                    "private": text(key.private),
                    "key": key.public.id,
                    "device_public": text(one.store.vault.public),
                    "envelope": text(one.store.envelope(1)),
                    "hash": done.hash,
                    "xml": xml,
                }
            )
        one.fill("e2", {"/data/name": "Bilal", "/data/age": 7})
        one.store.attach("e2", "voice.m4a", "audio/mp4", [b"voice"])
        file = Path(folder) / "backup"
        backup.write(one.store, file, made="1790000000000-0001-d1")
        copy = {
            "suite": suite,
            "private": text(key.private),
            "device_public": text(one.store.vault.public),
            "file": text(file.read_bytes()),
            "kinds": ["envelope", "attachment", "draft", "draft-file"],
        }
    sealer = vault.FileSealer()
    plain = bytes(range(256)) * 2 + b"the end"
    sealed = b"".join(sealer.seal([plain]))
    public = [
        {"suite": one["suite"], "public": text(key_of(one).public.public)} for one in envelopes
    ]
    whole = {
        "public": public,
        "envelopes": envelopes,
        "file": {"key": text(sealer.key), "plain": text(plain), "sealed": text(sealed)},
        "backup": copy,
    }
    place = Path(__file__).parent.parent / "data" / "seal_vectors.json"
    place.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
