"""The server's CA, its serving certificate, and client certificates, stored in the server's folder.

The CA is valid for ten years, like the kubeconfigs that contain it. The serving certificate is short-lived and
renewed without a restart.
"""

from __future__ import annotations

import ipaddress
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from certferry.runtime import private_files

_CA_DAYS, _DAYS, _RENEW_DAYS = 3650, 90, 30


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
    """Create missing certificates and renew a due one; return whether the serving certificate is new."""
    if not (files.ca.exists() and files.ca_key.exists()):
        _make_ca(files, now)
    if files.certificate.exists() and files.key.exists() and _is_usable(files, hosts, now):
        return False
    key = ec.generate_private_key(ec.SECP256R1())
    names = [_san(h) for h in hosts]
    server = _issue(files, [(NameOID.COMMON_NAME, "certferry kube")], key, names, now)
    private_files.write(files.key, _key_pem(key))
    private_files.write(files.certificate, server)
    return True


def issue_client(files: Files, name: str, role: str, now: datetime) -> tuple[bytes, bytes]:
    """Issue a client certificate for `name` with `role`; return certificate and key (PEM)."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = [(NameOID.COMMON_NAME, name), (NameOID.ORGANIZATION_NAME, f"certferry:{role}")]
    return _issue(files, subject, key, [], now), _key_pem(key)


def _is_usable(files: Files, hosts: tuple[str, ...], now: datetime) -> bool:
    certificate = x509.load_pem_x509_certificate(files.certificate.read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    covered = set(names.get_values_for_type(x509.DNSName)) | {str(a) for a in names.get_values_for_type(x509.IPAddress)}
    ca = x509.load_pem_x509_certificate(files.ca.read_bytes())
    fresh = certificate.not_valid_after_utc - now > timedelta(days=_RENEW_DAYS)
    return fresh and covered >= set(hosts) and certificate.issuer == ca.subject


def _make_ca(files: Files, now: datetime) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    # The serial in the name distinguishes two servers' CAs in a client's trust store.
    subject = _name([(NameOID.COMMON_NAME, f"certferry kube CA {x509.random_serial_number():x}"[:60])])
    usage = x509.KeyUsage(
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
    certificate = (
        _builder(subject, subject, key.public_key(), now, _CA_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    private_files.write(files.ca_key, _key_pem(key))
    private_files.write(files.ca, certificate.public_bytes(Encoding.PEM))


def _issue(
    files: Files,
    subject: list[tuple[x509.ObjectIdentifier, str]],
    key: ec.EllipticCurvePrivateKey,
    names: list[x509.GeneralName],
    now: datetime,
) -> bytes:
    ca = x509.load_pem_x509_certificate(files.ca.read_bytes())
    ca_key = load_pem_private_key(files.ca_key.read_bytes(), password=None)
    assert isinstance(ca_key, ec.EllipticCurvePrivateKey)
    purpose = ExtendedKeyUsageOID.SERVER_AUTH if names else ExtendedKeyUsageOID.CLIENT_AUTH
    builder = (
        _builder(_name(subject), ca.subject, key.public_key(), now, _DAYS)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(ca_key, hashes.SHA256()).public_bytes(Encoding.PEM)


def _builder(
    subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey, now: datetime, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=days))
    )


def _name(parts: list[tuple[x509.ObjectIdentifier, str]]) -> x509.Name:
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in parts])


def _san(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
