"""One write to an ELB, as a value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from certferry.core.model.elb import Certificate, HealthMonitor, Listener, Policy, Rule

Verb = Literal["create", "update", "delete"]
Kind = Literal["loadbalancer", "certificate", "pool", "healthmonitor", "member", "listener", "policy"]


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


def step(verb: Verb, kind: Kind, key: str, fields: Mapping[str, Any], why: str, *, name: str, **more: Any) -> Step:
    """Return a creation or an update."""
    return Step(verb=verb, kind=kind, key=key, fields=fields, why=why, name=name, **more)


def deletion(kind: Kind, object_id: str, name: str | None, why: str, parent: str | None = None) -> Step:
    """Return a deletion."""
    return Step(verb="delete", kind=kind, key=object_id, id=object_id, name=name or "", why=why, parent=parent)


def certificate_step(key: str, want: Certificate, have: Certificate | None) -> Step | None:
    """Return the step from the certificate `have` (None: none yet) to `want`; None if they are equal."""
    if have is None:
        fields = {**_certificate_fields(want), **_source(want), "type": want.type}
        why = "the Secret has no certificate on the load balancer yet"
        return step("create", "certificate", key, fields, why, name=want.name, material=_digest(want))
    before = _certificate_fields(have)
    changed = {k: v for k, v in _certificate_fields(want).items() if before.get(k) != v}
    content = want.chain is not None and _digest(want) != _digest(have)
    if not changed and not content:
        return None
    why = "the Secret's content changed" if content else f"{', '.join(sorted(changed))} changed"
    return step(
        "update",
        "certificate",
        key,
        {**changed, **_source(want)},
        why,
        name=want.name,
        id=have.id,
        material=_digest(want) if content else None,
    )


def wire(value: Any) -> Any:
    """Convert a model value to the API's form; a value that means “none” becomes null."""
    if isinstance(value, tuple):
        return [wire(v) for v in value]
    if isinstance(value, msgspec.Struct):
        given = {f: v for f in value.__struct_fields__ if (v := getattr(value, f)) is not None}
        none = "" in (given.get("type"), given.get("ipgroup_id"))
        return None if none else {f: wire(v) for f, v in given.items()}
    return None if value == "" else value


def rule_fields(rule: Rule) -> dict[str, Any]:
    """Return the API's fields of a rule."""
    # The API wants these two in every rule; the model leaves out what has its default.
    given: dict[str, Any] = msgspec.to_builtins(rule)
    return {"compare_type": rule.compare_type, "value": rule.value} | given


def rule_text(rule: Rule) -> str:
    """Return a rule in words."""
    how = {"EQUAL_TO": "is", "STARTS_WITH": "begins with", "REGEX": "matches"}[rule.compare_type]
    what = {"HOST_NAME": "host", "PATH": "path"}.get(rule.type, rule.type.lower())
    values = (rule.value, *(c.value for c in rule.conditions))
    return f"{what} {how} {' or '.join(v for v in values if v)}"


def rule_set(policy: Policy) -> list[tuple[str, str, str, tuple[Any, ...]]]:
    """Return the rules of a policy in a form that can be compared."""
    return sorted((r.type, r.compare_type, r.value, r.conditions) for r in policy.rules)


def monitor_fields(monitor: HealthMonitor) -> dict[str, Any]:
    """Return the managed fields of a health monitor."""
    fields: dict[str, Any] = {
        "type": monitor.type,
        "delay": monitor.delay,
        "timeout": monitor.timeout,
        "max_retries": monitor.max_retries,
        "monitor_port": monitor.monitor_port,
    }
    return fields | ({"url_path": monitor.url_path} if monitor.url_path else {})


def resolved(value: Any, ids: Mapping[str, str]) -> Any:
    """Return `value` with ids in place of keys, in a form that can be compared."""
    if isinstance(value, list | tuple):
        return sorted(ids.get(v, v) for v in value)
    # “no reference” is "" in the desired state and None in the observed one
    return ids.get(value, value) if isinstance(value, str) and value else value or None


def bound(listener: Listener) -> tuple[str, ...]:
    """Return every certificate reference of `listener`."""
    refs = (
        listener.default_tls_container_ref,
        listener.client_ca_tls_container_ref,
        *(listener.sni_container_refs or ()),
    )
    return tuple(ref for ref in refs if ref)


def _certificate_fields(it: Certificate) -> dict[str, Any]:
    return {"name": it.name, "description": it.description, "domain": ",".join(it.domain)}


def _source(it: Certificate) -> dict[str, Any]:
    """Return the source for our ELB's lock error; other ELBs ignore it, so it is never compared."""
    return {"certferry": {"source": msgspec.to_builtins(it.source)}} if it.source else {}


def _digest(it: Certificate) -> str | None:
    return it.chain.digest if it.chain else None
