"""The ASGI application: routes, session and role checks, form tokens, error pages.

No page is shown without a session, and no form is carried out without its token.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from certferry.console.pages import login
from certferry.console.pages.request import Handler, PageRequest, page_frame
from certferry.console.routes import PAGES
from certferry.console.state.console import Console
from certferry.console.state.sessions import Session
from certferry.console.web.errors import FormErrors, LoginRequired, PageError
from certferry.console.web.forms import json
from certferry.console.web.security import BodyLimit, Headers, same_origin
from certferry.elb.client.client import ElbError
from certferry.kube.client.client import KubeError

STATIC: Final = Path(__file__).parent / "static"
_log = structlog.get_logger()


def application(console: Console) -> Starlette:
    """Return the ASGI application of `console`."""
    routes: list[BaseRoute] = [
        Mount("/static", _Static(directory=STATIC)),
        Route("/", lambda request: RedirectResponse("/clusters")),
        Route("/healthz", lambda request: PlainTextResponse("ok")),
        Route("/login", login.show(console)),
        Route("/login", login.log_in(console), methods=["POST"]),
        Route("/logout", login.log_out(console), methods=["POST"]),
    ]
    for page in PAGES:
        if page.show:
            routes.append(Route(page.path, _endpoint(console, page.show, page.view_role)))
        if page.submit:
            endpoint = _endpoint(console, page.submit, page.edit_role)
            routes.append(Route(page.path, endpoint, methods=["POST"]))

    async def no_page(http: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 404
        _open_cluster(console, http)
        sentence = "There is no such page." if status == 404 else "This page does not support this request."
        return _error_page(console, http, console.session(http), PageError(status, "Not found", sentence))

    async def failed(http: Request, error: Exception) -> Response:
        _log.error("page failed", path=http.url.path, error=type(error).__name__, exc_info=error)
        sentence = "An internal error occurred. Details are in the console's log."
        return _error_page(console, http, console.session(http), PageError(500, "Something went wrong", sentence))

    return Starlette(
        routes=routes,
        middleware=[Middleware(Headers, tls=console.tls), Middleware(BodyLimit)],
        exception_handlers={404: no_page, 405: no_page, 500: failed},
        lifespan=console.running,
    )


def _endpoint(console: Console, handler: Handler, role: str) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(http: Request) -> Response:
        session = console.session(http)
        try:
            if session is None:
                raise LoginRequired
            request = PageRequest(console, http, session, role)
            if http.method == "POST":
                await _check_token(request)
            return await handler(request)
        except LoginRequired as required:
            return _to_login(http, required)
        except FormErrors as errors:
            return _form_errors(console, http, session, errors)
        except PageError as error:
            return _error_page(console, http, session, error)
        except (ElbError, KubeError) as error:
            return _remote_error(console, http, session, error)

    return endpoint


def _open_cluster(console: Console, http: Request) -> None:
    """Open the cluster that the path names, so that an error page keeps its navigation."""
    session, parts = console.session(http), http.url.path.split("/")
    if session is None or parts[1] != "clusters" or len(parts) < 3:
        return
    request = PageRequest(console, http, session, "reader")
    with contextlib.suppress(PageError, LoginRequired):
        http.state.cluster = request.context_of(request.access(unquote(parts[2])))


async def _check_token(request: PageRequest) -> None:
    token = request.http.headers.get("x-csrf-token") or (await request.form()).text("csrf")
    if not same_origin(request.http) or not request.session.accepts(token):
        raise PageError(403, "Not accepted", "This form is older than your login. Load the page again.")


def _to_login(http: Request, required: LoginRequired) -> Response:
    back = http.url.path + (f"?{http.url.query}" if http.url.query else "")
    url = f"/login?next={quote(back if http.method == 'GET' else '/clusters', safe='')}"
    if required.site:
        url += f"&site={quote(required.site, safe='')}"
    if "x-fragment" in http.headers:
        return json({"login": url}, 401)
    return RedirectResponse(url, 303)


def _form_errors(console: Console, http: Request, session: Session | None, errors: FormErrors) -> Response:
    if "x-fragment" in http.headers:
        return json({"errors": errors.errors}, errors.status)
    sentence = " ".join(errors.errors.values())
    return _error_page(console, http, session, PageError(errors.status, "Not done", sentence))


def _remote_error(console: Console, http: Request, session: Session | None, error: ElbError | KubeError) -> Response:
    if isinstance(error, ElbError) and error.status == 401:
        return _to_login(http, LoginRequired())
    if http.method == "POST" and 400 <= error.status < 500:
        return _form_errors(console, http, session, FormErrors({"": str(error)}, error.status))
    status, title = (error.status, "Refused") if 400 <= error.status < 500 else (502, "No answer")
    return _error_page(console, http, session, PageError(status, title, str(error)))


def _error_page(console: Console, http: Request, session: Session | None, error: PageError) -> Response:
    if "x-fragment" in http.headers and http.method == "POST":
        return json({"errors": {"": error.sentence}}, error.status)
    frame = page_frame(http, session)
    return console.templates.render("account/error.html", frame, {"error": error}, error.status)


class _Static(StaticFiles):
    """Stylesheet and scripts; browsers revalidate them on each load."""

    def file_response(self, *args: object, **kwargs: object) -> Response:
        response = super().file_response(*args, **kwargs)  # type: ignore[arg-type]
        response.headers["cache-control"] = "no-cache"
        return response
