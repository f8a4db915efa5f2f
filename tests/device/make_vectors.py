"""Makes tests/data/seal_vectors.json anew: only when the layout changes on purpose."""

from __future__ import annotations

import base64
import hashlib
import json
import tempfile
from pathlib import Path

from field_agent import backup, seal
from field_agent.store import Form
from schemas import envelope as layout
from tests.device.opening import ProgrammeKey
from tests.device.small import NOW, device, openings

XFORM = """<h:html xmlns:h="http://www.w3.org/1999/xhtml"><h:head><model><instance>
<data id="household" version="3"><name/><age/><photo/><meta><instanceID/></meta></data>
</instance></model></h:head></h:html>"""
FORM = Form("household", "3", hashlib.sha256(XFORM.encode()).hexdigest(), "Household", XFORM)


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
            one.store.put_form(FORM)
            one.store.begin("e0", FORM, started="s", now_ms=NOW)
            one.finish("e0")
            one.store.begin("e1", FORM, started="2026-09-21T10:00:00.000+00:00", now_ms=NOW)
            one.store.attach("e1", "photo.jpg", "image/jpeg", [b"photo"])
            xml = (
                "<?xml version='1.0' encoding='UTF-8' ?><data id=\"household\" version=\"3\">"
                "<name>Amina</name><age /><photo>photo.jpg</photo><meta>"
                "<instanceID>uuid:8f1f9d4e-3c1b-4a57-9d8e-0a1b2c3d4e5f</instanceID></meta></data>"
            )
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
                    "form": FORM.xml,
                    "opening": text(openings(one.store)[0]),
                    "envelope": text(one.store.envelope(2)),
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
            "kinds": ["opening", "envelope", "envelope", "attachment", "draft", "draft-file"],
        }
    sealer = seal.FileSealer()
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
