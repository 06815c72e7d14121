"""What only shows while it runs: drift, endpoints, Nodes, garbage, hand-over."""

from __future__ import annotations

import asyncio
from typing import Any

from certferry.core.model import naming as names
from certferry.core.model.kubernetes import Name
from tests.controller.conftest import System
from tests.controller.support.fake_kube import until
from tests.support.certs import authority


async def running(system: System, **annotations: str) -> None:
    system.shop(authority().issue("shop.example.com"), **annotations)
    await system.start()
    await system.in_step()


def listener(system: System) -> dict[str, Any]:
    (one,) = system.elb.made("listeners")
    return one


def members(system: System) -> list[tuple[str, int]]:
    return sorted((m["address"], m["protocol_port"]) for m in system.elb.made("members"))


def endpoints(system: System, *addresses: str, service: str = "shop") -> None:
    found = [{"addresses": [a], "conditions": {"ready": True}, "nodeName": "n1"} for a in addresses]
    piece = {
        "metadata": {"labels": {"kubernetes.io/service-name": service}},
        "ports": [{"name": "web", "port": 8080}],
        "endpoints": found,
    }
    system.kube.put("endpointslices", "demo", f"{service}-1", piece)


def node(system: System, name: str, address: str) -> None:
    status = {
        "conditions": [{"type": "Ready", "status": "True"}],
        "addresses": [{"type": "InternalIP", "address": address}],
    }
    system.kube.put("nodes", "", name, {"status": status})


async def test_a_raised_limit_of_the_elb_reaches_the_controller(system: System) -> None:
    system.elb.limits = {"l7policies_per_listener": 150}
    system.shop(authority().issue("shop.example.com"))
    shop = system.kube.objects["ingresses", "demo", "shop"]
    (rule,) = shop["spec"]["rules"]
    rules = [rule | {"host": f"h{n}.example.com"} for n in range(150)]
    system.kube.put("ingresses", "demo", "shop", shop | {"spec": shop["spec"] | {"rules": [rule, *rules]}})
    await system.start()
    await system.in_step()
    assert len(system.elb.made("l7policies")) == 150
    await until(lambda: system.kube.events("Ingress", "LimitExceeded"))


async def test_an_option_changed_on_the_elb_is_reported_and_kept(system: System) -> None:
    system.resync = 0.2
    await running(system)
    writes = system.elb.count("PUT", "listeners")
    listener(system)["http2_enable"] = True
    await until(lambda: system.kube.events("Ingress", "DriftDetected"))
    (event,) = system.kube.events("Ingress", "DriftDetected")
    assert "http2_enable of listener k8s_HTTPS_443 was changed" in event["message"]
    assert event["type"] == "Warning"
    assert system.elb.count("PUT", "listeners") == writes
    assert listener(system)["http2_enable"] is True


async def test_a_binding_changed_on_the_elb_is_reverted_and_reported_once(system: System) -> None:
    system.resync = 0.2
    other = authority().issue("shop.example.com")
    theirs = system.elb.certificate(other.certificate, other.key, "theirs")
    await running(system)
    ours = system.our_certificate()["id"]
    listener(system)["default_tls_container_ref"] = theirs
    await until(lambda: listener(system)["default_tls_container_ref"] == ours)
    await until(lambda: system.kube.events("Ingress", "DriftDetected"))
    (event,) = system.kube.events("Ingress", "DriftDetected")
    assert "theirs" in event["message"]
    assert "It is reverted" in event["message"]


async def test_a_restart_still_distinguishes_drift_from_a_changed_ingress(system: System) -> None:
    await running(system)
    await system.stop()
    listener(system)["http2_enable"] = True
    await system.start()
    await system.in_step()
    await until(lambda: system.kube.events("Ingress", "DriftDetected"))
    assert listener(system)["http2_enable"] is True
    system.kube.put("ingresses", "demo", "shop", timed(system))
    await until(lambda: listener(system).get("client_timeout") == 30)
    assert listener(system)["http2_enable"] is False


