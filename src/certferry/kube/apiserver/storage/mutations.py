"""Create, update, patch and delete: functions from a request and the stored object to a mutation.

Metadata is handled here: uid, generation, timestamps, finalizers, preconditions, /status and unchanged
objects. Rules of a kind are in its ``ResourceDefinition``. The clock is an argument.
Upstream: https://github.com/kubernetes/apiserver/tree/master/pkg/registry/rest (create.go, update.go, delete.go)
"""

from __future__ import annotations

import copy
import uuid
from collections.abc import Callable
from datetime import datetime

import msgspec

from certferry.kube.apiserver.apply import managed_fields
from certferry.kube.apiserver.apply.managed_fields import Writer
from certferry.kube.apiserver.errors import (
    FieldError,
    bad_request,
    conflict,
    exists,
    forbidden,
    not_found,
    unprocessable,
)
from certferry.kube.apiserver.resources import metadata
from certferry.kube.apiserver.resources.builtin import Object, ResourceDefinition
from certferry.kube.apiserver.schema.builtin import TYPES
from certferry.kube.apiserver.schema.decode import add_unset_fields, canonical
from certferry.kube.apiserver.storage.log import Stored
from certferry.kube.apiserver.storage.watch_cache import Decision, Mutation

Change = Callable[[Object], Object]
"""From the stored object to the one that the request asks for."""
Finish = Callable[[Object], None]
"""Fills in values that depend on other objects, such as free addresses."""

_UNDELETABLE = ("default", "kube-system", "kube-public")
_SERVER_FIELDS = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation")


def no_finish(_: Object) -> None:
    """Fill in nothing, as for most kinds."""


class Preconditions(msgspec.Struct, frozen=True):
    """Conditions of a deletion; empty values hold for any object."""

    uid: str = ""
    revision: str = ""


def prepare(kind: ResourceDefinition, obj: Object, namespace: str, writer: Writer) -> Object:
    """Return a new object with all server fields set. Raises ``ApiStatus`` if it is invalid."""
    _drop_server_fields(kind, obj, namespace)
    kind.default(obj)
    managed_fields.updated(kind, None, obj, writer)
    return _set_server_fields(kind, obj, writer.at)


def _drop_server_fields(kind: ResourceDefinition, obj: Object, namespace: str) -> None:
    """Drop fields that only the server sets, and set the request's namespace."""
    meta = obj.setdefault("metadata", {})
    if meta.get("resourceVersion"):
        raise bad_request("resourceVersion should not be set on objects to be created")
    if namespace and meta.setdefault("namespace", namespace) != namespace:
        raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
    for key in (*_SERVER_FIELDS, "managedFields", "selfLink"):
        meta.pop(key, None)
    if kind.status and not kind.status_on_create:
        obj.pop("status", None)
        add_unset_fields(obj, TYPES[kind.name])


def _set_server_fields(kind: ResourceDefinition, obj: Object, at: str) -> Object:
    meta = obj["metadata"]
    meta["uid"] = str(uuid.uuid4())
    meta["creationTimestamp"] = at
    if kind.generation:
        meta["generation"] = 1
    kind.prepare_for_create(obj)
    faults = metadata.on_create(meta, kind.validate_name, kind.namespaced) + list(kind.validate(obj, None))
    if faults:
        raise unprocessable(kind.group, kind.name, meta.get("name", ""), faults)
    return obj


def create(kind: ResourceDefinition, obj: Object, finish: Finish) -> Decision:
    """Add the prepared object unless its name exists."""

    def decide(old: Stored | None) -> Mutation:
        if old is not None:
            raise exists(kind.resource, old.name)
        finish(obj)
        return Mutation("ADDED", obj)

    return decide


