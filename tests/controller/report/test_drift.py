"""Drift on a real ELB without Envoy: which objects get Events, and which user they name."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from certferry.controller.controller import Controller
from certferry.controller.mode import ControllerMode, MonitoringOptions
from certferry.controller.sync.debounce import Timing
from certferry.core.drift.drift import Modes
from certferry.core.translate.listener_claims import TranslateOptions
from certferry.kube.client.client import KubeClient
from certferry.kube.client.kubeconfig import Access, FixedToken
from tests.controller.conftest import System
from tests.controller.support.fake_kube import until
from tests.elb.support.server import Elb, connected, serving, settings_in
from tests.support.certs import authority


class Shop(System):
    """A shop on a real ELB; `admin` may change everything there."""

    def __init__(self, elb: Elb) -> None:
        super().__init__()
        self.admin = elb.admin
        self._real = elb

    async def open(self) -> None:
        self.shop(authority().issue("shop.example.com"))
        await self.start()
        await self.in_step()

    async def _run(self) -> None:
        access = Access(self.kube.url, None, FixedToken(self.kube.token))
        options = TranslateOptions(default_loadbalancer=self.balancer, cluster_name="test")
        waits = Timing(debounce=0.01, debounce_max=0.1, deletion_delay=0.05, resync=60, probe_deadline=0.1)
        async with KubeClient(access) as kube, connected(self._real.controller) as elb:
            self.controller = Controller(kube, elb, options, waits, self.mode)
            await self.controller.run()

    def annotate(self, more: dict[str, str]) -> None:
        item = self.kube.objects["ingresses", "demo", "shop"]
        notes = item["metadata"]["annotations"] | more
        self.kube.put("ingresses", "demo", "shop", {**item, "metadata": {"annotations": notes}})

    async def asks(self, method: str, path: str, body: Any = None) -> Any:
        """The admin's request, in a thread: the ELB's client blocks."""
        reply = await asyncio.to_thread(self.admin, method, path, body)
        assert reply.status in (200, 201, 204), reply.body
        return reply.body

    async def one(self, plural: str) -> dict[str, Any]:
        (found,) = (await self.asks("GET", f"/{plural}"))[plural.rpartition("/")[2]]
        return dict(found)

    async def comes_to(self, plural: str, right: Callable[[dict[str, Any]], bool]) -> None:
        async with asyncio.timeout(10):
            answer = await self.asks("GET", f"/{plural}")
            while not right(answer):
                await asyncio.sleep(0.02)
                answer = await self.asks("GET", f"/{plural}")

    async def told(self, what: str) -> str:
        """The Event on the Ingress that has `what` in it."""

        def found() -> list[str]:
            said = [e["message"] for e in self.kube.events("Ingress", "DriftDetected")]
            return [s for s in said if what in s]

        await until(found)
        return found()[0]


@pytest.fixture
def elb(tmp_path: Path) -> Iterator[Elb]:
    with serving(settings_in(tmp_path)) as running:
        yield running


@pytest.fixture
async def shop(elb: Elb) -> AsyncIterator[Shop]:
    shop = Shop(elb)
    shop.mode = ControllerMode(monitoring=MonitoringOptions(probe_interval=0))
    await shop.kube.start()
    made = await shop.asks("POST", "/loadbalancers", {"loadbalancer": {"name": "lb"}})
    shop.balancer = made["loadbalancer"]["id"]
    yield shop
    await shop.stop()
    await shop.kube.stop()


async def test_members_changed_by_hand_are_reverted_and_reported_with_the_actor(shop: Shop) -> None:
    await shop.open()
    pool = (await shop.one("pools"))["id"]
    member = await shop.one(f"pools/{pool}/members")
    where = f"/pools/{pool}/members"

    def as_it_was(answer: dict[str, Any]) -> bool:
        return [(m["address"], m["weight"]) for m in answer["members"]] == [("10.0.0.1", 1)]

    await shop.asks("PUT", f"{where}/{member['id']}", {"member": {"weight": 0}})
    assert "changed on the load balancer to 0" in await shop.told("weight of member 10.0.0.1:8080")
    await shop.comes_to(where[1:], as_it_was)
    stranger = {"address": "10.9.9.9", "protocol_port": 9}
    await shop.asks("POST", where, {"member": stranger})
    await shop.told("member 10.9.9.9:9 of k8s_demo_shop-80_HTTPS-443 was added")
    await shop.comes_to(where[1:], as_it_was)
    await shop.asks("DELETE", f"{where}/{member['id']}")
    await shop.told("member 10.0.0.1:8080 of k8s_demo_shop-80_HTTPS-443 was deleted")
    await shop.comes_to(where[1:], as_it_was)
    events = shop.kube.events("Ingress", "DriftDetected")
    admin = shop.admin.account.username
    assert len(events) == 3
    for event in events:
        assert "It is reverted. It was " in event["message"]
        assert f"It was {admin} at " in event["message"]
        assert event["count"] == 1


def at(addresses: list[str], answer: dict[str, Any]) -> bool:
    return sorted(m["address"] for m in answer["members"]) == addresses


async def test_changing_endpoints_are_no_drift(shop: Shop) -> None:
    await shop.open()
    pool = (await shop.one("pools"))["id"]
    for addresses in (["10.0.0.2"], ["10.0.0.1", "10.0.0.2"], ["10.0.0.1"]):
        item = shop.kube.objects["endpointslices", "demo", "shop-1"]
        endpoints = [{"addresses": [a], "conditions": {"ready": True}} for a in addresses]
        shop.kube.put("endpointslices", "demo", "shop-1", {**item, "endpoints": endpoints})
        await shop.comes_to(f"pools/{pool}/members", partial(at, addresses))
    await shop.asks("PUT", f"/pools/{pool}", {"pool": {"lb_algorithm": "LEAST_CONNECTIONS"}})
    await shop.told("lb_algorithm of pool")
    assert len(shop.kube.events("Ingress", "DriftDetected")) == 1


async def test_a_change_during_downtime_is_reported_with_its_actor(shop: Shop) -> None:
    await shop.open()
    await shop.stop()
    listener = await shop.one("listeners")
    theirs = authority().issue("shop.example.com")
    body = {"name": "by-hand", "certificate": theirs.certificate, "private_key": theirs.key}
    other = (await shop.asks("POST", "/certificates", {"certificate": body}))["certificate"]["id"]
    change = {"default_tls_container_ref": other}
    await shop.asks("PUT", f"/listeners/{listener['id']}", {"listener": change})
    pool = await shop.one("pools")
    await shop.asks("PUT", f"/healthmonitors/{pool['healthmonitor_id']}", {"healthmonitor": {"delay": 50}})
    await shop.start()
    await shop.in_step()
    for what in ("default_tls_container_ref of listener", "healthmonitor of pool"):
        assert f"It was {shop.admin.account.username} at " in await shop.told(what)
    after = await shop.one("listeners")
    assert after["default_tls_container_ref"] == listener["default_tls_container_ref"]


async def test_an_adopted_change_is_written_into_the_ingress(shop: Shop) -> None:
    shop.mode = ControllerMode(
        monitoring=MonitoringOptions(probe_interval=0), drift=Modes(binding="adopt", listener="adopt")
    )
    shop.shop(authority().issue("shop.example.com"))
    tracked = {"argocd.argoproj.io/tracking-id": "shop:networking.k8s.io/Ingress:demo/shop"}
    shop.annotate({"kubernetes.io/elb.client_timeout": "30", **tracked})
    await shop.start()
    await shop.in_step()
    listener = (await shop.one("listeners"))["id"]
    theirs = authority().issue("shop.example.com")
    body = {"name": "by-hand", "certificate": theirs.certificate, "private_key": theirs.key}
    other = (await shop.asks("POST", "/certificates", {"certificate": body}))["certificate"]["id"]
    change = {"default_tls_container_ref": other, "client_timeout": 5, "http2_enable": False}
    await shop.asks("PUT", f"/listeners/{listener}", {"listener": change})
    said = await shop.told("default_tls_container_ref of listener")
    who = f"It was {shop.admin.account.username} at "
    assert (
        f"Annotations of Ingress demo/shop adopt it (kubernetes.io/elb.tls-certificate-ids: {other}). Argo CD" in said
    )
    assert who in said
    said = await shop.told("http2_enable of listener")
    assert "kubernetes.io/elb.client_timeout: 5, kubernetes.io/elb.http2-enable: false" in said
    await until(lambda: shop.annotation("kubernetes.io/elb.http2-enable") == "false")
    assert shop.annotation("kubernetes.io/elb.client_timeout") == "5"
    assert shop.annotation("kubernetes.io/elb.tls-certificate-ids") == other
    # it stays adopted after another change of the Ingress, and after a restart
    await shop.stop()
    shop.annotate({"kubernetes.io/elb.member_timeout": "20"})
    await shop.start()
    await shop.in_step()
    after = await shop.one("listeners")
    assert {field: after[field] for field in change} == change
    assert after["member_timeout"] == 20
    assert len(shop.kube.events("Ingress", "DriftDetected")) == 3


async def test_a_change_without_annotation_is_adopted_until_the_service_changes(shop: Shop) -> None:
    shop.mode = ControllerMode(monitoring=MonitoringOptions(probe_interval=0), drift=Modes(pool="adopt"))
    await shop.open()
    pool = (await shop.one("pools"))["id"]
    await shop.asks("PUT", f"/pools/{pool}", {"pool": {"lb_algorithm": "LEAST_CONNECTIONS"}})
    assert "It is accepted until the Service asks for other settings." in await shop.told("lb_algorithm")
    await shop.stop()
    await shop.start()
    await shop.in_step()
    assert (await shop.one("pools"))["lb_algorithm"] == "LEAST_CONNECTIONS"
    shop.annotate({"kubernetes.io/elb.unheard-of": "x"})
    await until(lambda: shop.kube.events("Ingress", "AnnotationUnknown"))
    assert [e["count"] for e in shop.kube.events("Ingress", "DriftDetected")] == [1]
    item = shop.kube.objects["services", "demo", "shop"]
    notes = {"kubernetes.io/elb.session-affinity-mode": "HTTP_COOKIE"}
    shop.kube.put("services", "demo", "shop", {**item, "metadata": {"annotations": notes}})

    def as_the_service_says(answer: dict[str, Any]) -> bool:
        (it,) = answer["pools"]
        return bool(it["session_persistence"]) and it["lb_algorithm"] == "ROUND_ROBIN"

    await shop.comes_to("pools", as_the_service_says)
