"""Who set which field: ``metadata.managedFields``, kept by every write, asked by server-side apply.

`writes` calls ``updated`` for what a create, a PUT or a patch made of an object, and ``applied`` for an
apply patch. The rules are those of k8s.io/apimachinery (util/managedfields): a manager is a name, an
operation and a subresource; what an update changes it owns, and takes from others; what an apply
changes and another owns is a conflict, unless it is forced.
"""

from __future__ import annotations

import copy
import json
from typing import Final

import msgspec

from certferry.kube.apiserver.apply import fieldset
from certferry.kube.apiserver.apply import structured_merge as structured
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
    """Who writes, how, and through which subresource."""

    name: str
    operation: str
    api_version: str
    subresource: str = ""

    def __str__(self) -> str:
        """As conflicts name it."""
        shown = json.dumps(self.name, ensure_ascii=False)
        if self.subresource:
            shown += f' with subresource "{self.subresource}"'
        return shown if self.operation == "Apply" else f"{shown} using {self.api_version}"


class Writer(msgspec.Struct, frozen=True):
    """Who writes, and when (RFC 3339, whole seconds)."""

    name: str
    at: str
    subresource: str = ""


class ManagedFields(msgspec.Struct):
    """What each manager owns, and since when."""

    sets: dict[Manager, Set]
    times: dict[Manager, str]


def updated(kind: ResourceDefinition, live: Object | None, new: Object, who: Writer) -> None:
    """Set the managed fields of `new`, which `who` made of `live` (None: created it)."""
    known = _asked(new, live, who)
    if live is not None and not known.sets:
        new["metadata"].pop("managedFields", None)  # kept since before managers were, or reset by the client
        return
    before = _plain(live) if live is not None else decode.canonical(kind.name, {})[0]
    difference = structured.compare(before, _plain(new), structured.root(kind.name)).without(
        _reset(kind, who)
    )
    me = Manager(who.name, "Update", kind.api_version, who.subresource)
    own = known.sets.get(me, {})
    _take(known, difference, kind.api_version)
    taken = fieldset.difference(difference.changed, _STRIPPED)
    if taken:
        known.sets[me] = fieldset.union(fieldset.difference(own, difference.removed), taken)
        known.times[me] = who.at
    _cap(known)
    _write(new, known)


def applied(
    kind: ResourceDefinition, live: Object | None, config: Object, who: Writer, *, force: bool
) -> Object:
    """`live` with `config` applied, in the version of the API, managed fields included. Raises ``Refused``."""
    base = live if live is not None else decode.canonical(kind.name, {})[0]
    known = _ledger(base) or ManagedFields({}, {})
    if live is not None and not known.sets:
        first = Manager("before-first-apply", "Update", kind.api_version)
        known.sets[first] = fieldset.difference(
            structured.to_field_set(_plain(live), structured.root(kind.name)), _STRIPPED
        )
        known.times[first] = who.at
    try:
        merged = _apply(kind, base, config, who, _copied(known), force=force)
    except _Conflicts as found:
        allowed = _last_applied(kind, base) if who.name == "kubectl" else {}
        rest = {m: left for m, s in found.sets.items() if (left := fieldset.difference(s, allowed))}
        if rest:
            raise _refused(rest) from None
        merged = _apply(kind, base, config, who, known, force=True)
    merged = copy.deepcopy(merged)  # whoever finishes it must not change what is there
    annotations = merged["metadata"].get("annotations", {})
    if who.name == "kubectl" and annotations.get(LAST_APPLIED):
        annotations[LAST_APPLIED] = json.dumps(config, separators=(",", ":"), ensure_ascii=False) + "\n"
    return merged


class _Conflicts(Exception):
    """Fields that others own."""

    def __init__(self, sets: dict[Manager, Set]) -> None:
        super().__init__()
        self.sets = sets


def _apply(
    kind: ResourceDefinition, base: Object, config: Object, who: Writer, known: ManagedFields, *, force: bool
) -> Object:
    node, reset = structured.root(kind.name), _reset(kind, who)
    before, wanted = _plain(base), _plain(config)
    me = next(
        (m for m in known.sets if _same(m, who)),
        Manager(who.name, "Apply", kind.api_version, who.subresource),
    )
    last = known.sets.pop(me, {})
    me = msgspec.structs.replace(me, api_version=kind.api_version)
    own = fieldset.without(structured.to_field_set(wanted, node), reset)
    known.sets[me] = own
    merged = structured.merge(before, wanted, node)
    merged = _prune(merged, known, last, node)
    difference = structured.compare(before, merged, node).without(reset)
    known.sets.pop(me)
    conflicts = _conflicts(known, difference)
    if conflicts and not force:
        raise _Conflicts(conflicts)
    _take(known, difference, kind.api_version)
    if own := fieldset.difference(own, _STRIPPED):
        known.sets[me] = own
    if merged != before:
        known.times[me] = who.at
    heads = {"apiVersion": kind.api_version, "kind": kind.name}
    result: Object = heads | {k: dict(v) if k == "metadata" else v for k, v in merged.items()}
    _write(result, known)
    return result


def _same(manager: Manager, who: Writer) -> bool:
    return (manager.name, manager.operation, manager.subresource) == (who.name, "Apply", who.subresource)


