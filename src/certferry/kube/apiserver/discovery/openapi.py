"""OpenAPI v2 and v3: Kubernetes' schemas of the served kinds, and the served paths.

kubectl learns from them that this server supports ``fieldValidation``, how lists merge, and the texts of
`explain`. ``tools/kube_types.py`` writes the schemas to ``schemas.jsonl``; they are read on demand.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from importlib.resources import files
from typing import Any

import msgspec

from certferry import __version__
from certferry.kube.apiserver.resources.builtin import ResourceDefinition
from certferry.kube.apiserver.schema.builtin import TYPES

Json = dict[str, Any]
_COMPONENTS, _DEFINITIONS = "#/components/schemas/", "#/definitions/"
_PROPERTY: Json = {
    "description": "The match mode of this path on the load balancer, as ingress.beta.kubernetes.io/url-match-mode.",
    "type": "object",
    "additionalProperties": {"type": "string"},
    "x-kubernetes-map-type": "atomic",
}
_PATCHES = (
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
)
_QUERY = ("dryRun", "fieldManager", "fieldValidation")


def groups(kinds: tuple[ResourceDefinition, ...]) -> dict[str, list[ResourceDefinition]]:
    """Return the kinds by group path without the leading slash: ``api/v1``, ``apis/…/v1``."""
    by_group: dict[str, list[ResourceDefinition]] = {}
    for kind in kinds:
        by_group.setdefault(kind.group_path[1:], []).append(kind)
    return by_group


def index(kinds: tuple[ResourceDefinition, ...]) -> Json:
    """Return the document of /openapi/v3."""
    return {
        "paths": {
            path: {"serverRelativeURL": f"/openapi/v3/{path}?hash={_hash(document(rows))}"}
            for path, rows in groups(kinds).items()
        }
    }


def document(kinds: Iterable[ResourceDefinition]) -> Json:
    """Return the document of /openapi/v3/{group}."""
    rows = list(kinds)
    paths: Json = {}
    for kind in rows:
        paths |= _paths_v3(kind)
    return {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "unversioned"},
        "paths": paths,
        "components": {"schemas": _schemas(rows)},
    }


def document_v2(kinds: Iterable[ResourceDefinition]) -> Json:
    """Return the document of /openapi/v2."""
    rows = list(kinds)
    paths: Json = {}
    for kind in rows:
        paths |= _paths_v2(kind)
    return {
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": f"certferry-{__version__}"},
        "paths": paths,
        "definitions": {n: _to_v2(v) for n, v in _schemas(rows).items()},
    }


def _schemas(kinds: list[ResourceDefinition]) -> Json:
    """Return the schemas that these kinds need, by full name."""
    all_schemas = _all_schemas()
    needed: Json = {}
    for kind in kinds:
        _collect(TYPES[kind.name].full, all_schemas, needed)
    return dict(sorted(needed.items()))


def _all_schemas() -> Json:
    lines = (files(__package__) / "schemas.jsonl").read_bytes().splitlines()
    schemas = dict(msgspec.json.decode(line, type=tuple[str, Json]) for line in lines)
    schemas[TYPES["HTTPIngressPath"].full]["properties"]["property"] = _PROPERTY
    return schemas


def _collect(name: str, all_schemas: Json, needed: Json) -> None:
    if name not in needed:
        needed[name] = all_schemas[name]
        for inner in _references(all_schemas[name]):
            _collect(inner, all_schemas, needed)


def _references(schema: Any) -> Iterable[str]:
    match schema:
        case {"$ref": str(reference)}:
            yield reference.removeprefix(_COMPONENTS)
        case dict():
            for value in schema.values():
                yield from _references(value)
        case list():
            for value in schema:
                yield from _references(value)


def _to_v2(schema: Any) -> Any:
    """Convert a schema of OpenAPI 3 to version 2."""
    match schema:
        case {"$ref": str(reference)}:
            return {"$ref": _DEFINITIONS + reference.removeprefix(_COMPONENTS)}
        case {"allOf": [{"$ref": str(reference)}], **rest}:
            kept = {k: v for k, v in rest.items() if k == "description"}
            return kept | {"$ref": _DEFINITIONS + reference.removeprefix(_COMPONENTS)}
        case {"oneOf": _, "format": str(form)}:
            return {"type": "string", "format": form}
        case dict():
            return {k: _to_v2(v) for k, v in schema.items() if k not in ("default", "enum", "oneOf")}
        case list():
            return [_to_v2(v) for v in schema]
    return schema


def _gvk(kind: ResourceDefinition) -> Json:
    return {"group": kind.group, "version": kind.version, "kind": kind.name}


def _item(kind: ResourceDefinition) -> str:
    return f"{kind.group_path}/" + ("namespaces/{namespace}/" if kind.namespaced else "") + kind.plural


def _operations(kind: ResourceDefinition) -> list[tuple[str, str, str]]:
    """Return (path, method, action) of get and of the methods with a body."""
    item = _item(kind)
    named = item + "/{name}"
    return [(item, "post", "post"), (named, "get", "get"), (named, "patch", "patch"), (named, "put", "put")]


def _paths_v3(kind: ResourceDefinition) -> Json:
    paths: Json = {}
    for path, method, action in _operations(kind):
        operation: Json = {
            "operationId": f"{action}{kind.name}",
            "parameters": [],
            "responses": {"200": {"description": "OK"}},
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": _gvk(kind),
        }
        if method != "get":
            operation["parameters"] = [{"name": q, "in": "query", "schema": {"type": "string"}} for q in _QUERY]
            media = _PATCHES if method == "patch" else ("*/*",)
            operation["requestBody"] = {"content": {m: {"schema": {"type": "object"}} for m in media}}
        paths.setdefault(path, {})[method] = operation
    return paths


def _paths_v2(kind: ResourceDefinition) -> Json:
    paths: Json = {}
    for path, method, action in _operations(kind):
        parameters = [{"name": q, "in": "query", "type": "string"} for q in _QUERY] if method != "get" else []
        paths.setdefault(path, {})[method] = {
            "operationId": f"{action}{kind.name}",
            "parameters": parameters,
            "consumes": list(_PATCHES) if method == "patch" else ["*/*"],
            "produces": ["application/json"],
            "responses": {"200": {"description": "OK"}},
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": _gvk(kind),
        }
    return paths


def _hash(value: Json) -> str:
    return hashlib.sha256(msgspec.json.encode(value)).hexdigest().upper()
