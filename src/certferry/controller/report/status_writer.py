"""The writer of Events, Ingress status and the controller's annotations.

It compares the newest report with the cluster and writes the difference, once per change and never per resync.
Together with ``adopt_drift`` it is the only writer to Kubernetes.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final

import msgspec
import structlog
from immutables import Map

from certferry.controller.report.event_recorder import HOUR, EventMessage, EventRecorder
from certferry.core.model.kubernetes import (
    AGE_ANNOTATION,
    BALANCER_ID,
    CLEANUP_FINALIZER,
    HOSTS_ANNOTATION,
    MASTER_ANNOTATION,
    ROTATION_ANNOTATION,
    Name,
    ReportedStatus,
)
from certferry.core.model.problems import HOURLY
from certferry.kube.client.cache import Cache
from certferry.kube.client.client import INGRESS, SERVICE, KubeClient, KubeError, Object
from certferry.runtime.latest import Latest

GATHER: Final = 0.2
"""Seconds in which reports are collected, so that a burst of rotations is written once."""
RETRY: Final = 2.0
ECHO: Final = 5.0
"""Seconds in which the watch may take to bring back what we wrote."""
AGAIN: Final = 60.0
"""Seconds after which the report is compared again, because another client may have changed an Ingress."""
TURN: Final = 1.0
"""Seconds of writing Events after which a newer report is considered."""

_log = structlog.get_logger()

Ports = tuple[tuple[int, str], ...]


class IngressReport(msgspec.Struct, frozen=True, kw_only=True):
    """The desired status and annotations of an Ingress or Service. None: not written."""

    status: tuple[tuple[str, Ports], ...] | None = None
    master: str | None = None
    rotation: str | None = None
    hosts: str | None = None
    loadbalancer: str | None = None
    finalizer: bool | None = None
    """True: it is to have our finalizer; False: to lose it."""


class StatusReport(msgspec.Struct, frozen=True, kw_only=True):
    """The newest report: Events that last, and how many single Events were recorded."""

    standing: frozenset[EventMessage] = frozenset()
    news: int = 0
    """Single Events so far, so that a new one makes an unequal report."""
    ingresses: Map[Name, IngressReport] = Map()
    cleanup: Mapping[Name, IngressReport] = MappingProxyType({})
    """Ingresses of another class now, with what the controller wrote on them."""


class StatusWriter:
    """Writes the newest report in a task of its own, so that no write to the ELB waits for it."""

    def __init__(self, kube: KubeClient, cache: Cache, clock: Callable[[], float] = time.monotonic) -> None:
        self._kube = kube
        self._events = EventRecorder(kube)
        self._cache = cache
        self._clock = clock
        self._latest: Latest[StatusReport] = Latest(StatusReport())
        self._reported_at: dict[EventMessage, float] = {}
        self._unwritten: list[EventMessage] = []
        self._stood = False
        self._begun = False
        """True after the first report. Until then an earlier controller may have written the same Events."""
        self._written: dict[Name, tuple[float, IngressReport]] = {}
        self._compare_all = True
        """Compare all Ingresses in the next round, not only those that a rotation touched."""
        self._removed: dict[Name, tuple[float, IngressReport]] = {}
        self._urgent: list[Name] = []

    @property
    def ingresses(self) -> Mapping[Name, IngressReport]:
        """The newest report of each Ingress."""
        return {**self._latest.value.cleanup, **self._latest.value.ingresses}

    def standing(
        self,
        notices: Iterable[EventMessage],
        ingresses: Mapping[Name, IngressReport],
        left: Mapping[Name, IngressReport],
    ) -> None:
        """Set the report of the present state. The reported rotation of an Ingress is kept."""
        self._stood = True
        before = self._latest.value
        kept = {
            name: entry if entry.rotation else msgspec.structs.replace(entry, rotation=_rotation(before, name))
            for name, entry in ingresses.items()
        }
        self._compare_all = True
        self._latest.set(
            msgspec.structs.replace(
                before, standing=frozenset(notices), ingresses=Map(kept), cleanup=MappingProxyType(left)
            )
        )

    def rotated(self, notices: Iterable[EventMessage], ingresses: Iterable[Name], rotation: str) -> None:
        """Report a finished rotation; `rotation` is the annotation's text."""
        before = self._latest.value
        entries = before.ingresses
        for name in ingresses:
            entries = entries.set(name, msgspec.structs.replace(entries.get(name, IngressReport()), rotation=rotation))
            self._urgent.append(name)
        self._latest.set(msgspec.structs.replace(before, ingresses=entries))
        self.record(notices)

    def record(self, notices: Iterable[EventMessage]) -> None:
        """Report single Events."""
        before, count = self._latest.value, len(self._unwritten)
        self._unwritten += notices
        news = before.news + len(self._unwritten) - count
        self._latest.set(msgspec.structs.replace(before, news=news))

    async def run(self) -> None:
        """Write until cancelled."""
        written = 0
        while True:
            # not wait_for: before Python 3.12 it can swallow a cancellation
            try:
                async with asyncio.timeout(AGAIN):
                    await self._latest.after(written)
            except TimeoutError:
                self._compare_all = True
            # before each round, so that writing one of many rotations does not delay the next
            await asyncio.sleep(GATHER)
            sequence, report = self._latest.sequence, self._latest.value
            try:
                await self._write(report)
            except KubeError as error:
                _log.debug("report delayed", error=str(error))
                await asyncio.sleep(RETRY)
                written, self._compare_all = -1, True
            else:
                written = sequence

    async def _write(self, report: StatusReport) -> None:
        """Write what differs; what was rotated last comes first. Ends early when there is a newer report."""
        stood, compare_all = self._stood, self._compare_all
        urgent = [name for name in reversed(self._urgent) if name in report.ingresses]
        self._urgent.clear()
        self._compare_all = False
        for name in dict.fromkeys((*urgent, *(report.ingresses if compare_all else ()))):
            await self._ingress(name, report.ingresses[name])
            if self._urgent:
                self._compare_all = True
                return
        for name, entry in report.cleanup.items():
            await self._leave(name, entry)
        unwritten = len(self._unwritten)
        # A burst of rotations is one Event that counts them, not as many requests.
        for notice, times in Counter(self._unwritten).items():
            await self._events.record(notice, times)
        del self._unwritten[:unwritten]
        ends = self._clock() + TURN
        for notice in _in_turn(report.standing - self._current()):
            ago = await self._events.record(notice, inherited=not self._begun)
            self._reported_at[notice] = self._clock() - ago
            if self._urgent or (self._latest.value is not report and self._clock() > ends):
                return
        self._begun = self._begun or stood
        self._reported_at = {notice: at for notice, at in self._reported_at.items() if notice in report.standing}

    def _current(self) -> frozenset[EventMessage]:
        """Return the Events that need no repetition: all written ones, except hourly reasons that are due."""
        due = self._clock() - HOUR
        return frozenset(n for n, at in self._reported_at.items() if n.reason not in HOURLY or at > due)

    async def _ingress(self, name: Name, entry: IngressReport) -> None:
        stands = self._cache.reported(name)
        if stands is None or _on_its_way(self._written, name, entry):
            return
        annotations = _differing(entry, stands)
        since = self._cache.claimed_since(name)
        if entry.master is not None and since is not None and since != stands.claimed_since:
            annotations[AGE_ANNOTATION] = since
        restated = entry.status is not None and entry.status != stands.status
        held = entry.finalizer is not None and entry.finalizer != (CLEANUP_FINALIZER in stands.finalizers)
        if not annotations and not restated and not held:
            return
        self._written[name] = (time.monotonic(), entry)
        try:
            if held and entry.finalizer:
                await self._hold(name, hold=True)
            if annotations:
                await self._patch(name, {"metadata": {"annotations": annotations}})
            if restated and entry.status is not None:
                await self._patch(name, {"status": _status(entry.status)}, "status")
            if held and not entry.finalizer:
                await self._hold(name, hold=False)
        except KubeError:
            del self._written[name]
            raise

    async def _leave(self, name: Name, entry: IngressReport) -> None:
        """Remove what the controller wrote, unless another client has changed it."""
        stands = self._cache.reported(name)
        if stands is None or _on_its_way(self._removed, name, entry):
            return
        keys = {
            MASTER_ANNOTATION: (entry.master, stands.master),
            ROTATION_ANNOTATION: (entry.rotation, stands.rotation),
            AGE_ANNOTATION: (self._cache.claimed_since(name), stands.claimed_since),
            HOSTS_ANNOTATION: (entry.hosts, stands.hosts),
        }
        annotations = {key: None for key, (ours, there) in keys.items() if there is not None and ours == there}
        self._written.pop(name, None)  # the Ingress may return to the class
        if annotations:
            await self._patch(name, {"metadata": {"annotations": annotations}})
        if entry.status and entry.status == stands.status:
            await self._patch(name, {"status": {"loadBalancer": {"ingress": None}}}, "status")
        self._removed[name] = (time.monotonic(), entry)

    async def _hold(self, name: Name, *, hold: bool) -> None:
        """Add or remove our finalizer, and leave those of others."""
        try:
            meta = (await self._kube.get(SERVICE, name.name, name.namespace))["metadata"]
        except KubeError as error:
            if error.status == 404:
                return
            raise
        others = [f for f in meta.get("finalizers") or () if f != CLEANUP_FINALIZER]
        finalizers = [*others, CLEANUP_FINALIZER] if hold and "deletionTimestamp" not in meta else others
        # with the version, because a merge patch replaces the whole list
        await self._patch(name, {"metadata": {"finalizers": finalizers, "resourceVersion": meta["resourceVersion"]}})

    async def _patch(self, name: Name, patch: Object, subresource: str = "") -> None:
        try:
            await self._kube.merge(SERVICE if name.kind else INGRESS, name.name, patch, name.namespace, subresource)
        except KubeError as error:
            if error.retryable:
                raise
            _log.warning("object not annotated", object=name.claimant, error=str(error))


