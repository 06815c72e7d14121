"""Orders: certificates that an issuer issues and renews.

An order whose challenge cannot work never reaches the CA. An issued certificate takes the way of every
PUT; it never replaces a better one.
"""

from __future__ import annotations

import re
import uuid
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from certferry.core import checks
from certferry.core.model.elb import domain_names
from certferry.core.x509.pem import InvalidPem, parse_pair
from certferry.elb.server.acme import dns_hook
from certferry.elb.server.acme.attempt import NO_LISTENER, Deliver, challenge_listeners
from certferry.elb.server.acme.model import (
    KEY,
    Challenge,
    Delivery,
    KeyType,
    Order,
    data_of,
    issuer_of,
    names_key,
    order_of,
)
from certferry.elb.server.api.extensions.bodies import instant, plain_body
from certferry.elb.server.api.request import ApiRequest, ApiResponse, Route, path_object, within_quota
from certferry.elb.server.api.resources import certificates
from certferry.elb.server.errors import bad_request, conflict, not_found, unusable
from certferry.elb.server.rules import compromised
from certferry.elb.server.store.audit import AuditNote
from certferry.elb.server.store.store import Store
from certferry.elb.server.store.tables import Row, StoreSnapshot, project
from certferry.elb.server.store.transaction import Transaction
from certferry.settings import ElbSettings

