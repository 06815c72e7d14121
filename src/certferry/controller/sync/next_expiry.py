"""The next instant at which a certificate becomes valid or expires; the loop reconciles then."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from certferry.core import checks
from certferry.core.model.elb import State
from certferry.core.model.kubernetes import ClusterView
from certferry.core.translate.translate import Translation
from certferry.core.x509.pem import Chain


def next_validity_change(translation: Translation, view: ClusterView, state: State, now: datetime) -> datetime | None:
    """Return the next change of validity of certificates that are in use or wanted."""
    instants = (checks.next_instant(chain, now) for chain in _watched(translation, view, state))
    return min((i for i in instants if i), default=None)


def _watched(translation: Translation, view: ClusterView, state: State) -> Iterator[Chain]:
    for follow in translation.secret_uses.values():
        secret = view.secrets.get(follow.secret)
        if secret and secret.chain:
            yield secret.chain
    bound = {
        ref
        for it in translation.desired.listeners.values()
        for ref in (it.default_tls_container_ref, *(it.sni_container_refs or ()))
    }
    for certificate in state.certificates.values():
        if certificate.id in bound and certificate.chain:
            yield certificate.chain
