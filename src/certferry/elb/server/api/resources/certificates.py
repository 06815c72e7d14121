"""Certificates (elb-v3-api.md 2): the resource that everything here is about.

A PUT of content keeps the id, and every listener follows at once. Private keys come in here, go into
``Content``, and do not come out unless the setting says so.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType

from certferry.core.model.elb import domain_names
from certferry.core.x509.pem import Chain, InvalidPem, PrivateKey, listed, parse_chain, parse_key, parse_pair
from certferry.elb.server.api.fields import PROTECTION, Flag, Protected, Text, one_of
from certferry.elb.server.api.listing import Resource, Wire
from certferry.elb.server.api.request import ApiRequest, Body, merged, times, within_quota
from certferry.elb.server.api.resources.crud import Crud
from certferry.elb.server.api.resources.private_key_echo import echoes
from certferry.elb.server.errors import bad_request, conflict, unusable
from certferry.elb.server.rules import break_glass as emergency
from certferry.elb.server.rules import compromised, findings, locks
from certferry.elb.server.rules.certificate_binding import bound_names, check_certificate, past_names, users
from certferry.elb.server.store.projection import source
from certferry.elb.server.store.tables import Content, Row, StoreSnapshot
from certferry.elb.server.store.transaction import Transaction

_HIDDEN: Final = "******"
_ASTERISKS: Final = re.compile(r"\*+")
_LABEL: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")


class CertificateSource(msgspec.Struct, frozen=True, kw_only=True):
    """The Secret that a controller's certificate follows."""

    cluster: Annotated[str, Meta(max_length=255)] = ""
    namespace: Annotated[str, Meta(max_length=255)] = ""
    secret: Annotated[str, Meta(max_length=255)] = ""


class CertificateExtension(msgspec.Struct, frozen=True, kw_only=True):
    """Certferry's extension; accepted from controllers alone."""

    source: CertificateSource | UnsetType | None = UNSET


class CertificateUpdate(Protected, frozen=True, kw_only=True):
    """The fields that a PUT may change."""

    name: Text = UNSET
    description: Text = UNSET
    certificate: str | UnsetType = UNSET
    private_key: str | UnsetType | None = UNSET
    domain: Annotated[str, Meta(max_length=10000)] | UnsetType | None = UNSET
    scm_certificate_id: Text = UNSET
    source: Annotated[str, one_of("scm", "")] | UnsetType | None = UNSET
    certferry: CertificateExtension | UnsetType | None = UNSET


class CertificateCreate(CertificateUpdate, frozen=True, kw_only=True):
    """A new certificate; `private_key` is required for a server certificate."""

    certificate: str
    type: Annotated[str, one_of("server", "client")] | UnsetType | None = UNSET
    admin_state_up: Flag = UNSET
    enterprise_project_id: Annotated[str, Meta(min_length=1, max_length=255)] | UnsetType | None = UNSET


_DEFAULTS: Final[dict[str, Any]] = {
    "name": "",
    "description": "",
    "type": "server",
    "domain": "",
    "scm_certificate_id": None,
    "source": None,
    "enterprise_project_id": "0",
    **PROTECTION,
}
_NEW: Final = {
    **_DEFAULTS,
    "owner": None,
    "source_cluster": None,
    "source_namespace": None,
    "source_secret": None,
    "version": 1,
}


