"""Log in with a user of an ELB, and log out.

The password is sent to the ELB that the form names, to no other one, and is not kept. The form has a token of
its own, because there is no session yet: cookie and field must agree.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from certferry.console.pages.request import page_frame
from certferry.console.state.console import Console
from certferry.console.state.elb_sites import ElbLogin
from certferry.console.web.forms import json
from certferry.console.web.security import local_path, same_origin
from certferry.elb.client.client import ElbError
from certferry.elb.client.credentials import CredentialsError
from certferry.runtime.client_address import client_address
from certferry.settings import UserError, networks

Endpoint = Callable[[Request], Awaitable[Response]]
LONGEST: Final = 1_000
"""Characters of a field that are read."""


def show(console: Console) -> Endpoint:
    """Return the endpoint of GET /login."""

    async def endpoint(http: Request) -> Response:
        token = http.cookies.get(_cookie(console)) or secrets.token_urlsafe(24)
        return _page(console, http, token, {}, "", 200)

    return endpoint


def log_in(console: Console) -> Endpoint:
    """Return the endpoint of POST /login."""

    async def endpoint(http: Request) -> Response:
        fields = await http.form(max_fields=20, max_files=0)
        values = {key: str(fields.get(key) or "")[:LONGEST] for key in ("user", "domain", "site", "next")}
        token = http.cookies.get(_cookie(console), "")
        if not same_origin(http) or not _agree(token, str(fields.get("csrf") or "")):
            new_token = secrets.token_urlsafe(24)
            return _page(console, http, new_token, values, "The form was too old. Please try again.", 403)
        try:
            login = await _login(console, values, str(fields.get("password") or "")[:LONGEST], _client(console, http))
        except (ElbError, CredentialsError, UserError) as error:
            status = error.status if isinstance(error, ElbError) and 400 <= error.status < 500 else 502
            return _page(console, http, token, values, _sentence(error), status)
        return _start_session(console, http, login, local_path(values["next"]))

    return endpoint


def log_out(console: Console) -> Endpoint:
    """Return the endpoint of POST /logout."""

    async def endpoint(http: Request) -> Response:
        session = console.session(http)
        fields = await http.form(max_fields=20, max_files=0)
        if session and same_origin(http) and session.accepts(str(fields.get("csrf") or "")):
            console.sessions.end(session)
        fragment = "x-fragment" in http.headers
        response = json({"go": "/login"}) if fragment else RedirectResponse("/login", 303)
        response.delete_cookie(console.cookie)
        return response

    return endpoint


async def _login(console: Console, values: Mapping[str, str], password: str, client: str) -> ElbLogin:
    site = console.sites.get(values["site"]) or next(iter(console.sites.values()))
    if not values["user"] or not password:
        raise ElbError(401, "", "a user name and a password are needed")
    return await site.log_in(values["user"], password, values["domain"], console.settings.role_names, client)


def _client(console: Console, http: Request) -> str:
    peer, trusted = http.client.host if http.client else "", networks(console.settings.trusted_proxies)
    return client_address(peer, http.headers.getlist("x-forwarded-for"), trusted)


def _start_session(console: Console, http: Request, login: ElbLogin, to: str) -> Response:
    before = console.session(http)
    session = console.sessions.start(login)
    if before:
        present = before.logins.get(login.site)
        if present is None or present.user == login.user:  # one more ELB for the same user
            session.logins = {**before.logins, login.site: login}
            before.logins = {k: v for k, v in before.logins.items() if k == login.site}
        console.sessions.end(before)
    response = RedirectResponse(to, 303)
    response.set_cookie(console.cookie, session.id, httponly=True, samesite="lax", secure=console.tls, path="/")
    response.delete_cookie(_cookie(console), path="/login")
    return response


def _page(console: Console, http: Request, token: str, values: Mapping[str, str], error: str, status: int) -> Response:
    context = {
        "token": token,
        "error": error,
        "sites": list(console.sites),
        "site": values.get("site") or http.query_params.get("site", ""),
        "login_user": values.get("user", ""),
        "domain": values.get("domain", "Default"),
        "next": local_path(values.get("next") or http.query_params.get("next", "")),
    }
    response = console.templates.render("account/login.html", page_frame(http, None), context, status)
    response.set_cookie(_cookie(console), token, httponly=True, samesite="strict", secure=console.tls, path="/login")
    return response


def _sentence(error: Exception) -> str:
    if isinstance(error, ElbError) and error.status == 401:
        return "The user name or the password is wrong."
    return str(error)


def _cookie(console: Console) -> str:
    return f"{console.cookie}-login"


def _agree(cookie: str, field: str) -> bool:
    return bool(cookie) and hmac.compare_digest(cookie.encode(), field.encode())
