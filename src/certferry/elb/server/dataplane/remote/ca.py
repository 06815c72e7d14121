"""The private CA of the ELB and its remote Envoys; it signs no served certificate.

Its key is in the state directory (0600). Nothing of it has to do with the certificates that are served.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from certferry.elb.server.paths import envoys_authority
from certferry.runtime import private_files

SERVER_NAME: Final = "xds.certferry.internal"
"""The name in the ELB's certificate: Envoys look for it, whatever address they reach it at."""
_YEARS: Final = 10
_EARLIER: Final = timedelta(hours=1)
"""Clocks differ."""


class Issued(NamedTuple):
    """A certificate and its key, PEM, and what tells it."""

    certificate: bytes
    key: bytes
    fingerprint: str
    not_after: datetime


class Authority:
    """A certificate that signs."""

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self._certificate, self._key = certificate, key
        self.pem = certificate.public_bytes(Encoding.PEM)

    @classmethod
    def open_or_create(cls, state: Path) -> Authority:
        """Open the CA of this state, created at first use. Raises OSError, ValueError (damaged)."""
        place, secret = envoys_authority(state)
        if not place.exists():
            _create(place, secret)
        key = load_pem_private_key(secret.read_bytes(), None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ValueError(f"{secret} is not the key that was made for it.")
        return cls(x509.load_pem_x509_certificate(place.read_bytes()), key)

    def server(self, days: int = 90) -> Issued:
        """Issue the ELB's certificate."""
        names = x509.SubjectAlternativeName([x509.DNSName(SERVER_NAME)])
        return self._issue(SERVER_NAME, days, ExtendedKeyUsageOID.SERVER_AUTH, names)

    def client(self, name: str, days: int) -> Issued:
        """Issue an Envoy's certificate."""
        names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(f"certferry:envoy:{_ascii(name)}")])
        return self._issue(name, days, ExtendedKeyUsageOID.CLIENT_AUTH, names)

    def _issue(self, name: str, days: int, use: x509.ObjectIdentifier, names: x509.SubjectAlternativeName) -> Issued:
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC).replace(microsecond=0)
        end = min(now + timedelta(days=days), self._certificate.not_valid_after_utc)
        made = (
            _builder(name, self._certificate.subject, key, now, end)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([use]), critical=False)
            .add_extension(names, critical=False)
            .sign(self._key, hashes.SHA256())
        )
        digest = made.fingerprint(hashes.SHA256()).hex()
        return Issued(made.public_bytes(Encoding.PEM), _pem(key), digest, end)


def _create(place: Path, secret: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Certferry Envoys")])
    made = (
        _builder("Certferry Envoys", name, key, now, now + timedelta(days=365 * _YEARS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    # the certificate last: where it is, the key is too
    for path, data in ((secret, _pem(key)), (place, made.public_bytes(Encoding.PEM))):
        private_files.write(path, data)


def _builder(
    name: str, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime, end: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])]))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _EARLIER)
        .not_valid_after(end)
    )


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _ascii(name: str) -> str:
    return name.encode("idna" if name.isascii() else "punycode").decode()
