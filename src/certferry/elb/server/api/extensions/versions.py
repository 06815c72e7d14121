"""The contents that a certificate has and had, and going back to one of them.

A rollback writes a new version with an earlier content; like every action it never replaces a better
certificate by a worse one.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from certferry.core import checks
from certferry.core.model.elb import domain_names
from certferry.elb.server.api.extensions.bodies import instant, plain_body
from certferry.elb.server.api.request import ApiRequest, ApiResponse, Route, path_object
from certferry.elb.server.api.resources import certificates
from certferry.elb.server.errors import ApiError, conflict, not_found
from certferry.elb.server.rules import compromised, locks
from certferry.elb.server.rules.certificate_binding import check_certificate
from certferry.elb.server.store.audit import AuditNote
from certferry.elb.server.store.tables import Content, Row
from certferry.elb.server.store.transaction import Transaction


class Rollback(msgspec.Struct, frozen=True, kw_only=True):
    """Which content to serve again, and why."""

    version: Annotated[int, Meta(ge=1, le=2**31 - 1)] | None = None
    """None: the one before."""
    reason: Annotated[str, Meta(max_length=1000)] = ""


def listed(call: ApiRequest) -> ApiResponse:
    """GET …/versions: newest first, never a key."""
    row = path_object(call, call.snapshot, "certificate")
    assert row.content is not None
    current = row.content.version
    return ApiResponse(
        200,
        {
            "versions": [
                {
                    **msgspec.to_builtins(one),
                    "current": one.number == current,
                    "compromised": bool(compromised.mark_of(call.snapshot, row.project_id, one.spki)),
                    "not_before": instant(one.not_before),
                    "not_after": instant(one.not_after),
                    "created_at": instant(one.created_at),
                }
                for one in call.store.versions(row.id)
            ]
        },
    )


def roll_back(call: ApiRequest) -> ApiResponse:
    """POST …/rollback."""
    body = plain_body(call, Rollback)

    def decide(transaction: Transaction) -> Row:
        row = path_object(call, transaction.snapshot, "certificate")
        change = locks.Change(fields=locks.CONTENT, data=row.data)
        locks.authorize(row, call.actor, change, transaction.now)
        earlier = _earlier(call, transaction, row, body.version)
        assert row.content is not None
        if earlier.chain.digest == row.content.chain.digest:
            return row
        change = change._replace(chain=earlier.chain)
        permission = locks.authorize(row, call.actor, change, transaction.now)
        _check_usable(row, earlier, transaction)
        content = Content(
            version=row.content.version + 1, chain=earlier.chain, key=earlier.key, before=row.content.chain
        )
        transaction.note = AuditNote(verb="rollback", reason=body.reason or None, via="rollback")
        after = transaction.update(row, {**row.data, **permission.marks, "version": content.version}, content)
        check_certificate(transaction.snapshot, row, after, call.settings.limits)
        return after

    row, snapshot = call.write(decide)
    return ApiResponse(200, certificates.RESOURCE.one(call, snapshot, row))


def _earlier(call: ApiRequest, transaction: Transaction, row: Row, number: int | None) -> Content:
    """Return the content of version `number`, or of the newest earlier one that differs from the present one.

    Versions with a compromised key are skipped.
    """
    assert row.content is not None
    if number is not None:
        content = call.store.content(row.id, number)
        if content is None:
            raise not_found(f"version {number} of certificate", row.id)
        return content
    for one in call.store.versions(row.id):
        marked = compromised.mark_of(transaction.snapshot, row.project_id, one.spki)
        if one.number < row.content.version and one.digest != row.content.chain.digest and not marked:
            content = call.store.content(row.id, one.number)
            assert content is not None
            return content
    raise conflict("no previous version available")


def _check_usable(row: Row, earlier: Content, transaction: Transaction) -> None:
    """Raise ApiError (409) where the earlier content is compromised, expired, or worse than the present one."""
    assert row.content is not None
    marked = compromised.marks(transaction.snapshot, row.project_id, earlier.chain)
    hosts = domain_names(row.data["domain"])
    flaw = (
        checks.compromised(earlier.chain, marked)
        or checks.expired(earlier.chain, transaction.now)
        or checks.objection(earlier.chain, row.content.chain, hosts, transaction.now)
    )
    if flaw is not None:
        raise _worse(earlier.version, flaw.sentence)


def _worse(number: int, sentence: str) -> ApiError:
    return conflict(f"Version {number} is not served again: {sentence}")


_BASE: Final = "/certificates/{id}"
ROUTES: Final[tuple[Any, ...]] = (
    Route("GET", f"{_BASE}/versions", listed, "Show the kept contents of a certificate"),
    Route("POST", f"{_BASE}/rollback", roll_back, "Serve an earlier content again", ("", Rollback)),
)
