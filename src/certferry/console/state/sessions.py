"""Who is logged in. Kept here in memory and nowhere else; a cookie carries only a random id.

Every request asks it. A session ends when it is told to, when it is not used for a while, when it is
too old, and when none of its ELB tokens is valid any more.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from certferry.console.state.cluster_view import DerivedState
from certferry.console.state.elb_sites import ElbLogin

MOST: Final = 1_000
"""Sessions at a time; the one unused for longest makes room."""


class Session:
    """One browser in which somebody is logged in."""

    def __init__(self, identity: str, now: datetime) -> None:
        self.id = identity
        self.csrf = secrets.token_urlsafe(32)
        self.created = self.used = now
        self.logins: dict[str, ElbLogin] = {}
        """By the key of the ELB."""
        self.said: list[str] = []
        """What the next page tells, once."""
        self.derived: dict[str, DerivedState] = {}
        """By cluster: see ``desk``."""

    @property
    def user(self) -> str:
        """For the page's head."""
        return next((login.user for login in self.logins.values()), "")

    def accepts(self, token: str) -> bool:
        """Whether `token` shows that a form came from our page."""
        return hmac.compare_digest(self.csrf.encode(), token.encode())

    def __repr__(self) -> str:
        return f"Session({self.user!r})"


class Sessions:
    """All of them, by id."""

    def __init__(
        self,
        longest: timedelta,
        idle: timedelta,
        ended: Callable[[Session], None] = lambda session: None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._longest, self._idle, self._ended, self._clock = longest, idle, ended, clock
        self._sessions: dict[str, Session] = {}

    def start(self, login: ElbLogin) -> Session:
        """A new session, with an id that nobody has seen."""
        self._sweep()
        while len(self._sessions) >= MOST:
            self.end(min(self._sessions.values(), key=lambda s: s.used))
        session = Session(secrets.token_urlsafe(32), self._clock())
        session.logins[login.site] = login
        self._sessions[session.id] = session
        return session

    def find(self, identity: str) -> Session | None:
        """The session with this id, if it goes on; it counts as used now."""
        session = self._sessions.get(identity)
        if session is None:
            return None
        now = self._clock()
        for key in [k for k, login in session.logins.items() if login.expires <= now]:
            del session.logins[key]
        if self._over(session, now):
            self.end(session)
            return None
        session.used = now
        return session

    def end(self, session: Session) -> None:
        """Log out."""
        if self._sessions.pop(session.id, None):
            self._ended(session)
            session.logins.clear()

    def _sweep(self) -> None:
        now = self._clock()
        for session in [s for s in self._sessions.values() if self._over(s, now)]:
            self.end(session)

    def _over(self, session: Session, now: datetime) -> bool:
        return not session.logins or now - session.created > self._longest or now - session.used > self._idle
