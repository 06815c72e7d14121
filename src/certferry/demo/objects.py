"""Kubernetes manifests of the demo, in the order of creation: one namespace with one HTTPS page.

`up` creates those that are absent, and never overwrites one.
"""

from __future__ import annotations

import base64
from typing import Any, Final, NamedTuple

import msgspec

from certferry.demo.ca import HOST, Pair
from certferry.kube.client.client import ENDPOINT_SLICE, INGRESS, SERVICE, Kind
from certferry.kube.client.client import NAMESPACE as NAMESPACES
from certferry.kube.client.client import SECRET as SECRETS

NAMESPACE: Final = "demo"
NAME: Final = "hello"
SECRET: Final = "hello-tls"  # noqa: S105 - a name

Manifest = dict[str, Any]


class Placed(NamedTuple):
    """A manifest and its kind."""

    kind: Kind
    manifest: Manifest


def placed(pair: Pair, address: str, port: int) -> tuple[Placed, ...]:
    """Return all objects for a backend at `address`:`port`."""
    return (
        Placed(NAMESPACES, _namespace()),
        Placed(SERVICE, _service()),
        Placed(ENDPOINT_SLICE, _endpoints(address, port)),
        Placed(SECRETS, _secret(pair)),
        Placed(INGRESS, _ingress()),
    )


def _namespace() -> Manifest:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}


def _service() -> Manifest:
    spec = {"ports": [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": 8080}]}
    return _applied({"apiVersion": "v1", "kind": "Service", "metadata": _metadata(NAME), "spec": spec})


def _endpoints(address: str, port: int) -> Manifest:
    return _applied(
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": _metadata(f"{NAME}-1", {"kubernetes.io/service-name": NAME}),
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": port, "protocol": "TCP"}],
            "endpoints": [{"addresses": [address], "conditions": {"ready": True}}],
        }
    )


def _secret(pair: Pair) -> Manifest:
    head = {"apiVersion": "v1", "kind": "Secret", "metadata": _metadata(SECRET), "type": "kubernetes.io/tls"}
    # The annotation names no data: `kubectl apply` works without a warning, and the key is not copied.
    return _applied(head) | {"data": {"tls.crt": _base64(pair.certificate), "tls.key": _base64(pair.key)}}


def _ingress() -> Manifest:
    backend = {"service": {"name": NAME, "port": {"number": 80}}}
    path = {"path": "/", "pathType": "Prefix", "backend": backend}
    return _applied(
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "Ingress",
            "metadata": _metadata(NAME),
            "spec": {
                "ingressClassName": "cce",
                "tls": [{"hosts": [HOST], "secretName": SECRET}],
                "rules": [{"host": HOST, "http": {"paths": [path]}}],
            },
        }
    )


def _metadata(name: str, labels: dict[str, str] | None = None) -> Manifest:
    return {"name": name, "namespace": NAMESPACE} | ({"labels": labels} if labels else {})


def _applied(manifest: Manifest) -> Manifest:
    """Add the annotation of `kubectl apply`, so that the next apply does not warn."""
    last = msgspec.json.encode(manifest).decode() + "\n"
    metadata = manifest["metadata"] | {"annotations": {"kubectl.kubernetes.io/last-applied-configuration": last}}
    return manifest | {"metadata": metadata}


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
