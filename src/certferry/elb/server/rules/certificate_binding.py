"""The rules about certificates on listeners, for every write that touches either.

A rule takes a snapshot that has the change, and raises ApiError if it breaks the rule. Sources: elb-v3-api.md parts 2
and 3, ingress-and-certificates.md part 2.7.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from certferry.core.model.elb import ENCRYPTED, domain_names
from certferry.core.x509.pem import listed
from certferry.elb.server.errors import bad_request, conflict, not_found, over_quota, unusable
from certferry.elb.server.store.tables import Row, StoreSnapshot
from certferry.settings import ElbLimits

_SLOTS: Final = ("default_tls_container_ref", "sni_container_refs", "client_ca_tls_container_ref")


def users(snapshot: StoreSnapshot, certificate_id: str, *slots: str) -> tuple[Row, ...]:
    """Return the listeners that use the certificate (in one of `slots`, if given)."""
    listeners = {row.id: row for slot in (slots or _SLOTS) for row in snapshot.find("listener", slot, certificate_id)}
    return tuple(listeners.values())


def bound_names(snapshot: StoreSnapshot, listener: Mapping[str, Any]) -> set[str]:
    """Return the names for which this listener has an SNI certificate."""
    rows = (snapshot.get("certificate", ref) for ref in listener["sni_container_refs"])
    return {name for row in rows if row is not None for name in domain_names(row.data["domain"])}


def check_listener(snapshot: StoreSnapshot, listener: Mapping[str, Any], project_id: str, limits: ElbLimits) -> None:
    """Raise ApiError unless the certificates of `listener` exist, fit, and can be served."""
    default, authority = listener["default_tls_container_ref"], listener["client_ca_tls_container_ref"]
    sni = listener["sni_container_refs"]
    if listener["protocol"] not in ENCRYPTED:
        if default or authority or sni:
            raise bad_request("Only a listener of protocol HTTPS or TLS has certificates")
        return
    if not default:
        raise bad_request(f"A listener of protocol {listener['protocol']} needs default_tls_container_ref")
    _server(snapshot, default, project_id)
    if authority:
        _of_type(snapshot, authority, project_id, "client")
    if len(set(sni)) != len(sni):
        raise bad_request("sni_container_refs names a certificate twice")
    if 0 <= limits.sni_certificates < len(sni):
        raise over_quota("sni_container_refs", limits.sni_certificates)
    check_sni(snapshot, [_server(snapshot, ref, project_id) for ref in sni], limits)


def check_sni(snapshot: StoreSnapshot, certificates: Iterable[Row], limits: ElbLimits) -> None:
    """Raise ApiError unless each name belongs to one certificate, or to an RSA and an EC one."""
    taken: dict[tuple[str, str], Row] = {}
    for row in certificates:
        names = domain_names(row.data["domain"])
        if not names:
            raise bad_request(f"Certificate {row.id} has no domain; an SNI certificate needs one")
        for name in names:
            other = taken.setdefault((name, family(row)), row)
            if other is not row:
                raise conflict(f"Two SNI certificates of one listener have the domain {name}: {other.id} and {row.id}")
    names_in_all = {name for name, _ in taken}
    if 0 <= limits.sni_names < len(names_in_all):
        raise over_quota("SNI domain names of a listener", limits.sni_names)


def check_certificate(snapshot: StoreSnapshot, before: Row, after: Row, limits: ElbLimits) -> None:
    """Raise ApiError unless `after` (already in `snapshot`) can take the place of `before` in use."""
    used = users(snapshot, after.id, "default_tls_container_ref", "sni_container_refs")
    if used and after.content is not before.content:
        _loadable(after)
    if domain_names(before.data["domain"]) == domain_names(after.data["domain"]) and family(before) == family(after):
        return
    for listener in users(snapshot, after.id, "sni_container_refs"):
        if not domain_names(after.data["domain"]):
            raise conflict(
                f"The domain of certificate {after.id} cannot be emptied: "
                f"listener {listener.id} uses it as SNI certificate"
            )
        rows = (snapshot.get("certificate", ref) for ref in listener.data["sni_container_refs"])
        check_sni(snapshot, [row for row in rows if row is not None], limits)


def past_names(snapshot: StoreSnapshot, listener: Row, before: Iterable[str]) -> list[str]:
    """Return the names that lost their SNI certificate on `listener` and still have a rule, sorted.

    `before`: the names bound until now. `world` has the new state of everything else.
    """
    once = {*listener.data["past_names"], *before} - bound_names(snapshot, listener.data)
    return sorted(once & _ruled_names(snapshot, listener.id)) if once else []


def _ruled_names(snapshot: StoreSnapshot, listener_id: str) -> set[str]:
    rules = (
        rule
        for policy in snapshot.find("l7policy", "listener_id", listener_id)
        for rule in snapshot.find("rule", "l7policy_id", policy.id)
        if rule.data["type"] == "HOST_NAME"
    )
    names = (value for rule in rules for value in (rule.data["value"], *(c["value"] for c in rule.data["conditions"])))
    return {name.lower() for name in names if name}


def _server(snapshot: StoreSnapshot, identifier: str, project_id: str) -> Row:
    row = _of_type(snapshot, identifier, project_id, "server")
    _loadable(row)
    return row


def _of_type(snapshot: StoreSnapshot, identifier: str, project_id: str, wanted: str) -> Row:
    row = snapshot.get("certificate", identifier)
    if row is None or row.project_id != project_id:
        raise not_found("certificate", identifier)
    if row.data["type"] != wanted:
        raise bad_request(f"Certificate {identifier} is of type {row.data['type']}; {wanted} is needed here")
    return row


def _loadable(row: Row) -> None:
    if row.content is not None and not row.content.chain.loadable:
        names = listed(row.content.chain.names) or row.content.chain.subject
        if objection := row.content.chain.data_plane_objection:
            raise unusable(f"The certificate for {names} cannot be served: {objection}")
        raise unusable(
            f"The certificate for {names} has a key of type {row.content.chain.key}, which cannot be served: "
            "use RSA of at least 2048 bits, P-256, P-384, P-521 or Ed25519"
        )


def family(row: Row) -> str:
    """Return RSA or EC: two certificates of one name on a listener must differ in it."""
    assert row.content is not None
    return "RSA" if row.content.chain.key.startswith("RSA") else "EC"
