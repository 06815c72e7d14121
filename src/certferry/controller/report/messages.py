"""Texts and target objects of Events, and the values of annotations. Pure: ``status_writer`` writes them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from itertools import islice
from typing import Final

import msgspec
from msgspec.structs import replace

from certferry.controller.report.event_recorder import EventMessage
from certferry.controller.report.status_writer import IngressReport
from certferry.controller.sync.apply import QUOTA_CODES, Failure
from certferry.controller.sync.generation import Generation
from certferry.controller.verify.rotation import RotationResult
from certferry.core.checks import Finding
from certferry.core.diagnosis.host_state import HostState, HostStatus
from certferry.core.diagnosis.inventory import SEVERITY
from certferry.core.model import naming as names
from certferry.core.model.elb import Certificate, State, bind_port
from certferry.core.model.kubernetes import (
    BALANCER_ID,
    CLEANUP_FINALIZER,
    Meta,
    Name,
    ObjectRef,
    ReportedStatus,
    Service,
)
from certferry.core.translate.ingress_annotations import PREFIX
from certferry.core.translate.translate import IngressStatus, Translation

MAX_HOSTS: Final = 100
"""Hosts in the annotation of an Ingress: all annotations of an object together have at most 256 KiB."""
MAX_EVENTS: Final = 5
"""Events of one object with one reason at a time."""
_PLURAL: Final = {
    "loadbalancer": "load balancers",
    "certificate": "certificates",
    "pool": "backend server groups (pools)",
    "member": "backend servers (members)",
    "listener": "listeners",
    "policy": "forwarding policies",
}


def problem_events(translation: Translation) -> list[EventMessage]:
    """Return one Warning for each problem of the translation."""
    return [
        EventMessage(object=p.object, type="Warning", reason=p.reason, sentence=p.sentence)
        for p in translation.problems
    ]


def bounded_events(events: Iterable[EventMessage]) -> list[EventMessage]:
    """Return at most `MAX_EVENTS` of each object and reason, and one that counts the rest.

    One annotation may hold thousands of invalid values, and each Event is a request.
    """
    groups: dict[tuple[ObjectRef, str], list[EventMessage]] = {}
    for event in sorted(set(events)):
        groups.setdefault((event.object, event.reason), []).append(event)
    result = []
    for (about, _), group in groups.items():
        result += group[:MAX_EVENTS]
        if (rest := len(group) - MAX_EVENTS) > 0:
            way = f" `certferry explain ingress {about.namespace}/{about.name}` lists them."
            sentence = f"{rest} more with this reason.{way if about.kind == 'Ingress' else ''}"
            result.append(replace(group[0], sentence=sentence))
    return result


def host_events(states: Iterable[HostState], others: Iterable[EventMessage]) -> list[EventMessage]:
    """Return one Warning for each object and reason of the hosts' problems that `others` do not have."""
    present = {(event.object, event.reason) for event in others}
    problems = {(p.object, p.reason): p for s in states for p in s.problems if (p.object, p.reason) not in present}
    return [
        EventMessage(object=p.object, type="Warning", reason=p.reason, sentence=p.sentence) for p in problems.values()
    ]


def ownership_change_events(translation: Translation, reported: Mapping[Name, ReportedStatus]) -> list[EventMessage]:
    """Return one Event for each Ingress whose listener owner differs from the one in its `reported` status."""
    events = []
    for name, status in translation.status.items():
        before = reported[name].master if name in reported else None
        if before and before != str(status.listener_owner):
            owner = status.listener_owner.claimant
            ports = ", ".join(str(port) for port, _ in status.ports)
            sentence = (
                f"{owner} now owns the listener on port {ports} (was {before}). "
                f"The server certificate and the options of the listener are those of {owner}."
            )
            events.append(
                EventMessage(object=status.ref, type="Normal", reason="ListenerOwnerChanged", sentence=sentence)
            )
    return events


def rotation_events(rotation: RotationResult, generation: Generation | None) -> list[EventMessage]:
    """Return the result of a rotation as one Event for each Ingress that uses the certificate."""
    return [
        EventMessage(
            object=ingress,
            type="Warning",
            reason="CertificateNotServed",
            sentence=f"The load balancer accepted the new certificate, but {rotation.error}.",
        )
        if rotation.error
        else EventMessage(
            object=ingress,
            type="Normal",
            reason="CertificateServed",
            sentence=_served_sentence(rotation, ingress, generation),
        )
        for ingress in rotation.ingresses
    ]


def _served_sentence(rotation: RotationResult, ingress: ObjectRef, generation: Generation | None) -> str:
    expected = [e for e in rotation.expected if e.ingress == ingress]
    addresses = ", ".join(sorted({f"{e.target.address}:{e.target.port}" for e in expected}))
    details = (
        _certificate_title(expected[0].certificate, ingress, generation),
        f"fingerprint {rotation.fingerprint[:16]}",
        f"expires {rotation.chain.not_after:%Y-%m-%d %H:%M} UTC",
    )
    return f"New certificate served on {addresses} ({', '.join(d for d in details if d)})."


def _certificate_title(certificate: str, ingress: ObjectRef, generation: Generation | None) -> str:
    """Return the Secret or the ELB certificate's name; "" for a Secret of another namespace than `ingress`."""
    if generation is None:
        return ""
    use = generation.translation.secret_uses.get(certificate.removeprefix("@certificate/"))
    if use:
        return f"Secret {use.secret}" if use.secret.namespace == ingress.namespace else ""
    present = generation.observed.certificates.get(certificate)
    return present.name if present and present.source is None else ""


