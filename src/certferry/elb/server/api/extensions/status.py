"""The status of a certificate: its slots, since when it is served, its findings, and Envoy's acknowledgements."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from certferry.core.model import quarantine
from certferry.elb.server.api.extensions.bodies import instant
from certferry.elb.server.api.request import ApiRequest, ApiResponse, Route, path_object
from certferry.elb.server.dataplane.status import ACCEPTED, PENDING, REJECTED, DataPlaneStatus, SecretStatus
from certferry.elb.server.rules import break_glass as emergency
from certferry.elb.server.rules import findings
from certferry.elb.server.rules.certificate_binding import users
from certferry.elb.server.store.tables import Row

_SERVING: Final = ("default_tls_container_ref", "sni_container_refs")


def status(call: ApiRequest) -> ApiResponse:
    """GET …/status."""
    snapshot, now = call.snapshot, call.store.now()
    row = path_object(call, snapshot, "certificate")
    assert row.content is not None
    report = call.plane()
    return ApiResponse(
        200,
        {
            "status": {
                "certificate_id": row.id,
                "fingerprint": row.content.chain.fingerprint,
                "listeners": [slot for one in users(snapshot, row.id, *_SERVING) for slot in _slots(row, one, report)],
                "findings": findings.found(snapshot, row, now, findings.taken(snapshot, row)),
                "break_glass": emergency.shown(row, now),
                "quarantined": quarantine.quarantined_mark(row.data["description"]),
            }
        },
    )


def _slots(row: Row, listener: Row, report: DataPlaneStatus) -> Iterator[dict[str, Any]]:
    """Yield one entry per kind of slot that the certificate has on `listener`."""
    assert row.content is not None
    secret_statuses = report.secrets.of_chain(listener.id, row.content.chain.digest)
    bound = {
        "default": listener.data["default_tls_container_ref"] == row.id,
        "sni": row.id in (listener.data["sni_container_refs"] or ()),
    }
    for kind in (kind for kind, is_bound in bound.items() if is_bound):
        yield {
            "listener_id": listener.id,
            "loadbalancer_id": listener.data["loadbalancer_id"],
            "seat": kind,  # the name of version 0.1, whose clients require it
            **_overall([status for status in secret_statuses if status.slot == kind]),
        }


def _overall(told: list[SecretStatus]) -> dict[str, Any]:
    """Combine the states of all slots of one kind: a rejected one takes precedence."""
    refused = next((status for status in told if status.state == REJECTED), None)
    if refused:
        since = refused.since
        return {"state": REJECTED, "since": instant(since) if since else None, "message": refused.message}
    if not told or any(status.state != ACCEPTED for status in told):
        return {"state": PENDING, "since": None, "message": ""}
    instants = [status.since for status in told if status.since]
    return {"state": ACCEPTED, "since": instant(max(instants)) if instants else None, "message": ""}


ROUTES: Final[tuple[Any, ...]] = (
    Route("GET", "/certificates/{id}/status", status, "Show where a certificate is served"),
)
