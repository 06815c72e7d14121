"""Decide the content of the managed certificate of each Secret.

The invariant holds: a Secret's content never replaces a better one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Set
from datetime import datetime
from types import MappingProxyType
from typing import Final

import msgspec

from certferry.core import checks
from certferry.core.model import break_glass, quarantine
from certferry.core.model import naming as names
from certferry.core.model.elb import ENCRYPTED, OWN_PREFIX, Certificate, Source, State
from certferry.core.model.kubernetes import ClusterView, Name, ObjectRef, Secret
from certferry.core.model.problems import Problem, Reason
from certferry.core.translate.certificate_slots import KEY_KINDS, HeldBackCertificate, ListenerCertificates, kind_of
from certferry.core.translate.listener_claims import ListenerClaim, TranslateOptions
from certferry.core.x509.pem import Chain, covers, listed


class SecretUse(msgspec.Struct, frozen=True, kw_only=True):
    """A Secret in use: its certificate's key, and the hosts that depend on it."""

    secret: Name
    key: str
    hosts: tuple[str, ...]
    """The `hosts` of all spec.tls entries that name it; they become the certificate's domain."""
    depend: tuple[str, ...]
    """Those, the rule hosts of Ingresses that have it as server certificate, and the hosts for which
    it is served now."""
    users: tuple[ObjectRef, ...]
    """Ingresses and Services, the oldest first."""
    places: tuple[SecretPlace, ...]
    """The listeners and hosts that want it."""
    wanted: bool
    """True if it is created if it does not exist (False: an ELB certificate is used instead)."""

    @property
    def own_hosts(self) -> tuple[str, ...]:
        """Return the hosts that it is wanted for, without those that it serves as default certificate."""
        return tuple(sorted({h for place in self.places for h in place.hosts if h}))


class SecretPlace(msgspec.Struct, frozen=True, kw_only=True):
    """One listener on which a claim wants a Secret."""

    loadbalancer: str
    port: int
    hosts: tuple[str, ...]
    """The hosts of the spec.tls entry, else the rule hosts that no entry names; ("",) if there are none."""


class SecretVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is wrong with a Secret. What is bound is not known yet, so that no sentence says it."""

    reason: Reason
    sentence: str
    advice: str = ""
    """The next action, if the sentence does not name it."""
    rejected: bool = False
    """True if its content is not to be served."""

    @property
    def clause(self) -> str:
        """The sentence without its frame, to go on after a colon."""
        return self.sentence.removeprefix(_REJECTED).removesuffix(".")


class SecretCertificate(msgspec.Struct, frozen=True, kw_only=True):
    """The certificate that one Secret is to have (None: none can be made), and the verdicts on its content."""

    certificate: Certificate | None
    verdicts: tuple[SecretVerdict, ...] = ()


NOT_FOR_OTHERS: Final = "it does not cover a host of another Ingress that gets the bound certificate"
"""An objection over a host that is not the reader's."""
_REJECTED: Final = "Rejected the new certificate: "
NEW_KEY: Final = " Issue a certificate with a new key."
_ADVICE: Final[Mapping[Reason, str]] = MappingProxyType({"CertificateCompromised": NEW_KEY})


def key_of(uid: str) -> str:
    """Return the key of the managed certificate of the Secret `uid`."""
    return f"@certificate/{uid}"


def secret_uses(
    view: ClusterView, claims: Iterable[ListenerClaim], existing: OwnCertificates, serving: Mapping[str, frozenset[str]]
) -> Mapping[Name, SecretUse]:
    """Return every Secret that a claim on an HTTPS or TLS port names, with its users and hosts.

    `serving`: hosts by the id of the certificate that answers for them now.
    """
    uses: dict[Name, list[tuple[ListenerClaim, tuple[str, ...]]]] = {}
    for claim in claims:
        if claim.protocol in ENCRYPTED:
            for entry in claim.ingress.tls:
                if entry.secret:
                    name = Name(claim.ingress.meta.namespace, entry.secret)
                    uses.setdefault(name, []).append((claim, entry.hosts))
    result = {}
    once: dict[int, tuple[str, ...]] = {}

    def left(claim: ListenerClaim) -> tuple[str, ...]:
        if id(claim) not in once:
            once[id(claim)] = tuple(_left(claim))
        return once[id(claim)]

    for name, used in sorted(uses.items()):
        secret = view.secrets.get(name)
        hosts = {h for _, hosts in used for h in hosts}
        served = {h for claim, entry in used if not entry for h in left(claim)}
        have = existing.following(view.cluster_id, name, secret.meta.uid if secret else None)
        served |= serving.get(have.id if have else "", frozenset())
        result[name] = SecretUse(
            secret=name,
            key=key_of(secret.meta.uid) if secret else f"@certificate/{name}",
            hosts=tuple(sorted(hosts)),
            depend=tuple(sorted(hosts | served)),
            users=tuple(dict.fromkeys(claim.ingress.ref for claim, _ in used)),
            places=tuple(_place(claim, hosts or left(claim)) for claim, hosts in used),
            wanted=any(not claim.values.tls_certificate_ids for claim, _ in used),
        )
    return result


