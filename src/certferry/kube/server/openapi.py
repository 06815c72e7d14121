"""OpenAPI v2 and v3, made from the same tables as everything else.

kubectl reads them to learn that ``fieldValidation`` is enforced here (then `kubectl apply` asks for
Strict and checks nothing itself), how lists merge, and for `explain`. Descriptions are not among
what is told yet.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import msgspec

from certferry import __version__
from certferry.kube.server.fields import INLINED, TYPES
from certferry.kube.server.kinds import Kind
from certferry.kube.server.schema import Field

Json = dict[str, Any]
_SCALARS: dict[str, Json] = {
    "string": {"type": "string", "default": ""},
    "bool": {"type": "boolean"},
    "int32": {"type": "integer", "format": "int32"},
    "int64": {"type": "integer", "format": "int64"},
    "bytes": {"type": "string", "format": "byte"},
    "any": {"type": "object"},
    "Time": {"type": "string", "format": "date-time"},
    "MicroTime": {"type": "string", "format": "date-time"},
}
_PATCHES = (
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
)
_QUERY = ("dryRun", "fieldManager", "fieldValidation")


def groups(kinds: tuple[Kind, ...]) -> dict[str, list[Kind]]:
    """Kinds by where their group begins, without the leading slash: ``api/v1``, ``apis/…/v1``."""
    found: dict[str, list[Kind]] = {}
    for kind in kinds:
        found.setdefault(kind.base[1:], []).append(kind)
    return found


def index(kinds: tuple[Kind, ...]) -> Json:
    """What /openapi/v3 answers."""
    return {
        "paths": {
            path: {"serverRelativeURL": f"/openapi/v3/{path}?hash={_hash(document(rows))}"}
            for path, rows in groups(kinds).items()
        }
    }


def document(kinds: Iterable[Kind]) -> Json:
    """What /openapi/v3/{group} answers."""
    rows = list(kinds)
    paths: Json = {}
    for kind in rows:
        paths |= _paths_v3(kind)
    return {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "unversioned"},
        "paths": paths,
        "components": {"schemas": _schemas(rows, "#/components/schemas/", wrapped=True)},
    }


def document_v2(kinds: Iterable[Kind]) -> Json:
    """What /openapi/v2 answers."""
    rows = list(kinds)
    paths: Json = {}
    for kind in rows:
        paths |= _paths_v2(kind)
    return {
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": f"certferry-{__version__}"},
        "paths": paths,
        "definitions": _schemas(rows, "#/definitions/", wrapped=False),
    }


def _schemas(kinds: list[Kind], root: str, *, wrapped: bool) -> Json:
    owners: dict[str, Kind] = {}
    for kind in kinds:
        _reach(kind.name, kind, owners)
    result: Json = {}
    for name, kind in sorted(owners.items()):
        schema = _schema(name, owners, root, wrapped=wrapped)
        if any(k.name == name for k in kinds):
            schema["properties"] = {"apiVersion": {"type": "string"}, "kind": {"type": "string"}} | schema[
                "properties"
            ]
            schema["x-kubernetes-group-version-kind"] = [_gvk(kind)]
        result[_full(name, kind)] = schema
    return result


def _reach(name: str, kind: Kind, owners: dict[str, Kind]) -> None:
    if name not in TYPES or name in owners:
        return
    owners[name] = kind
    for field in TYPES[name].fields.values():
        _reach(field.type, kind, owners)


def _schema(name: str, owners: dict[str, Kind], root: str, *, wrapped: bool) -> Json:
    properties = {
        f.name: _property(f, owners, root, wrapped=wrapped)
        for f in sorted(TYPES[name].fields.values(), key=lambda f: f.name)
        if f.name not in INLINED
    }
    return {"description": name, "type": "object", "properties": properties}


def _property(field: Field, owners: dict[str, Kind], root: str, *, wrapped: bool) -> Json:
    plain = _plain(field, owners, root, wrapped=wrapped)
    match field.shape:
        case "map":
            return {"type": "object", "additionalProperties": plain}
        case "list":
            merged: Json = {"type": "array", "items": plain}
            if field.merge is not None:
                merged["x-kubernetes-patch-strategy"] = "merge"
                merged |= {"x-kubernetes-patch-merge-key": field.merge} if field.merge else {}
            return merged
    return {k: v for k, v in plain.items() if k != "default"}


def _plain(field: Field, owners: dict[str, Kind], root: str, *, wrapped: bool) -> Json:
    if field.type == "IntOrString":
        both: Json = {"oneOf": [{"type": "integer"}, {"type": "string"}]} if wrapped else {"type": "string"}
        return both | {"format": "int-or-string"}
    if field.type in _SCALARS:
        return dict(_SCALARS[field.type])
    reference = {"$ref": root + _full(field.type, owners[field.type])}
    return {"allOf": [reference]} if wrapped else reference


def _full(name: str, kind: Kind) -> str:
    """The definition's name as upstream has it: ``io.k8s.api.core.v1.Secret``."""
    if name in ("ObjectMeta", "OwnerReference", "ManagedFieldsEntry", "Condition"):
        return f"io.k8s.apimachinery.pkg.apis.meta.v1.{name}"
    if name in ("ObjectReference", "TypedLocalObjectReference"):
        return f"io.k8s.api.core.v1.{name}"
    return f"io.k8s.api.{kind.group.partition('.')[0] or 'core'}.{kind.version}.{name}"


def _gvk(kind: Kind) -> Json:
    return {"group": kind.group, "version": kind.version, "kind": kind.name}


def _item(kind: Kind) -> str:
    return f"{kind.base}/" + ("namespaces/{namespace}/" if kind.namespaced else "") + kind.plural


def _operations(kind: Kind) -> list[tuple[str, str, str]]:
    """(path, method, action) of what takes a body, and of get."""
    item = _item(kind)
    named = item + "/{name}"
    return [(item, "post", "post"), (named, "get", "get"), (named, "patch", "patch"), (named, "put", "put")]


def _paths_v3(kind: Kind) -> Json:
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
            operation["parameters"] = [
                {"name": q, "in": "query", "schema": {"type": "string"}} for q in _QUERY
            ]
            media = _PATCHES if method == "patch" else ("*/*",)
            operation["requestBody"] = {"content": {m: {"schema": {"type": "object"}} for m in media}}
        paths.setdefault(path, {})[method] = operation
    return paths


def _paths_v2(kind: Kind) -> Json:
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


def _hash(found: Json) -> str:
    return hashlib.sha256(msgspec.json.encode(found)).hexdigest().upper()
