"""The ELBs of the clusters, each once, and logins to them.

Clusters may share an ELB; a login is for one ELB. A password is sent to the ELB that the user named, to no
other one, and is not kept.
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
"""Roles by rank; a higher one includes the lower ones."""
TOKEN_LIFE: Final = timedelta(hours=1)
"""Lifetime of a token without an expiry time."""


class ElbLogin(msgspec.Struct, frozen=True, kw_only=True):
    """A user's login at one ELB."""

    site: str
    user: str
    role: str
    url: str
    credentials: Credentials
    """The user's token."""
    expires: datetime

    def __repr__(self) -> str:
        return f"ElbLogin({self.user!r} at {self.site!r})"


class ElbSite:
    """One ELB and project, and the clusters that use it."""

    def __init__(self, key: str, place: ElbPlace) -> None:
        self.key = key
        """Name in forms; contains no secret."""
        self.clusters: list[str] = []
        self._place = place

    async def log_in(
        self, username: str, password: str, domain: str, names: Mapping[str, str], client: str
    ) -> ElbLogin:
        """Log in with a password. `names`: our roles by Keystone role name; `client`: the address of the browser.

        Raises ``ElbError``; ``UserError`` and ``CredentialsError`` if the settings cannot be used.
        """
        endpoint = clouds.site(self._place)
        credentials = msgspec.structs.replace(
            endpoint.credentials,
            access_key="",
            secret_key="",
            token="",
            username=username,
            password=password,
            domain=domain or "Default",
        )
        async with ElbClient(endpoint.url, credentials, self._tls()) as connection:
            token = await connection.log_in(client)
            url = connection.url
        if not url:
            raise ElbError(404, "NoEndpoint", "the service catalog has no ELB in this region")
        return ElbLogin(
            site=self.key,
            user=token.user or username,
            role=role_of(token.roles, names),
            url=url,
            credentials=Credentials(
                project_id=credentials.project_id or token.project_id, token=token.token, region=credentials.region
            ),
            expires=token.expires_at or datetime.now(UTC) + TOKEN_LIFE,
        )

    def client(self, login: ElbLogin) -> ElbClient:
        """Return a client (an asynchronous context manager) with the token of `login`."""
        return ElbClient(login.url, login.credentials, self._tls())

    def _tls(self) -> ssl.SSLContext | None:
        ca = clouds.site(self._place).ca
        try:
            return ssl.create_default_context(cafile=ca) if ca else None
        except (OSError, ssl.SSLError) as error:
            raise UserError(f"The authority in {ca} cannot be read: {error.strerror or 'not PEM'}.") from None


def sites(fleet: Fleet) -> dict[str, ElbSite]:
    """Return the ELBs of `fleet` by key, in its order."""
    by_key: dict[str, ElbSite] = {}
    for cluster in fleet.clusters:
        key = key_of(cluster)
        by_key.setdefault(key, ElbSite(key, cluster.elb_place)).clusters.append(cluster.name)
    return by_key


def key_of(cluster: ClusterAccess) -> str:
    """Return the name of the ELB of `cluster` in forms: its cloud or address, and the project."""
    place = cluster.elb_place
    at = place.cloud or place.url or f"{place.auth_url} {place.region}".strip()
    try:
        project = place.project or clouds.site(place).credentials.project_id
    except CredentialsError:
        project = place.project
    return " ".join(part for part in (at, project) if part) or cluster.name


def role_of(roles: tuple[str, ...], names: Mapping[str, str]) -> str:
    """Return the highest of `roles`; an unknown role counts as reader."""
    ours = [role for name in roles if (role := names.get(name, name)) in RANKS]
    return max(ours, key=RANKS.__getitem__, default="reader")
