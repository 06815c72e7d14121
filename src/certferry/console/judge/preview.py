"""Preview of a changed Ingress: the controller's own translation of the form, while the user edits it and at OK.

Pure. The result contains no key.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final

import msgspec

from certferry.console.state.cluster_view import DerivedState
from certferry.core import checks
from certferry.core.checks import Finding
from certferry.core.diagnosis.host_state import HostState, host_states
from certferry.core.model.kubernetes import ClusterView, Ingress, Name, parse_ingress
from certferry.core.model.problems import Problem
from certferry.core.translate.listener_claims import TranslateOptions
from certferry.core.translate.translate import IngressStatus, translate
from certferry.core.x509.expiry import Limits
from certferry.core.x509.pem import Chain, covers

_LIMITS: Final = Limits()


class HostPreview(msgspec.Struct, frozen=True, kw_only=True):
    """The certificate that clients of a host get now, and after the change."""

    host: str
    port: int
    now: Chain | None
    after: Chain | None
    problem: str
    """Sentence: why the host does not get the certificate that its Ingress names; "" if it does."""

    @property
    def changes(self) -> bool:
        """True if clients get another chain."""
        return (self.now and self.now.digest) != (self.after and self.after.digest)


class ChangePreview(msgspec.Struct, frozen=True, kw_only=True):
    """The certificate that clients get now, the chosen one, and the problems of the choice."""

    present: Chain | None = None
    chosen: Chain | None = None
    rejected: tuple[str, ...] = ()
    """Why the choice would not be served; the certificate in service would stay."""
    problems: tuple[Problem, ...] = ()
    """Other problems that the controller would report and does not report now."""
    findings: tuple[Finding, ...] = ()
    hosts: tuple[HostPreview, ...] = ()
    """Hosts of the Ingress, and others whose certificate changes; those with a problem first."""


def served_chain(derived: DerivedState, name: Name) -> Chain | None:
    """Return the certificate that clients of the Ingress get now: of the first of its hosts that has one."""
    hosts = derived.hosts_by_ingress.get(name, ())
    return next((host.bound.chain for host in hosts if host.bound and host.bound.chain), None)


def preview_change(
    derived: DerivedState, options: TranslateOptions, changed: Mapping[str, Any], chosen: Sequence[Chain], now: datetime
) -> ChangePreview:
    """Return what the controller would do with the Ingress `changed`, as OK would write it.

    `chosen`: its certificates, the server certificate first.
    """
    ingress = parse_ingress(changed)
    name = ingress.meta.key
    neighbours = _neighbours(derived, options, ingress, now)
    before = set(translate(_only(derived, neighbours), derived.state, options, now).problems)
    view = _only(derived, {**neighbours, name: ingress})
    after = translate(view, derived.state, options, now)
    new = [p for p in after.problems if p not in before]
    present = served_chain(derived, name)
    server = chosen[0] if chosen else None
    hosts = tuple(h for h in ingress.hosts if not any(covers(chain.names, h) for chain in chosen[1:]))
    marks = derived.translation.compromised
    objection = checks.objection(server, present, hosts, now, marks) if server else None
    rejected = [p.sentence for p in new if p.reason == "CertificateHeldBack"]
    if objection:  # more specific than what the listener would report
        rejected = [f"It cannot replace the certificate in service: {objection.sentence}."]
    findings = checks.findings(server, present, hosts, now, compromised=marks) if server else ()
    sentences = " ".join((*rejected, *(p.sentence for p in new)))
    return ChangePreview(
        present=present,
        chosen=server,
        rejected=tuple(rejected),
        problems=tuple(p for p in new if p.reason != "CertificateHeldBack" and not objection),
        findings=tuple(f for f in findings if f.sentence not in sentences),
        hosts=_hosts(derived, host_states(view, derived.state, after, (), now, _LIMITS), name),
    )


def _hosts(derived: DerivedState, after: Iterable[HostState], name: Name) -> tuple[HostPreview, ...]:
    """Return the hosts of Ingress `name`, and others for which another certificate is desired than before."""
    before = {state.key: state for state in derived.hosts}
    hosts = []
    for state in after:
        desired, present = state.desired, before.get(state.key)
        was = present.desired if present else None
        moved = (desired and desired.chain) != (was and was.chain) and present is not None
        if name in state.claims or moved:
            problem = next((w.sentence for w in state.wants if not w.good), "")
            hosts.append(
                HostPreview(
                    host=state.host,
                    port=state.key.port,
                    now=state.bound.chain if state.bound else None,
                    after=desired.chain if desired else None,
                    problem=problem,
                )
            )
    return tuple(sorted(hosts, key=lambda host: (not host.problem, not host.changes, host.host, host.port)))


def _neighbours(
    derived: DerivedState, options: TranslateOptions, ingress: Ingress, now: datetime
) -> dict[Name, Ingress]:
    """Return the Ingresses on the present and future listeners of `ingress`; translating all would take too long."""
    name, statuses = ingress.meta.key, derived.translation.status
    alone = translate(_only(derived, {name: ingress}), derived.state, options, now).status.get(name)
    ports = {p for status in (statuses.get(name), alone) if status for p in _ports(status)}
    return {
        other: derived.view.ingresses[other]
        for other, status in statuses.items()
        if other == name or not (other.kind or ports.isdisjoint(_ports(status)))
    }


def _ports(status: IngressStatus) -> set[tuple[str, int]]:
    return {(status.loadbalancer, port) for port, _ in status.ports}


def _only(derived: DerivedState, ingresses: Mapping[Name, Ingress]) -> ClusterView:
    return msgspec.structs.replace(derived.view, ingresses=MappingProxyType(dict(ingresses)))
