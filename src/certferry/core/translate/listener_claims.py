"""Collect the claims of Ingresses and Services on load balancers and ports, and decide the listener owner of each port.

The oldest object on a port is its listener owner; ties are broken by namespace and name. A Service shares no listener.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import msgspec

from certferry.core.checks import CheckPolicy
from certferry.core.model import naming as names
from certferry.core.model.elb import ListenerDefaults, LoadBalancer, State, port_number
from certferry.core.model.kubernetes import ClusterView, Ingress, Name
from certferry.core.model.problems import Problem, Reason
from certferry.core.translate import namespace_policy as admission
from certferry.core.translate.ingress_annotations import Values
from certferry.core.translate.ingress_annotations import read as read_annotations
from certferry.core.translate.members import Backends
from certferry.core.translate.namespace_policy import NamespacePolicy
from certferry.core.translate.services.claimants import PortClaim, ServiceSelection, claimant, owned_services

CONTROLLER: Final = "certferry.io/ingress"
"""The controller name in an IngressClass."""


_PLACEMENT: Final = {
    "available_zone": "availability_zone_list",
    "elb_virsubnet_ids": "elb_virsubnet_ids",
    "ipv6_vip_virsubnet_id": "ipv6_vip_virsubnet_id",
    "l4_flavor_id": "l4_flavor_id",
    "l7_flavor_id": "l7_flavor_id",
    "vip_subnet_cidr_id": "vip_subnet_cidr_id",
}
"""Keys of ``elb.autocreate`` and their names in the API."""


class TranslateOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of a translation."""

    class_name: str = "cce"
    cluster_name: str = ""
    default_loadbalancer: str | None = None
    """For an Ingress that names none; None: a problem is reported."""
    max_sni: int = 0
    """SNI certificates per listener; 0: the load balancer's limit. A shared one has at most 30."""
    max_sni_names: int = 0
    """Names of all SNI certificates of a listener together; 0: the load balancer's limit."""
    max_policies: int = 0
    """Policies per listener; 0: the load balancer's limit."""
    tls_ciphers_policy: str = ""
    """For an HTTPS listener without the annotation; empty: the load balancer's default."""
    http2_enable: bool | None = None
    """The same for HTTP/2."""
    backends: Backends = "auto"
    services: ServiceSelection = "off"
    """The Services of type LoadBalancer to serve."""
    admission: NamespacePolicy = NamespacePolicy()
    checks: CheckPolicy = CheckPolicy()
    """The certificate policy: findings that reject a certificate, and findings that only warn."""
    compromised: frozenset[str] = frozenset()
    """Public keys (``Chain.spki``) that are marked as compromised."""

    def within(self, observed: State) -> TranslateOptions:
        """Return the options with limits and defaults of `observed` for those that are not set, and with its marks."""
        limits, defaults = observed.limits, self.listener_defaults(observed)
        return msgspec.structs.replace(
            self,
            tls_ciphers_policy=defaults.tls_ciphers_policy,
            http2_enable=defaults.http2_enable,
            max_sni=self.max_sni or limits.sni_certificates,
            max_sni_names=self.max_sni_names or limits.sni_names,
            max_policies=self.max_policies or limits.policies,
            compromised=self.compromised | observed.compromised,
        )

    def listener_defaults(self, observed: State) -> ListenerDefaults:
        """Return the options of an HTTPS listener whose Ingress does not set them."""
        theirs = observed.listener_defaults
        return ListenerDefaults(
            tls_ciphers_policy=self.tls_ciphers_policy or theirs.tls_ciphers_policy,
            http2_enable=theirs.http2_enable if self.http2_enable is None else self.http2_enable,
        )


class ListenerClaim(msgspec.Struct, frozen=True, kw_only=True):
    """One Ingress or Service on one port of one load balancer."""

    ingress: Ingress
    """Of a Service: see ``services.claimants``."""
    values: Values
    loadbalancer: str
    """Id, or the key of one to be made."""
    protocol: str
    port: int
    https_port: int | None = None
    """The port to which ``elb.ssl-redirect`` leads HTTP requests for its hosts."""

    @property
    def place(self) -> tuple[str, int]:
        """Return the load balancer and the number of the port."""
        return self.loadbalancer, port_number(self.protocol, self.port)

    @property
    def redirect_objection(self) -> str | None:
        """Return why ``elb.redirect-url`` cannot be used on this port, or None."""
        url = self.values.redirect_url
        if url is None:
            return None
        if self.protocol == "HTTPS" and url.protocol != "HTTPS":
            return "from an HTTPS port it can only lead to https"
        here = (self.protocol, str(self.port)) == (url.protocol, url.port)
        if here and url.host in self.ingress.hosts and url.path == "${path}":
            return "it would lead to itself"
        return None

    def problem(self, reason: Reason, sentence: str) -> Problem:
        """Return a problem of this Ingress or Service."""
        return Problem(object=self.ingress.ref, reason=reason, sentence=sentence)


