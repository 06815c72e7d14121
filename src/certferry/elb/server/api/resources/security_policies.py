"""Custom security policies (elb-v3-api.md 7): TLS versions and suites of the user's own choice.

A listener that names one negotiates by it, whatever its ``tls_ciphers_policy``; a change of the
policy changes all its listeners at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

from msgspec import UNSET, Meta, Struct, UnsetType

from certferry.core.envoy.listeners.tls import POLICIES, PROTOCOLS, SUITES, ServedCertificate, served
from certferry.core.model.elb import SecurityPolicy
from certferry.elb.server.api.fields import Text
from certferry.elb.server.api.listing import Resource, Wire
from certferry.elb.server.api.request import ApiRequest, references
from certferry.elb.server.api.resources.crud import Crud, wire
from certferry.elb.server.errors import bad_request, conflict
from certferry.elb.server.store.tables import Row, StoreSnapshot
from certferry.elb.server.store.transaction import Transaction

TLS_POLICIES: Final[dict[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    name: (policy.protocols, policy.ciphers) for name, policy in POLICIES.items()
}
"""Name → (protocols, ciphers by their OpenSSL names)."""
CUSTOM_CIPHERS: Final = (
    *SUITES,
    "CAMELLIA128-SHA",
    "DES-CBC3-SHA",
    "CAMELLIA256-SHA",
    "ECDHE-RSA-CHACHA20-POLY1305",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
)
"""The cipher suites that a custom policy may list: the vendor's 28."""
TLS_13: Final = frozenset(cipher for cipher in SUITES if cipher.startswith("TLS_"))
"""The suites of TLS 1.3; all others are for the versions before it."""


def served_object(served: ServedCertificate) -> dict[str, list[str]]:
    """Return the ``certferry`` object of a policy: what Envoy negotiates and what it lacks."""
    return {
        "protocols": list(served.protocols),
        "ciphers": list(served.ciphers),
        "missing_protocols": list(served.missing_protocols),
        "missing_ciphers": list(served.missing_ciphers),
    }


Names = Annotated[list[Annotated[str, Meta(max_length=64)]], Meta(max_length=64)]


class SecurityPolicyUpdate(Struct, frozen=True, kw_only=True):
    """The fields that a PUT may change."""

    name: Text = UNSET
    description: Text = UNSET
    protocols: Names | UnsetType = UNSET
    ciphers: Names | UnsetType = UNSET


class SecurityPolicyCreate(SecurityPolicyUpdate, frozen=True, kw_only=True):
    """A new policy."""

    protocols: Names
    ciphers: Names
    enterprise_project_id: Text = UNSET


_DEFAULTS: Final[dict[str, Any]] = {
    "name": "",
    "description": "",
    "protocols": None,
    "ciphers": None,
    "enterprise_project_id": "0",
}


def render(call: ApiRequest, snapshot: StoreSnapshot, row: Row) -> Wire:
    """Return a policy as answers show it."""
    listeners = references(snapshot.find("listener", "security_policy_id", row.id))
    return wire(row, _DEFAULTS, listeners=listeners, certferry=served_object(served(_policy(row))))


def _policy(row: Row) -> SecurityPolicy:
    return SecurityPolicy(protocols=tuple(row.data["protocols"]), ciphers=tuple(row.data["ciphers"]))


def _delete(call: ApiRequest, transaction: Transaction, row: Row) -> None:
    if used := transaction.snapshot.find("listener", "security_policy_id", row.id):
        raise conflict(f"Security policy {row.id} is used by listener {used[0].id}: change that listener first")
    transaction.delete(row)


def _checked(_: ApiRequest, data: Mapping[str, Any]) -> dict[str, Any]:
    """Return `data` with each name once. Raises ApiError (400) unless each version has a suite."""
    protocols, ciphers = list(dict.fromkeys(data["protocols"])), list(dict.fromkeys(data["ciphers"]))
    for field, given, known in (("protocols", protocols, PROTOCOLS), ("ciphers", ciphers, CUSTOM_CIPHERS)):
        if not given or not set(given) <= set(known):
            raise bad_request(f"{field} is one or more of {', '.join(known)}")
    newest = any(cipher in TLS_13 for cipher in ciphers)
    older = any(cipher not in TLS_13 for cipher in ciphers)
    if (not newest and protocols == ["TLSv1.3"]) or (not older and "TLSv1.3" not in protocols):
        raise bad_request("ciphers: none of them goes with one of the protocols")
    return {**data, "protocols": protocols, "ciphers": ciphers}


RESOURCE: Final = Resource(kind="security_policy", plural="security_policies", render=render)

CRUD: Final = Crud(
    resource=RESOURCE,
    path="/security-policies",
    title="a security policy",
    titles="security policies",
    create_body=SecurityPolicyCreate,
    update_body=SecurityPolicyUpdate,
    defaults=_DEFAULTS,
    checked=_checked,
    delete=_delete,
)
ROUTES: Final = CRUD.routes()
