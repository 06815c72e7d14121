"""Keep what the load balancer has for objects that cannot be processed: their absence is no wish of a user."""

from __future__ import annotations

from collections.abc import Iterable, Set

from msgspec.structs import replace

from certferry.core.model import naming as names
from certferry.core.model.elb import Certificate, Listener, Policy, State
from certferry.core.translate.translate import Translation


def retained(translation: Translation, observed: State, uids: Set[str]) -> Translation:
    """Return `translation` with the observed policies, pools and certificates of the objects `uids` as desired ones.

    A certificate stays on a listener unless another one is wanted there for one of its names.
    """
    desired, ports = translation.desired, {*translation.retained}
    keys = {want.place: key for key, want in desired.listeners.items()}
    policies, pools = dict(desired.policies), dict(desired.pools)
    listeners, certificates = dict(desired.listeners), dict(desired.certificates)
    pool_keys = {(p.loadbalancer_id, p.name, p.protocol): key for key, p in desired.pools.items()}
    for policy in observed.policies.values():
        listener = observed.listeners.get(policy.listener_id)
        if listener is None or names.described(policy.description).get("ingress_id") not in uids:
            continue
        key = keys.get(listener.place)
        if key is None:
            ports.add(listener.place)
            continue
        policies[policy.id] = replace(policy, listener_id=key)
        for pool in (observed.pools[ref] for ref in _pools(policy) if ref in observed.pools):
            pools.setdefault(pool_keys.get((pool.loadbalancer_id, pool.name, pool.protocol), pool.id), pool)
        left = _certificates(listener, listeners[key], observed, certificates.values())
        certificates |= {c.id: c for c in left}
        refs = (*(listeners[key].sni_container_refs or ()), *(c.id for c in left))
        if left:
            listeners[key] = replace(listeners[key], sni_container_refs=tuple(sorted(set(refs))))
    of_services = {ref for ref, p in observed.pools.items() if names.described(p.description).get("service_id") in uids}
    ports |= {x.place for x in observed.listeners.values() if x.default_pool_id in of_services} - keys.keys()
    desired = replace(desired, policies=policies, pools=pools, listeners=listeners, certificates=certificates)
    return replace(translation, desired=desired, retained=frozenset(ports))


def _pools(policy: Policy) -> tuple[str, ...]:
    return (policy.redirect_pool_id or "", *(share.pool_id for share in policy.redirect_pools_config or ()))


def _certificates(
    have: Listener, want: Listener, observed: State, desired: Iterable[Certificate]
) -> tuple[Certificate, ...]:
    """Return the certificates that `have` binds and that leave no name of `want` in doubt."""
    bound = {want.default_tls_container_ref, *(want.sni_container_refs or ())}
    wanted = [c for c in desired if c.id in bound]
    digests = {c.chain.digest for c in wanted if c.chain}
    taken = {name for c in wanted for name in c.domain}
    refs = (have.default_tls_container_ref or "", *(have.sni_container_refs or ()))
    left = [observed.certificates[ref] for ref in refs if ref in observed.certificates]
    return tuple(
        c for c in left if c.chain and c.chain.digest not in digests and c.domain and taken.isdisjoint(c.domain)
    )
