"""Check for another controller of our class: by its IngressClass, or by its marks on our Ingresses."""

from __future__ import annotations

from collections import Counter
from typing import Any

from certferry.clusters.translate_options import options_of
from certferry.controller.doctor.result import CheckResult, failure, ok
from certferry.core.model.kubernetes import ClusterView, parse_class, parse_ingress
from certferry.core.plural import counted
from certferry.core.translate.listener_claims import CONTROLLER, owned_ingresses
from certferry.kube.client.client import FIELD_MANAGER, INGRESS, INGRESS_CLASS, KubeClient, Object
from certferry.settings import ControllerSettings

CHECK = "Class"


async def on_the_cluster(kube: KubeClient, settings: ControllerSettings) -> list[CheckResult]:
    """Raises ``KubeError``."""
    classes = [parse_class(c) for c in (await kube.listing(INGRESS_CLASS)).items]
    name = settings.class_name
    taken = [c for c in classes if c.name == name and not c.controller.startswith("certferry.io/")]
    if taken:
        text = f"IngressClass {name} belongs to {taken[0].controller}."
        remedy = f"Set controller.class_name to another class, or the class's controller to {CONTROLLER}."
        return [failure(CHECK, text, remedy)]
    items = [i for n in settings.namespaces or (None,) for i in (await kube.listing(INGRESS, n)).items]
    ingresses = {parse_ingress(i).meta.key: i for i in items}
    view = ClusterView(
        cluster_id="",
        classes={c.name: c for c in classes},
        ingresses={key: parse_ingress(i) for key, i in ingresses.items()},
    )
    mine = [ingresses[i.meta.key] for i in owned_ingresses(view, options_of(settings))]
    others = Counter(manager for item in mine for manager in _status_managers(item))
    if others:
        manager, count = others.most_common(1)[0]
        text = f"“{manager}” writes the status of {counted(count, 'Ingress')} of class {name} too."
        remedy = "Stop the other controller first, or run this one with --observe (docs/migrating-from-the-vendor.md)."
        return [failure(CHECK, text, remedy)]
    return [ok(CHECK, f"{counted(len(mine), 'Ingress')} of class {name}, and no other controller serves them.")]


def _status_managers(item: Object) -> set[str]:
    fields: list[dict[str, Any]] = item["metadata"].get("managedFields") or []
    return {
        str(entry.get("manager"))
        for entry in fields
        if entry.get("subresource") == "status" and entry.get("manager") != FIELD_MANAGER
    }
