"""The second half of a plan: what goes, right to left.

Policies, listeners, members and health monitors, pools, certificates, load balancers. Only what the
description names as this cluster's, and nothing that anything still refers to. Certificates and
load balancers go when they have been unused for a while: see ``garbage``. Called by ``plan``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from typing import Any

from certferry.core.model import naming as names
from certferry.core.model.elb import Listener, State
from certferry.core.plan import sni_moves as moving
from certferry.core.plan.create_update import member_deletions
from certferry.core.plan.steps import Step, bound, deletion, step


def delete_steps(
    desired: State,
    observed: State,
    cluster_id: str,
    ids: Mapping[str, str],
    held: Set[tuple[str, int]],
) -> Iterator[Step]:
    """The steps that delete; `held` names listeners to leave as they are."""
    matched = frozenset(ids.values())
    staying = {
        it.id
        for it in observed.listeners.values()
        if it.id in matched
        or (it.loadbalancer_id, it.protocol_port) in held
        or not names.is_of(cluster_id, it.description)
    }
    left = {it.id for it in observed.listeners.values() if it.id not in matched and it.id in staying}
    for policy in ours(observed.policies, cluster_id).values():
        if policy.id not in matched and policy.listener_id not in left:
            yield deletion("policy", policy.id, policy.name, "no Ingress has this rule any more")
    for listener in observed.listeners.values():
        if listener.id not in staying:
            if _holds_members(listener, observed):
                # an ELB deletes no listener whose default pool has members
                fields = {"default_pool_id": None}
                why = "a listener goes without its default pool"
                yield step(
                    "update", "listener", listener.id, fields, why, name=listener.name or "", id=listener.id
                )
            yield deletion("listener", listener.id, listener.name, "no Ingress asks for this port any more")
    yield from _pools(desired, observed, cluster_id, ids, left)
    used = {ids[k] for k in desired.certificates if k in ids} | _references(desired, observed, ids, staying)
    for certificate in ours(observed.certificates, cluster_id).values():
        said = names.described(certificate.description)
        if certificate.id not in used and ("secret_id" in said or moving.TWIN in said):
            why = "no Ingress uses its Secret any more"
            if moving.TWIN in said:
                why = moving.STANDS_IN
            yield deletion("certificate", certificate.id, certificate.name, why)
    balancers = matched | {it.loadbalancer_id for it in observed.listeners.values() if it.id in staying}
    for balancer in ours(observed.loadbalancers, cluster_id).values():
        if balancer.id not in balancers:
            yield deletion(
                "loadbalancer", balancer.id, balancer.name, "the Ingress that asked for it is gone"
            )


def ours(objects: Mapping[str, Any], cluster_id: str) -> dict[str, Any]:
    """Those that are described as this cluster's."""
    return {k: v for k, v in objects.items() if names.is_of(cluster_id, v.description)}


def _holds_members(listener: Listener, observed: State) -> bool:
    pool = observed.pools.get(listener.default_pool_id or "")
    return pool is not None and bool(pool.members)


def _pools(
    desired: State, observed: State, cluster_id: str, ids: Mapping[str, str], left: set[str]
) -> Iterator[Step]:
    matched = frozenset(ids.values())
    in_use = {p.redirect_pool_id for p in observed.policies.values() if p.listener_id in left}
    in_use |= {it.default_pool_id for it in observed.listeners.values() if it.id in left}
    wanted = {ids[k]: p.members for k, p in desired.pools.items() if k in ids}
    for pool in ours(observed.pools, cluster_id).values():
        if pool.id not in matched and pool.id in in_use:
            continue
        yield from member_deletions(pool.id, wanted.get(pool.id, ()), pool.members)
        if pool.id not in matched:
            if pool.healthmonitor:
                yield deletion("healthmonitor", pool.healthmonitor.id, pool.name, "its pool goes")
            yield deletion("pool", pool.id, pool.name, "no path leads to it any more")


def _references(desired: State, observed: State, ids: Mapping[str, str], staying: set[str]) -> frozenset[str]:
    """Ids of certificates that a listener uses, before the plan or after it."""
    matched = frozenset(ids.values())
    wanted = list(desired.listeners.values())
    managed = {ids.get(it.id) for it in wanted if it.default_tls_container_ref is not None}
    kept = [
        it
        for it in observed.listeners.values()
        if it.id in staying and (it.id not in matched or it.id not in managed)
    ]
    return frozenset(ids.get(ref, ref) for it in (*kept, *wanted) for ref in bound(it))
