"""Typed comparison, merge and pruning of objects for server-side apply.

Function names follow upstream, so that both can be read side by side. Objects are plain values in canonical form
without apiVersion, kind and managedFields. No function changes its arguments.
Upstream: https://github.com/kubernetes-sigs/structured-merge-diff/tree/master/typed
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from certferry.kube.apiserver.apply import fieldset
from certferry.kube.apiserver.apply.fieldset import Set
from certferry.kube.apiserver.schema.builtin import TYPES
from certferry.kube.apiserver.schema.types import Field, Type

ABSENT: Final = object()
"""No value, in contrast to null."""


class Node(msgspec.Struct, frozen=True):
    """The way in which the value at a path merges."""

    form: str
    """struct, map, set, list, or leaf for an atomic value."""
    owner: Type | None = None
    keys: tuple[str, ...] = ()

    def child(self, name: str) -> Node:
        """Return the node of a field or a key."""
        if self.form == "struct" and self.owner is not None:
            return _FIELDS[self.owner.name].get(name, LEAF)
        return _node(self.owner)

    @property
    def item(self) -> Node:
        """Return the node of a list's items."""
        return _node(self.owner)

    def declares(self, element: str) -> bool:
        """Return whether a path element names a field of this struct."""
        return self.form == "struct" and element[2:] in _FIELDS[self.owner.name if self.owner else ""]


LEAF: Final = Node("leaf")


def _node(owner: Type | None) -> Node:
    return LEAF if owner is None or owner.atomic else Node("struct", owner)


def _of_field(field: Field) -> Node:
    owner = TYPES.get(field.type)
    match field.shape:
        case "map":
            return LEAF if field.atomic else Node("map", owner)
        case "list":
            if field.keys is None:
                return LEAF
            return Node("list", owner, field.keys) if field.keys else Node("set")
    return _node(owner)


_FIELDS: Final[dict[str, dict[str, Node]]] = {
    owner.name: {name: _of_field(field) for name, field in owner.fields.items()} for owner in TYPES.values()
}


def root(kind: str) -> Node:
    """Return the node of a whole object."""
    return Node("struct", TYPES[kind])


def element(node: Node, item: Any) -> str:
    """Return the path element of a list's item."""
    if node.form == "set":
        return f"v:{_json(item)}"
    assert node.owner is not None
    known = {k: item.get(k, node.owner.fields[k].default) for k in sorted(node.keys)}
    return f"k:{_json({k: v for k, v in known.items() if v not in (None, '')})}"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def to_field_set(value: Any, node: Node) -> Set:
    """Return the fields that `value` sets."""
    match node.form:
        case "leaf":
            return fieldset.leaf()
        case "set" | "list":
            fields: Set = {}
            for item in value or ():
                fields[element(node, item)] = fieldset.union(fieldset.leaf(), _below(item, node.item))
            return fields
    fields = {}
    for name, inner in (value or {}).items():
        below = to_field_set(inner, node.child(name))
        if inner is None or inner == {} or node.form == "map":
            below = fieldset.union(below, fieldset.leaf())
        if below:
            fields[f"f:{name}"] = below
    return fields


def _below(item: Any, node: Node) -> Set:
    return {} if node.form == "leaf" else to_field_set(item, node)


class Comparison(msgspec.Struct):
    """Differences between two objects."""

    added: Set
    modified: Set
    removed: Set

    @property
    def changed(self) -> Set:
        """Return the fields that the second object adds or modifies."""
        return fieldset.union(self.added, self.modified)

    def without(self, roots: Set) -> Comparison:
        """Return the comparison without everything below `roots`."""
        return Comparison(*(fieldset.without(s, roots) for s in (self.added, self.modified, self.removed)))


