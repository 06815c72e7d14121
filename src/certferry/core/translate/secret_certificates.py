"""From Secrets to certificates: what content each certificate of ours is to have.

The second part of ``translate``, and all of the fast path. It knows Secrets and the invariant;
where a certificate is bound is ``binding``'s affair.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from datetime import datetime

import msgspec

from certferry.core import checks
from certferry.core.model import break_glass as emergency
from certferry.core.model import naming as names
from certferry.core.model import quarantine as parking
from certferry.core.model.elb import OWN_PREFIX, Certificate, Source, State
from certferry.core.model.kubernetes import ClusterView, Name, ObjectRef, Secret
from certferry.core.model.problems import Problem, Reason
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
    """Ingresses, the oldest first."""
    wanted: bool
    """Whether it is to be made when it does not exist (False: an ELB certificate has its place)."""


class SecretCertificate(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one Secret: the certificate to have (None: none can be), and problems."""

    certificate: Certificate | None
    problems: tuple[Problem, ...] = ()


def key_of(uid: str) -> str:
    """The key in the desired world of the certificate that follows Secret `uid`."""
    return f"@certificate/{uid}"


def follows(
    view: ClusterView,
    claims: Iterable[ListenerClaim],
    existing: OwnCertificates,
    serving: Mapping[str, frozenset[str]],
) -> Mapping[Name, SecretUse]:
    """Every Secret that a claim on an HTTPS port names, with who and what depends on it.

    `serving`: hosts by the id of the certificate that answers for them now.
    """
    uses: dict[Name, list[tuple[ListenerClaim, tuple[str, ...]]]] = {}
    for claim in claims:
        if claim.protocol == "HTTPS":
            for entry in claim.ingress.tls:
                if entry.secret:
                    name = Name(claim.ingress.meta.namespace, entry.secret)
                    uses.setdefault(name, []).append((claim, entry.hosts))
    result = {}
    for name, used in sorted(uses.items()):
        secret = view.secrets.get(name)
        hosts = {h for _, hosts in used for h in hosts}
        served = {h for claim, entry in used if not entry for h in _left(claim)}
        have = existing.following(view.cluster_id, name, secret.meta.uid if secret else None)
        served |= serving.get(have.id if have else "", frozenset())
        result[name] = SecretUse(
            secret=name,
            key=key_of(secret.meta.uid) if secret else f"@certificate/{name}",
            hosts=tuple(sorted(hosts)),
            depend=tuple(sorted(hosts | served)),
            users=tuple(dict.fromkeys(claim.ingress.ref for claim, _ in used)),
            wanted=any(not claim.values.tls_certificate_ids for claim, _ in used),
        )
    return result


def _left(claim: ListenerClaim) -> Iterable[str]:
    """The rule hosts for which no entry with hosts brings a certificate of its own."""
    named = tuple(h for entry in claim.ingress.tls for h in entry.hosts)
    return (h for h in claim.ingress.hosts if not covers(named, h))


def follow(
    view: ClusterView, existing: OwnCertificates, it: SecretUse, options: TranslateOptions, now: datetime
) -> SecretCertificate:
    """The certificate that `it` is to have now: the Secret's, or the one in place where that is better."""
    secret = view.secrets.get(it.secret)
    have = existing.following(view.cluster_id, it.secret, secret.meta.uid if secret else None)
    if secret is None:
        stays = f" The certificate {have.name} stays as it is." if have else ""
        text = f"Secret {it.secret} does not exist or cannot be read.{stays}"
        return SecretCertificate(certificate=have, problems=_on(it.users, "SecretNotFound", text))
    if secret.chain is None:
        flaw = secret.flaw.sentence if secret.flaw else ""
        return SecretCertificate(
            certificate=_kept(have, it),
            problems=_both(secret, it, "CertificateUnusable", flaw, _stays(have)),
        )
    if waiting := emergency.waits(have, secret.chain, now):
        sentence = f"The certificate in service is another: {emergency.told(waiting)}."
        rest = " It is put back then, unless it is worse by that time; a newer one is looked at now."
        return SecretCertificate(
            certificate=_kept(have, it), problems=_both(secret, it, "BreakGlassActive", sentence, rest)
        )
    before = have.chain if have else None
    if have and parking.waits(secret, have.description):
        sentence = f"The content of the Secret ({secret.chain.fingerprint[:16]}) is parked: clients saw that it does not work."
        rest = f"{_stays(have)} Change the Secret, or try again: certferry cert resume {it.secret}"
        return SecretCertificate(
            certificate=_kept(have, it), problems=_both(secret, it, "CertificateQuarantined", sentence, rest)
        )
    if refusal := checks.refusal(secret.chain, before, it.depend, now, options.checks):
        reason: Reason = "BreakGlassKept" if have and have.emergency else refusal.reason
        sentence = f"The new certificate is not taken: {refusal.sentence}."
        return SecretCertificate(
            certificate=_kept(have, it), problems=_both(secret, it, reason, sentence, _stays(have))
        )
    if not have and not it.wanted:
        return SecretCertificate(certificate=None)
    warnings = [
        f
        for f in checks.findings(secret.chain, before, it.depend, now, options.checks)
        if f.severity != "info"
    ]
    return SecretCertificate(
        certificate=content(secret, secret.chain, it, view.cluster_id, options.cluster_name),
        problems=tuple(
            p
            for w in warnings
            for p in _both(
                secret,
                it,
                w.reason,
                f"The certificate has a defect: {w.sentence}.",
                " It is served all the same.",
            )
        ),
    )