_NAME: Final = re.compile(r"(\*\.)?([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
_LONGEST: Final = 100
"""Characters of a name in the domain field of a certificate."""
_FIRST: Final = "a certificate is to be issued"


class OrderCreate(msgspec.Struct, frozen=True, kw_only=True):
    """The names of a certificate, the issuer, and what differs from the issuer's own choices."""

    names: Annotated[list[Annotated[str, Meta(min_length=1, max_length=253)]], Meta(min_length=1, max_length=100)]
    issuer: Annotated[str, Meta(min_length=1, max_length=64)]
    """Its name or id."""
    certificate_id: Annotated[str, Meta(max_length=36)] = ""
    """The certificate that receives the content; empty: a new one."""
    challenge: Challenge | None = None
    key_type: KeyType | None = None
    profile: Annotated[str, Meta(max_length=64)] | None = None


def listed(call: ApiRequest) -> ApiResponse:
    """GET …/orders: oldest first."""
    snapshot = call.snapshot
    rows = snapshot.find("order", project, call.actor.project_id)
    return ApiResponse(200, {"orders": [_shown(snapshot, row) for row in rows]})


def show(call: ApiRequest) -> ApiResponse:
    """GET …/orders/{id}."""
    snapshot = call.snapshot
    return ApiResponse(200, {"order": _shown(snapshot, path_object(call, snapshot, "order"))})


def create(call: ApiRequest) -> ApiResponse:
    """POST …/orders."""
    body = plain_body(call, OrderCreate)
    names = tuple(sorted({name.lower().rstrip(".") for name in body.names}))
    if bad := [name for name in names if not _NAME.fullmatch(name) or len(name) > _LONGEST]:
        raise bad_request(f"“{bad[0][:100]}” is not a host name that a CA issues certificates for")

    def decide(transaction: Transaction) -> Row:
        snapshot = transaction.snapshot
        within_quota(snapshot, call, "order")
        issuer_row = _issuer(snapshot, call.actor.project_id, body.issuer)
        issuer, key = issuer_of(issuer_row), names_key(names)
        if any(row.project_id == call.actor.project_id for row in snapshot.find("order", "names_key", key)):
            raise conflict(f"There is an order for {', '.join(names)[:300]} already")
        order = Order(
            name=", ".join(names),
            names=names,
            names_key=key,
            issuer_id=issuer_row.id,
            certificate_id=_target(call, snapshot, body.certificate_id),
            profile=issuer.profile if body.profile is None else body.profile,
            key_type=body.key_type or issuer.key_type,
            challenge=body.challenge or issuer.challenge,
            next_at=transaction.now,
            reason=_FIRST,
        )
        _check_possible(call, snapshot, order)
        if order.certificate_id is None:
            within_quota(snapshot, call, "certificate")
        return transaction.create("order", uuid.uuid4().hex, data_of(order))

    row, snapshot = call.write(decide)
    return ApiResponse(201, {"order": _shown(snapshot, row)})


def renew(call: ApiRequest) -> ApiResponse:
    """POST …/orders/{id}/renew: begin an attempt now; one under way goes on."""

    def decide(transaction: Transaction) -> Row:
        row = path_object(call, transaction.snapshot, "order")
        order = order_of(row)
        if order.state != "waiting":
            return row
        _check_possible(call, transaction.snapshot, order)
        asked = {"next_at": transaction.now, "reason": f"{call.actor.name} asked for it"}
        return transaction.update(row, data_of(msgspec.structs.replace(order, **asked)))

    row, snapshot = call.write(decide)
    return ApiResponse(200, {"order": _shown(snapshot, row)})


def remove(call: ApiRequest) -> ApiResponse:
    """DELETE …/orders/{id}: the certificate stays and is not renewed any more."""

    def decide(transaction: Transaction) -> None:
        row = path_object(call, transaction.snapshot, "order")
        transaction.delete(row)
        transaction.secrets[row.id, KEY] = None

    call.write(decide)
    return ApiResponse(204)


def delivery(store: Store, settings: ElbSettings) -> Deliver:
    """Return the function that writes an issued certificate as a POST or PUT of the API does."""

    def deliver(transaction: Transaction, order: Order, issued: Delivery) -> str:
        present = transaction.snapshot.get("certificate", order.certificate_id)
        _check_issued(transaction, order, issued, present)
        fields = {"certificate": issued.pem, "private_key": issued.key.reveal()}
        if present is None:
            fields |= {"name": order.names[0][:255], "domain": order.name.replace(" ", "")}
        call = ApiRequest(
            store=store,
            settings=settings,
            actor=transaction.actor,
            request_id=transaction.request_id,
            path={"id": present.id} if present else {},
            query=(),
            body=msgspec.json.encode({"certificate": fields}),
            transaction=transaction,
        )
        transaction.note = AuditNote(reason=f"issued for {order.name}"[:1000], via="issuance")
        answer = certificates.CRUD.update(call) if present else certificates.CRUD.create(call)
        assert answer.body is not None
        transaction.note = AuditNote()
        return str(answer.body["certificate"]["id"])

    return deliver


def _check_issued(transaction: Transaction, order: Order, issued: Delivery, present: Row | None) -> None:
    """Raise ApiError unless the certificate may be served, and replaces no better one."""
    try:
        chain = parse_pair(issued.pem, issued.key.reveal()).chain
    except InvalidPem as defect:
        raise unusable(defect.sentence) from None
    before = present.content.chain if present is not None and present.content is not None else None
    hosts = domain_names(present.data["domain"]) if present is not None else order.names
    chains = (chain, before) if before is not None else (chain,)
    marked = compromised.marks(transaction.snapshot, transaction.actor.project_id, *chains)
    if finding := checks.refusal(chain, before, hosts or order.names, transaction.now, compromised=marked):
        raise unusable(finding.sentence)


def _check_possible(call: ApiRequest, snapshot: StoreSnapshot, order: Order) -> None:
    """Raise ApiError (409) if the challenge of the order cannot work."""
    if order.challenge == "dns-01":
        if sentence := dns_hook.objection(call.settings.dns_hook):
            raise conflict(sentence)
        return
    if wild := next((name for name in order.names if name.startswith("*.")), None):
        raise conflict(f"{wild} needs the challenge dns-01: CAs validate wildcards by DNS alone")
    if not challenge_listeners(snapshot, call.actor.project_id):
        raise conflict(NO_LISTENER)


def _issuer(snapshot: StoreSnapshot, project_id: str, word: str) -> Row:
    for row in snapshot.find("issuer", project, project_id):
        if word in (row.id, row.data["name"]):
            return row
    raise not_found("issuer", word)


def _target(call: ApiRequest, snapshot: StoreSnapshot, certificate_id: str) -> str | None:
    """Return the certificate to replace. Raises ApiError (404, 409)."""
    if not certificate_id:
        return None
    row = snapshot.get("certificate", certificate_id)
    if row is None or row.project_id != call.actor.project_id:
        raise not_found("certificate", certificate_id)
    if row.data["type"] != "server":
        raise bad_request("Only a server certificate can be issued")
    if row.data["owner"] is not None:
        raise conflict(
            f"Certificate {row.data['name']} follows a Secret of cluster {row.data['owner']}: renew that one"
        )
    for other in snapshot.find("order", project, call.actor.project_id):
        if other.data["certificate_id"] == certificate_id:
            raise conflict(f"Certificate {row.data['name']} has an order already")
    return certificate_id


def _shown(snapshot: StoreSnapshot, row: Row) -> dict[str, Any]:
    order = order_of(row)
    issuer = snapshot.get("issuer", order.issuer_id)
    at = order.next_at or order.started_at
    return {
        "id": row.id,
        "names": list(order.names),
        "issuer": issuer.data["name"] if issuer else order.issuer_id,
        "certificate_id": order.certificate_id,
        "challenge": order.challenge,
        "key_type": order.key_type,
        "profile": order.profile,
        "state": _state(order),
        "next_at": instant(at) if at else None,
        "reason": order.reason,
        "failures": order.failures,
        "error": order.error,
        "created_at": instant(row.created_at),
        "updated_at": instant(row.updated_at),
    }


def _state(order: Order) -> str:
    if order.state != "waiting":
        return order.state
    if order.failures or order.troubles:
        return "failed"
    return "issued" if order.certificate_id and order.reason != _FIRST else "waiting"


_PATH: Final = "/orders"
_ROLES: Final = ("admin", "member")
ROUTES: Final[tuple[Any, ...]] = (
    Route("GET", _PATH, listed, "List orders for certificates"),
    Route("POST", _PATH, create, "Order a certificate", ("", OrderCreate), 201, roles=_ROLES),
    Route("GET", f"{_PATH}/{{id}}", show, "Show an order"),
    Route("POST", f"{_PATH}/{{id}}/renew", renew, "Renew the certificate of an order now", roles=_ROLES),
    Route("DELETE", f"{_PATH}/{{id}}", remove, "Remove an order", status=204, roles=_ROLES),
)
