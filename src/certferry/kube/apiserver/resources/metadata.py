"""Validation of metadata for every kind: names, labels, annotations, owners, finalizers.

Upstream: https://github.com/kubernetes/apimachinery/blob/master/pkg/api/validation/objectmeta.go
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from certferry.kube.apiserver.errors import (
    FieldError,
    all_invalid,
    forbidden_field,
    immutable,
    invalid,
    required,
    too_long,
)
from certferry.kube.apiserver.resources import names

_FINALIZERS = ("foregroundDeletion", "kubernetes", "orphan")
MAX_ANNOTATIONS = 256 * 1024
Namer = Callable[[str], list[str]]


def on_create(meta: dict[str, Any], namer: Namer, namespaced: bool) -> list[FieldError]:
    """Return the errors in the metadata of a new object."""
    return list(_identity(meta, namer, namespaced)) + list(_common(meta))


def on_update(new: dict[str, Any], old: dict[str, Any]) -> list[FieldError]:
    """Return the errors of replacing the metadata `old` by `new`."""
    faults = list(_common(new))
    if old.get("deletionTimestamp"):
        extra = sorted(set(new.get("finalizers", [])) - set(old.get("finalizers", [])))
        if extra:
            listed = ", ".join(f'"{e}"' for e in extra)
            faults.append(
                forbidden_field(
                    "metadata.finalizers",
                    "no new finalizers can be added if the object is being deleted, "
                    f"found new finalizers []string{{{listed}}}",
                )
            )
    faults += [
        immutable(f"metadata.{key}", new.get(key))
        for key in ("name", "namespace", "uid", "creationTimestamp", "deletionTimestamp")
        if new.get(key) != old.get(key)
    ]
    return faults


def _identity(meta: dict[str, Any], namer: Namer, namespaced: bool) -> Iterator[FieldError]:
    prefix, name = meta.get("generateName", ""), meta.get("name", "")
    if prefix:
        yield from all_invalid(
            "metadata.generateName", prefix, namer(prefix.rstrip("-") if prefix.endswith("-") else prefix)
        )
    if not name:
        yield required("metadata.name", "name or generateName is required")
    else:
        yield from all_invalid("metadata.name", name, namer(name))
    space = meta.get("namespace", "")
    if namespaced and not space:
        yield required("metadata.namespace")
    if namespaced and space:
        yield from all_invalid("metadata.namespace", space, names.label(space))
    if not namespaced and space:
        yield forbidden_field("metadata.namespace", "not allowed on this type")


def _common(meta: dict[str, Any]) -> Iterator[FieldError]:
    yield from labels(meta.get("labels", {}), "metadata.labels")
    annotations = meta.get("annotations", {})
    for key in annotations:
        yield from all_invalid("metadata.annotations", key, names.qualified(key.lower()))
    if sum(len(k.encode()) + len(v.encode()) for k, v in annotations.items()) > MAX_ANNOTATIONS:
        yield too_long("metadata.annotations", MAX_ANNOTATIONS)
    for number, owner in enumerate(meta.get("ownerReferences", [])):
        path = "metadata.ownerReferences"
        if not owner.get("apiVersion"):
            yield required(f"{path}[{number}].apiVersion", "must not be empty")
        for key in ("kind", "name", "uid"):
            if not owner.get(key):
                yield required(f"{path}[{number}].{key}", "must not be empty")
    for finalizer in meta.get("finalizers", []):
        yield from all_invalid("metadata.finalizers", finalizer, names.qualified(finalizer))
    for number, finalizer in enumerate(meta.get("finalizers", [])):
        if "/" not in finalizer and finalizer not in _FINALIZERS:
            detail = "name is neither a standard finalizer name nor is it fully qualified"
            yield invalid(f"metadata.finalizers[{number}]", finalizer, detail)


def labels(found: dict[str, str], path: str) -> Iterator[FieldError]:
    """Yield the errors of a map of labels, such as a Service's selector."""
    for key, value in found.items():
        yield from all_invalid(path, key, names.qualified(key))
        yield from all_invalid(path, value, names.label_value(value))
