"""Results of probes as the state of a host has them, and host states with results that came later.

Invariant: ``with_probes`` returns what ``host_states`` returns for the same results.
"""

from __future__ import annotations

from collections.abc import Iterable, Set
from datetime import datetime

import msgspec

from certferry.core.diagnosis import host_verdict
from certferry.core.diagnosis.host_values import HostProbe, HostState, ShownCertificate
from certferry.core.diagnosis.host_verdict import Facts
from certferry.core.diagnosis.wanted import KeyKind
from certferry.core.model.kubernetes import ClusterView
from certferry.core.x509.pem import Chain
from certferry.core.x509.presented import chain_difference


def shown_certificates(
    results: Iterable[HostProbe], kind: KeyKind, bound: Chain | None, fingerprints: Set[str]
) -> tuple[ShownCertificate, ...]:
    """Return the results that concern `kind` and the `bound` chain of a host.

    `fingerprints`: of the leaves that the listener has for the host, of either kind.
    """
    leaf, content = (bound.fingerprint, bound.digest) if bound else ("", "")
    return tuple(
        ShownCertificate(
            address=result.prober,
            chain=result.chain,
            fingerprint=result.leaf,
            error=result.error or (f"the leaf is right, but {difference}" if difference else ""),
            reached=result.reached,
            at=result.at,
            # a client that takes both kinds is shown one of them: that says nothing of the other
            matches_bound=bool(leaf)
            and not (difference or result.error)
            and (result.leaf == leaf or (not result.key_kind and result.leaf in fingerprints)),
        )
        for result in results
        if result.key_kind in ("", kind) and result.expected in ("", content)
        for difference in (_difference(result, bound),)
    )


def with_probes(
    states: Iterable[HostState], results: Iterable[HostProbe], view: ClusterView, now: datetime
) -> tuple[HostState, ...]:
    """Return `states`, which have no results yet, with `results`. A host is there with both key kinds, or not."""
    states = tuple(states)
    by_place: dict[tuple[str, int, str], list[HostProbe]] = {}
    for result in results:
        by_place.setdefault((result.address, result.port, result.sni), []).append(result)
    fingerprints: dict[tuple[str, int, str], set[str]] = {}
    for state in states:
        if state.bound and state.bound.chain:
            fingerprints.setdefault(_place(state), set()).add(state.bound.chain.fingerprint)
    return tuple(
        _with_probes(state, by_place[place], fingerprints.get(place, set()), view, now) if place in by_place else state
        for state in states
        for place in (_place(state),)
    )


def _with_probes(
    state: HostState, results: list[HostProbe], fingerprints: set[str], view: ClusterView, now: datetime
) -> HostState:
    chain = state.bound.chain if state.bound else None
    facts = Facts(
        host=state.host,
        place=f"{state.key.address}:{state.key.port}",
        wants=state.wants,
        bound=state.bound,
        shown=shown_certificates(results, state.key.key_kind, chain, fingerprints),
        data_plane=state.data_plane,
        expiry_state=state.expiry_state,
        # no result changes the problems
        on_claims=(),
        barriers=(),
        listener_exists=bool(state.listener_id),
        now=now,
    )
    status = host_verdict.status(facts)
    return msgspec.structs.replace(
        state,
        shown=facts.shown,
        status=status,
        sentence=host_verdict.sentence(facts),
        next_action=host_verdict.next_action(facts, status, state.problems, view),
    )


def _place(state: HostState) -> tuple[str, int, str]:
    return state.key.address, state.key.port, state.host


def _difference(result: HostProbe, bound: Chain | None) -> str:
    """Return how the chain that is served with the right leaf is another than the bound one; "" if it is not."""
    if not (bound and result.chain and result.leaf == bound.fingerprint):
        return ""
    return chain_difference(result.chain, bound)
