"""The server's command line: set up, serve, publish, enrol, and what officers do by hand."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from schemas.words import counted

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
        except BrokenPipeError:
            raise  # Whoever read the output has seen enough: click ends without a word.
        except (Refused, NotSetUp, NoKeys, Unfit, NotPublished, StorageFull, Unavailable) as error:
            say(str(error))
        except OSError as error:
            say(f"{error.filename or 'the disk'}: {error.strerror or error}")
        except Exception as error:
            # The use cases of the desk name their refusals, each an exception for what is so.
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
    if column == "clock_skew_ms":
        return f"{value / 1000:+.0f} s"
    if column.endswith("_ms"):
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
    from uuid import uuid4  # noqa: TID251  the command line tells the core its ids

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
            Workers(database, found.keys, found.at_rest, workers)
            if workers
            else Inline(found.store, found.keys, found.at_rest)
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
    if not database:
        # SQLite gives its log the same mode; the folder may be there already, and open to others.
        config.database_file(home).touch(mode=0o600)
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
    default=None,
    help="Processes that check submissions; by default one for each core. 0: none apart.",
)
@click.pass_context
def serve(ctx: click.Context, host: str, port: int, threads: int, workers: int | None) -> None:
    """Serve devices and officers until interrupted. Put TLS in front of it for a network."""
    import os
    import signal
    from dataclasses import replace

    from sync_server.inspection import Watch
    from sync_server.web.app import create_app
    from sync_server.web.app import serve as run
    from sync_server.web.sync import place_of

    def end(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, end)
    desk = desk_of(ctx, workers=(os.cpu_count() or 1) if workers is None else workers)
    watch = Watch(desk, report=lambda error: say(f"checking failed: {place_of(error)}"))
    app = create_app(replace(desk, wake=watch.wake))
    watch.start()
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
    finally:
        watch.close()


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
    from sync_server.inspection import inspect
    from sync_server.publish import publish as act

    desk = desk_of(ctx)
    files = {one.name: one.read_bytes() for one in _media(form, media)}
    doubts: list[str] = []
    done = act(desk, form.name, form.read_bytes(), files, warn=lambda one: doubts.append(str(one)))
    taken = inspect(desk, parked=True)
    if as_json:
        click.echo(json.dumps({**done.listed(), "taken_up": taken, "warnings": doubts}))
        return
    for doubt in doubts:
        click.echo(f"{form.name}, {doubt}", err=True)
    with_media = f" with {counted(len(done.media), 'media file')}" if done.media else ""
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
    """Say what is wrong or doubtful in a form, by sheet and row, without publishing it.

    FORM is an XLSForm (.xlsx, .xls, .csv, .md), or an XForm (.xml), of which the lines are named.
    """
    from dataclasses import asdict

    from forms.lint import lint as findings
    from forms.problems import BrokenForm
    from forms.xlsform import read_xlsform

    files = {one.name: one.read_bytes() for one in _media(form, media)}
    try:
        found = findings(read_xlsform(form.name, form.read_bytes(), files), files)
    except BrokenForm as broken:
        if as_json:
            click.echo(
                json.dumps([asdict(one) for one in broken.problems], ensure_ascii=False, indent=2)
            )
        else:
            for one in broken.problems:
                click.echo(f"{form.name}, {one}")
        sys.exit(REFUSED)
    if as_json:
        click.echo(json.dumps([asdict(one) for one in found], ensure_ascii=False, indent=2))
        return
    for finding in found:
        click.echo(f"{form.name}, {finding}")
    say(f"{counted(len(found), 'finding')}; the form can be published")


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

        # Whoever can read the picture can enrol.
        qr.touch(mode=0o600)
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
    """Every device: its last round, what it last said it had not sent yet, its clock, and how many of
    its submissions do not fit into its chain (forked): then two devices work by one name.
    """
    from sync_server.chain import forked
    from sync_server.enrol import all_devices

    desk = desk_of(ctx)
    found, beside = desk.store.read(lambda tx: (all_devices(tx, area), forked(tx)))
    rows = [{**one.listed(), "forked": beside.get((one.area, one.device), 0)} for one in found]
    columns = (
        "device",
        "area",
        "label",
        "state",
        "last_round_ms",
        "unsent",
        "held_to",
        "forked",
        "clock_skew_ms",
    )
    show(rows, columns, json_too=as_json)
    for row in rows:
        if row["forked"] and not row["revoked_ms"]:
            say(
                f"{row['device']}: two devices work by this name, as after a copy was restored. Enrol "
                "one of them anew (enrol-device); `review list` shows what waits for a judgement"
            )


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
@click.argument("folder", required=False, type=click.Path(file_okay=False, path_type=Path))
@click.pass_context
def keys_rotate(ctx: click.Context, folder: Path | None) -> None:
    """Make new keys to seal to; the old ones keep opening. Devices get them at their next round.

    FOLDER is where the ring lies, if not where the server's configuration says; no server is needed.
    """
    from sync_server import signatures

    if folder is None:
        desk = desk_of(ctx)
        assert desk.home is not None
        if desk.config.keys_command:
            raise signatures.NoKeys(
                "the keys come from a command: rotate them where it gets them from "
                "(sync-server keys rotate FOLDER)"
            )
        folder = desk.config.keys_folder(desk.home)
    rotated = signatures.load(folder).rotated(at_ms=int(clock().timestamp() * 1000))
    signatures.keep(folder, rotated)
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
    """Check what waits to be checked, and again what waits for a form or a key."""
    from sync_server.inspection import inspect

    counted = inspect(desk_of(ctx), parked=True)
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
    from schemas.problems import at
    from sync_server.bundles import take as act

    back = receipts or file.with_name(file.name + ".receipts")
    fresh = back.with_name(back.name + ".part")
    try:
        with file.open("rb") as source, fresh.open("w+b") as out, at(str(file)):
            rows = act(desk_of(ctx), source, out)
        fresh.replace(back)
    finally:
        fresh.unlink(missing_ok=True)
    show(rows, ("device", "received", "refused", "parked", "files", "problem"), json_too=as_json)
    say(f"Carry back: {back}")
    if any(row["problem"] for row in rows):
        sys.exit(REFUSED)


@main.command()
@click.argument("tray", type=click.Path(file_okay=False, path_type=Path))
@click.argument("sticks", nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option(
    "--to", "url", default="", help="Pass on to the server at this address, if it answers."
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write all that waits into one file, to be carried on to sync-server take.",
)
@as_json
def relay(tray: Path, sticks: tuple[Path, ...], url: str, out: Path | None, as_json: bool) -> None:
    """Carry many agents' bundles, still sealed, on a supervisor's laptop.

    Collects the bundles on the STICKS (folders or files) into the folder TRAY, passes on what waits,
    and puts the receipts that came back beside each bundle, as FILE.receipts. It needs no key and can
    read nothing. Run it as often as you like: before the way to the network, and after.
    """
    import time
    from dataclasses import asdict

    from sync_server import relay as work

    carried = work.Tray.open(tray)
    work.collect(carried, sticks)
    rows, trouble = [], ""
    if url:
        try:
            rows = work.pass_on(carried, url, sleep=time.sleep, tell=lambda one: say(f"  {one}"))
        except work.NoWay as error:
            trouble = str(error)
    came = sum(1 for one in rows if not one.problem)
    rows = [*work.collect(carried, sticks), *(one for one in rows if one.problem)]
    show([asdict(one) for one in rows], ("device", "state", "file", "problem"), json_too=as_json)
    if out:
        count = work.write(carried, out, made_ms=int(clock().timestamp() * 1000))
        in_it = f"{counted(count, 'bundle')} in {out}"
        say(f"{in_it}: sync-server take it, and give its receipts to this command")
    if came:
        for_them = f"Receipts came for {counted(came, 'bundle')}"
        say(f"{for_them}; give the sticks to this command to put them there")
    left = len(carried.waiting())
    say(f"{counted(left, 'bundle')} {'waits' if left == 1 else 'wait'} in {tray}")
    if trouble:
        say(trouble)
    if trouble or any(one.problem for one in rows):
        sys.exit(REFUSED)


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
    """Take the unsent work in a device's backup in, exactly once.

    `received` counts what is new here, `known` what the server had already.
    """
    from schemas.problems import at
    from sync_server.recover import recover as act

    with file.open("rb") as source, at(str(file)):
        found = act(desk_of(ctx), source)
    if drafts and found.drafts:
        drafts.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, data in found.drafts.items():
            # Answers in the clear, whatever the folder's own mode is.
            (drafts / name).touch(mode=0o600)
            (drafts / name).chmod(0o600)
            (drafts / name).write_bytes(data)
    elif found.drafts:
        say("It holds unfinished entries too: --drafts FOLDER writes them out, for a person.")
    show(
        [found.listed()],
        ("device", "received", "known", "refused", "parked", "files", "drafts"),
        json_too=as_json,
    )


# What officers do by hand.

officer_name = click.option("--as", "officer", required=True, help="The officer who does it.")
password_file = click.option(
    "--password-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A file with the password on its first line; else it is asked for.",
)


def password_of(file: Path | None, ask: str, *, twice: bool = False) -> str:
    """A password from a file's first line or a prompt without echo, never from an argument."""
    if file is not None:
        return (file.read_text(encoding="utf-8").splitlines() or [""])[0]
    found: str = click.prompt(ask, hide_input=True, confirmation_prompt=twice, err=True)
    return found


