"""Create, update, patch, delete: from a request and what is there to a decision.

`api` calls these; the result of each is a decision that `registry` carries out. Everything about
metadata happens here: uid, generation, timestamps, finalizers, preconditions, /status, no-ops. The
rules of a kind are in its row. The clock is an argument.
"""

from __future__ import annotations

import copy
import uuid
from collections.abc import Callable
from datetime import datetime

import msgspec

from certferry.kube.apiserver.apply import managed_fields as managed
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
from certferry.kube.apiserver.schema.decode import canonical, complete
from certferry.kube.apiserver.storage.log import Stored
from certferry.kube.apiserver.storage.watch_cache import Decision, Mutation

Change = Callable[[Object], Object]
"""What a request makes of the object that is there."""
Finish = Callable[[Object], None]
"""What only the whole server can add: addresses that are free."""

_IMMORTAL = ("default", "kube-system", "kube-public")
_SERVERS_OWN = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation")


def nothing_more(_: Object) -> None:
    """The ``Finish`` of most kinds."""


class Preconditions(msgspec.Struct, frozen=True):
    """What a deletion asks of the object that it is to delete; empty asks nothing."""

    uid: str = ""
    revision: str = ""


def prepare(kind: ResourceDefinition, found: Object, namespace: str, who: Writer) -> Object:
    """A new object with all that the server sets, checked. Raises ``Refused``."""
    _arrive(kind, found, namespace)
    kind.default(found)
    managed.updated(kind, None, found, who)
    return _born(kind, found, who.at)


def _arrive(kind: ResourceDefinition, found: Object, namespace: str) -> None:
    """Drop what only the server sets; the namespace is the one of the request."""
    meta = found.setdefault("metadata", {})
    if meta.get("resourceVersion"):
        raise bad_request("resourceVersion should not be set on objects to be created")
    if namespace and meta.setdefault("namespace", namespace) != namespace:
        raise bad_request(
            "the namespace of the provided object does not match the namespace sent on the request"
        )
    for key in (*_SERVERS_OWN, "managedFields", "selfLink"):
        meta.pop(key, None)
    if kind.status and not kind.born_with_status:
        found.pop("status", None)
        complete(found, TYPES[kind.name])


def _born(kind: ResourceDefinition, found: Object, at: str) -> Object:
    meta = found["metadata"]
    meta["uid"] = str(uuid.uuid4())
    meta["creationTimestamp"] = at
    if kind.generation:
        meta["generation"] = 1
    kind.prepare_for_create(found)
    faults = metadata.on_create(meta, kind.namer, kind.namespaced) + list(kind.validate(found, None))
    if faults:
        raise unprocessable(kind.group, kind.name, meta.get("name", ""), faults)
    return found


def create(kind: ResourceDefinition, found: Object, finish: Finish) -> Decision:
    """Add the prepared object `found`, unless its name is taken."""

    def decide(old: Stored | None) -> Mutation:
        if old is not None:
            raise exists(kind.resource, old.name)
        finish(found)
        return Mutation("ADDED", found)

    return decide


def update(kind: ResourceDefinition, name: str, change: Change, finish: Finish, who: Writer) -> Decision:
    """Make of the object what `change` makes of it, its status aside where that is a subresource."""

    def decide(stored: Stored | None) -> Mutation | Stored:
        old = _there(kind, name, stored)
        new = change(copy.deepcopy(old))
        _settle_metadata(kind, new, old)
        kind.default(new)
        managed.updated(kind, old, new, who)
        keep = _keep_spec if who.subresource else _keep_status
        return _settled(kind, new, old, keep, finish) or _same(stored)

    return decide


def apply(
    kind: ResourceDefinition,
    target: tuple[str, str],
    config: Object,
    finish: Finish,
    who: Writer,
    *,
    force: bool,
) -> Decision:
    """Server-side apply of `config` to the object `target` (namespace, name), which is made if need be."""
    namespace, name = target

    def decide(stored: Stored | None) -> Mutation | Stored:
        if stored is None:
            if who.subresource:
                raise not_found(kind.resource, name)
            found = _applied(kind, None, config, who, force=force)
            entries = found["metadata"].get("managedFields")
            _arrive(kind, found, namespace)
            _check_name(found["metadata"].setdefault("name", name), name)
            kind.default(found)
            found["metadata"] |= {"managedFields": entries} if entries else {}
            _born(kind, found, who.at)
            finish(found)
            return Mutation("ADDED", found)
        old = _there(kind, name, stored)
        new = _applied(kind, old, config, who, force=force)
        _settle_metadata(kind, new, old)
        kind.default(new)
        keep = _keep_spec if who.subresource else _keep_status
        return _settled(kind, new, old, keep, finish) or _same(stored)

    return decide


