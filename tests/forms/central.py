"""What ODK Central asks of a submission, written from its rules: nothing of its code is here.

The rules are those of central-backend in August 2026 (lib/model/frames/submission.js, the finding of
ids, lib/resources/submissions.js, editing and sending again, lib/model/query/submission-attachments.js,
which files are expected, lib/data/entity.js and lib/model/query/entities.js, what becomes of
entities), and of OpenRosa's metadata.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lxml import etree

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

UUID4 = re.compile(
    r"(?:uuid:)?[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", re.IGNORECASE
)
ENCRYPTED = ("base64EncryptedKey", "encryptedXmlFile", "base64EncryptedElementSignature")


class Refused(Exception):
    """Central takes no such submission; the text says by which rule."""


class NoEntity(Exception):
    """The submission is taken, but nothing becomes of the entity that it speaks of."""


def local(element: etree._Element) -> str:
    return etree.QName(element).localname


@dataclass
class Central:
    """A server with one form, in the state that its submissions brought it to."""

    xform: bytes
    submissions: dict[str, bytes] = field(default_factory=dict)
    replaced: set[str] = field(default_factory=set)
    entities: dict[str, int] = field(default_factory=dict)
    """The version of each entity."""
    lost: list[str] = field(default_factory=list)
    """Why nothing became of an entity; Central keeps it in the submission's log."""

    def take(self, xml: bytes, files: Collection[str] = ()) -> None:
        """Raises Refused; or the submission, its files and its entities are there."""
        root = self.document(xml)
        own = etree.fromstring(self.xform).find(".//{*}model/{*}instance")[0]
        if local(root) != local(own):
            raise Refused(f"the root is {local(root)}")
        if not (root.get("id") or "").strip():
            raise Refused("the root has no form id")
        if root.get("id") != own.get("id"):
            raise Refused("there is no such form")
        if (root.get("version") or "") != (own.get("version") or ""):
            raise Refused("there is no such version of the form")
        if any(local(kid) in ENCRYPTED for kid in root):
            raise Refused("an envelope of encryption without the key that it needs")
        instance = self.meta(root, "instanceID")
        if not instance or not UUID4.fullmatch(instance):
            raise Refused("no instanceID of its own")
        old = self.meta(root, "deprecatedID")
        if old:
            if old not in self.submissions:
                raise Refused("it replaces what is not there")
            if old in self.replaced:
                raise Refused("it replaces what was replaced")
            if instance in self.submissions:
                raise Refused("it replaces one by another that is there")
        elif instance in self.submissions and self.submissions[instance] != xml:
            raise Refused("another was sent under the same id")
        missing = set(self.expected(root)) - set(files)
        if missing:
            raise Refused(f"files are missing: {sorted(missing)}")
        if old:
            self.replaced.add(old)
        elif instance in self.submissions:
            return
        self.submissions[instance] = xml
        for entity in root.iter("{*}entity"):
            try:
                version = self.claimed(entity)
            except NoEntity as fault:
                self.lost.append(str(fault))
            else:
                self.entities[entity.get("id")] = version + 1

    def document(self, xml: bytes) -> etree._Element:
        try:
            text = xml.decode("utf-8")
            root = etree.fromstring(xml, etree.XMLParser(resolve_entities=False))
        except (UnicodeDecodeError, etree.XMLSyntaxError) as fault:
            raise Refused(f"no XML in UTF-8: {fault}") from fault
        if "<!DOCTYPE" in text:
            raise Refused("a document type")
        # PostgreSQL keeps no zero, and no parser a control character.
        if re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]|&#(?:0*[0-8]|x0*[0-8]);", text):
            raise Refused("a control character")
        return root

    def meta(self, root: etree._Element, name: str) -> str:
        """Central looks for meta in the root by its local name, and takes the first."""
        for kid in root:
            if local(kid) == "meta":
                return next(((one.text or "").strip() for one in kid if local(one) == name), "")
        return ""

    def expected(self, root: etree._Element) -> Iterator[str]:
        """The files that answers to questions of type binary name."""
        for bind in etree.fromstring(self.xform).iter("{*}bind"):
            if bind.get("type") != "binary":
                continue
            steps = bind.get("nodeset").strip("/").split("/")[1:]
            here = [root]
            for step in steps:
                wanted = step.rpartition(":")[2]
                here = [kid for one in here for kid in one if local(kid) == wanted]
            yield from ((one.text or "").strip() for one in here if (one.text or "").strip())

    def claimed(self, entity: etree._Element) -> int:
        """The version on which the entity is built, 0 where it is new. Raises NoEntity."""
        if not entity.get("dataset"):
            raise NoEntity("it belongs to no list")
        if not UUID4.fullmatch(entity.get("id") or ""):
            raise NoEntity("its id is no UUID of version 4")
        label = next((kid.text or "" for kid in entity if local(kid) == "label"), "")
        create = entity.get("create") in {"1", "true"}
        update = entity.get("update") in {"1", "true"}
        if create and not update:
            if not label.strip():
                raise NoEntity("it has no label")
            return 0
        if not update:
            raise NoEntity("it is neither made nor changed")
        base, trunk = entity.get("baseVersion") or "", entity.get("trunkVersion") or ""
        if not re.fullmatch(r"\d+", base):
            raise NoEntity("it changes no version")
        if trunk and not (
            re.fullmatch(r"\d+", trunk) and UUID4.fullmatch(entity.get("branchId") or "")
        ):
            raise NoEntity("it has a trunk without a branch")
        return int(base)
