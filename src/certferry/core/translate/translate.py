"""What a cluster asks for, in the load balancer's words.

``translate`` is rebuilt from scratch on every change: claims → certificates → seats → forwarding.
It is called by the controller's loop and by ``certferry plan``; ``plan`` turns its result into
steps. It knows neither how objects are read nor how steps are carried out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from types import MappingProxyType

import msgspec

from certferry.core.model import naming as names
from certferry.core.model.elb import Certificate, Listener, LoadBalancer, State
from certferry.core.model.kubernetes import ClusterView, Name, ObjectRef
from certferry.core.model.problems import Problem
from certferry.core.translate import listener as ports
from certferry.core.translate import listener_claims as claims
from certferry.core.translate import secret_certificates as certificates
from certferry.core.translate.certificate_binding import ListenerBinding, uncovered_hosts
from certferry.core.translate.certificate_slots import KINDS, ListenerCertificates, present
from certferry.core.translate.listener import ListenerContext
from certferry.core.translate.listener_claims import ListenerClaim, TranslateOptions
from certferry.core.translate.pools import MemberSource
from certferry.core.translate.secret_certificates import SecretUse, SecretVerdict
from certferry.core.x509.pem import Chain


class Served(msgspec.Struct, frozen=True, kw_only=True):
    """What a handshake for `host` on `port` of a load balancer is to show."""

    loadbalancer: str
    port: int
    host: str
    """"" for clients that name no host."""
    certificate: str
    """Id or key."""
    chain: Chain
    kind: str = ""
    """RSA or EC, where certificates of both kinds answer for the host; else "" for any client."""

    @property
    def fingerprint(self) -> str:
        """Of its leaf."""
        return self.chain.fingerprint


class IngressStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What ``report`` writes on an Ingress, and ``probe`` looks for."""

    ref: ObjectRef
    loadbalancer: str
    ports: tuple[tuple[int, str], ...]
    """(port as asked for, protocol)."""
    master: Name
    served: tuple[Served, ...] = ()


class Translation(msgspec.Struct, frozen=True, kw_only=True):
    """All that follows from a view of the cluster."""

    desired: State
    material: Mapping[str, Name]
    """Chain digest → the Secret that holds the pair."""
    problems: tuple[Problem, ...]
    status: Mapping[Name, IngressStatus]
    follows: Mapping[str, SecretUse]
    """Secret uid → who depends on it: the fast path's table."""
    held: frozenset[tuple[str, int]] = frozenset()
    """(load balancer, port) of listeners that must stay though nothing can be asked of them now."""
    seats: Mapping[tuple[str, int], ListenerBinding] = MappingProxyType({})
    """Which certificate sits where, by load balancer and port."""
    sources: Mapping[str, MemberSource] = MappingProxyType({})
    """Where the members of each pool come from, by its key: the path of endpoints."""
    needs_nodes: bool = False
    """Whether members are nodes: then Nodes have to be watched."""
    claims: Mapping[tuple[str, int], tuple[ListenerClaim, ...]] = MappingProxyType({})
    """The claims by load balancer and port, the listener owner first."""
    verdicts: Mapping[Name, tuple[SecretVerdict, ...]] = MappingProxyType({})
    """What is wrong with each Secret in use, most severe first."""


def translate(view: ClusterView, observed: State, options: TranslateOptions, now: datetime) -> Translation:
    """The desired state for `view`, given what is there; never worse than what is served."""
    asked = claims.collect_claims(view, observed, options)
    listening = ports.by_port(observed)
    uids = {secret.meta.uid for secret in view.secrets.values()}
    existing = certificates.ours(observed, view.cluster_id, uids)
    everyone = [claim for group in asked.groups.values() for claim in group]
    follows = certificates.follows(view, everyone, existing, _serving(asked.groups, listening, observed))
    followed = {name: certificates.follow(view, existing, it, options, now) for name, it in follows.items()}
    secrets = {name: f.certificate for name, f in followed.items() if f.certificate}
    there = _keyed(observed, secrets)
    world = ListenerContext(
        view=view,
        observed=observed,
        options=options,
        now=now,
        groups=asked.groups,
        secrets=secrets,
        there=there,
        wanted=_wanted(there, secrets),
    )
    found = {at: ports.build_listener(group, listening.get(at), world) for at, group in asked.groups.items()}
    seats = {at: it.seat for at, it in found.items() if it.seat}
    made = {key: m for it in found.values() for key, m in it.made.items()}
    problems = {*asked.problems, *(p for it in found.values() for p in it.problems)}
    bound = {at: _bound(seats.get(at), listening.get(at), there) for at in asked.groups}
    held = [one for seat in seats.values() for one in seat.held]
    verdicts = {name: certificates.verdicts(use, followed[name], held) for name, use in follows.items()}
    for name, use in follows.items():
        secret = view.secrets.get(name)
        problems |= {*certificates.problems(use, secret, secrets.get(name), verdicts[name], bound)}
    problems |= {p for at, group in asked.groups.items() for p in uncovered_hosts(group, bound[at])}
    return Translation(
        desired=State(
            loadbalancers=_balancers(asked, observed),
            listeners={it.listener.id: it.listener for it in found.values() if it.listener},
            certificates=_certificates(secrets, seats.values(), there),
            pools={key: m.pool for key, m in made.items()},
            policies={key: p for it in found.values() for key, p in it.policies.items()},
        ),
        material={c.chain.digest: n for n, c in secrets.items() if c.chain and c.id.startswith("@")},
        problems=tuple(sorted(problems)),
        status=_status(asked.groups, seats),
        follows={s.meta.uid: it for n, it in follows.items() if (s := view.secrets.get(n))},
        held=frozenset(at for at, it in found.items() if it.held),
        seats=seats,
        sources={key: m.source for key, m in made.items()},
        needs_nodes=any(m.by_node for m in made.values()),
        claims=asked.groups,
        verdicts=verdicts,
    )


