"""One web site of a test: a namespace with a Service, a TLS Secret and an Ingress on a port of its own.

A port of its own means a listener of its own: what a test does to one site touches no other.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tests.e2e.support import objects, tls
from tests.e2e.support.system import System
from tests.e2e.support.tls import Address
from tests.e2e.support.waiting import until
from tests.support.certs import Pair, authority

SECRET = "shop-tls"
INGRESS = "shop"
SERVICE = "web"


class Site:
    """`host` on `port` in namespace `name`."""

    def __init__(self, system: System, name: str, port: int, backend: int) -> None:
        self.system = system
        self.name = name
        self.port = port
        self.backend = backend
        self.host = f"{name}.test.example"
        self.kube = system.kube()
        self.elb = system.elb()
        self._address: Address | None = None

    # -- what a user does

    def pair(self, **how: Any) -> Pair:
        return authority().issue(self.host, **how)

    def publish(self, pair: Pair | None, annotations: Mapping[str, str] | None = None) -> None:
        """All of it, with `kubectl apply`; without `pair` there is no Secret and no `tls`."""
        secrets = [] if pair is None else [objects.pair_secret(self.name, SECRET, pair)]
        self.system.apply(
            objects.namespace(self.name),
            *self.system.backend(self.name, SERVICE, self.backend),
            *secrets,
            self.ingress(annotations, tls=pair is not None),
        )

    def ingress(self, annotations: Mapping[str, str] | None = None, *, tls: bool = True) -> objects.Object:
        entry = [{"hosts": [self.host], "secretName": SECRET}] if tls else []
        settings = {objects.PORT: str(self.port), **(annotations or {})}
        return objects.ingress(self.name, INGRESS, SERVICE, [self.host], entry, settings)

    def apply_secret(self, certificate: str, key: str) -> None:
        """Procedure 1, as the manual has it."""
        self.system.apply(objects.secret(self.name, SECRET, certificate, key))

    def put_secret(self, pair: Pair) -> None:
        """Procedure 1 by the API: one request over a kept connection."""
        self.kube.want(
            200,
            "PATCH",
            f"/api/v1/namespaces/{self.name}/secrets/{SECRET}",
            {"data": objects.content(*pair)},
            kind="application/merge-patch+json",
        )

    def annotate(self, **values: str | None) -> None:
        """Annotations on the ingress by one merge patch; None takes one away. `ids` is short for the ELB's."""
        named = {objects.CERTIFICATE_IDS if key == "ids" else key: value for key, value in values.items()}
        self.kube.want(
            200,
            "PATCH",
            f"/apis/networking.k8s.io/v1/namespaces/{self.name}/ingresses/{INGRESS}",
            {"metadata": {"annotations": named}},
            kind="application/merge-patch+json",
        )

    def post_certificate(self, pair: Pair, name: str = "mine") -> str:
        """A certificate on the ELB by its API; the id."""
        body = {"name": name, "certificate": pair.certificate, "private_key": pair.key, "domain": self.host}
        path = self.system.elb_path("certificates")
        made = self.elb.want(201, "POST", path, {"certificate": body})
        return str(made["certificate"]["id"])

    def put_certificate(self, identity: str, pair: Pair) -> None:
        """Procedure 2b."""
        body = {"certificate": pair.certificate, "private_key": pair.key}
        path = self.system.elb_path("certificates", identity)
        self.elb.want(200, "PUT", path, {"certificate": body})

    # -- what can be seen

    @property
    def address(self) -> Address:
        """Where the Ingress says it is, once it does."""
        if self._address is None:
            self._address = until(self._status, f"the ingress {self.name}/{INGRESS} has an address")
        return self._address

    def _status(self) -> Address | None:
        found = self.get("apis/networking.k8s.io/v1", "ingresses", INGRESS)["status"]["loadBalancer"]
        entry = found["ingress"][0]
        ports = entry.get("ports") or []
        return Address(entry["ip"], ports[0]["port"]) if ports else None

    def get(self, group: str, plural: str, name: str) -> Any:
        return self.kube.want(200, "GET", f"/{group}/namespaces/{self.name}/{plural}/{name}")

    def uid(self, name: str = SECRET) -> str:
        return str(self.get("api/v1", "secrets", name)["metadata"]["uid"])

    def shows(self, pair: Pair, host: str | None = None, seconds: float = 20) -> None:
        """Wait until a new connection for `host` (the site's own) is shown `pair`."""
        name = host or self.host
        wanted = tls.fingerprint(pair.certificate)
        until(lambda: self.shown(name) == wanted, f"{name} shows what it should", seconds=seconds)

    def shown(self, host: str | None = None) -> str:
        """The fingerprint that a new connection is shown."""
        return tls.handshake(self.address, host or self.host)

    def listener(self) -> dict[str, Any]:
        found = self.elb.want(200, "GET", self.system.elb_path(f"listeners?protocol_port={self.port}"))
        (listener,) = found["listeners"]
        return dict(listener)

    def own_certificate(self) -> dict[str, Any]:
        """The ELB certificate that follows the site's Secret."""
        uid = self.uid()
        found = self.elb.want(200, "GET", self.system.elb_path("certificates"))["certificates"]
        (own,) = [c for c in found if described(c).get("secret_id") == uid]
        return dict(own)

    def warnings(self, kind: str, name: str) -> list[dict[str, Any]]:
        """The Warning Events on one object, as kubectl lists them."""
        selector = f"type=Warning,involvedObject.kind={kind},involvedObject.name={name}"
        listed = self.system.kubectl("get", "events", "-n", self.name, "--field-selector", selector, "-o", "json")
        return list(json.loads(listed.stdout)["items"])


def described(certificate: dict[str, Any]) -> dict[str, Any]:
    try:
        value = json.loads(certificate.get("description") or "{}")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
