"""Issuers: CAs and our accounts there. No answer has a key of theirs."""

from __future__ import annotations

import re
import uuid
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

import josepy
import msgspec
from cryptography import x509
from msgspec import Meta

from certferry.core.x509.pem import PrivateKey
from certferry.elb.server.acme.attempt import new_account_key
from certferry.elb.server.acme.model import ACCOUNT, EAB, Challenge, Issuer, KeyType, data_of, issuer_of
from certferry.elb.server.api.extensions.bodies import instant, plain_body
from certferry.elb.server.api.request import ApiRequest, ApiResponse, Route, path_object, within_quota
from certferry.elb.server.errors import bad_request, conflict
from certferry.elb.server.store.tables import Row, project
from certferry.elb.server.store.transaction import Transaction

_EMAIL: Final = re.compile(r"[^\s@<>]+@[^\s@<>]+")


class IssuerCreate(msgspec.Struct, frozen=True, kw_only=True):
    """A CA, the account to create there, and what its certificates are like unless an order says otherwise."""

    name: Annotated[str, Meta(pattern="^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
    directory: Annotated[str, Meta(min_length=1, max_length=1000)]
    terms_agreed: bool = False
    """True: the account holder agrees to the CA's terms of service."""
    email: Annotated[str, Meta(max_length=254)] = ""
    profile: Annotated[str, Meta(max_length=64)] = ""
    key_type: KeyType = "P-256"
    challenge: Challenge = "http-01"
    eab_kid: Annotated[str, Meta(max_length=1000)] = ""
    eab_hmac_key: Annotated[str, Meta(max_length=1000)] = ""
    ca_certificates: Annotated[str, Meta(max_length=65_536)] = ""


def listed(call: ApiRequest) -> ApiResponse:
    """GET …/issuers: oldest first."""
    rows = call.snapshot.find("issuer", project, call.actor.project_id)
    return ApiResponse(200, {"issuers": [_shown(row) for row in rows]})


def add(call: ApiRequest) -> ApiResponse:
    """POST …/issuers; the account is registered with the first order."""
    body = plain_body(call, IssuerCreate)
    _check(body)
    fields = {name: getattr(body, name) for name in body.__struct_fields__ if name in Issuer.__struct_fields__}
    account = new_account_key()

    def decide(transaction: Transaction) -> Row:
        within_quota(transaction.snapshot, call, "issuer")
        if any(row.data["name"] == body.name for row in transaction.snapshot.find("issuer", project, _project(call))):
            raise conflict(f"There is an issuer {body.name} already")
        row = transaction.create("issuer", uuid.uuid4().hex, data_of(Issuer(**fields)))
        transaction.secrets[row.id, ACCOUNT] = account
        if body.eab_hmac_key:
            transaction.secrets[row.id, EAB] = PrivateKey(body.eab_hmac_key, "")
        return row

    row, _ = call.write(decide)
    return ApiResponse(201, {"issuer": _shown(row)})


def remove(call: ApiRequest) -> ApiResponse:
    """DELETE …/issuers/{id}. The account stays at the CA, and its key is forgotten."""

    def decide(transaction: Transaction) -> None:
        row = path_object(call, transaction.snapshot, "issuer")
        if orders := transaction.snapshot.find("order", "issuer_id", row.id):
            raise conflict(f"Issuer {row.data['name']} has orders: remove {orders[0].data['name'][:200]} first")
        transaction.delete(row)
        transaction.secrets |= {(row.id, ACCOUNT): None, (row.id, EAB): None}

    call.write(decide)
    return ApiResponse(204)


def _check(body: IssuerCreate) -> None:
    """Raise ApiError (400) if a field cannot be used."""
    if not body.terms_agreed:
        raise bad_request("terms_agreed is not true: read the CA's terms of service and agree to them")
    try:
        url = urlsplit(body.directory)
        usable = url.scheme == "https" and bool(url.hostname) and url.port != 0 and url.username is None
    except ValueError:
        usable = False
    if not usable or not body.directory.isascii() or not body.directory.isprintable():
        raise bad_request("directory is not an https URL")
    if body.email and not _EMAIL.fullmatch(body.email):
        raise bad_request("email is not an address")
    if bool(body.eab_kid) != bool(body.eab_hmac_key):
        raise bad_request("External account binding needs both eab_kid and eab_hmac_key")
    try:
        josepy.b64.b64decode(body.eab_hmac_key)
    except ValueError:
        raise bad_request("eab_hmac_key is not base64url") from None
    try:
        if body.ca_certificates and not x509.load_pem_x509_certificates(body.ca_certificates.encode()):
            raise ValueError
    except ValueError:
        raise bad_request("ca_certificates has no certificates in PEM") from None


def _project(call: ApiRequest) -> str:
    return call.actor.project_id


def _shown(row: Row) -> dict[str, Any]:
    return {"id": row.id, **data_of(issuer_of(row)), "created_at": instant(row.created_at)}


_PATH: Final = "/issuers"
ROUTES: Final[tuple[Any, ...]] = (
    Route("GET", _PATH, listed, "List issuers"),
    Route("POST", _PATH, add, "Add an issuer", ("", IssuerCreate), 201, roles=("admin",)),
    Route("DELETE", f"{_PATH}/{{id}}", remove, "Remove an issuer", status=204, roles=("admin",)),
)
