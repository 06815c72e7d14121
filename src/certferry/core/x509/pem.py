"""Parse certificates and private keys in PEM.

Unusable input raises ``InvalidPem`` with a reason from a closed list and a sentence that never quotes key material.
Usable input is normalised: one certificate a block, leaf first, lines of 64 columns, a key as unencrypted PKCS#8.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Container, Sequence
from contextlib import suppress
from datetime import datetime
from functools import lru_cache
from typing import Final, NoReturn
from weakref import WeakValueDictionary

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from certferry.core.x509.chain import ChainCertificate, Purpose, links, purpose
from certferry.core.x509.chain_order import completed, in_order, spki_of
from certferry.core.x509.loadable import data_plane_objection

MAX_CHAIN: Final = 11
"""Certificates in one chain, the leaf included (ELB v3)."""
MAX_CERTIFICATE: Final = 65_536
"""Characters of a certificate field (ELB v3)."""
MAX_KEY: Final = 8_192
"""Characters of a private-key field (ELB v3)."""

_BLOCK = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----(.*?)-----END \1-----", re.DOTALL)
_BEGIN: Final = "-----BEGIN "
_END: Final = "-----END "
_MAX_BLOCKS: Final = 4 * MAX_CHAIN
"""PEM blocks of any label in one field; the search for blocks costs their number times the length."""
_KEY_LABELS = frozenset({"PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"})


class InvalidPem(ValueError):
    """Raised for a text that is no usable certificate or key. ``reason`` is from ``REASONS``."""

    REASONS: Final = (
        "Empty",
        "NotPEM",
        "TooLong",
        "BrokenCertificate",
        "BrokenKey",
        "EncryptedKey",
        "UnsupportedKey",
        "KeyMismatch",
    )

    def __init__(self, reason: str, sentence: str) -> None:
        assert reason in self.REASONS
        super().__init__(sentence)
        self.reason = reason
        self.sentence = sentence


class PrivateKey:
    """An unencrypted private key that does not print, compare by content, pickle or copy by accident."""

    __slots__ = ("__pem", "spki")

    def __init__(self, pem: str, spki: str) -> None:
        self.__pem = pem
        self.spki = spki
        """SHA-256 of the public half (SubjectPublicKeyInfo), hex."""

    def reveal(self) -> str:
        """Return the PKCS#8 PEM. Only the ELB's encryption and xDS, and the controller's PUT, may call it."""
        return self.__pem

    def __repr__(self) -> str:
        return "PrivateKey(***)"

    __str__ = __repr__

    def __reduce__(self) -> NoReturn:
        raise TypeError("a private key is not serialised")


class Chain(msgspec.Struct, frozen=True, kw_only=True, weakref=True):
    """The public side of a certificate: its PEM, leaf first, and the facts of the leaf."""

    pem: str
    digest: str
    """SHA-256 over every certificate of the chain, hex: the identity of the content."""
    fingerprint: str
    """SHA-256 of the leaf, hex; a handshake presents it."""
    spki: str
    """SHA-256 of the leaf's public key, hex: equal to ``PrivateKey.spki`` of its key."""
    names: tuple[str, ...]
    """DNS names and IP addresses of the leaf, lower case, sorted; its common name if it has no SAN."""
    common_name: str
    subject: str
    issuer: str
    serial: str
    not_before: datetime
    not_after: datetime
    key: str
    """``RSA-2048``, ``P-256``, ``Ed25519`` …"""
    length: int
    """Certificates in the chain."""
    self_signed: bool
    sans: tuple[str, ...] = ()
    """The subject alternative names alone, sorted."""
    links: tuple[ChainCertificate, ...] = ()
    """Each certificate of the chain, leaf first."""
    purpose: Purpose = Purpose()
    """The uses that the leaf permits."""
    reordered: bool = False
    """True if the input had another order."""

    data_plane_objection: str = ""
    """Why Envoy would reject it whatever its kind of key; "" if it would not. See ``loadable``."""

    @property
    def loadable(self) -> bool:
        """True if Envoy loads it: RSA from 2048 bits, P-256/384/521 or Ed25519, and no objection of the data plane."""
        if self.data_plane_objection:
            return False
        if self.key.startswith("RSA-"):
            return int(self.key[4:]) >= 2048
        return self.key in {"P-256", "P-384", "P-521", "Ed25519"}


class KeyPair(msgspec.Struct, frozen=True, kw_only=True):
    """A chain and the private key that belongs to its leaf."""

    chain: Chain
    key: PrivateKey


