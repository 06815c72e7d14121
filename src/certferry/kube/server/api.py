"""From a request to an answer: which verb on which resource, who may, and what is told.

`http` hands in a ``Request`` that knows nothing of sockets and sends the ``Answer`` or the stream of
events back. Every refusal is a ``Refused`` that travels up to there.
"""

from __future__ import annotations

import base64
import binascii
import random
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import datetime
from typing import Any

import msgspec

from certferry.kube.server import auth, bodies, discovery, openapi, reviews, selectors, tables, watch, writes
from certferry.kube.server.addresses import Addresses
from certferry.kube.server.auth import Action, User
from certferry.kube.server.kinds import Kind, Object
from certferry.kube.server.registry import Decision, Registry, Step
from certferry.kube.server.status import (
    Refused,
    Resource,
    bad_request,
    exists,
    expired,
    forbidden,
    invalid,
    method_not_allowed,
    not_found,
    too_large_revision,
    unknown_path,
    unprocessable,
)
from certferry.kube.server.store import Stored

_SUFFIX = "bcdfghjklmnpqrstvwxz2456789"
_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch"}
VERSION = {
    "major": "1",
    "minor": "36",
    "gitVersion": "v1.36.0+certferry",
    "gitCommit": "",
    "gitTreeState": "clean",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": "",
    "compiler": "",
    "platform": "",
}
"""The Kubernetes version whose behaviour this server follows."""


class Request(msgspec.Struct, frozen=True):
    """One request, as far as an answer depends on it."""

    method: str
    path: str
    query: Mapping[str, str]
    user: User
    accept: str = ""
    media: str = ""
    """Content-Type without parameters."""
    body: bytes = b""
    host: str = ""

    def flag(self, name: str) -> bool:
        """A boolean as Go and as Python write it."""
        value = self.query.get(name, "")
        return value.lower() in ("1", "t", "true") or (value == "" and name in self.query)

    @property
    def dry(self) -> bool:
        asked = self.query.get("dryRun", "")
        if asked not in ("", "All"):
            fault = invalid("dryRun", [asked], "")
            text = f'Unsupported value: "{asked}": supported values: "All"'
            raise unprocessable("", "", "", [msgspec.structs.replace(fault, body=text)])
        return bool(asked)

    @property
    def validation(self) -> str:
        asked = self.query.get("fieldValidation") or "Warn"
        if asked not in bodies.VALIDATIONS:
            raise bad_request(
                f'fieldValidation: Unsupported value: "{asked}": supported values: "Ignore", "Strict", "Warn"'
            )
        return asked


class Answer(msgspec.Struct, frozen=True):
    """A whole answer."""

    body: bytes
    code: int = 200
    media: str = "application/json"
    warnings: tuple[str, ...] = ()


class Target(msgspec.Struct, frozen=True):
    """What a path of a resource names."""

    kind: Kind
    namespace: str = ""
    name: str = ""
    subresource: str = ""


