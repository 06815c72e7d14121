"""The order of a chain: leaf first, then each issuer after the certificate that it signed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from certferry.core.x509.chain import signed


def in_order(certificates: Sequence[x509.Certificate], spki: str = "") -> list[x509.Certificate]:
    """Return each certificate once, in order; one without a link keeps its place at the end.

    The leaf is the certificate whose public key has the digest `spki`, if there is one.
    """
    unique = list(dict.fromkeys(certificates))
    if len(unique) == 1:
        return unique
    issuers = {c.issuer for c in unique if c.issuer != c.subject}
    leaves = [c for c in unique if c.subject not in issuers]
    # A correct chain starts with its leaf, so the first certificate wins if it can be one.
    leaf = unique[0] if unique[0] in leaves or not leaves else leaves[0]
    if spki:
        leaf = next((c for c in unique if _has_key(c, spki)), leaf)
    chain, rest = [leaf], [c for c in unique if c is not leaf]
    while following := next((c for c in rest if c.subject == chain[-1].issuer), None):
        chain.append(following)
        rest.remove(following)
    return chain + rest


def completed(
    chain: Sequence[x509.Certificate], authorities: Sequence[x509.Certificate], most: int
) -> list[x509.Certificate]:
    """Return `chain` and the `authorities` that signed it, one after the other, at most `most` in all."""
    whole = list(chain)
    while len(whole) < most and whole[-1].subject != whole[-1].issuer:
        following = next((c for c in authorities if c not in whole and signed(whole[-1], c)), None)
        if following is None:
            break
        whole.append(following)
    return whole


def spki_of(certificate: x509.Certificate) -> str:
    """Return the SHA-256 of the public key, hex. Raises ValueError or UnsupportedAlgorithm if it cannot be read."""
    public = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(public).hexdigest()


def _has_key(certificate: x509.Certificate, spki: str) -> bool:
    try:
        return spki_of(certificate) == spki
    except (ValueError, UnsupportedAlgorithm):
        return False
