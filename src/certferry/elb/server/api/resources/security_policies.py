"""Custom security policies (elb-v3-api.md 7): TLS versions and suites of the user's own choice.

A listener that names one negotiates by it, whatever its ``tls_ciphers_policy``; a change of the
policy changes all its listeners at once.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Annotated, Any, Final

from msgspec import UNSET, Meta, Struct, UnsetType

from certferry.core.envoy.listeners.tls import PROTOCOLS, served
from certferry.core.model.elb import SecurityPolicy
from certferry.elb.server.api.fields import Text
from certferry.elb.server.api.listing import Resource, Wire, listing, showing
from certferry.elb.server.api.request import (
    ApiRequest,
    ApiResponse,
    Route,
    body_of,
    merged,
    path_object,
    references,
    times,
    within_quota,
)
from certferry.elb.server.api.resources.tls_policies import CUSTOM_CIPHERS, TLS_13, served_object
from certferry.elb.server.errors import bad_request, conflict
from certferry.elb.server.store.store import Transaction
from certferry.elb.server.store.tables import Row, StoreSnapshot

Names = Annotated[list[Annotated[str, Meta(max_length=64)]], Meta(max_length=64)]


class SecurityPolicyUpdate(Struct, frozen=True, kw_only=True):
    """What may be changed."""

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
    """A policy as answers show it."""
    return {
        "id": row.id,
        "project_id": row.project_id,
        **{field: row.data[field] for field in _DEFAULTS},
        "listeners": references(snapshot.find("listener", "security_policy_id", row.id)),
        **times(row),
        "certferry": served_object(served(_policy(row))),
    }


def _policy(row: Row) -> SecurityPolicy:
    return SecurityPolicy(protocols=tuple(row.data["protocols"]), ciphers=tuple(row.data["ciphers"]))


def create(call: ApiRequest) -> ApiResponse:
    """POST: a new policy."""
    body = body_of(call, "security_policy", SecurityPolicyCreate)
    data = _checked(merged(_DEFAULTS, body.given, _DEFAULTS))

    def decide(transaction: Transaction) -> Row:
        within_quota(transaction.snapshot, call, "security_policy")
        return transaction.create("security_policy", str(uuid.uuid4()), data)

    row, snapshot = call.write(decide)
    return ApiResponse(201, RESOURCE.one(call, snapshot, row))


def update(call: ApiRequest) -> ApiResponse:
    """PUT: the given fields."""
    body = body_of(call, "security_policy", SecurityPolicyUpdate)

    def decide(transaction: Transaction) -> Row:
        before = path_object(call, transaction.snapshot, "security_policy")
        return transaction.update(before, _checked(merged(before.data, body.given, _DEFAULTS)))

    row, snapshot = call.write(decide)
    return ApiResponse(200, RESOURCE.one(call, snapshot, row))


def remove(call: ApiRequest) -> ApiResponse:
    """DELETE, unless a listener uses it."""

    def decide(transaction: Transaction) -> None:
        row = path_object(call, transaction.snapshot, "security_policy")
        if used := transaction.snapshot.find("listener", "security_policy_id", row.id):
            raise conflict(f"Security policy {row.id} is used by listener {used[0].id}")
        transaction.delete(row)

    call.write(decide)
    return ApiResponse(204)


def _checked(data: Mapping[str, Any]) -> dict[str, Any]:
    """With each name once. Raises ``Refused`` (400) unless each version has a suite to negotiate."""
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

ROUTES: Final = (
    Route("GET", "/security-policies", listing(RESOURCE), "List security policies"),
    Route(
        "POST",
        "/security-policies",
        create,
        "Create a security policy",
        ("security_policy", SecurityPolicyCreate),
        201,
    ),
    Route("GET", "/security-policies/{id}", showing(RESOURCE), "Show a security policy"),
    Route(
        "PUT",
        "/security-policies/{id}",
        update,
        "Update a security policy",
        ("security_policy", SecurityPolicyUpdate),
    ),
    Route("DELETE", "/security-policies/{id}", remove, "Delete a security policy", status=204),
)
