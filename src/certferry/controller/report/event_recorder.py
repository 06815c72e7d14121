"""Writing of Kubernetes Events: one per object, reason and sentence, whose count rises when it recurs.

The name of an Event is a digest of its content, so that each controller finds the Events of its predecessor.
"""

from __future__ import annotations

import hashlib
import socket
from datetime import UTC, datetime
from typing import Final, Literal

import msgspec
import structlog

from certferry.core.model.kubernetes import ObjectRef
from certferry.core.model.problems import HOURLY
from certferry.core.redaction import masked
from certferry.kube.client.client import EVENT, KubeClient, KubeError, Object

REASONS: Final = (
    "CertificateNotServed",
    "CertificateRolledBack",
    "CertificateServed",
    "DriftDetected",
    "ListenerOwnerChanged",
    "LoadBalancerRejected",
    "QuotaExceeded",
    "RenewalCritical",
    "RenewalLate",
    "RenewalUrgent",
)
"""Reasons of Events beside those of problems. Each has a heading in docs/problems.md."""
HOUR: Final = 3600.0
"""Seconds after which an hourly reason is reported again."""
MAX_MESSAGE: Final = 1024

_log = structlog.get_logger()


class EventMessage(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """The content of one Event."""

    object: ObjectRef
    type: Literal["Normal", "Warning"]
    reason: str
    sentence: str


class EventRecorder:
    """Writes the Events of one cluster."""

    def __init__(self, kube: KubeClient) -> None:
        self._kube = kube

    async def record(self, notice: EventMessage, times: int = 1, *, inherited: bool = False) -> float:
        """Write an Event, or count it `times` up; return the seconds since it was last reported.

        Returns 0, except if `inherited` and an earlier controller already reported it. Raises KubeError if retryable.
        """
        body = _event(notice, datetime.now(UTC), times)
        name, namespace = body["metadata"]["name"], body["metadata"]["namespace"]
        try:
            await self._kube.create(EVENT, body, namespace)
        except KubeError as error:
            if error.status == 409:
                return await self._again(name, namespace, body, inherited=inherited)
            if error.retryable:
                raise
            # the namespace is terminating, or RBAC forbids it
            _log.warning("event not written", object=str(notice.object.name), error=str(error))
        return 0.0

    async def _again(self, name: str, namespace: str, body: Object, *, inherited: bool) -> float:
        try:
            present = await self._kube.get(EVENT, name, namespace)
            ago = _seconds_ago(present)
            if inherited and (body["reason"] not in HOURLY or ago < HOUR):
                return ago
            count = int(present.get("count") or 1) + int(body["count"])
            patch = {"count": count, "lastTimestamp": body["lastTimestamp"]}
            await self._kube.merge(EVENT, name, patch, namespace)
        except KubeError as error:
            if error.retryable:
                raise
        return 0.0


def _seconds_ago(event: Object) -> float:
    try:
        told = datetime.fromisoformat(str(event.get("lastTimestamp")))
        return max(0.0, (datetime.now(UTC) - told).total_seconds())
    except (ValueError, TypeError):  # written by another client
        return 0.0


def _event(notice: EventMessage, now: datetime, times: int) -> Object:
    about = notice.object
    mark = hashlib.sha256("\0".join((about.uid, notice.reason, notice.sentence)).encode()).hexdigest()[:16]
    at = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{about.name[:230]}.{mark}", "namespace": about.namespace},
        "involvedObject": {
            "apiVersion": "networking.k8s.io/v1" if about.kind == "Ingress" else "v1",
            "kind": about.kind,
            "namespace": about.namespace,
            "name": about.name,
            "uid": about.uid,
        },
        "type": notice.type,
        "reason": notice.reason,
        "message": masked(notice.sentence)[:MAX_MESSAGE],
        "source": {"component": "certferry"},
        "reportingComponent": "certferry.io/controller",
        "reportingInstance": socket.gethostname()[:128],
        "firstTimestamp": at,
        "lastTimestamp": at,
        "count": times,
    }
