"""The command `field-agent`: register households where there is no network, and sync when there is."""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from schemas.words import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime, tzinfo

    from field_agent.course import Outcome, Progress
    from field_agent.register import Desk
    from field_agent.store import Finished, Store
    from field_agent.sync import Run
    from field_agent.vault import Vault

DONE, REFUSED, MISUSE = 0, 1, 2
WAITS_S_MAX = 10
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts.")

# What is told in one sentence and ends with exit 1. By name, so that nothing is imported for it.
TOLD = {
    "field_agent.area": {"Unreadable"},
    "field_agent.trouble": {"Locked", "CannotSeal", "DiskFull", "Busy", "Missing", "NotEnrolled"},
    "field_agent.transport": {"Unreachable"},
    "field_agent.session": {"Open"},
    "field_agent.register": {"RefusedAnswer", "NoSuchQuestion"},
    "forms.problems": {"BrokenForm"},
    "forms.media": {"BadMedia"},
    "forms.entry": {"NoSuchNode"},
    "forms.finish": {"Unfinished"},
    "forms.language.core": {"TooCostly"},
    "forms.plant": {"WrongForm"},
    "schemas.problems": {"Refused"},
}


class Device:
    """The device that the command works on; opened when a command first needs it."""

    def __init__(self, home: Path, passphrase_file: Path | None) -> None:
        self.home = home
        self.passphrase_file = passphrase_file

    def passphrase(self, *, new: bool = False) -> str:
        """From the file, else from a prompt that shows nothing. Never from an argument."""
        if self.passphrase_file is not None:
            return read_secret(self.passphrase_file)
        if new:
            words = click.prompt(
                "New passphrase", hide_input=True, confirmation_prompt="The same again", err=True
            )
        else:
            words = click.prompt("Passphrase", hide_input=True, err=True)
        return str(words)

    def unlock(self, words: str | None = None) -> Vault:
        """By the words that were given already, else by those that are asked for.

        A short wait after tries that failed is waited out here; the vault still counts it.
        """
        from field_agent import vault
        from field_agent.trouble import NotSetUp, WrongPassphrase

        if not vault.exists(self.home):
            raise NotSetUp(
                f"no device at {self.home}: set it up with field-agent enrol URL --code CODE"
            )
        words = words or self.passphrase()
        try:
            return vault.unlock(self.home, words)
        except WrongPassphrase as early:
            if early.tried or early.wait_s > WAITS_S_MAX:
                raise
            click.echo(f"field-agent: {early.text}; waiting {early.wait_s:.0f} s", err=True)
            # Clocks are read in whole milliseconds.
            time.sleep(early.wait_s + 0.01)
        return vault.unlock(self.home, words)

    def open(self, *, for_contact: bool = False, steady: bool = False) -> Store:
        import time

        from field_agent.store import STORE_FILE, Store
        from field_agent.trouble import Missing
        from field_agent.vault import clock_ms

        if not (self.home / STORE_FILE).exists():
            # A fresh one would look like a device on which nothing was ever registered.
            raise Missing(
                f"{self.home} has its key.json and no {STORE_FILE}: put the store back from a copy; "
                "if this device was never enrolled to its end, run field-agent enrol again"
            )
        store = Store.open(
            self.unlock(),
            now_ms=clock_ms(),
            for_contact=for_contact,
            steady_ms=(lambda: int(time.monotonic() * 1000)) if steady else None,
        )
        if store.left_aside:
            click.echo(
                f"{store.left_aside} bytes of a write that did not finish were put aside (the power "
                "went, or a program was stopped in the middle); everything acknowledged is here. If "
                "this comes again without either, the disk is failing: make a backup (field-agent "
                "backup FILE).",
                err=True,
            )
        return store


pass_device = click.make_pass_decorator(Device)


def read_secret(file: Path) -> str:
    try:
        words = file.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeError) as error:
        raise click.UsageError(f"the passphrase file {file} cannot be read: {error}") from error
    if not words:
        raise click.UsageError(f"the passphrase file {file} is empty")
    return words


def new_uuid() -> str:
    import uuid

    return str(uuid.uuid4())  # noqa: TID251  the command line is where ids come from