def acting(desk: Desk, officer: str, file: Path | None) -> str:
    """The officer's name, once the password was shown to be theirs."""
    from sync_server.officers import sign_in

    return sign_in(desk, officer, password_of(file, f"Password of {officer}")).name


@main.group()
def users() -> None:
    """The officers: add, list, roles, passwords."""


role_option = click.option(
    "--role",
    "roles",
    multiple=True,
    required=True,
    help="agent, supervisor, approver, finance or admin; may be given several times.",
)


@users.command("add")
@click.argument("name")
@role_option
@password_file
@click.pass_context
def users_add(
    ctx: click.Context, name: str, roles: tuple[str, ...], password_file: Path | None
) -> None:
    """Add an officer. The password has at least 10 characters."""
    from sync_server.officers import add

    desk = desk_of(ctx)
    add(desk, name, roles, password_of(password_file, f"New password of {name}", twice=True))
    click.echo(f"{name} is {', '.join(sorted(set(roles)))}")


@users.command("list")
@as_json
@click.pass_context
def users_list(ctx: click.Context, as_json: bool) -> None:
    """Every officer with their roles."""
    from sync_server.officers import listed

    rows = [
        {"name": o.name, "roles": ", ".join(o.roles), "active": o.active, "locked": o.locked}
        for o in listed(desk_of(ctx))
    ]
    show(rows, ("name", "roles", "active", "locked"), json_too=as_json)