def _place(claim: ListenerClaim, hosts: tuple[str, ...]) -> SecretPlace:
    return SecretPlace(loadbalancer=claim.loadbalancer, port=claim.port, hosts=hosts or ("",))


def _left(claim: ListenerClaim) -> Iterable[str]:
    """Return the rule hosts that no entry with hosts covers."""
    named = {h for entry in claim.ingress.tls for h in entry.hosts}
    return (h for h in claim.ingress.hosts if not covers(named, h))


def secret_certificate(
    view: ClusterView, existing: OwnCertificates, use: SecretUse, options: TranslateOptions, now: datetime
) -> SecretCertificate:
    """Return the certificate that `use` is to have now: the Secret's, or the one in place if that is better."""
    secret = view.secrets.get(use.secret)
    have = existing.following(view.cluster_id, use.secret, secret.meta.uid if secret else None)
    if secret is None:
        text = f"Secret {use.secret} does not exist or cannot be read."
        return SecretCertificate(
            certificate=have, verdicts=(SecretVerdict(reason="SecretNotFound", sentence=text, rejected=True),)
        )
    if rejection := _rejection(secret, have, use, options, now):
        return SecretCertificate(certificate=_kept(have, use), verdicts=(rejection,))
    if secret.chain is None or (not have and not use.wanted):
        return SecretCertificate(certificate=None)
    before = have.chain if have else None
    judged = checks.findings(secret.chain, before, use.own_hosts, now, options.checks, compromised=options.compromised)
    warnings = [f for f in judged if f.severity != "info"]
    return SecretCertificate(
        certificate=content(secret, secret.chain, use, view.cluster_id, options.cluster_name),
        verdicts=(
            *(
                SecretVerdict(
                    reason=w.reason,
                    sentence=f"The certificate has a defect: {w.sentence}.",
                    advice=_ADVICE.get(w.reason, ""),
                )
                for w in warnings
            ),
            *_left_out(use),
        ),
    )


def _left_out(use: SecretUse) -> Iterator[SecretVerdict]:
    """Report hosts that the load balancer cannot hold as SNI names."""
    names_left_out = tuple(h for h in use.hosts if not fits_domain(h))
    if names_left_out:
        sentence = (
            f"The load balancer has no SNI name for {listed(names_left_out)} (at most 100 characters: letters, digits, "
            "hyphens, * in front alone): clients of it get the server certificate of the port."
        )
        yield SecretVerdict(reason="LimitExceeded", sentence=sentence)


def _rejection(
    secret: Secret, have: Certificate | None, use: SecretUse, options: TranslateOptions, now: datetime
) -> SecretVerdict | None:
    """Return why the content of `secret` is not to be served now; None if it is."""
    if secret.chain is None:
        flaw = secret.flaw.sentence if secret.flaw else "It holds no certificate."
        return SecretVerdict(reason="CertificateUnusable", sentence=flaw, rejected=True)
    if not options.checks.usable_type(secret):
        sentence = "Its type is Opaque, which the setting controller.opaque_secrets excludes."
        return SecretVerdict(reason="CertificateUnusable", sentence=sentence, rejected=True)
    if waiting := break_glass.waiting_for(have, secret.chain, now):
        sentence = f"The Secret's certificate waits: {break_glass.break_glass_text(waiting)}."
        advice = " It is served after that if it is no worse; a newer one is judged at once."
        return SecretVerdict(
            reason=break_glass.waiting_reason(waiting), sentence=sentence, advice=advice, rejected=True
        )
    if have and quarantine.is_quarantined(secret, have.description):
        sentence = (
            f"The Secret's certificate ({secret.chain.fingerprint[:16]}) is quarantined: it did not work for clients."
        )
        advice = f" Change the Secret, or try again: certferry cert resume {use.secret}"
        return SecretVerdict(reason="CertificateQuarantined", sentence=sentence, advice=advice, rejected=True)
    refusal = _refusal(secret.chain, have.chain if have else None, use, options, now)
    if refusal is None:
        return None
    reason: Reason = "BreakGlassKept" if have and have.emergency else refusal.reason
    sentence = f"{_REJECTED}{refusal.sentence}."
    return SecretVerdict(reason=reason, sentence=sentence, advice=_ADVICE.get(reason, ""), rejected=True)


