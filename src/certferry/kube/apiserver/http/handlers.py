"""Dispatch of a request to its verb and resource, with authorisation.

Handlers take and return plain values and never touch a socket. Every error is an ``ApiStatus``.
Source: https://kubernetes.io/docs/reference/using-api/api-concepts/
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import Any, ParamSpec, TypeVar

import msgspec

from certferry.kube.apiserver.apply.managed_fields import Writer
from certferry.kube.apiserver.auth import auth
from certferry.kube.apiserver.auth.auth import Action, User
from certferry.kube.apiserver.discovery import discovery
from certferry.kube.apiserver.errors import (
    ApiStatus,
    Resource,
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
from certferry.kube.apiserver.http import access_reviews, codec, negotiation, watch
from certferry.kube.apiserver.http.discovery import Documents
from certferry.kube.apiserver.http.list_pages import ListSnapshots
from certferry.kube.apiserver.http.request import (
    Request,
    Response,
    Target,
    decode_continue,
    encode_continue,
    parse_count,
)
from certferry.kube.apiserver.resources.builtin import Object, ResourceDefinition
from certferry.kube.apiserver.storage import mutations, selectors
from certferry.kube.apiserver.storage.ip_allocator import ServiceAllocator
from certferry.kube.apiserver.storage.log import Stored
from certferry.kube.apiserver.storage.watch_cache import LARGE, Decision, Mutation, WatchCache

_SUFFIX_CHARACTERS = "bcdfghjklmnpqrstvwxz2456789"
_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch"}


P = ParamSpec("P")
R = TypeVar("R")


async def _off_loop(request: Request, parse: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call `parse`, in a thread if the body of `request` is large, so that other requests go on."""
    if len(request.body) < LARGE:
        return parse(*args, **kwargs)
    return await asyncio.to_thread(parse, *args, **kwargs)


