"""Build all xDS resources for an ELB state. The version of each resource is a hash of its content."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from certferry.core.envoy.clusters import SERVED, cluster, endpoints
from certferry.core.envoy.listeners.filters import network_filters
from certferry.core.envoy.listeners.layer4 import connection_filters, datagram_filter
from certferry.core.envoy.listeners.listener import plain_listener, tls_listener, udp_listener
from certferry.core.envoy.listeners.sds import CLIENT_CA, assign_secrets, secret_name
from certferry.core.envoy.listeners.tls import negotiated
from certferry.core.envoy.options import Options
from certferry.core.envoy.resource import (
    CLUSTERS,
    ENDPOINTS,
    LISTENERS,
    ROUTES,
    SECRETS,
    TlsSecret,
    XdsResource,
    plain,
    remembered,
)
from certferry.core.envoy.routes.actions import Target
from certferry.core.envoy.routes.match import hosts
from certferry.core.envoy.routes.route_table import route_table
from certferry.core.envoy.routes.session_affinity import stickiness
from certferry.core.model.elb import (
    ENCRYPTED,
    LAYER_4,
    Certificate,
    HttpChallenge,
    Listener,
    LoadBalancer,
    Policy,
    Pool,
    State,
    bind_port,
)


class Snapshot(msgspec.Struct, frozen=True, eq=False):
    """Resources by type URL and name."""

    messages: Mapping[str, Mapping[str, XdsResource]]
    secrets: Mapping[str, TlsSecret]

    def plain(self) -> dict[str, Any]:
        """Return plain data for golden files: no PEM, no key; secrets by the digest of their chain."""
        kinds: dict[str, Mapping[str, Any]] = {**self.messages, SECRETS: self.secrets}
        return {kind: [plain(some[name]) for name in sorted(some)] for kind, some in sorted(kinds.items())}


def snapshot(state: State, options: Options) -> Snapshot:
    """Build the snapshot. Parts of `state` that are the same objects as in the last call come from a cache."""
    policies = _policies("", state.policies)
    targets = _targets("", state.pools, state.listeners, state.loadbalancers)
    challenges = _challenges("", state.challenges)
    messages: dict[str, dict[str, XdsResource]] = {LISTENERS: {}, ROUTES: {}}
    secrets: dict[str, TlsSecret] = {}
    for listener in state.listeners.values():
        loadbalancer = state.loadbalancers.get(listener.loadbalancer_id)
        if loadbalancer is None or not loadbalancer.vip_address or listener.admin_state_up is False:
            continue
        own = policies.get(listener.id, ())
        built = _listener(state, options, loadbalancer, listener, own, secrets)
        if built is not None:
            messages[LISTENERS][listener.id] = built
        if built is not None and listener.protocol not in LAYER_4:
            untied, trusted = _untied(listener.id, listener), options.trusted_client_headers
            answered = challenges.get(listener.id, ())
            messages[ROUTES][listener.id] = route_table(
                listener.id, untied, loadbalancer, own, targets, state.ipgroups, trusted, answered
            )
    messages[CLUSTERS], messages[ENDPOINTS] = _backends(
        "", state.pools, options.max_connections, _proxied("", state.listeners)
    )
    return Snapshot(messages, secrets)


def _listener(
    state: State,
    options: Options,
    loadbalancer: LoadBalancer,
    listener: Listener,
    policies: tuple[Policy, ...],
    secrets: dict[str, TlsSecret],
) -> XdsResource | None:
    """Build the listener, if it can be served, and add its secrets to `secrets`."""
    if listener.protocol not in LAYER_4 | ENCRYPTED | {"HTTP"}:
        return None
    if listener.protocol == "UDP":
        proxy = datagram_filter(listener, state.pools, state.ipgroups)
        return udp_listener(listener.id, loadbalancer, listener, proxy)
    if listener.protocol in LAYER_4:
        filters = connection_filters(listener, state.pools, state.ipgroups, options)
    else:
        filters = network_filters(listener, bool(listener.http2_enable) and listener.protocol != "HTTP", options)
    if listener.protocol not in ENCRYPTED:
        return plain_listener(listener.id, loadbalancer, listener, filters)
    assignment, own = assign_secrets(listener, state.certificates, _hosts(listener.id, policies))
    if not assignment or not _trust(listener, state.certificates, secrets):
        return None
    secrets.update(own)
    if listener.tls_ciphers_policy is None:
        listener = msgspec.structs.replace(listener, tls_ciphers_policy=options.default_tls_policy)
    tls = negotiated(listener, state.security_policies)
    return tls_listener(listener.id, loadbalancer, listener, assignment, tls, filters)


def _trust(listener: Listener, certificates: Mapping[str, Certificate], secrets: dict[str, TlsSecret]) -> bool:
    """Add the authority for client certificates. False if it is configured but unusable: then no client is accepted."""
    if not listener.client_ca_tls_container_ref:
        return True
    authority = certificates.get(listener.client_ca_tls_container_ref)
    if authority is None or authority.chain is None:
        return False
    name = secret_name(listener.id, CLIENT_CA)
    secrets[name] = TlsSecret(name=name, chain=authority.chain, trust=True)
    return True


# The empty first argument of the following is the cache key: there is one state.


@remembered
def _policies(_: str, policies: Mapping[str, Policy]) -> Mapping[str, tuple[Policy, ...]]:
    by_listener: dict[str, list[Policy]] = {}
    for policy in sorted(policies.values(), key=lambda p: p.id):
        by_listener.setdefault(policy.listener_id, []).append(policy)
    return {listener: tuple(some) for listener, some in by_listener.items()}


@remembered
def _hosts(_: str, policies: tuple[Policy, ...]) -> frozenset[str]:
    return frozenset(host for policy in policies for host in hosts(policy))


@remembered
def _targets(
    _: str, pools: Mapping[str, Pool], listeners: Mapping[str, Listener], loadbalancers: Mapping[str, LoadBalancer]
) -> Mapping[str, Target]:
    """Return the targets of policies, by the id of a pool or a listener."""
    targets = {
        pool.id: Target(pool_id=pool.id, sticky=stickiness(pool))
        for pool in pools.values()
        if pool.protocol in SERVED - LAYER_4
    }
    for listener in listeners.values():
        if (loadbalancer := loadbalancers.get(listener.loadbalancer_id)) is not None:
            targets[listener.id] = Target(port=bind_port(loadbalancer, listener.protocol_port))
    return targets


@remembered
def _challenges(_: str, challenges: Mapping[str, tuple[HttpChallenge, ...]]) -> Mapping[str, tuple[HttpChallenge, ...]]:
    """Return the challenges that each listener answers, sorted by token."""
    by_listener: dict[str, list[HttpChallenge]] = {}
    for challenge in sorted((one for some in challenges.values() for one in some), key=lambda c: c.token):
        for listener_id in challenge.listener_ids:
            by_listener.setdefault(listener_id, []).append(challenge)
    return {listener: tuple(some) for listener, some in by_listener.items()}


@remembered
def _backends(
    _: str, pools: Mapping[str, Pool], max_connections: int, proxied: frozenset[str]
) -> tuple[dict[str, XdsResource], dict[str, XdsResource]]:
    served = [pool for pool in pools.values() if pool.protocol in SERVED]
    ports = {pool.id: pool.healthmonitor.monitor_port if pool.healthmonitor else None for pool in served}
    return (
        {
            pool.id: cluster(pool.id, _without_members(pool.id, pool), max_connections, pool.id in proxied)
            for pool in served
        },
        {pool.id: endpoints(pool.id, pool.members, ports[pool.id]) for pool in served},
    )


@remembered
def _proxied(_: str, listeners: Mapping[str, Listener]) -> frozenset[str]:
    """Return the pools whose members expect the PROXY protocol."""
    return frozenset(
        listener.default_pool_id or ""
        for listener in listeners.values()
        if listener.proxy_protocol_enable and listener.protocol in {"TCP", "TLS"}
    )


@remembered
def _without_members(_: str, pool: Pool) -> Pool:
    return msgspec.structs.replace(pool, members=())


@remembered
def _untied(_: str, listener: Listener) -> Listener:
    """Return the listener without certificates, because binding another one does not change routes."""
    return msgspec.structs.replace(listener, default_tls_container_ref=None, sni_container_refs=None, past_names=())
