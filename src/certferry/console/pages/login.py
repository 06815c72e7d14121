"""Logging in with a user of an ELB, and out.

The password goes to the ELB that the form names and is forgotten. These are the only pages for people
whom nobody knows yet, so the form carries a token of its own (cookie and field must agree).
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from certferry.console.state.elb_sites import ElbLogin
from certferry.console.web.request import json
from certferry.console.web.security import local_path, same_origin
from certferry.elb.client.client import CredentialsError, ElbError
from certferry.settings import UserError

if TYPE_CHECKING:
    from certferry.console.app import Console

Endpoint = Callable[[Request], Awaitable[Response]]
LONGEST: Final = 1_000
"""Characters of a field."""


def form(console: Console) -> Endpoint:
    """GET /login."""

    async def answer(request: Request) -> Response:
        token = request.cookies.get(_cookie(console)) or secrets.token_urlsafe(24)
        return _page(console, request, token, {}, "", 200)

    return answer


def enter(console: Console) -> Endpoint:
    """POST /login."""

    async def answer(request: Request) -> Response:
        fields = await request.form(max_fields=20, max_files=0)
        given = {key: str(fields.get(key) or "")[:LONGEST] for key in ("user", "domain", "site", "next")}
        token = request.cookies.get(_cookie(console), "")
        if not same_origin(request) or not _agree(token, str(fields.get("csrf") or "")):
            fresh = secrets.token_urlsafe(24)
            return _page(console, request, fresh, given, "The form was too old. Please try again.", 403)
        try:
            found = await _log_in(console, given, str(fields.get("password") or "")[:LONGEST])
        except (ElbError, CredentialsError, UserError) as error:
            status = error.status if isinstance(error, ElbError) and 400 <= error.status < 500 else 502
            return _page(console, request, token, given, _sentence(error), status)
        return _entered(console, request, found, local_path(given["next"]))

    return answer


def leave(console: Console) -> Endpoint:
    """POST /logout."""

    async def answer(request: Request) -> Response:
        session = console.session(request)
        fields = await request.form(max_fields=20, max_files=0)
        if session and same_origin(request) and session.accepts(str(fields.get("csrf") or "")):
            console.sessions.end(session)
        response = RedirectResponse("/login", 303)
        response.delete_cookie(console.cookie)
        return response if "x-fragment" not in request.headers else json({"go": "/login"})

    return answer


async def _log_in(console: Console, given: dict[str, str], password: str) -> ElbLogin:
    site = console.sites.get(given["site"]) or next(iter(console.sites.values()))
    if not given["user"] or not password:
        raise ElbError(401, "", "a user name and a password are needed")
    return await site.log_in(given["user"], password, given["domain"], console.settings.role_names)


def _entered(console: Console, request: Request, found: ElbLogin, where: str) -> Response:
    before = console.session(request)
    session = console.sessions.start(found)
    if before:
        same = before.logins.get(found.site)
        if same is None or same.user == found.user:  # one more ELB for the same person
            session.logins = {**before.logins, found.site: found}
            before.logins = {k: v for k, v in before.logins.items() if k == found.site}
        console.sessions.end(before)
    response = RedirectResponse(where, 303)
    response.set_cookie(
        console.cookie, session.id, httponly=True, samesite="lax", secure=console.tls, path="/"
    )
    response.delete_cookie(_cookie(console), path="/login")
    return response


def _page(
    console: Console, request: Request, token: str, given: dict[str, str], trouble: str, status: int
) -> Response:
    response = console.pages.bare(
        request,
        "account/login.html",
        status,
        token=token,
        trouble=trouble,
        sites=list(console.sites),
        site=given.get("site") or request.query_params.get("site", ""),
        user=given.get("user", ""),
        domain=given.get("domain", "Default"),
        next=local_path(given.get("next") or request.query_params.get("next", "")),
    )
    response.set_cookie(
        _cookie(console), token, httponly=True, samesite="strict", secure=console.tls, path="/login"
    )
    return response


def _sentence(error: Exception) -> str:
    if isinstance(error, ElbError) and error.status == 401:
        return "The user name or the password is wrong."
    return str(error)


def _cookie(console: Console) -> str:
    return f"{console.cookie}-login"


def _agree(cookie: str, field: str) -> bool:
    return bool(cookie) and hmac.compare_digest(cookie.encode(), field.encode())
