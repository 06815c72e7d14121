"""Who keeps an object besides us: cert-manager, External Secrets, Argo CD, Flux, Helm.

Whatever is changed in such an object by hand is overwritten by its keeper. ``parse_secret`` reads it
off the metadata; alerts name it, and the command line asks for ``--force``. It knows marks alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

_CERT_MANAGER: Final = "cert-manager.io/certificate-name"
_EXTERNAL: Final = "reconcile.external-secrets.io/"
_ARGO: Final = ("argocd.argoproj.io/tracking-id", "argocd.argoproj.io/instance")
_FLUX: Final = ("kustomize.toolkit.fluxcd.io/name", "helm.toolkit.fluxcd.io/name")
_HELM: Final = "meta.helm.sh/release-name"


class Manager(msgspec.Struct, frozen=True, kw_only=True):
    """A tool that keeps an object, the object of its own that says how, and how to look at that."""

    tool: str
    name: str
    command: str
    """What shows why the tool has not renewed it."""

    def __str__(self) -> str:
        return f"{self.tool} ({self.name})"


def manager(meta: Mapping[str, Any]) -> Manager | None:
    """Who keeps the object with this metadata; the nearest one where several do."""
    annotations, labels = meta.get("annotations") or {}, meta.get("labels") or {}
    namespace, marks = meta.get("namespace") or "default", {**labels, **annotations}
    owners = {str(o.get("kind")): str(o.get("name")) for o in meta.get("ownerReferences") or ()}
    if name := annotations.get(_CERT_MANAGER) or owners.get("Certificate"):
        command = f"kubectl describe certificate {name} -n {namespace}"
        return Manager(tool="cert-manager", name=f"Certificate {namespace}/{name}", command=command)
    if "ExternalSecret" in owners or any(k.startswith(_EXTERNAL) for k in marks):
        name = owners.get("ExternalSecret") or str(meta.get("name"))
        command = f"kubectl describe externalsecret {name} -n {namespace}"
        return Manager(tool="External Secrets", name=f"ExternalSecret {namespace}/{name}", command=command)
    if found := next((str(marks[k]) for k in _ARGO if k in marks), None):
        app = found.partition(":")[0]
        return Manager(tool="Argo CD", name=f"Application {app}", command=f"argocd app diff {app}")
    if key := next((k for k in _FLUX if k in labels), None):
        kind = "kustomization" if "kustomize" in key else "helmrelease"
        of = labels.get(key.replace("/name", "/namespace"), namespace)
        command = f"flux get {kind}s {labels[key]} -n {of}"
        return Manager(tool="Flux", name=f"{kind} {of}/{labels[key]}", command=command)
    if _HELM in annotations:
        release = annotations[_HELM]
        return Manager(
            tool="Helm", name=f"release {release}", command=f"helm get values {release} -n {namespace}"
        )
    return None
