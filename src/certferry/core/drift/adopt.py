"""Propose annotations that adopt a change of another client on the ELB.

A proposal exists only if the cluster would then desire exactly what the ELB has: ``translate`` is tried on a view with
the annotations. No annotation of an Ingress expresses a pool's settings, the paths of a policy or the content of a
certificate, so these have no proposal.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

import msgspec
from msgspec.structs import replace

from certferry.core.drift.drift import Drift
from certferry.core.model.elb import Listener, State
from certferry.core.model.kubernetes import ClusterView, Name
from certferry.core.plan.plan import match
from certferry.core.plan.steps import resolved, wire
from certferry.core.translate import listener_options as listening
from certferry.core.translate.ingress_annotations import LISTENER_SETTINGS, PREFIX
from certferry.core.translate.listener_claims import TranslateOptions
from certferry.core.translate.translate import Translation, translate

Texts = Mapping[str, str | None]
"""Annotation → text; None removes it."""


class Proposal(msgspec.Struct, frozen=True, kw_only=True):
    """Annotations to write on an Ingress, and the drift that they resolve."""

    ingress: Name
    annotations: Texts
    drifts: tuple[Drift, ...]

    @property
    def sentence(self) -> str:
        """Return the new annotations as a sentence."""
        said = [f"{key}: {text}" if text is not None else f"no {key}" for key, text in self.annotations.items()]
        return f"Annotations of Ingress {self.ingress} adopt it ({', '.join(said)})"


def proposals(
    drifts: Iterable[Drift],
    view: ClusterView,
    observed: State,
    translation: Translation,
    options: TranslateOptions,
    now: datetime,
) -> tuple[Proposal, ...]:
    """Return one proposal per listener and kind of drift whose mode is ``adopt``."""
    groups: dict[tuple[str, str], list[Drift]] = {}
    for drift in drifts:
        have = observed.listeners.get(drift.id)
        if drift.mode == "adopt" and drift.kind in ("listener", "binding") and have and _texts(drift.what, have):
            groups.setdefault((drift.id, drift.kind), []).append(drift)
    made = []
    for (ref, _), group in sorted(groups.items()):
        master = listener_owner(group[0].key, translation)
        have = observed.listeners[ref]
        if master is None or master not in view.ingresses:
            continue
        texts = {key: text for drift in group for key, text in _texts(drift.what, have).items()}
        proposal = Proposal(ingress=master, annotations=texts, drifts=tuple(group))
        if _resolves_drift(proposal, have, view, observed, options, now):
            made.append(proposal)
    return tuple(made)


def listener_owner(listener: str, translation: Translation) -> Name | None:
    """Return the listener owner of the listener with this key."""
    return next(
        (
            status.listener_owner
            for status in translation.status.values()
            for port, _ in status.ports
            if listener == f"@listener/{status.loadbalancer}/{port}"
        ),
        None,
    )


def _texts(field: str, have: Listener) -> Texts:
    """Return the annotations that express `field` of `have`; empty if there are none."""
    if field in listening.BINDINGS:
        ids = dict.fromkeys((have.default_tls_container_ref, *(have.sni_container_refs or ())))
        return {f"{PREFIX}tls-certificate-ids": ",".join(ref for ref in ids if ref)}
    if field == "ipgroup":
        group = have.ipgroup
        if group is None or not group.ipgroup_id:
            return {f"{PREFIX}acl-id": ""}
        return {
            f"{PREFIX}acl-id": group.ipgroup_id,
            f"{PREFIX}acl-status": "on" if group.enable_ipgroup else "off",
            f"{PREFIX}acl-type": group.type,
        }
    if field not in LISTENER_SETTINGS:
        return {}
    annotation, write = LISTENER_SETTINGS[field]
    value = getattr(have, field)
    return {PREFIX + annotation.key: None if value in (None, "") else write(value)}


def _resolves_drift(
    proposal: Proposal, have: Listener, view: ClusterView, observed: State, options: TranslateOptions, now: datetime
) -> bool:
    """Return whether the cluster desires what the ELB has once `proposal` is written."""
    ingress = view.ingresses[proposal.ingress]
    texts = {k: v for k, v in {**ingress.meta.annotations, **proposal.annotations}.items() if v is not None}
    changed = replace(ingress, meta=replace(ingress.meta, annotations=texts))
    after = replace(view, ingresses={**view.ingresses, proposal.ingress: changed})
    desired = translate(after, observed, options, now).desired
    want = desired.listeners.get(proposal.drifts[0].key)
    if want is None:
        return False
    ids = match(desired, observed, view.cluster_id)
    return all(_matches(d.what, want, have, ids) for d in proposal.drifts)


def _matches(field: str, want: Listener, have: Listener, ids: Mapping[str, str]) -> bool:
    desired, there = getattr(want, field), getattr(have, field)
    if desired is None:  # no annotation any more, or an invalid one
        return all(text is None for text in _texts(field, have).values())
    return listening.equal(desired, there) or bool(resolved(wire(desired), ids) == resolved(wire(there), ids))
