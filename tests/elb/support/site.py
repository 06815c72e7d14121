"""One Envoy for a whole test module; each test puts a listener of its own on it."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import AsyncIterator, Mapping
from typing import Any, NamedTuple

import aiohttp

from tests.elb.support.dataplane import DEADLINE, Plane, World, free_port, https, running, trusting, until_true

_numbers = itertools.count(1)


class Reply(NamedTuple):
    status: int
    headers: Mapping[str, str]
    text: str
    cookies: dict[str, str]

    @property
    def member(self) -> str:
        """Which member answered (see ``tests.elb.support.members``)."""
        return self.headers.get("X-Member", "")


class Site:
    """What a test needs of the shared Envoy."""

    def __init__(self, plane: Plane) -> None:
        self.plane = plane

    async def serve(self, listener: Mapping[str, Any] | None = None, policies: Any = None, **others: Any) -> At:
        """A new listener (HTTP by default), served with all that is given when this returns."""
        name = f"l{next(_numbers)}"
        body = {"loadbalancer_id": "lb", "protocol": "HTTP", "enhance_l7policy_enable": True}
        at = At(self, name, free_port())
        written = {"listeners": {name: body | {"protocol_port": at.port} | dict(listener or {})}}
        await at.change(policies=policies, **written, **others)
        return at


class At:
    """A listener that is served, and requests to it."""

    def __init__(self, site: Site, name: str, port: int) -> None:
        self.site, self.name, self.port = site, name, port

    async def change(self, policies: Mapping[str, Any] | None = None, **written: Any) -> None:
        """Adds or replaces objects, and waits until requests meet them."""
        world = self.site.plane.world
        mark = next(_numbers)
        ruled = {f"{self.name}-{n}": {"listener_id": self.name} | p for n, p in (policies or {}).items()}
        # Routes come last: a client of this one meets everything that was sent before it.
        ruled[f"{self.name}-settled"] = _settled(self.name, mark)
        made = World(**written, policies=ruled)
        world.pairs |= made.pairs
        for kind in ("listeners", "certificates", "pools", "policies", "ipgroups", "security_policies"):
            for identifier, value in getattr(made.state, kind).items():
                world.add(kind, identifier, value)
        self.site.plane.publish()
        await until_true(lambda: self._settled(mark))

    async def get(self, path: str = "/", host: str = "", **kwargs: Any) -> Reply:
        """A request on a new connection; redirects are not followed."""
        headers = kwargs.pop("headers", {}) | ({"Host": host} if host else {})
        timeout = aiohttp.ClientTimeout(total=DEADLINE)
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trusting()), timeout=timeout) as session,
            session.request(
                kwargs.pop("method", "GET"), f"{self.origin}{path}", headers=headers, allow_redirects=False, **kwargs
            ) as answer,
        ):
            cookies = {name: morsel.value for name, morsel in answer.cookies.items()}
            return Reply(answer.status, answer.headers, await answer.text(), cookies)

    @property
    def origin(self) -> str:
        secure = self.site.plane.world.state.listeners[self.name].protocol == "HTTPS"
        return f"{'https' if secure else 'http'}://127.0.0.1:{self.port}"

    async def _settled(self, mark: int) -> bool:
        with contextlib.suppress(aiohttp.ClientError, OSError):
            return (await self.get(f"/settled-{mark}")).status in (204, 403)
        return False


@contextlib.asynccontextmanager
async def site() -> AsyncIterator[Site]:
    """The shared Envoy, with the certificate ``main``."""
    async with running(World(**https(free_port(), {}))) as plane:
        yield Site(plane)


def secure(**fields: Any) -> dict[str, Any]:
    """An HTTPS listener with the certificate ``main``."""
    return {
        "protocol": "HTTPS",
        "default_tls_container_ref": "main",
        "tls_ciphers_policy": "tls-1-2-fs-with-1-3",
        "http2_enable": True,
    } | fields


def pool(*ports: int, name: str = "pool", **fields: Any) -> dict[str, Any]:
    """A pool with members on this machine."""
    members = [{"id": f"m{port}", "address": "127.0.0.1", "protocol_port": port} for port in ports]
    return {name: {"loadbalancer_id": "lb", "name": name, "members": members} | fields}


def to(name: str, **fields: Any) -> dict[str, Any]:
    """A policy that sends to a pool."""
    return {"action": "REDIRECT_TO_POOL", "redirect_pool_id": name} | fields


def fixed(status: int, *rules: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
    """A policy that answers by itself."""
    config = {"status_code": str(status)} | fields
    return {"action": "FIXED_RESPONSE", "fixed_response_config": config, "rules": list(rules)}


def rule(kind: str, *values: str, key: str = "", compare: str = "EQUAL_TO") -> dict[str, Any]:
    """A rule with one or several alternatives."""
    conditions = [{"key": key, "value": value} for value in values]
    return {"type": kind, "compare_type": compare, "conditions": conditions}


def _settled(listener_id: str, mark: int) -> dict[str, Any]:
    path = {"type": "PATH", "compare_type": "EQUAL_TO", "value": f"/settled-{mark}"}
    return fixed(204, path) | {"listener_id": listener_id, "priority": 0}
