"""Canonical form of a client's object: types checked, unknown fields listed, empty fields left out.

Every write passes here, as it passes Go's typed decoder in the real server. Two objects with equal meaning have
one canonical form. Unknown fields are returned; ``http.codec`` rejects or reports them.
"""

from __future__ import annotations

import binascii
import re
from datetime import UTC, datetime
from typing import Any

from certferry.kube.apiserver.schema.builtin import TYPES
from certferry.kube.apiserver.schema.types import Field, Type

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
_MICRO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
_BASE64 = re.compile(r"[A-Za-z0-9+/]*={0,2}")
_QUANTITY = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?\d+)?")
_EMPTY: tuple[Any, ...] = (None, "", [], {})


class Mismatch(ValueError):
    """A value of the wrong type. The text is Go's and quotes no value of a Secret.

    `converter` is Go's text for the same mismatch in a patch.
    """

    def __init__(self, text: str, converter: str = "") -> None:
        super().__init__(text)
        self.converter = converter or text


def canonical(kind: str, value: Any, *, add_unset: bool = True) -> tuple[dict[str, Any], list[str]]:
    """Return the object of type `kind` in `value`, and the paths of its unknown fields. Raises ``Mismatch``.

    With `add_unset`, fields that Go writes although they are unset are added. An apply patch needs them left out.
    """
    if not isinstance(value, dict):
        raise Mismatch(f"json: cannot unmarshal {_json_type(value)} into Go value of type {kind}")
    unknown: list[str] = []
    heads = {k: v for k, v in value.items() if k in ("apiVersion", "kind")}
    rest = {k: v for k, v in value.items() if k not in ("apiVersion", "kind")}
    plain = _struct(rest, TYPES[kind], "", unknown)
    return heads | (add_unset_fields(plain, TYPES[kind]) if add_unset else plain), unknown


def add_unset_fields(value: dict[str, Any], owner: Type) -> dict[str, Any]:
    """Add every field that Go writes although it is unset, at all levels of `value`."""
    for name, item in value.items():
        field = owner.fields.get(name)
        inner = TYPES.get(field.type) if field else None
        if inner is None or item is None:
            continue
        assert field is not None
        for part in {"one": [item], "list": item, "map": None}[field.shape] or item.values():
            add_unset_fields(part, inner)
    for field in owner.written:
        if field.name not in value:
            value[field.name] = _zero(field)
    return value


def _zero(field: Field) -> Any:
    if field.shape != "one" or field.type in ("bytes", "Time", "MicroTime", "any"):
        return None
    if field.type in TYPES:
        return add_unset_fields({}, TYPES[field.type])
    return {"string": "", "bool": False, "Quantity": "0"}.get(field.type, 0)


