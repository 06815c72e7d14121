"""Adoption of drift: annotations on Ingresses that state what another client changed on the ELB.

Invariant: only annotations that the controller reads are written, and only if the Ingress is unchanged since the view.
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
    """Write `proposals`, made for `view`; return the text to report for each drift that they end."""
    reports: dict[Drift, str] = {}
    seen = dict(view.ingresses)
    for proposal in proposals:
        try:
            text = await _write(kube, proposal, seen)
        except KubeError as error:
            if error.retryable:
                raise
            _log.warning("drift not adopted", ingress=str(proposal.ingress), error=str(error))
            continue
        if text:
            _log.info("drift adopted", ingress=str(proposal.ingress), annotations=dict(proposal.annotations))
            reports |= dict.fromkeys(proposal.drifts, text)
    return reports


async def _write(kube: KubeClient, proposal: Proposal, seen: dict[Name, Ingress]) -> str | None:
    """Write one proposal; return the text to report, None if the Ingress changed since the view."""
    namespace, name, _ = proposal.ingress
    present = await kube.get(INGRESS, name, namespace)
    if parse_ingress(present) != seen[proposal.ingress]:
        return None
    version = present["metadata"]["resourceVersion"]
    patch = {"metadata": {"annotations": dict(proposal.annotations), "resourceVersion": version}}
    seen[proposal.ingress] = parse_ingress(await kube.merge(INGRESS, name, patch, namespace))
    notes = [manager.sentence for manager in managers({**present, "kind": "Ingress"})]
    return " ".join((f"{proposal.sentence}.", *notes))
