"""From two worlds to ordered steps.

Grow left to right along certificate, pool, members, listener, policies; shrink right to left. A
plan that is abandoned after any step leaves every listener serving, and a plan made from its own
result is empty. Only objects whose description names our cluster are ever changed or deleted.

Callers: the controller's loop, its fast path (``certificate_step``), ``certferry plan``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import msgspec

from certferry.core import names
from certferry.core.model import Certificate, Listener, Member, Policy, Pool, Rule, State

Verb = Literal["create", "update", "delete"]
Kind = Literal["loadbalancer", "certificate", "pool", "member", "listener", "policy"]


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One write. `fields` are wire fields; a reference in them is an id, or a key to be resolved."""

    verb: Verb
    kind: Kind
    key: str
    """The desired object's key; for a deletion the id."""
    id: str | None = None
    """The ELB's id; None for a creation."""
    name: str = ""
    parent: str | None = None
    """Id or key of the pool, for members."""
    fields: Mapping[str, Any] = {}
    material: str | None = None
    """Digest of the chain whose pair goes along."""
    why: str


_LISTENER = (
    *("name", "description", "default_pool_id", "default_tls_container_ref", "sni_container_refs"),
    *("tls_ciphers_policy", "security_policy_id", "http2_enable"),
    *("keepalive_timeout", "client_timeout", "member_timeout"),
)
_POLICY = ("name", "description", "priority", "redirect_pool_id", "redirect_listener_id")


def plan(
    desired: State,
    observed: State,
    cluster_id: str,
    held: frozenset[tuple[str, int]] = frozenset(),
) -> tuple[Step, ...]:
    """The steps from `observed` to `desired`; `held` names listeners to leave as they are."""
    ids = match(desired, observed, cluster_id)
    matched = frozenset(ids.values())
    return (*_grow(desired, observed, ids), *_shrink(desired, observed, cluster_id, matched, ids, held))


def match(desired: State, observed: State, cluster_id: str) -> Mapping[str, str]:
    """Which observed object is which desired one: key → id."""
    ids: dict[str, str] = {key: key for key in desired.loadbalancers if key in observed.loadbalancers}
    by_name = {b.name: b.id for b in observed.loadbalancers.values()}
    ids |= {
        k: by_name[b.name] for k, b in desired.loadbalancers.items() if k not in ids and b.name in by_name
    }
    secrets = {
        f"@certificate/{said['secret_id']}": c.id
        for c in sorted(observed.certificates.values(), key=lambda c: c.id, reverse=True)
        if (said := names.described(c.description)).get("cluster_id") == cluster_id and "secret_id" in said
    }
    ids |= {k: secrets.get(k, k) for k in desired.certificates if k in secrets or k in observed.certificates}
    listeners = {
        (it.loadbalancer_id, it.protocol_port): it.id for it in _ours(observed.listeners, cluster_id).values()
    }
    pools = {(it.loadbalancer_id, it.name): it.id for it in _ours(observed.pools, cluster_id).values()}
    policies = {(it.listener_id, it.name): it.id for it in _ours(observed.policies, cluster_id).values()}
    for key, listener in desired.listeners.items():
        _add(ids, key, listeners.get((ids.get(listener.loadbalancer_id, ""), listener.protocol_port)))
    for key, pool in desired.pools.items():
        _add(ids, key, pools.get((ids.get(pool.loadbalancer_id, ""), pool.name)))
    for key, policy in desired.policies.items():
        _add(ids, key, policies.get((ids.get(policy.listener_id, ""), policy.name)))
    return ids


def certificate_step(key: str, want: Certificate, have: Certificate | None) -> Step | None:
    """What makes the certificate `have` (None: none yet) what `want` says; None when it is."""
    if have is None:
        fields = {**_certificate_fields(want), **_source(want), "type": want.type}
        why = "the Secret has no certificate on the load balancer yet"
        return _step("create", "certificate", key, fields, why, name=want.name, material=_digest(want))
    before = _certificate_fields(have)
    changed = {k: v for k, v in _certificate_fields(want).items() if before.get(k) != v}
    content = want.chain is not None and _digest(want) != _digest(have)
    if not changed and not content:
        return None
    why = "the Secret's content changed" if content else f"{', '.join(sorted(changed))} changed"
    return _step(
        "update",
        "certificate",
        key,
        {**changed, **_source(want)},
        why,
        name=want.name,
        id=have.id,
        material=_digest(want) if content else None,
    )


