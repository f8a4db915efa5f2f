"""The officers' pages:

sign in, look, decide. A door only: it makes values, calls one use case, and answers.
"""

from __future__ import annotations

import secrets  # noqa: TID251 - a web door: it draws the tokens of sessions
from functools import wraps
from typing import TYPE_CHECKING, Any

from flask import Blueprint, Response, g, redirect, render_template, request, url_for

from sync_server import batches, chain, cycle, docket, enrolment, officers, payout, registry
from sync_server.officers import Declined

if TYPE_CHECKING:
    from collections.abc import Callable

    from werkzeug.wrappers import Response as BaseResponse

    from sync_server.desk import Desk
    from sync_server.officers import Session

COOKIE = "desk_session"
DOOR_COOKIE = "desk_door"
# No script from anywhere, nothing framed, nothing sent to another site: the pages are plain HTML
# and one style sheet.
POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)


def blueprint(desk: Desk) -> Blueprint:
    """The pages under /desk of this server."""
    pages = Blueprint(
        "desk",
        __name__,
        url_prefix="/desk",
        template_folder="templates",
        static_folder="static",
        static_url_path="/static",
    )

    # Whoever types the server's bare address is an officer: devices know their paths.
    pages.record_once(
        lambda made: made.app.add_url_rule(
            "/", "home", lambda: redirect(url_for("desk.waiting"), 303)
        )
    )

    def session() -> Session | None:
        token = request.cookies.get(COOKIE, "")
        return officers.session_of(desk, token) if token else None

    def signed_in(*roles: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Shows a page to who holds one of the roles (to any officer, where none is named)."""

        def guard(page: Callable[..., Any]) -> Callable[..., Any]:
            @wraps(page)
            def guarded(**named: str) -> Any:
                found = session()
                if found is None:
                    return redirect(url_for("desk.sign_in", next=request.path), 303)
                g.session = found
                if request.method == "POST" and not secrets.compare_digest(
                    request.form.get("csrf", "").encode(), found.csrf.encode()
                ):
                    return told(
                        "This page was not sent by your own session: go back and try again", 403
                    )
                if roles and not found.officer.roles & set(roles):
                    return told(f"This page is for {' or '.join(roles)}", 403)
                try:
                    return page(**named)
                except Declined as reason:
                    return told(str(reason), 409 if request.method == "POST" else 404)

            return guarded

        return guard

    def shown(template: str, status: int = 200, **values: Any) -> Response:
        found = g.get("session")
        officer = found.officer if found else None
        html = render_template(
            f"desk/{template}.html",
            officer=officer,
            csrf=found.csrf if found else "",
            server=desk.config.programme or desk.config.server,
            money=payout.money,
            **values,
        )
        return Response(html, status)

    def told(message: str, status: int) -> Response:
        return shown("told", status, message=message)

    @pages.after_request
    def harden(answer: Response) -> Response:
        answer.headers["Content-Security-Policy"] = POLICY
        answer.headers["X-Content-Type-Options"] = "nosniff"
        answer.headers["Referrer-Policy"] = "same-origin"
        answer.headers["X-Frame-Options"] = "DENY"
        if answer.mimetype == "text/html":
            answer.headers["Cache-Control"] = "no-store"
        return answer

    @pages.get("/sign-in")
    def sign_in() -> Response:
        return door("", 200)

    def door(message: str, status: int) -> Response:
        """The sign-in page.

        Its token is in a cookie and in the form, so that no other site can sign anyone in.
        """
        token = secrets.token_urlsafe(24)
        answer = shown(
            "sign_in", status, message=message, door=token, next=request.values.get("next", "")
        )
        answer.set_cookie(
            DOOR_COOKIE,
            token,
            httponly=True,
            samesite="Strict",
            secure=request.is_secure,
            path="/desk",
        )
        return answer

    @pages.post("/sign-in")
    def enter() -> BaseResponse:
        held = request.cookies.get(DOOR_COOKIE, "")
        if not held or not secrets.compare_digest(held, request.form.get("door", "")):
            return door("The page was too old: sign in again", 403)
        try:
            officer = officers.sign_in(
                desk, request.form.get("name", "").strip(), request.form.get("password", "")
            )
        except Declined as reason:
            return door(str(reason), 403)
        token, csrf = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        officers.begin_session(desk, officer, token=token, csrf=csrf)
        wanted = request.form.get("next", "")
        own = wanted.startswith("/desk") and "//" not in wanted and "\\" not in wanted
        answer = redirect(wanted if own else url_for("desk.waiting"), 303)
        answer.set_cookie(
            COOKIE, token, httponly=True, samesite="Strict", secure=request.is_secure, path="/desk"
        )
        answer.delete_cookie(DOOR_COOKIE, path="/desk")
        return answer

    @pages.post("/sign-out")
    @signed_in()
    def sign_out() -> BaseResponse:
        officers.end_session(desk, request.cookies.get(COOKIE, ""))
        answer = redirect(url_for("desk.sign_in"), 303)
        answer.delete_cookie(COOKIE, path="/desk")
        return answer

    @pages.get("/")
    @signed_in()
    def waiting() -> Response:
        everything = request.args.get("all") == "1"
        return shown(
            "waiting", standings=docket.listed(desk, settled=everything), everything=everything
        )

    @pages.get("/subjects/<subject>")
    @signed_in(*docket.REVIEWERS)
    def look(subject: str) -> Response:
        return shown_subject(subject, "", 200)

    def shown_subject(subject: str, message: str, status: int) -> Response:
        standing = docket.show(desk, subject)
        one = standing.subject
        values: dict[str, Any] = {"standing": standing, "message": message}
        if one.kind == "batch":
            values["batch"] = batches.view(desk, one.area, one.id)
            values["forks"] = chain.FORKS
        elif one.kind == "fork":
            values["of_batch"] = desk.store.read(lambda tx: batches.batch_of(tx, one))
        elif one.kind == "enrolment":
            values["names"] = desk.store.read(
                lambda tx: [
                    (household, registry.label(desk, tx, one.area, household))
                    for household in enrolment.on_list(tx, one.area, one.id)
                ]
            )
            values["left_off"] = desk.store.read(
                lambda tx: [
                    (aside, registry.label(desk, tx, one.area, aside.household))
                    for aside in enrolment.left_off(tx, one.area, one.id)
                ]
            )
        else:
            cycle_id = desk.store.read(lambda tx: cycle.cycle_of(tx, one.id))
            values["figures"] = cycle.figures(desk, cycle_id)
            values["dues"] = desk.store.read(lambda tx: cycle.entitlements(desk, tx, cycle_id))
        return shown("subject", status, **values)

    @pages.post("/subjects/<subject>")
    @signed_in(*docket.REVIEWERS)
    def decide(subject: str) -> BaseResponse:
        verdict = request.form.get("verdict", "")
        if verdict not in {"approve", "return"}:
            return told("Say whether you approve or return it", 400)
        try:
            docket.decide(
                desk,
                g.session.officer.name,
                subject,
                verdict,
                comment=request.form.get("comment", ""),
                seen_content=request.form.get("content", "-"),
            )
        except Declined as reason:
            return shown_subject(subject, str(reason), 409)
        return redirect(url_for("desk.look", subject=subject), 303)

    @pages.post("/subjects/<subject>/release")
    @signed_in("supervisor", "approver")
    def release(subject: str) -> BaseResponse:
        found = docket.show(desk, subject).subject
        try:
            batches.release_one(
                desk, g.session.officer.name, found, request.form.get("submission", "")
            )
        except Declined as reason:
            return shown_subject(subject, str(reason), 409)
        return redirect(url_for("desk.look", subject=subject), 303)

    @pages.get("/clashes")
    @signed_in("supervisor", "approver", "admin")
    def clashes() -> Response:
        return shown("clashes", clashes=registry.clashes(desk), message="")

    @pages.post("/clashes")
    @signed_in("supervisor")
    def settle() -> BaseResponse:
        try:
            registry.settle(
                desk,
                g.session.officer.name,
                request.form.get("record", ""),
                request.form.get("path", ""),
                request.form.get("value", ""),
                seen=request.form.get("seen", "-"),
            )
        except Declined as reason:
            return shown("clashes", 409, clashes=registry.clashes(desk), message=str(reason))
        return redirect(url_for("desk.clashes"), 303)

    @pages.get("/households")
    @signed_in("supervisor", "approver", "admin")
    def households() -> Response:
        sought = request.args.get("q", "").strip()
        return shown("households", found=registry.find(desk, sought), sought=sought)

    @pages.get("/households/<record>")
    @signed_in("supervisor", "approver", "admin")
    def household(record: str) -> Response:
        return shown("household", record=registry.record(desk, record))

    @pages.get("/programmes")
    @signed_in(*docket.REVIEWERS)
    def programmes() -> Response:
        return shown("programmes", programmes=enrolment.listed(desk), cycles=cycle.listed(desk))

    @pages.post("/programmes/<name>/enrol")
    @signed_in("supervisor", "admin")
    def enrol(name: str) -> BaseResponse:
        proposals = enrolment.propose(desk, g.session.officer.name, name)
        made = [one for one in proposals if one.list]
        if len(made) == 1:
            return redirect(url_for("desk.look", subject=made[0].list), 303)
        if made:
            return redirect(url_for("desk.waiting"), 303)
        return told("No household that is eligible is left to enrol", 200)

    @pages.post("/programmes/<name>/cycles")
    @signed_in("supervisor", "admin")
    def open_cycle(name: str) -> BaseResponse:
        opened = cycle.open_cycle(
            desk, g.session.officer.name, name, request.form.get("period", "").strip()
        )
        return redirect(url_for("desk.look", subject=opened.cycle.id), 303)

    @pages.get("/cycles/<cycle_id>/payments.csv")
    @signed_in("finance")
    def pay_list(cycle_id: str) -> Response:
        text, _ = cycle.pay_list(desk, cycle_id)
        answer = Response(text, mimetype="text/csv")
        answer.headers["Content-Disposition"] = f'attachment; filename="payments-{cycle_id}.csv"'
        answer.headers["Cache-Control"] = "no-store"
        return answer

    return pages