class Api:
    """The API over one registry."""

    def __init__(
        self, registry: Registry, kinds: tuple[Kind, ...], addresses: Addresses, clock: Callable[[], datetime]
    ) -> None:
        self._registry, self._kinds, self._addresses, self._clock = registry, kinds, addresses, clock
        self._by_path = {(k.group, k.version, k.plural): k for k in kinds}
        self._documents: dict[str, bytes] = {}

    async def handle(self, request: Request) -> Answer | AsyncIterator[bytes]:
        """The answer to `request`. Raises ``Refused``."""
        parts = [p for p in request.path.split("/") if p]
        match parts:
            case ["api", version, plural, *rest]:
                return await self._resource(request, ("", version), [plural, *rest])
            case ["apis", group, version, plural, *rest]:
                if any((group, version, plural) == r[:3] for r in discovery.REVIEWS) and not rest:
                    return self._review(request, plural)
                return await self._resource(request, (group, version), [plural, *rest])
            case _ if request.method not in ("GET", "HEAD"):
                raise method_not_allowed()
            case ["openapi", *rest]:
                return self._openapi(request, rest)
            case _:
                return Answer(
                    msgspec.json.encode(self._discovery(parts, request)), media=self._media(parts, request)
                )

    def _media(self, parts: list[str], request: Request) -> str:
        aggregated = parts in (["api"], ["apis"]) and discovery.wants_aggregated(request.accept)
        return discovery.AGGREGATED if aggregated else "application/json"

    def _discovery(self, parts: list[str], request: Request) -> Any:
        aggregated = discovery.wants_aggregated(request.accept)
        groups = discovery.groups(self._kinds)
        match parts:
            case []:
                return {
                    "paths": [
                        "/api",
                        "/api/v1",
                        "/apis",
                        "/healthz",
                        "/livez",
                        "/openapi/v2",
                        "/openapi/v3",
                        "/readyz",
                        "/version",
                    ]
                }
            case ["version"]:
                return VERSION
            case ["api"]:
                return (
                    discovery.aggregated(self._kinds, {"": "v1"})
                    if aggregated
                    else discovery.api_versions(request.host)
                )
            case ["apis"]:
                return (
                    discovery.aggregated(self._kinds, groups)
                    if aggregated
                    else discovery.group_list(self._kinds)
                )
            case ["api", "v1"]:
                return discovery.resource_list(self._kinds, "", "v1")
            case ["apis", group] if group in groups:
                return discovery.group(group, groups[group])
            case ["apis", group, version] if groups.get(group) == version:
                return discovery.resource_list(self._kinds, group, version)
        raise unknown_path()

    def _openapi(self, request: Request, rest: list[str]) -> Answer:
        if "json" not in request.accept and "*/*" not in request.accept and request.accept:
            raise Refused(
                406, "NotAcceptable", "only the following media types are accepted: application/json"
            )
        path = "/".join(rest)
        if path not in self._documents:
            groups = openapi.groups(self._kinds)
            match path:
                case "v2":
                    found = openapi.document_v2(self._kinds)
                case "v3":
                    found = openapi.index(self._kinds)
                case _ if path.removeprefix("v3/") in groups:
                    found = openapi.document(groups[path.removeprefix("v3/")])
                case _:
                    raise unknown_path()
            self._documents[path] = msgspec.json.encode(found)
        return Answer(self._documents[path])

    def _review(self, request: Request, plural: str) -> Answer:
        if request.method != "POST":
            raise method_not_allowed()
        kind = next(r[3] for r in discovery.REVIEWS if r[2] == plural)
        asked = bodies.options(request.body, request.media, kind)
        return Answer(msgspec.json.encode(reviews.answer(kind, asked, request.user, self._kinds)), code=201)

    async def _resource(
        self, request: Request, version: tuple[str, str], rest: list[str]
    ) -> Answer | AsyncIterator[bytes]:
        target = self._target(version, rest)
        verb = self._verb(request, target)
        resource = Resource(target.kind.group, target.kind.plural)
        # A namespace itself is asked for in itself, as the real authoriser sees it.
        space = target.name if target.kind.name == "Namespace" else target.namespace
        auth.check(request.user, Action(verb, resource, target.subresource, space, target.name))
        match verb:
            case "get":
                return self._get(request, target)
            case "list":
                return self._list(request, target)
            case "watch":
                return self._watch(request, target)
            case "create":
                return await self._create(request, target)
            case "update" | "patch":
                return await self._change(request, target)
            case "delete":
                return await self._delete(request, target)
        return await self._delete_all(request, target)

    def _target(self, version: tuple[str, str], rest: list[str]) -> Target:
        namespace = ""
        if len(rest) >= 3 and rest[0] == "namespaces" and (*version, rest[2]) in self._by_path:
            namespace, rest = rest[1], rest[2:]
        kind = self._by_path.get((*version, rest[0]))
        if kind is None or len(rest) > 3 or (namespace and not kind.namespaced):
            raise unknown_path()
        name, subresource = (rest[1:] + ["", ""])[:2]
        if subresource and not (subresource == "status" and kind.status):
            raise unknown_path()
        if name and kind.namespaced and not namespace:
            raise unknown_path()
        return Target(kind, namespace, name, subresource)

    def _verb(self, request: Request, target: Target) -> str:
        match request.method, bool(target.name):
            case "GET" | "HEAD", named:
                return "watch" if request.flag("watch") else "get" if named else "list"
            case "POST", False:
                return "create"
            case "PUT" | "PATCH" as method, True:
                return _VERBS[method]
            case "DELETE", named if not target.subresource:
                return "delete" if named else "deletecollection"
        raise method_not_allowed()

    def _get(self, request: Request, target: Target) -> Answer:
        view = tables.negotiate(request.accept, request.query.get("includeObject", ""))
        stored = self._registry.get(target.kind, target.namespace, target.name)
        if stored is None:
            raise not_found(target.kind.resource, target.name)
        return Answer(tables.one(view, target.kind, stored.body, self._clock()))

    def _wanted(self, request: Request, target: Target) -> selectors.Selection:
        fields = request.query.get("fieldSelector", "")
        if target.name:
            fields = ",".join(filter(None, [fields, f"metadata.name={target.name}"]))
        return selectors.selection(request.query.get("labelSelector", ""), fields, target.kind)

    def _list(self, request: Request, target: Target) -> Answer:
        view = tables.negotiate(request.accept, request.query.get("includeObject", ""))
        self._revision(request)
        found = self._registry.select(target.kind, target.namespace, self._wanted(request, target))
        limit = _number(request.query.get("limit", ""), "limit")
        meta: dict[str, Any] = {"resourceVersion": str(self._registry.revision)}
        if token := request.query.get("continue", ""):
            revision, start = _read_token(token)
            # The pages show what is there now, under the revision of the first: a watch from that
            # revision tells again what moved between them, so a client ends with the truth.
            self._registry.check_kept(revision)
            meta["resourceVersion"] = str(revision)
            found = [s for s in found if (s.namespace, s.name) > start]
        if limit and len(found) > limit:
            rest = len(found) - limit
            found = found[:limit]
            meta["continue"] = _token(int(meta["resourceVersion"]), found[-1])
            if not (request.query.get("labelSelector") or request.query.get("fieldSelector")):
                meta["remainingItemCount"] = rest
        return Answer(tables.many(view, target.kind, found, meta, self._clock()))

    def _watch(self, request: Request, target: Target) -> AsyncIterator[bytes]:
        view = tables.negotiate(request.accept, request.query.get("includeObject", ""))
        revision = self._revision(request)
        seconds = _number(request.query.get("timeoutSeconds", ""), "timeoutSeconds")
        initial = request.flag("sendInitialEvents")
        if initial and request.query.get("resourceVersionMatch") != "NotOlderThan":
            fault = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
            raise unprocessable("", "ListOptions", "", [invalid("resourceVersionMatch", "", fault)])
        asked = watch.Watch(
            kind=target.kind,
            namespace=target.namespace,
            wanted=self._wanted(request, target),
            view=view,
            since=revision if revision and not initial else None,
            # Spread, so that clients do not all come back at once.
            seconds=float(seconds or random.uniform(1800, 3600)),
            bookmarks=request.flag("allowWatchBookmarks"),
            initial_end=initial and request.flag("allowWatchBookmarks"),
        )
        return watch.events(self._registry, asked, self._clock)

    def _revision(self, request: Request) -> int:
        text = request.query.get("resourceVersion", "")
        revision = _number(text, "resourceVersion")
        if revision > self._registry.revision:
            raise too_large_revision(revision, self._registry.revision)
        if request.query.get("resourceVersionMatch") == "Exact" and revision != self._registry.revision:
            raise expired(
                f"The resourceVersion for the provided list is too old: {revision} is not kept as a whole."
            )
        return revision

    async def _create(self, request: Request, target: Target) -> Answer:
        kind, warnings = target.kind, bodies.Warnings()
        view = tables.negotiate(request.accept, request.query.get("includeObject", ""))
        found = bodies.parse(request.body, request.media, kind, request.validation, warnings)
        if kind.namespaced and not target.namespace:
            raise method_not_allowed()
        meta = found.setdefault("metadata", {})
        if target.namespace:
            self._check_namespace(kind, target.namespace, str(meta.get("name", "")))
        generated = bool(meta.get("generateName")) and not meta.get("name")
        for _ in range(8):
            if generated:
                meta["name"] = meta["generateName"][:58] + "".join(secrets.choice(_SUFFIX) for _ in range(5))
            prepared = writes.prepare(kind, found, target.namespace, self._clock(), self._finish(kind))
            try:
                body = await self._carry_out(
                    request, kind, prepared["metadata"], writes.create(kind, prepared)
                )
            except Refused as taken:
                if not generated or taken.reason != "AlreadyExists":
                    raise
                continue
            return Answer(tables.one(view, kind, body, self._clock()), 201, warnings=tuple(warnings))
        raise exists(kind.resource, meta["name"])

    def _check_namespace(self, kind: Kind, namespace: str, name: str) -> None:
        stored = self._registry.get(self._by_path["", "v1", "namespaces"], "", namespace)
        if stored is None:
            raise not_found(Resource("", "namespaces"), namespace)
        if stored.facts.fields["status.phase"] == "Terminating":
            why = f"unable to create new content in namespace {namespace} because it is being terminated"
            refused = forbidden(kind.resource, name, why)
            cause = {
                "reason": "NamespaceTerminating",
                "message": f"namespace {namespace} is being terminated",
                "field": "metadata.namespace",
            }
            raise Refused(403, refused.reason, refused.message, (refused.details or {}) | {"causes": [cause]})

    def _finish(self, kind: Kind) -> writes.Finish:
        if kind.name == "Service":
            return lambda service: self._addresses.give(service, self._registry.all(kind.plural))
        return lambda _: None

    async def _change(self, request: Request, target: Target) -> Answer:
        kind, warnings = target.kind, bodies.Warnings()
        view = tables.negotiate(request.accept, request.query.get("includeObject", ""))
        if request.method == "PUT":
            found = bodies.parse(request.body, request.media, kind, request.validation, warnings)

            def change(_: Object) -> Object:
                return found

        else:
            change = bodies.patcher(request.body, request.media, kind, request.validation, warnings)
        if target.subresource:
            decide = writes.update_status(kind, target.name, change)
        else:
            decide = writes.update(kind, target.name, change, self._finish(kind))
        body = await self._carry_out(
            request, kind, {"namespace": target.namespace, "name": target.name}, decide
        )
        return Answer(tables.one(view, kind, body, self._clock()), warnings=tuple(warnings))

    async def _carry_out(
        self, request: Request, kind: Kind, meta: Mapping[str, Any], decide: Decision
    ) -> bytes:
        """The body of the object after `decide`; a dry run only decides."""
        namespace, name = meta.get("namespace", ""), meta["name"]
        if request.dry:
            outcome = decide(self._registry.get(kind, namespace, name))
            head = {"kind": kind.name, "apiVersion": kind.api_version}
            return msgspec.json.encode(head | outcome.object) if isinstance(outcome, Step) else outcome.body
        return (await self._registry.write(kind, namespace, name, decide)).body

    async def _delete(self, request: Request, target: Target) -> Answer:
        kind = target.kind
        asked = bodies.options(request.body, request.media)
        conditions = asked.get("preconditions", {})
        wanted = writes.Preconditions(conditions.get("uid", ""), conditions.get("resourceVersion", ""))
        decide = writes.delete(kind, target.name, wanted, self._clock())
        dry = request.dry or bool(asked.get("dryRun"))
        if dry:
            stored = self._registry.get(kind, target.namespace, target.name)
            decide(stored)
            assert stored is not None  # or decide has refused
        else:
            stored = await self._registry.write(kind, target.namespace, target.name, decide)
        if self._registry.get(kind, target.namespace, target.name) is not None and not dry:
            return Answer(stored.body)  # marked, and held by finalizers
        return Answer(msgspec.json.encode(_deleted(kind, self._registry.object_of(stored))))

    async def _delete_all(self, request: Request, target: Target) -> Answer:
        if target.kind.namespaced and not target.namespace:
            raise method_not_allowed()
        found = self._registry.select(target.kind, target.namespace, self._wanted(request, target))
        body = tables.many(
            tables.View(),
            target.kind,
            found,
            {"resourceVersion": str(self._registry.revision)},
            self._clock(),
        )
        if not request.dry:
            for stored in found:
                await self._remove(target.kind, stored)
        return Answer(body)

    async def _remove(self, kind: Kind, stored: Stored) -> None:
        decide = writes.delete(kind, stored.name, writes.Preconditions(), self._clock())
        try:
            await self._registry.write(kind, stored.namespace, stored.name, decide)
        except Refused as refused:
            if refused.code != 404:  # gone meanwhile is what was asked for
                raise


def _deleted(kind: Kind, found: Object) -> dict[str, Any]:
    meta = found["metadata"]
    details = kind.resource.details(meta["name"]) | {"uid": meta["uid"]}
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}


def _number(text: str, name: str) -> int:
    if not text:
        return 0
    if not text.isdigit():
        raise bad_request(f'{name}: Invalid value: "{text}": must be a number')
    return int(text)


def _token(revision: int, last: Stored) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode([revision, last.namespace, last.name])).decode()


def _read_token(token: str) -> tuple[int, tuple[str, str]]:
    try:
        revision, namespace, name = msgspec.json.decode(
            base64.urlsafe_b64decode(token), type=tuple[int, str, str]
        )
    except (msgspec.DecodeError, binascii.Error, ValueError):
        raise bad_request("continue key is not valid: it is no token of this server") from None
    return revision, (namespace, name)