def rollback_events(
    certificate: Certificate, result: str, sentence: str, translation: Translation | None
) -> list[EventMessage]:
    """Return the `result` of a rollback as one Event on the Secret and on each Ingress that uses it."""
    uid = names.described(certificate.description).get("secret_id", "")
    use = translation.secret_uses.get(uid) if translation else None
    if use is None:
        return []
    name = use.secret
    text = f"Clients cannot use the new certificate of Secret {name}: {sentence}."
    if result == "done":
        text += f" It is quarantined. Change the Secret, or retry: certferry cert resume {name}"
    secret = ObjectRef(kind="Secret", namespace=name.namespace, name=name.name, uid=uid)
    return [
        EventMessage(object=about, type="Warning", reason="CertificateRolledBack", sentence=text)
        for about in (secret, *use.users)
    ]


def finding_event(secret: ObjectRef, finding: Finding) -> EventMessage:
    """Return a Warning about `finding` on a certificate that was accepted."""
    sentence = f"The new certificate was accepted, but {finding.sentence}."
    return EventMessage(object=secret, type="Warning", reason=finding.reason, sentence=sentence)


def rotation_annotation(rotation: RotationResult) -> str:
    """Return the JSON of ``certferry.io/rotation``: the fingerprint and the three instants (null: not yet)."""
    return msgspec.json.encode(
        {
            "fingerprint": rotation.fingerprint,
            "changed": _instant(rotation.changed),
            "accepted": _instant(rotation.accepted),
            "served": _instant(rotation.served) if rotation.served is not None else None,
        }
    ).decode()


def hosts_annotation(states: Iterable[HostState]) -> str:
    """Return the JSON of ``certferry.io/hosts``: the most severe status of each host; at most 100, the worst first."""
    worst: dict[str, HostStatus] = {}
    for state in sorted(states, key=lambda state: (SEVERITY.index(state.status), state.key)):
        if state.host:
            worst.setdefault(state.host, state.status)
    return msgspec.json.encode(dict(islice(worst.items(), MAX_HOSTS))).decode()


def ingress_status(status: IngressStatus, translation: Translation, state: State, meta: Meta) -> IngressReport:
    """Return the status and annotations of an Ingress or Service: its real address and ports, and its listener owner.

    `meta`: its metadata.
    """
    owner, finalizer = (None, True) if meta.kind else (str(status.listener_owner), None)
    balancer = state.loadbalancers.get(status.loadbalancer)
    if balancer is None and (asked := translation.desired.loadbalancers.get(status.loadbalancer)):
        balancer = next((b for b in state.loadbalancers.values() if b.name == asked.name), None)
    if balancer is None or not balancer.vip_address:
        return IngressReport(master=owner, finalizer=finalizer)
    ports = tuple((bind_port(balancer, port), "UDP" if protocol == "UDP" else "TCP") for port, protocol in status.ports)
    notes = meta.annotations
    by_address = notes.get(f"{PREFIX}ip") == balancer.vip_address and BALANCER_ID not in notes
    return IngressReport(
        status=((balancer.vip_address, ports),),
        master=owner,
        finalizer=finalizer,
        loadbalancer=balancer.id if by_address else None,
    )


def service_releases(
    services: Mapping[Name, Service], reported: Mapping[Name, ReportedStatus], observed: State
) -> dict[Name, IngressReport]:
    """Return the reports that end our hold on `services`, which claim nothing now.

    The finalizer stays while the load balancer has a pool of the Service: pools are deleted last.
    """
    left = {names.described(pool.description).get("service_id") for pool in observed.pools.values()}
    return {
        name: IngressReport(finalizer=False, status=None if services[name].deleting else ())
        for name, stands in reported.items()
        if CLEANUP_FINALIZER in stands.finalizers and services[name].meta.uid not in left
    }


def stale_annotations(
    others: Mapping[Name, ReportedStatus], written: Mapping[Name, IngressReport], observed: State
) -> dict[Name, IngressReport]:
    """Return the controller's own status and annotations on Ingresses that are not, or no longer, of its class.

    `others`: what these Ingresses have now. `written`: what this process last wrote.
    """
    addresses = {b.vip_address for b in observed.loadbalancers.values()}
    stale: dict[Name, IngressReport] = {}
    for name, stands in others.items():
        if name in written:
            stale[name] = replace(written[name], rotation=stands.rotation)
        elif stands.rotation is not None:  # only a controller writes it: the class changed while none ran
            ours = all(ip in addresses for ip, _ in stands.status)
            status = stands.status if ours else None
            stale[name] = IngressReport(
                status=status, master=stands.master, rotation=stands.rotation, hosts=stands.hosts
            )
    return stale


def failure_targets(failure: Failure, translation: Translation) -> list[EventMessage]:
    """Return a Warning about a rejected step on the Secret and its Ingresses, or on those of the listener."""
    step = failure.step
    use = translation.secret_uses.get(step.key.removeprefix("@certificate/"))
    objects: list[ObjectRef]
    if use:
        secret = ObjectRef(
            kind="Secret",
            namespace=use.secret.namespace,
            name=use.secret.name,
            uid=step.key.removeprefix("@certificate/"),
        )
        objects = [secret, *use.users]
    else:
        objects = [
            status.ref
            for status in translation.status.values()
            if any(f"@listener/{status.loadbalancer}/{port}" in f"{step.key}/{step.parent}" for port, _ in status.ports)
        ]
    sentence = f"Could not {step.verb} {step.kind} {step.name} on the load balancer: {failure.sentence}."
    reason = "LoadBalancerRejected"
    if failure.code in QUOTA_CODES:
        reason = "QuotaExceeded"
        sentence = (
            f"Could not create {step.name}, because the load balancer's quota of {_PLURAL[step.kind]} is used up: "
            f"{failure.sentence}."
        )
    return [EventMessage(object=o, type="Warning", reason=reason, sentence=sentence) for o in objects]


def _instant(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
