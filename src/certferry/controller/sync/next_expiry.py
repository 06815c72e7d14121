"""When a certificate begins or ceases to be valid: the loop looks again at that instant, not at a resync."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from certferry.core import checks
from certferry.core.model.elb import State
from certferry.core.model.kubernetes import ClusterView
from certferry.core.translate.translate import Translation
from certferry.core.x509.pem import Chain


def next_validity_change(
    translation: Translation, view: ClusterView, state: State, now: datetime
) -> datetime | None:
    """The next edge of validity of what is in use, or waits to be."""
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
