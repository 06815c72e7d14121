"""Translate a view of the cluster to the desired state of the load balancers.

The result is rebuilt from scratch on every change: claims → certificates → slots → forwarding. One bad object loses
only itself, and no certificate is replaced by a worse one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime
from types import MappingProxyType

import msgspec

from certferry.core.memo import Memo
from certferry.core.model import naming as names
from certferry.core.model.elb import Certificate, Listener, LoadBalancer, State
from certferry.core.model.kubernetes import ClusterView, Ingress, Name, ObjectRef
from certferry.core.model.problems import Problem
from certferry.core.translate import listener as listeners
from certferry.core.translate import listener_claims as claims
from certferry.core.translate import secret_certificates as certificates
from certferry.core.translate.certificate_binding import ListenerBinding, uncovered_hosts
from certferry.core.translate.certificate_slots import KEY_KINDS, ListenerCertificates, current_slots
from certferry.core.translate.listener import ListenerContext, ListenerResult
from certferry.core.translate.listener_claims import ListenerClaim, TranslateOptions
from certferry.core.translate.pools import MemberSource
from certferry.core.translate.secret_certificates import SecretCertificate, SecretUse, SecretVerdict
from certferry.core.x509.pem import Chain


class ServedHost(msgspec.Struct, frozen=True, kw_only=True):
    """The certificate that a handshake for `host` on `port` of a load balancer must present."""

    loadbalancer: str
    port: int
    host: str
    """"" for clients that name no host."""
    certificate: str
    """Id or key."""
    chain: Chain
    kind: str = ""
    """RSA or EC if certificates of both kinds answer for the host; else "" (any client)."""

    @property
    def fingerprint(self) -> str:
        """Return the fingerprint of the leaf."""
        return self.chain.fingerprint


class IngressStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The status of one Ingress or Service: its load balancer, ports, listener owner and the certificates to serve."""

    ref: ObjectRef
    loadbalancer: str
    ports: tuple[tuple[int, str], ...]
    """(port on the load balancer, protocol)."""
    listener_owner: Name
    served: tuple[ServedHost, ...] = ()


class Translation(msgspec.Struct, frozen=True, kw_only=True):
    """The result of ``translate``."""

    desired: State
    material: Mapping[str, Name]
    """Chain digest → the Secret that holds the pair."""
    problems: tuple[Problem, ...]
    status: Mapping[Name, IngressStatus]
    secret_uses: Mapping[str, SecretUse]
    """Secret uid → its certificate and the hosts that depend on it."""
    retained: frozenset[tuple[str, int]] = frozenset()
    """(load balancer, port) of listeners that must stay although nothing can be desired of them now."""
    bindings: Mapping[tuple[str, int], ListenerBinding] = MappingProxyType({})
    """The certificates of each listener, by load balancer and port."""
    sources: Mapping[str, MemberSource] = MappingProxyType({})
    """The Service behind each pool, by the pool's key."""
    needs_nodes: bool = False
    """True if members are nodes, so that Nodes must be watched."""
    claims: Mapping[tuple[str, int], tuple[ListenerClaim, ...]] = MappingProxyType({})
    """The claims by load balancer and port, the listener owner first."""
    claimants: Mapping[Name, Ingress] = MappingProxyType({})
    """The Ingresses and Services that have a claim."""
    verdicts: Mapping[Name, tuple[SecretVerdict, ...]] = MappingProxyType({})
    """The verdicts on each Secret in use, most severe first."""
    compromised: frozenset[str] = frozenset()
    """Public keys that are marked as compromised, on the ELB or by the settings."""


def translate(
    view: ClusterView, observed: State, options: TranslateOptions, now: datetime, memo: Memo | None = None
) -> Translation:
    """Return the desired state for `view`. It never replaces a certificate in `observed` by a worse one.

    `memo` of the last translation: what does not depend on a change since then is not computed again.
    """
    memo = memo or Memo()
    memo.begin()
    options = options.within(observed)
    collected = _claims(view, observed, options, memo)
    existing = listeners.by_port(observed)
    uses, own = _secrets(view, observed, collected.groups, existing, options, now)
    context = _context(view, observed, options, now, collected, own)
    results = {
        at: listeners.build_listener(group, existing.get(at), context, memo) for at, group in collected.groups.items()
    }
    bindings = {at: result.binding for at, result in results.items() if result.binding}
    bound = {at: _bound(bindings.get(at), existing.get(at), context.certificates) for at in collected.groups}
    verdicts = _verdicts(uses, own, bindings.values())
    pools = {key: pool for result in results.values() for key, pool in result.pools.items()}
    problems = {
        *collected.problems,
        *_listener_problems(collected.groups, results, bound),
        *_secret_problems(context, uses, verdicts, bound),
    }
    return Translation(
        desired=_desired(collected, context, results.values()),
        material={c.chain.digest: n for n, c in context.secrets.items() if c.chain and c.id.startswith("@")},
        problems=tuple(sorted(problems)),
        status=_status(collected.groups, bindings),
        secret_uses={view.secrets[n].meta.uid: use for n, use in uses.items() if n in view.secrets},
        retained=frozenset(at for at, result in results.items() if result.retained),
        bindings=bindings,
        sources={key: p.source for key, p in pools.items()},
        needs_nodes=any(p.by_node for p in pools.values()),
        claims=collected.groups,
        claimants={c.ingress.meta.key: c.ingress for group in collected.groups.values() for c in group},
        verdicts=verdicts,
        compromised=options.compromised,
    )


