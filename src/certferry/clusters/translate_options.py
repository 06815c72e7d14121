"""The one constructor of translate options, for controller, console and command line.

Invariant: a command that decides as the controller does gets the options that the controller gets.
"""

from __future__ import annotations

from certferry.clusters.cluster import ClusterAccess
from certferry.core.checks import CheckPolicy
from certferry.core.translate.listener_claims import TranslateOptions
from certferry.core.translate.namespace_policy import NamespacePolicy
from certferry.settings import ControllerSettings


def options_of(settings: ControllerSettings, cluster: ClusterAccess | None = None) -> TranslateOptions:
    """Return the options of the controller of `cluster`, whose entry in the settings file wins over `settings`."""
    return TranslateOptions(
        class_name=(cluster and cluster.class_name) or settings.class_name,
        cluster_name=(cluster and cluster.name) or settings.cluster_name,
        default_loadbalancer=(cluster and cluster.default_loadbalancer) or settings.default_loadbalancer,
        max_sni=settings.max_sni_certificates,
        max_sni_names=settings.max_sni_names,
        max_policies=settings.max_policies,
        tls_ciphers_policy=settings.tls_ciphers_policy,
        http2_enable=settings.http2_enable,
        services=settings.services,
        backends=settings.backends,
        admission=NamespacePolicy(
            loadbalancers=settings.namespaces_of_loadbalancer,
            hosts=settings.namespaces_of_host,
            shared_hosts=settings.share_hosts_between_namespaces,
        ),
        compromised=frozenset(settings.compromised),
        checks=CheckPolicy(actions=settings.checks, skew=settings.clock_skew, opaque_secrets=settings.opaque_secrets),
    )


def cluster_options(cluster: ClusterAccess) -> TranslateOptions:
    """Return the options of the controller of `cluster`, by the section ``controller`` of its settings file."""
    return options_of(cluster.controller, cluster)
