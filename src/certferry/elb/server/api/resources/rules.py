"""Rules of a policy (elb-v3-api.md 6): each one condition; a policy takes what all of its rules match."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

from msgspec import UNSET, Struct, UnsetType

from certferry.core.envoy import re2_problem
from certferry.elb.server.api.fields import Flag, line, one_of
from certferry.elb.server.api.listing import Resource, Wire, listing
from certferry.elb.server.api.request import ApiRequest, Route, merged, path_object
from certferry.elb.server.api.resources.crud import Crud, wire
from certferry.elb.server.errors import bad_request, over_quota
from certferry.elb.server.rules.certificate_binding import past_names
from certferry.elb.server.store.tables import Row, StoreSnapshot
from certferry.elb.server.store.transaction import Transaction

Kind = Annotated[str, one_of("HOST_NAME", "PATH", "METHOD", "HEADER", "QUERY_STRING", "SOURCE_IP", "COOKIE")]
Comparison = Annotated[str, one_of("EQUAL_TO", "STARTS_WITH", "REGEX")]
Value = Annotated[str, line(128)] | UnsetType | None

_ONCE: Final = ("HOST_NAME", "PATH", "METHOD", "SOURCE_IP")
"""Types of which a policy has at most one rule."""
_ADVANCED: Final = ("METHOD", "HEADER", "QUERY_STRING", "SOURCE_IP", "COOKIE")
"""Types that need advanced forwarding."""


class RuleCondition(Struct, frozen=True, kw_only=True):
    """One alternative of a rule."""

    key: Annotated[str, line(128)] | None = None
    value: Annotated[str, line(128)]


class RuleUpdate(Struct, frozen=True, kw_only=True):
    """The fields that a PUT may change."""

    compare_type: Comparison | UnsetType = UNSET
    value: Value = UNSET
    key: Value = UNSET
    conditions: list[RuleCondition] | UnsetType | None = UNSET
    invert: Flag = UNSET
    admin_state_up: Flag = UNSET


class RuleCreate(RuleUpdate, frozen=True, kw_only=True):
    """A new rule: a value, or alternatives in conditions."""

    type: Kind
    compare_type: Comparison


_DEFAULTS: Final[dict[str, Any]] = {
    "type": None,
    "compare_type": "EQUAL_TO",
    "value": "",
    "key": None,
    "conditions": [],
    "invert": False,
    "admin_state_up": True,
}


def render(call: ApiRequest, snapshot: StoreSnapshot, row: Row) -> Wire:
    """Return a rule as answers show it."""
    return wire(row, _DEFAULTS, provisioning_status="ACTIVE")


def rule_data(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a new rule."""
    return normalize(merged(_DEFAULTS, given, _DEFAULTS))


def normalize(data: dict[str, Any]) -> dict[str, Any]:
    """Check each condition and return `data` with all in one form. Raises ApiError (400)."""
    conditions = [{"key": one.get("key") or "", "value": one["value"]} for one in data["conditions"]]
    data = {**data, "conditions": conditions, "value": data["value"] or ""}
    kind, values = (data["type"], [value for value in (data["value"], *(c["value"] for c in conditions)) if value])
    if not values:
        raise bad_request(f"A rule of type {kind} needs a value or conditions")
    if data["compare_type"] != "EQUAL_TO" and kind != "PATH":
        raise bad_request(f"compare_type {data['compare_type']} is for rules of type PATH")
    if kind in ("HEADER", "QUERY_STRING", "COOKIE") and not all(c["key"] for c in conditions):
        raise bad_request(f"Each condition of a rule of type {kind} needs a key")
    if kind == "PATH":
        _check_paths(data["compare_type"], values)
    if kind == "HOST_NAME" and any("*" in value.removeprefix("*.") for value in values):
        raise bad_request("A HOST_NAME has * only as its first label")
    return data


def _check_paths(comparison: str, values: Sequence[str]) -> None:
    for value in values:
        if comparison != "REGEX" and not value.startswith("/"):
            raise bad_request("A PATH begins with /")
        if comparison == "REGEX" and (problem := re2_problem(value)):
            raise bad_request(f"PATH “{value}”: {problem}")


def check_rules(rules: Sequence[Mapping[str, Any]], advanced: bool, call: ApiRequest) -> None:
    """Raise ApiError unless `rules` can stand together in one policy."""
    for kind in _ONCE:
        if sum(rule["type"] == kind for rule in rules) > 1:
            raise bad_request(f"A policy has at most one rule of type {kind}; use its conditions")
    count = sum(max(1, len(rule["conditions"])) for rule in rules)
    limit = call.settings.limits.condition_per_policy
    if 0 <= limit < count:
        raise over_quota("condition_per_policy", limit)
    if advanced:
        return
    for rule in rules:
        wild = rule["type"] == "HOST_NAME" and "*" in rule["value"]
        if rule["type"] in _ADVANCED or rule["conditions"] or wild:
            raise bad_request(
                f"This rule of type {rule['type']} needs advanced forwarding: "
                "set enhance_l7policy_enable of the listener"
            )


def revalidate(transaction: Transaction, call: ApiRequest, policy: Row) -> None:
    """After rules of `policy` changed: checks them together, and forgets past names without a rule."""
    snapshot = transaction.snapshot
    listener = snapshot.get("listener", policy.data["listener_id"])
    assert listener is not None
    rules = [row.data for row in snapshot.find("rule", "l7policy_id", policy.id)]
    check_rules(rules, listener.data["enhance_l7policy_enable"], call)
    forget_names(transaction, listener)


def forget_names(transaction: Transaction, listener: Row) -> None:
    """Drop the past names of `listener` that no rule mentions any more."""
    kept = past_names(transaction.snapshot, listener, ())
    if kept != listener.data["past_names"]:
        transaction.update(listener, {**listener.data, "past_names": kept})


def _insert(call: ApiRequest, transaction: Transaction, data: dict[str, Any]) -> Row:
    policy = path_object(call, transaction.snapshot, "l7policy", "l7policy_id")
    row = transaction.create("rule", str(uuid.uuid4()), data | {"l7policy_id": policy.id})
    revalidate(transaction, call, policy)
    return row


def _change(call: ApiRequest, transaction: Transaction, before: Row, data: dict[str, Any], _: Any) -> Row:
    row = transaction.update(before, data)
    revalidate(transaction, call, path_object(call, transaction.snapshot, "l7policy", "l7policy_id"))
    return row


def _delete(call: ApiRequest, transaction: Transaction, row: Row) -> None:
    transaction.delete(row)
    revalidate(transaction, call, path_object(call, transaction.snapshot, "l7policy", "l7policy_id"))


RESOURCE: Final = Resource(kind="rule", plural="rules", render=render, within=("l7policy", "l7policy_id"))
_EVERY: Final = Resource(kind="rule", plural="rules", render=render)

CRUD: Final = Crud(
    resource=RESOURCE,
    path="/l7policies/{l7policy_id}/rules",
    title="a rule",
    titles="the rules of a policy",
    create_body=RuleCreate,
    update_body=RuleUpdate,
    defaults=_DEFAULTS,
    fixed=("type",),
    checked=lambda _, data: normalize(data),
    insert=_insert,
    change=_change,
    delete=_delete,
)
ROUTES: Final = (Route("GET", "/l7policies/rules", listing(_EVERY), "List the rules of all policies"), *CRUD.routes())
