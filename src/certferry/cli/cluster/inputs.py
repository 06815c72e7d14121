"""A cluster and its ELB, read once for a command that plans like the controller."""

from __future__ import annotations

import asyncio
from pathlib import Path

from certferry import clusters as fleet
from certferry.cli.output import PARTIAL
from certferry.clusters.translate_options import options_of
from certferry.core.model.elb import State
from certferry.core.model.kubernetes import ClusterView
from certferry.core.translate.listener_claims import TranslateOptions
from certferry.elb.client.client import ElbError
from certferry.elb.client.credentials import CredentialsError
from certferry.elb.client.observe import observe
from certferry.kube.client.client import KubeError
from certferry.kube.client.kubeconfig import KubeconfigError
from certferry.kube.client.read_once import read_once
from certferry.settings import ControllerSettings, UserError


async def load_inputs(
    settings: ControllerSettings, cluster: str | None, state: Path | None, config: Path | None
) -> tuple[ClusterView, State, TranslateOptions]:
    """Return the cluster's objects, the ELB's state, and the controller's options. Raises UserError."""
    access = fleet.read(config, state).cluster(cluster)
    try:
        async with access.kube() as kube, access.elb() as elb:
            (view, _), observed = await asyncio.gather(read_once(kube), observe(elb))
    except (KubeError, ElbError, KubeconfigError, CredentialsError) as error:
        raise UserError(f"Cluster “{access.name}”: {error}.", PARTIAL) from None
    return view, observed, options_of(settings, access)