def _grow(desired: State, observed: State, ids: Mapping[str, str]) -> Iterator[Step]:
    for key, balancer in desired.loadbalancers.items():
        if key not in ids:
            fields = {"name": balancer.name, "description": balancer.description}
            yield _step(
                "create", "loadbalancer", key, fields, "elb.autocreate asks for it", name=balancer.name
            )
    for key, certificate in desired.certificates.items():
        if key.startswith("@"):
            step = certificate_step(key, certificate, observed.certificates.get(ids.get(key, "")))
            if step:
                yield step
    for key, pool in desired.pools.items():
        yield from _grow_pool(key, pool, observed.pools.get(ids.get(key, "")))
    # HTTPS first: a redirecting HTTP listener refers to it
    for key, listener in sorted(desired.listeners.items(), key=lambda it: (it[1].protocol != "HTTPS", it[0])):
        yield from _grow_listener(key, listener, observed.listeners.get(ids.get(key, "")), ids)
    for key, policy in desired.policies.items():
        yield from _grow_policy(key, policy, observed.policies.get(ids.get(key, "")), ids)


def _grow_pool(key: str, want: Pool, have: Pool | None) -> Iterator[Step]:
    if have is None:
        fields = {
            "loadbalancer_id": want.loadbalancer_id,
            "name": want.name,
            "description": want.description,
            "protocol": want.protocol,
            "lb_algorithm": want.lb_algorithm,
        }
        yield _step("create", "pool", key, fields, "a path leads to it", name=want.name)
    elif want.lb_algorithm not in (None, have.lb_algorithm):
        fields = {"lb_algorithm": want.lb_algorithm}
        yield _step("update", "pool", key, fields, "lb_algorithm changed", name=want.name, id=have.id)
    present = {(m.address, m.protocol_port): m for m in have.members} if have else {}
    for member in want.members:
        yield from _grow_member(key, member, present.get((member.address, member.protocol_port)))


def _grow_member(pool: str, want: Member, have: Member | None) -> Iterator[Step]:
    where = f"{want.address}:{want.protocol_port}"
    if have is None:
        fields = {
            "address": want.address,
            "protocol_port": want.protocol_port,
            "name": want.name,
            "weight": want.weight,
        }
        yield _step("create", "member", want.id, fields, "an endpoint became ready", name=where, parent=pool)
    elif have.weight != want.weight:
        fields = {"weight": want.weight}
        yield _step(
            "update", "member", want.id, fields, "weight changed", name=where, parent=pool, id=have.id
        )


def _grow_listener(key: str, want: Listener, have: Listener | None, ids: Mapping[str, str]) -> Iterator[Step]:
    fields = {f: _wire(v) for f in _LISTENER if (v := getattr(want, f)) is not None}
    name = want.name or key
    if have is None:
        fields = {f: v for f, v in fields.items() if v != ""}
        fields |= {
            "loadbalancer_id": want.loadbalancer_id,
            "protocol": want.protocol,
            "protocol_port": want.protocol_port,
        }
        yield _step("create", "listener", key, fields, "an Ingress asks for this port", name=name)
        return
    changed = {
        f: v for f, v in fields.items() if _resolved(v, ids) != _resolved(_wire(getattr(have, f)), ids)
    }
    if changed:
        why = f"{', '.join(sorted(changed))} changed"
        fields = {f: (v if v != "" else None) for f, v in changed.items()}
        yield _step("update", "listener", key, fields, why, name=name, id=have.id)


def _grow_policy(key: str, want: Policy, have: Policy | None, ids: Mapping[str, str]) -> Iterator[Step]:
    fields = {f: v for f in _POLICY if (v := getattr(want, f)) is not None}
    name = want.name or key
    rules = [_rule(r) for r in want.rules]
    if have is None:
        fields |= {"listener_id": want.listener_id, "action": want.action}
        if rules:
            fields["rules"] = rules
        yield _step("create", "policy", key, fields, "an Ingress has this rule", name=name)
        return
    changed: dict[str, Any] = {
        f: v for f, v in fields.items() if _resolved(v, ids) != _resolved(getattr(have, f), ids)
    }
    if _rule_set(want) != _rule_set(have):
        changed["rules"] = rules
    if changed:
        why = f"{', '.join(sorted(changed))} changed"
        yield _step("update", "policy", key, changed, why, name=name, id=have.id)


def _shrink(
    desired: State,
    observed: State,
    cluster_id: str,
    matched: frozenset[str],
    ids: Mapping[str, str],
    held: frozenset[tuple[str, int]],
) -> Iterator[Step]:
    staying = {
        it.id
        for it in observed.listeners.values()
        if it.id in matched
        or (it.loadbalancer_id, it.protocol_port) in held
        or not names.is_of(cluster_id, it.description)
    }
    left = {it.id for it in observed.listeners.values() if it.id not in matched and it.id in staying}
    for policy in _ours(observed.policies, cluster_id).values():
        if policy.id not in matched and policy.listener_id not in left:
            yield _delete("policy", policy.id, policy.name, "no Ingress has this rule any more")
    for listener in observed.listeners.values():
        if listener.id not in staying:
            if _holds_members(listener, observed):
                # an ELB deletes no listener whose default pool has members
                fields = {"default_pool_id": None}
                why = "a listener goes without its default pool"
                yield _step(
                    "update", "listener", listener.id, fields, why, name=listener.name or "", id=listener.id
                )
            yield _delete("listener", listener.id, listener.name, "no Ingress asks for this port any more")
    yield from _shrink_pools(desired, observed, cluster_id, matched, ids, left)
    used = matched | _references(desired, observed, ids, matched, staying)
    for certificate in _ours(observed.certificates, cluster_id).values():
        follows = "secret_id" in names.described(certificate.description)
        if follows and certificate.id not in used:
            yield _delete(
                "certificate", certificate.id, certificate.name, "no Ingress uses its Secret any more"
            )
    balancers = matched | {it.loadbalancer_id for it in observed.listeners.values() if it.id in staying}
    for balancer in _ours(observed.loadbalancers, cluster_id).values():
        if balancer.id not in balancers:
            yield _delete("loadbalancer", balancer.id, balancer.name, "the Ingress that asked for it is gone")


