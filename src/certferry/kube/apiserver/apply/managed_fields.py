"""Ownership of fields: ``metadata.managedFields`` for every write, and server-side apply.

A manager is a name, an operation and a subresource. An update owns the fields that it changes and takes them from
others. An apply that changes another manager's field is a conflict unless forced.
Upstream: https://github.com/kubernetes/apimachinery/tree/master/pkg/util/managedfields
Source: https://kubernetes.io/docs/reference/using-api/server-side-apply/
"""

from __future__ import annotations

import copy
import json
from typing import Final

import msgspec

from certferry.kube.apiserver.apply import fieldset, structured_merge
from certferry.kube.apiserver.apply.fieldset import Set
from certferry.kube.apiserver.apply.structured_merge import ABSENT, Comparison, Node
from certferry.kube.apiserver.errors import ApiStatus
from certferry.kube.apiserver.resources.builtin import Object, ResourceDefinition
from certferry.kube.apiserver.schema import decode

LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"
_MOST_UPDATERS: Final = 10
_STRIPPED: Final = fieldset.of_paths(
    "apiVersion",
    "kind",
    "metadata",
    "metadata.name",
    "metadata.namespace",
    "metadata.creationTimestamp",
    "metadata.selfLink",
    "metadata.uid",
    "metadata.clusterName",
    "metadata.generation",
    "metadata.managedFields",
    "metadata.resourceVersion",
)


class Manager(msgspec.Struct, frozen=True, order=True):
    """A field manager: name, operation, version and subresource."""

    name: str
    operation: str
    api_version: str
    subresource: str = ""

    def __str__(self) -> str:
        """Format as conflict messages do."""
        shown = json.dumps(self.name, ensure_ascii=False)
        if self.subresource:
            shown += f' with subresource "{self.subresource}"'
        return shown if self.operation == "Apply" else f"{shown} using {self.api_version}"


class Writer(msgspec.Struct, frozen=True):
    """The field manager of a request and its time (RFC 3339, whole seconds)."""

    name: str
    at: str
    subresource: str = ""


class ManagedFields(msgspec.Struct):
    """The fields of each manager, and the time of its last change."""

    sets: dict[Manager, Set]
    times: dict[Manager, str]


def updated(kind: ResourceDefinition, live: Object | None, new: Object, writer: Writer) -> None:
    """Set the managed fields of `new`, which `writer` made of `live` (None: created it)."""
    managed = _requested_managers(new, live, writer)
    if live is not None and not managed.sets:
        new["metadata"].pop("managedFields", None)  # stored before managers existed, or reset by the client
        return
    before = _plain(live) if live is not None else decode.canonical(kind.name, {})[0]
    difference = structured_merge.compare(before, _plain(new), structured_merge.root(kind.name)).without(
        _ignored_fields(kind, writer)
    )
    me = Manager(writer.name, "Update", kind.api_version, writer.subresource)
    own = managed.sets.get(me, {})
    _take_ownership(managed, difference, kind.api_version)
    changed = fieldset.difference(difference.changed, _STRIPPED)
    if changed:
        managed.sets[me] = fieldset.union(fieldset.difference(own, difference.removed), changed)
        managed.times[me] = writer.at
    _merge_oldest_updaters(managed)
    _write_managed(new, managed)


def applied(kind: ResourceDefinition, live: Object | None, config: Object, writer: Writer, *, force: bool) -> Object:
    """Return `live` with `config` applied, managed fields included. Raises ``ApiStatus`` on conflicts."""
    base = live if live is not None else decode.canonical(kind.name, {})[0]
    managed = _read_managed(base) or ManagedFields({}, {})
    if live is not None and not managed.sets:
        first = Manager("before-first-apply", "Update", kind.api_version)
        managed.sets[first] = fieldset.difference(
            structured_merge.to_field_set(_plain(live), structured_merge.root(kind.name)), _STRIPPED
        )
        managed.times[first] = writer.at
    try:
        merged = _apply(kind, base, config, writer, _copy(managed), force=force)
    except _Conflicts as conflicts:
        allowed = _last_applied(kind, base) if writer.name == "kubectl" else {}
        rest = {m: left for m, s in conflicts.sets.items() if (left := fieldset.difference(s, allowed))}
        if rest:
            raise _conflict_status(rest) from None
        merged = _apply(kind, base, config, writer, managed, force=True)
    merged = copy.deepcopy(merged)  # later changes must not affect the stored object
    annotations = merged["metadata"].get("annotations", {})
    if writer.name == "kubectl" and annotations.get(LAST_APPLIED):
        annotations[LAST_APPLIED] = json.dumps(config, separators=(",", ":"), ensure_ascii=False) + "\n"
    return merged


