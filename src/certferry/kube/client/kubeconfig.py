"""Address and credentials of a Kubernetes API, from a kubeconfig or a Pod's service account.

Tokens may come from a file or from the kubeconfig's ``exec`` program. No representation shows a token or key.
Source: https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import os
import ssl
import tempfile
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec
import yaml

SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
REREAD: Final = 60.0
"""Seconds after which a token file is read again, because projected tokens are renewed in place."""


class KubeconfigError(ValueError):
    """An unusable kubeconfig; the message names the file and the remedy."""


class Token(Protocol):
    """A source of bearer tokens."""

    async def current(self, now: float) -> str | None:
        """Return the token to send at `now` (monotonic seconds); None for none."""

    def forget(self) -> None:
        """Discard the token after a 401."""


class FixedToken:
    """A token in the kubeconfig itself, or none."""

    def __init__(self, text: str | None) -> None:
        self._text = text

    async def current(self, now: float) -> str | None:
        """Return the token."""
        return self._text

    def forget(self) -> None:
        """Do nothing: there is no newer token."""


class FileToken:
    """A token in a file that another program renews."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._text: str | None = None
        self._read_at = 0.0

    async def current(self, now: float) -> str | None:
        """Return the token, read again after ``REREAD`` seconds. Raises ``KubeconfigError``."""
        if self._text is None or now - self._read_at >= REREAD:
            try:
                self._text = self._path.read_text().strip()
            except OSError as error:
                raise KubeconfigError(f"The token file {self._path} cannot be read: {error.strerror}.") from None
            self._read_at = now
        return self._text

    def forget(self) -> None:
        """Read the file again before the next request."""
        self._text = None


class ExecToken:
    """A token that a program prints (client.authentication.k8s.io ExecCredential)."""

    def __init__(self, command: list[str], environment: Mapping[str, str], api_version: str) -> None:
        self._command = command
        self._environment = environment
        self._api_version = api_version
        self._text: str | None = None
        self._until = float("inf")

    async def current(self, now: float) -> str | None:
        """Return the token; run the program if it expired. Raises ``KubeconfigError``."""
        if self._text is None or now >= self._until:
            self._text, lifetime = await self._run()
            self._until = now + lifetime - min(10.0, lifetime / 10)
        return self._text

    def forget(self) -> None:
        """Run the program again before the next request."""
        self._text = None

    async def _run(self) -> tuple[str, float]:
        request = {"apiVersion": self._api_version, "kind": "ExecCredential", "spec": {"interactive": False}}
        environment = {**os.environ, **self._environment, "KUBERNETES_EXEC_INFO": msgspec.json.encode(request).decode()}
        program = self._command[0]
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
            )
            async with asyncio.timeout(60):
                output, _ = await process.communicate()
            status = msgspec.json.decode(output)["status"] if process.returncode == 0 else {}
            token = status.get("token")
        except (OSError, TimeoutError, msgspec.DecodeError, KeyError, TypeError):
            token, status = None, {}
        if not isinstance(token, str):
            raise KubeconfigError(f"The program {program} of the kubeconfig printed no token; run it by hand.")
        return token, _lifetime(status.get("expirationTimestamp"))


def _lifetime(expires: object) -> float:
    if not isinstance(expires, str):
        return float("inf")
    until = datetime.fromisoformat(expires)
    return (until - datetime.now(until.tzinfo)).total_seconds()


class Access:
    """Server, trust anchors and credentials of one cluster."""

    def __init__(self, server: str, tls: ssl.SSLContext | None, token: Token) -> None:
        self.server = server.rstrip("/")
        self.tls = tls
        self.token = token

    def __repr__(self) -> str:
        return f"Access({self.server})"


