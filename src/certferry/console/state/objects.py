"""What the console's lists show of Kubernetes objects: slim values, parsed once when they arrive.

``feeds`` keeps them current. The part that the controller reads too is the core's own; here stands
what only people want to see. Of a Secret no value is kept, only how long each is.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from certferry.core.model import kubernetes as objects
from certferry.core.model.kubernetes import Name, ReportedStatus
from certferry.core.model.managers import Manager, managers

Json = Mapping[str, Any]


class ListedObject(msgspec.Struct, frozen=True, kw_only=True):
    """Any object in a list."""

    name: Name
    uid: str
    created: datetime
    labels: tuple[tuple[str, str], ...]
    managers: tuple[Manager, ...]


class ListedSecret(ListedObject, frozen=True, kw_only=True):
    """A Secret: its public side, and the names and lengths of its values."""

    type: str
    data: tuple[tuple[str, int], ...]
    secret: objects.Secret
    system: bool
    """Made by the cluster itself: to look at only."""


class ListedIngress(ListedObject, frozen=True, kw_only=True):
    """An Ingress, and what the controller reported on it."""

    ingress: objects.Ingress
    reported: ReportedStatus


class ListedService(ListedObject, frozen=True, kw_only=True):
    """A Service."""

    service: objects.Service
    address: str


class ListedConfigMap(ListedObject, frozen=True, kw_only=True):
    """A ConfigMap: the names and lengths of its values."""

    data: tuple[tuple[str, int], ...]


def secret(obj: Json) -> ListedSecret:
    """Of a v1 Secret; the key pair is dropped at once."""
    public, _ = objects.parse_secret(obj)
    name = public.meta.name
    return ListedSecret(
        **_thing("Secret", obj),
        type=public.type,
        data=tuple((key, _decoded_length(value)) for key, value in sorted((obj.get("data") or {}).items())),
        secret=public,
        system=public.type == "kubernetes.io/service-account-token"
        or name in ("default-secret", "paas.elb")
        or name.startswith("default-token-"),
    )


def ingress(obj: Json) -> ListedIngress:
    """Of a networking.k8s.io/v1 Ingress."""
    return ListedIngress(
        **_thing("Ingress", obj), ingress=objects.parse_ingress(obj), reported=objects.parse_reported(obj)
    )


def service(obj: Json) -> ListedService:
    """Of a v1 Service."""
    return ListedService(
        **_thing("Service", obj),
        service=objects.parse_service(obj),
        address=(obj.get("spec") or {}).get("clusterIP") or "",
    )


def config_map(obj: Json) -> ListedConfigMap:
    """Of a v1 ConfigMap."""
    data = {**(obj.get("data") or {}), **(obj.get("binaryData") or {})}
    return ListedConfigMap(
        **_thing("ConfigMap", obj), data=tuple((key, len(value)) for key, value in sorted(data.items()))
    )


def namespace(obj: Json) -> ListedObject:
    """Of a v1 Namespace."""
    return ListedObject(**_thing("Namespace", obj))


def _thing(kind: str, obj: Json) -> dict[str, Any]:
    meta = objects.parse_meta(obj)
    # members of a list have no kind of their own
    return {
        "name": meta.key,
        "uid": meta.uid,
        "created": meta.created,
        "labels": tuple(sorted((obj["metadata"].get("labels") or {}).items())),
        "managers": managers({"kind": kind, "metadata": obj["metadata"]}),
    }


def _decoded_length(value: str) -> int:
    try:
        return len(base64.b64decode(value or "", validate=True))
    except (binascii.Error, ValueError):
        return len(value)
