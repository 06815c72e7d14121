"""The namespace policy: the namespaces that may use a load balancer or a host.

Without settings every namespace may use all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

import msgspec

from certferry.core.model.elb import LoadBalancer
from certferry.core.model.kubernetes import Ingress, Name, TlsEntry
from certferry.core.model.problems import Problem
from certferry.core.x509.pem import listed

HostOwners = Mapping[str, Mapping[str, Ingress]]


class NamespacePolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Namespaces by load balancer (id or name) and by host suffix; others are for all namespaces."""

    loadbalancers: Mapping[str, tuple[str, ...]] = MappingProxyType({})
    hosts: Mapping[str, tuple[str, ...]] = MappingProxyType({})
    shared_hosts: bool = False
    """Allow namespaces to share every host. Otherwise they share only the hosts for which `hosts` names them."""
    owners: Mapping[str, Ingress] = MappingProxyType({})
    """The oldest Ingress that claims each host on the load balancer in question."""

    def foreign(self, namespace: str, host: str) -> bool:
        """Return whether `host` belongs to another namespace, by the oldest Ingress that claims it."""
        owner = self.owners.get(host)
        if owner is None or owner.meta.namespace == namespace or self.shared_hosts:
            return False
        return not (self._namespaces(host) and self.host_allowed(namespace, host))

    def host_allowed(self, namespace: str, host: str) -> bool:
        """Return whether `namespace` may use `host`: the longest matching suffix decides."""
        allowed = self._namespaces(host)
        return allowed is None or namespace in allowed

    def _namespaces(self, host: str) -> tuple[str, ...] | None:
        labels = host.lower().removeprefix("*.")
        while labels:
            if labels in self.hosts:
                return self.hosts[labels]
            _, _, labels = labels.partition(".")
        return None

    def loadbalancer_objection(self, ingress: Ingress, balancer: LoadBalancer) -> Problem | None:
        """Return the problem if `ingress` may not use `balancer`, or None."""
        for name in (balancer.id, balancer.name):
            allowed = self.loadbalancers.get(name) if name else None
            if allowed is not None and ingress.meta.namespace not in allowed:
                text = f"Load balancer {balancer.name or balancer.id} is for Ingresses of {listed(tuple(allowed)) or 'no namespace'} only, not of namespace {ingress.meta.namespace}."
                return Problem(object=ingress.ref, reason="NamespaceNotAllowed", sentence=text)
        return None


def apply_policy(ingress: Ingress, admission: NamespacePolicy) -> tuple[Ingress, tuple[Problem, ...]]:
    """Return `ingress` without the hosts that its namespace may not use, and a problem for them."""
    if not admission.hosts:
        return ingress, ()
    namespace = ingress.meta.namespace
    barred = {h for h in claimed_hosts(ingress) if not admission.host_allowed(namespace, h)}
    if not barred:
        return ingress, ()
    text = f"Namespace {namespace} may not use host {listed(tuple(sorted(barred)))}; its rules and certificates have no effect."
    return _left(ingress, barred), (Problem(object=ingress.ref, reason="HostNotAllowed", sentence=text),)


def claimed_hosts(ingress: Ingress) -> tuple[str, ...]:
    """Return the hosts of rules and spec.tls entries, sorted."""
    return tuple(sorted({*ingress.hosts, *(h for t in ingress.tls for h in t.hosts)}))


def host_owners(ingresses: Iterable[tuple[str, Ingress]]) -> HostOwners:
    """Return the first Ingress that claims each host, by load balancer. `ingresses`: the oldest first."""
    owners: dict[str, dict[str, Ingress]] = {}
    for balancer, ingress in ingresses:
        by_host = owners.setdefault(balancer, {})
        for host in claimed_hosts(ingress):
            by_host.setdefault(host, ingress)
    return owners


def without_foreign_hosts(ingress: Ingress, admission: NamespacePolicy) -> tuple[Ingress, tuple[Problem, ...]]:
    """Return `ingress` without the hosts that belong to other namespaces, and a problem for each owner."""
    foreign: dict[Name, list[str]] = {}
    for host in claimed_hosts(ingress):
        if admission.foreign(ingress.meta.namespace, host):
            foreign.setdefault(admission.owners[host].meta.key, []).append(host)
    if not foreign:
        return ingress, ()
    problems = []
    for owner, hosts in foreign.items():
        text = f"Host {listed(tuple(hosts))} belongs to namespace {owner.namespace}, whose {owner.claimant} is the oldest that claims it. Rules and certificates of this {ingress.ref.kind} for it have no effect."
        problems.append(Problem(object=ingress.ref, reason="HostClaimConflict", sentence=text))
    return _left(ingress, {h for hosts in foreign.values() for h in hosts}), tuple(problems)


def _left(ingress: Ingress, barred: set[str]) -> Ingress:
    entries = (_without(entry, barred) for entry in ingress.tls)
    return msgspec.structs.replace(
        ingress,
        rules=tuple(r for r in ingress.rules if r.host not in barred),
        tls=tuple(e for e in entries if e is not None),
    )


def claimed_twice(ingresses: Iterable[tuple[str, Ingress]]) -> list[Problem]:
    """Report hosts that two namespaces claim on one load balancer. `ingresses`: the oldest first."""
    claims: dict[tuple[str, str], list[Ingress]] = {}
    for balancer, ingress in ingresses:
        for host in claimed_hosts(ingress):
            claims.setdefault((balancer, host), []).append(ingress)
    problems: list[Problem] = []
    for (_, host), claiming in sorted(claims.items(), key=lambda item: item[0]):
        problems += _foreign(host, claiming)
    return problems


def _foreign(host: str, claiming: Sequence[Ingress]) -> list[Problem]:
    first = claiming[0]
    others = [i for i in claiming if i.meta.namespace != first.meta.namespace]
    if not others:
        return []
    keys = tuple(dict.fromkeys(str(i.meta.key) for i in others))
    text = f"Host {host} of {first.meta.key.claimant} is also claimed from another namespace, by {listed(keys)}; where they contradict each other, the older Ingress takes precedence."
    refs = dict.fromkeys(i.ref for i in (first, *others))
    return [Problem(object=ref, reason="HostClaimConflict", sentence=text) for ref in refs]


def _without(entry: TlsEntry, barred: set[str]) -> TlsEntry | None:
    """Return the entry without `barred` hosts; None if none is left, because an empty entry means the server certificate."""
    if not entry.hosts:
        return entry
    hosts = tuple(h for h in entry.hosts if h not in barred)
    return msgspec.structs.replace(entry, hosts=hosts) if hosts else None
