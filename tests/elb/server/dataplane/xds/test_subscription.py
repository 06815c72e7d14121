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


def test_a_first_request_without_names_or_with_a_star_is_a_wildcard() -> None:
    for request in (_request(), _request(subscribe=["*"])):
        subscription = Subscription()
        subscription.request(request)
        assert list(subscription.changed(WORLD)) == ["a", "b"]


def test_only_named_resources_are_subscribed() -> None:
    subscription = _subscribed("b", "c")
    assert list(subscription.changed(WORLD)) == ["b"]
    subscription.request(_request(unsubscribe=["b"]))
    assert list(subscription.changed(WORLD)) == []


def test_only_resources_changed_since_the_last_stream_are_sent() -> None:
    subscription = Subscription()
    subscription.request(_request(subscribe=["a", "b"], versions={"a": "1", "b": "0"}))
    assert list(subscription.changed(WORLD)) == ["b"]


def test_resources_requested_again_are_sent_again() -> None:
    subscription = _subscribed("a")
    subscription.send("1", [("a", "1")])
    assert list(subscription.changed(WORLD)) == []
    subscription.request(_request(subscribe=["a"]))
    assert list(subscription.changed(WORLD)) == ["a"]


def test_a_removal_is_sent_once() -> None:
    subscription = Subscription()
    subscription.request(_request(versions={"gone": "1", "a": "1"}))
    assert subscription.gone(WORLD) == ["gone"]
    subscription.send("1", [], ["gone"])
    assert subscription.gone(WORLD) == []


def test_an_unknown_name_is_answered_once() -> None:
    subscription = _subscribed("never")
    assert subscription.gone(WORLD) == ["never"]
    subscription.send("1", [], ["never"])
    assert subscription.gone(WORLD) == []
    assert list(subscription.changed({"never": Thing("1")})) == ["never"]


def test_a_first_wildcard_request_is_answered_even_if_empty() -> None:
    subscription = Subscription()
    subscription.request(_request())
    assert subscription.owes_greeting()
    subscription.send("1", [])
    assert not subscription.owes_greeting()
    back = Subscription()
    back.request(_request(versions={"a": "1"}))
    assert not back.owes_greeting()


def test_responses_name_their_resources() -> None:
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
