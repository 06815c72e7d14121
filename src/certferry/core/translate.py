"""What a cluster asks for, in the load balancer's words.

``translate`` is rebuilt from scratch on every change: claims → certificates → seats → forwarding.
It is called by the controller's loop and by ``certferry plan``; ``plan`` turns its result into
steps. It knows neither how objects are read nor how steps are carried out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Final

import msgspec

from certferry.core import binding, certificates, claims, forwarding, listening, names
from certferry.core.binding import Binding
from certferry.core.certificates import Follow
from certferry.core.claims import Claim, Options
from certferry.core.model import Certificate, Listener, LoadBalancer, Policy, State
from certferry.core.objects import ClusterView, Name, ObjectRef
from certferry.core.pools import Made, Source
from certferry.core.problems import Problem
from certferry.core.seats import KINDS, present

SHARED_SNI: Final = 30
"""SNI certificates that a listener of a shared load balancer has at most."""


class Served(msgspec.Struct, frozen=True, kw_only=True):
    """What a handshake for `host` on `port` of a load balancer is to show."""

    loadbalancer: str
    port: int
    host: str
    """"" for clients that name no host."""
    certificate: str
    """Id or key."""
    fingerprint: str
    kind: str = ""
    """RSA or EC, where certificates of both kinds answer for the host; else "" for any client."""


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
    follows: Mapping[str, Follow]
    """Secret uid → who depends on it: the fast path's table."""
    held: frozenset[tuple[str, int]] = frozenset()
    """(load balancer, port) of listeners that must stay though nothing can be asked of them now."""
    seats: Mapping[tuple[str, int], Binding] = MappingProxyType({})
    """Which certificate sits where, by load balancer and port."""
    sources: Mapping[str, Source] = MappingProxyType({})
    """Where the members of each pool come from, by its key: the path of endpoints."""
    needs_nodes: bool = False
    """Whether members are nodes: then Nodes have to be watched."""


def translate(view: ClusterView, observed: State, options: Options, now: datetime) -> Translation:
    """The desired state for `view`, given what is there; never worse than what is served."""
    asked = claims.gather(view, observed, options)
    existing = certificates.ours(observed, view.cluster_id)
    there_now = _by_port(observed)
    everyone = [claim for group in asked.groups.values() for claim in group]
    follows = certificates.follows(view, everyone, existing, _serving(asked.groups, there_now, observed))
    followed = {name: certificates.follow(view, existing, it, options, now) for name, it in follows.items()}
    secrets = {name: f.certificate for name, f in followed.items() if f.certificate}
    there = _keyed(observed, secrets)
    world = _wanted(there, secrets)
    problems = [*asked.problems, *(p for f in followed.values() for p in f.problems)]
    listeners: dict[str, Listener] = {}
    made: dict[str, Made] = {}
    policies: dict[str, Policy] = {}
    seats: dict[tuple[str, int], Binding] = {}
    held: set[tuple[str, int]] = set()
    for (balancer, port), group in asked.groups.items():
        have = there_now.get((balancer, port))
        shared = balancer in observed.loadbalancers and not observed.loadbalancers[balancer].guaranteed
        limits = (
            msgspec.structs.replace(options, max_sni=min(options.max_sni, SHARED_SNI)) if shared else options
        )
        if conflict := _conflict(group, have, view.cluster_id):
            problems += conflict
            held.add((balancer, port))
            continue
        access, unclear, opened = listening.access(group, have, observed)
        problems += [*unclear, *(listening.shared_problems(group) if shared else ())]
        if not opened:
            continue
        if group[0].protocol == "HTTPS":
            brought, missing = binding.offers(group, secrets, world)
            seats[balancer, port] = seat = binding.bind(group, brought, present(have, there), limits, now)
            problems += [*missing, *seat.problems]
            if seat.seats.default is None:
                problems.append(_no_certificate(group, have))
                held.add((balancer, port))
                if have is None:
                    continue
        key = listener_key(balancer, port)
        target = _redirect_target(group, asked.groups)
        if target:
            policies |= forwarding.redirect(group, key, target, view.cluster_id)
            default_pool, advanced = None, bool(have and have.enhance_l7policy_enable)
        else:
            routed = forwarding.forward(group, key, view, options, have, observed)
            made |= routed.made
            advanced = routed.advanced
            policies |= routed.policies
            problems += routed.problems
            default_pool = routed.default_pool
        listeners[key] = listening.listener(
            group,
            key,
            seats.get((balancer, port)),
            default_pool,
            view.cluster_id,
            listening.Setting(advanced=advanced, access=access, shared=shared),
        )
    kept = _certificates(secrets, seats.values(), there)
    return Translation(
        desired=State(
            loadbalancers=_balancers(asked, observed),
            listeners=listeners,
            certificates=kept,
            pools={key: m.pool for key, m in made.items()},
            policies=policies,
        ),
        material={c.chain.digest: n for n, c in secrets.items() if c.chain and c.id.startswith("@")},
        problems=tuple(sorted(set(problems))),
        status=_status(asked.groups, seats),
        follows={s.meta.uid: it for n, it in follows.items() if (s := view.secrets.get(n))},
        held=frozenset(held),
        seats=seats,
        sources={key: m.source for key, m in made.items()},
        needs_nodes=any(m.by_node for m in made.values()),
    )


