"""The state machine of orders, with a CA in memory: restarts, failures, renewals."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from certferry.core.x509.pem import parse_chain
from certferry.elb.server.acme.ca import CaError, CaUnavailable
from certferry.elb.server.acme.model import Order
from certferry.elb.server.acme.schedule import Window, ari_identifier
from certferry.elb.server.api.extensions import compromised, orders
from certferry.elb.server.errors import ApiError
from tests.elb.server.acme.orders import KilledError, Killer, World

NAMES = ["a.example.com", "b.example.com"]


def ordered(world: World) -> None:
    with world.opened() as store:
        world.make(store, orders.create, names=NAMES, issuer="ca")


def renew(world: World) -> None:
    with world.opened() as store:
        (order_id,) = store.snapshot.rows("order")
        world.make(store, orders.renew, {"id": order_id})


def work_with_one_kill(world: World, **killer: int) -> Order:
    with pytest.raises(KilledError):
        world.work(Killer(**killer))
    return world.work()


TRANSITIONS = 6
"""account, placed, presented, validating, finalizing, issued"""


def test_an_issuance_is_as_many_transactions_as_the_tests_below_interrupt(tmp_path: Path) -> None:
    world = World(tmp_path)
    ordered(world)
    killer = Killer()
    world.work(killer)
    assert killer.number == TRANSITIONS


@pytest.mark.parametrize("number", range(1, TRANSITIONS + 1))
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_kill_at_any_transition_loses_and_doubles_no_certificate(tmp_path: Path, moment: str, number: int) -> None:
    world = World(tmp_path)
    ordered(world)
    order = work_with_one_kill(world, **{moment: number})
    assert (order.state, order.error, order.challenges, order.failures) == ("waiting", "", (), 0)
    content = world.content()
    assert content is not None
    assert content[0] == 1
    assert content[1].digest == parse_chain(world.ca.issued[0]).digest
    assert len(world.ca.issued) == 1
    # The CA may keep one unfinished order, if it was placed and its URL was not stored.
    assert world.ca.asked["place"] == 1 + (moment == "before" and number == 2)
    assert world.secrets() == []


@pytest.mark.parametrize("number", range(1, TRANSITIONS))
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_kill_during_a_renewal_keeps_the_present_certificate_until_the_new_one(
    tmp_path: Path, moment: str, number: int
) -> None:
    world = World(tmp_path)
    ordered(world)
    world.work()
    first = world.content()
    assert first is not None
    renew(world)
    with pytest.raises(KilledError):
        world.work(Killer(**{moment: number}))
    between = world.content()
    assert between is not None
    assert between in (first, (2, between[1]))
    world.work()
    second = world.content()
    assert second is not None
    assert (second[0], second[1].spki == first[1].spki) == (2, False)
    assert len(world.ca.issued) == 2
    assert world.ca.replaced[-1] == ari_identifier(first[1].pem)


def test_a_failed_order_waits_longer_each_time_and_keeps_the_certificate(tmp_path: Path) -> None:
    world = World(tmp_path)
    ordered(world)
    world.work()
    first = world.content()
    world.ca.refusal = CaError("rejectedIdentifier", "policy forbids it")
    waits = []
    for failures in (1, 2, 3):
        renew(world)
        order = world.work()
        assert (order.failures, order.error) == (failures, "policy forbids it")
        assert order.next_at is not None
        waits.append(order.next_at - world.clock.now)
    assert waits[0] >= timedelta(minutes=5)
    assert waits == sorted(waits)
    assert world.content() == first


def test_a_rate_limit_is_waited_for_and_shown(tmp_path: Path) -> None:
    world = World(tmp_path)
    ordered(world)
    world.ca.refusal = CaError("rateLimited", "too many certificates for example.com", timedelta(hours=30))
    order = world.work()
    assert order.next_at is not None
    assert order.next_at - world.clock.now >= timedelta(hours=30)
    assert "too many certificates" in order.error
    assert order.reason == "the CA asks to wait"
    world.ca.refusal = None
    world.clock.now += timedelta(hours=31)
    assert world.work().error == ""
    assert world.content() is not None


def test_a_ca_that_does_not_answer_costs_no_attempt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(tmp_path)
    ordered(world)
    with monkeypatch.context() as patch:

        def silent(*_: object) -> str:
            raise CaUnavailable("The CA does not answer")

        patch.setattr(world.ca, "place", silent)
        order = world.work()
        assert (order.failures, order.troubles, order.error) == (0, 1, "The CA does not answer")
    world.clock.now += timedelta(seconds=6)
    assert world.work().error == ""


def test_a_rejected_challenge_fails_the_order_with_the_sentence_of_the_ca(tmp_path: Path) -> None:
    world = World(tmp_path)
    ordered(world)
    respond = world.ca.respond

    def rejected(url: str) -> None:
        respond(url)
        world.ca.reject(url.partition("#")[0], "no route to the host")

    world.ca.respond = rejected  # type: ignore[method-assign]
    order = world.work()
    assert order.failures == 1
    assert "a.example.com: no route to the host" in order.error
    assert (order.challenges, order.listener_ids, order.url) == ((), (), "")
    assert world.secrets() == []


def test_a_worse_certificate_is_not_accepted(tmp_path: Path) -> None:
    world = World(tmp_path)
    ordered(world)
    world.work()
    first = world.content()
    world.ca.lifetime = timedelta(seconds=-30)
    renew(world)
    order = world.work()
    assert order.failures == 1
    assert "not accepted" in order.error
    assert world.content() == first


def test_a_certificate_is_renewed_in_the_window_of_the_ca_else_after_a_share_of_its_life(tmp_path: Path) -> None:
    world = World(tmp_path)
    ordered(world)
    order = world.work()
    assert order.next_at is not None
    assert timedelta(days=57) < order.next_at - world.clock.now <= timedelta(days=60)
    assert order.reason == "two thirds of its life"
    start = world.clock.now + timedelta(days=1)
    world.ca.suggested = Window(start, start + timedelta(hours=2))
    with world.opened() as store:
        (row,) = store.snapshot.rows("order").values()
        again = world.attempts(store).look(row)
        assert again - world.clock.now == timedelta(hours=8)
    order = world.work()
    assert order.next_at is not None
    assert start <= order.next_at <= start + timedelta(hours=2)
    world.clock.now = order.next_at + timedelta(seconds=2)
    world.ca.suggested = None
    world.work()
    content = world.content()
    assert content is not None
    assert content[0] == 2


def test_the_order_of_a_deleted_certificate_ends(tmp_path: Path) -> None:
    world = World(tmp_path)
    ordered(world)
    world.work()
    with world.opened() as store:
        (row,) = store.snapshot.rows("certificate").values()
        store.transact(world.admin, "r", lambda transaction: transaction.delete(row))
        (order,) = store.snapshot.rows("order").values()
        world.attempts(store).step(order)
        assert len(store.snapshot.rows("order")) == 0


def test_the_order_of_a_certificate_with_a_compromised_key_is_due_at_once(tmp_path: Path) -> None:
    world = World(tmp_path)
    ordered(world)
    world.work()
    first = world.content()
    assert first is not None
    with world.opened() as store:
        world.make(store, compromised.mark, spki=first[1].spki, reason="it was on a laptop")
    world.work()
    second = world.content()
    assert second is not None
    assert second[1].spki != first[1].spki


def test_one_set_of_names_has_one_order(tmp_path: Path) -> None:
    world = World(tmp_path)
    ordered(world)
    with world.opened() as store, pytest.raises(ApiError, match="already"):
        world.make(store, orders.create, names=[*reversed(NAMES), "A.example.com."], issuer="ca")
