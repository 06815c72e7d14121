"""About sixty kinds of certificates, good and odd, for comparing verdicts on them."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID as Eku
from cryptography.x509.oid import NameOID

from tests.support.certs import Pair, rsa_key

HOST: Final = "odd.example.com"
_CA_KEY: Final = ec.generate_private_key(ec.SECP256R1())
_CA_NAME: Final = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Odd CA")])
_LAST: Final = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)


def _usage(**bits: bool) -> x509.KeyUsage:
    names = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
    rest = ("key_cert_sign", "crl_sign", "encipher_only", "decipher_only")
    return x509.KeyUsage(**{name: bits.get(name, False) for name in (*names, *rest)})


def issue(
    key: Any = None,
    *,
    sans: list[x509.GeneralName] | None = None,
    extensions: list[tuple[x509.ExtensionType, bool]] | None = None,
    ends: datetime | None = None,
    begins: datetime | None = None,
    subject: str | None = HOST,
    serial: int | None = None,
    digest: Any = None,
    pss: bool = False,
    signer: Any = None,
    chain: str = "",
) -> Pair:
    key = key or ec.generate_private_key(ec.SECP256R1())
    signer = signer or _CA_KEY
    now = datetime.now(UTC)
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, subject)] if subject else []
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name(attributes))
        .issuer_name(_CA_NAME)
        .public_key(key.public_key())
        .serial_number(serial or x509.random_serial_number())
        .not_valid_before(begins or now - timedelta(days=1))
        .not_valid_after(ends or now + timedelta(days=90))
    )
    names = [x509.DNSName(HOST)] if sans is None else sans
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    for extension, critical in extensions or []:
        builder = builder.add_extension(extension, critical=critical)
    algorithm = None if isinstance(signer, ed25519.Ed25519PrivateKey) else digest or hashes.SHA256()
    options: dict[str, Any] = (
        {"rsa_padding": padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=32)} if pss else {}
    )
    certificate = builder.sign(signer, algorithm, **options)
    return Pair(certificate.public_bytes(Encoding.PEM).decode() + chain, _pem(key))


def _pem(key: Any) -> str:
    return str(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode())


def authority(key: Any = None, **given: Any) -> str:
    """A CA certificate (PEM)."""
    ca = (x509.BasicConstraints(ca=True, path_length=None), True)
    return issue(key or _CA_KEY, subject="Odd CA", sans=[], extensions=[ca], **given).certificate


def openssl(key: str, *request: str) -> Pair:
    """A self-signed certificate that only OpenSSL's command line makes; `key`: arguments that make its key."""
    with tempfile.TemporaryDirectory() as folder:
        file, out = Path(folder, "key.pem"), Path(folder, "crt.pem")
        run = ["openssl", *key.split(), "-out", str(file)]
        subprocess.run(run, check=True, capture_output=True, timeout=60)
        san = ["-addext", f"subjectAltName=DNS:{HOST}"]
        words = ["openssl", "req", "-x509", "-new", "-key", str(file), "-subj", f"/CN={HOST}", "-days", "30"]
        subprocess.run([*words, *san, *request, "-out", str(out)], check=True, capture_output=True, timeout=60)
        return Pair(out.read_text(), file.read_text())


def _with(extension: x509.ExtensionType, critical: bool = False, **given: Any) -> Callable[[], Pair]:
    return lambda: issue(extensions=[(extension, critical)], **given)


UNKNOWN: Final = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4.5"), b"\x05\x00")
STAPLE: Final = x509.TLSFeature([x509.TLSFeatureType.status_request])
CA: Final = x509.BasicConstraints(ca=True, path_length=None)