def _serving(
    groups: Mapping[tuple[str, int], tuple[ListenerClaim, ...]],
    listening: Mapping[tuple[str, int], Listener],
    observed: State,
) -> Mapping[str, frozenset[str]]:
    """Which of the hosts asked for each certificate answers for now, by its id."""
    found: dict[str, set[str]] = {}
    for where, group in groups.items():
        now = present(listening.get(where), observed.certificates)
        for host in {h for claim in group for h in claim.ingress.hosts}:
            for kind in KINDS:
                if answer := now.answer(host, kind):
                    found.setdefault(answer.id, set()).add(host)
    return {ref: frozenset(hosts) for ref, hosts in found.items()}


def _bound(
    seat: ListenerBinding | None, listener: Listener | None, there: Mapping[str, Certificate]
) -> ListenerCertificates:
    """Return the slots that a listener is to have; without a default certificate it keeps what it has."""
    return seat.seats if seat and seat.seats.default else present(listener, there)


def _keyed(observed: State, secrets: Mapping[Name, Certificate]) -> Mapping[str, Certificate]:
    """The observed certificates by id; those that follow a Secret carry their key instead of it."""
    keys = {c.id for c in secrets.values()}
    result = {}
    for ref, certificate in observed.certificates.items():
        key = certificates.key_of(names.described(certificate.description).get("secret_id", ""))
        result[ref] = msgspec.structs.replace(certificate, id=key) if key in keys else certificate
    return result


def _wanted(
    there: Mapping[str, Certificate], secrets: Mapping[Name, Certificate]
) -> Mapping[str, Certificate]:
    """Certificates by observed id, with the content that those that follow a Secret are to have."""
    wanted = {c.id: c for c in secrets.values()}
    return {ref: wanted.get(c.id, c) for ref, c in there.items()}


def _certificates(
    secrets: Mapping[Name, Certificate], bindings: Iterable[ListenerBinding], there: Mapping[str, Certificate]
) -> Mapping[str, Certificate]:
    """Certificates to have: those of Secrets, less the names that they lose, and those held."""
    domains = {c.id: c.domain for c in there.values()}
    lost: dict[str, frozenset[str]] = {}
    frozen: set[str] = set()
    held: dict[str, Certificate] = {}
    for it in bindings:
        frozen |= it.pinned & domains.keys()
        for ref, gone in it.released_names.items():
            lost[ref] = lost.get(ref, frozenset()) | gone
        for certificate in (it.seats.default, *it.seats.sni):
            if certificate:
                held[certificate.id] = certificate
    result = dict(held)
    for certificate in secrets.values():
        ref = certificate.id
        names_left = tuple(n for n in certificate.domain if n not in lost.get(ref, ()))
        # an unbound one keeps its domain: it may still sit on the listener when that is written
        fixed = ref in domains and (ref in frozen or ref not in held)
        result[ref] = msgspec.structs.replace(certificate, domain=domains[ref] if fixed else names_left)
    return {key: result[key] for key in sorted(result)}


def _balancers(asked: claims.Claims, observed: State) -> Mapping[str, LoadBalancer]:
    used = {balancer for balancer, _ in asked.groups}
    return {
        **asked.loadbalancers,
        **{b: observed.loadbalancers[b] for b in used if b in observed.loadbalancers},
    }


def _status(
    groups: Mapping[tuple[str, int], tuple[ListenerClaim, ...]],
    seats: Mapping[tuple[str, int], ListenerBinding],
) -> Mapping[Name, IngressStatus]:
    masters = claims.governing_ingresses(groups.values())
    result: dict[Name, IngressStatus] = {}
    for (balancer, port), group in groups.items():
        seat = seats.get((balancer, port))
        for claim in group:
            name = claim.ingress.meta.key
            before = result.get(name)
            served = _served(claim, seat) if seat else ()
            result[name] = IngressStatus(
                ref=claim.ingress.ref,
                loadbalancer=balancer,
                ports=(*(before.ports if before else ()), (port, claim.protocol)),
                master=masters[name],
                served=(*(before.served if before else ()), *served),
            )
    return result


def _served(claim: ListenerClaim, seat: ListenerBinding) -> tuple[Served, ...]:
    hosts = sorted({*claim.ingress.hosts, *(h for t in claim.ingress.tls for h in t.hosts)}) or [""]
    found = []
    for host in hosts:
        answers = {kind: c for kind in KINDS if (c := seat.seats.answer(host, kind))}
        both = len({c.id for c in answers.values()}) > 1
        for kind, certificate in answers.items() if both else [("", answers.get(KINDS[0]))]:
            if certificate and certificate.chain:
                found.append(
                    Served(
                        loadbalancer=claim.loadbalancer,
                        port=claim.port,
                        host=host,
                        certificate=certificate.id,
                        chain=certificate.chain,
                        kind=kind,
                    )
                )
    return tuple(found)
