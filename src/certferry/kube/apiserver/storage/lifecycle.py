"""Namespace termination and Event expiry.

It acts through ``mutations`` as a client would and starts from the stored objects, so that a restart loses nothing.
Upstream: https://github.com/kubernetes/kubernetes/tree/master/pkg/controller/namespace
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec

from certferry.kube.apiserver.errors import ApiStatus
from certferry.kube.apiserver.resources.builtin import Object, ResourceDefinition
from certferry.kube.apiserver.storage import mutations
from certferry.kube.apiserver.storage.log import Stored
from certferry.kube.apiserver.storage.mutations import Preconditions
from certferry.kube.apiserver.storage.watch_cache import WatchCache

T = TypeVar("T")

Clock = Callable[[], datetime]
_INTERVAL = 30.0


async def run_lifecycle(cache: WatchCache, kinds: tuple[ResourceDefinition, ...], clock: Clock) -> None:
    """Finish terminating namespaces and delete expired Events until cancelled."""
    namespace = next(k for k in kinds if k.name == "Namespace")
    mortal = [k for k in kinds if k.lifetime is not None]
    held: set[str] = set()
    while True:
        sequence = cache.changed[namespace.plural].sequence
        going = [s.name for s in cache.all(namespace.plural) if s.indexed.fields["status.phase"] == "Terminating"]
        held = {
            name for name in going if not await _isolated(name, _finish_namespace(cache, kinds, namespace, name, clock))
        }
        for kind in mortal:
            for stored in list(cache.all(kind.plural)):
                await _isolated(f"{stored.namespace}/{stored.name}", _expire(cache, kind, stored, clock()))
        # Objects with finalizers are checked again soon; otherwise wait for a namespace's change or the interval.
        interval = 0.2 if held else _INTERVAL
        try:
            async with asyncio.timeout(interval):
                await cache.changed[namespace.plural].after(sequence)
        except TimeoutError:
            continue


async def _finish_namespace(
    cache: WatchCache, kinds: tuple[ResourceDefinition, ...], namespace: ResourceDefinition, name: str, clock: Clock
) -> bool:
    """Delete the namespace's contents, then the namespace; return whether it is gone."""
    await _delete_contents(cache, kinds, name, clock)
    if any(s.namespace == name for k in kinds if k.namespaced for s in cache.all(k.plural)):
        return False
    try:
        await cache.write(namespace, "", name, mutations.release_namespace(namespace, name))
    except ApiStatus:
        return False
    # Writes from before the deletion mark are stored by now, and new ones are refused.
    await _delete_contents(cache, kinds, name, clock)
    return True


async def _delete_contents(cache: WatchCache, kinds: tuple[ResourceDefinition, ...], name: str, clock: Clock) -> None:
    for kind in kinds:
        if kind.namespaced:
            for stored in [s for s in cache.all(kind.plural) if s.namespace == name]:
                await _delete(cache, kind, name, stored.name, Preconditions(), clock())


async def _expire(cache: WatchCache, kind: ResourceDefinition, stored: Stored, now: datetime) -> None:
    assert kind.lifetime is not None
    event: Object = msgspec.json.decode(stored.body)
    last = event.get("lastTimestamp") or event["metadata"]["creationTimestamp"]
    if (now - datetime.fromisoformat(last).astimezone(UTC)).total_seconds() > kind.lifetime:
        conditions = Preconditions(revision=str(stored.revision))
        await _delete(cache, kind, stored.namespace, stored.name, conditions, now)


async def _isolated(name: str, work: Coroutine[Any, Any, T]) -> T | None:
    """Return the result of `work` on one object; None, and a log line, if it raises."""
    try:
        return await work
    except Exception:  # noqa: BLE001 (an object affects no other, and does not end the API)
        import structlog  # this import takes as long as the rest of a start

        structlog.get_logger("certferry.kube").exception("object skipped", object=name)
        return None


async def _delete(
    cache: WatchCache, kind: ResourceDefinition, namespace: str, name: str, conditions: Preconditions, now: datetime
) -> None:
    with contextlib.suppress(ApiStatus):  # deleted or changed meanwhile; the next round checks again
        await cache.write(kind, namespace, name, mutations.delete(kind, name, conditions, now))
