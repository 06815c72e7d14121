"""Leader election through a Lease of the Kubernetes API.

Other replicas' clocks are not trusted: a lease expired if we saw it unchanged for its whole duration.
Leadership ends by our monotonic clock at the renew deadline, even if a request still hangs. A process that
was stopped and resumed therefore has lost leadership before it writes anything.
Source: https://pkg.go.dev/k8s.io/client-go/tools/leaderelection
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
    """Seconds. A leader stops at `deadline`, well before another may follow at `duration`."""

    duration: float = 10.0
    deadline: float = 6.6
    retry: float = 1.5


def lease_timings(duration: float) -> LeaseTimings:
    """Return the usual proportions of a lease of `duration` seconds."""
    return LeaseTimings(duration=duration, deadline=duration * 2 / 3, retry=duration / 7)


class LeaderElector:
    """One candidate. ``run`` runs until cancelled and then releases the lease."""

    def __init__(
        self, kube: KubeClient, lease: Name, identity: str, timings: LeaseTimings, clock: Clock = time.monotonic
    ) -> None:
        self._kube = kube
        self._lease = lease
        self._identity = identity
        self._timings = timings
        self._clock = clock
        self._leading_until = 0.0
        self._seen: tuple[str, float] = ("", 0.0)
        self.holder: Latest[str] = Latest("")
        """Identity of the leader, as last read."""
        self.elected: Latest[bool] = Latest(False)
        """For tasks that wait. Before a write read ``leading``, which is never late."""

    @property
    def leading(self) -> bool:
        """Return whether we may write at this instant."""
        return self._clock() < self._leading_until

    async def run(self) -> None:
        """Try to become leader, then keep the lease renewed."""
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
            # any of these: not renewed, and the deadline stands
            _log.debug("lease not renewed", lease=str(self._lease), why=str(error) or type(error).__name__)
            return
        # Counted from before the request, because the server may have stored it at once.
        if held:
            self._leading_until = began + self._timings.deadline
        else:
            self._leading_until = 0.0
        self._publish()

    async def _try(self, now: float) -> bool:
        """Try once to hold the lease for another term."""
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
        # The holder's own duration counts, because its settings may differ from ours.
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
                # with its resourceVersion: of two candidates, one gets 409
                await self._kube.replace(LEASE, {**present, "spec": wanted})
        except KubeError as error:
            if error.status != 409:
                raise
            return False
        self.holder.set(self._identity)
        return True

    async def _watch_deadline(self) -> None:
        """Publish the end of our term even while a request hangs."""
        while True:
            self._publish()
            left = self._leading_until - self._clock()
            await asyncio.sleep(left if left > 0 else self._timings.retry / 4)

    def _publish(self) -> None:
        if self.elected.value != self.leading:
            _log.info("leading" if self.leading else "not leading", lease=str(self._lease))
        self.elected.set(self.leading)

    async def _release(self) -> None:
        """Release the lease so that the next leader need not wait. Failure does no harm."""
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
