"""Which certificate sits where on one listener.

The third part of ``translate``. Rules: the oldest Ingress governs the default seat; SNI is the
union over all Ingresses; ids in the annotation beat Secrets; a host belongs to whoever claimed it
first; nothing bound is replaced by something worse.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from datetime import datetime

import msgspec

from certferry.core.model.elb import Certificate
from certferry.core.model.kubernetes import Name
from certferry.core.model.problems import Problem
from certferry.core.translate import certificate_slots as seats
from certferry.core.translate.certificate_slots import HeldBackCertificate, ListenerCertificates, kind_of
from certferry.core.translate.listener_claims import ListenerClaim, TranslateOptions
from certferry.core.translate.secret_certificates import NOT_FOR_OTHERS
from certferry.core.x509.pem import covers, listed


class CertificateCandidate(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate that a claim brings to a listener."""

    claim: ListenerClaim
    certificate: Certificate
    hosts: tuple[str, ...]
    """Names it is SNI for; for a server certificate those of its domain."""
    server: bool
    named: bool = False
    """Whether a spec.tls entry names the hosts."""
    fixed: bool = False
    """Chosen by id, or without its Secret: its domain is not ours to change."""


class ListenerBinding(msgspec.Struct, frozen=True, kw_only=True):
    """What a listener is to have. Without a default: leave what is there (or make no listener)."""

    seats: ListenerCertificates
    released_names: Mapping[str, frozenset[str]] = {}
    """Names that a certificate of ours must leave to an older claim, by certificate key."""
    pinned: frozenset[str] = frozenset()
    """Certificates whose domain must stay as it is: a new one would move a host to something worse."""
    problems: tuple[Problem, ...] = ()
    held: tuple[HeldBackCertificate, ...] = ()
    """What the invariant kept from being bound; of ELB certificates a problem says it, of Secrets see ``problems``
    in ``secret_certificates``."""


def candidates(
    group: Sequence[ListenerClaim],
    secrets: Mapping[Name, Certificate],
    certificates: Mapping[str, Certificate],
) -> tuple[list[CertificateCandidate], list[Problem]]:
    """What the claims of a listener bring, in the order of their age."""
    found: list[CertificateCandidate] = []
    problems: list[Problem] = []
    for claim in group:
        if claim.values.tls_certificate_ids:
            chosen, missing = _chosen(claim, claim.values.tls_certificate_ids, certificates)
            found += chosen
            problems += missing
        else:
            found += _from_secrets(claim, secrets)
    return found, problems


def bind(
    group: Sequence[ListenerClaim],
    brought: Sequence[CertificateCandidate],
    have: ListenerCertificates,
    options: TranslateOptions,
    now: datetime,
) -> ListenerBinding:
    """The seats of the listener of `group`, given what is `brought` and what it has."""
    server = _server(group[0], brought)
    sni, lost, problems = _sni(group, brought, server, options)
    want = ListenerCertificates(default=server.certificate if server else None, sni=tuple(sni))
    # of every claim, also of one that brings nothing now: what its hosts are shown is not lost
    hosts = {h for o in brought for h in o.hosts}
    for claim in group:
        hosts.update(claim.ingress.hosts, *(entry.hosts for entry in claim.ingress.tls))
    kept, held = seats.keep_better(want, have, hosts, now)
    problems += [_held(offer, it) for it in held for offer in brought if _chosen_by_id(offer, it)]
    frozen = frozenset(c.id for it in held for c in (it.refused, it.kept))
    return ListenerBinding(
        seats=kept, released_names=lost, pinned=frozen, problems=tuple(problems), held=held
    )


def uncovered_hosts(group: Sequence[ListenerClaim], bound: ListenerCertificates) -> Iterator[Problem]:
    """Report each claim's hosts for which it names no Secret, and whose clients get a certificate that fails them.

    What is wrong with a Secret that it names is reported on that Secret.
    """
    for claim in group if group[0].protocol == "HTTPS" else ():
        entries = claim.ingress.tls
        named = tuple(h for entry in entries for h in entry.hosts)
        by_secret = not claim.values.tls_certificate_ids
        if by_secret and any(entry.secret and not entry.hosts for entry in entries):
            continue
        missing = tuple(
            host
            for host in claim.ingress.hosts
            if not (by_secret and covers(named, host))
            and (answer := bound.answer(host))
            and answer.chain
            and not covers(answer.chain.names, host)
        )
        if missing:
            lack = "spec.tls names no Secret" if by_secret else "No certificate of elb.tls-certificate-ids is"
            text = f"{lack} for {listed(missing)}; clients get a certificate on port {claim.port} that does not cover it."
            yield claim.problem("HostNotCovered", text)


