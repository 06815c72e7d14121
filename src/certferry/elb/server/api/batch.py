"""Batch requests (elb-v3-api.md 1.4): one transaction each; an error names the object.

Deleting many is the exception: each id has an answer of its own, and those that can go, go.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from certferry.elb.server.api.cascade import CascadeOption, discard_listener, discard_loadbalancer, discard_pool
from certferry.elb.server.api.fields import Identifier
from certferry.elb.server.api.request import ApiRequest, ApiResponse, Route, body_of, get_object, path_object
from certferry.elb.server.api.resources import certificates, l7policies, members
from certferry.elb.server.errors import ApiError, bad_request
from certferry.elb.server.store.tables import Row, StoreSnapshot
from certferry.elb.server.store.transaction import Transaction

_ROOM: Final = 2000
Ids = Annotated[list[Identifier], Meta(max_length=_ROOM)]


class CertificatesDelete(Struct, frozen=True, kw_only=True):
    """Certificates that are to go."""

    certificates: Ids


class PoolsDelete(Struct, frozen=True, kw_only=True):
    """Pools that are to go."""

    pools: Ids


class ListenersDelete(Struct, frozen=True, kw_only=True):
    """Listeners that are to go."""

    listener_ids: Ids


class LoadBalancersDelete(CascadeOption, frozen=True, kw_only=True):
    """Load balancers that are to go."""

    loadbalancer_ids: Ids


class MembersCreate(Struct, frozen=True, kw_only=True):
    """New members."""

    members: Annotated[list[members.MemberCreate], Meta(max_length=_ROOM)]


class MemberChange(members.MemberUpdate, frozen=True, kw_only=True):
    """The fields of one member to change."""

    id: Identifier


class MembersUpdate(Struct, frozen=True, kw_only=True):
    """Changes of members."""

    members: Annotated[list[MemberChange], Meta(max_length=_ROOM)]


class MemberGone(Struct, frozen=True, kw_only=True):
    """A member by id, or by address and port."""

    id: Identifier | UnsetType | None = UNSET
    address: Annotated[str, Meta(max_length=64)] | UnsetType | None = UNSET
    protocol_port: int | UnsetType | None = UNSET


class MembersDelete(Struct, frozen=True, kw_only=True):
    """Members that are to go."""

    members: Annotated[list[MemberGone], Meta(max_length=_ROOM)]


class PolicyPriority(Struct, frozen=True, kw_only=True):
    """The new place of one policy."""

    id: Identifier
    priority: Annotated[int, Meta(ge=0, le=10000)]


class PoliciesPriority(Struct, frozen=True, kw_only=True):
    """New places, also such as are each other's."""

    l7policies: Annotated[list[PolicyPriority], Meta(max_length=_ROOM)]


def delete_certificates(call: ApiRequest) -> ApiResponse:
    """POST certificates/batch-delete."""
    ids = body_of(call, "", CertificatesDelete).value.certificates
    return ApiResponse(200, {"certificates": _deleted(call, "certificate", ids, certificates.discard)})


def delete_pools(call: ApiRequest) -> ApiResponse:
    """POST pools/batch-delete: with their members and health monitors."""
    ids = body_of(call, "", PoolsDelete).value.pools
    return ApiResponse(200, {"pools": _deleted(call, "pool", ids, lambda _, t, row: discard_pool(t, row))})


def delete_listeners(call: ApiRequest) -> ApiResponse:
    """POST listeners/batch-delete: with their policies, all or nothing."""
    ids = list(dict.fromkeys(body_of(call, "", ListenersDelete).value.listener_ids))

    def decide(transaction: Transaction) -> None:
        for identifier in ids:
            discard_listener(
                transaction, get_object(transaction.snapshot, "listener", identifier, call.actor.project_id)
            )

    call.write(decide)
    return ApiResponse(200, {"job_id": None, "listener_ids": ids})


def delete_loadbalancers(call: ApiRequest) -> ApiResponse:
    """POST loadbalancers/batch-delete: with their listeners and, by choice, their pools; all or nothing."""
    option = body_of(call, "", LoadBalancersDelete).value
    ids = list(dict.fromkeys(option.loadbalancer_ids))

    def decide(transaction: Transaction) -> None:
        for identifier in ids:
            row = get_object(transaction.snapshot, "loadbalancer", identifier, call.actor.project_id)
            discard_loadbalancer(transaction, row, pools=option.unbounded_pool is not False)

    call.write(decide)
    return ApiResponse(200, {"job_id": None, "loadbalancer_ids": ids})


