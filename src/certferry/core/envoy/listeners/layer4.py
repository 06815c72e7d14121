"""The filters of TCP, UDP and TLS listeners: access list, then pool.

They have no route table. A changed access list, pool or timeout replaces the chains of a TCP or TLS listener, and Envoy
closes their connections after the drain time. Certificates are in secrets, as for HTTPS.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from certferry.core.envoy.listeners.access_log import connection_log
from certferry.core.envoy.listeners.filters import connection_limit
from certferry.core.envoy.options import Options
from certferry.core.envoy.resource import TYPE, XdsResource, remembered
from certferry.core.envoy.routes.access_list import Rules, rules
from certferry.core.model.elb import LAYER_4, Listener, Pool

NO_CLUSTER: Final = "none"
"""The name of no cluster: Envoy closes the connection, and drops the datagram."""
_NETWORK: Final = f"{TYPE}envoy.extensions.filters.network."
_UDP: Final = f"{TYPE}envoy.extensions.filters.udp.udp_proxy.v3."
_IDLE: Final = 300


def connection_filters(
    listener: Listener, pools: Mapping[str, Pool], groups: Mapping[str, tuple[str, ...]], options: Options
) -> tuple[XdsResource, ...]:
    """Return the filters of a TCP or TLS listener: connection limit, access list, pool."""
    limit = options.max_connections_per_host
    return (
        *((connection_limit(limit),) if limit else ()),
        *_access_list(listener.id, rules(listener.ipgroup, groups)),
        _tcp_proxy(listener.id, _pool(listener, pools), _idle(listener), options.access_log),
    )


def datagram_filter(
    listener: Listener, pools: Mapping[str, Pool], groups: Mapping[str, tuple[str, ...]]
) -> dict[str, Any]:
    """Return the filter of a UDP listener: a datagram goes to the member of its client, if the access list admits it."""
    pool, allowed = _pool(listener, pools), rules(listener.ipgroup, groups)
    config: dict[str, Any] = {
        "@type": f"{_UDP}UdpProxyConfig",
        "stat_prefix": listener.id,
        "idle_timeout": f"{_idle(listener)}s",
    }
    cluster = pool.id if pool else NO_CLUSTER
    # Envoy calls the matcher unfinished, and the field without one deprecated.
    config |= {"cluster": cluster} if allowed is None else {"matcher": _matcher(cluster, allowed)}
    if pool is not None and pool.by_address:
        config["hash_policies"] = [{"source_ip": True}]
    return {"name": "envoy.filters.udp_listener.udp_proxy", "typed_config": config}


def _pool(listener: Listener, pools: Mapping[str, Pool]) -> Pool | None:
    pool = pools.get(listener.default_pool_id or "")
    return pool if pool is not None and pool.protocol in LAYER_4 else None


def _idle(listener: Listener) -> int:
    return listener.keepalive_timeout or _IDLE


@remembered
def _access_list(listener_id: str, allowed: Rules | None) -> tuple[XdsResource, ...]:
    if allowed is None:
        return ()
    config = {"@type": f"{_NETWORK}rbac.v3.RBAC", "stat_prefix": listener_id, "rules": allowed.rbac()}
    return (XdsResource({"name": "envoy.filters.network.rbac", "typed_config": config}),)


@remembered
def _tcp_proxy(listener_id: str, pool: Pool | None, idle: int, logged: bool) -> XdsResource:
    config: dict[str, Any] = {
        "@type": f"{_NETWORK}tcp_proxy.v3.TcpProxy",
        "stat_prefix": listener_id,
        "cluster": pool.id if pool else NO_CLUSTER,
        "idle_timeout": f"{idle}s",
    }
    if pool is not None and pool.by_address:
        config["hash_policy"] = [{"source_ip": {}}]
    if logged:
        config["access_log"] = connection_log(listener_id)
    return XdsResource({"name": "envoy.filters.network.tcp_proxy", "typed_config": config})


def _matcher(cluster: str, allowed: Rules) -> dict[str, Any]:
    listed, other = _to(cluster), _to(NO_CLUSTER)
    if allowed.deny:
        listed, other = other, listed
    if not allowed.networks:
        return {"on_no_match": other}
    networks = {
        "@type": f"{TYPE}xds.type.matcher.v3.IPMatcher",
        "range_matchers": [{"ranges": list(allowed.networks), "on_match": listed}],
    }
    source = {"@type": f"{TYPE}envoy.extensions.matching.common_inputs.network.v3.SourceIPInput"}
    tree = {
        "input": {"name": "source", "typed_config": source},
        "custom_match": {"name": "networks", "typed_config": networks},
    }
    return {"matcher_tree": tree, "on_no_match": other}


def _to(cluster: str) -> dict[str, Any]:
    return {"action": {"name": "route", "typed_config": {"@type": f"{_UDP}Route", "cluster": cluster}}}