def render(call: ApiRequest, snapshot: StoreSnapshot, row: Row) -> Wire:
    """Return a certificate as answers show it."""
    data, content = row.data, row.content
    assert content is not None
    chain = content.chain
    shown = content.key.reveal() if content.key and echoes(call, snapshot) else None
    origin, now = source(data), call.store.now()
    return {
        "id": row.id,
        "project_id": row.project_id,
        **{field: data[field] for field in _DEFAULTS},
        "admin_state_up": True,
        "certificate": chain.pem,
        "private_key": (shown or _HIDDEN) if content.key else None,
        "enc_certificate": None,
        "enc_private_key": None,
        "common_name": chain.common_name,
        "fingerprint": chain.fingerprint,
        "subject_alternative_names": list(chain.sans),
        "expire_time": _instant(chain.not_after),
        **times(row),
        "certferry": {
            "owner": data["owner"],
            "source": msgspec.to_builtins(origin) if origin else None,
            "digest": chain.digest,
            "not_before": _instant(chain.not_before),
            "findings": findings.found(snapshot, row, now),
            "versions": call.store.kept(row),
            "break_glass": emergency.shown(row, now),
            "emergency": bool(data.get("emergency")),
        },
    }


def _new(call: ApiRequest, body: Body[CertificateCreate]) -> tuple[dict[str, Any], Content]:
    data = merged(_NEW, body.given, _DEFAULTS) | _origin(call, body.value) | {"owner": call.actor.owner}
    if data["scm_certificate_id"] and "source" not in body.given:
        data["source"] = "scm"
    _check_domain(data["domain"], call)
    chain, key = _first(body.value, data["type"])
    return data, Content(version=1, chain=chain, key=key)


def _insert(call: ApiRequest, transaction: Transaction, new: tuple[dict[str, Any], Content]) -> Row:
    data, content = new
    within_quota(transaction.snapshot, call, "certificate")
    locks.check_own_marks(data, call.actor)
    return transaction.create("certificate", uuid.uuid4().hex, data, content)


def _prepare(
    call: ApiRequest, body: Body[CertificateUpdate]
) -> tuple[Body[CertificateUpdate], Chain | None, PrivateKey | None]:
    present = call.snapshot.get("certificate", call.path["id"])
    authority = present is not None and present.data["type"] == "client"
    return body, *_given(body.value, authority=authority)


def _change(
    call: ApiRequest,
    transaction: Transaction,
    before: Row,
    data: dict[str, Any],
    prepared: tuple[Body[CertificateUpdate], Chain | None, PrivateKey | None],
) -> Row:
    """Update a certificate; certificate and key together are one change, and the same content is none."""
    body, chain, key = prepared
    data |= _origin(call, body.value)
    change = locks.Change(fields=_touched(before, data, chain or key), data=data, chain=chain)
    permission = locks.authorize(before, call.actor, change, transaction.now)
    if data["domain"] != before.data["domain"]:
        _check_domain(data["domain"], call)
    content = _replaced(before, chain, key)
    if content is not before.content:
        compromised.check_content(transaction.snapshot, before, content.chain, transaction.now)
        if permission.note is not None:
            transaction.note = permission.note
        data |= permission.marks
    listeners = _listeners_to_update(transaction, before, data)
    names = {row.id: bound_names(transaction.snapshot, row.data) for row in listeners}
    after = transaction.update(before, data | {"version": content.version}, content)
    check_certificate(transaction.snapshot, before, after, call.settings.limits)
    for listener in listeners:
        kept = past_names(transaction.snapshot, listener, names[listener.id])
        transaction.update(listener, {**listener.data, "past_names": kept})
    return after


def discard(call: ApiRequest, transaction: Transaction, row: Row) -> None:
    """Delete a certificate. Raises ApiError (409, 403) if a listener uses it or another user owns it."""
    locks.check_writable(row, call.actor)
    if used := users(transaction.snapshot, row.id):
        raise conflict(f"Certificate {row.id} is used by listener {', '.join(one.id for one in used[:3])}")
    transaction.delete(row)


def _touched(before: Row, data: Mapping[str, Any], content: object) -> set[str]:
    """Return the fields that a PUT changes, with CONTENT if it carries a certificate or a key."""
    fields = {field for field, value in data.items() if before.data.get(field) != value}
    return fields | (locks.CONTENT if content is not None else set())


