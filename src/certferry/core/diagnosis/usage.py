"""Where each certificate is used, and what a replacement of it would touch.

The console and the command line call it to answer “who uses this?” before and after a change. It
reads what listeners have now, and which Ingresses stand behind them; whether that is what ought to
be is ``translate``'s affair. Handshakes are given to it: it makes none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, Literal

import msgspec

from certferry.core.model import naming as names
from certferry.core.model.elb import Certificate, Listener, State
from certferry.core.model.kubernetes import ClusterView, Name
from certferry.core.translate import listener_claims as claims
from certferry.core.translate.certificate_slots import KEY_KINDS, ListenerCertificates, current_slots
from certferry.core.translate.listener_claims import ListenerClaim, TranslateOptions
from certferry.core.x509.pem import Chain

Seat = Literal["default", "sni"]
Place = tuple[str, int, str]
"""Load balancer, port as asked for, host ("" for a client that names none)."""

_NOBODY: Final[Mapping[Place, str]] = MappingProxyType({})


class Use(msgspec.Struct, frozen=True, kw_only=True):
    """One certificate in one seat of one listener."""

    certificate: str
    """Its id on the ELB."""
    chain: Chain | None
    """None: the ELB does not have it, or it cannot be read."""
    secret: Name | None
    """The Secret of this cluster that it follows."""
    source: Literal["secret", "elb"]
    """Where its content is changed: in a Secret (of this cluster or another), or on the ELB."""
    listener: str
    port: int
    loadbalancer: str
    seat: Seat
    names: tuple[str, ...]
    """For which names it is SNI certificate; none for the default one."""
    hosts: tuple[str, ...]
    """Hosts of Ingresses whose clients are shown it."""
    ingresses: tuple[Name, ...]
    """Those whose clients are shown it, and the governing one of its default seat; oldest first."""
    governing: Name | None
    """The Ingress that decides on the listener; None where no Ingress of this cluster does."""
    served: bool | None
    """Whether every handshake that is known showed it; None: none is known."""


class Touched(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that sees the difference when a certificate gets new content, sorted."""

    uses: tuple[Use, ...]
    listeners: tuple[str, ...]
    loadbalancers: tuple[str, ...]
    hosts: tuple[str, ...]
    ingresses: tuple[Name, ...]


def uses(
    view: ClusterView,
    observed: State,
    options: TranslateOptions,
    shown: Mapping[Place, str] = _NOBODY,
) -> tuple[Use, ...]:
    """Every certificate on every HTTPS listener, by load balancer, port and seat.

    `shown`: fingerprints that handshakes showed, by place.
    """
    groups = claims.collect_claims(view, observed, options).groups
    secrets = {secret.meta.uid: name for name, secret in view.secrets.items()}
    found: list[Use] = []
    for listener in sorted(observed.listeners.values(), key=_order):
        if listener.protocol not in ("HTTPS", "TERMINATED_HTTPS"):
            continue
        ours = names.is_of(view.cluster_id, listener.description)
        group = groups.get((listener.loadbalancer_id, listener.protocol_port), ()) if ours else ()
        seats = current_slots(listener, observed.certificates)
        behind = _behind(seats, group)
        for ref, seat in _refs(listener):
            certificate = observed.certificates.get(ref)
            hosts = tuple(sorted(behind.hosts.get(ref, ())))
            found.append(
                Use(
                    certificate=ref,
                    chain=certificate.chain if certificate else None,
                    secret=_secret(certificate, secrets, view, options),
                    source=_source(certificate),
                    listener=listener.id,
                    port=listener.protocol_port,
                    loadbalancer=listener.loadbalancer_id,
                    seat=seat,
                    names=certificate.domain if certificate and seat == "sni" else (),
                    hosts=hosts,
                    ingresses=_ingresses(group, behind, hosts, seat),
                    governing=group[0].ingress.meta.key if group else None,
                    served=_served(certificate, listener, hosts, seats, shown),
                )
            )
    return tuple(found)