class Claims(msgspec.Struct, frozen=True, kw_only=True):
    """All claims by load balancer and port, the listener owner first."""

    groups: Mapping[tuple[str, int], tuple[ListenerClaim, ...]]
    loadbalancers: Mapping[str, LoadBalancer]
    """Load balancers to create (``elb.autocreate``), by key."""
    problems: tuple[Problem, ...]
    host_owners: admission.HostOwners = MappingProxyType({})
    """The oldest Ingress that claims each host, by load balancer."""


def collect_claims(view: ClusterView, observed: State, options: TranslateOptions) -> Claims:
    """Collect the claims of all Ingresses and Services of our class, oldest first; ties by namespace and name."""
    groups: dict[tuple[str, int], list[ListenerClaim]] = {}
    made: dict[str, LoadBalancer] = {}
    problems: list[Problem] = []
    placed = list(_placed(view, observed, options, problems))
    owners = admission.host_owners((balancer.id, ingress) for balancer, ingress, _, _ in placed)
    using: list[tuple[str, Ingress]] = []
    for balancer, whole, values, ports in placed:
        policy = msgspec.structs.replace(options.admission, owners=owners[balancer.id])
        ingress, refused = admission.without_foreign_hosts(whole, policy)
        problems += refused
        if refused and not (ingress.rules or ingress.tls or ingress.default_backend):
            continue
        using.append((balancer.id, ingress))
        problems += _addressed_otherwise(ingress, values, balancer)
        if balancer.id not in observed.loadbalancers:
            made[balancer.id] = balancer
        for protocol, port, backend in ports:
            claim = ListenerClaim(
                ingress=msgspec.structs.replace(ingress, default_backend=backend) if backend else ingress,
                values=values,
                loadbalancer=balancer.id,
                protocol=protocol,
                port=port,
            )
            group = groups.setdefault(claim.place, [])
            if group and (objection := _objection(claim, group[0])):
                problems.append(claim.problem("ListenerConflict", objection))
            else:
                group.append(claim)
    redirecting = {key: tuple(_redirecting(groups[key], groups, problems)) for key in sorted(groups)}
    return Claims(
        groups=redirecting,
        loadbalancers=made,
        problems=(*problems, *admission.claimed_twice(using)),
        host_owners=owners,
    )


def _objection(claim: ListenerClaim, owner: ListenerClaim) -> str | None:
    """Return why `claim` is not served on the port of the older claim `owner`; None if they can share it."""
    ours, theirs = claim.ingress.meta, owner.ingress.meta.key
    kind, advice = ours.kind or "Ingress", "Choose another port in spec.ports."
    if not ours.kind:
        advice = "Choose another port (annotation elb.port)."
    if owner.protocol != claim.protocol:
        return f"Port {claim.port} serves {owner.protocol} for the older {theirs.claimant}, so this {kind} is not served on it with {claim.protocol}. {advice}"
    if ours.kind or theirs.kind:
        return f"Port {claim.port} serves the older {theirs.claimant}, and a Service shares its port with no other object; this {kind} is not served on it. {advice}"
    return None


def claimants(view: ClusterView, options: TranslateOptions) -> list[Ingress]:
    """Return the Ingresses and Services of our class, oldest first."""
    services = [claimant(s).claimant for s in owned_services(view, options.class_name, options.services)]
    return _by_age([*owned_ingresses(view, options), *services])


def _by_age(some: Iterable[Ingress]) -> list[Ingress]:
    return sorted(some, key=lambda i: (i.meta.created, i.meta.key))


def _placed(
    view: ClusterView, observed: State, options: TranslateOptions, problems: list[Problem]
) -> Iterator[tuple[LoadBalancer, Ingress, Values, tuple[PortClaim, ...]]]:
    """Yield each claimant with its load balancer and ports, oldest first, without the hosts that a policy forbids."""
    services = {
        c.claimant.meta.key: c for c in map(claimant, owned_services(view, options.class_name, options.services))
    }
    for whole in _by_age([*owned_ingresses(view, options), *(c.claimant for c in services.values())]):
        values: Values
        if service := services.get(whole.meta.key):
            values, ports, unread = service.values, service.ports, service.problems
        else:
            values, unread = read_annotations(whole)
            ports = _ports(whole, values)
        ingress, barred = admission.apply_policy(whole, options.admission)
        problems += [*unread, *barred]
        balancer = _loadbalancer(ingress, values, view.cluster_id, observed, options)
        if isinstance(balancer, Problem):
            problems.append(balancer)
        elif refusal := options.admission.loadbalancer_objection(ingress, balancer):
            problems.append(refusal)
        else:
            yield balancer, ingress, values, ports


