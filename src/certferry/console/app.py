"""The console as a web application: its routes, who may take which, and what goes wrong.

``serve`` runs it. A page is a function from a ``Visit`` to a response; session, role and form token
are checked here, for all of them.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Final
from urllib.parse import quote

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from certferry.clusters import Fleet
from certferry.console import routes as book
from certferry.console.pages import login
from certferry.console.state.elb_sites import ElbLogin, sites
from certferry.console.state.feeds import Feeds
from certferry.console.state.rotations import RotationTracker
from certferry.console.state.sessions import Session, Sessions
from certferry.console.web.errors import FormErrors, LoginRequired, PageError
from certferry.console.web.page import Handler, Page
from certferry.console.web.request import PageRequest, json
from certferry.console.web.security import Headers, same_origin
from certferry.console.web.templating import Templates
from certferry.elb.client.client import CredentialsError, ElbError
from certferry.kube.client.client import KubeError
from certferry.settings import ConsoleSettings, UserError

STATIC: Final = Path(__file__).parent / "static"
_log = structlog.get_logger()


class Console:
    """Everything that the pages share."""

    def __init__(self, fleet: Fleet, settings: ConsoleSettings, cookie: str) -> None:
        self.fleet, self.settings = fleet, settings
        self.cookie = cookie
        """Name of the session's cookie; two consoles on one host have two."""
        self.tls = settings.tls_certificate is not None
        self.sites = sites(fleet)
        self.feeds = Feeds()
        self.rotations = RotationTracker(settings.served_timeout)
        self.pages = Templates()
        self.sessions = Sessions(
            timedelta(hours=settings.session_hours), timedelta(minutes=settings.idle_minutes), self._ended
        )
        self._leaving: set[asyncio.Task[None]] = set()

    def session(self, request: Request) -> Session | None:
        """Whose request it is."""
        return self.sessions.find(request.cookies.get(self.cookie, ""))

    def _ended(self, session: Session) -> None:
        task = asyncio.get_running_loop().create_task(self._leave(session, list(session.logins.values())))
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    async def _leave(self, session: Session, logins: list[ElbLogin]) -> None:
        await self.feeds.forget(session)
        for left in logins:
            with contextlib.suppress(ElbError, UserError, CredentialsError):
                async with self.sites[left.site].client(left) as client:
                    await client.log_out()

    @asynccontextmanager
    async def running(self, _: Starlette) -> AsyncIterator[None]:
        """Feeds run while the application does."""
        task = asyncio.get_running_loop().create_task(self.feeds.run())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            await self.rotations.close()


def application(console: Console) -> Starlette:
    """The ASGI application."""
    routes: list[BaseRoute] = [
        Mount("/static", _Static(directory=STATIC)),
        Route("/", lambda request: RedirectResponse("/clusters")),
        Route("/healthz", lambda request: PlainTextResponse("ok")),
        Route("/login", login.form(console)),
        Route("/login", login.enter(console), methods=["POST"]),
        Route("/logout", login.leave(console), methods=["POST"]),
    ]
    for page in book.PAGES:
        if page.show:
            routes.append(Route(page.path, _endpoint(console, page, page.show, page.view_role)))
        if page.submit:
            routes.append(
                Route(page.path, _endpoint(console, page, page.submit, page.edit_role), methods=["POST"])
            )

    async def unknown(request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 404
        sentence = "There is no such page." if status == 404 else "That cannot be done here."
        return _stopped(console, request, console.session(request), PageError(status, "Not found", sentence))

    async def broken(request: Request, error: Exception) -> Response:
        _log.error("page failed", path=request.url.path, error=type(error).__name__, exc_info=error)
        stop = PageError(500, "Something went wrong", "The console's log says more.")
        return _stopped(console, request, console.session(request), stop)

    return Starlette(
        routes=routes,
        middleware=[Middleware(Headers, tls=console.tls)],
        exception_handlers={404: unknown, 405: unknown, 500: broken},
        lifespan=console.running,
    )


def _endpoint(
    console: Console, page: Page, handler: Handler, role: str
) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        session = console.session(request)
        try:
            if session is None:
                raise LoginRequired
            visit = PageRequest(console, request, session)
            visit.required_role = role
            if request.method == "POST":
                await _check_form(visit)
            return await handler(visit)
        except LoginRequired as needed:
            return _to_login(request, needed)
        except FormErrors as refusal:
            return _refused(console, request, session, refusal)
        except PageError as stop:
            return _stopped(console, request, session, stop)
        except (ElbError, KubeError) as error:
            return _failed(console, request, session, error)

    return answer


async def _check_form(visit: PageRequest) -> None:
    token = visit.request.headers.get("x-csrf-token") or (await visit.form()).text("csrf")
    if not same_origin(visit.request) or not visit.session.accepts(token):
        raise PageError(403, "Not accepted", "This form is older than your login. Load the page again.")


def _to_login(request: Request, needed: LoginRequired) -> Response:
    back = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    where = f"/login?next={quote(back if request.method == 'GET' else '/clusters', safe='')}"
    if needed.site:
        where += f"&site={quote(needed.site, safe='')}"
    if "x-fragment" in request.headers:
        return json({"login": where}, 401)
    return RedirectResponse(where, 303)


def _refused(console: Console, request: Request, session: Session | None, refusal: FormErrors) -> Response:
    if "x-fragment" in request.headers:
        return json({"errors": refusal.errors}, refusal.status)
    sentence = " ".join(refusal.errors.values())
    return _stopped(console, request, session, PageError(refusal.status, "Not done", sentence))


def _failed(
    console: Console, request: Request, session: Session | None, error: ElbError | KubeError
) -> Response:
    if isinstance(error, ElbError) and error.status == 401:
        return _to_login(request, LoginRequired())
    if request.method == "POST" and 400 <= error.status < 500:
        return _refused(console, request, session, FormErrors({"": str(error)}, error.status))
    status, title = (error.status, "Refused") if 400 <= error.status < 500 else (502, "No answer")
    return _stopped(console, request, session, PageError(status, title, str(error)))


def _stopped(console: Console, request: Request, session: Session | None, stop: PageError) -> Response:
    if "x-fragment" in request.headers and request.method == "POST":
        return json({"errors": {"": stop.sentence}}, stop.status)
    return console.pages.stopped(console, request, session, stop)


class _Static(StaticFiles):
    """Our stylesheet and script: asked for each time, and sent when they changed."""

    def file_response(self, *args: object, **kwargs: object) -> Response:
        response = super().file_response(*args, **kwargs)  # type: ignore[arg-type]
        response.headers["cache-control"] = "no-cache"
        return response