def touched_by(all_uses: Iterable[Use], what: str | Name) -> Touched:
    """What new content for a certificate (by its id) or a Secret (by its name) would touch."""
    mine = tuple(
        u for u in all_uses if (u.secret == what if isinstance(what, Name) else u.certificate == what)
    )
    return Touched(
        uses=mine,
        listeners=tuple(sorted({u.listener for u in mine})),
        loadbalancers=tuple(sorted({u.loadbalancer for u in mine})),
        hosts=tuple(sorted({h for u in mine for h in (*u.hosts, *u.names)})),
        ingresses=tuple(dict.fromkeys(name for u in mine for name in u.ingresses)),
    )


def _order(listener: Listener) -> tuple[str, int, str]:
    return listener.loadbalancer_id, listener.protocol_port, listener.id


def _refs(listener: Listener) -> Iterable[tuple[str, Seat]]:
    if listener.default_tls_container_ref:
        yield listener.default_tls_container_ref, "default"
    for ref in sorted(listener.sni_container_refs or ()):
        yield ref, "sni"


class _Behind(msgspec.Struct, frozen=True):
    """The Ingresses behind one listener, ready to be looked up."""

    hosts: Mapping[str, set[str]]
    """Hosts by the certificate that their clients are shown."""
    claims: Mapping[str, list[int]]
    """Places in the group of claims, by host."""


def _behind(seats: ListenerCertificates, group: Sequence[ListenerClaim]) -> _Behind:
    hosts: dict[str, set[str]] = {}
    asking: dict[str, list[int]] = {}
    for number, claim in enumerate(group):
        for host in {*claim.ingress.hosts, *(h for entry in claim.ingress.tls for h in entry.hosts)}:
            asking.setdefault(host, []).append(number)
    for host in asking:
        for kind in KEY_KINDS:
            if certificate := seats.answer(host, kind):
                hosts.setdefault(certificate.id, set()).add(host)
    return _Behind(hosts, asking)


def _ingresses(
    group: Sequence[ListenerClaim], behind: _Behind, hosts: Sequence[str], seat: Seat
) -> tuple[Name, ...]:
    numbers = {number for host in hosts for number in behind.claims[host]}
    if group and seat == "default":
        numbers.add(0)
    return tuple(group[number].ingress.meta.key for number in sorted(numbers))


def _source(certificate: Certificate | None) -> Literal["secret", "elb"]:
    follows = certificate and (
        certificate.source or certificate.owner or "secret_id" in names.described(certificate.description)
    )
    return "secret" if follows else "elb"


def _secret(
    certificate: Certificate | None, by_uid: Mapping[str, Name], view: ClusterView, options: TranslateOptions
) -> Name | None:
    """The Secret of this cluster; it may be gone, then its name is known from the ELB alone."""
    if certificate is None:
        return None
    said = names.described(certificate.description)
    if said.get("cluster_id", view.cluster_id) != view.cluster_id:
        return None
    if name := by_uid.get(said.get("secret_id", "")):
        return name
    source = certificate.source
    mine = source and ("cluster_id" in said or source.cluster == options.cluster_name)
    return Name(source.namespace, source.secret) if source and mine else None


def _served(
    certificate: Certificate | None,
    listener: Listener,
    hosts: Sequence[str],
    seats: ListenerCertificates,
    shown: Mapping[Place, str],
) -> bool | None:
    if certificate is None or certificate.chain is None:
        return None
    seen = set()
    for host in hosts or certificate.domain or ("",):
        fingerprint = shown.get((listener.loadbalancer_id, listener.protocol_port, host))
        # a client is shown one of an RSA and an ECDSA certificate: that says nothing of the other
        others = {c.chain.fingerprint for k in KEY_KINDS if (c := seats.answer(host, k)) and c.chain}
        if fingerprint and (fingerprint == certificate.chain.fingerprint or fingerprint not in others):
            seen.add(fingerprint)
    return seen == {certificate.chain.fingerprint} if seen else None
