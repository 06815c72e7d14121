"""An asynchronous client of the ELB v3 API, used by controller, console and command line.

It signs requests or logs in, reads page by page, and distinguishes retryable errors. It does not retry. It never
decodes ``private_key`` of an answer and never quotes a request in an error.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
import ssl
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import msgspec

from certferry.core.model.elb import Certificate
from certferry.elb.client import keystone, wire
from certferry.elb.client.credentials import AuthHeaders, Credentials, GivenToken, SignedRequests, TokenRequests
from certferry.elb.client.wire import CertificateWire, Wire
from certferry.elb.signing import query_string
from certferry.runtime.http_session import ShortSession, failures, unanswered

if TYPE_CHECKING:  # because the import takes longer than a command
    from aiohttp import ClientSession

T = TypeVar("T")

PAGE: Final = 2000
TIMEOUT: Final = 10.0
"""Seconds for one request."""
LONGEST_WAIT: Final = 300.0
"""The longest Retry-After that is respected, in seconds."""
BREATH: Final = 50
"""Certificates parsed in a row before others get their turn."""

STREAM_IDLE_TIMEOUT: Final = 45.0
"""Seconds without a byte after which a stream counts as broken. The ELB sends a heartbeat every 15 seconds."""
_PEM = re.compile(r"-----BEGIN.*", re.DOTALL)


class Resource(NamedTuple):
    """A collection: its path below ``/elb`` and the names of its envelope."""

    path: str
    one: str
    many: str


CERTIFICATES: Final = Resource("certificates", "certificate", "certificates")
LOADBALANCERS: Final = Resource("loadbalancers", "loadbalancer", "loadbalancers")
LISTENERS: Final = Resource("listeners", "listener", "listeners")
POOLS: Final = Resource("pools", "pool", "pools")
HEALTHMONITORS: Final = Resource("healthmonitors", "healthmonitor", "healthmonitors")
POLICIES: Final = Resource("l7policies", "l7policy", "l7policies")
IPGROUPS: Final = Resource("ipgroups", "ipgroup", "ipgroups")
ALL_MEMBERS: Final = Resource("members", "member", "members")
ALL_RULES: Final = Resource("l7policies/rules", "rule", "rules")


def members_of(pool: str) -> Resource:
    """Return the members of one pool."""
    return Resource(f"pools/{pool}/members", "member", "members")


def rules_of(policy: str) -> Resource:
    """Return the rules of one policy."""
    return Resource(f"l7policies/{policy}/rules", "rule", "rules")


class ElbError(Exception):
    """An error answer of the ELB (`status` from 400), or no answer (`status` 0); `message` has no final period."""

    def __init__(self, status: int, code: str, message: str) -> None:
        # a second net: whatever a server puts into its text, no PEM goes into a log
        message = _PEM.sub("[PEM]", message)[:500].removesuffix(".")
        super().__init__(f"ELB: {message}" + (f" ({status} {code})" if status else ""))
        self.status = status
        self.code = code
        self.message = message
        self.retry_after = 0.0
        """Seconds that the ELB asks to be left alone (Retry-After)."""

    @property
    def retryable(self) -> bool:
        """Return True if the same request may succeed later without another change."""
        return self.status in (0, 401, 408, 429) or self.status >= 500


class ElbClient:
    """One ELB. Use as an asynchronous context manager.

    `url`: its origin, without a path; empty: as the service catalog says. `short`: for a few requests without a stream.
    """

    def __init__(
        self, url: str, credentials: Credentials, tls: ssl.SSLContext | None = None, *, short: bool = False
    ) -> None:
        self._url = url.rstrip("/")
        self._credentials = credentials
        self._identity = keystone.origin(credentials.auth_url) or self._url
        self._project_id = credentials.project_id
        self._tls = tls
        self._proof = self._proof_of(credentials)
        self._short = short
        self._session: ClientSession | ShortSession | None = None
        self.lists_parts = True
        """True if the ELB lists all members and all rules at once. ``observe`` clears it at the first rejection."""
        self.offered: tuple[float, frozenset[str] | None] = (0.0, None)
        """The ELB's extensions and the time of that answer; None if not asked yet (see ``extensions.available``)."""
        self._date = ""
        self.may_write: Callable[[], bool] = lambda: True
        """Called right before each request that changes something; if False, nothing is sent."""

    def derived_key(self, purpose: str) -> bytes:
        """Return a key for signatures, from the secret of the credentials; empty with a token."""
        secret = self._credentials.secret_key or self._credentials.password
        return hmac.new(secret.encode(), purpose.encode(), hashlib.sha256).digest() if secret else b""

    def _proof_of(self, credentials: Credentials) -> AuthHeaders:
        if credentials.token:
            return GivenToken(credentials.token)
        return SignedRequests(credentials) if credentials.access_key else TokenRequests(self._login)

    async def __aenter__(self) -> ElbClient:
        if self._short:
            self._session = ShortSession(self._tls, TIMEOUT)
            return self
        import aiohttp

        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=32, ssl=self._tls or True, keepalive_timeout=60),
            timeout=aiohttp.ClientTimeout(total=TIMEOUT, sock_connect=3),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    @property
    def user(self) -> str:
        """The identity of this client; empty if only an access key is known."""
        return self._credentials.username

    @property
    def date(self) -> datetime | None:
        """The server's time at the last answer, if the answer gave it."""
        try:
            return parsedate_to_datetime(self._date) if self._date else None
        except ValueError:
            return None

    async def find(self, resource: Resource, **query: str | Sequence[str]) -> list[dict[str, Any]]:
        """Return all objects that match; a sequence means “one of these”."""
        matches: list[dict[str, Any]] = []
        async for data in self._pages(resource, query):
            matches += _part(data, resource.many, list[dict[str, Any]])
        return matches

    async def find_as(self, resource: Resource, kind: type[T], **query: str | Sequence[str]) -> list[T]:
        """Return all objects that match, each with the fields of `kind` (a msgspec Struct)."""
        matches: list[T] = []
        async for data in self._pages(resource, query):
            matches += _part(data, resource.many, list[kind])  # type: ignore[valid-type]
        return matches

    async def get(self, resource: Resource, identity: str) -> dict[str, Any]:
        """Return one object. Raises ElbError (404) if it does not exist."""
        return _part(await self._call("GET", f"{resource.path}/{identity}"), resource.one, dict[str, Any])

    async def quota(self) -> dict[str, Any]:
        """Return the project's limits by their key; -1: none."""
        return _part(await self._call("GET", "quotas"), "quota", dict[str, Any], {})

    async def create(self, resource: Resource, fields: Wire) -> dict[str, Any]:
        """Create an object from `fields` and return it."""
        body = msgspec.json.encode({resource.one: fields})
        return _part(await self._call("POST", resource.path, body=body), resource.one, dict[str, Any])

    async def update(self, resource: Resource, identity: str, fields: Wire) -> dict[str, Any]:
        """Set `fields` and return the object; other fields keep their values."""
        body = msgspec.json.encode({resource.one: fields})
        data = await self._call("PUT", f"{resource.path}/{identity}", body=body)
        return _part(data, resource.one, dict[str, Any])

    async def delete(self, resource: Resource, identity: str) -> None:
        """Delete an object; a missing one is no error."""
        try:
            await self._call("DELETE", f"{resource.path}/{identity}")
        except ElbError as error:
            if error.status != 404:
                raise

    async def create_certificate(self, fields: Wire) -> Certificate:
        """Create a certificate; its key is never read back."""
        data = await self._call("POST", "certificates", body=msgspec.json.encode({"certificate": fields}))
        return wire.certificate(_part(data, "certificate", CertificateWire))

    async def update_certificate(self, identity: str, fields: Wire) -> Certificate:
        """Set `fields` and return the certificate; content and key go in one PUT."""
        body = msgspec.json.encode({"certificate": fields})
        data = await self._call("PUT", f"certificates/{identity}", body=body)
        return wire.certificate(_part(data, "certificate", CertificateWire))

    async def certificates(self) -> dict[str, Certificate]:
        """Return every certificate of the project by id."""
        matches: dict[str, Certificate] = {}
        async for data in self._pages(CERTIFICATES, {}):
            for number, item in enumerate(_part(data, "certificates", list[CertificateWire]), start=1):
                matches[item.id] = wire.certificate(item)
                if number % BREATH == 0:
                    await asyncio.sleep(0)
        return dict(sorted(matches.items()))

    async def extension(
        self, method: str, path: str, query: Sequence[tuple[str, str]] = (), body: bytes = b""
    ) -> bytes:
        """Return the answer of an extension of our ELB; an empty `path` lists the extensions."""
        project = await self._project()
        url = f"{project}/certferry/{path}" if path else f"{self._url}/v3/certferry"
        return await self._send(method, url, query, body)

    async def extension_lines(self, path: str, query: Sequence[tuple[str, str]]) -> AsyncGenerator[bytes, None]:
        """Yield the lines of an extension's endless answer until it ends."""
        url = f"{await self._project()}/certferry/{path}"
        import aiohttp

        assert isinstance(self._session, aiohttp.ClientSession), "use ElbClient with “async with”, not short"
        headers = await self._proof.headers("GET", url, query, b"")
        endless = aiohttp.ClientTimeout(total=None, sock_connect=3, sock_read=STREAM_IDLE_TIMEOUT)
        try:
            async with self._session.get(self._target(url, query), headers=headers, timeout=endless) as response:
                if response.status >= 400:
                    raise _refused(response.status, await response.read(), response.headers)
                async for line in response.content:
                    yield line
        except failures() as error:
            raise ElbError(0, *unanswered(error)) from None

    async def _pages(self, resource: Resource, query: Mapping[str, str | Sequence[str]]) -> Any:
        pairs = [(k, v) for k, vs in query.items() for v in ([vs] if isinstance(vs, str) else vs)]
        marker: list[tuple[str, str]] = []
        while True:
            data = await self._call("GET", resource.path, [*pairs, ("limit", str(PAGE)), *marker])
            yield data
            following = _part(data, "page_info", _PageInfo, _PageInfo()).next_marker
            if not following or marker == [("marker", following)]:
                return
            marker = [("marker", following)]

    async def _call(self, method: str, path: str, query: Sequence[tuple[str, str]] = (), body: bytes = b"") -> bytes:
        return await self._send(method, f"{await self._project()}/elb/{path}", query, body)

    async def _project(self) -> str:
        """Return the base URL of the project's resources."""
        if not (self._url and self._project_id):
            await self._locate()
        return f"{self._url}/v3/{self._project_id}"

    async def _send(self, method: str, url: str, query: Sequence[tuple[str, str]], body: bytes) -> bytes:
        for last in (False, True):
            headers = await self._proof.headers(method, url, query, body)
            status, data, told = await self._exchange(method, url, query, body, headers)
            if status == 401 and not last and self._proof.forget():
                continue
            if status >= 400:
                raise _refused(status, data, told)
            return data
        raise AssertionError("unreachable")

    async def _locate(self) -> None:
        """Find the project and URL that the settings leave open: from a login, or by a signed request."""
        if not self._credentials.access_key:
            await self._proof.headers("GET", self._identity, (), b"")
        else:
            name = self._credentials.project
            matches = await self._send("GET", f"{self._identity}/v3/projects", [("name", name)], b"")
            self._project_id = keystone.project_in(matches, name) or ""
        if not self._project_id:
            raise ElbError(404, "NoProject", f"Keystone knows no project “{self._credentials.project}” of ours")
        if not self._url:
            region = self._credentials.region
            raise ElbError(404, "NoEndpoint", f"the service catalog has no ELB in region “{region}”")

    async def _login(self) -> str:
        return (await self.log_in()).token

    async def log_in(self, client: str = "") -> keystone.Login:
        """Log in and return a new token with the identity that Keystone reports.

        `client`: the address for which we ask; failed logins count against it if the ELB trusts us.
        """
        url, body = f"{self._identity}/v3/auth/tokens", keystone.login_body(self._credentials)
        headers = {"content-type": "application/json"} | ({"x-forwarded-for": client} if client else {})
        status, data, told = await self._exchange("POST", url, (), body, headers)
        if status == 429 or status >= 500:
            raise _refused(status, data, told)
        if status != 201 or "X-Subject-Token" not in told:
            raise ElbError(status, "SYS.0401", "the ELB refused the user name or the password")
        login = keystone.logged_in(told["X-Subject-Token"], data)
        self._project_id = self._project_id or login.project_id
        self._url = self._url or keystone.elb_in(login.catalog, self._credentials.region) or ""
        return login

    async def whoami(self) -> keystone.Login:
        """Return the identity behind the given token. Raises ElbError (401, 404) if it has expired."""
        return keystone.logged_in(self._credentials.token, await self._of_token("GET"))

    async def log_out(self) -> None:
        """End the token that we were given."""
        await self._of_token("DELETE")

    async def _of_token(self, method: str) -> bytes:
        token, url = self._credentials.token, f"{self._identity}/v3/auth/tokens"
        headers = {"x-auth-token": token, "x-subject-token": token}
        status, data, told = await self._exchange(method, url, (), b"", headers)
        if status >= 400:
            raise _refused(status, data, told)
        return data

    @property
    def url(self) -> str:
        """The ELB's origin; empty until it was found."""
        return self._url

    async def _exchange(
        self, method: str, url: str, query: Sequence[tuple[str, str]], body: bytes, headers: dict[str, str]
    ) -> tuple[int, bytes, Mapping[str, str]]:
        assert self._session is not None, "use ElbClient with “async with”"
        if method != "GET" and not url.endswith("/auth/tokens") and not self.may_write():
            raise ElbError(0, "NotLeading", "another controller leads; nothing is written")
        try:
            response: Any = await self._session.request(
                method, self._target(url, query), data=body or None, headers=headers, allow_redirects=False
            )
            async with response:
                self._date = response.headers.get("Date", "")
                return response.status, await response.read(), response.headers
        except failures() as error:
            raise ElbError(0, *unanswered(error)) from None

    def _target(self, url: str, query: Sequence[tuple[str, str]]) -> Any:
        """Return the URL for the session, encoded as it is signed."""
        target = f"{url}?{query_string(query)}" if query else url
        if self._short:
            return target
        from yarl import URL

        return URL(target, encoded=True)


class _PageInfo(msgspec.Struct, frozen=True):
    next_marker: str | None = None


def _part(data: bytes, field: str, kind: type[T], default: T | None = None) -> T:
    try:
        envelope = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
        if field not in envelope and default is not None:
            return default
        return msgspec.json.decode(envelope[field], type=kind)
    except (msgspec.DecodeError, KeyError):
        # from None: the cause may point into key material
        raise ElbError(0, "BadAnswer", f"the answer holds no readable “{field}”") from None


def _refused(status: int, data: bytes, headers: Mapping[str, str]) -> ElbError:
    try:
        body = msgspec.json.decode(data, type=dict[str, Any])
    except msgspec.DecodeError:
        body = {}
    error = ElbError(status, str(body.get("error_code") or ""), str(body.get("error_msg") or "no explanation given"))
    wait = headers.get("Retry-After", "")
    # the form with a date is not known of any ELB; the usual back-off covers it
    error.retry_after = min(float(wait), LONGEST_WAIT) if wait.isdigit() else 0.0
    return error