def _redirecting(
    group: Iterable[ListenerClaim], groups: Mapping[tuple[str, int], Sequence[ListenerClaim]], problems: list[Problem]
) -> Iterator[ListenerClaim]:
    """Yield the claims with the HTTPS port that each redirects to."""
    for claim in group:
        if claim.protocol != "HTTP" or not claim.values.ssl_redirect:
            yield claim
            continue
        wanted = [port for protocol, port in claim.values.listen_ports or () if protocol == "HTTPS"]
        served = [p for p in wanted if claim.ingress in (c.ingress for c in groups.get((claim.loadbalancer, p), ()))]
        if wanted and not served:
            text = f"Annotation kubernetes.io/elb.ssl-redirect has no effect: HTTPS port {wanted[0]} is not served for this Ingress."
            problems.append(claim.problem("AnnotationInvalid", text))
        yield msgspec.structs.replace(claim, https_port=served[0]) if served else claim


def listener_owners(claims: Iterable[Sequence[ListenerClaim]]) -> Mapping[Name, Name]:
    """Return the listener owner for each Ingress (of its HTTPS listener, if it has two)."""
    ordered = sorted(claims, key=lambda group: group[0].protocol)
    return {c.ingress.meta.key: group[0].ingress.meta.key for group in ordered for c in group}


def owned_ingresses(view: ClusterView, options: TranslateOptions) -> list[Ingress]:
    """Return the Ingresses of our class, oldest first; ties by namespace and name."""
    classes = {c.name for c in view.classes.values() if c.controller == CONTROLLER} | {options.class_name}
    default = any(c.default and c.name in classes for c in view.classes.values())
    mine = [i for i in view.ingresses.values() if i.class_name in classes or (i.class_name is None and default)]
    return _by_age(mine)


def _loadbalancer(
    ingress: Ingress, values: Values, cluster_id: str, observed: State, options: TranslateOptions
) -> LoadBalancer | Problem:
    def missing(sentence: str) -> Problem:
        return Problem(object=ingress.ref, reason="LoadBalancerNotFound", sentence=sentence)

    if values.id and values.autocreate is not None:
        return missing("Annotations kubernetes.io/elb.id and elb.autocreate exclude each other: remove one of them.")
    if values.id:
        balancer = observed.loadbalancers.get(values.id)
        rest = " Remove that annotation to use elb.ip." if values.ip else ""
        return balancer or missing(f"Load balancer {values.id} (annotation elb.id) does not exist.{rest}")
    if values.ip:
        same = [b for b in observed.loadbalancers.values() if b.vip_address == values.ip]
        return same[0] if same else missing(f"No load balancer has the address {values.ip} (annotation elb.ip).")
    if values.autocreate is not None:
        name = values.autocreate.get("name") or f"cce-lb-{ingress.meta.uid}"
        same = [b for b in observed.loadbalancers.values() if b.name == name]
        return (
            same[0]
            if same
            else LoadBalancer(
                id=f"@loadbalancer/{name}",
                name=name,
                description=names.describe(cluster_id),
                vip_address=values.autocreate.get("vip_address") or None,
                placement=_placement(values.autocreate),
            )
        )
    if options.default_loadbalancer:
        balancer = observed.loadbalancers.get(options.default_loadbalancer)
        return balancer or missing(f"The default load balancer {options.default_loadbalancer} does not exist.")
    return missing(
        f"The {ingress.ref.kind} names no load balancer. Set the annotation kubernetes.io/elb.id, elb.ip or elb.autocreate."
    )


def _addressed_otherwise(ingress: Ingress, values: Values, balancer: LoadBalancer) -> Iterator[Problem]:
    """Report an ``elb.ip`` that changed after ``elb.id`` was filled in from it: ``elb.id`` has precedence."""
    if values.id and values.ip and values.ip != balancer.vip_address:
        text = f"Annotation kubernetes.io/elb.ip {values.ip} is ignored: elb.id has precedence, and that load balancer has the address {balancer.vip_address}. To move, remove elb.id."
        yield Problem(object=ingress.ref, reason="AnnotationInvalid", sentence=text)


def _placement(wanted: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the other keys of ``elb.autocreate`` as fields of the API."""
    fields = {wire: wanted[key] for key, wire in _PLACEMENT.items() if wanted.get(key)}
    if wanted.get("type") == "public":
        fields["publicip"] = {
            "ip_version": 4,
            "network_type": wanted.get("eip_type") or "5_bgp",
            "bandwidth": {
                "name": wanted.get("bandwidth_name") or f"{wanted.get('name') or 'cce-lb'}-bandwidth",
                "size": wanted.get("bandwidth_size") or 5,
                "charge_mode": wanted.get("bandwidth_chargemode") or "traffic",
                "share_type": wanted.get("bandwidth_sharetype") or "PER",
            },
        }
    return fields


def _ports(ingress: Ingress, values: Values) -> tuple[PortClaim, ...]:
    if values.listen_ports:
        return tuple(PortClaim(protocol, port) for protocol, port in values.listen_ports)
    https = bool(ingress.tls or values.tls_certificate_ids)
    return (PortClaim("HTTPS" if https else "HTTP", values.port or (443 if https else 80)),)
