"""Merge patch and visible difference between two states of a Kubernetes object. Pure.

Secret values are masked before an object is shown. A masked value that comes back unchanged is restored before
the object is written.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import yaml

Object = dict[str, Any]

KEPT: Final = "(kept: not shown)"
"""Placeholder of a masked value; unchanged, it keeps the value."""
NEW: Final = "(new: not shown)"
"""Placeholder in a diff for a changed masked value."""
APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"
MAX_COMPARED: Final = 4_000
"""Lines of both texts up to which they are compared line by line, which takes quadratic time."""
_PUBLIC: Final = ("tls.crt", "ca.crt")


class Line(NamedTuple):
    """A line of a diff: added, removed or same."""

    kind: str
    text: str


def merge_patch(old: Mapping[str, Any], new: Mapping[str, Any]) -> Object:
    """Return the JSON merge patch (RFC 7396) from `old` to `new`."""
    patch: Object = {}
    for key in sorted(old.keys() | new.keys()):
        before, after = old.get(key), new.get(key)
        if before == after and (key in old) == (key in new):
            continue
        if key not in new:
            patch[key] = None
        elif isinstance(before, dict) and isinstance(after, dict):
            patch[key] = merge_patch(before, after)
        else:
            patch[key] = after
    return patch


def readable(obj: Mapping[str, Any]) -> Object:
    """Return `obj` without status and managed fields, Secret values masked."""
    shown = {key: value for key, value in obj.items() if key != "status"}
    meta = {k: v for k, v in obj.get("metadata", {}).items() if k not in ("managedFields", "selfLink")}
    if obj.get("kind") == "Secret":
        shown |= {name: _masked(obj[name]) for name in ("data", "stringData") if name in obj}
        if APPLIED in (meta.get("annotations") or {}):
            meta["annotations"] = {**meta["annotations"], APPLIED: KEPT}
    shown["metadata"] = meta
    return {k: v for k, v in shown.items() if v is not None}


def restored(edited: Mapping[str, Any], present: Mapping[str, Any]) -> Object:
    """Return `edited` with the masked and removed parts restored from `present`."""
    whole = dict(edited)
    if present.get("kind") == "Secret":
        before = present.get("data") or {}
        typed = edited.get("stringData")
        kept = {k: before[k] for k, v in typed.items() if v == KEPT and k in before} if isinstance(typed, dict) else {}
        if isinstance(typed, dict):
            whole["stringData"] = {k: v for k, v in typed.items() if v != KEPT}
        if isinstance(edited.get("data"), dict) or kept:
            data = edited.get("data") or {}
            whole["data"] = kept | {k: before.get(k, v) if v == KEPT else v for k, v in data.items()}
        meta = dict(edited.get("metadata") or {})
        notes, present_notes = meta.get("annotations"), present["metadata"].get("annotations") or {}
        if isinstance(notes, dict) and notes.get(APPLIED) == KEPT:
            meta["annotations"] = {**notes, APPLIED: present_notes.get(APPLIED, "")}
        whole["metadata"] = meta
    if "status" in present:
        whole["status"] = present["status"]
    return whole


def nothing_to_keep(edited: Mapping[str, Any], present: Mapping[str, Any]) -> list[str]:
    """Return the fields whose placeholder stands for no value of `present`, as ``data.key``."""
    before = present.get("data") or {} if present.get("kind") == "Secret" else {}
    return [
        f"{field}.{key}"
        for field in ("data", "stringData")
        for key, value in (edited[field].items() if isinstance(edited.get(field), dict) else ())
        if value == KEPT and key not in before
    ]


def text(obj: Mapping[str, Any]) -> str:
    """Format an object as YAML, fields in the usual order."""
    first = ("apiVersion", "kind", "metadata", "type", "spec")
    ordered = {k: obj[k] for k in first if k in obj} | {k: v for k, v in obj.items() if k not in first}
    return yaml.dump(ordered, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def diff(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Line]:
    """Return the difference of two objects as lines of YAML; empty if they are equal."""
    before, after = (text(readable(old)).splitlines(), text(_mark_changed(readable(new), old, new)).splitlines())
    kinds = {"+": "added", "-": "removed"}
    compare = _changed_block if len(before) + len(after) > MAX_COMPARED else _unified
    lines = compare(before, after)
    return [Line(kinds.get(line[:1], "same"), line) for line in lines]


def _unified(before: list[str], after: list[str]) -> list[str]:
    return list(difflib.unified_diff(before, after, lineterm="", n=3))[2:]


def _changed_block(before: list[str], after: list[str]) -> list[str]:
    """Return the lines between the first and the last difference as removed and added; linear, unlike difflib."""
    if before == after:
        return []
    shorter = min(len(before), len(after))
    start = next((n for n in range(shorter) if before[n] != after[n]), shorter)
    end = next((n for n in range(shorter - start) if before[-1 - n] != after[-1 - n]), shorter - start)
    old, new = before[start : len(before) - end], after[start : len(after) - end]
    return [f"@@ -{start + 1},{len(old)} +{start + 1},{len(new)} @@", *(f"-{o}" for o in old), *(f"+{n}" for n in new)]


def _mark_changed(shown: Object, old: Mapping[str, Any], new: Mapping[str, Any]) -> Object:
    """Return `shown` with ``NEW`` for each masked value that differs from `old`."""
    for name in ("data", "stringData"):
        if new.get("kind") == "Secret" and isinstance(shown.get(name), dict):
            before, after = old.get(name) or {}, new[name]
            shown[name] = {k: NEW if v == KEPT and after[k] != before.get(k) else v for k, v in shown[name].items()}
    return shown


def _masked(data: Mapping[str, Any] | None) -> Object | None:
    return None if data is None else {k: v if k in _PUBLIC else KEPT for k, v in data.items()}


class _Dumper(yaml.SafeDumper):
    """Writes multi-line text as blocks, and no anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        """Return True: no aliases."""
        return True


def _represent(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = "|" if "\n" in value else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _represent)
