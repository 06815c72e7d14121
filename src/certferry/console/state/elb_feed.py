"""What an ELB has, as one person may see it, kept current for the pages while they look.

One feed per session and ELB, with that person's token. It follows the ELB's event stream where there
is one, and looks every few seconds where there is none (a vendor's).
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

LOOK: Final = 3.0
"""Seconds between two looks at an ELB without events."""
SURE: Final = 30.0
"""The same for one with events: they might get lost."""
BREATH: Final = 0.05
"""Seconds in which events are collected."""
ROLES: Final = 15.0
"""Seconds after which a person's role is asked for again."""


class CertificateExtra(msgspec.Struct, frozen=True, kw_only=True):
    """What our ELB says of a certificate beside the model."""

    versions: int = 0


class CertificateDetails(msgspec.Struct, frozen=True, kw_only=True):
    """What people want to know of a certificate, and the controller does not."""

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
        self.facts: Mapping[str, CertificateDetails] = {}
        self.extensions: frozenset[str] = frozenset()
        self.ready = False
        self.trouble: str | None = None
        self.refused = False
        """Whether the token is not valid any more."""
        self.roles: tuple[str, ...] | None = None
        """What Keystone says that the person is, looked at every now and then; None: not yet."""
        self._looked = 0.0
        self._asked = asyncio.Event()
        self._turn = asyncio.Lock()

    async def run(self) -> None:
        """Keep it current until cancelled, or until the token ends."""
        async with asyncio.TaskGroup() as tasks:
            following = tasks.create_task(follow_events(self.client, lambda _: self._asked.set()))
            while not self.refused:
                with contextlib.suppress(ElbError):
                    await self.refresh()
                await self._look_at_roles()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(SURE if "events" in self.extensions else LOOK):
                        await self._asked.wait()
                await asyncio.sleep(BREATH)
                self._asked.clear()
            following.cancel()

    async def refresh(self) -> State:
        """Look now. Raises ``ElbError``."""
        async with self._turn:
            try:
                if not self.ready:
                    self.extensions = await extensions.available(self.client)
                state = await observe(self.client)
                facts = {f.id: f for f in await self.client.find_as(CERTIFICATES, CertificateDetails)}
            except ElbError as error:
                self.refused = error.status == 401
                self._told(str(error))
                raise
            news = not self.ready or state != self.state or facts != self.facts
            self.state, self.facts, self.ready = state, facts, True
            self._told(None, news=news)
            return state

    async def until_ready(self, seconds: float) -> bool:
        """Whether it is ready within `seconds`; ends early when it cannot be."""
        await self.changed.until(lambda: self.ready or self.trouble is not None, seconds)
        return self.ready

    def _told(self, trouble: str | None, *, news: bool = False) -> None:
        if news or trouble != self.trouble:
            self.trouble = trouble
            self.changed.set(self.changed.value + 1)

    async def _look_at_roles(self) -> None:
        """A person whose role was changed has it here too, before their token ends."""
        if self._looked and time.monotonic() - self._looked < ROLES:
            return
        self._looked = time.monotonic()
        try:
            self.roles = (await self.client.whoami()).roles
        except ElbError as error:
            self.refused |= error.status in (401, 404)
