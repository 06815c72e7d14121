"""What each Ingress asks of which load balancer and port, and who governs where several ask.

The first part of ``translate``. It knows classes, annotations and ages; nothing of certificates
or routes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from certferry.core import names
from certferry.core.annotations import Values
from certferry.core.annotations import read as read_annotations
from certferry.core.checks import Policy
from certferry.core.model import LoadBalancer, State
from certferry.core.objects import ClusterView, Ingress, Name
from certferry.core.problems import Problem, Reason

CONTROLLER: Final = "certferry.io/ingress"
"""The name by which an IngressClass picks this controller."""


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How to translate; from the controller's settings."""

    class_name: str = "cce"
    cluster_name: str = ""
    default_loadbalancer: str | None = None
    """For an Ingress that names none; None: it gets a Warning."""
    max_sni: int = 50
    """SNI certificates per listener (dedicated load balancer)."""
    checks: Policy = Policy()
    """What is refused, and what only warned of."""


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """One Ingress on one port of one load balancer."""

    ingress: Ingress
    values: Values
    loadbalancer: str
    """Id, or the key of one to be made."""
    protocol: str
    port: int

    def problem(self, reason: Reason, sentence: str) -> Problem:
        """A problem of this Ingress."""
        return Problem(object=self.ingress.ref, reason=reason, sentence=sentence)


class Claims(msgspec.Struct, frozen=True, kw_only=True):
    """All claims: per load balancer and port, the governing one first."""

    groups: Mapping[tuple[str, int], tuple[Claim, ...]]
    loadbalancers: Mapping[str, LoadBalancer]
    """The ones to be made (``elb.autocreate``), by key."""
    problems: tuple[Problem, ...]


def gather(view: ClusterView, observed: State, options: Options) -> Claims:
    """The claims of all Ingresses of our class, oldest first; ties by namespace and name."""
    groups: dict[tuple[str, int], list[Claim]] = {}
    made: dict[str, LoadBalancer] = {}
    problems: list[Problem] = []
    for ingress in ours(view, options):
        values, unread = read_annotations(ingress)
        problems += unread
        balancer = _loadbalancer(ingress, values, view.cluster_id, observed, options)
        if isinstance(balancer, Problem):
            problems.append(balancer)
            continue
        if balancer.id not in observed.loadbalancers:
            made[balancer.id] = balancer
        for protocol, port in _ports(ingress, values):
            claim = Claim(
                ingress=ingress, values=values, loadbalancer=balancer.id, protocol=protocol, port=port
            )
            group = groups.setdefault((balancer.id, port), [])
            if group and group[0].protocol != protocol:
                master = group[0].ingress.meta.key
                text = f"Port {port} is {group[0].protocol} by Ingress {master}, the oldest there; this Ingress asks for {protocol} and is not served on it."
                problems.append(claim.problem("ListenerConflict", text))
                continue
            group.append(claim)
    return Claims(
        groups={key: tuple(groups[key]) for key in sorted(groups)},
        loadbalancers=made,
        problems=tuple(problems),
    )


def masters(claims: Iterable[Sequence[Claim]]) -> Mapping[Name, Name]:
    """Who governs the listener of each Ingress (of its HTTPS one, where it has two)."""
    ordered = sorted(claims, key=lambda group: group[0].protocol)
    return {c.ingress.meta.key: group[0].ingress.meta.key for group in ordered for c in group}


def ours(view: ClusterView, options: Options) -> list[Ingress]:
    """The Ingresses of our class, oldest first; ties by namespace and name."""
    classes = {c.name for c in view.classes.values() if c.controller == CONTROLLER} | {options.class_name}
    default = any(c.default and c.name in classes for c in view.classes.values())
    mine = [
        i for i in view.ingresses.values() if i.class_name in classes or (i.class_name is None and default)
    ]
    return sorted(mine, key=lambda i: (i.meta.created, i.meta.key))


def _loadbalancer(
    ingress: Ingress, values: Values, cluster_id: str, observed: State, options: Options
) -> LoadBalancer | Problem:
    def missing(sentence: str) -> Problem:
        return Problem(object=ingress.ref, reason="LoadBalancerNotFound", sentence=sentence)

    if values.id:
        found = observed.loadbalancers.get(values.id)
        return found or missing(f"There is no load balancer with the id {values.id} (annotation elb.id).")
    if values.ip:
        same = [b for b in observed.loadbalancers.values() if b.vip_address == values.ip]
        return (
            same[0] if same else missing(f"No load balancer has the address {values.ip} (annotation elb.ip).")
        )
    if values.autocreate is not None:
        name = str(values.autocreate.get("name") or f"cce-lb-{ingress.meta.uid}")
        same = [b for b in observed.loadbalancers.values() if b.name == name]
        return (
            same[0]
            if same
            else LoadBalancer(id=f"@loadbalancer/{name}", name=name, description=names.describe(cluster_id))
        )
    if options.default_loadbalancer:
        found = observed.loadbalancers.get(options.default_loadbalancer)
        return found or missing(f"The default load balancer {options.default_loadbalancer} does not exist.")
    return missing(
        "It names no load balancer: set the annotation kubernetes.io/elb.id, elb.ip or elb.autocreate."
    )


def _ports(ingress: Ingress, values: Values) -> tuple[tuple[str, int], ...]:
    if values.listen_ports:
        return values.listen_ports
    https = bool(ingress.tls or values.tls_certificate_ids)
    return (("HTTPS" if https else "HTTP", values.port or (443 if https else 80)),)
