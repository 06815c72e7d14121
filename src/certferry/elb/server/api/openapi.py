"""The OpenAPI description of the API, from the types that check the requests.

A response has the fields with which its resource is created, without their limits.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from certferry.elb.server.api.keystone import Login
from certferry.elb.server.api.listing import MOST
from certferry.elb.server.api.request import Route

Schema = dict[str, Any]

_TEMPLATE: Final = "#/components/schemas/{name}"
_TEXT: Final[Schema] = {"type": "string"}
_OBJECT: Final[Schema] = {"type": "object"}
_PAGING: Final = (
    ("limit", {"type": "integer", "minimum": 0, "maximum": MOST}),
    ("marker", {"type": "string", "minLength": 1}),
    ("page_reverse", {"type": "boolean"}),
)
_ADDED: Final[Mapping[str, Schema]] = {
    "id": _TEXT,
    "project_id": _TEXT,
    "created_at": {"type": "string", "format": "date-time"},
    "updated_at": {"type": "string", "format": "date-time"},
}
_SECURITY: Final[Schema] = {
    "token": {
        "type": "apiKey",
        "in": "header",
        "name": "X-Auth-Token",
        "description": "A token of POST /v3/auth/tokens",
    },
    "signature": {
        "type": "apiKey",
        "in": "header",
        "name": "Authorization",
        "description": "SDK-HMAC-SHA256 with an access key",
    },
}


class Error(msgspec.Struct, frozen=True, kw_only=True):
    """The reason of a failed request."""

    error_msg: str
    error_code: str
    request_id: str


class KeystoneReason(msgspec.Struct, frozen=True, kw_only=True):
    """The reason of a failed request to the identity API."""

    code: int
    title: str
    message: str


class KeystoneError(msgspec.Struct, frozen=True, kw_only=True):
    """The identity API's form of an error."""

    error: KeystoneReason


def operation(route: Route, routes: Sequence[Route]) -> Schema:
    """Describe what FastAPI cannot infer of `route`: its variables, bodies and errors."""
    parameters = [_path(name) for name in ("project_id", *re.findall(r"{(\w+)}", route.path))]
    made = _creates(routes).get(_collection(route.path))
    if made and route.method == "GET" and not route.path.endswith("{id}"):
        fields = ("id", *made[1].__struct_fields__)
        parameters += [_query(name, schema) for name, schema in _PAGING]
        parameters += [_query(name, {"type": "array", "items": _TEXT}) for name in dict.fromkeys(fields)]
    described: Schema = {
        "parameters": parameters,
        "responses": {str(route.status): _success(route, made), "default": _answer("Refused", _reference(Error))},
    }
    if route.takes is not None:
        envelope, kind = route.takes
        described["requestBody"] = _body(_enveloped(envelope, _reference(kind)))
    return described


def keystone_operation(path: str, method: str) -> Schema:
    """Describe an operation of the identity API."""
    parameters = [_path(name) for name in re.findall(r"{(\w+)}", path)]
    responses: Schema = {"default": _answer("Refused", _reference(KeystoneError))}
    described: Schema = {"parameters": parameters, "responses": responses}
    match method, path.rpartition("/")[2]:
        case "POST", "tokens":
            described |= {"requestBody": _body(_reference(Login)), "security": []}
            responses["201"] = _answer("Logged in; the token is in X-Subject-Token", _OBJECT)
        case _, "tokens":
            header = {"name": "X-Subject-Token", "in": "header", "required": True, "schema": _TEXT}
            parameters.append(header)
        case "GET", "projects" | "users":
            parameters.append(_query("name", _TEXT))
        case "GET", "" | "v3":
            described["security"] = []
        case _:
            pass
    if method == "DELETE":
        responses["204"] = {"description": "Done"}
    return described


def public_operation() -> Schema:
    """Describe an operation that needs no login."""
    return {"security": [], "responses": {"200": _answer("As it is", _OBJECT)}}


def stream_operation() -> Schema:
    """Describe the event stream."""
    since = _query("since", {"type": "integer", "minimum": 0})
    return {
        "parameters": [_path("project_id"), since],
        "responses": {
            "200": {"description": "Changes", "content": {"text/event-stream": {"schema": _TEXT}}},
            "default": _answer("Refused", _reference(Error)),
        },
    }


