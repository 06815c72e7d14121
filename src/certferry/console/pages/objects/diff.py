"""Two states of a Kubernetes object: the merge patch between them, and how people see the difference.

Pure. Used by every dialog that changes an object. Secret values are masked before anything is shown,
and what was masked and came back unchanged is put back before anything is written.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import yaml

Object = dict[str, Any]

KEPT: Final = "(kept: not shown)"
"""Stands for a value that is not shown; left alone it is kept."""
NEW: Final = "(new: not shown)"
"""Stands in a diff for a value that is another one."""
APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"
_PUBLIC: Final = ("tls.crt", "ca.crt")


class Line(NamedTuple):
    """A line of a diff: added, removed or same."""

    kind: str
    text: str


def merge_patch(old: Mapping[str, Any], new: Mapping[str, Any]) -> Object:
    """The JSON merge patch (RFC 7396) that makes `new` of `old`."""
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
    """`obj` without what only machines write, its secrets masked."""
    shown = {key: value for key, value in obj.items() if key != "status"}
    meta = {k: v for k, v in obj.get("metadata", {}).items() if k not in ("managedFields", "selfLink")}
    if obj.get("kind") == "Secret":
        shown |= {name: _masked(obj[name]) for name in ("data", "stringData") if name in obj}
        if APPLIED in (meta.get("annotations") or {}):
            meta["annotations"] = {**meta["annotations"], APPLIED: KEPT}
    shown["metadata"] = meta
    return {k: v for k, v in shown.items() if v is not None}


def restored(edited: Mapping[str, Any], present: Mapping[str, Any]) -> Object:
    """`edited` with what was not shown put back from `present`."""
    whole = dict(edited)
    if present.get("kind") == "Secret":
        before = present.get("data") or {}
        if isinstance(edited.get("data"), dict):
            whole["data"] = {k: before.get(k, v) if v == KEPT else v for k, v in edited["data"].items()}
        meta = dict(edited.get("metadata") or {})
        notes, known = meta.get("annotations"), present["metadata"].get("annotations") or {}
        if isinstance(notes, dict) and notes.get(APPLIED) == KEPT:
            meta["annotations"] = {**notes, APPLIED: known.get(APPLIED, "")}
        whole["metadata"] = meta
    if "status" in present:
        whole["status"] = present["status"]
    return whole


def text(obj: Mapping[str, Any]) -> str:
    """As YAML, in the usual order."""
    first = ("apiVersion", "kind", "metadata", "type", "spec")
    ordered = {k: obj[k] for k in first if k in obj} | {k: v for k, v in obj.items() if k not in first}
    return yaml.dump(ordered, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def diff(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Line]:
    """The difference of two objects as YAML; empty when there is none."""
    before, after = text(readable(old)).splitlines(), text(_told(readable(new), old, new)).splitlines()
    kinds = {"+": "added", "-": "removed"}
    lines = list(difflib.unified_diff(before, after, lineterm="", n=3))[2:]
    return [Line(kinds.get(line[:1], "same"), line) for line in lines]


def _told(shown: Object, old: Mapping[str, Any], new: Mapping[str, Any]) -> Object:
    """`shown`, with a word for each masked value that is not the one in `old`."""
    for name in ("data", "stringData"):
        if new.get("kind") == "Secret" and isinstance(shown.get(name), dict):
            before, after = old.get(name) or {}, new[name]
            shown[name] = {
                k: NEW if v == KEPT and after[k] != before.get(k) else v for k, v in shown[name].items()
            }
    return shown


def _masked(data: Mapping[str, Any] | None) -> Object | None:
    return None if data is None else {k: v if k in _PUBLIC else KEPT for k, v in data.items()}


class _Dumper(yaml.SafeDumper):
    """Texts of several lines as blocks; no anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        """Never."""
        return True


def _represent(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = "|" if "\n" in value else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _represent)
