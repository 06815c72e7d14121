"""From what happened to what is told: texts for people, for ``report`` to write.

Called by the loop. It chooses words and whom they concern, and writes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final, Literal

import msgspec
from msgspec.structs import replace

from certferry.controller.report.event_recorder import EventMessage
from certferry.controller.report.status_writer import IngressReport
from certferry.controller.sync.apply import Failure
from certferry.controller.verify.rotation import RotationResult
from certferry.core.checks import Finding
from certferry.core.model import naming as names
from certferry.core.model.elb import Certificate, State, bind_port
from certferry.core.model.kubernetes import BALANCER_ID, Ingress, Name, ObjectRef, ReportedStatus
from certferry.core.translate.ingress_annotations import PREFIX
from certferry.core.translate.translate import IngressStatus, Translation

QUOTA_CODES: Final = ("ELB.8905", "ELB.5151")
"""How ELBs say that there may be no more of a kind: of any, and of certificates."""
_PLURAL: Final = {
    "loadbalancer": "load balancers",
    "certificate": "certificates",
    "pool": "backend server groups (pools)",
    "member": "backend servers (members)",
    "listener": "listeners",
    "policy": "forwarding policies",
}


def problem_events(translation: Translation) -> list[EventMessage]:
    """What is wrong with the objects of the cluster."""
    return [
        EventMessage(object=p.object, type="Warning", reason=p.reason, sentence=p.sentence)
        for p in translation.problems
    ]


def ownership_change_events(
    translation: Translation, stands: Mapping[Name, ReportedStatus]
) -> list[EventMessage]:
    """For Ingresses whose listener another one governs now. `stands`: what is written on them so far."""
    found = []
    for name, status in translation.status.items():
        before = stands[name].master if name in stands else None
        if before and before != str(status.listener_owner):
            who = "this Ingress" if status.listener_owner == name else f"Ingress {status.listener_owner}"
            sentence = f"The listener on port {', '.join(str(p) for p, _ in status.ports)} is governed by {who} now, and by Ingress {before} no more: the server certificate and the options of the listener are those of {who}."
            found.append(
                EventMessage(
                    object=status.ref, type="Normal", reason="ListenerOwnerChanged", sentence=sentence
                )
            )
    return found


def rotation_events(rotation: RotationResult) -> list[EventMessage]:
    """How a rotation ended, for each Ingress that shows the certificate."""
    kind: Literal["Normal", "Warning"] = "Normal"
    if rotation.error:
        kind, reason = "Warning", "CertificateNotServed"
        sentence = f"The load balancer took the new certificate, but {rotation.error}."
    else:
        where = ", ".join(sorted({f"{s.target.address}:{s.target.port}" for s in rotation.expected}))
        reason, sentence = "CertificateServed", f"Clients of {where} are shown the new certificate."
    ingresses = sorted({seat.ingress for seat in rotation.expected})
    return [EventMessage(object=i, type=kind, reason=reason, sentence=sentence) for i in ingresses]


def rollback_events(
    certificate: Certificate, end: str, sentence: str, translation: Translation | None
) -> list[EventMessage]:
    """That a content was taken back, or could not be: on its Secret and on each Ingress that uses it."""
    uid = names.described(certificate.description).get("secret_id", "")
    follow = translation.secret_uses.get(uid) if translation else None
    if follow is None:
        return []
    name = follow.secret
    text = f"The new certificate of Secret {name} does not work for clients: {sentence}."
    if end == "done":
        text += f" It is parked. Change the Secret, or try again: certferry cert resume {name}"
    secret = ObjectRef(kind="Secret", namespace=name.namespace, name=name.name, uid=uid)
    return [
        EventMessage(object=about, type="Warning", reason="CertificateRolledBack", sentence=text)
        for about in (secret, *follow.users)
    ]


def finding_event(secret: ObjectRef, finding: Finding) -> EventMessage:
    """What a renewal changed beside the content, told once."""
    sentence = f"The new certificate is served; {finding.sentence}."
    return EventMessage(object=secret, type="Warning", reason=finding.reason, sentence=sentence)


def rotation_annotation(rotation: RotationResult) -> str:
    """The text of ``certferry.io/rotation``: the fingerprint and the three instants (null: not yet)."""
    return msgspec.json.encode(
        {
            "fingerprint": rotation.fingerprint,
            "changed": _instant(rotation.changed),
            "accepted": _instant(rotation.accepted),
            "served": _instant(rotation.served) if rotation.served is not None else None,
        }
    ).decode()


def ingress_status(
    status: IngressStatus, translation: Translation, state: State, ingress: Ingress
) -> IngressReport:
    """What is to stand on an Ingress: where it is really reached, and who governs its listener."""
    balancer = state.loadbalancers.get(status.loadbalancer)
    if balancer is None and (asked := translation.desired.loadbalancers.get(status.loadbalancer)):
        balancer = next((b for b in state.loadbalancers.values() if b.name == asked.name), None)
    if balancer is None or not balancer.vip_address:
        return IngressReport(master=str(status.listener_owner))
    ports = tuple((bind_port(balancer, port), "TCP") for port, _ in status.ports)
    notes = ingress.meta.annotations
    by_address = notes.get(f"{PREFIX}ip") == balancer.vip_address and BALANCER_ID not in notes
    return IngressReport(
        status=((balancer.vip_address, ports),),
        master=str(status.listener_owner),
        loadbalancer=balancer.id if by_address else None,
    )


def stale_annotations(
    others: Mapping[Name, ReportedStatus], known: Mapping[Name, IngressReport], observed: State
) -> dict[Name, IngressReport]:
    """What of ours may stand on Ingresses that are not, or no longer, of our class."""
    addresses = {b.vip_address for b in observed.loadbalancers.values()}
    found: dict[Name, IngressReport] = {}
    for name, stands in others.items():
        if name in known:
            found[name] = replace(known[name], rotation=stands.rotation)
        elif stands.rotation is not None:  # nobody else writes that one: it left while we were away
            ours = all(ip in addresses for ip, _ in stands.status)
            status = stands.status if ours else None
            found[name] = IngressReport(status=status, master=stands.master, rotation=stands.rotation)
    return found


def failure_targets(failure: Failure, translation: Translation) -> list[EventMessage]:
    """Who is told of a refused step: the Secret and its Ingresses, or the Ingresses of the listener."""
    step = failure.step
    follow = translation.secret_uses.get(step.key.removeprefix("@certificate/"))
    objects: list[ObjectRef]
    if follow:
        secret = ObjectRef(
            kind="Secret",
            namespace=follow.secret.namespace,
            name=follow.secret.name,
            uid=step.key.removeprefix("@certificate/"),
        )
        objects = [secret, *follow.users]
    else:
        objects = [
            status.ref
            for status in translation.status.values()
            if any(
                f"@listener/{status.loadbalancer}/{port}" in f"{step.key}/{step.parent}"
                for port, _ in status.ports
            )
        ]
    sentence = f"Could not {step.verb} {step.kind} {step.name} on the load balancer: {failure.sentence}"
    reason = "LoadBalancerRejected"
    if failure.code in QUOTA_CODES:
        reason = "QuotaExceeded"
        sentence = f"The load balancer's quota of {_PLURAL[step.kind]} is used up, so {step.name} is not made: {failure.sentence}"
    return [EventMessage(object=o, type="Warning", reason=reason, sentence=sentence) for o in objects]


def _instant(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