@users.command("password")
@click.argument("name")
@password_file
@click.pass_context
def users_password(ctx: click.Context, name: str, password_file: Path | None) -> None:
    """Set a new password; the officer's sessions end."""
    from sync_server.officers import change_password

    change_password(
        desk_of(ctx), name, password_of(password_file, f"New password of {name}", twice=True)
    )
    click.echo(f"{name} has a new password")


@users.command("role")
@click.argument("name")
@role_option
@click.option("--end", is_flag=True, help="Take the roles away instead of giving them.")
@click.pass_context
def users_role(ctx: click.Context, name: str, roles: tuple[str, ...], end: bool) -> None:
    """Give roles to an officer, or end them."""
    from sync_server.officers import give_roles

    give_roles(desk_of(ctx), name, roles, active=not end)
    click.echo(f"{name}: {', '.join(roles)} {'ended' if end else 'given'}")


@users.command("lock")
@click.argument("name")
@click.option("--undo", is_flag=True, help="Let the officer in again.")
@click.pass_context
def users_lock(ctx: click.Context, name: str, undo: bool) -> None:
    """Shut an officer out; what they decided stays."""
    from sync_server.officers import set_active

    set_active(desk_of(ctx), name, active=undo)
    click.echo(f"{name} is {'let in' if undo else 'shut out'}")


