"""Writing onto Ingresses what somebody decided on the ELB, where drift is to be adopted.

Called by the loop before drift is told. It writes annotations of ours and no others, onto the Ingress
that it was decided for and no newer one. What to write is ``core.adoption``'s affair.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import structlog

from certferry.core.drift.adopt import Proposal
from certferry.core.drift.drift import Drift
from certferry.core.model.kubernetes import ClusterView, Ingress, Name, parse_ingress
from certferry.core.model.managers import managers
from certferry.kube.client.client import INGRESS, KubeClient, KubeError

_log = structlog.get_logger()


async def adopt(kube: KubeClient, proposals: Iterable[Proposal], view: ClusterView) -> Mapping[Drift, str]:
    """Write `proposals`, made for `view`; what is to be told of the drifts that they end."""
    told: dict[Drift, str] = {}
    seen = dict(view.ingresses)
    for proposal in proposals:
        try:
            said = await _write(kube, proposal, seen)
        except KubeError as error:
            if error.retryable:
                raise
            _log.warning("ingress not brought in line", ingress=str(proposal.ingress), error=str(error))
            continue
        if said:
            _log.info(
                "ingress brought in line", ingress=str(proposal.ingress), says=dict(proposal.annotations)
            )
            told |= dict.fromkeys(proposal.drifts, said)
    return told


async def _write(kube: KubeClient, proposal: Proposal, seen: dict[Name, Ingress]) -> str | None:
    """What is to be told of it; None: somebody has changed the Ingress since it was read."""
    namespace, name = proposal.ingress
    present = await kube.get(INGRESS, name, namespace)
    if parse_ingress(present) != seen[proposal.ingress]:
        return None
    version = present["metadata"]["resourceVersion"]
    patch = {"metadata": {"annotations": dict(proposal.annotations), "resourceVersion": version}}
    seen[proposal.ingress] = parse_ingress(await kube.merge(INGRESS, name, patch, namespace))
    keepers = [keeper.sentence for keeper in managers({**present, "kind": "Ingress"})]
    return " ".join((f"{proposal.sentence}.", *keepers))
