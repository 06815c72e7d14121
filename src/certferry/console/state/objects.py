"""Kubernetes objects as lists show them, parsed once when they arrive.

`parsed` is the core's own value. The lengths of a Secret's values are kept, the values are not.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from certferry.core.model import kubernetes as objects
from certferry.core.model.claimed_since import restored
from certferry.core.model.kubernetes import Name, ReportedStatus
from certferry.core.model.managers import Manager, managers

Json = Mapping[str, Any]


class ListedObject(msgspec.Struct, frozen=True, kw_only=True):
    """An object of any kind."""

    name: Name
    uid: str
    created: datetime
    labels: tuple[tuple[str, str], ...]
    managers: tuple[Manager, ...]


class ListedSecret(ListedObject, frozen=True, kw_only=True):
    """A Secret: its public part, and the keys and lengths of its values."""

    type: str
    data: tuple[tuple[str, int], ...]
    parsed: objects.Secret
    system: bool
    """Made by the cluster; it cannot be changed here."""


class ListedIngress(ListedObject, frozen=True, kw_only=True):
    """An Ingress, and the status that the controller reported on it."""

    parsed: objects.Ingress
    reported: ReportedStatus


class ListedService(ListedObject, frozen=True, kw_only=True):
    """A Service."""

    parsed: objects.Service
    address: str


class ListedConfigMap(ListedObject, frozen=True, kw_only=True):
    """A ConfigMap: the keys and lengths of its values."""

    data: tuple[tuple[str, int], ...]


def secret(obj: Json) -> ListedSecret:
    """Parse a v1 Secret; its key pair is dropped at once."""
    public, _ = objects.parse_secret(obj)
    name = public.meta.name
    return ListedSecret(
        **_metadata("Secret", obj),
        type=public.type,
        data=tuple((key, _decoded_length(value)) for key, value in sorted((obj.get("data") or {}).items())),
        parsed=public,
        system=public.type == "kubernetes.io/service-account-token"
        or name in ("default-secret", "paas.elb")
        or name.startswith("default-token-"),
    )


def ingress(obj: Json) -> ListedIngress:
    """Parse a networking.k8s.io/v1 Ingress."""
    parsed = restored(objects.parse_ingress(obj), obj, None)
    return ListedIngress(**_metadata("Ingress", obj), parsed=parsed, reported=objects.parse_reported(obj))


def service(obj: Json) -> ListedService:
    """Parse a v1 Service."""
    return ListedService(
        **_metadata("Service", obj),
        parsed=objects.parse_service(obj),
        address=(obj.get("spec") or {}).get("clusterIP") or "",
    )


def config_map(obj: Json) -> ListedConfigMap:
    """Parse a v1 ConfigMap."""
    data = {**(obj.get("data") or {}), **(obj.get("binaryData") or {})}
    return ListedConfigMap(
        **_metadata("ConfigMap", obj), data=tuple((key, len(value)) for key, value in sorted(data.items()))
    )


def namespace(obj: Json) -> ListedObject:
    """Parse a v1 Namespace."""
    return ListedObject(**_metadata("Namespace", obj))


def _metadata(kind: str, obj: Json) -> dict[str, Any]:
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
