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
from certferry.kube.apiserver.storage import mutations as writes
from certferry.kube.apiserver.storage.mutations import Preconditions
from certferry.kube.apiserver.storage.watch_cache import WatchCache

Clock = Callable[[], datetime]
_PAUSE = 30.0


async def run_lifecycle(registry: WatchCache, kinds: tuple[ResourceDefinition, ...], clock: Clock) -> None:
    """Run for ever: empty namespaces that are to go, drop what outlived its time."""
    namespace = next(k for k in kinds if k.name == "Namespace")
    mortal = [k for k in kinds if k.lifetime is not None]
    held: set[str] = set()
    while True:
        sequence = registry.moved[namespace.plural].sequence
        going = [
            s.name for s in registry.all(namespace.plural) if s.facts.fields["status.phase"] == "Terminating"
        ]
        held = {name for name in going if not await _empty(registry, kinds, namespace, name, clock)}
        for kind in mortal:
            await _expire(registry, kind, clock())
        # What finalizers hold is looked at again soon; else only a namespace's change or the time matters.
        pause = 0.2 if held else _PAUSE
        try:
            async with asyncio.timeout(pause):
                await registry.moved[namespace.plural].after(sequence)
        except TimeoutError:
            continue


async def _empty(
    registry: WatchCache,
    kinds: tuple[ResourceDefinition, ...],
    namespace: ResourceDefinition,
    name: str,
    clock: Clock,
) -> bool:
    """Whether the namespace is gone: deletes what is in it first."""
    await _clear(registry, kinds, name, clock)
    if any(s.namespace == name for k in kinds if k.namespaced for s in registry.all(k.plural)):
        return False
    try:
        await registry.write(namespace, "", name, writes.release_namespace(namespace, name))
    except ApiStatus:
        return False
    # What was on its way while the namespace was marked has arrived by now; nothing new is let in.
    await _clear(registry, kinds, name, clock)
    return True


async def _clear(
    registry: WatchCache, kinds: tuple[ResourceDefinition, ...], name: str, clock: Clock
) -> None:
    for kind in kinds:
        if kind.namespaced:
            for stored in [s for s in registry.all(kind.plural) if s.namespace == name]:
                await _delete(registry, kind, name, stored.name, Preconditions(), clock())


async def _expire(registry: WatchCache, kind: ResourceDefinition, now: datetime) -> None:
    assert kind.lifetime is not None
    for stored in list(registry.all(kind.plural)):
        found: Object = msgspec.json.decode(stored.body)
        last = found.get("lastTimestamp") or found["metadata"]["creationTimestamp"]
        if (now - datetime.fromisoformat(last).astimezone(UTC)).total_seconds() > kind.lifetime:
            conditions = Preconditions(revision=str(stored.revision))
            await _delete(registry, kind, stored.namespace, stored.name, conditions, now)


async def _delete(
    registry: WatchCache,
    kind: ResourceDefinition,
    namespace: str,
    name: str,
    conditions: Preconditions,
    now: datetime,
) -> None:
    with contextlib.suppress(ApiStatus):  # gone or changed meanwhile; the next round looks again
        await registry.write(kind, namespace, name, writes.delete(kind, name, conditions, now))