def _claims(view: ClusterView, observed: State, options: TranslateOptions, memo: Memo) -> claims.Claims:
    balanced = {n: s for n, s in view.services.items() if s.type == "LoadBalancer"}
    alone = ClusterView(cluster_id=view.cluster_id, ingresses=view.ingresses, services=balanced, classes=view.classes)
    return memo.call("", claims.collect_claims, alone, State(loadbalancers=observed.loadbalancers), options)


def _context(
    view: ClusterView,
    observed: State,
    options: TranslateOptions,
    now: datetime,
    collected: claims.Claims,
    own: Mapping[Name, SecretCertificate],
) -> ListenerContext:
    secrets = {name: s.certificate for name, s in own.items() if s.certificate}
    on_elb = _keyed(observed, secrets)
    to_be = _with_desired_content(on_elb, secrets)
    return ListenerContext(
        view=view,
        observed=observed,
        options=options,
        now=now,
        groups=collected.groups,
        host_owners=collected.host_owners,
        secrets=secrets,
        certificates=on_elb,
        desired_certificates=to_be,
        staying_certificates={ref: msgspec.structs.replace(c, domain=on_elb[ref].domain) for ref, c in to_be.items()},
    )


def _desired(collected: claims.Claims, context: ListenerContext, results: Collection[ListenerResult]) -> State:
    return State(
        loadbalancers=_balancers(collected, context.observed),
        listeners={r.listener.id: r.listener for r in results if r.listener},
        certificates=_certificates(context, [r.binding for r in results if r.binding]),
        pools={key: p.pool for r in results for key, p in r.pools.items()},
        policies={key: policy for r in results for key, policy in r.policies.items()},
    )


def _verdicts(
    uses: Mapping[Name, SecretUse], own: Mapping[Name, SecretCertificate], bindings: Iterable[ListenerBinding]
) -> Mapping[Name, tuple[SecretVerdict, ...]]:
    held_back = [h for binding in bindings for h in binding.held_back]
    return {name: certificates.verdicts(use, own[name], held_back) for name, use in uses.items()}


def _listener_problems(
    groups: listeners.Groups,
    results: Mapping[tuple[str, int], ListenerResult],
    bound: Mapping[tuple[str, int], ListenerCertificates],
) -> Iterator[Problem]:
    for at, group in groups.items():
        yield from results[at].problems
        yield from uncovered_hosts(group, bound[at])


def _secret_problems(
    context: ListenerContext,
    uses: Mapping[Name, SecretUse],
    verdicts: Mapping[Name, tuple[SecretVerdict, ...]],
    bound: Mapping[tuple[str, int], ListenerCertificates],
) -> Iterator[Problem]:
    for name, use in uses.items():
        secret = context.view.secrets.get(name)
        yield from certificates.problems(use, secret, context.secrets.get(name), verdicts[name], bound)


def _secrets(
    view: ClusterView,
    observed: State,
    groups: listeners.Groups,
    existing: Mapping[tuple[str, int], Listener],
    options: TranslateOptions,
    now: datetime,
) -> tuple[Mapping[Name, SecretUse], Mapping[Name, SecretCertificate]]:
    """Return each Secret in use, and the certificate that it is to have."""
    uids = {secret.meta.uid for secret in view.secrets.values()}
    own = certificates.own_certificates(observed, view.cluster_id, uids)
    every = [claim for group in groups.values() for claim in group]
    uses = certificates.secret_uses(view, every, own, _serving(groups, existing, observed))
    return uses, {n: certificates.secret_certificate(view, own, use, options, now) for n, use in uses.items()}


