"""What would come of an Ingress that somebody is still typing: the controller's own translation, made beforehand.

The form of an Ingress asks while a certificate is chosen, and again at OK. Pure: two worlds and an
object in, certificates and sentences out; nothing is written, and no key is in it.
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
    """The certificate that clients are shown now, the one that is chosen, and what is to be said of it."""

    present: Chain | None = None
    chosen: Chain | None = None
    held: tuple[str, ...] = ()
    """Why the choice would not be served: what is in service stays."""
    problems: tuple[Problem, ...] = ()
    """Everything else that the controller would report, and does not now."""
    findings: tuple[Finding, ...] = ()


def shown(derived: DerivedState, name: Name) -> Chain | None:
    """What the first of the Ingress's hosts is shown now."""
    uses = derived.by_ingress.get(name, ())
    ingress = derived.view.ingresses.get(name)
    hosts = ingress.hosts if ingress else ()
    mine = [use.chain for use in uses if use.chain and (use.hosts or not hosts)]
    return next(iter(mine), None)


def preview_change(
    derived: DerivedState,
    options: TranslateOptions,
    changed: Mapping[str, Any],
    chosen: Sequence[Chain],
    now: datetime,
) -> ChangePreview:
    """`changed`: the Ingress as OK would write it; `chosen`: its certificates, the server certificate first."""
    ingress = parse_ingress(changed)
    name = ingress.meta.key
    beside = _beside(derived, options, ingress, now)
    before = set(_problems(derived, beside, options, now))
    new = [p for p in _problems(derived, {**beside, name: ingress}, options, now) if p not in before]
    present = shown(derived, name)
    server = chosen[0] if chosen else None
    mine = tuple(h for h in ingress.hosts if not any(covers(chain.names, h) for chain in chosen[1:]))
    refused = checks.objection(server, present, mine, now) if server else None
    held = [p.sentence for p in new if p.reason == "CertificateHeldBack"]
    if refused:  # nearer to what was chosen than what the listener would make of it
        held = [f"It cannot take the place of the one in service: {refused.sentence}."]
    told = checks.findings(server, present, mine, now) if server else ()
    said = " ".join((*held, *(p.sentence for p in new)))
    return ChangePreview(
        present=present,
        chosen=server,
        held=tuple(held),
        problems=tuple(p for p in new if p.reason != "CertificateHeldBack" and not refused),
        findings=tuple(f for f in told if f.sentence not in said),
    )


def _beside(
    derived: DerivedState, options: TranslateOptions, ingress: Ingress, now: datetime
) -> dict[Name, Ingress]:
    """The Ingresses on the listeners that `ingress` has or is to have: a cluster of thousands is not translated."""
    name, known = ingress.meta.key, derived.translation.status
    alone = translate(_only(derived, {name: ingress}), derived.state, options, now).status.get(name)
    places = {p for status in (known.get(name), alone) if status for p in _places(status)}
    return {
        other: derived.view.ingresses[other]
        for other, status in known.items()
        if other == name or not places.isdisjoint(_places(status))
    }


def _places(status: IngressStatus) -> set[tuple[str, int]]:
    return {(status.loadbalancer, port) for port, _ in status.ports}


def _problems(
    derived: DerivedState, ingresses: Mapping[Name, Ingress], options: TranslateOptions, now: datetime
) -> tuple[Problem, ...]:
    return translate(_only(derived, ingresses), derived.state, options, now).problems


def _only(derived: DerivedState, ingresses: Mapping[Name, Ingress]) -> ClusterView:
    return msgspec.structs.replace(derived.view, ingresses=MappingProxyType(dict(ingresses)))