class Api:
    """The API over one ``WatchCache``."""

    def __init__(
        self,
        cache: WatchCache,
        kinds: tuple[ResourceDefinition, ...],
        allocator: ServiceAllocator,
        clock: Callable[[], datetime],
    ) -> None:
        self._cache, self._kinds, self._allocator, self._clock = cache, kinds, allocator, clock
        self._by_path = {(k.group, k.version, k.plural): k for k in kinds}
        self._documents = Documents(kinds)
        self._snapshots = ListSnapshots()

    async def handle(self, request: Request) -> Response | AsyncIterator[bytes]:
        """Return the response to `request`, or a stream of watch events. Raises ``ApiStatus``."""
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
            case _:
                return self._documents.respond(request, parts)

    def _review(self, request: Request, plural: str) -> Response:
        if request.method != "POST":
            raise method_not_allowed()
        kind = next(r[3] for r in discovery.REVIEWS if r[2] == plural)
        review_request = codec.parse_options(request.body, request.media, kind)
        return Response(
            msgspec.json.encode(access_reviews.review(kind, review_request, request.user, self._kinds)), code=201
        )

    async def _resource(
        self, request: Request, version: tuple[str, str], rest: list[str]
    ) -> Response | AsyncIterator[bytes]:
        target = self._target(version, rest)
        verb = self._verb(request, target)
        resource = Resource(target.kind.group, target.kind.plural)
        # The real authoriser uses the name of a Namespace as its namespace.
        space = target.name if target.kind.name == "Namespace" else target.namespace
        auth.authorize(request.user, Action(verb, resource, target.subresource, space, target.name))
        deprecated = (target.kind.deprecated,) if target.kind.deprecated else ()
        try:
            answer = await self._dispatch(request, target, verb)
        except ApiStatus as refused:
            refused.warnings = deprecated
            raise
        if deprecated and isinstance(answer, Response):
            return msgspec.structs.replace(answer, warnings=(*deprecated, *answer.warnings))
        return answer

    async def _dispatch(self, request: Request, target: Target, verb: str) -> Response | AsyncIterator[bytes]:
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
        name, subresource = ([*rest[1:], "", ""])[:2]
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

    def _get(self, request: Request, target: Target) -> Response:
        response_format = negotiation.negotiate(request.accept, request.query.get("includeObject", ""))
        stored = self._cache.get(target.kind, target.namespace, target.name)
        if stored is None:
            raise not_found(target.kind.resource, target.name)
        return Response(negotiation.encode_object(response_format, target.kind, stored.body, self._clock()))

    def _selection(self, request: Request, target: Target) -> selectors.Selection:
        fields = request.query.get("fieldSelector", "")
        if target.name:
            fields = ",".join(filter(None, [fields, f"metadata.name={target.name}"]))
        return selectors.selection(request.query.get("labelSelector", ""), fields, target.kind)

    def _list(self, request: Request, target: Target) -> Response:
        response_format = negotiation.negotiate(request.accept, request.query.get("includeObject", ""))
        self._revision(request)
        selection = self._selection(request, target)
        limit = parse_count(request.query.get("limit", ""), "limit")
        revision, start = self._cache.revision, ("", "")
        if page := request.query.get("continue", ""):
            revision, start = decode_continue(page)
            objects = self._snapshots.get(target.kind, revision)
        else:
            objects = self._cache.select(target.kind, "", selectors.Selection())
        page_objects = [
            s for s in objects if (s.namespace, s.name) > start and _matches(selection, target.namespace, s)
        ]
        meta: dict[str, Any] = {"resourceVersion": str(revision)}
        if limit and len(page_objects) > limit:
            rest = len(page_objects) - limit
            page_objects = page_objects[:limit]
            self._snapshots.add(target.kind, revision, objects)
            meta["continue"] = encode_continue(revision, page_objects[-1])
            if selection.selects_all:
                meta["remainingItemCount"] = rest
        return Response(parts=negotiation.encode_list(response_format, target.kind, page_objects, meta, self._clock()))

    def _watch(self, request: Request, target: Target) -> AsyncIterator[bytes]:
        response_format = negotiation.negotiate(request.accept, request.query.get("includeObject", ""))
        revision = self._revision(request)
        seconds = parse_count(request.query.get("timeoutSeconds", ""), "timeoutSeconds")
        initial = request.flag("sendInitialEvents")
        if initial and request.query.get("resourceVersionMatch") != "NotOlderThan":
            fault = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
            raise unprocessable("", "ListOptions", "", [invalid("resourceVersionMatch", "", fault)])
        requested = watch.Watch(
            kind=target.kind,
            namespace=target.namespace,
            selection=self._selection(request, target),
            response_format=response_format,
            since=revision if revision and not initial else None,
            # Random, so that clients do not all reconnect at once.
            seconds=float(seconds or 1800 + secrets.randbelow(1800)),
            bookmarks=request.flag("allowWatchBookmarks"),
            initial_end=initial and request.flag("allowWatchBookmarks"),
        )
        return watch.events(self._cache, requested, self._clock)

    def _revision(self, request: Request) -> int:
        text = request.query.get("resourceVersion", "")
        revision = parse_count(text, "resourceVersion")
        if revision > self._cache.revision:
            raise too_large_revision(revision, self._cache.revision)
        if request.query.get("resourceVersionMatch") == "Exact" and revision != self._cache.revision:
            raise expired(f"The resourceVersion for the provided list is too old: {revision} is not kept as a whole.")
        return revision

    async def _create(self, request: Request, target: Target) -> Response:
        kind, warnings = target.kind, codec.Warnings()
        response_format = negotiation.negotiate(request.accept, request.query.get("includeObject", ""))
        obj = await _off_loop(request, codec.parse, request.body, request.media, kind, request.validation, warnings)
        if kind.namespaced and not target.namespace:
            raise method_not_allowed()
        meta = obj.setdefault("metadata", {})
        if target.namespace:
            self._check_namespace(kind, target.namespace, str(meta.get("name", "")))
        writer = request.writer(self._clock(), "")
        generated = bool(meta.get("generateName")) and not meta.get("name")
        for _ in range(8):
            if generated:
                meta["name"] = meta["generateName"][:58] + "".join(secrets.choice(_SUFFIX_CHARACTERS) for _ in range(5))
            prepared = await _off_loop(request, mutations.prepare, kind, obj, target.namespace, writer)
            try:
                created = Target(kind, target.namespace, prepared["metadata"]["name"])
                body = await self._commit(request, created, mutations.create(kind, prepared, self._finish(kind)))
            except ApiStatus as error:
                if not generated or error.reason != "AlreadyExists":
                    raise
                continue
            return Response(
                negotiation.encode_object(response_format, kind, body, self._clock()), 201, warnings=tuple(warnings)
            )
        raise exists(kind.resource, meta["name"])

    def _check_namespace(self, kind: ResourceDefinition, namespace: str, name: str) -> None:
        stored = self._cache.get(self._by_path["", "v1", "namespaces"], "", namespace)
        if stored is None:
            raise not_found(Resource("", "namespaces"), namespace)
        if stored.indexed.fields["status.phase"] == "Terminating":
            why = f"unable to create new content in namespace {namespace} because it is being terminated"
            refused = forbidden(kind.resource, name, why)
            cause = {
                "reason": "NamespaceTerminating",
                "message": f"namespace {namespace} is being terminated",
                "field": "metadata.namespace",
            }
            raise ApiStatus(403, refused.reason, refused.message, (refused.details or {}) | {"causes": [cause]})

    def _finish(self, kind: ResourceDefinition) -> mutations.Finish:
        if kind.name == "Service":
            return lambda service: self._allocator.allocate(service, self._cache.all(kind.plural))
        return mutations.no_finish

    async def _change(self, request: Request, target: Target) -> Response:
        kind, warnings = target.kind, codec.Warnings()
        response_format = negotiation.negotiate(request.accept, request.query.get("includeObject", ""))
        finish = self._finish(kind) if not target.subresource else mutations.no_finish
        writer = request.writer(self._clock(), target.subresource)
        if request.method == "PATCH" and request.media == codec.APPLY:
            return await self._apply(request, target, finish, writer)
        change = await _off_loop(request, self._replacement, request, kind, warnings)
        decide = mutations.update(kind, target.name, change, finish, writer)
        body = await self._commit(request, target, decide)
        return Response(negotiation.encode_object(response_format, kind, body, self._clock()), warnings=tuple(warnings))

    async def _apply(self, request: Request, target: Target, finish: mutations.Finish, writer: Writer) -> Response:
        kind = target.kind
        response_format = negotiation.negotiate(request.accept, request.query.get("includeObject", ""))
        config = await _off_loop(request, codec.parse_apply, request.body, kind, f"{target.namespace}/{target.name}")
        key = (target.namespace, target.name)
        is_new = self._cache.get(kind, *key) is None
        if is_new and target.namespace:
            self._check_namespace(kind, target.namespace, target.name)
        decide = mutations.apply(kind, key, config, finish, writer, force=request.flag("force"))
        body = await self._commit(request, target, decide)
        return Response(negotiation.encode_object(response_format, kind, body, self._clock()), 201 if is_new else 200)

    def _replacement(self, request: Request, kind: ResourceDefinition, warnings: codec.Warnings) -> mutations.Change:
        if request.method == "PATCH":
            return codec.patcher(request.body, request.media, kind, request.validation, warnings)
        obj = codec.parse(request.body, request.media, kind, request.validation, warnings)
        return lambda _: obj

    async def _commit(self, request: Request, target: Target, decide: Decision) -> bytes:
        """Carry out `decide` and return the object's body; a dry run stores nothing."""
        kind, namespace, name = target.kind, target.namespace, target.name
        decide = _authorized(request.user, target, decide)
        if request.dry_run:
            outcome = await _off_loop(request, decide, self._cache.get(kind, namespace, name))
            head = {"kind": kind.name, "apiVersion": kind.api_version}
            return msgspec.json.encode(head | outcome.object) if isinstance(outcome, Mutation) else outcome.body
        large = len(request.body) >= LARGE
        return (await self._cache.write(kind, namespace, name, decide, large=large)).body

    async def _delete(self, request: Request, target: Target) -> Response:
        kind = target.kind
        delete_options = codec.parse_options(request.body, request.media)
        conditions = delete_options.get("preconditions", {})
        preconditions = mutations.Preconditions(conditions.get("uid", ""), conditions.get("resourceVersion", ""))
        decide = mutations.delete(kind, target.name, preconditions, self._clock())
        dry = request.dry_run or bool(delete_options.get("dryRun"))
        if dry:
            stored = self._cache.get(kind, target.namespace, target.name)
            decide(stored)
            assert stored is not None  # otherwise `decide` raised
        else:
            stored = await self._cache.write(kind, target.namespace, target.name, decide)
        if self._cache.get(kind, target.namespace, target.name) is not None and not dry:
            return Response(stored.body)  # marked for deletion; finalizers delay it
        return Response(msgspec.json.encode(_deleted_status(kind, self._cache.object_of(stored))))

    async def _delete_all(self, request: Request, target: Target) -> Response:
        if target.kind.namespaced and not target.namespace:
            raise method_not_allowed()
        objects = self._cache.select(target.kind, target.namespace, self._selection(request, target))
        meta = {"resourceVersion": str(self._cache.revision)}
        parts = negotiation.encode_list(negotiation.ResponseFormat(), target.kind, objects, meta, self._clock())
        if not request.dry_run:
            for stored in objects:
                await self._remove(target.kind, stored)
        return Response(parts=parts)

    async def _remove(self, kind: ResourceDefinition, stored: Stored) -> None:
        decide = mutations.delete(kind, stored.name, mutations.Preconditions(), self._clock())
        try:
            await self._cache.write(kind, stored.namespace, stored.name, decide)
        except ApiStatus as error:
            if error.code != 404:  # already deleted: the wanted result
                raise


def _authorized(user: User, target: Target, decide: Decision) -> Decision:
    """Return `decide` with a check of what it changes, because a patch shows that only when it is applied."""

    def checked(stored: Stored | None) -> Mutation | Stored:
        outcome = decide(stored)
        if isinstance(outcome, Mutation) and not target.subresource:
            before = msgspec.json.decode(stored.body).get("spec") if stored else None
            after = outcome.object.get("spec")
            auth.authorize_change(user, target.kind.resource, target.name, before, after)
        return outcome

    return checked


def _matches(selection: selectors.Selection, namespace: str, stored: Stored) -> bool:
    if namespace and stored.namespace != namespace:
        return False
    return selection.selects_all or selection.matches(stored.indexed.labels, stored.indexed.fields)


def _deleted_status(kind: ResourceDefinition, obj: Object) -> dict[str, Any]:
    meta = obj["metadata"]
    details = kind.resource.details(meta["name"]) | {"uid": meta["uid"]}
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
