"""What we did ourselves is no drift, though nothing but our memory says so."""

from __future__ import annotations

from certferry.controller.sync.observed_state import ObservedState
from certferry.core.drift import detect_unmarked as unmarked
from certferry.core.drift.detect_unmarked import Baseline
from certferry.core.model.elb import Member, Pool, State
from certferry.core.plan.steps import deletion

KEY = "@pool/@listener/lb-1/443/web"


def pool(*addresses: str, ref: str = "p") -> Pool:
    members = tuple(Member(id=f"m{a}", address=a, protocol_port=80, name="0" * 32) for a in addresses)
    return Pool(id=ref, loadbalancer_id="lb-1", name="web", members=members)


def found(known: Baseline) -> list[str]:
    """Return the drifts when the only member is missing on the ELB."""
    desired, observed = State(pools={KEY: pool("10.0.0.1", ref=KEY)}), State(pools={"p": pool()})
    return [d.what for d in unmarked.members(desired, observed, {KEY: "p"}, known)]


def seen() -> Baseline:
    return Baseline(ids={KEY: "p"}, state=State(pools={"p": pool("10.0.0.1")}))


def test_a_missing_member_was_deleted_by_another_client() -> None:
    assert found(seen()) == ["deleted"]
    assert found(unmarked.NOTHING) == []


def test_a_member_removed_by_a_plan_is_no_drift() -> None:
    assert found(seen().changed([deletion("member", "m10.0.0.1", "", "", parent="p")])) == []


def test_a_member_removed_by_endpoints_is_no_drift() -> None:
    assert found(seen().shared_out({"p": pool()})) == []


def test_own_changes_are_applied_in_their_order() -> None:
    world = ObservedState()
    world.set_baseline(seen())
    world.record_members(pool())
    assert found(world.baseline) == []
    world.record_members(pool("10.0.0.1"))
    world.record_steps([deletion("member", "m10.0.0.1", "", "", parent="p")])
    assert found(world.baseline) == []
    world.set_baseline(seen())
    assert found(world.baseline) == ["deleted"]