def _holds_members(listener: Listener, observed: State) -> bool:
    pool = observed.pools.get(listener.default_pool_id or "")
    return pool is not None and bool(pool.members)


def _shrink_pools(
    desired: State,
    observed: State,
    cluster_id: str,
    matched: frozenset[str],
    ids: Mapping[str, str],
    left: set[str],
) -> Iterator[Step]:
    in_use = {p.redirect_pool_id for p in observed.policies.values() if p.listener_id in left}
    in_use |= {it.default_pool_id for it in observed.listeners.values() if it.id in left}
    wanted = {
        ids[k]: {(m.address, m.protocol_port) for m in p.members}
        for k, p in desired.pools.items()
        if k in ids
    }
    for pool in _ours(observed.pools, cluster_id).values():
        if pool.id not in matched and pool.id in in_use:
            continue
        stay = wanted.get(pool.id, set())
        for member in pool.members:
            if (member.address, member.protocol_port) not in stay:
                where = f"{member.address}:{member.protocol_port}"
                yield _delete("member", member.id, where, "the endpoint is gone or not ready", parent=pool.id)
        if pool.id not in matched:
            yield _delete("pool", pool.id, pool.name, "no path leads to it any more")


def _references(
    desired: State,
    observed: State,
    ids: Mapping[str, str],
    matched: frozenset[str],
    staying: set[str],
) -> frozenset[str]:
    """Ids of certificates that a listener uses, before the plan or after it."""
    wanted = list(desired.listeners.values())
    managed = {ids.get(it.id) for it in wanted if it.default_tls_container_ref is not None}
    kept = [
        it
        for it in observed.listeners.values()
        if it.id in staying and (it.id not in matched or it.id not in managed)
    ]
    found: set[str | None] = set()
    for it in (*kept, *wanted):
        refs = (it.default_tls_container_ref, it.client_ca_tls_container_ref, *(it.sni_container_refs or ()))
        found |= {ids.get(ref, ref) for ref in refs if ref}
    return frozenset(ref for ref in found if ref)


def _certificate_fields(it: Certificate) -> dict[str, Any]:
    return {"name": it.name, "description": it.description, "domain": ",".join(it.domain)}


def _source(it: Certificate) -> dict[str, Any]:
    """Our ELB keeps it for the lock's sentence; others ignore it, so that it is never compared."""
    return {"certferry": {"source": msgspec.to_builtins(it.source)}} if it.source else {}


def _digest(it: Certificate) -> str | None:
    return it.chain.digest if it.chain else None


def _rule(rule: Rule) -> dict[str, Any]:
    # The API wants these two in every rule; the model leaves out what has its default.
    given: dict[str, Any] = msgspec.to_builtins(rule)
    return {"compare_type": rule.compare_type, "value": rule.value} | given


def _rule_set(policy: Policy) -> list[tuple[str, str, str, tuple[Any, ...]]]:
    return sorted((r.type, r.compare_type, r.value, r.conditions) for r in policy.rules)


def _ours(objects: Mapping[str, Any], cluster_id: str) -> dict[str, Any]:
    return {k: v for k, v in objects.items() if names.is_of(cluster_id, v.description)}


def _add(ids: dict[str, str], key: str, found: str | None) -> None:
    if found:
        ids[key] = found


def _wire(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _resolved(value: Any, ids: Mapping[str, str]) -> Any:
    if isinstance(value, list):
        return sorted(ids.get(v, v) for v in value)
    # for a reference, “none” is told as "" by what we want and as None by what is there
    return ids.get(value, value) if isinstance(value, str) and value else value or None


def _step(
    verb: Verb, kind: Kind, key: str, fields: Mapping[str, Any], why: str, *, name: str, **more: Any
) -> Step:
    return Step(verb=verb, kind=kind, key=key, fields=fields, why=why, name=name, **more)


def _delete(kind: Kind, object_id: str, name: str | None, why: str, parent: str | None = None) -> Step:
    return Step(
        verb="delete", kind=kind, key=object_id, id=object_id, name=name or "", why=why, parent=parent
    )
