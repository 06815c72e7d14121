"""Build the pool of one Service port on one listener.

Its settings come from the Service's annotations and from the first Ingress that refers to it.
"""

from __future__ import annotations

from typing import Any

import msgspec

from certferry.core.model import naming as names
from certferry.core.model.elb import LAYER_4, HealthMonitor, Pool, SlowStart
from certferry.core.model.kubernetes import Backend, ClusterView, Name
from certferry.core.model.problems import Problem
from certferry.core.translate.listener_claims import ListenerClaim, TranslateOptions
from certferry.core.translate.members import by_node, members, port_of
from certferry.core.translate.services import pool_annotations as backing


class MemberSource(msgspec.Struct, frozen=True, kw_only=True):
    """The Service and port behind a pool."""

    service: Name
    backend: Backend
    adaptive: bool = False


class BuiltPool(msgspec.Struct, frozen=True, kw_only=True):
    """A pool, the source of its members, and its problems."""

    pool: Pool
    source: MemberSource
    problems: tuple[Problem, ...] = ()
    by_node: bool = False


def pool_key(claim: ListenerClaim, backend: Backend, listener: str) -> str:
    """Return the key of the pool for `backend` on `listener`."""
    namespace = claim.ingress.meta.namespace
    return f"@pool/{listener}/{names.pool_name(namespace, backend, claim.protocol, claim.port)}"


def build_pool(
    claim: ListenerClaim, backend: Backend, listener: str, view: ClusterView, options: TranslateOptions
) -> BuiltPool:
    """Build the pool for `backend` as `claim` and the Service want it."""
    namespace = claim.ingress.meta.namespace
    where = Name(namespace, backend.service)
    service = view.services.get(where)
    port = port_of(service, backend)
    said = backing.read(service, port, claim.protocol) if service and port else backing.PoolSettings()
    problems = list(said.problems)
    if service and service.type == "ExternalName":
        text = f"Service {backend.service} is of type ExternalName, which a load balancer does not follow; requests for it get a 503. Use a Service without selector and an EndpointSlice with the address."
        problems.append(claim.problem("BackendNotFound", text))
    elif service is None or port is None:
        text = f"Service {backend.service} with port {backend.port} does not exist in namespace {namespace}; requests for it get a 503."
        problems.append(claim.problem("BackendNotFound", text))
    elif options.backends == "node" and port.node_port is None:
        text = f"Service {backend.service} has no node port for port {backend.port}, and backends are reached by node port here; Pod addresses are used. Make it a NodePort Service."
        problems.append(claim.problem("BackendNotFound", text))
    protocol = _protocol(claim, problems, http2=bool(options.http2_enable))
    slow_start = _slow_start(claim, said, problems)
    source = MemberSource(service=where, backend=backend, adaptive=said.adaptive)
    settings: dict[str, Any] = {
        "lb_algorithm": said.algorithm,
        "session_persistence": said.persistence,
        "slow_start": slow_start,
        "healthmonitor": _monitor(said.monitor, protocol),
    }
    owner = {"service_id": claim.ingress.meta.uid} if claim.ingress.meta.kind else {}
    pool = Pool(
        id=pool_key(claim, backend, listener),
        loadbalancer_id=claim.loadbalancer,
        name=names.pool_name(namespace, backend, claim.protocol, claim.port),
        protocol=protocol,
        description=names.describe(view.cluster_id, settings=names.mark(settings), **owner),
        members=members(view, where, backend, options.backends, adaptive=said.adaptive),
        **settings,
    )
    nodes = bool(service and port and by_node(service, port, options.backends))
    return BuiltPool(pool=pool, source=source, problems=tuple(problems), by_node=nodes)


def _protocol(claim: ListenerClaim, problems: list[Problem], *, http2: bool) -> str:
    if claim.protocol in LAYER_4:
        return "UDP" if claim.protocol == "UDP" else "TCP"
    asked = claim.values.pool_protocol or "http"
    if asked != "http" and claim.protocol != "HTTPS":
        text = f"Annotation kubernetes.io/elb.pool-protocol {asked} needs an HTTPS port; port {claim.port} is {claim.protocol}, and its backends are reached by HTTP."
        problems.append(claim.problem("AnnotationInvalid", text))
        asked = "http"
    if asked == "grpc" and not (http2 if claim.values.http2_enable is None else claim.values.http2_enable):
        text = "Annotation kubernetes.io/elb.pool-protocol grpc needs kubernetes.io/elb.http2-enable; the backends are reached by HTTP."
        problems.append(claim.problem("AnnotationInvalid", text))
        asked = "http"
    return asked.upper()


def _slow_start(claim: ListenerClaim, said: backing.PoolSettings, problems: list[Problem]) -> SlowStart:
    seconds = claim.values.slowstart
    if seconds is None:
        return SlowStart(enable=False)
    if said.algorithm != "ROUND_ROBIN" or said.persistence.type:
        text = "Annotation kubernetes.io/elb.slowstart is ignored: it needs the algorithm ROUND_ROBIN and no sticky sessions."
        problems.append(claim.problem("AnnotationInvalid", text))
        return SlowStart(enable=False)
    return SlowStart(enable=True, duration=seconds)


def _monitor(asked: HealthMonitor, protocol: str) -> HealthMonitor:
    """Return the monitor, with HTTPS in place of HTTP if the backends use TLS; a UDP pool has one of its own type."""
    if not asked.type:
        return asked
    if protocol == "UDP":
        return msgspec.structs.replace(asked, type="UDP_CONNECT", url_path=None)
    if asked.type == "UDP_CONNECT":
        return msgspec.structs.replace(asked, type="TCP")
    if asked.type == "HTTP" and protocol == "HTTPS":
        return msgspec.structs.replace(asked, type="HTTPS")
    return asked
