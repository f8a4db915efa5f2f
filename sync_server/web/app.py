"""The web application: every door of the server in one Flask app, and waitress to serve it."""

from __future__ import annotations

import io
from importlib import import_module
from importlib.util import find_spec
from typing import IO, TYPE_CHECKING, Any

from flask import Flask, Request, Response, request

from schemas.frames import MAX_BODY

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue

    from sync_server.desk import Desk

DOORS = ("sync", "carried", "supervisor", "openrosa", "portal", "api")
"""Modules of `sync_server.web`, each with `blueprint(desk) -> Blueprint`."""

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; frame-ancestors 'none'; form-action 'self'; base-uri 'none'; "
        "object-src 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


_REPLY_MAX = 64 * 1024 * 1024


class _InMemory(Request):
    """A request whose files stay in memory: a spool file would hold them in the clear."""

    def _get_file_stream(self, *_: object, **__: object) -> IO[bytes]:
        return io.BytesIO()


def create_app(desk: Desk) -> Flask:
    """The application around one desk. Nothing in it is global."""
    app = Flask("sync_server.web", static_folder="static", template_folder="templates")
    app.request_class = _InMemory
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY + 1024
    app.config["MAX_FORM_MEMORY_SIZE"] = 1024 * 1024
    for door in DOORS:
        name = f"sync_server.web.{door}"
        if find_spec(name):
            app.register_blueprint(import_module(name).blueprint(desk))

    @app.get("/healthz")
    def _health() -> ResponseReturnValue:
        desk.store.read(lambda tx: tx.exec_driver_sql("select 1").scalar())
        return {"ok": True}

    @app.after_request
    def _guard(reply: Response) -> Response:
        # Programs read what the devices' door says: a slow link need not carry rules for browsers.
        names = ("X-Content-Type-Options",) if request.path.startswith("/sync/") else _HEADERS
        for name in names:
            reply.headers.setdefault(name, _HEADERS[name])
        if not request.path.startswith("/static/"):
            # Pages and answers hold personal data: no cache may keep them.
            reply.headers.setdefault("Cache-Control", "no-store")
        if request.is_secure:
            reply.headers.setdefault("Strict-Transport-Security", "max-age=31536000")
        return reply

    return app


class Unheard(Exception):
    """Nobody can listen at that address; nothing was started."""


def serve(app: Flask, *, host: str, port: int, threads: int = 8, ready: Any = None) -> None:
    """Serves until interrupted. `ready` is called with the real port once connections are taken.

    Raises `Unheard` where the address is taken or is none of this machine's.
    """
    from waitress.server import create_server  # noqa: PLC0415  only who serves waits for it

    try:
        server = create_server(
            app,
            host=host,
            port=port,
            threads=threads,
            ident="",
            recv_bytes=65_536,
            max_request_body_size=MAX_BODY + 65_536,
            # Beyond these sizes waitress would write what passes into a temporary file.
            inbuf_overflow=MAX_BODY + 65_536,
            outbuf_overflow=_REPLY_MAX,
            channel_timeout=120,
            cleanup_interval=30,
        )
    except OSError as error:
        raise Unheard(
            f"{host}:{port}: {error.strerror or error}; name another with --port"
        ) from error
    if ready:
        ready(server.effective_port)
    try:
        server.run()
    finally:
        server.close()