@main.group()
def review() -> None:
    """What waits for a decision: batches, enrolments, cycles, payments; and clashes."""


def _standing_row(one: Any) -> dict[str, Any]:
    return {
        "subject": one.subject.id,
        "kind": one.subject.kind,
        "area": one.subject.area,
        "title": one.subject.title,
        "state": str(one.state),
        "next": f"{one.next.name}, by {one.next.role}" if one.next else "",
        "content": one.subject.content,
        "author": one.subject.author,
        "decided": [
            {
                "stage": said.stage,
                "verdict": said.verdict,
                "officer": said.officer,
                "role": said.role,
                "comment": said.comment,
                "at_ms": said.at_ms,
            }
            for said in one.decided
        ],
    }


@review.command("list")
@click.option("--kind", default="", help="batch, fork, enrolment, cycle or payment; else all.")
@click.option("--all", "everything", is_flag=True, help="Also what was decided.")
@as_json
@click.pass_context
def review_list(ctx: click.Context, kind: str, everything: bool, as_json: bool) -> None:
    """What waits for a decision, and whose it is next."""
    from sync_server.docket import listed

    rows = [_standing_row(one) for one in listed(desk_of(ctx), kind=kind, settled=everything)]
    show(rows, ("subject", "kind", "area", "state", "next", "title"), json_too=as_json)


@review.command("show")
@click.argument("subject")
@as_json
@click.pass_context
def review_show(ctx: click.Context, subject: str, as_json: bool) -> None:
    """One subject: where it stands and what is in it. SUBJECT may be the beginning of an id."""
    from dataclasses import asdict

    from sync_server import batches, docket

    desk = desk_of(ctx)
    standing = docket.show(desk, subject)
    row = _standing_row(standing)
    one = standing.subject
    batch = batches.view(desk, one.area, one.id) if one.kind == "batch" else None
    if as_json:
        row["submissions"] = [asdict(each) for each in batch.submissions] if batch else []
        click.echo(json.dumps(row, ensure_ascii=False, indent=2))
        return
    click.echo(f"{one.kind} {one.id}: {one.title}")
    click.echo(f"{row['state']}; next: {row['next'] or 'nothing'}")
    for said in standing.decided:
        click.echo(f"  {said.verdict} by {said.officer} ({said.role}) {said.comment}".rstrip())
    counters = [each.counter for each in batch.submissions] if batch else []
    for each in batch.submissions if batch else ():
        # Both sides of a fork have the same number: then the hash says which is meant.
        told = f" ({each.hash[:12]})" if counters.count(each.counter) > 1 else ""
        click.echo(f"{each.counter}.{told} {each.label or each.form}: {each.state}")
        for fault in each.faults:
            click.echo(f"   ! {fault}")
        for answer in each.answers:
            colon = "" if answer.heading else ": "
            click.echo(f"   {'  ' * answer.depth}{answer.label}{colon}{answer.value}")


def _decide(
    ctx: click.Context, subject: str, officer: str, file: Path | None, verdict: str, comment: str
) -> None:
    from sync_server import docket

    desk = desk_of(ctx)
    name = acting(desk, officer, file)
    found = docket.decide(desk, name, subject, verdict, comment=comment)
    after = f"; next: {found.next.name}, by {found.next.role}" if found.next else ""
    click.echo(f"{found.subject.kind} {found.subject.id} is {found.state}{after}")


