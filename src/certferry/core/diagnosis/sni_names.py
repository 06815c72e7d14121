"""The names of a certificate for which its listeners select another one, or that they do not use: input of ``checks``.

Two certificates with one name are no conflict if their kinds of key differ, because a client gets the one it supports.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from certferry.core.diagnosis.host_values import HostState
from certferry.core.model.elb import Certificate, State
from certferry.core.translate.certificate_slots import current_slots, kind_of
from certferry.core.x509.pem import covers


def overlapping_names(certificate: Certificate, observed: State) -> Mapping[str, str]:
    """Return the names of its domain for which clients get another certificate, with that one's name or id."""
    overlaps: dict[str, str] = {}
    kind = kind_of(certificate)
    for listener in observed.listeners.values():
        if certificate.id not in (listener.default_tls_container_ref, *(listener.sni_container_refs or ())):
            continue
        seats = current_slots(listener, observed.certificates)
        for name in certificate.domain:
            answer = seats.answer(name, kind)
            if answer and answer.id != certificate.id and kind_of(answer) == kind:
                overlaps[name] = answer.name or answer.id
    return overlaps


def unused_names(certificate: Certificate, states: Iterable[HostState]) -> tuple[str, ...]:
    """Return the names of its content that no host uses which gets it.

    None if no listener has it. None either if a listener selects it for clients whose host is not known: by an Ingress
    without hosts, or as the default certificate of a listener that no Ingress owns.
    """
    mine = [s for s in states if s.bound and s.bound.certificate_id == certificate.id]
    if certificate.chain is None or not mine or any(not s.host and (s.claims or s.owner is None) for s in mine):
        return ()
    hosts = tuple(s.host for s in mine if s.claims or s.owner is None)
    return tuple(n for n in certificate.chain.names if not any(covers((n,), h) or covers((h,), n) for h in hosts))
