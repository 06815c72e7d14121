"""The input and the finding of a check."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Literal

import msgspec

from certferry.core.model.problems import Reason
from certferry.core.x509.pem import Chain

Severity = Literal["refuse", "warn", "info"]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """A defect; the sentence continues “the certificate …”."""

    reason: Reason
    sentence: str
    severity: Severity = "refuse"
    """refuse: it breaks clients for certain, and does not replace one without the defect."""


class CheckInput(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate with the context of its checks."""

    chain: Chain
    now: datetime
    before: Chain | None = None
    """The certificate that it replaces."""
    hosts: tuple[str, ...] = ()
    """The hosts that Ingresses use it for."""
    skew: timedelta = timedelta(0)
    """The assumed error of the clocks of clients."""
    taken: Mapping[str, str] = MappingProxyType({})
    """Its names that have another certificate with the same kind of key on the listener, with that certificate (see
    ``diagnosis.sni_names``)."""
    unused: tuple[str, ...] = ()
    """Its names for which no listener uses it (see ``diagnosis.sni_names``)."""
    key: str | None = None
    """SHA-256 of the public half of the key that came with it; None: not known here."""
    compromised: Set[str] = frozenset()
    """The public keys that are marked as compromised, as ``Chain.spki``."""


Check = Callable[[CheckInput], Finding | None]


def instant(at: datetime) -> str:
    """Format an instant for a sentence."""
    return at.strftime("%Y-%m-%d %H:%M UTC")
