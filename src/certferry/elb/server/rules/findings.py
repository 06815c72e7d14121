"""Findings on a stored certificate, as answers show them. The checks are in the core."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final

from certferry.core import checks
from certferry.core.model.elb import domain_names
from certferry.core.x509.pem import covers
from certferry.elb.server.rules import compromised
from certferry.elb.server.rules.certificate_binding import family
from certferry.elb.server.store.tables import Row, StoreSnapshot

_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


def found(
    snapshot: StoreSnapshot, row: Row, now: datetime, taken: Mapping[str, str] = _NOTHING
) -> list[dict[str, Any]]:
    """Return reason, severity and sentence of each finding, most severe first.

    The content is checked by itself and compared with the version before; with `taken`, also in its slots.
    """
    if row.content is None or row.data["type"] != "server":
        return []
    hosts, marks = domain_names(row.data["domain"]), compromised.marks(snapshot, row.project_id, row.content.chain)
    return [
        {"reason": f.reason, "severity": f.severity, "sentence": f.sentence}
        for f in checks.findings(row.content.chain, row.content.before, hosts, now, taken=taken, compromised=marks)
    ]


def taken(snapshot: StoreSnapshot, row: Row) -> Mapping[str, str]:
    """Return the names of its domain for which its listener has an SNI certificate of the same key type.

    Only listeners count that have the certificate as default. It reads all of them: use it for one certificate at a
    time, and not for a write.
    """
    names = domain_names(row.data["domain"])
    return {
        name: other.data["name"] or other.id
        for listener in snapshot.find("listener", "default_tls_container_ref", row.id)
        for ref in listener.data["sni_container_refs"]
        if ref != row.id and (other := snapshot.get("certificate", ref)) and family(other) == family(row)
        for name in names
        if covers(domain_names(other.data["domain"]), name)
    }
