"""Detect drift of objects whose description carries a mark.

A mark is a hash of the declaration when the object was last written (``naming.mark``). An object that differs although
its mark is that of the present declaration was changed on the ELB. If the mark differs too, the cluster changed. This
holds after a restart and with another leader. Objects without a mark: see ``detect_unmarked``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from msgspec.structs import replace

from certferry.core.drift import detect_unmarked as unmarked
from certferry.core.drift.detect_unmarked import NOTHING, Baseline
from certferry.core.drift.drift import Drift, Kind, Mode, Modes
from certferry.core.model import naming as names
from certferry.core.model.elb import Certificate, HealthMonitor, Listener, Policy, Pool, Rule, State
from certferry.core.plan.create_update import settings_of
from certferry.core.plan.steps import monitor_fields, resolved, rule_set, rule_text, wire
from certferry.core.translate import listener_options as listening


class DriftResult(msgspec.Struct, frozen=True, kw_only=True):
    """The desired state without the differences that are not reverted, and the drift."""

    desired: State
    drifts: tuple[Drift, ...]


def detect_drift(
    desired: State, observed: State, ids: Mapping[str, str], modes: Modes, baseline: Baseline = NOTHING
) -> DriftResult:
    """Detect drift. `ids`: key → id of what exists (``plan.match``). `known`: the state of the last reconcile."""
    drifts: list[Drift] = []
    certificates = {
        k: _certificate(c, observed.certificates.get(ids.get(k, "")), modes, drifts) if k.startswith("@") else c
        for k, c in desired.certificates.items()
    }
    listeners = {
        k: _listener(it, observed.listeners.get(ids.get(k, "")), ids, modes, drifts, baseline)
        for k, it in desired.listeners.items()
    }
    pools = {k: _pool(p, observed.pools.get(ids.get(k, "")), modes, drifts) for k, p in desired.pools.items()}
    policies = {
        k: _policy(p, observed.policies.get(ids.get(k, "")), ids, modes, drifts) for k, p in desired.policies.items()
    }
    drifts += unmarked.deleted(desired, observed, ids, baseline)
    drifts += unmarked.default_pool_changes(desired, observed, ids, baseline)
    drifts += unmarked.members(desired, observed, ids, baseline)
    drifts += unmarked.added(desired, observed, ids)
    names = {ref: c.name or ref for world in (observed, desired) for ref, c in world.certificates.items()}
    names |= {ref: p.name for world in (observed, desired) for ref, p in world.pools.items()}
    drifts = [replace(d, have=_named(d.have, names), want=_named(d.want, names)) for d in drifts]
    left = replace(desired, certificates=certificates, listeners=listeners, pools=pools, policies=policies)
    return DriftResult(desired=left, drifts=tuple(sorted(d for d in drifts if d.mode != "off")))


def _named(text: str, names: Mapping[str, str]) -> str:
    return ", ".join(names.get(part, part) for part in text.split(", "))


def _same_mark(want: str | None, have: str | None, mark: str) -> bool:
    wanted = names.described(want).get(mark)
    return wanted is not None and wanted == names.described(have).get(mark)


def _certificate(want: Certificate, have: Certificate | None, modes: Modes, drifts: list[Drift]) -> Certificate:
    if have is None or not _same_mark(want.description, have.description, "content"):
        return want
    if have.emergency:
        return want  # an admin's content after the end of its break-glass: that it is replaced is no drift
    same = want.chain is None or (have.chain is not None and want.chain.digest == have.chain.digest)
    if same:
        return want
    shown = have.chain.fingerprint[:16] if have.chain else "something that cannot be read"
    wanted = want.chain.fingerprint[:16] if want.chain else ""
    drifts.append(
        Drift(
            kind="certificate",
            id=have.id,
            key=want.id,
            name=want.name,
            what="Content",
            have=shown,
            want=wanted,
            mode=modes.certificate,
        )
    )
    return want if modes.certificate == "repair" else replace(want, chain=have.chain, domain=have.domain)


def _listener(
    want: Listener, have: Listener | None, ids: Mapping[str, str], modes: Modes, drifts: list[Drift], known: Baseline
) -> Listener:
    if have is None:
        return want
    want = unmarked.without_foreign_access_list(want, have, known)
    if _same_mark(want.description, have.description, "bound"):
        changed = _changed(want, have, ids, listening.BINDINGS)
        drifts += _drifts("binding", want, have, changed, modes.binding)
        if modes.binding != "repair" and changed:
            want = replace(want, **{f: getattr(have, f) for f in changed})
    if _same_mark(want.description, have.description, "options"):
        changed = listening.differing(want, have)
        barred = tuple(f for f in changed if _bars_clients(f, want))
        left = tuple(f for f in changed if f not in barred)
        # what keeps clients out and no Ingress asks for is reverted also if other options are only reported
        drifts += _drifts("listener", want, have, barred, "repair" if modes.listener == "report" else modes.listener)
        drifts += _drifts("listener", want, have, left, modes.listener)
        if modes.listener not in ("repair", "report"):
            left = changed
        if modes.listener != "repair" and left:
            want = replace(want, **dict.fromkeys(left))
    return want


def _bars_clients(field: str, want: Listener) -> bool:
    """Return whether a difference in `field` is an access list or a client CA that no Ingress asks for."""
    return (field == "ipgroup" and want.ipgroup == listening.NO_ACCESS_LIST) or (field == "client_ca_tls_container_ref")


def _pool(want: Pool, have: Pool | None, modes: Modes, drifts: list[Drift]) -> Pool:
    if have is None or not _same_mark(want.description, have.description, "settings"):
        return want
    changed = tuple(sorted(settings_of(want, have)))
    if want.healthmonitor is not None and not _checked_as(want.healthmonitor, have.healthmonitor):
        changed = (*changed, "healthmonitor")
    drifts += _drifts("pool", want, have, changed, modes.pool)
    return want if modes.pool == "repair" else replace(want, **dict.fromkeys(changed))


def _checked_as(want: HealthMonitor, have: HealthMonitor | None) -> bool:
    if not want.type or have is None:
        return not want.type and have is None
    there = monitor_fields(have)
    return all(there.get(field) == value for field, value in monitor_fields(want).items())


def _policy(want: Policy, have: Policy | None, ids: Mapping[str, str], modes: Modes, drifts: list[Drift]) -> Policy:
    if have is None or not _same_mark(want.description, have.description, "settings"):
        return want
    changed = _changed(want, have, ids, ("redirect_pool_id", "redirect_listener_id", "redirect_url_config"))
    if rule_set(want) != rule_set(have):
        changed = (*changed, "rules")
    drifts += _drifts("policy", want, have, changed, modes.policy)
    if modes.policy == "repair" or not changed:
        return want
    return replace(want, **{f: getattr(have, f) for f in changed})


def _changed(want: Any, have: Any, ids: Mapping[str, str], fields: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(
        f
        for f in fields
        if getattr(want, f) is not None
        and not _to_be_made(getattr(want, f), ids)
        and resolved(wire(getattr(want, f)), ids) != resolved(wire(getattr(have, f)), ids)
    )


def _to_be_made(value: Any, ids: Mapping[str, str]) -> bool:
    """Return whether a value refers to an object that does not exist yet: then the difference is not drift."""
    refs = value if isinstance(value, tuple) else (value,)
    return any(isinstance(ref, str) and ref.startswith("@") and ref not in ids for ref in refs)


def _drifts(kind: Kind, want: Any, have: Any, fields: tuple[str, ...], mode: Mode) -> Iterator[Drift]:
    for field in fields:
        yield Drift(
            kind=kind,
            id=have.id,
            key=want.id,
            name=want.name or want.id,
            what=field,
            have=_text(getattr(have, field)),
            want=_text(getattr(want, field)),
            mode=mode,
            parts=_parts(have),
        )


def _parts(have: Any) -> tuple[str, ...]:
    """Return the ids of a policy's rules or a pool's monitor: separate objects on an ELB."""
    if isinstance(have, Policy):
        return tuple(rule.id for rule in have.rules if rule.id)
    return (have.healthmonitor.id,) if isinstance(have, Pool) and have.healthmonitor else ()


def _text(value: Any) -> str:
    if isinstance(value, tuple) and all(isinstance(v, Rule) for v in value):
        return " and ".join(rule_text(v) for v in value)
    if isinstance(value, tuple):
        return ", ".join(map(_text, value))
    if isinstance(value, HealthMonitor):
        told = monitor_fields(value) if value.type else {"type": "none"}
        return " ".join(f"{k} {v}" for k, v in told.items() if v is not None)
    if isinstance(value, bool):
        return "on" if value else "off"
    plain = wire(value)
    return str(plain) if isinstance(plain, str | int) else "" if plain is None else msgspec.json.encode(plain).decode()
