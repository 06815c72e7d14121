"""Bind certificates to the slots of one listener.

The oldest Ingress owns the default slot. SNI slots are the union over all Ingresses. Ids in the annotation
take precedence over Secrets. A host belongs to the first claim. A worse certificate never replaces a bound one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from datetime import datetime

import msgspec

from certferry.core.checks.better import CertificateFacts, rank
from certferry.core.model.elb import ENCRYPTED, Certificate
from certferry.core.model.kubernetes import Name
from certferry.core.model.problems import Problem
from certferry.core.translate import certificate_slots
from certferry.core.translate.certificate_slots import HeldBackCertificate, ListenerCertificates, claims, kind_of
from certferry.core.translate.listener_claims import ListenerClaim, TranslateOptions
from certferry.core.translate.secret_certificates import NEW_KEY, NOT_FOR_OTHERS
from certferry.core.x509.pem import covers, listed


class CertificateCandidate(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate that a claim offers to a listener."""

    claim: ListenerClaim
    certificate: Certificate
    hosts: tuple[str, ...]
    """Names that it is an SNI certificate for; for a server certificate the names of its domain."""
    server: bool
    named: bool = False
    """True if a spec.tls entry names the hosts."""
    fixed: bool = False
    """True if its domain must not change: it was chosen by id, or its Secret is gone."""


class ListenerBinding(msgspec.Struct, frozen=True, kw_only=True):
    """The slots that a listener is to have. Without a default, an existing listener stays and none is created."""

    slots: ListenerCertificates
    released_names: Mapping[str, frozenset[str]] = {}
    """Names that a managed certificate leaves to an older claim, by certificate key."""
    pinned: frozenset[str] = frozenset()
    """Certificates whose domain must not change: a new one would move a host to a worse certificate."""
    problems: tuple[Problem, ...] = ()
    held_back: tuple[HeldBackCertificate, ...] = ()
    """Certificates that the invariant kept from being bound. `problems` reports those chosen by id; for Secrets see
    ``secret_certificates.problems``."""


def candidates(
    group: Sequence[ListenerClaim],
    secrets: Mapping[Name, Certificate],
    certificates: Mapping[str, Certificate],
    bound: Set[str | None],
) -> tuple[list[CertificateCandidate], list[Problem]]:
    """Return the certificates that the claims of a listener offer, oldest claim first, and problems of ids.

    `bound`: ids of the certificates that the listener has. It takes no other that cannot be loaded.
    """
    offers: list[CertificateCandidate] = []
    problems: list[Problem] = []
    for claim in group:
        if claim.values.tls_certificate_ids:
            chosen, missing = _chosen(claim, claim.values.tls_certificate_ids, certificates, bound)
            offers += chosen
            problems += missing
        else:
            offers += _from_secrets(claim, secrets)
        if claim.values.sni_certificate_ids:
            chosen, missing = _chosen(claim, claim.values.sni_certificate_ids, certificates, bound, server=False)
            offers += chosen
            problems += missing
    return offers, problems


def bind(
    group: Sequence[ListenerClaim],
    offers: Sequence[CertificateCandidate],
    have: ListenerCertificates,
    staying: ListenerCertificates,
    options: TranslateOptions,
    now: datetime,
    elsewhere: Set[str] = frozenset(),
) -> ListenerBinding:
    """Return the slots of the listener of `group`, from `offers` and the slots that it has.

    `staying`: those slots with the content that their certificates are to get. `elsewhere`: certificates that other
    listeners are offered too.
    """
    offered = offers
    offers, replaced = _without_compromised(group, offers, elsewhere, options, now)
    default = _default_candidate(group[0], offers, options, now)
    sni = _assign_sni(group, offers, default, options)
    for ref, hosts_replaced in replaced.items():
        sni.release(ref, hosts_replaced)
    want = ListenerCertificates(default=default.certificate if default else None, sni=tuple(sni.certificates()))
    # Hosts of every claim count, also of one that offers nothing now: no host loses its certificate.
    hosts = {h for o in offered for h in o.hosts}
    for claim in group:
        hosts.update(claim.ingress.hosts, *(entry.hosts for entry in claim.ingress.tls))
    kept, held_back = certificate_slots.keep_better(want, have, staying, hosts, now, options.compromised)
    problems = [
        *sni.problems,
        *_compromised_problems(offered, kept, options),
        *(_held_back_problem(o, h) for h in held_back for o in offers if _chosen_by_id(o, h)),
    ]
    return ListenerBinding(
        slots=kept,
        released_names=sni.released,
        pinned=frozenset(h.rejected.id for h in held_back)
        | {c.id for c in kept.sni if c in staying.sni and c not in want.sni},
        problems=tuple(problems),
        held_back=held_back,
    )


