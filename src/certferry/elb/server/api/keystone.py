"""As much of Keystone as the clients of the ELB use (elb-v3-api.md 9.1): log in, and find the service.

The application adds these endpoints. Errors have Keystone's body here, not the ELB's.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final

import msgspec
from fastapi import Request, Response
from starlette.concurrency import run_in_threadpool

from certferry.elb.server.actor import ROLES, Actor
from certferry.elb.server.api.dependencies import ApiDependencies, Endpoint
from certferry.elb.server.api.responses import read_request
from certferry.elb.server.errors import ApiError
from certferry.elb.server.identity.auth import authenticated
from certferry.elb.server.identity.users import Project, Session
from certferry.runtime.client_address import client_address
from certferry.settings import networks

_TITLES: Final = {400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 429: "Too Many Requests"}


_MAX_LOGIN: Final = 16 << 10
"""Bytes of a login's body."""
Name = Annotated[str, msgspec.Meta(max_length=255)]


class Named(msgspec.Struct, frozen=True):
    """Something by id or by name."""

    id: Name | None = None
    name: Name | None = None
    domain: Named | None = None
    password: Annotated[str, msgspec.Meta(max_length=1024)] | None = None

    def __repr__(self) -> str:
        return f"Named({self.id}, {self.name})"


class _Password(msgspec.Struct, frozen=True):
    user: Named


class _Method(msgspec.Struct, frozen=True):
    methods: list[str]
    password: _Password | None = None


class _Scope(msgspec.Struct, frozen=True):
    project: Named | None = None


class _Auth(msgspec.Struct, frozen=True):
    identity: _Method
    scope: _Scope | None = None


class Login(msgspec.Struct, frozen=True):
    """The body of POST /v3/auth/tokens."""

    auth: _Auth


def endpoints(elb: ApiDependencies) -> list[tuple[str, str, Endpoint, str]]:
    """(path, method, endpoint, summary) of each."""
    return [
        ("/v3", "GET", _public(lambda request: _version(elb)), "Show the identity API"),
        ("/v3/", "GET", _public(lambda request: _version(elb)), "Show the identity API"),
        ("/v3/auth/tokens", "POST", _login(elb), "Log in"),
        ("/v3/auth/tokens", "GET", _authenticated(elb, _show_token), "Show a token"),
        ("/v3/auth/tokens", "HEAD", _authenticated(elb, _show_token), "Check a token"),
        ("/v3/auth/tokens", "DELETE", _authenticated(elb, _revoke_token), "Log out"),
        ("/v3/auth/catalog", "GET", _authenticated(elb, _show_catalog), "Show the service catalog"),
        ("/v3/projects", "GET", _authenticated(elb, _list_projects), "List projects"),
        ("/v3/auth/projects", "GET", _authenticated(elb, _list_projects), "List my projects"),
        ("/v3/auth/domains", "GET", _authenticated(elb, _list_domains), "List my domains"),
        ("/v3/projects/{project_id}", "GET", _authenticated(elb, _show_project), "Show a project"),
        ("/v3/users", "GET", _authenticated(elb, _list_users), "List users"),
        ("/v3/users/{user_id}", "GET", _authenticated(elb, _show_user), "Show a user"),
        ("/v3/roles", "GET", _authenticated(elb, _list_roles), "List roles"),
    ]


def _public(make: Callable[[Request], Any]) -> Endpoint:
    async def answer(request: Request) -> Response:
        return _json(200, make(request))

    return answer


def _login(elb: ApiDependencies) -> Endpoint:
    async def answer(request: Request) -> Response:
        peer, trusted = request.client.host if request.client else "", networks(elb.settings.trusted_proxies)
        address = client_address(peer, request.headers.getlist("x-forwarded-for"), trusted)
        try:
            presented = await read_request(request, _MAX_LOGIN)
            login = _decoded(presented.body)
            async with elb.turns.turn(address):
                token, session = await run_in_threadpool(_logged_in, elb, login, address)
        except ApiError as refused:
            return _failure(refused)
        body = {"token": _token(elb, session)}
        return _json(201, body, {"X-Subject-Token": token})

    return answer


def _authenticated(elb: ApiDependencies, make: Callable[[ApiDependencies, Request, Actor], Any]) -> Endpoint:
    async def answer(request: Request) -> Response:
        def work() -> Any:
            return make(elb, request, authenticated(elb.identity, presented, datetime.now(UTC)))

        try:
            presented = await read_request(request)
            answered = await run_in_threadpool(work)
            return Response(status_code=204) if answered is None else _json(200, answered)
        except ApiError as refused:
            return _failure(refused)

    return answer


def _decoded(body: bytes) -> _Auth:
    try:
        return msgspec.json.decode(body, type=Login).auth
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise ApiError(400, "", "The body is not a password login") from None


def _logged_in(elb: ApiDependencies, login: _Auth, address: str) -> tuple[str, Session]:
    """Log in and return a new token. Raises ApiError."""
    user = login.identity.password.user if login.identity.password else None
    if user is None or "password" not in login.identity.methods or user.password is None:
        raise ApiError(400, "", "Log in by password")
    name = user.name or elb.identity.name_of(user.id or "") or ""
    elb.logins.attempt(name, address)
    actor = elb.identity.by_password(name, user.password)
    if actor is None:
        raise ApiError(401, "", "The user or the password is wrong")
    elb.logins.succeeded(name, address)
    wanted = login.scope.project if login.scope else None
    project = elb.identity.project(actor)
    if wanted and not (wanted.id == project.id or (wanted.id is None and wanted.name == project.name)):
        raise ApiError(401, "", "The user has no role in this project")
    return elb.identity.issue(actor, timedelta(hours=elb.settings.token_hours))


