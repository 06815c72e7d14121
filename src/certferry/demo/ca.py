"""The demo CA, and the good and bad certificates that it issues.

The CA's key stays in its folder (0600). Only clients that name the CA (`curl --cacert`) trust its certificates.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from certferry.runtime import private_files

HOST: Final = "hello.certferry.test"
"""The host of the demo page; ``.test`` is reserved (RFC 6761)."""
OTHER_HOST: Final = "elsewhere.certferry.test"

Key = ec.EllipticCurvePrivateKey


class Pair(NamedTuple):
    """A certificate and a key as they would stand in files (PEM, or what pretends to be)."""

    certificate: str
    key: str

    def __repr__(self) -> str:
        return "Pair(…)"


class Authority:
    """A CA: its certificate (PEM) and the pairs it makes."""

    def __init__(self, certificate: x509.Certificate, key: Key) -> None:
        self._certificate, self._key = certificate, key
        self.pem = certificate.public_bytes(Encoding.PEM).decode()

    def pair(self, host: str, now: datetime, days: float) -> Pair:
        """Issue a good pair for `host` that expires `days` from `now`; a negative number: in the past."""
        key = ec.generate_private_key(ec.SECP256R1())
        return Pair(self._leaf(host, key, now, days), _key_pem(key))

    def _leaf(self, host: str, key: Key, now: datetime, days: float) -> str:
        end = now + timedelta(days=days)
        start = min(now, end) - timedelta(days=1)
        builder = (
            _builder(_name(host), self._certificate.subject, key, start, end)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            # without it strict clients (Python 3.13 on) refuse a leaf
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )
        return builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


def open_authority(folder: Path, now: datetime) -> Authority:
    """Open the CA in `folder` (``ca.crt``, ``ca.key``), or create it. Raises OSError."""
    # The folder above holds credentials too: neither may be made readable by others.
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)
    certificate_file, key_file = folder / "ca.crt", folder / "ca.key"
    if not certificate_file.exists():
        certificate, key = _make(now)
        private_files.write(key_file, _key_pem(key))
        private_files.write(certificate_file, certificate.public_bytes(Encoding.PEM).decode())
    key_read = load_pem_private_key(key_file.read_bytes(), None)
    assert isinstance(key_read, Key)
    return Authority(x509.load_pem_x509_certificate(certificate_file.read_bytes()), key_read)


def good(authority: Authority, host: str, now: datetime, days: float) -> Pair:
    """Issue a pair that works."""
    return authority.pair(host, now, days)


def mismatch(authority: Authority, host: str, now: datetime, days: float) -> Pair:
    """Issue a good certificate with the key of another."""
    return Pair(authority.pair(host, now, days).certificate, authority.pair(host, now, days).key)


def garbage(authority: Authority, host: str, now: datetime, days: float) -> Pair:
    """Issue a certificate whose text is damaged, with a good key."""
    damaged = f"-----BEGIN CERTIFICATE-----\n{secrets.token_urlsafe(60)}\n-----END CERTIFICATE-----\n"
    return Pair(damaged, authority.pair(host, now, days).key)


def expired(authority: Authority, host: str, now: datetime, days: float) -> Pair:
    """Issue a pair that expired yesterday."""
    return authority.pair(host, now, -1)


def wrong_host(authority: Authority, host: str, now: datetime, days: float) -> Pair:
    """Issue a good pair for another host."""
    return authority.pair(OTHER_HOST if host != OTHER_HOST else HOST, now, days)


BAD: Final[dict[str, Callable[[Authority, str, datetime, float], Pair]]] = {
    "mismatch": mismatch,
    "garbage": garbage,
    "expired": expired,
    "wrong-host": wrong_host,
}
"""What can be wrong with a pair, by the word of ``certferry demo certificate --bad``."""


class Files(NamedTuple):
    """The files of a pair; `body` is the request that POSTs or PUTs it to an ELB."""

    certificate: Path
    key: Path
    body: Path


def save(pair: Pair, prefix: Path, name: str, domain: str) -> Files:
    """Write a pair as ``<prefix>.crt``, ``.key`` and, for an ELB, ``.json`` (all 0600). Raises OSError."""
    prefix.parent.mkdir(parents=True, exist_ok=True)
    files = Files(*(prefix.with_name(prefix.name + suffix) for suffix in (".crt", ".key", ".json")))
    fields = {"name": name, "type": "server", "domain": domain}
    fields |= {"certificate": pair.certificate, "private_key": pair.key}
    private_files.write(files.certificate, pair.certificate)
    private_files.write(files.key, pair.key)
    private_files.write(files.body, msgspec.json.encode({"certificate": fields}).decode())
    return files


def _make(now: datetime) -> tuple[x509.Certificate, Key]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name("Certferry demo CA")
    builder = (
        _builder(name, name, key, now - timedelta(days=1), now + timedelta(days=3650))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(SIGNS, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return builder.sign(key, hashes.SHA256()), key


SIGNS: Final = x509.KeyUsage(
    digital_signature=True,
    key_cert_sign=True,
    crl_sign=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    encipher_only=False,
    decipher_only=False,
)
"""What a CA may use its key for."""


def _builder(
    subject: x509.Name, issuer: x509.Name, key: Key, start: datetime, end: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
    )


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _key_pem(key: Key) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
