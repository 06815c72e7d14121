"""A private CA in two files: it signs the certificates of our own programs and of the demo.

A missing certificate is made again from the key, so that certificates issued before stay valid. A missing or damaged
key is an error that names the file: a new CA would silently cut off every client of the old one.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from certferry.runtime import private_files

SERVER: Final = ExtendedKeyUsageOID.SERVER_AUTH
CLIENT: Final = ExtendedKeyUsageOID.CLIENT_AUTH
CLOCK_SKEW: Final = timedelta(hours=1)
"""Validity begins this much earlier, for clients whose clocks are slow."""
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
"""The key usage of a CA."""
_LIFETIME: Final = timedelta(days=3650)


class PrivateCaError(ValueError):
    """A file of the CA is missing or damaged; the message names it and the way out."""


class Leaf(NamedTuple):
    """A certificate to issue. `names` are its subject alternative names, if any."""

    subject: x509.Name
    names: Sequence[x509.GeneralName]
    purpose: x509.ObjectIdentifier
    start: datetime
    end: datetime


class Issued(NamedTuple):
    """An issued certificate and its key (PEM), its SHA-256 fingerprint, and its end."""

    certificate: bytes
    key: bytes
    fingerprint: str
    not_after: datetime

    def __repr__(self) -> str:
        return f"Issued({self.fingerprint})"


class PrivateCa:
    """A CA; `pem` is its certificate."""

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self._certificate, self._key = certificate, key
        self.pem = certificate.public_bytes(Encoding.PEM)

    @classmethod
    def create(cls, name: str, start: datetime) -> PrivateCa:
        """Return a new CA that is valid from `start`."""
        key = ec.generate_private_key(ec.SECP256R1())
        return cls(_self_signed(key, name, start), key)

    @classmethod
    def of_pem(cls, certificate: bytes, key: bytes) -> PrivateCa:
        """Return the CA of this certificate and key. Raises ValueError."""
        private = load_pem_private_key(key, None)
        public = x509.load_pem_x509_certificate(certificate)
        if not isinstance(private, ec.EllipticCurvePrivateKey) or public.public_key() != private.public_key():
            raise PrivateCaError("The key is not that of the CA's certificate.")
        return cls(public, private)

    @property
    def key_pem(self) -> bytes:
        """The private key."""
        return _key_pem(self._key)

    @classmethod
    def open(cls, certificate: Path, key: Path) -> PrivateCa:
        """Open the CA in these files. Raises OSError, ``PrivateCaError``."""
        private = _read_key(key, certificate)
        try:
            public = x509.load_pem_x509_certificate(certificate.read_bytes())
        except ValueError:
            raise PrivateCaError(
                f"{certificate} is damaged: delete it, and it is made again from {key.name}."
            ) from None
        if public.public_key() != private.public_key():
            raise PrivateCaError(f"{key} is not the key of {certificate.name}. {_way_out(key, certificate)}")
        return cls(public, private)

    @classmethod
    def open_or_create(cls, certificate: Path, key: Path, name: str, start: datetime) -> PrivateCa:
        """Open the CA in these files, or create one that is valid from `start`. Raises OSError, ``PrivateCaError``."""
        if not certificate.exists():
            private_files.create(key, _key_pem(ec.generate_private_key(ec.SECP256R1())))  # keeps an existing key
            made = _self_signed(_read_key(key, certificate), name, start)
            private_files.write(certificate, made.public_bytes(Encoding.PEM))
        return cls.open(certificate, key)

    def issue(self, leaf: Leaf) -> Issued:
        """Issue `leaf` with a new key. It does not outlive the CA."""
        key = ec.generate_private_key(ec.SECP256R1())
        end = min(leaf.end, self._certificate.not_valid_after_utc)
        builder = (
            _builder(leaf.subject, self._certificate.subject, key, leaf.start, end)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([leaf.purpose]), critical=False)
            # Strict clients (Python 3.13 and later) reject a leaf without it.
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )
        if leaf.names:
            builder = builder.add_extension(x509.SubjectAlternativeName(leaf.names), critical=False)
        signed = builder.sign(self._key, hashes.SHA256())
        return Issued(signed.public_bytes(Encoding.PEM), _key_pem(key), signed.fingerprint(hashes.SHA256()).hex(), end)

    def issued(self, certificate: x509.Certificate) -> bool:
        """Return whether `certificate` has the signature of this CA."""
        try:
            certificate.verify_directly_issued_by(self._certificate)
        except (ValueError, TypeError, InvalidSignature):  # another issuer, kind of key, or key
            return False
        return True


def subject(common_name: str, organization: str = "") -> x509.Name:
    """Return a subject; a common name has at most 64 characters (RFC 5280, ub-common-name)."""
    parts = [x509.NameAttribute(NameOID.COMMON_NAME, common_name[:64])]
    if organization:
        parts.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization))
    return x509.Name(parts)


def _self_signed(key: ec.EllipticCurvePrivateKey, name: str, start: datetime) -> x509.Certificate:
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    # The key's id in the name distinguishes two CAs in a client's trust store.
    own = subject(f"{name} {identifier.digest.hex()[:16]}")
    return (
        _builder(own, own, key, start, start + _LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(SIGNS, critical=True)
        .add_extension(identifier, critical=False)
        .sign(key, hashes.SHA256())
    )


def _builder(
    name: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, start: datetime, end: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
    )


def _read_key(key: Path, certificate: Path) -> ec.EllipticCurvePrivateKey:
    try:
        private = load_pem_private_key(key.read_bytes(), None)
    except FileNotFoundError:
        raise PrivateCaError(f"{key} is missing. {_way_out(key, certificate)}") from None
    except (ValueError, TypeError):
        private = None
    if not isinstance(private, ec.EllipticCurvePrivateKey):
        raise PrivateCaError(f"{key} is damaged. {_way_out(key, certificate)}")
    return private


def _way_out(key: Path, certificate: Path) -> str:
    return (
        f"Restore it from a backup. For a new CA, delete {key.name} and {certificate.name} in {key.parent}: "
        "certificates and client files that the old one issued stop working."
    )


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
