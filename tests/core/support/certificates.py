"""Chains made at run time from a description, for the golden cases of the checks.

``leaf``, ``intermediate`` and ``root`` have options; ``send`` says which of them are in the file, and in
which order. ``stranger`` is a CA that has nothing to do with them, ``twin`` one with the name of the
intermediate and another key.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import AuthorityInformationAccessOID as Access
from cryptography.x509.oid import ExtendedKeyUsageOID as Usage
from cryptography.x509.oid import NameOID

from certferry.core.x509.pem import Chain, parse_chain

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
_USAGES = {"server": Usage.SERVER_AUTH, "client": Usage.CLIENT_AUTH, "any": Usage.ANY_EXTENDED_KEY_USAGE}
_NUMBERS = {"Root": 10, "Intermediate": 20, "Stranger": 30}
_SHA256, _SHA1 = bytes.fromhex("2a864886f70d01010b"), bytes.fromhex("2a864886f70d010105")
_LONG: Mapping[str, Any] = {"from": datetime(2020, 1, 1, tzinfo=UTC), "to": datetime(2040, 1, 1, tzinfo=UTC)}
_FROM, _TO = datetime(2026, 11, 1, tzinfo=UTC), datetime(2027, 2, 1, tzinfo=UTC)


def chain(given: Mapping[str, Any]) -> Chain:
    """The chain that `given` describes."""
    weak = "sha1" in {(given.get(part) or {}).get("hash") for part in ("root", "intermediate")}
    root = _ca("Root", {**(given.get("root") or {}), **({"key": "RSA-2048"} if weak else {})})
    stranger = _ca("Stranger", None)
    middle = _ca("Intermediate", given.get("intermediate"), root)
    if (given.get("leaf") or {}).get("hash") == "sha1":  # see _with_sha1: its CA has an RSA key
        middle = (_sign_ca("Intermediate", _key("RSA-2048", 40), root), _key("RSA-2048", 40))
    made = {
        "root": root[0],
        "intermediate": middle[0],
        "stranger": stranger[0],
        "twin": _ca("Intermediate", None, root, number=1)[0],
        "leaf": _leaf(given.get("leaf") or {}, middle),
    }
    sent = [made[name] for name in given.get("send", ("leaf", "intermediate"))]
    return parse_chain("".join(one.public_bytes(Encoding.PEM).decode() for one in sent))


@functools.cache
def _key(kind: str, number: int) -> Key:
    if kind.startswith("RSA-"):
        return rsa.generate_private_key(public_exponent=65537, key_size=int(kind[4:]))
    if kind == "Ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    curves: dict[str, ec.EllipticCurve] = {"P-256": ec.SECP256R1(), "P-521": ec.SECP521R1(), "K": ec.SECP256K1()}
    return ec.generate_private_key(curves[kind])


def _ca(
    name: str, given: Mapping[str, Any] | None, by: tuple[x509.Certificate, Key] | None = None, number: int = 0
) -> tuple[x509.Certificate, Key]:
    options = {**_LONG, **(given or {})}
    key = _key(options.get("key", "P-256"), number + _NUMBERS[name])
    return _sign_ca(name, key, by, options), key


def _sign_ca(
    name: str, key: Key, by: tuple[x509.Certificate, Key] | None, options: Mapping[str, Any] = _LONG
) -> x509.Certificate:
    constraint = x509.BasicConstraints(ca=True, path_length=None)
    return _sign(name, options, key, by, [(constraint, True)])


def _leaf(given: Mapping[str, Any], by: tuple[x509.Certificate, Key]) -> x509.Certificate:
    options = {"from": _FROM, "to": _TO, **given}
    names = options.get("names", ["shop.example.com"])
    extensions: list[tuple[x509.ExtensionType, bool]] = [
        (x509.BasicConstraints(ca=bool(options.get("ca")), path_length=None), True)
    ]
    if names:
        extensions.append((x509.SubjectAlternativeName([x509.DNSName(n) for n in names]), False))
    if usage := options.get("usage", ["server"]):
        extensions.append((x509.ExtendedKeyUsage([_USAGES[u] for u in usage]), False))
    if options.get("public"):
        policy = x509.PolicyInformation(x509.ObjectIdentifier("2.23.140.1.2.1"), None)
        extensions.append((x509.CertificatePolicies([policy]), False))
    if options.get("fetchable"):
        url = x509.UniformResourceIdentifier("http://ca.example.com/issuer.crt")
        where = x509.AccessDescription(Access.CA_ISSUERS, url)
        extensions.append((x509.AuthorityInformationAccess([where]), False))
    key = _key(options.get("key", "P-256"), options.get("key_number", 0))
    issuer = None if options.get("self_signed") else by
    return _sign(names[0] if names else "shop.example.com", options, key, issuer, extensions)


def _sign(
    name: str,
    options: Mapping[str, Any],
    key: Key,
    by: tuple[x509.Certificate, Key] | None,
    extensions: list[tuple[x509.ExtensionType, bool]],
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(by[0].subject if by else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(options["from"])
        .not_valid_after(options["to"])
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    signer = by[1] if by else key
    if options.get("hash") == "sha1":
        return _with_sha1(builder)
    return builder.sign(signer, None if isinstance(signer, ed25519.Ed25519PrivateKey) else hashes.SHA256())


def _with_sha1(builder: x509.CertificateBuilder) -> x509.Certificate:
    """Sign with SHA-1 by replacing the algorithm, because the library does not support it any more."""
    signer = _key("RSA-2048", 40)
    assert isinstance(signer, rsa.RSAPrivateKey)
    der = builder.sign(signer, hashes.SHA256()).public_bytes(Encoding.DER).replace(_SHA256, _SHA1)
    body = x509.load_der_x509_certificate(der).tbs_certificate_bytes
    signature = signer.sign(body, padding.PKCS1v15(), hashes.SHA1())
    return x509.load_der_x509_certificate(der[: -len(signature)] + signature)
