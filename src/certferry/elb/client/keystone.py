"""Requests to Keystone: a token for a password, the id of a project, and the URL of the ELB.

``elb.client`` sends what this makes and hands it the answers; nothing is sent here.
Source: the Identity API v3 (POST /v3/auth/tokens, GET /v3/projects).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from certferry.elb.client.credentials import Credentials

_TYPES: Final = ("elbv3", "elb")
"""Service types under which catalogs name the ELB, best first."""


class Endpoint(msgspec.Struct, frozen=True):
    """One address of a service."""

    url: str
    interface: str = "public"
    region: str | None = None


class Service(msgspec.Struct, frozen=True):
    """One service of a catalog."""

    type: str
    endpoints: tuple[Endpoint, ...] = ()


class Project(msgspec.Struct, frozen=True):
    """A project."""

    id: str
    name: str = ""


class _Named(msgspec.Struct, frozen=True):
    name: str = ""


class _Token(msgspec.Struct, frozen=True):
    project: Project | None = None
    catalog: tuple[Service, ...] = ()
    user: _Named = _Named()
    roles: tuple[_Named, ...] = ()
    expires_at: datetime | None = None


class _Answer(msgspec.Struct, frozen=True):
    token: _Token


class _Projects(msgspec.Struct, frozen=True):
    projects: tuple[Project, ...]


class Login(msgspec.Struct, frozen=True):
    """The result of a login."""

    token: str
    project_id: str
    catalog: tuple[Service, ...]
    user: str = ""
    roles: tuple[str, ...] = ()
    expires_at: datetime | None = None

    def __repr__(self) -> str:
        return f"Login({self.user!r}, {self.roles!r})"


def login_body(credentials: Credentials) -> bytes:
    """Build the body of a password login to a project by id or name, or to the user's own."""
    domain = {"name": credentials.domain}
    user = {"name": credentials.username, "password": credentials.password, "domain": domain}
    identity = {"methods": ["password"], "password": {"user": user}}
    by_id = {"id": credentials.project_id}
    project: dict[str, Any] = by_id if credentials.project_id else _named(credentials, domain)
    scope = {"scope": {"project": project}} if credentials.project_id or credentials.project else {}
    return msgspec.json.encode({"auth": {"identity": identity, **scope}})


def logged_in(token: str, body: bytes) -> Login:
    """Parse the answer of a login; fields that the server leaves out stay empty."""
    try:
        said = msgspec.json.decode(body, type=_Answer).token
    except msgspec.DecodeError:
        return Login(token, "", ())
    project = said.project.id if said.project else ""
    roles = tuple(role.name for role in said.roles)
    return Login(token, project, said.catalog, said.user.name, roles, said.expires_at)


def project_in(body: bytes, name: str) -> str | None:
    """Return the id of the project called `name` from an answer of GET /v3/projects."""
    try:
        projects = msgspec.json.decode(body, type=_Projects).projects
    except msgspec.DecodeError:
        return None
    return next((p.id for p in projects if p.name == name), None)


def elb_in(catalog: Iterable[Service], region: str) -> str | None:
    """Return the origin of the ELB in `region` (empty: any)."""
    services = list(catalog)
    for kind in _TYPES:
        for service in services:
            for endpoint in service.endpoints:
                here = not region or endpoint.region in (region, "*", None)
                if service.type == kind and endpoint.interface == "public" and here:
                    parts = urlsplit(endpoint.url)
                    return f"{parts.scheme}://{parts.netloc}"
    return None


def origin(auth_url: str) -> str:
    """`auth_url` as clouds.yaml has it, without the version."""
    return auth_url.rstrip("/").removesuffix("/v3")


def _named(credentials: Credentials, domain: dict[str, str]) -> dict[str, Any]:
    return {"name": credentials.project, "domain": domain}
