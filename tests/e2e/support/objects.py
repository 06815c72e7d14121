"""The Kubernetes objects of the tests, as a user would write them."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from tests.support.certs import Pair

Object = dict[str, Any]

CERTIFICATE_IDS = "kubernetes.io/elb.tls-certificate-ids"
PORT = "kubernetes.io/elb.port"
HTTP2 = "kubernetes.io/elb.http2-enable"


def namespace(name: str) -> Object:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def secret(namespace: str, name: str, certificate: str, key: str) -> Object:
    """A TLS Secret with whatever is given, good or bad."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/tls",
        "metadata": {"namespace": namespace, "name": name},
        "data": content(certificate, key),
    }


def content(certificate: str, key: str) -> dict[str, str]:
    return {"tls.crt": _base64(certificate), "tls.key": _base64(key)}


def service(namespace: str, name: str) -> Object:
    ports = [{"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {"ports": ports},
    }


def endpoints(namespace: str, service: str, port: int) -> Object:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"namespace": namespace, "name": f"{service}-1", "labels": {"kubernetes.io/service-name": service}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": port, "protocol": "TCP"}],
        "endpoints": [{"addresses": ["127.0.0.1"], "conditions": {"ready": True}}],
    }


def ingress(
    namespace: str, name: str, service: str, hosts: Sequence[str], tls: Sequence[Object], annotations: Mapping[str, str]
) -> Object:
    """All paths of `hosts` lead to `service`."""
    backend = {"service": {"name": service, "port": {"number": 80}}}
    paths = [{"path": "/", "pathType": "Prefix", "backend": backend}]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"namespace": namespace, "name": name, "annotations": dict(annotations)},
        "spec": {
            "ingressClassName": "cce",
            "tls": list(tls),
            "rules": [{"host": host, "http": {"paths": paths}} for host in hosts],
        },
    }


def pair_secret(namespace: str, name: str, pair: Pair) -> Object:
    return secret(namespace, name, pair.certificate, pair.key)


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
