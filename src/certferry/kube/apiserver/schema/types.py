"""Description of the API's types, and the parser of ``types.txt``.

Decoding, protobuf, strategic merge patches, server-side apply and OpenAPI all read this one description, so that
they cannot disagree.

A field is written ``name=number type``: the number is the one in Kubernetes' ``generated.proto``.
Types: ``string bool int32 int64 bytes any``, ``Time MicroTime IntOrString Quantity FieldsV1``, or another
type's name; ``[T]`` a list, ``{T}`` a map from strings. Marks behind the type, in this order:

- ``^``: a Go embedding: a message of its own in protobuf, no level of its own in JSON
- ``~``: applied as a whole (a map; behind the name of a type: that type)
- ``*key``: the merge key of a list in strategic merge patches; ``*`` alone merges a list of values
- ``#keys``: the keys that tell the items of a list apart in server-side apply; ``#`` alone: a set
- ``?``: a Go pointer, whose zero value is kept
- ``!``: written although it is unset, as Go writes what is not ``omitempty``
- ``=text``: the default, where it is part of a list's key
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

import msgspec

SCALARS = frozenset(
    {"string", "bool", "int32", "int64", "bytes", "any", "Time", "MicroTime", "IntOrString", "Quantity", "FieldsV1"}
)
_TYPE = re.compile(
    r"(?P<shape>[\[{]?)(?P<type>\w+)[\]}]?(?P<inlined>\^?)(?P<atomic>~?)(?:\*(?P<merge>\w*))?"
    r"(?:#(?P<keys>[\w,]*))?(?P<pointer>\??)(?P<written>!?)(?:=(?P<default>\S+))?"
)

Shape = Literal["one", "list", "map"]


class Field(msgspec.Struct, frozen=True):
    """One field of a type."""

    name: str
    number: int
    type: str
    """Type of the element if the field is a list or a map."""
    shape: Shape = "one"
    pointer: bool = False
    merge: str | None = None
    """Merge key of a list; empty for a list of plain values that merges."""
    keys: tuple[str, ...] | None = None
    """Keys that identify a list's items; empty for a set, None for an atomic list."""
    atomic: bool = False
    inlined: bool = False
    written: bool = False
    default: str = ""


class Type(msgspec.Struct, frozen=True):
    """A named type and its fields, by JSON name and by protobuf number."""

    name: str
    full: str
    """Name in OpenAPI."""
    fields: Mapping[str, Field]
    numbers: Mapping[int, Field]
    atomic: bool = False
    written: tuple[Field, ...] = ()


def parse(table: str) -> dict[str, Type]:
    """Parse the types in `table`: ``Name @full.Name: field; field; …``, one type a paragraph."""
    types: dict[str, Type] = {}
    for paragraph in table.split("\n\n"):
        head, colon, rest = paragraph.strip().partition(":")
        if colon:
            name, _, full = head.partition(" @")
            found = [field(text) for text in rest.split(";") if text.strip()]
            types[name.rstrip("~")] = make(name.rstrip("~"), f"io.k8s.{full}", found, atomic=name.endswith("~"))
    _complete(types)
    return types


def make(name: str, full: str, found: list[Field], *, atomic: bool) -> Type:
    """Return a type with these fields."""
    plain = {f.name: f for f in found if not f.inlined}
    written = tuple(f for f in plain.values() if f.written)
    return Type(name, full, plain, {f.number: f for f in found}, atomic, written)


def field(text: str) -> Field:
    """Parse one field of the table."""
    head, kind = text.split()
    name, _, number = head.partition("=")
    marks = _TYPE.fullmatch(kind)
    assert marks is not None, text
    shape: Shape = {"[": "list", "{": "map"}.get(marks["shape"], "one")  # type: ignore[assignment]
    keys = marks["keys"]
    return Field(
        name=name,
        number=int(number),
        type=marks["type"],
        shape=shape,
        pointer=bool(marks["pointer"]),
        merge=marks["merge"],
        keys=None if keys is None else tuple(keys.split(",")) if keys else (),
        atomic=bool(marks["atomic"]),
        inlined=bool(marks["inlined"]),
        written=bool(marks["written"]),
        default=marks["default"] or "",
    )


def _complete(types: Mapping[str, Type]) -> None:
    for owner in types.values():
        for found in owner.numbers.values():
            if found.type not in SCALARS and found.type not in types:
                raise LookupError(f"{owner.name}.{found.name} has the undeclared type {found.type}")