@lru_cache(maxsize=8192)
def parse_chain(text: str, spki: str = "", authorities: str = "") -> Chain:
    """Return the chain in `text` (PEM, any order, any line ends). Raises InvalidPem.

    `spki`: the public key of the leaf if it is known (``PrivateKey.spki``). `authorities`: PEM of CA certificates
    that complete a chain without its intermediates; what is not PEM in it is ignored. Results are cached, because
    what a Secret holds comes back from the load balancer again and again.
    """
    if not text.strip():
        raise InvalidPem("Empty", "The certificate is empty.")
    if len(text) > MAX_CERTIFICATE:
        raise InvalidPem(
            "TooLong", f"The certificate has {len(text)} characters; at most {MAX_CERTIFICATE} are allowed."
        )
    if text.count(_BEGIN) > _MAX_BLOCKS:
        raise InvalidPem("TooLong", f"The certificate has more than {_MAX_BLOCKS} PEM blocks.")
    blocks = _certificate_blocks(text)
    if _BEGIN in (rest := _BLOCK.sub("", text)) or _END in rest:
        half = ("BEGIN", "END") if _BEGIN in rest else ("END", "BEGIN")
        raise InvalidPem(
            "BrokenCertificate", f"The certificate is cut off: a line says {half[0]}, and no line says {half[1]}."
        )
    if not blocks:
        raise InvalidPem("NotPEM", "The certificate is not PEM: no line says BEGIN CERTIFICATE.")
    if len(blocks) > MAX_CHAIN:
        raise InvalidPem("TooLong", f"The chain has {len(blocks)} certificates; at most {MAX_CHAIN} are allowed.")
    certificates = [_load(body, number) for number, body in enumerate(blocks, start=1)]
    return _in_order(certificates, spki, _authorities(authorities))


def parse_key(text: str) -> PrivateKey:
    """Parse the private key in `text` (PKCS#8, PKCS#1 or SEC1 PEM); raises ``InvalidPem``."""
    if not text.strip():
        raise InvalidPem("Empty", "The private key is empty.")
    if len(text) > MAX_KEY:
        raise InvalidPem("TooLong", f"The private key has {len(text)} characters; at most {MAX_KEY} are allowed.")
    blocks = [(label, body) for label, body in _BLOCK.findall(text) if label.endswith("PRIVATE KEY")]
    if not blocks:
        raise InvalidPem("NotPEM", "The private key is not PEM: no line says BEGIN PRIVATE KEY.")
    label, body = blocks[0]
    if label == "ENCRYPTED PRIVATE KEY" or "ENCRYPTED" in body:
        raise InvalidPem("EncryptedKey", "The private key is encrypted; store it without a passphrase (openssl pkey).")
    if label not in _KEY_LABELS:
        raise InvalidPem("UnsupportedKey", f"A key of type “{label.title()}” is not supported; use RSA or EC.")
    pem = _rewrap(label, body)
    try:
        # OpenSSL's own check of an RSA key takes 30 ms; the trial signature below takes 1 and proves more
        key = load_pem_private_key(pem.encode(), password=None, unsafe_skip_rsa_key_validation=True)
        if isinstance(key, rsa.RSAPrivateKey):
            _try_signature(key)
    except (ValueError, TypeError, UnsupportedAlgorithm, InvalidSignature):
        # from None: the text of the cause may quote the input
        raise InvalidPem("BrokenKey", "The private key cannot be read: its content is damaged or cut off.") from None
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey):
        raise InvalidPem("UnsupportedKey", "The private key is neither RSA, nor EC, nor Ed25519.")
    normal = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return PrivateKey(normal, hashlib.sha256(spki).hexdigest())


def parse_pair(certificate: str, private_key: str, authorities: str = "") -> KeyPair:
    """Return both halves, checked to belong together; the leaf is the certificate of the key. Raises InvalidPem.

    `authorities`: see ``parse_chain``.
    """
    key = parse_key(private_key)
    chain = parse_chain(certificate, key.spki, authorities)
    if chain.spki != key.spki:
        raise InvalidPem(
            "KeyMismatch",
            f"The private key does not belong to the certificate for {listed(chain.names) or chain.subject}.",
        )
    return KeyPair(chain=chain, key=key)


def parse_shown(ders: Sequence[bytes]) -> Chain:
    """Parse the certificates (DER) that a TLS handshake presents, leaf first; raises ``InvalidPem``."""
    try:
        shown = [x509.load_der_x509_certificate(der) for der in ders]
    except ValueError:
        raise InvalidPem("BrokenCertificate", "What the listener shows is no certificate.") from None
    return _in_order(shown)


