"""The REST API as one ASGI application.

FastAPI serves the description (``/openapi.json``) and the few public paths. Requests of the routes here do not pass
through it, because it would take a quarter of the time of a PUT. Each request is authenticated and answered in a worker
thread, because the store's writes sync to disk. Every failure becomes the vendor's error body.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import re
import secrets
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import parse_qsl

import structlog
from fastapi import FastAPI, Request, Response
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError, SQLAlchemyError
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.routing import Match, compile_path
from starlette.types import Receive, Scope, Send

from certferry import __version__
from certferry.elb.server.actor import Actor
from certferry.elb.server.api import batch, cascade, catalog, extensions, keystone, openapi, tags
from certferry.elb.server.api.dependencies import ApiDependencies, Endpoint
from certferry.elb.server.api.extensions import events
from certferry.elb.server.api.extensions.bulk import bulk_route
from certferry.elb.server.api.request import ApiRequest, ApiResponse, Route
from certferry.elb.server.api.resources import (
    certificates,
    healthmonitors,
    ipgroups,
    l7policies,
    listeners,
    loadbalancers,
    members,
    pools,
    private_key_echo,
    rules,
    security_policies,
)
from certferry.elb.server.api.responses import failure, json_response, read_request, success
from certferry.elb.server.dataplane.status import DataPlaneStatus
from certferry.elb.server.errors import ApiError, conflict, forbidden, unknown_path
from certferry.elb.server.identity.auth import authenticated
from certferry.elb.server.identity.request_signature import Presented
from certferry.elb.server.store.transaction import ConflictError

ROUTES: Final[tuple[Route, ...]] = (
    *private_key_echo.ROUTES,
    *certificates.ROUTES,
    *loadbalancers.ROUTES,
    *listeners.ROUTES,
    *pools.ROUTES,
    *members.ROUTES,
    *healthmonitors.ROUTES,
    *rules.ROUTES,  # before the policies: /l7policies/rules is no policy's id
    *l7policies.ROUTES,
    *ipgroups.ROUTES,
    *security_policies.ROUTES,
    *cascade.ROUTES,
    *batch.ROUTES,
    *tags.ROUTES,
    *catalog.ROUTES,
)
_ID: Final = re.compile("[0-9a-f-]{32,36}")
_WORKERS: Final = 40
"""Requests that are answered at the same time; others wait."""
_log = structlog.get_logger("certferry.elb")


class _Application(FastAPI):
    """FastAPI; the routes of `direct` are answered without its middleware and its routing."""

    def __init__(self) -> None:
        super().__init__(
            title="Certferry ELB", version=__version__, docs_url=None, redoc_url=None, redirect_slashes=False
        )
        self._direct: dict[tuple[str, int], list[tuple[re.Pattern[str], Endpoint]]] = {}

    def direct(self, method: str, path: str, endpoint: Endpoint) -> None:
        """Answer `method` on `path` by `endpoint`. Of several that match, the first counts."""
        pattern, _, _ = compile_path(path)
        self._direct.setdefault((method, path.count("/")), []).append((pattern, endpoint))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http":
            path = scope["path"]
            for pattern, endpoint in self._direct.get((scope["method"], path.count("/")), ()):
                if match := pattern.match(path):
                    scope["path_params"] = match.groupdict()
                    await _answer_directly(endpoint, Request(scope, receive), send)
                    return
        await super().__call__(scope, receive, send)


async def _answer_directly(endpoint: Endpoint, request: Request, send: Send) -> None:
    try:
        response = await endpoint(request)
    except Exception as error:
        await (await _broken(request, error))(request.scope, request.receive, send)
        raise  # for the server's log
    await response(request.scope, request.receive, send)


def application(elb: ApiDependencies) -> FastAPI:
    """Build the application for `elb`."""
    app, workers = _Application(), ThreadPoolExecutor(_WORKERS, "api")
    for path, public, summary in (
        ("/healthz", _healthz(elb), "Check that the service answers"),
        ("/versions", _versions, "List API versions"),
        ("/v3/certferry", _extensions, "Show the extensions of Certferry"),
    ):
        extra = openapi.public_operation()
        app.add_api_route(path, public, methods=["GET"], summary=summary, openapi_extra=extra)
    for path, method, answer, summary in keystone.endpoints(elb):
        extra = openapi.keystone_operation(path, method)
        app.add_api_route(path, answer, methods=[method], summary=summary, openapi_extra=extra)
    routes = (*ROUTES, *extensions.ROUTES, bulk_route(ROUTES))
    for route in routes:
        path, endpoint = "/v3/{project_id}" + route.under + route.path, _endpoint(elb, route, workers)
        app.direct(route.method, path, endpoint)
        app.add_api_route(
            path,
            endpoint,
            methods=[route.method],
            status_code=route.status,
            summary=route.summary,
            openapi_extra=openapi.operation(route, routes),
        )
    app.add_api_route(
        "/v3/{project_id}/certferry/events",
        events.endpoint(elb),
        methods=["GET"],
        summary="Follow all changes (server-sent events)",
        openapi_extra=openapi.stream_operation(),
    )
    openapi.described(app, routes)
    app.add_exception_handler(HTTPException, _unknown)
    app.add_exception_handler(SQLAlchemyError, _unstorable)
    app.add_exception_handler(Exception, _broken)
    return app


def _endpoint(elb: ApiDependencies, route: Route, workers: ThreadPoolExecutor) -> Endpoint:
    async def answer(request: Request) -> Response:
        request_id = uuid.uuid4().hex
        try:
            presented = await read_request(request)
            work = functools.partial(_answered, elb, route, request, presented, request_id)
            run = contextvars.copy_context().run
            answered, actor = await asyncio.get_running_loop().run_in_executor(workers, run, work)
        except ApiError as error:
            return failure(error, request_id)
        except ConflictError:
            return failure(conflict("Another client changed the object at the same time: try again"), request_id)
        except SQLAlchemyError as error:
            return failure(_unstored(error, request_id), request_id)
        response = success(answered, request_id)
        if route.method != "GET":
            # After the answer and in the event loop: in the worker thread it would delay the change's way to Envoy.
            written = {"method": route.method, "path": presented.path, "user": actor.name, "request_id": request_id}
            response.background = BackgroundTask(_log_written, written)
        return response

    return answer


async def _log_written(written: dict[str, str]) -> None:
    _log.info("written", **written)


def _answered(
    elb: ApiDependencies, route: Route, request: Request, presented: Presented, request_id: str
) -> tuple[ApiResponse, Actor]:
    """Authenticate and answer a request, in a worker thread. Raises ApiError."""
    actor = authenticated(elb.identity, presented, datetime.now(UTC))
    if request.path_params["project_id"] != actor.project_id:
        raise forbidden("The project in the path is not the project you are logged in to")
    if route.method != "GET" and actor.role not in route.roles:
        raise forbidden(f"The role {actor.role} may not do this; {' and '.join(route.roles)} may")
    call = ApiRequest(
        store=elb.store,
        settings=elb.settings,
        actor=actor,
        request_id=request_id,
        path=request.path_params,
        query=tuple(parse_qsl(presented.query, keep_blank_values=True)),
        body=presented.body,
        plane=functools.cache(elb.plane),  # at most one report per answer
    )
    return route.handler(call), actor


def _unstored(error: SQLAlchemyError, request_id: str) -> ApiError:
    if isinstance(error, IntegrityError):
        return conflict("The change conflicts with another that was made at the same time: try again")
    reason = str(getattr(error, "orig", error))
    if isinstance(error, DBAPIError) and (error.connection_invalidated or "connection failed" in reason):
        _log.error("no connection to the database", reason=reason.strip(), request_id=request_id)
        return ApiError(503, "ELB.8906", "The ELB has no connection to its database: try again in a few seconds")
    _log.error("not stored", reason=reason, request_id=request_id)
    return ApiError(
        507 if isinstance(error, OperationalError) else 500,
        "ELB.8906",
        f"The store could not be written ({reason}); nothing was changed. Make room on its disk and try again",
    )


async def _unstorable(request: Request, error: Exception) -> Response:
    assert isinstance(error, SQLAlchemyError)
    request_id = secrets.token_hex(16)
    return failure(_unstored(error, request_id), request_id)


async def _unknown(request: Request, error: Exception) -> Response:
    status = getattr(error, "status_code", 500)
    if status != 405 or (request.method == "POST" and _is_operation(request.url.path)):
        return failure(unknown_path(request.url.path), secrets.token_hex(16))
    error = ApiError(405, "APIGW.0101", f"{request.method} is not possible on {request.url.path}")
    answer = failure(error, secrets.token_hex(16))
    answer.headers["Allow"] = _allowed(request)
    return answer


def _is_operation(path: str) -> bool:
    """Return True for an operation of the vendor's that is not served, such as ``/loadbalancers/batch-create``."""
    _, _, resource = path.partition("/elb/")
    return "/" in resource and not _ID.fullmatch(resource.rpartition("/")[2])


