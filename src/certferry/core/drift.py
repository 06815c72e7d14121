"""What somebody changed on the ELB of what is ours, and what becomes of it.

Descriptions carry a mark of what was declared when an object was last written (``names.mark``). An
object that differs though its mark is still that of today's declaration was changed on the ELB;
where the mark differs, the cluster has changed its mind. So a restart or another leader tells the
two apart too. What has no mark (a deleted object, a policy put onto our listener) is known from
what was there when all was last in step.

Called between ``translate`` and ``plan``, by the controller's loop and by ``certferry plan``. It
does not know who did it: that is in an ELB's audit log, if it has one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final, Literal

import msgspec
from msgspec.structs import replace

from certferry.core import listening, names
from certferry.core.growing import settings_of
from certferry.core.model import Certificate, Listener, Policy, Pool, Rule, State
from certferry.core.steps import resolved, rule_set, rule_text, wire

Mode = Literal["repair", "adopt", "report", "off"]
"""Put right; left, told once; left and reported; left alone and not looked at."""
Kind = Literal["certificate", "binding", "listener", "pool", "policy"]


class Modes(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of a change, per kind."""

    certificate: Mode = "repair"
    """The content, name and domain of a certificate that follows a Secret."""
    binding: Mode = "repair"
    """Which certificates a listener has."""
    listener: Mode = "report"
    """The other options of a listener."""
    pool: Mode = "repair"
    """How requests are shared out, and health checks."""
    policy: Mode = "repair"
    """Where a host and path lead."""


class Drift(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """One difference that the cluster did not ask for."""

    kind: Kind
    id: str
    """Of the object on the ELB; of one that was deleted, the id that it had."""
    key: str
    name: str
    what: str
    """Which field, or ``deleted`` or ``added``."""
    have: str
    want: str
    mode: Mode

    @property
    def sentence(self) -> str:
        """For people, without who did it."""
        what = {"binding": "listener", "policy": "forwarding policy"}.get(self.kind, self.kind)
        if self.what in ("deleted", "added"):
            seen = f"The {what} {self.name} was {self.what} on the load balancer"
        else:
            seen = f"{self.what} of {what} {self.name} was changed on the load balancer to {self.have or 'nothing'}; the cluster asks for {self.want or 'nothing'}"
        return f"{seen}. {_ENDS[self.mode]}"


_ENDS: Final[Mapping[Mode, str]] = {
    "repair": "It is put right.",
    "adopt": "It is taken as it is, until the cluster asks for something else.",
    "report": "It is left as it is.",
    "off": "",
}
_DELETED: Final[Mapping[str, Kind]] = {
    "@certificate": "certificate",
    "@listener": "listener",
    "@pool": "pool",
    "@policy": "policy",
}


class Settled(msgspec.Struct, frozen=True, kw_only=True):
    """The desired state, less what is left as it is, and the drift that was found."""

    desired: State
    drifts: tuple[Drift, ...]


def settle(
    desired: State,
    observed: State,
    ids: Mapping[str, str],
    modes: Modes,
    known: Mapping[str, str] = MappingProxyType({}),
) -> Settled:
    """`ids`: key → id of what exists (``plan.match``); `known`: the same, when all was last in step."""
    found: list[Drift] = []
    certificates = {
        k: _certificate(c, observed.certificates.get(ids.get(k, "")), modes, found)
        if k.startswith("@")
        else c
        for k, c in desired.certificates.items()
    }
    listeners = {
        k: _listener(it, observed.listeners.get(ids.get(k, "")), ids, modes, found)
        for k, it in desired.listeners.items()
    }
    pools = {k: _pool(p, observed.pools.get(ids.get(k, "")), modes, found) for k, p in desired.pools.items()}
    policies = {
        k: _policy(p, observed.policies.get(ids.get(k, "")), ids, modes, found)
        for k, p in desired.policies.items()
    }
    found += _deleted(desired, observed, ids, known)
    found += _added(desired, observed, ids)
    names = {ref: c.name or ref for world in (observed, desired) for ref, c in world.certificates.items()}
    names |= {ref: p.name for world in (observed, desired) for ref, p in world.pools.items()}
    found = [replace(d, have=_named(d.have, names), want=_named(d.want, names)) for d in found]
    left = replace(desired, certificates=certificates, listeners=listeners, pools=pools, policies=policies)
    return Settled(desired=left, drifts=tuple(sorted(d for d in found if d.mode != "off")))


def _named(text: str, names: Mapping[str, str]) -> str:
    return ", ".join(names.get(part, part) for part in text.split(", "))


def _same_mark(want: str | None, have: str | None, mark: str) -> bool:
    wanted = names.described(want).get(mark)
    return wanted is not None and wanted == names.described(have).get(mark)


def _certificate(
    want: Certificate, have: Certificate | None, modes: Modes, found: list[Drift]
) -> Certificate:
    if have is None or not _same_mark(want.description, have.description, "content"):
        return want
    same = want.chain is None or (have.chain is not None and want.chain.digest == have.chain.digest)
    if same:
        return want
    shown = have.chain.fingerprint[:16] if have.chain else "something that cannot be read"
    wanted = want.chain.fingerprint[:16] if want.chain else ""
    found.append(
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
    want: Listener, have: Listener | None, ids: Mapping[str, str], modes: Modes, found: list[Drift]
) -> Listener:
    if have is None:
        return want
    if _same_mark(want.description, have.description, "bound"):
        changed = _changed(want, have, ids, listening.BINDINGS)
        found += _drifts("binding", want, have, changed, modes.binding)
        if modes.binding != "repair" and changed:
            want = replace(want, **{f: getattr(have, f) for f in changed})
    if _same_mark(want.description, have.description, "options"):
        changed = listening.differing(want, have)
        found += _drifts("listener", want, have, changed, modes.listener)
        if modes.listener != "repair" and changed:
            want = replace(want, **dict.fromkeys(changed))
    return want


def _pool(want: Pool, have: Pool | None, modes: Modes, found: list[Drift]) -> Pool:
    if have is None or not _same_mark(want.description, have.description, "settings"):
        return want
    changed = tuple(sorted(settings_of(want, have)))
    if (want.healthmonitor and not want.healthmonitor.type and have.healthmonitor) or (
        want.healthmonitor and want.healthmonitor.type and have.healthmonitor is None
    ):
        changed = (*changed, "healthmonitor")
    found += _drifts("pool", want, have, changed, modes.pool)
    return want if modes.pool == "repair" else replace(want, **dict.fromkeys(changed))


def _policy(
    want: Policy, have: Policy | None, ids: Mapping[str, str], modes: Modes, found: list[Drift]
) -> Policy:
    if have is None or not _same_mark(want.description, have.description, "settings"):
        return want
    changed = _changed(want, have, ids, ("redirect_pool_id", "redirect_listener_id", "redirect_url_config"))
    if rule_set(want) != rule_set(have):
        changed = (*changed, "rules")
    found += _drifts("policy", want, have, changed, modes.policy)
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
    """Whether a reference is to something that is not there yet: then there is more to it than drift."""
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
        )