def _refusal(
    chain: Chain, before: Chain | None, use: SecretUse, options: TranslateOptions, now: datetime
) -> checks.Finding | None:
    """Return why `chain` may not replace `before`. Hosts of other claims count, and are not named."""
    marked = options.compromised
    if finding := checks.refusal(chain, before, use.own_hosts, now, options.checks, marked):
        return finding
    finding = checks.refusal(chain, before, use.depend, now, options.checks, marked)
    if finding and finding.reason == "HostNotCovered":
        return msgspec.structs.replace(finding, sentence=NOT_FOR_OTHERS)
    return finding


def verdicts(
    use: SecretUse, followed: SecretCertificate, held: Iterable[HeldBackCertificate]
) -> tuple[SecretVerdict, ...]:
    """Return the verdicts on a Secret, also by what the invariant `held` back from being bound; each once."""
    ours, own_hosts, results = followed.certificate, use.own_hosts, list(followed.verdicts)
    for one in held:
        said = any(one.objection in verdict.sentence for verdict in results)
        if ours and one.rejected.id == ours.id and not said:
            text = one.objection if not one.host or one.host in own_hosts else NOT_FOR_OTHERS
            sentence = f"Its certificate does not replace the one that is bound: {text}."
            results.append(SecretVerdict(reason="CertificateHeldBack", sentence=sentence))
    return tuple(dict.fromkeys(results))


def problems(
    use: SecretUse,
    secret: Secret | None,
    ours: Certificate | None,
    found: Iterable[SecretVerdict],
    bound: Mapping[tuple[str, int], ListenerCertificates],
) -> Iterator[Problem]:
    """Report the verdicts on a Secret on it and its Ingresses, with what is bound for the hosts that want it.

    `bound`: the slots that each listener is to have. `ours`: the certificate that the Secret is to have.
    """
    for verdict in found:
        sentence = verdict.sentence + _served_instead(use, ours, verdict, bound) + verdict.advice
        if secret:
            yield Problem(object=secret.ref, reason=verdict.reason, sentence=sentence)
        named = sentence if str(use.secret) in verdict.sentence else f"Secret {use.secret}: {sentence}"
        for user in use.users:
            yield Problem(object=user, reason=verdict.reason, sentence=named, secret=use.secret)


def _served_instead(
    use: SecretUse,
    ours: Certificate | None,
    verdict: SecretVerdict,
    bound: Mapping[tuple[str, int], ListenerCertificates],
) -> str:
    """Return what clients of the hosts that want the Secret get, from the listeners' own selection."""
    kind = kind_of(ours) if ours else KEY_KINDS[0]
    served: dict[str, set[str]] = {}
    others: dict[str, set[str]] = {}
    for place in use.places:
        slots = bound.get((place.loadbalancer, place.port), ListenerCertificates())
        for host in place.hosts:
            answer = slots.answer(host, kind)
            if answer and ours and names.certificate_stem(answer.name) == names.certificate_stem(ours.name):
                kept = verdict.rejected or answer.id != ours.id  # of the Secret before it was created again
                served.setdefault(_still(answer) if kept else "It is served anyway", set()).add(host)
            else:
                others.setdefault(_other(answer, host, place.port), set()).add(host)
    text = ""
    for what, hosts in sorted(served.items()):
        only = f" for {listed(_named(hosts))}" if (others or len(served) > 1) and any(hosts) else ""
        text += f" {what}{only}."
    for what, hosts in sorted(others.items()):
        clients = f"Clients of {listed(named)}" if (named := _named(hosts)) else "Clients that name no host"
        text += f" {clients} get {what}."
    return text


def _still(certificate: Certificate) -> str:
    paused = certificate.break_glass is not None and certificate.break_glass.kind == "rollback-pause"
    which = "earlier" if paused else "emergency" if certificate.emergency else "previous"
    if certificate.chain is None:
        return f"Still serving the {which} certificate, which cannot be read"
    end = f"{certificate.chain.not_after:%Y-%m-%d %H:%M} UTC"
    return f"Still serving the {which} certificate ({listed(certificate.chain.names)}, valid until {end})"


