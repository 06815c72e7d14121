from __future__ import annotations

import json
from typing import Any

import pytest

from certferry.core.x509.pem import parse_chain
from tests.controller.conftest import System
from tests.controller.support.fake_kube import until
from tests.support.certs import Pair, authority


def shop(days: float = 90) -> Pair:
    return authority().issue("shop.example.com", days=days)


async def running(system: System) -> None:
    system.shop(shop())
    await system.start()
    await system.in_step()


async def served(system: System, pair: Pair) -> None:
    fingerprint = parse_chain(pair.certificate).fingerprint
    await until(lambda: fingerprint in system.annotation("certferry.io/rotation"))
    await until(lambda: json.loads(system.annotation("certferry.io/rotation"))["served"])


async def test_the_controller_waits_for_an_elb_that_is_down_at_start(
    system: System, logs: list[dict[str, Any]]
) -> None:
    await system.elb.stop()
    system.shop(shop())
    await system.start()
    await until(lambda: any(e["event"].startswith("not connected") for e in logs))
    await system.elb.start()
    await system.in_step()
    lines = [e["log_level"] for e in logs if e.get("remote") == "elb"]
    assert lines == ["warning", "info"]
    assert system.controller is not None
    metrics = system.controller.metrics.text().decode()
    assert 'certferry_connected{remote="elb"} 1.0' in metrics
    assert 'certferry_connected{remote="kubernetes"} 1.0' in metrics


async def test_a_change_while_the_elb_is_down_is_caught_up(system: System, logs: list[dict[str, Any]]) -> None:
    await running(system)
    await system.elb.stop()
    new = shop()
    system.kube.secret("demo", "shop-tls", new)
    await until(lambda: any(e["event"].startswith("not connected") for e in logs))
    await system.elb.start()
    await served(system, new)


async def test_a_change_while_the_cluster_is_down_is_caught_up(system: System) -> None:
    await running(system)
    await system.kube.stop()
    new = shop()
    system.kube.secret("demo", "shop-tls", new)
    await system.kube.start()
    await served(system, new)
    assert system.elb.count("PUT", "certificates") == 1


async def test_a_change_while_the_controller_is_down_is_caught_up(system: System) -> None:
    await running(system)
    await system.stop()
    new = shop()
    system.kube.secret("demo", "shop-tls", new)
    await system.start()
    await served(system, new)
    assert system.elb.count("PUT", "certificates") == 1
    assert system.elb.count("POST", "certificates") == 1


async def test_a_restart_writes_nothing(system: System) -> None:
    await running(system)
    await until(lambda: system.kube.objects["ingresses", "demo", "shop"].get("status"))
    await system.stop()
    writes, patches = len(system.elb.writes), system.kube.count("PATCH", "ingresses")
    await system.start()
    await system.in_step()
    system.kube.secret("demo", "shop-tls", shop())
    await until(lambda: len(system.elb.writes) > writes)
    assert system.elb.count("PUT", "certificates") == 1
    assert len(system.elb.writes) == writes + 1
    # the first patch after the restart is the rotation's: nothing that stood was written again
    await until(lambda: system.kube.count("PATCH", "ingresses") > patches)
    assert system.kube.count("PATCH", "status") <= 1


async def test_a_put_whose_answer_is_lost_is_not_repeated(system: System) -> None:
    await running(system)
    new = shop()
    system.elb.cut("PUT", "certificates")
    system.kube.secret("demo", "shop-tls", new)
    await served(system, new)
    controller = system.controller
    assert controller is not None
    # aiohttp itself sends an idempotent request again when its connection was closed under it
    assert system.elb.count("PUT", "certificates") <= 2
    assert len(system.elb.made("certificates")) == 1


async def test_a_creation_whose_answer_is_lost_makes_no_second_certificate(system: System) -> None:
    system.elb.cut("POST", "certificates")
    await running(system)
    assert len(system.elb.made("certificates")) == 1


async def test_a_rejection_is_reported_and_other_ingresses_continue(system: System) -> None:
    system.elb.fail("POST", "certificates", 400)
    await running(system)
    # the first attempt failed and is repeated; no other object was affected
    await until(lambda: system.elb.made("certificates"))
    await until(lambda: system.elb.made("listeners"))
    await until(lambda: system.kube.events("Secret", "CertificateUnusable"))


async def test_a_500_on_the_put_is_retried(system: System) -> None:
    await running(system)
    new = shop()
    system.elb.fail("PUT", "certificates", 500)
    system.kube.secret("demo", "shop-tls", new)
    await served(system, new)


@pytest.mark.parametrize("fault", ["compact", "error_event", "cut"])
async def test_a_lost_watch_loses_no_change(system: System, fault: str) -> None:
    await running(system)
    if fault == "compact":
        system.kube.version += 10
        system.kube.compact()
        system.kube.cut()
    else:
        getattr(system.kube, fault)()
    new = shop()
    system.kube.secret("demo", "shop-tls", new)
    await served(system, new)
    assert system.elb.count("DELETE") == 0


async def test_an_empty_list_after_a_lost_watch_removes_nothing(system: System) -> None:
    await running(system)
    writes = len(system.elb.writes)
    system.kube.empty_lists = True
    system.kube.error_event()
    lists = system.kube.count("GET", "ingresses")
    await until(lambda: system.kube.count("GET", "ingresses") > lists + 3)
    assert len(system.elb.writes) == writes
    system.kube.empty_lists = False
    new = shop()
    system.kube.secret("demo", "shop-tls", new)
    await served(system, new)
    assert system.elb.count("DELETE") == 0


async def test_a_deleted_secret_leaves_its_certificate_serving(system: System) -> None:
    await running(system)
    system.kube.remove("secrets", "demo", "shop-tls")
    await until(lambda: system.kube.events("Ingress", "SecretNotFound"))
    assert system.elb.count("DELETE") == 0
    assert len(system.elb.made("listeners")) == 1


async def test_no_key_in_a_log_an_event_or_an_annotation(system: System, logs: list[dict[str, Any]]) -> None:
    pairs = [shop() for _ in range(5)]
    system.shop(pairs[0])
    await system.start()
    await system.in_step()
    for method, status, pair in (("PUT", 500, pairs[1]), ("PUT", 400, pairs[2])):
        system.elb.fail(method, "certificates", status)
        system.kube.secret("demo", "shop-tls", pair)
        await served(system, pair)
    system.elb.cut("PUT", "certificates")
    system.kube.secret("demo", "shop-tls", pairs[3])
    await served(system, pairs[3])
    system.kube.secret("demo", "shop-tls", Pair(shop().certificate, pairs[4].key))
    await until(lambda: system.kube.events("Secret", "CertificateUnusable"))
    told = json.dumps([system.kube.events(), [repr(e) for e in logs]])
    told += json.dumps(system.kube.objects["ingresses", "demo", "shop"])
    assert system.controller is not None
    told += system.controller.metrics.text().decode()
    for pair in pairs:
        for row in pair.key.splitlines()[1:-1]:
            assert row not in told
    assert "PRIVATE KEY" not in told
    assert "[PEM]" in told  # the careless server did send one
