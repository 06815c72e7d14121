"""The order of certificates for the hosts of one place.

Usable, covering the hosts, valid now, with a key that is not marked as compromised, later expiry last.

It chooses among candidates. ``objection`` judges a replacement, and is stricter: it protects each host that is served
validly. Both are explained in docs/design/0027-what-better-means.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from certferry.core.x509.pem import covers


class CertificateFacts(NamedTuple):
    """The facts of a certificate that decide its rank."""

    names: tuple[str, ...]
    not_before: datetime
    not_after: datetime
    usable: bool = True
    """True if the data plane loads it."""
    compromised: bool = False
    """True if its key is marked as compromised."""


class Rank(NamedTuple):
    """The place of a certificate in the order; the greater is the better one."""

    usable: bool
    covered: int
    """The number of hosts that it is for."""
    valid: bool
    trusted: bool
    """True unless its key is marked as compromised."""
    not_after: datetime

    @property
    def fitness(self) -> tuple[bool, int, bool, bool]:
        """The rank without the expiry, if a choice must not change with each renewal."""
        return self.usable, self.covered, self.valid, self.trusted


def rank(certificate: CertificateFacts, hosts: Iterable[str], now: datetime) -> Rank:
    """Return the rank of `certificate` for `hosts` at `now`."""
    return Rank(
        usable=certificate.usable,
        covered=sum(covers(certificate.names, host) for host in hosts),
        valid=certificate.not_before <= now < certificate.not_after,
        trusted=not certificate.compromised,
        not_after=certificate.not_after,
    )
