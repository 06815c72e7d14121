"""Ask the ELB why its data plane rejects a new content: clients never see such a content, so no probe can tell."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from certferry.elb.client import extensions
from certferry.elb.client.client import ElbClient, ElbError
from certferry.runtime.backoff import Backoff

FIRST_DELAY: Final = 0.3
"""Seconds that a content may take until clients see it. The ELB is read only after that, so that most rotations cost nothing."""


class DataPlaneRejection:
    """Asks an ELB that has the extension ``status``; any other never rejects."""

    def __init__(self, elb: ElbClient, certificate_id: Callable[[str], str | None]) -> None:
        self._elb = elb
        self._certificate_id = certificate_id
        """Returns the ELB's id for the key of a managed certificate."""

    async def wait(self, key: str, fingerprint: str, deadline: float) -> str | None:
        """Return the data plane's sentence if it rejects this content within `deadline` seconds, else None."""
        await asyncio.sleep(FIRST_DELAY)
        try:
            async with asyncio.timeout(deadline):
                if "status" not in await extensions.available(self._elb):
                    return None
                backoff = Backoff(0.2, 2.0)
                while (ref := self._certificate_id(key)) is not None:
                    status = await extensions.status(self._elb, ref)
                    if status.fingerprint != fingerprint:
                        return None
                    sentences = {s.message for s in status.listeners if s.state == "rejected"}
                    if sentences:
                        return "; ".join(sorted(sentences))
                    await backoff.wait()
        except (ElbError, TimeoutError):
            return None
        return None
