"""Release: remove the owner of a certificate. It stays in service, and every writer may change it."""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from certferry.core.model import naming as names
from certferry.elb.server.api.extensions.bodies import plain_body
from certferry.elb.server.api.request import ApiRequest, ApiResponse, Route, path_object
from certferry.elb.server.api.resources import certificates
from certferry.elb.server.errors import forbidden
from certferry.elb.server.store.audit import AuditNote
from certferry.elb.server.store.tables import Row
from certferry.elb.server.store.transaction import Transaction


class Release(msgspec.Struct, frozen=True, kw_only=True):
    """The reason for a release."""

    reason: Annotated[str, Meta(max_length=1000)] = ""


def release(call: ApiRequest) -> ApiResponse:
    """POST …/release: by an admin, or by the owner itself. One without an owner stays as it is."""
    body = plain_body(call, Release)

    def decide(transaction: Transaction) -> Row:
        row = path_object(call, transaction.snapshot, "certificate")
        owner = row.data["owner"]
        if call.actor.role != "admin" and (owner is None or owner != call.actor.owner):
            raise forbidden("A certificate is released by its owner or an admin")
        if owner is None:
            return row
        transaction.note = AuditNote(verb="release", reason=body.reason or None)
        said = names.described(row.data["description"])
        marks = {"description": f"Released from cluster {owner}"[:255]} if "secret_id" in said else {}
        free = {"owner": None, "source_cluster": None, "source_namespace": None, "source_secret": None}
        over = {"break_glass": None, "emergency": False}
        return transaction.update(row, {**row.data, **free, **over, **marks})

    row, snapshot = call.write(decide)
    return ApiResponse(200, certificates.RESOURCE.one(call, snapshot, row))


ROUTES: Final[tuple[Any, ...]] = (
    Route("POST", "/certificates/{id}/release", release, "Take the owner from a certificate", ("", Release)),
)