def local_now() -> datetime:
    from datetime import UTC, datetime

    return datetime.now(UTC)  # noqa: TID251  the command line is where time comes from


def luck() -> float:
    return int.from_bytes(os.urandom(4), "big") / 2**32


def local_zone() -> tzinfo:
    zone = local_now().astimezone().tzinfo
    assert zone is not None
    return zone


def desk_of(store: Store) -> Desk:
    """Interviews of the command line: the machine's clock and zone, the device's name."""
    import random  # noqa: TID251  the command line is where luck comes from

    from field_agent.register import Desk

    who = store.identity
    properties = {"deviceid": who.device if who else "", "username": ""}
    if who:
        properties["username"] = str(who.about.get("label", "")) or who.device
    return Desk(
        store,
        local_now,
        new_uuid,
        random.SystemRandom().random,
        local_zone(),
        properties,
        steady_ms=lambda: time.monotonic_ns() // 1_000_000,
    )


def show(rows: Sequence[dict[str, Any]], columns: Iterable[str], *, none: str) -> None:
    """Rows as a table of plain text."""
    names = list(columns)
    if not rows:
        click.echo(none)
        return
    cells = [[str(row.get(name, "")) for name in names] for row in rows]
    widths = [
        max(len(name), *(len(line[number]) for line in cells)) for number, name in enumerate(names)
    ]
    for line in [names, *cells]:
        text = "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        click.echo(text.rstrip())


def put(value: object) -> None:
    click.echo(json.dumps(value, ensure_ascii=False, indent=1))


@click.group(
    epilog="Exit codes: 0 done, 1 refused with a reason, 2 used wrongly. Nothing that was answered "
    "is lost by any of them.",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--home",
    type=click.Path(path_type=Path, file_okay=False),
    default=lambda: Path.home() / ".field-agent",
    envvar="FIELD_AGENT_HOME",
    show_default="~/.field-agent",
    help="Where this device's files are.",
)
@click.option(
    "--passphrase-file",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="FIELD_AGENT_PASSPHRASE_FILE",
    help="Read the passphrase from this file instead of asking for it.",
)
@click.version_option("0.1.0", prog_name="field-agent")
@click.pass_context
def cli(context: click.Context, home: Path, passphrase_file: Path | None) -> None:
    """Register households without a network, in an encrypted store; sync when there is one."""
    context.obj = Device(home, passphrase_file)


# Setting up.


@cli.command()
@click.argument("url", required=False)
@click.option(
    "--code",
    help="The code of 33 letters that `sync-server enrol-device` showed, or what its QR picture says.",
)
@click.option(
    "--file",
    "file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="The enrolment file (it names the server too).",
)
@click.option("--label", default="", help="How the office will see this device in its list.")
@pass_device
def enrol(device: Device, url: str | None, code: str | None, file: Path | None, label: str) -> None:
    """Make this a device of the server at URL, with a one-time code from the office.

    Choose a passphrase of at least 8 letters. There is no way into the device without it.
    """
    from field_agent import transport, vault
    from field_agent.incoming import take_keys
    from field_agent.store import Identity, Store
    from schemas.signing import fingerprint
    from schemas.ticket import Ticket

    if (code is None) == (file is None):
        raise click.UsageError("give the code (--code CODE) or the enrolment file (--file FILE)")
    ticket = Ticket.parse(str(code) if file is None else _ticket_in(file))
    address = url or ticket.url
    if not address:
        raise click.UsageError("give the server's address: field-agent enrol URL --code CODE")
    wire = transport.Http(address)
    fresh = not vault.exists(device.home)
    opened = vault.create(device.home, device.passphrase(new=True)) if fresh else device.unlock()
    now_ms = vault.clock_ms()
    with Store.open(opened, now_ms=now_ms, for_contact=True) as store:
        reply = transport.enrol(
            wire,
            ticket,
            key=opened.public,
            box=opened.box_public,
            sign=opened.sign,
            now_ms=now_ms,
            label=label,
            was=store.identity,
        )
        who = Identity(
            reply.device,
            reply.area,
            address.rstrip("/"),
            fingerprint(reply.server_key),
            reply.server_key,
            reply.epoch,
            {"programme": reply.programme, "label": label},
        )
        with store.transaction():
            store.enrol(who, [], lease_s=reply.lease_s, now_ms=now_ms)
            take_keys(store, reply.keys)
        click.echo(f"Enrolled as {reply.device} in area {reply.area} of {reply.programme}.")
        _first_round(store)


