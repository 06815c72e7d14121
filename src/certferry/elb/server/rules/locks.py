"""Who may write which certificate: the lock of a controller's certificates.

The owner is set from the authenticated user when a certificate is created, and never inferred from
a name or a description. Under break-glass an admin replaces the content, and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from datetime import datetime
from typing import Any, Final

from certferry.core.model.elb import OWN_PREFIX
from certferry.core.x509.pem import Chain
from certferry.elb.server.actor import Actor
from certferry.elb.server.errors import ApiError, conflict, forbidden
from certferry.elb.server.rules import break_glass as emergency
from certferry.elb.server.store.tables import Row

CONTENT: Final = frozenset({"certificate", "private_key"})


def check_writable(row: Row, actor: Actor) -> None:
    """Raises ``Refused`` (409, with where to change it; 403) unless `actor` may change or delete `row`."""
    owner = row.data["owner"]
    if owner == actor.owner:
        return
    if owner is None:
        raise forbidden("A controller changes only the certificates that it owns")
    raise conflict(
        f"{_owned(row)}: change that Secret, and the certificate follows; it cannot be changed here"
    )


def check_replaceable(row: Row, actor: Actor, now: datetime) -> None:
    """Raises ``Refused`` unless `actor` may replace the content of `row` at all."""
    if row.data["owner"] is None or row.data["owner"] == actor.owner:
        check_writable(row, actor)
    elif not under_break_glass(row, actor, now):
        raise _locked(row, actor)


def check_content(row: Row, actor: Actor, chain: Chain, now: datetime) -> None:
    """Raises ``Refused`` unless `actor` may give `row` the content `chain` now."""
    check_replaceable(row, actor, now)
    if actor.owner is not None:
        emergency.check_owners(row, chain, now)


def replaced(row: Row, actor: Actor, chain: Chain, now: datetime) -> dict[str, Any]:
    """What changes in the data of `row` beside its content, when `actor` gives it the content `chain`."""
    if under_break_glass(row, actor, now):
        return {"emergency": True}
    if row.data.get("emergency") or row.data.get("break_glass"):
        return emergency.after_owners(row.data, chain)
    return {}


def check_update(row: Row, actor: Actor, given: Set[str], chain: Chain | None, now: datetime) -> None:
    """Raises ``Refused`` unless `actor` may change the fields `given` of `row`, its content to `chain`."""
    content = chain if chain is not None else row.content.chain if row.content else None
    if content is not None and given & CONTENT:
        check_content(row, actor, content, now)
    else:
        check_writable(row, actor)
    if under_break_glass(row, actor, now) and given - CONTENT:
        raise conflict(
            f"Break-glass on certificate {row.data['name'] or row.id} opens its content alone (certificate and "
            f"private_key), not {', '.join(sorted(given - CONTENT))}"
        )


def under_break_glass(row: Row, actor: Actor, now: datetime) -> bool:
    """Whether `actor` writes the content of another's certificate by an open break-glass."""
    owner = row.data["owner"]
    return (
        owner is not None
        and owner != actor.owner
        and actor.role == "admin"
        and emergency.of(row, now) is not None
    )


def check_own_marks(data: Mapping[str, Any], actor: Actor) -> None:
    """Raises ``Refused`` (409) when somebody else marks a certificate as a controller's."""
    if actor.owner is None and (data["name"].startswith(OWN_PREFIX) or "secret_id" in data["description"]):
        raise conflict(
            f"Names that begin with {OWN_PREFIX} and descriptions with secret_id are for certificates "
            "that a controller creates: choose another name or description"
        )


def _locked(row: Row, actor: Actor) -> ApiError:
    sentence = f"{_owned(row)}: change that Secret, and the certificate follows"
    if actor.role == "admin":
        return conflict(
            f"{sentence}; in an emergency open break-glass on it (POST …/certferry/certificates/{row.id}/break-glass)"
        )
    return conflict(f"{sentence}; it cannot be changed here")


def _owned(row: Row) -> str:
    secret, namespace = row.data["source_secret"], row.data["source_namespace"]
    where = f"Secret {namespace}/{secret}" if secret else "its TLS Secret"
    return (
        f"Certificate {row.data['name'] or row.id} is owned by the controller of cluster {row.data['owner']} "
        f"and follows {where} there"
    )
