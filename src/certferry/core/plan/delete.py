"""The deletions of a plan, right to left.

Policies, listeners, members and health monitors, pools, certificates, load balancers. Only objects whose description
names this cluster are deleted, and none that another object refers to. Certificates and load balancers wait for
their deletion delay: see ``garbage_collection``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from typing import Any

from certferry.core.model import naming as names
from certferry.core.model.elb import Listener, State
from certferry.core.plan import sni_moves
from certferry.core.plan.create_update import member_deletions
from certferry.core.plan.steps import Step, bound, deletion, step


def delete_steps(
    desired: State, observed: State, cluster_id: str, ids: Mapping[str, str], retained: Set[tuple[str, int]]
) -> Iterator[Step]:
    """Yield the deletions. `ids`: key → id of what exists. `retained`: (load balancer, port) left as they are."""
    matched = frozenset(ids.values())
    staying = {
        listener.id
        for listener in observed.listeners.values()
        if listener.id in matched or listener.place in retained or not names.is_of(cluster_id, listener.description)
    }
    untouched = {ref for ref in observed.listeners if ref in staying and ref not in matched}
    for policy in owned(observed.policies, cluster_id).values():
        if policy.id not in matched and policy.listener_id not in untouched:
            yield deletion("policy", policy.id, policy.name, "no Ingress has this rule any more")
    for listener in observed.listeners.values():
        if listener.id not in staying:
            yield from _listener(listener, observed)
    yield from _pools(desired, observed, cluster_id, ids, untouched)
    used = {ids[k] for k in desired.certificates if k in ids} | _references(desired, observed, ids, staying)
    yield from _certificates(observed, cluster_id, used)
    balancers = matched | {observed.listeners[ref].loadbalancer_id for ref in staying}
    for balancer in owned(observed.loadbalancers, cluster_id).values():
        if balancer.id not in balancers:
            why = "the Ingress that asked for it is gone"
            yield deletion("loadbalancer", balancer.id, balancer.name, why)


def owned(objects: Mapping[str, Any], cluster_id: str) -> dict[str, Any]:
    """Return the objects whose description names the cluster."""
    return {k: v for k, v in objects.items() if names.is_of(cluster_id, v.description)}


def _listener(listener: Listener, observed: State) -> Iterator[Step]:
    pool = observed.pools.get(listener.default_pool_id or "")
    name = listener.name or ""
    if pool is not None and pool.members:
        # an ELB deletes no listener whose default pool has members
        why = "a listener goes without its default pool"
        yield step("update", "listener", listener.id, {"default_pool_id": None}, why, name=name, id=listener.id)
    yield deletion("listener", listener.id, name, "no object asks for this port any more")


def _certificates(observed: State, cluster_id: str, used: Set[str]) -> Iterator[Step]:
    """Yield deletions of managed certificates and stand-ins that are not `used`."""
    for certificate in owned(observed.certificates, cluster_id).values():
        marks = names.described(certificate.description)
        if certificate.id not in used and ("secret_id" in marks or sni_moves.TWIN in marks):
            why = sni_moves.STANDS_IN if sni_moves.TWIN in marks else "no Ingress uses its Secret any more"
            yield deletion("certificate", certificate.id, certificate.name, why)


def _pools(
    desired: State, observed: State, cluster_id: str, ids: Mapping[str, str], untouched: set[str]
) -> Iterator[Step]:
    matched = frozenset(ids.values())
    in_use = {p.redirect_pool_id for p in observed.policies.values() if p.listener_id in untouched}
    in_use |= {observed.listeners[ref].default_pool_id for ref in untouched}
    wanted = {ids[k]: p.members for k, p in desired.pools.items() if k in ids}
    for pool in owned(observed.pools, cluster_id).values():
        if pool.id not in matched and pool.id in in_use:
            continue
        yield from member_deletions(pool.id, wanted.get(pool.id, ()), pool.members)
        if pool.id not in matched:
            if pool.healthmonitor:
                yield deletion("healthmonitor", pool.healthmonitor.id, pool.name, "its pool goes")
            yield deletion("pool", pool.id, pool.name, "no path leads to it any more")


def _references(desired: State, observed: State, ids: Mapping[str, str], staying: set[str]) -> frozenset[str]:
    """Return the ids of certificates that a listener uses before or after the plan."""
    matched = frozenset(ids.values())
    wanted = list(desired.listeners.values())
    managed = {ids.get(w.id) for w in wanted if w.default_tls_container_ref is not None}
    kept = [
        observed.listeners[ref]
        for ref in observed.listeners
        if ref in staying and (ref not in matched or ref not in managed)
    ]
    return frozenset(ids.get(ref, ref) for listener in (*kept, *wanted) for ref in bound(listener))
