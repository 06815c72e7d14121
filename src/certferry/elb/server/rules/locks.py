"""The lock on a controller's certificates: which user may change which certificate.

The owner is the authenticated user that created the certificate; it is never inferred from a name or a description.
Under break-glass an admin can replace the content and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from datetime import datetime
from typing import Any, Final, NamedTuple

from certferry.core.model.elb import OWN_PREFIX
from certferry.core.x509.pem import Chain
from certferry.elb.server.actor import Actor
from certferry.elb.server.errors import ApiError, conflict, forbidden
from certferry.elb.server.rules import break_glass
from certferry.elb.server.store.audit import AuditNote
from certferry.elb.server.store.tables import Row

CONTENT: Final = frozenset({"certificate", "private_key"})


class Change(NamedTuple):
    """A change of a stored certificate."""

    fields: Set[str]
    """The fields that it changes; those of CONTENT if it carries a certificate or a key."""
    data: Mapping[str, Any]
    """All fields as they are after it."""
    chain: Chain | None = None
    """The new certificate; None if the present one stays."""


class Permission(NamedTuple):
    """The consequences of an authorized change of content."""

    marks: Mapping[str, Any]
    """Break-glass fields to store with the content."""
    note: AuditNote | None = None
    """The audit record of a change by break-glass."""


def authorize(row: Row, actor: Actor, change: Change, now: datetime) -> Permission:
    """Decide whether `actor` may make `change` to the certificate `row`.

    Raises ApiError: 409 if another user owns it or break-glass forbids the change, 403 for a certificate that a
    controller does not own.
    """
    emergency = break_glass.of(row, now) if _overrides_owner(row, actor) else None
    if not change.fields & CONTENT or row.data["owner"] in (None, actor.owner):
        check_writable(row, actor)
    elif emergency is None:
        raise _locked(row, actor)
    if change.fields & CONTENT and change.chain is not None and actor.owner is not None:
        break_glass.check_owners(row, change.chain, now)
    if emergency is not None and change.fields - CONTENT:
        raise conflict(
            f"The open {emergency.kind} on certificate {row.data['name'] or row.id} opens certificate and private_key alone: "
            f"leave out {', '.join(sorted(change.fields - CONTENT))}"
        )
    if change.fields & {"name", "description"}:
        check_own_marks(change.data, actor)
    if emergency is not None:
        return Permission({"emergency": True}, AuditNote(via=emergency.kind, reason=emergency.reason))
    if change.chain is not None and (row.data.get("emergency") or row.data.get("break_glass")):
        return Permission(break_glass.after_owners(row.data, change.chain))
    return Permission({})


def check_writable(row: Row, actor: Actor) -> None:
    """Raise ApiError (409, 403) unless `actor` may change or delete `row`; the error says where to change it."""
    owner = row.data["owner"]
    if owner == actor.owner:
        return
    if owner is None:
        raise forbidden("A controller can change only certificates that it owns")
    raise conflict(f"{_owned(row)}: change that Secret, and the certificate follows; it cannot be changed here")


def check_own_marks(data: Mapping[str, Any], actor: Actor) -> None:
    """Raise ApiError (409) if a user other than a controller marks a certificate as a controller's."""
    if actor.owner is None and (data["name"].startswith(OWN_PREFIX) or "secret_id" in data["description"]):
        raise conflict(
            f"Names that begin with {OWN_PREFIX} and descriptions with secret_id are reserved for "
            "certificates of a controller: choose another name or description"
        )


def _overrides_owner(row: Row, actor: Actor) -> bool:
    """Return True for an admin and a certificate with another owner."""
    return row.data["owner"] not in (None, actor.owner) and actor.role == "admin"


def _locked(row: Row, actor: Actor) -> ApiError:
    sentence = f"{_owned(row)}: change that Secret, and the certificate follows"
    if actor.role == "admin":
        return conflict(
            f"{sentence}; in an emergency, open break-glass on it first (POST …/certferry/certificates/{row.id}/break-glass)"
        )
    return conflict(f"{sentence}; it cannot be changed here")


def _owned(row: Row) -> str:
    secret, namespace = row.data["source_secret"], row.data["source_namespace"]
    where = f"Secret {namespace}/{secret}" if secret else "its TLS Secret"
    return (
        f"Certificate {row.data['name'] or row.id} is owned by the controller of cluster {row.data['owner']} "
        f"and follows {where} there"
    )
