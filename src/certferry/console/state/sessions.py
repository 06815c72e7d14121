"""Sessions of logged-in users, kept in memory only; a cookie carries a random id.

A session ends by logout, when idle, when too old, and when none of its ELB tokens is valid.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from certferry.console.state.cluster_view import DerivedCache
from certferry.console.state.elb_sites import ElbLogin

MOST: Final = 1_000
"""Sessions at a time; a new one ends the one that was idle for longest."""


class Session:
    """One browser of one user."""

    def __init__(self, identity: str, now: datetime) -> None:
        self.id = identity
        self.csrf = secrets.token_urlsafe(32)
        self.created = self.used = now
        self.logins: dict[str, ElbLogin] = {}
        """By the key of the ELB."""
        self.messages: list[str] = []
        """Results of forms, shown once on the next page."""
        self.derived: dict[str, DerivedCache] = {}
        """Cache of ``ClusterContext``, by cluster."""

    @property
    def user(self) -> str:
        """The user's name; "" without a login."""
        return next((login.user for login in self.logins.values()), "")

    def accepts(self, token: str) -> bool:
        """Return whether `token` is this session's form token."""
        return hmac.compare_digest(self.csrf.encode(), token.encode())

    def __repr__(self) -> str:
        return f"Session({self.user!r})"


class Sessions:
    """All sessions by id."""

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
        """Start a session under a new random id."""
        self._sweep()
        while len(self._sessions) >= MOST:
            self.end(min(self._sessions.values(), key=lambda s: s.used))
        session = Session(secrets.token_urlsafe(32), self._clock())
        session.logins[login.site] = login
        self._sessions[session.id] = session
        return session

    def find(self, identity: str) -> Session | None:
        """Return the session with this id and mark it used; None if it has ended."""
        session = self._sessions.get(identity)
        if session is None:
            return None
        now = self._clock()
        for key in [k for k, login in session.logins.items() if login.expires <= now]:
            del session.logins[key]
        if self._is_over(session, now):
            self.end(session)
            return None
        session.used = now
        return session

    def end(self, session: Session) -> None:
        """End a session: log out."""
        if self._sessions.pop(session.id, None):
            self._ended(session)
            session.logins.clear()

    def _sweep(self) -> None:
        now = self._clock()
        for session in [s for s in self._sessions.values() if self._is_over(s, now)]:
            self.end(session)

    def _is_over(self, session: Session, now: datetime) -> bool:
        return not session.logins or now - session.created > self._longest or now - session.used > self._idle