def _deleted(
    desired: State, observed: State, ids: Mapping[str, str], known: Mapping[str, str]
) -> Iterator[Drift]:
    there = {*observed.certificates, *observed.listeners, *observed.pools, *observed.policies}
    wanted: dict[str, Any] = {
        **desired.certificates,
        **desired.listeners,
        **desired.pools,
        **desired.policies,
    }
    for key, ref in known.items():
        kind = _DELETED.get(key.partition("/")[0])
        if kind and key in wanted and key not in ids and ref not in there:
            # without it nothing is served: it is made again whatever the mode
            yield Drift(
                kind=kind,
                id=ref,
                key=key,
                name=wanted[key].name or key,
                what="deleted",
                have="",
                want="",
                mode="repair",
            )


def _added(desired: State, observed: State, ids: Mapping[str, str]) -> Iterator[Drift]:
    """Policies that somebody put onto our listeners: not ours, so they are only told of."""
    ours = {ids[key]: key for key in desired.listeners if key in ids}
    for policy in observed.policies.values():
        if policy.listener_id in ours and "cluster_id" not in names.described(policy.description):
            yield Drift(
                kind="policy",
                id=policy.id,
                key=ours[policy.listener_id],
                name=policy.name or policy.id,
                what="added",
                have="",
                want="",
                mode="report",
            )


def _text(value: Any) -> str:
    if isinstance(value, tuple) and all(isinstance(v, Rule) for v in value):
        return " and ".join(rule_text(v) for v in value)
    if isinstance(value, tuple):
        return ", ".join(map(_text, value))
    if isinstance(value, bool):
        return "on" if value else "off"
    plain = wire(value)
    return (
        str(plain)
        if isinstance(plain, str | int)
        else ""
        if plain is None
        else msgspec.json.encode(plain).decode()
    )
