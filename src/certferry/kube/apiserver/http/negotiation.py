"""Response formats by the Accept header: the object, a Table, or metadata alone.

Objects and lists of objects are assembled from the stored bytes without decoding.
Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#receiving-resources-as-tables
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec

from certferry.kube.apiserver.errors import ApiStatus
from certferry.kube.apiserver.resources.builtin import Object, ResourceDefinition
from certferry.kube.apiserver.storage.log import Stored

Form = Literal["object", "table", "metadata"]
_META = "meta.k8s.io/v1"


class ResponseFormat(msgspec.Struct, frozen=True):
    """A format, and what the rows of a Table carry: Metadata, Object or None."""

    form: Form = "object"
    rows: str = "Metadata"


def negotiate(accept: str, include: str) -> ResponseFormat:
    """Return the first format in `accept` that this server supports. Raises ``ApiStatus`` (406)."""
    for part in accept.split(",") if accept else ["application/json"]:
        media, *parameters = (p.strip() for p in part.split(";"))
        options = dict(p.partition("=")[::2] for p in parameters)
        if media not in ("application/json", "application/*", "*/*"):
            continue
        match options.get("as"):
            case "Table" if options.get("v", "v1") == "v1":
                return ResponseFormat("table", include or "Metadata")
            case "PartialObjectMetadata" | "PartialObjectMetadataList" if options.get("v", "v1") == "v1":
                return ResponseFormat("metadata")
            case None:
                return ResponseFormat()
    raise ApiStatus(
        406,
        "NotAcceptable",
        "only the following media types are accepted: application/json, "
        "application/json;as=Table;v=v1;g=meta.k8s.io, application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
    )


def encode_object(response_format: ResponseFormat, kind: ResourceDefinition, body: bytes, now: datetime) -> bytes:
    """Encode a response with one object."""
    if response_format.form == "object":
        return body
    obj = msgspec.json.decode(body)
    if response_format.form == "metadata":
        return msgspec.json.encode(_partial(obj))
    return _table(response_format, kind, [obj], {"resourceVersion": obj["metadata"]["resourceVersion"]}, now)


def encode_list(
    response_format: ResponseFormat,
    kind: ResourceDefinition,
    stored: Sequence[Stored],
    meta: dict[str, Any],
    now: datetime,
) -> list[bytes]:
    """Encode a list in parts; `meta` is the list's metadata."""
    if response_format.form == "table":
        return [_table(response_format, kind, [msgspec.json.decode(s.body) for s in stored], meta, now)]
    if response_format.form == "metadata":
        items = [msgspec.json.encode(_partial(msgspec.json.decode(s.body))) for s in stored]
        return _list("PartialObjectMetadataList", _META, meta, items)
    return _list(f"{kind.name}List", kind.api_version, meta, [s.body for s in stored])


def encode_event_object(
    response_format: ResponseFormat, kind: ResourceDefinition, body: bytes, now: datetime, *, first: bool
) -> bytes:
    """Encode the object of a watch event; only the first Table of a stream names its columns."""
    if response_format.form != "table":
        return encode_object(response_format, kind, body, now)
    found = msgspec.json.decode(body)
    meta = {"resourceVersion": found["metadata"]["resourceVersion"]}
    return _table(response_format, kind, [found], meta, now, headed=first)


def encode_bookmark(
    response_format: ResponseFormat, kind: ResourceDefinition, revision: int, annotations: dict[str, str]
) -> bytes:
    """Encode the object of a BOOKMARK event."""
    meta: dict[str, Any] = {"resourceVersion": str(revision), "creationTimestamp": None}
    if annotations:
        meta["annotations"] = annotations
    if response_format.form == "table":
        return msgspec.json.encode(
            {"kind": "Table", "apiVersion": _META, "metadata": meta, "columnDefinitions": [], "rows": []}
        )
    name, version = (
        ("PartialObjectMetadata", _META) if response_format.form == "metadata" else (kind.name, kind.api_version)
    )
    return msgspec.json.encode({"kind": name, "apiVersion": version, "metadata": meta})


def _list(name: str, version: str, meta: dict[str, Any], items: Sequence[bytes]) -> list[bytes]:
    head = msgspec.json.encode({"kind": name, "apiVersion": version, "metadata": meta})
    separated = [piece for item in items for piece in (b",", item)][1:]
    return [head[:-1] + b',"items":[', *separated, b"]}\n"]


def _table(
    response_format: ResponseFormat,
    kind: ResourceDefinition,
    found: Sequence[Object],
    meta: dict[str, Any],
    now: datetime,
    *,
    headed: bool = True,
) -> bytes:
    columns = [
        {"name": c.name, "type": c.type, "format": c.format, "description": c.description, "priority": c.priority}
        for c in kind.columns
    ]
    rows = [{"cells": kind.cells(o, now), "object": _row_object(response_format, o)} for o in found]
    body = {"kind": "Table", "apiVersion": _META, "metadata": meta}
    return msgspec.json.encode(body | {"columnDefinitions": columns if headed else [], "rows": rows})


def _row_object(response_format: ResponseFormat, obj: Object) -> Any:
    match response_format.rows:
        case "None":
            return None
        case "Object":
            return obj
        case _:
            return _partial(obj)


def _partial(obj: Object) -> Object:
    return {"kind": "PartialObjectMetadata", "apiVersion": _META, "metadata": obj["metadata"]}