def covers(names: Container[str], host: str) -> bool:
    """Return whether a client that asks for `host` accepts `names` (RFC 6125: a wildcard is one whole label)."""
    return any(name in names for name in covering(host))


@lru_cache(maxsize=8192)
def covering(host: str) -> tuple[str, ...]:
    """Return the names that cover `host`: itself and its wildcard."""
    host = host.lower().rstrip(".")
    _, _, parent = host.partition(".")
    return (host, f"*.{parent}") if parent and not host.startswith("*.") and not _is_ip(host) else (host,)


def listed(names: tuple[str, ...], most: int = 3) -> str:
    """Return `names` for a sentence: the first few, and the number of the others."""
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _load(body: str, number: int) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(_rewrap("CERTIFICATE", body).encode())
    except (ValueError, UnsupportedAlgorithm):
        where = "The certificate" if number == 1 else f"Certificate {number} of the chain"
        raise InvalidPem("BrokenCertificate", f"{where} cannot be read: its content is damaged or cut off.") from None


def _try_signature(key: rsa.RSAPrivateKey) -> None:
    message = b"certferry"
    signature = key.sign(message, padding.PKCS1v15(), hashes.SHA256())
    key.public_key().verify(signature, message, padding.PKCS1v15(), hashes.SHA256())


def _rewrap(label: str, body: str) -> str:
    data = "".join(body.split())
    rows = "\n".join(data[i : i + 64] for i in range(0, len(data), 64))
    return f"-----BEGIN {label}-----\n{rows}\n-----END {label}-----\n"


def _certificate_blocks(text: str) -> list[str]:
    return [body for label, body in _BLOCK.findall(text) if label in ("CERTIFICATE", "TRUSTED CERTIFICATE")]


def _authorities(text: str) -> list[x509.Certificate]:
    """Return the readable CA certificates in `text` that are no roots."""
    if not text or len(text) > MAX_CERTIFICATE or text.count(_BEGIN) > _MAX_BLOCKS:
        return []
    certificates = []
    for body in _certificate_blocks(text):
        with suppress(InvalidPem):
            certificates.append(_load(body, 1))
    return [certificate for certificate in certificates if certificate.subject != certificate.issuer]


def _in_order(
    certificates: Sequence[x509.Certificate], spki: str = "", authorities: Sequence[x509.Certificate] = ()
) -> Chain:
    ordered = in_order(certificates, spki)
    try:
        facts = _facts(completed(ordered, authorities, MAX_CHAIN))
    except (ValueError, UnsupportedAlgorithm):
        raise InvalidPem("BrokenCertificate", "The certificate has a key or a name that cannot be read.") from None
    came_so = ordered == list(dict.fromkeys(certificates))
    return facts if came_so else msgspec.structs.replace(facts, reordered=True)


def _facts(chain: Sequence[x509.Certificate]) -> Chain:
    """Return the facts of `chain`. A Secret and the load balancer share one object for the same content."""
    digest = hashlib.sha256(b"".join(c.public_bytes(Encoding.DER) for c in chain)).hexdigest()
    if (facts := _chains.get(digest)) is None:
        _chains[digest] = facts = _read_facts(chain, digest)
    return facts


_chains: Final[WeakValueDictionary[str, Chain]] = WeakValueDictionary()


def _read_facts(chain: Sequence[x509.Certificate], digest: str) -> Chain:
    leaf, sans = chain[0], _sans(chain[0])
    each = links(chain, sans)
    common = [str(a.value) for a in leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    common_name = common[0] if common else ""
    first = each[0]
    return Chain(
        pem="".join(c.public_bytes(Encoding.PEM).decode() for c in chain),
        digest=digest,
        fingerprint=first.fingerprint,
        spki=spki_of(leaf),
        names=sans or ((common_name.lower(),) if common_name else ()),
        common_name=common_name,
        subject=first.subject,
        issuer=first.issuer,
        serial=f"{leaf.serial_number:x}",
        not_before=first.not_before,
        not_after=first.not_after,
        key=first.key,
        length=len(chain),
        self_signed=leaf.issuer == leaf.subject,
        sans=sans,
        links=each,
        purpose=purpose(leaf),
        data_plane_objection=data_plane_objection(leaf),
    )


def _sans(leaf: x509.Certificate) -> tuple[str, ...]:
    try:
        value = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    names = [n.lower() for n in value.get_values_for_type(x509.DNSName)]
    names += [str(a) for a in value.get_values_for_type(x509.IPAddress)]
    return tuple(sorted(set(names)))
