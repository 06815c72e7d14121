"""Host states as pages show them: the badges of an Ingress, and the certificates that need attention first.

It projects ``HostState`` and derives no verdict of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Final

import msgspec

from certferry.console.web.formatting import Badge, expiry
from certferry.core.diagnosis.host_state import CertificateSource, HostState, WantedCertificate
from certferry.core.diagnosis.inventory import SEVERITY
from certferry.core.model.kubernetes import Name
from certferry.core.plural import counted
from certferry.core.x509.expiry import Limits
from certferry.core.x509.pem import Chain

_WORDS: Final = {
    "unknown": "Cannot be read",
    "unreachable": "Not reachable",
    "missing": "Not served",
    "unusable": "Not served",
    "expired": "Expired",
    "compromised": "Key compromised",
}
PER_ROW: Final = 3
"""Hosts of each certificate that are probed for one row of a list."""
WRONG: Final = "Wrong certificate served"
SUBSTITUTE: Final = "Another certificate served"
"""It covers the host, and comes from another source than the wanted one."""


class CertificateExpiry(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate that Ingresses want or clients get, and its expiry."""

    source: CertificateSource
    chain: Chain | None
    badge: Badge
    usable: bool
    """False: an Ingress wants it, and it is expired or cannot be served."""
    ingresses: tuple[Name, ...] = ()
    certificate_id: str = ""
    """Id on the ELB; "" if it is not there."""

    @property
    def order(self) -> tuple[bool, bool, float]:
        """Sort key: certificates that are not usable first, then by expiry."""
        return self.usable, self.chain is not None, self.chain.not_after.timestamp() if self.chain else 0.0


def severity(states: Iterable[HostState]) -> int:
    """Return the sort key of the worst status of `states`: the most severe first, no host last."""
    return min((-SEVERITY.index(state.status) for state in states), default=1)


def host_badge(states: Iterable[HostState]) -> Badge | None:
    """Return the most severe status of `states` as a badge; None if every host gets its certificate."""
    worst = max(states, key=lambda state: SEVERITY.index(state.status), default=None)
    if worst is None or worst.status in ("served", "expiring"):
        return None
    word = _WORDS.get(worst.status, WRONG)
    if word != "Not served" or worst.bound is None:
        return Badge("bad", word, worst.sentence)
    # a host without its own certificate gets another one
    return Badge("bad", WRONG, worst.sentence) if worst.harm else Badge("warn", SUBSTITUTE, worst.sentence)


def served_badge(states: Sequence[HostState]) -> Badge:
    """Return whether the hosts of `states`, which have their probes, get their certificates."""
    if badge := host_badge(states):
        return badge
    shown = [state for state in states if state.shown]
    if not shown:
        return Badge("busy", "Accepted", "The load balancer has it; no handshake has shown it yet.")
    return Badge("good", "Served", f"The last handshakes show it ({counted(len(shown), 'host')}).")


def expiries(states: Sequence[HostState], now: datetime, limits: Limits) -> list[CertificateExpiry]:
    """Return one entry per certificate that claims want or clients get, in the order of ``order``."""
    entries: dict[CertificateSource, CertificateExpiry] = {}
    ingresses: dict[CertificateSource, dict[Name, None]] = {}
    for entry in (e for state in states for e in _of_host(state, now, limits)):
        ingresses.setdefault(entry.source, {}).update(dict.fromkeys(entry.ingresses))
        if entry.source not in entries or entry.order < entries[entry.source].order:
            entries[entry.source] = entry
    complete = [msgspec.structs.replace(entry, ingresses=tuple(ingresses[source])) for source, entry in entries.items()]
    return sorted(complete, key=lambda entry: (entry.order, str(entry.source)))


def own_expiry(states: Sequence[HostState], name: Name, now: datetime, limits: Limits) -> CertificateExpiry | None:
    """Return the first expiry among the certificates that Ingress `name` wants; of those bound if it wants none."""
    wanted = [
        _wanted(w, now, limits)
        for state in states
        for w in _wants(state)
        if Name(w.ingress.namespace, w.ingress.name) == name
    ]
    return min(wanted or expiries(states, now, limits), key=lambda entry: entry.order, default=None)


def _of_host(state: HostState, now: datetime, limits: Limits) -> Iterator[CertificateExpiry]:
    yield from (_wanted(wanted, now, limits) for wanted in _wants(state) if not wanted.good)
    bound = state.bound
    if bound and bound.chain and (state.claims or bound.ingresses):
        own = state.claims if state.wanted is None or state.wanted.source == bound.source else ()
        yield CertificateExpiry(
            source=bound.source,
            chain=bound.chain,
            badge=expiry(bound.chain, now, limits),
            usable=True,
            ingresses=tuple(dict.fromkeys((*own, *bound.ingresses))),
            certificate_id=bound.certificate_id,
        )


def _wants(state: HostState) -> tuple[WantedCertificate, ...]:
    return (*((state.wanted,) if state.wanted else ()), *state.other_wants)


def _wanted(wanted: WantedCertificate, now: datetime, limits: Limits) -> CertificateExpiry:
    badge = expiry(wanted.chain, now, limits)
    if not wanted.good and badge.level != "bad":
        badge = Badge("bad", "Wrong host" if wanted.reason == "HostNotCovered" else "Cannot be served", wanted.sentence)
    return CertificateExpiry(
        source=wanted.source,
        chain=wanted.chain,
        badge=badge,
        usable=wanted.good,
        ingresses=(Name(wanted.ingress.namespace, wanted.ingress.name),),
        certificate_id=wanted.certificate_id,
    )
