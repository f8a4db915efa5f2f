"""The server's command line: set up, serve, publish, enrol, and everything an officer does by hand."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from sync_server.desk import Desk

DONE, REFUSED, MISUSE = 0, 1, 2

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")


class Reasoned(click.Group):
    """A group whose commands end bad news in one sentence and exit 1, and keep tracebacks away."""

    def invoke(self, ctx: click.Context) -> Any:
        from schemas.problems import Refused
        from sync_server.desk import NotSetUp
        from sync_server.enrol import Unfit
        from sync_server.publish import NotPublished
        from sync_server.signatures import NoKeys
        from sync_server.store.engine import StorageFull, Unavailable

        try:
            return super().invoke(ctx)
        except (Refused, NotSetUp, NoKeys, Unfit, NotPublished, StorageFull, Unavailable) as error:
            say(str(error))
        except OSError as error:
            say(f"{error.filename or 'the disk'}: {error.strerror or error}")
        except Exception as error:
            # The use cases of the desk name their own refusals; each is an exception for what is so.
            if not getattr(type(error), "__module__", "").startswith(("sync_server", "forms")):
                raise
            say(str(error))
        sys.exit(REFUSED)


def say(text: str) -> None:
    """To the person, not to the program that reads the output."""
    click.echo(text, err=True)


def show(rows: Sequence[dict[str, Any]], columns: Sequence[str], *, json_too: bool) -> None:
    """A table for a person, or the rows as JSON."""
    if json_too:
        click.echo(json.dumps(list(rows), ensure_ascii=False, indent=2))
        return
    if not rows:
        say("none")
        return
    cells = [[column.replace("_ms", "").replace("_", " ") for column in columns]]
    cells += [[_cell(row.get(column), column) for column in columns] for row in rows]
    widths = [max(len(line[at]) for line in cells) for at in range(len(columns))]
    for line in cells:
        click.echo(
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        )


def _cell(value: Any, column: str) -> str:
    if column.endswith("_ms") and "skew" not in column:
        return moment(value) if value else "never"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def moment(at_ms: int) -> str:
    """A time as people write it, in UTC."""
    from datetime import UTC, datetime

    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")


def clock() -> datetime:
    from datetime import UTC, datetime

    return datetime.now(UTC)  # noqa: TID251  the command line tells the core the time


def new_id() -> str:
    from uuid import uuid4

    return str(uuid4())


def desk_of(ctx: click.Context, *, workers: int = 0) -> Desk:
    """The desk of the server that the command names, built once and closed with the command."""
    root = ctx.find_root()
    found: Desk | None = root.meta.get("desk")
    if found is None:
        from sync_server.checking import Inline, Workers
        from sync_server.desk import Config, open_desk, unjudging

        home: Path = root.obj
        found = open_desk(home, now=clock, new_id=new_id, checker=unjudging)
        database = Config.load(home).database_url(home)
        checker = (
            Workers(database, found.keys, workers) if workers else Inline(found.store, found.keys)
        )
        from dataclasses import replace

        found = replace(found, checker=checker)
        root.meta["desk"] = found
        root.call_on_close(found.close)
    return found


@click.group(cls=Reasoned, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--home",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("server-data"),
    envvar="SYNC_SERVER_HOME",
    show_default=True,
    help="The server's folder: configuration, keys, database.",
)
@click.pass_context
def main(ctx: click.Context, home: Path) -> None:
    """The sync server: takes registrations in, reviews them, and pays."""
    ctx.obj = home


@main.command()
@click.option(
    "--name", default="registry", show_default=True, help="The server's name, for people."
)
@click.option(
    "--programme", default="registration", show_default=True, help="What devices are told."
)
@click.option("--database", default="", help="postgresql://... ; else SQLite in the folder.")
@click.option(
    "--lease-days",
    type=click.FloatRange(0),
    default=0,
    help="Lock devices out of contact so long; 0: never.",
)
@click.option(
    "--keys-dir",
    default="keys",
    show_default=True,
    help="Where the keys are kept; may be elsewhere.",
)
@click.option(
    "--keys-command", default="", help="A command that prints the keys, instead of a folder."
)
@click.option("--url", default="", help="The address that devices reach, for enrolment codes.")
@click.pass_obj
def init(
    home: Path,
    name: str,
    programme: str,
    database: str,
    lease_days: float,
    keys_dir: str,
    keys_command: str,
    url: str,
) -> None:
    """Set up a server: configuration, keys, tables. Nothing that exists is overwritten."""
    from sync_server import signatures
    from sync_server.desk import CONFIG, Config, NotSetUp, prepare
    from sync_server.store.engine import open_store

    if (home / CONFIG).exists():
        raise NotSetUp(f"{home} holds a server already; choose another --home")
    config = Config(
        name, programme, database, int(lease_days * 86_400), keys_dir, keys_command, url
    )
    at_ms = int(clock().timestamp() * 1000)
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = config.keys_folder(home)
    if not keys_command and not (folder / signatures.RING).exists():
        signatures.keep(folder, signatures.new_keys(at_ms=at_ms))
    keys = signatures.load(folder, keys_command)
    store = open_store(config.database_url(home))
    try:
        prepare(store, keys, epoch=new_id().replace("-", "")[:12], at_ms=at_ms)
    finally:
        store.close()
    config.save(home)
    click.echo(f"Server {name} in {home}, fingerprint {keys.fingerprint}")
    where = "from the key command" if keys_command else f"in {folder}"
    say(f"Its keys are {where}. Copy them somewhere safe, apart from the database.")


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=int, default=8000, show_default=True, help="0 takes a free one.")
@click.option("--threads", type=click.IntRange(1, 64), default=8, show_default=True)
@click.option(
    "--workers",
    type=click.IntRange(0, 64),
    default=0,
    show_default=True,
    help="Processes that check submissions; 0: none apart.",
)
@click.pass_context
def serve(ctx: click.Context, host: str, port: int, threads: int, workers: int) -> None:
    """Serve devices and officers until interrupted. Put TLS in front of it for a network."""
    import signal

    from sync_server.web.app import create_app
    from sync_server.web.app import serve as run

    def end(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, end)
    app = create_app(desk_of(ctx, workers=workers))
    try:
        run(
            app,
            host=host,
            port=port,
            threads=threads,
            ready=lambda real: click.echo(f"Serving http://{host}:{real}"),
        )
    except KeyboardInterrupt:
        say("Stopped; everything that was acknowledged is kept.")


@main.command()
@click.argument("form", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--media",
    multiple=True,
    type=click.Path(exists=True, path_type=Path),
    help="A file or folder; else what lies beside the form.",
)
@as_json
@click.pass_context
def publish(ctx: click.Context, form: Path, media: tuple[Path, ...], as_json: bool) -> None:
    """Publish an XLSForm (or XForm) with its media to every device."""
    from sync_server.intake import take_up
    from sync_server.publish import publish as act

    desk = desk_of(ctx)
    files = {one.name: one.read_bytes() for one in _media(form, media)}
    done = act(desk, form.name, form.read_bytes(), files)
    taken = take_up(desk)
    if as_json:
        click.echo(json.dumps({**done.listed(), "taken_up": taken}))
        return
    with_media = f" with {len(done.media)} media files" if done.media else ""
    click.echo(f"Published {done.form}, version {done.version or '(none)'}{with_media}")
    for state, count in sorted(taken.items()):
        click.echo(f"Taken up from the parked: {count} {state}")


MEDIA_MAX = 64 * 1024 * 1024


def _media(form: Path, given: tuple[Path, ...]) -> Iterator[Path]:
    for one in given or (form.parent,):
        found = sorted(one.iterdir()) if one.is_dir() else [one]
        for file in found:
            if file.is_file() and file != form and file.stat().st_size <= MEDIA_MAX:
                yield file


@main.command()
@click.argument("form", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--media",
    multiple=True,
    type=click.Path(exists=True, path_type=Path),
    help="A file or folder; else what lies beside the form.",
)
@as_json
def lint(form: Path, media: tuple[Path, ...], as_json: bool) -> None:
    """Say what is wrong or doubtful in an XLSForm, by sheet and row, without publishing it."""
    from dataclasses import asdict

    from forms.lint import lint as findings
    from forms.problems import BrokenForm
    from forms.xlsform import read_xlsform

    files = {one.name: one.read_bytes() for one in _media(form, media)}
    try:
        read = read_xlsform(form.name, form.read_bytes(), files)
    except BrokenForm as broken:
        if as_json:
            click.echo(
                json.dumps([asdict(one) for one in broken.problems], ensure_ascii=False, indent=2)
            )
        else:
            for one in broken.problems:
                click.echo(f"{form.name}, {one}")
        sys.exit(REFUSED)
    found = findings(read, files)
    if as_json:
        click.echo(json.dumps([asdict(one) for one in found], ensure_ascii=False, indent=2))
        return
    for finding in found:
        click.echo(f"{form.name}, {finding}")
    say(f"{len(found)} findings; the form can be published")


@main.command("enrol-device")
@click.option("--area", default="main", show_default=True, help="Where the device works.")
@click.option("--name", default="", help="The device's name; else one is made.")
@click.option("--label", default="", help="Whose it is, for the list of devices.")
@click.option(
    "--hours",
    type=click.FloatRange(min=0.01),
    default=72,
    show_default=True,
    help="How long the code is good.",
)
@click.option("--url", default="", help="The server's address as devices reach it.")
@click.option(
    "--qr",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the code as a picture: .png or .svg.",
)
@click.option(
    "--file",
    "ticket_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the code as a file to carry over.",
)
@as_json
@click.pass_context
def enrol_device(
    ctx: click.Context,
    area: str,
    name: str,
    label: str,
    hours: float,
    url: str,
    qr: Path | None,
    ticket_file: Path | None,
    as_json: bool,
) -> None:
    """Make a one-time code with which one device enrols itself."""
    from sync_server.enrol import make_code

    desk = desk_of(ctx)
    if qr and qr.suffix not in {".png", ".svg"}:
        raise click.BadParameter(f"{qr} ends neither in .png nor in .svg", param_hint="--qr")
    device, ticket = make_code(
        desk, area=area, device=name, label=label, hours=hours, url=url or desk.config.url
    )
    if qr:
        import segno

        segno.make(ticket.text(), error="m").save(str(qr), scale=6)
    if ticket_file:
        ticket_file.touch(mode=0o600)
        ticket_file.write_text(ticket.text() + "\n")
    if as_json:
        told = {"device": device, "area": area, "code": ticket.code(), "text": ticket.text()}
        click.echo(json.dumps({**told, "url": ticket.url, "hours": hours}))
        return
    click.echo(f"Device {device}, area {area}. The code, good once and for {hours:g} hours:")
    click.echo(ticket.code())


@main.group()
def devices() -> None:
    """The devices: list and revoke."""


@devices.command("list")
@click.option("--area", default="")
@as_json
@click.pass_context
def devices_list(ctx: click.Context, area: str, as_json: bool) -> None:
    """Every device: its last round, what it last said it had not sent yet, its clock."""
    from sync_server.enrol import all_devices

    desk = desk_of(ctx)
    found = desk.store.read(lambda tx: all_devices(tx, area))
    columns = (
        "device",
        "area",
        "label",
        "state",
        "last_round_ms",
        "unsent",
        "held_to",
        "clock_skew_ms",
    )
    show([one.listed() for one in found], columns, json_too=as_json)


@devices.command("revoke")
@click.argument("device")
@click.option("--why", default="revoked by the office", show_default=True)
@click.pass_context
def devices_revoke(ctx: click.Context, device: str, why: str) -> None:
    """Shut a device out: at its next contact it erases its key. What it sent is kept."""
    from sync_server.enrol import revoke

    desk = desk_of(ctx)
    found = revoke(desk, device, why)
    click.echo(f"{found.device} is revoked since {moment(found.revoked_ms)} UTC")


@main.group("forms")
def forms_group() -> None:
    """The published forms."""


@forms_group.command("list")
@as_json
@click.pass_context
def forms_list(ctx: click.Context, as_json: bool) -> None:
    """Every version that was ever published."""
    from sync_server.store.published import all_of

    rows = [
        {**one.listed(), "published_ms": one.published_ms, "current": one.current}
        for one in desk_of(ctx).store.read(all_of)
    ]
    show(rows, ("form", "version", "title", "published_ms", "current"), json_too=as_json)


@main.group()
def keys() -> None:
    """The programme's keys: new, rotate, list, export-public."""


