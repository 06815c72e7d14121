"""One port of a load balancer: its listener, who is shown which certificate, and where requests go.

``translate`` calls it for each port that Ingresses ask for. It puts ``binding``, ``forwarding`` and
``listening`` together; a port that cannot be had loses only itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Final

import msgspec

from certferry.core.model import naming as names
from certferry.core.model.elb import Certificate, Listener, Policy, State
from certferry.core.model.kubernetes import ClusterView, Name
from certferry.core.model.problems import Problem
from certferry.core.translate import certificate_binding as binding
from certferry.core.translate import forwarding
from certferry.core.translate import listener_options as listening
from certferry.core.translate.certificate_binding import ListenerBinding
from certferry.core.translate.certificate_slots import present
from certferry.core.translate.listener_claims import ListenerClaim, TranslateOptions
from certferry.core.translate.pools import BuiltPool

SHARED_SNI: Final = 30
"""SNI certificates that a listener of a shared load balancer has at most."""

Groups = Mapping[tuple[str, int], tuple[ListenerClaim, ...]]


class ListenerContext(msgspec.Struct, frozen=True, kw_only=True):
    """All that a port is decided by, beside its claims."""

    view: ClusterView
    observed: State
    options: TranslateOptions
    now: datetime
    groups: Groups
    secrets: Mapping[Name, Certificate]
    """The certificates that follow Secrets."""
    there: Mapping[str, Certificate]
    """The certificates on the ELB by id, those that follow a Secret with their key."""
    wanted: Mapping[str, Certificate]
    """The same with the content that they are to have."""


class ListenerResult(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of a port."""

    listener: Listener | None = None
    """None: none is made, and one that is there stays or goes as `held` says."""
    held: bool = False
    """Whether what is there must stay, though nothing can be asked of it now."""
    seat: ListenerBinding | None = None
    made: Mapping[str, BuiltPool] = MappingProxyType({})
    policies: Mapping[str, Policy] = MappingProxyType({})
    problems: tuple[Problem, ...] = ()


def listener_key(loadbalancer: str, port: int) -> str:
    """The key of a listener in the desired world."""
    return f"@listener/{loadbalancer}/{port}"


def by_port(observed: State) -> Mapping[tuple[str, int], Listener]:
    """The observed listeners by load balancer and port."""
    listeners = sorted(observed.listeners.values(), key=lambda it: it.id, reverse=True)
    return {(it.loadbalancer_id, it.protocol_port): it for it in listeners if it.protocol != "UDP"}


def build_listener(
    group: Sequence[ListenerClaim], have: Listener | None, world: ListenerContext
) -> ListenerResult:
    """The port of `group`, where the ELB has the listener `have`."""
    if conflict := _conflict(group, have, world.view.cluster_id):
        return ListenerResult(held=True, problems=tuple(conflict))
    shared = _shared(group[0].loadbalancer, world.observed)
    access, problems, opened = listening.access(group, have, world.observed)
    problems += listening.shared_problems(group) if shared else ()
    if not opened:
        return ListenerResult(problems=problems)
    seat = None
    if group[0].protocol == "HTTPS":
        seat, more = _seat(group, have, world, shared=shared)
        problems += more
        if seat.seats.default is None:
            problems += (_no_certificate(group, have),)
            if have is None:
                return ListenerResult(held=True, seat=seat, problems=problems)
    setting = listening.Setting(access=access, shared=shared)
    routed = _routed(group, have, world, seat, setting)
    held = seat is not None and seat.seats.default is None
    return msgspec.structs.replace(routed, held=held, seat=seat, problems=problems + routed.problems)


def _routed(
    group: Sequence[ListenerClaim],
    have: Listener | None,
    world: ListenerContext,
    seat: ListenerBinding | None,
    setting: listening.Setting,
) -> ListenerResult:
    key, cluster_id = listener_key(group[0].loadbalancer, group[0].port), world.view.cluster_id
    target = _redirect_target(group, world.groups)
    if target:
        setting = msgspec.structs.replace(setting, advanced=bool(have and have.enhance_l7policy_enable))
        return ListenerResult(
            listener=listening.listener(group, key, seat, None, cluster_id, setting),
            policies=forwarding.redirect(group, key, target, cluster_id),
        )
    routed = forwarding.forward(group, key, world.view, world.options, have, world.observed)
    setting = msgspec.structs.replace(setting, advanced=routed.advanced)
    return ListenerResult(
        listener=listening.listener(group, key, seat, routed.default_pool, cluster_id, setting),
        made=routed.made,
        policies=routed.policies,
        problems=routed.problems,
    )


def _seat(
    group: Sequence[ListenerClaim], have: Listener | None, world: ListenerContext, *, shared: bool
) -> tuple[ListenerBinding, tuple[Problem, ...]]:
    limits = world.options
    if shared:
        limits = msgspec.structs.replace(limits, max_sni=min(limits.max_sni, SHARED_SNI))
    brought, missing = binding.candidates(group, world.secrets, world.wanted)
    seat = binding.bind(group, brought, present(have, world.there), limits, world.now)
    return seat, (*missing, *seat.problems)


def _shared(balancer: str, observed: State) -> bool:
    return balancer in observed.loadbalancers and not observed.loadbalancers[balancer].guaranteed


def _conflict(group: Sequence[ListenerClaim], have: Listener | None, cluster_id: str) -> list[Problem]:
    if have is None:
        return []
    if not names.is_of(cluster_id, have.description):
        text = f"Port {have.protocol_port} of the load balancer has a listener ({have.name or have.id}) that this cluster did not make; it is left alone. Choose another port (annotation elb.port) or delete that listener."
    elif have.protocol != group[0].protocol:
        text = f"Port {have.protocol_port} is {have.protocol} on the load balancer and cannot become {group[0].protocol}; the listener stays as it is. Choose another port (annotation elb.port)."
    else:
        return []
    return [claim.problem("ListenerConflict", text) for claim in group]


def _no_certificate(group: Sequence[ListenerClaim], have: Listener | None) -> Problem:
    rest = "What it has stays." if have else "It is opened as soon as there is one."
    return group[0].problem(
        "NoCertificate", f"HTTPS port {group[0].port} has no certificate that can be served. {rest}"
    )


def _redirect_target(
    group: Sequence[ListenerClaim], groups: Mapping[tuple[str, int], tuple[ListenerClaim, ...]]
) -> str | None:
    master = group[0]
    if master.protocol != "HTTP" or not master.values.ssl_redirect:
        return None
    https = [port for protocol, port in master.values.listen_ports or () if protocol == "HTTPS"]
    found = [port for port in https if (master.loadbalancer, port) in groups]
    return listener_key(master.loadbalancer, found[0]) if found else None
