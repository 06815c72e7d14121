"""Why a host is shown the certificate that it is shown, and what would be next.

``certferry explain ingress`` prints it. It asks the same code that decides, so that the answer cannot
differ from what is done; it makes no handshake.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

import msgspec

from certferry.core.model.elb import Certificate, State
from certferry.core.model.kubernetes import ClusterView, Name
from certferry.core.model.problems import Problem
from certferry.core.translate import listener_claims as claims
from certferry.core.translate.certificate_binding import ListenerBinding
from certferry.core.translate.certificate_slots import KEY_KINDS, ListenerCertificates, current_slots, kind_of
from certferry.core.translate.listener_claims import ListenerClaim, TranslateOptions
from certferry.core.translate.translate import Translation, translate
from certferry.core.x509.pem import listed


class HostExplanation(msgspec.Struct, frozen=True, kw_only=True):
    """One host on one port."""

    host: str
    """"" for clients that name none."""
    port: int
    loadbalancer: str
    certificate: str
    """Its name on the ELB, or "" where there is none."""
    source: str
    why: str
    now: str
    """What the ELB has for it at the moment, where that is something else; "" where it is in step."""
    following: str
    """What would be shown if this certificate went."""


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """All that there is to say of an Ingress."""

    ingress: Name
    stories: tuple[HostExplanation, ...]
    governed: tuple[str, ...]
    """Per port: who governs it, and who would be next."""
    problems: tuple[Problem, ...]


def explain(
    view: ClusterView, observed: State, options: TranslateOptions, now: datetime, name: Name
) -> Explanation | None:
    """The explanation of Ingress `name`; None when there is no such Ingress."""
    ingress = view.ingresses.get(name)
    if ingress is None:
        return None
    made = translate(view, observed, options, now)
    stories: list[HostExplanation] = []
    governed: list[str] = []
    for (balancer, port), group in claims.collect_claims(view, observed, options).groups.items():
        mine = [c for c in group if c.ingress.meta.key == name]
        if not mine:
            continue
        governed.append(_governed(group, port))
        seat = made.bindings.get((balancer, port))
        if seat is None:
            continue
        have = next(
            (
                it
                for it in observed.listeners.values()
                if (it.loadbalancer_id, it.protocol_port) == (balancer, port)
            ),
            None,
        )
        there = current_slots(have, observed.certificates)
        stories += _stories(mine[0], group, seat, there, made)
    own = tuple(p for p in made.problems if p.object == ingress.ref)
    return Explanation(ingress=name, stories=tuple(stories), governed=tuple(governed), problems=own)


def _stories(
    claim: ListenerClaim,
    group: Sequence[ListenerClaim],
    seat: ListenerBinding,
    there: ListenerCertificates,
    made: Translation,
) -> Iterator[HostExplanation]:
    hosts = sorted({*claim.ingress.hosts, *(h for t in claim.ingress.tls for h in t.hosts)}) or [""]
    for host in hosts:
        shown = list({c.id: c for c in _shown(seat.slots, host)}.values())
        answers: list[Certificate | None] = [*shown] if shown else [None]
        for certificate in answers:
            yield HostExplanation(
                host=host,
                port=claim.port,
                loadbalancer=claim.loadbalancer,
                certificate=_name(certificate) if certificate else "",
                source=_source(certificate, group, made) if certificate else "",
                why=_why(host, certificate, seat.slots, group, several=len(shown) > 1),
                now=_now(host, certificate, there),
                following=_following(host, certificate, seat.slots) if certificate else "",
            )


def _shown(seats: ListenerCertificates, host: str) -> Iterator[Certificate]:
    for kind in KEY_KINDS:
        if found := seats.answer(host, kind):
            yield found


def _why(
    host: str,
    certificate: Certificate | None,
    seats: ListenerCertificates,
    group: Sequence[ListenerClaim],
    *,
    several: bool,
) -> str:
    port, master = group[0].port, group[0].ingress.meta.key
    if certificate is None:
        return f"port {port} has no certificate that can be served"
    kind = f" to clients that take {'RSA' if kind_of(certificate) == 'RSA' else 'ECDSA'}" if several else ""
    if host and host in certificate.domain and certificate in seats.sni:
        return f"it is the SNI certificate for exactly this host{kind}"
    wildcard = next((n for n in certificate.domain if n.startswith("*.") and host.endswith(n[1:])), None)
    if host and wildcard and certificate in seats.sni:
        return f"it is the SNI certificate for {wildcard}, and none names the host exactly{kind}"
    what = "no SNI certificate is for this host" if host else "clients that name no host get it"
    return f"{what}: it is the server certificate of port {port}, which Ingress {master} governs{kind}"


def _source(certificate: Certificate, group: Sequence[ListenerClaim], made: Translation) -> str:
    follow = next((f for f in made.secret_uses.values() if f.key == certificate.id), None)
    if follow is None and certificate.source:
        return f"Secret {certificate.source.namespace}/{certificate.source.secret} (which is not there now)"
    if follow is None:
        users = [
            str(c.ingress.meta.key) for c in group if certificate.id in (c.values.tls_certificate_ids or ())
        ]
        return f"the load balancer's own certificate {certificate.id}, chosen by Ingress {listed(tuple(users)) or '?'}"
    users = [str(c.ingress.meta.key) for c in group if _names(c, follow.secret)]
    return f"Secret {follow.secret}, in spec.tls of Ingress {listed(tuple(users))}"


def _names(claim: ListenerClaim, secret: Name) -> bool:
    return claim.ingress.meta.namespace == secret.namespace and any(
        entry.secret == secret.name for entry in claim.ingress.tls
    )


def _now(host: str, certificate: Certificate | None, there: ListenerCertificates) -> str:
    kind = kind_of(certificate) if certificate else KEY_KINDS[0]
    have = there.answer(host, kind)
    if have is None:
        return "" if certificate is None else "the listener has none yet"
    same = certificate is not None and (have.name or have.id) == _name(certificate)
    content = same and certificate and have.chain and certificate.chain
    if same and not (
        content
        and have.chain
        and certificate
        and certificate.chain
        and have.chain.digest != certificate.chain.digest
    ):
        return ""
    return f"{_name(have)} with other content" if same else _name(have)


def _following(host: str, certificate: Certificate, seats: ListenerCertificates) -> str:
    without = ListenerCertificates(
        default=None if seats.default and seats.default.id == certificate.id else seats.default,
        sni=tuple(c for c in seats.sni if c.id != certificate.id),
    )
    following = without.answer(host, kind_of(certificate))
    return (
        f"{_name(following)}"
        if following
        else "the next server certificate that an Ingress of the port brings, or none"
    )


def _governed(group: Sequence[ListenerClaim], port: int) -> str:
    master = group[0]
    said = (
        f"Port {port} ({master.protocol}) is governed by Ingress {master.ingress.meta.key}, the oldest there"
    )
    if len(group) == 1:
        return f"{said} and the only one."
    return f"{said} ({master.ingress.meta.created:%Y-%m-%d %H:%M:%S}); next would be {group[1].ingress.meta.key}."


def _name(certificate: Certificate) -> str:
    return certificate.name or certificate.id
