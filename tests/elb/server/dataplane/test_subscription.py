"""What one Envoy has and wants, by the rules of incremental xDS."""

from __future__ import annotations

import sys
from itertools import islice
from typing import Any

import msgspec
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest

from certferry.elb.server.dataplane.xds.subscription import Answer, Subscription


class Thing(msgspec.Struct, frozen=True):
    version: str


WORLD = {"a": Thing("1"), "b": Thing("1")}


def test_all_is_wanted_by_a_first_request_without_names_or_by_a_star() -> None:
    for request in (_request(), _request(subscribe=["*"])):
        subscription = Subscription()
        subscription.request(request)
        assert list(subscription.changed(WORLD)) == ["a", "b"]


def test_only_what_was_named_is_wanted() -> None:
    subscription = _subscribed("b", "c")
    assert list(subscription.changed(WORLD)) == ["b"]
    subscription.request(_request(unsubscribe=["b"]))
    assert list(subscription.changed(WORLD)) == []


def test_what_envoy_has_is_not_sent_again_and_what_changed_meanwhile_is() -> None:
    subscription = Subscription()
    subscription.request(_request(subscribe=["a", "b"], versions={"a": "1", "b": "0"}))
    assert list(subscription.changed(WORLD)) == ["b"]


def test_what_is_asked_for_again_is_sent_again() -> None:
    subscription = _subscribed("a")
    subscription.send("1", [("a", "1")])
    assert list(subscription.changed(WORLD)) == []
    subscription.request(_request(subscribe=["a"]))
    assert list(subscription.changed(WORLD)) == ["a"]


def test_what_is_no_more_is_said_once() -> None:
    subscription = Subscription()
    subscription.request(_request(versions={"gone": "1", "a": "1"}))
    assert subscription.gone(WORLD) == ["gone"]
    subscription.send("1", [], ["gone"])
    assert subscription.gone(WORLD) == []


def test_a_name_that_never_was_is_answered_once() -> None:
    subscription = _subscribed("never")
    assert subscription.gone(WORLD) == ["never"]
    subscription.send("1", [], ["never"])
    assert subscription.gone(WORLD) == []
    assert list(subscription.changed({"never": Thing("1")})) == ["never"]


def test_a_first_request_for_all_is_owed_an_answer_even_if_there_is_nothing() -> None:
    subscription = Subscription()
    subscription.request(_request())
    assert subscription.owes_greeting()
    subscription.send("1", [])
    assert not subscription.owes_greeting()
    back = Subscription()
    back.request(_request(versions={"a": "1"}))
    assert not back.owes_greeting()


def test_answers_name_what_they_are_about() -> None:
    subscription = _subscribed("a")
    subscription.send("7", [("a", "1")])
    refusal = _request(nonce="7")
    refusal.error_detail.message = "no"
    assert subscription.request(refusal) == Answer((("a", "1"),), "no")
    subscription.send("8", [("a", "2")])
    assert subscription.request(_request(nonce="8")) == Answer((("a", "2"),), "")
    assert subscription.request(_request(nonce="from another stream")) is None


def test_the_work_for_a_resource_does_not_grow_with_their_number() -> None:
    assert _calls_for_all(4_000) < 11 * _calls_for_all(400)


def _calls_for_all(number: int) -> int:
    """Count the calls that it takes to send `number` resources, and to renew one."""
    world = {f"{n}": Thing("1") for n in range(number)}
    subscription = _subscribed(*world)
    calls = 0

    def count(_frame: Any, event: str, _argument: Any) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        for nonce in range(number):
            batch = [(name, "1") for name in islice(subscription.changed(world), 50)]
            if not batch:
                break
            subscription.gone(world)
            subscription.send(f"{nonce}", batch)
            subscription.request(_request(nonce=f"{nonce}"))
        assert list(subscription.changed(world | {"7": Thing("2")})) == ["7"]
    finally:
        sys.setprofile(None)
    assert not subscription.flight
    return calls


def _subscribed(*names: str) -> Subscription:
    subscription = Subscription()
    subscription.request(_request(subscribe=list(names)))
    return subscription


def _request(
    subscribe: list[str] | None = None,
    unsubscribe: list[str] | None = None,
    versions: dict[str, str] | None = None,
    nonce: str = "",
) -> Any:
    return DeltaDiscoveryRequest(
        resource_names_subscribe=subscribe or [],
        resource_names_unsubscribe=unsubscribe or [],
        initial_resource_versions=versions or {},
        response_nonce=nonce,
    )
