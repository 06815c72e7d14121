"""Quarantine: contents that clients could not use are not tried again until they change or a user resumes them.

The mark is in the description of the certificate on the load balancer. It survives a restart and a change of leader,
needs no permission to write Secrets and works on a vendor's ELB. A new content of the Secret removes it. The
annotation ``certferry.io/resume`` with the fingerprint lifts it: ``certferry cert resume`` writes that, so only users
who may write the Secret may resume.
"""

from __future__ import annotations

from typing import Final

from certferry.core.model import naming as names
from certferry.core.model.kubernetes import RESUME_ANNOTATION, Secret
from certferry.core.x509.pem import Chain

MARK: Final = "quarantined"
_OLD_MARK: Final = "parked"
"""The key before 1.0: still read in descriptions that an older controller wrote."""

LEAF: Final = 24
"""Hex digits of the leaf's fingerprint in a mark: a description has room for 255 characters."""
WHOLE: Final = 8
"""Hex digits after them of the digest over the chain: the same leaf with another chain is another content."""


def quarantined_mark(description: str | None) -> str | None:
    """Return the mark of the content that a description quarantines, or None."""
    marks = names.described(description)
    return marks.get(MARK) or marks.get(_OLD_MARK) or None


def quarantine(description: str, chain: Chain) -> str:
    """Return `description` with `chain` quarantined."""
    said = dict(names.described(description))
    cluster = said.pop("cluster_id", "")
    for key in ("attention", "content", _OLD_MARK):  # the present content is not the declared one
        said.pop(key, None)
    return names.describe(cluster, **(said | {MARK: mark(chain)}))


def mark(chain: Chain) -> str:
    """Return the mark of a content: the start of its fingerprint, then of its digest."""
    return chain.fingerprint[:LEAF] + chain.digest[:WHOLE]


def is_quarantined(secret: Secret, description: str | None) -> bool:
    """Return whether the content of `secret` is quarantined on its certificate and not resumed."""
    quarantined = quarantined_mark(description)
    if quarantined is None or secret.chain is None or mark(secret.chain) != quarantined:
        return False
    resumed = secret.meta.annotations.get(RESUME_ANNOTATION, "")
    return not (len(resumed) >= 8 and quarantined[:LEAF].startswith(resumed[:LEAF]))
