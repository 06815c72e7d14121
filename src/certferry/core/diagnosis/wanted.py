"""The certificates that claims want for their hosts, and the verdict on each.

A verdict comes from the Secret or the ELB certificate that the claim names, never from the certificate that
happens to be bound.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final, Literal

import msgspec

from certferry.core import checks
from certferry.core.checks import CheckInput, leaf
from certferry.core.model import naming as names
from certferry.core.model.elb import Certificate, State
from certferry.core.model.kubernetes import ClusterView, Name, ObjectRef, Secret, TlsEntry
from certferry.core.model.problems import Reason
from certferry.core.translate import secret_certificates
from certferry.core.translate.certificate_slots import ListenerCertificates, kind_of
from certferry.core.translate.listener_claims import ListenerClaim
from certferry.core.translate.secret_certificates import NEW_KEY, SecretVerdict, key_of
from certferry.core.translate.translate import Translation
from certferry.core.x509.pem import Chain, covering, covers

KeyKind = Literal["", "RSA", "ECDSA"]
SLOT_KINDS: Final[Mapping[KeyKind, str]] = {"": "EC", "ECDSA": "EC", "RSA": "RSA"}
"""The kinds of ``ListenerCertificates.answer`` by the kind of a host's key."""
NOT_IN_PLACE: Final[frozenset[Reason]] = frozenset({"CertificateUnusable", "CertificateNotFound", "SecretNotFound"})
"""Verdicts by which there is nothing to bind."""


