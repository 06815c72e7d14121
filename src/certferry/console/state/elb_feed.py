"""State of an ELB as one user may see it, kept current.

One feed per session and ELB, with that user's token. It follows the ELB's event stream if there is one, and
polls a vendor's ELB.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping
from typing import Final

import msgspec

from certferry.core.model.elb import State
from certferry.elb.client import extensions
from certferry.elb.client.client import CERTIFICATES, ElbClient, ElbError
from certferry.elb.client.follow_events import follow_events
from certferry.elb.client.observe import observe
from certferry.runtime.latest import Latest

POLL: Final = 3.0
"""Seconds between two reads of an ELB without events."""
RESYNC: Final = 30.0
"""Seconds between two reads of an ELB with events, because an event may get lost."""
DEBOUNCE: Final = 0.05
"""Seconds in which events are collected."""
ROLES: Final = 15.0
"""Seconds between two reads of the user's roles."""


class CertificateExtra(msgspec.Struct, frozen=True, kw_only=True):
    """The ``certferry`` object on a certificate."""

    versions: int = 0


class CertificateDetails(msgspec.Struct, frozen=True, kw_only=True):
    """Fields of a certificate that only pages show."""

    id: str
    created_at: str | None = None
    updated_at: str | None = None
    certferry: CertificateExtra | None = None


class ElbFeed:
    """One ELB through one token; `run` keeps it current."""

    def __init__(self, client: ElbClient) -> None:
        self.client = client
        self.changed: Latest[int] = Latest(0)
        self.state = State()
        self.details: Mapping[str, CertificateDetails] = {}
        self.extensions: frozenset[str] = frozenset()
        self.ready = False
        self.error: str | None = None
        self.refused = False
        """True if the token is no longer valid."""
        self.roles: tuple[str, ...] | None = None
        """The user's roles in Keystone; None: not read yet."""
        self._roles_read = 0.0
        self._wake = asyncio.Event()
        self._lock = asyncio.Lock()

    async def run(self) -> None:
        """Keep the state current until cancelled or until the token ends."""
        async with asyncio.TaskGroup() as tasks:
            following = tasks.create_task(follow_events(self.client, lambda _: self._wake.set()))
            while not self.refused:
                with contextlib.suppress(ElbError):
                    await self.refresh()
                await self._read_roles()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(RESYNC if "events" in self.extensions else POLL):
                        await self._wake.wait()
                await asyncio.sleep(DEBOUNCE)
                self._wake.clear()
            following.cancel()

    async def refresh(self) -> State:
        """Read the state now. Raises ``ElbError``."""
        async with self._lock:
            try:
                if not self.ready:
                    self.extensions = await extensions.available(self.client)
                state = await observe(self.client)
                details = {d.id: d for d in await self.client.find_as(CERTIFICATES, CertificateDetails)}
            except ElbError as error:
                self.refused = error.status == 401
                self._publish(str(error))
                raise
            changed = not self.ready or state != self.state or details != self.details
            self.state, self.details, self.ready = state, details, True
            self._publish(None, changed=changed)
            return state

    async def until_ready(self, seconds: float) -> bool:
        """Wait until the state is read, an error occurs or `seconds` have passed; return whether it is read."""
        await self.changed.until(lambda: self.ready or self.error is not None, seconds)
        return self.ready

    def _publish(self, error: str | None, *, changed: bool = False) -> None:
        if changed or error != self.error:
            self.error = error
            self.changed.set(self.changed.value + 1)

    async def _read_roles(self) -> None:
        """Read the roles from time to time: a changed role takes effect before the token ends."""
        if self._roles_read and time.monotonic() - self._roles_read < ROLES:
            return
        self._roles_read = time.monotonic()
        try:
            self.roles = (await self.client.whoami()).roles
        except ElbError as error:
            self.refused |= error.status in (401, 404)
