"""Run Pebble, the test CA of Let's Encrypt, and its DNS server on loopback, for the tests of issuance.

Both are ordinary Go modules, named with their versions in go.mod beside this file, and built once into a cache
directory (with go, about half a minute).
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from tools import go_programs

HERE = Path(__file__).resolve().parent
PATIENCE = 30.0
"""Seconds until both programs must be ready."""
_MODULE = "github.com/letsencrypt/pebble/v2"


class Pebble(NamedTuple):
    """A running CA."""

    directory: str
    """URL of its ACME directory."""
    management: str
    """URL of its management interface: revocation, renewal information."""
    dns: str
    """URL of the management interface of its DNS server."""
    ca_certificates: str
    """The root of both URLs' certificates (PEM)."""
    log: Path

    def ask(self, url: str, body: Mapping[str, Any] | None = None) -> str:
        """Request a URL of the management interfaces; with `body`, POST it."""
        data = None if body is None else json.dumps(body).encode()
        context = ssl.create_default_context(cadata=self.ca_certificates) if url.startswith("https") else None
        with urllib.request.urlopen(urllib.request.Request(url, data), timeout=10, context=context) as answer:
            return str(answer.read().decode())

    def set_txt(self, name: str, value: str) -> None:
        """Add a TXT record, as a DNS hook would."""
        self.ask(f"{self.dns}/set-txt", {"host": f"{name}.", "value": value})


def available() -> bool:
    """Return whether the programs are built already, or go can build them."""
    return shutil.which("go") is not None or (_folder() / "pebble-challtestsrv").exists()


def built() -> Path:
    """Return the directory with `pebble` and `pebble-challtestsrv`; build them if one is missing."""
    programs = {name: (f"{_MODULE}/cmd/{name}", "") for name in ("pebble", "pebble-challtestsrv")}
    return go_programs.built(HERE, _folder(), programs)


@contextlib.contextmanager
def running(folder: Path, http_port: int, address: str = "127.0.0.1", **environment: str) -> Iterator[Pebble]:
    """Run the CA within the block. It validates HTTP-01 at `address` and `http_port`, whatever the name.

    It is strict, rejects 20 % of nonces, and never reuses a validation, unless `environment` says otherwise.
    """
    programs = built()
    directory, management, dns, dns_management, tls = _ports(5)
    root = _server_certificate(folder)
    config = {
        "listenAddress": f"127.0.0.1:{directory}",
        "managementListenAddress": f"127.0.0.1:{management}",
        "certificate": str(folder / "pebble.pem"),
        "privateKey": str(folder / "pebble.key"),
        "httpPort": http_port,
        "tlsPort": tls,
        "domainBlocklist": ["blocked-domain.example"],
        "retryAfter": {"authz": 1, "order": 1},
        "profiles": {
            "default": {"description": "Ninety days", "validityPeriod": 90 * 86400},
            "shortlived": {"description": "Six days", "validityPeriod": 6 * 86400},
        },
    }
    (folder / "pebble.json").write_text(json.dumps({"pebble": config}))
    chosen = {"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "20", "PEBBLE_AUTHZREUSE": "0", **environment}
    resolver = [str(programs / "pebble-challtestsrv"), "-defaultIPv4", address, "-defaultIPv6", ""]
    resolver += ["-dnsserver", f"127.0.0.1:{dns}", "-management", f"127.0.0.1:{dns_management}"]
    resolver += ["-http01", "", "-https01", "", "-tlsalpn01", "", "-doh", ""]
    ca = [str(programs / "pebble"), "-strict", "-config", str(folder / "pebble.json"), "-dnsserver", f"127.0.0.1:{dns}"]
    children = []
    try:
        for name, command in (("dns", resolver), ("pebble", ca)):
            with (folder / f"{name}.log").open("wb") as log:
                children.append(subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **chosen}))
        result = Pebble(
            f"https://127.0.0.1:{directory}/dir",
            f"https://127.0.0.1:{management}",
            f"http://127.0.0.1:{dns_management}",
            root,
            folder / "pebble.log",
        )
        _until_ready(result, children)
        yield result
    finally:
        for child in children:
            child.terminate()
        for child in children:
            child.wait(10)


def _folder() -> Path:
    return go_programs.cache(f"pebble-{go_programs.versions(HERE, (_MODULE,))[_MODULE]}")


def _until_ready(pebble: Pebble, children: list[subprocess.Popen[bytes]]) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and all(child.poll() is None for child in children):
        with contextlib.suppress(OSError):
            pebble.ask(pebble.directory)
            pebble.set_txt("ready.test", "yes")
            return
        time.sleep(0.05)
    raise RuntimeError(f"Pebble is not ready: see {pebble.log}")


def _ports(number: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(number)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


def _server_certificate(folder: Path) -> str:
    """Write a self-signed certificate for the CA's own URLs, and return it."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "pebble")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(Encoding.PEM).decode()
    (folder / "pebble.pem").write_text(pem)
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "pebble.key").touch(0o600)
    (folder / "pebble.key").write_bytes(secret)
    return pem