def uncovered_hosts(group: Sequence[ListenerClaim], bound: ListenerCertificates) -> Iterator[Problem]:
    """Report each claim's hosts for which it names no Secret, and whose clients get a certificate that fails them.

    What is wrong with a Secret that it names is reported on that Secret.
    """
    for claim in group if group[0].protocol in ENCRYPTED else ():
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
            text = (
                f"{lack} for {listed(missing)}; clients get a certificate on port {claim.port} that does not cover it."
            )
            yield claim.problem("HostNotCovered", text)


def _chosen_by_id(offer: CertificateCandidate, held: HeldBackCertificate) -> bool:
    values = offer.claim.values
    chosen = (*(values.tls_certificate_ids or ()), *(values.sni_certificate_ids or ()))
    return offer.certificate.id == held.rejected.id and offer.certificate.id in chosen


def _held_back_problem(offer: CertificateCandidate, held: HeldBackCertificate) -> Problem:
    """Report an ELB certificate that was held back, without naming hosts and Secrets of other namespaces."""
    ingress, kept = offer.claim.ingress, held.kept
    own = {*ingress.hosts, *(h for entry in ingress.tls for h in entry.hosts), ""}
    objection = held.objection if held.host in own else NOT_FOR_OTHERS
    ours = kept.source is None or kept.source.namespace == ingress.meta.namespace
    stays = f"Certificate {_name(kept)}" if ours else "The one that is bound"
    text = f"Certificate {_name(held.rejected)} is not bound: {objection}. {stays} stays in service."
    return offer.claim.problem("CertificateHeldBack", text)


def _name(certificate: Certificate) -> str:
    return certificate.name or certificate.id


def _chosen(
    claim: ListenerClaim,
    ids: tuple[str, ...],
    certificates: Mapping[str, Certificate],
    bound: Set[str | None],
    *,
    server: bool = True,
) -> tuple[list[CertificateCandidate], list[Problem]]:
    offers: list[CertificateCandidate] = []
    problems: list[Problem] = []
    key = "cert-id" if server and claim.ingress.meta.kind else "tls-certificate-ids"
    for number, certificate_id in enumerate(ids, 0 if server else 1):
        certificate = certificates.get(certificate_id)
        if certificate is None or certificate.type != "server":
            what = "is not a server certificate" if certificate else "does not exist on the load balancer"
            text = f"Certificate {certificate_id} (annotation elb.{key}) {what}; it is left out."
            problems.append(claim.problem("CertificateNotFound", text))
        elif certificate.chain and not certificate.chain.loadable and certificate_id not in bound:
            why = certificate.chain.data_plane_objection or f"keys of type {certificate.chain.key} are not supported"
            text = f"Certificate {certificate.name or certificate_id} cannot be served: {why}; it is left out."
            problems.append(claim.problem("CertificateUnusable", text))
        elif number and not certificate.domain:
            text = f"Certificate {certificate.name or certificate_id} has no domain and cannot be an SNI certificate; set its domain on the load balancer."
            problems.append(claim.problem("CertificateUnusable", text))
        else:
            offers.append(
                CertificateCandidate(
                    claim=claim, certificate=certificate, hosts=certificate.domain, server=not number, fixed=True
                )
            )
    return offers, problems


