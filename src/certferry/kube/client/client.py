"""An asynchronous client of the Kubernetes API: get, list, watch, create, patch, delete.

It moves JSON without retries or a cache. No error contains an object's content.
Source: https://kubernetes.io/docs/reference/using-api/api-concepts/
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import urlencode

import msgspec

from certferry.kube.client.kubeconfig import Access, KubeconfigError
from certferry.runtime.http_session import ShortSession, failures, unanswered

if TYPE_CHECKING:  # because the import takes longer than a command
    import aiohttp

Object = dict[str, Any]

PAGE: Final = 500
TIMEOUT: Final = 15.0
"""Seconds for one request other than a watch."""
WATCH_IDLE_TIMEOUT: Final = 75.0
"""Seconds without a byte after which a watch counts as broken. Servers send a bookmark each minute."""
FIELD_MANAGER: Final = "certferry"


class Kind(NamedTuple):
    """A kind as the API's paths name it."""

    group_version: str
    plural: str
    name: str

    def path(self, namespace: str | None, name: str | None = None) -> str:
        """Return the path of the collection, or of one object in it."""
        root = "/api/" if "/" not in self.group_version else "/apis/"
        parts = [root + self.group_version]
        parts += ["namespaces", namespace] if namespace else []
        parts += [self.plural]
        return "/".join([*parts, name] if name else parts)


INGRESS: Final = Kind("networking.k8s.io/v1", "ingresses", "Ingress")
INGRESS_CLASS: Final = Kind("networking.k8s.io/v1", "ingressclasses", "IngressClass")
SERVICE: Final = Kind("v1", "services", "Service")
ENDPOINT_SLICE: Final = Kind("discovery.k8s.io/v1", "endpointslices", "EndpointSlice")
NODE: Final = Kind("v1", "nodes", "Node")
SECRET: Final = Kind("v1", "secrets", "Secret")
NAMESPACE: Final = Kind("v1", "namespaces", "Namespace")
CONFIG_MAP: Final = Kind("v1", "configmaps", "ConfigMap")
EVENT: Final = Kind("v1", "events", "Event")


