"""Break-glass: an admin opens the content of an owned certificate, with a reason and an end."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from certferry.core.model.elb import BreakGlass, PauseKind
from certferry.elb.server.api.extensions.bodies import plain_body
from certferry.elb.server.api.request import ApiRequest, ApiResponse, Route, path_object
from certferry.elb.server.errors import bad_request, conflict, forbidden, not_found
from certferry.elb.server.rules import break_glass as emergency
from certferry.elb.server.store.audit import AuditNote
from certferry.elb.server.store.tables import Row
from certferry.elb.server.store.transaction import Transaction

LONGEST: Final = timedelta(days=30)


class Opening(msgspec.Struct, frozen=True, kw_only=True):
    """The kind of pause, its reason and its end (RFC 3339, with a zone)."""

    kind: PauseKind = "break-glass"
    reason: Annotated[str, Meta(min_length=1, max_length=1000)]
    until: Annotated[datetime, Meta(tz=True)]


def open_(call: ApiRequest) -> ApiResponse:
    """POST …/break-glass; on an open one: another reason and end."""
    _admins_alone(call)
    body = plain_body(call, Opening)
    if not body.reason.strip():
        raise bad_request("reason is empty: say why the owner's certificate has to be replaced")

    def decide(transaction: Transaction) -> Row:
        row = path_object(call, transaction.snapshot, "certificate")
        until = _end(body.until, transaction.now)
        if row.data["owner"] is None:
            raise conflict(f"Certificate {row.data['name'] or row.id} has no owner: change it directly")
        before = emergency.of(row, transaction.now)
        assert row.content is not None
        current = BreakGlass(
            kind=body.kind,
            reason=body.reason.strip(),
            until=until,
            user=call.actor.name,
            since=before.since if before else transaction.now,
            digest=before.digest if before else _owners(row),
        )
        transaction.note = AuditNote(verb=body.kind, reason=f"until {until:%Y-%m-%d %H:%M} UTC: {current.reason}")
        return transaction.update(row, emergency.opened(row, current))

    row, _ = call.write(decide)
    return ApiResponse(201, {"break_glass": emergency.shown(row, call.store.now())})


def close(call: ApiRequest) -> ApiResponse:
    """DELETE …/break-glass: it ends now."""
    _admins_alone(call)

    def decide(transaction: Transaction) -> None:
        row = path_object(call, transaction.snapshot, "certificate")
        current = emergency.of(row, transaction.now)
        if current is None:
            raise not_found("An open break-glass on certificate", row.id)
        transaction.note = AuditNote(verb=f"{current.kind}-end")
        transaction.update(row, emergency.closed(row))

    call.write(decide)
    return ApiResponse(204)


def _owners(row: Row) -> str:
    """Return the digest of the owner's last content: the present one, unless break-glass replaced it."""
    assert row.content is not None
    stored = row.data.get("break_glass")
    if row.data.get("emergency") and stored is not None:
        return str(stored["digest"])
    return row.content.chain.digest


def _end(until: datetime, now: datetime) -> datetime:
    try:
        until = until.astimezone(UTC)
    except OverflowError:
        raise bad_request("until is no instant of this calendar") from None
    if until <= now:
        raise bad_request("until is in the past")
    if until > now + LONGEST:
        raise bad_request(f"until is more than {LONGEST.days} days ahead")
    return until


def _admins_alone(call: ApiRequest) -> None:
    if call.actor.role != "admin":
        raise forbidden("Break-glass is for the role admin")


_PATH: Final = "/certificates/{id}/break-glass"
ROUTES: Final[tuple[Any, ...]] = (
    Route("POST", _PATH, open_, "Open break-glass on a certificate", ("", Opening), 201),
    Route("DELETE", _PATH, close, "Close break-glass on a certificate", status=204),
)
