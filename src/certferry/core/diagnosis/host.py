"""From a hostname to the cause: what is served, who decides, where it comes from, and what to type.

`certferry why` gives it a look at a cluster and what a handshake showed; it tells the story in the
order in which a person asks.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from certferry.core.diagnosis import causes
from certferry.core.diagnosis.inventory import watched
from certferry.core.model.elb import LoadBalancer, State, bind_port
from certferry.core.model.kubernetes import ClusterView, Name
from certferry.core.translate import listener_claims as claims
from certferry.core.translate.certificate_slots import present
from certferry.core.translate.listener_claims import ListenerClaim, TranslateOptions
from certferry.core.translate.translate import translate
from certferry.core.x509 import expiry
from certferry.core.x509.expiry import Limits
from certferry.core.x509.pem import Chain, covers
from certferry.core.x509.presented import chain_difference


class HostListener(msgspec.Struct, frozen=True, kw_only=True):
    """A place of a cluster where a host is asked for over HTTPS."""

    loadbalancer: LoadBalancer
    port: int
    """As asked for; where it is bound: ``bound``."""
    host: str

    @property
    def bound(self) -> int:
        """Where it is really reached."""
        return bind_port(self.loadbalancer, self.port)


class HandshakeResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a handshake showed there, or why it showed nothing."""

    chain: Chain | None = None
    trouble: str = ""
    reached: bool = True


class HostDiagnosis(msgspec.Struct, frozen=True, kw_only=True):
    """The answer, in the order in which it is told."""

    host: str
    cluster: str
    well: bool
    """Whether the right certificate is served, and nothing is wrong with it."""
    served: str
    expected: str
    loadbalancer: str
    listener: str
    governing: str
    source: str
    last_rotation: str
    problems: tuple[str, ...]
    why: str
    """Why it is not newer, or not what it should be."""
    next: str


def listeners_for_host(
    view: ClusterView, observed: State, options: TranslateOptions, host: str, port: int | None
) -> list[HostListener]:
    """Where `host` is asked for; `port` as asked for or as bound, None for any."""
    found = []
    for (ref, number), group in claims.collect_claims(view, observed, options).groups.items():
        balancer = observed.loadbalancers.get(ref)
        if balancer is None or group[0].protocol != "HTTPS" or not _asks(group, host):
            continue
        if port in (None, number, bind_port(balancer, number)):
            found.append(HostListener(loadbalancer=balancer, port=number, host=host))
    return found


def diagnose(
    view: ClusterView,
    observed: State,
    options: TranslateOptions,
    door: HostListener,
    sight: HandshakeResult,
    rotation: str,
    data_plane: tuple[str, ...],
    now: datetime,
    limits: Limits,
) -> HostDiagnosis:
    """All there is to say of one door. `rotation`: the last one; `data_plane`: what it refused."""
    group = claims.collect_claims(view, observed, options).groups[door.loadbalancer.id, door.port]
    mine = next((c for c in group if _asks((c,), door.host)), group[0])
    listener = next(
        (
            it
            for it in observed.listeners.values()
            if (it.loadbalancer_id, it.protocol_port) == (door.loadbalancer.id, door.port)
        ),
        None,
    )
    bound = present(listener, observed.certificates).answer(door.host)
    problems = _problems(view, observed, options, mine, group[0].ingress.meta.key, now)
    refusals = {
        Name(p.object.namespace, p.object.name): p.sentence.removeprefix("Rejected the new certificate: ")
        for p in translate(view, observed, options, now).problems
        if p.object.kind == "Secret"
    }
    it = next((w for w in watched(view, observed, options, refusals) if bound and w.id == bound.id), None)
    cause = causes.cause(it.origin) if it and it.origin else None
    source = causes.source(it.origin) if it and it.origin else "nothing: the listener has no certificate"
    want = bound.chain if bound else None
    verdict, command = _verdict(door, sight, want, data_plane)
    state = expiry.state(want.not_before, want.not_after, now, limits) if want else "expired"
    well = not verdict and not problems and state == "good"
    return HostDiagnosis(
        host=door.host,
        cluster=options.cluster_name,
        well=well,
        served=_described(sight.chain, now) if sight.chain else sight.trouble,
        expected=_described(want, now) if want else "nothing",
        loadbalancer=f"{door.loadbalancer.name or door.loadbalancer.id} ({door.loadbalancer.vip_address}:{door.bound})",
        listener=f"{listener.name or listener.id} (port {door.port})" if listener else "there is none",
        governing=_governing(group[0].ingress.meta.key, mine.ingress.meta.key),
        source=source,
        last_rotation=rotation or "none was seen",
        problems=problems,
        why=verdict or (cause.why if cause and (problems or state != "good") else "nothing is wrong"),
        next=command if verdict else cause.command if cause and (problems or state != "good") else "nothing",
    )


