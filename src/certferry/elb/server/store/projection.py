"""The state that the ELB publishes to the data plane after each commit, made from rows.

Only objects to which a touched row belongs are made anew; all others are shared with the state before. Fields are
carried over unchanged.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import msgspec
import structlog
from immutables import Map

from certferry.core.model import elb as model
from certferry.core.x509.pem import PrivateKey
from certferry.elb.server.store.tables import Row, StoreSnapshot

_log = structlog.get_logger()

_HOME: Final[dict[str, tuple[str, str]]] = {
    "loadbalancer": ("loadbalancers", ""),
    "listener": ("listeners", ""),
    "certificate": ("certificates", ""),
    "pool": ("pools", ""),
    "member": ("pools", "pool_id"),
    "healthmonitor": ("pools", "pool_id"),
    "l7policy": ("policies", ""),
    "rule": ("policies", "l7policy_id"),
    "ipgroup": ("ipgroups", ""),
    "security_policy": ("security_policies", ""),
    "order": ("challenges", ""),
}
"""Kind → its map in ``State``, and the field with the id of the object that it is part of.

Other kinds do not concern the data plane."""

_SUPERSEDED: Final = 16
"""Unused keys up to which the keys are not compared with all certificates."""


class Publication(msgspec.Struct, frozen=True, eq=False):
    """One state and the keys that it needs. Equal only to itself, so that comparing costs nothing."""

    state: model.State = model.State()
    keys: Mapping[str, PrivateKey] = MappingProxyType({})
    """Private keys by ``Chain.digest``."""


def published(snapshot: StoreSnapshot, before: Publication, touched: Sequence[Row]) -> Publication:
    """Return `before` with the objects of the `touched` rows made anew from `snapshot`."""
    changed: dict[str, set[str]] = {}
    for row in touched:
        if row.kind not in _HOME:
            continue
        home, part_of = _HOME[row.kind]
        changed.setdefault(home, set()).add(str(row.data[part_of]) if part_of else row.id)
    maps: dict[str, Mapping[str, Any]] = {}
    for home, identifiers in changed.items():
        objects = Map(getattr(before.state, home)).mutate()
        for identifier in sorted(identifiers):
            try:
                made = _MAKERS[home](snapshot, identifier)
            except Exception:  # noqa: BLE001 (an object keeps its last version, and affects no other)
                _log.exception("object not published", kind=home, id=identifier)
                continue
            if made is None:
                objects.pop(identifier, None)
            else:
                objects[identifier] = made
        maps[home] = objects.finish()
    return Publication(msgspec.structs.replace(before.state, **maps), _keys(snapshot, before.keys, touched))


def _keys(
    snapshot: StoreSnapshot, before: Mapping[str, PrivateKey], touched: Iterable[Row]
) -> Mapping[str, PrivateKey]:
    """Return `before` with the present keys of the touched certificates. Keys without a certificate are dropped at times."""
    given = {
        row.content.chain.digest: row.content.key
        for row in touched
        if row.kind == "certificate" and row.content is not None and row.content.key is not None
    }
    if not given:
        return before
    keys = Map(before).update(given)
    rows = snapshot.rows("certificate")
    if len(keys) > 2 * len(rows) + _SUPERSEDED:
        used = {row.content.chain.digest for row in rows.values() if row.content is not None}
        keys = Map({digest: key for digest, key in keys.items() if digest in used})
    return keys


def _loadbalancer(snapshot: StoreSnapshot, identifier: str) -> model.LoadBalancer | None:
    row = snapshot.get("loadbalancer", identifier)
    return None if row is None else msgspec.convert({**row.data, "id": row.id}, model.LoadBalancer)


def _listener(snapshot: StoreSnapshot, identifier: str) -> model.Listener | None:
    row = snapshot.get("listener", identifier)
    return None if row is None else msgspec.convert({**row.data, "id": row.id}, model.Listener)


def _certificate(snapshot: StoreSnapshot, identifier: str) -> model.Certificate | None:
    row = snapshot.get("certificate", identifier)
    if row is None:
        return None
    data = row.data
    return model.Certificate(
        id=row.id,
        chain=row.content.chain if row.content else None,
        name=data["name"],
        description=data["description"],
        type=data["type"],
        domain=model.domain_names(data["domain"]),
        owner=data["owner"],
        source=source(data),
        protection_status=data["protection_status"],
        protection_reason=data["protection_reason"],
    )


def source(data: Mapping[str, Any]) -> model.Source | None:
    """Return the Secret that the certificate with these fields follows."""
    if not data["source_secret"]:
        return None
    return model.Source(
        cluster=data["source_cluster"] or "", namespace=data["source_namespace"] or "", secret=data["source_secret"]
    )


def _pool(snapshot: StoreSnapshot, identifier: str) -> model.Pool | None:
    row = snapshot.get("pool", identifier)
    if row is None:
        return None
    monitors = [m for m in snapshot.find("healthmonitor", "pool_id", identifier) if m.data["admin_state_up"]]
    return msgspec.convert(
        {
            **row.data,
            "id": row.id,
            "loadbalancer_id": row.data["loadbalancer_id"] or "",
            "members": [{**m.data, "id": m.id} for m in snapshot.find("member", "pool_id", identifier)],
            "healthmonitor": {**monitors[0].data, "id": monitors[0].id} if monitors else None,
        },
        model.Pool,
    )


def _policy(snapshot: StoreSnapshot, identifier: str) -> model.Policy | None:
    row = snapshot.get("l7policy", identifier)
    if row is None:
        return None
    rules = [{**rule.data, "id": rule.id} for rule in snapshot.find("rule", "l7policy_id", identifier)]
    return msgspec.convert({**row.data, "id": row.id, "rules": rules}, model.Policy)


def _ipgroup(snapshot: StoreSnapshot, identifier: str) -> tuple[str, ...] | None:
    row = snapshot.get("ipgroup", identifier)
    return None if row is None else tuple(entry["ip"] for entry in row.data["ip_list"])


def _security_policy(snapshot: StoreSnapshot, identifier: str) -> model.SecurityPolicy | None:
    row = snapshot.get("security_policy", identifier)
    return None if row is None else msgspec.convert(row.data, model.SecurityPolicy)


def _challenges(snapshot: StoreSnapshot, identifier: str) -> tuple[model.HttpChallenge, ...] | None:
    row = snapshot.get("order", identifier)
    if row is None or not row.data["listener_ids"]:
        return None
    fields = {"listener_ids": row.data["listener_ids"]}
    return tuple(msgspec.convert({**one, **fields}, model.HttpChallenge) for one in row.data["challenges"])


_MAKERS: Final = {
    "loadbalancers": _loadbalancer,
    "listeners": _listener,
    "certificates": _certificate,
    "pools": _pool,
    "policies": _policy,
    "ipgroups": _ipgroup,
    "security_policies": _security_policy,
    "challenges": _challenges,
}
