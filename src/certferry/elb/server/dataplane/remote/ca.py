"""Certificates for the xDS connection between the ELB and its remote Envoys; no client of a listener sees them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509

from certferry.elb.server.paths import envoys_authority
from certferry.runtime.private_ca import CLIENT, CLOCK_SKEW, SERVER, Issued, Leaf, PrivateCa, subject

SERVER_NAME: Final = "xds.certferry.internal"
"""The name in the ELB's certificate: Envoys look for it, whatever address they reach it at."""


class Authority:
    """The CA of an ELB and its remote Envoys; `pem` is its certificate."""

    def __init__(self, state: Path) -> None:
        """Open the CA of this state, created at first use. Raises OSError, ``PrivateCaError``."""
        self._ca = PrivateCa.open_or_create(
            *envoys_authority(state), "Certferry Envoys", datetime.now(UTC) - CLOCK_SKEW
        )
        self.pem = self._ca.pem

    def server(self) -> Issued:
        """Issue the ELB's certificate, valid for 90 days."""
        return self._issue(SERVER_NAME, 90, SERVER, x509.DNSName(SERVER_NAME))

    def client(self, name: str, days: int) -> Issued:
        """Issue an Envoy's certificate."""
        ascii_name = name.encode("idna" if name.isascii() else "punycode").decode()
        return self._issue(name, days, CLIENT, x509.UniformResourceIdentifier(f"certferry:envoy:{ascii_name}"))

    def _issue(self, name: str, days: int, purpose: x509.ObjectIdentifier, alternative: x509.GeneralName) -> Issued:
        now = datetime.now(UTC).replace(microsecond=0)
        return self._ca.issue(Leaf(subject(name), [alternative], purpose, now - CLOCK_SKEW, now + timedelta(days=days)))