def _ticket_in(file: Path) -> str:
    from schemas.problems import Refused

    try:
        return file.read_text(encoding="utf-8")
    except UnicodeError as error:
        raise Refused(
            "code-unreadable",
            f"{file} is not text; of a picture, scan it and give what it says as --code",
        ) from error


def _first_round(store: Store) -> None:
    """Fetch the forms while the server is at hand. The device is enrolled, whatever comes of it."""
    from field_agent.transport import Unreachable
    from schemas.problems import Refused

    try:
        run_of(store, Screen(quiet=True).tell).sync()
    except (Unreachable, Refused) as error:
        click.echo(f"The forms are not here yet: field-agent sync fetches them. {error}", err=True)
        return
    names = ", ".join(one.form for one in store.forms())
    if names:
        click.echo(f"Forms: {names}. Next: field-agent register FORM.")
    else:
        click.echo("No form is published yet: field-agent sync fetches them once there is one.")


@cli.command()
@click.option(
    "--new-passphrase-file",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="Read the new passphrase from this file instead of asking for it.",
)
@click.option("--rotate", is_flag=True, help="Also encrypt the whole store under a new key.")
@pass_device
def passphrase(device: Device, new_passphrase_file: Path | None, *, rotate: bool) -> None:
    """Change the passphrase."""
    old = device.passphrase()
    from field_agent import vault
    from field_agent.store import Store

    opened = device.unlock(old)
    if new_passphrase_file is not None:
        new = read_secret(new_passphrase_file)
    else:
        device.passphrase_file = None
        new = device.passphrase(new=True)
    vault.good(new)
    if rotate:
        # First, as only this can find the store held: then the old passphrase is still the one.
        with Store.open(opened, now_ms=vault.clock_ms(), for_contact=True) as store:
            store.rotate_key(old)
    opened.change_passphrase(old, new)
    click.echo("The passphrase is changed." + (" The store has a new key." if rotate else ""))


# Forms and interviews.


@cli.command()
@JSON
@pass_device
def forms(device: Device, *, as_json: bool) -> None:
    """List the forms that can be filled in here."""
    with device.open() as store:
        rows = [
            {"form": one.form, "version": one.version, "title": one.title, "hash": one.hash}
            for one in store.forms()
        ]
    if as_json:
        put(rows)
    else:
        show(rows, ("form", "version", "title"), none="No form yet: field-agent sync fetches them.")


@cli.command()
@click.argument("form", required=False)
@click.option(
    "--answers",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    help="Take the answers from this JSON file: keyed by question name, repeats as lists.",
)
@click.option(
    "--attach",
    multiple=True,
    metavar="QUESTION=PATH",
    help="The file that answers a question (in a repeat: member[2]/photo=PATH).",
)
@click.option("--language", help="Ask in this language (fr, ar, ...).")
@click.option("--resume", metavar="ID", help="Go on with an entry that was left.")
@JSON
@pass_device
def register(
    device: Device,
    form: str | None,
    answers: Path | None,
    attach: tuple[str, ...],
    language: str | None,
    resume: str | None,
    *,
    as_json: bool,
) -> None:
    """Fill in FORM and seal it for sending.

    Asks question by question; every answer is kept at once and an entry can be left at any point.
    With --answers nothing is asked: the file is answered as a person would, in the form's order, and
    the first question that is unanswered or refused is named; then nothing is registered.
    """
    from field_agent import register as work

    if (form is None) == (resume is None):
        raise click.UsageError("name a form (field-agent forms lists them) or --resume an entry")
    given = _given(answers)
    files = dict(_pair(one) for one in attach)
    with device.open() as store:
        desk = desk_of(store)
        if answers is not None and form is not None:
            done: Finished | None = work.register(desk, form, given, files)
        else:
            interview = (
                work.Interview.begin(desk, form)
                if form is not None
                else work.Interview.resume(desk, _draft(store, str(resume)))
            )
            if language:
                interview.set_language(_language(interview.form.languages, language))
            if answers is not None:
                work.check_names(interview.form, given)
                work.fill(interview, given, files)
                done = interview.finish()
            else:
                done = _ask(interview)
    if done is None:
        return
    if as_json:
        put(_row(done, {}))
    else:
        click.echo(f"Sealed as number {done.counter}: {done.label}. It waits for the next sync.")


