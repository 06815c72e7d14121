"""Deleting something with all that is under it (elb-v3-api.md 3, 4, 5).

Certificates, IP groups and security policies stay. Nothing is deleted if one part is protected from deletion.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from certferry.elb.server.api.request import ApiRequest, ApiResponse, Route, body_of, path_object
from certferry.elb.server.api.resources.l7policies import discard_policy
from certferry.elb.server.api.resources.loadbalancers import check_unprotected
from certferry.elb.server.api.resources.members import check_deletable
from certferry.elb.server.api.resources.pools import policies as policies_to
from certferry.elb.server.api.resources.pools import release
from certferry.elb.server.store.tables import Row
from certferry.elb.server.store.transaction import Transaction


class CascadeOption(Struct, frozen=True, kw_only=True):
    """The handling of objects that can outlive the load balancer."""

    unbounded_pool: bool | None = True
    """Pools: deleted, or kept without a load balancer."""
    public_ip: bool | None = False
    """Accepted and ignored: addresses here are not resources."""


def listener(call: ApiRequest) -> ApiResponse:
    """DELETE …/force: with its policies; its pools stay."""

    def decide(transaction: Transaction) -> None:
        discard_listener(transaction, path_object(call, transaction.snapshot, "listener"))

    call.write(decide)
    return ApiResponse(204)


def loadbalancer(call: ApiRequest) -> ApiResponse:
    """DELETE …/force-elb: with its listeners and pools."""
    return _without_loadbalancer(call, pools=True)


def loadbalancer_and_some(call: ApiRequest) -> ApiResponse:
    """POST …/delete-cascade: the same, with a choice about its pools."""
    option = body_of(call, "loadbalancer", CascadeOption).value if call.body.strip() else CascadeOption()
    return _without_loadbalancer(call, pools=option.unbounded_pool is not False)


def _without_loadbalancer(call: ApiRequest, *, pools: bool) -> ApiResponse:
    def decide(transaction: Transaction) -> None:
        row = path_object(call, transaction.snapshot, "loadbalancer")
        discard_loadbalancer(transaction, row, pools=pools)

    call.write(decide)
    return ApiResponse(204)


def pool(call: ApiRequest) -> ApiResponse:
    """DELETE …/delete-cascade: with its members and its health monitor, unless a policy sends to it."""

    def decide(transaction: Transaction) -> None:
        row = path_object(call, transaction.snapshot, "pool")
        discard_pool(transaction, row)

    call.write(decide)
    return ApiResponse(204)


def discard_pool(transaction: Transaction, row: Row) -> None:
    """Delete the pool and its parts. Raises ApiError (409)."""
    check_deletable(row)
    release(transaction, row)
    for kind in ("member", "healthmonitor"):
        for part in transaction.snapshot.find(kind, "pool_id", row.id):
            transaction.delete(part)
    transaction.delete(row)


def discard_listener(transaction: Transaction, row: Row) -> None:
    """Delete the listener, its policies, and those that lead to it."""
    snapshot = transaction.snapshot
    for field in ("listener_id", "redirect_listener_id"):
        for policy in snapshot.find("l7policy", field, row.id):
            discard_policy(transaction, policy)
    transaction.delete(row)


def discard_loadbalancer(transaction: Transaction, row: Row, *, pools: bool) -> None:
    """Delete the load balancer and its listeners; its pools too, or without a load balancer. Raises ApiError (409)."""
    check_unprotected(row)
    for one in transaction.snapshot.find("listener", "loadbalancer_id", row.id):
        discard_listener(transaction, one)
    for one in transaction.snapshot.find("pool", "loadbalancer_id", row.id):
        if pools and not policies_to(transaction.snapshot, one.id):
            discard_pool(transaction, one)
        else:
            transaction.update(one, {**one.data, "loadbalancer_id": None})
    transaction.delete(row)


ROUTES: Final = (
    Route("DELETE", "/listeners/{id}/force", listener, "Delete a listener with its policies", status=204),
    Route(
        "DELETE",
        "/loadbalancers/{id}/force-elb",
        loadbalancer,
        "Delete a load balancer with all that is under it",
        status=204,
    ),
    Route(
        "POST",
        "/loadbalancers/{id}/delete-cascade",
        loadbalancer_and_some,
        "Delete a load balancer with what is under it",
        ("loadbalancer", CascadeOption),
        204,
    ),
    Route("DELETE", "/pools/{id}/delete-cascade", pool, "Delete a pool with all that is in it", status=204),
)
