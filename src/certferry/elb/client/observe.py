"""The present state of an ELB, read through its client."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine, Iterable, Mapping
from typing import Any, Final

import msgspec

from certferry.core.model.elb import (
    HealthMonitor,
    Listener,
    ListenerDefaults,
    ListenerLimits,
    Member,
    Policy,
    Pool,
    Rule,
    State,
)
from certferry.elb.client import extensions, wire
from certferry.elb.client.client import (
    ALL_MEMBERS,
    ALL_RULES,
    HEALTHMONITORS,
    IPGROUPS,
    LISTENERS,
    LOADBALANCERS,
    POLICIES,
    POOLS,
    ElbClient,
    ElbError,
    Resource,
    members_of,
    rules_of,
)

PARALLEL: Final = 8
"""Concurrent requests if members and rules have to be read one by one."""


async def observe(elb: ElbClient, load_balancer_ids: Iterable[str] | None = None) -> State:
    """Read the present state: the whole project, or these load balancers and all certificates."""
    only = sorted(load_balancer_ids) if load_balancer_ids is not None else None
    of_these = {} if only is None else {"loadbalancer_id": only}
    balancers, listeners, pools, monitors, policies, certificates, groups, quota, compromised = await _together(
        elb.find(LOADBALANCERS, **({} if only is None else {"id": only})),
        elb.find(LISTENERS, **of_these),
        elb.find(POOLS, **of_these),
        elb.find(HEALTHMONITORS),
        elb.find(POLICIES),
        elb.certificates(),
        _ipgroups(elb),
        _quota(elb),
        compromised_keys(elb),
    )
    by_listener = {one.id: one for one in map(wire.listener, listeners)}
    mine = [p for p in policies if p.get("listener_id") in by_listener]
    members, rules = await _leaves(elb, pools, mine)
    checks = {m["id"]: wire.healthmonitor(m) for m in monitors}
    return State(
        loadbalancers=_by_id(wire.loadbalancer(b) for b in balancers),
        listeners=_by_id(by_listener.values()),
        certificates=certificates,
        pools=_by_id(_pool(p, members, checks, by_listener) for p in pools),
        policies=_by_id(_policy(p, rules) for p in mine),
        ipgroups=groups,
        limits=_limits(quota),
        listener_defaults=_listener_defaults(quota),
        compromised=compromised,
    )


async def compromised_keys(elb: ElbClient) -> frozenset[str]:
    """Return the public keys that are marked as compromised; none if the ELB has no marks."""
    if extensions.COMPROMISED_KEYS not in await extensions.available(elb):
        return frozenset()
    return frozenset(one.spki for one in await extensions.compromised_keys(elb))


async def _leaves(
    elb: ElbClient, pools: list[dict[str, Any]], policies: list[dict[str, Any]]
) -> tuple[dict[str, list[Member]], dict[str, list[Rule]]]:
    """Members by pool and rules by policy: two requests where the ELB has the bulk lists."""
    if elb.lists_parts:
        try:
            members, rules = await _together(elb.find(ALL_MEMBERS), elb.find(ALL_RULES))
        except ElbError as error:
            if error.status not in (400, 404, 405):
                raise
            elb.lists_parts = False
        else:
            return _joined(pools, "members", members, wire.member), _joined(policies, "rules", rules, wire.rule)
    turn = asyncio.Semaphore(PARALLEL)

    async def leaves(resource: Resource, owner: str) -> tuple[str, list[dict[str, Any]]]:
        async with turn:
            return owner, await elb.find(resource)

    by_pool = await _together(*(leaves(members_of(p["id"]), p["id"]) for p in pools))
    by_policy = await _together(*(leaves(rules_of(p["id"]), p["id"]) for p in policies))
    return (
        {owner: [wire.member(m) for m in groups] for owner, groups in by_pool},
        {owner: [wire.rule(r) for r in groups] for owner, groups in by_policy},
    )


async def _ipgroups(elb: ElbClient) -> dict[str, tuple[str, ...]]:
    try:
        groups = await elb.find(IPGROUPS)
    except ElbError as error:
        if error.status != 404:
            raise
        return {}
    return {group["id"]: wire.ipgroup(group) for group in groups}


async def _quota(elb: ElbClient) -> dict[str, Any]:
    """Return the project's quota; empty if the ELB has none."""
    try:
        return await elb.quota()
    except ElbError as error:
        if error.retryable:
            raise
        return {}


def _limits(quota: dict[str, Any]) -> ListenerLimits:
    """Return the limits of a listener; the vendor's defaults for what the ELB does not tell."""
    keys = {"policies": "l7policies_per_listener", "sni_certificates": "sni_certificates", "sni_names": "sni_names"}
    given = {field: value for field, key in keys.items() if isinstance(value := quota.get(key), int)}
    return ListenerLimits(**{field: sys.maxsize if value < 0 else value for field, value in given.items()})


def _listener_defaults(quota: dict[str, Any]) -> ListenerDefaults:
    """Return what our ELB applies to an HTTPS listener that says nothing; CCE's values for another ELB."""
    try:
        return msgspec.convert(quota["certferry"]["listener_defaults"], ListenerDefaults)
    except (LookupError, TypeError, msgspec.ValidationError):
        return ListenerDefaults()


async def _together(*requests: Coroutine[Any, Any, Any]) -> list[Any]:
    """Return the answers in order; the first failure cancels the others."""
    try:
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(request) for request in requests]
    except ExceptionGroup as group:
        # not except*: until Python 3.11.4 that wraps what is raised in it into a group again
        first = next((e for e in group.exceptions if isinstance(e, ElbError)), None)
        if first is None:
            raise
        raise first from None
    return [task.result() for task in running]


def _by_id(objects: Iterable[Any]) -> dict[str, Any]:
    return dict(sorted((one.id, one) for one in objects))


def _joined(owners: list[dict[str, Any]], field: str, groups: list[dict[str, Any]], read: Any) -> dict[str, Any]:
    by_id = {one["id"]: read(one) for one in groups}
    return {owner["id"]: [by_id[ref] for ref in wire.refs(owner, field) if ref in by_id] for owner in owners}


def _pool(
    pool: dict[str, Any],
    members: Mapping[str, list[Member]],
    checks: Mapping[str, HealthMonitor],
    listeners: Mapping[str, Listener],
) -> Pool:
    through = next((listeners[i].loadbalancer_id for i in wire.refs(pool, "listeners") if i in listeners), "")
    monitor = checks.get(str(pool.get("healthmonitor_id") or ""))
    return wire.pool(pool, members.get(pool["id"], []), monitor, through)


def _policy(policy: dict[str, Any], rules: Mapping[str, list[Rule]]) -> Policy:
    return wire.policy(policy, rules.get(policy["id"], []))
