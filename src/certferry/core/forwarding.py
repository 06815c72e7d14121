"""Pools, members and policies: where the requests of an Ingress go.

The fourth part of ``translate``. It knows Services, endpoints and paths, and nothing of
certificates.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from certferry.core import names
from certferry.core.claims import Claim
from certferry.core.model import Member, Policy, Pool, Rule
from certferry.core.objects import Backend, ClusterView, Name, Path
from certferry.core.problems import Problem

_MODES = ("STARTS_WITH", "EQUAL_TO", "REGEX")


class Forwarding(msgspec.Struct, frozen=True, kw_only=True):
    """The pools and policies of one listener, by key."""

    pools: Mapping[str, Pool]
    policies: Mapping[str, Policy]
    default_pool: str | None
    """Key of the pool for what no policy matches."""
    problems: tuple[Problem, ...]


def forward(group: Sequence[Claim], listener: str, view: ClusterView) -> Forwarding:
    """Pools and policies for `listener` (its key); of two equal rules the older Ingress's stands."""
    pools: dict[str, Pool] = {}
    policies: dict[str, Policy] = {}
    owners: dict[tuple[tuple[str, str], ...], Claim] = {}
    problems: list[Problem] = []
    default_pool = None
    for claim in group:
        backend = claim.ingress.default_backend
        if backend and default_pool is None:
            default_pool = _pool(claim, backend, listener, view, pools, problems)
        for host, path in _paths(claim):
            if path.backend is None:
                continue
            for rules in _rules(claim, host, path, problems):
                match = tuple((r.type, f"{r.compare_type} {r.value}") for r in rules)
                if owner := owners.get(match):
                    if owner is not claim:
                        text = f"{host or 'Any host'}{path.path} on port {claim.port} is routed by the older Ingress {owner.ingress.meta.key}; this rule has no effect."
                        problems.append(claim.problem("HostConflict", text))
                    continue
                owners[match] = claim
                pool = _pool(claim, path.backend, listener, view, pools, problems)
                name = names.policy_name(claim.ingress.meta.key, *(f"{t} {v}" for t, v in match))
                key = f"@policy/{listener}/{name}"
                policies[key] = Policy(
                    id=key,
                    listener_id=listener,
                    action="REDIRECT_TO_POOL",
                    name=name,
                    description=names.describe(view.cluster_id, ingress_id=claim.ingress.meta.uid),
                    redirect_pool_id=pool,
                    rules=rules,
                )
    return Forwarding(
        pools=pools, policies=policies, default_pool=default_pool, problems=tuple(dict.fromkeys(problems))
    )


def redirect(group: Sequence[Claim], listener: str, target: str, cluster_id: str) -> Mapping[str, Policy]:
    """The policy that sends everything of an HTTP listener to the HTTPS listener `target`."""
    claim = group[0]
    name = names.policy_name(claim.ingress.meta.key, "redirect")
    key = f"@policy/{listener}/{name}"
    policy = Policy(
        id=key,
        listener_id=listener,
        action="REDIRECT_TO_LISTENER",
        name=name,
        description=names.describe(cluster_id, ingress_id=claim.ingress.meta.uid),
        redirect_listener_id=target,
    )
    return {key: policy}


def _paths(claim: Claim) -> Iterator[tuple[str, Path]]:
    for rule in claim.ingress.rules:
        for path in rule.paths:
            yield rule.host, path


def _rules(claim: Claim, host: str, path: Path, problems: list[Problem]) -> Iterator[tuple[Rule, ...]]:
    """The rules of a path: two sets where one element-wise prefix needs them."""
    hosts = (Rule(type="HOST_NAME", value=host),) if host else ()
    for compare, value in _comparisons(claim, path, problems):
        yield (*hosts, Rule(type="PATH", compare_type=compare, value=value))


def _comparisons(claim: Claim, path: Path, problems: list[Problem]) -> tuple[tuple[str, str], ...]:
    if path.path_type == "Exact":
        return (("EQUAL_TO", path.path),)
    if path.path_type == "Prefix":
        stem = path.path.rstrip("/")
        # /foo matches /foo and /foo/bar, not /foobar: a bare STARTS_WITH would be too wide
        return (("EQUAL_TO", stem), ("STARTS_WITH", f"{stem}/")) if stem else (("STARTS_WITH", "/"),)
    mode = path.match_mode or "STARTS_WITH"
    if mode not in _MODES:
        text = f"The match mode “{mode}” of path {path.path} is not one of {', '.join(_MODES)}; STARTS_WITH is used."
        problems.append(claim.problem("AnnotationInvalid", text))
        mode = "STARTS_WITH"
    return ((mode, path.path),)


def _pool(
    claim: Claim,
    backend: Backend,
    listener: str,
    view: ClusterView,
    pools: dict[str, Pool],
    problems: list[Problem],
) -> str:
    namespace = claim.ingress.meta.namespace
    name = names.pool_name(namespace, backend, claim.protocol, claim.port)
    key = f"@pool/{listener}/{name}"
    if key not in pools:
        https = claim.protocol == "HTTPS" and claim.values.pool_protocol == "https"
        pools[key] = Pool(
            id=key,
            loadbalancer_id=claim.loadbalancer,
            name=name,
            protocol="HTTPS" if https else "HTTP",
            description=names.describe(view.cluster_id),
            lb_algorithm="ROUND_ROBIN",
            members=_members(view, Name(namespace, backend.service), backend),
        )
        if not _port_name(view, Name(namespace, backend.service), backend):
            text = f"Service {backend.service} with port {backend.port} does not exist in namespace {namespace}; its requests are answered with 503."
            problems.append(claim.problem("BackendNotFound", text))
    return key


def _port_name(view: ClusterView, service: Name, backend: Backend) -> tuple[str] | None:
    """The name ("" allowed) of the Service's port, in a tuple; None when there is none."""
    found = view.services.get(service)
    for port in found.ports if found else ():
        if backend.port in (port.port, port.name):
            return (port.name,)
    return None


def _members(view: ClusterView, service: Name, backend: Backend) -> tuple[Member, ...]:
    port_name = _port_name(view, service, backend)
    if port_name is None:
        return ()
    found = {
        (endpoint.address, piece.ports[port_name[0]])
        for piece in view.slices.get(service, ())
        if port_name[0] in piece.ports
        for endpoint in piece.endpoints
        if endpoint.ready
    }
    return tuple(
        Member(id=f"@member/{a}:{p}", address=a, protocol_port=p, name=names.member_name(a, p))
        for a, p in sorted(found)
    )
