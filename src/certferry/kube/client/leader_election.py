"""Which of several replicas leads: whoever holds a Lease of the Kubernetes API.

The controller runs one ``Leader`` and asks ``leading`` right before each write. Others' clocks are
not trusted: a lease has expired when *we* saw it unchanged for its whole duration. Our own
leadership ends by our own monotonic clock, at the renew deadline, whatever the last request still
does: so it ends in a process that was stopped and goes on, before it writes anything. It knows no work.
Source: k8s.io/client-go/tools/leaderelection, and what it leaves open.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import structlog

from certferry.core.model.kubernetes import Name
from certferry.kube.client.client import Kind, KubeClient, KubeError, Object
from certferry.runtime.latest import Latest

LEASE: Final = Kind("coordination.k8s.io/v1", "leases", "Lease")

_log = structlog.get_logger()

Clock = Callable[[], float]


class LeaseTimings(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds. A leader stops at `deadline`, well before others may follow at `duration`."""

    duration: float = 10.0
    deadline: float = 6.6
    retry: float = 1.5


def lease_timings(duration: float) -> LeaseTimings:
    """The usual proportions of a lease of `duration` seconds."""
    return LeaseTimings(duration=duration, deadline=duration * 2 / 3, retry=duration / 7)


class LeaderElector:
    """One candidate; ``run`` runs until cancelled and then lets go of the lease."""

    def __init__(
        self,
        kube: KubeClient,
        lease: Name,
        identity: str,
        timings: LeaseTimings,
        clock: Clock = time.monotonic,
    ) -> None:
        self._kube = kube
        self._lease = lease
        self._identity = identity
        self._timings = timings
        self._clock = clock
        self._leading_until = 0.0
        self._seen: tuple[str, float] = ("", 0.0)
        self.holder: Latest[str] = Latest("")
        """Who leads, as far as we know."""
        self.elected: Latest[bool] = Latest(False)
        """For who waits. Who is about to write asks ``leading``, which is never late."""

    @property
    def leading(self) -> bool:
        """Whether we may write at this instant."""
        return self._clock() < self._leading_until

    async def run(self) -> None:
        """Try to lead, and go on leading."""
        watchdog = asyncio.get_running_loop().create_task(self._watch_deadline())
        try:
            while True:
                await self._renew_or_acquire()
                await asyncio.sleep(self._timings.retry)
        finally:
            watchdog.cancel()
            await asyncio.gather(watchdog, return_exceptions=True)
            await self._release()

    async def _renew_or_acquire(self) -> None:
        began = self._clock()
        try:
            async with asyncio.timeout(self._timings.deadline / 2):
                held = await self._try(began)
        except (KubeError, TimeoutError, OSError, ValueError, KeyError, TypeError) as error:
            # whatever it is: not renewed, and the watchdog counts on
            _log.debug("lease not renewed", lease=str(self._lease), why=str(error) or type(error).__name__)
            return
        # Counted from before the request: the server may have taken it at once.
        if held:
            self._leading_until = began + self._timings.deadline
        else:
            self._leading_until = 0.0
        self._publish()

    async def _try(self, now: float) -> bool:
        """One attempt to hold the lease for another term."""
        try:
            present = await self._kube.get(LEASE, self._lease.name, self._lease.namespace)
        except KubeError as error:
            if error.status != 404:
                raise
            return await self._write(None, {})
        spec: dict[str, Any] = present.get("spec") or {}
        holder, version = str(spec.get("holderIdentity") or ""), present["metadata"]["resourceVersion"]
        self.holder.set(holder)
        if self._seen[0] != version:
            self._seen = (version, now)
        # What the other one says it needs, for it may be set up otherwise than we are.
        expired = now - self._seen[1] >= float(spec.get("leaseDurationSeconds") or self._timings.duration)
        if holder not in ("", self._identity) and not expired:
            return False
        return await self._write(present, spec)

    async def _write(self, present: Object | None, spec: dict[str, Any]) -> bool:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        ours = spec.get("holderIdentity") == self._identity
        wanted = {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": max(1, round(self._timings.duration)),
            "acquireTime": spec.get("acquireTime") if ours else now,
            "renewTime": now,
            "leaseTransitions": int(spec.get("leaseTransitions") or 0) + (present is not None and not ours),
        }
        try:
            if present is None:
                meta = {"name": self._lease.name, "namespace": self._lease.namespace}
                body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": meta}
                await self._kube.create(LEASE, {**body, "spec": wanted}, self._lease.namespace)
            else:
                # with its resourceVersion: of two who try, one gets 409
                await self._kube.replace(LEASE, {**present, "spec": wanted})
        except KubeError as error:
            if error.status != 409:
                raise
            return False
        self.holder.set(self._identity)
        return True

    async def _watch_deadline(self) -> None:
        """Say so when our time is up, even while a request hangs."""
        while True:
            self._publish()
            left = self._leading_until - self._clock()
            await asyncio.sleep(left if left > 0 else self._timings.retry / 4)

    def _publish(self) -> None:
        if self.elected.value != self.leading:
            _log.info("leading" if self.leading else "not leading", lease=str(self._lease))
        self.elected.set(self.leading)

    async def _release(self) -> None:
        """So that the next one need not wait; nothing depends on it."""
        if not self.leading:
            return
        self._leading_until = 0.0
        self._publish()
        with contextlib.suppress(KubeError, TimeoutError, OSError, KeyError):
            async with asyncio.timeout(self._timings.retry):
                present = await self._kube.get(LEASE, self._lease.name, self._lease.namespace)
                if present["spec"].get("holderIdentity") == self._identity:
                    spec = {**present["spec"], "holderIdentity": "", "leaseDurationSeconds": 1}
                    await self._kube.replace(LEASE, {**present, "spec": spec})