@keys.command("new")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
def keys_new(folder: Path) -> None:
    """Make a fresh key ring in FOLDER, for a server to be set up with --keys-dir FOLDER."""
    from sync_server import signatures

    if (folder / signatures.RING).exists():
        raise signatures.NoKeys(f"{folder} holds a key ring already; nothing was overwritten")
    made = signatures.new_keys(at_ms=int(clock().timestamp() * 1000))
    signatures.keep(folder, made)
    click.echo(f"Keys in {folder}, fingerprint {made.fingerprint}")


@keys.command("rotate")
@click.pass_context
def keys_rotate(ctx: click.Context) -> None:
    """Make new keys to seal to; the old ones keep opening. Devices get them at their next round."""
    from sync_server import signatures

    desk = desk_of(ctx)
    assert desk.home is not None
    if desk.config.keys_command:
        raise signatures.NoKeys("the keys come from a command: rotate them where it gets them from")
    rotated = desk.keys.rotated(at_ms=desk.now_ms())
    signatures.keep(desk.config.keys_folder(desk.home), rotated)
    for one in rotated.published():
        if one["current"]:
            click.echo(f"{one['id']}  {one['suite']}")
    say("Restart the server, and copy the new key ring somewhere safe.")


@keys.command("list")
@as_json
@click.pass_context
def keys_list(ctx: click.Context, as_json: bool) -> None:
    """The sealing keys, by their ids."""
    show(desk_of(ctx).keys.published(), ("id", "suite", "current"), json_too=as_json)