def _given(answers: Path | None) -> dict[str, Any]:
    from field_agent.register import NoSuchQuestion, read_answers

    if answers is None:
        return {}
    try:
        text = sys.stdin.read() if str(answers) == "-" else answers.read_text(encoding="utf-8")
        return read_answers(text)
    except OSError as error:
        raise click.UsageError(f"{answers} cannot be read: {error.strerror}") from error
    except UnicodeError as error:
        raise NoSuchQuestion(f"{answers} is not UTF-8 text; save it as UTF-8") from error
    except NoSuchQuestion as error:
        raise NoSuchQuestion(f"{answers}: {error}") from error


def _pair(text: str) -> tuple[str, str]:
    question, sign, path = text.partition("=")
    if not sign or not question or not path:
        raise click.UsageError(f"--attach takes QUESTION=PATH, not {text!r}")
    if not Path(path).is_file():
        raise click.UsageError(f"--attach {question}: there is no file {path}")
    return question, path


def _language(known: Sequence[str], wanted: str) -> str:
    for one in known:
        if wanted.lower() in {one.lower(), one.rpartition("(")[2].rstrip(")").lower()}:
            return one
    raise click.UsageError(f"this form speaks {', '.join(known) or 'one language only'}")


def _ask(interview: Any) -> Finished | None:
    from field_agent.interview import Terminal, hold

    return hold(interview, Terminal(lambda prompt: input(prompt), click.echo))  # noqa: PLW0108  input is looked up late


def _draft(store: Store, begun: str) -> str:
    from field_agent.trouble import Missing

    found = [one.draft for one in store.drafts() if one.draft.startswith(begun)]
    if len(found) != 1:
        many = "several entries begin" if found else "no entry being filled in begins"
        raise Missing(f"{many} with {begun}: field-agent list shows their ids")
    return found[0]


def _row(one: Finished, returned: Mapping[int, str]) -> dict[str, Any]:
    """An entry as people read it; `returned` are those that were sent back, with the comment."""
    back = one.counter in returned
    state = "refused" if one.why else STATES.get(one.state, one.state)
    return {
        "number": one.counter,
        "state": "returned" if back else state,
        "form": one.form,
        "version": one.version,
        "label": one.label,
        "made": _moment(one.made_ms),
        "hash": one.hash,
        "bytes": one.size,
        "why": returned[one.counter] if back else one.why,
    }


STATES = {"pending": "waiting", "sent": "waiting", "receipted": "synced"}
"""How states read to people: nothing is called synced before its receipt is here, nor if it was
refused or sent back, even where the server holds it."""


def _moment(ms: int) -> str:
    from datetime import UTC, datetime

    if not ms:
        return ""
    return datetime.fromtimestamp(ms / 1000, UTC).astimezone().isoformat(timespec="seconds")


@cli.command("list")
@click.option(
    "--state",
    type=click.Choice(["draft", "waiting", "synced", "refused", "returned"]),
    help="Only entries in this state.",
)
@JSON
@pass_device
def list_entries(device: Device, state: str | None, *, as_json: bool) -> None:
    """List entries: drafts, those waiting for a sync, those synced, those refused and those returned
    by a supervisor (`show` says why).
    """
    with device.open() as store:
        rows = [
            {
                "number": one.draft[:8],
                "state": "draft",
                "form": one.form,
                "version": one.version,
                "label": one.label,
                "made": _moment(one.started_ms),
                "draft": one.draft,
            }
            for one in store.drafts()
        ]
        after, returned = 0, store.returned()
        while page := store.outbox(after=after):
            rows += [_row(one, returned) for one in page]
            after = page[-1].counter
    if state:
        rows = [row for row in rows if row["state"] == state]
    if as_json:
        put(rows)
    else:
        show(rows, ("number", "state", "form", "label", "made"), none="Nothing here yet.")