def described(app: FastAPI, routes: Sequence[Route]) -> None:
    """Make `app` serve the description, with the schemas of all bodies."""
    given = (kind for route in routes for kind in (route.takes and route.takes[1], route.gives) if kind)
    kinds = [Error, KeystoneError, Login, *given]
    _, schemas = msgspec.json.schema_components(dict.fromkeys(kinds), ref_template=_TEMPLATE)
    for kind, create in _creates(routes).values():
        schemas[_shown_name(kind)] = _shown(schemas[create.__name__], schemas)

    def make() -> dict[str, Any]:
        if not app.openapi_schema:
            document = get_openapi(title=app.title, version=app.version, routes=app.routes)
            components = document.setdefault("components", {})
            components.setdefault("schemas", {}).update(schemas)
            components["securitySchemes"] = _SECURITY
            document["security"] = [{name: []} for name in _SECURITY]
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = make  # type: ignore[method-assign]


def _creates(routes: Iterable[Route]) -> dict[str, tuple[str, type[msgspec.Struct]]]:
    """Collection → the kind of what is made there, and what it is made of."""
    return {
        route.path: route.takes
        for route in routes
        if route.method == "POST" and route.status == 201 and route.takes and route.takes[0]
    }


def _collection(path: str) -> str:
    """``/pools/{id}`` and ``/pools/{id}/x`` → ``/pools``; the collection itself stays."""
    return path.partition("/{id}")[0]


def _success(route: Route, made: tuple[str, type[msgspec.Struct]] | None) -> Schema:
    if route.status == 204:
        return {"description": "Done"}
    if route.gives is not None:
        return _answer("As it is", {"allOf": [_reference(route.gives), _with_id({})]})
    if made is None or (route.path.count("/{id}/") and not (route.takes and route.takes[0] == made[0])):
        return _answer("As it is", _with_id({}) if route.under == "/elb" else _OBJECT)
    one = {"$ref": _TEMPLATE.format(name=_shown_name(made[0]))}
    if route.method == "GET" and not route.path.endswith("{id}"):
        plural = route.path.rpartition("/")[2].replace("-", "_")
        fields: Schema = {plural: {"type": "array", "items": one}, "page_info": _OBJECT}
        return _answer("One page", _with_id(fields))
    return _answer("As it is", _with_id({made[0]: one}))


def _with_id(fields: Mapping[str, Schema]) -> Schema:
    properties = {**fields, "request_id": _TEXT}
    return {"type": "object", "required": sorted(properties), "properties": properties}


def _shown_name(kind: str) -> str:
    return "".join(word.capitalize() for word in kind.split("_")) + "Shown"


def _shown(create: Mapping[str, Any], schemas: Mapping[str, Any]) -> Schema:
    """Build the schema of an object as answers show it."""
    properties = {
        name: _bare(schema, schemas)
        for name, schema in create["properties"].items()
        if name not in ("loadbalancer_id", "listener_id", "pool_id", "project_id", "publicip", "publicip_ids")
    }
    return {"type": "object", "required": ["id"], "properties": {**properties, **_ADDED}}


def _bare(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> Schema:
    """Types alone, and null: what was stored once may be beyond a limit of today."""
    kinds: set[str] = {"null"}
    for one in (schema, *schema.get("anyOf", ())):
        if "$ref" in one:
            one = schemas[one["$ref"].rpartition("/")[2]]
        kinds.update([one["type"]] if isinstance(one.get("type"), str) else ())
    return {"type": sorted(kinds)} if len(kinds) > 1 else {}


def _reference(kind: type[Any]) -> Schema:
    return {"$ref": _TEMPLATE.format(name=kind.__name__)}


def _enveloped(envelope: str, schema: Schema) -> Schema:
    if not envelope:
        return schema
    return {"type": "object", "required": [envelope], "properties": {envelope: schema}}


def _body(schema: Schema) -> Schema:
    return {"required": True, "content": {"application/json": {"schema": schema}}}


def _answer(description: str, schema: Schema) -> Schema:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _path(name: str) -> Schema:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}


def _query(name: str, schema: Schema) -> Schema:
    return {"name": name, "in": "query", "schema": schema}