@keys.command("export-public")
@click.pass_context
def keys_export(ctx: click.Context) -> None:
    """Print the public keys as JSON: to seal to, and to verify receipts by."""
    from schemas.signing import text

    held = desk_of(ctx).keys
    told = {
        "fingerprint": held.fingerprint,
        "server_key": text(held.public),
        "sealing": held.published(),
    }
    click.echo(json.dumps(told, indent=2))


@main.command("take-up")
@as_json
@click.pass_context
def take_up_command(ctx: click.Context, as_json: bool) -> None:
    """Judge again what waits for a form or a key."""
    from sync_server.intake import take_up

    counted = take_up(desk_of(ctx))
    if as_json:
        click.echo(json.dumps(counted))
    else:
        click.echo(
            ", ".join(f"{count} {state}" for state, count in sorted(counted.items()))
            or "nothing waits that could be taken up"
        )


@main.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--receipts",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where to write what goes back; else FILE.receipts.",
)
@as_json
@click.pass_context
def take(ctx: click.Context, file: Path, receipts: Path | None, as_json: bool) -> None:
    """Take a bundle, or a relay of many, in. Writes the receipts file to carry back."""
    from sync_server.bundles import take as act

    back = receipts or file.with_name(file.name + ".receipts")
    fresh = back.with_name(back.name + ".part")
    with file.open("rb") as source, fresh.open("w+b") as out:
        rows = act(desk_of(ctx), source, out)
        out.flush()
    fresh.replace(back)
    show(rows, ("device", "received", "refused", "parked", "files", "problem"), json_too=as_json)
    say(f"Carry back: {back}")
    if any(row["problem"] for row in rows):
        sys.exit(REFUSED)


