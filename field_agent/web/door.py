"""The agent's pages: for one person, on this machine, for as long as the device is open."""

from __future__ import annotations

import hmac
import io
import os
import secrets  # noqa: TID251  the door makes its session's token
import signal
import threading
import time
import webbrowser
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any

import flask

from field_agent import area, lease, session
from field_agent.register import Interview, load
from field_agent.transport import Unreachable
from field_agent.trouble import Busy, DiskFull, Locked, Missing
from field_agent.vault import clock_ms
from field_agent.web.page import WORDS, Page, direction, words_for
from forms import BrokenForm, NoSuchNode, TooCostly, Unfinished
from schemas.problems import Refused

if TYPE_CHECKING:
    from collections.abc import Callable

    from field_agent.course import Outcome, Progress
    from field_agent.register import Desk
    from field_agent.store import Store
    from field_agent.sync import Run

COOKIE = "field-agent"
FILE_MAX = 64 * 1024 * 1024
_QUIET = frozenset({"sync_state", "static"})
_OPEN_WITHOUT_LEASE = frozenset({"home", "sync", "sync_state", "static", "enter", "lock"})
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


@dataclass(slots=True)
class Syncing:
    """The one sync that the pages run in the background, and what it last said."""

    running: bool = False
    now: Progress | None = None
    outcome: Outcome | None = None
    trouble: str = ""


@dataclass(slots=True)
class Session:
    """What the door holds while it is open."""

    store: Store
    desk: Desk
    run: Callable[[Callable[[Progress], None]], Run]
    end: Callable[[], None]
    touch: Callable[[], None] = lambda: None
    token: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    cookie: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    csrf: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    pages: dict[str, Page] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)
    syncing: Syncing = field(default_factory=Syncing)
    language: str = "en"


class _InMemory(flask.Request):
    """A request whose files stay in memory: a spool file would hold a photo in the clear."""

    def _get_file_stream(self, *_: object, **__: object) -> IO[bytes]:
        return io.BytesIO()


def build(here: Session) -> flask.Flask:
    """The pages as a WSGI application; only who came in by the token sees anything."""
    app = flask.Flask(__name__, static_folder="static", template_folder="templates")
    app.request_class = _InMemory
    app.config["MAX_CONTENT_LENGTH"] = FILE_MAX
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    _guard(app, here)
    _home(app, here)
    _interview(app, here)
    _sync(app, here)
    return app


def _guard(app: flask.Flask, here: Session) -> None:
    @app.before_request
    def let_in() -> flask.typing.ResponseReturnValue | None:
        asked = flask.request
        # A page elsewhere that made its own name point here still says its own name.
        if (asked.host.rpartition(":")[0] or asked.host) not in {"127.0.0.1", "localhost"}:
            flask.abort(403)
        if asked.endpoint not in _QUIET:
            here.touch()
        if asked.endpoint in {"enter", "static"}:
            return None
        if not hmac.compare_digest(asked.cookies.get(COOKIE, ""), here.cookie):
            return flask.render_template(
                "closed.html", words=WORDS["en"], dir="ltr", lang="en"
            ), 403
        if asked.method != "GET":
            origin = asked.headers.get("Origin", "")
            given = asked.headers.get("X-CSRF", "") or asked.form.get("csrf", "")
            if origin not in {"", asked.host_url.rstrip("/")} or not hmac.compare_digest(
                given, here.csrf
            ):
                flask.abort(403)
        ended = here.store.tick(clock_ms())
        if ended and asked.endpoint not in _OPEN_WITHOUT_LEASE:
            return flask.redirect("/")
        flask.g.lease_ended = ended
        return None

    @app.after_request
    def close_off(reply: flask.Response) -> flask.Response:
        reply.headers["Content-Security-Policy"] = POLICY
        reply.headers["X-Content-Type-Options"] = "nosniff"
        # With no-referrer a browser would send "Origin: null" with our own forms too.
        reply.headers["Referrer-Policy"] = "same-origin"
        reply.headers["Cross-Origin-Opener-Policy"] = "same-origin"
        if flask.request.endpoint != "static":
            reply.headers["Cache-Control"] = "no-store"
        return reply

    @app.context_processor
    def common() -> dict[str, Any]:
        return {
            "words": words_for(here.language),
            "csrf": here.csrf,
            "lang": here.language,
            "dir": direction(here.language),
            "ui_languages": sorted(WORDS),
        }

    for kind in (DiskFull, Busy, Missing, BrokenForm, NoSuchNode, Locked, TooCostly):
        app.register_error_handler(kind, _told)

    @app.get("/enter")
    def enter() -> flask.typing.ResponseReturnValue:
        if not hmac.compare_digest(flask.request.args.get("token", ""), here.token):
            flask.abort(403)
        reply = flask.redirect("/")
        reply.set_cookie(COOKIE, here.cookie, httponly=True, samesite="Strict")
        return reply

    @app.post("/lock")
    def lock() -> flask.typing.ResponseReturnValue:
        # After the answer is out: ending the process is the lock.
        threading.Timer(0.3, here.end).start()
        return flask.render_template("closed.html")

    @app.post("/language")
    def language() -> flask.typing.ResponseReturnValue:
        wanted = flask.request.form.get("language", "en")
        here.language = wanted if wanted in WORDS else "en"
        return flask.redirect("/")


