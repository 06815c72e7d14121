"""Preview of a changed Ingress: the controller's own translation of the form, while the user edits it and at OK.

Pure. The result contains no key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any

import msgspec

from certferry.console.state.cluster_view import DerivedState
from certferry.core import checks
from certferry.core.checks import Finding
from certferry.core.model.kubernetes import ClusterView, Ingress, Name, parse_ingress
from certferry.core.model.problems import Problem
from certferry.core.translate.listener_claims import TranslateOptions
from certferry.core.translate.translate import IngressStatus, translate
from certferry.core.x509.pem import Chain, covers


class ChangePreview(msgspec.Struct, frozen=True, kw_only=True):
    """The certificate that clients get now, the chosen one, and the problems of the choice."""

    present: Chain | None = None
    chosen: Chain | None = None
    rejected: tuple[str, ...] = ()
    """Why the choice would not be served; the certificate in service would stay."""
    problems: tuple[Problem, ...] = ()
    """Other problems that the controller would report and does not report now."""
    findings: tuple[Finding, ...] = ()


def served_chain(derived: DerivedState, name: Name) -> Chain | None:
    """Return the certificate that clients of the Ingress get now."""
    uses = derived.by_ingress.get(name, ())
    ingress = derived.view.ingresses.get(name)
    hosts = ingress.hosts if ingress else ()
    return next((use.chain for use in uses if use.chain and (use.hosts or not hosts)), None)


def preview_change(
    derived: DerivedState, options: TranslateOptions, changed: Mapping[str, Any], chosen: Sequence[Chain], now: datetime
) -> ChangePreview:
    """Return what the controller would do with the Ingress `changed`, as OK would write it.

    `chosen`: its certificates, the server certificate first.
    """
    ingress = parse_ingress(changed)
    name = ingress.meta.key
    neighbours = _neighbours(derived, options, ingress, now)
    before = set(_problems(derived, neighbours, options, now))
    new = [p for p in _problems(derived, {**neighbours, name: ingress}, options, now) if p not in before]
    present = served_chain(derived, name)
    server = chosen[0] if chosen else None
    hosts = tuple(h for h in ingress.hosts if not any(covers(chain.names, h) for chain in chosen[1:]))
    objection = checks.objection(server, present, hosts, now) if server else None
    rejected = [p.sentence for p in new if p.reason == "CertificateHeldBack"]
    if objection:  # more specific than what the listener would report
        rejected = [f"It cannot replace the certificate in service: {objection.sentence}."]
    findings = checks.findings(server, present, hosts, now) if server else ()
    sentences = " ".join((*rejected, *(p.sentence for p in new)))
    return ChangePreview(
        present=present,
        chosen=server,
        rejected=tuple(rejected),
        problems=tuple(p for p in new if p.reason != "CertificateHeldBack" and not objection),
        findings=tuple(f for f in findings if f.sentence not in sentences),
    )


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
        if other == name or not ports.isdisjoint(_ports(status))
    }


def _ports(status: IngressStatus) -> set[tuple[str, int]]:
    return {(status.loadbalancer, port) for port, _ in status.ports}


def _problems(
    derived: DerivedState, ingresses: Mapping[Name, Ingress], options: TranslateOptions, now: datetime
) -> tuple[Problem, ...]:
    return translate(_only(derived, ingresses), derived.state, options, now).problems


def _only(derived: DerivedState, ingresses: Mapping[Name, Ingress]) -> ClusterView:
    return msgspec.structs.replace(derived.view, ingresses=MappingProxyType(dict(ingresses)))
