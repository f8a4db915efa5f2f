"""Devices: codes to enrol with, enrolment, who is at the door, revocation."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, insert, select, update

from schemas.frames import digest
from schemas.messages import EnrolReply, EnrolRequest
from schemas.problems import Refused
from schemas.signing import enrol_bytes
from schemas.ticket import PREFIX_DIGITS, SECRET_BYTES, Ticket
from sync_server.chain import current_epoch
from sync_server.signatures import new_secret, proof_fits
from sync_server.store.engine import as_bytes
from sync_server.store.intake_tables import codes, devices, places

if TYPE_CHECKING:
    from sync_server.desk import Desk
    from sync_server.store.engine import Tx

CODE_HOURS = 72
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}", re.ASCII)
_AREA = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", re.ASCII)


class Unfit(Exception):
    """A name cannot be used, or is not known. Nothing was changed."""


@dataclass(frozen=True, slots=True)
class Device:
    """A device as the server knows it. `revoked_ms` is 0 while it is welcome."""

    area: str
    device: str
    label: str
    key: bytes
    box: bytes
    enrolled_ms: int
    revoked_ms: int
    revoked_why: str
    seen_ms: int
    skew_ms: int
    unsent: int
    held_to: int
    software: str

    def listed(self) -> dict[str, Any]:
        """For `devices list --json`."""
        return {
            "device": self.device,
            "area": self.area,
            "label": self.label,
            "state": "revoked" if self.revoked_ms else "active",
            "enrolled_ms": self.enrolled_ms,
            "last_round_ms": self.seen_ms,
            "unsent": self.unsent,
            "held_to": self.held_to,
            "clock_skew_ms": self.skew_ms,
            "software": self.software,
            "revoked_ms": self.revoked_ms,
            "revoked_why": self.revoked_why,
        }


def make_code(
    desk: Desk,
    *,
    area: str,
    device: str = "",
    label: str = "",
    hours: float = CODE_HOURS,
    url: str = "",
) -> tuple[str, Ticket]:
    """A one-time code for one device of the area: the device's name and the ticket.

    Raises `Unfit`.
    """
    if not _AREA.fullmatch(area):
        raise Unfit(f"{area!r} cannot be an area's name: letters, digits, . _ -, at most 64")
    device = device or "device-" + new_secret(4).hex()
    if not _NAME.fullmatch(device) or device == "new":
        raise Unfit(
            f"{device!r} cannot be a device's name: small letters, digits and -, at most 63"
        )
    secret = new_secret(SECRET_BYTES)
    ticket = Ticket(secret, desk.keys.fingerprint[:PREFIX_DIGITS], url)
    at_ms = desk.now_ms()
    at_rest = desk.at_rest.seal(f"codes/{ticket.name()}", secret)

    def work(tx: Tx) -> None:
        taken = _is_known(tx, device)
        waiting = tx.execute(
            select(codes.c.name).where(
                codes.c.area == "",
                codes.c.device == device,
                codes.c.used_ms == 0,
                codes.c.expires_ms > at_ms,
            )
        ).first()
        if taken or waiting:
            raise Unfit(f"there is a device {device} already: give this one another --name")
        tx.execute(
            insert(codes).values(
                area="",
                name=ticket.name(),
                device=device,
                for_area=area,
                label=label,
                secret_at_rest=at_rest,
                made_ms=at_ms,
                expires_ms=at_ms + int(hours * 3_600_000),
                used_ms=0,
                used_key="",
            )
        )

    desk.store.transaction(work)
    return device, ticket


def enrol(desk: Desk, request: EnrolRequest) -> EnrolReply:
    """Makes the device of the code. The same code with the same key again answers the same.

    A device that was another one here, of which the server knows nothing any more, keeps its name: by
    another it would drop what it has sealed. Raises `Refused` with `code-unknown`, `code-expired`,
    `code-used` or `code-astray`; then the code is as good as before.
    """
    at_ms = desk.now_ms()

    def work(tx: Tx) -> Device:
        row = tx.execute(
            select(codes).where(codes.c.area == "", codes.c.name == request.code)
        ).first()
        if row is None:
            raise Refused("code-unknown")
        secret = desk.at_rest.open(f"codes/{row.name}", as_bytes(row.secret_at_rest))
        prefix = desk.keys.fingerprint[:PREFIX_DIGITS]
        if not proof_fits(secret, request.proof, enrol_bytes(prefix, request.key, request.box)):
            raise Refused("code-unknown", "the proof does not fit")
        if row.used_ms:
            if row.used_key != request.key.hex():
                raise Refused("code-used")
            return find(tx, row.device)
        if row.expires_ms <= at_ms:
            raise Refused("code-expired")
        if request.device not in {"", row.device} and not _is_known(tx, request.device):
            raise Refused("code-astray", f"it is for {row.device}, and this is {request.device}")
        tx.execute(
            update(codes)
            .where(codes.c.area == "", codes.c.name == row.name)
            .values(used_ms=at_ms, used_key=request.key.hex())
        )
        tx.execute(insert(places).values(area="", device=row.device, place=row.for_area))
        tx.execute(
            insert(devices).values(
                area=row.for_area,
                device=row.device,
                label=row.label or request.label,
                key=request.key,
                box=request.box,
                software=request.software,
                enrolled_ms=at_ms,
            )
        )
        return find(tx, row.device)

    device = desk.store.transaction(work)
    keys = desk.keys.published()
    return EnrolReply(
        device=device.device,
        area=device.area,
        server=desk.config.server,
        server_key=desk.keys.public,
        programme=desk.config.programme,
        epoch=desk.store.read(current_epoch),
        lease_s=desk.config.lease_s,
        time_ms=at_ms,
        keys={"digest": digest(keys), "list": keys},
    )


def _is_known(tx: Tx, device: str) -> bool:
    known = select(places.c.place).where(places.c.area == "", places.c.device == device)
    return tx.execute(known).first() is not None


def find(tx: Tx, device: str) -> Device:
    """Raises `Refused("device-unknown")`."""
    row = tx.execute(_FIND, {"device": device}).first()
    if row is None:
        raise Refused("device-unknown", device)
    return _device(row)


_FIND = (
    select(devices)
    .join(places, (places.c.place == devices.c.area) & (places.c.device == devices.c.device))
    .where(places.c.area == "", places.c.device == bindparam("device"))
)


def _device(row: Any) -> Device:
    names = [name for name in Device.__dataclass_fields__ if name not in {"key", "box"}]
    return Device(
        **{name: getattr(row, name) for name in names},
        key=as_bytes(row.key),
        box=as_bytes(row.box),
    )


def all_devices(tx: Tx, area: str = "") -> list[Device]:
    """Every device, or those of one area, by name."""
    found = select(devices).order_by(devices.c.area, devices.c.device)
    if area:
        found = found.where(devices.c.area == area)
    return [_device(row) for row in tx.execute(found)]


def revoke(desk: Desk, device: str, why: str) -> Device:
    """Shuts the device out: its next contact tells it to erase its key. Raises `Refused`."""
    at_ms = desk.now_ms()

    def work(tx: Tx) -> Device:
        found = find(tx, device)
        if not found.revoked_ms:
            tx.execute(
                update(devices)
                .where(devices.c.area == found.area, devices.c.device == device)
                .values(revoked_ms=at_ms, revoked_why=why)
            )
            found = replace(found, revoked_ms=at_ms, revoked_why=why)
        return found

    return desk.store.transaction(work)
