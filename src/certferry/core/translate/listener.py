"""Build one listener from its claims: certificates, options, pools and policies.

A listener that cannot be built loses only itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Final

import msgspec

from certferry.core.memo import Memo
from certferry.core.model import naming as names
from certferry.core.model.elb import ENCRYPTED, Certificate, Listener, Policy, State
from certferry.core.model.kubernetes import ClusterView, Name
from certferry.core.model.problems import Problem
from certferry.core.translate import certificate_binding, forwarding, listener_options
from certferry.core.translate.certificate_binding import ListenerBinding
from certferry.core.translate.certificate_slots import current_slots
from certferry.core.translate.listener_claims import ListenerClaim, TranslateOptions
from certferry.core.translate.namespace_policy import HostOwners
from certferry.core.translate.pools import BuiltPool

SHARED_SNI: Final = 30
"""The maximum of SNI certificates on a listener of a shared load balancer."""

Groups = Mapping[tuple[str, int], tuple[ListenerClaim, ...]]


class ListenerContext(msgspec.Struct, frozen=True, kw_only=True):
    """The inputs of ``build_listener`` that all listeners share."""

    view: ClusterView
    observed: State
    options: TranslateOptions
    now: datetime
    groups: Groups
    host_owners: HostOwners
    secrets: Mapping[Name, Certificate]
    """The managed certificate of each Secret."""
    certificates: Mapping[str, Certificate]
    """The certificates on the ELB by id; managed ones carry their key."""
    desired_certificates: Mapping[str, Certificate]
    """The same certificates; managed ones with the content and domain that they are to have."""
    staying_certificates: Mapping[str, Certificate]
    """The same certificates; managed ones with the content that they are to have, and the domain that they have."""


class ListenerResult(msgspec.Struct, frozen=True, kw_only=True):
    """The listener of one port with its pools and policies, or the reason why there is none."""

    listener: Listener | None = None
    """None: none is created; `retained` decides whether an existing one stays."""
    retained: bool = False
    """True if an existing listener must stay although nothing can be desired of it now."""
    binding: ListenerBinding | None = None
    pools: Mapping[str, BuiltPool] = MappingProxyType({})
    policies: Mapping[str, Policy] = MappingProxyType({})
    problems: tuple[Problem, ...] = ()


def listener_key(loadbalancer: str, port: int) -> str:
    """Return the key of a listener in the desired state."""
    return f"@listener/{loadbalancer}/{port}"


def by_port(observed: State) -> Mapping[tuple[str, int], Listener]:
    """Return the observed listeners by place; of two the one with the smaller id."""
    listeners = sorted(observed.listeners.values(), key=lambda listener: listener.id, reverse=True)
    return {x.place: x for x in listeners}


def build_listener(
    group: Sequence[ListenerClaim], have: Listener | None, context: ListenerContext, memo: Memo
) -> ListenerResult:
    """Build the listener that the claims of `group` want; `have` is the observed one."""
    if conflict := _conflict(group, have, context.view.cluster_id):
        return ListenerResult(retained=True, problems=tuple(conflict))
    shared = _shared(group[0].loadbalancer, context.observed)
    access, problems, opened = listener_options.access(group, have, context.observed)
    authority, more = listener_options.client_ca(group, have, context.observed)
    problems, opened = problems + more, opened and not (more and have is None)
    problems += listener_options.shared_problems(group) if shared else ()
    if not opened:
        return ListenerResult(problems=problems)
    binding = None
    if group[0].protocol in ENCRYPTED:
        binding, more = _bind(group, have, context, shared=shared)
        problems += more
        if binding.slots.default is None:
            problems += (_no_certificate(group, have),)
            if have is None:
                return ListenerResult(retained=True, binding=binding, problems=problems)
    setting = listener_options.Setting(
        access=access, authority=authority, shared=shared, defaults=context.options.listener_defaults(context.observed)
    )
    routed = _routed(group, have, context, binding, setting, memo)
    retained = binding is not None and binding.slots.default is None
    return msgspec.structs.replace(routed, retained=retained, binding=binding, problems=problems + routed.problems)


def _routed(
    group: Sequence[ListenerClaim],
    have: Listener | None,
    context: ListenerContext,
    binding: ListenerBinding | None,
    setting: listener_options.Setting,
    memo: Memo,
) -> ListenerResult:
    key, cluster_id = listener_key(*group[0].place), context.view.cluster_id
    # A shared load balancer has no redirects by rule.
    if group[0].https_port and (setting.shared or len({claim.https_port for claim in group}) == 1):
        setting = msgspec.structs.replace(setting, advanced=bool(have and have.enhance_l7policy_enable))
        return ListenerResult(
            listener=listener_options.listener(group, key, binding, None, cluster_id, setting),
            policies=forwarding.redirect(
                group, key, listener_key(group[0].loadbalancer, group[0].https_port), cluster_id
            ),
            problems=tuple(forwarding.overridden(group)),
        )
    view = context.view
    backends = ClusterView(cluster_id=cluster_id, services=view.services, slices=view.slices, nodes=view.nodes)
    policies = State(policies=context.observed.policies)
    routed = memo.call(key, forwarding.forward, group, key, backends, context.options, have, policies)
    setting = msgspec.structs.replace(setting, advanced=routed.advanced)
    return ListenerResult(
        listener=listener_options.listener(group, key, binding, routed.default_pool, cluster_id, setting),
        pools=routed.made,
        policies=routed.policies,
        problems=routed.problems,
    )


def _bind(
    group: Sequence[ListenerClaim], have: Listener | None, context: ListenerContext, *, shared: bool
) -> tuple[ListenerBinding, tuple[Problem, ...]]:
    policy = context.options.admission
    owners = context.host_owners.get(group[0].loadbalancer, policy.owners)
    limits = msgspec.structs.replace(context.options, admission=msgspec.structs.replace(policy, owners=owners))
    if shared:
        limits = msgspec.structs.replace(limits, max_sni=min(limits.max_sni, SHARED_SNI))
    bound = frozenset((have.default_tls_container_ref, *(have.sni_container_refs or ()))) if have else frozenset()
    offers, missing = certificate_binding.candidates(group, context.secrets, context.desired_certificates, bound)
    binding = certificate_binding.bind(
        group,
        offers,
        current_slots(have, context.certificates),
        current_slots(have, context.staying_certificates),
        limits,
        context.now,
        _offered_elsewhere(group, context) if limits.compromised else frozenset(),
    )
    return binding, (*missing, *binding.problems)


def _offered_elsewhere(group: Sequence[ListenerClaim], context: ListenerContext) -> frozenset[str]:
    """Return the compromised managed certificates that another listener is offered too."""
    own = {Name(claim.ingress.meta.namespace, entry.secret) for claim in group for entry in claim.ingress.tls}
    marked = {
        name: certificate.id
        for name in own
        if (certificate := context.secrets.get(name))
        and certificate.chain
        and certificate.chain.spki in context.options.compromised
    }
    others = (c for g in context.groups.values() if marked and g is not group for c in g if c.protocol in ENCRYPTED)
    names_elsewhere = {Name(c.ingress.meta.namespace, entry.secret) for c in others for entry in c.ingress.tls}
    return frozenset(ref for name, ref in marked.items() if name in names_elsewhere)


def _shared(balancer: str, observed: State) -> bool:
    return balancer in observed.loadbalancers and not observed.loadbalancers[balancer].guaranteed


def _conflict(group: Sequence[ListenerClaim], have: Listener | None, cluster_id: str) -> list[Problem]:
    if have is None:
        return []
    if not names.is_of(cluster_id, have.description):
        text = f"Port {have.protocol_port} of the load balancer has a listener ({have.name or have.id}) that this cluster did not make; it is not changed. Choose another port (annotation elb.port) or delete that listener."
    elif have.protocol != group[0].protocol:
        text = f"Port {have.protocol_port} is {have.protocol} on the load balancer and cannot become {group[0].protocol}; the listener stays as it is. Choose another port (annotation elb.port)."
    else:
        return []
    return [claim.problem("ListenerConflict", text) for claim in group]


def _no_certificate(group: Sequence[ListenerClaim], have: Listener | None) -> Problem:
    rest = "The listener keeps the certificate that it has." if have else "The port opens as soon as there is one."
    return group[0].problem(
        "NoCertificate", f"{group[0].protocol} port {group[0].port} has no certificate that can be served. {rest}"
    )
