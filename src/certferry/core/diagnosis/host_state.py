"""The state of each host: what is wanted, bound and shown for one (address, port, SNI name, key kind).

Every surface projects this value: Events, ``why``, ``explain``, the command line, alerts,
metrics and the console. A sentence that names a bound certificate names the one that the listener selects for
that SNI name and key kind (``ListenerCertificates.answer``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Final

import msgspec

from certferry.core.diagnosis import host_verdict
from certferry.core.diagnosis.host_probes import shown_certificates
from certferry.core.diagnosis.host_values import (
    BoundCertificate,
    HostKey,
    HostProbe,
    HostProblem,
    HostState,
    HostStatus,
    ShownCertificate,
)
from certferry.core.diagnosis.host_verdict import Facts
from certferry.core.diagnosis.wanted import (
    SLOT_KINDS,
    CertificateSource,
    CertificateSources,
    KeyKind,
    WantedCertificate,
    WantedCertificates,
    key_kind,
)
from certferry.core.model import naming as names
from certferry.core.model.elb import ENCRYPTED, Certificate, Listener, LoadBalancer, State, bind_port
from certferry.core.model.kubernetes import ClusterView, Name
from certferry.core.model.problems import Problem
from certferry.core.translate.certificate_slots import ListenerCertificates, current_slots
from certferry.core.translate.listener import by_port, listener_key
from certferry.core.translate.listener_claims import ListenerClaim
from certferry.core.translate.secret_certificates import key_of
from certferry.core.translate.translate import Translation
from certferry.core.x509 import expiry
from certferry.core.x509.expiry import Limits
from certferry.core.x509.pem import Chain

KINDS: Final[tuple[KeyKind, ...]] = ("ECDSA", "RSA")
_UNKNOWN_KIND: Final[tuple[KeyKind, ...]] = ("",)
_NO_REJECTIONS: Final[Mapping[str, str]] = MappingProxyType({})


def host_states(
    view: ClusterView,
    observed: State,
    translation: Translation,
    shown: Iterable[HostProbe],
    now: datetime,
    limits: Limits,
    rejections: Mapping[str, str] = _NO_REJECTIONS,
    host: str | None = None,
) -> tuple[HostState, ...]:
    """Return the state of every host that a claim wants or an HTTPS or TLS listener serves, sorted by key.

    `translation` is of the same `view` and `observed`. `rejections`: by certificate id, why the data plane
    rejected it. `host`: this host alone, also if only a wildcard of a claim or an SNI name stands for it.
    """
    world = _HostFacts(view, observed, translation, shown, now, limits, rejections)
    return tuple(sorted(world.states(host), key=lambda state: state.key))


def for_host(states: Iterable[HostState], host: str, port: int | None = None) -> tuple[HostState, ...]:
    """Return the states of `host`; `port` as clients use it or as the listener has it, None for any."""
    return tuple(s for s in states if s.key.sni == host and port in (None, s.port, s.key.port))


def for_ingress(states: Iterable[HostState], name: Name) -> tuple[HostState, ...]:
    """Return the states of the hosts that Ingress `name` wants."""
    return tuple(s for s in states if name in s.claims)


def for_certificate(states: Iterable[HostState], certificate_id: str) -> tuple[HostState, ...]:
    """Return the states of the hosts whose clients get the certificate with this id."""
    return tuple(s for s in states if s.bound and s.bound.certificate_id == certificate_id)


def for_secret(states: Iterable[HostState], name: Name) -> tuple[HostState, ...]:
    """Return the states of the hosts that want Secret `name`, or whose clients get its certificate."""
    return tuple(
        s
        for s in states
        if any(w.source.secret == name for w in s.wants)
        or (s.bound and s.bound.source.secret == name and not s.bound.source.cluster)
    )


class _Place(msgspec.Struct, frozen=True, kw_only=True):
    """One HTTPS or TLS port of a load balancer."""

    loadbalancer: LoadBalancer
    port: int
    listener: Listener | None
    owner: Name | None
    group: Sequence[ListenerClaim]
    have: ListenerCertificates
    want: ListenerCertificates | None
    """None: the controller does not decide on it."""
    brought_by: Mapping[str | Name, tuple[Name, ...]]
    """The Ingresses of `group` by Secret, and by the id of a certificate that they choose."""

    @property
    def address(self) -> str:
        return self.loadbalancer.vip_address or self.loadbalancer.id

    @property
    def bound_port(self) -> int:
        return bind_port(self.loadbalancer, self.port)


class _HostFacts:
    """Lookups that all hosts share."""

    def __init__(
        self,
        view: ClusterView,
        observed: State,
        translation: Translation,
        shown: Iterable[HostProbe],
        now: datetime,
        limits: Limits,
        rejections: Mapping[str, str],
    ) -> None:
        self._view, self._observed, self._translation = view, observed, translation
        self._now, self._limits, self._rejections = now, limits, rejections
        self._wanted = WantedCertificates(view, observed, translation, now)
        self._sources = CertificateSources(view)
        self._shown: dict[tuple[str, int, str], list[HostProbe]] = {}
        for result in shown:
            self._shown.setdefault((result.address, result.port, result.sni), []).append(result)
        self._on_ingresses: dict[Name, list[Problem]] = {}
        # one of each reason, as in the state of a host: an object may have thousands
        reasons = {(p.object, p.reason, p.secret is None): p for p in reversed(translation.problems)}
        for problem in reversed(reasons.values()):
            if problem.object.kind in ("Ingress", "Service"):
                self._on_ingresses.setdefault(problem.object.claimant, []).append(problem)

    def states(self, only: str | None) -> Iterator[HostState]:
        """Yield the states of all hosts, or of one."""
        for place in self._places():
            by_host: dict[str, list[ListenerClaim]] = {"": []}
            for name in (*place.have.named, *(place.want.named if place.want else ())):
                by_host.setdefault(name, [])
            for claim in place.group:
                for host in _hosts(claim) or ("",):
                    by_host.setdefault(host, []).append(claim)
            if only is not None:
                claims = by_host.get(only) or by_host.get(f"*.{only.partition('.')[2]}", [])
                by_host = {only: claims} if only in by_host or claims or place.have.matching_name(only) else {}
            for host, claims in by_host.items():
                yield from self._of_host(place, host, claims)

    def _places(self) -> Iterator[_Place]:
        listening = by_port(self._observed)
        groups = {at: group for at, group in self._translation.claims.items() if group[0].protocol in ENCRYPTED}
        served = {at for at, listener in listening.items() if listener.protocol in ENCRYPTED}
        balancers = {**self._translation.desired.loadbalancers, **self._observed.loadbalancers}
        for at in sorted({*groups, *served}):
            listener, group, balancer = listening.get(at), groups.get(at, ()), balancers.get(at[0])
            if balancer is None or (listener and listener.protocol not in ENCRYPTED):
                continue
            ours = listener is None or names.is_of(self._view.cluster_id, listener.description)
            binding = self._translation.bindings.get(at)
            yield _Place(
                loadbalancer=balancer,
                port=at[1],
                listener=listener,
                owner=group[0].ingress.meta.key if group and ours else None,
                group=group,
                have=current_slots(listener, self._observed.certificates),
                want=binding.slots if binding and binding.slots.default else None,
                brought_by=_brought_by(group),
            )

    def _of_host(self, place: _Place, host: str, claims: Sequence[ListenerClaim]) -> Iterator[HostState]:
        asking = claims or (place.group[:1] if not host else ())
        wants = [w for claim in asking for w in self._wanted.of(claim, host)]
        for kind, mine in _by_kind(wants, place.have, host):
            yield self._state(place, host, kind, claims, mine)

    def _state(
        self,
        place: _Place,
        host: str,
        kind: KeyKind,
        claims: Sequence[ListenerClaim],
        wants: tuple[WantedCertificate, ...],
    ) -> HostState:
        certificate = place.have.answer(host, SLOT_KINDS[kind])
        bound = self._bound(place, place.have, host, certificate)
        wish = place.want.answer(host, SLOT_KINDS[kind]) if place.want else None
        desired = self._bound(place, place.want, host, wish) if place.want else None
        chain = certificate.chain if certificate else None
        key = HostKey(address=place.address, port=place.bound_port, sni=host, key_kind=kind)
        claiming = tuple(claim.ingress.meta.key for claim in claims)
        facts = Facts(
            host=host,
            place=f"{key.address}:{key.port}",
            wants=wants,
            bound=bound,
            shown=self._probes(place, key, chain),
            data_plane=self._rejections.get(certificate.id, "") if certificate else "",
            expiry_state=expiry.state(chain.not_before, chain.not_after, self._now, self._limits) if chain else None,
            on_claims=tuple(p for name in claiming for p in self._on_ingresses.get(name, ())),
            barriers=self._barriers(place),
            listener_exists=place.listener is not None,
            now=self._now,
        )
        problems = host_verdict.problems(facts, self._view)
        status = host_verdict.status(facts)
        return HostState(
            key=key,
            loadbalancer=place.loadbalancer,
            listener_id=place.listener.id if place.listener else "",
            listener_name=(place.listener.name or "") if place.listener else "",
            port=place.port,
            owner=place.owner,
            claims=claiming,
            wanted=facts.wanted,
            other_wants=wants[1:],
            bound=bound,
            desired=desired,
            in_step=self._in_step(certificate, wish) if place.want else True,
            successor=_successor(place.want, host, wish),
            shown=facts.shown,
            data_plane=facts.data_plane,
            expires=chain.not_after if chain else None,
            expiry_state=facts.expiry_state,
            problems=problems,
            status=status,
            sentence=host_verdict.sentence(facts),
            next_action=host_verdict.next_action(facts, status, problems, self._view),
        )

    def _barriers(self, place: _Place) -> tuple[HostProblem, ...]:
        """Return the settings of a listener of ours that keep clients out though no Ingress asks for them."""
        desired = self._translation.desired.listeners.get(listener_key(place.loadbalancer.id, place.port))
        ingress = self._view.ingresses.get(place.owner) if place.owner else None
        if desired is None or place.listener is None or ingress is None:
            return ()
        authority, group = place.listener.client_ca_tls_container_ref, place.listener.ipgroup
        barriers = []
        if authority:
            barriers.append(f"has the client CA {authority}: clients without a certificate of it are rejected")
        if group and group.enable_ipgroup and group.ipgroup_id and not desired.ipgroup:
            what = "admits only" if group.type == "white" else "rejects"
            barriers.append(f"{what} clients of IP address group {group.ipgroup_id}")
        if not barriers:
            return ()
        text = f"The listener on port {place.port} {', and '.join(barriers)}. No Ingress asks for that."
        action = "certferry audit --since 1d"
        return (HostProblem(object=ingress.ref, reason="DriftDetected", sentence=text, action=action),)

    def _bound(
        self, place: _Place, slots: ListenerCertificates, host: str, certificate: Certificate | None
    ) -> BoundCertificate | None:
        if certificate is None:
            return None
        matched = slots.matching_name(host)
        source = self._sources.of(certificate)
        return BoundCertificate(
            certificate_id=certificate.id,
            name=certificate.name or certificate.id,
            chain=certificate.chain,
            slot="sni" if matched else "default",
            matched=matched,
            why=_why(place, host, matched),
            source=source,
            ingresses=place.brought_by.get(source.secret or source.certificate_id, ()),
            compromised=bool(certificate.chain and certificate.chain.spki in self._translation.compromised),
        )

    def _probes(self, place: _Place, key: HostKey, chain: Chain | None) -> tuple[ShownCertificate, ...]:
        results = self._shown.get((key.address, key.port, key.sni))
        if not results:
            return ()
        have = (place.have.answer(key.sni, SLOT_KINDS[kind]) for kind in KINDS)
        return shown_certificates(results, key.key_kind, chain, {c.chain.fingerprint for c in have if c and c.chain})

    def _in_step(self, have: Certificate | None, want: Certificate | None) -> bool:
        if have is None or want is None:
            return have is want
        secret_id = names.described(have.description).get("secret_id", "")
        same = want.id in (have.id, key_of(secret_id))
        return same and (have.chain and have.chain.digest) == (want.chain and want.chain.digest)


def _hosts(claim: ListenerClaim) -> tuple[str, ...]:
    return tuple(sorted({*claim.ingress.hosts, *(h for entry in claim.ingress.tls for h in entry.hosts)}))


def _by_kind(
    wants: Sequence[WantedCertificate], have: ListenerCertificates, host: str
) -> Iterator[tuple[KeyKind, tuple[WantedCertificate, ...]]]:
    """Yield each key kind of a host with what is wanted of it, the one that counts first.

    A kind that only the listener has is one too if clients of it get a certificate of their own. A wanted
    certificate of unknown kind stands with the first kind.
    """
    kinds: list[KeyKind] = list(dict.fromkeys(w.kind for w in wants if w.kind))
    answers = {kind: have.answer(host, SLOT_KINDS[kind]) for kind in KINDS}
    taken = {c.id for kind in kinds if (c := answers[kind])}
    for kind, certificate in answers.items():
        if certificate and kind not in kinds and key_kind(certificate) == kind and certificate.id not in taken:
            kinds.append(kind)
            taken.add(certificate.id)
    for number, kind in enumerate(kinds or _UNKNOWN_KIND):
        mine = [w for w in wants if w.kind == kind or (number == 0 and not w.kind)]
        first = next((w for w in mine if w.bindable), None)
        yield kind, tuple(sorted(mine, key=lambda w: w is not first)) if first else tuple(mine)


def _why(place: _Place, host: str, matched: str) -> str:
    if matched and matched == host:
        return "it is the SNI certificate for exactly this host"
    if matched:
        return f"it is the SNI certificate for {matched}, and none names the host exactly"
    what = "no SNI certificate covers this host" if host else "clients that name no host get the default"
    owner = f", which {place.owner.claimant} owns" if place.owner else ""
    return f"{what}: it is the default certificate of port {place.port}{owner}"


def _brought_by(group: Sequence[ListenerClaim]) -> Mapping[str | Name, tuple[Name, ...]]:
    result: dict[str | Name, dict[Name, None]] = {}
    for claim in group:
        ingress = claim.ingress.meta
        secrets: Iterable[str | Name] = (Name(ingress.namespace, e.secret) for e in claim.ingress.tls if e.secret)
        ids = (*(claim.values.tls_certificate_ids or ()), *(claim.values.sni_certificate_ids or ()))
        for brought in (*secrets, *ids):
            result.setdefault(brought, {})[ingress.key] = None
    return {brought: tuple(ingresses) for brought, ingresses in result.items()}


def _successor(slots: ListenerCertificates | None, host: str, certificate: Certificate | None) -> str:
    """Return the name of the certificate that `slots` would select without `certificate`; "" if none."""
    if slots is None or certificate is None:
        return ""
    following = slots.answer(host, SLOT_KINDS[key_kind(certificate)], without=certificate.id)
    return (following.name or following.id) if following else ""


__all__ = [
    "BoundCertificate",
    "CertificateSource",
    "HostKey",
    "HostProbe",
    "HostProblem",
    "HostState",
    "HostStatus",
    "KeyKind",
    "ShownCertificate",
    "WantedCertificate",
    "for_certificate",
    "for_host",
    "for_ingress",
    "for_secret",
    "host_states",
]
