"""The next renewal of one certificate: who makes it, when, and whether it would reach clients today."""

from __future__ import annotations

from datetime import datetime
from typing import Final, Literal

import msgspec

from certferry.core.diagnosis import causes
from certferry.core.diagnosis.causes import Cause, CertificateOrigin
from certferry.core.diagnosis.inventory import CertificateInfo
from certferry.core.x509 import expiry
from certferry.core.x509.expiry import Limits

Renewer = Literal["tool", "hand", "elsewhere", "none"]
"""tool: a controller renews the Secret. hand: a person. elsewhere: another cluster. none: the Secret is gone."""

_FROM_GIT: Final = frozenset({"Argo CD", "Flux", "Helm", "Sealed Secrets"})
"""Managers that carry a content which a person renews."""


class Renewal(msgspec.Struct, frozen=True, kw_only=True):
    """The next renewal of one certificate."""

    certificate: CertificateInfo
    renewer: Renewer
    by: str
    """The renewer for a sentence: “cert-manager (Certificate shop/site)”, “by hand (Secret shop/site)”."""
    due: datetime
    """When a renewal is due: if the share of the lifetime is left from which it counts as late."""
    overdue: bool
    obstacle: Cause | None
    """Why a renewal would not reach clients today; None if it would."""


def next_renewal(certificate: CertificateInfo, now: datetime, limits: Limits) -> Renewal:
    """Return the next renewal of a certificate of the ELB."""
    origin = certificate.origin
    assert origin is not None, "an ELB certificate has an origin"
    renewer, by = _renewer(origin)
    due = expiry.due(certificate.not_before, certificate.ends, limits)
    return Renewal(
        certificate=certificate,
        renewer=renewer,
        by=by,
        due=due,
        overdue=due <= now,
        obstacle=_obstacle(origin, renewer, now, late=due <= now),
    )


def _renewer(origin: CertificateOrigin) -> tuple[Renewer, str]:
    name = origin.secret_name
    if name is None and (source := origin.certificate.source):
        return "elsewhere", f"cluster {source.cluster} (Secret {source.namespace}/{source.secret})"
    if name is None:
        return "hand", "by hand (on the ELB)"
    if origin.secret is None:
        return "none", f"nothing (Secret {name} is missing)"
    manager = origin.secret.manager
    if manager is None:
        return "hand", f"by hand (Secret {name})"
    if manager.tool in _FROM_GIT:
        return "hand", f"by hand ({manager.where})"
    return "tool", f"{manager.tool} ({manager.where})"


def _obstacle(origin: CertificateOrigin, renewer: Renewer, now: datetime, *, late: bool) -> Cause | None:
    pause = origin.certificate.break_glass
    if pause and pause.until > now:
        why = f"a {pause.kind} is open until {pause.until:%Y-%m-%d %H:%M} UTC ({pause.reason}): a renewal waits for its end"
        return Cause(why=why, command=f"certferry cert show {origin.certificate.id}")
    if obstacle := causes.obstacle_of(origin):
        return obstacle
    return causes.cause(origin) if renewer == "tool" and late else None
