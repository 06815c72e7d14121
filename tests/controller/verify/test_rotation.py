from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from certferry.core.x509.pem import parse_chain
from tests.controller.conftest import System
from tests.controller.support.fake_kube import until
from tests.support.certs import Pair, authority


def shop(days: float = 90, name: str = "shop.example.com") -> Pair:
    return authority().issue(name, days=days)


async def test_first_use_creates_one_certificate_and_one_listener(system: System) -> None:
    pair = shop()
    system.shop(pair)
    await system.start()
    await system.in_step()
    certificate = system.our_certificate()
    (listener,) = system.elb.made("listeners")
    uid = system.kube.objects["secrets", "demo", "shop-tls"]["metadata"]["uid"]
    assert json.loads(certificate["description"])["secret_id"] == uid
    assert listener["default_tls_container_ref"] == certificate["id"]
    assert [m["address"] for m in system.elb.made("members")] == ["10.0.0.1"]
    await until(lambda: system.kube.objects["ingresses", "demo", "shop"].get("status"))
    status = system.kube.objects["ingresses", "demo", "shop"]["status"]
    assert status["loadBalancer"]["ingress"] == [
        {"ip": "127.0.0.1", "ports": [{"port": system.elb.front_port, "protocol": "TCP"}]}
    ]
    assert system.annotation("kubernetes.io/elb.listener-master-ingress") == "demo/shop"


async def test_the_metric_of_hosts_counts_what_clients_get(system: System) -> None:
    system.shop(shop())
    await system.start()
    await system.in_step()
    assert system.controller is not None
    metrics = system.controller.metrics
    # the host, and clients that name none
    await until(lambda: 'certferry_hosts{status="served"} 2.0' in metrics.text().decode())


async def test_new_content_is_one_put_and_is_served(system: System) -> None:
    system.shop(shop())
    await system.start()
    await system.in_step()
    before, requests = system.our_certificate()["id"], len(system.elb.writes)
    assert system.controller is not None
    seen = system.controller.reconciled
    new = shop()
    system.kube.secret("demo", "shop-tls", new)
    fingerprint = parse_chain(new.certificate).fingerprint
    await until(lambda: fingerprint in system.annotation("certferry.io/rotation"))
    assert system.our_certificate()["id"] == before
    await until(lambda: served_events(system, fingerprint))
    (event,) = served_events(system, fingerprint)
    place = f"127.0.0.1:{system.elb.front_port}"
    assert event["message"].startswith(
        f"New certificate served on {place} (Secret demo/shop-tls, fingerprint {fingerprint[:16]}, expires "
    )
    assert [(m, p) for m, p, _ in system.elb.writes[requests:]] == [("PUT", f"certificates/{before}")]
    rotation = json.loads(system.annotation("certferry.io/rotation"))
    instants = [datetime.fromisoformat(rotation[k]) for k in ("changed", "accepted", "served")]
    assert instants == sorted(instants)
    # and the whole, looked at afterwards, finds nothing to do
    await until(lambda: system.controller is not None and system.controller.reconciled > seen)
    assert len(system.elb.writes) == requests + 1


async def test_many_contents_in_a_row_end_with_the_last_one(system: System) -> None:
    system.shop(shop())
    await system.start()
    await system.in_step()
    pairs = [shop() for _ in range(8)]
    for pair in pairs:
        system.kube.secret("demo", "shop-tls", pair)
    last = parse_chain(pairs[-1].certificate)
    await until(lambda: last.fingerprint in system.annotation("certferry.io/rotation"))
    assert parse_chain(system.our_certificate()["certificate"]).digest == last.digest


async def test_the_same_event_twice_writes_once(system: System) -> None:
    system.shop(shop())
    await system.start()
    await system.in_step()
    new = shop()
    system.kube.secret("demo", "shop-tls", new)
    await until(lambda: system.elb.count("PUT", "certificates") == 1)
    system.kube.repeat_last("secrets")
    third = shop()
    system.kube.secret("demo", "shop-tls", third)
    fingerprint = parse_chain(third.certificate).fingerprint
    await until(lambda: fingerprint in system.annotation("certferry.io/rotation"))
    assert system.elb.count("PUT", "certificates") == 2


@pytest.mark.parametrize("bad", ["mismatch", "garbage", "empty", "expired"])
async def test_a_bad_secret_keeps_the_good_certificate_and_is_reported_once(system: System, bad: str) -> None:
    good = shop()
    system.shop(good)
    system.shop(authority().issue("other.example.com"), name="other")
    await system.start()
    await system.in_step()
    writes = len(system.elb.writes)
    content = {
        "mismatch": Pair(shop().certificate, shop().key),
        "garbage": Pair("no certificate", "no key"),
        "empty": Pair("", shop().key),
        "expired": shop(days=-1),
    }[bad]
    system.kube.secret("demo", "shop-tls", content)
    await until(lambda: _warned(system, "Secret") and _warned(system, "Ingress"))
    assert system.elb.writes[writes:] == []
    warned = {e["involvedObject"]["name"] for e in system.kube.events() if e["type"] == "Warning"}
    assert warned == {"shop", "shop-tls"}
    posted = system.kube.count("POST", "/events")
    # a resync tells nothing anew
    await _looked_again(system)
    assert system.kube.count("POST", "/events") == posted
    assert all(e["count"] == 1 for e in system.kube.events())
    # and a good content heals it
    new = shop()
    system.kube.secret("demo", "shop-tls", new)
    fingerprint = parse_chain(new.certificate).fingerprint
    await until(lambda: fingerprint in system.annotation("certferry.io/rotation"))


