"""The facts of each certificate of a chain (RFC 5280), decoded once so that no check decodes again."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID

from certferry.core.x509.path_limits import PathLimits, may_serve, path_limits

_CURVES: Final = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}
WEAK: Final = frozenset({"MD2", "MD5", "SHA1"})
"""Hashes that no client accepts in a signature."""
_FORUM: Final = "2.23.140.1."
"""Policy OIDs of public CAs (CA/Browser Forum Baseline Requirements 7.1.6.1)."""


class ChainCertificate(msgspec.Struct, frozen=True, kw_only=True):
    """One certificate of a chain."""

    subject: str
    issuer: str
    not_before: datetime
    not_after: datetime
    key: str
    """``RSA-2048``, ``P-256`` …"""
    signature: str
    """The hash it was signed with: ``SHA256``; "" if the algorithm has none of its own (Ed25519)."""
    authority: bool
    """True if it may sign others (basic constraints)."""
    signed_by_next: bool
    """True if the next of the chain really signed it."""
    fingerprint: str
    """SHA-256 of it, hex."""
    limits: PathLimits = PathLimits()
    """Its limits for clients that follow the chain."""

    @property
    def self_issued(self) -> bool:
        """A root: subject and issuer are the same."""
        return self.subject == self.issuer


class Purpose(msgspec.Struct, frozen=True, kw_only=True):
    """The uses that the leaf permits."""

    server: bool = True
    """True if it may be a server's: it has no extended key usage, or one with server authentication."""
    client: bool = False
    """True if its extended key usage has client authentication."""
    public: bool = False
    """True if a public CA issued it: it has the policy or the log entries that browsers require."""
    fetchable: bool = False
    """True if it has a URL of its issuer's certificate: then the issuer is no root."""


def links(chain: Sequence[x509.Certificate], names: tuple[str, ...] = ()) -> tuple[ChainCertificate, ...]:
    """Return the facts of each certificate of a leaf with `names`; an unreadable extension counts as absent."""
    return tuple(_link(one, following, names) for one, following in zip(chain, [*chain[1:], None], strict=True))


def purpose(leaf: x509.Certificate) -> Purpose:
    """Return the uses that `leaf` permits."""
    said = _values(_extensions(leaf))
    fetched = said.get(x509.AuthorityInformationAccess, ())
    policies = said.get(x509.CertificatePolicies, ())
    return Purpose(
        server=may_serve(said.get(x509.ExtendedKeyUsage)),
        client=ExtendedKeyUsageOID.CLIENT_AUTH in said.get(x509.ExtendedKeyUsage, ()),
        public=x509.PrecertificateSignedCertificateTimestamps in said
        or any(p.policy_identifier.dotted_string.startswith(_FORUM) for p in policies),
        fetchable=any(a.access_method == AuthorityInformationAccessOID.CA_ISSUERS for a in fetched),
    )


def key_name(public: object) -> str:
    """Return the name of a kind of key: ``RSA-2048``, ``P-256``, ``Ed25519``."""
    match public:
        case rsa.RSAPublicKey():
            return f"RSA-{public.key_size}"
        case ec.EllipticCurvePublicKey():
            return _CURVES.get(public.curve.name, public.curve.name)
        case ed25519.Ed25519PublicKey():
            return "Ed25519"
        case ed448.Ed448PublicKey():
            return "Ed448"
        case dsa.DSAPublicKey():
            return "DSA"
        case _:
            return type(public).__name__


def signed(one: x509.Certificate, by: x509.Certificate) -> bool:
    """Return whether `by` signed `one`."""
    if _hash(one) in WEAK:  # the library verifies no such signature; another check reports it
        return one.issuer == by.subject
    try:
        one.verify_directly_issued_by(by)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _link(one: x509.Certificate, following: x509.Certificate | None, names: tuple[str, ...]) -> ChainCertificate:
    extensions = _extensions(one)
    values = _values(extensions)
    constraints = values.get(x509.BasicConstraints)
    return ChainCertificate(
        subject=one.subject.rfc4514_string(),
        issuer=one.issuer.rfc4514_string(),
        not_before=one.not_valid_before_utc,
        not_after=one.not_valid_after_utc,
        key=_key(one),
        signature=_hash(one),
        authority=bool(constraints and constraints.ca),
        signed_by_next=following is not None and signed(one, following),
        fingerprint=one.fingerprint(hashes.SHA256()).hex(),
        limits=path_limits(extensions, values, names),
    )


def _key(one: x509.Certificate) -> str:
    try:
        return key_name(one.public_key())
    except (ValueError, UnsupportedAlgorithm):
        return "unknown"


def _hash(one: x509.Certificate) -> str:
    try:
        algorithm = one.signature_hash_algorithm
    except UnsupportedAlgorithm:
        return "unknown"
    return algorithm.name.upper() if algorithm else ""


def _extensions(one: x509.Certificate) -> Sequence[x509.Extension[Any]]:
    try:
        return tuple(one.extensions)
    except (x509.DuplicateExtension, ValueError):
        return ()


def _values(extensions: Sequence[x509.Extension[Any]]) -> dict[type, Any]:
    """Return the extensions by type; a look-up by the library would search all of them each time."""
    return {type(extension.value): extension.value for extension in extensions}