def _in_turn(notices: Iterable[EventMessage]) -> list[EventMessage]:
    """Return `notices` with the first of each namespace before any second one, so that none waits for another's."""
    turns: Counter[str] = Counter()
    ordered = []
    for notice in sorted(notices):
        turns[notice.object.namespace] += 1
        ordered.append((turns[notice.object.namespace], notice))
    return [notice for _, notice in sorted(ordered)]


def _on_its_way(done: Mapping[Name, tuple[float, IngressReport]], name: Name, entry: IngressReport) -> bool:
    """Return whether `entry` was just written and the watch may not have delivered it yet."""
    at, written = done.get(name, (0.0, None))
    return written == entry and time.monotonic() - at < ECHO


def _rotation(report: StatusReport, name: Name) -> str | None:
    entry = report.ingresses.get(name)
    return entry.rotation if entry else None


def _differing(entry: IngressReport, stands: ReportedStatus) -> dict[str, str]:
    wanted = (
        (MASTER_ANNOTATION, entry.master, stands.master),
        (ROTATION_ANNOTATION, entry.rotation, stands.rotation),
        (HOSTS_ANNOTATION, entry.hosts, stands.hosts),
        (BALANCER_ID, entry.loadbalancer, stands.loadbalancer),
    )
    return {key: want for key, want, have in wanted if want is not None and want != have}


def _status(status: tuple[tuple[str, Ports], ...]) -> dict[str, Any]:
    return {
        "loadBalancer": {
            "ingress": [
                {"ip": ip, "ports": [{"port": port, "protocol": protocol} for port, protocol in ports]}
                for ip, ports in status
            ]
        }
    }