def _deleted(
    call: ApiRequest, kind: str, ids: list[str], discard: Callable[[ApiRequest, Transaction, Row], None]
) -> list[dict[str, str]]:
    """Delete each id and return its outcome."""

    def outcome(transaction: Transaction, identifier: str) -> dict[str, str]:
        row = transaction.snapshot.get(kind, identifier)
        if row is None or row.project_id != call.actor.project_id:
            return {"id": identifier, "ret_status": "not found", "ret_code": "ELB.8904"}
        try:
            discard(call, transaction, row)  # raises before it changes anything
        except ApiError as refused:
            return {"id": identifier, "ret_status": "failed", "ret_code": refused.code, "ret_msg": refused.sentence}
        return {"id": identifier, "ret_status": "successful"}

    results, _ = call.write(lambda transaction: [outcome(transaction, one) for one in dict.fromkeys(ids)])
    return results


def add_members(call: ApiRequest) -> ApiResponse:
    """POST members/batch-add: members that exist already are returned unchanged."""
    given = [members.new_data(msgspec.to_builtins(one)) for one in body_of(call, "", MembersCreate).value.members]

    def decide(transaction: Transaction) -> list[tuple[Row, str]]:
        pool = path_object(call, transaction.snapshot, "pool", "pool_id")
        made = []
        for data in given:
            twin = members.twin(transaction.snapshot, pool.id, data)
            row = twin or members.add(transaction, call, pool, data)
            made.append((row, "existed" if twin else "successful"))
        return made

    rows, snapshot = call.write(decide)
    wires = [members.render(call, snapshot, row) | {"ret_status": status} for row, status in rows]
    return ApiResponse(201, {"members": wires})


def update_members(call: ApiRequest) -> ApiResponse:
    """POST members/batch-update."""
    changes = body_of(call, "", MembersUpdate).value.members

    def decide(transaction: Transaction) -> list[Row]:
        pool = path_object(call, transaction.snapshot, "pool", "pool_id")
        return [
            members.change(transaction, _member(transaction.snapshot, pool, one.id), msgspec.to_builtins(one))
            for one in changes
        ]

    rows, snapshot = call.write(decide)
    return ApiResponse(200, {"members": [members.render(call, snapshot, row) for row in rows]})


def delete_members(call: ApiRequest) -> ApiResponse:
    """POST members/batch-delete."""
    given = [msgspec.to_builtins(one) for one in body_of(call, "", MembersDelete).value.members]

    def decide(transaction: Transaction) -> list[dict[str, Any]]:
        pool = path_object(call, transaction.snapshot, "pool", "pool_id")
        members.check_deletable(pool)
        return [_gone(transaction, pool, one) for one in given]

    results, _ = call.write(decide)
    return ApiResponse(200, {"members": results})


def _gone(transaction: Transaction, pool: Row, one: dict[str, Any]) -> dict[str, Any]:
    identifier = one.get("id")
    if identifier:
        found = transaction.snapshot.get("member", identifier)
        row = found if found is not None and found.data["pool_id"] == pool.id else None
    elif one.get("address") and one.get("protocol_port"):
        row = members.twin(transaction.snapshot, pool.id, one)
    else:
        raise bad_request("members: each needs an id, or address and protocol_port")
    if row is None:
        return {"id": identifier or "", "ret_status": "not found"}
    transaction.delete(row)
    return {"id": row.id, "ret_status": "successful"}


def _member(snapshot: StoreSnapshot, pool: Row, identifier: str) -> Row:
    row = snapshot.get("member", identifier)
    if row is None or row.data["pool_id"] != pool.id:
        raise bad_request(f"members: {identifier} is no member of pool {pool.id}")
    return row


def set_priorities(call: ApiRequest) -> ApiResponse:
    """POST l7policies/batch-update-priority: all at once, so that policies can change places."""
    wanted = {one.id: one.priority for one in body_of(call, "", PoliciesPriority).value.l7policies}
    call.write(lambda transaction: l7policies.prioritise(transaction, call, wanted))
    return ApiResponse(202, {})


_MEMBERS: Final = "/pools/{pool_id}/members"

ROUTES: Final = (
    Route(
        "POST",
        "/certificates/batch-delete",
        delete_certificates,
        "Delete several certificates",
        ("", CertificatesDelete),
    ),
    Route("POST", "/listeners/batch-delete", delete_listeners, "Delete several listeners", ("", ListenersDelete)),
    Route(
        "POST",
        "/loadbalancers/batch-delete",
        delete_loadbalancers,
        "Delete several load balancers",
        ("", LoadBalancersDelete),
    ),
    Route("POST", "/pools/batch-delete", delete_pools, "Delete several pools", ("", PoolsDelete)),
    Route("POST", f"{_MEMBERS}/batch-add", add_members, "Create several members", ("", MembersCreate), 201),
    Route("POST", f"{_MEMBERS}/batch-update", update_members, "Update several members", ("", MembersUpdate)),
    Route("POST", f"{_MEMBERS}/batch-delete", delete_members, "Delete several members", ("", MembersDelete)),
    Route(
        "POST",
        "/l7policies/batch-update-priority",
        set_priorities,
        "Give several policies other priorities",
        ("", PoliciesPriority),
        202,
    ),
)