def _told(error: Exception) -> flask.typing.ResponseReturnValue:
    """Trouble in one sentence, to a script as JSON and to a person as a page."""
    status = 404 if isinstance(error, (Missing, NoSuchNode)) else 503
    if flask.request.is_json or flask.request.headers.get("X-CSRF"):
        return {"trouble": str(error)}, status
    return flask.render_template("trouble.html", trouble=str(error)), status


def _home(app: flask.Flask, here: Session) -> None:
    @app.get("/")
    def home() -> str:
        store = here.store
        # Without a lease the counts and the way to a round stay, and nobody's name.
        ended = flask.g.lease_ended
        waiting = ("pending", "sent", "refused", "held")
        entries = [] if ended else [*store.outbox(states=waiting, limit=200)]
        returned = {} if ended else store.returned()
        return flask.render_template(
            "home.html",
            who=store.identity,
            status=store.status(now_ms=clock_ms()),
            forms=store.forms(),
            drafts=[] if ended else store.drafts(),
            entries=entries[::-1],
            returned=[(store.finished(one), why) for one, why in sorted(returned.items())],
            notices=[] if ended else store.notices(),
            ended=ended,
            syncing=here.syncing.running,
        )

    @app.get("/records")
    def records() -> str:
        find = flask.request.args.get("find", "")
        found = area.with_members(here.store, area.listed(here.store, find=find, limit=100))
        return flask.render_template("records.html", find=find, records=found)

    @app.post("/notices/<int:number>")
    def read(number: int) -> flask.typing.ResponseReturnValue:
        here.store.read_notice(number)
        return flask.redirect("/")


def _interview(app: flask.Flask, here: Session) -> None:
    def page(draft: str) -> Page:
        with here.lock:
            if draft not in here.pages:
                here.pages[draft] = Page(Interview.resume(here.desk, draft))
            return here.pages[draft]

    def given() -> dict[str, str]:
        told = flask.request.get_json(silent=True)
        if not isinstance(told, dict):
            flask.abort(400)
        return {str(name): str(value) for name, value in told.items()}

    @app.post("/forms/<name>/begin")
    def begin(name: str) -> flask.typing.ResponseReturnValue:
        with here.lock:
            load(here.desk, here.store.form(name))
            interview = Interview.begin(here.desk, name)
            for one in interview.form.languages:
                if f"({here.language})" in one and one != interview.form.default_language:
                    interview.set_language(one)
            here.pages[interview.draft] = Page(interview)
        return flask.redirect(f"/entries/{interview.draft}")

    @app.get("/entries/<draft>")
    def entry(draft: str) -> str:
        shown = page(draft)
        with here.lock:
            if shown.opened:
                shown.interview.reopened()
            return flask.render_template("entry.html", page=shown, items=shown.fresh())

    @app.post("/entries/<draft>/answer")
    def answer(draft: str) -> dict[str, Any]:
        told, shown = given(), page(draft)
        with here.lock:
            changed = shown.interview.answer(
                told["ref"], told.get("value", ""), held_ms=_held_ms(told.get("held", ""))
            )
            return shown.patch(changed)

    @app.post("/entries/<draft>/repeat")
    def repeat(draft: str) -> dict[str, Any]:
        told, shown = given(), page(draft)
        with here.lock:
            act = (
                shown.interview.remove_repeat if told.get("remove") else shown.interview.add_repeat
            )
            return shown.patch(act(told["ref"]))

    @app.post("/entries/<draft>/file")
    def file(draft: str) -> dict[str, Any]:
        ref, shown = flask.request.form["ref"], page(draft)
        with here.lock:
            sent = flask.request.files.get("file")
            if sent is None:
                return shown.patch(shown.interview.detach(ref))
            pieces = iter(lambda: sent.stream.read(65_536), b"")
            return shown.patch(shown.interview.attach(ref, sent.filename or "", pieces))

    @app.post("/entries/<draft>/language")
    def entry_language(draft: str) -> flask.typing.ResponseReturnValue:
        shown = page(draft)
        wanted = flask.request.form.get("language", "")
        with here.lock:
            if wanted in shown.interview.form.languages:
                shown.interview.set_language(wanted)
                shown.opened = False
        return flask.redirect(f"/entries/{draft}")

    @app.post("/entries/<draft>/finish")
    def finish(draft: str) -> flask.typing.ResponseReturnValue:
        shown = page(draft)
        with here.lock:
            try:
                done = shown.interview.finish()
            except Unfinished as error:
                shown.show_faults = True
                first = next((one.ref for one in error.faults), "")
                return {**shown.patch(None), "first": shown.key(first), "count": len(error.faults)}
            here.pages.pop(draft, None)
        return {"done": True, "number": done.counter, "label": done.label}

    @app.post("/entries/<draft>/discard")
    def discard(draft: str) -> flask.typing.ResponseReturnValue:
        with here.lock:
            here.store.discard(draft)
            here.pages.pop(draft, None)
        return flask.redirect("/")