def update(kind: ResourceDefinition, name: str, change: Change, finish: Finish, writer: Writer) -> Decision:
    """Replace the object by the result of `change`, except for the status if it is a subresource."""

    def decide(stored: Stored | None) -> Mutation | Stored:
        old = _existing(kind, name, stored)
        new = change(copy.deepcopy(old))
        _restore_metadata(kind, new, old)
        kind.default(new)
        managed_fields.updated(kind, old, new, writer)
        keep = _keep_spec if writer.subresource else _keep_status
        return _checked_change(kind, new, old, keep, finish) or _unchanged(stored)

    return decide


def apply(
    kind: ResourceDefinition, target: tuple[str, str], config: Object, finish: Finish, writer: Writer, *, force: bool
) -> Decision:
    """Apply `config` on the server's side to the object `target` (namespace, name); create it if absent."""
    namespace, name = target

    def decide(stored: Stored | None) -> Mutation | Stored:
        if stored is None:
            if writer.subresource:
                raise not_found(kind.resource, name)
            obj = _applied(kind, None, config, writer, force=force)
            entries = obj["metadata"].get("managedFields")
            _drop_server_fields(kind, obj, namespace)
            _check_name(obj["metadata"].setdefault("name", name), name)
            kind.default(obj)
            obj["metadata"] |= {"managedFields": entries} if entries else {}
            _set_server_fields(kind, obj, writer.at)
            finish(obj)
            return Mutation("ADDED", obj)
        old = _existing(kind, name, stored)
        new = _applied(kind, old, config, writer, force=force)
        _restore_metadata(kind, new, old)
        kind.default(new)
        keep = _keep_spec if writer.subresource else _keep_status
        return _checked_change(kind, new, old, keep, finish) or _unchanged(stored)

    return decide


def _applied(kind: ResourceDefinition, old: Object | None, config: Object, writer: Writer, *, force: bool) -> Object:
    return canonical(kind.name, managed_fields.applied(kind, old, config, writer, force=force))[0]


def _existing(kind: ResourceDefinition, name: str, stored: Stored | None) -> Object:
    if stored is None:
        raise not_found(kind.resource, name)
    obj: Object = msgspec.json.decode(stored.body)
    return obj


def _unchanged(stored: Stored | None) -> Stored:
    assert stored is not None
    return stored


def _keep_status(kind: ResourceDefinition, new: Object, old: Object) -> None:
    if kind.status:
        new.pop("status", None)
        if "status" in old:
            new["status"] = old["status"]
    if kind.prepare_for_update is not None:
        kind.prepare_for_update(new, old)


def _keep_spec(kind: ResourceDefinition, new: Object, old: Object) -> None:
    for key in (new.keys() | old.keys()) - {"metadata", "status"}:
        new.pop(key, None)
        if key in old:
            new[key] = old[key]


def _checked_change(
    kind: ResourceDefinition,
    new: Object,
    old: Object,
    keep: Callable[[ResourceDefinition, Object, Object], None],
    finish: Finish,
) -> Mutation | None:
    """Return the mutation from `old` to `new`; None if nothing changed. Raises ``ApiStatus``."""
    keep(kind, new, old)
    new["apiVersion"], new["kind"] = old["apiVersion"], old["kind"]
    _count_generation(kind, new, old)
    name = old["metadata"]["name"]
    faults = metadata.on_update(new["metadata"], old["metadata"]) + list(kind.validate(new, old))
    if faults:
        raise unprocessable(kind.group, kind.name, name, faults)
    finish(new)
    if new == old:
        return None
    return Mutation("DELETED" if _is_removable(kind, new) else "MODIFIED", new)


