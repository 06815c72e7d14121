"""OpenAPI v2 encoded as protobuf (gnostic's ``openapi.v2.Document``), which Go clients request.

kubectl reads it for kinds that version 3 lacks and for `explain --output=plaintext-openapiv2`. Only fields that
``discovery.openapi`` produces are encoded.
Upstream: https://github.com/google/gnostic/blob/main/openapiv2/OpenAPIv2.proto
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

MEDIA: Final = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
Json = Mapping[str, Any]
_METHODS: Final = {"get": 2, "put": 3, "post": 4, "delete": 5, "patch": 8}


def encode(document: Json) -> bytes:
    """Encode `document` (OpenAPI v2 in JSON form) as protobuf."""
    info = document["info"]
    paths = (_message(2, _named(path, _path(item))) for path, item in document["paths"].items())
    definitions = (_message(1, _named(name, _schema(schema))) for name, schema in document["definitions"].items())
    return b"".join(
        [
            _text(1, document["swagger"]),
            _message(2, _text(1, info["title"]) + _text(2, info["version"])),
            _message(8, b"".join(paths)),
            _message(9, b"".join(definitions)),
        ]
    )


def _path(item: Json) -> bytes:
    return b"".join(_message(_METHODS[method], _operation(operation)) for method, operation in item.items())


def _operation(operation: Json) -> bytes:
    texts = [_text(5, operation["operationId"])]
    texts += [_text(6, p) for p in operation["produces"]] + [_text(7, c) for c in operation["consumes"]]
    # Nested messages: ParametersItem, Parameter, NonBodyParameter, QueryParameterSubSchema.
    queries = [_text(2, "query") + _text(4, p["name"]) + _text(6, p["type"]) for p in operation["parameters"]]
    parameters = [_message(8, _message(1, _message(2, _message(3, q)))) for q in queries]
    return b"".join([*texts, *parameters, *_extensions(operation, 13)])


def _schema(schema: Json) -> bytes:
    parts: list[bytes] = []
    for number, key in ((1, "$ref"), (2, "format"), (4, "description")):
        if key in schema:
            parts.append(_text(number, schema[key]))
    parts += [_text(19, name) for name in schema.get("required", ())]
    if "additionalProperties" in schema:
        parts.append(_message(21, _message(1, _schema(schema["additionalProperties"]))))
    if "type" in schema:
        parts.append(_message(22, _text(1, schema["type"])))
    if "items" in schema:
        parts.append(_message(23, _message(1, _schema(schema["items"]))))
    if "properties" in schema:
        named = (_message(1, _named(n, _schema(s))) for n, s in schema["properties"].items())
        parts.append(_message(25, b"".join(named)))
    return b"".join([*parts, *_extensions(schema, 31)])


def _extensions(schema: Json, number: int) -> Iterator[bytes]:
    for key, value in schema.items():
        if key.startswith("x-"):
            # valid, because JSON is a subset of YAML
            yield _message(number, _named(key, _text(2, json.dumps(value))))


def _named(name: str, value: bytes) -> bytes:
    return _text(1, name) + _message(2, value)


def _text(number: int, text: str) -> bytes:
    return _message(number, text.encode())


def _message(number: int, content: bytes) -> bytes:
    return bytes(_varint(number << 3 | 2)) + bytes(_varint(len(content))) + content


def _varint(value: int) -> Iterable[int]:
    while value > 0x7F:
        yield value & 0x7F | 0x80
        value >>= 7
    yield value
