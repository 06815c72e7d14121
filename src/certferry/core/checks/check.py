"""What a check is given, and what it finds. No check is here, and no policy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Literal

import msgspec

from certferry.core.model.problems import Reason
from certferry.core.x509.pem import Chain

Severity = Literal["refuse", "warn", "info"]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What a check found; the sentence continues “the certificate …” on its own."""

    reason: Reason
    sentence: str
    severity: Severity = "refuse"
    """refuse: it breaks clients for certain, and does not replace one without the defect."""


class CheckInput(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate, and what it is judged against."""

    chain: Chain
    now: datetime
    before: Chain | None = None
    """The one in whose place it comes."""
    hosts: tuple[str, ...] = ()
    """Those that Ingresses use it for."""
    skew: timedelta = timedelta(0)
    """How far the clocks of clients may be off."""
    taken: Mapping[str, str] = MappingProxyType({})
    """Names that it is there for, and have another certificate with the same kind of key on the listener:
    which one (see ``neighbours``)."""
    key: str | None = None
    """SHA-256 of the public half of the key that came with it; None: not known here."""


Check = Callable[[CheckInput], Finding | None]


def instant(at: datetime) -> str:
    """An instant in a sentence."""
    return at.strftime("%Y-%m-%d %H:%M UTC")