comment_option = click.option("--comment", default="", help="Why; an agent reads it on a return.")


@review.command("approve")
@click.argument("subject")
@officer_name
@password_file
@comment_option
@click.pass_context
def review_approve(
    ctx: click.Context, subject: str, officer: str, password_file: Path | None, comment: str
) -> None:
    """Approve the next stage of a batch, an enrolment list, a cycle or a payment batch."""
    _decide(ctx, subject, officer, password_file, "approve", comment)


@review.command("return")
@click.argument("subject")
@officer_name
@password_file
@click.option("--comment", required=True, help="Why; the agent in the field reads it.")
@click.option(
    "--submission",
    help="Return only this one: its number, its instance id or its hash's beginning.",
)
@click.pass_context
def review_return(
    ctx: click.Context,
    subject: str,
    officer: str,
    password_file: Path | None,
    comment: str,
    submission: str | None,
) -> None:
    """Give a subject back with a comment, or one submission of a batch."""
    if submission is None:
        _decide(ctx, subject, officer, password_file, "return", comment)
        return
    from sync_server import batches, docket

    desk = desk_of(ctx)
    name = acting(desk, officer, password_file)
    found = docket.show(desk, subject).subject
    batches.return_one(desk, name, found, submission, comment)
    click.echo(f"submission {submission} was returned; the rest of the batch waits anew")


@review.command("release")
@click.argument("batch")
@click.argument("submission")
@officer_name
@password_file
@comment_option
@click.pass_context
def review_release(
    ctx: click.Context,
    batch: str,
    submission: str,
    officer: str,
    password_file: Path | None,
    comment: str,
) -> None:
    """Let a held submission go on (two devices restored from one copy): it is checked and decided
    on with its BATCH. SUBMISSION is its number, its instance id or its hash's beginning.
    """
    from sync_server import batches, docket

    desk = desk_of(ctx)
    name = acting(desk, officer, password_file)
    found = docket.show(desk, batch).subject
    fork = batches.release_one(desk, name, found, submission, comment)
    if fork.next:
        click.echo(f"submission {submission} waits; next: {fork.next.name}, by {fork.next.role}")
        return
    click.echo(f"submission {submission} was released; the batch waits anew")


@review.command("clashes")
@as_json
@click.pass_context
def review_clashes(ctx: click.Context, as_json: bool) -> None:
    """What was stated differently and waits for a person."""
    from dataclasses import asdict

    from sync_server.registry import clashes

    rows = [asdict(one) for one in clashes(desk_of(ctx))]
    if as_json:
        click.echo(json.dumps(rows, ensure_ascii=False, indent=2))
        return
    for row in rows:
        row["values"] = " | ".join(side["value"] for side in row["sides"])
    show(rows, ("record", "label", "path", "values", "suggested", "freezes"), json_too=False)


@review.command("settle")
@click.argument("record")
@click.argument("path")
@click.argument("value")
@officer_name
@password_file
@click.pass_context
def review_settle(
    ctx: click.Context,
    record: str,
    path: str,
    value: str,
    officer: str,
    password_file: Path | None,
) -> None:
    """Settle the clash in PATH of RECORD: VALUE holds from now on, on every device too."""
    from sync_server.registry import settle

    desk = desk_of(ctx)
    settle(desk, acting(desk, officer, password_file), record, path, value)
    click.echo(f"{path} is {value}")


@review.command("policy")
@click.argument("kind")
@click.argument("stages", nargs=-1, required=True)
@officer_name
@password_file
@click.pass_context
def review_policy(
    ctx: click.Context,
    kind: str,
    stages: tuple[str, ...],
    officer: str,
    password_file: Path | None,
) -> None:
    """Set the stages that a KIND of subject passes from now on, each as NAME:ROLE."""
    from sync_server.review import set_policy

    pairs = [(one.rpartition(":")[0], one.rpartition(":")[2]) for one in stages]
    if not all(name and role for name, role in pairs):
        raise click.BadParameter("give each stage as NAME:ROLE", param_hint="STAGES")
    desk = desk_of(ctx)
    version = set_policy(desk, acting(desk, officer, password_file), kind, pairs)
    click.echo(f"policy of {kind}, version {version}: {', '.join(stages)}")


