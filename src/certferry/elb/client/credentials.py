"""Credentials for an ELB: an access key that signs requests, a name and password for a token, or a token.

``elb.client`` asks for the headers of each request. The file format is the ``elb`` object of
``endpoints.json``. Nothing here prints a secret.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import msgspec

from certferry.elb.signing import DATE_FORMAT, Query, authorization, canonical_request


class CredentialsError(ValueError):
    """A credentials file that cannot be used; the text names the file and the remedy."""


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """An access key, or a user with a password, and the project they work in."""

    project_id: str = ""
    project: str = ""
    """Its name, where the id is not known."""
    access_key: str = ""
    secret_key: str = ""
    username: str = ""
    password: str = ""
    domain: str = "Default"
    auth_url: str = ""
    """Origin of Keystone; empty: the ELB's."""
    region: str = ""
    token: str = ""
    """The token of a user who is logged in; it takes precedence."""

    def __repr__(self) -> str:
        return f"Credentials(project_id={self.project_id!r}, {self.access_key or self.username})"

    __str__ = __repr__


def load(path: Path) -> Credentials:
    """Read credentials from the JSON file at `path`, which only its owner may read."""
    try:
        if _open_to_others(path.stat()):
            raise CredentialsError(f"Others can read the credentials file {path}; run: chmod 600 {path}")
        credentials = msgspec.json.decode(path.read_bytes(), type=Credentials)
    except OSError as error:
        raise CredentialsError(f"The credentials file {path} cannot be read: {error.strerror}.") from None
    except msgspec.DecodeError:
        raise CredentialsError(
            f"The credentials file {path} must be a JSON object with project_id, and either access_key and "
            "secret_key, or username, password and domain."
        ) from None
    if not (credentials.access_key and credentials.secret_key) and not credentials.username:
        raise CredentialsError(
            f"The credentials file {path} holds neither access_key and secret_key nor username and password, "
            "as it should beside project_id."
        )
    return credentials


def _open_to_others(file: os.stat_result) -> bool:
    # A Secret that is mounted into a Pod belongs to root and is handed to us by our group.
    shut = 0o077 if file.st_uid == os.getuid() else 0o007
    return bool(stat.S_IMODE(file.st_mode) & shut)


def complete(credentials: Credentials, url: str, where: str) -> Credentials:
    """`credentials`, if an ELB can be entered with them. `where`: what a person has to correct."""
    signs = bool(credentials.access_key and credentials.secret_key)
    if not signs and not (credentials.username and credentials.password):
        raise CredentialsError(f"No access key with its secret and no user with a password in {where}.")
    if not (credentials.project_id or credentials.project):
        raise CredentialsError(f"No project in {where}: name one by id or by name.")
    if not url and (signs or not credentials.auth_url):
        raise CredentialsError(f"No url in {where}: it can be left out only with a password and an auth_url.")
    return credentials


class AuthHeaders(Protocol):
    """A way to authenticate requests to the ELB."""

    async def headers(self, method: str, url: str, query: Query, body: bytes) -> dict[str, str]:
        """Headers for one request to `url` (without its query)."""

    def forget(self) -> bool:
        """Handle a 401: return True if there are fresh credentials to try once more."""


class SignedRequests:
    """AK/SK: every request is signed on its own."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    async def headers(self, method: str, url: str, query: Query, body: bytes) -> dict[str, str]:
        """Headers for one request."""
        now = datetime.now(UTC)
        parts = urlsplit(url)
        headers = {"host": parts.netloc, "x-sdk-date": now.strftime(DATE_FORMAT)}
        if self._credentials.project_id:
            headers["x-project-id"] = self._credentials.project_id
        if body:
            headers["content-type"] = "application/json"
        canonical = canonical_request(method, parts.path, query, headers, body)
        signature = authorization(self._credentials.access_key, self._credentials.secret_key, canonical, headers, now)
        return headers | {"authorization": signature}

    def forget(self) -> bool:
        """Return True if there are fresh credentials to try."""
        return False


class GivenToken:
    """A token from another login: it cannot be renewed when it expires."""

    def __init__(self, token: str) -> None:
        self._token = token

    async def headers(self, method: str, url: str, query: Query, body: bytes) -> dict[str, str]:
        """Headers for one request."""
        return {"x-auth-token": self._token} | ({"content-type": "application/json"} if body else {})

    def forget(self) -> bool:
        """Return True if there are fresh credentials to try."""
        return False


class TokenRequests:
    """Keystone password login; `login` returns a new token."""

    def __init__(self, login: Callable[[], Awaitable[str]]) -> None:
        self._login = login
        self._token: str | None = None

    async def headers(self, method: str, url: str, query: Query, body: bytes) -> dict[str, str]:
        """Headers for one request."""
        if self._token is None:
            self._token = await self._login()
        return {"x-auth-token": self._token} | ({"content-type": "application/json"} if body else {})

    def forget(self) -> bool:
        """Return True if there are fresh credentials to try."""
        had, self._token = self._token is not None, None
        return had