def content(secret: Secret, chain: Chain, it: SecretUse, cluster_id: str, cluster_name: str) -> Certificate:
    """The certificate that `secret` asks for. Its domain: the hosts it is named for, else its DNS names."""
    return Certificate(
        id=key_of(secret.meta.uid),
        name=names.certificate_name(cluster_id, secret.meta.key, secret.meta.uid),
        description=names.describe(cluster_id, secret_id=secret.meta.uid, content=mark_of(chain)),
        domain=domain(it.hosts or chain.sans),
        chain=chain,
        source=Source(cluster=cluster_name, namespace=secret.meta.namespace, secret=secret.meta.name),
    )


def mark_of(chain: Chain) -> str:
    """What a description says of the content: see ``names.mark``."""
    return chain.digest[:8]


def renewed(certificate: Certificate, chain: Chain) -> Certificate:
    """`certificate` with the content `chain`, and said so."""
    said = {k: v for k, v in names.described(certificate.description).items() if k == "secret_id"}
    cluster_id = names.described(certificate.description).get("cluster_id", "")
    description = names.describe(cluster_id, **said, content=mark_of(chain))
    return msgspec.structs.replace(certificate, chain=chain, description=description)


def domain(hosts: Iterable[str]) -> tuple[str, ...]:
    """`hosts` as a ``domain`` may have them: at most 100 names, no IP addresses (ELB v3)."""
    return tuple(sorted(h for h in set(hosts) if ":" not in h and not h.replace(".", "").isdigit()))[:100]


class OwnCertificates(msgspec.Struct, frozen=True, kw_only=True):
    """The observed certificates of this cluster, ready to be looked up."""

    by_uid: Mapping[str, Certificate]
    """By the uid of the Secret; the one with the smallest id, where an answer was lost and two were made."""
    by_stem: Mapping[str, Certificate]
    """By name without the uid: the one that followed a Secret before it was deleted and made anew."""

    def following(self, cluster_id: str, secret: Name, uid: str | None) -> Certificate | None:
        """The certificate that follows `secret`, or did before it was made anew."""
        stem = names.certificate_name(cluster_id, secret, "").removesuffix("_")
        return self.by_uid.get(uid or "") or self.by_stem.get(stem)


def ours(observed: State, cluster_id: str, secrets: Set[str] = frozenset()) -> OwnCertificates:
    """The certificates on the ELB that are this cluster's: by their description, or because they follow
    one of `secrets` (uids) and the description names no cluster.
    """
    by_uid: dict[str, Certificate] = {}
    by_stem: dict[str, Certificate] = {}
    vendor_s: list[tuple[str, Certificate]] = []
    for certificate in sorted(observed.certificates.values(), key=lambda c: c.id):
        said = names.described(certificate.description)
        if said.get("cluster_id") == cluster_id and "secret_id" in said:
            by_uid.setdefault(said["secret_id"], certificate)
            by_stem.setdefault(certificate.name.rpartition("_")[0], certificate)
        elif said.get("secret_id") in secrets and not said.get("cluster_id"):
            vendor_s.append((said["secret_id"], certificate))
    for uid, certificate in vendor_s:
        # A uid is given once: no other cluster has that Secret. The name says that a controller made it.
        if certificate.name.startswith(OWN_PREFIX):
            by_uid.setdefault(uid, certificate)
    return OwnCertificates(by_uid=by_uid, by_stem=by_stem)


def _kept(have: Certificate | None, it: SecretUse) -> Certificate | None:
    """The one in place as the desired one: nothing to write."""
    if have is None or names.described(have.description).get("secret_id") != it.key.removeprefix(
        "@certificate/"
    ):
        return have
    return msgspec.structs.replace(have, id=it.key)


def _stays(have: Certificate | None) -> str:
    if have is None or have.chain is None:
        return " There is none to serve in its place."
    which = "emergency certificate" if have.emergency else "one"
    return f" The {which} in service ({listed(have.chain.names)}, valid until {have.chain.not_after:%Y-%m-%d %H:%M} UTC) stays."


def _both(secret: Secret, it: SecretUse, reason: Reason, sentence: str, rest: str) -> tuple[Problem, ...]:
    on_secret = Problem(object=secret.ref, reason=reason, sentence=sentence + rest)
    return (on_secret, *_on(it.users, reason, f"Secret {it.secret}: {sentence}{rest}"))


def _on(objects: Iterable[ObjectRef], reason: Reason, sentence: str) -> tuple[Problem, ...]:
    return tuple(Problem(object=o, reason=reason, sentence=sentence) for o in objects)