def listener_key(loadbalancer: str, port: int) -> str:
    """The key of a listener in the desired world."""
    return f"@listener/{loadbalancer}/{port}"


def _serving(
    groups: Mapping[tuple[str, int], tuple[Claim, ...]],
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


def _by_port(observed: State) -> Mapping[tuple[str, int], Listener]:
    listeners = sorted(observed.listeners.values(), key=lambda it: it.id, reverse=True)
    return {(it.loadbalancer_id, it.protocol_port): it for it in listeners if it.protocol != "UDP"}


def _conflict(group: Sequence[Claim], have: Listener | None, cluster_id: str) -> list[Problem]:
    if have is None:
        return []
    if not names.is_of(cluster_id, have.description):
        text = f"Port {have.protocol_port} of the load balancer has a listener ({have.name or have.id}) that this cluster did not make; it is left alone. Choose another port (annotation elb.port) or delete that listener."
    elif have.protocol != group[0].protocol:
        text = f"Port {have.protocol_port} is {have.protocol} on the load balancer and cannot become {group[0].protocol}; the listener stays as it is. Choose another port (annotation elb.port)."
    else:
        return []
    return [claim.problem("ListenerConflict", text) for claim in group]


def _no_certificate(group: Sequence[Claim], have: Listener | None) -> Problem:
    rest = "What it has stays." if have else "It is opened as soon as there is one."
    return group[0].problem(
        "NoCertificate", f"HTTPS port {group[0].port} has no certificate that can be served. {rest}"
    )


def _redirect_target(
    group: Sequence[Claim], groups: Mapping[tuple[str, int], tuple[Claim, ...]]
) -> str | None:
    master = group[0]
    if master.protocol != "HTTP" or not master.values.ssl_redirect:
        return None
    https = [port for protocol, port in master.values.listen_ports or () if protocol == "HTTPS"]
    found = [port for port in https if (master.loadbalancer, port) in groups]
    return listener_key(master.loadbalancer, found[0]) if found else None


def _certificates(
    secrets: Mapping[Name, Certificate], bindings: Iterable[Binding], there: Mapping[str, Certificate]
) -> Mapping[str, Certificate]:
    """Certificates to have: those of Secrets, less the names that they lose, and those held."""
    domains = {c.id: c.domain for c in there.values()}
    lost: dict[str, frozenset[str]] = {}
    frozen: set[str] = set()
    held: dict[str, Certificate] = {}
    for it in bindings:
        frozen |= it.frozen & domains.keys()
        for ref, gone in it.lost.items():
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
    groups: Mapping[tuple[str, int], tuple[Claim, ...]], seats: Mapping[tuple[str, int], Binding]
) -> Mapping[Name, IngressStatus]:
    masters = claims.masters(groups.values())
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


def _served(claim: Claim, seat: Binding) -> tuple[Served, ...]:
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
                        fingerprint=certificate.chain.fingerprint,
                        kind=kind,
                    )
                )
    return tuple(found)