def _verdict(
    door: HostListener, sight: HandshakeResult, want: Chain | None, data_plane: tuple[str, ...]
) -> tuple[str, str]:
    """What is wrong with what clients see, and what to type; empty when it is as it should be."""
    where = f"{door.loadbalancer.vip_address}:{door.bound}"
    refused = f": the data plane refused it ({'; '.join(data_plane)})" if data_plane else ""
    if sight.chain is None:
        if not sight.reached:
            text = (
                f"{where} cannot be reached from here: {sight.trouble}; that says nothing of the certificate"
            )
            return text, f"certferry cert check {where}"
        return f"the handshake fails{refused or ': ' + sight.trouble}", f"certferry cert show {door.host}"
    if want and sight.chain.fingerprint != want.fingerprint:
        text = f"another certificate is served than the load balancer has for this host{refused}"
        return text, f"certferry audit --host {door.host} --since 1d"
    if want and (difference := chain_difference(sight.chain, want)):
        text = f"the right certificate is served, but {difference}{refused}"
        return text, f"certferry cert show {door.host}"
    if data_plane:
        return refused.removeprefix(": "), f"certferry cert show {door.host}"
    return "", ""


def _problems(
    view: ClusterView,
    observed: State,
    options: TranslateOptions,
    mine: ListenerClaim,
    governing: Name,
    now: datetime,
) -> tuple[str, ...]:
    """What the controller would say of the Ingress, of the governing one, and of their Secrets."""
    secrets = {Name(mine.ingress.meta.namespace, entry.secret) for entry in mine.ingress.tls}
    about = {("Ingress", mine.ingress.meta.key), ("Ingress", governing), *(("Secret", s) for s in secrets)}
    found = translate(view, observed, options, now).problems
    told = [p for p in found if (p.object.kind, Name(p.object.namespace, p.object.name)) in about]
    unique = {f"{p.reason}: {p.sentence}" for p in told if p.object.kind == "Secret"}
    unique |= {
        f"{p.reason}: {p.sentence}"
        for p in told
        if p.object.kind == "Ingress"
        and not any(p.reason == q.reason and q.object.kind == "Secret" for q in told)
    }
    return tuple(sorted(unique))


def _asks(group: tuple[ListenerClaim, ...], host: str) -> bool:
    return any(
        covers(tuple(claim.ingress.hosts), host) or any(covers(e.hosts, host) for e in claim.ingress.tls)
        for claim in group
    )


def _governing(master: Name, mine: Name) -> str:
    if master == mine:
        return f"Ingress {master}"
    return f"Ingress {master}, the oldest on this listener; the host is of Ingress {mine}"


def _described(chain: Chain | None, now: datetime) -> str:
    if chain is None:
        return "nothing that can be read"
    gone = "expired" if chain.not_after <= now else "until"
    return f"{chain.fingerprint[:16]} for {', '.join(chain.names[:3])}, {gone} {chain.not_after:%Y-%m-%d %H:%M} UTC"
