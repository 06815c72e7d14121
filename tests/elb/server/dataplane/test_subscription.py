"""What one Envoy has and wants, by the rules of incremental xDS."""

from __future__ import annotations

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
        assert subscription.changed(WORLD) == ["a", "b"]


def test_only_what_was_named_is_wanted() -> None:
    subscription = _subscribed("b", "c")
    assert subscription.changed(WORLD) == ["b"]
    subscription.request(_request(unsubscribe=["b"]))
    assert subscription.changed(WORLD) == []


def test_what_envoy_has_is_not_sent_again_and_what_changed_meanwhile_is() -> None:
    subscription = Subscription()
    subscription.request(_request(subscribe=["a", "b"], versions={"a": "1", "b": "0"}))
    assert subscription.changed(WORLD) == ["b"]


def test_what_is_asked_for_again_is_sent_again() -> None:
    subscription = _subscribed("a")
    subscription.send("1", [("a", "1")])
    assert subscription.changed(WORLD) == []
    subscription.request(_request(subscribe=["a"]))
    assert subscription.changed(WORLD) == ["a"]


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
    assert subscription.changed({"never": Thing("1")}) == ["never"]


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
