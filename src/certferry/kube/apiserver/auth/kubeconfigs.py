"""Tokens and kubeconfigs, one for each role, unchanged by restarts. All files have mode 0600."""

from __future__ import annotations

import base64
import secrets
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec
import yaml

from certferry.kube.apiserver.auth.auth import ROLES, User
from certferry.kube.apiserver.auth.certificates import Files, issue_client
from certferry.runtime import private_files
from certferry.settings import UserError

KUBECONFIGS: Final = {
    "admin": "kubeconfig",
    "controller": "kubeconfig-controller",
    "edit": "kubeconfig-edit",
    "view": "kubeconfig-view",
}
"""File names in the state directory, by role."""


def tokens(path: Path) -> dict[str, str]:
    """Return the token of each role from the file at `path`; create missing ones. Raises ``UserError``."""
    try:
        stored = msgspec.json.decode(path.read_bytes(), type=dict[str, str]) if path.exists() else {}
    except msgspec.DecodeError as error:
        raise UserError(
            f"The tokens in {path} cannot be read ({error}). Restore the file from a backup, or delete it: then there "
            "are new tokens and kubeconfigs, and the old ones stop working."
        ) from None
    complete = {role: stored.get(role) or secrets.token_urlsafe(32) for role in ROLES}
    if complete != stored:
        private_files.write(path, msgspec.json.encode(complete))
    return complete


def user(role: str) -> User:
    """Return the user of the token of `role`."""
    return User(f"certferry:{role}", role)


def write_kubeconfigs(state: Path, server: str, files: Files, by_role: dict[str, str]) -> None:
    """Write the kubeconfigs for `server` (its URL) if their content changed."""
    ca = base64.b64encode(files.ca.read_bytes()).decode()
    for role, name in KUBECONFIGS.items():
        credentials = {"token": by_role[role]}
        content = yaml.safe_dump(_kubeconfig(server, ca, role, credentials), sort_keys=False).encode()
        path = state / name
        if not path.exists() or path.read_bytes() != content:
            private_files.write(path, content)


def certificate_kubeconfig(state: Path, name: str, role: str, now: datetime) -> str:
    """Return a kubeconfig with a new client certificate for `name`.

    Raises ``FileNotFoundError`` if no server was started with this state, ``PrivateCaError`` if its CA is damaged.
    """
    files = Files(state / "kube")
    admin_kubeconfig = yaml.safe_load((state / KUBECONFIGS["admin"]).read_text())
    server = admin_kubeconfig["clusters"][0]["cluster"]["server"]
    issued = issue_client(files, name, role, now)
    credentials = {
        "client-certificate-data": base64.b64encode(issued.certificate).decode(),
        "client-key-data": base64.b64encode(issued.key).decode(),
    }
    ca = base64.b64encode(files.ca.read_bytes()).decode()
    return yaml.safe_dump(_kubeconfig(server, ca, name, credentials), sort_keys=False)


def _kubeconfig(server: str, ca: str, user: str, credentials: dict[str, str]) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "certferry", "cluster": {"server": server, "certificate-authority-data": ca}}],
        "users": [{"name": user, "user": credentials}],
        "contexts": [{"name": "certferry", "context": {"cluster": "certferry", "user": user, "namespace": "default"}}],
        "current-context": "certferry",
    }
