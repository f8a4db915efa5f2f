"""Publishing a form: compiled, checked, kept for ever with its media, offered to every device."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from sqlalchemy import insert, update

from sync_server import blobs
from sync_server.store import published
from sync_server.store.intake_tables import forms

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from forms.problems import Problem
    from sync_server.desk import Desk
    from sync_server.store.engine import Tx
    from sync_server.store.published import Published


class NotPublished(Exception):
    """The form was not published; the message says what to change. Devices keep what they have."""


def publish(
    desk: Desk,
    name: str,
    source: bytes,
    media: Mapping[str, bytes],
    *,
    warn: Callable[[Problem], None] = lambda _: None,
) -> Published:
    """Compiles the XLSForm (or takes the XForm) `name` and offers it to every device.

    `media` are the files that may go with it; only those that the form asks for are kept.
    Publishing the same again changes nothing. Older versions stay valid for what was begun.
    `warn` is told what can be published but is hardly meant, by sheet and row.
    Raises `NotPublished`, naming sheet, row and reason.
    """
    from forms.form import Form  # noqa: PLC0415  the engine is read when it is first needed
    from forms.problems import BrokenForm  # noqa: PLC0415  as above
    from forms.xlsform import read_xlsform  # noqa: PLC0415  as above

    read = None
    try:
        read = read_xlsform(name, source, media)
        xml = read.xml
        bare = Form.load(xml, media)
        wanted = bare.media_names
        # A list of what the form itself registers is no file: each device fills it from its area's registry.
        lists = {f"{dataset}.csv" for dataset in bare.datasets}
        missing = [one for one in wanted if one not in media and one not in lists]
        if missing:
            raise NotPublished(
                f"{name} asks for {', '.join(missing)}: put the file beside the form, or name its "
                "folder with --media"
            )
        # A form's pictures and sounds are not asked for by its questions, so they come along too.
        named = {one: media[one] for one in sorted(media) if one in wanted or one.encode() in xml}
        form = Form.load(xml, named)
    except BrokenForm as broken:
        problems = read.located(broken.problems) if read else broken.problems
        told = "\n".join(f"  {one}" for one in problems)
        raise NotPublished(f"{name} was not published:\n{told}") from broken
    for one in read.warnings:
        warn(one)
    if not form.id or len(form.id) > 255 or len(form.version) > 255:
        raise NotPublished(f"{name}, settings: form_id and version have 1 to 255 characters")
    at_ms = desk.now_ms()

    def work(tx: Tx) -> Published:
        before = published.version_of(tx, form.id, form.version)
        if before and before.whole_hash != form.hash:
            raise NotPublished(
                f"{name}, settings: version {form.version!r} of {form.id} was published with other "
                "contents; give this one another version"
            )
        for data in (xml, source, *named.values()):
            blobs.keep(tx, "", data)
        mine = (forms.c.area == "") & (forms.c.form == form.id)
        tx.execute(update(forms).where(mine).values(current=False))
        if before:
            tx.execute(
                update(forms).where(mine, forms.c.version == form.version).values(current=True)
            )
        else:
            files = [
                {"name": one, "hash": blobs.hash_of(data), "size": len(data)}
                for one, data in named.items()
            ]
            tx.execute(
                insert(forms).values(
                    area="",
                    form=form.id,
                    version=form.version,
                    hash=blobs.hash_of(xml),
                    whole_hash=form.hash,
                    title=form.title,
                    size=len(xml),
                    source=blobs.hash_of(source),
                    source_name=name,
                    media=json.dumps(files),
                    published_ms=at_ms,
                    current=True,
                )
            )
        found = published.version_of(tx, form.id, form.version)
        assert found is not None
        return found

    return desk.store.transaction(work)
