"""The server's CA, its serving certificate, and client certificates, stored in the server's folder.

The CA is valid for ten years, like the kubeconfigs that contain it. The serving certificate is short-lived and
renewed without a restart; a damaged one is issued anew.
"""

from __future__ import annotations

import ipaddress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from certferry.runtime import private_files
from certferry.runtime.private_ca import CLIENT, CLOCK_SKEW, SERVER, Issued, Leaf, PrivateCa, subject

_LIFETIME: Final = timedelta(days=90)
_RENEW: Final = timedelta(days=30)


class Files(msgspec.Struct, frozen=True):
    """Paths in the server's folder."""

    folder: Path

    @property
    def ca(self) -> Path:
        """Return the path of the CA certificate."""
        return self.folder / "ca.crt"

    @property
    def ca_key(self) -> Path:
        """Return the path of the CA's key."""
        return self.folder / "ca.key"

    @property
    def certificate(self) -> Path:
        """Return the path of the serving certificate."""
        return self.folder / "server.crt"

    @property
    def key(self) -> Path:
        """Return the path of the serving certificate's key."""
        return self.folder / "server.key"


def ensure(files: Files, hosts: tuple[str, ...], now: datetime) -> bool:
    """Create missing certificates and renew a due one; return whether the serving certificate is new.

    Raises OSError, ``PrivateCaError``.
    """
    ca = PrivateCa.open_or_create(files.ca, files.ca_key, "certferry kube CA", now - CLOCK_SKEW)
    if _is_usable(ca, files, hosts, now):
        return False
    names = [_san(h) for h in hosts]
    server = ca.issue(Leaf(subject("certferry kube"), names, SERVER, now - CLOCK_SKEW, now + _LIFETIME))
    private_files.write(files.key, server.key)
    private_files.write(files.certificate, server.certificate)
    return True


def issue_client(files: Files, name: str, role: str, now: datetime) -> Issued:
    """Issue a client certificate for `name` with `role`. Raises OSError, ``PrivateCaError``."""
    leaf = Leaf(subject(name, f"certferry:{role}"), [], CLIENT, now - CLOCK_SKEW, now + _LIFETIME)
    return PrivateCa.open(files.ca, files.ca_key).issue(leaf)


def _is_usable(ca: PrivateCa, files: Files, hosts: tuple[str, ...], now: datetime) -> bool:
    try:
        certificate = x509.load_pem_x509_certificate(files.certificate.read_bytes())
        key = load_pem_private_key(files.key.read_bytes(), None)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (FileNotFoundError, ValueError, TypeError, x509.ExtensionNotFound):
        return False
    covered = set(names.get_values_for_type(x509.DNSName)) | {str(a) for a in names.get_values_for_type(x509.IPAddress)}
    is_pair = certificate.public_key() == key.public_key()
    return (
        is_pair and certificate.not_valid_after_utc - now > _RENEW and covered >= set(hosts) and ca.issued(certificate)
    )


def _san(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
