"""Certificates for tests, made at run time. Names are what a test is about; all else has a default."""

from __future__ import annotations

import functools
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from certferry.runtime.private_ca import SIGNS

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


class Pair(NamedTuple):
    """A certificate (leaf first, then the requested chain) and its key, both PEM."""

    certificate: str
    key: str


class Authority:
    """A CA that issues leaves at once, a root, or `by` another one; `certificate` is its own (PEM)."""

    def __init__(self, name: str = "Test CA", by: Authority | None = None) -> None:
        self.key: Key = ec.generate_private_key(ec.SECP256R1())
        self.name = _name(name)
        self._certificate = _sign(
            self.name,
            by.name if by else self.name,
            self.key,
            by.key if by else self.key,
            _around(days=3650),
            [
                (x509.BasicConstraints(ca=True, path_length=None), True),
                (SIGNS, True),
                (x509.SubjectKeyIdentifier.from_public_key(self.key.public_key()), False),
            ],
        )
        self.certificate = _pem(self._certificate)

    def issue(
        self,
        *names: str,
        days: float = 90,
        started: float = 1,
        key: Key | None = None,
        chain: bool = False,
        until: datetime | None = None,
    ) -> Pair:
        """Issue a leaf for `names`, valid from `started` days ago for `days` days from now (negative: expired).

        `until`: the end of validity in place of `days`.
        """
        key = key or ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC)
        valid = (now - timedelta(days=max(started, -days + 1)), until or now + timedelta(days=days))
        extensions: list[tuple[x509.ExtensionType, bool]] = [
            (x509.SubjectAlternativeName([x509.DNSName(n) for n in names]), False),
            (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), False),
            (x509.BasicConstraints(ca=False, path_length=None), True),
            (x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), False),
        ]
        leaf = _sign(_name(names[0]), self.name, key, self.key, valid, extensions)
        return Pair(_pem(leaf) + (self.certificate if chain else ""), key_pem(key))


@functools.cache
def authority() -> Authority:
    """One CA for a whole test run."""
    return Authority()


@functools.cache
def rsa_key(bits: int = 2048) -> rsa.RSAPrivateKey:
    """Return an RSA key, made once per size because that is slow."""
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def key_pem(key: Key) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _around(days: float) -> tuple[datetime, datetime]:
    now = datetime.now(UTC)
    return now - timedelta(days=1), now + timedelta(days=days)


def _sign(
    subject: x509.Name,
    issuer: x509.Name,
    key: Key,
    by: Key,
    valid: tuple[datetime, datetime],
    extensions: list[tuple[x509.ExtensionType, bool]],
) -> x509.Certificate:
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(valid[0])
        .not_valid_after(valid[1])
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(by, hashes.SHA256())


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode()