class KubeError(Exception):
    """An error answer (`status` from 400), or no answer (`status` 0); `message` has no final period."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        message = message.removesuffix(".")  # API servers differ
        super().__init__(f"Kubernetes API: {message}" + (f" ({status} {reason})" if status else ""))
        self.status = status
        self.reason = reason
        self.message = message

    @property
    def retryable(self) -> bool:
        """Return whether the same request may succeed later without any change."""
        return self.status in (0, 401, 408, 429) or self.status >= 500

    @property
    def gone(self) -> bool:
        """Return whether the resourceVersion is too old (410), so that a new list is needed."""
        return self.status == 410


class Listing(NamedTuple):
    """All objects of a kind at one resourceVersion."""

    items: list[Object]
    version: str


class Event(NamedTuple):
    """One line of a watch: ADDED, MODIFIED, DELETED or BOOKMARK."""

    type: str
    object: Object


class KubeClient:
    """One cluster. Use as an asynchronous context manager.

    `impersonate`: the user as whom the API authorises and logs each request. `short`: for a few requests without a watch.
    """

    def __init__(self, access: Access, impersonate: str | None = None, *, short: bool = False) -> None:
        self._access = access
        self._short = short
        self._headers = {"Accept": "application/json"}
        self._date = ""
        self.may_write: Callable[[], bool] = lambda: True
        """Called right before each request that changes something; if False, nothing is sent."""
        if impersonate:
            self._headers["Impersonate-User"] = impersonate
        self._session: aiohttp.ClientSession | ShortSession | None = None

    @property
    def url(self) -> str:
        """Return the server's origin."""
        return self._access.server

    async def __aenter__(self) -> KubeClient:
        if self._short:
            self._session = ShortSession(self._access.tls, TIMEOUT)
            return self
        import aiohttp

        self._session = aiohttp.ClientSession(
            # no limit: each watch holds a connection, and a Secret may need its own
            connector=aiohttp.TCPConnector(limit=0, ssl=self._access.tls or False)
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    @property
    def date(self) -> datetime | None:
        """Return the server's time at its last answer, from the Date header."""
        try:
            return parsedate_to_datetime(self._date) if self._date else None
        except ValueError:
            return None

    async def version(self) -> str:
        """Return the server's version, for example v1.34.1."""
        return str((await self._call("GET", "/version")).get("gitVersion", ""))

    async def get(self, kind: Kind, name: str, namespace: str | None = None) -> Object:
        """Return the object. Raises ``KubeError`` 404 if absent."""
        return await self._call("GET", kind.path(namespace, name))

    async def listing(self, kind: Kind, namespace: str | None = None, fields: str = "") -> Listing:
        """List all objects page by page. `fields` is a field selector."""
        items: list[Object] = []
        query = {"limit": str(PAGE)} | ({"fieldSelector": fields} if fields else {})
        while True:
            page = await self._call("GET", kind.path(namespace), query=query)
            meta = page.get("metadata") or {}
            items += page.get("items") or ()
            if not meta.get("continue"):
                return Listing(items, str(meta.get("resourceVersion", "")))
            query["continue"] = meta["continue"]

    async def watch(
        self, kind: Kind, version: str, seconds: int, namespace: str | None = None, fields: str = ""
    ) -> AsyncIterator[Event]:
        """Yield changes after `version` (empty: from the current state) for at most `seconds`.

        Ends when the server ends the stream. An ERROR event raises the ``KubeError`` that it carries.
        """
        query = {"watch": "true", "allowWatchBookmarks": "true", "timeoutSeconds": str(seconds)}
        query |= {"resourceVersion": version} if version else {}
        query |= {"fieldSelector": fields} if fields else {}
        try:
            async with await self._request(
                "GET", kind.path(namespace), query, idle_timeout=WATCH_IDLE_TIMEOUT
            ) as response:
                async for line in _lines(response.content):
                    yield _event(line)
        except failures() as error:
            raise _unreachable(error) from None

    async def create(self, kind: Kind, body: Object, namespace: str | None = None) -> Object:
        """Create `body`. Raises ``KubeError`` 409 if the name exists."""
        return await self._call("POST", kind.path(namespace), {"fieldManager": FIELD_MANAGER}, body)

    async def replace(self, kind: Kind, body: Object, namespace: str | None = None) -> Object:
        """Replace the object by `body`. Raises ``KubeError`` 409 if its resourceVersion is not the newest."""
        meta = body["metadata"]
        path = kind.path(namespace or meta.get("namespace"), meta["name"])
        return await self._call("PUT", path, {"fieldManager": FIELD_MANAGER}, body)

    async def merge(
        self, kind: Kind, name: str, patch: Object, namespace: str | None = None, subresource: str = ""
    ) -> Object:
        """Apply a JSON merge patch (RFC 7396) to the object or to its `subresource`."""
        path = kind.path(namespace, name) + (f"/{subresource}" if subresource else "")
        return await self._call("PATCH", path, {"fieldManager": FIELD_MANAGER}, patch)

    async def delete(self, kind: Kind, name: str, namespace: str | None = None) -> None:
        """Delete the object if it exists."""
        try:
            await self._call("DELETE", kind.path(namespace, name))
        except KubeError as error:
            if error.status != 404:
                raise

    async def _call(
        self, method: str, path: str, query: Mapping[str, str] | None = None, body: Object | None = None
    ) -> Object:
        try:
            async with await self._request(method, path, query or {}, body) as response:
                answer = _decoded(await response.read())
        except failures() as error:
            raise _unreachable(error) from None
        if not isinstance(answer, dict):
            raise KubeError(0, "BadAnswer", "the answer is not a JSON object")
        return answer

    async def _request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: Object | None = None,
        idle_timeout: float | None = None,
    ) -> Any:
        """Return a successful response. After a 401, try once more with a fresh token. `idle_timeout`: of a stream."""
        for last in (False, True):
            response = await self._send(method, path, query, body, idle_timeout)
            self._date = response.headers.get("Date", "")
            if response.status < 400:
                return response
            async with response:
                if response.status == 401 and not last:
                    self._access.token.forget()
                    continue
                raise _refused(response.status, await response.read())
        raise AssertionError("unreachable")

    async def _send(
        self, method: str, path: str, query: Mapping[str, str], body: Object | None, idle_timeout: float | None
    ) -> Any:
        assert self._session is not None, "use KubeClient with “async with”"
        headers = dict(self._headers)
        if body is not None:
            patch = method == "PATCH"
            headers["Content-Type"] = "application/merge-patch+json" if patch else "application/json"
        try:
            token = await self._access.token.current(time.monotonic())
        except KubeconfigError as error:
            raise KubeError(0, "NoToken", str(error)) from None
        if token:
            headers["Authorization"] = f"Bearer {token}"
        if method != "GET" and not self.may_write():
            raise KubeError(0, "NotLeading", "another controller leads; nothing is written")
        target = self._access.server + path
        data = msgspec.json.encode(body) if body is not None else None
        if isinstance(self._session, ShortSession):
            encoded = f"{target}?{urlencode(query)}" if query else target
            return await self._session.request(method, encoded, headers=headers, data=data)
        from aiohttp import ClientTimeout

        limits = ClientTimeout(total=None if idle_timeout else TIMEOUT, sock_connect=5, sock_read=idle_timeout)
        return await self._session.request(
            method, target, params=dict(query), data=data, headers=headers, allow_redirects=False, timeout=limits
        )


async def _lines(stream: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Yield lines of any length in linear time; the stream's own readline has a length limit."""
    pending: list[bytes] = []
    async for chunk in stream.iter_any():
        *complete, rest = chunk.split(b"\n")
        for part in complete:
            line = b"".join([*pending, part])
            pending.clear()
            if line.strip():
                yield line
        if rest:
            pending.append(rest)


def _event(line: bytes) -> Event:
    event = _decoded(line)
    kind, body = event.get("type"), event.get("object")
    if kind == "ERROR" and isinstance(body, dict):
        raise KubeError(int(body.get("code") or 500), str(body.get("reason")), str(body.get("message")))
    if not isinstance(kind, str) or not isinstance(body, dict):
        raise KubeError(0, "BadAnswer", "a watch event has no object")
    return Event(kind, body)


def _decoded(data: bytes) -> Any:
    try:
        return msgspec.json.decode(data)
    except msgspec.DecodeError:
        # from None: the cause refers to an answer that may contain a key
        raise KubeError(0, "BadAnswer", "the answer is not JSON") from None


def _refused(status: int, data: bytes) -> KubeError:
    try:
        body = msgspec.json.decode(data)
        return KubeError(status, str(body.get("reason") or ""), str(body.get("message") or ""))
    except (msgspec.DecodeError, AttributeError):
        return KubeError(status, "", "the answer has no Status")


def _unreachable(error: BaseException) -> KubeError:
    code, sentence = unanswered(error)
    if code == "Untrusted":
        return KubeError(0, code, "the server's certificate is not trusted; check the kubeconfig")
    return KubeError(0, code, sentence)
