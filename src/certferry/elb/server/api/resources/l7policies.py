"""Forwarding policies (elb-v3-api.md 6): what a listener does with requests that match all rules."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Final

from certferry.core.model.elb import LAYER_4
from certferry.elb.server.api.listing import Resource, Wire
from certferry.elb.server.api.request import ApiRequest, Body, get_object, merged, references, within_quota
from certferry.elb.server.api.resources.crud import Crud, wire
from certferry.elb.server.api.resources.l7policy_bodies import (
    FixedResponseConfig,
    L7PolicyCreate,
    L7PolicyUpdate,
    RedirectUrlConfig,
)
from certferry.elb.server.api.resources.listeners import check_pool
from certferry.elb.server.api.resources.rules import check_rules, forget_names, rule_data
from certferry.elb.server.api.resources.rules import render as render_rule
from certferry.elb.server.api.status_tree import policy_status
from certferry.elb.server.errors import bad_request, conflict, over_quota
from certferry.elb.server.store.tables import Row, StoreSnapshot
from certferry.elb.server.store.transaction import Transaction

_DEFAULTS: Final[dict[str, Any]] = {
    "name": "",
    "description": "",
    "admin_state_up": True,
    "priority": None,
    "position": None,
    "redirect_url": None,
    "redirect_pool_id": None,
    "redirect_pools_config": None,
    "redirect_listener_id": None,
    "redirect_url_config": None,
    "fixed_response_config": None,
    "enterprise_project_id": "0",
}
_TARGETS: Final = {
    "REDIRECT_TO_POOL": ("redirect_pool_id", "redirect_pools_config"),
    "REDIRECT_TO_LISTENER": ("redirect_listener_id",),
    "REDIRECT_TO_URL": ("redirect_url_config",),
    "FIXED_RESPONSE": ("fixed_response_config",),
}
"""Action → the fields of which it needs one; those of the others it must not have."""
_UNSERVED: Final = ("redirect_pools_extend_config", "redirect_pools_sticky_session_config")
_FIXED: Final[dict[str, Any]] = {"redirect_pools_sticky_session_config": None, "redirect_pools_extend_config": None}


def render(call: ApiRequest, snapshot: StoreSnapshot, row: Row) -> Wire:
    """Return a policy as answers show it."""
    own = {
        **{field: row.data.get(field, default) for field, default in _DEFAULTS.items()},
        "priority": 1 if row.data["priority"] is None else row.data["priority"],
        "action": row.data["action"],
        "listener_id": row.data["listener_id"],
        "provisioning_status": policy_status(snapshot, row),
        "rules": _shown_rules(call, snapshot, row),
    }
    return wire(row, (), **_FIXED, **own)


def _shown_rules(call: ApiRequest, snapshot: StoreSnapshot, row: Row) -> list[Wire]:
    rules = snapshot.find("rule", "l7policy_id", row.id)
    if ("display_all_rules", "true") in call.query:
        return [render_rule(call, snapshot, one) for one in rules]
    return list(references(rules))


def _new(call: ApiRequest, body: Body[L7PolicyCreate]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    own = {"action": body.value.action, "listener_id": body.value.listener_id}
    rules = _rules(body.given)
    return _tidied(merged(_DEFAULTS, body.given, _DEFAULTS) | own), rules


def _insert(call: ApiRequest, transaction: Transaction, new: tuple[dict[str, Any], list[dict[str, Any]]]) -> Row:
    snapshot, (data, rules) = transaction.snapshot, new
    within_quota(snapshot, call, "l7policy")
    listener = get_object(snapshot, "listener", data["listener_id"], call.actor.project_id)
    limit = call.settings.limits.l7policies_per_listener
    if 0 <= limit <= snapshot.count("l7policy", "listener_id", listener.id):
        raise over_quota("l7policies_per_listener", limit)
    data["priority"] = _priority(snapshot, data, listener)
    _check(call, snapshot, data, listener)
    check_rules(rules, listener.data["enhance_l7policy_enable"], call)
    row = transaction.create("l7policy", str(uuid.uuid4()), data)
    _add(transaction, row, rules)
    return row


def _prepare(call: ApiRequest, body: Body[L7PolicyUpdate]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    return body.given, _rules(body.given)


def _change(
    call: ApiRequest,
    transaction: Transaction,
    before: Row,
    data: dict[str, Any],
    prepared: tuple[dict[str, Any], list[dict[str, Any]]],
) -> Row:
    """Update a policy; given rules replace all its rules."""
    snapshot, (given, rules) = transaction.snapshot, prepared
    listener = get_object(snapshot, "listener", before.data["listener_id"], call.actor.project_id)
    if before.data["priority"] is None and given.get("priority") == 1:
        data["priority"] = None  # Answers show None as 1, and a client may send back what it read.
    data = _tidied(data)
    data["priority"] = _priority(snapshot, data, listener, before.id)
    _check(call, snapshot, data, listener)
    row = transaction.update(before, data)
    if "rules" in given:
        check_rules(rules, listener.data["enhance_l7policy_enable"], call)
        _replace(transaction, row, rules)
        forget_names(transaction, listener)
    return row


def _delete(call: ApiRequest, transaction: Transaction, row: Row) -> None:
    listener = get_object(transaction.snapshot, "listener", row.data["listener_id"], row.project_id)
    discard_policy(transaction, row)
    forget_names(transaction, listener)


def discard_policy(transaction: Transaction, row: Row) -> None:
    """Delete the policy and its rules."""
    _replace(transaction, row, ())
    transaction.delete(row)


def prioritise(transaction: Transaction, call: ApiRequest, wanted: Mapping[str, int]) -> None:
    """Give policies (by id) other priorities, all at once. Raises ApiError."""
    for identifier, priority in wanted.items():
        before = get_object(transaction.snapshot, "l7policy", identifier, call.actor.project_id)
        transaction.update(before, {**before.data, "priority": priority})
    for identifier in wanted:
        row = get_object(transaction.snapshot, "l7policy", identifier, call.actor.project_id)
        listener = get_object(transaction.snapshot, "listener", row.data["listener_id"], row.project_id)
        _priority(transaction.snapshot, row.data, listener, identifier)


def _rules(given: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [rule_data(rule) for rule in given.get("rules") or ()]


def _add(transaction: Transaction, policy: Row, rules: Sequence[Mapping[str, Any]]) -> None:
    for rule in rules:
        transaction.create("rule", str(uuid.uuid4()), {**rule, "l7policy_id": policy.id})


def _replace(transaction: Transaction, policy: Row, rules: Sequence[Mapping[str, Any]]) -> None:
    """Replace all rules of `policy`; equal rules keep their ids."""
    wanted = [{**rule, "l7policy_id": policy.id} for rule in rules]
    for row in transaction.snapshot.find("rule", "l7policy_id", policy.id):
        if row.data in wanted:
            wanted.remove(dict(row.data))
        else:
            transaction.delete(row)
    _add(transaction, policy, wanted)


def _tidied(data: dict[str, Any]) -> dict[str, Any]:
    references = ("redirect_pool_id", "redirect_listener_id", "redirect_pools_config")
    return {**data, **{field: data[field] or None for field in references}}


def _priority(snapshot: StoreSnapshot, data: Mapping[str, Any], listener: Row, own_id: str = "") -> int | None:
    """Return the priority of the policy `own_id` (a new one has no id). Raises ApiError."""
    priority = data["priority"]
    if data["action"] == "REDIRECT_TO_LISTENER":
        return priority or 0
    if not listener.data["enhance_l7policy_enable"]:
        if priority is not None:
            raise bad_request("priority needs advanced forwarding: set enhance_l7policy_enable of the listener")
        return None
    if priority is None:
        siblings = snapshot.find("l7policy", "listener_id", listener.id)
        highest = max((row.data["priority"] or 0 for row in siblings if row.id != own_id), default=0)
        if highest >= 10_000:
            raise bad_request("The next priority would be above 10000: name one, or renumber the others")
        return highest + 1
    if priority == 0:
        raise bad_request("priority 0 is for policies of action REDIRECT_TO_LISTENER")
    if any(row.id != own_id for row in snapshot.find("l7policy", _listener_priority, (listener.id, priority))):
        raise conflict(f"Another policy of listener {listener.id} has priority {priority}")
    return int(priority)


def _listener_priority(policy: Row) -> list[tuple[str, int | None]]:
    return [(policy.data["listener_id"], policy.data["priority"])]


def _check(call: ApiRequest, snapshot: StoreSnapshot, data: Mapping[str, Any], listener: Row) -> None:
    """Raise ApiError unless the policy has what its action needs, and no more."""
    action = data["action"]
    if listener.data["protocol"] in LAYER_4:
        raise bad_request(f"A listener of protocol {listener.data['protocol']} has no forwarding policies")
    for other, fields in _TARGETS.items():
        given = [field for field in fields if data[field] is not None]
        if other == action and not given:
            raise bad_request(f"Action {action} needs {' or '.join(fields)}")
        if other != action and given:
            raise bad_request(f"{given[0]} does not go with action {action}")
    if action in ("REDIRECT_TO_URL", "FIXED_RESPONSE") and not listener.data["enhance_l7policy_enable"]:
        raise bad_request(f"{action} needs advanced forwarding: set enhance_l7policy_enable of the listener")
    if action == "REDIRECT_TO_LISTENER":
        _check_listener(call, snapshot, data["redirect_listener_id"], listener)
    if (url := data["redirect_url_config"]) and all(
        url[part] == f"${{{part}}}" for part in ("protocol", "host", "port", "path")
    ):
        raise bad_request("redirect_url_config needs one of protocol, host, port, path: it would lead to itself")
    shares = data["redirect_pools_config"] or ()
    limit = call.settings.limits.pools_per_l7policy
    if 0 <= limit < len(shares):
        raise over_quota("pools_per_l7policy", limit)
    for pool_id in filter(None, (data["redirect_pool_id"], *(share["pool_id"] for share in shares))):
        check_pool(call, snapshot, pool_id, listener.data["protocol"], listener.data["loadbalancer_id"])


def _check_listener(call: ApiRequest, snapshot: StoreSnapshot, target_id: str, listener: Row) -> None:
    target = get_object(snapshot, "listener", target_id, call.actor.project_id)
    if listener.data["protocol"] != "HTTP" or target.data["protocol"] != "HTTPS":
        raise bad_request("REDIRECT_TO_LISTENER leads from an HTTP listener to an HTTPS listener")
    if target.data["loadbalancer_id"] != listener.data["loadbalancer_id"]:
        raise bad_request("redirect_listener_id is a listener of another load balancer")


RESOURCE: Final = Resource(kind="l7policy", plural="l7policies", render=render)

CRUD: Final = Crud(
    resource=RESOURCE,
    path="/l7policies",
    title="a policy",
    titles="policies",
    create_body=L7PolicyCreate,
    update_body=L7PolicyUpdate,
    defaults=_DEFAULTS,
    fixed=("action", "listener_id"),
    unserved=_UNSERVED,
    parts={"redirect_url_config": RedirectUrlConfig, "fixed_response_config": FixedResponseConfig},
    new=_new,
    insert=_insert,
    prepare=_prepare,
    change=_change,
    delete=_delete,
)
ROUTES: Final = CRUD.routes()