def compare(old: Any, new: Any, node: Node) -> Comparison:
    """Return what `new` adds, modifies and removes; either value may be ``ABSENT``."""
    comparison = Comparison({}, {}, {})
    if old is new:
        return comparison
    if node.form == "leaf" or (not _has_content(old) and not _has_content(new)):
        _compare_leaf(old, new, comparison)
        return comparison
    for name, one, other, inner in _pairs(old, new, node):
        if one is other or one == other:
            continue
        below = compare(one, other, inner)
        for mine, theirs in zip(_sets(comparison), _sets(below), strict=True):
            if theirs:
                mine[name] = theirs
    if old is ABSENT:
        comparison.added["."] = {}
    elif new is ABSENT:
        comparison.removed["."] = {}
    return comparison


def _sets(comparison: Comparison) -> tuple[Set, Set, Set]:
    return comparison.added, comparison.modified, comparison.removed


def _has_content(value: Any) -> bool:
    return value is not ABSENT and bool(value)


def _compare_leaf(old: Any, new: Any, comparison: Comparison) -> None:
    if old is ABSENT:
        comparison.added["."] = {}
    elif new is ABSENT:
        comparison.removed["."] = {}
    elif old != new:
        comparison.modified["."] = {}


def _pairs(old: Any, new: Any, node: Node) -> Iterable[tuple[str, Any, Any, Node]]:
    one, other = _parts(old, node), _parts(new, node)
    for name in one | other:
        inner = node.child(name[2:]) if node.form in ("struct", "map") else node.item
        yield name, one.get(name, ABSENT), other.get(name, ABSENT), inner


def _parts(value: Any, node: Node) -> dict[str, Any]:
    if not _has_content(value):
        return {}
    if node.form in ("struct", "map"):
        return {f"f:{name}": inner for name, inner in value.items()}
    return {element(node, item): item for item in value}


def merge(live: Any, config: Any, node: Node) -> Any:
    """Return `live` with the values of `config`; either may be ``ABSENT``."""
    if node.form == "leaf":
        return live if config is ABSENT else config
    if config is ABSENT or live is ABSENT or not live:
        return live if config is ABSENT else config
    if not config:
        return live
    if node.form in ("struct", "map"):
        merged: dict[str, Any] = dict(live)
        for name, inner in config.items():
            merged[name] = merge(live.get(name, ABSENT), inner, node.child(name))
        return merged
    return _merge_list(list(live), list(config), node)


def _merge_list(live: list[Any], config: list[Any], node: Node) -> list[Any]:
    """Merge two lists: `config` orders its own items, and other items of `live` keep their places."""
    mine = {element(node, item): item for item in live}
    theirs = {element(node, item): item for item in config}
    left, right = list(mine), list(theirs)
    shared = [e for e in right if e in mine]
    result: list[Any] = []
    while left or right:
        if left and left[0] not in theirs:
            result.append(mine[left.pop(0)])
        elif left and (not shared or left[0] != shared[0]):
            left.pop(0)  # its place is where `config` lists it
        elif right:
            name = right.pop(0)
            result.append(merge(mine.get(name, ABSENT), theirs[name], node.item))
            if shared and name == shared[0]:
                shared.pop(0)
        else:
            left.pop(0)
    return result


def remove_items(value: Any, gone: Set, node: Node) -> Any:
    """Return `value` without the fields and items in `gone`; ``ABSENT`` if nothing is left."""
    if node.form == "leaf" or not gone:
        return value
    if node.form in ("struct", "map"):
        kept = {}
        for name, inner in (value or {}).items():
            if not fieldset.has(gone, f"f:{name}"):
                rest = remove_items(inner, fieldset.below(gone, f"f:{name}"), node.child(name))
                if rest is not ABSENT:
                    kept[name] = rest
        return kept if kept or not value else ABSENT
    items = []
    for item in value or ():
        name = element(node, item)
        if not fieldset.has(gone, name):
            items.append(remove_items(item, fieldset.below(gone, name), node.item))
    return items if items or not value else ABSENT


def ensure_named_fields_are_members(found: Set, node: Node) -> Set:
    """Add each struct field on the way to a member as a member."""
    result: Set = {}
    for name, inner in found.items():
        if name == ".":
            result[name] = {}
            continue
        child = node.child(name[2:]) if node.form in ("struct", "map") else node.item
        result[name] = ensure_named_fields_are_members(inner, child)
        if node.declares(name):
            result[name]["."] = {}
    return result
