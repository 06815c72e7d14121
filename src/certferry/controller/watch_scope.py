"""The part of the cluster that the controller watches, from its settings and its class."""

from __future__ import annotations

from collections.abc import Iterable

from certferry.core.model.kubernetes import ClusterView, Name
from certferry.core.translate.listener_claims import TranslateOptions, claimants
from certferry.kube.client.cache import Scope
from certferry.settings import ControllerSettings


def scope(settings: ControllerSettings, options: TranslateOptions) -> Scope:
    """Return the scope of the cache."""

    def named(view: ClusterView) -> Iterable[Name]:
        return named_secrets(view, options)

    return Scope(settings.namespaces, named if settings.secrets == "named" else None)


def named_secrets(view: ClusterView, options: TranslateOptions) -> frozenset[Name]:
    """Return the Secrets that the Ingresses and Services of our class name."""
    return frozenset(
        Name(ingress.meta.namespace, entry.secret)
        for ingress in claimants(view, options)
        for entry in ingress.tls
        if entry.secret
    )
