"""A Service of type LoadBalancer: its ports, its certificate through a rotation, and its end."""

from __future__ import annotations

import json
import socket
from typing import Any

from tests.e2e.conftest import MakeSite
from tests.e2e.support import objects
from tests.e2e.support.site import SECRET, Site, described
from tests.e2e.support.tls import Address, get, handshake, shown, trusting
from tests.e2e.support.tls import fingerprint as of
from tests.e2e.support.waiting import until

NAME = "balanced"


def service(shop: Site, **annotations: str) -> objects.Object:
    """An HTTPS, a TLS and a TCP port, at the site's port and those after it."""
    protocols = f"https:{shop.port},tls:{shop.port + 1000}"
    ports = [{"name": f"p{n}", "port": shop.port + 1000 * n, "targetPort": 8080} for n in range(3)]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "namespace": shop.name,
            "name": NAME,
            "annotations": {
                "kubernetes.io/elb.protocol-port": protocols,
                "certferry.io/tls-secret": SECRET,
                "certferry.io/tls-hosts": shop.host,
                **annotations,
            },
        },
        "spec": {
            "type": "LoadBalancer",
            "loadBalancerClass": "cce",
            "allocateLoadBalancerNodePorts": False,
            "ports": ports,
        },
    }


def endpoints(shop: Site) -> objects.Object:
    made = objects.endpoints(shop.name, NAME, shop.backend)
    made["ports"] = [{"name": f"p{n}", "port": shop.backend, "protocol": "TCP"} for n in range(3)]
    return made


def addresses(shop: Site) -> list[Address]:
    """The addresses in the status, once there are three."""

    def read() -> list[Address] | None:
        entries = shop.get("api/v1", "services", NAME)["status"]["loadBalancer"].get("ingress") or []
        made = [Address(entry["ip"], port["port"]) for entry in entries for port in entry.get("ports", ())]
        return made if len(made) == 3 else None

    return until(read, "the Service has its addresses")


def test_a_service_follows_its_secret_on_https_and_tls_ports_until_it_is_deleted(site: MakeSite) -> None:
    shop = site("balanced-service")
    first, second = shop.pair(), shop.pair()
    shop.system.apply(objects.namespace(shop.name), objects.pair_secret(shop.name, SECRET, first))
    shop.system.apply(service(shop), endpoints(shop))
    https, tls, tcp = addresses(shop)
    for at in (https, tls):
        until(lambda at=at: handshake(at, shop.host) == of(first.certificate), "the first is shown")  # type: ignore[misc]
    assert get(https, shop.host) == 200
    assert get(tls, shop.host) == 200
    assert _plain(tcp).startswith(b"HTTP/1.1 200 ")
    assert shop.get("api/v1", "services", NAME)["metadata"]["finalizers"] == ["certferry.io/load-balancer-cleanup"]

    with socket.create_connection(tls) as raw, trusting().wrap_socket(raw, server_hostname=shop.host) as held:
        assert shown(held) == of(first.certificate)
        shop.apply_secret(*second)
        for at in (https, tls):
            until(lambda at=at: handshake(at, shop.host) == of(second.certificate), "the second is shown")  # type: ignore[misc]
        held.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert held.recv(100).startswith(b"HTTP/1.1 200 "), "the connection is held through the rotation"
    uid = shop.uid()
    listeners = _listeners(shop)
    assert {listener["protocol"] for listener in listeners} == {"HTTPS", "TLS", "TCP"}
    (own,) = [
        c
        for c in shop.elb.want(200, "GET", shop.system.elb_path("certificates"))["certificates"]
        if described(c).get("secret_id") == uid
    ]
    assert {listener["default_tls_container_ref"] for listener in listeners} == {own["id"], None}
    until(
        lambda: _rotation(shop).get("fingerprint", "").startswith(of(second.certificate)[:8]),
        "the rotation is reported",
    )

    shop.system.kubectl("delete", "service", NAME, "-n", shop.name, "--timeout=30s")
    assert _listeners(shop) == []


def test_a_younger_ingress_on_the_port_of_a_service_is_warned(site: MakeSite) -> None:
    shop = site("occupied-by-a-service")
    pair = shop.pair()
    shop.system.apply(objects.namespace(shop.name), objects.pair_secret(shop.name, SECRET, pair))
    shop.system.apply(service(shop), endpoints(shop))
    https, *_ = addresses(shop)
    until(lambda: handshake(https, shop.host) == of(pair.certificate), "the Service is served")
    shop.system.apply(*shop.system.backend(shop.name, "web", shop.backend), shop.ingress())

    def warned() -> bool:
        return any("shares its port" in event["message"] for event in shop.warnings("Ingress", "shop"))

    until(warned, "the Ingress is warned")
    assert get(https, shop.host) == 200


def _plain(at: Address) -> bytes:
    with socket.create_connection(at, timeout=20) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        return connection.recv(100)


def _listeners(shop: Site) -> list[dict[str, Any]]:
    ports = "&".join(f"protocol_port={shop.port + 1000 * n}" for n in range(3))
    return list(shop.elb.want(200, "GET", shop.system.elb_path(f"listeners?{ports}"))["listeners"])


def _rotation(shop: Site) -> dict[str, Any]:
    annotations = shop.get("api/v1", "services", NAME)["metadata"]["annotations"]
    return dict(json.loads(annotations.get("certferry.io/rotation", "{}")))