def _prune(merged: Object, known: ManagedFields, last: Set, node: Node) -> Object:
    """`merged` without what this manager applied last time, and neither it nor another does now."""
    if not last:
        return merged

    def ensured(found: Set) -> Set:
        return structured.ensure_named_fields_are_members(found, node)

    def without(gone: Set) -> Object:
        rest = structured.remove_items(merged, gone, node)
        found: Object = {} if rest is ABSENT else rest
        return found

    every: Set = {}
    for owned in known.sets.values():
        every = fieldset.union(every, owned)
    there = ensured(structured.to_field_set(merged, node))
    kept = ensured(structured.to_field_set(without(ensured(last)), node))
    pruned = without(fieldset.difference(there, fieldset.union(kept, ensured(every))))
    kept = ensured(structured.to_field_set(pruned, node))
    return without(fieldset.intersection(fieldset.difference(there, kept), ensured(last)))


def _conflicts(known: ManagedFields, difference: Comparison) -> dict[Manager, Set]:
    found = {m: fieldset.intersection(s, difference.changed) for m, s in known.sets.items()}
    return {m: s for m, s in found.items() if s}


def _take(known: ManagedFields, difference: Comparison, version: str) -> None:
    """Take what changed from whoever owned it."""
    gone = fieldset.union(difference.changed, difference.removed)
    for manager, owned in list(known.sets.items()):
        rest = fieldset.difference(owned, gone)
        if rest and manager.api_version == version:
            known.sets[manager] = rest
        else:
            del known.sets[manager]


def _cap(known: ManagedFields) -> None:
    """The oldest of too many updaters become one."""
    updaters = [m for m in known.sets if m.operation == "Update"]
    updaters.sort(key=lambda m: (known.times.get(m, ""), m))
    excess = len(updaters) - _MOST_UPDATERS
    if excess <= 0:
        return
    old = Manager("ancient-changes", "Update", updaters[0].api_version)
    for manager in updaters[: excess + 1]:
        known.sets[old] = fieldset.union(known.sets.pop(manager), known.sets.get(old, {}))
        known.times[old] = known.times.pop(manager, "")


def _refused(conflicts: dict[Manager, Set]) -> ApiStatus:
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
    """What kubectl applied from the client's side and is still so: no conflict for kubectl itself."""
    try:
        config = json.loads(live["metadata"].get("annotations", {}).get(LAST_APPLIED, ""))
        if config["apiVersion"] != kind.api_version:
            return {}
        found = _plain(decode.canonical(kind.name, config, whole=False)[0])
    except (ValueError, KeyError, TypeError):
        return {}
    node = structured.root(kind.name)
    difference = structured.compare(found, _plain(live), node)
    differs = fieldset.union(difference.changed, difference.removed)
    return fieldset.difference(structured.to_field_set(found, node), differs)


def _reset(kind: ResourceDefinition, who: Writer) -> Set:
    """What a write through this door cannot change, so that nobody owns it for trying."""
    if who.subresource == "status":
        return fieldset.of_paths("spec")
    return fieldset.of_paths("status") if kind.status else {}


def _plain(found: Object) -> Object:
    """The object as managers see it."""
    meta = {k: v for k, v in found.get("metadata", {}).items() if k != "managedFields"}
    return {k: v for k, v in found.items() if k not in ("apiVersion", "kind", "metadata")} | {
        "metadata": meta
    }


def _asked(new: Object, live: Object | None, who: Writer) -> ManagedFields:
    """The managers that a client sent, if it may and did, else those that are there."""
    asked = new["metadata"].get("managedFields")
    if not who.subresource:
        if asked == [{}]:
            return ManagedFields({}, {})
        if asked and (found := _ledger(new)) is not None and found.sets:
            return found
    return (_ledger(live) if live is not None else None) or ManagedFields({}, {})


def _ledger(found: Object) -> ManagedFields | None:
    """The managers in an object; None when they cannot be read."""
    ledger = ManagedFields({}, {})
    for entry in found.get("metadata", {}).get("managedFields") or ():
        operation, version = entry.get("operation"), entry.get("apiVersion")
        if operation not in ("Apply", "Update") or not version or entry.get("fieldsType") != "FieldsV1":
            return None
        manager = Manager(entry.get("manager", ""), operation, version, entry.get("subresource", ""))
        try:
            ledger.sets[manager] = fieldset.read(entry.get("fieldsV1") or {})
        except ValueError:
            return None
        if entry.get("time"):
            ledger.times[manager] = entry["time"]
    return ledger


def _copied(known: ManagedFields) -> ManagedFields:
    return ManagedFields(dict(known.sets), dict(known.times))


def _write(found: Object, known: ManagedFields) -> None:
    entries = [
        {"manager": m.name, "operation": m.operation, "apiVersion": m.api_version}
        | ({"time": known.times[m]} if known.times.get(m) else {})
        | {"fieldsType": "FieldsV1", "fieldsV1": fieldset.write(owned)}
        | ({"subresource": m.subresource} if m.subresource else {})
        for m, owned in known.sets.items()
    ]
    entries.sort(
        key=lambda e: tuple(
            e.get(k, "") for k in ("operation", "time", "manager", "apiVersion", "subresource")
        )
    )
    found["metadata"].pop("managedFields", None)
    if entries:
        found["metadata"]["managedFields"] = entries