def _applied(
    kind: ResourceDefinition, old: Object | None, config: Object, who: Writer, *, force: bool
) -> Object:
    return canonical(kind.name, managed.applied(kind, old, config, who, force=force))[0]


def _there(kind: ResourceDefinition, name: str, stored: Stored | None) -> Object:
    if stored is None:
        raise not_found(kind.resource, name)
    found: Object = msgspec.json.decode(stored.body)
    return found


def _same(stored: Stored | None) -> Stored:
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


def _settled(
    kind: ResourceDefinition,
    new: Object,
    old: Object,
    keep: Callable[[ResourceDefinition, Object, Object], None],
    finish: Finish,
) -> Mutation | None:
    """The step from `old` to `new`, checked; None when nothing changed. Raises ``Refused``."""
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
    return Mutation("DELETED" if _finished(kind, new) else "MODIFIED", new)


def _settle_metadata(kind: ResourceDefinition, new: Object, old: Object) -> None:
    """What only the server sets stays; what identifies the object must agree."""
    meta, before = new.setdefault("metadata", {}), old["metadata"]
    name = before["name"]
    _check_name(meta.setdefault("name", name), name)
    if "namespace" in before and meta.setdefault("namespace", before["namespace"]) != before["namespace"]:
        raise bad_request(
            "the namespace of the provided object does not match the namespace sent on the request"
        )
    if meta.get("uid", before["uid"]) != before["uid"]:
        raise conflict(kind.resource, name, _uid_differs(meta["uid"], before["uid"]))
    asked = meta.get("resourceVersion", "")
    if not asked and not kind.unconditional:
        # Go prints the unset version as 0x0, and names the resource, not the kind.
        unset = FieldError(
            "metadata.resourceVersion",
            "FieldValueInvalid",
            "Invalid value: 0x0: must be specified for an update",
        )
        raise unprocessable(kind.group, kind.plural, name, [unset])
    if asked not in ("", "0", before["resourceVersion"]):
        raise conflict(kind.resource, name)
    meta.pop("selfLink", None)
    for key in (*_SERVERS_OWN, "resourceVersion"):
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
    """Delete the object, or mark it when finalizers hold it."""

    def decide(stored: Stored | None) -> Mutation | Stored:
        if stored is None:
            raise not_found(kind.resource, name)
        found: Object = msgspec.json.decode(stored.body)
        meta = found["metadata"]
        _check_conditions(kind, found, conditions)
        if kind.name == "Namespace" and name in _IMMORTAL:
            raise forbidden(kind.resource, name, "this namespace may not be deleted")
        if _unheld(kind, found):
            return Mutation("DELETED", found)
        if meta.get("deletionTimestamp"):
            return stored
        meta["deletionTimestamp"] = stamp(now)
        meta["deletionGracePeriodSeconds"] = 0
        if "generation" in meta:
            meta["generation"] += 1
        if kind.name == "Namespace":
            del meta["deletionGracePeriodSeconds"]
            found.setdefault("status", {})["phase"] = "Terminating"
        return Mutation("MODIFIED", found)

    return decide


def release_namespace(kind: ResourceDefinition, name: str) -> Decision:
    """Take away what holds an emptied namespace that is to go."""

    def decide(stored: Stored | None) -> Mutation | Stored:
        if stored is None:
            raise not_found(kind.resource, name)
        found: Object = msgspec.json.decode(stored.body)
        found["spec"].pop("finalizers", None)
        return Mutation("DELETED" if _unheld(kind, found) else "MODIFIED", found)

    return decide


def stamp(now: datetime) -> str:
    """metav1.Time: UTC, whole seconds."""
    return now.strftime("%Y-%m-%dT%H:%M:%SZ")


def _check_conditions(kind: ResourceDefinition, found: Object, conditions: Preconditions) -> None:
    meta = found["metadata"]
    if conditions.uid and conditions.uid != meta["uid"]:
        raise conflict(kind.resource, meta["name"], _uid_differs(conditions.uid, meta["uid"]))
    if conditions.revision and conditions.revision != meta["resourceVersion"]:
        why = (
            f"Precondition failed: ResourceVersion in precondition: {conditions.revision}, "
            f"ResourceVersion in object meta: {meta['resourceVersion']}"
        )
        raise conflict(kind.resource, meta["name"], why)


def _uid_differs(asked: str, there: str) -> str:
    return f"Precondition failed: UID in precondition: {asked}, UID in object meta: {there}"


def _unheld(kind: ResourceDefinition, found: Object) -> bool:
    held = found["metadata"].get("finalizers") or (
        kind.name == "Namespace" and found["spec"].get("finalizers")
    )
    return not held


def _finished(kind: ResourceDefinition, found: Object) -> bool:
    return bool(found["metadata"].get("deletionTimestamp")) and _unheld(kind, found)
