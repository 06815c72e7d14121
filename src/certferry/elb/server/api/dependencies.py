"""The services that the API's endpoints use: settings, store, users and the data plane's status."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from fastapi import Request, Response

from certferry.elb.server.dataplane.status import Reporter, no_data_plane
from certferry.elb.server.identity.auth import HashingTurns, Logins
from certferry.elb.server.identity.shared_logins import SharedLogins
from certferry.elb.server.identity.users import Identity
from certferry.elb.server.store.store import Store
from certferry.runtime.latest import Latest
from certferry.settings import ElbSettings

Endpoint = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class ApiDependencies:
    """The services behind the API."""

    settings: ElbSettings
    store: Store
    identity: Identity
    logins: Logins | SharedLogins
    turns: HashingTurns
    origin: str
    """The base URL at which clients reach the service."""
    changes: Latest[int] = field(default_factory=lambda: Latest(0))
    """Counts commits; ``events.ENDED`` when the service ends."""
    plane: Reporter = no_data_plane
    """Returns the data plane's status."""