def load(path: Path, context: str | None = None) -> Access:
    """Read the cluster of `context` (default: the current one) in the kubeconfig at `path`.

    Raises ``KubeconfigError``.
    """
    try:
        document = yaml.safe_load(path.read_text())
    except OSError as error:
        raise KubeconfigError(f"The kubeconfig {path} cannot be read: {error.strerror}.") from None
    except yaml.YAMLError:
        raise KubeconfigError(f"The kubeconfig {path} is not YAML.") from None
    if not isinstance(document, dict):
        raise KubeconfigError(f"The kubeconfig {path} is empty.")
    name = context or document.get("current-context")
    chosen = _named(document, "contexts", "context", name, path)
    cluster = _named(document, "clusters", "cluster", chosen.get("cluster"), path)
    user = _named(document, "users", "user", chosen.get("user"), path) if chosen.get("user") else {}
    server = cluster.get("server")
    if not isinstance(server, str):
        raise KubeconfigError(f"The kubeconfig {path} names no server for context “{name}”.")
    tls = _tls(cluster, user, path) if server.startswith("https:") else None
    return Access(server, tls, _token(user, path))


def in_cluster(directory: Path = SERVICE_ACCOUNT) -> Access:
    """Return the access of the Pod that runs this process. Raises ``KubeconfigError`` outside a Pod."""
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not host or not (directory / "token").exists():
        raise KubeconfigError("No kubeconfig was given, and this is no Pod with a service account.")
    tls = ssl.create_default_context(cafile=str(directory / "ca.crt"))
    host = f"[{host}]" if ":" in host else host
    return Access(f"https://{host}:{port}", tls, FileToken(directory / "token"))


def _named(document: dict[str, Any], section: str, key: str, name: object, path: Path) -> dict[str, Any]:
    for entry in document.get(section) or ():
        if entry.get("name") == name:
            return dict(entry.get(key) or {})
    raise KubeconfigError(f"The kubeconfig {path} has no {key} “{name}”.")


def _token(user: dict[str, Any], path: Path) -> Token:
    if user.get("tokenFile"):
        return FileToken(path.parent / user["tokenFile"])
    if command := user.get("exec"):
        environment = {e["name"]: e["value"] for e in command.get("env") or ()}
        return ExecToken(
            [command["command"], *(command.get("args") or ())],
            environment,
            command.get("apiVersion", "client.authentication.k8s.io/v1"),
        )
    return FixedToken(user.get("token"))


def _tls(cluster: dict[str, Any], user: dict[str, Any], path: Path) -> ssl.SSLContext:
    authority = _data(cluster, "certificate-authority", path)
    try:
        tls = ssl.create_default_context(cadata=authority.decode() if authority else None)
    except (ssl.SSLError, ValueError):
        raise KubeconfigError(f"The certificate authority in {path} cannot be read.") from None
    if cluster.get("insecure-skip-tls-verify"):
        tls.check_hostname = False
        tls.verify_mode = ssl.CERT_NONE
    certificate, key = _data(user, "client-certificate", path), _data(user, "client-key", path)
    if certificate and key:
        _present(tls, certificate, key, path)
    return tls


def _present(tls: ssl.SSLContext, certificate: bytes, key: bytes, path: Path) -> None:
    # The ssl module reads keys from files only. This one has mode 0600 and is deleted at once.
    with tempfile.NamedTemporaryFile(prefix="certferry-") as file:
        file.write(certificate + b"\n" + key)
        file.flush()
        try:
            tls.load_cert_chain(file.name)
        except ssl.SSLError:
            raise KubeconfigError(f"The client certificate and key in {path} cannot be used.") from None


def _data(entry: dict[str, Any], key: str, path: Path) -> bytes | None:
    if text := entry.get(f"{key}-data"):
        try:
            return base64.b64decode(str(text), validate=True)
        except (binascii.Error, ValueError):
            raise KubeconfigError(f"{key}-data in {path} is not base64.") from None
    if file := entry.get(key):
        try:
            return (path.parent / str(file)).read_bytes()
        except OSError as error:
            raise KubeconfigError(f"{key} of {path} cannot be read: {error.strerror}.") from None
    return None