def _listeners_to_update(transaction: Transaction, before: Row, data: Mapping[str, Any]) -> tuple[Row, ...]:
    """Return the listeners whose SNI names change with the certificate's domain."""
    if domain_names(data["domain"]) == domain_names(before.data["domain"]):
        return ()
    return users(transaction.snapshot, before.id, "sni_container_refs")


def _first(value: CertificateCreate, kind: str) -> tuple[Chain, PrivateKey | None]:
    """Parse the content of a new certificate. Raises ApiError (400)."""
    try:
        match kind:
            case "server":
                if not isinstance(value.private_key, str):
                    raise bad_request("A server certificate needs private_key")
                pair = parse_pair(value.certificate, value.private_key)
                return pair.chain, pair.key
            case _:
                if isinstance(value.private_key, str) and value.private_key.strip():
                    parse_key(value.private_key)
                return parse_chain(value.certificate), None
    except InvalidPem as defect:
        raise unusable(defect.sentence, authority=kind == "client") from None


def _given(value: CertificateUpdate, *, authority: bool) -> tuple[Chain | None, PrivateKey | None]:
    """Parse the certificate and key of a PUT; a key of asterisks counts as absent. Raises ApiError (400)."""
    text = value.private_key if isinstance(value.private_key, str) else ""
    try:
        chain = parse_chain(value.certificate) if isinstance(value.certificate, str) else None
        return chain, None if not text or _ASTERISKS.fullmatch(text) else parse_key(text)
    except InvalidPem as defect:
        raise unusable(defect.sentence, authority=authority) from None


def _replaced(before: Row, chain: Chain | None, key: PrivateKey | None) -> Content:
    """Return the content after a PUT; the same object if nothing differs. Raises ApiError (400)."""
    old = before.content
    assert old is not None
    if old.key is None and key is not None:
        raise bad_request("A certificate of type client has no private key")
    new_chain, new_key = chain or old.chain, key or old.key
    if new_key is not None and new_key.spki != new_chain.spki:
        missing_half = "" if chain and key else "; send certificate and private_key together"
        names = listed(new_chain.names) or new_chain.subject
        raise unusable(f"The private key does not belong to the certificate for {names}{missing_half}")
    if new_chain.digest == old.chain.digest:  # and so the key: both have the leaf's public half
        return old
    return Content(version=old.version + 1, chain=new_chain, key=new_key, before=old.chain)


def _origin(call: ApiRequest, value: CertificateUpdate) -> dict[str, Any]:
    """Return the source columns that a controller gives."""
    extension = value.certferry
    if call.actor.owner is None or not isinstance(extension, CertificateExtension) or extension.source is UNSET:
        return {}
    said = extension.source or CertificateSource()
    return {
        "source_cluster": said.cluster or None,
        "source_namespace": said.namespace or None,
        "source_secret": said.secret or None,
    }


def _check_domain(domain: str, call: ApiRequest) -> None:
    names = domain_names(domain)
    most = call.settings.limits.certificate_names
    if 0 <= most < len(names):
        raise bad_request(f"domain has {len(names)} names; at most {most} are allowed")
    for name in names:
        plain = name.removeprefix("*.")
        if len(name) > 100 or not all(_LABEL.fullmatch(label) for label in plain.split(".")):
            raise bad_request(
                f"domain: “{name[:100]}” is not a host name (letters, digits and hyphens, at most 100 "
                "characters; a wildcard only as a leading *.)"
            )


def _instant(value: Any) -> str:
    return str(value.strftime("%Y-%m-%dT%H:%M:%SZ"))


RESOURCE: Final = Resource(kind="certificate", plural="certificates", render=render)

CRUD: Final = Crud(
    resource=RESOURCE,
    path="/certificates",
    title="a certificate",
    titles="certificates",
    create_body=CertificateCreate,
    update_body=CertificateUpdate,
    defaults=_DEFAULTS,
    fixed=("type",),
    new=_new,
    insert=_insert,
    prepare=_prepare,
    change=_change,
    delete=discard,
)
ROUTES: Final = CRUD.routes()
