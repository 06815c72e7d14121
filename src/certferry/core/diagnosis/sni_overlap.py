"""For which of its names another certificate answers on the same listener: what ``checks`` needs to know.

The console and the command line ask it of a certificate that is in use. Two certificates with one name
are all right where their kinds of key differ, for a client is shown the one it understands.
"""

from __future__ import annotations

from collections.abc import Mapping

from certferry.core.model.elb import Certificate, State
from certferry.core.translate.certificate_slots import current_slots, kind_of


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
