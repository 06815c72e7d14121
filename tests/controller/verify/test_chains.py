"""A rotation is served when clients are sent the whole chain, and not when the leaf alone is right."""

from __future__ import annotations

import json

import pytest

from certferry.controller.mode import ControllerMode, MonitoringOptions
from certferry.core.x509.pem import parse_chain
from tests.controller.conftest import System
from tests.controller.support.fake_kube import until
from tests.support.certs import Authority, Pair, authority

INTERMEDIATE = Authority("Intermediate", by=authority())
OLD = Authority("Old Intermediate", by=authority())


def shop() -> Pair:
    return INTERMEDIATE.issue("shop.example.com", chain=True)


def alone(chain: str) -> str:
    return chain[: chain.index("-----END") + len("-----END CERTIFICATE-----\n")]


async def running(system: System, pair: Pair) -> None:
    system.probe_deadline = 0.5
    system.shop(pair)
    await system.start()
    await system.in_step()
    await until(lambda: rotation(system).get("served"))


def rotation(system: System) -> dict[str, str]:
    said: dict[str, str] = json.loads(system.annotation("certferry.io/rotation") or "{}")
    return said


@pytest.mark.parametrize(
    ("sent", "words"), [("", "is not sent with it"), (OLD.certificate, "CN=Old Intermediate")], ids=["missing", "old"]
)
async def test_the_right_leaf_with_another_chain_is_not_served(system: System, sent: str, words: str) -> None:
    system.elb.extensions = ("versions", "rollback")
    system.mode = ControllerMode(monitoring=MonitoringOptions(probe_interval=0, rollback_within=0.2))
    await running(system, shop())
    system.elb.sends = lambda chain: alone(chain) + sent
    new = shop()
    system.kube.secret("demo", "shop-tls", new)
    await until(lambda: system.kube.events("Ingress", "CertificateNotServed"))
    (event,) = system.kube.events("Ingress", "CertificateNotServed")
    assert "shows the right certificate, but" in event["message"]
    assert words in event["message"]
    assert "CN=Intermediate" in event["message"]
    assert rotation(system)["served"] is None
    assert system.controller is not None
    watch = system.controller.alert_evaluator
    await until(lambda: [a.name for a in watch.alerts.value] == ["CertificateNotServed"])
    assert words in watch.alerts.value[0].why
    # most clients accept it, and a rollback would not bring the chain: it is reported, not rolled back
    assert system.our_certificate()["certificate"] == parse_chain(new.certificate).pem


async def test_a_changed_chain_alone_is_a_verified_rotation(system: System) -> None:
    whole = shop()
    await running(system, Pair(alone(whole.certificate), whole.key))
    before = rotation(system)
    system.kube.secret("demo", "shop-tls", whole)
    await until(lambda: rotation(system) != before and rotation(system)["served"])
    assert rotation(system)["fingerprint"] == before["fingerprint"]
    assert system.our_certificate()["certificate"] == parse_chain(whole.certificate).pem


async def test_a_changed_chain_alone_of_an_elb_certificate_is_verified(system: System) -> None:
    whole = shop()
    ref = system.elb.certificate(alone(whole.certificate), whole.key, name="by-hand")
    system.resync = 0.05
    system.probe_deadline = 0.5
    system.shop(shop(), tls_certificate_ids=ref)
    await system.start()
    await until(lambda: rotation(system).get("served"))
    before = rotation(system)
    system.elb.replace(ref, whole.certificate, whole.key)
    await until(lambda: rotation(system) != before and rotation(system)["served"])
    assert rotation(system)["fingerprint"] == before["fingerprint"]


async def test_a_chain_that_is_not_served_is_reported(system: System) -> None:
    whole = shop()
    await running(system, Pair(alone(whole.certificate), whole.key))
    system.elb.stale_front = True
    system.kube.secret("demo", "shop-tls", whole)
    await until(lambda: system.kube.events("Ingress", "CertificateNotServed"))


async def test_an_additional_root_is_no_difference(system: System) -> None:
    await running(system, shop())
    system.elb.sends = lambda chain: chain + authority().certificate
    new = shop()
    system.kube.secret("demo", "shop-tls", new)
    fingerprint = parse_chain(new.certificate).fingerprint
    await until(lambda: rotation(system)["fingerprint"] == fingerprint)
    assert rotation(system)["served"]


async def test_a_renewal_that_lacks_the_previous_intermediate_is_reported(system: System) -> None:
    await running(system, shop())
    new = shop()
    system.kube.secret("demo", "shop-tls", Pair(alone(new.certificate), new.key))
    await until(lambda: system.kube.events("Secret", "ChainIncomplete"))
    (event,) = system.kube.events("Secret", "ChainIncomplete")
    assert "CN=Intermediate" in event["message"]