def _other(answer: Certificate | None, host: str, port: int) -> str:
    """Return how a certificate of another source is named: it may belong to another tenant."""
    if answer is None:
        return f"no certificate on port {port}"
    covered = host and answer.chain and covers(answer.chain.names, host)
    which = "covers it" if covered else "does not cover it"
    return f"another certificate on port {port}" + (f", which {which}" if host else "")


def _named(hosts: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(h for h in hosts if h))


def content(secret: Secret, chain: Chain, use: SecretUse, cluster_id: str, cluster_name: str) -> Certificate:
    """Return the certificate of `secret`. Its domain: the hosts it is named for, else its DNS names."""
    return Certificate(
        id=key_of(secret.meta.uid),
        name=names.certificate_name(cluster_id, secret.meta.key, secret.meta.uid),
        description=names.describe(cluster_id, secret_id=secret.meta.uid, content=mark_of(chain)),
        domain=domain(use.hosts or chain.sans),
        chain=chain,
        source=Source(cluster=cluster_name, namespace=secret.meta.namespace, secret=secret.meta.name),
    )


def mark_of(chain: Chain) -> str:
    """Return the mark of the content for a description: see ``naming.mark``."""
    return chain.digest[:8]


def renewed(certificate: Certificate, chain: Chain) -> Certificate:
    """Return `certificate` with the content `chain` and its mark."""
    said = {k: v for k, v in names.described(certificate.description).items() if k == "secret_id"}
    cluster_id = names.described(certificate.description).get("cluster_id", "")
    description = names.describe(cluster_id, **said, content=mark_of(chain))
    return msgspec.structs.replace(certificate, chain=chain, description=description)


_LABEL: Final = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_DOMAIN_NAME: Final = re.compile(rf"(?=.{{1,100}}$)(?:\*\.)?{_LABEL}(?:\.{_LABEL})*")


def fits_domain(name: str) -> bool:
    """Return whether ``domain`` may have `name`: at most 100 characters, no underscore, ``*.`` only in front (ELB v3)."""
    return _DOMAIN_NAME.fullmatch(name) is not None and not name.replace(".", "").isdigit()


def domain(hosts: Iterable[str]) -> tuple[str, ...]:
    """Return those of `hosts` that ``domain`` may have, sorted: at most 100 names, no IP addresses (ELB v3)."""
    return tuple(sorted(filter(fits_domain, set(hosts))))[:100]


class OwnCertificates(msgspec.Struct, frozen=True, kw_only=True):
    """The observed certificates of this cluster, indexed."""

    by_uid: Mapping[str, Certificate]
    """By the uid of the Secret; the smallest id if a lost response led to two."""
    by_stem: Mapping[str, Certificate]
    """By name without the uid: the one of a Secret that was deleted and created again."""

    def following(self, cluster_id: str, secret: Name, uid: str | None) -> Certificate | None:
        """Return the certificate of `secret`, also of one that was deleted and created again."""
        stem = names.certificate_name(cluster_id, secret, "").removesuffix("_")
        return self.by_uid.get(uid or "") or self.by_stem.get(stem)


def own_certificates(observed: State, cluster_id: str, secrets: Set[str] = frozenset()) -> OwnCertificates:
    """Return the certificates of this cluster on the ELB.

    The description names the cluster, or it names no cluster and one of `secrets` (uids).
    """
    by_uid: dict[str, Certificate] = {}
    by_stem: dict[str, Certificate] = {}
    vendor_s: list[tuple[str, Certificate]] = []
    for certificate in sorted(observed.certificates.values(), key=lambda c: c.id):
        said = names.described(certificate.description)
        if said.get("cluster_id") == cluster_id and "secret_id" in said:
            by_uid.setdefault(said["secret_id"], certificate)
            by_stem.setdefault(names.certificate_stem(certificate.name), certificate)
        elif said.get("secret_id") in secrets and not said.get("cluster_id"):
            vendor_s.append((said["secret_id"], certificate))
    for uid, certificate in vendor_s:
        # A uid is unique: no other cluster has that Secret. The name shows that a controller created it.
        if certificate.name.startswith(OWN_PREFIX):
            by_uid.setdefault(uid, certificate)
    return OwnCertificates(by_uid=by_uid, by_stem=by_stem)


def _kept(have: Certificate | None, use: SecretUse) -> Certificate | None:
    """Return the observed certificate as the desired one, so that nothing is written."""
    if have is None or names.described(have.description).get("secret_id") != use.key.removeprefix("@certificate/"):
        return have
    return msgspec.structs.replace(have, id=use.key)