def timed(system: System) -> dict[str, Any]:
    item = system.kube.objects["ingresses", "demo", "shop"]
    annotations = {"kubernetes.io/elb.client_timeout": "30"}
    return {"metadata": {"annotations": annotations}, "spec": item["spec"]}


async def test_an_endpoint_change_updates_members_without_reading_the_elb(system: System) -> None:
    await running(system)
    reads = system.elb.requests - len(system.elb.writes)
    reconciled = system.controller.reconciled if system.controller else 0
    endpoints(system, "10.0.0.1", "10.0.0.2")
    await until(lambda: members(system) == [("10.0.0.1", 8080), ("10.0.0.2", 8080)])
    endpoints(system, "10.0.0.2", "10.0.0.3")
    await until(lambda: members(system) == [("10.0.0.2", 8080), ("10.0.0.3", 8080)])
    assert system.elb.requests - len(system.elb.writes) == reads
    assert system.controller is not None
    assert system.controller.reconciled == reconciled


async def test_endpoints_seen_before_their_service_keep_their_members(system: System) -> None:
    await running(system)
    assert system.controller is not None
    seen = system.controller.view
    system.elb.held = asyncio.Event()
    endpoints(system, "10.0.0.1", "10.0.0.2")  # the path is busy with these
    await until(lambda: system.elb.count("POST", "members") == 2)
    endpoints(system, "10.0.9.1", service="late")
    await until(lambda: seen.value and Name("demo", "late") in seen.value.slices)
    ports = [{"name": "web", "port": 80}]
    system.kube.put("services", "demo", "late", {"spec": {"type": "ClusterIP", "ports": ports}})
    system.kube.secret("demo", "late-tls", authority().issue("late.example.com"))
    system.ingress("late")
    await until(lambda: seen.value and Name("demo", "late") in seen.value.ingresses)
    system.elb.held.set()
    await until(lambda: ("10.0.9.1", 8080) in members(system))
    endpoints(system, "10.0.0.1", "10.0.0.2", "10.0.0.3")  # what came before them is done when these are
    await until(lambda: len(members(system)) == 4)
    assert system.elb.count("DELETE", "members") == 0


async def test_a_rejected_member_is_left_to_the_reconcile(system: System) -> None:
    await running(system)
    system.elb.fail("POST", "members", 409)
    endpoints(system, "10.0.0.1", "10.0.0.2")
    await until(lambda: members(system) == [("10.0.0.1", 8080), ("10.0.0.2", 8080)])


async def test_nodes_are_watched_only_if_a_service_needs_them(system: System) -> None:
    node(system, "n1", "192.168.0.1")
    await running(system)
    assert system.kube.count("GET", "/nodes") == 0
    assert members(system) == [("10.0.0.1", 8080)]
    port = {"name": "web", "port": 80, "nodePort": 30080}
    system.kube.put("services", "demo", "shop", {"spec": {"type": "NodePort", "ports": [port]}})
    await until(lambda: members(system) == [("192.168.0.1", 30080)])
    node(system, "n2", "192.168.0.2")
    await until(lambda: members(system) == [("192.168.0.1", 30080), ("192.168.0.2", 30080)])


async def test_a_recreated_ingress_reuses_its_certificate(system: System) -> None:
    system.garbage = 60.0
    await running(system)
    before = system.our_certificate()["id"]
    system.kube.remove("ingresses", "demo", "shop")
    await until(lambda: not system.elb.made("listeners"))
    assert system.our_certificate()["id"] == before
    system.ingress()
    await until(lambda: system.elb.made("listeners"))
    assert listener(system)["default_tls_container_ref"] == before
    assert system.elb.count("POST", "certificates") == 1


