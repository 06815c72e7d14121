"""From the ELB's wire form to the model.

``elb.client`` calls it for each answer. It reads what the model has and passes over the rest; of a
certificate it decodes only the public half, so that no key is ever in memory on this way.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeVar

import msgspec

from certferry.core.model import elb as model
from certferry.core.x509.pem import Chain, InvalidPem, parse_chain

Wire = Mapping[str, Any]
T = TypeVar("T")

_MEMBERS: Final = ("redirect_pools_config", "rules", "members")


class Extension(msgspec.Struct, frozen=True, kw_only=True):
    """The fields that our ELB adds to a certificate."""

    owner: str | None = None
    source: model.Source | None = None
    break_glass: model.BreakGlass | None = None
    emergency: bool = False


class CertificateWire(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate's fields, ``private_key`` left out on purpose."""

    id: str
    certificate: str | None = None
    name: str | None = None
    description: str | None = None
    type: str | None = None
    domain: str | None = None
    protection_status: str | None = None
    protection_reason: str | None = None
    certferry: Extension | None = None


def chain_of(pem: str) -> Chain | None:
    """Parse the chain in `pem`; None if it is invalid."""
    try:
        return parse_chain(pem)
    except InvalidPem:
        return None


def certificate(wire: CertificateWire) -> model.Certificate:
    """Decode a certificate's public half and its owner."""
    extension = wire.certferry or Extension()
    return model.Certificate(
        id=wire.id,
        chain=chain_of(wire.certificate or ""),
        name=wire.name or "",
        description=wire.description or "",
        type=wire.type or "server",
        domain=model.domain_names(wire.domain),
        owner=extension.owner,
        source=extension.source,
        protection_status=wire.protection_status,
        protection_reason=wire.protection_reason,
        break_glass=extension.break_glass,
        emergency=extension.emergency,
    )


def loadbalancer(wire: Wire) -> model.LoadBalancer:
    """Decode a load balancer, with the port shifts that our ELB reports."""
    extension = wire.get("certferry") or {}
    shifts = {k: extension[k] for k in ("privileged_shift", "port_shift") if extension.get(k) is not None}
    return _made(model.LoadBalancer, wire, shifts)


def listener(wire: Wire) -> model.Listener:
    """Decode a listener; shared load balancers call HTTPS TERMINATED_HTTPS."""
    protocol = str(wire.get("protocol") or "").removeprefix("TERMINATED_")
    balancer = _first(wire, "loadbalancers", "loadbalancer_id")
    return _made(model.Listener, wire, {"loadbalancer_id": balancer, "protocol": protocol})


def healthmonitor(wire: Wire) -> model.HealthMonitor:
    """Decode a health check."""
    return _made(model.HealthMonitor, wire, {})


def member(wire: Wire) -> model.Member:
    """Decode a backend."""
    return _made(model.Member, wire, {})


def pool(wire: Wire, members: Iterable[model.Member], monitor: model.HealthMonitor | None, balancer: str) -> model.Pool:
    """`balancer`: used where the wire names no load balancer (a pool that was made for a listener)."""
    parts: dict[str, Any] = {
        "loadbalancer_id": _first(wire, "loadbalancers", "loadbalancer_id") or balancer,
        "members": tuple(sorted(members, key=lambda m: (m.address, m.protocol_port))),
        "healthmonitor": monitor,
    }
    return _made(model.Pool, wire, parts)


def rule(wire: Wire) -> model.Rule:
    """Decode one condition of a policy."""
    return _made(model.Rule, wire, {})


def policy(wire: Wire, rules: Iterable[model.Rule]) -> model.Policy:
    """Decode a policy and its rules, in a fixed order."""
    ordered = tuple(sorted(rules, key=lambda r: (r.type, r.compare_type, r.value, r.id)))
    return _made(model.Policy, wire, {"rules": ordered})


def ipgroup(wire: Wire) -> tuple[str, ...]:
    """Return the addresses of a group."""
    return tuple(entry["ip"] for entry in wire.get("ip_list") or ())


def refs(wire: Wire, field: str) -> tuple[str, ...]:
    """Return the ids in a list of references."""
    return tuple(ref["id"] for ref in wire.get(field) or ())


def _first(wire: Wire, field: str, plain: str) -> str:
    found = refs(wire, field)
    return found[0] if found else str(wire.get(plain) or "")


def _made(kind: type[T], wire: Wire, parts: Mapping[str, Any]) -> T:
    own = {k: _without_null(v) for k, v in wire.items() if v not in (None, {}) and k not in _MEMBERS}
    if shares := wire.get("redirect_pools_config"):
        own["redirect_pools_config"] = [_without_null(s) for s in shares]
    return msgspec.convert(own | dict(parts), kind, strict=True)


def _without_null(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: v for k, v in value.items() if v is not None}
    if isinstance(value, list):
        return [_without_null(v) for v in value]
    return value
