"""The status of a host, the sentence that states it, and its problems.

Pure functions of what is wanted, bound and shown. A certificate is named by its source.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Final

import msgspec

from certferry.core.diagnosis.host_values import BoundCertificate, HostProblem, HostStatus, ShownCertificate
from certferry.core.diagnosis.wanted import CertificateSource, WantedCertificate, capitalized
from certferry.core.model.kubernetes import ClusterView, Name, ObjectRef, Secret
from certferry.core.model.problems import Problem, Reason
from certferry.core.x509 import expiry
from certferry.core.x509.pem import covers

_ON_INGRESS: Final[frozenset[Reason]] = frozenset(
    {
        "CertificateHeldBack",
        "CertificateNotFound",
        "HostClaimConflict",
        "HostNotAllowed",
        "HostNotCovered",
        "LimitExceeded",
        "ListenerConflict",
        "NoCertificate",
        "SniConflict",
    }
)
"""Reasons on an Ingress that concern which certificate its hosts get."""


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """All that a verdict on one host depends on."""

    host: str
    place: str
    """Where clients connect, as address:port."""
    wants: tuple[WantedCertificate, ...]
    """The one that counts first."""
    bound: BoundCertificate | None
    shown: tuple[ShownCertificate, ...]
    data_plane: str
    expiry_state: expiry.State | None
    on_claims: tuple[Problem, ...]
    """Problems of the Ingresses that want the host."""
    barriers: tuple[HostProblem, ...]
    """Settings of the listener that keep clients out, and that no Ingress asks for."""
    listener_exists: bool
    now: datetime

    @property
    def wanted(self) -> WantedCertificate | None:
        """The wanted certificate that counts."""
        return self.wants[0] if self.wants else None

    @property
    def substitute(self) -> bool:
        """True if the bound certificate comes from another source than the wanted one."""
        return bool(self.bound and self.wanted and self.bound.source != self.wanted.source)


def status(facts: Facts) -> HostStatus:
    """Return what clients get for the host."""
    bound, wanted = facts.bound, facts.wanted
    if facts.shown and not any(s.reached for s in facts.shown):
        return "unreachable"
    if bound is None:
        return _without(wanted)
    if _shown_otherwise(facts):
        return "wrong"
    if bound.chain is None:
        return "unknown"
    if facts.host and not covers(bound.chain.names, facts.host):
        return "wrong"
    if facts.expiry_state == "expired" or bound.chain.not_before > facts.now:
        return "expired"
    if bound.compromised:
        return "compromised"
    if facts.substitute and wanted and not wanted.good:
        return _without(wanted)
    return "served" if facts.expiry_state == "good" else "expiring"


def sentence(facts: Facts) -> str:
    """Return one line: what clients get, and what is wrong with it."""
    clients = f"Clients of {facts.host}" if facts.host else "Clients that name no host"
    if facts.shown and not any(s.reached for s in facts.shown):
        return f"{clients} cannot connect: {facts.shown[0].error}. That says nothing of the certificate."
    text = f"{clients} get {_got(facts)}."
    if wrong := _shown_otherwise(facts):
        text = f"{clients} do not get {_got(facts)}: {wrong}."
    if facts.data_plane:
        text += f" The data plane rejected it: {facts.data_plane}."
    wanted = facts.wanted
    if wanted and not wanted.good:
        text += f" {_of_source(wanted)}"
    elif wanted and facts.substitute:
        text += f" {capitalized(str(wanted.source))} is not bound for this host."
    return text


def problems(facts: Facts, view: ClusterView) -> tuple[HostProblem, ...]:
    """Return everything that is wrong with the host, most severe first, each on the object that has to change."""
    found = [*_problems(facts, view)]
    return tuple({(p.object, p.reason): p for p in reversed(found)}.values())[::-1]


def action(source: CertificateSource, reason: Reason | None, secret: Secret | None) -> str:
    """Return what to type or edit so that `source` gets a certificate that can be served.

    `secret`: the Secret of the source; None if it does not exist, or the source is an ELB certificate.
    """
    if reason == "CertificateCompromised":
        return f"issue a certificate with a new key: {action(source, None, secret)}"
    if source.secret is None:
        if reason == "CertificateNotFound":
            return "edit the annotation kubernetes.io/elb.tls-certificate-ids"
        return f"certferry cert replace {source.certificate_id} --cert new.crt --key new.key"
    name = source.secret
    if secret is None:
        return f"kubectl get secret {name.name} -n {name.namespace}"
    if reason == "CertificateQuarantined":
        return f"certferry cert check secret/{name}, correct the Secret; or certferry cert resume {name}"
    if reason in ("BreakGlassActive", "RollbackPauseActive"):
        return f"certferry cert break-glass {name} --end"
    if secret.manager:
        return look_at_manager(secret.manager.where)
    if reason in ("CertificateExpired", "CertificateNotYetValid", "HostNotCovered", None):
        return f"certferry cert replace {name} --cert new.crt --key new.key"
    return f"certferry cert check secret/{name}"


def look_at_manager(where: str) -> str:
    """Return the command that shows why a tool has not renewed a Secret; `where` is “KIND NAMESPACE/NAME”."""
    kind, _, name = where.partition(" ")
    namespace, slash, name = name.partition("/")
    if slash and kind in ("Certificate", "ExternalSecret", "SealedSecret"):
        return f"kubectl describe {kind.lower()} {name} -n {namespace}"
    return f"look at {where}"


def next_action(facts: Facts, status: HostStatus, problems: tuple[HostProblem, ...], view: ClusterView) -> str:
    """Return what to type or edit next; "" if nothing is wrong."""
    if problems:
        return problems[0].action
    if status == "served":
        return ""
    source = facts.bound.source if facts.bound else facts.wanted.source if facts.wanted else None
    if status == "compromised" and source:
        return action(source, "CertificateCompromised", _secret(source, view))
    if status in ("expiring", "expired") and source:
        return action(source, None, _secret(source, view))
    if status == "unreachable" or not facts.host:
        return f"certferry cert check {facts.place}"
    return f"certferry audit --host {facts.host} --since 1d"


def _problems(facts: Facts, view: ClusterView) -> Iterator[HostProblem]:
    yield from facts.barriers
    for wanted in facts.wants:
        if wanted.reason:
            what = action(wanted.source, wanted.reason, _secret(wanted.source, view))
            if wanted.reason == "HostNotCovered" and wanted.object.kind == "Ingress":
                what = f"name a Secret for {facts.host} in spec.tls of Ingress {_name(wanted.object)}"
            elif wanted.reason == "HostNotCovered" and wanted.object.kind == "Service":
                what = f"choose a certificate for {facts.host} on Service {_name(wanted.object)}"
            yield HostProblem(object=wanted.object, reason=wanted.reason, sentence=wanted.sentence, action=what)
    wanted_one = facts.wanted
    if facts.data_plane and wanted_one and not facts.substitute:
        yield HostProblem(
            object=wanted_one.object,
            reason="CertificateUnusable",
            sentence=f"The data plane rejected {wanted_one.source.certificate}: {facts.data_plane}.",
            action=action(wanted_one.source, "CertificateUnusable", _secret(wanted_one.source, view)),
        )
    for wanted in facts.wants:
        for warning in wanted.warnings:
            # of several hosts of one Secret the verdict on this one counts
            if warning.reason not in (wanted.reason, "HostNotCovered"):
                what = action(wanted.source, warning.reason, _secret(wanted.source, view))
                sentence = f"{capitalized(str(wanted.source))}: {warning.sentence}"
                yield HostProblem(object=wanted.object, reason=warning.reason, sentence=sentence, action=what)
    for problem in facts.on_claims:
        if problem.reason in _ON_INGRESS and problem.secret is None:
            look = f"kubectl describe {problem.object.kind.lower()} {problem.object.name} -n {problem.object.namespace}"
            yield HostProblem(object=problem.object, reason=problem.reason, sentence=problem.sentence, action=look)


def _without(wanted: WantedCertificate | None) -> HostStatus:
    """Return the status of a host whose wanted certificate is not bound."""
    if wanted is None or wanted.reason in ("SecretNotFound", "CertificateNotFound", None):
        return "missing"
    return "unusable"


def _shown_otherwise(facts: Facts) -> str:
    """Return how probes contradict the binding; "" if they do not."""
    for shown in facts.shown:
        if shown.reached and shown.mismatch:
            return f"{shown.mismatch} at {shown.address}" if shown.address else shown.mismatch
    return ""


def _got(facts: Facts) -> str:
    bound = facts.bound
    if bound is None:
        return "no certificate" if facts.listener_exists else "no connection: the port is not open"
    text = bound.source.certificate
    if bound.chain is None:
        return f"{text}, which cannot be read"
    text += f" ({bound.chain.fingerprint[:16]})"
    if facts.host and not covers(bound.chain.names, facts.host):
        return f"{text}, which does not cover {facts.host}"
    if bound.chain.not_before > facts.now:
        return f"{text}, which is not valid before {bound.chain.not_before:%Y-%m-%d %H:%M} UTC"
    if bound.chain.not_after <= facts.now:
        return f"{text}, which expired on {bound.chain.not_after:%Y-%m-%d %H:%M} UTC"
    text += f", valid until {bound.chain.not_after:%Y-%m-%d %H:%M} UTC"
    return f"{text}, whose key is marked as compromised" if bound.compromised else text


def _of_source(wanted: WantedCertificate) -> str:
    """Return the verdict on a wanted certificate as a sentence that names its source."""
    named = str(wanted.source)
    return wanted.sentence if named in wanted.sentence else f"{capitalized(named)}: {wanted.sentence}"


def _secret(source: CertificateSource, view: ClusterView) -> Secret | None:
    return view.secrets.get(source.secret) if source.secret and not source.cluster else None


def _name(ref: ObjectRef) -> Name:
    return Name(ref.namespace, ref.name)