def _chosen_by_id(offer: CertificateCandidate, held: HeldBackCertificate) -> bool:
    return offer.certificate.id == held.refused.id and bool(offer.claim.values.tls_certificate_ids)


def _held(offer: CertificateCandidate, held: HeldBackCertificate) -> Problem:
    """Report an ELB certificate that was held back. Hosts and Secrets of other namespaces are not named."""
    ingress, kept = offer.claim.ingress, held.kept
    own = {*ingress.hosts, *(h for entry in ingress.tls for h in entry.hosts), ""}
    objection = held.objection if held.host in own else NOT_FOR_OTHERS
    ours = kept.source is None or kept.source.namespace == ingress.meta.namespace
    stays = f"Certificate {_name(kept)}" if ours else "The one that is bound"
    text = f"Certificate {_name(held.refused)} is not bound: {objection}. {stays} stays in service."
    return offer.claim.problem("CertificateHeldBack", text)


def _name(certificate: Certificate) -> str:
    return certificate.name or certificate.id


def _chosen(
    claim: ListenerClaim, ids: tuple[str, ...], certificates: Mapping[str, Certificate]
) -> tuple[list[CertificateCandidate], list[Problem]]:
    found: list[CertificateCandidate] = []
    problems: list[Problem] = []
    for number, certificate_id in enumerate(ids):
        certificate = certificates.get(certificate_id)
        if certificate is None or certificate.type != "server":
            what = "is not a server certificate" if certificate else "does not exist on the load balancer"
            text = (
                f"Certificate {certificate_id} (annotation elb.tls-certificate-ids) {what}; it is left out."
            )
            problems.append(claim.problem("CertificateNotFound", text))
        elif number and not certificate.domain:
            text = f"Certificate {certificate.name or certificate_id} has no domain and cannot be an SNI certificate; set its domain on the load balancer."
            problems.append(claim.problem("CertificateUnusable", text))
        else:
            found.append(
                CertificateCandidate(
                    claim=claim,
                    certificate=certificate,
                    hosts=certificate.domain,
                    server=not number,
                    fixed=True,
                )
            )
    return found, problems


def _from_secrets(claim: ListenerClaim, secrets: Mapping[Name, Certificate]) -> list[CertificateCandidate]:
    found = []
    for entry in claim.ingress.tls:
        certificate = secrets.get(Name(claim.ingress.meta.namespace, entry.secret))
        if certificate:
            # one whose Secret is gone stays as it is, with the names that it has
            fixed = not certificate.id.startswith("@")
            found.append(
                CertificateCandidate(
                    claim=claim,
                    certificate=certificate,
                    hosts=certificate.domain if fixed else _held_names(entry.hosts, certificate),
                    server=not entry.hosts,
                    named=bool(entry.hosts),
                    fixed=fixed,
                )
            )
    # Entries that all have hosts (as cert-manager writes them): the first is the server certificate too.
    if found and not any(o.server for o in found):
        found[0] = msgspec.structs.replace(found[0], server=True)
    return found


def _held_names(hosts: tuple[str, ...], certificate: Certificate) -> tuple[str, ...]:
    """Return the names of an entry that the domain holds: at most 100, no IP addresses."""
    held = frozenset(certificate.domain)
    return tuple(h for h in hosts if h in held) if hosts else certificate.domain


def _server(master: ListenerClaim, brought: Sequence[CertificateCandidate]) -> CertificateCandidate | None:
    own = [o for o in brought if o.server and o.claim.ingress.meta.key == master.ingress.meta.key]
    # A governing Ingress without a usable certificate does not close the port to the others.
    return next(iter(own), None) or next((o for o in brought if o.server), None)


