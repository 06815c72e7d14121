"""Who may write which certificate: the lock of a controller's certificates.

The owner is set from the authenticated user when a certificate is created, and never inferred from
a name or a description.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from certferry.core.model import OWN_PREFIX
from certferry.elb.errors import conflict, forbidden
from certferry.elb.identity.actor import Actor
from certferry.elb.store.world import Row


def check_writable(row: Row, actor: Actor) -> None:
    """Raises ``Refused`` (409, with where to change it; 403) unless `actor` may change or delete `row`."""
    owner = row.data["owner"]
    if owner == actor.owner:
        return
    if owner is None:
        raise forbidden("A controller changes only the certificates that it owns")
    secret, namespace = row.data["source_secret"], row.data["source_namespace"]
    where = f"Secret {namespace}/{secret}" if secret else "its TLS Secret"
    raise conflict(
        f"Certificate {row.data['name'] or row.id} is owned by the controller of cluster {owner} and follows "
        f"{where} there: change that Secret, and the certificate follows; it cannot be changed here"
    )


def check_own_marks(data: Mapping[str, Any], actor: Actor) -> None:
    """Raises ``Refused`` (409) when somebody else marks a certificate as a controller's."""
    if actor.owner is None and (data["name"].startswith(OWN_PREFIX) or "secret_id" in data["description"]):
        raise conflict(
            f"Names that begin with {OWN_PREFIX} and descriptions with secret_id are for certificates "
            "that a controller creates: choose another name or description"
        )
