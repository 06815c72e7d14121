"""The state that all requests share: clusters, ELBs, sessions, feeds, tracked rotations, templates."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from starlette.applications import Starlette
from starlette.requests import Request

from certferry.clusters import Fleet
from certferry.console.state.elb_sites import ElbLogin, sites
from certferry.console.state.feeds import Feeds
from certferry.console.state.rotations import RotationTracker
from certferry.console.state.sessions import Session, Sessions
from certferry.console.web.templating import Templates
from certferry.elb.client.client import ElbError
from certferry.elb.client.credentials import CredentialsError
from certferry.settings import ConsoleSettings, UserError


class Console:
    """State of one running console."""

    def __init__(self, fleet: Fleet, settings: ConsoleSettings, cookie: str) -> None:
        self.fleet, self.settings = fleet, settings
        self.cookie = cookie
        """Name of the session cookie. It contains the port, so that two consoles on one host do not share it."""
        self.tls = settings.tls_certificate is not None
        self.sites = sites(fleet)
        self.feeds = Feeds()
        self.rotations = RotationTracker(settings.served_timeout)
        self.templates = Templates(*(access.limits for access in fleet.clusters[:1]))
        self.sessions = Sessions(
            timedelta(hours=settings.session_hours), timedelta(minutes=settings.idle_minutes), self._ended
        )
        self._logging_out: set[asyncio.Task[None]] = set()

    def session(self, request: Request) -> Session | None:
        """Return the session of the request's cookie; None if it has ended."""
        return self.sessions.find(request.cookies.get(self.cookie, ""))

    def _ended(self, session: Session) -> None:
        task = asyncio.get_running_loop().create_task(self._log_out(session, list(session.logins.values())))
        self._logging_out.add(task)
        task.add_done_callback(self._logging_out.discard)

    async def _log_out(self, session: Session, logins: list[ElbLogin]) -> None:
        await self.feeds.forget(session)
        for login in logins:
            with contextlib.suppress(ElbError, UserError, CredentialsError):
                async with self.sites[login.site].client(login) as client:
                    await client.log_out()

    @asynccontextmanager
    async def running(self, _: Starlette) -> AsyncIterator[None]:
        """Run the feeds for the lifetime of the application."""
        task = asyncio.get_running_loop().create_task(self.feeds.run())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            await self.rotations.close()