def _restore_metadata(kind: ResourceDefinition, new: Object, old: Object) -> None:
    """Restore the server's fields from `old`. Raises ``ApiStatus`` if the identity differs."""
    meta, before = new.setdefault("metadata", {}), old["metadata"]
    name = before["name"]
    _check_name(meta.setdefault("name", name), name)
    if "namespace" in before and meta.setdefault("namespace", before["namespace"]) != before["namespace"]:
        raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
    if meta.get("uid", before["uid"]) != before["uid"]:
        raise conflict(kind.resource, name, _uid_differs(meta["uid"], before["uid"]))
    requested = meta.get("resourceVersion", "")
    if not requested and not kind.unconditional_update:
        # Go prints the unset version as 0x0 and names the resource instead of the kind.
        unset = FieldError(
            "metadata.resourceVersion", "FieldValueInvalid", "Invalid value: 0x0: must be specified for an update"
        )
        raise unprocessable(kind.group, kind.plural, name, [unset])
    if requested not in ("", "0", before["resourceVersion"]):
        raise conflict(kind.resource, name)
    meta.pop("selfLink", None)
    for key in (*_SERVER_FIELDS, "resourceVersion"):
        meta.pop(key, None)
        if key in before:
            meta[key] = before[key]


def _check_name(name: str, target: str) -> None:
    if name != target:
        raise bad_request(f"the name of the object ({name}) does not match the name on the URL ({target})")


def _count_generation(kind: ResourceDefinition, new: Object, old: Object) -> None:
    aside = ("metadata", "status")
    if kind.generation and any(new.get(k) != old.get(k) for k in new.keys() | old.keys() if k not in aside):
        new["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1


def delete(kind: ResourceDefinition, name: str, conditions: Preconditions, now: datetime) -> Decision:
    """Delete the object, or mark it for deletion if it has finalizers."""

    def decide(stored: Stored | None) -> Mutation | Stored:
        if stored is None:
            raise not_found(kind.resource, name)
        obj: Object = msgspec.json.decode(stored.body)
        meta = obj["metadata"]
        _check_conditions(kind, obj, conditions)
        if kind.name == "Namespace" and name in _UNDELETABLE:
            raise forbidden(kind.resource, name, "this namespace may not be deleted")
        if _has_no_finalizers(kind, obj):
            return Mutation("DELETED", obj)
        if meta.get("deletionTimestamp"):
            return stored
        meta["deletionTimestamp"] = stamp(now)
        meta["deletionGracePeriodSeconds"] = 0
        if "generation" in meta:
            meta["generation"] += 1
        if kind.name == "Namespace":
            del meta["deletionGracePeriodSeconds"]
            obj.setdefault("status", {})["phase"] = "Terminating"
        return Mutation("MODIFIED", obj)

    return decide


def release_namespace(kind: ResourceDefinition, name: str) -> Decision:
    """Remove the finalizers of an emptied namespace, which deletes it."""

    def decide(stored: Stored | None) -> Mutation | Stored:
        if stored is None:
            raise not_found(kind.resource, name)
        obj: Object = msgspec.json.decode(stored.body)
        obj["spec"].pop("finalizers", None)
        return Mutation("DELETED" if _has_no_finalizers(kind, obj) else "MODIFIED", obj)

    return decide


def stamp(now: datetime) -> str:
    """Format as metav1.Time: UTC, whole seconds."""
    return now.strftime("%Y-%m-%dT%H:%M:%SZ")


def _check_conditions(kind: ResourceDefinition, obj: Object, conditions: Preconditions) -> None:
    meta = obj["metadata"]
    if conditions.uid and conditions.uid != meta["uid"]:
        raise conflict(kind.resource, meta["name"], _uid_differs(conditions.uid, meta["uid"]))
    if conditions.revision and conditions.revision != meta["resourceVersion"]:
        why = (
            f"Precondition failed: ResourceVersion in precondition: {conditions.revision}, "
            f"ResourceVersion in object meta: {meta['resourceVersion']}"
        )
        raise conflict(kind.resource, meta["name"], why)


def _uid_differs(requested: str, actual: str) -> str:
    return f"Precondition failed: UID in precondition: {requested}, UID in object meta: {actual}"


def _has_no_finalizers(kind: ResourceDefinition, obj: Object) -> bool:
    held = obj["metadata"].get("finalizers") or (kind.name == "Namespace" and obj["spec"].get("finalizers"))
    return not held


def _is_removable(kind: ResourceDefinition, obj: Object) -> bool:
    return bool(obj["metadata"].get("deletionTimestamp")) and _has_no_finalizers(kind, obj)