def _allowed(request: Request) -> str:
    """Return the methods of a path, because each route knows only its own."""
    methods: set[str] = set()
    for route in request.app.routes:
        match, _ = route.matches({**request.scope, "type": "http"})
        if match is not Match.NONE:
            methods |= route.methods or set()
    return ", ".join(sorted(methods))


async def _broken(request: Request, error: Exception) -> Response:
    request_id = secrets.token_hex(16)
    _log.error("internal error", kind=type(error).__name__, path=request.url.path, request_id=request_id)
    return failure(ApiError(500, "ELB.8906", "Internal error; see the service's log"), request_id)


def _healthz(elb: ApiDependencies) -> Endpoint:
    async def answer(request: Request) -> Response:
        """Report that the API answers, and Envoy's state; a failed Envoy does not change the 200."""
        report = await run_in_threadpool(elb.plane)
        return json_response(200, {"status": "ok", **_plane(report)}, secrets.token_hex(16))

    return answer


def _plane(report: DataPlaneStatus) -> dict[str, Any]:
    if report.envoy is None:
        return {}
    envoy = {"state": report.envoy.state, "restarts": report.envoy.restarts}
    if report.envoy.sentence:
        envoy["sentence"] = report.envoy.sentence
    return {"envoy": envoy, "connected": list(report.connected)}


async def _versions(request: Request) -> Response:
    versions = [{"id": "v3", "status": "CURRENT"}, {"id": "v2", "status": "STABLE"}, {"id": "v2.0", "status": "STABLE"}]
    return success(ApiResponse(200, {"versions": versions}), secrets.token_hex(16))


async def _extensions(request: Request) -> Response:
    about = {"version": __version__, "extensions": list(extensions.NAMES)}
    return json_response(200, {"certferry": about}, secrets.token_hex(16))
