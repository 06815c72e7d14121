"""Sets of field paths as in ``metadata.managedFields`` (FieldsV1).

A set is a tree of path elements (``f:name``, ``k:{"port":80}``, ``v:"value"``). A node that is a member itself
has a ``.``. No function changes its arguments.
Upstream: https://github.com/kubernetes-sigs/structured-merge-diff/tree/master/fieldpath
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

Set = dict[str, Any]
"""From path elements to sets; ``.`` stands for the node itself."""

_SELF = "."


def leaf() -> Set:
    """Return the set with the root as its only member."""
    return {_SELF: {}}


def read(fields: Any) -> Set:
    """Parse FieldsV1. Raises ``ValueError`` if it is malformed."""
    if not isinstance(fields, dict):
        raise ValueError("fieldsV1 is no object")
    fields_set: Set = {}
    for element, inner in fields.items():
        if element == _SELF:
            fields_set[_SELF] = {}
        elif element[:2] in ("f:", "k:", "v:", "i:"):
            fields_set[element] = read(inner) or leaf()
        else:
            raise ValueError(f"{element!r} is no path element")
    return fields_set


def write(fields: Set) -> dict[str, Any]:
    """Return FieldsV1: sorted, with empty leaves."""
    return {
        element: {} if inner == leaf() or element == _SELF else write(inner)
        for element, inner in sorted(fields.items())
    }


def union(one: Set, other: Set) -> Set:
    """Return the members of either set."""
    shared = {e: union(one[e], other[e]) for e in one.keys() & other.keys()}
    return one | other | shared


def intersection(one: Set, other: Set) -> Set:
    """Return the members of both sets."""
    shared = {e: intersection(one[e], other[e]) for e in one.keys() & other.keys()}
    return {e: inner for e, inner in shared.items() if inner or e == _SELF}


def difference(one: Set, other: Set) -> Set:
    """Return the members of `one` that are not in `other`."""
    rest_set: Set = {}
    for element, inner in one.items():
        if element not in other:
            rest_set[element] = inner
        elif element != _SELF and (rest := difference(inner, other[element])):
            rest_set[element] = rest
    return rest_set


def without(one: Set, roots: Set) -> Set:
    """Return `one` without the members of `roots` and everything below them."""
    rest_set: Set = {}
    for element, inner in one.items():
        below = roots.get(element)
        if below is None:
            rest_set[element] = inner
        elif _SELF not in below and (rest := without(inner, below)):
            rest_set[element] = rest
    return rest_set


def of_paths(*paths: str) -> Set:
    """Return the set of plain field paths such as ``metadata.name``."""
    fields: Set = {}
    for path in paths:
        at = fields
        for part in path.split("."):
            at = at.setdefault(f"f:{part}", {})
        at[_SELF] = {}
    return fields


def has(fields: Set, element: str) -> bool:
    """Return whether `element` itself is a member."""
    return _SELF in fields.get(element, ())


def below(fields: Set, element: str) -> Set:
    """Return the set below `element`."""
    return {e: inner for e, inner in fields.get(element, {}).items() if e != _SELF}


def paths(fields: Set, prefix: str = "") -> Iterator[str]:
    """Yield the paths as error texts write them, those of one level before deeper ones."""
    elements = sorted(e for e in fields if e != _SELF)
    for element in elements:
        if has(fields, element):
            yield prefix + _shown(element)
    for element in elements:
        yield from paths(fields[element], prefix + _shown(element))


def _shown(element: str) -> str:
    kind, text = element[0], element[2:]
    if kind == "f":
        return f".{text}"
    if kind == "k":
        return "[" + ",".join(f"{k}={_plain(v)}" for k, v in json.loads(text).items()) + "]"
    return f"[={_plain(json.loads(text))}]" if kind == "v" else f"[{text}]"


def _plain(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