@cli.command("show")
@click.argument("number")
@JSON
@pass_device
def show_entry(device: Device, number: str, *, as_json: bool) -> None:
    """Show entry NUMBER. What is sealed cannot be read back: only its outside is shown."""
    with device.open() as store:
        if number.isdigit() and len(number) < 8:
            one = store.finished(int(number))
            told = _row(one, store.returned()) | {"receipt": store.receipt_of(one.counter)}
        else:
            draft = store.draft(_draft(store, number))
            told = {
                "number": draft.draft,
                "state": "draft",
                "form": draft.form,
                "version": draft.version,
                "label": draft.label,
                "started": draft.started,
                "files": draft.files,
                "answers": _answers_of(store, draft.draft),
            }
    if as_json:
        put(told)
        return
    for name, value in told.items():
        if isinstance(value, dict):
            click.echo(f"{name}:")
            for key, inner in value.items():
                click.echo(f"  {key}: {inner}")
        elif value not in ("", None):
            click.echo(f"{name}: {value}")


def _answers_of(store: Store, draft: str) -> dict[str, str]:
    from field_agent.register import Interview

    interview = Interview.resume(desk_of(store), draft)
    return {one.ref: one.value for one in interview.questions() if one.value}


@cli.command()
@click.argument("draft")
@pass_device
def discard(device: Device, draft: str) -> None:
    """Erase the entry DRAFT, which is still being filled in. Nothing of it stays."""
    with device.open() as store:
        found = store.draft(_draft(store, draft))
        store.discard(found.draft)
    click.echo(f"Erased: {found.label}.")


@cli.command()
@click.argument("text", required=False, default="")
@click.option("--kind", default="", help="households, persons, ...")
@click.option("--limit", default=50, show_default=True)
@JSON
@pass_device
def records(device: Device, text: str, kind: str, limit: int, *, as_json: bool) -> None:
    """Look up households and people of this area by a part of their name."""
    from field_agent import area

    with device.open() as store:
        found = area.with_members(store, area.listed(store, kind, find=text, limit=limit))
        rows = [
            {
                "record": one.record,
                "kind": one.kind,
                "label": one.label,
                "fields": one.fields,
                "wrong": one.wrong,
            }
            for one in found
        ]
    if as_json:
        put(rows)
    else:
        show(rows, ("record", "kind", "label"), none="Nothing found; sync fetches the registry.")


@cli.command()
@click.option("--all", "everything", is_flag=True, help="Also those already read.")
@click.option(
    "--aside",
    multiple=True,
    type=int,
    metavar="NUMBER",
    help="Put this notice aside: the entry that was sent back is corrected, or needs nothing more.",
)
@JSON
@pass_device
def notices(device: Device, aside: tuple[int, ...], *, everything: bool, as_json: bool) -> None:
    """What the office wants you to know: entries sent back, refusals, settled clashes.

    What is shown counts as read. An entry that was sent back is shown until you put its notice aside:
    what is sealed cannot be read back, so register the household again with what was missing.
    """
    from field_agent.trouble import Missing

    with device.open() as store:
        with store.transaction():
            for number in aside:
                if not store.read_notice(number):
                    raise Missing(f"there is no notice {number}: field-agent notices shows them")
        found = store.notices(unread=not everything)
        for one in found:
            if not one.read and one.kind != "returned" and not as_json:
                store.read_notice(one.number)
    rows = [
        {
            "number": one.number,
            "kind": one.kind,
            "at": _moment(one.made_ms),
            "about": one.body.get("label", ""),
            "comment": one.body.get("comment") or one.body.get("why", ""),
            "body": one.body,
        }
        for one in found
    ]
    if as_json:
        put(rows)
    else:
        show(rows, ("number", "kind", "at", "about", "comment"), none="No news.")
        if any(one.kind == "returned" and not one.read for one in found):
            click.echo(
                "What was returned is registered again, corrected; then field-agent notices "
                "--aside NUMBER.",
                err=True,
            )


# Meeting the server.