def _show_token(elb: ApiDependencies, request: Request, actor: Actor) -> Any:
    session = elb.identity.by_token(request.headers.get("x-subject-token", ""))
    if session is None or session.actor.user_id != actor.user_id:
        raise ApiError(404, "", "The token is unknown or has expired")
    return {"token": _token(elb, session)}


def _revoke_token(elb: ApiDependencies, request: Request, actor: Actor) -> Any:
    _show_token(elb, request, actor)
    elb.identity.revoke(request.headers.get("x-subject-token", ""))


def _show_catalog(elb: ApiDependencies, request: Request, actor: Actor) -> Any:
    return {"catalog": _catalog(elb, elb.identity.project(actor))}


def _list_projects(elb: ApiDependencies, request: Request, actor: Actor) -> Any:
    """Return the user's project if its name or its region's name is the requested one."""
    project = elb.identity.project(actor)
    wanted = request.query_params.get("name")
    shown = wanted in (None, project.name, elb.settings.region)
    return {"projects": [_project(project, wanted)] if shown else [], "links": {}}


def _list_domains(elb: ApiDependencies, request: Request, actor: Actor) -> Any:
    domain = _domain(elb.identity.project(actor))
    shown = request.query_params.get("name") in (None, domain["name"])
    return {"domains": [{**domain, "enabled": True}] if shown else [], "links": {}}


def _show_project(elb: ApiDependencies, request: Request, actor: Actor) -> Any:
    if request.path_params["project_id"] != actor.project_id:
        raise ApiError(404, "", "There is no such project")
    return {"project": _project(elb.identity.project(actor))}


def _project(project: Project, name: str | None = None) -> Mapping[str, Any]:
    domain = _domain(project)["id"]
    return {"id": project.id, "name": name or project.name, "domain_id": domain, "enabled": True}


def _list_users(elb: ApiDependencies, request: Request, actor: Actor) -> Any:
    """Return all users of the project to an admin; other users get only themselves."""
    wanted = request.query_params.get("name")
    seen = [user for user in _seen(elb, actor) if wanted in (None, user["name"])]
    return {"users": seen, "links": {}}


def _show_user(elb: ApiDependencies, request: Request, actor: Actor) -> Any:
    for user in _seen(elb, actor):
        if user["id"] == request.path_params["user_id"]:
            return {"user": user}
    raise ApiError(404, "", "There is no such user")


def _seen(elb: ApiDependencies, actor: Actor) -> list[Mapping[str, Any]]:
    domain = _domain(elb.identity.project(actor))["id"]
    return [
        {
            "id": user.user_id,
            "name": user.name,
            "domain_id": domain,
            "default_project_id": user.project_id,
            "enabled": True,
        }
        for user in (elb.identity.of_project(actor.project_id) if actor.role == "admin" else [actor])
    ]


def _list_roles(elb: ApiDependencies, request: Request, actor: Actor) -> Any:
    return {"roles": [{"id": role, "name": role} for role in ROLES], "links": {}}


def _version(elb: ApiDependencies) -> Any:
    link = {"rel": "self", "href": f"{elb.origin}/v3/"}
    return {"version": {"id": "v3.14", "status": "stable", "links": [link], "media-types": []}}


def _token(elb: ApiDependencies, session: Session) -> Mapping[str, Any]:
    actor, project = session.actor, session.project
    return {
        "methods": ["password"],
        "issued_at": _instant(session.issued_at),
        "expires_at": _instant(session.expires_at),
        "user": {"id": actor.user_id, "name": actor.name, "domain": _domain(project)},
        "project": {"id": project.id, "name": project.name, "domain": _domain(project)},
        "roles": [{"id": actor.role, "name": actor.role}],
        "catalog": _catalog(elb, project),
    }


def _catalog(elb: ApiDependencies, project: Project) -> list[Mapping[str, Any]]:
    """Return the catalog. The Terraform provider takes the region from the project's name, up to the first ``_``."""
    places = (("identity", f"{elb.origin}/v3"), ("elbv3", f"{elb.origin}/v3/{project.id}"))
    regions = dict.fromkeys((elb.settings.region, project.name.partition("_")[0]))
    return [
        {
            "type": kind,
            "id": _uid(kind),
            "name": kind,
            "endpoints": [
                {"interface": "public", "region": region, "region_id": region, "url": url, "id": _uid(region + url)}
                for region in regions
            ],
        }
        for kind, url in places
    ]


def _domain(project: Project) -> Mapping[str, str]:
    return {"id": "default" if project.domain == "Default" else _uid(project.domain), "name": project.domain}


def _uid(text: str) -> str:
    return uuid.uuid5(uuid.NAMESPACE_URL, text).hex


def _instant(value: datetime) -> str:
    return value.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _failure(refused: ApiError) -> Response:
    title = _TITLES.get(refused.status, "Error")
    return _json(refused.status, {"error": {"code": refused.status, "title": title, "message": refused.sentence}})


def _json(status: int, body: Any, headers: Mapping[str, str] | None = None) -> Response:
    return Response(
        msgspec.json.encode(body), status_code=status, media_type="application/json", headers=dict(headers or {})
    )
