"""How members and policies are, as far as the store knows."""

from __future__ import annotations

from certferry.elb.store.world import Row, World


def member_status(world: World, member: Row) -> str:
    """NO_MONITOR without a health monitor; with one INITIAL, until the data plane reports results."""
    return "INITIAL" if world.find("healthmonitor", "pool_id", member.data["pool_id"]) else "NO_MONITOR"


def policy_status(world: World, policy: Row) -> str:
    """ERROR when an older policy of the listener has the same rules, and so takes its requests."""
    own = _conditions(world, policy)
    for other in world.find("l7policy", "listener_id", policy.data["listener_id"]):
        if other.id == policy.id:
            break
        if own and _conditions(world, other) == own:
            return "ERROR"
    return "ACTIVE"


def _conditions(world: World, policy: Row) -> frozenset[tuple[str, ...]]:
    return frozenset(
        (rule.data["type"], rule.data["compare_type"], rule.data["value"], *_alternatives(rule))
        for rule in world.find("rule", "l7policy_id", policy.id)
    )


def _alternatives(rule: Row) -> list[str]:
    return sorted(f"{one['key']}={one['value']}" for one in rule.data["conditions"])