def _from_secrets(claim: ListenerClaim, secrets: Mapping[Name, Certificate]) -> list[CertificateCandidate]:
    offers = []
    for entry in claim.ingress.tls:
        certificate = secrets.get(Name(claim.ingress.meta.namespace, entry.secret))
        if certificate:
            # a certificate whose Secret is gone keeps its names
            fixed = not certificate.id.startswith("@")
            offers.append(
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
    if offers and not any(o.server for o in offers):
        offers[0] = msgspec.structs.replace(offers[0], server=True)
    return offers


def _held_names(hosts: tuple[str, ...], certificate: Certificate) -> tuple[str, ...]:
    """Return the names of an entry that the domain holds: at most 100, no IP addresses."""
    held = frozenset(certificate.domain)
    return tuple(h for h in hosts if h in held) if hosts else certificate.domain


def _default_candidate(
    owner: ListenerClaim, offers: Sequence[CertificateCandidate], options: TranslateOptions, now: datetime
) -> CertificateCandidate | None:
    own = [o for o in offers if o.server and o.claim.ingress.meta.key == owner.ingress.meta.key]
    # A listener owner without a usable certificate does not close the port to the others.
    others = (o for o in offers if o.server)
    return next(iter(own), None) or max(others, key=lambda o: _fitness(o.certificate, options, now), default=None)


def _fitness(
    certificate: Certificate, options: TranslateOptions, now: datetime, host: str = ""
) -> tuple[bool, int, bool, bool]:
    """Return the fitness of a certificate for clients of `host`; "" for clients that name none."""
    chain = certificate.chain
    if chain is None:
        return False, 0, False, False
    marked = chain.spki in options.compromised
    facts = CertificateFacts(chain.names, chain.not_before, chain.not_after, chain.loadable, marked)
    return rank(facts, (host,) if host else (), now).fitness


def _without_compromised(
    group: Sequence[ListenerClaim],
    offers: Sequence[CertificateCandidate],
    elsewhere: Set[str],
    options: TranslateOptions,
    now: datetime,
) -> tuple[Sequence[CertificateCandidate], Mapping[str, frozenset[str]]]:
    """Return `offers` without compromised certificates for the hosts that others serve, and those hosts by certificate.

    A host leaves a compromised certificate if its clients get a better one from the listener without it. The domain of
    a certificate of `elsewhere` stays, because other listeners have it too.
    """
    marked = [o for o in offers if o.certificate.chain and o.certificate.chain.spki in options.compromised]
    if not marked or len(marked) == len(offers):
        return offers, {}
    default = _default_candidate(group[0], offers, options, now)
    offers = _with_server(offers, marked)
    remaining = [o for o in offers if o not in marked]
    others = _selection(group, remaining, options, now)
    if default in marked and _indispensable(default, _intended_hosts(default, offers), others, options, now):
        remaining = [o for o in offers if o not in marked or o is default]
        others = _selection(group, remaining, options, now)
    else:
        default = None
    staying = [o for o in offers if o not in marked or o is default]

    def needed(offer: CertificateCandidate) -> tuple[str, ...]:
        hosts = tuple(h for h in offer.hosts if _lacks(others, h, offer.certificate, options, now))
        return offer.hosts if hosts and (offer.fixed or offer.certificate.id in elsewhere) else hosts

    return _reduced(offers, staying, needed)


def _reduced(
    offers: Iterable[CertificateCandidate],
    staying: Sequence[CertificateCandidate],
    needed: Callable[[CertificateCandidate], tuple[str, ...]],
) -> tuple[Sequence[CertificateCandidate], Mapping[str, frozenset[str]]]:
    """Return `offers`, those not in `staying` for their `needed` hosts alone, and the other hosts by certificate."""
    result, gone, kept = list[CertificateCandidate](), dict[str, set[str]](), dict[str, set[str]]()
    for offer in offers:
        if offer in staying:
            result.append(offer)
            continue
        if hosts := needed(offer):
            result.append(msgspec.structs.replace(offer, hosts=hosts, server=False))
            kept.setdefault(offer.certificate.id, set()).update(hosts)
        gone.setdefault(offer.certificate.id, set()).update(offer.hosts)
    return result, {ref: frozenset(gone[ref] - hosts) for ref, hosts in kept.items()}


def _with_server(
    offers: Sequence[CertificateCandidate], marked: Sequence[CertificateCandidate]
) -> Sequence[CertificateCandidate]:
    """Return `offers` with a server certificate besides the `marked` ones: the first one if there is none."""
    first = next(o for o in offers if o not in marked)
    if any(o.server for o in offers if o not in marked):
        return offers
    return [msgspec.structs.replace(o, server=True) if o is first else o for o in offers]


def _indispensable(
    default: CertificateCandidate,
    intended: Sequence[str],
    others: ListenerCertificates,
    options: TranslateOptions,
    now: datetime,
) -> bool:
    """Return whether a compromised default certificate has to stay: as SNI certificate it would not be enough.

    It stays too if none of its hosts would gain.
    """
    lacking = [h for h in ("", *intended) if _lacks(others, h, default.certificate, options, now)]
    gains = any(h not in lacking for h in intended)
    return bool(lacking) and (not gains or any(not h or not covers(default.hosts, h) for h in lacking))


def _selection(
    group: Sequence[ListenerClaim], offers: Sequence[CertificateCandidate], options: TranslateOptions, now: datetime
) -> ListenerCertificates:
    """Return the slots of the listener with these offers alone."""
    default = _default_candidate(group[0], offers, options, now)
    sni = _assign_sni(group, offers, default, options)
    return ListenerCertificates(default=default.certificate if default else None, sni=tuple(sni.certificates()))


def _lacks(
    slots: ListenerCertificates, host: str, certificate: Certificate, options: TranslateOptions, now: datetime
) -> bool:
    """Return whether some client of `host` gets a worse certificate from `slots` than `certificate`."""
    answers = (slots.answer(host, kind) for kind in certificate_slots.KEY_KINDS)
    fitness = _fitness(certificate, options, now, host)
    return any(a is None or _fitness(a, options, now, host) < fitness for a in answers)


def _compromised_problems(
    offers: Iterable[CertificateCandidate], bound: ListenerCertificates, options: TranslateOptions
) -> Iterator[Problem]:
    """Report chosen ELB certificates with a compromised key. Those of Secrets are reported on the Secret."""
    serving = {c.id for c in (bound.default, *bound.sni) if c}
    for offer in offers:
        chain = offer.certificate.chain
        if offer.claim.values.tls_certificate_ids and chain and chain.spki in options.compromised:
            now = (
                "It stays in service, because no other one can replace it"
                if offer.certificate.id in serving
                else "It is not bound"
            )
            text = f"The key of certificate {_name(offer.certificate)} is marked as compromised. {now}.{NEW_KEY}"
            yield offer.claim.problem("CertificateCompromised", text)


class _SniAssignment:
    """Assigns the SNI slots of one listener to offers, oldest claim first."""

    def __init__(self, owner: ListenerClaim, default: CertificateCandidate | None, options: TranslateOptions) -> None:
        self._owner, self._options = owner, options
        self._default_id = default.certificate.id if default else None
        self.holders: dict[tuple[str, str], CertificateCandidate] = {}
        """The offer that answers for each (key kind, host)."""
        self.bound: dict[str, Certificate] = {}
        self._bound_names: set[str] = set()
        self.released: dict[str, frozenset[str]] = {}
        self.problems: list[Problem] = []

    def hold(self, offer: CertificateCandidate, hosts: Iterable[str]) -> None:
        """Record that `offer` answers for `hosts`."""
        kind = kind_of(offer.certificate)
        self.holders |= {(kind, host): offer for host in hosts}

    def release(self, certificate_id: str, names: Set[str]) -> None:
        """Record that a certificate leaves `names` to another one."""
        if names:
            self.released[certificate_id] = self.released.get(certificate_id, frozenset()) | names

    def add(self, offer: CertificateCandidate) -> None:
        """Bind `offer` for the hosts that are free, or report why it is not bound."""
        certificate_id = offer.certificate.id
        disallowed = _disallowed_hosts(offer, self._options)
        if disallowed and offer.fixed:
            self.problems.append(_not_allowed(offer, disallowed))
            return
        held = self._held_by_others(offer, disallowed)
        self._report_conflicts(offer, held)
        free = set(offer.hosts) - held - disallowed
        if not free or (held and offer.fixed):
            if not offer.hosts and offer.server:
                self.problems.append(_not_owner(self._owner, offer))
            return
        new = certificate_id not in self.bound and certificate_id != self._default_id
        if new and (text := self._too_many(free)):
            text += f"; the one for {listed(offer.hosts)} is left out."
            self.problems.append(offer.claim.problem("LimitExceeded", text))
            return
        self.release(certificate_id, held | disallowed)
        self.hold(offer, free)
        if certificate_id != self._default_id:
            self.bound[certificate_id] = offer.certificate
            self._bound_names.update(offer.certificate.domain)

    def _too_many(self, hosts: Set[str]) -> str:
        """Return which limit one more certificate for `hosts` exceeds, or ""."""
        options, port = self._options, self._owner.port
        if len(self.bound) >= options.max_sni:
            return f"Port {port} has {options.max_sni} SNI certificates, the most a listener may have"
        names = options.max_sni_names
        if len(self._bound_names) + len(hosts - self._bound_names) > names:
            return f"The SNI certificates of port {port} have {names} names, the most a listener may have"
        return ""

    def add_default(self, offer: CertificateCandidate) -> None:
        """Bind the default certificate under its names too, unless neither it nor another can release one of them."""
        others = {claim for ref in self._fixed() for claim in claims(self.bound[ref])}
        disallowed = _disallowed_hosts(offer, self._options)
        if not (offer.fixed and (disallowed or claims(offer.certificate) & others)):
            self.bound[offer.certificate.id] = offer.certificate
            self.release(offer.certificate.id, disallowed)

    def _fixed(self) -> set[str]:
        """Return the bound certificates whose domain must not change."""
        return {o.certificate.id for o in self.holders.values() if o.fixed} & self.bound.keys()

    def settle_contested(self) -> None:
        """Release each name that two bound certificates share from one of them.

        A Secret may be named for such a host on another listener. A certificate whose domain must not change keeps the
        name, else the one that is claimed for it here, else the older one.
        """
        keepers = {claim: ref for ref in self._fixed() for claim in claims(self.bound[ref])}
        for claim, offer in self.holders.items():
            if offer.certificate.id in self.bound:
                keepers.setdefault(claim, offer.certificate.id)
        for ref, certificate in self.bound.items():
            self.release(
                ref, {name for kind, name in claims(certificate) if keepers.setdefault((kind, name), ref) != ref}
            )

    def certificates(self) -> list[Certificate]:
        """Return the bound certificates without the names that they release, by id."""
        remaining = (
            msgspec.structs.replace(c, domain=self._remaining(ref, c)) for ref, c in sorted(self.bound.items())
        )
        return [c for c in remaining if c.domain]

    def names(self) -> set[str]:
        """Return all names of the bound certificates."""
        return {name for ref, c in self.bound.items() for name in self._remaining(ref, c)}

    def _remaining(self, certificate_id: str, certificate: Certificate) -> tuple[str, ...]:
        released = self.released.get(certificate_id, ())
        return tuple(name for name in certificate.domain if name not in released)

    def _held_by_others(self, offer: CertificateCandidate, disallowed: Set[str]) -> set[str]:
        kind = kind_of(offer.certificate)
        holders = {h: self.holders.get((kind, h)) for h in offer.hosts if h not in disallowed}
        return {h for h, o in holders.items() if o and o.certificate.id != offer.certificate.id}

    def _report_conflicts(self, offer: CertificateCandidate, held: Set[str]) -> None:
        """Report each older Ingress that has some of the hosts `held`, on the one whose certificate is not used."""
        kind, by_ingress = kind_of(offer.certificate), dict[Name, list[str]]()
        for host in sorted(held):
            by_ingress.setdefault(self.holders[kind, host].claim.ingress.meta.key, []).append(host)
        for other, hosts in by_ingress.items():
            text = f"Host {listed(tuple(hosts))} has a certificate from the older {other.claimant} on port {self._owner.port}; the one of {offer.claim.ingress.meta.key.claimant} is not used for it."
            self.problems.append(offer.claim.problem("SniConflict", text))


def _assign_sni(
    group: Sequence[ListenerClaim],
    offers: Sequence[CertificateCandidate],
    default: CertificateCandidate | None,
    options: TranslateOptions,
) -> _SniAssignment:
    sni = _SniAssignment(group[0], default, options)
    intended = _intended_hosts(default, offers) if default else ()
    if default:
        sni.hold(default, intended)
    for offer in offers:
        if offer is not default:
            sni.add(offer)
    if default and _shadowed(intended, sni.names()):
        sni.add_default(default)
    sni.settle_contested()
    return sni


def _not_allowed(offer: CertificateCandidate, hosts: Set[str]) -> Problem:
    text = f"Certificate {_name(offer.certificate)} is not bound: its domain has {listed(tuple(sorted(hosts)))}, which namespace {offer.claim.ingress.meta.namespace} may not use."
    return offer.claim.problem("HostNotAllowed", text)


def _disallowed_hosts(offer: CertificateCandidate, options: TranslateOptions) -> set[str]:
    namespace, policy = offer.claim.ingress.meta.namespace, options.admission
    return {h for h in offer.hosts if not policy.host_allowed(namespace, h) or policy.foreign(namespace, h)}


def _intended_hosts(server: CertificateCandidate, offers: Sequence[CertificateCandidate]) -> tuple[str, ...]:
    """Return the hosts for which the Ingress of the default certificate wants clients to get it."""
    if server.named:
        return server.hosts
    elsewhere = {h for o in offers if o.claim is server.claim and o is not server for h in o.hosts}
    return tuple(
        h
        for h in server.claim.ingress.hosts
        if h not in elsewhere and server.certificate.chain and covers(server.certificate.chain.names, h)
    )


def _shadowed(hosts: tuple[str, ...], names: Set[str]) -> bool:
    """Return whether one of `names` answers for one of `hosts`: a wildcard, or the same name of the other key kind."""
    wildcards = [n for n in names if n.startswith("*.")]
    return any(h in names or any(h.endswith(w[1:]) and h != w for w in wildcards) for h in hosts)


def _not_owner(owner: ListenerClaim, offer: CertificateCandidate) -> Problem:
    text = f"The older {owner.ingress.meta.key.claimant} owns the listener on port {owner.port}. Certificate {_name(offer.certificate)} is not used: without a domain it cannot be an SNI certificate."
    return offer.claim.problem("ListenerConflict", text)