@cli.command()
@click.option(
    "--watch", is_flag=True, help="Go on trying, ever more rarely while there is no network."
)
@JSON
@pass_device
def sync(device: Device, *, watch: bool, as_json: bool) -> None:
    """Send what is finished, fetch what is new. Can be cut anywhere and run again."""
    import time

    from field_agent.transport import Unreachable
    from field_agent.watch import watch as keep_on

    with _told_to_scripts(as_json=as_json), device.open(for_contact=True) as store:
        screen = Screen(quiet=as_json)

        def once() -> Outcome:
            return run_of(store, screen.tell).sync()

        def left() -> dict[str, Any]:
            return {"left": store.unsent(), "attachments_left": len(store.attachments())}

        if not watch:
            try:
                outcome = once()
            except Unreachable as error:
                screen.end()
                _tell_trouble(str(error), left(), as_json=as_json)
                sys.exit(REFUSED)
            finally:
                screen.end()
            _tell(outcome, as_json=as_json)
            return

        def say(told: Outcome | str, pause_s: float) -> None:
            screen.end()
            if isinstance(told, str):
                _tell_trouble(told, left(), as_json=as_json, pause_s=pause_s)
            else:
                _tell(told, as_json=as_json, in_a_line=True)

        keep_on(once, sleep=time.sleep, luck=luck, say=say)


@contextmanager
def _told_to_scripts(*, as_json: bool) -> Iterator[None]:
    """What ends a sync for good stands where a script reads the outcome, too."""
    from field_agent.trouble import Busy, DiskFull, Locked
    from schemas.problems import Refused

    try:
        yield
    except (Refused, Locked, DiskFull, Busy) as error:
        if as_json:
            click.echo(json.dumps({"synced": False, "trouble": str(error)}, ensure_ascii=False))
        raise


def run_of(store: Store, tell: Callable[[Progress], None]) -> Run:
    """One sync over the network, told time, ids and luck by this command."""
    import time

    from field_agent.course import Means
    from field_agent.sync import Run, link_of
    from field_agent.transport import Http
    from field_agent.vault import clock_ms

    who = store.owner()
    link = link_of(store, Http(who.server_url), clock_ms)
    return Run(
        Means(
            store,
            link,
            now_ms=clock_ms,
            steady_s=time.monotonic,
            new_id=new_uuid,
            luck=luck,
            sleep=time.sleep,
            tell=tell,
            beside=lambda: link_of(store, Http(who.server_url), clock_ms),
        )
    )


