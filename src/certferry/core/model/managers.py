"""Other tools that manage an object, from the marks in its metadata.

The console and the command line warn with it before a change that a tool would revert. Supported: cert-manager,
External Secrets, Sealed Secrets, Argo CD, Flux, Helm, and owner references in general.
Sources: cert-manager.io (annotations), external-secrets.io (ownership), argo-cd.readthedocs.io
(resource tracking), fluxcd.io (labels of kustomize and helm controllers), helm.sh (ownership labels).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

Json = Mapping[str, Any]


class Manager(msgspec.Struct, frozen=True, kw_only=True):
    """A tool that manages an object, and its source."""

    tool: str
    where: str
    """The object to change instead, such as “Certificate shop/site”."""
    sentence: str


def managers(obj: Json) -> tuple[Manager, ...]:
    """Return the tools that manage `obj`, a Kubernetes object; the most direct one first."""
    kind, meta = str(obj.get("kind") or "object"), obj.get("metadata") or {}
    found = [manager for look in _LOOKS if (manager := look(kind, meta))]
    return tuple({manager.tool: manager for manager in found}.values())


def _cert_manager(kind: str, meta: Json) -> Manager | None:
    certificate = _annotation(meta, "cert-manager.io/certificate-name")
    if kind != "Secret" or not certificate:
        return None
    where = f"Certificate {_in(meta, certificate)}"
    return _manager("cert-manager", where, f"renews this Secret from {where} and writes over what is changed here")


def _external_secrets(kind: str, meta: Json) -> Manager | None:
    owner = _owner(meta, "external-secrets.io/")
    marked = _label(meta, "reconcile.external-secrets.io/managed") == "true"
    if not owner and not marked:
        return None
    where = f"{owner['kind']} {_in(meta, owner['name'])}" if owner else "its ExternalSecret"
    return _manager("External Secrets", where, f"copies this {kind} from {where} and writes over what is changed here")


def _sealed_secrets(kind: str, meta: Json) -> Manager | None:
    owner = _owner(meta, "bitnami.com/")
    if not owner:
        return None
    where = f"{owner['kind']} {_in(meta, owner['name'])}"
    return _manager("Sealed Secrets", where, f"unseals this {kind} from {where} and writes over what is changed here")


def _argo_cd(kind: str, meta: Json) -> Manager | None:
    tracked = _annotation(meta, "argocd.argoproj.io/tracking-id").partition(":")[0]
    application = tracked or _label(meta, "argocd.argoproj.io/instance")
    if not application:
        return None
    where = f"the Git repository of Application {application}"
    return _manager("Argo CD", where, f"keeps this {kind} as {where} has it and may set it back")


def _flux(kind: str, meta: Json) -> Manager | None:
    for group, what in (("kustomize.toolkit.fluxcd.io", "Kustomization"), ("helm.toolkit.fluxcd.io", "HelmRelease")):
        if name := _label(meta, f"{group}/name"):
            where = f"the source of {what} {_label(meta, f'{group}/namespace') or 'flux-system'}/{name}"
            return _manager("Flux", where, f"keeps this {kind} as {where} has it and sets it back")
    return None


def _helm(kind: str, meta: Json) -> Manager | None:
    release = _annotation(meta, "meta.helm.sh/release-name")
    if not release or _label(meta, "app.kubernetes.io/managed-by") != "Helm":
        return None
    where = f"the values of release {_annotation(meta, 'meta.helm.sh/release-namespace') or 'default'}/{release}"
    return _manager("Helm", where, f"wrote this {kind} from {where}; its next upgrade may write over it")


def _any_owner(kind: str, meta: Json) -> Manager | None:
    for owner in meta.get("ownerReferences") or ():
        if owner.get("controller") and not str(owner.get("apiVersion")).startswith(_KNOWN_OWNERS):
            where = f"{owner['kind']} {_in(meta, owner['name'])}"
            return _manager(f"{owner['kind']} controller", where, f"makes this {kind} from {where} and may set it back")
    return None


_KNOWN_OWNERS = ("external-secrets.io/", "bitnami.com/", "cert-manager.io/")
_LOOKS: tuple[Callable[[str, Json], Manager | None], ...] = (
    _cert_manager,
    _external_secrets,
    _sealed_secrets,
    _any_owner,
    _argo_cd,
    _flux,
    _helm,
)


def _manager(tool: str, where: str, what: str) -> Manager:
    return Manager(tool=tool, where=where, sentence=f"{tool} {what}. Make the change in {where}.")


def _annotation(meta: Json, key: str) -> str:
    return str((meta.get("annotations") or {}).get(key) or "")


def _label(meta: Json, key: str) -> str:
    return str((meta.get("labels") or {}).get(key) or "")


def _in(meta: Json, name: str) -> str:
    namespace = meta.get("namespace")
    return f"{namespace}/{name}" if namespace else name


def _owner(meta: Json, group: str) -> Json | None:
    owners = meta.get("ownerReferences") or ()
    return next((o for o in owners if str(o.get("apiVersion")).startswith(group)), None)