@review.command("audit")
@click.option("--area", "chosen", default=None, help="One area's chain; else all.")
@click.pass_context
def review_audit(ctx: click.Context, chosen: str | None) -> None:
    """Check that no decision was altered, taken out or put in: hashes, chain, signatures."""
    from sync_server import registry
    from sync_server.review import broken_links

    desk = desk_of(ctx)
    areas = ("", *desk.store.read(registry.areas)) if chosen is None else (chosen,)
    faults = [fault for area in areas for fault in broken_links(desk, area)]
    for fault in faults:
        click.echo(fault)
    if faults:
        sys.exit(REFUSED)
    chains = counted(len(areas), "chain")
    click.echo(f"the decisions of {chains} are whole and signed")


@main.group()
def registry() -> None:
    """The registry: households and their members."""


@registry.command("list")
@click.option("--find", "sought", default="", help="Only what holds this text, or has this id.")
@as_json
@click.pass_context
def registry_list(ctx: click.Context, sought: str, as_json: bool) -> None:
    """The records, with how many members each has."""
    from dataclasses import asdict

    from sync_server.registry import find

    rows = [asdict(one) for one in find(desk_of(ctx), sought, limit=100_000)]
    show(rows, ("id", "area", "label", "members", "frozen"), json_too=as_json)


@registry.command("show")
@click.argument("record")
@click.pass_context
def registry_show(ctx: click.Context, record: str) -> None:
    """One record as JSON, by its id or by that of one of its members."""
    from dataclasses import asdict

    from sync_server.registry import record as found

    click.echo(json.dumps(asdict(found(desk_of(ctx), record)), ensure_ascii=False, indent=2))


@registry.command("counts")
@click.pass_context
def registry_counts(ctx: click.Context) -> None:
    """How many records, members and open clashes there are, as JSON."""
    from sync_server.registry import counts

    click.echo(json.dumps(counts(desk_of(ctx))))


@registry.command("refold")
@click.pass_context
def registry_refold(ctx: click.Context) -> None:
    """Fold every record anew from its history, as after a change of its fields' policies."""
    from sync_server.registry import refold_all

    click.echo(f"{counted(refold_all(desk_of(ctx)), 'record')} folded")


@main.group()
def programme() -> None:
    """The programmes: add, list, show, enrol."""


@programme.command("add")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@officer_name
@password_file
@click.pass_context
def programme_add(ctx: click.Context, file: Path, officer: str, password_file: Path | None) -> None:
    """Add a programme from its JSON file, or a new version of it. Takes an admin."""
    from sync_server.enrolment import add

    desk = desk_of(ctx)
    kept = add(desk, acting(desk, officer, password_file), file.read_text(encoding="utf-8"))
    click.echo(f"{kept.programme.name}, version {kept.number}")


@programme.command("list")
@as_json
@click.pass_context
def programme_list(ctx: click.Context, as_json: bool) -> None:
    """The programmes, with how many households are enrolled."""
    from sync_server.enrolment import listed

    rows = [
        {
            "name": kept.programme.name,
            "title": kept.programme.title,
            "version": kept.number,
            "currency": kept.programme.currency,
            "enrolled": enrolled,
        }
        for kept, enrolled in listed(desk_of(ctx))
    ]
    show(rows, ("name", "title", "version", "currency", "enrolled"), json_too=as_json)


