"""Adopting a change that somebody made on the ELB: the annotations that make the Ingress say the same.

Called by the controller for drift of listeners whose mode is ``adopt``. A proposal is made only where
the cluster would then ask for exactly what the ELB has: that is tried, on a view with the annotations in it. It
writes nothing. What no annotation of an Ingress can say (a pool's settings stand on Services, which the controller
may not write; the paths of a policy; the content of a certificate) has no proposal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from certferry.core.drift.drift import Drift
from certferry.core.model.elb import Listener, State
from certferry.core.model.kubernetes import ClusterView, Name
from certferry.core.plan.plan import match
from certferry.core.plan.steps import resolved, wire
from certferry.core.translate import listener_options as listening
from certferry.core.translate.ingress_annotations import PREFIX
from certferry.core.translate.listener_claims import TranslateOptions
from certferry.core.translate.translate import Translation, translate

Texts = Mapping[str, str | None]
"""Annotation → text; None: it goes."""


class Proposal(msgspec.Struct, frozen=True, kw_only=True):
    """What to write on an Ingress, and the drift that it ends."""

    ingress: Name
    annotations: Texts
    drifts: tuple[Drift, ...]

    @property
    def sentence(self) -> str:
        """For people: what the Ingress says from now on."""
        said = [
            f"{key}: {text}" if text is not None else f"no {key}" for key, text in self.annotations.items()
        ]
        return f"Ingress {self.ingress} says so now ({', '.join(said)})"


def proposals(
    drifts: Iterable[Drift],
    view: ClusterView,
    observed: State,
    translation: Translation,
    options: TranslateOptions,
    now: datetime,
) -> tuple[Proposal, ...]:
    """One per listener and kind, for what is to be adopted and can be said by annotations."""
    groups: dict[tuple[str, str], list[Drift]] = {}
    for drift in drifts:
        have = observed.listeners.get(drift.id)
        if (
            drift.mode == "adopt"
            and drift.kind in ("listener", "binding")
            and have
            and _texts(drift.what, have)
        ):
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
    """The Ingress that governs the listener with this key."""
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
    """The annotations that ask for what `have` has in `field`; none where there are no such annotations."""
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
    if field not in _KEYS:
        return {}
    key, text = _KEYS[field]
    value = getattr(have, field)
    return {PREFIX + key: None if value in (None, "") else text(value)}


def _flag(value: bool) -> str:
    return "true" if value else "false"


_KEYS: Final[Mapping[str, tuple[str, Callable[[Any], str]]]] = {
    "client_timeout": ("client_timeout", str),
    "http2_enable": ("http2-enable", _flag),
    "keepalive_timeout": ("keepalive_timeout", str),
    "member_timeout": ("member_timeout", str),
    "security_policy_id": ("security_policy_id", str),
    "tls_ciphers_policy": ("tls-ciphers-policy", str),
}


def _resolves_drift(
    it: Proposal, have: Listener, view: ClusterView, observed: State, options: TranslateOptions, now: datetime
) -> bool:
    """Whether the cluster asks for what the ELB has once `it` is written."""
    ingress = view.ingresses[it.ingress]
    texts = {k: v for k, v in {**ingress.meta.annotations, **it.annotations}.items() if v is not None}
    changed = replace(ingress, meta=replace(ingress.meta, annotations=texts))
    after = replace(view, ingresses={**view.ingresses, it.ingress: changed})
    desired = translate(after, observed, options, now).desired
    want = desired.listeners.get(it.drifts[0].key)
    if want is None:
        return False
    ids = match(desired, observed, view.cluster_id)
    return all(_matches(d.what, want, have, ids) for d in it.drifts)


def _matches(field: str, want: Listener, have: Listener, ids: Mapping[str, str]) -> bool:
    asked, there = getattr(want, field), getattr(have, field)
    if asked is None:  # nobody asks any more; or our text cannot be read
        return all(text is None for text in _texts(field, have).values())
    return listening.equal(asked, there) or bool(resolved(wire(asked), ids) == resolved(wire(there), ids))
