"""The status of members and policies, from the store and the data plane."""

from __future__ import annotations

from certferry.elb.server.dataplane.status import DataPlaneStatus
from certferry.elb.server.store.tables import Row, StoreSnapshot


def member_status(report: DataPlaneStatus, snapshot: StoreSnapshot, member: Row) -> str:
    """NO_MONITOR where nothing is checked; INITIAL until the first check; then ONLINE or OFFLINE."""
    monitors = snapshot.find("healthmonitor", "pool_id", member.data["pool_id"])
    if not (monitors and monitors[0].data["admin_state_up"]):
        return "NO_MONITOR"
    key = (member.data["pool_id"], member.data["address"], member.data["protocol_port"])
    passes = report.members.get(key)
    return "INITIAL" if passes is None else "ONLINE" if passes else "OFFLINE"


def policy_status(snapshot: StoreSnapshot, policy: Row) -> str:
    """ERROR when an older policy of the listener has the same rules, and so takes its requests."""
    own = _conditions(snapshot, policy)
    for other in snapshot.find("l7policy", "listener_id", policy.data["listener_id"]):
        if other.id == policy.id:
            break
        if own and _conditions(snapshot, other) == own:
            return "ERROR"
    return "ACTIVE"


def _conditions(snapshot: StoreSnapshot, policy: Row) -> frozenset[tuple[str, ...]]:
    return frozenset(
        (rule.data["type"], rule.data["compare_type"], rule.data["value"], *_alternatives(rule))
        for rule in snapshot.find("rule", "l7policy_id", policy.id)
    )


def _alternatives(rule: Row) -> list[str]:
    return sorted(f"{one['key']}={one['value']}" for one in rule.data["conditions"])