@programme.command("show")
@click.argument("name")
@click.pass_context
def programme_show(ctx: click.Context, name: str) -> None:
    """A programme's rules as JSON."""
    from dataclasses import asdict

    from sync_server.enrolment import get

    desk = desk_of(ctx)
    found = desk.store.read(lambda tx: get(tx, name))
    click.echo(json.dumps(asdict(found), ensure_ascii=False, indent=2))


@programme.command("enrol")
@click.argument("name")
@officer_name
@password_file
@as_json
@click.pass_context
def programme_enrol(
    ctx: click.Context, name: str, officer: str, password_file: Path | None, as_json: bool
) -> None:
    """List who is eligible and not enrolled yet. The list waits for `review approve LIST`."""
    from dataclasses import asdict

    from sync_server.enrolment import propose

    desk = desk_of(ctx)
    proposals = propose(desk, acting(desk, officer, password_file), name)
    if as_json:
        click.echo(json.dumps([asdict(one) for one in proposals], ensure_ascii=False, indent=2))
        return
    for one in proposals:
        told = f"list {one.list}: {len(one.households)} eligible" if one.list else "nobody new"
        click.echo(
            f"area {one.area}: {told}, {len(one.not_eligible)} not, {one.known} known before"
        )
        for aside in one.not_eligible:
            click.echo(f"   {aside.household}: {'; '.join(aside.reasons)}")


@main.group("cycle")
def cycle_group() -> None:
    """The payment cycles: open, list, run, approve, pay-list, reconcile."""


def _cycle_row(one: Any) -> dict[str, Any]:
    from sync_server.cycle import payment_batch

    return {
        "cycle": one.cycle.id,
        "programme": one.cycle.programme,
        "period": one.cycle.period,
        "state": str(one.cycle.state),
        "entitlements": one.entitlements,
        "total": one.total,
        "total_minor": one.total_minor,
        "currency": one.currency,
        "set_aside": [
            {"household": aside.household, "reasons": list(aside.reasons)}
            for aside in one.set_aside
        ],
        "aside": len(one.set_aside),
        "payments": dict(one.payments),
        "released": one.released,
        "released_minor": one.released_minor,
        "payment_batch": payment_batch(one.cycle.id),
    }


def _told_cycle(one: Any, *, as_json: bool) -> None:
    row = _cycle_row(one)
    if as_json:
        click.echo(json.dumps(row, ensure_ascii=False, indent=2))
        return
    click.echo(
        f"cycle {row['cycle']} ({row['programme']} {row['period']}) is {row['state']}: "
        f"{counted(row['entitlements'], 'entitlement')}, {row['currency']} {row['total']}"
    )
    for aside in row["set_aside"]:
        click.echo(f"   set aside {aside['household']}: {'; '.join(aside['reasons'])}")


@cycle_group.command("open")
@click.argument("programme_name", metavar="PROGRAMME")
@click.argument("period")
@officer_name
@password_file
@as_json
@click.pass_context
def cycle_open(
    ctx: click.Context,
    programme_name: str,
    period: str,
    officer: str,
    password_file: Path | None,
    as_json: bool,
) -> None:
    """Open a cycle for a PERIOD (2026-11) and work out who is due what."""
    from sync_server.cycle import open_cycle

    desk = desk_of(ctx)
    found = open_cycle(desk, acting(desk, officer, password_file), programme_name, period)
    _told_cycle(found, as_json=as_json)


@cycle_group.command("run")
@click.argument("cycle")
@officer_name
@password_file
@as_json
@click.pass_context
def cycle_run(
    ctx: click.Context, cycle: str, officer: str, password_file: Path | None, as_json: bool
) -> None:
    """Work a draft cycle out again. CYCLE is its id, or PROGRAMME/PERIOD. Adds nothing twice."""
    from sync_server.cycle import run

    desk = desk_of(ctx)
    found = run(desk, acting(desk, officer, password_file), cycle)
    _told_cycle(found, as_json=as_json)


