"""Our checks of a certificate's path agree with `openssl verify` and with RFC 5280."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any, Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import AuthorityInformationAccessOID, NameOID
from cryptography.x509.oid import ExtendedKeyUsageOID as Eku

from certferry.core import checks
from certferry.core.x509.pem import parse_chain

HOST: Final = "shop.example.com"
Extensions = Sequence[tuple[x509.ExtensionType, bool]]


def ca(length: int | None = None) -> tuple[x509.ExtensionType, bool]:
    return x509.BasicConstraints(ca=True, path_length=length), True


def general(name: str) -> x509.GeneralName:
    return x509.IPAddress(ip_address(name)) if name[0].isdigit() else x509.DNSName(name)


def tree(name: str) -> x509.GeneralName:
    return x509.IPAddress(ip_network(name)) if "/" in name else x509.DNSName(name)


def only(*permitted: str, but: tuple[str, ...] = (), critical: bool = True) -> tuple[x509.ExtensionType, bool]:
    trees = [[tree(name) for name in some] or None for some in (permitted, but)]
    return x509.NameConstraints(trees[0], trees[1]), critical


def usage(**bits: bool) -> tuple[x509.ExtensionType, bool]:
    every = (
        "digital_signature content_commitment key_encipherment data_encipherment key_agreement "
        "key_cert_sign crl_sign encipher_only decipher_only"
    )
    return x509.KeyUsage(**{bit: bits.get(bit, False) for bit in every.split()}), True


def purpose(*given: x509.ObjectIdentifier) -> tuple[x509.ExtensionType, bool]:
    return x509.ExtendedKeyUsage(given), False


_CA: Final[Extensions] = (ca(),)
UNKNOWN: Final = (x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4.5"), b"\x05\x00"), True)
_URL: Final = x509.UniformResourceIdentifier("http://ca.example.com/x")
_POINT: Final = x509.DistributionPoint([_URL], None, None, None)

PATHS: Final[Mapping[str, Mapping[str, Any]]] = {
    "nothing odd": {},
    "unknown critical extension": {"leaf": [UNKNOWN]},
    "unknown extension, not critical": {"leaf": [(UNKNOWN[0], False)]},
    "unknown critical extension in the intermediate": {"middle": [ca(), UNKNOWN]},
    "precertificate": {"leaf": [(x509.PrecertPoison(), True)]},
    "critical authority information access": {
        "leaf": [
            (
                x509.AuthorityInformationAccess(
                    [x509.AccessDescription(AuthorityInformationAccessOID.CA_ISSUERS, _URL)]
                ),
                True,
            )
        ]
    },
    "critical subject key identifier": {"leaf": [(x509.SubjectKeyIdentifier(b"1" * 20), True)]},
    "critical issuer alternative name": {"leaf": [(x509.IssuerAlternativeName([x509.DNSName("x.y")]), True)]},
    "critical freshest CRL": {"leaf": [(x509.FreshestCRL([_POINT]), True)]},
    "critical CRL distribution points": {"leaf": [(x509.CRLDistributionPoints([_POINT]), True)]},
    "critical policies": {
        "leaf": [(x509.CertificatePolicies([x509.PolicyInformation(x509.ObjectIdentifier("1.2.3"), None)]), True)]
    },
    "critical policy constraints": {"leaf": [(x509.PolicyConstraints(0, None), True)]},
    "critical inhibition of any policy": {"leaf": [(x509.InhibitAnyPolicy(0), True)]},
    "critical OCSP no check": {"leaf": [(x509.OCSPNoCheck(), True)]},
    "name constraints on the leaf": {"leaf": [only("other.example")]},
    "constraints permit another domain": {"middle": [ca(), only("other.example")]},
    "constraints exclude the domain": {"middle": [ca(), only(but=("example.com",))]},
    "constraints exclude the domain, not critical": {"middle": [ca(), only(but=("example.com",), critical=False)]},
    "constraints exclude the host": {"middle": [ca(), only("example.com", but=(HOST,))]},
    "constraints exclude all": {"middle": [ca(), only(but=("",))]},
    "constraints permit all": {"middle": [ca(), only("")]},
    "constraints permit the domain": {"middle": [ca(), only("example.com")]},
    "constraints permit the domain in upper case": {"middle": [ca(), only("EXAMPLE.com")]},
    "constraints permit a domain with the same end": {"middle": [ca(), only("ple.com")]},
    "constraints permit subdomains": {"middle": [ca(), only(".example.com")]},
    "constraints permit subdomains of the host": {"middle": [ca(), only(f".{HOST}")]},
    "constraints permit one of two names": {"middle": [ca(), only("example.com")], "names": (HOST, "a.other.org")},
    "constraints exclude one host of a wildcard": {
        "middle": [ca(), only(but=("x.example.com",))],
        "names": (HOST, "*.example.com"),
    },
    "constraints permit one host of a wildcard": {"middle": [ca(), only(HOST)], "names": (HOST, "*.example.com")},
    "constraints on addresses alone": {"middle": [ca(), only("10.0.0.0/8")]},
    "constraints exclude the address": {"middle": [ca(), only(but=("10.0.0.0/8",))], "names": (HOST, "10.1.2.3")},
    "constraints permit the address": {"middle": [ca(), only("10.0.0.0/8")], "names": (HOST, "10.1.2.3")},
    "constraints permit no such address": {"middle": [ca(), only("10.0.0.0/8")], "names": (HOST, "11.1.2.3")},
    "constraints of the second intermediate": {"middle": [ca(), only("other.example")], "second": [ca()]},
    "intermediate that is no CA": {"middle": [(x509.BasicConstraints(ca=False, path_length=None), True)]},
    "intermediate without basic constraints": {"middle": []},
    "intermediate that may not sign": {"middle": [ca(), usage(digital_signature=True)]},
    "intermediate that may sign": {"middle": [ca(), usage(key_cert_sign=True)]},
    "path length exceeded": {"middle": [ca(0)], "second": [ca()]},
    "path length kept": {"middle": [ca(1)], "second": [ca(0)]},
    "intermediate for clients": {"middle": [ca(), purpose(Eku.CLIENT_AUTH)]},
    "intermediate for servers": {"middle": [ca(), purpose(Eku.SERVER_AUTH)]},
    "certificate for clients": {"leaf": [purpose(Eku.CLIENT_AUTH)]},
}


@pytest.mark.process
@pytest.mark.parametrize("name", PATHS)
def test_a_path_that_openssl_rejects_never_replaces_a_good_certificate(name: str, tmp_path: Path) -> None:
    leaf, root = made(**PATHS[name])
    (tmp_path / "root").write_text(root)
    (tmp_path / "sent").write_text(leaf)
    verify = ["openssl", "verify", "-purpose", "sslserver", "-verify_hostname", HOST, "-CAfile", f"{tmp_path}/root"]
    openssl = subprocess.run(
        [*verify, "-untrusted", f"{tmp_path}/sent", f"{tmp_path}/sent"], capture_output=True, text=True, check=False
    )
    now = datetime.now(UTC)
    refusal = checks.refusal(parse_chain(leaf), parse_chain(made()[0]), (HOST,), now)
    assert (refusal is None) == (openssl.returncode == 0), (refusal, openssl.stderr)


def test_constraints_of_a_root_are_a_warning() -> None:
    leaf, root = made(root=[ca(), only("other.example")])
    said = checks.findings(parse_chain(leaf + root), None, (HOST,), datetime.now(UTC))
    assert [(f.severity, f.reason) for f in said] == [("warn", "ChainBroken")]


@pytest.mark.parametrize("many", [["a." * 900 + "x"] * 10, [f"h{n}.example.com" for n in range(900)]])
def test_names_and_constraints_are_read_in_linear_time(many: list[str]) -> None:
    leaf, _ = made(middle=[ca(), only(*(f"d{n}.example.com" for n in range(700)))], names=(HOST, *many))
    begun = time.process_time()
    (finding,) = (
        f for f in checks.findings(parse_chain(leaf), None, (HOST,), datetime.now(UTC)) if f.severity != "warn"
    )
    assert finding.reason == "ChainBroken"
    assert time.process_time() - begun < 0.5


def made(
    leaf: Extensions = (),
    middle: Extensions = _CA,
    second: Extensions | None = None,
    root: Extensions = _CA,
    names: tuple[str, ...] = (HOST,),
) -> tuple[str, str]:
    """Return leaf and intermediates, and the root, in PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = anchor = _sign("Root", key, None, root)
    sent: list[x509.Certificate] = []
    for name, extensions in (("Middle", middle), ("Second", second)):
        if extensions is not None:
            own = ec.generate_private_key(ec.SECP256R1())
            issuer, key = _sign(name, own, (issuer, key), extensions), own
            sent.insert(0, issuer)
    sans = (x509.SubjectAlternativeName([general(n) for n in names]), False)
    sent.insert(0, _sign("leaf", ec.generate_private_key(ec.SECP256R1()), (issuer, key), [sans, *leaf]))
    return "".join(map(_pem, sent)), _pem(anchor)


def _sign(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    by: tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None,
    extensions: Extensions,
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(by[0].subject if by else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=2))
        .not_valid_after(now + timedelta(days=60))
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(by[1] if by else key, hashes.SHA256())


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode()
