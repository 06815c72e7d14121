"""A Kubernetes API on loopback that lists, watches, forgets and fails on command."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import copy
import itertools
import uuid
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from aiohttp import web

from tests.support.certs import Pair

Object = dict[str, Any]
_CREATED = datetime(2026, 1, 1, tzinfo=UTC)


class FakeKube:
    def __init__(self) -> None:
        self.objects: dict[tuple[str, str, str], Object] = {}
        self.history: list[tuple[int, str, str, Object]] = []
        self.version = 100
        self.compacted = 0
        self.requests: list[tuple[str, str]] = []
        self.failures: deque[tuple[str, str, int]] = deque()
        self.empty_lists = False
        self.down = False
        self.frozen = asyncio.Event()
        """While it is not set, requests are taken and not answered."""
        self.frozen.set()
        self.pages = 500
        self.token = "token-1"
        self.watching: set[str] = set()
        self.selected: dict[str, set[str]] = {}
        """Field selectors of watches, by kind."""
        self.url = ""
        self._created = itertools.count()
        self._changed = asyncio.Condition()
        self._cuts = 0
        self._errors = 0
        self._waking: asyncio.Task[None] | None = None
        self._runner: web.AppRunner | None = None
        self._port = 0
        self.put("namespaces", "", "kube-system", {}, uid="c1057e20-0000-4000-8000-000000000000")

    # what tests do

    def put(self, plural: str, namespace: str, name: str, body: Object, uid: str = "") -> Object:
        """Create or replace an object, as a user with kubectl would."""
        key = (plural, namespace, name)
        known = self.objects.get(key)
        self.version += 1
        meta = {
            "name": name,
            "uid": uid or (known["metadata"]["uid"] if known else str(uuid.uuid4())),
            "creationTimestamp": known["metadata"]["creationTimestamp"]
            if known
            else (_CREATED + timedelta(seconds=next(self._created))).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "resourceVersion": str(self.version),
            "annotations": (known or {}).get("metadata", {}).get("annotations", {}),
        } | body.get("metadata", {})
        meta["resourceVersion"] = str(self.version)
        if namespace:
            meta["namespace"] = namespace
        item = copy.deepcopy({**body, "metadata": meta})
        if known and "status" in known:
            item.setdefault("status", known["status"])
        self.objects[key] = item
        self._note("MODIFIED" if known else "ADDED", plural, item)
        return item

    def remove(self, plural: str, namespace: str, name: str) -> None:
        self.version += 1
        item = copy.deepcopy(self.objects.pop((plural, namespace, name)))
        item["metadata"]["resourceVersion"] = str(self.version)
        self._note("DELETED", plural, item)

    def secret(self, namespace: str, name: str, pair: Pair, type: str = "kubernetes.io/tls") -> Object:  # noqa: A002
        data = {"tls.crt": _base64(pair.certificate), "tls.key": _base64(pair.key)}
        return self.put("secrets", namespace, name, {"type": type, "data": data})

    def repeat_last(self, plural: str) -> None:
        """Send the newest event of a kind once more."""
        version, kind, _, item = next(e for e in reversed(self.history) if e[2] == plural)
        self.history.append((self.version + 1, kind, plural, item))
        self.version += 1
        self._wake()
        assert version

    def fail(self, method: str, part: str, status: int) -> None:
        """The next request of `method` whose path has `part` is answered with `status`."""
        self.failures.append((method, part, status))

    def compact(self) -> None:
        """Watches from before now get 410."""
        self.compacted = self.version

    def cut(self) -> None:
        """End every watch in the middle."""
        self._cuts += 1
        self.watching.clear()
        self._wake()

    def error_event(self) -> None:
        """Every watch gets ERROR 410 as an event."""
        self._errors += 1
        self.watching.clear()
        self._wake()

    def events(self, kind: str = "", reason: str = "") -> list[Object]:
        return [
            o
            for (plural, _, _), o in self.objects.items()
            if plural == "events" and kind in ("", o["involvedObject"]["kind"]) and reason in ("", o["reason"])
        ]

    def count(self, method: str, part: str) -> int:
        return sum(1 for m, p in self.requests if m == method and part in p)

    # the server

    async def start(self) -> None:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port)
        await site.start()
        assert site._server is not None
        self._port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
        self.url = f"http://127.0.0.1:{self._port}"

    async def stop(self) -> None:
        self.cut()
        if self._runner:
            await self._runner.cleanup()

    def _note(self, kind: str, plural: str, item: Object) -> None:
        self.history.append((self.version, kind, plural, copy.deepcopy(item)))
        self._wake()

    def _wake(self) -> None:
        async def wake() -> None:
            async with self._changed:
                self._changed.notify_all()

        with contextlib.suppress(RuntimeError):  # nothing watches before the test's loop runs
            self._waking = asyncio.get_running_loop().create_task(wake())

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        path = request.path
        self.requests.append((request.method, path))
        await self.frozen.wait()
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            return _status(401, "Unauthorized", "no token")
        for failure in self.failures:
            if failure[0] == request.method and failure[1] in path:
                self.failures.remove(failure)
                return _status(failure[2], "InternalError", "told to fail")
        plural, namespace, name = _parse(path)
        if request.method == "GET" and not name:
            watching = request.query.get("watch") == "true"
            return await self._watch(request, plural, namespace) if watching else self._list(request, plural, namespace)
        key = (plural, namespace, name)
        if request.method == "POST":
            body = msgspec.json.decode(await request.read())
            key = (plural, namespace, body["metadata"]["name"])
            if key in self.objects:
                return _status(409, "AlreadyExists", "there is one")
            return web.json_response(self.put(*key, body), status=201)
        if key not in self.objects:
            return _status(404, "NotFound", f"{plural} {name} not found")
        if request.method == "PUT":
            body = msgspec.json.decode(await request.read())
            if body["metadata"].get("resourceVersion") != self.objects[key]["metadata"]["resourceVersion"]:
                return _status(409, "Conflict", "the object has been modified")
            self.put(*key, body)
        if request.method == "PATCH":
            patch = msgspec.json.decode(await request.read())
            merged = _merge(copy.deepcopy(self.objects[key]), patch)
            if merged != self.objects[key]:
                self.put(*key, merged)
        return web.json_response(self.objects[key])

    def _list(self, request: web.Request, plural: str, namespace: str) -> web.Response:
        items = [o for (p, n, _), o in sorted(self.objects.items()) if p == plural and namespace in ("", n)]
        if self.empty_lists:
            items = []
        start = int(request.query.get("continue", "0"))
        size = min(self.pages, int(request.query.get("limit", "500")))
        meta = {"resourceVersion": str(self.version)}
        if start + size < len(items):
            meta["continue"] = str(start + size)
        return web.json_response({"metadata": meta, "items": items[start : start + size]})

    async def _watch(self, request: web.Request, plural: str, namespace: str) -> web.StreamResponse:
        since, cuts, errors = int(request.query.get("resourceVersion", "0")), self._cuts, self._errors
        if 0 < since < self.compacted:
            return _status(410, "Expired", "too old resource version")
        selector = request.query.get("fieldSelector", "")
        if selector:
            self.selected.setdefault(plural, set()).add(selector)
        name = selector.removeprefix("metadata.name=")
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        self.watching.add(plural)
        position = 0
        if not since:
            since = self.version
            for (p, n, it), item in sorted(self.objects.items()):
                if p == plural and namespace in ("", n) and name in ("", it):
                    await _send(response, "ADDED", item)
        while True:
            news, position = self.history[position:], len(self.history)
            for version, kind, of, item in news:
                if version > since:
                    since = version
                    meta = item["metadata"]
                    here = namespace in ("", meta.get("namespace")) and name in ("", meta["name"])
                    if of == plural and here:
                        await _send(response, kind, item)
            if self._errors != errors:
                gone = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}
                await _send(response, "ERROR", gone)
                return response
            if self._cuts != cuts:
                if request.transport is not None:
                    request.transport.abort()
                return response
            async with self._changed:
                while self.version <= since and (self._cuts, self._errors) == (cuts, errors):
                    await self._changed.wait()


async def _send(response: web.StreamResponse, kind: str, item: Object) -> None:
    await response.write(msgspec.json.encode({"type": kind, "object": item}) + b"\n")


def _parse(path: str) -> tuple[str, str, str]:
    parts = path.strip("/").split("/")
    parts = parts[2:] if parts[0] == "api" else parts[3:]
    namespace = ""
    if parts[0] == "namespaces" and len(parts) > 2:
        namespace, parts = parts[1], parts[2:]
    plural, name = [*parts, ""][:2]
    return plural, namespace, name


def _merge(target: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = _merge(result.get(key), value)
    return result


def _status(code: int, reason: str, message: str) -> web.Response:
    body = {"kind": "Status", "code": code, "reason": reason, "message": message}
    return web.json_response(body, status=code)


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


async def until(condition: Callable[[], Any], seconds: float = 10.0) -> None:
    """Wait for `condition`; fails after `seconds`."""
    end = asyncio.get_running_loop().time() + seconds
    while not condition():
        if asyncio.get_running_loop().time() > end:
            raise AssertionError("the condition did not come true in time")
        await asyncio.sleep(0.002)