@main.command()
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path))
@click.argument(
    "bundles", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option(
    "--split", is_flag=True, help="The other way: OUT is a folder for the files inside BUNDLES."
)
def relay(out: Path, bundles: tuple[Path, ...], split: bool) -> None:
    """Put many agents' bundles, still sealed, into one file to carry. Needs no server and no key."""
    from sync_server.bundles import split_relay, write_relay

    at_ms = int(clock().timestamp() * 1000)
    if split:
        out.mkdir(parents=True, exist_ok=True)
        for one in bundles:
            with one.open("rb") as source:
                for name, data in split_relay(source):
                    (out / name).write_bytes(data)
                    click.echo(str(out / name))
        return
    fresh = out.with_name(out.name + ".part")
    with fresh.open("wb") as file:
        count = write_relay(file, [one.read_bytes() for one in bundles], made_ms=at_ms)
    fresh.replace(out)
    click.echo(f"{count} bundles in {out}")


@main.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--drafts",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write unfinished entries into this folder, for a person.",
)
@as_json
@click.pass_context
def recover(ctx: click.Context, file: Path, drafts: Path | None, as_json: bool) -> None:
    """Take the unsent work in a device's backup in, exactly once."""
    from sync_server.recover import recover as act

    with file.open("rb") as source:
        found = act(desk_of(ctx), source)
    if drafts and found.drafts:
        drafts.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, data in found.drafts.items():
            (drafts / name).write_bytes(data)
    show(
        [found.listed()],
        ("device", "received", "refused", "parked", "files", "drafts"),
        json_too=as_json,
    )


if __name__ == "__main__":
    main()
