"""The ELBs behind the clusters of the fleet, each once, and how a person logs in to one.

Two clusters may share an ELB; a login is for an ELB. A password is sent to the ELB that the person
named, to no other one, and is not kept.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from certferry.clusters import ClusterAccess, Fleet
from certferry.elb.client import clouds_yaml as clouds
from certferry.elb.client.client import ElbClient, ElbError
from certferry.elb.client.credentials import Credentials, CredentialsError
from certferry.settings import ElbPlace, UserError

RANKS: Final = {"reader": 0, "member": 1, "admin": 2}
"""Roles by what they may: each may what those before it may."""
TOKEN_LIFE: Final = timedelta(hours=1)
"""Of a token that does not say when it ends."""


class ElbLogin(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody at one ELB."""

    site: str
    user: str
    role: str
    url: str
    credentials: Credentials
    """Their token."""
    expires: datetime

    def __repr__(self) -> str:
        return f"Login({self.user!r} at {self.site!r})"


class ElbSite:
    """One ELB and project, and the clusters that use it."""

    def __init__(self, key: str, place: ElbPlace) -> None:
        self.key = key
        """For forms; says where, and is no secret."""
        self.clusters: list[str] = []
        self._place = place

    async def log_in(self, username: str, password: str, domain: str, names: Mapping[str, str]) -> ElbLogin:
        """Raises ``ElbError``; ``Refused`` and ``CredentialsError`` when the settings cannot be used.

        `names`: what roles that are not ours amount to.
        """
        found = clouds.site(self._place)
        whose = msgspec.structs.replace(
            found.credentials,
            access_key="",
            secret_key="",
            token="",
            username=username,
            password=password,
            domain=domain or "Default",
        )
        async with ElbClient(found.url, whose, self._tls()) as client:
            said = await client.log_in()
            url = client.url
        if not url:
            raise ElbError(404, "NoEndpoint", "the service catalog has no ELB in this region")
        return ElbLogin(
            site=self.key,
            user=said.user or username,
            role=role_of(said.roles, names),
            url=url,
            credentials=Credentials(
                project_id=whose.project_id or said.project_id, token=said.token, region=whose.region
            ),
            expires=said.expires_at or datetime.now(UTC) + TOKEN_LIFE,
        )

    def client(self, login: ElbLogin) -> ElbClient:
        """A client (an asynchronous context manager) that is this person."""
        return ElbClient(login.url, login.credentials, self._tls())

    def _tls(self) -> ssl.SSLContext | None:
        ca = clouds.site(self._place).ca
        try:
            return ssl.create_default_context(cafile=ca) if ca else None
        except (OSError, ssl.SSLError) as error:
            raise UserError(f"The authority in {ca} cannot be read: {error.strerror or 'not PEM'}.") from None


def sites(fleet: Fleet) -> dict[str, ElbSite]:
    """The ELBs of `fleet` by their key, in its order."""
    found: dict[str, ElbSite] = {}
    for cluster in fleet.clusters:
        key = key_of(cluster)
        found.setdefault(key, ElbSite(key, cluster.elb_place)).clusters.append(cluster.name)
    return found


def key_of(cluster: ClusterAccess) -> str:
    """How the ELB of `cluster` is called in forms: its cloud or address, and the project."""
    place = cluster.elb_place
    where = place.cloud or place.url or f"{place.auth_url} {place.region}".strip()
    try:
        project = place.project or clouds.site(place).credentials.project_id
    except CredentialsError:
        project = place.project
    return " ".join(part for part in (where, project) if part) or cluster.name


def role_of(roles: tuple[str, ...], names: Mapping[str, str]) -> str:
    """The highest of them; what is not known is worth nothing."""
    known = [role for name in roles if (role := names.get(name, name)) in RANKS]
    return max(known, key=RANKS.__getitem__, default="reader")