def _sni(
    group: Sequence[ListenerClaim],
    brought: Sequence[CertificateCandidate],
    server: CertificateCandidate | None,
    options: TranslateOptions,
) -> tuple[list[Certificate], dict[str, frozenset[str]], list[Problem]]:
    owners: dict[tuple[str, str], CertificateCandidate] = {}
    bound: dict[str, Certificate] = {}
    lost: dict[str, frozenset[str]] = {}
    problems: list[Problem] = []
    if server:
        owners |= {(kind_of(server.certificate), h): server for h in _answers(server, brought)}
    for offer in brought:
        if offer is server:
            continue
        ref = offer.certificate.id
        again = ref in bound or bool(server and ref == server.certificate.id)
        kind = kind_of(offer.certificate)
        barred = _disallowed_hosts(offer, options)
        if barred and offer.fixed:
            problems.append(
                offer.claim.problem(
                    "HostNotAllowed",
                    f"Certificate {_name(offer.certificate)} is not bound: its domain has {listed(tuple(sorted(barred)))}, which is not for namespace {offer.claim.ingress.meta.namespace}.",
                )
            )
            continue
        there = {h: o for h in offer.hosts if (o := owners.get((kind, h))) and h not in barred}
        taken = {h for h, o in there.items() if o.certificate.id != ref}
        for other in dict.fromkeys(owners[kind, h].claim.ingress.meta.key for h in sorted(taken)):
            names = tuple(sorted(h for h in taken if owners[kind, h].claim.ingress.meta.key == other))
            text = f"Host {listed(names)} has a certificate from the older Ingress {other} on port {group[0].port}; the one of Ingress {offer.claim.ingress.meta.key} is not used for it."
            problems.append(offer.claim.problem("SniConflict", text))
            problems.append(owners[kind, names[0]].claim.problem("SniConflict", text))
        free = set(offer.hosts) - taken - barred
        if not free or (taken and offer.fixed):
            if not offer.hosts and offer.server:
                problems.append(_governed(group[0], offer))
            continue
        if not again and (text := _too_many(bound.values(), free, options, group[0].port)):
            text += f"; the one for {listed(offer.hosts)} is left out."
            problems.append(offer.claim.problem("LimitExceeded", text))
            continue
        if taken | barred:
            lost[ref] = lost.get(ref, frozenset()) | taken | barred
        owners |= {(kind, h): offer for h in free}
        if not (server and ref == server.certificate.id):
            bound[ref] = offer.certificate
    bound_names = {n for ref, c in bound.items() for n in c.domain if n not in lost.get(ref, ())}
    if server and server.certificate.domain and _shadowed(_answers(server, brought), bound_names):
        bound[server.certificate.id] = server.certificate
    for ref, names_lost in _contested(bound, owners).items():
        lost[ref] = lost.get(ref, frozenset()) | names_lost
    left = [
        msgspec.structs.replace(c, domain=tuple(n for n in c.domain if n not in lost.get(ref, ())))
        for ref, c in sorted(bound.items())
    ]
    return [c for c in left if c.domain], lost, problems


def _contested(
    bound: Mapping[str, Certificate], owners: Mapping[tuple[str, str], CertificateCandidate]
) -> Mapping[str, frozenset[str]]:
    """Names in the domain of a certificate that another one on the listener has: its Secret is asked for
    them elsewhere. Whoever is asked for them here has them, else the older one.
    """
    first: dict[tuple[str, str], str] = {
        claim: o.certificate.id for claim, o in owners.items() if o.certificate.id in bound
    }
    found: dict[str, frozenset[str]] = {}
    for ref, certificate in bound.items():
        for name in certificate.domain:
            if first.setdefault((kind_of(certificate), name), ref) != ref:
                found[ref] = found.get(ref, frozenset()) | {name}
    return found


def _disallowed_hosts(offer: CertificateCandidate, options: TranslateOptions) -> set[str]:
    namespace = offer.claim.ingress.meta.namespace
    return {h for h in offer.hosts if not options.admission.host_allowed(namespace, h)}


def _too_many(bound: Iterable[Certificate], more: set[str], options: TranslateOptions, port: int) -> str:
    """Why one more certificate is too much for the listener; "" when it is not."""
    bound = tuple(bound)
    if len(bound) >= options.max_sni:
        return f"Port {port} has {options.max_sni} SNI certificates, the most a listener may have"
    if len({n for c in bound for n in c.domain} | more) > options.max_sni_names:
        return f"The SNI certificates of port {port} have {options.max_sni_names} names, the most a listener may have"
    return ""


def _answers(server: CertificateCandidate, brought: Sequence[CertificateCandidate]) -> tuple[str, ...]:
    """Hosts for which the server certificate is what its Ingress means clients to see."""
    if server.named:
        return server.hosts
    elsewhere = {h for o in brought if o.claim is server.claim and o is not server for h in o.hosts}
    return tuple(
        h
        for h in server.claim.ingress.hosts
        if h not in elsewhere and server.certificate.chain and covers(server.certificate.chain.names, h)
    )


def _shadowed(hosts: tuple[str, ...], names: Set[str]) -> bool:
    """Whether one of `names` would answer for one of `hosts`: a wildcard, or the same of the other kind."""
    wildcards = [n for n in names if n.startswith("*.")]
    return any(h in names or any(h.endswith(w[1:]) and h != w for w in wildcards) for h in hosts)


def _governed(master: ListenerClaim, offer: CertificateCandidate) -> Problem:
    text = f"Port {master.port} is governed by the older Ingress {master.ingress.meta.key}; certificate {_name(offer.certificate)} is not used, because it has no domain to be an SNI certificate for."
    return offer.claim.problem("ListenerConflict", text)
