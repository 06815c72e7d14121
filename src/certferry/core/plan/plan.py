"""Plan the ordered steps from the observed to the desired state.

Grow left to right along certificate, pool, members, listener, policies; shrink right to left. A plan that is abandoned
after any step leaves every listener serving, and a plan made from its own result is empty. Only objects whose
description names our cluster are changed or deleted.
"""

from __future__ import annotations

from collections.abc import Mapping

from certferry.core.model.elb import State
from certferry.core.plan import sni_moves
from certferry.core.plan.create_update import create_and_update_steps
from certferry.core.plan.delete import delete_steps, owned
from certferry.core.plan.steps import Kind, Step, Verb, certificate_step
from certferry.core.translate import secret_certificates as certificates

__all__ = ["Kind", "Step", "Verb", "certificate_step", "match", "plan"]


def plan(
    desired: State, observed: State, cluster_id: str, retained: frozenset[tuple[str, int]] = frozenset()
) -> tuple[Step, ...]:
    """Return the steps from `observed` to `desired`. `retained`: (load balancer, port) of listeners to leave as they are."""
    ids = match(desired, observed, cluster_id)
    return (
        *create_and_update_steps(desired, observed, ids),
        *delete_steps(desired, observed, cluster_id, ids, retained),
    )


def match(desired: State, observed: State, cluster_id: str) -> Mapping[str, str]:
    """Return key → id of each desired object that exists."""
    ids: dict[str, str] = {key: key for key in desired.loadbalancers if key in observed.loadbalancers}
    by_name = {b.name: b.id for b in observed.loadbalancers.values()}
    ids |= {k: by_name[b.name] for k, b in desired.loadbalancers.items() if k not in ids and b.name in by_name}
    wanted = {k.removeprefix("@certificate/") for k in desired.certificates}
    following = certificates.own_certificates(observed, cluster_id, wanted).by_uid
    secrets = {certificates.key_of(uid): c.id for uid, c in following.items()}
    ids |= sni_moves.leftover_stand_ins(observed, cluster_id)
    ids |= {k: secrets.get(k, k) for k in desired.certificates if k in secrets or k in observed.certificates}
    listeners = {have.place: have.id for have in owned(observed.listeners, cluster_id).values()}
    # an immutable field is part of the identity: another protocol or action is another object
    pools = {
        (have.loadbalancer_id, have.name, have.protocol): have.id for have in owned(observed.pools, cluster_id).values()
    }
    policies = {
        (have.listener_id, have.name, have.action): have.id for have in owned(observed.policies, cluster_id).values()
    }
    for key, listener in desired.listeners.items():
        _add(ids, key, listeners.get((ids.get(listener.loadbalancer_id, ""), listener.place[1])))
    for key, pool in desired.pools.items():
        _add(ids, key, pools.get((ids.get(pool.loadbalancer_id, ""), pool.name, pool.protocol)))
    for key, policy in desired.policies.items():
        _add(ids, key, policies.get((ids.get(policy.listener_id, ""), policy.name, policy.action)))
    return ids


def _add(ids: dict[str, str], key: str, object_id: str | None) -> None:
    if object_id:
        ids[key] = object_id