class _Conflicts(Exception):
    """Fields that other managers own."""

    def __init__(self, sets: dict[Manager, Set]) -> None:
        super().__init__()
        self.sets = sets


def _apply(
    kind: ResourceDefinition, base: Object, config: Object, writer: Writer, managed: ManagedFields, *, force: bool
) -> Object:
    node, reset = structured_merge.root(kind.name), _ignored_fields(kind, writer)
    before, wanted = _plain(base), _plain(config)
    me = next(
        (m for m in managed.sets if _is_same_applier(m, writer)),
        Manager(writer.name, "Apply", kind.api_version, writer.subresource),
    )
    last = managed.sets.pop(me, {})
    me = msgspec.structs.replace(me, api_version=kind.api_version)
    own = fieldset.without(structured_merge.to_field_set(wanted, node), reset)
    managed.sets[me] = own
    merged = structured_merge.merge(before, wanted, node)
    merged = _prune(merged, managed, last, node)
    difference = structured_merge.compare(before, merged, node).without(reset)
    managed.sets.pop(me)
    conflicts = _conflicts(managed, difference)
    if conflicts and not force:
        raise _Conflicts(conflicts)
    _take_ownership(managed, difference, kind.api_version)
    if own := fieldset.difference(own, _STRIPPED):
        managed.sets[me] = own
    if merged != before:
        managed.times[me] = writer.at
    heads = {"apiVersion": kind.api_version, "kind": kind.name}
    result: Object = heads | {k: dict(v) if k == "metadata" else v for k, v in merged.items()}
    _write_managed(result, managed)
    return result


def _is_same_applier(manager: Manager, writer: Writer) -> bool:
    return (manager.name, manager.operation, manager.subresource) == (writer.name, "Apply", writer.subresource)


def _prune(merged: Object, managed: ManagedFields, last: Set, node: Node) -> Object:
    """Remove fields that this manager applied last time and that no manager owns now."""
    if not last:
        return merged

    def ensured(fields: Set) -> Set:
        return structured_merge.ensure_named_fields_are_members(fields, node)

    def without(gone: Set) -> Object:
        rest = structured_merge.remove_items(merged, gone, node)
        fields: Object = {} if rest is ABSENT else rest
        return fields

    all_owned: Set = {}
    for owned in managed.sets.values():
        all_owned = fieldset.union(all_owned, owned)
    present = ensured(structured_merge.to_field_set(merged, node))
    kept = ensured(structured_merge.to_field_set(without(ensured(last)), node))
    pruned = without(fieldset.difference(present, fieldset.union(kept, ensured(all_owned))))
    kept = ensured(structured_merge.to_field_set(pruned, node))
    return without(fieldset.intersection(fieldset.difference(present, kept), ensured(last)))


def _conflicts(managed: ManagedFields, difference: Comparison) -> dict[Manager, Set]:
    shared = {m: fieldset.intersection(s, difference.changed) for m, s in managed.sets.items()}
    return {m: s for m, s in shared.items() if s}


def _take_ownership(managed: ManagedFields, difference: Comparison, version: str) -> None:
    """Remove changed fields from their former owners."""
    affected = fieldset.union(difference.changed, difference.removed)
    for manager, owned in list(managed.sets.items()):
        rest = fieldset.difference(owned, affected)
        if rest and manager.api_version == version:
            managed.sets[manager] = rest
        else:
            del managed.sets[manager]


def _merge_oldest_updaters(managed: ManagedFields) -> None:
    """Merge the oldest of too many updaters into one."""
    updaters = [m for m in managed.sets if m.operation == "Update"]
    updaters.sort(key=lambda m: (managed.times.get(m, ""), m))
    excess = len(updaters) - _MOST_UPDATERS
    if excess <= 0:
        return
    old = Manager("ancient-changes", "Update", updaters[0].api_version)
    for manager in updaters[: excess + 1]:
        managed.sets[old] = fieldset.union(managed.sets.pop(manager), managed.sets.get(old, {}))
        managed.times[old] = managed.times.pop(manager, "")