KINDS: Final[dict[str, Callable[[], Pair]]] = {
    "P-256": issue,
    "P-384": lambda: issue(ec.generate_private_key(ec.SECP384R1())),
    "P-521": lambda: issue(ec.generate_private_key(ec.SECP521R1())),
    "secp256k1": lambda: issue(ec.generate_private_key(ec.SECP256K1())),
    "brainpool": lambda: issue(ec.generate_private_key(ec.BrainpoolP256R1())),
    "P-224": lambda: issue(ec.generate_private_key(ec.SECP224R1())),
    "Ed25519": lambda: issue(ed25519.Ed25519PrivateKey.generate()),
    "Ed448": lambda: issue(ed448.Ed448PrivateKey.generate()),
    "RSA-1024": lambda: issue(rsa_key(1024)),
    "RSA-2047": lambda: issue(rsa.generate_private_key(65537, 2047)),
    "RSA-2048": lambda: issue(rsa_key(2048)),
    "RSA-3072": lambda: issue(rsa_key(3072)),
    "RSA-4096": lambda: issue(rsa_key(4096)),
    "RSA-2048 with exponent 3": lambda: issue(rsa.generate_private_key(3, 2048)),
    "RSA-PSS key": lambda: openssl("genpkey -algorithm RSA-PSS -pkeyopt rsa_keygen_bits:2048"),
    "explicit curve parameters": lambda: openssl(
        "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -pkeyopt ec_param_enc:explicit"
    ),
    "compressed point": lambda: openssl(
        "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -pkeyopt point-format:compressed"
    ),
    "must-staple": _with(STAPLE),
    "must-staple, critical": _with(STAPLE, True),
    "status_request_v2": _with(x509.TLSFeature([x509.TLSFeatureType.status_request_v2])),
    "EC without digitalSignature": _with(_usage(key_agreement=True), True),
    "EC with digitalSignature": _with(_usage(digital_signature=True), True),
    "EC with keyCertSign alone": _with(_usage(key_cert_sign=True), True),
    "EC without digitalSignature, not critical": _with(_usage(key_encipherment=True)),
    "RSA without digitalSignature": _with(_usage(key_encipherment=True), True, key=rsa_key(2048)),
    "RSA with keyAgreement alone": _with(_usage(key_agreement=True), True, key=rsa_key(2048)),
    "RSA with digitalSignature": _with(_usage(digital_signature=True), True, key=rsa_key(2048)),
    "Ed25519 without digitalSignature": _with(
        _usage(key_agreement=True), True, key=ed25519.Ed25519PrivateKey.generate()
    ),
    "for clients only": _with(x509.ExtendedKeyUsage([Eku.CLIENT_AUTH])),
    "for any use": _with(x509.ExtendedKeyUsage([Eku.ANY_EXTENDED_KEY_USAGE])),
    "for code signing, critical": _with(x509.ExtendedKeyUsage([Eku.CODE_SIGNING]), True),
    "a CA as a server": _with(CA, True),
    "unknown critical extension": _with(UNKNOWN, True),
    "unknown extension": _with(UNKNOWN),
    "no SAN": lambda: issue(sans=[]),
    "no SAN and no subject": lambda: issue(sans=[], subject=None),
    "no subject": lambda: issue(subject=None),
    "SAN of an IP address": lambda: issue(sans=[x509.IPAddress(ip_address("127.0.0.1"))]),
    "SAN of an email address": lambda: issue(sans=[x509.RFC822Name("a@example.com")]),
    "SAN of a URI": lambda: issue(sans=[x509.UniformResourceIdentifier("spiffe://a/b")]),
    "SAN with an underscore": lambda: issue(sans=[x509.DNSName("_svc._tcp.example.test")]),
    "SAN of a lone star": lambda: issue(sans=[x509.DNSName("*")]),
    "SAN with a star within": lambda: issue(sans=[x509.DNSName("a.*.x")]),
    "SAN with a final dot": lambda: issue(sans=[x509.DNSName("dot.")]),
    "SAN of 250 characters": lambda: issue(sans=[x509.DNSName(".".join(["x" * 49] * 5))]),
    "empty SAN": lambda: issue(sans=[x509.DNSName("")]),
    "300 SANs": lambda: issue(sans=[x509.DNSName(f"n{n}.example.com") for n in range(300)]),
    "expired": lambda: issue(begins=datetime(2024, 1, 1, tzinfo=UTC), ends=datetime(2025, 1, 1, tzinfo=UTC)),
    "not yet valid": lambda: issue(begins=datetime(2050, 1, 1, tzinfo=UTC), ends=datetime(2051, 1, 1, tzinfo=UTC)),
    "no end": lambda: issue(ends=_LAST),
    "valid since 1950": lambda: issue(begins=datetime(1950, 1, 1, tzinfo=UTC)),
    "serial number 1": lambda: issue(serial=1),
    "serial number of 20 octets": lambda: issue(serial=(1 << 158) + 1),
    "signed with SHA-1": lambda: openssl("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048", "-sha1"),
    "signed with SHA-384": lambda: issue(digest=hashes.SHA384()),
    "signed with SHA-512": lambda: issue(digest=hashes.SHA512()),
    "signed with SHA3": lambda: openssl("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048", "-sha3-256"),
    "signed with RSA-PSS": lambda: issue(signer=rsa_key(2048), pss=True),
    "signed by Ed25519": lambda: issue(signer=ed25519.Ed25519PrivateKey.generate()),
    "with its CA": lambda: issue(chain=authority()),
    "with its CA twice": lambda: issue(chain=authority() * 2),
    "with an RSA-1024 CA": lambda: issue(signer=rsa_key(1024), chain=authority(rsa_key(1024), signer=rsa_key(1024))),
    "with a secp256k1 CA": lambda: issue(chain=authority(ec.generate_private_key(ec.SECP256K1()))),
    "with an expired CA": lambda: issue(
        chain=authority(begins=datetime(2020, 1, 1, tzinfo=UTC), ends=datetime(2021, 1, 1, tzinfo=UTC))
    ),
    "with a CA that has an unknown critical extension": lambda: issue(
        chain=issue(_CA_KEY, subject="Odd CA", sans=[], extensions=[(CA, True), (UNKNOWN, True)]).certificate
    ),
    "with a must-staple CA": lambda: issue(
        chain=issue(_CA_KEY, subject="Odd CA", sans=[], extensions=[(CA, True), (STAPLE, False)]).certificate
    ),
}


def kinds() -> Iterator[tuple[str, Pair]]:
    """Each kind by its name."""
    for name, make in KINDS.items():
        yield name, make()
