"""Execution of a release plan: the writes of ``certferry controller release``, each safe to repeat.

It removes owners if the ELB has our extensions; a vendor's ELB has marks alone. It stops at the first error, and the
same command continues from there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from certferry.core.plan.release import Part
from certferry.elb.client import client as elbs
from certferry.elb.client import extensions
from certferry.elb.client.client import ElbClient, Resource

_RESOURCES: Final[Mapping[str, Resource]] = {
    "certificate": elbs.CERTIFICATES,
    "listener": elbs.LISTENERS,
    "loadbalancer": elbs.LOADBALANCERS,
    "policy": elbs.POLICIES,
    "pool": elbs.POOLS,
}


async def carry_out(elb: ElbClient, parts: Iterable[Part], reason: str, done: Callable[[Part], None]) -> None:
    """Execute `parts` in order, and call `done` after each. Raises ``ElbError``."""
    for part in parts:
        await _one(elb, part, reason)
        done(part)


async def _one(elb: ElbClient, part: Part, reason: str) -> None:
    resource = elbs.members_of(part.parent or "") if part.kind == "member" else _RESOURCES[part.kind]
    match part.verb:
        case "release":
            await extensions.release(elb, part.id, reason)
        case "update":
            await elb.update(resource, part.id, part.fields)
        case "delete":
            await elb.delete(resource, part.id)
