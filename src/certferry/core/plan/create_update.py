"""The creations and updates of a plan, left to right.

Load balancers, certificates, pools with members and health monitors, listeners, policies: each refers only to objects
before it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from certferry.core.model import naming as names
from certferry.core.model.elb import HealthMonitor, Listener, LoadBalancer, Member, Policy, Pool, State
from certferry.core.plan import sni_moves
from certferry.core.plan.steps import (
    Step,
    certificate_step,
    deletion,
    monitor_fields,
    resolved,
    rule_fields,
    rule_set,
    step,
    wire,
)
from certferry.core.translate import listener_options as listening

_POOL: Final = ("lb_algorithm", "session_persistence", "slow_start")
_POLICY: Final = ("priority", "redirect_pool_id", "redirect_listener_id", "redirect_url_config")


def create_and_update_steps(desired: State, observed: State, ids: Mapping[str, str]) -> Iterator[Step]:
    """Yield the creations and updates. `ids`: key → id of what exists."""
    for key, balancer in desired.loadbalancers.items():
        if key not in ids:
            yield _balancer(key, balancer)
    moves = sni_moves.plan_sni_moves(desired, observed, ids)
    steps = {
        key: made
        for key, want in desired.certificates.items()
        if key.startswith("@") and (made := certificate_step(key, want, observed.certificates.get(ids.get(key, ""))))
    }
    at_once = [key for key in steps if key not in moves.bound]
    yield from (steps[key] for key in at_once)
    yield from moves.before
    # names are released before another certificate gets them
    later = sorted(steps.keys() - {*at_once, *moves.releasing}, key=lambda k: (k not in moves.giving, k))
    yield from (steps[key] for key in later)
    for key, pool in desired.pools.items():
        yield from _pool(key, pool, observed.pools.get(ids.get(key, "")))
    # HTTPS first: a redirecting HTTP listener refers to it
    for key, listener in sorted(desired.listeners.items(), key=lambda it: (it[1].protocol != "HTTPS", it[0])):
        have = observed.listeners.get(ids.get(key, ""))
        if have is None:
            yield _new_listener(key, listener, _asker(listener, desired))
        else:
            yield from _listener(key, listener, have, ids, moved=have.id in moves.listeners)
    yield from (steps[key] for key in steps if key in moves.releasing)
    yield from moves.after
    for key, policy in desired.policies.items():
        yield from _policy(key, policy, observed.policies.get(ids.get(key, "")), ids)


def member_steps(pool: str, want: tuple[Member, ...], have: tuple[Member, ...]) -> Iterator[Step]:
    """Yield the steps from the members `have` to `want`, creations first; `pool` is an id or a key."""
    there = {(m.address, m.protocol_port): m for m in have}
    for member in want:
        yield from _member(pool, member, there.get((member.address, member.protocol_port)))
    yield from member_deletions(pool, want, have)


def member_deletions(pool: str, want: tuple[Member, ...], have: tuple[Member, ...]) -> Iterator[Step]:
    """Yield deletions of the members of `have` that are not wanted."""
    stay = {(m.address, m.protocol_port) for m in want}
    for member in have:
        if (member.address, member.protocol_port) not in stay:
            where = f"{member.address}:{member.protocol_port}"
            yield deletion("member", member.id, where, "the endpoint is gone or not ready", parent=pool)


def _balancer(key: str, want: LoadBalancer) -> Step:
    fields = {"name": want.name, "description": want.description, **want.placement}
    if want.vip_address:
        fields["vip_address"] = want.vip_address
    return step("create", "loadbalancer", key, fields, "elb.autocreate asks for it", name=want.name)


def _pool(key: str, want: Pool, have: Pool | None) -> Iterator[Step]:
    if have is None:
        settings = {f: v for f in _POOL if (v := getattr(want, f)) is not None}
        fields = {
            "loadbalancer_id": want.loadbalancer_id,
            "name": want.name,
            "description": want.description,
            "protocol": want.protocol,
            **{f: w for f, v in settings.items() if (w := wire(v)) is not None and not _off(w)},
        }
        yield step("create", "pool", key, fields, "a path leads to it", name=want.name)
    else:
        changed = settings_of(want, have)
        if changed or want.description != have.description:
            why = _changed(changed, "its Service changed")
            fields = {**changed, "description": want.description}
            yield step("update", "pool", key, fields, why, name=want.name, id=have.id)
    for member in want.members:
        there = {(m.address, m.protocol_port): m for m in have.members} if have else {}
        yield from _member(key, member, there.get((member.address, member.protocol_port)))
    yield from _monitor(key, want, have.healthmonitor if have else None)


def settings_of(want: Pool, have: Pool) -> dict[str, Any]:
    """Return the wanted values of the settings in which `have` differs."""
    managed = {f: v for f in _POOL if (v := getattr(want, f)) is not None}
    return {f: wire(v) for f, v in managed.items() if not _stands(v, getattr(have, f))}


def _stands(want: Any, have: Any) -> bool:
    return (
        bool(want == have)
        or (have is None and (wire(want) is None or _off(wire(want))))
        or (have is not None and _off(wire(want)) and _off(wire(have)))
    )


def _off(value: Any) -> bool:
    return isinstance(value, dict) and value.get("enable") is False


def _monitor(pool: str, want: Pool, have: HealthMonitor | None) -> Iterator[Step]:
    monitor = want.healthmonitor
    if monitor is None:
        return
    key, name = f"@healthmonitor/{pool}", want.name
    if not monitor.type:
        if have:
            yield deletion("healthmonitor", have.id, name, "its Service wants no health check")
        return
    fields = monitor_fields(monitor)
    if have is None:
        given = {f: v for f, v in fields.items() if v is not None}
        why = "the members of the pool are checked"
        yield step("create", "healthmonitor", key, {"pool_id": pool, **given}, why, name=name)
        return
    there = monitor_fields(have)
    changed = {f: v for f, v in fields.items() if v != there.get(f)}
    if changed:
        yield step("update", "healthmonitor", key, changed, _changed(changed, ""), name=name, id=have.id)


def _member(pool: str, want: Member, have: Member | None) -> Iterator[Step]:
    where = f"{want.address}:{want.protocol_port}"
    if have is None:
        fields = {
            "address": want.address,
            "protocol_port": want.protocol_port,
            "name": want.name,
            "weight": want.weight,
        }
        yield step("create", "member", want.id, fields, "an endpoint became ready", name=where, parent=pool)
    elif have.weight != want.weight:
        fields = {"weight": want.weight}
        yield step("update", "member", want.id, fields, "weight changed", name=where, parent=pool, id=have.id)


def _asker(want: Listener, desired: State) -> str:
    pool = desired.pools.get(want.default_pool_id or "")
    return "a Service" if pool and "service_id" in names.described(pool.description) else "an Ingress"


def _new_listener(key: str, want: Listener, asker: str) -> Step:
    fields = {
        "name": want.name,
        "description": want.description,
        "default_pool_id": want.default_pool_id or None,
        **{f: getattr(want, f) for f in (*listening.BINDINGS, *listening.OPTIONS)},
    }
    given = {f: w for f, v in fields.items() if v is not None and (w := wire(v)) is not None}
    given |= {"loadbalancer_id": want.loadbalancer_id, "protocol": want.protocol, "protocol_port": want.protocol_port}
    return step("create", "listener", key, given, f"{asker} asks for this port", name=want.name or key)


def _listener(key: str, want: Listener, have: Listener, ids: Mapping[str, str], *, moved: bool) -> Iterator[Step]:
    """Yield separate steps for certificates, default pool and options, so that a rejected one holds up no other."""
    name, said = want.name or key, names.described(want.description)
    marks = {f: mark for f, mark in names.described(have.description).items() if f in ("options", "bound")}
    bound = {
        f: wire(v)
        for f in listening.BINDINGS
        if (v := getattr(want, f)) is not None
        and (_differs(v, getattr(have, f), ids) or (moved and f == "sni_container_refs"))
    }
    if bound or said.get("bound") != marks.get("bound"):
        marks["bound"] = said.get("bound", "")
        why = _changed(bound, "other certificates are wanted")
        fields = {**bound, "description": _marked(said["cluster_id"], marks)}
        yield step("update", "listener", key, fields, why, name=name, id=have.id)
    pool = want.default_pool_id
    if pool is not None and _differs(pool, have.default_pool_id, ids):
        fields = {"default_pool_id": wire(pool)}
        yield step("update", "listener", key, fields, _changed(fields, ""), name=name, id=have.id)
    options = {f: wire(getattr(want, f)) for f in listening.differing(want, have)}
    if want.name != have.name:
        options["name"] = want.name
    if options or said.get("options") != marks.get("options"):
        marks["options"] = said.get("options", "")
        why = _changed(options, "other options are wanted")
        fields = {**options, "description": _marked(said["cluster_id"], marks)}
        yield step("update", "listener", key, fields, why, name=name, id=have.id)


def _changed(fields: Mapping[str, Any], otherwise: str) -> str:
    """Return which fields changed, or `otherwise` if none did."""
    return f"{', '.join(sorted(fields))} changed" if fields else otherwise


def _differs(want: Any, have: Any, ids: Mapping[str, str]) -> bool:
    return bool(resolved(wire(want), ids) != resolved(wire(have), ids))


def _marked(cluster_id: str, marks: Mapping[str, str]) -> str:
    """Return the description with the marks of the parts written so far."""
    return names.describe(cluster_id, **{f: marks[f] for f in ("options", "bound") if f in marks})


def _policy(key: str, want: Policy, have: Policy | None, ids: Mapping[str, str]) -> Iterator[Step]:
    fields = {f: wire(v) for f in _POLICY if (v := getattr(want, f)) is not None}
    name = want.name or key
    rules = [rule_fields(r) for r in want.rules]
    if have is None:
        fields |= {
            "name": want.name,
            "description": want.description,
            "listener_id": want.listener_id,
            "action": want.action,
        }
        if rules:
            fields["rules"] = rules
        yield step("create", "policy", key, fields, "an Ingress has this rule", name=name)
        return
    changed: dict[str, Any] = {
        f: v for f, v in fields.items() if resolved(v, ids) != resolved(wire(getattr(have, f)), ids)
    }
    if rule_set(want) != rule_set(have):
        changed["rules"] = rules
    if changed or want.description != have.description:
        why = _changed(changed, "its Ingress changed")
        changed["description"] = want.description
        yield step("update", "policy", key, changed, why, name=name, id=have.id)
