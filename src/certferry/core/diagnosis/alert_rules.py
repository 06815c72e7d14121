"""Alert rules: from inventory, host states and failures to one alert per certificate.

The controller calls it after each reconcile and each look of the probes. Pure: the same knowledge
gives the same alerts, so that nothing has to be remembered over a restart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Final

import msgspec

from certferry.core.diagnosis import causes
from certferry.core.diagnosis.alert import Alert, AlertName
from certferry.core.diagnosis.host_state import CertificateSource, HostState, WantedCertificate
from certferry.core.diagnosis.host_values import ShownCertificate
from certferry.core.diagnosis.inventory import CertificateInfo
from certferry.core.model.kubernetes import ClusterView, Name
from certferry.core.model.problems import Problem, Reason
from certferry.core.translate.services.claimants import claimant_of
from certferry.core.x509 import expiry
from certferry.core.x509.expiry import Limits
from certferry.core.x509.pem import listed

_EXPIRY: Final[Mapping[expiry.State, AlertName]] = {
    "late": "RenewalLate",
    "urgent": "RenewalUrgent",
    "critical": "RenewalCritical",
    "expired": "CertificateExpired",
}
_HOW_NEAR: Final[Mapping[expiry.State, str]] = {
    "late": "its renewal is late",
    "urgent": "its renewal is urgent",
    "critical": "that is soon, and it was not renewed",
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
"""Problems of an Ingress by which a chosen certificate is not in use."""


class AlertRules(msgspec.Struct, frozen=True, kw_only=True):
    """Thresholds of the alerts, from the settings."""

    limits: Limits = Limits()
    stalled_rotations: int = 3
    """So many renewals that are due and do not come are a stall."""
    stalled_after: float = 86_400.0
    """Seconds that the last of them has been due."""
    disconnected_after: float = 60.0
    """Seconds that a remote may be away."""
    drift_shown: float = 3600.0
    """Seconds for which reverted drift is an alert."""


class AlertInput(msgspec.Struct, frozen=True, kw_only=True):
    """All that alerts are made of."""

    cluster: str = ""
    watched: tuple[CertificateInfo, ...] = ()
    problems: tuple[Problem, ...] = ()
    states: tuple[HostState, ...] = ()
    """The state of each host."""
    view: ClusterView | None = None
    failures: tuple[tuple[str, str], ...] = ()
    """(what was to be changed, what the load balancer answered)."""
    drift: tuple[str, ...] = ()
    """Changes by other clients on the load balancer, as sentences."""
    disconnected: Mapping[str, str] = MappingProxyType({})
    """Why each remote that does not answer does not."""
    last_rotation: datetime | None = None


def evaluate_alerts(
    inputs: AlertInput, rules: AlertRules, now: datetime, failed: Callable[[str, Exception], None] | None = None
) -> tuple[Alert, ...]:
    """Return all alerts at `now`, sorted; at most one of each name per subject.

    A rule that raises does not stop the others; `failed` gets its name and the error. Without `failed`, it raises.
    """
    evaluations: dict[str, Iterable[Alert]] = {
        "expiry": _expiring(inputs, rules, now),
        "stalled rotations": _stalled(inputs, rules, now),
        "Secrets": _from_secrets(inputs),
        "compromised keys": _compromised(inputs),
        "certificates not used": _not_used(inputs),
        "certificates not served": _not_served(inputs),
        "rejected changes": (_refused(inputs, subject, sentence) for subject, sentence in inputs.failures),
        "drift": (_drifted(inputs, sentence) for sentence in inputs.drift),
        "connections": (_disconnected(inputs, remote, why) for remote, why in inputs.disconnected.items()),
    }
    alerts: list[Alert] = []
    for name, evaluation in evaluations.items():
        try:
            alerts.extend(evaluation)
        except Exception as error:
            if failed is None:
                raise
            failed(name, error)
    unique = {a.identity: a for a in sorted(alerts, reverse=True)}
    return tuple(sorted(unique.values()))


def about(
    certificate: CertificateInfo, inputs: AlertInput, name: AlertName, summary: str, why: str = "", do: str = ""
) -> Alert:
    """Return an alert about one certificate, with its hosts, owner, source, cause and command."""
    cause = causes.cause(certificate.origin) if certificate.origin else None
    return Alert(
        name=name,
        subject=certificate.name,
        cluster=inputs.cluster,
        summary=summary,
        hosts=certificate.hosts,
        owner=causes.owner(certificate.origin) if certificate.origin else "the administrator of this system",
        source=causes.source(certificate.origin)
        if certificate.origin
        else f"the certificate of {certificate.name} itself",
        why=why or (cause.why if cause else "it was not renewed"),
        command=do or (cause.command if cause else f"certferry cert check {certificate.id}"),
    )


def _expiring(inputs: AlertInput, rules: AlertRules, now: datetime) -> Iterator[Alert]:
    for certificate in inputs.watched:
        state = expiry.state(certificate.not_before, certificate.ends, now, rules.limits)
        if not certificate.used or state == "good":
            continue
        end, title = f"{certificate.ends:%Y-%m-%d %H:%M} UTC", _title(certificate)
        if certificate.intermediate:
            title = f"{certificate.intermediate.subject} in the chain of {title[:1].lower()}{title[1:]}"
        if state == "expired":
            text = f"{title} expired on {end}: clients refuse it."
        else:
            text = f"{title} expires on {end}: {_HOW_NEAR[state]}."
        yield about(certificate, inputs, _EXPIRY[state], text)


def _stalled(inputs: AlertInput, rules: AlertRules, now: datetime) -> Iterator[Alert]:
    used = [(w.not_before, w.not_after) for w in inputs.watched if w.used and w.role != "own"]
    patience = timedelta(seconds=rules.stalled_after)
    stall = expiry.stalled(used, inputs.last_rotation, now, rules.limits, rules.stalled_rotations, patience)
    if stall:
        yield Alert(
            name="RotationStalled",
            subject="all certificates",
            cluster=inputs.cluster,
            summary=f"No rotation happened although {stall.due} were due since {stall.since:%Y-%m-%d %H:%M} UTC.",
            owner="the administrator of the certificate issuer",
            source="all Secrets and ELB certificates in use",
            why="not one of them was renewed: the issuer, its account or what carries its result has stopped",
            command="certferry cert expiring",
        )


def _from_secrets(inputs: AlertInput) -> Iterator[Alert]:
    """Yield an alert for each Secret that a host wants and that is missing, rejected, expired or defective."""
    by_secret: dict[Name, list[tuple[HostState, WantedCertificate]]] = {}
    for state in inputs.states:
        for wanted in state.wants:
            if wanted.source.secret and (wanted.reason or wanted.warnings):
                by_secret.setdefault(wanted.source.secret, []).append((state, wanted))
    following = {w.origin.secret_name: w for w in reversed(inputs.watched) if w.origin}
    for secret, pairs in by_secret.items():
        yield from _about_secret(inputs, secret, pairs, following.get(secret))


def _compromised(inputs: AlertInput) -> Iterator[Alert]:
    """Yield an alert for each certificate that is served although its key is marked as compromised."""
    by_source: dict[CertificateSource, list[HostState]] = {}
    for state in inputs.states:
        if state.status == "compromised" and state.bound:
            by_source.setdefault(state.bound.source, []).append(state)
    for source, states in sorted(by_source.items(), key=lambda item: str(item[0])):
        hosts = tuple(sorted({s.host for s in states if s.host}))
        what = f"{source.certificate[:1].upper()}{source.certificate[1:]}"
        yield Alert(
            name="CertificateCompromised",
            subject=str(source.secret or source.name or source.certificate_id),
            cluster=inputs.cluster,
            summary=f"{what} is served although its key is marked as compromised.",
            hosts=hosts,
            owner=f"namespace {source.secret.namespace}" if source.secret else "the administrator of the ELB project",
            source=str(source),
            why="no other valid certificate for its hosts can take its place",
            command=states[0].next_action,
        )


def _about_secret(
    inputs: AlertInput, secret: Name, pairs: Sequence[tuple[HostState, WantedCertificate]], info: CertificateInfo | None
) -> Iterator[Alert]:
    state, wanted = next(((s, w) for s, w in pairs if w.reason), pairs[0])
    name = _name_of(state, wanted)
    if name == "CertificateExpired" and info and info.used:
        return  # its expiry is an alert of the certificate
    if wanted.warnings and not wanted.reason and any(s.status == "compromised" for s, _ in pairs):
        return  # its key is an alert of the certificate
    sentence, reason = _verdict(wanted)
    text = _harm(pairs) or (sentence if str(secret) in sentence else f"Secret {secret}: {sentence}")
    problem = next((p for p in state.problems if p.reason == reason), None)
    yield Alert(
        name=name,
        subject=str(secret),
        cluster=inputs.cluster,
        summary=f"{reason}: {text}",
        hosts=tuple(sorted({s.host for s, _ in pairs if s.host})) or (info.hosts if info else ()),
        owner=f"namespace {secret.namespace}",
        source=_source(info, secret),
        why=_why_secret(name, secret, wanted, sentence),
        command=problem.action if problem else f"certferry cert check secret/{secret}",
    )


def _verdict(wanted: WantedCertificate) -> tuple[str, Reason]:
    """Return the sentence and the reason against a wanted certificate, which has one or a warning."""
    if wanted.reason:
        return wanted.sentence, wanted.reason
    return wanted.warnings[0].sentence, wanted.warnings[0].reason


def _harm(pairs: Iterable[tuple[HostState, WantedCertificate]]) -> str:
    """Return what clients of the first host get that lacks its certificate; "" if none does."""
    harmed = (s for s, w in pairs if s.host and w.reason and s.status in ("wrong", "missing", "unusable"))
    return next((s.sentence for s in harmed), "")


def _source(info: CertificateInfo | None, secret: Name) -> str:
    return causes.source(info.origin) if info and info.origin else f"Secret {secret}"


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
    substitute = state.bound is None or state.bound.source != wanted.source
    if wanted.reason == "CertificateExpired" and not substitute:
        return "CertificateExpired"
    return "CertificateRejected" if wanted.reason and substitute else "CertificateDefective"


def _not_used(inputs: AlertInput) -> Iterator[Alert]:
    by_sentence: dict[str, list[Problem]] = {}
    hosts_of: dict[Name, tuple[str, ...]] = {}
    for problem in inputs.problems:
        if problem.reason in _NOT_USED and problem.object.kind in ("Ingress", "Service") and problem.secret is None:
            by_sentence.setdefault(problem.sentence, []).append(problem)
    for sentence, told in sorted(by_sentence.items()):
        # both objects of a conflict have the problem; the younger one lacks the certificate
        alerts = [i for p in told if inputs.view and (i := claimant_of(inputs.view, p.object.claimant))]
        if not alerts:
            continue
        youngest = max(alerts, key=lambda i: (i.meta.created, i.meta.key))
        key = youngest.meta.key
        if key not in hosts_of:
            hosts_of[key] = tuple(sorted({*youngest.hosts, *(h for entry in youngest.tls for h in entry.hosts)}))
        hosts = hosts_of[key]
        yield Alert(
            name="CertificateNotUsed",
            subject=f"ingress {key}",
            cluster=inputs.cluster,
            summary=f"{told[0].reason}: {key.claimant}: {sentence}",
            hosts=hosts,
            owner=f"namespace {key.namespace}",
            source=key.claimant,
            why=sentence,
            command=f"certferry why {hosts[0]}" if hosts else f"kubectl describe ingress {key.name} -n {key.namespace}",
        )


def mismatches(states: Iterable[HostState]) -> Iterator[tuple[HostState, ShownCertificate]]:
    """Yield each host whose clients are shown another certificate than the bound one, or none, with the probe."""
    for state in states:
        for shown in state.shown:
            if state.bound and not shown.matches_bound:
                yield state, shown


def _not_served(inputs: AlertInput) -> Iterator[Alert]:
    by_certificate: dict[tuple[str, bool], list[tuple[HostState, ShownCertificate]]] = {}
    for state, shown in mismatches(inputs.states):
        if state.bound:
            by_certificate.setdefault((state.bound.certificate_id, shown.reached), []).append((state, shown))
    by_ref = {w.id: w for w in reversed(inputs.watched)}
    for (certificate_id, reached), places in by_certificate.items():
        certificate = by_ref.get(certificate_id)
        state, shown = places[0]
        where = listed(tuple(dict.fromkeys(f"{s.key.address}:{s.key.port}" for s, _ in places)))
        hosts = tuple(sorted({s.host for s, _ in places if s.host}))
        name: AlertName = "CertificateNotServed" if reached else "CertificateUnreachable"
        what = "do not show it as they should" if reached else "cannot be reached"
        base = Alert(name=name, subject=certificate_id, cluster=inputs.cluster, summary="", hosts=hosts)
        alert = about(certificate, inputs, name, "") if certificate else base
        at = f"{state.key.address}:{state.key.port}"
        yield msgspec.structs.replace(
            alert,
            hosts=hosts or alert.hosts,
            summary=f"{_title(certificate) if certificate else 'A certificate'}: {where} {what}: {shown.mismatch}.",
            why=shown.mismatch,
            command=f"certferry why {state.host}:{state.key.port}" if state.host else f"certferry cert check {at}",
        )


def _refused(known: AlertInput, subject: str, sentence: str) -> Alert:
    return Alert(
        name="LoadBalancerRejected",
        subject=subject,
        cluster=known.cluster,
        summary=f"The load balancer refuses to change {subject}: {sentence}.",
        owner="the administrator of the ELB project",
        source="the load balancer",
        why=sentence,
        command="certferry cert ls --unused" if "quota" in sentence.lower() else "certferry audit --since 1h",
    )


def _drifted(known: AlertInput, sentence: str) -> Alert:
    return Alert(
        name="LoadBalancerDrift",
        subject=sentence.partition(" was ")[0],
        cluster=known.cluster,
        summary=f"Another client changed the load balancer: {sentence}",
        owner="the administrator of the ELB project",
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
        owner="the administrator of this system",
        source=remote,
        why=why,
        command="certferry cert ls",
    )


def _title(it: CertificateInfo) -> str:
    what = f"The certificate of {listed(it.hosts)}" if it.hosts else f"The certificate {it.name}"
    return f"{what} ({it.name})" if it.hosts else what