def _struct(value: dict[str, Any], owner: Type, path: str, unknown: list[str]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name, item in value.items():
        field = owner.fields.get(name)
        here = f"{path}.{name}" if path else name
        if field is None:
            unknown.append(here)
            continue
        if item is None:
            continue
        plain = _shaped(item, field, owner, here, unknown)
        if _is_set(plain, field):
            result[name] = plain
    return result


def _is_set(plain: Any, field: Field) -> bool:
    if field.pointer:
        return plain is not None
    if field.shape == "one" and isinstance(plain, dict):
        return True  # an empty object is a set pointer: `emptyDir: {}`
    return plain not in _EMPTY and not (plain is False or (plain == 0 and field.type != "IntOrString"))


def _shaped(item: Any, field: Field, owner: Type, path: str, unknown: list[str]) -> Any:
    if field.shape == "list":
        if not isinstance(item, list):
            raise _mismatch(item, owner, path, f"[]{field.type}")
        return [_value(v, field, owner, f"{path}[{i}]", unknown) for i, v in enumerate(item)]
    if field.shape == "map":
        if not isinstance(item, dict):
            raise _mismatch(item, owner, path, f"map[string]{field.type}")
        return {k: _value("" if v is None else v, field, owner, path, unknown) for k, v in item.items()}
    return _value(item, field, owner, path, unknown)


def _value(item: Any, field: Field, owner: Type, path: str, unknown: list[str]) -> Any:
    match field.type:
        case "string":
            if not isinstance(item, str):
                raise _mismatch(item, owner, path, "string")
            return item
        case "bool":
            if not isinstance(item, bool):
                raise _mismatch(item, owner, path, "bool")
            return item
        case "int32" | "int64":
            return _integer(item, field, owner, path)
        case "bytes":
            return _base64(item, owner, path)
        case "IntOrString":
            if isinstance(item, bool) or not isinstance(item, int | str):
                raise _mismatch(item, owner, path, "intstr.IntOrString")
            return item
        case "Time" | "MicroTime":
            return _instant(item, owner, path, field.type)
        case "any" | "FieldsV1":
            return item
        case "Quantity":
            return _quantity(item)
        case name:
            if not isinstance(item, dict):
                raise _mismatch(item, owner, path, name)
            return _struct(item, TYPES[name], path, unknown)


def _integer(item: Any, field: Field, owner: Type, path: str) -> int:
    if isinstance(item, float) and item.is_integer():
        item = int(item)
    bits = 31 if field.type == "int32" else 63
    if isinstance(item, bool) or not isinstance(item, int):
        raise _mismatch(item, owner, path, field.type)
    if not -(1 << bits) <= item < 1 << bits:
        raise _mismatch(item, owner, path, field.type, f"number {item}")
    return item


def _base64(item: Any, owner: Type, path: str) -> str:
    if not isinstance(item, str):
        raise _mismatch(item, owner, path, "[]uint8")
    text = item.replace("\r", "").replace("\n", "")
    good = _BASE64.match(text)
    assert good is not None  # the expression matches the empty text
    if good.end() != len(text) or len(text) % 4:
        raise Mismatch(
            f"illegal base64 data at input byte {good.end() if good.end() != len(text) else len(text) // 4 * 4}"
        )
    try:
        binascii.a2b_base64(text)
    except binascii.Error:
        raise Mismatch(f"illegal base64 data at input byte {max(len(text) - 4, 0)}") from None
    return text


def _instant(item: Any, owner: Type, path: str, form: str) -> str:
    if not isinstance(item, str):
        raise _mismatch(item, owner, path, f"v1.{form}")
    try:
        local = datetime.fromisoformat(item)
        when = local.astimezone(UTC) if local.tzinfo else None
    except (ValueError, OverflowError):
        when = None
    if when is None:
        layout = "2006-01-02T15:04:05Z07:00" if form == "Time" else "2006-01-02T15:04:05.000000Z07:00"
        raise Mismatch(f'parsing time "{item}" as "{layout}": cannot parse "{item}" as "2006"')
    if (_TIME if form == "Time" else _MICRO).fullmatch(item):
        return item
    return when.strftime("%Y-%m-%dT%H:%M:%SZ" if form == "Time" else "%Y-%m-%dT%H:%M:%S.%fZ")


def _quantity(item: Any) -> str:
    text = str(item) if isinstance(item, int | float) and not isinstance(item, bool) else item
    if not isinstance(text, str) or not _QUANTITY.fullmatch(text):
        raise Mismatch("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")
    return text


def _mismatch(item: Any, owner: Type, path: str, go: str, shown: str = "") -> Mismatch:
    place = re.sub(r"\[\d+\]", "", path)
    plain = {bool: "bool", int: "int64", float: "float64", str: "string"}.get(type(item), "")
    scalar = go in ("string", "bool", "int32", "int64")
    converter = f"cannot convert {plain} to {go}" if plain and scalar else ""
    return Mismatch(
        f"json: cannot unmarshal {shown or _json_type(item)} into Go struct field {owner.name}.{place} of type {go}",
        converter,
    )


def _json_type(item: Any) -> str:
    match item:
        case bool():
            return "bool"
        case int() | float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
        case dict():
            return "object"
        case _:
            return "null"
