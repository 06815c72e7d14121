"""All checks of one cluster, in order. A check that fails to run is reported and hides no other.

The checks only read and ask for permissions; they change nothing.
"""

from __future__ import annotations

from certferry.clusters import ClusterAccess
from certferry.controller.doctor import cluster
from certferry.controller.doctor import conflicts as rivals
from certferry.controller.doctor import elb as balancer
from certferry.controller.doctor.result import CheckResult, failure
from certferry.elb.client.client import ElbError
from certferry.elb.client.credentials import CredentialsError
from certferry.kube.client.client import KubeError
from certferry.kube.client.kubeconfig import KubeconfigError
from certferry.settings import ControllerSettings, UserError


async def run_checks(access: ClusterAccess, settings: ControllerSettings) -> list[CheckResult]:
    """Run all checks of a cluster and its ELB; return their results."""
    results: list[CheckResult] = []
    try:
        async with access.kube() as kube:
            results += await cluster.examined(kube, settings)
            results += await rivals.on_the_cluster(kube, settings)
    except (KubeError, KubeconfigError, UserError) as error:
        remedy = "Check server, context and credential of the kubeconfig (docs/clusters.md)."
        results.append(failure("Kubernetes API", str(error), remedy))
    try:
        async with access.elb() as elb:
            results += await balancer.examined(elb)
    except (ElbError, CredentialsError, UserError) as error:
        remedy = "Check url, project and credentials of the ELB in the settings (docs/clusters.md)."
        results.append(failure("ELB API", str(error), remedy))
    return results
