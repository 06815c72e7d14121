"""From what is known of the whole to what somebody should be told: one alert per certificate.

The controller calls it after each reconcile and each look of the probes. Pure: the same knowledge
gives the same alerts, so that nothing has to be remembered over a restart.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Final

import msgspec

from certferry.core.diagnosis import causes
from certferry.core.diagnosis.alert import Alert, AlertName
from certferry.core.diagnosis.host_state import HostState, WantedCertificate
from certferry.core.diagnosis.inventory import CertificateInfo
from certferry.core.model.kubernetes import ClusterView, Name
from certferry.core.model.problems import Problem
from certferry.core.x509 import expiry
from certferry.core.x509.expiry import Limits
from certferry.core.x509.pem import listed

_EXPIRY: Final[Mapping[expiry.State, AlertName]] = {
    "late": "RenewalLate",
    "urgent": "RenewalUrgent",
    "emergency": "RenewalCritical",
    "expired": "CertificateExpired",
}
_HOW_NEAR: Final[Mapping[expiry.State, str]] = {
    "late": "its renewal is late",
    "urgent": "its renewal is urgent",
    "emergency": "that is soon, and nobody renewed it",
}
_NOT_USED: Final = frozenset(
    {
        "CertificateHeldBack",
        "CertificateNotFound",
        "HostNotCovered",
        "PathConflict",
        "LimitExceeded",
        "ListenerConflict",
        "SniConflict",
        "NoCertificate",
    }
)
"""Problems of an Ingress by which a certificate that somebody chose is not in use."""


class AlertRules(msgspec.Struct, frozen=True, kw_only=True):
    """When to speak; from the settings."""

    limits: Limits = Limits()
    stall_due: int = 3
    """So many renewals that are due and do not come are a stall."""
    stall_patience: float = 86_400.0
    """Seconds that the last of them has been due."""
    disconnect_patience: float = 60.0
    """Seconds that a remote may be away."""
    drift_shown: float = 3600.0
    """Seconds for which a change by somebody else, which is put right at once, is told."""


class ProbeMismatch(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """A place that does not show what it is to show."""

    certificate: str
    """Id or key of the certificate that is expected there."""
    where: str
    host: str
    reachable: bool
    why: str


class AlertInput(msgspec.Struct, frozen=True, kw_only=True):
    """All that alerts are made of."""

    cluster: str = ""
    watched: tuple[CertificateInfo, ...] = ()
    problems: tuple[Problem, ...] = ()
    states: tuple[HostState, ...] = ()
    """The state of each host."""
    view: ClusterView | None = None
    unserved: tuple[ProbeMismatch, ...] = ()
    failures: tuple[tuple[str, str], ...] = ()
    """(what was to be changed, what the load balancer answered)."""
    drift: tuple[str, ...] = ()
    """What somebody else changed on the load balancer, in sentences."""
    disconnected: Mapping[str, str] = MappingProxyType({})
    """Why each remote that does not answer does not."""
    last_rotation: datetime | None = None


def evaluate_alerts(known: AlertInput, rules: AlertRules, now: datetime) -> tuple[Alert, ...]:
    """Everything to be told at `now`, sorted; at most one of each name per subject."""
    found = [
        *_expiring(known, rules, now),
        *_stalled(known, rules, now),
        *_from_secrets(known),
        *_not_used(known),
        *_unserved(known),
        *(_refused(known, subject, sentence) for subject, sentence in known.failures),
        *(_drifted(known, sentence) for sentence in known.drift),
        *(_disconnected(known, remote, why) for remote, why in known.disconnected.items()),
    ]
    unique = {a.identity: a for a in sorted(found, reverse=True)}
    return tuple(sorted(unique.values()))


def about(
    it: CertificateInfo, known: AlertInput, name: AlertName, summary: str, why: str = "", do: str = ""
) -> Alert:
    """An alert about one certificate, with everything that a person needs."""
    cause = causes.cause(it.origin) if it.origin else None
    return Alert(
        name=name,
        subject=it.name,
        cluster=known.cluster,
        summary=summary,
        hosts=it.hosts,
        owner=causes.owner(it.origin) if it.origin else "whoever runs this system",
        source=causes.source(it.origin) if it.origin else f"the certificate of {it.name} itself",
        why=why or (cause.why if cause else "nobody has renewed it"),
        command=do or (cause.command if cause else f"certferry cert check {it.id}"),
    )


def _expiring(known: AlertInput, rules: AlertRules, now: datetime) -> Iterator[Alert]:
    for it in known.watched:
        state = expiry.state(it.not_before, it.not_after, now, rules.limits)
        if not it.used or state == "good":
            continue
        end = f"{it.not_after:%Y-%m-%d %H:%M} UTC"
        if state == "expired":
            text = f"{_title(it)} expired on {end}: clients refuse it."
        else:
            text = f"{_title(it)} expires on {end}: {_HOW_NEAR[state]}."
        yield about(it, known, _EXPIRY[state], text)


def _stalled(known: AlertInput, rules: AlertRules, now: datetime) -> Iterator[Alert]:
    used = [(w.not_before, w.not_after) for w in known.watched if w.used and w.role != "own"]
    patience = timedelta(seconds=rules.stall_patience)
    stall = expiry.stalled(used, known.last_rotation, now, rules.limits, rules.stall_due, patience)
    if stall:
        yield Alert(
            name="RotationStalled",
            subject="all certificates",
            cluster=known.cluster,
            summary=f"No rotation happened although {stall.due} were due since {stall.since:%Y-%m-%d %H:%M} UTC.",
            owner="whoever runs the issuer of certificates",
            source="all Secrets and ELB certificates in use",
            why="not one of them was renewed: the issuer, its account or what carries its result has stopped",
            command="certferry cert expiring",
        )


def _from_secrets(known: AlertInput) -> Iterator[Alert]:
    """One alert for each Secret that a host wants and that is missing, rejected, expired or defective."""
    by_secret: dict[Name, list[tuple[HostState, WantedCertificate]]] = {}
    for state in known.states:
        for wanted in state.wants:
            if wanted.source.secret and (wanted.reason or wanted.warnings):
                by_secret.setdefault(wanted.source.secret, []).append((state, wanted))
    for secret, pairs in by_secret.items():
        yield from _about_secret(known, secret, pairs)


def _about_secret(
    known: AlertInput, secret: Name, pairs: Sequence[tuple[HostState, WantedCertificate]]
) -> Iterator[Alert]:
    state, wanted = next(((s, w) for s, w in pairs if w.reason), pairs[0])
    name = _name_of(state, wanted)
    info = _following(known, secret)
    if name == "CertificateExpired" and info and info.used:
        return  # its expiry is an alert of the certificate
    sentence = wanted.sentence or wanted.warnings[0].sentence
    reason = wanted.reason or wanted.warnings[0].reason
    harmed = next(
        (s for s, w in pairs if s.host and w.reason and s.status in ("wrong", "missing", "unusable")), None
    )
    text = sentence if str(secret) in sentence else f"Secret {secret}: {sentence}"
    if harmed:
        text = harmed.sentence
    problem = next((p for p in state.problems if p.reason == reason), None)
    yield Alert(
        name=name,
        subject=str(secret),
        cluster=known.cluster,
        summary=f"{reason}: {text}",
        hosts=tuple(sorted({s.host for s, _ in pairs if s.host})) or (info.hosts if info else ()),
        owner=f"namespace {secret.namespace}",
        source=causes.source(info.origin) if info and info.origin else f"Secret {secret}",
        why=_why_secret(name, secret, wanted, sentence),
        command=problem.action if problem else f"certferry cert check secret/{secret}",
    )


def _why_secret(name: AlertName, secret: Name, wanted: WantedCertificate, sentence: str) -> str:
    if name == "CertificateQuarantined":
        return f"the content of Secret {secret} is quarantined, because it did not work for clients"
    return sentence


def _name_of(state: HostState, wanted: WantedCertificate) -> AlertName:
    if wanted.reason == "CertificateQuarantined":
        return "CertificateQuarantined"
    if wanted.reason == "SecretNotFound":
        return "SecretUnreadable"
    if wanted.rejected:
        return "CertificateRejected"
    if wanted.reason == "CertificateExpired":
        return "CertificateExpired"
    substitute = state.bound is None or state.bound.source != wanted.source
    return "CertificateRejected" if wanted.reason and substitute else "CertificateDefective"


def _not_used(known: AlertInput) -> Iterator[Alert]:
    ingresses = known.view.ingresses if known.view else {}
    by_sentence: dict[str, list[Problem]] = {}
    for problem in known.problems:
        if problem.reason in _NOT_USED and problem.object.kind == "Ingress" and problem.secret is None:
            by_sentence.setdefault(problem.sentence, []).append(problem)
    for sentence, told in sorted(by_sentence.items()):
        # of two in conflict both are told the same; the younger one is without
        found = [i for p in told if (i := ingresses.get(Name(p.object.namespace, p.object.name)))]
        if not found:
            continue
        it = max(found, key=lambda i: (i.meta.created, i.meta.key))
        key = it.meta.key
        hosts = tuple(sorted({*it.hosts, *(h for entry in it.tls for h in entry.hosts)}))
        yield Alert(
            name="CertificateNotUsed",
            subject=f"ingress {key}",
            cluster=known.cluster,
            summary=f"{told[0].reason}: Ingress {key}: {sentence}",
            hosts=hosts,
            owner=f"namespace {key.namespace}",
            source=f"Ingress {key}",
            why=sentence,
            command=f"certferry why {hosts[0]}"
            if hosts
            else f"kubectl describe ingress {key.name} -n {key.namespace}",
        )


def _unserved(known: AlertInput) -> Iterator[Alert]:
    by_certificate: dict[tuple[str, bool], list[ProbeMismatch]] = {}
    for one in sorted(known.unserved):
        by_certificate.setdefault((one.certificate, one.reachable), []).append(one)
    for (ref, reachable), places in by_certificate.items():
        it = _by_ref(known, ref)
        first = places[0]
        where = listed(tuple(dict.fromkeys(p.where for p in places)))
        hosts = tuple(sorted({p.host for p in places if p.host}))
        name: AlertName = "CertificateNotServed" if reachable else "CertificateUnreachable"
        what = "do not show it as they should" if reachable else "cannot be reached"
        base = Alert(name=name, subject=ref, cluster=known.cluster, summary="", hosts=hosts)
        alert = about(it, known, name, "") if it else base
        host = first.host or first.where
        port = first.where.rpartition(":")[2]
        yield msgspec.structs.replace(
            alert,
            hosts=hosts or alert.hosts,
            summary=f"{_title(it) if it else 'A certificate'}: {where} {what}: {first.why}.",
            why=first.why,
            command=f"certferry why {host}:{port}" if first.host else f"certferry cert check {first.where}",
        )


def _refused(known: AlertInput, subject: str, sentence: str) -> Alert:
    return Alert(
        name="LoadBalancerRejected",
        subject=subject,
        cluster=known.cluster,
        summary=f"The load balancer refuses to change {subject}: {sentence}.",
        owner="whoever keeps the ELB project",
        source="the load balancer",
        why=sentence,
        command="certferry cert ls --unused" if "quota" in sentence.lower() else "certferry audit --since 1h",
    )


def _drifted(known: AlertInput, sentence: str) -> Alert:
    return Alert(
        name="LoadBalancerDrift",
        subject=sentence.partition(" was ")[0],
        cluster=known.cluster,
        summary=f"Somebody else changed the load balancer: {sentence}",
        owner="whoever keeps the ELB project",
        source="the load balancer",
        why=sentence,
        command="certferry audit --since 1h",
    )


def _disconnected(known: AlertInput, remote: str, why: str) -> Alert:
    return Alert(
        name="Disconnected",
        subject=remote,
        cluster=known.cluster,
        summary=f"The controller does not reach {remote}: {why}. What is served stays; nothing is renewed.",
        owner="whoever runs this system",
        source=remote,
        why=why,
        command="certferry cert ls",
    )


def _title(it: CertificateInfo) -> str:
    what = f"The certificate of {listed(it.hosts)}" if it.hosts else f"The certificate {it.name}"
    return f"{what} ({it.name})" if it.hosts else what


def _following(known: AlertInput, secret: Name) -> CertificateInfo | None:
    return next((w for w in known.watched if w.origin and w.origin.secret_name == secret), None)


def _by_ref(known: AlertInput, ref: str) -> CertificateInfo | None:
    return next((w for w in known.watched if w.id == ref), None)
