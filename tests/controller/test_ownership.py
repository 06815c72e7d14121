"""Listeners, hosts and certificates keep their owners when all objects of a cluster are created again."""

from __future__ import annotations

import copy
import random
from typing import Any

from certferry.core.x509.pem import parse_chain
from tests.controller.conftest import System
from tests.controller.support.fake_kube import until
from tests.support.certs import authority

SHOPS = 50
KINDS = ("ingresses", "secrets", "services", "endpointslices")
OWN = ("uid", "resourceVersion", "creationTimestamp")


def shop(system: System, number: int) -> None:
    """Put an Ingress with a host of its own and one that an Ingress of another namespace claims too."""
    name, namespace = f"shop{number}", f"team{number % 5}"
    hosts = [f"own{number}.example.com", f"shared{number // 2}.example.com"]
    system.kube.secret(namespace, name, authority().issue(*hosts))
    system.kube.put("services", namespace, name, {"spec": {"type": "ClusterIP", "ports": [{"port": 80}]}})
    system.kube.put(
        "endpointslices",
        namespace,
        name,
        {
            "metadata": {"labels": {"kubernetes.io/service-name": name}},
            "ports": [{"port": 8080}],
            "endpoints": [{"addresses": [f"10.0.0.{number}"]}],
        },
    )
    path = {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": name, "port": {"number": 80}}}}
    system.kube.put(
        "ingresses",
        namespace,
        name,
        {
            "metadata": {"annotations": {"kubernetes.io/elb.port": str(8443 + number % 3)}},
            "spec": {
                "ingressClassName": "cce",
                "tls": [{"secretName": name, "hosts": hosts}],
                "rules": [{"host": host, "http": {"paths": [path]}} for host in hosts],
            },
        },
    )


def owners(system: System) -> dict[str, Any]:
    """Return the owner of each listener, the Ingress behind each rule, and the certificate of each name."""
    certificates = {c["id"]: c for c in system.elb.made("certificates")}
    served = {}
    for listener in system.elb.made("listeners"):
        port = listener["protocol_port"]
        default = certificates[listener["default_tls_container_ref"]]
        served[port, ""] = parse_chain(default["certificate"]).fingerprint
        for ref in listener["sni_container_refs"]:
            fingerprint = parse_chain(certificates[ref]["certificate"]).fingerprint
            served |= {(port, name): fingerprint for name in certificates[ref]["domain"].split(",")}
    masters = {
        name: item["metadata"]["annotations"].get("kubernetes.io/elb.listener-master-ingress")
        for (kind, _, name), item in system.kube.objects.items()
        if kind == "ingresses"
    }
    return {"served": served, "masters": masters, "rules": sorted(p["name"] for p in system.elb.made("l7policies"))}


def exported(system: System) -> list[tuple[str, str, str, Any]]:
    return [
        (kind, namespace, name, {**item, "metadata": {k: v for k, v in item["metadata"].items() if k not in OWN}})
        for (kind, namespace, name), item in copy.deepcopy(system.kube.objects).items()
        if kind in KINDS
    ]


async def test_owners_and_certificates_outlive_a_restore_in_any_order(system: System) -> None:
    for number in range(SHOPS):
        shop(system, number)
    await system.start()
    await system.in_step()
    await until(
        lambda: all(
            "certferry.io/claimed-since" in item["metadata"]["annotations"]
            for (kind, _, _), item in system.kube.objects.items()
            if kind == "ingresses"
        ),
        30,
    )
    before, backup = owners(system), exported(system)
    assert len(backup) == 4 * SHOPS
    for kind, namespace, name, _ in backup:
        system.kube.remove(kind, namespace, name)
    await until(lambda: not system.elb.made("listeners"), 30)
    random.Random(13).shuffle(backup)
    for kind, namespace, name, item in backup:
        item.pop("status", None)
        system.kube.put(kind, namespace, name, item)
    await until(lambda: owners(system) == before, 60)


async def test_a_forged_age_is_replaced(system: System) -> None:
    shop(system, 0)
    await system.start()
    await system.in_step()
    key = "certferry.io/claimed-since"
    name = ("ingresses", "team0", "shop0")
    await until(lambda: system.kube.objects[name]["metadata"]["annotations"].get(key))
    item = copy.deepcopy(system.kube.objects[name])
    good = item["metadata"]["annotations"][key]
    item["metadata"]["annotations"][key] = "1999-01-01T00:00:00+00:00 " + good.partition(" ")[2]
    system.kube.put(*name, item)
    await until(lambda: system.kube.objects[name]["metadata"]["annotations"][key] == good)