class CertificateSource(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """The source of a certificate's content: a Secret, or an ELB certificate."""

    secret: Name | None = None
    certificate_id: str = ""
    """Of an ELB certificate; "" if it is a Secret."""
    name: str = ""
    """Of an ELB certificate: its name, else its id."""
    cluster: str = ""
    """Of a Secret in another cluster; "" if it is this one."""

    def __str__(self) -> str:
        if self.secret is None:
            return f"ELB certificate {self.name or self.certificate_id}"
        return f"Secret {self.secret}" + (f" of cluster {self.cluster}" if self.cluster else "")

    @property
    def certificate(self) -> str:
        """The name of the certificate in a sentence."""
        return f"the certificate of {self}" if self.secret else str(self)


class WantedCertificate(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate that a claim names for one host, and whether it can be served."""

    source: CertificateSource
    ingress: ObjectRef
    object: ObjectRef
    """The object that has to change if `reason` is set: the Secret if it exists, else the Ingress."""
    reason: Reason | None = None
    """None: it can be served for this host."""
    sentence: str = ""
    chain: Chain | None = None
    """The content of the source; None if it has none."""
    certificate_id: str = ""
    """Id on the ELB; "" if it is not there."""
    key: str = ""
    """Its key in the desired state, or its id."""
    kind: KeyKind = ""
    rejected: bool = False
    """True if its content is not to be served at all."""
    warnings: tuple[SecretVerdict, ...] = ()
    """Defects of a content that is served all the same."""

    @property
    def good(self) -> bool:
        """True if it can be served for this host and is wanted."""
        return self.reason is None

    @property
    def bindable(self) -> bool:
        """True if there is a content to bind, possibly the previous one."""
        return bool(self.certificate_id) or self.reason not in NOT_IN_PLACE


class WantedCertificates:
    """The wanted certificates of one cluster, by claim and host. Secrets are judged once each."""

    def __init__(self, view: ClusterView, observed: State, translation: Translation, now: datetime) -> None:
        self._view, self._observed, self._translation, self._now = view, observed, translation, now
        uids = {secret.meta.uid for secret in view.secrets.values()}
        self._own = secret_certificates.own_certificates(observed, view.cluster_id, uids)
        self._entries: dict[ObjectRef, _TlsEntries] = {}
        self._judged: dict[tuple[Name, ObjectRef], WantedCertificate] = {}

    def of(self, claim: ListenerClaim, host: str) -> tuple[WantedCertificate, ...]:
        """Return what `claim` names for `host` ("" for clients that name none), one of each key kind."""
        if claim.values.tls_certificate_ids:
            named = self._from_elb(claim, claim.values.tls_certificate_ids, host)
        else:
            namespace = claim.ingress.meta.namespace
            entries = self._tls(claim)
            judged = [self._from_secret(claim, Name(namespace, e.secret)) for e in entries.choice(host)]
            named = _preferred(judged, host)
        by_kind = {one.kind: one for one in reversed(named)}
        named_here = any(self._tls(claim).by_host.get(name) for name in covering(host))
        return tuple(_for_host(claim, one, host, named=named_here) for _, one in sorted(by_kind.items()))

    def _tls(self, claim: ListenerClaim) -> _TlsEntries:
        """Return the spec.tls entries of the claim's object, indexed once, because it may have thousands."""
        key = claim.ingress.ref
        if key not in self._entries:
            self._entries[key] = _TlsEntries(claim.ingress.tls)
        return self._entries[key]

    def _from_secret(self, claim: ListenerClaim, name: Name) -> WantedCertificate:
        key = name, claim.ingress.ref
        if key not in self._judged:
            self._judged[key] = self._judge(claim, name)
        return self._judged[key]

    def _judge(self, claim: ListenerClaim, name: Name) -> WantedCertificate:
        secret = self._view.secrets.get(name)
        have = self._own.following(self._view.cluster_id, name, secret.meta.uid if secret else None)
        wanted = WantedCertificate(
            source=CertificateSource(secret=name),
            ingress=claim.ingress.ref,
            object=secret.ref if secret else claim.ingress.ref,
            chain=secret.chain if secret else None,
            certificate_id=have.id if have else "",
            key=key_of(secret.meta.uid) if secret else have.id if have else "",
            kind=_kind(secret.chain if secret else None) or _kind(have.chain if have else None),
        )
        if secret is None:
            text = f"Secret {name} does not exist or cannot be read."
            return msgspec.structs.replace(wanted, reason="SecretNotFound", sentence=text)
        return self._secret_verdict(wanted, secret)

    def _secret_verdict(self, wanted: WantedCertificate, secret: Secret) -> WantedCertificate:
        """Add what the translation says of a Secret's content, else whether it can be served now."""
        said = self._translation.verdicts.get(secret.meta.key, ())
        warnings = tuple(v for v in said if not v.rejected)
        if rejected := next((v for v in said if v.rejected), None):
            text = rejected.sentence + rejected.advice
            return msgspec.structs.replace(wanted, reason=rejected.reason, sentence=text, rejected=True)
        if secret.chain is None:
            text = secret.flaw.sentence if secret.flaw else "It holds no certificate."
            return msgspec.structs.replace(wanted, reason="CertificateUnusable", sentence=text)
        wanted = msgspec.structs.replace(wanted, warnings=warnings)
        return self._validity(wanted, secret.chain)

    def _validity(self, wanted: WantedCertificate, chain: Chain) -> WantedCertificate:
        case = CheckInput(chain=chain, now=self._now)
        finding = leaf.loadable(case) or leaf.not_expired(case) or leaf.started(case)
        if finding is None:
            return wanted
        text = f"{capitalized(wanted.source.certificate)} cannot be used: {finding.sentence}."
        return msgspec.structs.replace(wanted, reason=finding.reason, sentence=text)

    def _from_elb(self, claim: ListenerClaim, ids: Sequence[str], host: str) -> list[WantedCertificate]:
        there = {ref: c for ref in ids if (c := self._observed.certificates.get(ref)) and c.type == "server"}
        if ids[0] in there:
            sni = tuple(there[ref] for ref in ids[1:] if ref in there and there[ref].domain)
            own = ListenerCertificates(default=there[ids[0]], sni=sni)
            answers = (own.answer(host, kind) for kind in ("EC", "RSA"))
            chosen = {c.id: c for c in answers if c}
            return [self._elb_certificate(claim, certificate) for certificate in chosen.values()]
        missing = WantedCertificate(
            source=CertificateSource(certificate_id=ids[0]),
            ingress=claim.ingress.ref,
            object=claim.ingress.ref,
            reason="CertificateNotFound",
            sentence=f"There is no server certificate {ids[0]} on the load balancer (annotation elb.tls-certificate-ids).",
            key=ids[0],
        )
        return [missing]

    def _elb_certificate(self, claim: ListenerClaim, certificate: Certificate) -> WantedCertificate:
        wanted = WantedCertificate(
            source=CertificateSource(certificate_id=certificate.id, name=certificate.name),
            ingress=claim.ingress.ref,
            object=claim.ingress.ref,
            chain=certificate.chain,
            certificate_id=certificate.id,
            key=certificate.id,
            kind=_kind(certificate.chain),
        )
        if certificate.chain is None:
            text = f"{wanted.source} cannot be read."
            return msgspec.structs.replace(wanted, reason="CertificateUnusable", sentence=text)
        if finding := checks.compromised(certificate.chain, self._translation.compromised):
            verdict = SecretVerdict(reason=finding.reason, sentence=f"{finding.sentence}.", advice=NEW_KEY)
            wanted = msgspec.structs.replace(wanted, warnings=(verdict,))
        return self._validity(wanted, certificate.chain)


class CertificateSources:
    """The sources of ELB certificates: the Secrets of one cluster by uid and by name."""

    def __init__(self, view: ClusterView) -> None:
        self._cluster_id = view.cluster_id
        self._by_uid = {secret.meta.uid: name for name, secret in view.secrets.items()}
        wanted = {Name(n.namespace, e.secret) for n, i in view.ingresses.items() for e in i.tls if e.secret}
        self._by_stem = {
            names.certificate_name(view.cluster_id, name, "").removesuffix("_"): name
            for name in sorted({*view.secrets, *wanted})
        }

    def of(self, certificate: Certificate) -> CertificateSource:
        """Return the source by the Secret's uid in the description, else by the ELB's record, else by the name.

        The name counts for a Secret that was deleted or made anew (see ``OwnCertificates.following``).
        """
        said, origin = names.described(certificate.description), certificate.source
        marked, uid = said.get("cluster_id"), said.get("secret_id") or said.get(names.TWIN, "")
        ours = not self._cluster_id or marked in (None, self._cluster_id)
        if ours and (name := self._by_uid.get(uid)):
            return CertificateSource(secret=name)
        if origin and uid:
            cluster = "" if ours and marked else origin.cluster or marked or ""
            return CertificateSource(secret=Name(origin.namespace, origin.secret), cluster=cluster)
        stem = names.certificate_stem(certificate.name)
        if marked == self._cluster_id and uid and (name := self._by_stem.get(stem)):
            return CertificateSource(secret=name)
        return CertificateSource(certificate_id=certificate.id, name=certificate.name)


def key_kind(certificate: Certificate) -> KeyKind:
    """Return the key kind of `certificate`."""
    return "RSA" if kind_of(certificate) == "RSA" else "ECDSA"


def capitalized(text: str) -> str:
    """Return `text` as the begin of a sentence."""
    return text[:1].upper() + text[1:]


def _kind(chain: Chain | None) -> KeyKind:
    return "" if chain is None else "RSA" if chain.key.startswith("RSA") else "ECDSA"


class _TlsEntries:
    """The spec.tls entries of one object by host."""

    def __init__(self, entries: Sequence[TlsEntry]) -> None:
        self._first: list[TlsEntry] = []
        self._bare: list[TlsEntry] = []
        self.by_host: dict[str, list[TlsEntry]] = {}
        for entry in entries:
            if entry.secret:
                self._first = self._first or [entry]
                self._bare += [] if entry.hosts else [entry]
            for host in dict.fromkeys(entry.hosts):
                self.by_host.setdefault(host, []).append(entry)

    def choice(self, host: str) -> Sequence[TlsEntry]:
        """Return the entries for `host`: exact, wildcard, without hosts, else the first (as binding does)."""
        for name in (host, *covering(host)) if host else ():
            if named := [entry for entry in self.by_host.get(name, ()) if entry.secret]:
                return named
        return self._bare or self._first


def _preferred(judged: Iterable[WantedCertificate], host: str) -> list[WantedCertificate]:
    """Sort those first that cover `host`; of one kind the first counts."""
    return sorted(judged, key=lambda w: bool(host) and not (w.chain and covers(w.chain.names, host)))


def _for_host(claim: ListenerClaim, wanted: WantedCertificate, host: str, *, named: bool) -> WantedCertificate:
    """Add the verdict that depends on the host: the content has to cover it. `named`: spec.tls covers the host.

    The source has to change if spec.tls names it for this host, else the Ingress, which names nothing.
    """
    if not host or not wanted.good or wanted.chain is None or covers(wanted.chain.names, host):
        return wanted
    text = f"{capitalized(wanted.source.certificate)} does not cover {host}."
    change = wanted.object if named else claim.ingress.ref
    return msgspec.structs.replace(wanted, reason="HostNotCovered", sentence=text, object=change)
