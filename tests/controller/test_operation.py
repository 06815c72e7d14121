"""How the controller behaves around its work: when it looks again, what it tells, what it leaves alone."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import pytest

from certferry.controller.mode import ControllerMode
from certferry.core.translate.listener_claims import TranslateOptions
from certferry.core.x509.pem import parse_chain
from certferry.kube.client.cache import Scope
from tests.controller.conftest import System
from tests.controller.support.fake_kube import until
from tests.support.certs import Pair, authority

ROTATION = "certferry.io/rotation"
DAY = 86400


def shop(days: float = 90, started: float = 1) -> Pair:
    return authority().issue("shop.example.com", days=days, started=started)


async def running(system: System, pair: Pair | None = None, **annotations: str) -> None:
    system.shop(pair or shop(), **annotations)
    await system.start()
    await system.in_step()


async def served(system: System, pair: Pair) -> None:
    fingerprint = parse_chain(pair.certificate).fingerprint
    await until(lambda: fingerprint in system.annotation(ROTATION))


def metric(system: System, name: str) -> float:
    assert system.controller is not None
    text = system.controller.metrics.text().decode()
    return sum(float(v) for v in re.findall(rf"^{re.escape(name)}(?:{{.*}})? (\S+)$", text, re.MULTILINE))


async def test_a_future_certificate_is_used_once_it_becomes_valid(system: System) -> None:
    await running(system)
    soon = shop(started=-2.0 / DAY)
    system.kube.secret("demo", "shop-tls", soon)
    await until(lambda: system.kube.events("Secret", "CertificateNotYetValid"))
    began = time.monotonic()
    await served(system, soon)  # the resync is a minute away
    assert time.monotonic() - began < 5


async def test_an_expiry_is_reported_when_it_happens(system: System) -> None:
    await running(system, shop(days=2.0 / DAY))
    await until(lambda: system.kube.events("Secret", "CertificateExpired"))
    assert len(system.elb.made("listeners")) == 1


async def test_an_ingress_that_leaves_the_class_loses_our_annotations(system: System) -> None:
    await running(system)
    await until(lambda: system.kube.objects["ingresses", "demo", "shop"].get("status"))
    await served_once(system)
    move(system, "nginx")
    await until(lambda: not system.annotation(ROTATION))
    item = system.kube.objects["ingresses", "demo", "shop"]
    await until(lambda: not system.kube.objects["ingresses", "demo", "shop"]["status"]["loadBalancer"])
    assert not item["metadata"]["annotations"].get("kubernetes.io/elb.listener-master-ingress")


async def test_an_ingress_that_left_during_downtime_loses_only_our_annotations(system: System) -> None:
    await running(system)
    await served_once(system)
    await until(lambda: system.kube.objects["ingresses", "demo", "shop"].get("status"))
    await system.stop()
    theirs = {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}
    system.kube.objects["ingresses", "demo", "shop"]["status"] = theirs
    move(system, "nginx")
    await system.start()
    await until(lambda: not system.annotation(ROTATION))
    assert system.kube.objects["ingresses", "demo", "shop"]["status"] == theirs


async def served_once(system: System) -> None:
    new = shop()
    system.kube.secret("demo", "shop-tls", new)
    await served(system, new)


def move(system: System, class_name: str) -> None:
    item = system.kube.objects["ingresses", "demo", "shop"]
    body = {**item, "spec": {**item["spec"], "ingressClassName": class_name}}
    system.kube.put("ingresses", "demo", "shop", body)


async def test_a_key_of_the_settings_leaves_a_vendors_elb_when_there_is_another(system: System) -> None:
    stolen, new = shop(), shop()
    system.compromised = frozenset({parse_chain(stolen.certificate).spki})
    await running(system, stolen)
    await served(system, stolen)
    for kind in ("Secret", "Ingress"):
        await until(lambda kind=kind: system.kube.events(kind, "CertificateCompromised"))  # type: ignore[misc]
        assert "It is served anyway" in system.kube.events(kind, "CertificateCompromised")[0]["message"]
    assert alerts(system) == ["CertificateCompromised"]
    assert metric(system, 'certferry_hosts{status="compromised"}') >= 1
    system.kube.secret("demo", "shop-tls", new)
    await served(system, new)
    await until(lambda: alerts(system) == [])
    writes = len(system.elb.writes)
    system.kube.secret("demo", "shop-tls", stolen)
    await until(lambda: len(system.kube.events("Secret", "CertificateCompromised")) == 2)
    assert not [w for w in system.elb.writes[writes:] if "certificate" in w[2].get("certificate", {})]
    assert (
        "Still serving the previous certificate"
        in system.kube.events("Secret", "CertificateCompromised")[-1]["message"]
    )


def alerts(system: System) -> list[str]:
    assert system.controller is not None
    return [alert.name for alert in system.controller.alert_evaluator.alerts.value]


async def test_a_used_up_quota_is_reported_and_the_rest_continues(system: System) -> None:
    system.elb.fail("POST", "certificates", 409, "ELB.8905")
    system.shop(authority().issue("other.example.com"), name="other")
    await running(system)
    await until(lambda: system.kube.events("Secret", "QuotaExceeded"))
    (event,) = system.kube.events("Secret", "QuotaExceeded")
    assert "quota of certificates is used up" in event["message"]
    await until(lambda: system.elb.made("listeners"))


@pytest.mark.parametrize("code", ["ELB.8905", "ELB.8902"])
@pytest.mark.parametrize("message", ["It is full", "It is full."])
async def test_a_quoted_sentence_ends_with_one_period(system: System, code: str, message: str) -> None:
    await running(system, shop())
    system.elb.refusals.append(("POST", "certificates", 409, code, message))
    system.shop(authority().issue("new.example.com"), name="new")
    reason = "QuotaExceeded" if code == "ELB.8905" else "LoadBalancerRejected"
    await until(lambda: system.kube.events("Secret", reason))
    assert system.kube.events("Secret", reason)[0]["message"].endswith(": It is full.")


@pytest.mark.parametrize(("status", "header"), [(429, "2"), (503, "2"), (429, "")])
async def test_a_retry_after_of_the_elb_is_respected(system: System, status: int, header: str) -> None:
    await running(system)
    requests = system.elb.requests
    system.elb.fail("PUT", "certificates", status, "APIGW.0308", {"Retry-After": header} if header else {})
    new = shop()
    began = time.monotonic()
    system.kube.secret("demo", "shop-tls", new)
    await until(lambda: system.elb.requests == requests + 1)
    for number in range(3):  # whatever happens meanwhile
        system.kube.put("services", "demo", f"s{number}", {"spec": {"ports": [{"port": 1}]}})
    await served(system, new)
    assert time.monotonic() - began >= (2 if header else 1)
    assert system.elb.count("PUT", "certificates") == 1  # the refused one was not taken


async def test_a_change_on_an_elb_without_events_is_reverted_by_the_poll(system: System) -> None:
    system.resync = 0.3
    pair = shop()
    await running(system, pair)
    ours, other = system.our_certificate()["id"], shop()
    system.elb.replace(ours, other.certificate, other.key)
    digest = parse_chain(pair.certificate).digest
    await until(lambda: parse_chain(system.our_certificate()["certificate"]).digest == digest)


async def test_a_chosen_certificate_deleted_on_the_elb_is_reported(system: System) -> None:
    system.resync = 0.3
    first, second = (authority().issue(f"{n}.example.com") for n in ("shop", "other"))
    kept = system.elb.certificate(*first, domain="shop.example.com")
    gone = system.elb.certificate(*second, domain="other.example.com")
    await running(system, tls_certificate_ids=f"{kept},{gone}")
    system.elb.forget(gone)
    await until(lambda: system.kube.events("Ingress", "CertificateNotFound"))


async def test_a_certificate_is_protected_if_the_elb_supports_it(system: System) -> None:
    system.resync = 0.3
    theirs = authority().issue("theirs.example.com")
    ref = system.elb.certificate(*theirs, name="theirs")
    system.elb.objects["certificates"][ref]["protection_status"] = "nonProtection"
    await running(system)
    assert system.our_certificate()["protection_status"] == "consoleProtection"
    system.our_certificate()["protection_status"] = "nonProtection"
    await until(lambda: system.our_certificate()["protection_status"] == "consoleProtection")
    assert system.elb.objects["certificates"][ref]["protection_status"] == "nonProtection"


async def test_protection_is_not_requested_from_an_elb_without_it(system: System) -> None:
    await running(system)
    assert "protection_status" not in system.our_certificate()


async def test_an_observer_writes_nothing_and_reports_its_plan(system: System) -> None:
    system.mode = ControllerMode(apply=None)
    await running(system)
    assert metric(system, "certferry_planned_steps") >= 4
    assert metric(system, "certferry_leader") == 0
    system.kube.secret("demo", "shop-tls", Pair("nothing", "nothing"))
    await until(lambda: metric(system, "certferry_problems") > 0)
    assert system.elb.writes == []
    assert {method for method, _ in system.kube.requests} == {"GET"}


async def test_an_observer_sees_the_rotation_of_another_controller(system: System) -> None:
    await running(system)
    await system.stop()
    system.mode = ControllerMode(apply=None)
    await system.start()
    await system.in_step()
    assert metric(system, "certferry_planned_steps") == 0
    new = shop()
    system.kube.secret("demo", "shop-tls", new)
    await until(lambda: metric(system, "certferry_planned_steps") == 1)
    system.elb.replace(system.our_certificate()["id"], new.certificate, new.key)
    await until(lambda: metric(system, "certferry_rotations_total") == 1)


async def test_secrets_by_name_are_got_and_watched_and_never_listed(system: System) -> None:
    options = TranslateOptions()
    system.mode = ControllerMode(scope=named(options))
    system.kube.secret("demo", "unused", shop())
    await running(system)
    listed = [p for m, p in system.kube.requests if m == "GET" and p.endswith("/secrets")]
    assert set(listed) == {"/api/v1/namespaces/demo/secrets"}  # watches of one
    assert system.kube.selected["secrets"] == {"metadata.name=shop-tls"}
    assert system.kube.count("GET", "secrets/unused") == 0
    new = shop()
    system.kube.secret("demo", "shop-tls", new)
    await served(system, new)
    assert system.elb.count("PUT", "certificates") == 1
    # a second Ingress, whose Secret comes later
    system.shop(authority().issue("later.example.com"), name="later")
    await until(lambda: len(system.elb.made("certificates")) == 2)
    assert not system.kube.events("Ingress", "SecretNotFound")


async def test_an_unreadable_secret_affects_only_its_ingress(system: System) -> None:
    system.mode = ControllerMode(scope=named(TranslateOptions()))
    for _ in range(100):
        system.kube.fail("GET", "secrets/other-tls", 403)
    system.shop(authority().issue("other.example.com"), name="other")
    await running(system)
    assert system.our_certificate()
    await until(lambda: system.kube.events("Ingress", "SecretNotFound"))


async def test_only_the_listed_namespaces_are_watched(system: System) -> None:
    system.mode = ControllerMode(scope=Scope(("demo", "office")))
    await running(system)
    assert not any(path.endswith("/v1/ingresses") for _, path in system.kube.requests)
    assert system.kube.count("GET", "namespaces/office/secrets") > 0
    new = shop()
    system.kube.secret("demo", "shop-tls", new)
    await served(system, new)


def named(options: TranslateOptions) -> Scope:
    from certferry.controller.watch_scope import named_secrets

    return Scope(secrets=lambda view: named_secrets(view, options))


async def test_the_three_instants_are_metrics(system: System) -> None:
    await running(system)
    await served_once(system)
    assert system.controller is not None
    text = system.controller.metrics.text().decode()
    instants = json.loads(system.annotation(ROTATION))
    for instant in ("changed", "accepted", "served"):
        assert instants[instant]
        assert re.search(rf'rotation_instant_seconds{{.*ingress="shop",instant="{instant}".*}} 1\.\d+e\+09', text)


async def test_a_resync_repeats_no_event_and_no_log_line(system: System, logs: list[dict[str, Any]]) -> None:
    system.resync = 0.1
    await running(system, shop(days=-1))
    controller = system.controller
    assert controller is not None

    async def resyncs(count: int) -> tuple[int, int]:
        """(Events, lines of the log) after so many more."""
        seen = controller.reconciled
        await until(lambda: controller.reconciled >= seen + count, 30)
        return system.kube.count("POST", "/events"), len(logs)

    await until(lambda: system.kube.events("Ingress") and system.kube.events("Secret"))
    # the first reconciles have written their Events, and the rotation its own
    await until(lambda: system.kube.events("Ingress", "CertificateServed"))
    told = await resyncs(10)
    assert await resyncs(10) == told


async def test_a_restart_repeats_no_event(system: System) -> None:
    await running(system, shop(days=-1))
    await until(lambda: system.kube.events("Ingress") and system.kube.events("Secret"))
    await until(lambda: system.kube.events("Ingress", "CertificateServed"))
    before = {e["metadata"]["name"]: e["count"] for e in system.kube.events()}
    await system.stop()
    await system.start()
    await system.in_step()
    # a later problem is reported after all that last
    annotate(system, "one")
    await until(lambda: unknown(system, "one") == 1)
    assert {k: e["count"] for e in system.kube.events() if (k := e["metadata"]["name"]) in before} == before
    # a problem that ends and returns is reported again
    annotate(system, "another")
    await until(lambda: unknown(system, "another") == 1)
    annotate(system, "one")
    await until(lambda: unknown(system, "one") == 2)


def annotate(system: System, key: str) -> None:
    item = system.kube.objects["ingresses", "demo", "shop"]
    notes = {f"kubernetes.io/elb.{key}": "x"}
    system.kube.put("ingresses", "demo", "shop", {**item, "metadata": {"annotations": notes}})


def unknown(system: System, key: str) -> int:
    """Return how often this annotation was reported as unknown."""
    found = system.kube.events("Ingress", "AnnotationUnknown")
    return sum(e["count"] for e in found if f"elb.{key} is not known" in e["message"])