@cycle_group.command("list")
@as_json
@click.pass_context
def cycle_list(ctx: click.Context, as_json: bool) -> None:
    """Every cycle with its entitlements, total, and what was set aside and why (--json)."""
    from sync_server.cycle import listed

    rows = [_cycle_row(one) for one in listed(desk_of(ctx))]
    columns = (
        "cycle",
        "programme",
        "period",
        "state",
        "entitlements",
        "total",
        "currency",
        "aside",
    )
    show(rows, columns, json_too=as_json)


@cycle_group.command("show")
@click.argument("cycle")
@as_json
@click.pass_context
def cycle_show(ctx: click.Context, cycle: str, as_json: bool) -> None:
    """One cycle with what was set aside and why."""
    from sync_server.cycle import figures

    _told_cycle(figures(desk_of(ctx), cycle), as_json=as_json)


@cycle_group.command("approve")
@click.argument("cycle")
@officer_name
@password_file
@comment_option
@click.pass_context
def cycle_approve(
    ctx: click.Context, cycle: str, officer: str, password_file: Path | None, comment: str
) -> None:
    """Approve what is next of a cycle: its entitlements (approver), then its payments (finance)."""
    from sync_server.cycle import next_subject

    subject = desk_of(ctx).store.read(lambda tx: next_subject(tx, cycle))
    _decide(ctx, subject, officer, password_file, "approve", comment)


@cycle_group.command("pay-list")
@click.argument("cycle")
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where to write the CSV; else it is printed.",
)
@as_json
@click.pass_context
def cycle_pay_list(ctx: click.Context, cycle: str, output: Path | None, as_json: bool) -> None:
    """Write the payment list of a cycle whose payments are approved, with the total last."""
    from dataclasses import asdict

    from sync_server.cycle import figures, pay_list
    from sync_server.payout import total_minor

    desk = desk_of(ctx)
    text, instructions = pay_list(desk, cycle)
    if output is not None:
        fresh = output.with_name(output.name + ".part")
        fresh.touch(mode=0o600)
        fresh.write_text(text, encoding="utf-8", newline="")
        fresh.replace(output)
    found = figures(desk, cycle)
    if as_json:
        told = {
            "payments": [asdict(one) for one in instructions],
            "total_minor": total_minor(instructions),
            "total": found.released,
            "currency": found.currency,
            "set_aside": [asdict(one) for one in found.set_aside],
        }
        click.echo(json.dumps(told, ensure_ascii=False, indent=2))
    elif output is None:
        click.echo(text, nl=False)
    else:
        payments = counted(len(instructions), "payment")
        click.echo(f"{payments}, {found.currency} {found.released}, in {output}")


@cycle_group.command("reconcile")
@click.argument("cycle")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@officer_name
@password_file
@click.pass_context
def cycle_reconcile(
    ctx: click.Context, cycle: str, file: Path, officer: str, password_file: Path | None
) -> None:
    """Book the payer's answers: a CSV with payment, status (paid, failed), reference, amount."""
    from sync_server.cycle import reconcile

    desk = desk_of(ctx)
    found = reconcile(
        desk,
        acting(desk, officer, password_file),
        cycle,
        file.read_text(encoding="utf-8"),
    )
    click.echo(f"{found.paid} paid, {found.failed} failed, {found.already} known before")
    for fault in found.faults:
        click.echo(f"   not booked: {fault}")
    if found.faults:
        sys.exit(REFUSED)


@cycle_group.command("books")
@click.argument("programme_name", metavar="PROGRAMME")
@as_json
@click.pass_context
def cycle_books(ctx: click.Context, programme_name: str, as_json: bool) -> None:
    """The balances of a programme's accounts, in minor units. They sum to nothing."""
    from sync_server.cycle import books

    rows = [
        {"account": account, "currency": currency, "balance_minor": balance}
        for (account, currency), balance in books(desk_of(ctx), programme_name).items()
    ]
    show(rows, ("account", "currency", "balance_minor"), json_too=as_json)


if __name__ == "__main__":
    main()
