"""Real TLS sockets: what a client of an ingress sees, one connection at a time."""

from __future__ import annotations

import hashlib
import socket
import ssl
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from tests.support.certs import authority


class Address(NamedTuple):
    """Where a listener is reached."""

    ip: str
    port: int


def fingerprint(pem: str) -> str:
    """SHA-256 of the leaf in `pem`: what a handshake that shows it will say."""
    return x509.load_pem_x509_certificate(pem.encode()).fingerprint(hashes.SHA256()).hex()


def shown(tls: ssl.SSLSocket | ssl.SSLObject) -> str:
    """The fingerprint that the other side showed."""
    return hashlib.sha256(tls.getpeercert(binary_form=True) or b"").hexdigest()


def trusting(*protocols: str) -> ssl.SSLContext:
    """A client that trusts the tests' authority and checks names and dates, as browsers do."""
    context = ssl.create_default_context(cadata=authority().certificate)
    context.verify_flags |= ssl.VERIFY_X509_STRICT  # the default from Python 3.13 on
    if protocols:
        context.set_alpn_protocols(list(protocols))
    return context


def unverified() -> ssl.SSLContext:
    """Return a client without verification, for expired and foreign certificates."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def handshake(address: Address, host: str | None, context: ssl.SSLContext | None = None) -> str:
    """The fingerprint that a new connection for `host` is shown; `OSError` when there is none."""
    with (
        socket.create_connection(address, timeout=5) as plain,
        (context or unverified()).wrap_socket(plain, server_hostname=host) as tls,
    ):
        return shown(tls)


def get(address: Address, host: str, path: str = "/", context: ssl.SSLContext | None = None) -> int:
    """The status of one GET over a new, verified connection."""
    with (
        socket.create_connection(address, timeout=5) as plain,
        (context or trusting()).wrap_socket(plain, server_hostname=host) as tls,
    ):
        tls.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        head = tls.recv(4096)
    return int(head.split(b" ", 2)[1])