async def test_an_expired_certificate_is_served_if_there_was_none(system: System) -> None:
    system.shop(shop(days=-1))
    await system.start()
    await system.in_step()
    assert len(system.elb.made("listeners")) == 1
    await until(lambda: system.kube.events("Ingress", "CertificateExpired"))


async def test_an_elb_certificate_wins_and_its_removal_restores_the_secret(system: System) -> None:
    system.shop(shop())
    await system.start()
    await system.in_step()
    ours = system.our_certificate()["id"]
    chosen = authority().issue("shop.example.com")
    theirs = system.elb.certificate(chosen.certificate, chosen.key, domain="shop.example.com")
    system.ingress(tls_certificate_ids=theirs)
    fingerprint = parse_chain(chosen.certificate).fingerprint
    await until(lambda: fingerprint in system.annotation("certferry.io/rotation"))
    (listener,) = system.elb.made("listeners")
    assert (listener["default_tls_container_ref"], listener["sni_container_refs"]) == (theirs, [])
    # meanwhile the Secret is renewed; its own certificate follows though it is not bound
    new = shop()
    system.kube.secret("demo", "shop-tls", new)
    digest = parse_chain(new.certificate).digest
    await until(lambda: parse_chain(system.our_certificate()["certificate"]).digest == digest)
    system.kube.objects["ingresses", "demo", "shop"]["metadata"]["annotations"].pop(
        "kubernetes.io/elb.tls-certificate-ids"
    )
    system.ingress()
    fingerprint = parse_chain(new.certificate).fingerprint
    await until(lambda: fingerprint in system.annotation("certferry.io/rotation"))
    assert system.our_certificate()["id"] == ours


async def test_an_accepted_certificate_that_is_not_served_is_reported(system: System) -> None:
    system.shop(shop())
    await system.start()
    await system.in_step()
    system.elb.stale_front = True
    system.kube.secret("demo", "shop-tls", shop())
    await until(lambda: system.kube.events("Ingress", "CertificateNotServed"))
    assert json.loads(system.annotation("certferry.io/rotation"))["served"] is None


async def test_a_renewal_that_keeps_its_key_is_served_and_reported(system: System) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    system.shop(authority().issue("shop.example.com", key=key))
    await system.start()
    await system.in_step()
    new = authority().issue("shop.example.com", key=key)
    system.kube.secret("demo", "shop-tls", new)
    fingerprint = parse_chain(new.certificate).fingerprint
    await until(lambda: fingerprint in system.annotation("certferry.io/rotation"))
    await until(lambda: system.kube.events("Secret", "KeyReused"))


async def test_a_dead_listener_delays_no_other(system: System) -> None:
    system.probe_deadline = 60
    dead = system.elb.balancer("dead", address="127.0.0.2")
    others = [f"other{n}" for n in range(4)]
    for name in others:
        system.shop(authority().issue(f"{name}.example.com"), name=name, id=dead)
    system.shop(shop())
    await system.start()
    await system.in_step()
    for name in others:
        system.kube.secret("demo", f"{name}-tls", authority().issue(f"{name}.example.com"))
    await until(lambda: system.elb.count("PUT", "certificates") == len(others))
    new = shop()
    system.kube.secret("demo", "shop-tls", new)
    fingerprint = parse_chain(new.certificate).fingerprint
    await until(lambda: fingerprint in system.annotation("certferry.io/rotation"))
    assert json.loads(system.annotation("certferry.io/rotation"))["served"]


async def test_deleting_the_ingress_leaves_nothing_behind(system: System) -> None:
    system.shop(shop())
    await system.start()
    await system.in_step()
    system.kube.remove("ingresses", "demo", "shop")
    await until(lambda: not system.elb.made("certificates") and not system.elb.made("pools"))
    assert not system.elb.made("listeners")


def _warned(system: System, kind: str) -> bool:
    return any(e["type"] == "Warning" for e in system.kube.events(kind))


async def _looked_again(system: System) -> None:
    controller = system.controller
    assert controller is not None
    seen = controller.reconciled
    system.kube.put("services", "demo", "unrelated", {"spec": {"ports": [{"port": 1}]}})
    await until(lambda: controller.reconciled > seen)


def served_events(system: System, fingerprint: str) -> list[dict[str, Any]]:
    """Return the Events that report this certificate as served."""
    events = system.kube.events("Ingress", "CertificateServed")
    return [e for e in events if fingerprint[:16] in e["message"]]
