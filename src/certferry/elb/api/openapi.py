"""The OpenAPI description of the API, from the same types that check the requests."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from certferry.elb.api.call import Route
from certferry.elb.api.listing import MOST

_TEMPLATE: Final = "#/components/schemas/{name}"


class Error(msgspec.Struct, frozen=True, kw_only=True):
    """Why a request failed."""

    error_msg: str
    error_code: str
    request_id: str


def operation(route: Route) -> dict[str, Any]:
    """What FastAPI cannot know of `route`: its path and query variables, its body, its errors."""
    names = ["project_id", *re.findall(r"{(\w+)}", route.path)]
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names
    ]
    if route.summary.startswith("List"):
        parameters += [
            {"name": "limit", "in": "query", "schema": {"type": "integer", "minimum": 0, "maximum": MOST}},
            {"name": "marker", "in": "query", "schema": {"type": "string"}},
            {"name": "page_reverse", "in": "query", "schema": {"type": "boolean"}},
        ]
    described: dict[str, Any] = {"parameters": parameters, "responses": {"default": _error()}}
    if route.takes is not None:
        envelope, kind = route.takes
        described["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": _enveloped(envelope, kind)}},
        }
    return described


def described(app: FastAPI, routes: Sequence[Route]) -> None:
    """Makes `app` serve the description, with the schemas of all bodies."""
    kinds = [Error, *(route.takes[1] for route in routes if route.takes is not None)]
    _, schemas = msgspec.json.schema_components(dict.fromkeys(kinds), ref_template=_TEMPLATE)

    def make() -> dict[str, Any]:
        if not app.openapi_schema:
            document = get_openapi(title=app.title, version=app.version, routes=app.routes)
            document.setdefault("components", {}).setdefault("schemas", {}).update(schemas)
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = make  # type: ignore[method-assign]


def _enveloped(envelope: str, kind: type[msgspec.Struct]) -> dict[str, Any]:
    reference = {"$ref": _TEMPLATE.format(name=kind.__name__)}
    if not envelope:
        return reference
    return {"type": "object", "required": [envelope], "properties": {envelope: reference}}


def _error() -> dict[str, Any]:
    reference = {"$ref": _TEMPLATE.format(name=Error.__name__)}
    return {"description": "Refused", "content": {"application/json": {"schema": reference}}}
