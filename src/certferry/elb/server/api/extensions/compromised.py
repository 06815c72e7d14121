"""Marks of compromised keys: set, listed and removed.

In the transaction of a mark, each certificate with the key returns to its best earlier content with another key.
"""

from __future__ import annotations

import uuid
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from certferry.elb.server.api.extensions.bodies import asked_for, instant, plain_body
from certferry.elb.server.api.request import ApiRequest, ApiResponse, Route, get_object
from certferry.elb.server.errors import ApiError, bad_request, forbidden, not_found, over_quota
from certferry.elb.server.rules import break_glass as emergency
from certferry.elb.server.rules import compromised, locks
from certferry.elb.server.rules.certificate_binding import check_certificate
from certferry.elb.server.store.audit import AuditNote
from certferry.elb.server.store.tables import Content, Row, StoreSnapshot, project
from certferry.elb.server.store.transaction import Transaction

MOST: Final = 1000
"""Marks of one project."""


class CompromisedKey(msgspec.Struct, frozen=True, kw_only=True):
    """The key to mark, by its public half or by a certificate on the ELB, and why."""

    spki: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")] = ""
    """SHA-256 of the SubjectPublicKeyInfo, hex."""
    certificate_id: Annotated[str, Meta(max_length=36)] = ""
    reason: Annotated[str, Meta(min_length=1, max_length=1000)]


def listed(call: ApiRequest) -> ApiResponse:
    """GET …/compromised-keys: oldest first."""
    rows = call.snapshot.find(compromised.KIND, project, call.actor.project_id)
    return ApiResponse(200, {"compromised_keys": [_shown(row) for row in rows]})


def mark(call: ApiRequest) -> ApiResponse:
    """POST …/compromised-keys; on a marked key: another reason, and the replacement once more."""
    body = plain_body(call, CompromisedKey)
    if not body.reason.strip():
        raise bad_request("reason is empty: say why the key is compromised")

    def decide(transaction: Transaction) -> tuple[Row, list[dict[str, Any]]]:
        snapshot = transaction.snapshot
        spki = _spki(call, snapshot, body)
        certificates = compromised.holders(snapshot, call.actor.project_id, spki)
        _authorize(call, certificates, transaction)
        row = _marked(call, transaction, spki, body.reason.strip())
        return row, [_replaced(call, transaction, one, body.reason.strip()) for one in certificates]

    (row, replaced), _ = call.write(decide)
    return ApiResponse(201, {"compromised_key": _shown(row), "certificates": replaced})


def remove(call: ApiRequest) -> ApiResponse:
    """DELETE …/compromised-keys/{spki}; what is served stays."""

    def decide(transaction: Transaction) -> None:
        row = compromised.mark_of(transaction.snapshot, call.actor.project_id, call.path["spki"])
        if row is None:
            raise not_found("compromised key", call.path["spki"])
        transaction.note = AuditNote(verb="compromised-end", reason=asked_for(call, "reason"))
        transaction.delete(row)

    call.write(decide)
    return ApiResponse(204)


def _spki(call: ApiRequest, snapshot: StoreSnapshot, body: CompromisedKey) -> str:
    if bool(body.spki) == bool(body.certificate_id):
        raise bad_request("Give either spki or certificate_id")
    if body.spki:
        return body.spki
    row = get_object(snapshot, "certificate", body.certificate_id, call.actor.project_id)
    assert row.content is not None
    return row.content.chain.spki


def _authorize(call: ApiRequest, certificates: tuple[Row, ...], transaction: Transaction) -> None:
    """Raise ApiError (403, 409) unless the user is an admin, or may change every certificate with the key.

    A certificate without its private key does not count, because each client of a host has it.
    """
    if call.actor.role == "admin":
        return
    if not certificates:
        raise forbidden("Only an admin may mark the key of a certificate that is not in service here")
    for row in certificates:
        change = locks.Change(fields=locks.CONTENT, data=row.data)
        locks.authorize(row, call.actor, change, transaction.now)


def _marked(call: ApiRequest, transaction: Transaction, spki: str, reason: str) -> Row:
    snapshot, project_id = transaction.snapshot, call.actor.project_id
    before = compromised.mark_of(snapshot, project_id, spki)
    transaction.note = AuditNote(verb="compromised", reason=reason)
    data = {"spki": spki, "name": f"key {spki[:16]}", "reason": reason, "user": call.actor.name}
    if before is not None:
        return transaction.update(before, data)
    if snapshot.count(compromised.KIND, project, project_id) >= MOST:
        raise over_quota(compromised.KIND, MOST)
    return transaction.create(compromised.KIND, uuid.uuid4().hex, data)


def _replaced(call: ApiRequest, transaction: Transaction, row: Row, reason: str) -> dict[str, Any]:
    """Serve the best earlier content of a certificate instead of its compromised one, if there is any."""
    kept = [c for v in call.store.versions(row.id) if (c := call.store.content(row.id, v.number))]
    for content in compromised.replacements(transaction.snapshot, row, kept, transaction.now):
        try:
            transaction.attempt(lambda content=content: _roll_back(call, transaction, row, content, reason))  # type: ignore[misc]
        except ApiError:
            continue  # its kind of key conflicts with another certificate of a listener
        return {"id": row.id, "name": row.data["name"], "version": content.version}
    return {"id": row.id, "name": row.data["name"], "version": None}


def _roll_back(call: ApiRequest, transaction: Transaction, row: Row, earlier: Content, reason: str) -> None:
    assert row.content is not None
    content = Content(version=row.content.version + 1, chain=earlier.chain, key=earlier.key, before=row.content.chain)
    paused = row.data.get("emergency") or row.data.get("break_glass")
    ended = emergency.after_owners(row.data, earlier.chain) if paused else {}
    transaction.note = AuditNote(verb="rollback", reason=f"compromised key: {reason}"[:1000], via="rollback")
    after = transaction.update(row, {**row.data, **ended, "version": content.version}, content)
    check_certificate(transaction.snapshot, row, after, call.settings.limits)


def _shown(row: Row) -> dict[str, Any]:
    data = row.data
    at = instant(row.updated_at)
    return {"id": row.id, "spki": data["spki"], "reason": data["reason"], "user": data["user"], "marked_at": at}


_PATH: Final = "/compromised-keys"
ROUTES: Final[tuple[Any, ...]] = (
    Route("GET", _PATH, listed, "List the keys that are marked as compromised"),
    Route("POST", _PATH, mark, "Mark a key as compromised", ("", CompromisedKey), 201),
    Route("DELETE", f"{_PATH}/{{spki}}", remove, "Remove the mark of a key", status=204, roles=("admin",)),
)
