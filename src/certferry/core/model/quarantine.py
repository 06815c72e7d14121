"""Contents that were refused by what clients saw, and are not tried again until somebody says so.

The mark stands in the description of the certificate on the load balancer: it survives a restart and
a change of leader, needs no right to write Secrets, works on a vendor's ELB, and everybody sees it.
It goes when the Secret's content changes (the description is then written anew), or when the Secret
has the annotation ``certferry.io/resume`` with the fingerprint: that is what `certferry cert resume`
writes, so that who may resume is who may write the Secret.
"""

from __future__ import annotations

from typing import Final

from certferry.core.model import naming as names
from certferry.core.model.kubernetes import RESUME_ANNOTATION, Secret
from certferry.core.x509.pem import Chain

LEAF: Final = 24
"""Hex digits of the leaf's fingerprint in a mark: a description has room for 255 characters."""
WHOLE: Final = 8
"""Hex digits after them of the digest over the chain: the same leaf with another chain is another content."""


def parked(description: str | None) -> str | None:
    """The mark of the content that is parked on a certificate with this description."""
    return names.described(description).get("parked") or None


def park(description: str, chain: Chain) -> str:
    """The description with `chain` parked."""
    said = dict(names.described(description))
    cluster = said.pop("cluster_id", "")
    for gone in ("attention", "content"):  # what is there now is not what was declared
        said.pop(gone, None)
    return names.describe(cluster, **(said | {"parked": mark(chain)}))


def mark(chain: Chain) -> str:
    """How a content is named where it is parked; it begins like its fingerprint."""
    return chain.fingerprint[:LEAF] + chain.digest[:WHOLE]


def waits(secret: Secret, description: str | None) -> bool:
    """Whether the content of `secret` is parked on the certificate that follows it."""
    refused = parked(description)
    if refused is None or secret.chain is None or mark(secret.chain) != refused:
        return False
    resumed = secret.meta.annotations.get(RESUME_ANNOTATION, "")
    return not (len(resumed) >= 8 and refused[:LEAF].startswith(resumed[:LEAF]))