class Screen:
    """The progress of a sync: one line that is drawn anew on a terminal, plain lines elsewhere."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._drawn = False
        self._last = (0, 0)
        self._live = sys.stderr.isatty()

    def tell(self, now: Progress) -> None:
        if now.note:
            # Also where a script reads: whoever watches it sees that it has not hung.
            self.end()
            click.echo(f"  {now.note}", err=True)
            return
        if self._quiet:
            return
        share = now.bytes / now.bytes_all if now.bytes_all else 1.0
        left = f", {_span(now.left_s)} left" if now.left_s and share < 1 else ""
        line = (
            f"{now.doing}: {now.records} of {now.records_all} entries, "
            f"{_size(now.bytes)} of {_size(now.bytes_all)}{left}"
        )
        if self._live:
            filled = int(share * 24)
            click.echo(f"\r\x1b[K[{'#' * filled}{'.' * (24 - filled)}] {line}", nl=False, err=True)
            self._drawn = True
        elif (now.records, now.bytes) != self._last:
            # In a file or a script's log: only what moved.
            click.echo(line, err=True)
        self._last = (now.records, now.bytes)

    def end(self) -> None:
        if self._drawn:
            click.echo(err=True)
            self._drawn = False


def _size(count: int) -> str:
    if count < 1024:
        return f"{count} B"
    return f"{count / 1024:.0f} KiB" if count < 2**20 else f"{count / 2**20:.1f} MiB"


def _span(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    hours = seconds / 3600
    return f"{hours:.0f} hours" if hours < 48 else f"{hours / 24:.0f} days"


def _tell_trouble(
    trouble: str, left: dict[str, Any], *, as_json: bool, pause_s: float | None = None
) -> None:
    """Why there was no sync, what goes out with the next one, and when that is."""
    if as_json:
        told = {"synced": False, "trouble": trouble, **left}
        click.echo(json.dumps(told | ({} if pause_s is None else {"again_s": round(pause_s)})))
        return
    again = (
        "field-agent sync, or without a network field-agent bundle FILE"
        if pause_s is None
        else f"again in {pause_s:.0f} s"
    )
    waits = _waiting(left["left"], left["attachments_left"])
    click.echo(
        f"field-agent: {trouble.rstrip('.')}. {waits} here, to go out with the next sync, from where "
        f"this one stopped: {again}",
        err=True,
    )


def _waiting(entries: int, files: int) -> str:
    named = [counted(entries, "entry", "entries")] if entries or not files else []
    named += [counted(files, "file")] if files else []
    return f"{' and '.join(named)} {'waits' if entries + files == 1 else 'wait'}"


def _news(outcome: Outcome) -> list[str]:
    """What came from the office, by its kinds."""
    told = [
        f"{counted(outcome.news[kind], *noun)} {'was' if outcome.news[kind] == 1 else 'were'} {done}"
        for kind, noun, done in NEWS
        if kind in outcome.news
    ]
    news = [", ".join(told) + ": field-agent notices"] if told else []
    if outcome.records:
        news.append(f"{counted(len(outcome.records), 'household')} of the area")
    return news


NEWS = (
    ("returned", ("entry", "entries"), "sent back"),
    ("refused", ("entry", "entries"), "refused"),
    ("released", ("entry that was held", "entries that were held"), "let go on"),
    ("settled", ("clash", "clashes"), "settled"),
)


def _tell(
    outcome: Outcome, *, as_json: bool, in_a_line: bool = False, nothing: str = "Nothing new."
) -> None:
    if as_json:
        told = outcome.told()
        click.echo(json.dumps(told, ensure_ascii=False, indent=None if in_a_line else 1))
        return
    lines = [counted(outcome.receipts, "receipt")] if outcome.receipts else []
    if outcome.attachments:
        lines.append(f"{counted(outcome.attachments, 'file')} sent")
    if outcome.forms:
        lines.append("forms: " + ", ".join(outcome.forms))
    lines += _news(outcome)
    if outcome.fed_again:
        lines.append(f"the server was restored from an old copy: {outcome.fed_again} sent again")
    said = "; ".join(lines) or nothing
    click.echo(f"{'Synced.' if outcome.synced else 'Not all synced yet.'} {said}".rstrip())
    for one in outcome.refused:
        kept = "the server holds it" if one["held"] else "it stays on this device"
        click.echo(f"  number {one['counter']} ({one['label']}): {one['why']} ({kept})")
    if outcome.parked:
        waits = (
            "waits at the server for its" if outcome.parked == 1 else "wait at the server for their"
        )
        click.echo(f"  {outcome.parked} {waits} form to be published")
    if not outcome.synced:
        click.echo(
            f"  {_waiting(outcome.left, outcome.attachments_left)} here still; run field-agent sync "
            "again"
        )
    if abs(outcome.skew_ms) > 120_000:
        click.echo(
            f"  This device's clock is {_span(abs(outcome.skew_ms) / 1000)} "
            f"{'ahead of' if outcome.skew_ms > 0 else 'behind'} the server's: set it right.",
            err=True,
        )


@cli.command()
@JSON
@pass_device
def status(device: Device, *, as_json: bool) -> None:
    """What is here: entries by state, files to send, the last contact, the lease."""
    from field_agent.vault import clock_ms

    with device.open(for_contact=True) as store:
        now = store.status(now_ms=clock_ms())
    told = {
        "device": now.device,
        "area": now.area,
        "server": now.server_url,
        "drafts": now.drafts,
        "waiting": now.unsent,
        "synced": now.states["receipted"],
        "refused": now.states["refused"] + now.states["held"],
        "returned": now.states["returned"],
        "files_waiting": now.attachments_left,
        "records": now.records,
        "notices": now.notices,
        "last_contact": _moment(now.contact_ms) if now.device else "",
        "lease_left_s": now.lease_left_s,
    }
    if as_json:
        put(told)
        return
    if not now.device:
        click.echo("This device belongs to no server yet: field-agent enrol URL --code CODE.")
    for name, value in told.items():
        if value is not None and value != "":
            click.echo(f"{name.replace('_', ' '):14} {value}")


@cli.command("bundle")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@pass_device
def make_bundle(device: Device, file: Path) -> None:
    """Write what waits to be sent into FILE, to be carried to `sync-server take FILE`."""
    from field_agent.bundle import pack
    from field_agent.vault import clock_ms

    with device.open(for_contact=True) as store:
        done = pack(store, file, new_id=new_uuid, now_ms=clock_ms())
    click.echo(
        f"{file}: {counted(done.entries, 'entry', 'entries')} and {counted(done.files, 'file')}, "
        f"{_size(done.size)}. "
        "They stay here until the receipts come back: field-agent take REPLY."
    )


@cli.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@JSON
@pass_device
def take(device: Device, file: Path, *, as_json: bool) -> None:
    """Take in FILE: the receipts and news that came back for a bundle."""
    from field_agent.bundle import take_file
    from field_agent.vault import clock_ms

    with device.open(for_contact=True) as store:
        taken = take_file(store, file, now_ms=clock_ms())
    taken.outcome.forms += taken.forms
    _tell(
        taken.outcome,
        as_json=as_json,
        nothing="Already here: nothing in the file is new to this device.",
    )


@cli.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@JSON
@pass_device
def backup(device: Device, file: Path, *, as_json: bool) -> None:
    """Write drafts and unsent entries to FILE, which only the programme can open."""
    from field_agent import backup as work

    with device.open(for_contact=True) as store:
        done = work.write(store, file, made=local_now().isoformat(timespec="milliseconds"))
    if as_json:
        put(asdict(done))
    else:
        click.echo(
            f"{file}: {counted(done.entries, 'entry', 'entries')}, {counted(done.drafts, 'draft')}, "
            f"{counted(done.files, 'file')}, {_size(done.size)}. "
            "The office takes it in with sync-server recover."
        )


@cli.command()
@pass_device
def check(device: Device) -> None:
    """Read every page of the store and check its authentication."""
    with device.open(for_contact=True) as store:
        found = store.check()
    if found:
        for one in found[:20]:
            click.echo(one, err=True)
        raise click.ClickException(
            f"{counted(len(found), 'fault')}: make a backup (field-agent backup FILE) and replace "
            "the disk"
        )
    click.echo("Every page is as it was written.")


@cli.command()
@click.option("--port", default=0, show_default="any free one", help="Listen on this port.")
@click.option(
    "--idle", default=10.0, show_default=True, help="Lock after so many minutes untouched."
)
@click.option("--open/--no-open", "browser", default=False, help="Also open the browser.")
@pass_device
def serve(device: Device, port: int, idle: float, *, browser: bool) -> None:
    """The agent's pages, for this machine only, until Ctrl-C, `field-agent lock` or idleness."""
    from field_agent.web import door

    with device.open(for_contact=True, steady=True) as store:
        door.serve(
            store,
            desk=desk_of(store),
            run=lambda tell: run_of(store, tell),
            port=port,
            idle_s=idle * 60,
            say=click.echo,
            browser=browser,
        )


@cli.command()
@pass_device
def lock(device: Device) -> None:
    """End the agent's pages, wherever they run: what locks the device."""
    from field_agent.session import end

    click.echo("Locked." if end(device.home) else "It is locked: no pages are open.")


def main() -> None:
    """The entry point: each known trouble is one sentence and exit 1."""
    try:
        cli(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("Stopped; everything answered so far is kept.", err=True)
        sys.exit(REFUSED)
    except Exception as error:
        sentence = _sentence(error)
        if sentence is None:
            raise
        click.echo(f"field-agent: {sentence}", err=True)
        sys.exit(REFUSED)


def _sentence(error: Exception) -> str | None:
    """What to tell a person, or None where this is a fault of the program."""
    for kind in type(error).__mro__:
        if kind.__name__ in TOLD.get(kind.__module__, ()):
            return str(error)
    if isinstance(error, OSError):
        if error.errno == 28:
            return (
                "the disk is full: what was being written was not stored, everything before it was; "
                "free some space and do it again"
            )
        return f"{error.filename or 'a file'}: {error.strerror or error}; nothing was changed"
    return None


if __name__ == "__main__":
    main()