def _conflict_status(conflicts: dict[Manager, Set]) -> ApiStatus:
    listed = [(m, list(fieldset.paths(s))) for m, s in sorted(conflicts.items())]
    causes = [
        {"reason": "FieldManagerConflict", "message": f"conflict with {m}", "field": path}
        for m, paths in listed
        for path in paths
    ]
    if len(causes) == 1:
        text = f"Apply failed with 1 conflict: {causes[0]['message']}: {causes[0]['field']}"
    else:
        lines = [line for m, paths in listed for line in (f"conflicts with {m}:", *(f"- {p}" for p in paths))]
        text = f"Apply failed with {len(causes)} conflicts: " + "\n".join(lines)
    return ApiStatus(409, "Conflict", text, {"causes": causes})


def _last_applied(kind: ResourceDefinition, live: Object) -> Set:
    """Return unchanged fields of kubectl's client-side apply, which do not conflict with kubectl itself."""
    try:
        config = json.loads(live["metadata"].get("annotations", {}).get(LAST_APPLIED, ""))
        if config["apiVersion"] != kind.api_version:
            return {}
        applied = _plain(decode.canonical(kind.name, config, add_unset=False)[0])
    except (ValueError, KeyError, TypeError):
        return {}
    node = structured_merge.root(kind.name)
    difference = structured_merge.compare(applied, _plain(live), node)
    differs = fieldset.union(difference.changed, difference.removed)
    return fieldset.difference(structured_merge.to_field_set(applied, node), differs)


def _ignored_fields(kind: ResourceDefinition, writer: Writer) -> Set:
    """Return the fields that a write to this subresource cannot change and therefore never owns."""
    if writer.subresource == "status":
        return fieldset.of_paths("spec")
    return fieldset.of_paths("status") if kind.status else {}


def _plain(obj: Object) -> Object:
    """Return the object without apiVersion, kind and managedFields, which have no managers."""
    meta = {k: v for k, v in obj.get("metadata", {}).items() if k != "managedFields"}
    return {k: v for k, v in obj.items() if k not in ("apiVersion", "kind", "metadata")} | {"metadata": meta}


def _requested_managers(new: Object, live: Object | None, writer: Writer) -> ManagedFields:
    """Return the managers that the client sent, if it may send them; otherwise those of `live`."""
    entries = new["metadata"].get("managedFields")
    if not writer.subresource:
        if entries == [{}]:
            return ManagedFields({}, {})
        if entries and (sent := _read_managed(new)) is not None and sent.sets:
            return sent
    return (_read_managed(live) if live is not None else None) or ManagedFields({}, {})


def _read_managed(obj: Object) -> ManagedFields | None:
    """Parse the managers of an object; return None if they are malformed."""
    managed = ManagedFields({}, {})
    for entry in obj.get("metadata", {}).get("managedFields") or ():
        operation, version = entry.get("operation"), entry.get("apiVersion")
        if operation not in ("Apply", "Update") or not version or entry.get("fieldsType") != "FieldsV1":
            return None
        manager = Manager(entry.get("manager", ""), operation, version, entry.get("subresource", ""))
        try:
            managed.sets[manager] = fieldset.read(entry.get("fieldsV1") or {})
        except ValueError:
            return None
        if entry.get("time"):
            managed.times[manager] = entry["time"]
    return managed


def _copy(managed: ManagedFields) -> ManagedFields:
    return ManagedFields(dict(managed.sets), dict(managed.times))


def _write_managed(obj: Object, managed: ManagedFields) -> None:
    entries = [
        {"manager": m.name, "operation": m.operation, "apiVersion": m.api_version}
        | ({"time": managed.times[m]} if managed.times.get(m) else {})
        | {"fieldsType": "FieldsV1", "fieldsV1": fieldset.write(owned)}
        | ({"subresource": m.subresource} if m.subresource else {})
        for m, owned in managed.sets.items()
    ]
    entries.sort(
        key=lambda e: tuple(e.get(k, "") for k in ("operation", "time", "manager", "apiVersion", "subresource"))
    )
    obj["metadata"].pop("managedFields", None)
    if entries:
        obj["metadata"]["managedFields"] = entries
