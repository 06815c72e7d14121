"""From the controller's settings to what the core is told. Also for commands that decide as it does."""

from __future__ import annotations

from certferry.core.checks import Policy
from certferry.core.translate.listener_claims import TranslateOptions
from certferry.core.translate.namespace_policy import NamespacePolicy
from certferry.settings import ControllerSettings


def options_of(settings: ControllerSettings) -> TranslateOptions:
    """How to translate."""
    return TranslateOptions(
        class_name=settings.class_name,
        cluster_name=settings.cluster_name,
        default_loadbalancer=settings.default_loadbalancer,
        max_sni=settings.max_sni_certificates,
        max_sni_names=settings.max_sni_names,
        backends=settings.backends,
        admission=NamespacePolicy(
            loadbalancers=settings.namespaces_of_loadbalancer, hosts=settings.namespaces_of_host
        ),
        checks=Policy(actions=settings.checks, skew=settings.clock_skew),
    )
