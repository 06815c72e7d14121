"""JSON patch (RFC 6902), merge patch (RFC 7386) and strategic merge patch.

No function changes its arguments. Merge keys of lists come from ``schema.builtin``. Server-side apply is
in ``apply``.
Upstream: https://github.com/kubernetes/apimachinery/blob/master/pkg/util/strategicpatch/patch.go
"""

from __future__ import annotations

import copy
from collections import deque
from typing import Any, Final

import msgspec

from certferry.kube.apiserver.schema.builtin import TYPES
from certferry.kube.apiserver.schema.types import Type


class BadPatch(ValueError):
    """A malformed patch (400)."""


MAX_OPERATIONS: Final = 10_000
"""Operations of a JSON patch, as upstream's default."""
MAX_COPIED: Final = 3 << 20
"""Bytes that ``copy`` operations of one JSON patch may add, as JSON."""


class PatchTooLarge(ValueError):
    """The patch has too many operations or grows the object too much (413)."""


class PatchFailed(ValueError):
    """A patch that does not fit the object (422)."""


def merge_patch(target: Any, patch: Any) -> Any:
    """Apply a merge patch (RFC 7386)."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge_patch(result.get(key), value)
    return result


def json_patch(target: Any, patch: Any) -> Any:
    """Apply a JSON patch (RFC 6902). Raises ``BadPatch``, ``PatchFailed``."""
    if not isinstance(patch, list):
        raise BadPatch("error decoding patch: json: cannot unmarshal object into Go value of type jsonpatch.Patch")
    if len(patch) > MAX_OPERATIONS:
        raise PatchTooLarge(f"The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {len(patch)}")
    document, copied = copy.deepcopy(target), 0
    for operation in patch:
        if not isinstance(operation, dict) or not isinstance(operation.get("path"), str):
            raise BadPatch("error decoding patch: an operation needs an object with op and path")
        if operation.get("op") == "copy":
            source = _find(document, _pointer(str(operation.get("from", ""))))
            copied += len(msgspec.json.encode(source))
            if copied > MAX_COPIED:
                raise PatchTooLarge(f"The copy operations of the JSON patch add more than {MAX_COPIED} bytes")
        document = _operate(document, operation)
    return document


def _operate(document: Any, operation: dict[str, Any]) -> Any:
    path = _pointer(operation["path"])
    match operation.get("op"):
        case "add":
            return _add(document, path, copy.deepcopy(operation.get("value")))
        case "remove":
            return _remove(document, path)[0]
        case "replace":
            rest, _ = _remove(document, path)
            return _add(rest, path, copy.deepcopy(operation.get("value")))
        case "move":
            rest, value = _remove(document, _pointer(str(operation.get("from", ""))))
            return _add(rest, path, value)
        case "copy":
            return _add(document, path, copy.deepcopy(_find(document, _pointer(str(operation.get("from", ""))))))
        case "test":
            if _find(document, path, missing=None) != operation.get("value"):
                raise PatchFailed(f"testing value {operation['path']} failed: test failed")
            return document
        case other:
            raise BadPatch(f"Unexpected kind: {other}")


def _pointer(text: str) -> list[str]:
    if text and not text.startswith("/"):
        raise BadPatch(f"error decoding patch: the path {text!r} must start with /")
    return [part.replace("~1", "/").replace("~0", "~") for part in text.split("/")[1:]]


_NOTHING = object()


def _find(document: Any, path: list[str], missing: Any = _NOTHING) -> Any:
    for part in path:
        if isinstance(document, dict) and part in document:
            document = document[part]
        elif isinstance(document, list) and part.isdigit() and int(part) < len(document):
            document = document[int(part)]
        elif missing is not _NOTHING:
            return missing
        else:
            raise PatchFailed(f"doc is missing path: /{'/'.join(path)}: missing value")
    return document


def _add(document: Any, path: list[str], value: Any) -> Any:
    if not path:
        return value
    parent, last = _find(document, path[:-1]), path[-1]
    if isinstance(parent, dict):
        parent[last] = value
    elif isinstance(parent, list) and (last == "-" or (last.isdigit() and int(last) <= len(parent))):
        parent.insert(len(parent) if last == "-" else int(last), value)
    else:
        raise PatchFailed(f"add operation does not apply: doc is missing path: /{'/'.join(path)}: missing value")
    return document


def _remove(document: Any, path: list[str]) -> tuple[Any, Any]:
    if not path:
        return None, document
    value = _find(document, path)
    parent = _find(document, path[:-1])
    parent.pop(int(path[-1]) if isinstance(parent, list) else path[-1])
    return document, value


def strategic_merge(target: Any, patch: Any, kind: str) -> Any:
    """Apply a strategic merge patch: lists of objects merge by key; directives such as ``$patch`` apply."""
    if not isinstance(patch, dict):
        kind_of = {list: "array", str: "string", bool: "bool"}.get(type(patch), "number")
        raise BadPatch(f"json: cannot unmarshal {kind_of} into Go value of type map[string]interface {{}}")
    return _merge_struct(dict(target), patch, TYPES[kind])


def _merge_struct(target: dict[str, Any], patch: dict[str, Any], owner: Type | None) -> dict[str, Any]:
    directive = patch.get("$patch")
    if directive == "replace":
        return {k: v for k, v in patch.items() if k != "$patch"}
    if directive == "delete":
        return {}
    if directive not in (None, "merge"):
        raise BadPatch(f"unknown patch type: {directive}")
    result = dict(target)
    for key, value in patch.items():
        if key.startswith("$deleteFromPrimitiveList/"):
            name = key.partition("/")[2]
            removed = {_key(v) for v in value} if isinstance(value, list) else set()
            result[name] = [v for v in result.get(name, []) if _key(v) not in removed]
        elif key == "$retainKeys":
            result = {k: v for k, v in result.items() if k in value}
        elif not key.startswith("$"):
            _merge_field(result, key, value, owner)
    for key, order in patch.items():
        if key.startswith("$setElementOrder/"):
            name = key.partition("/")[2]
            if isinstance(result.get(name), list):
                before = target.get(name) or []
                result[name] = _ordered(result[name], order, before, _merge_key(owner, name))
    return result


def _merge_field(result: dict[str, Any], key: str, value: Any, owner: Type | None) -> None:
    field = owner.fields.get(key) if owner else None
    inner = TYPES.get(field.type) if field else None
    if value is None:
        result.pop(key, None)
    elif isinstance(value, dict):
        before = result.get(key)
        result[key] = _merge_struct(before if isinstance(before, dict) else {}, value, inner)
    elif isinstance(value, list) and field and field.merge is not None:
        result[key] = _merge_list(result.get(key) or [], value, field.merge, inner)
    else:
        result[key] = copy.deepcopy(value)


def _merge_list(target: list[Any], patch: list[Any], merge: str, inner: Type | None) -> list[Any]:
    if not merge:
        present = {_key(v) for v in target}
        return _ordered(target + [v for v in patch if _key(v) not in present], patch, target, merge)
    if any(isinstance(v, dict) and v.get("$patch") == "replace" and merge not in v for v in patch):
        return [v for v in patch if not (isinstance(v, dict) and "$patch" in v)]
    result = {_key(old.get(merge)): old for old in target}
    for item in patch:
        if not isinstance(item, dict) or merge not in item:
            raise BadPatch(f"map: {item} does not contain declared merge key: {merge}")
        key = _key(item[merge])
        if item.get("$patch") == "delete":
            result.pop(key, None)
        else:
            result[key] = _merge_struct(result.get(key, {}), item, inner)
    return _ordered(list(result.values()), patch, target, merge)


def _merge_key(owner: Type | None, name: str) -> str:
    field = owner.fields.get(name) if owner else None
    return (field.merge or "") if field else ""


def _ordered(items: list[Any], wanted: list[Any], before: list[Any], merge: str) -> list[Any]:
    """Sort `items`: those in `wanted` in that order, the others as `before`, merged as upstream does."""

    def key(item: Any) -> Any:
        return _key(item.get(merge) if merge and isinstance(item, dict) else item)

    patched = {key(o): n for n, o in reversed(list(enumerate(wanted)))}
    old = {key(o): n for n, o in reversed(list(enumerate(before)))}
    mine = deque(sorted((v for v in items if key(v) in patched), key=lambda v: patched[key(v)]))
    others = deque(v for v in items if key(v) not in patched)
    result: list[Any] = []
    while others and mine:
        left, right = old.get(key(others[0])), old.get(key(mine[0]))
        first = left is not None and right is not None and left < right
        result.append((others if first else mine).popleft())
    return [*result, *others, *mine]


def _key(value: Any) -> Any:
    """Return a hashable key that is equal for equal JSON values, so that lists merge in linear time."""
    return value if isinstance(value, str) else msgspec.json.encode(value, order="sorted")
