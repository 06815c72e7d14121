"""The slots of one listener, the selection for a client, and the invariant for bindings.

``keep_better`` holds the invariant: whatever the reason of a change, a host with a valid certificate keeps it until one
that is no worse replaces it.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from datetime import datetime
from typing import NamedTuple

import msgspec

from certferry.core import checks
from certferry.core.model.elb import Certificate, Listener

KEY_KINDS = ("EC", "RSA")
"""Certificates of both kinds may share a name; a client gets the kind that it supports."""


Claim = tuple[str, str]
"""(key kind, name); no two SNI certificates of a listener may have the same."""


class ListenerCertificates(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """The default certificate and those for named hosts."""

    default: Certificate | None = None
    sni: tuple[Certificate, ...] = ()

    @functools.cached_property
    def named(self) -> Mapping[str, tuple[Certificate, ...]]:
        """The SNI certificates by name."""
        named: dict[str, tuple[Certificate, ...]] = {}
        for certificate in self.sni:
            for name in certificate.domain:
                named[name] = (*named.get(name, ()), certificate)
        return named

    def answer(self, host: str, kind: str = "EC", without: str = "") -> Certificate | None:
        """Return the certificate for `host` ("" for none): exact name, longest wildcard, default.

        `without`: the id of a certificate that does not count.
        """
        exact = self.named.get(host, ())
        if len(exact) == 1 and not without:  # as for almost every host
            return exact[0]
        for name in self._matching_names(host):
            if matching := [c for c in self.named[name] if c.id != without]:
                return next((c for c in matching if kind_of(c) == kind), matching[0])
        return self.default if self.default and self.default.id != without else None

    def matching_name(self, host: str) -> str:
        """Return the SNI name that answers for `host`: exact, then longest wildcard; "" for the default."""
        return next(self._matching_names(host), "")

    def _matching_names(self, host: str) -> Iterator[str]:
        if host in self.named:
            yield host
        _, _, parent = host.partition(".")
        while parent:
            if f"*.{parent}" in self.named:
                yield f"*.{parent}"
            _, _, parent = parent.partition(".")


class HeldBackCertificate(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate that was not bound, the objection, and the certificate that stays."""

    rejected: Certificate
    kept: Certificate
    host: str
    """The host of the objection; "" for clients that name none."""
    objection: str


class _Case(NamedTuple):
    """The facts that every comparison needs."""

    now: datetime
    compromised: Set[str]


def kind_of(certificate: Certificate) -> str:
    """Return EC or RSA (any other kind of key counts as EC)."""
    return "RSA" if certificate.chain and certificate.chain.key.startswith("RSA") else "EC"


def claims(certificate: Certificate) -> frozenset[Claim]:
    """Return the names of a certificate, each with the kind of its key."""
    kind = kind_of(certificate)
    return frozenset((kind, name) for name in certificate.domain)


def current_slots(have: Listener | None, certificates: Mapping[str, Certificate]) -> ListenerCertificates:
    """Return the slots of an observed listener."""
    if have is None:
        return ListenerCertificates()
    sni = (certificates.get(ref) for ref in have.sni_container_refs or ())
    return ListenerCertificates(
        default=certificates.get(have.default_tls_container_ref or ""), sni=tuple(c for c in sni if c)
    )


def keep_better(
    want: ListenerCertificates,
    have: ListenerCertificates,
    staying: ListenerCertificates,
    hosts: Iterable[str],
    now: datetime,
    compromised: Set[str] = checks.NO_MARKS,
) -> tuple[ListenerCertificates, tuple[HeldBackCertificate, ...]]:
    """Return `want`, but for `hosts` never worse than `have`, and the certificates held back.

    `staying`: the certificates of `have` with the content that they are to get, under the names that they have.
    `compromised`: the public keys that are marked.
    Repeated on its own result until nothing changes, so that the next plan changes nothing.
    """
    if _same_selection(want, have):
        return want, ()
    wanted, case = sorted({"", *hosts}), _Case(now, compromised)
    kept, held = _hold(want, have, staying, wanted, case)
    for _ in range(2 + len(want.sni) + len(have.sni)):
        again, more = _hold(want, kept, kept, wanted, case)
        if again == kept:
            break
        kept, held = again, tuple(dict.fromkeys((*held, *more)))
    return kept, held


def _same_selection(one: ListenerCertificates, other: ListenerCertificates) -> bool:
    """Return whether both select certificates of the same ids for all clients."""
    return _selection(one) == _selection(other)


def _selection(slots: ListenerCertificates) -> tuple[str | None, list[tuple[str, str, tuple[str, ...]]]]:
    return slots.default.id if slots.default else None, [(c.id, kind_of(c), c.domain) for c in slots.sni]


def _hold(
    want: ListenerCertificates,
    have: ListenerCertificates,
    staying: ListenerCertificates,
    wanted: Sequence[str],
    case: _Case,
) -> tuple[ListenerCertificates, tuple[HeldBackCertificate, ...]]:
    held: list[HeldBackCertificate] = []
    # each round takes one certificate of `want` out, or brings one of `have` back
    for _ in range(2 + len(want.sni) + len(have.sni)):
        worse = next(_worse(want, have, wanted, case), None)
        if worse is None:
            break
        held.append(worse)
        want = _kept(want, staying, worse)
    return want, tuple(held)


def _worse(
    want: ListenerCertificates, have: ListenerCertificates, hosts: Iterable[str], case: _Case
) -> Iterator[HeldBackCertificate]:
    for host in hosts:
        for kind in KEY_KINDS:
            new, old = want.answer(host, kind), have.answer(host, kind)
            if new and old and new.id != old.id and (objection := _objection(new, old, host, case)):
                yield HeldBackCertificate(rejected=new, kept=old, host=host, objection=objection)


def _objection(new: Certificate, old: Certificate, host: str, case: _Case) -> str | None:
    if new.chain is None:
        return "it cannot be read" if old.chain else None
    finding = checks.objection(new.chain, old.chain, (host,) if host else (), case.now, case.compromised)
    return finding.sentence if finding else None


def _kept(
    want: ListenerCertificates, staying: ListenerCertificates, worse: HeldBackCertificate
) -> ListenerCertificates:
    """Return `want` without the rejected certificate, and with the kept one in the slots that it has."""
    sni = [c for c in want.sni if c.id != worse.rejected.id]
    back = next((c for c in staying.sni if c.id == worse.kept.id), None)
    if back:
        sni = [c for c in sni if c.id != back.id and not claims(c) & claims(back)] + [back]
    default = want.default
    if len(sni) == len(want.sni) and staying.default and staying.default.id == worse.kept.id:
        default = staying.default
    return ListenerCertificates(default=default, sni=tuple(sorted(sni, key=lambda c: c.id)))
