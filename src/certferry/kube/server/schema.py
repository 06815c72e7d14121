"""What a type of the API looks like: one description, read by four callers.

Field checking (`decode`), protobuf bodies (`protobuf`), strategic merge patches (`patch`) and the
OpenAPI documents (`openapi`) all read the same table in `fields`, so they cannot disagree.
This module knows how to read that table; it knows no kind.

A field is written ``name=number type``: the number is the one in Kubernetes' ``generated.proto``.
Types: ``string bool int32 int64 bytes any``, ``Time MicroTime IntOrString``, or another type's name;
``[T]`` a list, ``{T}`` a map from strings. A ``?`` marks a Go pointer, whose zero value is kept.
After a list, ``*key`` names the merge key of a list of objects; ``*`` alone merges a list of values.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

SCALARS = frozenset({"string", "bool", "int32", "int64", "bytes", "any", "Time", "MicroTime", "IntOrString"})

Shape = Literal["one", "list", "map"]


class Field(msgspec.Struct, frozen=True):
    """One field of a type."""

    name: str
    number: int
    type: str
    """Of the element, for a list or a map."""
    shape: Shape = "one"
    pointer: bool = False
    merge: str | None = None
    """Merge key of a list; empty for a list of plain values that merges."""


class Type(msgspec.Struct, frozen=True):
    """A named type and its fields, by JSON name and by protobuf number."""

    name: str
    fields: Mapping[str, Field]
    numbers: Mapping[int, Field]


def parse(table: str) -> dict[str, Type]:
    """The types in `table`: ``Name: field; field; …``, one type a paragraph."""
    types: dict[str, Type] = {}
    for paragraph in table.split("\n\n"):
        name, colon, rest = paragraph.strip().partition(":")
        if colon:
            fields = [_field(text) for text in rest.split(";") if text.strip()]
            types[name] = Type(name, {f.name: f for f in fields}, {f.number: f for f in fields})
    _complete(types)
    return types


def _field(text: str) -> Field:
    head, kind = text.split()
    name, _, number = head.partition("=")
    kind, star, merge = kind.partition("*")
    pointer = kind.endswith("?")
    kind = kind.rstrip("?")
    shape: Shape = {"[": "list", "{": "map"}.get(kind[0], "one")  # type: ignore[assignment]
    return Field(name, int(number), kind.strip("[]{}"), shape, pointer, merge if star else None)


def _complete(types: Mapping[str, Type]) -> None:
    for owner in types.values():
        for field in owner.fields.values():
            if field.type not in SCALARS and field.type not in types:
                raise LookupError(f"{owner.name}.{field.name} has the undeclared type {field.type}")
