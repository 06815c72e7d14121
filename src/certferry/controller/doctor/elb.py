"""The load balancer's side: login and rights, clock, quota, lock, and whether a probe reaches each address."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any, Final

from certferry.controller.doctor.cluster import clock
from certferry.controller.doctor.result import CheckResult, failure, ok, warning
from certferry.core.model.elb import ENCRYPTED, State, bind_port
from certferry.core.plural import counted
from certferry.elb.client import extensions
from certferry.elb.client.client import CERTIFICATES, ElbClient, ElbError, Resource
from certferry.elb.client.observe import observe
from certferry.runtime.tls_probe import Target, handshake

QUOTAS: Final = Resource("quotas/details", "quota", "quotas")
SCARCE: Final = 0.1
"""A share of a quota that is worth a warning when no more is left."""
NO_CERTIFICATE: Final = "0" * 32
"""The id of no certificate: to ask for a right without using it."""
OURS: Final = ("certificate", "listener", "loadbalancer", "pool", "member", "l7policy")
PROBES: Final = 50
"""Listeners looked at; on more, the rest is left out."""


async def examined(elb: ElbClient) -> list[CheckResult]:
    """Raises ``ElbError`` when it does not answer at all, or does not let us in."""
    state = await observe(elb)
    results = [ok("ELB API", f"It answers; we see {counted(len(state.certificates), 'certificate')}.")]
    results.append(await _rights(elb))
    results.append(await _lock(elb))
    results.append(clock("ELB API", elb.date))
    results.append(await _quota(elb))
    results.append(await _reached(state))
    return results


async def _rights(elb: ElbClient) -> CheckResult:
    """Check the right to write, with a certificate that does not exist."""
    try:
        await elb.update(CERTIFICATES, NO_CERTIFICATE, {"description": "asked by certferry doctor"})
    except ElbError as error:
        if error.status in (401, 403):
            remedy = "Give the ELB user the role “controller” (a vendor's: ELB FullAccess)."
            return failure("ELB rights", f"We may read and not write: {error.message}", remedy)
        if error.retryable:
            raise
    return ok("ELB rights", "We may read and write.")


async def _lock(elb: ElbClient) -> CheckResult:
    if await extensions.available(elb):
        return ok("Lock", "Certificates of Secrets are locked: no other client can change them.")
    text = "This ELB has no lock: certificates of Secrets are guarded, changes are repaired at the next poll."
    return warning("Lock", text, "Nothing to do; keep people's hands off certificates named k8s_plb_default….")


async def _quota(elb: ElbClient) -> CheckResult:
    try:
        details = await elb.find(QUOTAS)
    except ElbError as error:
        if error.retryable:
            raise
        text = f"This ELB does not say what is left ({error.message})."
        return warning("Quota", text, "Look at the quotas in the provider's console.")
    kinds = [d for d in details if d.get("quota_key") in OURS and int(d.get("quota_limit") or -1) > 0]
    lowest = min(kinds, key=_left, default=None)
    if lowest is None:
        return ok("Quota", "Without limits.")
    text = f"{lowest['quota_key'].capitalize()} quota: {lowest['used']} of {lowest['quota_limit']} used."
    remedy = "Delete what is not used, or have the quota raised."
    if _left(lowest) <= 0:
        return failure("Quota", text, remedy)
    return warning("Quota", text, remedy) if _left(lowest) <= SCARCE else ok("Quota", text)


def _left(detail: dict[str, Any]) -> float:
    return 1 - int(detail["used"]) / int(detail["quota_limit"])


async def _reached(state: State) -> CheckResult:
    """Make a handshake with each HTTPS listener."""
    targets = sorted(
        {
            Target(address=b.vip_address, port=bind_port(b, listener.protocol_port), host="")
            for listener in state.listeners.values()
            if listener.protocol in ENCRYPTED
            and (b := state.loadbalancers.get(listener.loadbalancer_id))
            and b.vip_address
        }
    )[:PROBES]
    troubles = [t for t in await asyncio.gather(*map(_trouble, targets)) if t]
    if troubles:
        more = f" and {len(troubles) - 1} more" if len(troubles) > 1 else ""
        remedy = "Let this machine reach the load balancers' addresses: otherwise “served” cannot be proved."
        return failure("Probe", f"{troubles[0]}{more}.", remedy)
    if not targets:
        return ok("Probe", "No HTTPS listener yet.")
    return ok("Probe", f"A handshake reaches all there is: {counted(len(targets), 'HTTPS listener')}.")


async def _trouble(target: Target) -> str:
    try:
        await handshake(target, 3)
    except TimeoutError:
        return f"{target} does not answer"
    except ssl.SSLError:
        return ""  # the listener answers, and wants a name or a client certificate
    except OSError as error:
        return f"{target} cannot be reached: {error.strerror or type(error).__name__}"
    return ""
