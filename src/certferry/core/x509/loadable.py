"""Leaf certificates that Envoy's TLS library does not load, apart from the kind of key.

tests/elb/server/dataplane/test_verdict.py compares this with a real Envoy for every kind of certificate.
"""

from __future__ import annotations

from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtensionOID, NameOID

_RSASSA_PSS: Final = x509.ObjectIdentifier("1.2.840.113549.1.1.10")
_EC_PUBLIC_KEY: Final = bytes.fromhex("06072a8648ce3d0201")
"""DER of the algorithm id-ecPublicKey; its parameters follow (RFC 5480 2.1.1)."""
_SEQUENCE: Final = 0x30


def data_plane_objection(leaf: x509.Certificate) -> str:
    """Return why Envoy would reject `leaf`, as the end of a sentence about it; "" if it would not.

    Raises ValueError if an extension cannot be read.
    """
    if leaf.public_key_algorithm_oid == _RSASSA_PSS:
        return (
            "its key is for RSA-PSS alone (id-RSASSA-PSS), which the load balancer does not load; use a plain RSA key"
        )
    if isinstance(leaf.public_key(), ec.EllipticCurvePublicKey):
        if _explicit_parameters(leaf):
            return (
                "its key spells out its curve's parameters instead of naming the curve; make the key with a named curve"
            )
        if not _may_sign(leaf):
            return "its key usage lacks digitalSignature, without which an ECDSA key cannot serve TLS"
    if _must_staple(leaf):
        return "it demands OCSP stapling (must-staple), which the load balancer does not do"
    if not _is_named(leaf):
        return "it has neither a subject alternative name nor a common name"
    return ""


def _explicit_parameters(leaf: x509.Certificate) -> bool:
    _, found, parameters = leaf.tbs_certificate_bytes.partition(_EC_PUBLIC_KEY)
    return bool(found) and parameters[0] == _SEQUENCE


def _may_sign(leaf: x509.Certificate) -> bool:
    try:
        usage = leaf.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return True
    return usage.digital_signature


def _must_staple(leaf: x509.Certificate) -> bool:
    try:
        features = leaf.extensions.get_extension_for_class(x509.TLSFeature).value
    except x509.ExtensionNotFound:
        return False
    return x509.TLSFeatureType.status_request in features


def _is_named(leaf: x509.Certificate) -> bool:
    try:
        names = leaf.extensions.get_extension_for_oid(ExtensionOID.SUBJECT_ALTERNATIVE_NAME).value
    except x509.ExtensionNotFound:
        return bool(leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME))
    return isinstance(names, x509.SubjectAlternativeName) and len(list(names)) > 0
