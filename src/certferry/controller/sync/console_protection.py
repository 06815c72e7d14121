"""An ELB without our lock: certificates are at least protected against its console, where it can do that.

Called by the loop for an ELB without extensions. ``protection_status`` refuses a person at the vendor's
console; the API stays open, so what is changed there is repaired at the next poll. It plans, and
writes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from certferry.core.model import naming as names
from certferry.core.model.elb import Certificate, State
from certferry.core.plan.plan import Step

FIELDS = {"protection_status": "consoleProtection", "protection_reason": "Follows a Kubernetes Secret: change it there"}


def with_console_protection(steps: Sequence[Step], observed: State, cluster_id: str) -> tuple[Step, ...]:
    """`steps`, with protection for certificates of ours: new ones get it, those that lost it get it back."""
    if not any(c.protection_status is not None for c in observed.certificates.values()):
        # an ELB that has none to show may not know the field, and would refuse the whole request
        return tuple(steps)
    planned = [_protected(step) if step.verb == "create" and step.kind == "certificate" else step for step in steps]
    touched = {step.id for step in steps}
    open_ = [c for c in observed.certificates.values() if _ours(c, cluster_id) and c.id not in touched]
    return (*planned, *(_protect(c) for c in open_ if c.protection_status == "nonProtection"))


def _protected(step: Step) -> Step:
    return replace(step, fields={**step.fields, **FIELDS})


def _protect(certificate: Certificate) -> Step:
    return Step(
        verb="update",
        kind="certificate",
        key=certificate.id,
        id=certificate.id,
        name=certificate.name,
        fields=FIELDS,
        why="it is open to changes on the load balancer's console",
    )


def _ours(certificate: Certificate, cluster_id: str) -> bool:
    said = names.described(certificate.description)
    return said.get("cluster_id") == cluster_id and "secret_id" in said