def _held_ms(told: str) -> int:
    """For how long the page says that a question was turned to; at most a day."""
    return min(int(told), 86_400_000) if told.isascii() and told.isdigit() else 0


def _sync(app: flask.Flask, here: Session) -> None:
    def work() -> None:
        now = here.syncing
        try:
            now.outcome = here.run(lambda progress: setattr(now, "now", progress)).sync()
        except (Unreachable, Refused, Locked, DiskFull, Busy, Missing) as error:
            now.trouble = str(error)
        except Exception as error:  # noqa: BLE001  told on the page; the session must go on
            now.trouble = f"the sync ended by a fault of the program ({type(error).__name__})"
        finally:
            now.running = False

    @app.post("/sync")
    def sync() -> dict[str, Any]:
        with here.lock:
            if not here.syncing.running:
                here.syncing = Syncing(running=True)
                threading.Thread(target=work, name="sync", daemon=True).start()
        return {"running": True}

    @app.get("/sync")
    def sync_state() -> dict[str, Any]:
        now = here.syncing
        told: dict[str, Any] = {"running": now.running, "trouble": now.trouble}
        if now.now is not None:
            told |= {
                "doing": now.now.doing,
                "records": now.now.records,
                "records_all": now.now.records_all,
                "bytes": now.now.bytes,
                "bytes_all": now.now.bytes_all,
                "left_s": now.now.left_s,
                "note": now.now.note,
            }
        if now.outcome is not None:
            told["synced"] = now.outcome.synced
            told["left"] = now.outcome.left
        return told


def serve(
    store: Store,
    *,
    desk: Desk,
    run: Callable[[Callable[[Progress], None]], Run],
    port: int,
    idle_s: float,
    say: Callable[[str], None],
    browser: bool,
) -> None:
    """Serve the pages on 127.0.0.1 until they are locked, left alone too long, or stopped."""
    import waitress  # noqa: PLC0415  only here, when the door opens

    def end(*_: object) -> None:
        # What is answered is on the disk; ending the process is what takes the keys out of memory.
        (store.vault.home / session.FILE).unlink(missing_ok=True)
        os._exit(0)

    here = Session(store, desk, run, end)
    idle = lease.IdleLock(idle_s, steady_s=time.monotonic, end=end)
    here.touch = idle.touch
    with session.held(store.vault.home):
        signal.signal(signal.SIGTERM, end)
        server = waitress.create_server(
            build(here),
            host="127.0.0.1",
            port=port,
            threads=4,
            ident="field-agent",
            # Beyond these sizes waitress would write what passes into a temporary file.
            inbuf_overflow=2 * FILE_MAX,
            outbuf_overflow=2 * FILE_MAX,
        )
        address = f"http://127.0.0.1:{server.effective_port}/enter?token={here.token}"
        say(f"The pages are at {address}")
        say("They close by Ctrl-C, by field-agent lock, or when nobody uses them.")
        idle.start()
        if browser:
            webbrowser.open(address)
        server.run()