async def test_a_new_listener_owner_is_annotated_and_reported(system: System) -> None:
    await running(system)
    system.shop(authority().issue("next.example.com"), "next")
    await until(lambda: system.annotation(MASTER, "next") == "demo/shop")
    system.kube.remove("ingresses", "demo", "shop")
    await until(lambda: system.annotation(MASTER, "next") == "demo/next")
    await until(lambda: system.kube.events("Ingress", "ListenerOwnerChanged"))
    (event,) = system.kube.events("Ingress", "ListenerOwnerChanged")
    assert event["involvedObject"]["name"] == "next"
    assert event["message"].startswith("Ingress demo/next now owns the listener on port 443 (was demo/shop).")


async def test_a_load_balancer_named_by_address_is_filled_in_by_id(system: System) -> None:
    named = system.elb.balancer("named", "127.0.0.2")
    await running(system, ip="127.0.0.2")
    await until(lambda: system.annotation("kubernetes.io/elb.id") == named)
    # the id has precedence from then on, and a new address without it moves the Ingress
    system.ingress(ip="127.0.0.1", id=named)
    await until(lambda: system.kube.events("Ingress", "AnnotationInvalid"))
    (event,) = system.kube.events("Ingress", "AnnotationInvalid")
    assert "elb.ip 127.0.0.1 is ignored: elb.id has precedence" in event["message"]
    system.ingress(ip="127.0.0.1")
    await until(lambda: system.annotation("kubernetes.io/elb.id") == system.balancer)
    assert listener(system)["loadbalancers"] == [{"id": system.balancer}]


async def test_certificates_and_options_are_written_separately(system: System) -> None:
    await running(system)
    chosen = authority().issue("shop.example.com")
    ref = system.elb.certificate(chosen.certificate, chosen.key, "mine")
    # so that an option that the ELB refuses holds up no certificate
    system.ingress("shop", tls_certificate_ids=ref, http2_enable="true")
    await until(lambda: listener(system)["default_tls_container_ref"] == ref)
    await until(lambda: listener(system)["http2_enable"] is True)
    bodies = [b["listener"] for m, p, b in system.elb.writes if m == "PUT" and "listeners" in p]
    assert not [b for b in bodies if "default_tls_container_ref" in b and "http2_enable" in b]
    marks = names.described(listener(system)["description"])
    assert {"options", "bound"} <= marks.keys()


async def test_content_for_another_domain_on_a_chosen_certificate_is_reported(system: System) -> None:
    """Another client's PUT is served; the Ingresses whose host it fails say so."""
    system.resync = 0.2
    chosen, other = authority().issue("shop.example.com"), authority().issue("elsewhere.example.org")
    ref = system.elb.certificate(chosen.certificate, chosen.key, "mine", "shop.example.com")
    await running(system, tls_certificate_ids=ref)
    assert not system.kube.events("Ingress", "HostNotCovered")
    system.elb.replace(ref, other.certificate, other.key)
    await until(lambda: system.kube.events("Ingress", "HostNotCovered"))
    (event,) = system.kube.events("Ingress", "HostNotCovered")
    assert "shop.example.com" in event["message"]
    assert system.controller
    watch = system.controller.alert_evaluator
    await until(lambda: "CertificateNotUsed" in [a.name for a in watch.alerts.value])
    system.elb.replace(ref, chosen.certificate, chosen.key)
    await until(lambda: "CertificateNotUsed" not in [a.name for a in watch.alerts.value])


MASTER = "kubernetes.io/elb.listener-master-ingress"


async def test_a_chosen_certificate_for_other_hosts_is_reported_though_another_ingress_covers_the_host(
    system: System,
) -> None:
    elsewhere = authority().issue("elsewhere.example.org")
    ref = system.elb.certificate(elsewhere.certificate, elsewhere.key, "mine", "")
    system.shop(authority().issue("other.example.com", "shop.example.com"), "other")
    await running(system, tls_certificate_ids=ref)
    await until(lambda: system.kube.events("Ingress", "HostNotCovered"))
    (event,) = system.kube.events("Ingress", "HostNotCovered")
    assert event["involvedObject"]["name"] == "shop"
    assert event["message"] == "ELB certificate mine does not cover shop.example.com."
