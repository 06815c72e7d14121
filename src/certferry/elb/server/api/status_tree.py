"""The status of members and policies, and the status tree of a load balancer (elb-v3-api.md 4)."""

from __future__ import annotations

from typing import Any

from certferry.elb.server.api.request import ApiRequest, ApiResponse, path_object
from certferry.elb.server.dataplane.status import DataPlaneStatus
from certferry.elb.server.store.tables import Row, StoreSnapshot

Wire = dict[str, Any]


def statuses(call: ApiRequest) -> ApiResponse:
    """Answer GET …/statuses."""
    snapshot, report = call.snapshot, call.plane()
    row = path_object(call, snapshot, "loadbalancer")
    listeners = snapshot.find("listener", "loadbalancer_id", row.id)
    pools = snapshot.find("pool", "loadbalancer_id", row.id)
    tree = {
        **_state(row, "ONLINE"),
        "listeners": [_listener(report, snapshot, one) for one in listeners],
        "pools": [_pool(report, snapshot, one) for one in pools],
    }
    tree["operating_status"] = _operating(row, tree["listeners"] + tree["pools"])
    if report.envoy is not None and not report.envoy.serves and not report.connected:
        # the vendor's tree has no word for a load balancer that does not serve at all
        tree |= {"operating_status": "DEGRADED", "certferry": {"troubles": [report.envoy.sentence]}}
    return ApiResponse(200, {"statuses": {"loadbalancer": tree}})


def _listener(report: DataPlaneStatus, snapshot: StoreSnapshot, row: Row) -> Wire:
    policies = snapshot.find("l7policy", "listener_id", row.id)
    used = {
        row.data["default_pool_id"],
        *(policy.data["redirect_pool_id"] for policy in policies),
        *(share["pool_id"] for policy in policies for share in policy.data["redirect_pools_config"] or ()),
    }
    pools = [_pool(report, snapshot, pool) for one in sorted(filter(None, used)) if (pool := snapshot.get("pool", one))]
    shown = [_policy(snapshot, policy) for policy in policies]
    troubles = report.troubles(row.id)
    broken = bool(troubles) or any(policy["provisioning_status"] == "ERROR" for policy in shown)
    return {
        **_state(row, "DEGRADED" if broken else _operating(row, pools)),
        "pools": pools,
        "l7policies": shown,
        **({"certferry": {"troubles": list(troubles)}} if troubles else {}),
    }


def _policy(snapshot: StoreSnapshot, row: Row) -> Wire:
    rules = snapshot.find("rule", "l7policy_id", row.id)
    return {
        "id": row.id,
        "name": row.data["name"],
        "action": row.data["action"],
        "provisioning_status": policy_status(snapshot, row),
        "rules": [{"id": r.id, "type": r.data["type"], "provisioning_status": "ACTIVE"} for r in rules],
    }


def _pool(report: DataPlaneStatus, snapshot: StoreSnapshot, row: Row) -> Wire:
    monitors = snapshot.find("healthmonitor", "pool_id", row.id)
    members = [
        {
            "id": member.id,
            "address": member.data["address"],
            "protocol_port": member.data["protocol_port"],
            "provisioning_status": "ACTIVE",
            "operating_status": member_status(report, snapshot, member),
        }
        for member in snapshot.find("member", "pool_id", row.id)
    ]
    return {
        **_state(row, _operating(row, members)),
        "healthmonitor": _monitor(monitors[0]) if monitors else {},
        "members": members,
    }


def _monitor(row: Row) -> Wire:
    return {"id": row.id, "name": row.data["name"], "type": row.data["type"], "provisioning_status": "ACTIVE"}


def _state(row: Row, operating: str) -> Wire:
    return {"id": row.id, "name": row.data["name"], "provisioning_status": "ACTIVE", "operating_status": operating}


def _operating(row: Row, parts: list[Wire]) -> str:
    if not row.data["admin_state_up"]:
        return "DISABLED"
    degraded = any(part["operating_status"] in ("OFFLINE", "DEGRADED") for part in parts)
    return "DEGRADED" if degraded else "ONLINE"


def member_status(report: DataPlaneStatus, snapshot: StoreSnapshot, member: Row) -> str:
    """Return NO_MONITOR without an active health monitor (the data plane has none for UDP), INITIAL before the first check, then ONLINE or OFFLINE."""
    monitors = snapshot.find("healthmonitor", "pool_id", member.data["pool_id"])
    if not (monitors and monitors[0].data["admin_state_up"]) or monitors[0].data["type"] == "UDP_CONNECT":
        return "NO_MONITOR"
    key = (member.data["pool_id"], member.data["address"], member.data["protocol_port"])
    passes = report.members.get(key)
    return "INITIAL" if passes is None else "ONLINE" if passes else "OFFLINE"


def policy_status(snapshot: StoreSnapshot, policy: Row) -> str:
    """Return ERROR if an older policy of the listener has the same rules and so gets its requests."""
    own = _conditions(snapshot, policy.id)
    if not own:
        return "ACTIVE"
    # A policy with the same rules has its rarest rule too, and few others have that.
    rarest = min(own, key=lambda condition: snapshot.count("rule", _condition, condition))
    for rule in snapshot.find("rule", _condition, rarest):
        other = snapshot.get("l7policy", rule.data["l7policy_id"])
        assert other is not None
        older = (other.created_at, other.id) < (policy.created_at, policy.id)
        same_listener = other.data["listener_id"] == policy.data["listener_id"]
        if older and same_listener and _conditions(snapshot, other.id) == own:
            return "ERROR"
    return "ACTIVE"


def _conditions(snapshot: StoreSnapshot, policy_id: str) -> frozenset[tuple[str, ...]]:
    return frozenset(
        condition for rule in snapshot.find("rule", "l7policy_id", policy_id) for condition in _condition(rule)
    )


def _condition(rule: Row) -> list[tuple[str, ...]]:
    alternatives = sorted(f"{one['key']}={one['value']}" for one in rule.data["conditions"])
    return [(rule.data["type"], rule.data["compare_type"], rule.data["value"], *alternatives)]
