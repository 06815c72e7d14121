"""What the doctor finds on an ELB and a cluster that are made to show it."""

from __future__ import annotations

from certferry.controller.doctor import conflicts as rivals
from certferry.controller.doctor import elb as balancer
from certferry.controller.doctor.result import CheckResult
from certferry.elb.client.client import ElbClient
from certferry.kube.client.client import KubeClient
from certferry.kube.client.kubeconfig import Access, FixedToken
from certferry.settings import ControllerSettings
from tests.controller.conftest import CREDENTIALS, System
from tests.support.certs import authority


async def on_the_elb(system: System) -> dict[str, CheckResult]:
    async with ElbClient(system.elb.url, CREDENTIALS) as elb:
        return {v.check: v for v in await balancer.examined(elb)}


def quota(used: int, limit: int = 120) -> dict[str, object]:
    return {"quota_key": "certificate", "quota_limit": limit, "used": used, "unit": "count"}


async def test_a_quota_is_fine_scarce_or_used_up(system: System) -> None:
    for used, level in ((10, "ok"), (115, "warning"), (120, "failure")):
        system.elb.quotas = [quota(used), {"quota_key": "member", "quota_limit": -1, "used": 9}]
        verdict = (await on_the_elb(system))["Quota"]
        assert (verdict.level, verdict.sentence == f"Certificate quota: {used} of 120 used.") == (level, True)


async def test_an_elb_without_quotas_or_lock_is_only_noted(system: System) -> None:
    found = await on_the_elb(system)
    assert (found["Quota"].level, found["Lock"].level) == ("warning", "warning")


async def test_a_read_only_user_is_detected(system: System) -> None:
    system.elb.fail("PUT", "certificates", 403)
    assert (await on_the_elb(system))["ELB rights"].level == "failure"
    assert (await on_the_elb(system))["ELB rights"].level == "ok"


async def test_an_unreachable_address_is_reported(system: System) -> None:
    system.shop(authority().issue("shop.example.com"))
    await system.start()
    await system.in_step()
    assert (await on_the_elb(system))["Probe"].level == "ok"
    assert system.elb._front
    system.elb._front.close()
    verdict = (await on_the_elb(system))["Probe"]
    assert (verdict.level, str(system.elb.front_port) in verdict.sentence) == ("failure", True)


async def test_marks_of_another_controller_are_detected(system: System) -> None:
    system.shop(authority().issue("shop.example.com"))
    access = Access(system.kube.url, None, FixedToken(system.kube.token))
    async with KubeClient(access) as kube:
        (verdict,) = await rivals.on_the_cluster(kube, ControllerSettings())
        assert verdict.level == "ok"
        entry = {"manager": "cce-ingress-controller", "subresource": "status", "operation": "Update"}
        item = system.kube.objects["ingresses", "demo", "shop"]
        item["metadata"]["managedFields"] = [entry]
        (verdict,) = await rivals.on_the_cluster(kube, ControllerSettings())
    assert (verdict.level, "cce-ingress-controller" in verdict.sentence) == ("failure", True)
