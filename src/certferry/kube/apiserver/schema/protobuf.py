r"""Decoding of Kubernetes protobuf bodies to plain JSON values. Responses are always JSON.

kubectl's typed commands (`create secret`, `create ingress`, …) and Go clients send protobuf without falling back
to JSON. The envelope is ``k8s\0`` and runtime.Unknown; field numbers come from ``schema.builtin``.
Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#protobuf-encoding
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from certferry.kube.apiserver.schema.builtin import TYPES
from certferry.kube.apiserver.schema.types import Field

MAGIC: Final = b"k8s\0"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class NotProtobuf(ValueError):
    """Malformed bytes; the message is for the client."""


def decode(body: bytes, expected: str) -> dict[str, Any]:
    """Return the object in `body` with apiVersion and kind; `expected` is its type if it names no known one."""
    if not body.startswith(MAGIC):
        raise NotProtobuf("the body does not begin with the prefix of a Kubernetes protobuf object")
    try:
        api_version = kind = ""
        raw = b""
        for number, value in _wire(body[len(MAGIC) :]):
            if number == 1:
                meta = dict(_wire(value))
                api_version, kind = (bytes(meta.get(n, b"")).decode() for n in (1, 2))
            elif number == 2:
                raw = value
        type_name = _message(raw, kind if kind in TYPES else expected)
    except (IndexError, struct.error, UnicodeDecodeError, TypeError, AttributeError, msgspec.DecodeError) as error:
        raise NotProtobuf("the protobuf body is damaged or cut off") from error
    return {"apiVersion": api_version, "kind": kind} | type_name


def _message(data: bytes, name: str) -> dict[str, Any]:
    fields = TYPES[name].numbers
    result: dict[str, Any] = {}
    for number, value in _wire(data):
        field = fields.get(number)
        if field is None:
            continue
        if field.inlined:
            result |= _message(value, field.type)
        elif field.shape == "map":
            key, item = _entry(value, field)
            result.setdefault(field.name, {})[key] = item
        elif field.shape == "list":
            result.setdefault(field.name, []).append(_value(value, field))
        else:
            plain = _value(value, field)
            # Go writes every field that is no pointer, even if unset; JSON leaves it out.
            if field.pointer or plain not in ("", 0, False, None):
                result[field.name] = plain
    return result


def _entry(data: bytes, field: Field) -> tuple[str, Any]:
    parts = dict(_wire(data))
    return bytes(parts.get(1, b"")).decode(), _value(parts.get(2, b""), field)


def _value(value: Any, field: Field) -> Any:
    match field.type:
        case "string":
            return value.decode()
        case "bytes":
            return base64.b64encode(value).decode()
        case "bool":
            return bool(value)
        case "int32" | "int64":
            return value - (1 << 64) if value >> 63 else value
        case "Time":
            return _instant(value, "%Y-%m-%dT%H:%M:%SZ")
        case "MicroTime":
            return _instant(value, "%Y-%m-%dT%H:%M:%S.%fZ")
        case "IntOrString":
            parts = dict(_wire(value))
            return bytes(parts.get(3, b"")).decode() if parts.get(1) else parts.get(2, 0)
        case "Quantity":
            return bytes(dict(_wire(value)).get(1, b"0")).decode()
        case "FieldsV1":
            return msgspec.json.decode(dict(_wire(value)).get(1, b"{}"))
        case "any":
            return None
        case name:
            return _message(value, name)


def _instant(data: bytes, form: str) -> str | None:
    parts = dict(_wire(data))
    if not parts.get(1):
        return None
    return (_EPOCH + timedelta(seconds=parts[1], microseconds=parts.get(2, 0) // 1000)).strftime(form)


def _wire(data: bytes) -> Iterator[tuple[int, Any]]:
    """Yield (field number, value): an int for a varint or a fixed number, otherwise bytes."""
    at, end = 0, len(data)
    while at < end:
        tag, at = _varint(data, at)
        match tag & 7:
            case 0:
                value, at = _varint(data, at)
                yield tag >> 3, value
            case 1:
                yield tag >> 3, struct.unpack_from("<Q", data, at)[0]
                at += 8
            case 2:
                size, at = _varint(data, at)
                if at + size > end:
                    raise IndexError
                yield tag >> 3, data[at : at + size]
                at += size
            case 5:
                yield tag >> 3, struct.unpack_from("<I", data, at)[0]
                at += 4
            case _:
                raise IndexError


def _varint(data: bytes, at: int) -> tuple[int, int]:
    shift = value = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
