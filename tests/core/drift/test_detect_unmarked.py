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


def test_a_member_that_is_gone_was_deleted_by_others() -> None:
    assert found(seen()) == ["deleted"]
    assert found(unmarked.NOTHING) == []


def test_one_that_a_plan_took_away_was_not() -> None:
    assert found(seen().changed([deletion("member", "m10.0.0.1", "", "", parent="p")])) == []


def test_nor_one_that_the_endpoints_took_away() -> None:
    assert found(seen().shared_out({"p": pool()})) == []


def test_what_we_did_is_put_in_in_its_order() -> None:
    world = ObservedState()
    world.set_baseline(seen())
    world.record_members(pool())
    assert found(world.baseline) == []
    world.record_members(pool("10.0.0.1"))
    world.record_steps([deletion("member", "m10.0.0.1", "", "", parent="p")])
    assert found(world.baseline) == []
    world.set_baseline(seen())
    assert found(world.baseline) == ["deleted"]
