"""One odd object never ends, stalls or changes the result for another."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from certferry.controller import dry_run
from certferry.controller.report import dispatch
from certferry.core import checks
from certferry.core.diagnosis import host_state, inventory
from certferry.core.translate import listener_claims
from tests.controller.conftest import System
from tests.controller.support.fake_kube import until
from tests.support import odd_certificates
from tests.support.certs import Pair, authority

LAST = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
"""No well-defined expiration date (RFC 5280 4.1.2.5)."""

ODD = {
    "no end": lambda: authority().issue("odd.example.com", until=LAST),
    "a year before the end of the calendar": lambda: authority().issue(
        "odd.example.com", until=LAST - timedelta(days=365)
    ),
}


def content(system: System, name: str) -> str:
    """Return the PEM that the ELB has for a shop, "" if it has none."""
    made = [c for c in system.elb.made("certificates") if f"_{name}-tls_" in c["name"]]
    return str(made[0]["certificate"]) if made else ""


@pytest.mark.parametrize("odd", ODD)
async def test_others_rotate_beside_an_odd_certificate(system: System, odd: str) -> None:
    pair: Pair = ODD[odd]()
    system.shop(pair, name="odd")
    system.shop(authority().issue("shop.example.com"))
    await system.start()
    await system.in_step()
    assert content(system, "odd")
    before = content(system, "shop")
    system.kube.secret("demo", "shop-tls", authority().issue("shop.example.com"))
    await until(lambda: content(system, "shop") != before)
    await until(lambda: system.kube.objects["ingresses", "demo", "odd"].get("status"))
    assert system.controller is not None


STEPS: dict[str, tuple[Any, str]] = {
    "reading annotations": (listener_claims, "read_annotations"),
    "judging a Secret": (checks, "refusal"),
    "the next change of validity": (checks, "next_instant"),
    "the states of hosts": (host_state, "_hosts"),
    "the inventory": (inventory, "_watched"),
    "the status": (dispatch, "ingress_status"),
}
"""Steps that get one object first."""


def fails_over_odd(step: Callable[..., Any]) -> Callable[..., Any]:
    def failing(first: Any, *others: Any, **more: Any) -> Any:
        if "odd" in str(first):
            raise OverflowError("date value out of range")
        return step(first, *others, **more)

    return failing


@pytest.mark.parametrize("step", STEPS)
async def test_an_object_over_which_a_step_raises_is_skipped(
    system: System, step: str, monkeypatch: pytest.MonkeyPatch, logs: list[dict[str, Any]]
) -> None:
    module, name = STEPS[step]
    failing = fails_over_odd(getattr(module, name))
    monkeypatch.setattr(module, name, failing)
    if hasattr(dry_run, name):
        monkeypatch.setattr(dry_run, name, failing)
    system.shop(authority().issue("odd.example.com"), name="odd")
    system.shop(authority().issue("shop.example.com"))
    await system.start()
    await until(lambda: content(system, "shop"))
    before = content(system, "shop")
    system.kube.secret("demo", "shop-tls", authority().issue("shop.example.com"))
    await until(lambda: content(system, "shop") != before)
    await until(lambda: system.kube.objects["ingresses", "demo", "shop"].get("status"))
    await until(lambda: system.kube.events(reason="ObjectSkipped"))
    assert system.controller is not None
    assert b"certferry_objects_skipped_total{" in system.controller.metrics.text()
    assert any(entry["event"] == "object skipped" for entry in logs)


async def test_what_a_skipped_ingress_has_outlives_a_restart(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    system.shop(authority().issue("odd.example.com"), name="odd")
    system.shop(authority().issue("shop.example.com"))
    await system.start()
    await system.in_step()
    await until(lambda: len(system.elb.made("l7policies")) == 2)
    before = {kind: system.elb.made(kind) for kind in ("certificates", "listeners", "l7policies", "pools")}
    await system.stop()
    module, name = STEPS["reading annotations"]
    monkeypatch.setattr(module, name, fails_over_odd(getattr(module, name)))
    await system.start()
    await system.in_step()
    await until(lambda: system.kube.events("Ingress", "ObjectSkipped"))
    (listener,) = system.elb.made("listeners")
    bound = {listener["default_tls_container_ref"], *listener["sni_container_refs"]}
    assert bound == {c["id"] for c in system.elb.made("certificates")}
    for kind in ("certificates", "l7policies", "pools"):
        assert system.elb.made(kind) == before[kind]


async def test_a_malformed_object_is_reported_and_the_others_rotate(system: System) -> None:
    system.shop(authority().issue("odd.example.com"), name="odd")
    system.shop(authority().issue("shop.example.com"))
    await system.start()
    await system.in_step()
    policies = len(system.elb.made("l7policies"))
    odd = system.kube.objects["ingresses", "demo", "odd"]
    system.kube.put("ingresses", "demo", "odd", {**odd, "spec": {**odd["spec"], "rules": 7}})
    before = content(system, "shop")
    system.kube.secret("demo", "shop-tls", authority().issue("shop.example.com"))
    await until(lambda: content(system, "shop") != before)
    await until(lambda: system.kube.events("Ingress", "ObjectSkipped"))
    assert len(system.elb.made("l7policies")) == policies


async def test_a_certificate_that_the_elb_refuses_keeps_no_port_closed(system: System) -> None:
    system.elb.refused_contents["_odd-tls_"] = "the serial number is not to our taste"
    system.shop(authority().issue("odd.example.com"), name="odd")
    system.shop(authority().issue("shop.example.com"))
    await system.start()
    await system.in_step()
    (listener,) = system.elb.made("listeners")
    (certificate,) = system.elb.made("certificates")
    assert listener["default_tls_container_ref"] == certificate["id"]
    assert "_shop-tls_" in certificate["name"]
    await until(lambda: any("not to our taste" in e["message"] for e in system.kube.events("Secret")))
    await until(lambda: any("not to our taste" in e["message"] for e in system.kube.events("Ingress")))
    system.elb.refused_contents.clear()
    system.kube.secret("demo", "odd-tls", authority().issue("odd.example.com"))
    await until(lambda: content(system, "odd"))


async def test_a_renewal_that_the_elb_refuses_leaves_the_last_version_and_the_others(system: System) -> None:
    system.shop(authority().issue("odd.example.com"), name="odd")
    system.shop(authority().issue("shop.example.com"))
    await system.start()
    await system.in_step()
    odd, shop = content(system, "odd"), content(system, "shop")
    system.elb.refused_contents["_odd-tls_"] = "the serial number is not to our taste"
    system.kube.secret("demo", "odd-tls", authority().issue("odd.example.com"))
    await until(lambda: any("not to our taste" in e["message"] for e in system.kube.events("Secret")))
    system.kube.secret("demo", "shop-tls", authority().issue("shop.example.com"))
    system.shop(authority().issue("third.example.com"), name="third")
    await until(lambda: content(system, "shop") != shop)
    await until(lambda: content(system, "third"))
    assert content(system, "odd") == odd


async def test_a_chosen_certificate_that_cannot_be_served_keeps_no_port_closed(system: System) -> None:
    stapled = odd_certificates.KINDS["must-staple"]()
    ref = system.elb.certificate(stapled.certificate, stapled.key, domain="odd.example.com")
    system.shop(authority().issue("odd.example.com"), name="odd", tls_certificate_ids=ref)
    system.shop(authority().issue("shop.example.com"))
    await system.start()
    await system.in_step()
    (listener,) = system.elb.made("listeners")
    assert ref not in (listener["default_tls_container_ref"], *listener["sni_container_refs"])
    await until(lambda: system.kube.events("Ingress", "CertificateUnusable"))