def _serving(
    groups: Mapping[tuple[str, int], tuple[ListenerClaim, ...]],
    existing: Mapping[tuple[str, int], Listener],
    observed: State,
) -> Mapping[str, frozenset[str]]:
    """Return the claimed hosts that each observed certificate answers for now, by its id."""
    hosts_by_id: dict[str, set[str]] = {}
    for where, group in groups.items():
        now = current_slots(existing.get(where), observed.certificates)
        for host in {h for claim in group for h in claim.ingress.hosts}:
            for kind in KEY_KINDS:
                if answer := now.answer(host, kind):
                    hosts_by_id.setdefault(answer.id, set()).add(host)
    return {ref: frozenset(hosts) for ref, hosts in hosts_by_id.items()}


def _bound(
    binding: ListenerBinding | None, listener: Listener | None, on_elb: Mapping[str, Certificate]
) -> ListenerCertificates:
    """Return the slots that a listener is to have; without a default certificate it keeps what it has."""
    return binding.slots if binding and binding.slots.default else current_slots(listener, on_elb)


def _keyed(observed: State, secrets: Mapping[Name, Certificate]) -> Mapping[str, Certificate]:
    """Return the observed certificates by id; in place of its id a managed one has its key."""
    keys = {c.id for c in secrets.values()}
    result = {}
    for ref, certificate in observed.certificates.items():
        key = certificates.key_of(names.described(certificate.description).get("secret_id", ""))
        result[ref] = msgspec.structs.replace(certificate, id=key) if key in keys else certificate
    return result


def _with_desired_content(
    on_elb: Mapping[str, Certificate], secrets: Mapping[Name, Certificate]
) -> Mapping[str, Certificate]:
    """Return certificates by observed id; managed ones with the content that they are to have."""
    desired = {c.id: c for c in secrets.values()}
    return {ref: desired.get(c.id, c) for ref, c in on_elb.items()}


def _certificates(context: ListenerContext, bindings: Iterable[ListenerBinding]) -> Mapping[str, Certificate]:
    """Return the desired certificates: those of Secrets without the names they release, and all that are bound."""
    domains = {c.id: c.domain for c in context.certificates.values()}
    released: dict[str, frozenset[str]] = {}
    pinned: set[str] = set()
    bound: dict[str, Certificate] = {}
    for binding in bindings:
        pinned |= binding.pinned & domains.keys()
        for ref, names_released in binding.released_names.items():
            released[ref] = released.get(ref, frozenset()) | names_released
        bound |= {c.id: c for c in (binding.slots.default, *binding.slots.sni) if c}
    result = dict(bound)
    for certificate in context.secrets.values():
        ref = certificate.id
        remaining = tuple(n for n in certificate.domain if n not in released.get(ref, ()))
        # An unbound certificate keeps its domain: it may still be on the listener when that is written.
        fixed = ref in domains and (ref in pinned or ref not in bound)
        result[ref] = msgspec.structs.replace(certificate, domain=domains[ref] if fixed else remaining)
    return {key: result[key] for key in sorted(result)}


def _balancers(collected: claims.Claims, observed: State) -> Mapping[str, LoadBalancer]:
    used = {balancer for balancer, _ in collected.groups}
    return {**collected.loadbalancers, **{b: observed.loadbalancers[b] for b in used if b in observed.loadbalancers}}


def _status(
    groups: Mapping[tuple[str, int], tuple[ListenerClaim, ...]], bindings: Mapping[tuple[str, int], ListenerBinding]
) -> Mapping[Name, IngressStatus]:
    owners = claims.listener_owners(groups.values())
    result: dict[Name, IngressStatus] = {}
    for (balancer, port), group in groups.items():
        binding = bindings.get((balancer, port))
        for claim in group:
            name = claim.ingress.meta.key
            before = result.get(name)
            served = _served(claim, binding) if binding else ()
            result[name] = IngressStatus(
                ref=claim.ingress.ref,
                loadbalancer=balancer,
                ports=(*(before.ports if before else ()), (claim.port, claim.protocol)),
                listener_owner=owners[name],
                served=(*(before.served if before else ()), *served),
            )
    return result


def _served(claim: ListenerClaim, binding: ListenerBinding) -> tuple[ServedHost, ...]:
    hosts = sorted({*claim.ingress.hosts, *(h for t in claim.ingress.tls for h in t.hosts)}) or [""]
    result = []
    for host in hosts:
        answers = {kind: c for kind in KEY_KINDS if (c := binding.slots.answer(host, kind))}
        both = len({c.id for c in answers.values()}) > 1
        for kind, certificate in answers.items() if both else [("", answers.get(KEY_KINDS[0]))]:
            if certificate and certificate.chain:
                result.append(
                    ServedHost(
                        loadbalancer=claim.loadbalancer,
                        port=claim.port,
                        host=host,
                        certificate=certificate.id,
                        chain=certificate.chain,
                        kind=kind,
                    )
                )
    return tuple(result)
