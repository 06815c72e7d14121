"""The part of a snapshot that concerns some load balancers, for an Envoy that serves those alone.

Called by ``elb.plane.remote``. Who may have which load balancers is not decided here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from certferry.core.envoy.resource import CLUSTERS, ENDPOINTS, LISTENERS, ROUTES, XdsResource, remembered
from certferry.core.envoy.snapshot import Snapshot
from certferry.core.model.elb import Policy, State


def scoped(whole: Snapshot, state: State, loadbalancers: Collection[str], address: str) -> Snapshot:
    """`whole` (made of `state`) without the listeners of others, and without what only those need.

    `address` is where the listeners bind there, if not on their load balancer's own address ("").
    """
    listeners = {
        listener.id
        for listener in state.listeners.values()
        if listener.loadbalancer_id in loadbalancers and listener.id in whole.messages[LISTENERS]
    }
    pools = set(_pools(state, listeners))
    bound = {n: m for n, m in whole.messages[LISTENERS].items() if n in listeners}
    if address:
        bound = {n: _rebound(f"{n}@{address}", m, address) for n, m in bound.items()}
    messages = {
        LISTENERS: bound,
        ROUTES: {n: m for n, m in whole.messages[ROUTES].items() if n in listeners},
        CLUSTERS: {n: m for n, m in whole.messages[CLUSTERS].items() if n in pools},
        ENDPOINTS: {n: m for n, m in whole.messages[ENDPOINTS].items() if n in pools},
    }
    secrets = {n: s for n, s in whole.secrets.items() if n.partition("/")[0] in listeners}
    return Snapshot(messages, secrets)


def _pools(state: State, listeners: Collection[str]) -> Iterator[str]:
    for identifier in listeners:
        yield state.listeners[identifier].default_pool_id or ""
    for policy in state.policies.values():
        if policy.listener_id in listeners:
            yield from _targets(policy)


def _targets(policy: Policy) -> Iterator[str]:
    yield policy.redirect_pool_id or ""
    yield from (share.pool_id for share in policy.redirect_pools_config or ())


@remembered
def _rebound(_: str, listener: XdsResource, address: str) -> XdsResource:
    socket: dict[str, Any] = {**listener.body["address"]["socket_address"], "address": address}
    return XdsResource(listener.body | {"address": {"socket_address": socket}})
