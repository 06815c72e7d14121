"""What goes by itself: the contents of a deleted namespace, then the namespace; Events after an hour.

`serve` runs ``sweep`` for as long as the server lives. It acts only through `writes`, as a client
would, and starts from what is stored, so nothing is forgotten over a restart.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from datetime import UTC, datetime

import msgspec

from certferry.kube.apiserver.errors import ApiStatus
from certferry.kube.apiserver.resources.builtin import Object, ResourceDefinition
from certferry.kube.apiserver.storage import mutations
from certferry.kube.apiserver.storage.mutations import Preconditions
from certferry.kube.apiserver.storage.watch_cache import WatchCache

Clock = Callable[[], datetime]
_INTERVAL = 30.0


async def run_lifecycle(cache: WatchCache, kinds: tuple[ResourceDefinition, ...], clock: Clock) -> None:
    """Run for ever: empty namespaces that are to go, drop what outlived its time."""
    namespace = next(k for k in kinds if k.name == "Namespace")
    mortal = [k for k in kinds if k.lifetime is not None]
    held: set[str] = set()
    while True:
        sequence = cache.changed[namespace.plural].sequence
        going = [
            s.name for s in cache.all(namespace.plural) if s.indexed.fields["status.phase"] == "Terminating"
        ]
        held = {name for name in going if not await _finish_namespace(cache, kinds, namespace, name, clock)}
        for kind in mortal:
            await _expire(cache, kind, clock())
        # What finalizers hold is looked at again soon; else only a namespace's change or the time matters.
        interval = 0.2 if held else _INTERVAL
        try:
            async with asyncio.timeout(interval):
                await cache.changed[namespace.plural].after(sequence)
        except TimeoutError:
            continue


async def _finish_namespace(
    cache: WatchCache,
    kinds: tuple[ResourceDefinition, ...],
    namespace: ResourceDefinition,
    name: str,
    clock: Clock,
) -> bool:
    """Whether the namespace is gone: deletes what is in it first."""
    await _delete_contents(cache, kinds, name, clock)
    if any(s.namespace == name for k in kinds if k.namespaced for s in cache.all(k.plural)):
        return False
    try:
        await cache.write(namespace, "", name, mutations.release_namespace(namespace, name))
    except ApiStatus:
        return False
    # What was on its way while the namespace was marked has arrived by now; nothing new is let in.
    await _delete_contents(cache, kinds, name, clock)
    return True


async def _delete_contents(
    cache: WatchCache, kinds: tuple[ResourceDefinition, ...], name: str, clock: Clock
) -> None:
    for kind in kinds:
        if kind.namespaced:
            for stored in [s for s in cache.all(kind.plural) if s.namespace == name]:
                await _delete(cache, kind, name, stored.name, Preconditions(), clock())


async def _expire(cache: WatchCache, kind: ResourceDefinition, now: datetime) -> None:
    assert kind.lifetime is not None
    for stored in list(cache.all(kind.plural)):
        found: Object = msgspec.json.decode(stored.body)
        last = found.get("lastTimestamp") or found["metadata"]["creationTimestamp"]
        if (now - datetime.fromisoformat(last).astimezone(UTC)).total_seconds() > kind.lifetime:
            conditions = Preconditions(revision=str(stored.revision))
            await _delete(cache, kind, stored.namespace, stored.name, conditions, now)


async def _delete(
    cache: WatchCache,
    kind: ResourceDefinition,
    namespace: str,
    name: str,
    conditions: Preconditions,
    now: datetime,
) -> None:
    with contextlib.suppress(ApiStatus):  # gone or changed meanwhile; the next round looks again
        await cache.write(kind, namespace, name, mutations.delete(kind, name, conditions, now))
